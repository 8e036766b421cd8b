package ledger

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// pressed is how many acceptances in one commit mean that requests come faster than commits.
const pressed = 8

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
	accepted := &acceptance{delivery: d}
	if err := l.acceptor.do(ctx, accepted); err != nil {
		return 0, err
	}
	return accepted.id, nil
}

// Accepted has a token whenever deliveries were committed since it was last received from.
func (l *Ledger) Accepted() <-chan struct{} { return l.accepted }

// Pressed reports whether acceptances came faster than commits within the last moment, so that work which
// can wait should.
func (l *Ledger) Pressed(within time.Duration) bool {
	at := l.acceptor.pressedAt.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < within
}

// The acceptor is the group commit of the accept stage.
type acceptor struct {
	*group[*acceptance]
	recorder  recorder
	accepted  chan<- struct{}
	pressedAt atomic.Int64 // unix nanoseconds, 0 for never
}

// An acceptance is one delivery, and the identity it gets.
type acceptance struct {
	delivery Delivery
	id       int64
}

func newAcceptor(ctx context.Context, l *Ledger) (*acceptor, error) {
	recorder, err := l.dialect.recorder(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("prepare the accept stage: %w", err)
	}
	a := &acceptor{recorder: recorder, accepted: l.accepted}
	a.group = newGroup(l.grammar.acceptors, a.record)
	return a, nil
}

func (a *acceptor) record(batch []*acceptance) error {
	if len(batch) >= pressed {
		a.pressedAt.Store(time.Now().UnixNano())
	}
	err := a.recorder.record(context.Background(), batch)
	if err == nil {
		a.wake()
	}
	return err
}

func (a *acceptor) wake() {
	select {
	case a.accepted <- struct{}{}:
	default:
	}
}

// close lets what waits be committed, then stops.
func (a *acceptor) close() error {
	a.group.close()
	return a.recorder.close()
}
