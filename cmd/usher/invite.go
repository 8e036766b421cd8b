package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// An invitee is a person to be invited, as the API takes it.
type invitee struct {
	Email      string            `json:"email"`
	Groups     []int64           `json:"groups,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Note       string            `json:"note,omitempty"`
}

// inviteFlags are what "usher invite" was asked for.
type inviteFlags struct {
	clientFlags
	groups     []int64
	attributes []string
	note       string
	dryRun     bool
}

func newInvite() *cobra.Command {
	f := inviteFlags{clientFlags: clientFlags{decides: true}}
	cmd := &cobra.Command{
		Use:   "invite ADDRESS...",
		Short: "Invite people by hand",
		Long: `Invite asks for an invitation of each address, as a webhook would: the domain rule and the access rules
decide here too. An address that has an invitation keeps it, with the groups and attributes added; one that
failed, expired or was revoked is invited again, and one that is held is released.

With --dry-run nothing is done: it shows what would be decided, and why.

Exit status 1 when one was refused, or would be.`,
		Example: `  usher invite ada@example.com
  usher invite ada@example.com grace@example.org --group 1042 --attribute plan=pro --note "asked by phone"
  usher invite ada@example.com --dry-run --url https://usher.example.com`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("name at least one address\nsee: %s --help", cmd.CommandPath())}
			}
			for _, address := range args {
				if err := wantAddress(address); err != nil {
					return err
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			one, err := f.ask()
			if err != nil {
				return err
			}
			return withClient(cmd, f.clientFlags, func(c *client) error {
				if f.dryRun {
					return c.foresee(cmd, one, args)
				}
				return c.toEach(cmd, args, func(address string) error { return c.invite(cmd, one, address) })
			})
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.Int64SliceVar(&f.groups, "group", nil, "id of a Retool group to join; can be repeated")
	flags.StringArrayVar(&f.attributes, "attribute", nil, "a user attribute, NAME=VALUE; can be repeated")
	flags.StringVar(&f.note, "note", "", "why, for whoever reads the invitation later")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be decided, and do nothing")
	return cmd
}

// ask is what is asked for each of the addresses.
func (f *inviteFlags) ask() (invitee, error) {
	a := invitee{Groups: f.groups, Note: f.note}
	for _, group := range f.groups {
		if group <= 0 {
			return a, usageError{fmt.Errorf("--group %d is no Retool group id: ids are positive whole numbers", group)}
		}
	}
	for _, pair := range f.attributes {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || strings.TrimSpace(name) == "" {
			return a, usageError{errors.New("--attribute wants NAME=VALUE, such as plan=pro")}
		}
		if a.Attributes == nil {
			a.Attributes = map[string]string{}
		}
		a.Attributes[strings.TrimSpace(name)] = value
	}
	return a, nil
}

func (c *client) invite(cmd *cobra.Command, one invitee, address string) error {
	one.Email = address
	var after person
	raw, err := c.post(cmd.Context(), "/v1/invitations", one, &after)
	if err != nil {
		return err
	}
	return c.report(cmd.OutOrStdout(), after, raw)
}

// A foreseen person is what inviting somebody would do.
type foreseen struct {
	Row          int               `json:"row"`
	Email        string            `json:"email"`
	Effect       string            `json:"effect"`
	Words        string            `json:"words"`
	Outcome      string            `json:"outcome"`
	Reason       string            `json:"reason"`
	Sentence     string            `json:"sentence"`
	Groups       []int64           `json:"groups"`
	Attributes   map[string]string `json:"attributes"`
	Adds         bool              `json:"adds"` // groups or attributes, to the invitation that there is
	InvitationID int64             `json:"invitation"`
	State        string            `json:"state"`
}

// The effects of inviting somebody, as the API calls them.
const (
	effectInvites  = "invites"  // a new invitation
	effectHolds    = "holds"    // a new one that a person must approve
	effectQueues   = "queues"   // one that failed, expired or was revoked goes out again
	effectReleases = "releases" // one that was held goes out
	effectNothing  = "nothing"  // it is on its way already
	effectRefuses  = "refuses"  // the rules say no
	effectDoubles  = "doubles"  // the same address stands above
	effectInvalid  = "invalid"  // no address, or the like
)

// effectColour is green for what goes out and red for what cannot.
func (c colours) effectColour(effect string) string {
	switch effect {
	case effectInvites, effectQueues, effectReleases:
		return c.green
	case effectHolds:
		return c.yellow
	case effectRefuses, effectInvalid:
		return c.red
	default:
		return c.dim
	}
}

// effectTitles are the effects in the words of a table.
var effectTitles = map[string]string{
	effectInvites: "invite", effectHolds: "hold", effectQueues: "invite again", effectReleases: "release", effectNothing: "nothing", effectRefuses: "refuse",
	effectDoubles: "double", effectInvalid: "invalid",
}

// preview asks what inviting people would do.
func (c *client) preview(cmd *cobra.Command, people []invitee) (rows []foreseen, raw []json.RawMessage, err error) {
	var answer struct {
		Rows []json.RawMessage `json:"rows"`
	}
	if _, err := c.consult(cmd.Context(), "/v1/invitations/preview", map[string]any{"invitations": people}, &answer); err != nil {
		return nil, nil, err
	}
	for _, one := range answer.Rows {
		var row foreseen
		if err := json.Unmarshal(one, &row); err != nil {
			return nil, nil, fmt.Errorf("read what %s answers: %w", c.where, err)
		}
		rows = append(rows, row)
	}
	if len(rows) != len(people) {
		return nil, nil, fmt.Errorf("%s answered %d of %d rows", c.where, len(rows), len(people))
	}
	return rows, answer.Rows, nil
}

// foresee prints what inviting people would do.
func (c *client) foresee(cmd *cobra.Command, one invitee, addresses []string) error {
	var people []invitee
	for _, address := range addresses {
		one.Email = address
		people = append(people, one)
	}
	rows, raw, err := c.preview(cmd, people)
	if err != nil {
		return err
	}
	out, refused := cmd.OutOrStdout(), false
	t := newTable(out, "ADDRESS", "WOULD", "WHY")
	for i, row := range rows {
		refused = refused || row.Effect == effectRefuses || row.Effect == effectInvalid
		if c.asJSON {
			if err := c.jsonLine(out, raw[i]); err != nil {
				return err
			}
			continue
		}
		t.add(cell{text: c.address(row.Email)}, cell{effectTitles[row.Effect], t.c.effectColour(row.Effect)}, cell{text: c.words(row.Words)})
	}
	if !c.asJSON {
		t.flush()
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was done: this is a dry run.")
	}
	if refused {
		return quietError(exitFailure)
	}
	return nil
}
