package onboarding

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/usher-dev/usher/internal/ledger"
)

const (
	// watchEvery is how often the watch looks for work that nobody does.
	watchEvery = 5 * time.Second
	// attendEvery is how often the watch looks for invitations without a job, which reads them all.
	attendEvery = 10 * time.Minute
	// wholeLedger is how long a job waits that met a ledger which cannot be written.
	wholeLedger = 10 * time.Second
)

// watch sees to it that nothing is stuck: it takes back what a dead instance had in hand, gives a job to an invitation
// that has none, and says so when an invitation is due and nobody sends it.
func (ob *Onboarding) watch(ctx context.Context) {
	var attended time.Time
	for ticker := time.Tick(watchEvery); ; {
		err := ob.takeBack(ctx)
		if time.Since(attended) > attendEvery {
			attended = time.Now()
			err = errors.Join(err, ob.attend(ctx))
		}
		err = errors.Join(err, ob.sayIdle(ctx))
		if err != nil && ctx.Err() == nil {
			ob.Logger.Warn("the watch could not look everywhere", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker:
		}
	}
}

func (ob *Onboarding) takeBack(ctx context.Context) error {
	var jobs int64
	var errs []error
	for queue, limit := range map[string]time.Duration{
		ledger.QueueRetool: CallLimit(ob.CallTimeout), ledger.QueueLookUp: lookUpTimeout + settleFor + beyond, ledger.QueueUpkeep: upkeepTimeout + beyond,
	} {
		n, err := ob.Ledger.TakeBack(ctx, queue, limit)
		jobs, errs = jobs+n, append(errs, err)
	}
	if jobs > 0 {
		ob.Logger.Warn("jobs that a dead instance had in hand are taken back", "jobs", jobs)
	}
	return errors.Join(errs...)
}

func (ob *Onboarding) attend(ctx context.Context) error {
	n, err := ob.Ledger.Attend(ctx)
	if n > 0 {
		ob.Logger.Warn("queued invitations had no job; they have one now", "invitations", n)
	}
	return err
}

// sayIdle logs, once, that the budget goes unused although an invitation is due, and once that this is over.
func (ob *Onboarding) sayIdle(ctx context.Context) error {
	due, err := ob.Ledger.Due(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	idle := due.Idle(now) > ledger.IdleAfter
	switch changed := ob.idle.changed(idle); {
	case changed && idle:
		ob.Logger.Error("an invitation is due and nobody sends it", "due_for", now.Sub(due.Invitation).Round(time.Second))
	case changed:
		ob.Logger.Info("invitations go out again")
	}
	return nil
}

// Panics counts the panics that the stages caught since the start.
func (ob *Onboarding) Panics() int64 { return ob.panics.Load() }

// caught makes an error of a panic, counts it and logs where it came from.
func (ob *Onboarding) caught(p any) error {
	ob.panics.Add(1)
	err := panicError(p)
	ob.Logger.Error("a fault in Usher was caught; please report it", "error", err, "stack", string(debug.Stack()))
	return err
}

// guard does a job's work and says what becomes of the job. A ledger that cannot be written is no fault of the job's:
// it waits. What fails or panics by a fault of ours comes again, at growing intervals, until its last try; then
// giveUp, if there is one, records that nobody tries any more.
func (ob *Onboarding) guard(job *rivertype.JobRow, work func() error, giveUp func(fault error) error) (err error) {
	err = ob.withoutPanic(work)
	var snoozed *river.JobSnoozeError
	var cancelled *river.JobCancelError
	switch {
	case err == nil, errors.As(err, &snoozed), errors.As(err, &cancelled):
		return err
	case errors.Is(err, ledger.ErrUnwritable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return river.JobSnooze(wholeLedger)
	case job.Attempt < job.MaxAttempts || giveUp == nil:
		return err
	}
	fault := fmt.Errorf("given up after %d faults in Usher itself, the last: %w", job.Attempt, err)
	if err := giveUp(fault); err != nil {
		return err
	}
	return river.JobCancel(fault)
}

func (ob *Onboarding) withoutPanic(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ob.caught(p)
		}
	}()
	return work()
}

// afterFault is when a job comes again whose attempt ended in a fault of ours.
func afterFault(attempt int) time.Time {
	return time.Now().Add(schedule{first: time.Second, cap: 10 * time.Minute}.after(attempt, 0))
}
