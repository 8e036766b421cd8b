package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
)

// kept takes every undecided delivery out of a ledger, by its identity.
func kept(t *testing.T, l *ledger.Ledger) map[int64]ledger.Delivery {
	t.Helper()
	all := map[int64]ledger.Delivery{}
	for {
		n := must[int](t)(l.Decide(t.Context(), 100, func(d ledger.Delivery) ([]ledger.Verdict, error) {
			if _, twice := all[d.ID]; twice {
				t.Errorf("delivery %d is decided twice", d.ID)
			}
			all[d.ID] = d
			return nil, nil
		}))
		if n == 0 {
			return all
		}
	}
}

func testAccept(t *testing.T, open opener) {
	t.Run("keeps the bytes that were signed", func(t *testing.T) {
		l, _ := opened(t, open)
		bodies := map[string]string{
			"plain JSON":          `{"id": "evt_1"}`,
			"empty":               "",
			"a NUL":               "a\x00b",
			"invalid UTF-8":       "\xff\xfe\xc3\x28",
			"line ends":           "a\r\nb\n",
			"one MiB":             strings.Repeat("x", 1<<20-1) + "\x00",
			"what looks like SQL": `'; drop table deliveries; -- $1 ?`,
		}
		want := map[int64]string{}
		for _, body := range bodies {
			want[accept(t, l, body)] = body
		}
		got := kept(t, l)
		equal(t, "deliveries", len(got), len(bodies))
		for id, body := range want {
			d := got[id]
			if string(d.Body) != body {
				t.Errorf("delivery %d: %d bytes came back other than the %d that went in", id, len(d.Body), len(body))
			}
			equal(t, "source", d.Source, "stripe")
			equal(t, "request", d.Request, "{}")
			equal(t, "verified by", d.VerifiedBy, "secrets[0]")
			equal(t, "received at", d.ReceivedAt, start)
		}
	})

	t.Run("shares commits and mixes nothing up", func(t *testing.T) {
		l, _ := opened(t, open)
		const callers = 200
		ids := make([]int64, callers)
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				var err error
				ids[i], err = l.Accept(context.Background(), ledger.Delivery{Source: fmt.Sprint("source-", i), ReceivedAt: start.Add(time.Duration(i) * time.Second),
					VerifiedBy: "secrets[1]", Request: fmt.Sprintf(`{"n":%d}`, i), Body: []byte(strings.Repeat(fmt.Sprint(i, ";"), i+1))})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		got := kept(t, l)
		equal(t, "deliveries", len(got), callers)
		for i, id := range ids {
			d, ok := got[id]
			if !ok {
				t.Fatalf("delivery %d of caller %d is not there, or two callers have it", id, i)
			}
			delete(got, id)
			equal(t, "source", d.Source, fmt.Sprint("source-", i))
			equal(t, "body", string(d.Body), strings.Repeat(fmt.Sprint(i, ";"), i+1))
			equal(t, "request", d.Request, fmt.Sprintf(`{"n":%d}`, i))
		}
	})

	t.Run("says that there is work", func(t *testing.T) {
		l, _ := opened(t, open)
		select {
		case <-l.Accepted():
			t.Fatal("there is work before anything was accepted")
		default:
		}
		accept(t, l, "evt_1 jane@example.com invite")
		select {
		case <-l.Accepted():
		case <-time.After(5 * time.Second):
			t.Fatal("an acceptance woke nobody")
		}
	})

	t.Run("with a cancelled context is whole or not at all", func(t *testing.T) {
		l, _ := opened(t, open)
		const callers = 100
		var all sync.WaitGroup
		accepted := make([]bool, callers)
		for i := range callers {
			ctx, cancel := context.WithCancel(context.Background())
			all.Go(func() {
				_, err := l.Accept(ctx, ledger.Delivery{Source: fmt.Sprint(i), ReceivedAt: start, VerifiedBy: "secrets[0]", Request: "{}", Body: []byte(fmt.Sprint("body ", i))})
				accepted[i] = err == nil
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			all.Go(cancel)
		}
		all.Wait()
		accept(t, l, "the last one: what was queued before it is written")
		there := map[string]bool{}
		for _, d := range kept(t, l) {
			there[d.Source] = true
			if d.Source != "stripe" {
				equal(t, "body", string(d.Body), "body "+d.Source)
			}
		}
		for i, ok := range accepted {
			if ok && !there[fmt.Sprint(i)] {
				t.Errorf("caller %d was told that its delivery is kept, and it is not", i)
			}
		}
	})

	t.Run("with a context cancelled before writes nothing", func(t *testing.T) {
		l, _ := opened(t, open)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := l.Accept(ctx, ledger.Delivery{Source: "gone", Request: "{}"})
		isError(t, err, context.Canceled)
	})

	t.Run("after Close is refused", func(t *testing.T) {
		l, _ := opened(t, open)
		check(t, l.Close())
		_, err := l.Accept(t.Context(), ledger.Delivery{Source: "late", Request: "{}"})
		isError(t, err, ledger.ErrUnwritable)
	})

	t.Run("proves that it can write", func(t *testing.T) {
		l, _ := opened(t, open)
		check(t, l.ProveWrite(t.Context()))
		equal(t, "undecided deliveries after a proof", summary(t, l).Undecided, 0)
	})
}
