package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func openHere(t *testing.T) (*Ledger, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usher.db")
	l, err := Open(t.Context(), "sqlite://"+path, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func pragma(t *testing.T, l *Ledger, statement string) {
	t.Helper()
	if _, err := l.write.ExecContext(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

var big = Delivery{Source: "stripe", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Request: "{}", Body: make([]byte, 256<<10)}

func count(t *testing.T, l *Ledger, table string) (n int) {
	t.Helper()
	if err := l.read.QueryRowContext(t.Context(), `select count(*) from `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUnwritableAndBack(t *testing.T) {
	tests := []struct {
		name      string
		breakIt   func(*testing.T, *Ledger, *sql.DB)
		mend      func(*testing.T, *Ledger, *sql.DB)
		readsOnly bool // no write at all succeeds, not even a small one
	}{
		{
			name: "a full disk",
			breakIt: func(t *testing.T, l *Ledger, _ *sql.DB) {
				var pages int
				if err := l.write.QueryRowContext(t.Context(), `pragma page_count`).Scan(&pages); err != nil {
					t.Fatal(err)
				}
				pragma(t, l, fmt.Sprintf(`pragma max_page_count = %d`, pages))
			},
			mend: func(t *testing.T, l *Ledger, _ *sql.DB) { pragma(t, l, `pragma max_page_count = 1000000`) },
		},
		{
			name:      "a read-only file",
			breakIt:   func(t *testing.T, l *Ledger, _ *sql.DB) { pragma(t, l, `pragma query_only = on`) },
			mend:      func(t *testing.T, l *Ledger, _ *sql.DB) { pragma(t, l, `pragma query_only = off`) },
			readsOnly: true,
		},
		{
			name: "a file that another program has locked",
			breakIt: func(t *testing.T, l *Ledger, other *sql.DB) {
				pragma(t, l, `pragma busy_timeout = 20`)
				if _, err := other.ExecContext(t.Context(), `begin immediate`); err != nil {
					t.Fatal(err)
				}
			},
			mend: func(t *testing.T, _ *Ledger, other *sql.DB) {
				if _, err := other.ExecContext(t.Context(), `rollback`); err != nil {
					t.Fatal(err)
				}
			},
			readsOnly: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, path := openHere(t)
			other, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			other.SetMaxOpenConns(1)
			tt.breakIt(t, l, other)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if _, err := l.Accept(context.Background(), big); !errors.Is(err, ErrUnwritable) {
						t.Errorf("got the error %v, want %v", err, ErrUnwritable)
					}
				})
			}
			all.Wait()
			if tt.readsOnly {
				if err := l.ProveWrite(t.Context()); !errors.Is(err, ErrUnwritable) {
					t.Errorf("the proof of writing gave %v, want %v", err, ErrUnwritable)
				}
			}
			if _, err := l.Summary(t.Context()); err != nil {
				t.Errorf("reading must go on: %v", err)
			}
			tt.mend(t, l, other)
			if _, err := l.Accept(t.Context(), big); err != nil {
				t.Errorf("after the cause is gone: %v", err)
			}
			if err := l.ProveWrite(t.Context()); err != nil {
				t.Errorf("after the cause is gone: %v", err)
			}
			if n := count(t, l, "deliveries"); n != 1 {
				t.Errorf("%d deliveries, want only the one that was acknowledged", n)
			}
		})
	}
}

// A row that the store refuses must not take its neighbours in the shared commit with it.
func TestBadRowFailsAlone(t *testing.T) {
	l, _ := openHere(t)
	pragma(t, l, `create trigger picky before insert on deliveries when new.source = 'bad' begin select raise(abort, 'refused'); end`)
	batch := make([]*waiter[*acceptance], 0, 9)
	for i := range 9 {
		d := Delivery{Source: "good", ReceivedAt: time.Now(), Request: "{}", Body: []byte("x")}
		if i%3 == 1 {
			d.Source = "bad"
		}
		batch = append(batch, &waiter[*acceptance]{ctx: t.Context(), what: &acceptance{delivery: d}, answered: make(chan struct{})})
	}
	l.acceptor.commit(batch)
	for i, one := range batch {
		<-one.answered
		if bad := i%3 == 1; bad != (one.err != nil) {
			t.Errorf("caller %d got the error %v", i, one.err)
		}
	}
	if n, undecided := count(t, l, "deliveries"), count(t, l, "undecided"); n != 6 || undecided != 6 {
		t.Errorf("%d deliveries of which %d undecided, want 6", n, undecided)
	}
	if !l.Pressed(time.Minute) {
		t.Error("nine in one commit are no pressure")
	}
}

func TestFullQueueIsBusy(t *testing.T) {
	l, _ := openHere(t)
	tx, err := l.write.BeginTx(context.Background(), nil) // whoever has the one connection keeps the commits waiting
	if err != nil {
		t.Fatal(err)
	}
	const callers = maxWaiting + maxShared + 50
	answers := make(chan error, callers)
	for range callers {
		go func() {
			_, err := l.Accept(context.Background(), Delivery{Source: "s", ReceivedAt: time.Now(), Request: "{}", Body: []byte("x")})
			answers <- err
		}()
	}
	busy, accepted := 0, 0
	if err := <-answers; !errors.Is(err, ErrBusy) {
		t.Errorf("the first answer is %v, want %v", err, ErrBusy)
	}
	busy++
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range callers - 1 {
		switch err := <-answers; {
		case err == nil:
			accepted++
		case errors.Is(err, ErrBusy):
			busy++
		default:
			t.Error(err)
		}
	}
	if n := count(t, l, "deliveries"); n != accepted || accepted < maxWaiting {
		t.Errorf("%d deliveries, %d acknowledged, %d refused", n, accepted, busy)
	}
}

// The commit must be on disk before the answer: with synchronous=NORMAL a power failure can take it back.
func TestWritingConnectionIsDurable(t *testing.T) {
	l, _ := openHere(t)
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		if err := l.write.QueryRowContext(t.Context(), `pragma `+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if _, err := l.read.ExecContext(t.Context(), `delete from pace`); !errors.Is(classify(err), ErrUnwritable) {
		t.Errorf("the reading pool writes: %v", err)
	}
}
