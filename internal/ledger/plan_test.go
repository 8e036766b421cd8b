package ledger

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// A ledger of years is asked for one page: no plan may read a whole table, or sort what it found.
func TestPlansReadByAnIndex(t *testing.T) {
	l, _ := openHere(t)
	tests := []struct {
		name   string
		filter EventFilter
		want   string
	}{
		{name: "a reason", filter: EventFilter{Reason: "no_address", Limit: 50}, want: "decisions_by_reason (reason=?)"},
		{name: "the next page of a reason", filter: EventFilter{Reason: "no_address", Before: 7, Limit: 50}, want: "decisions_by_reason (reason=? AND event_id<?)"},
		{name: "a reason of a source since a time", filter: EventFilter{Reason: "no_address", Source: "stripe", Type: "invoice.paid", Since: time.Now(), Limit: 50}, want: "decisions_by_reason (reason=?)"},
		{name: "an outcome", filter: EventFilter{Outcome: "hold", Limit: 50}, want: "decisions_by_outcome (outcome=?)"},
		{name: "an address", filter: EventFilter{Email: "jane@example.com", Limit: 50}, want: "decisions_by_email (email=?)"},
		{name: "a source", filter: EventFilter{Source: "stripe", Limit: 50}, want: "events_by_source (source=?)"},
		{name: "the next page of a type", filter: EventFilter{Type: "invoice.paid", Before: 7, Limit: 50}, want: "events_by_type (type=? AND id<?)"},
		{name: "an address and a reason", filter: EventFilter{Email: "jane@example.com", Reason: "external", Limit: 50}, want: "SEARCH d USING INDEX decisions_by_"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			query, args := tt.filter.query(0)
			got := plan(t, l, query, args...)
			if !strings.Contains(got, tt.want) {
				t.Errorf("the plan has no %s:\n%s", tt.want, got)
			}
			for _, bad := range []string{"SCAN", "B-TREE"} {
				if strings.Contains(got, bad) {
					t.Errorf("the plan has a %s:\n%s", bad, got)
				}
			}
		})
	}

	t.Run("an identity that is known", func(t *testing.T) {
		if got := plan(t, l, candidatesOf, "stripe", "evt_1", "key", 1, "fp"); strings.Contains(strings.ReplaceAll(got, "SCAN newest", ""), "SCAN") {
			t.Errorf("the plan reads a whole table:\n%s", got)
		}
	})

	t.Run("no filter reads the newest events only", func(t *testing.T) {
		query, args := EventFilter{Limit: 50}.query(0)
		got := plan(t, l, query, args...)
		if !strings.HasPrefix(got, "SCAN e\n") || strings.Contains(got, "B-TREE") || strings.Count(got, "SCAN") > 1 {
			t.Errorf("the plan does more than walk the events backwards:\n%s", got)
		}
	})
}

func plan(t *testing.T, l *Ledger, query string, args ...any) string {
	t.Helper()
	type step struct{ id, parent, unused int64 }
	steps, err := collect(t.Context(), l.read, func(row scanner) (text string, err error) {
		var s step
		err = row.Scan(&s.id, &s.parent, &s.unused, &text)
		return text, err
	}, "explain query plan "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n")
}

// hot are the statements that run often or in the way of others. None may read a large table whole, or sort it: on
// neither store.
func hot(g grammar) []struct {
	name  string
	query string
	args  []any
} {
	events := func(f EventFilter, from int64) string {
		query, _ := f.query(from)
		return query
	}
	now := time.Now()
	return []struct {
		name  string
		query string
		args  []any
	}{
		{"the first invitation since", firstInvitation.next, []any{7}},
		{"what waits to be decided", undecidedBodies + neverTried + ` limit $1` + g.skipLocked, []any{48}},
		{"what failed before", undecidedBodies + triedBefore + ` limit $1` + g.skipLocked, []any{48}},
		{"a known identity", `select id from events where source = $1 and event_id = $2`, []any{"stripe", "evt_1"}},
		{"an identity of any source", `select ` + eventColumns + ` from events e where ` + newestOfAnySource, []any{"evt_1"}},
		{"an invitation's address", `select id from invitations where email = $1`, []any{"jane@example.com"}},
		{"events since", events(EventFilter{Since: now, Limit: 50}, 7), []any{millis(now), 7}},
		{"events of a source", events(EventFilter{Source: "x", Limit: 50}, 0), []any{"x"}},
		{"events of a type", events(EventFilter{Type: "x", Limit: 50}, 0), []any{"x"}},
		{"events of a reason", events(EventFilter{Reason: "x", Limit: 50}, 0), []any{"x"}},
		{"events of an outcome", events(EventFilter{Outcome: "skip", Limit: 50}, 0), []any{"skip"}},
		{"events of an address", events(EventFilter{Email: "x", Limit: 50}, 0), []any{"x"}},
		{"what is due", g.due(), []any{millis(now)}},
		{"what was set aside", setAsideList, []any{0, 50}},
		{"invitations whose links died", g.expiring(), []any{millis(now), 20}},
		{"invitations that are queued", queuedPage, []any{0, 9}},
		{"old deliveries", lastOf(nextDeliveries), []any{0, 0, 100}},
		{"old events", lastOf(nextEvents), []any{0, 0, 100}},
		{"events that may go", removable, []any{0, 100}},
		{"a page of history", historyDeliveries, []any{0, 9, 200}},
		{"the events of a page of history", historyEvents, []any{1, 9}},
		{"what was asked for by hand", historyAsked, []any{0, 5000}},
		{"what a page of history brought again", historyResent, []any{1, 9}},
		{"what brought an event again", resentBy, []any{1, 20}},
		{"the first delivery since", firstDelivery.next, []any{7}},
		{"the ends of the events", firstEvent.ends, nil}, // min and max of one select would read them all
		{"the ends of the deliveries", firstDelivery.ends, nil},
		{"the ends of the invitations", firstInvitation.ends, nil},
		{"the next event", firstEvent.next, []any{7}},
		{"the next delivery", firstDelivery.next, []any{7}},
		{"the next invitation", firstInvitation.next, []any{7}},
		{"invitations by day", invitationsByDay(2), []any{0, 1, 2, 1, 2, 3}},
		{"events by day", eventsByDay(2), []any{0, 1, 2, 1, 2, 3}},
		{"what sources told us", statsOfSources, []any{1}},
		{"what expires next", g.expiringSoon(), []any{millis(now), 9}},
		{"what expires", g.countExpiring(), []any{millis(now), 9}},
		{"jobs that are done", g.doneJobs, []any{"completed", millis(now), 100}},
	}
}

func TestHotStatementsReadByAnIndex(t *testing.T) {
	large := []string{"deliveries", "events", "decisions", "invitations", "attempts", "undecided", "river_job"}
	t.Run("sqlite", func(t *testing.T) {
		l, _ := openHere(t)
		for _, s := range hot(l.grammar) {
			t.Run(s.name, func(t *testing.T) {
				got := plan(t, l, s.query, s.args...)
				for line := range strings.Lines(got) {
					if strings.Contains(line, "SCAN") && !slices.Contains(walked, strings.TrimSpace(line)) || strings.Contains(line, "B-TREE") {
						t.Errorf("the plan reads or sorts too much: %s\n%s", line, got)
					}
				}
			})
		}
	})
	t.Run("postgres", func(t *testing.T) {
		l := openPostgresHere(t)
		tx, err := l.write.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		// The tables are empty: what can be read by an index is.
		if _, err := tx.ExecContext(t.Context(), `set local enable_seqscan = off; set local enable_sort = off; set local enable_bitmapscan = off; set local plan_cache_mode = force_generic_plan`); err != nil {
			t.Fatal(err)
		}
		for _, s := range hot(l.grammar) {
			t.Run(s.name, func(t *testing.T) {
				lines, err := collect(t.Context(), tx, func(row scanner) (line string, err error) { err = row.Scan(&line); return line, err }, "explain "+s.query, s.args...)
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range lines {
					for _, table := range large {
						if strings.Contains(line, "Seq Scan on "+table+" ") || strings.Contains(line, "Sort  (") {
							t.Errorf("the plan reads or sorts too much: %s\n%s", line, strings.Join(lines, "\n"))
						}
					}
				}
			})
		}
	})
}

// walked are the scans that end with what is asked for: by the order and the limit, or since what is scanned is small.
var walked = []string{
	"SCAN invitations",                                                                                                   // all, newest first
	"SCAN u",                                                                                                             // oldest first: at once what waits, behind what was set aside
	"SCAN u USING INDEX undecided_set_aside",                                                                             // only those
	"SCAN old", "SCAN s", "SCAN d", "SCAN soon", "SCAN CONSTANT ROW", "SCAN 2 CONSTANT ROWS", "SCAN 7-ROW VALUES CLAUSE", // what was read by an index
}

// A page of a list of many invitations is read along the index that has its order, whatever is rare among them: on neither
// store along another.
func TestSearchesReadAlongTheirIndex(t *testing.T) {
	const all, state, source, both = "invitations_pkey", "invitations_by_state", "invitations_by_source", "invitations_by_source_and_state"
	const address, domain = "invitations_email_key", "invitations_by_domain"
	tests := []struct {
		name string
		Search
		few  bool     // the filters leave few
		want []string // the index of each lane
	}{
		{name: "all", want: []string{all}},
		{name: "a state", Search: Search{State: Held}, want: []string{state}},
		{name: "a source", Search: Search{Source: "form"}, want: []string{source}},
		{name: "a state of a source", Search: Search{State: Held, Source: "form"}, want: []string{both}},
		{name: "an address", Search: Search{Text: "grace000777@example.com"}, want: []string{address}},
		{name: "the beginning of an address", Search: Search{Text: "grace000777@e"}, want: []string{address}},
		{name: "a letter", Search: Search{Text: "g"}, want: []string{address, domain}},
		{name: "a letter in a state", Search: Search{Text: "g", State: Sent}, want: []string{address, domain}},
		{name: "a letter in a state of few", Search: Search{Text: "g", State: Held}, few: true, want: []string{state, state}},
		{name: "a domain in a state of a source of few", Search: Search{Text: "@e", State: Held, Source: "form"}, few: true, want: []string{both}},
		{name: "a domain", Search: Search{Text: "@example.com"}, want: []string{domain}},
		{name: "a domain in a state of a source", Search: Search{Text: "@example.com", State: Sent, Source: "form"}, want: []string{domain}},
	}
	run := func(t *testing.T, l *Ledger, plan func(t *testing.T, query string, args []any) string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				tt.Limit = 50
				f := finder{Ledger: l, Search: tt.Search, lanes: lanesOf(tt.Text), few: tt.few}
				for i, lane := range f.lanes {
					key := map[order]string{byAddress: "grace000777@example.com", byDomain: "example.com"}[lane.order]
					for _, from := range []*place{nil, {order: lane.order, key: key, id: 777}} {
						for _, back := range []bool{false, true} {
							for _, s := range f.stretches(lane, from, back) {
								query, args := f.query(lane, s, 51)
								got := plan(t, query, args)
								if !strings.Contains(got, tt.want[i]) || strings.Contains(got, "Seq Scan on invitations") {
									t.Errorf("%s %v does not read along %s:\n%s\n%s", query, args, tt.want[i], query, got)
								}
							}
						}
					}
				}
			})
		}
	}
	lists := func(t *testing.T, l *Ledger, plan func(t *testing.T, query string, args []any) string) {
		for want, f := range map[string]Filter{all: {Limit: 50}, state: {State: Held, Limit: 50}, source: {Source: "form", Limit: 50}, both: {State: Held, Source: "form", Limit: 50}} {
			for _, f := range []Filter{f, {State: f.State, Source: f.Source, Since: time.Now(), Before: 777, Limit: 50}} {
				query, args := f.query(l.grammar, 7)
				if got := plan(t, query, args); !strings.Contains(got, want) {
					t.Errorf("%s %v does not read along %s:\n%s", query, args, want, got)
				}
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		l, path := openHere(t)
		crowded(t, "sqlite", path)
		names := strings.NewReplacer("USING INTEGER PRIMARY KEY", all, "SCAN invitations", all, // by its identities
			"sqlite_autoindex_invitations_1", address)
		read := func(t *testing.T, query string, args []any) string {
			t.Helper()
			return names.Replace(plan(t, l, query, args...))
		}
		run(t, l, read)
		lists(t, l, read)
	})
	t.Run("postgres", func(t *testing.T) {
		l, address := openPostgresAt(t)
		crowded(t, "pgx", address)
		read := func(t *testing.T, query string, args []any) string {
			t.Helper()
			tx, err := l.read.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			// As a connection plans what it was asked often: without looking at the values.
			if _, err := tx.ExecContext(t.Context(), `set local plan_cache_mode = force_generic_plan`); err != nil {
				t.Fatal(err)
			}
			lines, err := collect(t.Context(), tx, func(row scanner) (line string, err error) { err = row.Scan(&line); return line, err }, "explain "+query, args...)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(lines, "\n")
		}
		run(t, l, read)
		lists(t, l, read)
	})
}

// crowded puts as many into a ledger as make the planner think.
func crowded(t *testing.T, driver, address string) {
	t.Helper()
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := ledgertest.Crowd(t.Context(), db, map[string]string{"pgx": "postgres", "sqlite": "sqlite"}[driver], 20_000); err != nil {
		t.Fatal(err)
	}
}
