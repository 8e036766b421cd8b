package onboarding_test

import (
	"errors"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/onboarding"
)

// The leader of the instances tidies the ledger soon after a start, on both stores.
func TestUpkeep(t *testing.T) {
	for _, store := range []string{"sqlite", "postgres"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := setting{options: onboarding.Options{Retention: ledger.Retention{Bodies: 90 * 24 * time.Hour}}}
			worlds := 1
			if store == "postgres" {
				s.address, worlds = ledgertest.Postgres(t), 2
			}
			var all []*world
			for range worlds {
				all = append(all, newWorld(t, s))
			}
			w := all[0]
			old := must(w.ledger.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: time.Now().Add(-91 * 24 * time.Hour), VerifiedBy: "secrets[0]", Body: paid("evt_1").JSON()}))(t)
			must(w.ledger.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) { return nil, nil }))(t)
			young := w.deliver(paid("evt_2"))
			for _, w := range all {
				w.run()
			}
			w.until("one instance has removed the old body and says so", func() bool {
				n := 0
				for _, w := range all {
					n += w.logged(`"msg":"old rows are removed","bodies":1,`)
				}
				return n == 1
			})
			w.reaches(jane, ledger.Sent)
			if err := w.ledger.Replay(t.Context(), "a test", old); !errors.Is(err, ledger.ErrBodyGone) {
				t.Errorf("a replay of the old delivery: %v", err)
			}
			if err := w.ledger.Replay(t.Context(), "a test", young); err != nil {
				t.Errorf("a replay of the young one: %v", err)
			}
		})
	}
}
