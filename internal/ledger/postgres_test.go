package ledger_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// openPostgres opens a ledger on a database of its own.
func openPostgres(t *testing.T, o ledger.Options) *ledger.Ledger {
	t.Helper()
	return openAt(t, newPostgres(t), o)
}

func newPostgres(t *testing.T) (address string) {
	t.Helper()
	return ledgertest.Migrated(t, migrate)
}

func migrate(address string) error {
	l, err := ledger.Open(context.Background(), address, quietly(time.Now))
	if err != nil {
		return err
	}
	return l.Close()
}

func openAt(t *testing.T, address string, o ledger.Options) *ledger.Ledger {
	t.Helper()
	l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), address, o))
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

// outsidePostgres is the database as another program sees it.
func outsidePostgres(t *testing.T, address string) *sql.DB {
	t.Helper()
	db := must[*sql.DB](t)(sql.Open("pgx", address))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// instances opens several ledgers on one database.
func instances(t *testing.T, n int, o ledger.Options) (all []*ledger.Ledger, address string) {
	t.Helper()
	address = newPostgres(t)
	for range n {
		all = append(all, openAt(t, address, o))
	}
	return all, address
}

func TestPostgresInstancesStartTogether(t *testing.T) {
	address := ledgertest.Postgres(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			l, err := ledger.Open(context.Background(), address, quietly(time.Now))
			if err != nil {
				t.Error(err)
				return
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Every instance receives and decides; their deliveries speak of the same few people in all orders.
func TestPostgresInstancesDecideTogether(t *testing.T) {
	ledgers, address := instances(t, 3, quietly(time.Now))
	const deliveries, people = 120, 7
	var all sync.WaitGroup
	for i := range deliveries {
		all.Go(func() {
			var body strings.Builder
			for j := range people {
				n := (i*3 + j*(i%people+1)) % people
				fmt.Fprintf(&body, "evt_%d_%d person%d@example.com invite\n", i/2, n, n) // each event comes twice
			}
			_, err := ledgers[i%3].Accept(context.Background(), ledger.Delivery{Source: "stripe", ReceivedAt: start, VerifiedBy: "secrets[0]", Request: "{}", Body: []byte(body.String())})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var decided atomic.Int64
	words := plainWords(t)
	for i := range 6 {
		all.Go(func() {
			for {
				n, err := ledgers[i%3].Decide(context.Background(), 5, func(d ledger.Delivery) ([]ledger.Verdict, error) {
					verdicts, err := words(d)
					for v := range verdicts {
						verdicts[v].Decision.Groups = []int64{d.ID}
					}
					return verdicts, err
				})
				if err != nil {
					t.Error(err)
				}
				if n == 0 {
					return
				}
				decided.Add(int64(n))
			}
		})
	}
	all.Wait()
	equal(t, "deliveries decided", decided.Load(), int64(deliveries))
	equal(t, "undecided", summary(t, ledgers[0]).Undecided, 0)
	equal(t, "set aside", summary(t, ledgers[0]).SetAside, 0)
	invitations := must[[]ledger.Invitation](t)(ledgers[0].Invitations(t.Context(), ledger.Filter{}))
	equal(t, "invitations", len(invitations), people)
	equal(t, "jobs", len(jobs(t, ledgers[1], "invite")), people)
	db := outsidePostgres(t, address)
	for _, inv := range invitations {
		var brought int
		check(t, db.QueryRowContext(t.Context(), `select count(distinct e.delivery_id) from decisions d join events e on e.id = d.event_id where d.invitation_id = $1`, inv.ID).Scan(&brought))
		equal(t, "groups of "+inv.Email.Full(), len(inv.Groups), brought)
	}
}

func TestPostgresInstancesSendOnce(t *testing.T) {
	ledgers, _ := instances(t, 3, quietly(time.Now))
	jane, john := invited(t, ledgers[0], "jane@example.com"), invited(t, ledgers[0], "john@example.com")
	granted := func(interval time.Duration, invitations ...ledger.Invitation) (n int64) {
		var slots atomic.Int64
		var all sync.WaitGroup
		for i := range 24 {
			inv := invitations[i%len(invitations)]
			all.Go(func() {
				slot, err := ledgers[i%3].TakeSlot(context.Background(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}, interval)
				if err != nil {
					t.Error(err)
				}
				if slot.Granted {
					slots.Add(1)
				}
			})
		}
		all.Wait()
		return slots.Load()
	}
	equal(t, "slots for one invitation", granted(0, jane), int64(1))
	put(t, ledgers[1], jane, ledger.Queued)
	equal(t, "slots in one interval", granted(time.Hour, jane, john), int64(1))
}

func TestPostgresTakeOver(t *testing.T) {
	c := newClock()
	o := quietly(c.Now)
	o.CallLimit = time.Minute
	ledgers, address := instances(t, 2, o)
	first, second := ledgers[0], ledgers[1]
	must[func() error](t)(first.TakeOver(t.Context()))
	inv := invited(t, first, "jane@example.com")
	equal(t, "slot", take(t, first, inv).Granted, true)
	execute(t, outsidePostgres(t, address), `update river_job set state = 'running', attempted_at = now()`)

	check(t, must[func() error](t)(second.TakeOver(t.Context()))()) // while the first is at work
	equal(t, "unsure", invitation(t, second, inv.ID).Unsure, false)
	for _, job := range jobs(t, second, "invite") {
		equal(t, "state of the job", string(job.State), "running")
	}
	c.step(59 * time.Second)
	equal(t, "slot while the call may last", take(t, second, inv).Granted, false)
	c.step(time.Second)
	slot := take(t, second, inv)
	equal(t, "slot when the first must be dead", slot.Granted, true)
	equal(t, "looks first", slot.Invitation.Unsure, true)
}

func TestPostgresOpen(t *testing.T) {
	at := func(t *testing.T, change func(*url.URL)) string {
		u := must[*url.URL](t)(url.Parse(ledgertest.Postgres(t)))
		change(u)
		return u.String()
	}
	tests := []struct {
		name    string
		change  func(*url.URL)
		prepare string // a statement sent to a ledger that is closed
		wantErr error
		want    string
	}{
		{name: "a second time", change: func(*url.URL) {}},
		{name: "a wrong password", change: func(u *url.URL) { u.User = url.UserPassword("locked", "s3cret") }, wantErr: ledger.ErrUnreachable, want: `refuses the user "locked" or its password`},
		{name: "a database that is not there", change: func(u *url.URL) { u.Path = "/nowhere" }, wantErr: ledger.ErrUnreachable, want: "createdb nowhere"},
		{name: "a port where nothing listens", change: func(u *url.URL) { u.Host = "127.0.0.1:1" }, wantErr: ledger.ErrUnreachable, want: "see that Postgres runs at 127.0.0.1:1"},
		{name: "a schema of a newer usher", change: func(*url.URL) {}, prepare: `insert into usher_schema (version_id, is_applied) values (9999, true)`, wantErr: ledger.ErrNewerSchema, want: "run the newer usher"},
		{name: "a schema of a newer River", change: func(*url.URL) {}, prepare: `insert into river_migration (line, version) values ('main', 9999)`, wantErr: ledger.ErrNewerSchema, want: "run the newer usher"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := at(t, tt.change)
			if tt.wantErr == nil || tt.prepare != "" {
				l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), address, quietly(time.Now)))
				accept(t, l, "evt_1 jane@example.com invite")
				check(t, l.Close())
			}
			if tt.prepare != "" {
				execute(t, outsidePostgres(t, address), tt.prepare)
			}
			l, err := ledger.Open(t.Context(), address, quietly(time.Now))
			isError(t, err, tt.wantErr)
			if err == nil {
				equal(t, "undecided", summary(t, l).Undecided, 1)
				check(t, l.Close())
				return
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error is %q, want %q in it and no password", err, tt.want)
			}
		})
	}
}

func TestPostgresUnwritableAndBack(t *testing.T) {
	address := newPostgres(t)
	l := openAt(t, address, quietly(time.Now))
	server := outsidePostgres(t, must[string](t)(otherDatabase(address)))
	name := must[*url.URL](t)(url.Parse(address)).Path[1:]
	restart := func() {
		execute(t, server, `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()`, name)
	}
	tryAccept := func() error {
		_, err := l.Accept(context.Background(), ledger.Delivery{Source: "stripe", ReceivedAt: start, Request: "{}", Body: []byte("x")})
		return err
	}
	settled := func(what string, want error) {
		t.Helper()
		var err error
		for range 2 * 12 { // each broken connection of the pool may be met once, and is then replaced
			if err = tryAccept(); errors.Is(err, want) {
				break
			}
			isError(t, err, ledger.ErrUnwritable)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: got the error %v, want %v", what, err, want)
		}
	}
	check(t, tryAccept())
	restart()
	settled("after a restart", nil)
	execute(t, server, `alter database `+name+` set default_transaction_read_only = on`)
	restart()
	settled("read-only", ledger.ErrUnwritable)
	isError(t, l.ProveWrite(t.Context()), ledger.ErrUnwritable)
	must[ledger.Summary](t)(l.Summary(t.Context()))
	execute(t, server, `alter database `+name+` reset default_transaction_read_only`)
	restart()
	settled("after the cause is gone", nil)
	execute(t, server, `alter database `+name+` with allow_connections false`)
	restart()
	settled("no connections", ledger.ErrUnwritable)
	execute(t, server, `alter database `+name+` with allow_connections true`)
	settled("connections again", nil)
}

// otherDatabase is the address of the database that every server has.
func otherDatabase(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	u.Path = "/postgres"
	return u.String(), nil
}

// The dump shows a reviewer what a migration does to the whole schema.
func TestPostgresSchema(t *testing.T) {
	db := outsidePostgres(t, newPostgres(t))
	const ours = `c.relnamespace = 'public'::regnamespace and c.relname not like 'river%'`
	lines := []string{}
	for _, query := range []string{
		`select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
				|| case when a.attnotnull then ' not null' else '' end
				|| case when a.attidentity <> '' then ' identity' else '' end
				|| coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
			from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
			where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and ` + ours + ` order by c.relname, a.attnum`,
		`select c.relname || ': ' || pg_get_constraintdef(k.oid) from pg_constraint k join pg_class c on c.oid = k.conrelid
			where ` + ours + ` order by c.relname, k.conname`,
		`select pg_get_indexdef(c.oid) from pg_class c where c.relkind = 'i' and ` + ours + ` order by c.relname`,
	} {
		var text string
		check(t, db.QueryRowContext(t.Context(), `select string_agg(line, e'\n') from (`+query+`) all_lines (line)`).Scan(&text))
		lines = append(lines, text, "")
	}
	golden(t, "testdata/schema.postgres.txt", strings.Join(lines, "\n"))
}
