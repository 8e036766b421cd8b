package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func testReceipts(t *testing.T, open opener) {
	l, c := opened(t, open)
	at := func(source, body string, later time.Duration) int64 {
		t.Helper()
		id := must[int64](t)(l.Accept(t.Context(), ledger.Delivery{Source: source, ReceivedAt: start.Add(later), VerifiedBy: "secrets[1]", Body: []byte(body)}))
		decide(t, l)
		return id
	}
	first := at("stripe", "evt_1 jane@example.com invite\nevt_2 jane@example.com invite", 0)
	same1 := at("stripe", "evt_1 jane@example.com invite\nevt_2 jane@example.com invite", time.Minute)
	other := at("stripe", "evt_1 jane@example.com  invite", time.Hour)
	at("stripe", "evt_3 bob@example.com invite", 2*time.Hour)
	jane := event(t, l, "evt_1")

	r := ledger.Receipt{Event: jane.ID, Delivery: first, Source: "stripe", ReceivedAt: start, VerifiedBy: "secrets[1]", BodyKept: true, SameBody: true}
	again := r
	again.Delivery, again.ReceivedAt, again.Again = same1, start.Add(time.Minute), true
	otherwise := again
	otherwise.Delivery, otherwise.ReceivedAt, otherwise.SameBody = other, start.Add(time.Hour), false
	same(t, "of an event", must[[]ledger.Receipt](t)(l.ReceiptsOf(t.Context(), jane.ID)), []ledger.Receipt{r, again, otherwise})
	second := event(t, l, "evt_2").ID
	all := must[[]ledger.Receipt](t)(l.ReceiptsOf(t.Context(), second))
	equal(t, "of the second event", len(all), 2)
	equal(t, "the second event's first", fmt.Sprint(all[0].Event == second, all[0].Again, all[1].Again), "true false true")

	c.step(100 * 24 * time.Hour)
	must[bool](t)(func() (bool, error) {
		_, more, err := l.Tidy(t.Context(), ledger.Retention{Bodies: 24 * time.Hour})
		return more, err
	}())
	for _, r := range must[[]ledger.Receipt](t)(l.ReceiptsOf(t.Context(), jane.ID)) {
		equal(t, "body kept", r.BodyKept, false)
	}

	must[int64](t)(l.Record(t.Context(), verdict(t, "evt_by_hand", "new@example.com", access.Invite)))
	equal(t, "of what a person asked for", len(must[[]ledger.Receipt](t)(l.ReceiptsOf(t.Context(), event(t, l, "evt_by_hand").ID))), 0)
	for range 60 {
		at("stripe", "evt_1 jane@example.com invite", time.Hour)
	}
	equal(t, "of one sent for ever", len(must[[]ledger.Receipt](t)(l.ReceiptsOf(t.Context(), jane.ID))), 51)
}
