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

// A tx is one write transaction; its jobs are inserted together at the end.
type tx struct {
	*sql.Tx
	grammar
	again bool            // it collided before
	ctx   context.Context //nolint:containedctx // lives exactly as long as the transaction
	now   time.Time
	jobs  []river.InsertManyParams
	// lookUps are the jobs that ask for addresses. They fill up to the end of the transaction, so that one
	// call to a sender serves all of its deliveries.
	lookUps []LookUpJob
}

// change runs f in a transaction and enqueues the jobs that f asked for in the same one.
func (l *Ledger) change(ctx context.Context, f func(*tx) error) error {
	again := false
	return l.inTx(ctx, func(sqlTx *sql.Tx) error {
		t := &tx{Tx: sqlTx, grammar: l.grammar, again: again, ctx: ctx, now: l.now()}
		again = true
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

func (t *tx) enqueue(job river.JobArgs) {
	t.jobs = append(t.jobs, river.InsertManyParams{Args: job})
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	result, err := t.ExecContext(t.ctx, query, storables(args)...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// rows runs a query that yields any number of rows.
func (t *tx) rows(query string, args ...any) (*sql.Rows, error) {
	return t.QueryContext(t.ctx, query, storables(args)...)
}

// row runs a query that yields one row.
func (t *tx) row(query string, args ...any) scanner {
	return t.QueryRowContext(t.ctx, query, storables(args)...)
}

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
