package ledger

import (
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

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
	takeOver(*sql.Tx) error // jobs that a dead process left running become available again
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
	if err := private(abs); err != nil {
		return nil, nil, err
	}
	dsn := func(pragmas ...string) string {
		query := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_pragma": append([]string{
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "temp_store(MEMORY)",
		}, pragmas...)}
		return (&url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}).String()
	}
	// The log may grow to 16 MiB before it is copied back: each copy is an fsync of both files.
	if write, err = sql.Open("sqlite", dsn("wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-8000)")); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if read, err = sql.Open("sqlite", dsn("query_only(ON)", "cache_size(-4000)")); err != nil {
		return write, nil, err
	}
	read.SetMaxOpenConns(4)
	return write, read, nil
}

// private makes a new ledger readable to its owner only: it holds customers' addresses. SQLite gives the log
// beside it the same mode. A ledger that exists keeps the mode its operator gave it.
func private(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the path
	if errors.Is(err, fs.ErrPermission) {
		return nil // SQLite says the same, and may still read it
	}
	if err != nil {
		return err
	}
	return file.Close()
}

func (s sqlite) driver(db *sql.DB) riverdriver.Driver[*sql.Tx] { return riversqlite.New(db) }

func (s sqlite) goose() (goose.Dialect, fs.FS) {
	sub, _ := fs.Sub(migrations, "migrations/sqlite") // fails only for an invalid literal
	return goose.DialectSQLite3, sub
}

// takeOver: only one process serves from a SQLite file, so that at its start whatever is running has no worker.
func (s sqlite) takeOver(tx *sql.Tx) error {
	_, err := tx.Exec(`update river_job set state = 'available' where state = 'running'`)
	return err
}
