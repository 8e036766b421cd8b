package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxWaiting bounds the requests that wait for a commit; beyond it the sender is asked to come back.
	maxWaiting = 1024
	// maxShared bounds how many acceptances share one commit, so that one of 1 MiB bodies stays small.
	maxShared = 256
	// pressed is how many acceptances in one commit mean that requests come faster than commits.
	pressed = 8
)

// A Delivery is one verified request, raw.
type Delivery struct {
	ID         int64
	Source     string
	ReceivedAt time.Time
	VerifiedBy string // which secret matched, by its place in the configuration: "secrets[0]"
	Request    string // the kept parts of the request: a JSON object, "{}" when empty
	Body       []byte
}

// Accept puts a delivery on disk and returns its identity; when it returns nil, a crash cannot lose the
// delivery any more. Calls that run at the same time share one commit. The errors are ErrBusy and
// ErrUnwritable; after a cancelled context the delivery is in the ledger either whole or not at all.
func (l *Ledger) Accept(ctx context.Context, d Delivery) (int64, error) {
	return l.acceptor.accept(ctx, d)
}

// Accepted has a token whenever deliveries were committed since it was last received from.
func (l *Ledger) Accepted() <-chan struct{} { return l.accepted }

// Pressed reports whether acceptances came faster than commits within the last moment, so that work which
// can wait should.
func (l *Ledger) Pressed(within time.Duration) bool {
	at := l.acceptor.pressedAt.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < within
}

// The acceptor is the group commit: one goroutine takes every acceptance that waits, writes them in one
// transaction and answers them all after its fsync. See docs/adr/0003-shared-commits.md.
type acceptor struct {
	ledger    *Ledger
	waiting   chan *acceptance
	recorder  recorder
	closing   sync.RWMutex // held for reading while an acceptance is being queued
	closed    bool
	done      chan struct{}
	pressedAt atomic.Int64 // unix nanoseconds, 0 for never
}

// An acceptance is one caller that waits.
type acceptance struct {
	ctx      context.Context //nolint:containedctx // of the one caller that waits
	delivery Delivery
	id       int64
	err      error
	answered chan struct{}
}

func newAcceptor(ctx context.Context, l *Ledger) (*acceptor, error) {
	recorder, err := l.dialect.recorder(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("prepare the accept stage: %w", err)
	}
	a := &acceptor{ledger: l, recorder: recorder, waiting: make(chan *acceptance, maxWaiting), done: make(chan struct{})}
	go a.run()
	return a, nil
}

func (a *acceptor) accept(ctx context.Context, d Delivery) (int64, error) {
	waits := &acceptance{ctx: ctx, delivery: d, answered: make(chan struct{})}
	if err := a.queue(waits); err != nil {
		return 0, err
	}
	select {
	case <-waits.answered:
		return waits.id, waits.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (a *acceptor) queue(waits *acceptance) error {
	a.closing.RLock()
	defer a.closing.RUnlock()
	if a.closed {
		return fmt.Errorf("%w: it is being closed", ErrUnwritable)
	}
	select {
	case a.waiting <- waits:
		return nil
	default:
		return ErrBusy
	}
}

// close lets what waits be committed, then stops.
func (a *acceptor) close() error {
	a.closing.Lock()
	already := a.closed
	a.closed = true
	a.closing.Unlock()
	if !already {
		close(a.waiting)
	}
	<-a.done
	return a.recorder.close()
}

func (a *acceptor) run() {
	defer close(a.done)
	for first := range a.waiting {
		// One yield lets requests that are about to ask join this commit.
		runtime.Gosched()
		a.commit(a.gather(first))
	}
}

// gather takes all that wait, up to maxShared, without those whose caller has gone.
func (a *acceptor) gather(first *acceptance) []*acceptance {
	batch := make([]*acceptance, 0, len(a.waiting)+1)
	for next, ok := first, true; ok; {
		if next.ctx.Err() == nil {
			batch = append(batch, next)
		}
		if len(batch) == maxShared {
			break
		}
		select {
		case next, ok = <-a.waiting:
		default:
			ok = false
		}
	}
	return batch
}

// commit writes a batch and answers it. Where the batch fails but the store can be written, each is tried
// alone, so that a bad row fails nobody else.
func (a *acceptor) commit(batch []*acceptance) {
	if len(batch) == 0 {
		return
	}
	if len(batch) >= pressed {
		a.pressedAt.Store(time.Now().UnixNano())
	}
	// The context of no single request may cancel it.
	err := a.recorder.record(context.Background(), batch)
	if err != nil && len(batch) > 1 && !errors.Is(err, ErrUnwritable) {
		for _, one := range batch {
			a.commit([]*acceptance{one})
		}
		return
	}
	for _, one := range batch {
		one.err = err
		close(one.answered)
	}
	if err == nil {
		a.wake()
	}
}

func (a *acceptor) wake() {
	select {
	case a.ledger.accepted <- struct{}{}:
	default:
	}
}
