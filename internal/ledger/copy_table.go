package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ledgerTables are the ledger's own, each behind those that it refers to.
var ledgerTables = []table{
	{name: "deliveries", key: "id"},
	{name: "undecided", key: "delivery_id"},
	{name: "events", key: "id"},
	{name: "resends", key: "event_id, delivery_id"},
	// A call under way has no process any more, and may have been carried out: as TakeOver says.
	{name: "invitations", key: "id", instead: map[string]string{
		"unsure": `case when sending_since is null then unsure else 1 end`, "sending_since": `null`}},
	{name: "decisions", key: "id"},
	{name: "attempts", key: "id"},
	{name: "pace", key: "id", always: true, ignored: "proofs"},
	{name: "upkeep", key: "kind"},
	{name: "kept_bodies", key: "delivery_id"},
	{name: "audit", key: "id"},
	{name: "tokens", key: "name"},
	{name: "sessions", key: "id"},
	{name: "answers", key: "key"},
	{name: "imports", key: "id"},
	{name: "import_lists", key: "import_id"},
	{name: "import_rows", key: "import_id, place"},
	{name: "source_secrets", key: "source"},
}

// jobsTable are River's jobs that are not finished. Its types differ between the stores, so that they come as plain
// numbers and text, and Postgres makes its own of them.
var jobsTable = table{
	name: "river_job", key: "id", where: ` where finalized_at is null`, always: true,
	columns: []column{
		{name: "id", kind: number},
		{name: "state", kind: text, source: `case state when 'running' then 'available' else state end`, target: `state::text`},
		{name: "attempt", kind: number},
		{name: "max_attempts", kind: number},
		jobTime("attempted_at"), jobTime("created_at"), jobTime("scheduled_at"),
		{name: "priority", kind: number},
		{name: "args", kind: jsonText, source: `json(args)`, target: `args::text`},
		{name: "attempted_by", kind: jsonText, source: `json(attempted_by)`, target: `to_jsonb(attempted_by)::text`},
		{name: "errors", kind: jsonText, source: `json(errors)`, target: `to_jsonb(errors)::text`},
		{name: "kind", kind: text},
		{name: "metadata", kind: jsonText, source: `json(metadata)`, target: `metadata::text`},
		{name: "queue", kind: text},
		{name: "tags", kind: jsonText, source: `json(tags)`, target: `to_jsonb(tags)::text`},
		{name: "unique_key", kind: bytea},
		{name: "unique_states", kind: number, target: `unique_states::int::bigint`},
	},
	staging: `create temporary table copied_jobs (id bigint, state text, attempt bigint, max_attempts bigint, attempted_at bigint, created_at bigint,
		scheduled_at bigint, priority bigint, args text, attempted_by text, errors text, kind text, metadata text, queue text, tags text,
		unique_key bytea, unique_states bigint) on commit drop`,
	finish: []string{
		`insert into river_job (id, state, attempt, max_attempts, attempted_at, created_at, scheduled_at, priority, args, attempted_by, errors,
			kind, metadata, queue, tags, unique_key, unique_states)
		select id, state::river_job_state, attempt, max_attempts, to_timestamp(attempted_at / 1000.0), to_timestamp(created_at / 1000.0),
			to_timestamp(scheduled_at / 1000.0), priority, args::jsonb,
			case when attempted_by is not null then array(select jsonb_array_elements_text(attempted_by::jsonb)) end,
			case when errors is not null then array(select jsonb_array_elements(errors::jsonb)) end,
			kind, coalesce(metadata, '{}')::jsonb, queue, array(select jsonb_array_elements_text(coalesce(tags, '[]')::jsonb)), unique_key, unique_states::int::bit(8)
		from copied_jobs`,
		nextIdentity("river_job"),
	},
}

func jobTime(name string) column {
	return column{name: name, kind: number,
		source: `cast(round(unixepoch(` + name + `, 'subsec') * 1000) as integer)`, target: `round(extract(epoch from ` + name + `) * 1000)::bigint`}
}

// nextIdentity makes a table number on behind what it has.
func nextIdentity(table string) string {
	return `select setval(pg_get_serial_sequence('` + table + `', 'id'), coalesce(max(id), 1), max(id) is not null) from ` + table
}

// tableNames are the ledger's own, in a statement.
func tableNames() string {
	names := make([]string, len(ledgerTables))
	for i, t := range ledgerTables {
		names[i] = t.name
	}
	return strings.Join(names, ", ")
}

// A table is how one is copied.
type table struct {
	name    string
	key     string // of the order in which rows are summed up, alike in both stores
	where   string
	instead map[string]string // what the source is asked for instead of a column
	ignored string            // a column whose value means nothing
	always  bool              // rows in it make no ledger: it has them from the start, or by itself
	columns []column

	staging string   // makes the table copied_jobs, which rows go through
	finish  []string // runs once they are there
}

// readTables says how each table is copied, with the columns that the target has.
func readTables(ctx context.Context, target pgx.Tx) ([]table, error) {
	tables := slices.Clone(ledgerTables)
	for i := range tables {
		t := &tables[i]
		rows, err := target.Query(ctx, `select column_name, data_type, is_identity = 'YES' from information_schema.columns
			where table_schema = current_schema() and table_name = $1 order by ordinal_position`, t.name)
		if err != nil {
			return nil, err
		}
		var name, kind string
		var identity bool
		_, err = pgx.ForEachRow(rows, []any{&name, &kind, &identity}, func() error {
			c := column{name: name, kind: kind, source: t.instead[name]}
			if name == t.ignored {
				c.source, c.target = `0`, `0::bigint`
			}
			t.columns = append(t.columns, c)
			if identity {
				t.finish = []string{nextIdentity(t.name)}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return append(tables, jobsTable), nil
}

func (t table) into() string {
	if t.staging != "" {
		return "copied_jobs"
	}
	return t.name
}

func (t table) columnNames() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// query selects all rows as one side has them.
func (t table) query(of func(column) string) string {
	expressions := make([]string, len(t.columns))
	for i, c := range t.columns {
		expressions[i] = of(c)
	}
	return `select ` + strings.Join(expressions, ", ") + ` from ` + t.name + t.where + ` order by ` + t.key
}

// size asks about how many rows there are. Counting those with bodies would read them all.
func (t table) size() string {
	if t.key == "id" && t.where == "" {
		return `select coalesce((select max(id) from ` + t.name + `) - (select min(id) from ` + t.name + `) + 1, 0)`
	}
	return `select count(*) from ` + t.name + t.where
}

// The kinds of columns, by Postgres's names.
const (
	number   = "bigint"
	text     = "text"
	bytea    = "bytea"
	jsonText = "json"
)

type column struct {
	name, kind     string
	source, target string // expressions, where the name alone will not do
}

func (c column) ofSource() string {
	switch {
	case c.source != "":
		return c.source
	case c.kind == bytea: // the driver gives an empty value for none
		return `case when ` + c.name + ` = x'' then '' else ` + c.name + ` end`
	}
	return c.name
}

func (c column) ofTarget() string {
	if c.target != "" {
		return c.target
	}
	return c.name
}

// values reads a row of either side in the one form that both have.
func (t table) values(row scanner) ([]any, error) {
	into := make([]any, len(t.columns))
	for i, c := range t.columns {
		switch c.kind {
		case number:
			into[i] = new(*int64)
		case text, jsonText:
			into[i] = new(*string)
		case bytea:
			into[i] = new([]byte)
		default:
			return nil, fmt.Errorf("the column %s.%s is a %s, which this program cannot copy", t.name, c.name, c.kind)
		}
	}
	if err := row.Scan(into...); err != nil {
		return nil, err
	}
	for i, c := range t.columns {
		var err error
		if into[i], err = canonical(c.kind, into[i]); err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.name, c.name, err)
		}
	}
	return into, nil
}

// canonical is nil, an int64, a string or bytes.
func canonical(kind string, scanned any) (any, error) {
	switch v := scanned.(type) {
	case **int64:
		if *v != nil {
			return **v, nil
		}
	case **string:
		if *v != nil && kind == jsonText {
			return canonicalJSON(**v)
		}
		if *v != nil {
			return storable(**v), nil
		}
	case *[]byte:
		if *v != nil {
			return *v, nil
		}
	}
	return nil, nil
}

// noNUL replaces a NUL, which jsonb refuses, and knows it from a backslash before the letters u0000.
var noNUL = strings.NewReplacer(`\\`, `\\`, `\u0000`, `\ufffd`)

// canonicalJSON orders the keys, since jsonb has an order of its own; JSON's null is none.
func canonicalJSON(s string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(noNUL.Replace(s)))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("read stored JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read stored JSON: something stands behind it")
	}
	if v == nil {
		return nil, nil
	}
	return asJSON(v), nil
}

// A sum is the checksum of the rows so far.
type sum struct {
	rows int64
	hash hash.Hash
}

func newSum() *sum { return &sum{hash: sha256.New()} }

// add tells each value from every other: by its kind, and by its length from its neighbour.
func (s *sum) add(values []any) {
	s.rows++
	for _, value := range values {
		switch v := value.(type) {
		case nil:
			fmt.Fprint(s.hash, "n")
		case int64:
			fmt.Fprintf(s.hash, "i%d;", v)
		case string:
			fmt.Fprintf(s.hash, "s%d:", len(v))
			_, _ = io.WriteString(s.hash, v)
		case []byte:
			fmt.Fprintf(s.hash, "b%d:", len(v))
			_, _ = s.hash.Write(v)
		}
	}
}

func (s *sum) of(t table) CopiedTable {
	return CopiedTable{Table: t.name, Rows: s.rows, Checksum: hex.EncodeToString(s.hash.Sum(nil))}
}
