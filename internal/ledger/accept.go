package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxWaiting bounds the requests that wait for a commit; beyond it the sender is asked to come back.
	maxWaiting = 1024
	// maxShared bounds how many acceptances share one commit, so that one of 1 MiB bodies stays small.
	maxShared = 256
	// together is how many rows the statement for many inserts at once: each call costs as much as a row.
	together = 16
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
	insert    *sql.Stmt // one row
	inserts   *sql.Stmt // together rows
	enqueue   *sql.Stmt
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
	a := &acceptor{ledger: l, waiting: make(chan *acceptance, maxWaiting), done: make(chan struct{})}
	for statement, text := range map[**sql.Stmt]string{
		&a.insert:  insertDeliveries(1),
		&a.inserts: insertDeliveries(together),
		&a.enqueue: `insert into undecided (delivery_id) select id from deliveries where id between $1 and $2`,
	} {
		var err error
		if *statement, err = l.write.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // close does
			return nil, fmt.Errorf("prepare the accept stage: %w", err)
		}
	}
	go a.run()
	return a, nil
}

// insertDeliveries is the statement that inserts n deliveries.
func insertDeliveries(n int) string {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf("($%d, $%d, $%d, $%d, $%d)", 5*i+1, 5*i+2, 5*i+3, 5*i+4, 5*i+5))
	}
	return `insert into deliveries (source, received_at, verified_by, request, body) values ` + strings.Join(rows, ", ")
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
	return errors.Join(a.insert.Close(), a.inserts.Close(), a.enqueue.Close())
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
	err := a.write(batch)
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

// write is the one transaction. The context of no single request may cancel it.
func (a *acceptor) write(batch []*acceptance) error {
	ctx := context.Background()
	return a.ledger.inTx(ctx, func(tx *sql.Tx) error {
		//nolint:sqlclosecheck // the transaction's end closes them
		insert, inserts, enqueue := tx.StmtContext(ctx, a.insert), tx.StmtContext(ctx, a.inserts), tx.StmtContext(ctx, a.enqueue)
		for rest := batch; len(rest) > 0; {
			some, statement := rest[:1], insert
			if len(rest) >= together {
				some, statement = rest[:together], inserts
			}
			if err := insertSome(ctx, statement, some); err != nil {
				return fmt.Errorf("record a delivery: %w", err)
			}
			rest = rest[len(some):]
		}
		// One writer: the identities of a transaction follow each other.
		if _, err := enqueue.ExecContext(ctx, batch[0].id, batch[len(batch)-1].id); err != nil {
			return fmt.Errorf("queue deliveries to be decided: %w", err)
		}
		return nil
	})
}

// insertSome inserts deliveries by one statement and tells each its identity: one writer, so that the
// identities of a statement follow each other.
func insertSome(ctx context.Context, statement *sql.Stmt, some []*acceptance) error {
	values := make([]any, 0, 5*together)
	for _, one := range some {
		d := &one.delivery
		values = append(values, d.Source, millis(d.ReceivedAt), d.VerifiedBy, cmp.Or(d.Request, "{}"), d.Body)
	}
	result, err := statement.ExecContext(ctx, values...)
	if err != nil {
		return err
	}
	last, err := result.LastInsertId()
	for i, one := range some {
		one.id = last - int64(len(some)-1-i)
	}
	return err
}
