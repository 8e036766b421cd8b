package ledger_test

import (
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func testEvents(t *testing.T, open opener) {
	l, c := opened(t, open)
	// Seven events, an hour apart. The sixth waits for a look-up.
	record := func(id, email, source, kind string, outcome access.Outcome, reason access.Reason, lookUp bool) {
		t.Helper()
		v := verdict(t, id, email, outcome)
		v.Event.Source, v.Event.Type, v.Decision.Reason, v.LookUp = source, kind, reason, lookUp
		must[int64](t)(l.Record(t.Context(), v))
		c.step(time.Hour)
	}
	record("evt_1", "ada@example.com", "stripe", "invoice.paid", access.Invite, "external", false)
	record("evt_2", "bob@example.com", "stripe", "invoice.paid", access.Skip, "no_address", false)
	record("evt_3", "ada@example.com", "form", "submitted", access.Skip, "no_address", false)
	record("evt_4", "eve@example.com", "form", "submitted", access.Hold, "rule", false)
	record("evt_5", "bob@example.com", "stripe", "invoice.paid", access.Skip, "no_address", false)
	record("evt_6", "bob@example.com", "stripe", "invoice.paid", access.Skip, "no_address", true)
	record("evt_7", "ada@example.com", "stripe", "checkout", access.Skip, "test_mode", false)
	// The second is decided anew: what was said of it before no longer finds it.
	record("evt_2", "zoe@example.com", "stripe", "invoice.paid", access.Invite, "external", false)
	// The fifth too, for the same reason: it is there once.
	record("evt_5", "bob@example.com", "stripe", "invoice.paid", access.Skip, "no_address", false)

	tests := []struct {
		name   string
		filter ledger.EventFilter
		want   []int64
	}{
		{name: "nothing takes everything, newest first", want: []int64{7, 6, 5, 4, 3, 2, 1}},
		{name: "a reason, of the decision that holds", filter: ledger.EventFilter{Reason: "no_address"}, want: []int64{5, 3}},
		{name: "a reason that a later decision gave", filter: ledger.EventFilter{Reason: "external"}, want: []int64{2, 1}},
		{name: "a reason that none has", filter: ledger.EventFilter{Reason: "malformed"}, want: []int64{}},
		{name: "an outcome", filter: ledger.EventFilter{Outcome: access.Hold}, want: []int64{4}},
		{name: "an outcome, of the decision that holds", filter: ledger.EventFilter{Outcome: access.Skip}, want: []int64{7, 5, 3}},
		{name: "a source", filter: ledger.EventFilter{Source: "form"}, want: []int64{4, 3}},
		{name: "a type", filter: ledger.EventFilter{Type: "invoice.paid"}, want: []int64{6, 5, 2, 1}},
		{name: "an address", filter: ledger.EventFilter{Email: "ada@example.com"}, want: []int64{7, 3, 1}},
		{name: "an address that an earlier decision had", filter: ledger.EventFilter{Email: "bob@example.com"}, want: []int64{5}},
		{name: "a part of an address finds nothing", filter: ledger.EventFilter{Email: "ada"}, want: []int64{}},
		{name: "a wildcard finds nothing", filter: ledger.EventFilter{Reason: "%"}, want: []int64{}},
		{name: "a quote finds nothing", filter: ledger.EventFilter{Type: "' or 1=1 --"}, want: []int64{}},
		{name: "a time, to the millisecond", filter: ledger.EventFilter{Since: start.Add(5 * time.Hour)}, want: []int64{7, 6}},
		{name: "a time just after", filter: ledger.EventFilter{Since: start.Add(5*time.Hour + time.Millisecond)}, want: []int64{7}},
		{name: "a time to come", filter: ledger.EventFilter{Since: start.Add(time.Hour * 99)}, want: []int64{}},
		{name: "a time and a reason", filter: ledger.EventFilter{Since: start.Add(3 * time.Hour), Reason: "no_address"}, want: []int64{5}},
		{name: "the first page", filter: ledger.EventFilter{Limit: 2}, want: []int64{7, 6}},
		{name: "the next page", filter: ledger.EventFilter{Limit: 2, Before: 6}, want: []int64{5, 4}},
		{name: "the first page of a reason", filter: ledger.EventFilter{Reason: "no_address", Limit: 1}, want: []int64{5}},
		{name: "the next page of a reason", filter: ledger.EventFilter{Reason: "no_address", Limit: 1, Before: 5}, want: []int64{3}},
		{name: "beyond the last page of a reason", filter: ledger.EventFilter{Reason: "no_address", Limit: 1, Before: 3}, want: []int64{}},
		{name: "all together", filter: ledger.EventFilter{Reason: "external", Outcome: access.Invite, Source: "stripe", Type: "invoice.paid",
			Email: "ada@example.com", Since: start, Before: 9, Limit: 9}, want: []int64{1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := []int64{}
			for _, e := range must[[]ledger.Event](t)(l.Events(t.Context(), tt.filter)) {
				found = append(found, e.ID)
			}
			same(t, "events", found, tt.want)
		})
	}

	t.Run("each has the decision that holds, and only that", func(t *testing.T) {
		list := must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{Before: 7}))
		equal(t, "decisions of what waits", len(list[0].Decisions), 0)
		for _, listed := range list[1:] {
			shown := must[ledger.Event](t)(l.Event(t.Context(), listed.ID))
			shown.Decisions = shown.Decisions[len(shown.Decisions)-1:]
			same(t, "event", listed, shown)
		}
		for i, byReason := range must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{Reason: "external"})) {
			same(t, "the same by its reason", byReason, list[4+i])
		}
	})
}
