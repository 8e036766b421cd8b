package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
)

const (
	// Connections of one instance: a Postgres grants a hundred by default, to all instances together.
	postgresWriters = 12
	postgresReaders = 4
	// commitFor bounds one shared commit: a server that hangs must not keep senders waiting for ever.
	commitFor = 10 * time.Second
	// migrationLock is the advisory lock that lets one instance migrate at a time; any number will do. The one in
	// grammar is the next.
	migrationLock = 7205759403792793
)

// postgres is the store that any number of instances share.
type postgres struct{ config *pgx.ConnConfig }

// newPostgres reads an address. What is wrong with it is not repeated: it may hold a password.
func newPostgres(address string) (dialect, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("%w: the Postgres address cannot be read; write postgres://user:password@host/name, with special characters percent-encoded", ErrUnsupported)
	}
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, 5*time.Second)
	// A dead server or network must be seen within a minute.
	config.DialFunc = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	for name, value := range map[string]string{
		"application_name":   "usher",
		"synchronous_commit": "on", // an acknowledged commit is on disk, whatever the server's default
		// An instance that died without a word must not hold its locks for hours.
		"idle_in_transaction_session_timeout": "30000",
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	return postgres{config: config}, nil
}

func (p postgres) String() string {
	return (&url.URL{Scheme: "postgres", Host: p.host(), Path: "/" + p.config.Database}).String()
}

func (p postgres) host() string {
	if strings.HasPrefix(p.config.Host, "/") { // a folder with a socket
		return ""
	}
	return net.JoinHostPort(p.config.Host, fmt.Sprint(p.config.Port))
}

// exists: Postgres says so itself.
func (p postgres) exists() error { return nil }

func (p postgres) open(ctx context.Context) (write, read *sql.DB, err error) {
	write = stdlib.OpenDB(*p.config)
	write.SetMaxOpenConns(postgresWriters)
	write.SetMaxIdleConns(postgresWriters)
	write.SetConnMaxIdleTime(5 * time.Minute)
	read = p.reading()
	if err := write.PingContext(ctx); err != nil {
		return write, read, p.explain(err)
	}
	return write, read, nil
}

// reading is the pool of the queries.
func (p postgres) reading() *sql.DB {
	config := p.config.Copy()
	config.RuntimeParams["default_transaction_read_only"] = "on"
	read := stdlib.OpenDB(*config)
	read.SetMaxOpenConns(postgresReaders)
	read.SetMaxIdleConns(postgresReaders)
	read.SetConnMaxIdleTime(5 * time.Minute)
	return read
}

// openReadOnly is open without the pool that writes.
func (p postgres) openReadOnly(ctx context.Context) (*sql.DB, error) {
	read := p.reading()
	if err := read.PingContext(ctx); err != nil {
		return read, p.explain(err)
	}
	return read, nil
}

// explain says what to do when the database cannot be used at all.
func (p postgres) explain(err error) error {
	mend := "see that Postgres runs at " + cmp.Or(p.host(), p.config.Host) + ", can be reached from here, and that database names it rightly"
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000": // invalid_password, invalid_authorization_specification
			mend = fmt.Sprintf("Postgres refuses the user %q or its password; mend them in database", p.config.User)
		case "3D000": // invalid_catalog_name
			mend = fmt.Sprintf("the database %[1]q does not exist; create it: createdb %[1]s", p.config.Database)
		default:
			mend = refused.Message
		}
	}
	return fmt.Errorf("%w: %s (%w)", ErrUnreachable, mend, classify(err))
}

func (p postgres) driver(db *sql.DB) riverdriver.Driver[*sql.Tx] { return riverdatabasesql.New(db) }

func (p postgres) goose() (goose.Dialect, fs.FS) {
	sub, _ := fs.Sub(migrations, "migrations/postgres") // fails only for an invalid literal
	return goose.DialectPostgres, sub
}

// alone: instances that start together must not migrate together.
func (p postgres) alone(ctx context.Context, db *sql.DB, f func() error) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, `select pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return fmt.Errorf("wait for other instances to migrate: %w", err)
	}
	defer func() {
		_, failed := conn.ExecContext(context.WithoutCancel(ctx), `select pg_advisory_unlock($1)`, int64(migrationLock))
		err = errors.Join(err, failed)
	}()
	return f()
}

func (p postgres) grammar() grammar {
	return grammar{
		groups:    []int{128, 16, 4, 1}, // each statement asks the server
		acceptors: 2,
		deciders:  2, decideBatch: 256, // one reads while the server writes for the other
		many:       `select pg_advisory_xact_lock_shared(7205759403792794)`,
		manyAlone:  `select pg_advisory_xact_lock(7205759403792794)`,
		lockRow:    ` for no key update`, // attempts and decisions may still refer to the row meanwhile
		skipLocked: ` for update of u skip locked`,
		takeBack: `update river_job set state = 'available', scheduled_at = now()
			where state = 'running' and queue = $1 and attempted_at < now() - make_interval(secs => $2)`,
		oldestJob:    oldestJob(`(extract(epoch from min(scheduled_at)) * 1000)::bigint`),
		invitationOf: `(args ->> 'invitation')::bigint`,
		byRows:       true,
		domainOf:     `substr(email, strpos(email, '@') + 1)`,
		doneJobs:     doneJobs(`to_timestamp($2::bigint / 1000.0)`),
		lookUpsWaiting: `select count(distinct e.value ->> 'event') from river_job j,
			jsonb_array_elements(case jsonb_typeof(j.args -> 'events') when 'array' then j.args -> 'events' else jsonb_build_array(j.args) end) e (value)
			where j.kind = $1 and j.finalized_at is null and coalesce((e.value ->> 'decided')::bigint, 0) >=
				(select count(*) from decisions d where d.event_id = (e.value ->> 'event')::bigint)`,
	}
}

// tend has nothing to do: the server looks after itself.
func (p postgres) tend(ctx context.Context, _ *sql.DB, _ time.Duration) error {
	<-ctx.Done()
	return nil
}

// lock: any number of instances work one Postgres.
func (p postgres) lock() (unlock func() error, err error) { return func() error { return nil }, nil }

// takeOver leaves all as it is: what runs may be another instance's. River hands out again what a dead one
// left, and TakeSlot distrusts a call that began too long ago.
func (p postgres) takeOver(context.Context, *sql.Tx) error { return nil }

// recorder writes a whole batch by one statement. The instances share one sequence, so that identities have
// gaps: those that it returns are queued, never a range of them.
func (p postgres) recorder(ctx context.Context, l *Ledger) (recorder, error) {
	statement, err := l.write.PrepareContext(ctx, `with kept as (
			insert into deliveries (source, received_at, verified_by, request, body)
			select source, received_at, verified_by, request, body
			from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[])
				with ordinality as one (source, received_at, verified_by, request, body, place) order by place
			returning id),
		queued as (insert into undecided (delivery_id) select id from kept)
		select id from kept order by id`)
	return &postgresRecorder{ledger: l, statement: statement}, err
}

type postgresRecorder struct {
	ledger    *Ledger
	statement *sql.Stmt
}

func (r *postgresRecorder) close() error { return r.statement.Close() }

func (r *postgresRecorder) record(ctx context.Context, batch []*acceptance) error {
	ctx, cancel := context.WithTimeout(ctx, commitFor)
	defer cancel()
	var sources, verified, requests []string
	var received []int64
	var bodies [][]byte
	for _, one := range batch {
		d := &one.delivery
		sources, received, verified = append(sources, storable(d.Source)), append(received, millis(d.ReceivedAt)), append(verified, storable(d.VerifiedBy))
		requests, bodies = append(requests, storable(cmp.Or(d.Request, "{}"))), append(bodies, append([]byte{}, d.Body...))
	}
	err := r.ledger.inTx(ctx, func(tx *sql.Tx) error {
		statement := tx.StmtContext(ctx, r.statement) //nolint:sqlclosecheck // the transaction's end closes it
		rows, err := statement.QueryContext(ctx, sources, received, verified, requests, bodies)
		if err != nil {
			return fmt.Errorf("record deliveries: %w", err)
		}
		ids, err := all(rows, scanID)
		if err != nil {
			return fmt.Errorf("record deliveries: %w", err)
		}
		if len(ids) != len(batch) {
			return fmt.Errorf("record deliveries: %d of %d came back", len(ids), len(batch))
		}
		for i, one := range batch {
			one.id = ids[i]
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnwritable) { // no connection came free
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	return err
}

func scanID(row scanner) (id int64, err error) {
	err = row.Scan(&id)
	return id, err
}

// postgresUnwritable says whether an error means that Postgres cannot commit now, whatever the statement.
func postgresUnwritable(err error) bool {
	var connecting *pgconn.ConnectError
	if errors.As(err, &connecting) { // for whatever reason: without a connection there is no commit
		return true
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "25006", // read_only_sql_transaction: a standby, or a disk that a provider closed
			"57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
			return true
		}
		// Connections, resources (a full disk is 53100), and the system's own errors.
		return strings.HasPrefix(refused.Code, "08") || strings.HasPrefix(refused.Code, "53") || strings.HasPrefix(refused.Code, "58")
	}
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.Timeout(err) ||
		strings.Contains(err.Error(), "driver: bad connection") || strings.Contains(err.Error(), "conn closed")
}

// isCollision says that the transaction lost against another one and was rolled back: run again, it may win.
func isCollision(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == "40001" || refused.Code == "40P01") // serialization_failure, deadlock_detected
}
