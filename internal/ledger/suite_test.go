package ledger_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// opener opens a new, empty ledger that the test's end closes.
type opener func(t *testing.T, o ledger.Options) *ledger.Ledger

// suite is what every store must do. A store joins by one line in TestLedger.
func suite(t *testing.T, open opener) {
	for _, part := range []struct {
		name string
		test func(*testing.T, opener)
	}{
		{name: "accept", test: testAccept},
		{name: "decide", test: testDecide},
		{name: "poison", test: testPoison},
		{name: "resend", test: testResend},
		{name: "replay", test: testReplay},
		{name: "identity", test: testIdentity},
		{name: "read again", test: testReadAgain},
		{name: "batch", test: testBatch},
		{name: "promise", test: testPromise},
		{name: "came in", test: testCameIn},
		{name: "look-up", test: testLookUp},
		{name: "look-ups together", test: testLookUpBatch},
		{name: "pace", test: testPace},
		{name: "slot", test: testSlot},
		{name: "settle", test: testSettle},
		{name: "by hand", test: testByHand},
		{name: "asked again", test: testAskedAgain},
		{name: "answers", test: testAnswers},
		{name: "tokens", test: testTokens},
		{name: "invitations of", test: testInvitationsOf},
		{name: "revoke", test: testRevoke},
		{name: "revoke job", test: testRevokeJob},
		{name: "send again", test: testSendAgain},
		{name: "expire", test: testExpire},
		{name: "correct", test: testCorrect},
		{name: "correct to", test: testCorrectTo},
		{name: "corrected", test: testCorrected},
		{name: "by hand at once", test: testByHandAtOnce},
		{name: "audit", test: testAudit},
		{name: "query", test: testQuery},
		{name: "search", test: testSearch},
		{name: "events", test: testEvents},
		{name: "receipts", test: testReceipts},
		{name: "history", test: testHistory},
		{name: "odd text", test: testOddText},
		{name: "watch", test: testWatch},
		{name: "stats", test: testStats},
		{name: "retention of bodies", test: testRetentionOfBodies},
		{name: "retention of events", test: testRetentionOfEvents},
		{name: "retention of jobs", test: testRetentionOfJobs},
		{name: "how far a delivery is", test: testDeliveryState},
		{name: "imports", test: testImports},
		{name: "drafts of imports", test: testDrafts},
		{name: "secrets", test: testSecrets},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open) })
	}
}

// start is a moment in whole milliseconds, as ledgers keep them.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A clock is moved by its test alone.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

func quietly(now func() time.Time) ledger.Options {
	return ledger.Options{Now: now, Logger: slog.New(slog.DiscardHandler)}
}

func opened(t *testing.T, open opener) (*ledger.Ledger, *clock) {
	t.Helper()
	c := newClock()
	return open(t, quietly(c.Now)), c
}

// must unwraps a result whose error is none of the test's business.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// same compares what == cannot.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	equal(t, what, fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want))
}

func isError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got the error %v, want %v", err, want)
	}
}

func address(t *testing.T, s string) access.Address {
	t.Helper()
	return must[access.Address](t)(access.ParseAddress(s))
}

// verdict is an event that invites an address, or another outcome for it.
func verdict(t *testing.T, eventID, email string, outcome access.Outcome) ledger.Verdict {
	t.Helper()
	return ledger.Verdict{
		Event:      access.Event{Source: "stripe", ID: eventID, Type: "checkout.session.completed", Email: email, Customer: "cus_1"},
		OccurredAt: start.Add(-time.Minute),
		Decision: access.Decision{Outcome: outcome, Reason: access.ReasonExternal, Sentence: "because of " + string(outcome), Rule: -1,
			Address: address(t, email)},
	}
}

// plainWords decides a delivery whose body says all: an event's identity, an address and an outcome, per line.
func plainWords(t *testing.T) func(ledger.Delivery) ([]ledger.Verdict, error) {
	return func(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
		for line := range strings.Lines(string(d.Body)) {
			words := strings.Fields(line)
			if words[0] == "poison" {
				return nil, errPoison
			}
			verdicts = append(verdicts, verdict(t, words[0], words[1], access.Outcome(words[2])))
		}
		return verdicts, nil
	}
}

var errPoison = errors.New("this delivery is poison")

func accept(t *testing.T, l *ledger.Ledger, body string) int64 {
	t.Helper()
	return must[int64](t)(l.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: start, VerifiedBy: "secrets[0]", Request: "{}", Body: []byte(body)}))
}

func decide(t *testing.T, l *ledger.Ledger) int {
	t.Helper()
	return must[int](t)(l.Decide(t.Context(), 100, plainWords(t)))
}

// tell accepts and decides one delivery.
func tell(t *testing.T, l *ledger.Ledger, body string) int64 {
	t.Helper()
	id := accept(t, l, body)
	equal(t, "deliveries decided", decide(t, l), 1)
	return id
}

// invited makes an invitation that is queued.
func invited(t *testing.T, l *ledger.Ledger, email string) ledger.Invitation {
	t.Helper()
	return invitation(t, l, must[int64](t)(l.Record(t.Context(), verdict(t, "evt_of_"+email, email, access.Invite))))
}

func invitation(t *testing.T, l *ledger.Ledger, id int64) ledger.Invitation {
	t.Helper()
	return must[ledger.Invitation](t)(l.Invitation(t.Context(), id))
}

// only is the one invitation there is.
func only(t *testing.T, l *ledger.Ledger) ledger.Invitation {
	t.Helper()
	all := must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{}))
	if len(all) != 1 {
		t.Fatalf("%d invitations, want one", len(all))
	}
	return all[0]
}

// put brings an invitation into a state as an attempt would.
func put(t *testing.T, l *ledger.Ledger, inv ledger.Invitation, state ledger.State) ledger.Invitation {
	t.Helper()
	must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: state, Reason: "put there", CountTry: true,
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Outcome: "test"}}))
	return invitation(t, l, inv.ID)
}

// jobs are the jobs of a kind in River's table, oldest first.
func jobs(t *testing.T, l *ledger.Ledger, kind string) []*rivertype.JobRow {
	t.Helper()
	client := must[*river.Client[*sql.Tx]](t)(river.NewClient(l.Driver(), &river.Config{
		Logger: slog.New(slog.DiscardHandler), SkipUnknownJobCheck: true}))
	params := river.NewJobListParams().Kinds(kind).First(1000).OrderBy(river.JobListOrderByID, river.SortOrderAsc)
	return must[*river.JobListResult](t)(client.JobList(context.Background(), params)).Jobs
}

func summary(t *testing.T, l *ledger.Ledger) ledger.Summary {
	t.Helper()
	return must[ledger.Summary](t)(l.Summary(t.Context()))
}

func event(t *testing.T, l *ledger.Ledger, id string) ledger.Event {
	t.Helper()
	return must[ledger.Event](t)(l.EventBySenderID(t.Context(), "", id))
}

// Postgres refuses NUL and broken UTF-8 in text: no sender, no answer and no question may stumble over that.
func testOddText(t *testing.T, open opener) {
	l, _ := opened(t, open)
	const odd, stored = "a\x00b\xffc", "a\uFFFDb\uFFFDc"
	v := verdict(t, "evt_"+odd, "jane@example.com", access.Invite)
	v.Note, v.Decision.Sentence = odd, odd
	inv := invitation(t, l, must[int64](t)(l.Record(t.Context(), v)))
	equal(t, "note", inv.Note, stored)
	equal(t, "found by its identity", event(t, l, "evt_"+odd).Decisions[0].Sentence, stored)
	equal(t, "listed", len(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{Source: odd}))), 0)
	must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Failed, Reason: odd, Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Message: odd}}))
	equal(t, "reason", invitation(t, l, inv.ID).Reason, stored)
	must[int64](t)(l.Accept(t.Context(), ledger.Delivery{Source: odd, ReceivedAt: start, VerifiedBy: odd, Request: "{}", Body: []byte(odd)}))
	for _, d := range kept(t, l) {
		equal(t, "body", string(d.Body), odd)
	}
}

// by is who acts in the tests.
const by = "a test"
