package ledger_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-dev/usher/internal/ledger"
)

func noReport(string, int64, int64) {}

// A ledger that is written at full speed is backed up, and the copy opens as a ledger of one moment.
func TestBackupWhileWriting(t *testing.T) {
	path := newFile(t)
	l := openFile(t, path, quietly(newClock().Now))
	tell(t, l, "evt_1 jane@example.com invite")
	body := func(n int64) string {
		return fmt.Sprintf("evt_x%d person%d@example.com skip %s", n, n, strings.Repeat("x", 12000))
	}
	var sent, acknowledged atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := l.Accept(context.Background(), ledger.Delivery{Source: "stripe", ReceivedAt: start, VerifiedBy: "x", Request: "{}", Body: []byte(body(sent.Add(1)))}); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	for acknowledged.Load() < 500 { // some pages to copy
		decide(t, l)
	}
	file := filepath.Join(t.TempDir(), "copy.db")
	before, during := acknowledged.Load(), int64(0)
	size, err := ledger.Backup(t.Context(), "sqlite://"+path, file, func(step string, _, _ int64) {
		if step == "checking" {
			during = acknowledged.Load() - before
			close(stop) // what comes now is not in it
		}
	})
	check(t, err)
	all.Wait()
	if during == 0 {
		t.Error("nothing was written while the backup was made: this test proves nothing")
	}
	info := must[os.FileInfo](t)(os.Stat(file))
	equal(t, "mode", info.Mode(), os.FileMode(0o600))
	equal(t, "size", info.Size(), size)
	equal(t, "files", len(must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(file)))), 1)

	db := outside(t, file)
	var deliveries, last, undecided, events int64
	check(t, db.QueryRowContext(t.Context(), `select count(*), max(id), (select count(*) from undecided), (select count(*) from events) from deliveries`).
		Scan(&deliveries, &last, &undecided, &events))
	if deliveries < before+1 || deliveries > acknowledged.Load()+1 {
		t.Errorf("the copy has %d deliveries; %d were acknowledged before it and %d in all", deliveries, before, acknowledged.Load())
	}
	equal(t, "no identity is missing: the last", last, deliveries)
	equal(t, "each is decided or waits", undecided+events, deliveries) // one event each
	check(t, db.Close())

	copied := openFile(t, file, quietly(newClock().Now))
	release := must[func() error](t)(copied.TakeOver(t.Context()))
	for decide(t, copied) > 0 {
	}
	equal(t, "undecided", summary(t, copied).Undecided, 0)
	equal(t, "set aside", summary(t, copied).SetAside, 0)
	equal(t, "invitation", only(t, copied).Email.Full(), "jane@example.com")
	equal(t, "jobs", len(jobs(t, copied, "invite")), 1)
	check(t, release())
}

func TestBackupRefuses(t *testing.T) {
	tests := []struct {
		name    string
		address string
		prepare func(t *testing.T, path, file string)
		wantErr error
		want    string
		left    bool // the file was there before
	}{
		{name: "a file that exists", prepare: func(t *testing.T, _, file string) { check(t, os.WriteFile(file, []byte("mine"), 0o644)) },
			wantErr: ledger.ErrExists, want: "a backup never writes over one, name another", left: true},
		{name: "a link to nowhere", prepare: func(t *testing.T, _, file string) { check(t, os.Symlink("nowhere", file)) },
			wantErr: ledger.ErrExists, want: "name another", left: true},
		{name: "another backup to the same file", prepare: func(t *testing.T, _, file string) { check(t, os.WriteFile(file+".partial", nil, 0o600)) },
			wantErr: ledger.ErrExists, want: "another backup is being written to it, or was killed: in that case remove it", left: true},
		{name: "a ledger that is broken", prepare: func(t *testing.T, path, _ string) {
			execute(t, outside(t, path), `pragma writable_schema = on; delete from sqlite_master where name = 'invitations_by_state'`)
		}, want: "the copy is broken, and so the ledger may be"},
		{name: "a file that is no ledger", address: "sqlite://" + noLedger(t), want: "the file is no ledger"},
		{name: "a ledger that is not there", address: "sqlite:///nowhere/usher.db", want: "there is no ledger at sqlite:///nowhere/usher.db"},
		{name: "Postgres", address: "postgres://usher:s3cret@db.internal/usher", wantErr: ledger.ErrUnsupported, want: "pg_dump --format=custom --file="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, file := newFile(t), filepath.Join(t.TempDir(), "copy.db")
			if tt.prepare != nil {
				tt.prepare(t, path, file)
			}
			address := tt.address
			if address == "" {
				address = "sqlite://" + path
			}
			_, err := ledger.Backup(t.Context(), address, file, noReport)
			if tt.wantErr != nil {
				isError(t, err, tt.wantErr)
			}
			contains(t, err, tt.want)
			if strings.Contains(fmt.Sprint(err), "s3cret") {
				t.Errorf("the error holds the password: %v", err)
			}
			left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(file)))
			equal(t, "files left", len(left) > 0, tt.left)
			if text, err := os.ReadFile(file); err == nil {
				equal(t, "the file", string(text), "mine")
			}
		})
	}
}

func TestBackupStops(t *testing.T) {
	path, file := newFile(t), filepath.Join(t.TempDir(), "copy.db")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := ledger.Backup(ctx, "sqlite://"+path, file, func(step string, _, _ int64) {
		if step == "checking" {
			cancel()
		}
	})
	isError(t, err, context.Canceled)
	equal(t, "files left", len(must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(file)))), 0)
}
