package ledgertest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

const (
	// growStep is how many events one transaction of Grow inserts.
	growStep = 100_000
	// EventsPerInvitation is how many of Grow's events there are to one invitation: the others were skipped.
	EventsPerInvitation = 5
)

// Grow adds old events to a migrated ledger, as years of use leave them: each with its delivery, whose body is gone, and
// its decision. Every fifth led to an invitation, which was sent, with its attempt. The dialect is sqlite or postgres.
// The emails are grown%09d@example.com, the senders' identities grown_%012d, both from 1 on in an empty ledger.
func Grow(ctx context.Context, db *sql.DB, dialect string, events int) error {
	return grow(ctx, db, dialect, events, fmt.Sprint(time.Now().Add(-300*24*time.Hour).UnixMilli())+` + n`)
}

// GrowOver does so with events that came evenly over a time up to now.
func GrowOver(ctx context.Context, db *sql.DB, dialect string, events int, over time.Duration) error {
	return grow(ctx, db, dialect, events, fmt.Sprintf(`%d + n * %d / %d`, time.Now().Add(-over).UnixMilli(), over.Milliseconds(), max(1, events)))
}

func grow(ctx context.Context, db *sql.DB, dialect string, events int, at string) error {
	greatest := map[string]string{"sqlite": "max", "postgres": "greatest"}[dialect]
	var base int
	err := db.QueryRowContext(ctx, `select `+greatest+`(coalesce((select max(id) from deliveries), 0), coalesce((select max(id) from events), 0))`).Scan(&base)
	if err != nil {
		return fmt.Errorf("find the newest identity: %w", err)
	}
	for done := 0; done < events; done += growStep {
		if err := growSome(ctx, db, dialect, at, base+done+1, base+min(done+growStep, events)); err != nil {
			return fmt.Errorf("add old events: %w", err)
		}
	}
	return settleDown(ctx, db, dialect)
}

func growSome(ctx context.Context, db *sql.DB, dialect, at string, from, to int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	series, padded, mod := `generate_series($1::bigint, $2::bigint) s (n)`, `lpad(%s::text, %d, '0')`, `%s %% %d`
	if dialect == "sqlite" {
		series, padded = `(with recursive s (n) as (select $1 union all select n + 1 from s where n < $2) select n from s) s`, `printf('%%0%[2]dd', %[1]s)`
	}
	pad := func(what string, width int) string { return fmt.Sprintf(padded, what, width) }
	every := func(what string, n int) string { return fmt.Sprintf(mod, what, n) }
	text := strings.NewReplacer(
		"SERIES", series,
		"EVENT", `'grown_' || `+pad("n", 12),
		"EMAIL", `'grown' || `+pad("n", 9)+` || '@example.com'`,
		"SOURCE", `case when `+every("n", 1000)+` = 0 then 'rare' when `+every("n", 10)+` < 3 then 'form' else 'stripe' end`,
		"INVITED", every("n", EventsPerInvitation)+` = 0`,
		"INVITATION", fmt.Sprintf(`n / %d`, EventsPerInvitation),
		"STATE", `case when `+every("n", 25)+` = 0 then 'accepted' else 'sent' end`,
		"AT", at,
	)
	for _, statement := range []string{
		`insert into deliveries (id, source, received_at, verified_by, request) select n, SOURCE, AT, 'secrets[0]', '{}' from SERIES`,
		`insert into events (id, delivery_id, source, event_id, type, recorded_at, details, fingerprint)
			select n, n, SOURCE, EVENT, 'checkout.session.completed', AT, '{"source":"stripe","type":"checkout.session.completed","id":"' || EVENT || '"}', 'grown' from SERIES`,
		`insert into invitations (id, email, state, source, run, tries, retool_id, created_at, updated_at, sent_at)
			select INVITATION, EMAIL, STATE, SOURCE, 1, 1, n, AT, AT, AT from SERIES where INVITED`,
		`insert into decisions (id, event_id, decided_at, outcome, reason, sentence, email, invitation_id)
			select n, n, AT, case when INVITED then 'invite' else 'skip' end, case when INVITED then 'external' else 'no_address' end,
			'as it was decided then', case when INVITED then EMAIL else '' end, case when INVITED then INVITATION end from SERIES`,
		`insert into attempts (id, invitation_id, kind, started_at, duration_ms, transport, status, outcome, retool_id)
			select INVITATION, INVITATION, 'invite', AT, 200, 'v2', 200, 'sent', n from SERIES where INVITED`,
	} {
		if _, err := tx.ExecContext(ctx, text.Replace(statement), from, to); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// settleDown brings the database into the state in which its own upkeep would leave it.
func settleDown(ctx context.Context, db *sql.DB, dialect string) error {
	if dialect == "sqlite" {
		_, err := db.ExecContext(ctx, `pragma wal_checkpoint(truncate)`)
		return err
	}
	for _, table := range []string{"deliveries", "events", "invitations", "decisions", "attempts"} {
		statement := `select setval(pg_get_serial_sequence($1, 'id'), (select coalesce(max(id), 1) from ` + table + `))` //nolint:gosec // one of the names above
		if _, err := db.ExecContext(ctx, statement, table); err != nil {
			return err
		}
	}
	_, err := db.ExecContext(ctx, `vacuum (analyze)`)
	return err
}
