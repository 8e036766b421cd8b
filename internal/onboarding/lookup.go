package onboarding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// A LookUp asks one provider for the addresses that events did not carry. It is safe for concurrent use.
type LookUp interface {
	// Provider names it in the audit trail.
	Provider() string
	// Limit is how many events one call may ask for, and the least time from one call to the next.
	Limit() (events int, interval time.Duration)
	// Ask makes one call and returns an Answer for each event, in their order. The customer to ask for is the
	// event's Customer.
	Ask(ctx context.Context, events []access.Event) []Answer
}

// An Answer is what a provider said of one event.
type Answer struct {
	Finding Finding
	Event   access.Event  // as asked for, with what was found
	Status  int           // HTTP, 0 when no answer came
	Message string        // for the audit trail: without any id, address or key
	After   time.Duration // how long the provider wants to be left alone, by everybody
}

// A Finding is what an answer means for its event.
type Finding int

// The findings. The zero value is the careful one.
const (
	NotYet   Finding = iota // ask again, by the schedule
	AskAlone                // only a call for this event alone can tell: ask again, now
	Settled                 // the event has its address, or there is none, now and later
)

// ReasonLookUpFailed is why an event is skipped whose address could not be asked for in all tries.
const ReasonLookUpFailed access.Reason = "look_up_failed"

const (
	// turnFor bounds the calls of one turn of a job: after it, other jobs have theirs.
	turnFor = 20 * time.Second
	// paceHoldFor is how long a look-up waits in place for its provider's pace; for longer it hands its job back.
	paceHoldFor = 2 * time.Second
)

type lookUpWorker struct {
	river.WorkerDefaults[ledger.LookUpJob]
	ob *Onboarding
}

// Timeout lets a turn end by itself.
func (w *lookUpWorker) Timeout(*river.Job[ledger.LookUpJob]) time.Duration { return lookUpTimeout }

// Work asks for the addresses of a job's events.
func (w *lookUpWorker) Work(ctx context.Context, job *river.Job[ledger.LookUpJob]) error {
	return w.ob.guard(job.JobRow, func() error { return w.ob.askFor(ctx, job.Args) }, func(fault error) error {
		waiting, err := w.ob.waiting(ctx, job.Args.Events)
		if err != nil || len(waiting) == 0 {
			return err
		}
		return w.ob.abandon(ctx, waiting, fault.Error())
	})
}

// NextRetry is after a fault of ours.
func (w *lookUpWorker) NextRetry(job *river.Job[ledger.LookUpJob]) time.Time {
	return afterFault(job.Attempt)
}

// askFor asks for the addresses of a job's events that still wait for one, and decides what it learns.
func (ob *Onboarding) askFor(ctx context.Context, job ledger.LookUpJob) error {
	waiting, err := ob.waiting(ctx, job.Events)
	if err != nil || len(waiting) == 0 {
		return err
	}
	source := cmp.Or(job.Source, waiting[0].details.Source)
	lookUp := ob.LookUps[source]
	if lookUp == nil {
		return ob.abandon(ctx, waiting, "no api_key is configured for this source any more")
	}
	t := &turn{Onboarding: ob, source: source, lookUp: lookUp, pace: ob.pacers[source], began: time.Now()}
	return t.run(ctx, waiting)
}

// A waitingEvent is an event of a job whose address is not known yet.
type waitingEvent struct {
	ledger.LookUpEvent
	details  access.Event
	failures int // in a row
}

// waiting loads what is left of a job.
func (ob *Onboarding) waiting(ctx context.Context, events []ledger.LookUpEvent) (left []waitingEvent, err error) {
	seen := map[int64]bool{} // a sender may tell one event twice in one delivery
	for _, e := range events {
		event, err := ob.Ledger.Event(ctx, e.Event)
		if errors.Is(err, ledger.ErrNotFound) || seen[e.Event] || err == nil && int64(len(event.Decisions)) > e.Decided {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[e.Event] = true
		tries, err := ob.Ledger.LookUps(ctx, e.Event)
		if err != nil {
			return nil, err
		}
		left = append(left, waitingEvent{LookUpEvent: e, details: event.Details, failures: failedInARow(tries, "customer")})
	}
	return left, nil
}

// abandon gives up events that nobody can be asked for.
func (ob *Onboarding) abandon(ctx context.Context, waiting []waitingEvent, why string) error {
	never := ledger.Attempt{Kind: "customer", StartedAt: time.Now(), Outcome: "never"}
	var all []ledger.LookedUp
	for _, w := range waiting {
		all = append(all, w.givenUp(never, why))
	}
	return ob.decideLookedUp(ctx, all)
}

func (w waitingEvent) givenUp(attempt ledger.Attempt, why string) ledger.LookedUp {
	return ledger.LookedUp{Of: w.LookUpEvent, Attempt: attempt, Verdict: &ledger.Verdict{Event: w.details, Decision: access.Decision{
		Outcome: access.Skip, Reason: ReasonLookUpFailed, Rule: -1, Sentence: "The customer's address could not be looked up: " + why + ".",
	}}}
}

// decideLookedUp commits what a call brought, all at once. Where that fails, each event has a commit of its
// own, so that one which cannot be decided stops no other.
func (ob *Onboarding) decideLookedUp(ctx context.Context, all []ledger.LookedUp) error {
	// The call was made: its job's end must not lose what it brought.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	err := ob.Ledger.DecideEvents(ctx, all)
	if err == nil || len(all) == 1 || errors.Is(err, ledger.ErrUnwritable) {
		return err
	}
	var errs []error
	for i := range all {
		errs = append(errs, ob.Ledger.DecideEvents(ctx, all[i:i+1]))
	}
	return errors.Join(errs...)
}

// A turn is one run of a look-up job. It asks for the events that failed least often, so that whoever was
// not reached in an earlier turn comes first, and nobody is asked for more often than the schedule says.
type turn struct {
	*Onboarding
	source string
	lookUp LookUp
	pace   *pacer
	began  time.Time
	last   Answer // of those that have to wait, for the log
}

func (t *turn) run(ctx context.Context, waiting []waitingEvent) error {
	fewest := leastFailures(waiting)
	var now, left []waitingEvent
	for _, w := range waiting {
		if w.failures == fewest {
			now = append(now, w)
		} else {
			left = append(left, w)
		}
	}
	limit, interval := t.lookUp.Limit()
	calls := slices.Collect(slices.Chunk(now, limit))
	var quiet time.Duration
	for ; len(calls) > 0 && quiet == 0; calls = calls[1:] {
		if wait, ok := t.mayCall(ctx, interval); !ok {
			return river.JobSnooze(wait)
		}
		result, err := t.call(ctx, calls[0])
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return river.JobSnooze(0)
		}
		quiet = result.quiet
		left = append(left, result.later...)
		calls = slices.AppendSeq(calls, slices.Chunk(result.alone, 1))
	}
	left = slices.Concat(append(calls, left)...)
	if len(left) == 0 {
		return nil
	}
	fewest = max(1, leastFailures(left))
	t.Logger.Warn("look-ups have to wait", "source", t.source, "events", len(left), "try", fewest, "status", t.last.Status, "answer", t.last.Message)
	return river.JobSnooze(t.schedule.after(fewest, quiet))
}

func leastFailures(waiting []waitingEvent) int {
	return slices.MinFunc(waiting, func(a, b waitingEvent) int { return cmp.Compare(a.failures, b.failures) }).failures
}

// mayCall waits for the provider's pace. It reports false, and when to come back, where that takes long, the
// turn is over or Usher is stopping.
func (t *turn) mayCall(ctx context.Context, interval time.Duration) (time.Duration, bool) {
	for {
		select {
		case <-t.stopping:
			return 0, false
		case <-ctx.Done():
			return 0, false
		default:
		}
		if time.Since(t.began) > turnFor {
			return 0, false
		}
		wait := t.pace.take(interval)
		if wait <= 0 || wait > paceHoldFor {
			return wait, wait <= 0
		}
		t.sleep(ctx, wait)
	}
}

// A result is what a call leaves to do.
type result struct {
	later []waitingEvent
	alone []waitingEvent
	quiet time.Duration // no call to the provider for so long
}

// call asks for some events, and records what the provider said of each of them.
func (t *turn) call(ctx context.Context, events []waitingEvent) (r result, err error) {
	start := time.Now()
	answers, err := t.ask(ctx, events)
	if err != nil {
		return r, err
	}
	attempt := ledger.Attempt{Kind: "customer", StartedAt: start, Duration: time.Since(start), Transport: t.lookUp.Provider()}
	var all []ledger.LookedUp
	for i, w := range events {
		a := answers[i]
		if a.Finding == AskAlone && len(events) > 1 {
			r.alone = append(r.alone, w) // that call is its attempt
			continue
		}
		if a.Finding != Settled && ctx.Err() != nil {
			continue // we broke off: it says nothing of the provider
		}
		attempt.Status, attempt.Message = a.Status, a.Message
		one := t.judge(w, a, attempt)
		if one.Verdict == nil {
			w.failures++
			r.later, t.last = append(r.later, w), a
		}
		r.quiet = max(r.quiet, a.After)
		all = append(all, one)
	}
	if r.quiet > 0 {
		t.pace.hold(r.quiet)
	}
	if len(all) == 0 {
		return r, nil
	}
	return r, t.decideLookedUp(ctx, all)
}

// ask makes one call. A panic is an answer too, for all of its events: it must not end their tries.
func (t *turn) ask(ctx context.Context, events []waitingEvent) (answers []Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			answers = slices.Repeat([]Answer{{Message: panicError(p).Error()}}, len(events))
		}
	}()
	details := make([]access.Event, len(events))
	for i, w := range events {
		details[i] = w.details
	}
	answers = t.lookUp.Ask(ctx, details)
	if len(answers) != len(events) {
		return nil, fmt.Errorf("look up at %s: %d answers for %d events", t.lookUp.Provider(), len(answers), len(events))
	}
	return answers, nil
}

// judge makes of an answer what is recorded of it.
func (t *turn) judge(w waitingEvent, a Answer, attempt ledger.Attempt) ledger.LookedUp {
	if a.Finding == Settled {
		v, err := t.learned(w, a.Event)
		if err == nil {
			attempt.Outcome = "found"
			return ledger.LookedUp{Of: w.LookUpEvent, Attempt: attempt, Verdict: &v}
		}
		attempt.Message = err.Error()
	}
	try := w.failures + 1
	if try >= t.MaxTries {
		attempt.Outcome = "never"
		return w.givenUp(attempt, fmt.Sprintf("given up after %d tries; the last answer: %s", try, attempt.Message))
	}
	attempt.Outcome = "later"
	return ledger.LookedUp{Of: w.LookUpEvent, Attempt: attempt}
}

// learned decides an event with the address that was found.
func (ob *Onboarding) learned(w waitingEvent, found access.Event) (v ledger.Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	return ledger.Verdict{Event: found, Decision: decideFound(ob.Policy, w.LookUpEvent, found)}, nil
}

// decideFound decides an event whose address was found. A hold that the sender's own words ask for stays.
func decideFound(policy *access.Policy, of ledger.LookUpEvent, found access.Event) access.Decision {
	d := policy.Decide(found)
	if of.HoldReason != "" && d.Outcome == access.Invite {
		d.Outcome, d.Reason, d.Sentence = access.Hold, of.HoldReason, of.HoldSentence
	}
	return d
}

// failedInARow counts the latest calls of a kind that have to be made again. River's own count does not help:
// a snooze takes its attempt back.
func failedInARow(attempts []ledger.Attempt, kind string) (n int) {
	for _, a := range slices.Backward(attempts) {
		switch {
		case a.Kind != kind:
		case a.Outcome != "later":
			return n
		default:
			n++
		}
	}
	return n
}

// nothingToAsk answers for an event whose customer cannot be one of the provider's.
func nothingToAsk(e access.Event, why string) Answer {
	return Answer{Finding: Settled, Event: e, Message: why}
}

// found answers for an event with the address that a provider named, if it did.
func found(e access.Event, status int, provider string) Answer {
	message := provider + " named the customer's address"
	e.EmailFrom = "looked up at " + provider
	if e.Email == "" {
		message, e.EmailFrom = "the customer has no address at "+provider, ""
	}
	return Answer{Finding: Settled, Event: e, Status: cmp.Or(status, http.StatusOK), Message: message}
}
