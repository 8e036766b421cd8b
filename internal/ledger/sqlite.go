package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
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
	fmt.Stringer   // the address without any secret
	exists() error // whether there is something to open that opening does not make
	open(ctx context.Context) (write, read *sql.DB, err error)
	driver(*sql.DB) riverdriver.Driver[*sql.Tx]
	goose() (goose.Dialect, fs.FS)
	alone(ctx context.Context, write *sql.DB, f func() error) error // keeps other processes from doing the same
	grammar() grammar
	recorder(context.Context, *Ledger) (recorder, error)
	tend(ctx context.Context, write *sql.DB, every time.Duration) error // the store's own upkeep, until ctx ends
	takeOver(context.Context, *sql.Tx) error                            // what a dead process left under way goes on
	lock() (unlock func() error, err error)
}

// A grammar holds the parts of statements in which the stores differ.
type grammar struct {
	// Transactions that change many rows, in any order, begin with many. Where two collide nevertheless, the one that
	// runs again begins with manyAlone, which keeps all others off: else they could go on colliding for ever.
	many, manyAlone string

	// groups are how many rows go into one statement, largest first and down to 1, so that only few statements differ.
	groups []int
	// acceptors is how many of one process write acceptances at once.
	acceptors int
	// deciders is how many of one process decide at once, each decideBatch deliveries in a transaction.
	deciders, decideBatch int

	lockRow        string // ends a select of one row that its transaction will change
	skipLocked     string // ends a select of undecided rows, called u, that no other instance has in hand
	takeBack       string // hands out again the running jobs of queue $1 that began more than $2 seconds ago; empty where a start does
	oldestJob      string // the moment of the oldest job that is due
	byDue          string // names the index of what is due, where the planner would sort all that is queued instead
	byExpiry       string // the same, of what expires
	invitationOf   string // the invitation of an InviteJob
	doneJobs       string // removes up to $3 jobs that ended in state $1 before $2
	lookUpsWaiting string // counts the events whose address is being asked for; $1 is the kind of the jobs
	domainOf       string // the domain of an invitation's address, as its index has it

	// byRows: a page of what has one value is asked for by comparing rows of columns. Postgres takes that for what it is, a
	// walk along the index; asked for columns one by one, it may think another index cheaper, and walk all the table where
	// a value is rare. SQLite compares rows by their first column alone, and takes the index in any case.
	byRows bool
}

// A recorder puts the deliveries of one shared commit on disk and gives each its identity.
type recorder interface {
	record(ctx context.Context, batch []*acceptance) error
	close() error
}

func dialectFor(address string) (dialect, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case ok && scheme == "sqlite" && rest != "":
		return sqlite{path: rest}, nil
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return newPostgres(address)
	default:
		return nil, fmt.Errorf("%w: set database to sqlite://PATH, such as sqlite://usher.db, or to postgres://user:password@host/name", ErrUnsupported)
	}
}

// sqlite is the embedded store: one file, its write-ahead log and a lock file beside it.
type sqlite struct{ path string }

func (s sqlite) String() string { return "sqlite://" + s.path }

// exists sees that the file is there.
func (s sqlite) exists() error {
	_, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the file does not exist; %s", ErrNoLedger, makeOne)
	}
	return err
}

// open makes the writing connection and the reading pool. Pragmas stand in the DSN because one sent by
// Exec reaches a single pooled connection. synchronous=FULL: with NORMAL a power failure can take back an
// acknowledged commit. https://www.sqlite.org/pragma.html#pragma_synchronous
// A page of 8 KiB holds two bodies of 3 KB, one of 4 KiB only one; a ledger that exists keeps its size.
func (s sqlite) open(context.Context) (write, read *sql.DB, err error) {
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return nil, nil, err
	}
	private(abs)
	// tend copies the log back; should it not keep up, the writer does at 128 MiB.
	if write, err = openSQLite(s.dsn(abs, "wal_autocheckpoint(16000)", "journal_size_limit(67108864)", "cache_size(-8000)")); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if read, err = openSQLite(s.dsn(abs, "query_only(ON)", "cache_size(-4000)")); err != nil {
		return write, nil, err
	}
	read.SetMaxOpenConns(4)
	return write, read, nil
}

func (s sqlite) dsn(path string, pragmas ...string) string {
	query := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_pragma": append([]string{
		"page_size(8192)", "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "temp_store(MEMORY)",
	}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

const (
	// tendEvery is how often the log is copied back, and tendAt the pages from which the writer finishes the copy, so
	// that the log begins anew instead of growing. Little and often: a large copy's flush holds up the commits' own.
	tendEvery = 25 * time.Millisecond
	tendAt    = 500
)

// tend copies the write-ahead log back into the database until ctx ends. A connection of its own does most
// of it beside the writer; only the rest, what was written meanwhile, makes acceptances wait. Left to the
// writer, each copy made them wait for 20 ms. https://www.sqlite.org/wal.html#ckpt
func (s sqlite) tend(ctx context.Context, write *sql.DB, every time.Duration) error {
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	beside, err := openSQLite(s.dsn(abs, "wal_autocheckpoint(0)"))
	if err != nil {
		return err
	}
	defer func() { _ = beside.Close() }() // it holds nothing of its own
	beside.SetMaxOpenConns(1)
	for ticker := time.Tick(every); ; {
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

// alone: the file's own lock lets one process write at a time.
func (s sqlite) alone(_ context.Context, _ *sql.DB, f func() error) error { return f() }

// takeOver: only one process serves from a SQLite file, so that at its start whatever is running has no worker,
// and a call that was under way may have been carried out.
func (s sqlite) takeOver(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `update river_job set state = 'available' where state = 'running'`); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `update invitations set unsure = 1, sending_since = null where sending_since is not null`)
	return err
}

// grammar: one writer, so that nothing needs to be locked.
func (s sqlite) grammar() grammar {
	return grammar{
		groups:    []int{64, 16, 4, 1},
		acceptors: 1,
		deciders:  1, decideBatch: 48, // acceptances wait for the one writer meanwhile: for some 10 ms
		oldestJob:    oldestJob(`cast(unixepoch(min(scheduled_at), 'subsec') * 1000 as integer)`),
		byDue:        ` indexed by invitations_due`,
		byExpiry:     ` indexed by invitations_expiring`,
		invitationOf: `json_extract(args, '$.invitation')`,
		domainOf:     `substr(email, instr(email, '@') + 1)`,
		doneJobs:     doneJobs(`strftime('%Y-%m-%d %H:%M:%f', $2 / 1000.0, 'unixepoch')`),
		lookUpsWaiting: `select count(distinct json_extract(e.value, '$.event')) from river_job j,
			json_each(case when json_type(j.args, '$.events') is null then json_array(json(j.args)) else json_extract(j.args, '$.events') end) e
			where j.kind = $1 and j.finalized_at is null and coalesce(json_extract(e.value, '$.decided'), 0) >=
				(select count(*) from decisions d where d.event_id = json_extract(e.value, '$.event'))`,
	}
}

// oldestJob asks River's index for the oldest due job of each queue and priority. What was due and is not yet
// available, River makes so within seconds.
func oldestJob(millis string) string {
	var each []string
	for _, of := range []string{`queue = '` + QueueRetool + `' and priority = 1`, `queue = '` + QueueRetool + `' and priority = 2`, `queue = '` + QueueLookUp + `' and priority = 1`} {
		each = append(each, `select `+millis+` as at from river_job where state = 'available' and `+of)
	}
	return `select min(at) from (` + strings.Join(each, ` union all `) + `) oldest`
}

// doneJobs removes jobs by River's index of those that ended.
func doneJobs(moment string) string {
	return `delete from river_job where id in (select id from river_job where state = $1 and finalized_at < ` + moment + ` order by finalized_at limit $3)`
}

// recorder puts deliveries on disk by the one writing connection.
func (s sqlite) recorder(_ context.Context, l *Ledger) (recorder, error) {
	return &sqliteRecorder{ledger: l}, nil
}

type sqliteRecorder struct{ ledger *Ledger }

func (r *sqliteRecorder) close() error { return nil }

func (r *sqliteRecorder) record(ctx context.Context, batch []*acceptance) error {
	return r.ledger.inTx(ctx, func(tx *sql.Tx) error {
		rest := batch
		for _, insert := range inserts {
			for ; len(rest) >= insert.rows; rest = rest[insert.rows:] {
				if err := insertSome(ctx, tx, insert.text, rest[:insert.rows]); err != nil {
					return fmt.Errorf("record a delivery: %w", err)
				}
			}
		}
		// One writer: the identities of a transaction follow each other.
		if _, err := tx.ExecContext(ctx, `insert into undecided (delivery_id) select id from deliveries where id between $1 and $2`,
			batch[0].id, batch[len(batch)-1].id); err != nil {
			return fmt.Errorf("queue deliveries to be decided: %w", err)
		}
		return nil
	})
}

// insertSome inserts deliveries by one statement and tells each its identity: one writer, so that the
// identities of a statement follow each other.
func insertSome(ctx context.Context, tx *sql.Tx, insert string, some []*acceptance) error {
	values := make([]any, 0, 5*len(some))
	for _, one := range some {
		d := &one.delivery
		values = append(values, d.Source, millis(d.ReceivedAt), d.VerifiedBy, cmp.Or(d.Request, "{}"), d.Body)
	}
	result, err := tx.ExecContext(ctx, insert, values...)
	if err != nil {
		return err
	}
	last, err := result.LastInsertId()
	for i, one := range some {
		one.id = last - int64(len(some)-1-i)
	}
	return err
}

// inserts are the statements that a batch is put together of, largest first: each call costs as much as a row.
var inserts = func() (all []struct {
	rows int
	text string
}) {
	for rows := 32; rows > 0; rows /= 2 {
		all = append(all, struct {
			rows int
			text string
		}{rows, insertDeliveries(rows)})
	}
	return all
}()

// insertDeliveries is the statement that inserts n deliveries.
func insertDeliveries(n int) string {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf("($%d, $%d, $%d, $%d, $%d)", 5*i+1, 5*i+2, 5*i+3, 5*i+4, 5*i+5))
	}
	return `insert into deliveries (source, received_at, verified_by, request, body) values ` + strings.Join(rows, ", ")
}
