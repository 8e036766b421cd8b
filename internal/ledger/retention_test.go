package ledger_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

const day = 24 * time.Hour

// tidied tidies until there is no more, and returns what was removed and in how many turns.
func tidied(t *testing.T, l *ledger.Ledger, keep ledger.Retention) (all ledger.Tidied, turns int) {
	t.Helper()
	for {
		n, more, err := l.Tidy(t.Context(), keep)
		check(t, err)
		all.Add(n)
		if turns++; !more {
			return all, turns
		}
	}
}

func testRetentionOfBodies(t *testing.T, open opener) {
	keep := ledger.Retention{Bodies: 90 * day}

	t.Run("empties what is decided and old, and leaves the rest", func(t *testing.T) {
		l, c := opened(t, open)
		old := tell(t, l, "evt_1 jane@example.com invite")
		waits := accept(t, l, "poison")
		young := must[int64](t)(l.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: start.Add(time.Hour), VerifiedBy: "secrets[0]", Body: []byte("evt_2 bob@example.com invite")}))
		for range 4 {
			decide(t, l) // sets the poison aside
		}
		equal(t, "set aside", summary(t, l).SetAside, 1)

		c.step(90 * day)
		n, _ := tidied(t, l, keep)
		same(t, "nothing is older than its age to the millisecond", n, ledger.Tidied{})
		c.step(time.Millisecond)
		n, _ = tidied(t, l, keep)
		same(t, "removed", n, ledger.Tidied{Bodies: 1})
		isError(t, l.Replay(t.Context(), by, old), ledger.ErrBodyGone)
		isError(t, l.Replay(t.Context(), by, 99), ledger.ErrNotFound)
		check(t, l.Replay(t.Context(), by, young))
		decide(t, l)
		equal(t, "the event stays", event(t, l, "evt_1").DeliveryID, old)
		equal(t, "its invitation too", len(ids(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{})))), 2)

		check(t, l.Replay(t.Context(), by, waits))
		n, _ = tidied(t, l, keep)
		same(t, "removed while it waits", n, ledger.Tidied{})
		bodies := kept(t, l)
		equal(t, "what was set aside kept its body", string(bodies[waits].Body), "poison")
		n, _ = tidied(t, l, keep)
		same(t, "removed once it is decided", n, ledger.Tidied{Bodies: 1})
		isError(t, l.Replay(t.Context(), by, waits), ledger.ErrBodyGone)
	})

	t.Run("goes on where it ended, a little at a time", func(t *testing.T) {
		l, c := opened(t, open)
		for range 250 {
			accept(t, l, "evt_1 jane@example.com skip")
		}
		for decide(t, l) > 0 {
		}
		c.step(91 * day)
		var each []int64
		for more := true; more; {
			var n ledger.Tidied
			var err error
			n, more, err = l.Tidy(t.Context(), keep)
			check(t, err)
			each = append(each, n.Bodies)
		}
		same(t, "bodies in each turn", each, []int64{100, 100, 50, 0})
	})

	t.Run("does not call a resend another body when there is none to compare", func(t *testing.T) {
		l, c := opened(t, open)
		accept(t, l, oneA)
		must[int](t)(l.Decide(t.Context(), 9, readings(t, nil)))
		c.step(91 * day)
		n, turns := tidied(t, l, ledger.Retention{})
		same(t, "removed where zero is for ever", n, ledger.Tidied{})
		equal(t, "turns", turns, 1)
		tidied(t, l, keep)
		accept(t, l, oneA)
		must[int](t)(l.Decide(t.Context(), 9, readings(t, nil)))
		same(t, "events", events(t, l), []string{"evt_1 of 1 +1"})
	})
}

// One ledger serves all: what retention has passed by, it never looks at again.
func testRetentionOfEvents(t *testing.T, open opener) {
	l, c := opened(t, open)
	keep := ledger.Retention{Events: 400 * day}
	read := func(t *testing.T, body string) (delivery int64) {
		t.Helper()
		delivery = accept(t, l, body)
		equal(t, "decided", must[int](t)(l.Decide(t.Context(), 9, readings(t, nil))), 1)
		return delivery
	}
	newest := 0
	goes := func(t *testing.T, want ledger.Tidied) {
		t.Helper()
		c.step(400*day + time.Millisecond)
		newest++ // the newest stays
		read(t, fmt.Sprintf("newest_%d bob@example.com hold", newest))
		n, _ := tidied(t, l, keep)
		same(t, "removed", n, want)
	}
	tests := []struct {
		name   string
		bodies []string
		want   ledger.Tidied
		left   []string
	}{
		{name: "a skipped event goes with its delivery", bodies: []string{"evt_1 jane@example.com skip"}, want: ledger.Tidied{Events: 1, Deliveries: 1}},
		{name: "an invited and a held one stay", bodies: []string{"evt_1 jane@example.com invite", "evt_2 bob@example.com hold"}, left: []string{"evt_1", "evt_2"}},
		{name: "one that was sent again goes with all its deliveries", bodies: []string{"evt_1 jane@example.com skip", "evt_1 jane@example.com skip"}, want: ledger.Tidied{Events: 1, Deliveries: 2}},
		{name: "a delivery stays for the other event that it brought", bodies: []string{"evt_1 jane@example.com skip\nevt_2 jane@example.com invite"}, want: ledger.Tidied{Events: 1}, left: []string{"evt_2"}},
		{name: "a delivery stays for what it brought again", bodies: []string{"evt_2 jane@example.com invite", "evt_2 jane@example.com invite\nevt_1 jane@example.com skip"}, want: ledger.Tidied{Events: 1}, left: []string{"evt_2"}},
		{name: "one that invites since it was sent again stays", bodies: []string{"evt_1 jane@example.com skip A", "evt_1 jane@example.com invite A"}, left: []string{"evt_1"}},
		{name: "one whose identity was used again stays, the other goes", bodies: []string{"evt_1 jane@example.com skip A", "evt_1 jane@example.com skip B"}, want: ledger.Tidied{Events: 1, Deliveries: 1}, left: []string{"evt_1"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			own := fmt.Sprintf("case%d_", i)
			for _, body := range tt.bodies {
				read(t, strings.ReplaceAll(body, "evt_", own))
			}
			c.step(400*day - time.Hour)
			n, _ := tidied(t, l, keep)
			same(t, "removed too early", n, ledger.Tidied{})
			goes(t, tt.want)
			var left []string
			for _, e := range events(t, l) {
				if id, mine := strings.CutPrefix(e, own); mine {
					left = append(left, "evt_"+strings.Fields(id)[0])
				}
			}
			same(t, "left", left, tt.left)
		})
	}

	t.Run("a decision that named an invitation keeps its event, whatever came after", func(t *testing.T) {
		id := read(t, "evt_1 jane@example.com invite")
		check(t, l.Replay(t.Context(), by, id))
		must[int](t)(l.Decide(t.Context(), 9, readings(t, map[int64]string{id: "evt_1 jane@example.com skip"})))
		goes(t, ledger.Tidied{})
	})

	t.Run("one that waits for a look-up stays; one skipped after it goes with its look-ups", func(t *testing.T) {
		accept(t, l, "any")
		must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
			return []ledger.Verdict{asksFor("crm", "crm_1"), asksFor("crm", "crm_2")}, nil
		}))
		asked := event(t, l, "crm_1").ID
		nobody := ledger.Verdict{Event: access.Event{Source: "crm", ID: "crm_1"}, Decision: access.Decision{Outcome: access.Skip, Reason: access.ReasonNoAddress, Rule: -1}}
		check(t, l.DecideEvent(t.Context(), ledger.LookUpEvent{Event: asked}, nobody, ledger.Attempt{Kind: "customer", StartedAt: start, Outcome: "never"}))
		equal(t, "look-ups", len(must[[]ledger.Attempt](t)(l.LookUps(t.Context(), asked))), 1)
		goes(t, ledger.Tidied{Events: 1})
		equal(t, "look-ups left", len(must[[]ledger.Attempt](t)(l.LookUps(t.Context(), asked))), 0)
		equal(t, "the other waits", len(event(t, l, "crm_2").Decisions), 0)
	})

	t.Run("a delivery that waits to be decided again keeps its event", func(t *testing.T) {
		check(t, l.Replay(t.Context(), by, read(t, "evt_2 jane@example.com skip")))
		c.step(401 * day)
		n, _ := tidied(t, l, keep)
		same(t, "removed", n, ledger.Tidied{})
		equal(t, "decided", must[int](t)(l.Decide(t.Context(), 9, readings(t, nil))), 1)
		goes(t, ledger.Tidied{Events: 1, Deliveries: 1})
	})

	t.Run("what is gone is forgotten", func(t *testing.T) {
		id := read(t, "evt_3 jane@example.com skip")
		goes(t, ledger.Tidied{Events: 1, Deliveries: 1})
		isError(t, l.Replay(t.Context(), by, id), ledger.ErrNotFound)
		read(t, "evt_3 jane@example.com skip")
		equal(t, "resends", event(t, l, "evt_3").Resends, 0)
		goes(t, ledger.Tidied{Events: 1, Deliveries: 1})
	})

	t.Run("many go a little at a time", func(t *testing.T) {
		var body strings.Builder
		for i := range 230 {
			fmt.Fprintf(&body, "many_%d person%d@example.com skip\n", i, i)
		}
		read(t, body.String())
		read(t, "last bob@example.com skip")
		c.step(401 * day)
		n, turns := tidied(t, l, keep)
		same(t, "removed", n, ledger.Tidied{Events: 230, Deliveries: 1})
		equal(t, "turns", turns, 4)
	})
}

func testRetentionOfJobs(t *testing.T, open opener) {
	l, c := opened(t, open)
	invited(t, l, "jane@example.com")
	invited(t, l, "bob@example.com")
	client := must[*river.Client[*sql.Tx]](t)(river.NewClient(l.Driver(), &river.Config{SkipUnknownJobCheck: true}))
	_, err := client.JobCancel(t.Context(), jobs(t, l, "invite")[0].ID) // at the real time
	check(t, err)
	c.step(time.Since(start) + 5*time.Minute)
	n, _ := tidied(t, l, ledger.Retention{})
	same(t, "removed after 5 minutes", n, ledger.Tidied{})
	c.step(6 * time.Minute)
	n, _ = tidied(t, l, ledger.Retention{})
	same(t, "removed after 11 minutes", n, ledger.Tidied{Jobs: 1})
	equal(t, "the other stays", len(jobs(t, l, "invite")), 1)
}
