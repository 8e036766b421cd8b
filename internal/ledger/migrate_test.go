package ledger_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func migrations(t *testing.T, db *sql.DB) *goose.Provider {
	t.Helper()
	return must[*goose.Provider](t)(goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations/sqlite"),
		goose.WithTableName("usher_schema"), goose.WithDisableGlobalRegistry(true)))
}

// written1 is what an Usher of the first schema left: an event decided, one that waits to be decided, and
// deliveries whose headers are odd.
const written1 = `
insert into deliveries (id, source, received_at, verified_by, headers, body) values
	(1, 'stripe', 1000, 'secrets[0]', '{"Content-Type":"application/json","User-Agent":"Stripe/1.0"}', 'evt_1 jane@example.com invite'),
	(2, 'stripe', 2000, 'secrets[1]', '{}', 'evt_2 bob@example.com invite'),
	(3, 'stripe', 3000, 'secrets[0]', 'not JSON', 'evt_1 jane@example.com invite');
insert into undecided (delivery_id) values (2), (3);
insert into events (id, delivery_id, source, event_id, type, recorded_at, details) values
	(1, 1, 'stripe', 'evt_1', 'invoice.paid', 1000, '{"source":"stripe","type":"invoice.paid","id":"evt_1","email":"jane@example.com"}');
insert into invitations (id, email, state, source, run, created_at, updated_at) values (1, 'jane@example.com', 'sent', 'stripe', 1, 1000, 1000);
insert into decisions (event_id, decided_at, outcome, reason, sentence, email, invitation_id) values
	(1, 1000, 'invite', 'external', 'An outside address.', 'jane@example.com', 1)`

func oldLedger(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "usher.db")
	db := outside(t, path)
	must[[]*goose.MigrationResult](t)(migrations(t, db).UpTo(t.Context(), 1))
	execute(t, db, written1)
	check(t, db.Close())
	return path
}

func TestMigrateALedgerOfTheFirstSchema(t *testing.T) {
	l := openFile(t, oldLedger(t), quietly(time.Now))
	e := event(t, l, "evt_1")
	equal(t, "delivery", e.DeliveryID, 1)
	equal(t, "identity", e.SenderID, "evt_1")
	equal(t, "reuses", e.ReusesIDOf, 0)
	equal(t, "invitation", e.Decisions[0].InvitationID, 1)
	equal(t, "state", only(t, l).State, ledger.Sent)
	same(t, "events by reason", events(t, l), []string{"evt_1 of 1"})

	check(t, l.Replay(t.Context(), by, 1))
	requests := map[int64]string{}
	must[int](t)(l.Decide(t.Context(), 9, func(d ledger.Delivery) ([]ledger.Verdict, error) {
		requests[d.ID] = d.Request
		return readings(t, map[int64]string{1: oneA, 3: "evt_1 jane@example.com invite other"})(d)
	}))
	same(t, "requests", requests, map[int64]string{
		1: `{"headers":{"Content-Type":"application/json","User-Agent":"Stripe/1.0"}}`, 2: `{"headers":{}}`, 3: `{"headers":{}}`})
	// The third delivery reads otherwise than the first does today, but has its very bytes.
	same(t, "events", events(t, l), []string{"evt_1 of 1 +1", "evt_2 of 2"})
	same(t, "decisions", decisionCounts(t, l), []int{2, 1})
	equal(t, "outcome", event(t, l, "evt_2").Decisions[0].Outcome, access.Invite)
	equal(t, "set aside", summary(t, l).SetAside, 0)
}

func TestMigrateBack(t *testing.T) {
	path := oldLedger(t)
	l := must[*ledger.Ledger](t)(ledger.Open(t.Context(), "sqlite://"+path, quietly(time.Now)))
	must[int](t)(l.Decide(t.Context(), 9, readings(t, map[int64]string{3: oneC})))
	accept(t, l, oneB)
	check(t, l.Close())

	db := outside(t, path)
	must[[]*goose.MigrationResult](t)(migrations(t, db).DownTo(t.Context(), 1))
	var headers string
	check(t, db.QueryRowContext(t.Context(), `select group_concat(headers, ' ') from (select headers from deliveries order by id)`).Scan(&headers))
	equal(t, "headers", headers, `{"Content-Type":"application/json","User-Agent":"Stripe/1.0"} {} {} {}`)
	must[[]*goose.MigrationResult](t)(migrations(t, db).Up(t.Context()))
	check(t, db.Close())

	l = openFile(t, path, quietly(time.Now))
	equal(t, "undecided", summary(t, l).Undecided, 1)
	equal(t, "decided", must[int](t)(l.Decide(t.Context(), 9, readings(t, nil))), 1)
}
