package ledger

import (
	"context"
	"slices"

	"github.com/usher-dev/usher/internal/access"
)

// lookUp asks for the address of an event, in one job with others of its source.
func (t *tx) lookUp(event, decided int64, v Verdict) {
	e := LookUpEvent{Event: event, Decided: decided}
	if v.Decision.Outcome == access.Hold {
		// Postgres refuses a NUL in a job too, written in whatever way.
		e.HoldReason, e.HoldSentence = v.Decision.Reason, storable(v.Decision.Sentence)
	}
	for i, job := range slices.Backward(t.lookUps) {
		if job.Source == v.Event.Source && len(job.Events) < LookUpBatch {
			t.lookUps[i].Events = append(job.Events, e)
			return
		}
	}
	t.lookUps = append(t.lookUps, LookUpJob{Source: v.Event.Source, Events: []LookUpEvent{e}})
}

// A LookedUp is what one call to a sender brought for one event.
type LookedUp struct {
	Of      LookUpEvent
	Attempt Attempt
	Verdict *Verdict // nil: the event is asked for again
}

// DecideEvents records in one commit what a call brought for all its events: the call itself, for each of
// them, and the decisions of those whose answer is final. An event decided since its job was enqueued keeps
// its decision.
func (l *Ledger) DecideEvents(ctx context.Context, all []LookedUp) error {
	return l.change(ctx, func(t *tx) error {
		if err := t.changesMany(); err != nil {
			return err
		}
		for _, one := range all {
			if err := t.lookedUp(one); err != nil {
				return err
			}
		}
		return nil
	})
}

// DecideEvent records the decision of one event whose address had to be looked up, and the look-up itself.
func (l *Ledger) DecideEvent(ctx context.Context, e LookUpEvent, v Verdict, lookedUp Attempt) error {
	return l.DecideEvents(ctx, []LookedUp{{Of: e, Attempt: lookedUp, Verdict: &v}})
}

func (t *tx) lookedUp(one LookedUp) error {
	event := one.Of.Event
	one.Attempt.EventID = event
	// Nobody else may decide it meanwhile: a job is handed out twice where an instance is slow.
	if _, _, err := t.id(`select id from events where id = $1`+t.lockRow, event); err != nil {
		return err
	}
	if err := t.attempt(one.Attempt); err != nil || one.Verdict == nil {
		return err
	}
	if decided, err := t.decisions(event); err != nil || decided > one.Of.Decided {
		return err
	}
	if _, err := t.exec(`update events set details = $2 where id = $1`, event, asJSON(one.Verdict.Event)); err != nil {
		return err
	}
	_, err := t.decision(event, *one.Verdict)
	return err
}
