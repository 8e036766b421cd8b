package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/internal/ledger"
)

func newRetry() *cobra.Command {
	var f clientFlags
	var all, yes bool
	var state string
	cmd := &cobra.Command{
		Use:   "retry ADDRESS|ID... | --all",
		Short: "Put invitations back to work, and try at once where sending is stopped",
		Long: `Retry puts invitations back to work at once: what failed is tried again, what waits is tried now. One that was
sent is sent again: what Retool has of it is deleted first, unless the person came in meanwhile. Where sending
is stopped, the next call to Retool goes out now instead of at the next probe; when Retool takes it, all go on.

With --all every invitation that failed, or of the --state, is put back to work, after a question; where there
is no terminal, --yes must answer it.

Exit status 1 when one was refused, or not found.`,
		Example: `  usher retry ada@example.com
  usher retry 7 12 --url https://usher.example.com
  usher retry --all --yes               # all that failed
  usher retry --all --state expired`,
		Args: func(cmd *cobra.Command, args []string) error {
			if state != string(ledger.Failed) && state != string(ledger.Expired) {
				return usageError{fmt.Errorf("--state %q: all that failed or all that expired can be retried, and no others", state)}
			}
			return peopleOrAll(cmd, args, all)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, f, func(c *client) error {
				if all {
					return c.actOnAll(cmd, "retry", state, "This puts the %d invitations that are "+state+" back to work.", yes)
				}
				return c.toEach(cmd, args, func(who string) error { return c.act(cmd, who, "retry") })
			})
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that failed, or of --state")
	cmd.Flags().StringVar(&state, "state", string(ledger.Failed), "with --all: which, failed or expired")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{string(ledger.Failed), string(ledger.Expired)}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
