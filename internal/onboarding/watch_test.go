package onboarding_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const bob = "bob@customer.example"

// queued puts invitations into the ledger before anybody works.
func (w *world) queued(emails ...string) {
	w.Helper()
	for _, email := range emails {
		address := must(access.ParseAddress(email))(w.T)
		must(w.ledger.Record(w.Context(), ledger.Verdict{Event: access.Event{Source: "stripe", ID: "evt_of_" + email, Email: email},
			Decision: access.Decision{Outcome: access.Invite, Reason: access.ReasonExternal, Rule: -1, Address: address}}))(w.T)
	}
}

// tamper changes the database behind the ledger's back, as a fault of ours or a dead process would leave it.
func (w *world) tamper(statements ...string) {
	w.Helper()
	driver, address := "sqlite", w.path+"?_pragma=busy_timeout(10000)"
	if w.address != "" {
		driver, address = "pgx", w.address
	}
	db := must(sql.Open(driver, address))(w.T)
	defer db.Close()
	for _, statement := range statements {
		must(db.ExecContext(w.Context(), statement))(w.T)
	}
}

func TestPanicInAWorkerIsCaughtCountedAndRecorded(t *testing.T) {
	t.Parallel()
	var panicked atomic.Bool
	w := newWorld(t, setting{retool: retooltest.Options{Plan: retooltest.BulkOnly}, client: retoolclient.Options{OnFallback: func(string) {
		if !panicked.Swap(true) {
			panic(jane) // what nobody may read
		}
	}}})
	w.queued(jane)
	w.run()
	inv := w.reaches(jane, ledger.Sent)
	w.equal("panics", w.ob.Panics(), 1)
	w.equal("first attempt", w.attempts(inv.ID)[0], "invite later 0")
	w.equal("invites ever made", w.retool.Count(jane), 1)
	w.equal("logged", w.logged("a fault in Usher was caught; please report it"), 1)
	w.equal("with where it came from", w.logged("watch_test.go"), 1)
	w.deliver(webhooktest.StripeEvent{ID: "evt_bob", Email: bob})
	w.reaches(bob, ledger.Sent)
}

// What fails by a fault of ours comes again at growing intervals; here its last try comes at once.
func TestPoisonJobIsIsolatedAfterItsTries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.queued(jane, bob)
	w.tamper(`update invitations set groups = 'no JSON' where email = '`+jane+`'`, `update river_job set attempt = max_attempts - 1 where id = 1`)
	w.run()
	w.until("the other is sent", func() bool { return w.retool.Count(bob) == 1 })
	w.until("the poison has failed", func() bool { return w.summary().Invitations[ledger.Failed] == 1 })
	w.tamper(`update invitations set groups = '[]'`)
	inv := w.invitation(jane)
	if !strings.Contains(inv.Reason, "given up after 10 faults in Usher itself, the last: read stored JSON") {
		w.Errorf("the reason is %q", inv.Reason)
	}
	w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "fault never 0")
	w.equal("invites", w.retool.Count(jane), 0)
	must(w.ledger.Retry(t.Context(), "a test", inv.ID))(t)
	w.reaches(jane, ledger.Sent)
}

func TestPoisonLookUpIsIsolatedAfterItsTries(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t}
	w := newWorld(t, setting{lookUps: api.lookUps()})
	w.ask("crm", contact(1))
	// The address that was found cannot be recorded.
	w.tamper(`update river_job set attempt = max_attempts - 1`, `create trigger poison before update of details on events begin select raise(abort, 'poison') where new.details like '%@%'; end`)
	w.run()
	w.equal("reason", w.decided("evt_"+contact(1), 1).Reason, onboarding.ReasonLookUpFailed)
	w.until("the job is done", func() bool { return w.jobs("look_up")[0].FinalizedAt != nil })
	w.equal("waiting", w.summary().LookingUp, 0)
}

func TestInvitationWithoutAJobGetsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.queued(jane)
	w.tamper(`delete from river_job`, `update invitations set updated_at = updated_at - 61000`)
	w.run()
	w.reaches(jane, ledger.Sent)
	w.equal("logged", w.logged("queued invitations had no job; they have one now"), 1)
	w.equal("invites ever made", w.retool.Count(jane), 1)
}

func TestOrphanedWorkIsTakenBack(t *testing.T) {
	t.Parallel()
	address := ledgertest.Postgres(t)
	w := newWorld(t, setting{address: address, options: onboarding.Options{CallTimeout: time.Second}})
	w.queued(jane, bob)
	// A dead instance had both in hand: the first for longer than a call and its settling can last.
	limit := onboarding.CallLimit(time.Second)
	w.equal("orphaned work is taken back within a minute of its limit", limit < time.Minute, true)
	w.tamper(`update river_job set state = 'running', attempt = 1, attempted_at = now() - interval '`+(limit+time.Second).String()+`' where id = 1`,
		`update river_job set state = 'running', attempt = 1, attempted_at = now() + interval '1 hour' where id = 2`)
	w.run()
	w.reaches(jane, ledger.Sent)
	w.equal("logged", w.logged("jobs that a dead instance had in hand are taken back"), 1)
	w.equal("the other may be in hand", w.invitation(bob).State, ledger.Queued)
}

func TestIdleIsSaidOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.queued(jane)
	// Its job comes in an hour only.
	w.tamper(`update river_job set state = 'scheduled', scheduled_at = datetime('now', '+1 hour')`, `update invitations set updated_at = updated_at - 61000`)
	w.run()
	w.until("it is said", func() bool { return w.logged("an invitation is due and nobody sends it") == 1 })
	must(w.ledger.Retry(t.Context(), "a test", w.invitation(jane).ID))(t)
	w.reaches(jane, ledger.Sent)
	w.until("its end is said", func() bool { return w.logged("invitations go out again") == 1 })
	w.equal("said", w.logged("an invitation is due and nobody sends it"), 1)
}

// While sending is stopped, many that are queued cost next to nothing, and all go on once it is lifted.
func TestStoppedSendingLeavesTheQueueAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const many, workers = 2000, 64
	var emails []string
	for i := range many {
		emails = append(emails, fmt.Sprintf("grown%d@customer.example", i))
	}
	w.queuedAtOnce(emails)
	must(w.ledger.ChangePace(t.Context(), ledger.PaceChange{Stop: "the token is refused"}))(t)
	w.tamper(`create table asked (n integer)`, `insert into asked values (0)`,
		`create trigger handed after update of state on river_job when new.state = 'running' begin update asked set n = n + 1; end`)
	w.retool.SetToken("retool_another0123456789") // the start asks for a probe, which is refused
	w.run()
	time.Sleep(4 * time.Second) // the time in which the queue would be turned over
	db := must(sql.Open("sqlite", w.path+"?_pragma=busy_timeout(10000)"))(t)
	defer db.Close()
	var handed int
	if err := db.QueryRowContext(t.Context(), `select n from asked`).Scan(&handed); err != nil {
		t.Fatal(err)
	}
	if handed < 1 || handed > 2*workers {
		t.Errorf("%d jobs were handed out, want no more than the workers hold", handed)
	}
	w.equal("queued", w.summary().Invitations[ledger.Queued], many)

	w.retool.SetToken(token)
	if err := w.ledger.ProbeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("many are sent", func() bool { return w.summary().Invitations[ledger.Sent] > 50 })
}

// queuedAtOnce is queued in one transaction.
func (w *world) queuedAtOnce(emails []string) {
	w.Helper()
	must(w.ledger.Accept(w.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Body: []byte("many")}))(w.T)
	must(w.ledger.Decide(w.Context(), 1, func(ledger.Delivery) (all []ledger.Verdict, _ error) {
		for _, email := range emails {
			address, err := access.ParseAddress(email)
			if err != nil {
				return nil, err
			}
			all = append(all, ledger.Verdict{Event: access.Event{Source: "stripe", ID: "evt_of_" + email, Email: email},
				Decision: access.Decision{Outcome: access.Invite, Reason: access.ReasonExternal, Rule: -1, Address: address}})
		}
		return all, nil
	}))(w.T)
}
