package ledger_test

import (
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// views are those for people who read the ledger with SQL.
var views = []string{"usher_invitations", "usher_events"}

// A column is one of a view.
type column struct{ name, kind string }

// documentedColumns are those of docs/retool.md.
func documentedColumns(t *testing.T, view string) (all []column) {
	t.Helper()
	_, rest, found := strings.Cut(retoolPage(t), "\n### "+view+"\n")
	if !found {
		t.Fatalf("docs/retool.md does not describe %s", view)
	}
	rest, _, _ = strings.Cut(rest, "\n#")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(rest, -1) {
		all = append(all, column{row[1], row[2]})
	}
	return all
}

func retoolPage(t *testing.T) string {
	t.Helper()
	return string(must[[]byte](t)(os.ReadFile("../../docs/retool.md")))
}

// fill records an invitation that was sent, and an event that was skipped.
func fill(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	inv := invited(t, l, "ada@example.com")
	must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Sent, ExpiresAt: start.Add(7 * 24 * time.Hour), RetoolID: 7,
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Outcome: "sent"}}))
	must[int64](t)(l.Record(t.Context(), verdict(t, "evt_skip", "bob@example.com", access.Skip)))
}

// Whoever reads with the role that docs/retool.md makes has the views as it describes them, and nothing else.
func TestPostgresViewsForReaders(t *testing.T) {
	l, address := openPostgresWithAddress(t)
	fill(t, l)
	db := outsidePostgres(t, address)
	_, code, _ := strings.Cut(retoolPage(t), "```sql\n")
	code, _, _ = strings.Cut(code, "```")
	if !strings.Contains(code, "create role usher_reader") {
		t.Fatal("docs/retool.md makes no role")
	}
	execute(t, db, code)

	u := must[*url.URL](t)(url.Parse(address))
	u.User = url.User("usher_reader")
	reader := outsidePostgres(t, u.String())
	for _, view := range views {
		var got []column
		for _, row := range rowsOf(t, reader, `select column_name, case data_type when 'timestamp with time zone' then 'timestamptz' else data_type end
			from information_schema.columns where table_name = $1 order by ordinal_position`, view) {
			got = append(got, column{row[0], row[1]})
		}
		same(t, "columns of "+view, got, documentedColumns(t, view))
	}

	row := rowsOf(t, reader, `select email, state, sent_at = accepted_at, expires_at::text, groups ->> 0, extract(epoch from created_at)::bigint from usher_invitations`)[0]
	equal(t, "the invitation", strings.Join(row[:2], " "), "ada@example.com sent")
	equal(t, "created at", row[5], itoa(int(start.Unix())))
	if at := must[time.Time](t)(time.Parse("2006-01-02 15:04:05Z07", row[3])); !at.Equal(start.Add(7 * 24 * time.Hour)) {
		t.Errorf("it expires at %s", at)
	}
	equal(t, "the event", strings.Join(rowsOf(t, reader, `select sender_id, outcome, email, details ->> 'source' from usher_events order by id desc`)[0], " "), "evt_skip skip bob@example.com stripe")

	tables := rowsOf(t, db, `select tablename from pg_tables where schemaname = 'public'`)
	if len(tables) < 15 {
		t.Fatalf("only %d tables were found", len(tables))
	}
	for _, table := range tables {
		refused(t, reader, `select 1 from "`+table[0]+`" limit 1`)
	}
	reader.SetMaxOpenConns(1)
	execute(t, reader, `set default_transaction_read_only = off`) // a role can do so: the grants hold all the same
	for _, change := range []string{`update usher_invitations set note = 'x'`, `delete from usher_invitations`, `insert into usher_invitations (email) values ('x')`} {
		refused(t, reader, change)
	}
}

func refused(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("%s: %v", statement, err)
	}
}

// A SQLite ledger has the same views, with times as text.
func TestSQLiteViewsForReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	l := openFile(t, path, quietly(func() time.Time { return start }))
	fill(t, l)
	db := must[*sql.DB](t)(sql.Open("sqlite", path))
	t.Cleanup(func() { _ = db.Close() })
	for _, view := range views {
		var got, want []string
		for _, row := range rowsOf(t, db, `select name from pragma_table_info($1)`, view) {
			got = append(got, row[0])
		}
		for _, c := range documentedColumns(t, view) {
			want = append(want, c.name)
		}
		same(t, "columns of "+view, got, want)
	}
	equal(t, "created at", rowsOf(t, db, `select created_at from usher_invitations`)[0][0], "2026-03-01T12:00:00.000Z")
	equal(t, "outcome", rowsOf(t, db, `select outcome from usher_events order by id desc`)[0][0], "skip")
}

// rowsOf reads all that a query finds, as text; null is empty.
func rowsOf(t *testing.T, db *sql.DB, query string, args ...any) (all [][]string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	check(t, err)
	defer rows.Close()
	names := must[[]string](t)(rows.Columns())
	for rows.Next() {
		cells, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range cells {
			into[i] = &cells[i]
		}
		check(t, rows.Scan(into...))
		row := make([]string, len(names))
		for i, c := range cells {
			row[i] = c.String
		}
		all = append(all, row)
	}
	check(t, rows.Err())
	return all
}

func openPostgresWithAddress(t *testing.T) (*ledger.Ledger, string) {
	t.Helper()
	address := newPostgres(t)
	return openAt(t, address, quietly(func() time.Time { return start })), address
}
