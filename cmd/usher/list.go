package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/internal/ledger"
)

// listFlags are what "usher list" and "usher export" were asked for.
type listFlags struct {
	clientFlags
	state, source, email, search, since string
	limit                               int
	all                                 bool
}

// filters gives a command the flags that choose invitations.
func (f *listFlags) filters(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.state, "state", "", "only those in this state: held, queued, sent, accepted, expired, revoked or failed")
	flags.StringVar(&f.source, "source", "", "only those whose first event came from this source; api is by hand")
	flags.StringVar(&f.email, "email", "", "only the one of this whole address")
	flags.StringVar(&f.search, "search", "", "only those whose address begins like this, or whose domain does: ada, @example.com")
	flags.StringVar(&f.since, "since", "", "only those made since then: 2026-11-24, or how long ago, such as 30d or 36h")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp)) // the flags are there
	_ = cmd.RegisterFlagCompletionFunc("source", completeSources)
}

// query is the filter in the words of the API.
func (f *listFlags) query() (url.Values, error) {
	if err := wantState(f.state); err != nil {
		return nil, err
	}
	since := ""
	if f.since != "" {
		var err error
		if since, err = parseSince(f.since, time.Now()); err != nil {
			return nil, err
		}
	}
	if f.email != "" {
		if err := wantAddress(f.email); err != nil {
			return nil, err
		}
	}
	if f.search != "" && (f.email != "" || f.since != "") {
		return nil, usageError{errors.New("--search goes together with --state and --source, and with no other filter")}
	}
	query := url.Values{}
	for name, value := range map[string]string{"state": f.state, "source": f.source, "email": f.email, "q": f.search, "since": since} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query, nil
}

func newList() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List invitations, newest first",
		Long: `List shows the newest invitations, 50 unless --limit or --all says otherwise: to whom, how far it got, and
why. On a terminal the table is cut to its width; times are in the local time zone. With --json each
invitation is a line, with --csv a row, with times in UTC.

Exit status 0, also where there is nothing to show.`,
		Example: `  usher list --state failed
  usher list --search @example.com --since 30d --full
  usher list --all --json | jq -r 'select(.tries > 3) | .id'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := f.query()
			if err != nil {
				return err
			}
			if f.limit < 1 {
				return usageError{fmt.Errorf("--limit %d: wants a whole number from 1 on", f.limit)}
			}
			return withClient(cmd, f.clientFlags, func(c *client) error { return c.list(cmd, query, f.limit, f.all) })
		},
	}
	f.register(cmd)
	f.filters(cmd)
	cmd.Flags().BoolVar(&f.asCSV, "csv", false, "print CSV")
	cmd.Flags().IntVar(&f.limit, "limit", 50, "how many at most")
	cmd.Flags().BoolVar(&f.all, "all", false, "all of them")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	return cmd
}

// list prints invitations as they come, page by page.
func (c *client) list(cmd *cobra.Command, query url.Values, limit int, all bool) error {
	out, shown, filtered := cmd.OutOrStdout(), 0, len(query) > 0
	show := c.printer(cmd)
	more, err := c.pages(cmd, "/v1/invitations", "invitations", query, limit, all, func(rows []json.RawMessage) error {
		shown += len(rows)
		return show(rows)
	})
	if err != nil || c.asJSON || c.asCSV {
		return err
	}
	switch {
	case shown == 0 && filtered:
		fmt.Fprintln(out, "No invitation is like that.")
	case shown == 0:
		fmt.Fprintln(out, "There are no invitations yet: send webhooks to Usher, or invite somebody with usher invite.")
	case more:
		fmt.Fprintf(cmd.ErrOrStderr(), "These are the newest %d; --all lists all, --limit more.\n", shown)
	}
	return nil
}

// pageSize is the most that one call lists.
const pageSize = 200

// pages reads a list page by page, and says whether there is more than was asked for.
func (c *client) pages(cmd *cobra.Command, path, field string, query url.Values, limit int, all bool, show func([]json.RawMessage) error) (more bool, err error) {
	for left := limit; ; {
		size := pageSize
		if !all {
			size = min(left, pageSize)
		}
		query.Set("limit", strconv.Itoa(size))
		var page map[string]json.RawMessage
		if _, err := c.get(cmd.Context(), path+"?"+query.Encode(), &page); err != nil {
			return false, err
		}
		var rows []json.RawMessage
		var next *string
		if err := json.Unmarshal(page[field], &rows); err != nil {
			return false, fmt.Errorf("read what %s answers: %w", c.where, err)
		}
		if err := json.Unmarshal(page["next_cursor"], &next); err != nil {
			return false, fmt.Errorf("read what %s answers: %w", c.where, err)
		}
		if err := show(rows); err != nil {
			return false, err
		}
		left -= len(rows)
		if next == nil || !all && left <= 0 {
			return next != nil, nil
		}
		query.Set("cursor", *next)
	}
}

// printer prints invitations in the form that was asked for.
func (c *client) printer(cmd *cobra.Command) func([]json.RawMessage) error {
	out := cmd.OutOrStdout()
	switch {
	case c.asJSON:
		return func(rows []json.RawMessage) error {
			for _, raw := range rows {
				if err := c.jsonLine(out, raw); err != nil {
					return err
				}
			}
			return nil
		}
	case c.asCSV:
		w := csv.NewWriter(out)
		head := false
		return func(rows []json.RawMessage) error {
			if !head {
				_ = w.Write(csvHead) // what goes wrong, Error tells
				head = true
			}
			for _, raw := range rows {
				var p person
				if err := json.Unmarshal(raw, &p); err != nil {
					return err
				}
				_ = w.Write(c.csvRow(p))
			}
			w.Flush()
			return w.Error()
		}
	default:
		t := newTable(out, "ID", "ADDRESS", "STATE", "SOURCE", "CREATED", "SENT", "WHY")
		return func(rows []json.RawMessage) error {
			for _, raw := range rows {
				var p person
				if err := json.Unmarshal(raw, &p); err != nil {
					return err
				}
				t.add(cell{text: strconv.FormatInt(p.ID, 10)}, cell{text: c.address(p.Email)}, cell{p.State, t.c.stateColour(p.State)}, cell{text: plain(p.Source)},
					cell{text: clock(p.CreatedAt)}, cell{text: clock(p.SentAt)}, cell{text: c.why(p)})
			}
			if len(rows) > 0 {
				t.flush()
			}
			return nil
		}
	}
}

// why says in few words what a state does not.
func (c *client) why(p person) string {
	if p.State == string(ledger.Queued) && !p.NextTryAt.IsZero() {
		next := "next try " + clock(p.NextTryAt)
		if p.Reason != "" {
			next += ": " + c.words(p.Reason)
		}
		return next
	}
	return c.words(p.Reason)
}
