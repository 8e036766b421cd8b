package onboarding

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// A LookUp asks a sender for what its event did not carry and returns the event with it. An error means
// that the answer may come later; that there is no address is no error, but an event still without one.
type LookUp func(context.Context, access.Event) (access.Event, Answer, error)

// An Answer is what the other side said, for the audit trail.
type Answer struct {
	Status  int // HTTP, 0 when no answer came
	Message string
}

// ReasonLookUpFailed is why an event is skipped whose address could not be asked for in all tries.
const ReasonLookUpFailed access.Reason = "look_up_failed"

type lookUpWorker struct {
	river.WorkerDefaults[ledger.LookUpJob]
	ob *Onboarding
}

// Work asks for the address of one event and decides the event with what it learns.
func (w *lookUpWorker) Work(ctx context.Context, job *river.Job[ledger.LookUpJob]) error {
	event, err := w.ob.Ledger.Event(ctx, job.Args.Event)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if int64(len(event.Decisions)) > job.Args.Decided {
		return nil
	}
	tries, err := w.ob.Ledger.LookUps(ctx, event.ID)
	if err != nil {
		return err
	}
	return w.ob.lookUp(ctx, job.Args, event, failedInARow(tries, "customer")+1)
}

func (ob *Onboarding) lookUp(ctx context.Context, job ledger.LookUpJob, event ledger.Event, try int) error {
	ask := ob.LookUps[event.Details.Source]
	if ask == nil {
		return ob.giveUpLookUp(ctx, job, event, ledger.Attempt{Kind: "customer", StartedAt: time.Now(), Outcome: "never"},
			"no api_key is configured for this source any more")
	}
	start := time.Now()
	found, answer, err := ask(ctx, event.Details)
	attempt := ledger.Attempt{EventID: event.ID, Kind: "customer", StartedAt: start, Duration: time.Since(start),
		Transport: "stripe", Status: answer.Status, Message: answer.Message}
	switch {
	case err == nil:
		attempt.Outcome = "found"
		decision := ob.Policy.Decide(found)
		if job.HoldReason != "" && decision.Outcome == access.Invite {
			decision.Outcome, decision.Reason, decision.Sentence = access.Hold, job.HoldReason, job.HoldSentence
		}
		return ob.Ledger.DecideEvent(ctx, job, ledger.Verdict{Event: found, Decision: decision}, attempt)
	case ctx.Err() != nil:
		return river.JobSnooze(0)
	case try >= ob.MaxTries:
		attempt.Outcome = "never"
		return ob.giveUpLookUp(ctx, job, event, attempt, fmt.Sprintf("given up after %d tries; the last answer: %s", try, answer.Message))
	default:
		attempt.Outcome = "later"
		if err := ob.Ledger.RecordAttempt(ctx, attempt); err != nil {
			return err
		}
		ob.Logger.Warn("look-up has to wait", "event", event.ID, "try", try, "status", answer.Status)
		return river.JobSnooze(ob.schedule.after(try, 0))
	}
}

func (ob *Onboarding) giveUpLookUp(ctx context.Context, job ledger.LookUpJob, event ledger.Event, attempt ledger.Attempt, why string) error {
	return ob.Ledger.DecideEvent(ctx, job, ledger.Verdict{Event: event.Details, Decision: access.Decision{
		Outcome: access.Skip, Reason: ReasonLookUpFailed, Rule: -1, Sentence: "The customer's address could not be looked up: " + why + ".",
	}}, attempt)
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
