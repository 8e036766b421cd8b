package ledger_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func itoa(i int) string { return strconv.Itoa(i) }

func ids(invitations []ledger.Invitation) []int64 {
	all := []int64{}
	for _, inv := range invitations {
		all = append(all, inv.ID)
	}
	return all
}

func testQuery(t *testing.T, open opener) {
	t.Run("lists by what a filter names", func(t *testing.T) {
		l, c := opened(t, open)
		for i, source := range []string{"stripe", "form", "stripe", "form", "stripe"} { // an hour apart
			v := verdict(t, "evt_"+itoa(i), "person"+itoa(i+1)+"@example.com", access.Invite)
			v.Event.Source = source
			must[int64](t)(l.Record(t.Context(), v))
			c.step(time.Hour)
		}
		put(t, l, invitation(t, l, 2), ledger.Failed)
		put(t, l, invitation(t, l, 3), ledger.Failed)
		tests := []struct {
			name   string
			filter ledger.Filter
			want   []int64
		}{
			{name: "nothing takes everything, newest first", want: []int64{5, 4, 3, 2, 1}},
			{name: "a state", filter: ledger.Filter{State: ledger.Failed}, want: []int64{3, 2}},
			{name: "a state that none has", filter: ledger.Filter{State: ledger.Sent}, want: []int64{}},
			{name: "a source", filter: ledger.Filter{Source: "form"}, want: []int64{4, 2}},
			{name: "an address", filter: ledger.Filter{Email: "person4@example.com"}, want: []int64{4}},
			{name: "a part of an address finds nothing", filter: ledger.Filter{Email: "person"}, want: []int64{}},
			{name: "a wildcard finds nothing", filter: ledger.Filter{Email: "%"}, want: []int64{}},
			{name: "a quote finds nothing", filter: ledger.Filter{Source: "' or 1=1 --"}, want: []int64{}},
			{name: "state and source", filter: ledger.Filter{State: ledger.Failed, Source: "stripe"}, want: []int64{3}},
			{name: "the first page", filter: ledger.Filter{Limit: 2}, want: []int64{5, 4}},
			{name: "the next page", filter: ledger.Filter{Limit: 2, Before: 4}, want: []int64{3, 2}},
			{name: "the last page", filter: ledger.Filter{Limit: 2, Before: 2}, want: []int64{1}},
			{name: "a time, to the millisecond", filter: ledger.Filter{Since: start.Add(3 * time.Hour)}, want: []int64{5, 4}},
			{name: "a time just after", filter: ledger.Filter{Since: start.Add(3*time.Hour + time.Millisecond)}, want: []int64{5}},
			{name: "a time to come", filter: ledger.Filter{Since: start.Add(99 * time.Hour)}, want: []int64{}},
			{name: "a time before all", filter: ledger.Filter{Since: start.Add(-time.Hour)}, want: []int64{5, 4, 3, 2, 1}},
			{name: "a time, a state and a page", filter: ledger.Filter{Since: start.Add(time.Hour), State: ledger.Failed, Before: 3}, want: []int64{2}},
			{name: "all together", filter: ledger.Filter{State: ledger.Queued, Source: "stripe", Since: start, Before: 5, Limit: 9, Email: "person1@example.com"}, want: []int64{1}},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				same(t, "invitations", ids(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), tt.filter))), tt.want)
			})
		}
	})

	t.Run("sums up", func(t *testing.T) {
		l, c := opened(t, open)
		s := summary(t, l)
		equal(t, "states of an empty ledger", len(s.Invitations), len(ledger.States()))
		equal(t, "oldest of an empty ledger", s.OldestWaiting, time.Time{})
		equal(t, "stopped", s.Pace.StoppedReason, "")

		c.step(time.Hour)
		for i, state := range ledger.States() {
			put(t, l, invited(t, l, "person"+itoa(i)+"@example.com"), state)
		}
		s = summary(t, l)
		for _, state := range ledger.States() {
			equal(t, "invitations "+string(state), s.Invitations[state], 1)
		}
		equal(t, "oldest is the one queued", s.OldestWaiting, start.Add(time.Hour))
		accept(t, l, "poison") // received at start
		equal(t, "oldest is the delivery", summary(t, l).OldestWaiting, start)
		for range 3 {
			decide(t, l)
		}
		s = summary(t, l)
		equal(t, "set aside", s.SetAside, 1)
		equal(t, "undecided", s.Undecided, 0)
		equal(t, "what is set aside does not wait", s.OldestWaiting, start.Add(time.Hour))
	})

	t.Run("counts the links that die soon", func(t *testing.T) {
		l, c := opened(t, open)
		for i, in := range []time.Duration{-time.Hour, ledger.ExpiringWithin, ledger.ExpiringWithin + time.Millisecond} {
			must[bool](t)(l.Settle(t.Context(), invited(t, l, "person"+itoa(i)+"@example.com"), ledger.Settlement{State: ledger.Sent, ExpiresAt: c.Now().Add(in),
				Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Outcome: "sent"}}))
		}
		must[ledger.Invitation](t)(l.Revoke(t.Context(), "test", invited(t, l, "person0@example.com").ID))
		invited(t, l, "queued@example.com")
		equal(t, "expiring", summary(t, l).Expiring, 1)
	})

	t.Run("finds the newest event by its sender's identity", func(t *testing.T) {
		l, _ := opened(t, open)
		for _, source := range []string{"stripe", "form"} {
			v := verdict(t, "evt_1", "jane@example.com", access.Invite)
			v.Event.Source = source
			must[int64](t)(l.Record(t.Context(), v))
		}
		equal(t, "source", event(t, l, "evt_1").Details.Source, "form")
		equal(t, "invitations of both", len(ids(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{})))), 1)
	})
}
