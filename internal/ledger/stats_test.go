package ledger_test

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func testStats(t *testing.T, open opener) {
	l, c := opened(t, open)
	stats := func() ledger.Stats {
		t.Helper()
		return must[ledger.Stats](t)(l.Stats(t.Context()))
	}
	shown := func(s ledger.Stats) (days []string) {
		for i, d := range s.Days {
			if d.Events > 0 || len(d.Invitations) > 0 {
				days = append(days, fmt.Sprintf("%d: %s %d %v", i, d.Start.Format("01-02"), d.Events, d.Invitations))
			}
		}
		return days
	}
	record := func(id, email, source string, outcome access.Outcome) int64 {
		t.Helper()
		v := verdict(t, id, email, outcome)
		v.Event.Source = source
		return must[int64](t)(l.Record(t.Context(), v))
	}

	t.Run("of an empty ledger", func(t *testing.T) {
		s := stats()
		equal(t, "days", len(s.Days), ledger.StatsDays)
		equal(t, "today", s.Days[30].Start, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
		equal(t, "the first day", s.Days[0].Start, time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC))
		same(t, "days with anything", shown(s), []string(nil))
		equal(t, "sources", len(s.Sources), 0)
	})

	record("evt_1", "ada@example.com", "stripe", access.Invite) // 1 March, 12:00
	record("evt_2", "bob@example.com", "stripe", access.Skip)
	held := record("evt_3", "eve@example.com", "form", access.Hold)
	same(t, "the first day", shown(stats()), []string{"30: 03-01 3 map[held:1 queued:1]"})

	c.step(12*time.Hour - time.Millisecond) // the last of its day
	record("evt_4", "zoe@example.com", "form", access.Invite)
	same(t, "to its end", shown(stats()), []string{"30: 03-01 4 map[held:1 queued:2]"})

	c.step(time.Millisecond) // the first of the next
	record("evt_5", "joe@example.com", "form", access.Invite)
	same(t, "and the next", shown(stats()), []string{"29: 03-01 4 map[held:1 queued:2]", "30: 03-02 1 map[queued:1]"})

	c.step(11 * time.Minute) // from now on the past is known
	stats()
	put(t, l, invitation(t, l, 1), ledger.Sent)
	must[ledger.Invitation](t)(l.Approve(t.Context(), by, held))
	record("evt_6", "ann@example.com", "stripe", access.Invite)
	same(t, "what became of the past", shown(stats()), []string{"29: 03-01 4 map[queued:2 sent:1]", "30: 03-02 2 map[queued:2]"})
	var made int64
	for _, d := range stats().Days {
		made += d.Made()
	}
	equal(t, "made", made, 5)
	equal(t, "in all", stats().Invitations[ledger.Queued], 4)

	c.step(30 * 24 * time.Hour)
	same(t, "a month later", shown(stats()), []string{"0: 03-02 2 map[queued:2]"})
	c.step(24 * time.Hour)
	same(t, "and a day", shown(stats()), []string(nil))

	t.Run("sources", func(t *testing.T) {
		last := start.Add(12*time.Hour + 11*time.Minute)
		same(t, "sources", stats().Sources, []ledger.SourceStats{{Source: "form", LastEvent: start.Add(12 * time.Hour)}, {Source: "stripe", LastEvent: last}})
		record("evt_7", "ada@example.com", "stripe", access.Invite)
		c.step(24 * time.Hour)
		equal(t, "a day later, to the millisecond", stats().Sources[1].LastDay, 1)
		c.step(time.Millisecond)
		equal(t, "and one more", stats().Sources[1].LastDay, 0)
	})

	t.Run("what expires", func(t *testing.T) {
		inv := invited(t, l, "soon@example.com")
		must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Sent, ExpiresAt: c.Now().Add(7 * day),
			Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Outcome: "sent"}}))
		c.step(5*day - time.Millisecond)
		equal(t, "not yet", stats().Expiring, 0)
		equal(t, "none", len(must[[]ledger.Invitation](t)(l.ExpiringSoon(t.Context(), 9))), 0)
		c.step(time.Millisecond)
		equal(t, "now", stats().Expiring, 1)
		same(t, "which", ids(must[[]ledger.Invitation](t)(l.ExpiringSoon(t.Context(), 9))), []int64{inv.ID})
		must[ledger.Invitation](t)(l.Revoke(t.Context(), by, inv.ID))
		equal(t, "not any more", stats().Expiring, 0)
	})

	t.Run("asked by many at once", func(t *testing.T) {
		done := make(chan error)
		for range 20 {
			go func() {
				_, err := l.Stats(context.Background())
				done <- err
			}()
		}
		for range 20 {
			check(t, <-done)
		}
	})
}

var (
	statsLedger = flag.String("stats-ledger", "", "the ledger that BenchmarkStats reads: an address")
)

// BenchmarkStats counts a ledger that is there, such as one of ledgertest.Grow:
//
//	go test ./internal/ledger -run '^$' -bench Stats -stats-ledger sqlite://…
func BenchmarkStats(b *testing.B) {
	if *statsLedger == "" {
		b.Skip("no -stats-ledger")
	}
	l, err := ledger.Open(b.Context(), *statsLedger, ledger.Options{AsItIs: true})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for i := range 2 {
		begun := time.Now()
		s, err := l.CountStats(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("count %d: %v, %d sources", i, time.Since(begun), len(s.Sources))
	}
	b.Run("counted", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.CountStats(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("shown", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Stats(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
