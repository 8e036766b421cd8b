package ledger_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func TestOpenReadOnly(t *testing.T) {
	stores := []struct {
		name string
		make func(t *testing.T) (address string, outside func(*testing.T) *sql.DB)
	}{
		{name: "sqlite", make: func(t *testing.T) (string, func(*testing.T) *sql.DB) {
			t.Helper()
			path := newFile(t)
			return "sqlite://" + path, func(t *testing.T) *sql.DB { t.Helper(); return outside(t, path) }
		}},
		{name: "postgres", make: func(t *testing.T) (string, func(*testing.T) *sql.DB) {
			t.Helper()
			address := newPostgres(t)
			return address, func(t *testing.T) *sql.DB { t.Helper(); return outsidePostgres(t, address) }
		}},
	}
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			at, outside := store.make(t)
			serving := openAt(t, at, quietly(time.Now))
			invited(t, serving, "jane@example.com")

			reading := must[*ledger.Ledger](t)(ledger.OpenReadOnly(t.Context(), at, quietly(time.Now)))
			equal(t, "read beside the one that serves", only(t, reading).Email, address(t, "jane@example.com"))
			must[int64](t)(serving.Record(t.Context(), verdict(t, "evt_2", "bob@example.com", access.Invite)))
			equal(t, "what came meanwhile is read too", len(past(t, reading, time.Time{})), 2)
			check(t, reading.Close())

			execute(t, outside(t), `insert into usher_schema (version_id, is_applied) select 9999, is_applied from usher_schema limit 1`)
			_, err := ledger.OpenReadOnly(t.Context(), at, quietly(time.Now))
			isError(t, err, ledger.ErrNewerSchema)
			execute(t, outside(t), `delete from usher_schema where version_id >= 2`)
			_, err = ledger.OpenReadOnly(t.Context(), at, quietly(time.Now))
			isError(t, err, ledger.ErrOlderSchema)
		})
	}

	t.Run("makes no file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "usher.db")
		_, err := ledger.OpenReadOnly(t.Context(), "sqlite://"+path, quietly(time.Now))
		isError(t, err, ledger.ErrNoLedger)
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("there is a file now: %v", err)
		}
	})

	t.Run("changes no file that nobody serves from", func(t *testing.T) {
		path := newFile(t)
		before := must[[]byte](t)(os.ReadFile(path))
		l := must[*ledger.Ledger](t)(ledger.OpenReadOnly(t.Context(), "sqlite://"+path, quietly(time.Now)))
		equal(t, "history", len(past(t, l, time.Time{})), 0)
		check(t, l.Close())
		equal(t, "the file is as it was", string(must[[]byte](t)(os.ReadFile(path))) == string(before), true)
	})
}
