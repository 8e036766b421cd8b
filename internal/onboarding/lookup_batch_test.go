package onboarding_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
)

// ask tells the ledger of one delivery whose events name customers and no address; each event's identity is
// "evt_" and its customer's. The stages must not run yet: they know no such source.
func (w *world) ask(source string, customers ...string) {
	w.Helper()
	must(w.ledger.Accept(w.Context(), ledger.Delivery{Source: source, ReceivedAt: time.Now(), Body: []byte("{}")}))(w.T)
	n := must(w.ledger.Decide(w.Context(), 1, func(ledger.Delivery) (verdicts []ledger.Verdict, _ error) {
		for _, c := range customers {
			verdicts = append(verdicts, ledger.Verdict{LookUp: true,
				Event: access.Event{Source: source, ID: "evt_" + c, Type: "contact.creation", Customer: c}})
		}
		return verdicts, nil
	}))(w.T)
	w.equal("deliveries", n, 1)
}

func (w *world) jobs(kind string) []*rivertype.JobRow {
	w.Helper()
	client := must(river.NewClient(w.ledger.Driver(), &river.Config{Logger: slog.New(slog.DiscardHandler), SkipUnknownJobCheck: true}))(w.T)
	return must(client.JobList(context.Background(), river.NewJobListParams().Kinds(kind).First(1000)))(w.T).Jobs
}

// keepsSecrets checks that no attempt of some events tells an address, an identity or a key.
func (w *world) keepsSecrets(provider string, events ...string) {
	w.Helper()
	for _, id := range events {
		for _, a := range must(w.ledger.LookUps(context.Background(), w.event(id).ID))(w.T) {
			w.equal("transport", a.Transport, provider)
			for _, canary := range []string{apiKey, contactPrefix, paddlePrefix, "customer.example", "Jane"} {
				if strings.Contains(a.Message, canary) {
					w.Errorf("the attempt's message %q holds %q", a.Message, canary)
				}
			}
		}
	}
}

func TestLookUpsOfOneTransactionAreOneCall(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	var ids []string
	for i := range 100 {
		ids = append(ids, contact(i))
	}
	w.ask("crm", ids...)
	w.equal("looking up", w.summary().LookingUp, 100)
	w.run()
	w.until("all are decided", func() bool { return w.summary().LookingUp == 0 })
	w.equal("calls", len(api.asked()), 1)
	moments := map[time.Time]bool{}
	for _, id := range ids {
		w.equal("look-ups", w.lookUps("evt_"+id), "found")
		d := w.decided("evt_"+id, 1)
		w.equal("outcome", d.Outcome, access.Invite)
		w.equal("name", w.event("evt_"+id).Details.Name, "Jane Doe")
		moments[d.DecidedAt] = true
	}
	w.equal("moments of decision", len(moments), 1)
	w.equal("invitations", len(must(w.ledger.Invitations(t.Context(), ledger.Filter{Source: "crm"}))(t)), 100)
	w.keepsSecrets("hubspot", "evt_"+ids[0])
}

func TestLookUpAsksAgainOnlyForWhoIsMissing(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t, answer: func(call int, ids []string) (int, string) {
		if call == 1 {
			return 207, contacts(ids[:2]...)
		}
		return 200, contacts(ids...)
	}}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	w.ask("crm", contact(1), contact(2), contact(3))
	w.run()
	w.decided("evt_"+contact(3), 1)
	w.equal("calls", fmt.Sprint(api.asked()), fmt.Sprint([][]string{{contact(1), contact(2), contact(3)}, {contact(3)}}))
	w.equal("look-ups", w.lookUps("evt_"+contact(1)), "found")
	w.equal("look-ups of the absent one", w.lookUps("evt_"+contact(3)), "later, found")
	w.equal("answered", w.logged("HubSpot does not know this contact, or not yet"), 1)
	w.keepsSecrets("hubspot", "evt_"+contact(1), "evt_"+contact(3))
}

func TestLookUpGivesUpOneEventOfMany(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t, answer: func(_ int, ids []string) (int, string) {
		if ids[0] == contact(1) {
			return 207, contacts(contact(1))
		}
		return 207, contacts()
	}}
	w := newWorld(t, setting{lookUps: api.lookUps(), options: onboarding.Options{MaxTries: 3}})
	w.ask("crm", contact(1), contact(2))
	w.run()
	d := w.decided("evt_"+contact(2), 1)
	w.equal("reason", d.Reason, onboarding.ReasonLookUpFailed)
	w.equal("sentence", d.Sentence, "The customer's address could not be looked up: given up after 3 tries; "+
		"the last answer: HubSpot does not know this contact, or not yet.")
	w.equal("look-ups", w.lookUps("evt_"+contact(2)), "later, later, never")
	w.equal("the other", w.decided("evt_"+contact(1), 1).Outcome, access.Invite)
}

func TestLookUpsAreQuietAfterA429(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t, header: http.Header{"Retry-After": {"3600"}}, answer: func(int, []string) (int, string) { return 429, `{"status": "error"}` }}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	for i := range 3 {
		w.ask("crm", contact(i)) // three jobs
	}
	w.run()
	w.until("all jobs have handed back", func() bool {
		for _, job := range w.jobs("look_up") {
			if time.Until(job.ScheduledAt) < 59*time.Minute {
				return false
			}
		}
		return true
	})
	w.equal("jobs", len(w.jobs("look_up")), 3)
	w.equal("calls", len(api.asked()), 1)
	w.equal("looking up", w.summary().LookingUp, 3)
}

func TestLookUpOfAnOlderJob(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	w.ask("crm", contact(1))
	db := must(sql.Open("sqlite", w.path))(t)
	defer db.Close()
	flat := fmt.Sprintf(`{"event": %d, "hold_reason": "by_hand", "hold_sentence": "Wait."}`, w.event("evt_"+contact(1)).ID)
	must(db.ExecContext(t.Context(), `update river_job set args = jsonb($1) where kind = 'look_up'`, flat))(t)
	w.equal("looking up", w.summary().LookingUp, 1)
	w.run()
	d := w.decided("evt_"+contact(1), 1)
	w.equal("decision", fmt.Sprint(d.Outcome, d.Reason, d.Sentence), fmt.Sprint(access.Hold, "by_hand", "Wait."))
	w.equal("calls", len(api.asked()), 1)
}

func TestLookUpWithoutAKeyGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.ask("crm", contact(1), contact(2))
	w.run()
	for _, id := range []string{contact(1), contact(2)} {
		d := w.decided("evt_"+id, 1)
		w.equal("reason", d.Reason, onboarding.ReasonLookUpFailed)
		w.equal("look-ups", w.lookUps("evt_"+id), "never")
	}
}

// faulty panics at its first call, with what nobody may read.
type faulty struct {
	onboarding.LookUp
	calls chan int
}

func (f faulty) Ask(ctx context.Context, events []access.Event) []onboarding.Answer {
	n := <-f.calls
	f.calls <- n + 1
	if n == 0 {
		panic(jane)
	}
	return f.LookUp.Ask(ctx, events)
}

func TestLookUpThatPanicsIsATry(t *testing.T) {
	t.Parallel()
	f := faulty{LookUp: (&hubSpot{t: t}).lookUps()["crm"], calls: make(chan int, 1)}
	f.calls <- 0
	w := newWorld(t, setting{lookUps: map[string]onboarding.LookUp{"crm": f}})
	w.ask("crm", contact(1))
	w.run()
	w.decided("evt_"+contact(1), 1)
	w.equal("look-ups", w.lookUps("evt_"+contact(1)), "later, found")
	w.keepsSecrets("hubspot", "evt_"+contact(1))
}

func TestLookUpOnceForATwiceToldEvent(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	w.ask("crm", contact(1), contact(1))
	w.run()
	w.decided("evt_"+contact(1), 1)
	w.until("the job is done", func() bool { return w.jobs("look_up")[0].FinalizedAt != nil })
	w.equal("look-ups", w.lookUps("evt_"+contact(1)), "found")
	w.equal("decisions", len(w.event("evt_"+contact(1)).Decisions), 1)
}

func TestLookUpThatCannotBeRecordedStopsNoOther(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	w.ask("crm", contact(1), contact(2), contact(3))
	db := must(sql.Open("sqlite", w.path+"?_pragma=busy_timeout(10000)"))(t)
	defer db.Close()
	must(db.ExecContext(t.Context(), fmt.Sprintf(`create trigger refuse before insert on decisions when new.event_id = %d
		begin select raise(abort, 'refused'); end`, w.event("evt_"+contact(2)).ID)))(t)
	w.run()
	w.equal("outcome", w.decided("evt_"+contact(1), 1).Outcome, access.Invite)
	w.equal("outcome", w.decided("evt_"+contact(3), 1).Outcome, access.Invite)
	w.equal("looking up", w.summary().LookingUp, 1)
	must(db.ExecContext(t.Context(), `drop trigger refuse`))(t)
	w.equal("outcome after the mending", w.decided("evt_"+contact(2), 1).Outcome, access.Invite)
	w.equal("look-ups", w.lookUps("evt_"+contact(1)), "found")
}

// Paddle takes one customer a call: one that fails stops no other.
func TestLookUpOneByOne(t *testing.T) {
	t.Parallel()
	api := &paddle{t: t, answer: func(_ int, id string) (int, string) {
		if id == customer(1) {
			return 404, `{"error": {}}`
		}
		return 200, paddleFound(id)
	}}
	w := newWorld(t, setting{lookUps: api.lookUps(), options: onboarding.Options{MaxTries: 2}})
	w.ask("shop", customer(1), customer(2), customer(3))
	w.run()
	for _, id := range []string{customer(2), customer(3)} {
		w.equal("outcome", w.decided("evt_"+id, 1).Outcome, access.Invite)
		w.equal("look-ups", w.lookUps("evt_"+id), "found")
	}
	w.equal("reason", w.decided("evt_"+customer(1), 1).Reason, onboarding.ReasonLookUpFailed)
	w.equal("look-ups", w.lookUps("evt_"+customer(1)), "later, never")
	w.equal("calls", len(api.asked()), 4)
	w.keepsSecrets("paddle", "evt_"+customer(1), "evt_"+customer(2))
}

func TestStopBetweenTheCallsOfAJob(t *testing.T) {
	t.Parallel()
	first := make(chan struct{})
	api := &paddle{t: t, answer: func(call int, id string) (int, string) {
		if call == 1 {
			close(first)
		}
		return 200, paddleFound(id)
	}}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	var ids []string
	for i := range 60 { // fifteen seconds at Paddle's pace
		ids = append(ids, customer(i))
	}
	w.ask("shop", ids...)
	stop := w.run()
	<-first
	if took := stop(); took > 4*time.Second {
		t.Errorf("the stop took %s", took)
	}
	w.equal("calls that nobody remembers", len(api.asked())-(60-int(w.summary().LookingUp)), 0)
}
