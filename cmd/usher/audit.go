package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func newAudit() *cobra.Command {
	var f clientFlags
	var limit int
	var all bool
	var of, actor string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List what people did: who, when, what, and from which state to which",
		Long: `Audit shows the newest entries of the audit trail, 50 unless --limit or --all says otherwise. Everything that a
person changed is there, by the API, the pages and the command line, and is never removed.

It needs a token with the role admin. Exit status 1 when --of has no invitation.`,
		Example: `  usher audit --limit 20
  usher audit --of ada@example.com
  usher audit --actor "token zapier" --all --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit %d: wants a whole number from 1 on", limit)}
			}
			if of != "" {
				if err := wantPerson(cmd, of); err != nil {
					return err
				}
			}
			return withClient(cmd, f, func(c *client) error { return c.audit(cmd, of, actor, limit, all) })
		},
	}
	f.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().StringVar(&of, "of", "", "only what was done to the invitation of this address or id")
	cmd.Flags().StringVar(&actor, "actor", "", `only what this one did, such as admin_token, "command line" or "token NAME"`)
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	return cmd
}

func (c *client) audit(cmd *cobra.Command, of, actor string, limit int, all bool) error {
	query := url.Values{}
	if actor != "" {
		query.Set("actor", actor)
	}
	if of != "" {
		found, err := c.find(cmd.Context(), of)
		if err != nil {
			return err
		}
		query.Set("invitation", strconv.FormatInt(found.ID, 10))
	}
	out, shown := cmd.OutOrStdout(), 0
	t := newTable(out, "AT", "WHO", "DID", "INVITATION", "OF", "BEFORE", "AFTER")
	_, err := c.pages(cmd, "/v1/audit", "entries", query, limit, all, func(rows []json.RawMessage) error {
		shown += len(rows)
		for _, raw := range rows {
			if c.asJSON {
				if err := c.jsonLine(out, raw); err != nil {
					return err
				}
				continue
			}
			var e struct {
				At         time.Time `json:"at"`
				Actor      string    `json:"actor"`
				What       string    `json:"what"`
				Invitation int64     `json:"invitation"`
				Subject    string    `json:"subject"`
				Before     string    `json:"before"`
				After      string    `json:"after"`
			}
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
			number := "–"
			if e.Invitation != 0 {
				number = strconv.FormatInt(e.Invitation, 10)
			}
			t.add(cell{text: clock(e.At)}, cell{text: plain(e.Actor)}, cell{text: plain(e.What)}, cell{text: number}, cell{text: c.words(dash(e.Subject))},
				cell{text: dash(e.Before)}, cell{e.After, t.c.stateColour(e.After)})
		}
		if !c.asJSON && len(rows) > 0 {
			t.flush()
		}
		return nil
	})
	if err == nil && shown == 0 && !c.asJSON {
		fmt.Fprintln(out, "Nobody has done anything like that yet.")
	}
	return err
}
