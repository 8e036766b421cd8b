package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

const (
	// maxWaiting bounds the requests that wait for a commit; beyond it the caller is asked to come back.
	maxWaiting = 1024
	// maxShared bounds how many requests share one commit, so that one of 1 MiB bodies stays small.
	maxShared = 256
)

// A group is a group commit: a goroutine takes every request that waits, writes them in one transaction and answers
// them all after its flush. See docs/adr/0003-shared-commits.md.
type group[T any] struct {
	// write puts all of a batch on disk or, with an error, nothing. No single request's context may cancel it.
	write   func(batch []T) error
	waiting chan *waiter[T]
	closing sync.RWMutex // held for reading while a request is being queued
	closed  bool
	writers sync.WaitGroup
}

// A waiter is one caller that waits.
type waiter[T any] struct {
	ctx      context.Context //nolint:containedctx // of the one caller that waits
	what     T
	err      error
	answered chan struct{}
}

// newGroup starts a group whose batches are written by so many at once: more than one pays only where a store has more
// than one writer.
func newGroup[T any](writers int, write func(batch []T) error) *group[T] {
	g := &group[T]{write: write, waiting: make(chan *waiter[T], maxWaiting)}
	for range writers {
		g.writers.Go(g.run)
	}
	return g
}

// do has one request written together with others. After a cancelled context it was written either whole or not at all.
func (g *group[T]) do(ctx context.Context, what T) error {
	w := &waiter[T]{ctx: ctx, what: what, answered: make(chan struct{})}
	if err := g.queue(w); err != nil {
		return err
	}
	select {
	case <-w.answered:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *group[T]) queue(w *waiter[T]) error {
	g.closing.RLock()
	defer g.closing.RUnlock()
	if g.closed {
		return fmt.Errorf("%w: it is being closed", ErrUnwritable)
	}
	select {
	case g.waiting <- w:
		return nil
	default:
		return ErrBusy
	}
}

// close lets what waits be committed, then stops.
func (g *group[T]) close() {
	g.closing.Lock()
	already := g.closed
	g.closed = true
	g.closing.Unlock()
	if !already {
		close(g.waiting)
	}
	g.writers.Wait()
}

func (g *group[T]) run() {
	for first := range g.waiting {
		// One yield lets requests that are about to ask join this commit.
		runtime.Gosched()
		g.commit(g.gather(first))
	}
}

// gather takes all that wait, up to maxShared, without those whose caller has gone.
func (g *group[T]) gather(first *waiter[T]) []*waiter[T] {
	batch := make([]*waiter[T], 0, len(g.waiting)+1)
	for next, ok := first, true; ok; {
		if next.ctx.Err() == nil {
			batch = append(batch, next)
		}
		if len(batch) == maxShared {
			break
		}
		select {
		case next, ok = <-g.waiting:
		default:
			ok = false
		}
	}
	return batch
}

// commit writes a batch and answers it. Where the batch fails but the store can be written, each is tried alone, so
// that a bad one fails nobody else.
func (g *group[T]) commit(batch []*waiter[T]) {
	if len(batch) == 0 {
		return
	}
	all := make([]T, len(batch))
	for i, one := range batch {
		all[i] = one.what
	}
	err := g.write(all)
	if err != nil && len(batch) > 1 && !errors.Is(err, ErrUnwritable) {
		for _, one := range batch {
			g.commit([]*waiter[T]{one})
		}
		return
	}
	for _, one := range batch {
		one.err = err
		close(one.answered)
	}
}
