package ledger_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

var (
	growth      = flag.String("growth", "0,20000", "how many old events the ledgers of BenchmarkGrowth have")
	growthStore = flag.String("growth-store", "sqlite", "the store of BenchmarkGrowth: sqlite or postgres")
)

// BenchmarkGrowth is what each thing costs beside old events:
//
//	go test ./internal/ledger -run '^$' -bench Growth -growth 0,1000000,5000000 -timeout 30m
func BenchmarkGrowth(b *testing.B) {
	for size := range strings.SplitSeq(*growth, ",") {
		old, err := strconv.Atoi(size)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("rows="+size, func(b *testing.B) { benchmarkBeside(b, old) })
	}
}

func benchmarkBeside(b *testing.B, old int) {
	l := grown(b, old)
	ctx := context.Background()
	n := 0
	name := func() string { n++; return fmt.Sprintf("fresh%d", n) }
	ok := func(b *testing.B, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	accept := func(b *testing.B) {
		b.Helper()
		_, err := l.Accept(ctx, ledger.Delivery{Source: "stripe", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Body: []byte(name())})
		ok(b, err)
	}
	decide := func(d ledger.Delivery) ([]ledger.Verdict, error) {
		email, err := access.ParseAddress(string(d.Body) + "@example.org")
		return []ledger.Verdict{{Event: access.Event{Source: "stripe", ID: string(d.Body), Email: email.Full()}, Fingerprint: "new", Decision: access.Decision{
			Outcome: access.Invite, Reason: access.ReasonExternal, Rule: -1, Address: email}}}, err
	}
	first, err := l.Record(ctx, ledger.Verdict{Event: access.Event{Source: "stripe", ID: "first"}, Decision: access.Decision{Outcome: access.Invite, Rule: -1, Address: benchAddress(b)}})
	ok(b, err)
	for _, part := range []struct {
		name string
		do   func(b *testing.B)
	}{
		{"accept", accept},
		{"decide", func(b *testing.B) { // of 48 that wait
			b.Helper()
			b.StopTimer()
			for range 48 {
				accept(b)
			}
			b.StartTimer()
			_, err := l.Decide(ctx, 48, decide)
			ok(b, err)
		}},
		{"take a slot and settle", func(b *testing.B) {
			b.Helper()
			slot, err := l.TakeSlot(ctx, ledger.InviteJob{Invitation: first, Run: 1}, 0)
			ok(b, err)
			_, err = l.Settle(ctx, slot.Invitation, ledger.Settlement{State: ledger.Queued, Attempt: ledger.Attempt{Kind: "invite", StartedAt: time.Now()}})
			ok(b, err)
		}},
		{"list invitations", func(b *testing.B) { b.Helper(); _, err := l.Invitations(ctx, ledger.Filter{Limit: 50}); ok(b, err) }},
		{"list invitations of a source and a state", func(b *testing.B) {
			b.Helper()
			_, err := l.Invitations(ctx, ledger.Filter{State: ledger.Failed, Source: "rare", Limit: 50})
			ok(b, err)
		}},
		{"list events", func(b *testing.B) { b.Helper(); _, err := l.Events(ctx, ledger.EventFilter{Limit: 50}); ok(b, err) }},
		{"list events by reason", func(b *testing.B) {
			b.Helper()
			_, err := l.Events(ctx, ledger.EventFilter{Reason: "external", Limit: 50})
			ok(b, err)
		}},
		{"search by email", func(b *testing.B) {
			b.Helper()
			_, err := l.Invitations(ctx, ledger.Filter{Email: "first@example.org", Limit: 50})
			ok(b, err)
		}},
		{"search an event", func(b *testing.B) { b.Helper(); _, err := l.EventBySenderID(ctx, "", "first"); ok(b, err) }},
		{"due", func(b *testing.B) { b.Helper(); _, err := l.Due(ctx); ok(b, err) }},
		{"summary", func(b *testing.B) { b.Helper(); _, err := l.Summary(ctx); ok(b, err) }},
		{"tidy", func(b *testing.B) {
			b.Helper()
			_, _, err := l.Tidy(ctx, ledger.Retention{Bodies: 500 * day, Events: 500 * day})
			ok(b, err)
		}},
		{"attend", func(b *testing.B) { b.Helper(); _, err := l.Attend(ctx); ok(b, err) }},
	} {
		b.Run(part.name, func(b *testing.B) {
			for b.Loop() {
				part.do(b)
			}
		})
	}
}

func benchAddress(b *testing.B) access.Address {
	b.Helper()
	address, err := access.ParseAddress("first@example.org")
	if err != nil {
		b.Fatal(err)
	}
	return address
}

// grown opens a ledger with old events in it.
func grown(b *testing.B, old int) *ledger.Ledger {
	b.Helper()
	address, driver := "sqlite://"+filepath.Join(b.TempDir(), "usher.db"), "sqlite"
	if *growthStore == "postgres" {
		address, driver = ledgertest.Postgres(b), "pgx"
	}
	l, err := ledger.Open(context.Background(), address, quietly(time.Now))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	db, err := sql.Open(driver, strings.TrimPrefix(address, "sqlite://"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	begun := time.Now()
	if err := ledgertest.Grow(context.Background(), db, *growthStore, old); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d old events were made in %s", old, time.Since(begun).Round(time.Millisecond))
	return l
}
