package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// past tells what History reads, a line for each delivery.
func past(t *testing.T, l *ledger.Ledger, since time.Time) []string {
	t.Helper()
	lines := []string{}
	check(t, l.History(t.Context(), since, func(string, int64, int64) {}, singly(func(p ledger.Past) error {
		line := fmt.Sprintf("%d %s", p.Delivery.ID, strings.ReplaceAll(string(p.Delivery.Body), "\n", "/"))
		if p.BodyGone {
			line += "gone"
		}
		if p.Waits {
			line += " waits"
		}
		if p.SetAside != "" {
			line += " aside"
		}
		for _, e := range p.Events {
			d, decided := e.Decided()
			line += fmt.Sprintf(" | %s %s", e.SenderID, d.Outcome)
			if !decided {
				line += "undecided"
			}
			if e.Invitation != 0 {
				line += fmt.Sprintf(" %s %v %v", e.State, e.Groups, e.Newest)
			}
			if e.LookedUp {
				line += " looked up"
			}
		}
		for _, e := range p.Resent {
			line += " | again " + e.SenderID
		}
		lines = append(lines, line)
		return nil
	})))
	return lines
}

func singly(each func(ledger.Past) error) func([]ledger.Past) error {
	return func(page []ledger.Past) error {
		for _, p := range page {
			if err := each(p); err != nil {
				return err
			}
		}
		return nil
	}
}

func testHistory(t *testing.T, open opener) {
	t.Run("is all that came, newest first, then what was asked for by hand", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 jane@example.com invite\nevt_2 bob@example.com skip")
		must[int64](t)(l.Record(t.Context(), verdict(t, "hand_1", "jane@example.com", access.Invite)))
		v := verdict(t, "hand_2", "carol@example.com", access.Hold)
		v.Decision.Groups = []int64{7}
		must[int64](t)(l.Record(t.Context(), v))
		tell(t, l, "evt_1 jane@example.com invite")
		accept(t, l, "poison")
		for range 3 {
			decide(t, l)
		}
		replayed := tell(t, l, "evt_3 bob@example.com hold")
		check(t, l.Replay(t.Context(), by, replayed))
		accept(t, l, "evt_4 dave@example.com invite")
		same(t, "history", past(t, l, time.Time{}), []string{
			"5 evt_4 dave@example.com invite waits",
			"4 evt_3 bob@example.com hold waits | evt_3 hold held [] true",
			"3 poison aside",
			"2 evt_1 jane@example.com invite | again evt_1",
			"1 evt_1 jane@example.com invite/evt_2 bob@example.com skip | evt_1 invite queued [] false | evt_2 skip",
			"0 gone | hand_2 hold held [7] true",
			"0 gone | hand_1 invite queued [] true",
		})
	})

	t.Run("knows the decision that holds, and that a sender was asked", func(t *testing.T) {
		l, _ := opened(t, open)
		delivery := accept(t, l, "asks")
		must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
			return []ledger.Verdict{asksFor("crm", "crm_1"), asksFor("crm", "crm_2")}, nil
		}))
		check(t, l.DecideEvent(t.Context(), ledger.LookUpEvent{Event: 1}, verdict(t, "crm_1", "jane@example.com", access.Invite), ledger.Attempt{Kind: "customer", Outcome: "found"}))
		same(t, "history", past(t, l, time.Time{}), []string{"1 asks | crm_1 invite queued [] true looked up | crm_2 undecided"})
		check(t, l.Replay(t.Context(), by, delivery))
		must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
			v := verdict(t, "crm_1", "jane@example.com", access.Skip)
			v.Event.Source = "crm"
			return []ledger.Verdict{v}, nil
		}))
		same(t, "history after a replay", past(t, l, time.Time{}), []string{"1 asks | crm_1 skip looked up | crm_2 undecided"})
	})

	t.Run("begins at a moment", func(t *testing.T) {
		l, c := opened(t, open)
		at := func(moment time.Time, body string) {
			must[int64](t)(l.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: moment, VerifiedBy: "secrets[0]", Request: "{}", Body: []byte(body)}))
		}
		for hour := range 30 {
			at(start.Add(time.Duration(hour)*time.Hour), fmt.Sprintf("evt_%d p%[1]d@example.com skip", hour))
		}
		decide(t, l)
		must[int64](t)(l.Record(t.Context(), verdict(t, "hand_1", "jane@example.com", access.Invite)))
		c.step(28 * time.Hour)
		must[int64](t)(l.Record(t.Context(), verdict(t, "hand_2", "jane@example.com", access.Invite)))
		same(t, "history", past(t, l, start.Add(28*time.Hour)), []string{
			"30 evt_29 p29@example.com skip | evt_29 skip", "29 evt_28 p28@example.com skip | evt_28 skip", "0 gone | hand_2 invite queued [] true"})
		equal(t, "all", len(past(t, l, start)), 32)
		equal(t, "none", len(past(t, l, start.Add(100*time.Hour))), 0)
	})

	t.Run("keeps what retention left", func(t *testing.T) {
		l, c := opened(t, open)
		tell(t, l, "evt_1 jane@example.com invite")
		c.step(91 * day)
		tidied(t, l, ledger.Retention{Bodies: 90 * day})
		same(t, "history", past(t, l, time.Time{}), []string{"1 gone | evt_1 invite queued [] true"})
	})

	t.Run("goes through many pages, long bodies too", func(t *testing.T) {
		l, _ := opened(t, open)
		long := "evt_long jane@example.com skip " + strings.Repeat("x", 900<<10)
		for i := range 450 {
			body := fmt.Sprintf("evt_%d jane@example.com skip", i)
			if i%40 == 0 {
				body = strings.Replace(long, "long", fmt.Sprint(i), 1)
			}
			accept(t, l, body)
		}
		for decide(t, l) > 0 {
		}
		var deliveries []int64
		steps := map[string]int{}
		check(t, l.History(t.Context(), time.Time{}, func(step string, done, total int64) {
			steps[step]++
			if done > total {
				t.Errorf("%s: %d of %d are done", step, done, total)
			}
		}, singly(func(p ledger.Past) error {
			if len(p.Events) != 1 {
				t.Errorf("delivery %d has %d events", p.Delivery.ID, len(p.Events))
			}
			deliveries = append(deliveries, p.Delivery.ID)
			return nil
		})))
		equal(t, "deliveries", len(deliveries), 450)
		equal(t, "the newest", deliveries[0], 450)
		equal(t, "the oldest", deliveries[449], 1)
		equal(t, "more than one page", steps["reading deliveries"] > 2, true)
	})

	t.Run("can be broken off", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 jane@example.com invite")
		tell(t, l, "evt_2 jane@example.com invite")
		enough, n := errors.New("enough"), 0
		isError(t, l.History(t.Context(), time.Time{}, func(string, int64, int64) {}, singly(func(ledger.Past) error { n++; return enough })), enough)
		equal(t, "looked at", n, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		isError(t, l.History(ctx, time.Time{}, func(string, int64, int64) {}, singly(func(ledger.Past) error { return nil })), context.Canceled)
	})

	t.Run("finds what brought an event again, and whom an address means", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 jane@example.com invite")
		for range 3 {
			tell(t, l, "evt_1 jane@example.com invite")
		}
		again := must[[]ledger.Delivery](t)(l.ResentBy(t.Context(), 1, 2))
		equal(t, "deliveries", len(again), 2)
		equal(t, "the first", again[0].ID, 2)
		equal(t, "its body", string(again[0].Body), "evt_1 jane@example.com invite")
		_, corrected, err := l.Correct(t.Context(), by, 1, verdict(t, "correction", "jayne@example.com", access.Invite))
		check(t, err)
		equal(t, "invitation", must[ledger.Invitation](t)(l.InvitationFor(t.Context(), "jane@example.com")).ID, corrected.ID)
		_, err = l.InvitationFor(t.Context(), "nobody@example.com")
		isError(t, err, ledger.ErrNotFound)
	})
}
