package ledger_test

import (
	"context"
	"database/sql"
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
	return ledgertest.Migrated(t, func(address string) error {
		l, err := ledger.Open(context.Background(), address, quietly(time.Now))
		if err != nil {
			return err
		}
		return l.Close()
	})
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
