package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCorrect() *cobra.Command {
	f := clientFlags{decides: true}
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "correct OLD NEW",
		Short: "Give somebody whose address was wrong the right one",
		Long: `Correct takes back the invitation of the address or id OLD, and invites the address NEW in its place, with the
same groups and attributes. The domain rule and the access rules decide about NEW, by the event that paid.
What Retool has of the old invitation is deleted there, and later events of the old address go to the new one.

With --dry-run nothing is done: it shows what would be decided about NEW, and why.

Exit status 1 when NEW may not be invited, when OLD has no invitation, or when the person came in already.`,
		Example: `  usher correct ada@exmaple.com ada@example.com
  usher correct 7 ada@example.com --dry-run --url https://usher.example.com`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("name the old address, or the invitation's id, and the new address\nsee: %s --help", cmd.CommandPath())}
			}
			if err := wantPerson(cmd, args[0]); err != nil {
				return err
			}
			return wantAddress(args[1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, f, func(c *client) error { return c.correct(cmd, args[0], args[1], dryRun) })
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be decided, and do nothing")
	return cmd
}

func (c *client) correct(cmd *cobra.Command, old, address string, dryRun bool) error {
	found, err := c.find(cmd.Context(), old)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/v1/invitations/%d/correct", found.ID)
	var row foreseen
	raw, err := c.consult(cmd.Context(), path, map[string]any{"email": address, "dry_run": true}, &row)
	if err != nil {
		return err
	}
	out, mark := cmd.OutOrStdout(), coloursFor(cmd.OutOrStdout())
	if c.asJSON && dryRun {
		if err := c.jsonLine(out, raw); err != nil {
			return err
		}
	} else if !c.asJSON {
		fmt.Fprintf(out, "%s → %s: %s%s%s: %s\n", c.address(found.Email), c.address(row.Email),
			mark.effectColour(row.Effect), effectTitles[row.Effect], mark.off, c.words(row.because()))
	}
	switch {
	case row.Effect == effectRefuses && c.asJSON && !dryRun:
		return fmt.Errorf("%s is not invited: %s", c.address(address), c.words(row.Words))
	case row.Effect == effectRefuses:
		return quietError(exitFailure)
	case dryRun:
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was done: this is a dry run.")
		return nil
	}
	var after person
	if raw, err = c.post(cmd.Context(), path, map[string]any{"email": address}, &after); err != nil {
		return err
	}
	return c.report(out, after, raw)
}

// because is why somebody would be decided about like that.
func (f foreseen) because() string {
	if f.Sentence == "" || f.Sentence == f.Words {
		return f.Words
	}
	return f.Words + ". " + f.Sentence
}
