package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// ErrNotEmpty means that the target of a copy holds what is no earlier copy of the same ledger.
var ErrNotEmpty = errors.New("the target is not empty")

// A CopiedTable is what one table came to, the same on both sides.
type CopiedTable struct {
	Table    string `json:"table"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum"` // SHA-256 over the values of all rows, in the order of their keys
}

// Progress says how far a long work is; total is 0 where that is not known.
type Progress func(step string, done, total int64)

// Copy copies the SQLite ledger at one address into the Postgres database at another: every row under its identity, and
// the jobs that are not finished. It is one transaction of the target, compared with the source before it is
// committed: a copy that broke off leaves nothing, and can be run again, as one that is done can. The source is read as
// it is at one moment and stays as it is; no Usher may serve from it meanwhile.
func Copy(ctx context.Context, from, to string, report Progress, opts Options) (copied []CopiedTable, err error) {
	source, target, err := copyEnds(from, to)
	if err != nil {
		return nil, err
	}
	file, err := source.openReadOnly()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	unlock, err := source.lock()
	if errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("%w: stop it first, so that nothing comes in which the copy would miss", ErrInUse)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	snapshot, err := file.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source, err)
	}
	defer snapshot.Rollback() //nolint:errcheck // it only read
	book, err := Open(ctx, to, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	c := &copier{source: snapshot, report: report}
	err = target.alone(ctx, book.write, func() error { return c.copyInto(ctx, book.write) })
	if err != nil {
		return nil, fmt.Errorf("copy %s to %s: %w", source, target, classify(err))
	}
	return c.copied, nil
}

// copyEnds reads the two addresses.
func copyEnds(from, to string) (source sqlite, target dialect, err error) {
	d, err := dialectFor(from)
	if err != nil {
		return source, nil, err
	}
	source, ok := d.(sqlite)
	if !ok {
		return source, nil, fmt.Errorf("%w: a copy is made of a ledger in SQLite, and database names %s; between Postgres servers use pg_dump and pg_restore", ErrUnsupported, d)
	}
	if target, err = dialectFor(to); err == nil {
		if _, ok := target.(postgres); !ok {
			err = errors.New("it is no Postgres")
		}
	}
	if err != nil {
		return source, nil, fmt.Errorf("%w: a copy goes to a Postgres; write --to postgres://user:password@host/name, with special characters percent-encoded", ErrUnsupported)
	}
	return source, target, nil
}

// A copier carries one ledger over, within a transaction on each side.
type copier struct {
	source   *sql.Tx
	target   pgx.Tx
	report   Progress
	identity string
	tables   []table
	copied   []CopiedTable

	step        string
	done, total int64
}

func (c *copier) copyInto(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it goes back to its pool
	return conn.Raw(func(raw any) error {
		target, ok := raw.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the connection is a %T", raw)
		}
		return pgx.BeginFunc(ctx, target.Conn(), func(tx pgx.Tx) error {
			c.target = tx
			return c.copyAll(ctx)
		})
	})
}

func (c *copier) copyAll(ctx context.Context) (err error) {
	if err = c.checkSource(ctx); err != nil {
		return err
	}
	// A provider's limit on statements is not meant for this one.
	if _, err = c.target.Exec(ctx, `set local statement_timeout = 0`); err != nil {
		return err
	}
	// Whoever serves from the target waits until it is whole.
	if _, err = c.target.Exec(ctx, `lock table this_ledger, river_job, `+tableNames()+` in access exclusive mode`); err != nil {
		return err
	}
	if c.tables, err = readTables(ctx, c.target); err != nil {
		return err
	}
	if err = c.makeRoom(ctx); err != nil {
		return err
	}
	if err = c.each(ctx, "copying", c.source, c.copyTable); err != nil {
		return err
	}
	verified := []CopiedTable{}
	err = c.each(ctx, "verifying", c.source, func(ctx context.Context, t table) error {
		there, err := c.sumTarget(ctx, t)
		verified = append(verified, there)
		return err
	})
	if err != nil {
		return err
	}
	if differ := difference(c.copied, verified); len(differ) > 0 {
		return fmt.Errorf("what arrived is not what was sent, in %s; nothing was kept. Run it again; if it stays, report it with the lines above", strings.Join(differ, ", "))
	}
	_, err = c.target.Exec(ctx, `update this_ledger set identity = $1, copied = $2 where id = 1`, c.identity, asJSON(c.copied))
	return err
}

// checkSource sees that the source is a ledger of this version.
func (c *copier) checkSource(ctx context.Context) error {
	const schema, jobs = `select max(version_id) from usher_schema`, `select max(version) from river_migration where line = 'main'`
	var has, hasJobs, want, wantJobs int64
	if err := c.source.QueryRowContext(ctx, schema).Scan(&has); err != nil {
		return fmt.Errorf("the file is no ledger; set database to the one that usher serve uses (%w)", err)
	}
	_ = c.source.QueryRowContext(ctx, jobs).Scan(&hasJobs) // an old ledger may have no such table
	err := errors.Join(c.target.QueryRow(ctx, schema).Scan(&want), c.target.QueryRow(ctx, jobs).Scan(&wantJobs))
	if err != nil {
		return err
	}
	switch {
	case has > want || hasJobs > wantJobs:
		return fmt.Errorf("%w: it is at version %d, this program knows %d; copy it with the newer usher", ErrNewerSchema, has, want)
	case has < want || hasJobs < wantJobs:
		return fmt.Errorf("the ledger is of an older usher: its schema is at version %d, this program's at %d; bring it up to date first: usher migrate", has, want)
	}
	return c.source.QueryRowContext(ctx, `select identity from this_ledger where id = 1`).Scan(&c.identity)
}

// makeRoom empties the target, if nothing is lost by that: it is empty, or as an earlier copy of this ledger left it.
func (c *copier) makeRoom(ctx context.Context) error {
	var identity, copied string
	if err := c.target.QueryRow(ctx, `select identity, copied from this_ledger where id = 1`).Scan(&identity, &copied); err != nil {
		return err
	}
	full := false
	for _, t := range c.tables {
		if !t.always && !full {
			if err := c.target.QueryRow(ctx, `select exists (select from `+t.name+`)`).Scan(&full); err != nil {
				return err
			}
		}
	}
	if full {
		if err := c.checkEarlier(ctx, identity, copied); err != nil {
			return err
		}
	}
	_, err := c.target.Exec(ctx, `truncate river_job, `+tableNames())
	return err
}

// checkEarlier sees that what is in the target came from this ledger, and is as it was then.
func (c *copier) checkEarlier(ctx context.Context, identity, copied string) error {
	const mend = "name an empty database (createdb usher2)"
	if identity != c.identity || copied == "" {
		return fmt.Errorf("%w: it holds another ledger; %s", ErrNotEmpty, mend)
	}
	var earlier, now []CopiedTable
	if err := fromJSON(copied, &earlier); err != nil {
		return err
	}
	err := c.each(ctx, "looking at the earlier copy of", nil, func(ctx context.Context, t table) error {
		there, err := c.sumTarget(ctx, t)
		now = append(now, there)
		return err
	})
	if err != nil {
		return err
	}
	if differ := difference(earlier, now); len(differ) > 0 {
		return fmt.Errorf("%w: it is an earlier copy of this ledger, and an usher has worked with it since (%s); go on with it, or %s", ErrNotEmpty, strings.Join(differ, ", "), mend)
	}
	return nil
}

// each runs f for every table. How many rows there are it asks counting, if that is not nil.
func (c *copier) each(ctx context.Context, step string, counting *sql.Tx, f func(context.Context, table) error) error {
	c.done, c.total = 0, 0
	for _, t := range c.tables {
		var n int64
		if counting != nil {
			if err := counting.QueryRowContext(ctx, t.size()).Scan(&n); err != nil {
				return fmt.Errorf("count %s: %w", t.name, err)
			}
		}
		c.total += n
	}
	for _, t := range c.tables {
		c.step = step + " " + t.name
		c.report(c.step, c.done, c.total)
		if err := f(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", c.step, err)
		}
	}
	return nil
}

// reportEvery is how many rows are between two reports.
const reportEvery = 500

func (c *copier) counted() {
	if c.done++; c.done%reportEvery == 0 {
		c.report(c.step, c.done, c.total)
	}
}

// copyTable streams one table over, and sums up what it sends.
func (c *copier) copyTable(ctx context.Context, t table) error {
	if t.staging != "" {
		if _, err := c.target.Exec(ctx, t.staging); err != nil {
			return err
		}
	}
	rows, err := c.source.QueryContext(ctx, t.query(column.ofSource))
	if err != nil {
		return err
	}
	defer rows.Close()
	sum := newSum()
	_, err = c.target.CopyFrom(ctx, pgx.Identifier{t.into()}, t.columnNames(), pgx.CopyFromFunc(func() ([]any, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		values, err := t.values(rows)
		sum.add(values)
		c.counted()
		return values, err
	}))
	if err != nil {
		return err
	}
	c.copied = append(c.copied, sum.of(t))
	for _, statement := range t.finish {
		if _, err := c.target.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// sumTarget sums up what the target holds.
func (c *copier) sumTarget(ctx context.Context, t table) (CopiedTable, error) {
	rows, err := c.target.Query(ctx, t.query(column.ofTarget))
	if err != nil {
		return CopiedTable{}, err
	}
	defer rows.Close()
	sum := newSum()
	for rows.Next() {
		values, err := t.values(rows)
		if err != nil {
			return CopiedTable{}, err
		}
		sum.add(values)
		c.counted()
	}
	return sum.of(t), rows.Err()
}

// difference names the tables that are not the same in both.
func difference(a, b []CopiedTable) (differ []string) {
	for _, one := range a {
		if !slices.Contains(b, one) {
			differ = append(differ, one.Table)
		}
	}
	for _, other := range b {
		if !slices.ContainsFunc(a, func(one CopiedTable) bool { return one.Table == other.Table }) {
			differ = append(differ, other.Table)
		}
	}
	return differ
}

// Version is which schema the ledger has: ours, and that of River's tables.
func (l *Ledger) Version(ctx context.Context) (schema, jobs int64, err error) {
	err = l.read.QueryRowContext(ctx, `select (select max(version_id) from usher_schema), (select max(version) from river_migration where line = 'main')`).Scan(&schema, &jobs)
	return schema, jobs, err
}
