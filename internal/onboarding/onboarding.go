// Package onboarding is the two stages behind the door: decide, which turns accepted deliveries into
// events, decisions and invitations, and the River workers that keep the promises: invite, tell attributes,
// look up addresses.
package onboarding

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/retoolclient"
)

// Options are what an Onboarding works with. Ledger, Policy, Sources and Retool are required.
type Options struct {
	Ledger  *ledger.Ledger
	Policy  *access.Policy
	Sources map[string]*webhook.Source
	Retool  *retoolclient.Client
	LookUps map[string]LookUp // by source name
	// RequestsPerMinute is the budget of calls to Retool that all instances share; 0 is no budget. Retool's own
	// client paces itself at 45.
	RequestsPerMinute int
	// MaxTries is after how many counted attempts an invitation is given up.
	MaxTries int
	// CallTimeout is how long one call to Retool may last, 30 seconds by default. Instances that share a ledger
	// have the same.
	CallTimeout time.Duration
	// ResendExpired is how often an invitation is sent again by itself whose link died unused.
	ResendExpired int
	// FirstWait is the pause after the first failed attempt; it doubles from there.
	FirstWait time.Duration
	// PollEvery is how often River asks for due jobs, 200 milliseconds by default.
	PollEvery time.Duration
	// Retention is for how long the ledger keeps what is done.
	Retention ledger.Retention
	Logger    *slog.Logger
}

// An Onboarding runs the stages. Make one with New, then call Run once.
type Onboarding struct {
	Options
	interval time.Duration // between two calls to Retool
	schedule schedule
	pacers   map[string]*pacer // of the LookUps
	jobs     *river.Client[*sql.Tx]
	stopping chan struct{} // closed when workers should hand back what merely waits
	gate     gate
	ledgerUp edge
	idle     edge
	panics   atomic.Int64
}

const (
	defaultCallTimeout = 30 * time.Second
	// besides is how long a job that calls Retool may last beyond that call: it waits for its slot (holdFor), and a
	// quick retry takes a moment.
	besides = holdFor + 5*time.Second
	// lookUpTimeout bounds one job's calls to a sender: a turn (turnFor), and the call it ends with.
	lookUpTimeout = 45 * time.Second
	// beyond is how much longer than it may a job is thought to run, until its process counts as dead: clocks differ.
	beyond = 3 * time.Second
	// pollEvery is how often River asks for due jobs. Its notifications would write to the ledger for each job.
	pollEvery = 200 * time.Millisecond
	// softStop is how long a stop waits for the invite in hand before it is released.
	softStop = 5 * time.Second
)

// CallLimit is for the ledger: after it, a call that may last for timeout is surely over and settled, or its
// process is dead.
func CallLimit(timeout time.Duration) time.Duration {
	return jobTimeout(timeout) + 2*settleFor + beyond
}

// jobTimeout is how long a job may last whose call to Retool may last for timeout.
func jobTimeout(timeout time.Duration) time.Duration {
	return cmp.Or(timeout, defaultCallTimeout) + besides
}

// New prepares the stages; nothing runs yet.
func New(o Options) (*Onboarding, error) {
	ob := &Onboarding{
		Options:  o,
		interval: interval(o.RequestsPerMinute),
		schedule: schedule{first: o.FirstWait, cap: 6 * time.Hour},
		pacers:   map[string]*pacer{},
		stopping: make(chan struct{}),
	}
	for source := range o.LookUps {
		ob.pacers[source] = new(pacer)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &inviteWorker{ob: ob})
	river.AddWorker(workers, &attributesWorker{ob: ob})
	river.AddWorker(workers, &revokeWorker{ob: ob})
	river.AddWorker(workers, &expireWorker{ob: ob})
	river.AddWorker(workers, &lookUpWorker{ob: ob})
	river.AddWorker(workers, &upkeepWorker{ob: ob})
	var err error
	ob.jobs, err = river.NewClient(o.Ledger.Driver(), &river.Config{
		Queues: map[string]river.QueueConfig{
			ledger.QueueRetool: {MaxWorkers: workersFor(o.RequestsPerMinute), FetchCooldown: fetchFor(o.RequestsPerMinute)},
			ledger.QueueLookUp: {MaxWorkers: 4},
			ledger.QueueUpkeep: {MaxWorkers: 1, FetchPollInterval: time.Second},
		},
		PeriodicJobs: periodicJobs(),
		// River removes 10,000 jobs at once, and acceptances would wait: upkeep removes them.
		CancelledJobRetentionPeriod: -1, CompletedJobRetentionPeriod: -1, DiscardedJobRetentionPeriod: -1,
		Workers:              workers,
		JobTimeout:           jobTimeout(o.CallTimeout),
		RescueStuckJobsAfter: CallLimit(o.CallTimeout),
		FetchPollInterval:    cmp.Or(o.PollEvery, pollEvery),
		PollOnly:             true,
		SoftStopTimeout:      softStop,
		Logger:               slog.New(riverLog{o.Logger.Handler()}),
		Test:                 river.TestConfig{Time: o.Ledger.Clock()},
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the job queue: %w", err)
	}
	return ob, nil
}

// interval is the time from one call to the next.
func interval(perMinute int) time.Duration {
	if perMinute == 0 {
		return 0
	}
	return time.Minute / time.Duration(perMinute)
}

// workersFor is how many jobs are worked at once: enough that slow answers do not waste the budget, and without one
// enough that calls and commits overlap.
func workersFor(perMinute int) int {
	if perMinute == 0 {
		return 256
	}
	return max(4, min(64, perMinute/50))
}

// fetchFor is the least time between two fetches of jobs: without a budget River's own of 100 ms would be one.
func fetchFor(perMinute int) time.Duration {
	if perMinute == 0 {
		return 10 * time.Millisecond
	}
	return 0 // River's own
}

// Run works until ctx ends, then stops gracefully: the invite in hand finishes, or is released after a few
// seconds. The caller has taken the ledger over (see ledger.TakeOver).
func (ob *Onboarding) Run(ctx context.Context) error {
	work := context.WithoutCancel(ctx)
	if err := ob.begin(ctx, work); err != nil {
		return err
	}
	var stages sync.WaitGroup
	for deciders, _ := ob.Ledger.Deciders(); deciders > 0; deciders-- {
		stages.Go(func() { ob.decideUntil(ctx) })
	}
	stages.Go(func() { ob.watch(ctx) })
	<-ctx.Done()
	close(ob.stopping)
	stop, cancel := context.WithTimeout(work, softStop+2*time.Second)
	defer cancel()
	err := ob.jobs.Stop(stop)
	stages.Wait()
	return err
}

// startTries is how often starting is tried where the database goes away just then: two minutes in all.
const startTries = 10

// begin starts the job queue.
func (ob *Onboarding) begin(ctx, work context.Context) error {
	for try, wait := 1, time.Second; ; try, wait = try+1, min(2*wait, 15*time.Second) {
		// The token may be another since sending was stopped: try it at once.
		err := ob.Ledger.ProbeNow(work)
		if err == nil {
			err = ob.jobs.Start(work)
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("start the job queue: %w", err)
		if try == startTries || ctx.Err() != nil {
			return err
		}
		ob.Logger.Error("nothing is sent yet: the job queue could not be started", "error", err, "next_try_in", wait)
		ob.sleep(ctx, wait)
	}
}

// An edge remembers a condition, so that a change is logged once and not at every turn.
type edge struct {
	mu   sync.Mutex
	down bool
}

// changed stores the condition and reports whether it is another than before.
func (e *edge) changed(down bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.down
	e.down = down
	return was != down
}
