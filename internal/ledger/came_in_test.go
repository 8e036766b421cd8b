package ledger_test

import (
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

const acceptedReason = "accepted: Retool says the person came in"

// cameIn is an event by which Retool says that a person accepted.
func cameIn(t *testing.T, eventID, email string) ledger.Verdict {
	t.Helper()
	v := verdict(t, eventID, email, access.Skip)
	v.Event.Source, v.Event.Type, v.Accepted, v.Decision.Reason = "retool", "user.invite.accepted", true, "accepted"
	return v
}

func testCameIn(t *testing.T, open opener) {
	tests := []struct {
		name       string
		state      ledger.State
		want       ledger.State
		wantReason string
		wantRuns   int // beyond the one it had
	}{
		{name: "a sent invitation is accepted", state: ledger.Sent, want: ledger.Accepted, wantReason: acceptedReason, wantRuns: 1},
		{name: "a queued one too: its job then does nothing", state: ledger.Queued, want: ledger.Accepted, wantReason: acceptedReason, wantRuns: 1},
		{name: "a failed one too: the person came by another door", state: ledger.Failed, want: ledger.Accepted, wantReason: acceptedReason, wantRuns: 1},
		{name: "an expired one too", state: ledger.Expired, want: ledger.Accepted, wantReason: acceptedReason, wantRuns: 1},
		{name: "a held one too", state: ledger.Held, want: ledger.Accepted, wantReason: acceptedReason, wantRuns: 1},
		{name: "an accepted one stays as it is", state: ledger.Accepted, want: ledger.Accepted, wantReason: "put there"},
		{name: "a revoked one stays revoked", state: ledger.Revoked, want: ledger.Revoked, wantReason: "put there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, c := opened(t, open)
			inv := put(t, l, invited(t, l, "jane@example.com"), tt.state)
			other := invited(t, l, "bob@example.com")
			c.step(time.Hour)
			equal(t, "invitation", must[int64](t)(l.Record(t.Context(), cameIn(t, "evt_in", "jane@example.com"))), inv.ID)

			now := invitation(t, l, inv.ID)
			equal(t, "state", now.State, tt.want)
			equal(t, "reason", now.Reason, tt.wantReason)
			equal(t, "run", now.Run, inv.Run+tt.wantRuns)
			equal(t, "sent at", now.SentAt, inv.SentAt)
			if tt.wantRuns > 0 {
				equal(t, "updated at", now.UpdatedAt, c.Now())
			}
			decision := event(t, l, "evt_in").Decisions[0]
			equal(t, "outcome", decision.Outcome, access.Skip)
			equal(t, "invitation of the decision", decision.InvitationID, inv.ID)
			equal(t, "events of the invitation", len(must[[]ledger.Event](t)(l.InvitationEvents(t.Context(), inv.ID))), 2)
			equal(t, "the waiting job is void", take(t, l, inv).Void, true)
			equal(t, "jobs", len(jobs(t, l, "invite")), 2)
			equal(t, "another address", invitation(t, l, other.ID).State, ledger.Queued)

			// Said again, and again by a new event, it changes nothing more.
			must[int64](t)(l.Record(t.Context(), cameIn(t, "evt_in_again", "jane@example.com")))
			same(t, "the second time", invitation(t, l, inv.ID), now)
		})
	}

	t.Run("a later event that invites changes nothing", func(t *testing.T) {
		for _, outcome := range []access.Outcome{access.Invite, access.Hold, access.Skip} {
			l, _ := opened(t, open)
			inv := put(t, l, invited(t, l, "jane@example.com"), ledger.Sent)
			must[int64](t)(l.Record(t.Context(), cameIn(t, "evt_in", "jane@example.com")))
			must[int64](t)(l.Record(t.Context(), verdict(t, "evt_2", "jane@example.com", outcome)))
			equal(t, "state after "+string(outcome), invitation(t, l, inv.ID).State, ledger.Accepted)
			equal(t, "jobs", len(jobs(t, l, "invite")), 1)
			_, err := l.Retry(t.Context(), by, inv.ID)
			isError(t, err, ledger.ErrConflict)
		}
	})

	t.Run("an answer of Retool that comes later does not take it back", func(t *testing.T) {
		for _, state := range []ledger.State{ledger.Sent, ledger.Queued, ledger.Failed} {
			l, _ := opened(t, open)
			inv := take(t, l, invited(t, l, "jane@example.com")).Invitation
			must[int64](t)(l.Record(t.Context(), cameIn(t, "evt_in", "jane@example.com")))
			now := put(t, l, inv, state)
			equal(t, "state after "+string(state), now.State, ledger.Accepted)
			equal(t, "reason", now.Reason, acceptedReason)
			equal(t, "sending since", now.SendingSince, time.Time{})
			equal(t, "calls", len(must[[]ledger.Attempt](t)(l.Attempts(t.Context(), inv.ID))), 1)
		}
	})

	t.Run("an address without an invitation has only the decision", func(t *testing.T) {
		l, _ := opened(t, open)
		equal(t, "invitation", must[int64](t)(l.Record(t.Context(), cameIn(t, "evt_in", "jane@example.com"))), 0)
		decision := event(t, l, "evt_in").Decisions[0]
		equal(t, "invitation of the decision", decision.InvitationID, 0)
		equal(t, "address", decision.Email, "jane@example.com")
		equal(t, "invitations", len(ids(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{})))), 0)
	})

	t.Run("no address is nobody", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		v := cameIn(t, "evt_in", "jane@example.com")
		v.Decision.Address = access.Address{}
		equal(t, "invitation", must[int64](t)(l.Record(t.Context(), v)), 0)
		equal(t, "state", invitation(t, l, inv.ID).State, ledger.Queued)
	})

	t.Run("a replay finds the invitation that came after the event", func(t *testing.T) {
		l, _ := opened(t, open)
		says := func(ledger.Delivery) ([]ledger.Verdict, error) {
			return []ledger.Verdict{cameIn(t, "evt_in", "jane@example.com")}, nil
		}
		delivery := accept(t, l, "accepted")
		must[int](t)(l.Decide(t.Context(), 9, says))
		inv := invited(t, l, "jane@example.com")
		check(t, l.Replay(t.Context(), by, delivery))
		must[int](t)(l.Decide(t.Context(), 9, says))
		equal(t, "state", invitation(t, l, inv.ID).State, ledger.Accepted)
		equal(t, "decisions", len(event(t, l, "evt_in").Decisions), 2)
	})

	t.Run("a resend never puts an invitation to work", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := put(t, l, invited(t, l, "jane@example.com"), ledger.Revoked)
		says := func(ledger.Delivery) ([]ledger.Verdict, error) {
			return []ledger.Verdict{cameIn(t, "evt_in", "jane@example.com")}, nil
		}
		accept(t, l, "accepted")
		must[int](t)(l.Decide(t.Context(), 9, says))
		put(t, l, must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID)), ledger.Failed) // a person asked
		accept(t, l, "accepted")
		must[int](t)(l.Decide(t.Context(), 9, says))
		equal(t, "resends", event(t, l, "evt_in").Resends, 1)
		equal(t, "state", invitation(t, l, inv.ID).State, ledger.Failed)
	})
}
