package ledger

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

func TestPostgresErrorsThatMeanUnwritable(t *testing.T) {
	coded := func(code string) error { return fmt.Errorf("record: %w", &pgconn.PgError{Code: code}) }
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{name: "a full disk", err: coded("53100"), want: true},
		{name: "too many connections", err: coded("53300"), want: true},
		{name: "a standby", err: coded("25006"), want: true},
		{name: "an administrator's shutdown", err: coded("57P01"), want: true},
		{name: "a crash", err: coded("57P02"), want: true},
		{name: "a start", err: coded("57P03"), want: true},
		{name: "a lost connection", err: coded("08006"), want: true},
		{name: "an input or output error", err: coded("58030"), want: true},
		{name: "an answer that broke off", err: fmt.Errorf("record: %w", io.ErrUnexpectedEOF), want: true},
		{name: "a NUL in text", err: coded("22021")},
		{name: "a row that is there already", err: coded("23505")},
		{name: "a mistake of ours", err: coded("42601")},
		{name: "a collision, which is tried again", err: coded("40P01")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := errors.Is(classify(tt.err), ErrUnwritable); got != tt.want {
				t.Errorf("unwritable: got %t, want %t", got, tt.want)
			}
		})
	}
}

func openPostgresHere(t *testing.T) *Ledger {
	t.Helper()
	l, _ := openPostgresAt(t)
	return l
}

func openPostgresAt(t *testing.T) (l *Ledger, address string) {
	t.Helper()
	address = ledgertest.Postgres(t)
	l, err := Open(t.Context(), address, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, address
}

// The commit must be on disk before the answer, whatever the database's own settings say.
func TestPostgresWritesAreDurable(t *testing.T) {
	l := openPostgresHere(t)
	for name, want := range map[string]string{"synchronous_commit": "on", "default_transaction_read_only": "off"} {
		var got string
		if err := l.write.QueryRowContext(t.Context(), `show `+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if _, err := l.read.ExecContext(t.Context(), `delete from pace`); !errors.Is(classify(err), ErrUnwritable) {
		t.Errorf("the reading pool writes: %v", err)
	}
}

// A row that the store refuses must not take its neighbours in the shared commit with it.
func TestPostgresBadRowFailsAlone(t *testing.T) {
	l := openPostgresHere(t)
	if _, err := l.write.ExecContext(t.Context(), `alter table deliveries add check (source <> 'bad')`); err != nil {
		t.Fatal(err)
	}
	batch := make([]*waiter[*acceptance], 0, 40)
	for i := range 40 {
		d := Delivery{Source: "good", ReceivedAt: time.UnixMilli(int64(i)), Request: "{}", Body: []byte("x")}
		if i%3 == 1 {
			d.Source = "bad"
		}
		batch = append(batch, &waiter[*acceptance]{ctx: t.Context(), what: &acceptance{delivery: d}, answered: make(chan struct{})})
	}
	l.acceptor.commit(batch)
	for i, one := range batch {
		<-one.answered
		if bad := i%3 == 1; bad != (one.err != nil) {
			t.Fatalf("caller %d got the error %v", i, one.err)
		}
		if one.err != nil {
			continue
		}
		var at int64
		if err := l.read.QueryRowContext(t.Context(), `select received_at from deliveries where id = $1`, one.what.id).Scan(&at); err != nil || at != int64(i) {
			t.Errorf("caller %d was told the identity of %d (%v)", i, at, err)
		}
	}
	if n, undecided := count(t, l, "deliveries"), count(t, l, "undecided"); n != 27 || undecided != 27 {
		t.Errorf("%d deliveries of which %d undecided, want 27", n, undecided)
	}
}
