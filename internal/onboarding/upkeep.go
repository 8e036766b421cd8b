package onboarding

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/ledger"
)

const (
	// upkeepEvery is how often the leader of the instances has the ledger tidied, the first time at its start.
	upkeepEvery = 5 * time.Minute
	// upkeepTurn bounds one turn. What is left then goes on in the next one, soon.
	upkeepTurn    = time.Minute
	upkeepTimeout = upkeepTurn + 30*time.Second
	// leastRest is the pause after each piece of upkeep, and rests how many times as long as the piece it is at least:
	// acceptances have the ledger for most of the time.
	leastRest, rests = 20 * time.Millisecond, 4
)

type upkeepWorker struct {
	river.WorkerDefaults[ledger.UpkeepJob]
	ob *Onboarding
}

// Timeout lets a turn end by itself.
func (w *upkeepWorker) Timeout(*river.Job[ledger.UpkeepJob]) time.Duration { return upkeepTimeout }

// Work tidies the ledger.
func (w *upkeepWorker) Work(ctx context.Context, job *river.Job[ledger.UpkeepJob]) error {
	return w.ob.guard(job.JobRow, func() error { return w.ob.tidy(ctx) }, nil)
}

// NextRetry is after a fault of ours.
func (w *upkeepWorker) NextRetry(job *river.Job[ledger.UpkeepJob]) time.Time {
	return afterFault(job.Attempt)
}

// periodicJobs are what River's leader enqueues, one instance of all.
func periodicJobs() []*river.PeriodicJob {
	every := func(interval time.Duration, args river.JobArgs) *river.PeriodicJob {
		return river.NewPeriodicJob(river.PeriodicInterval(interval), func() (river.JobArgs, *river.InsertOpts) { return args, nil },
			&river.PeriodicJobOpts{RunOnStart: true})
	}
	return []*river.PeriodicJob{every(upkeepEvery, ledger.UpkeepJob{}), every(expireEvery, ledger.ExpireJob{})}
}

// tidy removes what need not be kept any longer, piece by piece, and says what that was.
func (ob *Onboarding) tidy(ctx context.Context) error {
	end := time.Now().Add(upkeepTurn)
	var all ledger.Tidied
	for {
		ob.yield(ctx, end)
		begun := time.Now()
		n, more, err := ob.Ledger.Tidy(ctx, ob.Retention)
		all.Add(n)
		switch {
		case err != nil, !more:
			ob.logTidied(all, more)
			return err
		case !ob.rest(ctx, max(leastRest, rests*time.Since(begun))), time.Now().After(end):
			ob.logTidied(all, more)
			return river.JobSnooze(0)
		}
	}
}

func (ob *Onboarding) logTidied(n ledger.Tidied, more bool) {
	if n.Any() {
		ob.Logger.Info("old rows are removed", "bodies", n.Bodies, "skipped_events", n.Events, "deliveries", n.Deliveries, "finished_jobs", n.Jobs, "more_to_come", more)
	}
}

// rest waits, and reports false when Usher is stopping.
func (ob *Onboarding) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ob.stopping:
		return false
	case <-ctx.Done():
		return false
	}
}
