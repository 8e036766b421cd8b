package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
)

// retryFlags are what "usher retry" was asked for.
type retryFlags struct {
	url, state string
	asJSON     bool
}

func newRetry() *cobra.Command {
	var f retryFlags
	cmd := &cobra.Command{
		Use:   "retry [ID ...]",
		Short: "Put invitations back to work on a running Usher, and try at once where sending is stopped",
		Long: `Retry puts the invitations with these ids back to work at once; without ids all that failed. Where sending is
stopped, the next call to Retool goes out now instead of at the next probe; when Retool takes it, all go on.

The admin token is USHER_TOKEN, else admin_token of the configuration.

Exit status 0 when Usher took it, 1 when it refused one or did not answer.`,
		Example: `  usher retry                        # all that failed
  usher retry 7 12 --url https://usher.example.com
  usher retry --state expired`,
		Args: func(_ *cobra.Command, args []string) error {
			for _, id := range args {
				if n, err := strconv.ParseInt(id, 10, 64); err != nil || n < 1 {
					return usageError{fmt.Errorf("%q is no invitation's id, which is a number: /v1/invitations lists them\nsee: usher retry --help", id)}
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, ids []string) error { return retry(cmd, f, ids) },
	}
	cmd.Flags().StringVar(&f.url, "url", "http://localhost:8080", "where Usher runs")
	cmd.Flags().StringVar(&f.state, "state", "failed", "without ids: which to retry, failed or expired")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print Usher's answers as JSON, a line each")
	return cmd
}

func retry(cmd *cobra.Command, f retryFlags, ids []string) error {
	base, err := baseURL(f.url)
	if err != nil {
		return usageError{err}
	}
	cfg, _ := config.Load(configOptions(cmd)) // only the token matters here
	token := strings.TrimSpace(cmp.Or(os.Getenv("USHER_TOKEN"), cfg.AdminToken.Reveal()))
	if token == "" {
		return usageError{errors.New("the admin token is missing: set USHER_TOKEN")}
	}
	paths := []string{"/v1/invitations/retry?state=" + url.QueryEscape(f.state)}
	if len(ids) > 0 {
		paths = nil
		for _, id := range ids {
			paths = append(paths, "/v1/invitations/"+id+"/retry")
		}
	}
	var refused error
	for _, path := range paths {
		if err := retryOne(cmd, strings.TrimRight(base.String(), "/")+path, token, f.asJSON); err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "usher:", err)
			refused = quietError(exitFailure)
		}
	}
	return refused
}

// retryOne makes one call and prints what Usher says.
func retryOne(cmd *cobra.Command, address, token string, asJSON bool) error {
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	got, err := exchange(request)
	if err != nil {
		return err
	}
	var said struct {
		ID      int64  `json:"id"`
		State   string `json:"state"`
		Retried *int   `json:"retried"`
		Detail  string `json:"detail"`
	}
	if err := json.Unmarshal(got.body, &said); err != nil {
		return fmt.Errorf("%s answered %d, and no JSON: --url must be Usher's base address", address, got.status)
	}
	switch {
	case got.status != http.StatusAccepted:
		return fmt.Errorf("%s answered %d: %s", address, got.status, said.Detail)
	case asJSON:
		fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(got.body)))
	case said.Retried != nil:
		fmt.Fprintf(cmd.OutOrStdout(), "%d put back to work\n", *said.Retried)
	default:
		fmt.Fprintf(cmd.OutOrStdout(), "invitation %d is %s\n", said.ID, said.State)
	}
	return nil
}
