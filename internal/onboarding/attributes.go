package onboarding

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/retoolclient"
)

type attributesWorker struct {
	river.WorkerDefaults[ledger.AttributesJob]
	ob *Onboarding
}

// Work tells Retool what is late.
func (w *attributesWorker) Work(ctx context.Context, job *river.Job[ledger.AttributesJob]) error {
	return w.ob.guard(job.JobRow, func() error { return w.ob.tellAttributes(ctx, job.Args) }, nil)
}

// NextRetry is after a fault of ours.
func (w *attributesWorker) NextRetry(job *river.Job[ledger.AttributesJob]) time.Time {
	return afterFault(job.Attempt)
}

// tellAttributes tells Retool the attributes that events added after the invitation was sent. Each is a call of its
// own; setting one twice does no harm.
func (ob *Onboarding) tellAttributes(ctx context.Context, job ledger.AttributesJob) error {
	inv, err := ob.Ledger.Invitation(ctx, job.Invitation)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if inv.State != ledger.Sent || inv.RetoolID == 0 {
		return nil
	}
	attempts, err := ob.Ledger.Attempts(ctx, inv.ID)
	if err != nil {
		return err
	}
	late, try := inv.LateAttributes(), failedInARow(attempts, "attributes")+1
	until := time.Now().Add(holdFor)
	for _, name := range slices.Sorted(maps.Keys(late)) {
		if err := ob.tellAttribute(ctx, until, inv, name, late[name], try); err != nil {
			return err
		}
	}
	return nil
}

func (ob *Onboarding) tellAttribute(ctx context.Context, until time.Time, inv ledger.Invitation, name, value string, try int) error {
	_, err := ob.slot(ctx, until, func() (ledger.Slot, error) { return ob.Ledger.TakePace(ctx, ob.interval) })
	if err != nil {
		return err
	}
	start := time.Now()
	refused := asRetoolError(ob.Retool.SetInviteAttribute(ctx, inv.RetoolID, name, &value))
	attempt := ledger.Attempt{Kind: "attributes", StartedAt: start, Duration: time.Since(start), Outcome: "sent", Status: http.StatusOK,
		Message: "attribute " + name, RetoolID: inv.RetoolID}
	if refused != nil {
		attempt.Outcome, attempt.Status, attempt.Message = outcomeOf(refused), refused.Status, "attribute "+name+": "+refused.Message
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	if err := ob.Ledger.SettleAttribute(ctx, inv.ID, name, value, refused == nil, attempt); err != nil {
		return fmt.Errorf("record attribute of invitation %d: %w", inv.ID, err)
	}
	return ob.afterAttribute(ctx, refused, try)
}

// afterAttribute says what becomes of the job; an attribute that Retool will never take is left as it is,
// visible in the attempts and in what the invitation still wants.
func (ob *Onboarding) afterAttribute(ctx context.Context, refused *retoolclient.Error, try int) error {
	switch {
	case refused == nil: // it may have been the probe
		_, err := ob.Ledger.ChangePace(ctx, ledger.PaceChange{Works: true})
		return err
	case refused.Kind == retoolclient.Never || refused.Kind == retoolclient.Present:
		return nil
	case refused.Kind == retoolclient.Stop && refused.Status != http.StatusForbidden && try < ob.MaxTries:
		return river.JobSnooze(probeWait) // such as a token that is being changed
	case refused.Kind == retoolclient.Stop:
		// The token may lack only this scope, so that it stops no invitation.
		ob.Logger.Warn("Retool does not let us set attributes", "reason", Masked(sentence(refused)))
		return river.JobCancel(refused)
	case refused.RateLimited:
		wait := max(refused.RetryAfter, rateLimitWait)
		_, err := ob.Ledger.ChangePace(ctx, ledger.PaceChange{Wait: wait})
		return errors.Join(err, river.JobSnooze(wait))
	case try >= ob.MaxTries:
		ob.Logger.Warn("an attribute is given up", "tries", try, "reason", Masked(sentence(refused)))
		return river.JobCancel(refused)
	default:
		return river.JobSnooze(ob.schedule.after(try, refused.RetryAfter))
	}
}
