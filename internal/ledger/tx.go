package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// A tx is one write transaction: its statements are prepared once, where that pays, and its jobs inserted together
// at the end.
type tx struct {
	*sql.Tx
	grammar
	again bool            // it collided before
	ctx   context.Context //nolint:containedctx // lives exactly as long as the transaction
	now   time.Time
	stmts map[string]*sql.Stmt
	jobs  []river.InsertManyParams
	// lookUps are the jobs that ask for addresses. They fill up to the end of the transaction, so that one
	// call to a sender serves all of its deliveries.
	lookUps []LookUpJob
}

// change runs f in a transaction and enqueues the jobs that f asked for in the same one.
func (l *Ledger) change(ctx context.Context, f func(*tx) error) error {
	again := false
	return l.inTx(ctx, func(sqlTx *sql.Tx) error {
		t := &tx{Tx: sqlTx, grammar: l.grammar, again: again, ctx: ctx, now: l.now(), stmts: map[string]*sql.Stmt{}}
		again = true
		defer t.closeStmts()
		if err := f(t); err != nil {
			return err
		}
		for _, job := range t.lookUps {
			t.enqueue(job)
		}
		if len(t.jobs) == 0 {
			return nil
		}
		if _, err := l.jobs.InsertManyFastTx(ctx, sqlTx, t.jobs); err != nil {
			return fmt.Errorf("enqueue jobs: %w", err)
		}
		return nil
	})
}

// changesMany begins a transaction that changes many rows.
func (t *tx) changesMany() error {
	statement := t.many
	if t.again {
		statement = t.manyAlone
	}
	if statement == "" {
		return nil
	}
	_, err := t.exec(statement)
	return err
}

func (t *tx) closeStmts() {
	for _, s := range t.stmts {
		_ = s.Close()
	}
}

func (t *tx) enqueue(job river.JobArgs) {
	t.jobs = append(t.jobs, river.InsertManyParams{Args: job})
}

func (t *tx) stmt(query string) (*sql.Stmt, error) {
	if s := t.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.PrepareContext(t.ctx, query)
	if err == nil {
		t.stmts[query] = s
	}
	return s, err
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	run, args := t.Tx.ExecContext, storables(args)
	if t.prepares {
		s, err := t.stmt(query)
		if err != nil {
			return 0, err
		}
		run = func(ctx context.Context, _ string, args ...any) (sql.Result, error) {
			return s.ExecContext(ctx, args...)
		}
	}
	result, err := run(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// rows runs a query that yields any number of rows.
func (t *tx) rows(query string, args ...any) (*sql.Rows, error) {
	args = storables(args)
	if !t.prepares {
		return t.QueryContext(t.ctx, query, args...)
	}
	s, err := t.stmt(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(t.ctx, args...)
}

// row runs a query that yields one row.
func (t *tx) row(query string, args ...any) scanner {
	args = storables(args)
	if !t.prepares {
		return t.QueryRowContext(t.ctx, query, args...)
	}
	s, err := t.stmt(query)
	if err != nil {
		return unread{err}
	}
	return s.QueryRowContext(t.ctx, args...)
}

// An unread row could not be asked for.
type unread struct{ err error }

func (u unread) Scan(...any) error { return u.err }

// id runs a query that yields one number; found is false when it yields no row.
func (t *tx) id(query string, args ...any) (id int64, found bool, err error) {
	err = t.row(query, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, err
}

// asJSON stores a value whose encoding cannot fail: lists and maps of text and numbers.
func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("ledger: encode " + err.Error())
	}
	return string(text)
}

// fromJSON reads what asJSON stored.
func fromJSON(text string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("read stored JSON: %w", err)
	}
	return nil
}
