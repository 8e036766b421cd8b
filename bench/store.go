package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the "pgx" driver
)

// A store is one fresh database or file.
type store struct {
	address string // as usher's setting has it
	path    string // of the file, if it is one
	db      *sql.DB
	drop    func()
}

// newStore makes an empty one: "sqlite" or "postgres".
func (l *lab) newStore(ctx context.Context, kind string) (*store, error) {
	l.made++
	if kind == "postgres" {
		return l.newDatabase(ctx, fmt.Sprintf("bench%d", l.made))
	}
	folder := filepath.Join(l.folder, fmt.Sprintf("store%d", l.made))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "usher.db")
	s := &store{path: path, address: "sqlite://" + path}
	s.drop = func() { s.forget(); _ = os.RemoveAll(folder) }
	return s, nil
}

// newDatabase makes a database in the benchmark's own Postgres, which it starts the first time.
func (l *lab) newDatabase(ctx context.Context, name string) (*store, error) {
	if l.postgres == nil {
		say("starting Postgres")
		var err error
		if l.postgres, err = startCluster(ctx, filepath.Join(l.folder, "postgres")); err != nil {
			return nil, err
		}
	}
	if err := l.postgres.exec(ctx, "create database "+name); err != nil {
		return nil, err
	}
	s := &store{address: l.postgres.address(name)}
	s.drop = func() {
		s.forget()
		if err := l.postgres.exec(context.WithoutCancel(ctx), "drop database "+name+" with (force)"); err != nil {
			say("drop a database: %v", err)
		}
	}
	return s, nil
}

func (s *store) forget() {
	if s.db != nil {
		_ = s.db.Close() // it only read
	}
}

// count asks the database itself for a number, beside the server that uses it.
func (s *store) count(ctx context.Context, query string) (n int64, err error) {
	if s.db == nil {
		driver, name := "pgx", s.address
		if s.path != "" {
			driver, name = "sqlite", "file:"+s.path+"?_pragma=busy_timeout(10000)&_pragma=query_only(ON)"
		}
		if s.db, err = sql.Open(driver, name); err != nil {
			return 0, err
		}
		s.db.SetMaxOpenConns(1)
	}
	return n, s.db.QueryRowContext(ctx, query).Scan(&n)
}

const (
	undecided    = `select count(*) from undecided where set_aside_at is null`
	anyUndecided = `select count(*) from (select 1 from undecided where set_aside_at is null limit 1) one`
	anyQueued    = `select count(*) from (select 1 from invitations where state = 'queued' limit 1) one`
)

// until waits until a count is 0.
func (s *store) until(ctx context.Context, what, query string, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		n, err := s.count(ctx, query)
		if err != nil {
			return fmt.Errorf("ask whether %s: %w", what, err)
		}
		if n == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %s it is not so that %s", patience, strings.TrimSpace(what))
		}
	}
}
