package ledger_test

import (
	"testing"

	"github.com/usher-dev/usher/internal/ledger"
)

func testDeliveryState(t *testing.T, open opener) {
	l, _ := opened(t, open)
	state := func(id int64) ledger.DeliveryState {
		t.Helper()
		return must[ledger.DeliveryState](t)(l.DeliveryState(t.Context(), id))
	}
	id := accept(t, l, "evt_1 jane@example.com invite\nevt_2 bob@example.com skip")
	equal(t, "waits", state(id).Waits, true)
	equal(t, "events", len(state(id).Events), 0)
	decide(t, l)
	decided := state(id)
	equal(t, "waits, once decided", decided.Waits, false)
	equal(t, "events, once decided", len(decided.Events), 2)
	equal(t, "the first", decided.Events[0].Decisions[0].Outcome, "invite")
	equal(t, "the second", decided.Events[1].SenderID, "evt_2")

	poison := accept(t, l, "poison")
	for range 3 {
		decide(t, l)
	}
	aside := state(poison)
	equal(t, "waits, set aside", aside.Waits, false)
	equal(t, "set aside", aside.SetAside, true)
	contains(t, errText(aside.Error), "poison")
	_, err := l.DeliveryState(t.Context(), 99)
	isError(t, err, ledger.ErrNotFound)
}

// errText is the text of an error that was stored.
type errText string

func (e errText) Error() string { return string(e) }
