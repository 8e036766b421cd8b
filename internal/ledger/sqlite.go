package ledger

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

//go:embed migrations
var migrations embed.FS

// A dialect is what differs between the stores. Statements are shared: both take $1 placeholders,
// "on conflict" and "returning".
type dialect interface {
	fmt.Stringer // the address without any secret
	open() (write, read *sql.DB, err error)
	driver(*sql.DB) riverdriver.Driver[*sql.Tx]
	goose() (goose.Dialect, fs.FS)
	tend(ctx context.Context, write *sql.DB) error // the store's own upkeep, until ctx ends
	takeOver(context.Context, *sql.Tx) error       // jobs that a dead process left running become available again
	lock() (unlock func() error, err error)
}

func dialectFor(address string) (dialect, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case ok && scheme == "sqlite" && rest != "":
		return sqlite{path: rest}, nil
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return nil, fmt.Errorf("%w: Postgres comes in a later version; set database: sqlite://usher.db", ErrUnsupported)
	default:
		return nil, fmt.Errorf("%w: set database to sqlite://PATH, such as sqlite://usher.db", ErrUnsupported)
	}
}

// sqlite is the embedded store: one file, its write-ahead log and a lock file beside it.
type sqlite struct{ path string }

func (s sqlite) String() string { return "sqlite://" + s.path }

// open makes the writing connection and the reading pool. Pragmas stand in the DSN because one sent by
// Exec reaches a single pooled connection. synchronous=FULL: with NORMAL a power failure can take back an
// acknowledged commit. https://www.sqlite.org/pragma.html#pragma_synchronous
func (s sqlite) open() (write, read *sql.DB, err error) {
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return nil, nil, err
	}
	private(abs)
	// tend copies the log back; should it not keep up, the writer does at 128 MiB.
	if write, err = sql.Open("sqlite", s.dsn(abs, "wal_autocheckpoint(32000)", "journal_size_limit(67108864)", "cache_size(-8000)")); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if read, err = sql.Open("sqlite", s.dsn(abs, "query_only(ON)", "cache_size(-4000)")); err != nil {
		return write, nil, err
	}
	read.SetMaxOpenConns(4)
	return write, read, nil
}

func (s sqlite) dsn(path string, pragmas ...string) string {
	query := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_pragma": append([]string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "temp_store(MEMORY)",
	}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

const (
	// tendEvery is how often the log is copied back, and tendAt the pages (of 4 KiB) from which the writer
	// finishes the copy, so that the log begins anew instead of growing.
	tendEvery = 100 * time.Millisecond
	tendAt    = 4000
)

// tend copies the write-ahead log back into the database until ctx ends. A connection of its own does most
// of it beside the writer; only the rest, what was written meanwhile, makes acceptances wait. Left to the
// writer, each copy made them wait for 20 ms. https://www.sqlite.org/wal.html#ckpt
func (s sqlite) tend(ctx context.Context, write *sql.DB) error {
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	beside, err := sql.Open("sqlite", s.dsn(abs, "wal_autocheckpoint(0)"))
	if err != nil {
		return err
	}
	defer func() { _ = beside.Close() }() // it holds nothing of its own
	beside.SetMaxOpenConns(1)
	for ticker := time.Tick(tendEvery); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker:
		}
		// A copy that fails loses nothing: the log holds every commit, and the next turn tries again.
		if pages, err := checkpoint(ctx, beside); err == nil && pages > tendAt {
			_, _ = checkpoint(ctx, write)
		}
	}
}

// checkpoint copies back what it can without waiting and returns how many pages the log has.
func checkpoint(ctx context.Context, db *sql.DB) (pages int, err error) {
	var busy, copied int
	err = db.QueryRowContext(ctx, `pragma wal_checkpoint(passive)`).Scan(&busy, &pages, &copied)
	return pages, err
}

// private makes a new ledger readable to its owner only: it holds customers' addresses. SQLite gives the log
// beside it the same mode. A ledger that exists keeps the mode its operator gave it, and what cannot be made
// is for SQLite to say.
func private(path string) {
	if file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err == nil {
		_ = file.Close()
	}
}

func (s sqlite) driver(db *sql.DB) riverdriver.Driver[*sql.Tx] { return riversqlite.New(db) }

func (s sqlite) goose() (goose.Dialect, fs.FS) {
	sub, _ := fs.Sub(migrations, "migrations/sqlite") // fails only for an invalid literal
	return goose.DialectSQLite3, sub
}

// takeOver: only one process serves from a SQLite file, so that at its start whatever is running has no worker.
func (s sqlite) takeOver(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `update river_job set state = 'available' where state = 'running'`)
	return err
}
