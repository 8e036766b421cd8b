package ledger_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// A migration that fails half-way leaves the schema and the rows exactly as they were, and runs once what was in the way is
// gone.
func TestMigrationThatFailsIsTakenBack(t *testing.T) {
	stores := []struct {
		name string
		old  func(t *testing.T) (address string, db *sql.DB) // a ledger of the first schema
		dump string                                          // the whole schema, and the rows that the migration changes
	}{
		{name: "sqlite", old: func(t *testing.T) (string, *sql.DB) {
			path := oldLedger(t)
			return "sqlite://" + path, outside(t, path)
		}, dump: `select group_concat(line, char(10)) from (select coalesce(sql, name) as line from sqlite_master where name not like 'sqlite_%'
			union all select 'migrated to ' || max(version_id) from usher_schema union all select headers from deliveries order by 1)`},
		{name: "postgres", old: func(t *testing.T) (string, *sql.DB) {
			address := ledgertest.Postgres(t)
			db := outsidePostgres(t, address)
			ours := must[*goose.Provider](t)(goose.NewProvider(goose.DialectPostgres, db, os.DirFS("migrations/postgres"),
				goose.WithTableName("usher_schema"), goose.WithDisableGlobalRegistry(true)))
			must[[]*goose.MigrationResult](t)(ours.UpTo(t.Context(), 1))
			execute(t, db, strings.ReplaceAll(written1, "not JSON", "{}"))
			return address, db
		}, dump: `select string_agg(line, e'\n' order by line) from (
			select table_name || '.' || column_name || ' ' || data_type || coalesce(column_default, '') from information_schema.columns where table_schema = 'public'
			union all select indexdef from pg_indexes where schemaname = 'public'
			union all select 'migrated to ' || max(version_id) from usher_schema
			union all select headers from deliveries) as all_lines (line)`},
	}
	obstacles := []struct{ name, put, remove, want string }{
		// It is in the way of what the second migration does last.
		{name: "ours", put: `create index decisions_by_email on decisions (email)`, remove: `drop index decisions_by_email`, want: "migrate the ledger"},
	}
	for _, store := range stores {
		for _, obstacle := range obstacles {
			t.Run(store.name+" "+obstacle.name, func(t *testing.T) {
				address, db := store.old(t)
				dump := func() (text string) {
					check(t, db.QueryRowContext(t.Context(), store.dump).Scan(&text))
					return text
				}
				execute(t, db, obstacle.put)
				before := dump()
				for range 2 { // failing changes nothing, however often
					_, err := ledger.Open(t.Context(), address, quietly(time.Now))
					contains(t, err, obstacle.want)
					contains(t, err, "taken back whole: mend the cause, and start again")
					if after := dump(); after != before {
						t.Fatalf("the schema was\n%s\nand is\n%s", before, after)
					}
				}
				execute(t, db, obstacle.remove)
				l := openAt(t, address, quietly(time.Now))
				equal(t, "undecided", summary(t, l).Undecided, 2)
				equal(t, "event", event(t, l, "evt_1").Decisions[0].InvitationID, 1)
			})
		}
	}
}

// River's tables come by River's own migrations: one that fails is taken back too, and goes on later.
func TestRiversMigrationThatFailsIsTakenBack(t *testing.T) {
	const put, remove = `create table river_notification (mine integer)`, `drop table river_notification`
	for _, store := range []struct {
		name   string
		make   func(t *testing.T) (address string, db *sql.DB)
		tables string
	}{
		{name: "sqlite", make: func(t *testing.T) (string, *sql.DB) {
			path := filepath.Join(t.TempDir(), "usher.db")
			return "sqlite://" + path, outside(t, path)
		}, tables: `select group_concat(sql, ';') from (select sql from sqlite_master where name like 'river%' order by name)`},
		{name: "postgres", make: func(t *testing.T) (string, *sql.DB) {
			address := ledgertest.Postgres(t)
			return address, outsidePostgres(t, address)
		}, tables: `select string_agg(table_name || '.' || column_name || ' ' || data_type || coalesce(column_default, ''), ';' order by table_name, ordinal_position)
			from information_schema.columns where table_name like 'river%'`},
	} {
		t.Run(store.name, func(t *testing.T) {
			address, db := store.make(t)
			tables := func() (text string, version int64) {
				check(t, db.QueryRowContext(t.Context(), store.tables).Scan(&text))
				check(t, db.QueryRowContext(t.Context(), `select max(version) from river_migration`).Scan(&version))
				return text, version
			}
			execute(t, db, put)
			_, err := ledger.Open(t.Context(), address, quietly(time.Now))
			contains(t, err, "migrate River's tables")
			contains(t, err, "taken back whole")
			before, version := tables()
			_, err = ledger.Open(t.Context(), address, quietly(time.Now))
			contains(t, err, "migrate River's tables")
			after, still := tables()
			equal(t, "tables", after, before)
			equal(t, "version", still, version)
			execute(t, db, remove)
			equal(t, "jobs of a new invitation", len(jobs(t, withOne(t, address), "invite")), 1)
		})
	}
}

func withOne(t *testing.T, address string) *ledger.Ledger {
	t.Helper()
	l := openAt(t, address, quietly(time.Now))
	invited(t, l, "jane@example.com")
	return l
}
