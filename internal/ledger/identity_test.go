package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// readings decides a delivery whose lines are events: identity, address, outcome and, where there are,
// fingerprint and second identity; a dash is an event without an identity of the sender's. A line that begins with # only changes the bytes. Where today has an entry
// for the delivery, that is how it is read instead: the settings have changed.
func readings(t *testing.T, today map[int64]string) func(ledger.Delivery) ([]ledger.Verdict, error) {
	return func(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
		text, ok := today[d.ID]
		if !ok {
			text = string(d.Body)
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			words := append(strings.Fields(line), "", "")
			v := verdict(t, strings.Trim(words[0], "-"), words[1], access.Outcome(words[2]))
			v.Fingerprint, v.BodyKey = words[3], words[4]
			verdicts = append(verdicts, v)
		}
		return verdicts, nil
	}
}

// events describes every event of a ledger, oldest first.
func events(t *testing.T, l *ledger.Ledger) (all []string) {
	t.Helper()
	list := must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{}))
	slices.Reverse(list)
	for _, e := range list {
		e = must[ledger.Event](t)(l.Event(t.Context(), e.ID))
		text := fmt.Sprintf("%s of %d", e.SenderID, e.DeliveryID)
		if e.Resends > 0 {
			text += fmt.Sprintf(" +%d", e.Resends)
		}
		if e.ResentOtherwise > 0 {
			text += fmt.Sprintf(" otherwise %d", e.ResentOtherwise)
		}
		if e.ReusesIDOf > 0 {
			text += fmt.Sprintf(" reuses %d", e.ReusesIDOf)
		}
		all = append(all, text)
	}
	return all
}

func decisionCounts(t *testing.T, l *ledger.Ledger) (all []int) {
	t.Helper()
	list := must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{}))
	slices.Reverse(list)
	for _, e := range list {
		all = append(all, len(must[ledger.Event](t)(l.Event(t.Context(), e.ID)).Decisions))
	}
	return all
}

// Lines of deliveries. The second letter is what the event says.
const (
	oneA   = "evt_1 jane@example.com invite A"
	oneB   = "evt_1 jane@example.com invite B"
	oneC   = "evt_1 mallory@example.com invite C"
	twoA   = "evt_2 jane@example.com invite A"
	oneOld = "evt_1 jane@example.com invite"
	keyedA = "evt_1 jane@example.com invite A key_A"
	keyedB = "evt_1 jane@example.com invite B key_B"
)

func testIdentity(t *testing.T, open opener) {
	tests := []struct {
		name string
		told []string // one delivery each, decided before the next comes
		want []string
	}{
		{name: "an event that comes once", told: []string{oneA}, want: []string{"evt_1 of 1"}},
		{name: "the very same bytes again are a resend", told: []string{oneA, oneA}, want: []string{"evt_1 of 1 +1"}},
		{name: "the same said in other bytes is a resend", told: []string{oneA, "# later\n" + oneA}, want: []string{"evt_1 of 1 +1 otherwise 1"}},
		{name: "an identity that says something else is kept beside the first", told: []string{oneA, oneC}, want: []string{"evt_1 of 1", "evt_1#C of 2 reuses 1"}},
		{name: "both are resent, each as itself", told: []string{oneA, oneC, oneA, oneC, "# later\n" + oneC}, want: []string{"evt_1 of 1 +1", "evt_1#C of 2 +2 otherwise 1 reuses 1"}},
		{name: "a third use of an identity is flagged with the first", told: []string{oneA, oneB, oneC}, want: []string{"evt_1 of 1", "evt_1#B of 2 reuses 1", "evt_1#C of 3 reuses 1"}},
		{name: "an event of an older version matches anything", told: []string{oneOld, oneA, oneC}, want: []string{"evt_1 of 1 +2 otherwise 2"}},
		{name: "what has no fingerprint matches anything", told: []string{oneA, oneOld}, want: []string{"evt_1 of 1 +1 otherwise 1"}},
		{name: "another identity that says the same is another event", told: []string{oneA, twoA}, want: []string{"evt_1 of 1", "evt_2 of 2"}},
		{name: "a sender whose identity looks like one of ours", told: []string{oneA, "evt_1#C eve@example.com invite Z", oneC, oneC},
			want: []string{"evt_1 of 1", "evt_1#C of 2", "evt_1#C-2 of 3 +1 reuses 1"}},

		{name: "a signed body under another identity is a resend", told: []string{keyedA, "evt_9 jane@example.com invite A key_A"}, want: []string{"evt_1 of 1 +1 otherwise 1"}},
		{name: "a signed body under the identity of another event is a resend of its own", told: []string{keyedA, "evt_2 bob@example.com invite B key_B", "evt_2 jane@example.com invite A key_A"},
			want: []string{"evt_1 of 1 +1 otherwise 1", "evt_2 of 2"}},
		{name: "an unsigned identity with another body is flagged, both kept", told: []string{keyedA, keyedB}, want: []string{"evt_1 of 1", "evt_1#B of 2 reuses 1"}},
		{name: "a resend of that, under an identity of its own", told: []string{keyedA, keyedB, "evt_7 jane@example.com invite B key_B"}, want: []string{"evt_1 of 1", "evt_1#B of 2 +1 otherwise 1 reuses 1"}},
		{name: "an unsigned identity with another body that says the same is a resend", told: []string{keyedA, "evt_1 jane@example.com invite A key_A2"}, want: []string{"evt_1 of 1 +1 otherwise 1"}},

		{name: "the same twice in one delivery is one event", told: []string{oneA + "\n" + oneA}, want: []string{"evt_1 of 1"}},
		{name: "the same twice without fingerprints is one event", told: []string{oneOld + "\n" + oneOld}, want: []string{"evt_1 of 1"}},
		{name: "the same twice by its second identity is one event", told: []string{keyedA + "\nevt_2 jane@example.com invite A key_A"}, want: []string{"evt_1 of 1"}},
		{name: "one identity for two things in one delivery", told: []string{oneA + "\n" + oneC}, want: []string{"evt_1 of 1", "evt_1#C of 1 reuses 1"}},
		{name: "a resend of such a delivery", told: []string{oneA + "\n" + oneC, oneA + "\n" + oneC}, want: []string{"evt_1 of 1 +1", "evt_1#C of 1 +1 reuses 1"}},
		{name: "a resend of such a delivery in another order", told: []string{oneA + "\n" + oneC, oneC + "\n" + oneA}, want: []string{"evt_1 of 1 +1 otherwise 1", "evt_1#C of 1 +1 otherwise 1 reuses 1"}},
		{name: "an old event and another use of its identity in one delivery", told: []string{oneA, oneA + "\n" + oneC}, want: []string{"evt_1 of 1 +1 otherwise 1", "evt_1#C of 2 reuses 1"}},
		{name: "the same, the other way round", told: []string{oneA, oneC + "\n" + oneA}, want: []string{"evt_1 of 1 +1 otherwise 1", "evt_1#C of 2 reuses 1"}},
		{name: "a resend twice in one delivery is one resend", told: []string{oneA, oneA + "\n" + oneA}, want: []string{"evt_1 of 1 +1 otherwise 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := opened(t, open)
			for i, body := range tt.told {
				equal(t, "delivery", accept(t, l, body), int64(i+1))
				equal(t, "deliveries decided", must[int](t)(l.Decide(t.Context(), 9, readings(t, nil))), 1)
			}
			same(t, "events", events(t, l), tt.want)
			same(t, "decisions of each", decisionCounts(t, l), slices.Repeat([]int{1}, len(tt.want)))

			// A replay of everything adds a decision to each event, and nothing else.
			before := jobs(t, l, "invite")
			for i := range tt.told {
				check(t, l.Replay(t.Context(), by, int64(i+1)))
			}
			must[int](t)(l.Decide(t.Context(), 9, readings(t, nil)))
			same(t, "events after a replay", events(t, l), tt.want)
			same(t, "decisions of each after a replay", decisionCounts(t, l), slices.Repeat([]int{2}, len(tt.want)))
			equal(t, "jobs after a replay", len(jobs(t, l, "invite")), len(before))
			equal(t, "set aside", summary(t, l).SetAside, 0)
		})
	}
}

// What a delivery says depends on the settings by which it is read; which events it brought does not.
func testReadAgain(t *testing.T, open opener) {
	tests := []struct {
		name  string
		told  []string
		today map[int64]string // the deliveries replayed, and how they are read now
		then  string           // one more delivery
		want  []string
		added []int // decisions of each event beyond its first
	}{
		{name: "an event that now says something else is the same event", told: []string{oneA}, today: map[int64]string{1: oneB},
			want: []string{"evt_1 of 1"}, added: []int{1}},
		{name: "a resend after that is known by what it says now", told: []string{oneA}, today: map[int64]string{1: oneB}, then: "# later\n" + oneB,
			want: []string{"evt_1 of 1 +1 otherwise 1"}, added: []int{1}},
		{name: "what says what it said before is another event", told: []string{oneA}, today: map[int64]string{1: oneB}, then: "# later\n" + oneA,
			want: []string{"evt_1 of 1", "evt_1#A of 2 reuses 1"}, added: []int{1, 0}},
		{name: "an event of an older version learns its fingerprint", told: []string{oneOld}, today: map[int64]string{1: oneA}, then: oneC,
			want: []string{"evt_1 of 1", "evt_1#C of 2 reuses 1"}, added: []int{1, 0}},
		{name: "the second use of an identity is found again", told: []string{oneA, oneB}, today: map[int64]string{2: oneC}, then: "# later\n" + oneC,
			want: []string{"evt_1 of 1", "evt_1#B of 2 +1 otherwise 1 reuses 1"}, added: []int{0, 1}},
		{name: "both uses in one delivery are found again", told: []string{oneA + "\n" + oneB}, today: map[int64]string{1: "evt_1 jane@example.com invite X\nevt_1 jane@example.com invite Y"}, then: "evt_1 jane@example.com invite Y",
			want: []string{"evt_1 of 1", "evt_1#B of 1 +1 otherwise 1 reuses 1"}, added: []int{1, 1}},
		{name: "two events that now say the same are told apart by their deliveries", told: []string{oneA, oneB}, today: map[int64]string{1: oneB, 2: oneB},
			want: []string{"evt_1 of 1", "evt_1#B of 2 reuses 1"}, added: []int{1, 1}},
		{name: "a resend that now says something else stays a resend", told: []string{oneA, "# later\n" + oneA}, today: map[int64]string{2: oneB},
			want: []string{"evt_1 of 1 +1 otherwise 1"}, added: []int{0}},
		{name: "a resend beside a second use stays each its own", told: []string{oneA, oneA + "\n" + oneB}, today: map[int64]string{2: "evt_1 jane@example.com invite X\nevt_1 jane@example.com invite Y"},
			want: []string{"evt_1 of 1 +1 otherwise 1", "evt_1#B of 2 reuses 1"}, added: []int{0, 1}},
		{name: "the same bytes read with other settings are a resend", told: []string{oneA}, today: map[int64]string{2: oneB}, then: oneA,
			want: []string{"evt_1 of 1 +1"}, added: []int{0}},
		{name: "an identity that is no longer taken from what was signed gets a second one", told: []string{oneA}, today: map[int64]string{1: keyedA}, then: "evt_9 jane@example.com invite A key_A",
			want: []string{"evt_1 of 1 +1 otherwise 1"}, added: []int{1}},
		{name: "an identity that is now taken from what was signed loses its second one", told: []string{keyedA}, today: map[int64]string{1: oneA}, then: "evt_9 jane@example.com invite A key_A",
			want: []string{"evt_1 of 1", "evt_9 of 2"}, added: []int{1, 0}},
		{name: "an identity taken from elsewhere is followed", told: []string{keyedA}, today: map[int64]string{1: "evt_2 jane@example.com invite A key_A"}, then: twoA,
			want: []string{"evt_2 of 1 +1 otherwise 1"}, added: []int{1}},
		{name: "an identity taken from elsewhere that another event has is not", told: []string{keyedA, twoA}, today: map[int64]string{1: "evt_2 jane@example.com invite A key_A"},
			want: []string{"evt_1 of 1", "evt_2 of 2"}, added: []int{1, 0}},
		{name: "a second identity that another event has is not taken", told: []string{oneA, twoA}, today: map[int64]string{1: keyedA, 2: "evt_2 jane@example.com invite A key_A"},
			want: []string{"evt_1 of 1", "evt_2 of 2"}, added: []int{1, 1}},
		{name: "an event without any identity of the sender's is known by its second", told: []string{"- jane@example.com invite A key_A", "- jane@example.com invite B key_B"},
			today: map[int64]string{1: "- jane@example.com invite A key_A"}, then: "- jane@example.com invite B key_B",
			want: []string{"key_A of 1", "key_B of 2 +1"}, added: []int{1, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := opened(t, open)
			for _, body := range tt.told {
				accept(t, l, body)
				must[int](t)(l.Decide(t.Context(), 9, readings(t, nil)))
			}
			for delivery := range tt.today {
				if delivery <= int64(len(tt.told)) {
					check(t, l.Replay(t.Context(), by, delivery))
				}
			}
			must[int](t)(l.Decide(t.Context(), 9, readings(t, tt.today)))
			if tt.then != "" {
				accept(t, l, tt.then)
				must[int](t)(l.Decide(t.Context(), 9, readings(t, tt.today)))
			}
			same(t, "events", events(t, l), tt.want)
			counts := decisionCounts(t, l)
			for i := range counts {
				counts[i]--
			}
			same(t, "decisions added", counts, tt.added)
			equal(t, "set aside", summary(t, l).SetAside, 0)
		})
	}

	t.Run("an event's details are those of today", func(t *testing.T) {
		l, c := opened(t, open)
		delivery := tell(t, l, "evt_1 jane@example.com invite")
		recorded := c.Now()
		c.step(60e9)
		check(t, l.Replay(t.Context(), by, delivery))
		must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
			v := verdict(t, "evt_1", "bob@example.com", access.Invite)
			v.Event.Type, v.OccurredAt = "invoice.paid", start.Add(-60*60e9)
			return []ledger.Verdict{v}, nil
		}))
		e := event(t, l, "evt_1")
		equal(t, "address", e.Details.Email, "bob@example.com")
		equal(t, "type", e.Details.Type, "invoice.paid")
		equal(t, "occurred at", e.OccurredAt, start.Add(-60*60e9))
		equal(t, "recorded at", e.RecordedAt, recorded)
		equal(t, "listed by its type of today", len(must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{Type: "invoice.paid"}))), 1)
		equal(t, "first decision", e.Decisions[0].Email, "jane@example.com")
	})

	t.Run("the second use of an identity keeps the sender's in what it says", func(t *testing.T) {
		l, _ := opened(t, open)
		v := verdict(t, "evt_1", "jane@example.com", access.Invite)
		v.Fingerprint = strings.Repeat("a", 64)
		must[int64](t)(l.Record(t.Context(), v))
		accept(t, l, "mallory")
		must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
			v := verdict(t, "evt_1", "mallory@example.com", access.Hold)
			v.Fingerprint = strings.Repeat("b", 64)
			return []ledger.Verdict{v}, nil
		}))
		twin := event(t, l, "evt_1#bbbbbbbbbbbb")
		equal(t, "the sender's", twin.Details.ID, "evt_1")
		equal(t, "decided", twin.Decisions[0].Outcome, access.Hold)
		equal(t, "the plain identity finds the first", event(t, l, "evt_1").ID, 1)
	})

	t.Run("a resend of a failed second use puts its own invitation back to work", func(t *testing.T) {
		l, _ := opened(t, open)
		for _, body := range []string{oneA, oneC} {
			accept(t, l, body)
		}
		must[int](t)(l.Decide(t.Context(), 9, readings(t, nil)))
		put(t, l, invitation(t, l, 1), ledger.Failed)
		put(t, l, invitation(t, l, 2), ledger.Failed)
		accept(t, l, oneC)
		must[int](t)(l.Decide(t.Context(), 9, readings(t, nil)))
		equal(t, "the first", invitation(t, l, 1).State, ledger.Failed)
		equal(t, "the second", invitation(t, l, 2).State, ledger.Queued)
		equal(t, "address", invitation(t, l, 2).Email.Full(), "mallory@example.com")
	})
}

func testBatch(t *testing.T, open opener) {
	batch := func(n int, last string) string {
		var body strings.Builder
		for i := range n {
			fmt.Fprintf(&body, "evt_%d person%d@example.com invite fp%d\n", i, i, i)
		}
		return body.String() + last
	}

	t.Run("of a hundred events is recorded, decided and deduplicated one by one", func(t *testing.T) {
		l, _ := opened(t, open)
		accept(t, l, "evt_7 person7@example.com invite fp7")
		accept(t, l, "evt_8 person8@example.com invite other")
		accept(t, l, batch(100, ""))
		equal(t, "decided", must[int](t)(l.Decide(t.Context(), 9, readings(t, nil))), 3)
		equal(t, "events", len(events(t, l)), 101)
		equal(t, "a resend", event(t, l, "evt_7").Resends, 1)
		equal(t, "an identity used twice", event(t, l, "evt_8#fp8").ReusesIDOf, event(t, l, "evt_8").ID)
		equal(t, "invitations", summary(t, l).Invitations[ledger.Queued], 100)
		equal(t, "jobs", len(jobs(t, l, "invite")), 100)
	})

	t.Run("is one transaction", func(t *testing.T) {
		l, _ := opened(t, open)
		accept(t, l, batch(100, "evt_bad bad@example.com nonsense fp"))
		equal(t, "set to be tried again", must[int](t)(l.Decide(t.Context(), 9, readings(t, nil))), 1)
		equal(t, "events", len(events(t, l)), 0)
		equal(t, "invitations", summary(t, l).Invitations[ledger.Queued], 0)
		equal(t, "jobs", len(jobs(t, l, "invite")), 0)
		must[int](t)(l.Decide(t.Context(), 9, readings(t, map[int64]string{1: batch(100, "")})))
		equal(t, "events once the fault is mended", len(events(t, l)), 100)
	})

	t.Run("and others that come at the same time record each event once", func(t *testing.T) {
		l, _ := opened(t, open)
		bodies := []string{oneA, oneB, oneC, "# later\n" + oneA, keyedB, oneA + "\n" + twoA}
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() { accept(t, l, bodies[i%len(bodies)]) })
			all.Go(func() {
				if _, err := l.Decide(t.Context(), 4, readings(t, nil)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		must[int](t)(l.Decide(t.Context(), 100, readings(t, nil)))
		found := map[string]int{}
		for _, e := range must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{})) {
			found[fmt.Sprint(e.Details.ID, e.ReusesIDOf > 0)]++
			equal(t, "decisions of "+e.SenderID, len(must[ledger.Event](t)(l.Event(t.Context(), e.ID)).Decisions), 1)
		}
		// keyedB says what oneB says: one event.
		same(t, "events", found, map[string]int{"evt_1false": 1, "evt_1true": 2, "evt_2false": 1})
		equal(t, "invitations", summary(t, l).Invitations[ledger.Queued], 2)
		equal(t, "jobs", len(jobs(t, l, "invite")), 2)
	})
}
