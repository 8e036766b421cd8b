package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/retoolclient/retooltest"
)

func newSandbox() *cobra.Command {
	var listen, plan, token string
	var internal []string
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Serve a sandbox Retool to try Usher against",
		Long: `Sandbox answers like Retool's invite API and remembers what it was asked, in memory. Faults can be
scripted: POST /sandbox/faults {"kind": "429", "retry_after": "5", "times": 2}. Its memory: GET /sandbox/state.
Kinds of fault: status, 429, 500, timeout-after-work, slow, html, reset, reset-after-work, unauthorized, scope,
plan.

Exit status 0 when it was told to stop, 1 when the address is taken.`,
		Example: `  usher sandbox
  usher sandbox --listen 127.0.0.1:9000 --plan bulk-only
  curl -d '{"kind":"timeout-after-work","delay":"40s"}' http://127.0.0.1:9000/sandbox/faults`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plans := []retooltest.Plan{retooltest.Business, retooltest.Enterprise, retooltest.Legacy, retooltest.BulkOnly}
			if !slices.Contains(plans, retooltest.Plan(plan)) {
				return usageError{fmt.Errorf("--plan %q is none of %v", plan, plans)}
			}
			listener, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			sandbox := retooltest.New(retooltest.Options{Token: token, Plan: retooltest.Plan(plan), InternalDomains: internal})
			fmt.Fprintf(cmd.OutOrStdout(), "A sandbox Retool is at http://%s; its memory is at /sandbox/state.\n\n  export RETOOL_URL=http://%s\n  export RETOOL_API_TOKEN=%s\n",
				listener.Addr(), listener.Addr(), token)
			return serveUntil(cmd.Context(), listener, sandbox)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9000", "address to listen on")
	cmd.Flags().StringVar(&plan, "plan", string(retooltest.Business), "the plan it plays: business, enterprise, legacy or bulk-only")
	cmd.Flags().StringVar(&token, "token", "retool_sandbox", "the API token it wants")
	cmd.Flags().StringSliceVar(&internal, "internal", nil, "domains whose people become internal seats")
	return cmd
}

// serveUntil serves a handler until ctx ends.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
