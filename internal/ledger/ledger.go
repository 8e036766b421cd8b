// Package ledger remembers what Usher was told, what it promised and how far it got.
//
// It keeps five kinds of rows (deliveries, events, decisions, invitations and attempts), the shared pace,
// and River's job tables beside them, so that a promise and the job that keeps it are one transaction.
// Everything that changes state is a method here; SQL stands nowhere else.
//
// On SQLite all writes go through one connection (it has one writer in any case); on Postgres any number of
// instances share the ledger, and a row that a transaction reads and then changes is locked by the reading.
// Reads of the API have a pool of their own. All methods are safe for concurrent use.
package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// The errors a caller can act on; handlers has the one table from these to HTTP.
var (
	// ErrNotFound means that the ledger has no such row.
	ErrNotFound = errors.New("not in the ledger")
	// ErrBodyGone means that retention removed the body of a delivery: it cannot be read again.
	ErrBodyGone = errors.New("its body is gone: it is older than retention.bodies")
	// ErrUnwritable means that nothing can be committed now: the disk is full, the file is read-only, broken
	// or locked by another program. Nothing was written; the same call may succeed later.
	ErrUnwritable = errors.New("the ledger cannot be written")
	// ErrBusy means that too many requests already wait for a commit. Nothing was written.
	ErrBusy = errors.New("too many requests wait for the ledger")
	// ErrConflict means that the invitation's state does not allow what was asked.
	ErrConflict = errors.New("not possible in this state")
	// ErrNewerSchema means that a newer Usher has migrated this ledger.
	ErrNewerSchema = errors.New("the ledger's schema is newer than this program")
	// ErrOlderSchema means that this ledger waits to be migrated, which Options.AsItIs forbids.
	ErrOlderSchema = errors.New("the ledger's schema is older than this program")
	// ErrNoLedger means that there is no ledger yet where Options.AsItIs expects one.
	ErrNoLedger = errors.New("there is no ledger")
	// ErrInUse means that another Usher holds this SQLite ledger.
	ErrInUse = errors.New("another usher serves from this ledger")
	// ErrUnreachable means that the Postgres database could not be used from the start; the sentence says why.
	ErrUnreachable = errors.New("the database cannot be reached")
	// ErrUnsupported means that the database address names a store this version cannot use.
	ErrUnsupported = errors.New("this database is not supported")
)

// Options are the parts of a Ledger that tests and the demo change. The zero value is ready to use.
type Options struct {
	Now    func() time.Time // the ledger's clock, time.Now by default
	Logger *slog.Logger     // slog.Default by default
	// CallLimit is after how long a call to Retool that was never settled has no process any more, 3 minutes by
	// default: longer than any call lasts, its quick retries and the settling.
	CallLimit time.Duration
	// TendEvery is how often SQLite's log is copied back, 25 milliseconds by default.
	TendEvery time.Duration
	// AsItIs opens a ledger beside the Usher that serves from it: none is made, and none is migrated under it.
	AsItIs bool
}

// A Ledger is one open database.
type Ledger struct {
	write     *sql.DB
	read      *sql.DB
	dialect   dialect
	grammar   grammar
	callLimit time.Duration
	tendEvery time.Duration
	asItIs    bool
	jobs      *river.Client[*sql.Tx] // inserts only; the workers have their own
	acceptor  *acceptor
	slots     *group[*slotAsked]
	settler   *group[*settling]
	counts    kept[counts]
	stats     kept[Stats]
	past      pastDays
	reach     int // searchReach
	now       func() time.Time
	clock     rivertype.TimeGenerator
	log       *slog.Logger
	// stopTending ends the store's upkeep and waits for it.
	stopTending func() error
	accepted    chan struct{} // holds one token when deliveries were committed since it was last taken
}

// Open opens the ledger at a database address (sqlite://PATH or postgres://…), creating a file where there is none, and
// brings its schema up to date. Close it when done.
func Open(ctx context.Context, address string, opts Options) (*Ledger, error) {
	dialect, err := dialectFor(address)
	if err != nil {
		return nil, err
	}
	l := newLedger(dialect, opts)
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", dialect, err), l.Close())
	}
	return l, nil
}

// newLedger is a ledger whose database is not opened yet.
func newLedger(dialect dialect, opts Options) *Ledger {
	var clock rivertype.TimeGenerator // none: the database's own
	if opts.Now != nil {
		clock = clockOf(opts.Now)
	} else {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	l := &Ledger{dialect: dialect, grammar: dialect.grammar(), callLimit: cmp.Or(opts.CallLimit, 3*time.Minute), tendEvery: cmp.Or(opts.TendEvery, tendEvery), asItIs: opts.AsItIs,
		now: opts.Now, clock: clock, log: opts.Logger, accepted: make(chan struct{}, 1), reach: searchReach}
	l.counts.count, l.counts.rows, l.counts.log = l.countAll, counts.rows, l.log
	l.stats.count, l.stats.rows, l.stats.log = l.countStats, Stats.rows, l.log
	return l
}

func (l *Ledger) open(ctx context.Context) (err error) {
	if l.asItIs {
		if err := l.dialect.exists(); err != nil {
			return err
		}
	}
	if l.write, l.read, err = l.dialect.open(ctx); err != nil {
		return err
	}
	if err = l.prepareSchema(ctx); err != nil {
		return classify(err)
	}
	if l.jobs, err = river.NewClient(l.Driver(), &river.Config{Logger: quiet, SkipUnknownJobCheck: true, Test: river.TestConfig{Time: l.clock}}); err != nil {
		return err
	}
	if l.acceptor, err = newAcceptor(ctx, l); err != nil {
		return classify(err)
	}
	l.slots, l.settler = newGroup(1, l.takeSlots), newGroup(1, l.settleAll)
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	tended := make(chan error, 1)
	go func() { tended <- l.dialect.tend(tending, l.write, l.tendEvery) }()
	l.stopTending = sync.OnceValue(func() error { stop(); return <-tended })
	return nil
}

// prepareSchema brings the schema up to date, or sees that it is.
func (l *Ledger) prepareSchema(ctx context.Context) error {
	if l.asItIs {
		return isCurrent(ctx, l.read, l.dialect)
	}
	return l.dialect.alone(ctx, l.write, func() error { return migrate(ctx, l.write, l.dialect) })
}

// Close lets the commit in hand finish and closes the database.
func (l *Ledger) Close() error {
	var errs []error
	if l.acceptor != nil {
		errs = append(errs, l.acceptor.close())
	}
	if l.slots != nil {
		l.slots.close()
		l.settler.close()
	}
	if l.stopTending != nil {
		errs = append(errs, l.stopTending())
	}
	l.stats.close()
	l.counts.close()
	for _, db := range []*sql.DB{l.read, l.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Driver is River's access to this ledger's database.
func (l *Ledger) Driver() riverdriver.Driver[*sql.Tx] { return l.dialect.driver(l.write) }

// Clock is the clock of River's tables, where Options.Now set one: nil means the database's.
func (l *Ledger) Clock() rivertype.TimeGenerator { return l.clock }

// clockOf makes a clock for River.
type clockOf func() time.Time

func (c clockOf) Now() time.Time { return c() }

// NowOrNil has River hand this moment to the database, which would take its own.
func (c clockOf) NowOrNil() *time.Time {
	now := c().UTC()
	return &now
}

// quiet drops what River says while it only inserts.
var quiet = slog.New(slog.DiscardHandler)

// ProveWrite commits one change to disk: it fails when an acceptance would.
func (l *Ledger) ProveWrite(ctx context.Context) error {
	return l.inTx(ctx, func(tx *sql.Tx) error {
		// It must be a change: SQLite writes no page for a row that stays as it is, hence makes no fsync.
		_, err := tx.ExecContext(ctx, `update pace set proofs = proofs + 1 where id = 1`)
		return err
	})
}

// maxCollisions is how often a transaction is run again that lost against another instance's.
const maxCollisions = 10

// inTx runs f in a transaction and says plainly when nothing can be written. Where the transaction collides with
// another instance's, f runs again from the start.
func (l *Ledger) inTx(ctx context.Context, f func(*sql.Tx) error) (err error) {
	for range maxCollisions {
		if err = l.inOneTx(ctx, f); !isCollision(err) {
			return err
		}
	}
	return fmt.Errorf("%w: other instances are in the way: %w", ErrUnwritable, err)
}

func (l *Ledger) inOneTx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := l.write.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	if err := f(tx); err != nil {
		return classify(err)
	}
	return classify(tx.Commit())
}

// unwritable are the texts of SQLite's answers after which no commit can succeed until an operator acts.
// modernc.org/sqlite's Error carries the code too, but River and database/sql sometimes pass only the text.
var unwritable = []string{
	"(13)", "(SQLITE_FULL)", "database or disk is full",
	"attempt to write a readonly database", "disk I/O error", "unable to open database file", "SQLITE_READONLY", "SQLITE_IOERR",
	"SQLITE_BUSY", // another program has held the file for the whole busy_timeout
}

// classify marks an error with ErrUnwritable where the database says that it cannot be written.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrUnwritable) {
		return err
	}
	if postgresUnwritable(err) {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	for _, text := range unwritable {
		if strings.Contains(err.Error(), text) {
			return fmt.Errorf("%w: %w", ErrUnwritable, err)
		}
	}
	return err
}

// millis is how the ledger stores a moment; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment reads a stored moment; the zero time when there is none.
func moment(ms sql.NullInt64) time.Time {
	if !ms.Valid || ms.Int64 == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}

// flag stores a yes or no as both stores keep it.
func flag(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// storable replaces what Postgres refuses in text: NUL, and bytes that are no UTF-8.
func storable(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// storables does so for every text among the arguments of a statement.
func storables(args []any) []any {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = storable(text)
		}
	}
	return args
}

// orNull stores the zero time as null.
func orNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: millis(t), Valid: !t.IsZero()}
}
