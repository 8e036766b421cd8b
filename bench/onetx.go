package main

import (
	"context"
	"database/sql"
	"net/url"

	_ "modernc.org/sqlite" // registers the "sqlite" driver

	"github.com/usher-dev/usher/internal/ledger"
)

// A onetx is a SQLite store with one transaction for each request, on one connection and with prepared statements. It
// has the ledger's pragmas, its two tables of the accept stage, and SQLite's own copying back of the log.
type onetx struct {
	db              *sql.DB
	insert, enqueue *sql.Stmt
}

func serveOneTx(ctx context.Context, address, path string) (err error) {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"page_size(8192)", "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(ON)", "temp_store(MEMORY)", "cache_size(-8000)"}}
	store := &onetx{}
	if store.db, err = sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()); err != nil {
		return err
	}
	defer store.db.Close()
	store.db.SetMaxOpenConns(1)
	if _, err := store.db.ExecContext(ctx, `create table deliveries (id integer primary key, source text not null, received_at integer not null,
			verified_by text not null, request text not null, body blob);
		create table undecided (delivery_id integer primary key references deliveries (id))`); err != nil {
		return err
	}
	if store.insert, err = store.db.PrepareContext(ctx, `insert into deliveries (source, received_at, verified_by, request, body) values (?, ?, ?, ?, ?)`); err != nil {
		return err
	}
	defer store.insert.Close()
	if store.enqueue, err = store.db.PrepareContext(ctx, `insert into undecided (delivery_id) values (?)`); err != nil {
		return err
	}
	defer store.enqueue.Close()
	return serveHandler(ctx, address, store)
}

// Accept returns once the delivery is on disk.
func (s *onetx) Accept(ctx context.Context, d ledger.Delivery) (id int64, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	//nolint:sqlclosecheck // the transaction's end closes them
	insert, enqueue := tx.StmtContext(ctx, s.insert), tx.StmtContext(ctx, s.enqueue)
	done, err := insert.ExecContext(ctx, d.Source, d.ReceivedAt.UnixMilli(), d.VerifiedBy, d.Request, d.Body)
	if err != nil {
		return 0, err
	}
	if id, err = done.LastInsertId(); err != nil {
		return 0, err
	}
	if _, err := enqueue.ExecContext(ctx, id); err != nil {
		return 0, err
	}
	return id, tx.Commit()
}
