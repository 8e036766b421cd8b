package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger"
)

// The roles of tokens, from the least to the most.
var roles = []string{"read", "invite", "admin"}

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke tokens of the API and the pages",
		Long: `Tokens let programs and people use the API and the pages beside the admin token, each with a role:

  read    sees invitations, events and the summary
  invite  also invites, retries, approves, revokes and corrects
  admin   also makes and revokes tokens, and reads the audit trail

Only a token's hash is kept: it is printed once, when it is made.`,
		Example: `  usher token new zapier --role invite --expires 90d
  usher token list
  usher token revoke zapier`,
		Args: func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("token wants new, list or revoke\nsee: %s --help", cmd.CommandPath())}
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(newTokenNew(), newTokenList(), newTokenRevoke())
	return cmd
}

func newTokenNew() *cobra.Command {
	var f clientFlags
	var role, expires string
	var yaml bool
	cmd := &cobra.Command{
		Use:   "new NAME --role ROLE",
		Short: "Make a token, and print it once",
		Long: `New makes a token and prints it on the standard output, alone; nobody can see it again. It works at once. NAME
is what the audit trail calls whoever uses it.

With --yaml nothing is kept: the row to put below tokens in usher.yaml goes to the standard error, for
whoever keeps the configuration in files.

Exit status 1 when there is such a token already.`,
		Example: `  usher token new zapier --role invite --expires 90d
  usher token new dashboard --role read --url https://usher.example.com
  usher token new retool --role invite --yaml`,
		Args: func(cmd *cobra.Command, args []string) error { return wantTokenNew(cmd, args, role) },
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := parseExpires(expires, time.Now())
			if err != nil {
				return err
			}
			if yaml {
				return tokenRow(cmd, args[0], role, until)
			}
			return withClient(cmd, f, func(c *client) error { return c.makeToken(cmd, args[0], role, until) })
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&role, "role", "", "what it may do: read, invite or admin")
	cmd.Flags().StringVar(&expires, "expires", "", "until when: a day such as 2027-01-31, or for how long, such as 90d (default: for ever)")
	cmd.Flags().BoolVar(&yaml, "yaml", false, "keep nothing: print the row for usher.yaml")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func wantTokenNew(cmd *cobra.Command, args []string, role string) error {
	switch {
	case len(args) != 1:
		return usageError{fmt.Errorf("give the token one name\nsee: %s --help", cmd.CommandPath())}
	case role == "":
		return usageError{fmt.Errorf("say what the token may do: --role %s\nsee: %s --help", strings.Join(roles, "|"), cmd.CommandPath())}
	case !slices.Contains(roles, role):
		return usageError{fmt.Errorf("--role %q is no role: %sone of %s", role, config.DidYouMean(role, roles), strings.Join(roles, ", "))}
	default:
		return nil
	}
}

// parseExpires reads a day or for how long, as the API and usher.yaml take it; empty is for ever.
func parseExpires(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	var days int
	if n, err := fmt.Sscanf(text, "%dd", &days); err == nil && n == 1 && days > 0 && text == fmt.Sprintf("%dd", days) {
		return now.AddDate(0, 0, days).UTC().Truncate(time.Second).Format(time.RFC3339), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			if !at.After(now) {
				return "", usageError{errors.New("--expires is in the past")}
			}
			return text, nil
		}
	}
	return "", usageError{fmt.Errorf("--expires %q is no day: such as 2027-01-31, or for how long, such as 90d", text)}
}

func (c *client) makeToken(cmd *cobra.Command, name, role, expires string) error {
	request := map[string]string{"name": name, "role": role}
	if expires != "" {
		request["expires"] = expires
	}
	var made struct {
		Token string `json:"token"`
	}
	raw, err := c.post(cmd.Context(), "/v1/tokens", request, &made)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.jsonLine(cmd.OutOrStdout(), raw)
	}
	fmt.Fprintln(cmd.OutOrStdout(), made.Token)
	fmt.Fprintf(cmd.ErrOrStderr(), "The token %s may %s. It is shown this once; put it where it is needed, such as USHER_TOKEN.\n", name, mayDo[role])
	return nil
}

var mayDo = map[string]string{"read": "read everything but tokens and the audit trail", "invite": "read, and decide about invitations", "admin": "do everything"}

// tokenRow makes a token that only the configuration knows.
func tokenRow(cmd *cobra.Command, name, role, expires string) error {
	if !config.IsTokenName(name) {
		return usageError{fmt.Errorf("%q is not a name for a token: use a-z, 0-9, - and _, at most 64, and no - or _ first", name)}
	}
	token := ledger.NewToken()
	fmt.Fprintln(cmd.OutOrStdout(), token)
	if expires != "" {
		expires = ", expires: " + expires
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "The token above is shown this once. Put this into usher.yaml, and restart Usher:\n\ntokens:\n  - {name: %s, hash: \"sha256:%s\", role: %s%s}\n",
		name, ledger.HashToken(token), role, expires)
	return nil
}

func newTokenList() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens: those of the configuration and those that were made",
		Long: `List shows each token's name, role, and until when it works, and never the token itself.

Exit status 0, also where there are none.`,
		Example: `  usher token list
  usher token list --json | jq -r 'select(.valid) | .name'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(cmd, f, func(c *client) error { return c.listTokens(cmd) })
		},
	}
	f.register(cmd)
	return cmd
}

func (c *client) listTokens(cmd *cobra.Command) error {
	var answer struct {
		Tokens []json.RawMessage `json:"tokens"`
	}
	if _, err := c.get(cmd.Context(), "/v1/tokens", &answer); err != nil {
		return err
	}
	t := newTable(cmd.OutOrStdout(), "NAME", "ROLE", "WORKS", "MADE", "BY", "UNTIL")
	for _, raw := range answer.Tokens {
		if c.asJSON {
			if err := c.jsonLine(cmd.OutOrStdout(), raw); err != nil {
				return err
			}
			continue
		}
		var one struct {
			Name      string    `json:"name"`
			Role      string    `json:"role"`
			From      string    `json:"from"`
			Valid     bool      `json:"valid"`
			CreatedAt time.Time `json:"created_at"`
			CreatedBy string    `json:"created_by"`
			ExpiresAt time.Time `json:"expires_at"`
			RevokedAt time.Time `json:"revoked_at"`
		}
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		works := cell{"yes", t.c.green}
		switch {
		case !one.RevokedAt.IsZero():
			works = cell{"revoked", t.c.dim}
		case !one.Valid:
			works = cell{"expired", t.c.dim}
		}
		by := one.CreatedBy
		if by == "" {
			by = one.From
		}
		t.add(cell{text: one.Name}, cell{text: one.Role}, works, cell{text: clock(one.CreatedAt)}, cell{text: by}, cell{text: clock(one.ExpiresAt)})
	}
	switch {
	case c.asJSON:
	case len(answer.Tokens) == 0:
		fmt.Fprintln(cmd.OutOrStdout(), "There are no tokens but the admin token; usher token new makes one.")
	default:
		t.flush()
	}
	return nil
}

func newTokenRevoke() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "revoke NAME...",
		Short: "End tokens at once",
		Long: `Revoke ends tokens that usher token new made, at once: calls with them are answered 401, and whoever signed in
to the pages with one is signed out. One of the configuration is removed there.

Exit status 1 when there is no such token.`,
		Example: `  usher token revoke zapier
  usher token revoke zapier dashboard --url https://usher.example.com`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("name at least one token; usher token list shows them\nsee: %s --help", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, f, func(c *client) error {
				var failed error
				for _, name := range args {
					if err := c.revokeToken(cmd, name); err != nil {
						fmt.Fprintf(cmd.ErrOrStderr(), "usher: token %s: %v\n", plain(name), err)
						failed = quietError(exitFailure)
					}
				}
				return failed
			})
		},
	}
	f.register(cmd)
	return cmd
}

func (c *client) revokeToken(cmd *cobra.Command, name string) error {
	if _, err := c.call(cmd.Context(), http.MethodDelete, "/v1/tokens/"+url.PathEscape(name), "", nil, nil); err != nil {
		return err
	}
	if c.asJSON {
		raw, err := json.Marshal(map[string]any{"name": name, "revoked": true})
		if err != nil {
			return err
		}
		return c.jsonLine(cmd.OutOrStdout(), raw)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "The token %s works no more.\n", name)
	return nil
}
