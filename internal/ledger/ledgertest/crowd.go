package ledgertest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Crowd adds invitations of many people to a migrated ledger, without events: each is called grace, ada, zoe or bob, with
// a number of six digits or more. Half of them are of example.com, a quarter of a thousand companyN.example, and the zoes
// of zoo.example. Nearly all are sent or accepted; a tenth of the bobs failed, and one in 200,000 is held. One in 90 came
// from the source rare, all of them zoes.
func Crowd(ctx context.Context, db *sql.DB, dialect string, n int) error {
	series, number := `generate_series($1::bigint, $2::bigint) s (n)`, `lpad((n)::text, greatest(6, length((n)::text)), '0')`
	if dialect == "sqlite" {
		series, number = `(with recursive s (n) as (select $1 union all select n + 1 from s where n < $2) select n from s) s`, `printf('%06d', n)`
	}
	// Neighbours by number are no neighbours by name, state or domain: 7919 is a prime.
	statement := strings.NewReplacer("SERIES", series, "NUMBER", number, "MIXED", `(n * 7919 % 1000)`, "AT", fmt.Sprint(time.Now().Add(-100*24*time.Hour).UnixMilli())+` + n`).Replace(`
		insert into invitations (id, email, state, source, run, tries, retool_id, created_at, updated_at, sent_at)
		select n, case when MIXED < 600 then 'grace' when MIXED < 750 then 'ada' when MIXED < 850 then 'zoe' else 'bob' end || NUMBER || '@' ||
				case when MIXED between 750 and 849 then 'zoo.example' when MIXED % 3 = 0 then 'company' || (n % 1000) || '.example' else 'example.com' end,
			case when n % 200000 = 77 then 'held' when MIXED between 850 and 864 then 'failed' when n % 5 = 0 then 'sent' else 'accepted' end,
			case when MIXED between 750 and 760 then 'rare' when n % 10 < 3 then 'form' else 'stripe' end, 1, 1, n, AT, AT, AT
		from SERIES`)
	for done := 0; done < n; done += growStep {
		if _, err := db.ExecContext(ctx, statement, done+1, min(done+growStep, n)); err != nil {
			return fmt.Errorf("add invitations: %w", err)
		}
	}
	return settleDown(ctx, db, dialect)
}
