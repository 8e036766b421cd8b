package ledger_test

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestLedger runs the suite on every store.
func TestLedger(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { suite(t, openSQLite) })
	t.Run("postgres", func(t *testing.T) { suite(t, openPostgres) })
}

func openSQLite(t *testing.T, o ledger.Options) *ledger.Ledger {
	t.Helper()
	return openFile(t, newFile(t), o)
}

func openFile(t *testing.T, path string, o ledger.Options) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), "sqlite://"+path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

// outside is the file as another program sees it.
func outside(t *testing.T, path string) *sql.DB {
	t.Helper()
	db := must[*sql.DB](t)(sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)"))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	must[sql.Result](t)(db.ExecContext(t.Context(), statement, args...))
}

func TestAcceptedIsOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	first := openFile(t, path, quietly(time.Now))
	accept(t, first, "evt_1 jane@example.com invite")
	// The first is not closed: what another process sees, a crash leaves too.
	second := openFile(t, path, quietly(time.Now))
	equal(t, "undecided", summary(t, second).Undecided, 1)
	equal(t, "decided by the second", decide(t, second), 1)
	equal(t, "left for the first", decide(t, first), 0)
	equal(t, "address", only(t, first).Email.Full(), "jane@example.com")
}

func TestEveryConnectionHasThePragmas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	openFile(t, path, quietly(time.Now))
	var mode string
	check(t, outside(t, path).QueryRowContext(t.Context(), `pragma journal_mode`).Scan(&mode))
	equal(t, "journal", mode, "wal")
}

func TestCloseWhileAccepting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(time.Now)))
	var mu sync.Mutex
	accepted := map[int64]bool{}
	var all sync.WaitGroup
	begun := make(chan struct{})
	for i := range 40 {
		all.Go(func() {
			for {
				id, err := l.Accept(t.Context(), ledger.Delivery{Source: fmt.Sprint(i), ReceivedAt: start, VerifiedBy: "secrets[0]", Request: "{}", Body: []byte("x")})
				if err != nil {
					isError(t, err, ledger.ErrUnwritable)
					return
				}
				mu.Lock()
				accepted[id] = true
				if len(accepted) == 100 {
					close(begun)
				}
				mu.Unlock()
			}
		})
	}
	<-begun
	check(t, l.Close())
	check(t, l.Close()) // twice does no harm
	all.Wait()
	there := kept(t, openFile(t, path, quietly(time.Now)))
	for id := range accepted {
		if _, ok := there[id]; !ok {
			t.Errorf("delivery %d was acknowledged and is lost", id)
		}
	}
	equal(t, "deliveries, none of which was refused", len(there), len(accepted))
}

func TestTakeOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	c := newClock()
	l := openFile(t, path, quietly(c.Now))
	other := openFile(t, path, quietly(c.Now))
	release := must[func() error](t)(l.TakeOver(t.Context()))
	for name, again := range map[string]*ledger.Ledger{"the same": l, "another": other} {
		if _, err := again.TakeOver(t.Context()); err == nil {
			t.Errorf("%s process may take over what is in use", name)
		} else {
			isError(t, err, ledger.ErrInUse)
		}
	}

	inv := invited(t, l, "jane@example.com")
	calm := invited(t, l, "calm@example.com")
	equal(t, "slot", take(t, l, inv).Granted, true)
	execute(t, outside(t, path), `update river_job set state = 'running' where id = 1`)
	check(t, release()) // as the kernel does for a process that dies

	release = must[func() error](t)(other.TakeOver(t.Context()))
	inv = invitation(t, other, inv.ID)
	equal(t, "unsure", inv.Unsure, true)
	equal(t, "sending since", inv.SendingSince, time.Time{})
	equal(t, "unsure without a call", invitation(t, other, calm.ID).Unsure, false)
	for _, job := range jobs(t, other, "invite") {
		equal(t, "state of the job", string(job.State), "available")
	}
	c.step(time.Second)
	equal(t, "looks first", take(t, other, inv).Invitation.Unsure, true)
	check(t, release())
}

func TestResendRemembersWhetherTheBytesWereTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	l := openFile(t, path, quietly(time.Now))
	for _, body := range []string{"evt_1 jane@example.com invite", "evt_1 jane@example.com invite", "evt_1 jane@example.com  invite"} {
		tell(t, l, body)
	}
	var same string
	check(t, outside(t, path).QueryRowContext(t.Context(), `select group_concat(same_body) from (select same_body from resends order by delivery_id)`).Scan(&same))
	equal(t, "same bodies", same, "1,0")
}

func TestOpen(t *testing.T) {
	tests := []struct {
		name    string
		address string
		prepare string // a statement sent to a ledger that is closed
		wantErr error
	}{
		{name: "a second time"},
		{name: "a schema of a newer usher", prepare: `insert into usher_schema (version_id, is_applied) values (9999, 1)`, wantErr: ledger.ErrNewerSchema},
		{name: "a schema of a newer River", prepare: `insert into river_migration (line, version) values ('main', 9999)`, wantErr: ledger.ErrNewerSchema},
		{name: "a Postgres that is down", address: "postgres://usher:s3cret@127.0.0.1:1/usher", wantErr: ledger.ErrUnreachable},
		{name: "the same, which may come up", address: "postgresql://usher:s3cret@127.0.0.1:1/usher", wantErr: ledger.ErrUnwritable},
		{name: "a Postgres address that cannot be read", address: "postgres://usher:s3cret%zz@127.0.0.1:port/usher", wantErr: ledger.ErrUnsupported},
		{name: "another store", address: "mysql://usher:s3cret@localhost/usher", wantErr: ledger.ErrUnsupported},
		{name: "a bare path", address: "usher.db", wantErr: ledger.ErrUnsupported},
		{name: "no path", address: "sqlite://", wantErr: ledger.ErrUnsupported},
		{name: "nothing", address: " ", wantErr: ledger.ErrUnsupported},
		{name: "a directory that is not there", address: "sqlite:///nowhere/at/all/usher.db", wantErr: ledger.ErrUnwritable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.address == "" {
				path := filepath.Join(t.TempDir(), "usher.db")
				l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(time.Now)))
				accept(t, l, "evt_1 jane@example.com invite")
				check(t, l.Close())
				if tt.prepare != "" {
					execute(t, outside(t, path), tt.prepare)
				}
				tt.address = "sqlite://" + path
			}
			l, err := ledger.Open(t.Context(), tt.address, quietly(time.Now))
			isError(t, err, tt.wantErr)
			if err == nil {
				equal(t, "undecided", summary(t, l).Undecided, 1)
				check(t, l.Close())
			} else if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells a password: %v", err)
			}
		})
	}
}

func TestOpenPathsWithOddCharacters(t *testing.T) {
	for _, name := range []string{"with space.db", "100%.db", "what?.db", "a#b.db", "käse.db", "a&mode=memory.db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			l := openFile(t, path, quietly(time.Now))
			accept(t, l, "evt_1 jane@example.com invite")
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
			check(t, must[func() error](t)(l.TakeOver(t.Context()))())
		})
	}
}

// The dump shows a reviewer what a migration does to the whole schema.
func TestSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	openFile(t, path, quietly(time.Now))
	//nolint:rowserrcheck // it is, below the loop
	rows := must[*sql.Rows](t)(outside(t, path).QueryContext(t.Context(),
		`select sql from sqlite_master where sql is not null and name not like 'river%' and name not like 'sqlite_%' order by name`))
	defer rows.Close()
	var dump strings.Builder
	for rows.Next() {
		var statement string
		check(t, rows.Scan(&statement))
		dump.WriteString(statement + ";\n\n")
	}
	check(t, rows.Err())
	golden(t, "testdata/schema.sql", dump.String())
}

// golden compares a schema with the file that keeps it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	if want := string(must[[]byte](t)(os.ReadFile(file))); got != want {
		t.Errorf("the schema is another than %s; after a migration run go test ./internal/ledger -run Schema -update\n%s", file, got)
	}
}
