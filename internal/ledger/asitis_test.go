package ledger_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// asItIs opens a ledger as a command does beside the Usher that serves from it.
func asItIs() ledger.Options {
	opts := quietly(time.Now)
	opts.AsItIs = true
	return opts
}

// TestOpenAsItIs opens ledgers beside another Usher, which may be of another version: none is made, none is changed.
func TestOpenAsItIs(t *testing.T) {
	tests := []struct {
		name    string
		make    func(t *testing.T, path string)
		wantErr error
	}{
		{name: "one that serves now", make: func(t *testing.T, path string) { openFile(t, path, quietly(time.Now)) }},
		{name: "no file", make: func(*testing.T, string) {}, wantErr: ledger.ErrNoLedger},
		{name: "an empty file", make: func(t *testing.T, path string) { check(t, os.WriteFile(path, nil, 0o600)) }, wantErr: ledger.ErrNoLedger},
		{name: "another program's database", make: func(t *testing.T, path string) { execute(t, outside(t, path), `create table mine (id integer)`) }, wantErr: ledger.ErrNoLedger},
		{name: "one of an older usher", make: func(t *testing.T, path string) {
			check(t, os.Rename(oldLedger(t), path))
		}, wantErr: ledger.ErrOlderSchema},
		{name: "one of a newer usher", make: func(t *testing.T, path string) {
			check(t, must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(time.Now))).Close())
			execute(t, outside(t, path), `insert into usher_schema (version_id, is_applied) values (9999, 1)`)
		}, wantErr: ledger.ErrNewerSchema},
		{name: "one of a newer River", make: func(t *testing.T, path string) {
			check(t, must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(time.Now))).Close())
			execute(t, outside(t, path), `insert into river_migration (line, version) values ('main', 9999)`)
		}, wantErr: ledger.ErrNewerSchema},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "usher.db")
			tt.make(t, path)
			l, err := ledger.Open(t.Context(), "sqlite://"+path, asItIs())
			isError(t, err, tt.wantErr)
			if err == nil {
				accept(t, l, "evt_1 jane@example.com invite")
				check(t, l.Close())
			}
			if _, err := os.Stat(path); tt.name == "no file" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a ledger was made: %v", err)
			}
			if errors.Is(tt.wantErr, ledger.ErrOlderSchema) {
				var version, tables int
				db := outside(t, path)
				check(t, db.QueryRowContext(t.Context(), `select max(version_id) from usher_schema`).Scan(&version))
				check(t, db.QueryRowContext(t.Context(), `select count(*) from sqlite_schema where name = 'audit'`).Scan(&tables))
				equal(t, "version", version, 1)
				equal(t, "tables of the new schema", tables, 0)
			}
		})
	}
}

func TestPostgresOpenAsItIs(t *testing.T) {
	address := ledgertest.Postgres(t)
	_, err := ledger.Open(t.Context(), address, asItIs())
	isError(t, err, ledger.ErrNoLedger)
	var tables int
	check(t, outsidePostgres(t, address).QueryRowContext(t.Context(), `select count(*) from pg_tables where schemaname = 'public'`).Scan(&tables))
	equal(t, "tables that were made", tables, 0)

	openAt(t, address, quietly(time.Now))
	check(t, must[*ledger.Ledger](t)(ledger.Open(t.Context(), address, asItIs())).Close())

	execute(t, outsidePostgres(t, address), `delete from usher_schema where version_id > 1`)
	_, err = ledger.Open(t.Context(), address, asItIs())
	isError(t, err, ledger.ErrOlderSchema)
}
