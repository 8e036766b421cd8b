package ledger

import (
	"strings"
	"testing"
	"time"
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
