package ledger_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// copyTo copies a ledger's file.
func copyTo(t *testing.T, path, address string) ([]ledger.CopiedTable, error) {
	t.Helper()
	return ledger.Copy(t.Context(), "sqlite://"+path, address, func(string, int64, int64) {}, quietly(newClock().Now))
}

// lived makes a ledger with something in every table and every kind of value, as an Usher that was killed leaves it.
func lived(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "usher.db")
	livedLedger.once.Do(func() { livedLedger.file = live(t) })
	check(t, os.WriteFile(path, livedLedger.file, 0o600))
	return path
}

var livedLedger struct {
	once sync.Once
	file []byte
}

func live(t *testing.T) (file []byte) {
	t.Helper()
	path := newFile(t)
	c := newClock()
	l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(c.Now)))
	tell(t, l, "evt_1 jane@example.com invite\nevt_2 held@example.com hold\nevt_3 skipped@example.com skip")
	tell(t, l, "evt_1 jane@example.com invite")
	must[int64](t)(l.Accept(t.Context(), ledger.Delivery{Source: "odd\x00", ReceivedAt: start, VerifiedBy: "x", Request: "{}", Body: []byte("evt_5 odd@example.com skip \x00\xff")}))
	accept(t, l, "evt_4 waits@example.com invite")
	for _, inv := range must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{State: ledger.Queued})) {
		put(t, l, inv, ledger.Sent)
	}
	invited(t, l, "queued@example.com")
	equal(t, "slot", take(t, l, invited(t, l, "called@example.com")).Granted, true)
	check(t, l.ProveWrite(t.Context()))
	check(t, l.Close())
	db := outside(t, path)
	execute(t, db, `update deliveries set body = null where id = 2`) // as retention does
	execute(t, db, `insert into upkeep (kind, reached) values ('bodies', 2)`)
	execute(t, db, `insert into kept_bodies (delivery_id) values (1)`)
	execute(t, db, `insert into audit (at, actor, what, invitation_id, subject, after) values (1, 'admin_token', 'retry', 1, 'x', 'queued')`)
	execute(t, db, `insert into tokens (name, hash, role, created_at, created_by, expires_at) values ('zapier', 'ab', 'invite', 1, 'admin_token', 2)`)
	execute(t, db, `insert into sessions (id, actor, credential, created_at, expires_at) values ('ab', 'admin_token', 'cd', 1, 2)`)
	execute(t, db, `insert into answers (key, request, at, status, body) values ('ab', 'cd', 1, 202, '{}')`)
	execute(t, db, `insert into imports (id, at, actor, total) values ('ab', 1, 'admin_token', 2)`)
	execute(t, db, `insert into import_lists (import_id, list) values ('ab', '{"é": "\u0000"}')`)
	execute(t, db, `insert into import_rows (import_id, place, line, event_id, invitation_id) values ('ab', 0, 2, 1, null)`)
	execute(t, db, `insert into source_secrets (source, fingerprint, since) values ('stripe', 'ab', 1)`)
	execute(t, db, `update deliveries set body = x'' where id = 1`)
	execute(t, db, `update river_job set state = 'completed', finalized_at = '2026-03-01 12:00:00.123' where id = 1`)
	execute(t, db, `update river_job set state = 'running', attempt = 3, attempted_at = '2026-03-01 12:00:00.123', attempted_by = jsonb('["host, \"a\""]'),
		errors = jsonb('[{"at": "2026-03-01T12:00:00Z", "error": "a NUL \u0000, a \\u0000", "attempt": 1}]'), tags = jsonb('["a","b"]'), metadata = jsonb('{"z":1,"a":{"c":2,"b":[]}}'),
		unique_key = x'00ff', unique_states = 5 where id = 3`)
	check(t, db.Close())
	return must[[]byte](t)(os.ReadFile(path))
}

// newFile is a ledger just made.
func newFile(t *testing.T) (path string) {
	t.Helper()
	return ledgertest.MigratedFile(t, migrate)
}

func TestCopy(t *testing.T) {
	path, address := lived(t), ledgertest.Postgres(t)
	before := sha256.Sum256(must[[]byte](t)(os.ReadFile(path)))
	copied := must[[]ledger.CopiedTable](t)(copyTo(t, path, address))
	rows := map[string]int64{}
	for _, table := range copied {
		rows[table.Table] = table.Rows
		equal(t, "hex digits of "+table.Table, len(table.Checksum), 64)
	}
	same(t, "rows", rows, map[string]int64{"deliveries": 4, "undecided": 2, "events": 5, "resends": 1, "invitations": 4, "decisions": 5, "attempts": 1, "pace": 1, "river_job": 2, "upkeep": 1, "kept_bodies": 1,
		"audit": 1, "tokens": 1, "sessions": 1, "answers": 1, "imports": 1, "import_lists": 1, "import_rows": 1, "source_secrets": 1})
	equal(t, "the source", sha256.Sum256(must[[]byte](t)(os.ReadFile(path))), before)

	db := outsidePostgres(t, address)
	var bodies, errs, job string
	var odd []byte
	check(t, db.QueryRowContext(t.Context(), `select body from deliveries where id = 3`).Scan(&odd))
	equal(t, "body", string(odd), "evt_5 odd@example.com skip \x00\xff")
	check(t, db.QueryRowContext(t.Context(), `select string_agg(coalesce('[' || encode(body, 'hex') || ']', 'null'), ' ' order by id) from deliveries where id < 3`).Scan(&bodies))
	equal(t, "bodies", bodies, "[] null")
	check(t, db.QueryRowContext(t.Context(), `select errors[1] ->> 'error' from river_job where id = 3`).Scan(&errs))
	equal(t, "error of a job", errs, "a NUL \uFFFD, a \\u0000")
	check(t, db.QueryRowContext(t.Context(), `select concat_ws(' ', state, attempt, max_attempts, attempted_at at time zone 'utc', attempted_by, tags, metadata, unique_key, unique_states, queue, kind, args)
		from river_job where id = 3`).Scan(&job))
	equal(t, "job", job, `available 3 10 2026-03-01 12:00:00.123 {"host, \"a\""} {a,b} {"a": {"b": [], "c": 2}, "z": 1} \x00ff 00000101 retool invite {"run": 1, "invitation": 4}`)

	c := newClock()
	c.step(time.Hour)
	l := openAt(t, address, quietly(c.Now))
	equal(t, "jobs", len(jobs(t, l, "invite")), 2)
	equal(t, "first", event(t, l, "evt_1").Decisions[0].Outcome, access.Invite)
	equal(t, "resent", event(t, l, "evt_1").Resends, 1)
	called := must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{Email: "called@example.com"}))[0]
	equal(t, "the call under way may have been carried out", called.Unsure, true)
	equal(t, "sending since", called.SendingSince, time.Time{})
	equal(t, "another is not", must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{Email: "queued@example.com"}))[0].Unsure, false)
	slot := take(t, l, called)
	equal(t, "slot", slot.Granted, true)
	equal(t, "looks first", slot.Invitation.Unsure, true)
	// New rows are numbered behind the copied ones.
	equal(t, "delivery", accept(t, l, "evt_9 new@example.com invite"), int64(5))
	equal(t, "invitation", invited(t, l, "newer@example.com").ID, int64(5))
	equal(t, "jobs", len(jobs(t, l, "invite")), 3)
}

func TestCopyOfAnEmptyLedger(t *testing.T) {
	path, address := newFile(t), newPostgres(t)
	for range 2 {
		must[[]ledger.CopiedTable](t)(copyTo(t, path, address))
	}
	l := openAt(t, address, quietly(time.Now))
	equal(t, "first delivery", accept(t, l, "evt_1 jane@example.com invite"), int64(1))
}

// Whatever is in a table must come along: a migration that makes one must name it in the copy.
func TestCopyKnowsEveryTable(t *testing.T) {
	path := lived(t)
	known := []string{"this_ledger", "usher_schema"}
	for _, table := range must[[]ledger.CopiedTable](t)(copyTo(t, path, newPostgres(t))) {
		if table.Rows == 0 {
			t.Errorf("nothing of %s is copied: give lived something in it", table.Table)
		}
		known = append(known, table.Table)
	}
	//nolint:rowserrcheck // it is, below the loop
	rows := must[*sql.Rows](t)(outside(t, path).QueryContext(t.Context(), `select name from sqlite_master where type = 'table' and name not like 'sqlite_%' and name not like 'river_%'`))
	defer rows.Close()
	for rows.Next() {
		var name string
		check(t, rows.Scan(&name))
		if !slices.Contains(known, name) {
			t.Errorf("the table %s is not copied", name)
		}
	}
	check(t, rows.Err())
}

func TestCopyAgain(t *testing.T) {
	const more = "evt_6 more@example.com invite"
	tests := []struct {
		name    string
		between func(t *testing.T, path, address string)
		wantErr error
		want    string // in the error
	}{
		{name: "nothing has changed", between: func(t *testing.T, _, _ string) {}},
		{name: "the source went on", between: func(t *testing.T, path, _ string) {
			l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(newClock().Now)))
			accept(t, l, more)
			equal(t, "decided", decide(t, l), 3)
			check(t, l.Close())
		}},
		{name: "the target was only tried", between: func(t *testing.T, _, address string) {
			l := openAt(t, address, quietly(newClock().Now))
			check(t, l.ProveWrite(t.Context()))
			check(t, must[func() error](t)(l.TakeOver(t.Context()))())
		}},
		{name: "the target has received", between: func(t *testing.T, _, address string) {
			accept(t, openAt(t, address, quietly(newClock().Now)), more)
		}, wantErr: ledger.ErrNotEmpty, want: "an usher has worked with it since (deliveries, undecided)"},
		{name: "the target has sent", between: func(t *testing.T, _, address string) {
			l := openAt(t, address, quietly(newClock().Now))
			put(t, l, must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{State: ledger.Queued}))[0], ledger.Sent)
		}, wantErr: ledger.ErrNotEmpty, want: "name an empty database"},
		{name: "the target has lost a row", between: func(t *testing.T, _, address string) {
			execute(t, outsidePostgres(t, address), `delete from attempts`)
		}, wantErr: ledger.ErrNotEmpty, want: "(attempts)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, address := lived(t), newPostgres(t)
			first := must[[]ledger.CopiedTable](t)(copyTo(t, path, address))
			tt.between(t, path, address)
			second, err := copyTo(t, path, address)
			if tt.wantErr != nil {
				isError(t, err, tt.wantErr)
				contains(t, err, tt.want)
				return
			}
			check(t, err)
			if tt.name != "the source went on" {
				same(t, "again", second, first)
			}
			var deliveries int64
			check(t, outsidePostgres(t, address).QueryRowContext(t.Context(), `select count(*) from deliveries`).Scan(&deliveries))
			equal(t, "deliveries", deliveries, second[0].Rows)
		})
	}
}

func contains(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v, want %q in it", err, want)
	}
}

// A copy that breaks off at any moment leaves nothing, and the next one is whole.
func TestCopyBreaksOff(t *testing.T) {
	path, address := newFile(t), newPostgres(t)
	l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(newClock().Now)))
	var body strings.Builder
	for i := range 300 {
		fmt.Fprintf(&body, "evt_%d person%d@example.com invite\n", i, i)
	}
	tell(t, l, body.String())
	check(t, l.Close())
	steps := []string{}
	breakOff := func(here func(report int, step string) bool) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reports := 0
		_, err := ledger.Copy(ctx, "sqlite://"+path, address, func(step string, _, _ int64) {
			if reports++; ctx.Err() == nil && here(reports, step) {
				steps = append(steps, step)
				cancel()
			}
		}, quietly(newClock().Now))
		if err == nil {
			return nil
		}
		isError(t, err, context.Canceled)
		var rows int64
		check(t, outsidePostgres(t, address).QueryRowContext(t.Context(), `select (select count(*) from events) + (select count(*) from river_job)`).Scan(&rows))
		equal(t, "rows after a stop "+steps[len(steps)-1], rows, 0)
		return err
	}
	isError(t, breakOff(func(_ int, step string) bool { return step == "copying river_job" }), context.Canceled)
	for stop := 0; ; stop += 3 {
		if breakOff(func(report int, _ string) bool { return report > stop }) == nil {
			break
		}
	}
	for _, step := range []string{"copying deliveries", "copying river_job", "verifying"} {
		if !slices.ContainsFunc(steps, func(s string) bool { return strings.HasPrefix(s, step) }) {
			t.Errorf("it was never stopped while %s: %q", step, steps)
		}
	}
	copied := openAt(t, address, quietly(newClock().Now))
	equal(t, "jobs", len(jobs(t, copied, "invite")), 300)
	equal(t, "queued", summary(t, copied).Invitations[ledger.Queued], 300)
}

// What arrives otherwise than it was sent is not kept: here the target itself changes or drops rows.
func TestCopyVerifies(t *testing.T) {
	for _, tt := range []struct{ name, does, table, when string }{
		{name: "a value", does: `new.type := new.type || ' '; return new;`, table: "events", when: `new.id = 2`},
		{name: "an empty value for none", does: `new.body := ''; return new;`, table: "deliveries", when: `new.body is null`},
		{name: "a row", does: `return null;`, table: "attempts", when: `true`},
		{name: "a job's time", does: `new.scheduled_at := new.scheduled_at + interval '1 ms'; return new;`, table: "river_job", when: `new.id = 3`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, address := lived(t), newPostgres(t)
			db := outsidePostgres(t, address)
			execute(t, db, `create function meddle() returns trigger language plpgsql as $$ begin `+tt.does+` end $$`)
			execute(t, db, `create trigger meddle before insert on `+tt.table+` for each row when (`+tt.when+`) execute function meddle()`)
			_, err := copyTo(t, path, address)
			contains(t, err, "what arrived is not what was sent, in "+tt.table+"; nothing was kept")
			var rows int64
			check(t, db.QueryRowContext(t.Context(), `select (select count(*) from deliveries) + (select count(*) from river_job)`).Scan(&rows))
			equal(t, "rows kept", rows, 0)
			execute(t, db, `drop trigger meddle on `+tt.table)
			must[[]ledger.CopiedTable](t)(copyTo(t, path, address))
		})
	}
}

func TestCopyRefuses(t *testing.T) {
	path, newer := lived(t), lived(t)
	execute(t, outside(t, newer), `insert into usher_schema (version_id, is_applied) values (9999, 1)`)
	open := func(t *testing.T) *ledger.Ledger { return openFile(t, path, quietly(newClock().Now)) }
	tests := []struct {
		name     string
		from, to string
		prepare  func(t *testing.T, address string)
		wantErr  error
		want     string
	}{
		{name: "while an usher serves", prepare: func(t *testing.T, _ string) {
			release := must[func() error](t)(open(t).TakeOver(t.Context()))
			t.Cleanup(func() { check(t, release()) })
		}, wantErr: ledger.ErrInUse, want: "stop it first"},
		{name: "another ledger in the target", prepare: func(t *testing.T, address string) {
			other := lived(t)
			execute(t, outside(t, other), `update this_ledger set identity = 'another'`)
			must[[]ledger.CopiedTable](t)(copyTo(t, other, address))
		}, wantErr: ledger.ErrNotEmpty, want: "it holds another ledger; name an empty database"},
		{name: "a ledger of its own in the target", prepare: func(t *testing.T, address string) {
			accept(t, openAt(t, address, quietly(time.Now)), "evt_1 jane@example.com invite")
		}, wantErr: ledger.ErrNotEmpty, want: "name an empty database"},
		{name: "a target of a newer schema", prepare: func(t *testing.T, address string) {
			execute(t, outsidePostgres(t, address), `insert into usher_schema (version_id, is_applied) values (9999, true)`)
		}, wantErr: ledger.ErrNewerSchema, want: "run the newer usher"},
		{name: "a source of an older schema", from: "sqlite://" + oldLedger(t), want: "bring it up to date first: usher migrate"},
		{name: "a source of a newer schema", from: "sqlite://" + newer, wantErr: ledger.ErrNewerSchema, want: "copy it with the newer usher"},
		{name: "a source that is not there", from: "sqlite:///nowhere/usher.db", want: "there is no ledger at sqlite:///nowhere/usher.db"},
		{name: "a source that is no ledger", from: "sqlite://" + noLedger(t), want: "the file is no ledger"},
		{name: "a source in Postgres", from: "postgres://usher:s3cret@127.0.0.1:1/usher", wantErr: ledger.ErrUnsupported, want: "use pg_dump and pg_restore"},
		{name: "a target in SQLite", to: "sqlite://other.db", wantErr: ledger.ErrUnsupported, want: "write --to postgres://"},
		{name: "a target that cannot be read", to: "postgres://usher:s3cret%zz@127.0.0.1:port/usher", wantErr: ledger.ErrUnsupported, want: "percent-encoded"},
		{name: "a target that is down", to: "postgres://usher:s3cret@127.0.0.1:1/usher", wantErr: ledger.ErrUnreachable, want: "see that Postgres runs at 127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to := tt.from, tt.to
			if from == "" {
				from = "sqlite://" + path
			}
			if to == "" {
				to = newPostgres(t)
			}
			if tt.prepare != nil {
				tt.prepare(t, to)
			}
			_, err := ledger.Copy(t.Context(), from, to, func(string, int64, int64) {}, quietly(time.Now))
			if tt.wantErr != nil {
				isError(t, err, tt.wantErr)
			}
			contains(t, err, tt.want)
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

// noLedger is a database of something else.
func noLedger(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "other.db")
	execute(t, outside(t, path), `create table other (id integer)`)
	return path
}
