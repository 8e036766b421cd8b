package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRevoke() *cobra.Command {
	var f clientFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke ADDRESS|ID...",
		Short: "Take invitations back",
		Long: `Revoke takes invitations back: what was not sent yet never is, and what was sent is deleted at Retool, so that
its link is dead. Of several it asks first; where there is no terminal, --yes must answer.

Who came in already cannot be taken back by Retool's API: disable them in Retool's settings. A revoked
invitation is sent again by usher retry or usher invite, and by nothing else.

Exit status 1 when one was refused, or not found.`,
		Example: `  usher revoke ada@example.com
  usher revoke 7 12 --yes --url https://usher.example.com`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("name the address or the id of at least one invitation\nsee: %s --help", cmd.CommandPath())}
			}
			return wantPeople(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				if err := confirm(cmd, yes, fmt.Sprintf("This takes %d invitations back.", len(args))); err != nil {
					return err
				}
			}
			return withClient(cmd, f, func(c *client) error {
				return c.toEach(cmd, args, func(who string) error { return c.act(cmd, who, "revoke") })
			})
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask, however many they are")
	return cmd
}
