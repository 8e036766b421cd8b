package ledger_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// asksFor is an event whose address must be looked up.
func asksFor(source, id string) ledger.Verdict {
	return ledger.Verdict{Event: access.Event{Source: source, ID: id, Type: "contact.creation", Customer: "1"}, LookUp: true}
}

func lookUpJobs(t *testing.T, l *ledger.Ledger) (all []ledger.LookUpJob) {
	t.Helper()
	for _, row := range jobs(t, l, "look_up") {
		var job ledger.LookUpJob
		check(t, json.Unmarshal(row.EncodedArgs, &job))
		all = append(all, job)
	}
	return all
}

func testLookUpBatch(t *testing.T, open opener) {
	t.Run("asks for the events of one transaction together, by source", func(t *testing.T) {
		l, _ := opened(t, open)
		for range 5 {
			accept(t, l, "fifty")
		}
		n := 0
		must[int](t)(l.Decide(t.Context(), 100, func(ledger.Delivery) (verdicts []ledger.Verdict, _ error) {
			for range 50 {
				n++
				verdicts = append(verdicts, asksFor("crm", fmt.Sprintf("crm_%03d", n)))
			}
			return append(verdicts, asksFor("shop", fmt.Sprintf("shop_%d", n))), nil
		}))
		var sizes []string
		order := map[string][]string{}
		for _, job := range lookUpJobs(t, l) {
			sizes = append(sizes, fmt.Sprintf("%s %d", job.Source, len(job.Events)))
			for _, e := range job.Events {
				order[job.Source] = append(order[job.Source], must[ledger.Event](t)(l.Event(t.Context(), e.Event)).Details.ID)
			}
		}
		same(t, "jobs", sizes, []string{"crm 100", "shop 5", "crm 100", "crm 50"})
		equal(t, "in their order", slices.IsSorted(order["crm"]), true)
		equal(t, "waiting", summary(t, l).LookingUp, 255)
	})

	t.Run("counts the events that wait, not the jobs", func(t *testing.T) {
		l, _ := opened(t, open)
		delivery := accept(t, l, "three")
		ask := func(ledger.Delivery) ([]ledger.Verdict, error) {
			return []ledger.Verdict{asksFor("crm", "evt_1"), asksFor("crm", "evt_2"), asksFor("crm", "evt_3")}, nil
		}
		must[int](t)(l.Decide(t.Context(), 9, ask))
		equal(t, "jobs", len(lookUpJobs(t, l)), 1)
		equal(t, "waiting", summary(t, l).LookingUp, 3)
		check(t, l.DecideEvent(t.Context(), lookUpJobs(t, l)[0].Events[1], verdict(t, "evt_2", "jane@example.com", access.Skip), ledger.Attempt{Kind: "customer", Outcome: "found"}))
		equal(t, "waiting after one decision", summary(t, l).LookingUp, 2)
		check(t, l.Replay(t.Context(), by, delivery))
		must[int](t)(l.Decide(t.Context(), 9, ask))
		equal(t, "waiting after a replay", summary(t, l).LookingUp, 3)
	})

	t.Run("understands a job of an older Usher", func(t *testing.T) {
		l, _ := opened(t, open)
		invited(t, l, "jane@example.com")
		client := must[*river.Client[*sql.Tx]](t)(river.NewClient(l.Driver(), &river.Config{Logger: slog.New(slog.DiscardHandler), SkipUnknownJobCheck: true}))
		e := ledger.LookUpEvent{Event: 1, Decided: 1, HoldReason: "no_payment_required", HoldSentence: "A trial."}
		_, err := client.Insert(t.Context(), flatLookUp(e), nil)
		check(t, err)
		same(t, "job", lookUpJobs(t, l), []ledger.LookUpJob{{Events: []ledger.LookUpEvent{e}}})
		equal(t, "waiting", summary(t, l).LookingUp, 1)
	})

	t.Run("decides what one call brought in one commit", func(t *testing.T) {
		clock := newClock()
		l := open(t, quietly(func() time.Time { return clock.step(time.Second) })) // each transaction has a time of its own
		accept(t, l, "many")
		must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) (verdicts []ledger.Verdict, _ error) {
			for i := range 100 {
				verdicts = append(verdicts, asksFor("crm", fmt.Sprintf("evt_%d", i)))
			}
			return verdicts, nil
		}))
		events := lookUpJobs(t, l)[0].Events
		var all []ledger.LookedUp
		for i, e := range events {
			v := verdict(t, fmt.Sprintf("evt_%d", i), fmt.Sprintf("jane%d@example.com", i), access.Invite)
			one := ledger.LookedUp{Of: e, Attempt: ledger.Attempt{Kind: "customer", StartedAt: start, Outcome: "found"}, Verdict: &v}
			if i == 99 {
				one.Verdict, one.Attempt.Outcome = nil, "later"
			}
			all = append(all, one)
		}
		if err := l.DecideEvents(t.Context(), append(all, ledger.LookedUp{Of: ledger.LookUpEvent{Event: 999}})); err == nil {
			t.Error("a call that concerns an event that is not there was recorded")
		}
		equal(t, "waiting after a rollback", summary(t, l).LookingUp, 100)
		check(t, l.DecideEvents(t.Context(), all))
		equal(t, "waiting", summary(t, l).LookingUp, 1)
		moments := map[time.Time]bool{}
		for i, e := range events {
			recorded := must[ledger.Event](t)(l.Event(t.Context(), e.Event))
			for _, d := range recorded.Decisions {
				moments[d.DecidedAt] = true
			}
			equal(t, "decisions", len(recorded.Decisions), map[bool]int{true: 0, false: 1}[i == 99])
			equal(t, "calls", len(must[[]ledger.Attempt](t)(l.LookUps(t.Context(), e.Event))), 1)
		}
		equal(t, "commits", len(moments), 1)
		equal(t, "invitations", summary(t, l).Invitations[ledger.Queued], 99)
	})
}

// flatLookUp is the job as it was when each asked for one event.
type flatLookUp ledger.LookUpEvent

func (flatLookUp) Kind() string { return "look_up" }

func TestLookUpJobJSON(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       ledger.LookUpJob
	}{
		{name: "many events", text: `{"source":"crm","events":[{"event":1},{"event":2,"decided":3}]}`,
			want: ledger.LookUpJob{Source: "crm", Events: []ledger.LookUpEvent{{Event: 1}, {Event: 2, Decided: 3}}}},
		{name: "one flat event", text: `{"event":7,"decided":1,"hold_reason":"r","hold_sentence":"s"}`,
			want: ledger.LookUpJob{Events: []ledger.LookUpEvent{{Event: 7, Decided: 1, HoldReason: "r", HoldSentence: "s"}}}},
		{name: "nothing", text: `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got ledger.LookUpJob
			check(t, json.Unmarshal([]byte(tt.text), &got))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			text := must[[]byte](t)(json.Marshal(got))
			var again ledger.LookUpJob
			check(t, json.Unmarshal(text, &again))
			if !reflect.DeepEqual(again, got) {
				t.Errorf("%s reads as %+v, want %+v", text, again, got)
			}
		})
	}
}
