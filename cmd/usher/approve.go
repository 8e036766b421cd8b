package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/internal/ledger"
)

func newApprove() *cobra.Command {
	var f clientFlags
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "approve ADDRESS|ID... | --all",
		Short: "Release invitations that a rule holds for a person",
		Long: `Approve sends on what is held: a rule, or a rule that could not be worked out, asked for a person. usher list
--state held shows them.

With --all every invitation that is held is released, after a question; where there is no terminal, --yes
must answer it.

Exit status 1 when one was not held, or not found.`,
		Example: `  usher approve ada@example.com
  usher approve 7 12
  usher approve --all --yes --url https://usher.example.com`,
		Args: func(cmd *cobra.Command, args []string) error { return peopleOrAll(cmd, args, all) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, f, func(c *client) error {
				if all {
					return c.actOnAll(cmd, "approve", string(ledger.Held), "This releases the %d invitations that are held.", yes)
				}
				return c.toEach(cmd, args, func(who string) error { return c.act(cmd, who, "approve") })
			})
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that are held")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// peopleOrAll wants either people or --all.
func peopleOrAll(cmd *cobra.Command, args []string, all bool) error {
	switch {
	case all && len(args) > 0:
		return usageError{fmt.Errorf("name people or give --all, not both\nsee: %s --help", cmd.CommandPath())}
	case !all && len(args) == 0:
		return usageError{fmt.Errorf("name the address or the id of at least one invitation, or give --all\nsee: %s --help", cmd.CommandPath())}
	default:
		return wantPeople(cmd, args)
	}
}

// actOnAll does the same to all invitations of a state, after a question that says how many they are.
func (c *client) actOnAll(cmd *cobra.Command, what, state, question string, yes bool) error {
	n, err := c.count(cmd.Context(), state)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := confirm(cmd, yes, fmt.Sprintf(question, n)); err != nil {
			return err
		}
	}
	var done map[string]int
	c.limit = 0 // many take their time
	raw, err := c.post(cmd.Context(), "/v1/invitations/"+what+"?state="+state, nil, &done)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.jsonLine(cmd.OutOrStdout(), raw)
	}
	for _, n := range done {
		fmt.Fprintf(cmd.OutOrStdout(), "%d put back to work\n", n)
	}
	return nil
}
