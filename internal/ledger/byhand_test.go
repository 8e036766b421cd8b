package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// trail is the audit trail, oldest first, each line as "actor what invitation: before → after (subject)".
func trail(t *testing.T, l *ledger.Ledger) []string {
	t.Helper()
	lines := []string{}
	for _, e := range must[[]ledger.Entry](t)(l.Audit(t.Context(), ledger.AuditFilter{})) {
		line := fmt.Sprintf("%s %s %d: %s → %s", e.Actor, e.What, e.InvitationID, e.Before, e.After)
		if e.Subject != "" {
			line += " (" + e.Subject + ")"
		}
		lines = append(lines, line)
	}
	slices.Reverse(lines)
	return lines
}

// unsure brings an invitation into a state by a call that has no answer.
func unsure(t *testing.T, l *ledger.Ledger, inv ledger.Invitation, state ledger.State) ledger.Invitation {
	t.Helper()
	must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: state, Reason: "no answer", CountTry: true, Unsure: true,
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Outcome: "later"}}))
	return invitation(t, l, inv.ID)
}

// sentAs brings an invitation to Retool, which gives it an identity there.
func sentAs(t *testing.T, l *ledger.Ledger, inv ledger.Invitation, retoolID int64) ledger.Invitation {
	t.Helper()
	must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Sent, RetoolID: retoolID, ExpiresAt: start.Add(7 * 24 * time.Hour), CountTry: true,
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: start, Outcome: "sent", RetoolID: retoolID}}))
	return invitation(t, l, inv.ID)
}

func takeFor(t *testing.T, l *ledger.Ledger, caller ledger.Caller) ledger.Slot {
	t.Helper()
	return must[ledger.Slot](t)(l.TakeSlot(t.Context(), caller, 0))
}

func testRevoke(t *testing.T, open opener) {
	tests := []struct {
		name    string
		make    func(*testing.T, *ledger.Ledger, *clock) ledger.Invitation
		refused string // the words of the conflict
		told    bool   // Retool may have it, and is told
	}{
		{name: "a held one", make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return invitation(t, l, must[int64](t)(l.Record(t.Context(), verdict(t, "evt_1", "jane@example.com", access.Hold))))
		}},
		{name: "a queued one", make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return invited(t, l, "jane@example.com")
		}},
		{name: "a queued one whose last call has no answer", told: true, make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return unsure(t, l, invited(t, l, "jane@example.com"), ledger.Queued)
		}},
		{name: "one that is being sent", refused: "it is being sent right now", make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			inv := invited(t, l, "jane@example.com")
			take(t, l, inv)
			return invitation(t, l, inv.ID)
		}},
		{name: "one whose call was a dead process's", told: true, make: func(t *testing.T, l *ledger.Ledger, c *clock) ledger.Invitation {
			inv := invited(t, l, "jane@example.com")
			take(t, l, inv)
			c.step(3 * time.Minute)
			return invitation(t, l, inv.ID)
		}},
		{name: "a sent one", told: true, make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return sentAs(t, l, invited(t, l, "jane@example.com"), 42)
		}},
		{name: "a sent one of which Retool gave no identity", told: true, make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return sentAs(t, l, invited(t, l, "jane@example.com"), 0)
		}},
		{name: "one that Retool is asked about", refused: "Retool is being asked about it right now", make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			inv := sentAs(t, l, invited(t, l, "jane@example.com"), 42)
			equal(t, "slot", takeFor(t, l, ledger.Look{Invitation: inv.ID, Run: inv.Run}).Granted, true)
			return invitation(t, l, inv.ID)
		}},
		{name: "one that is to be sent again", told: true, make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return must[ledger.Invitation](t)(l.Retry(t.Context(), "another", sentAs(t, l, invited(t, l, "jane@example.com"), 42).ID))
		}},
		{name: "an accepted one", refused: "disable them in Retool's settings", make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return put(t, l, invited(t, l, "jane@example.com"), ledger.Accepted)
		}},
		{name: "an expired one", told: true, make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return put(t, l, invited(t, l, "jane@example.com"), ledger.Expired)
		}},
		{name: "a failed one", make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return put(t, l, invited(t, l, "jane@example.com"), ledger.Failed)
		}},
		{name: "a failed one whose last call has no answer", told: true, make: func(t *testing.T, l *ledger.Ledger, _ *clock) ledger.Invitation {
			return unsure(t, l, invited(t, l, "jane@example.com"), ledger.Failed)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, c := opened(t, open)
			before := tt.make(t, l, c)
			lines, waiting := len(trail(t, l)), len(jobs(t, l, "invite"))
			revoked, err := l.Revoke(t.Context(), by, before.ID)
			after := invitation(t, l, before.ID)
			if tt.refused != "" {
				isError(t, err, ledger.ErrConflict)
				contains(t, err, tt.refused)
				same(t, "the invitation", after, before)
				equal(t, "lines in the trail", len(trail(t, l)), lines)
				return
			}
			check(t, err)
			same(t, "what is returned", revoked.State, after.State)
			equal(t, "state", after.State, ledger.Revoked)
			equal(t, "run", after.Run, before.Run+1)
			equal(t, "next try", after.NextTryAt, time.Time{})
			equal(t, "is to be taken away", after.Resend, tt.told)
			equal(t, "Retool's identity", after.RetoolID, before.RetoolID)
			equal(t, "jobs to send it", len(jobs(t, l, "invite")), waiting)
			equal(t, "the waiting job is void", take(t, l, before).Void, true)
			reason, told := "taken back by hand", 0
			if tt.told {
				reason, told = "taken back by hand; Retool is being told", 1
			}
			equal(t, "reason", after.Reason, reason)
			equal(t, "jobs to take it away", len(jobs(t, l, "revoke")), told)
			equal(t, "their slot is granted", takeFor(t, l, ledger.RevokeJob{Invitation: after.ID, Run: after.Run}).Granted, tt.told)
			same(t, "new in the trail", trail(t, l)[lines:], []string{fmt.Sprintf("%s revoke 1: %s → revoked", by, before.State)})
		})
	}

	t.Run("twice is once", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := sentAs(t, l, invited(t, l, "jane@example.com"), 42)
		must[ledger.Invitation](t)(l.Revoke(t.Context(), by, inv.ID))
		before := invitation(t, l, inv.ID)
		_, err := l.Revoke(t.Context(), by, inv.ID)
		isError(t, err, ledger.ErrConflict)
		contains(t, err, "it is revoked already")
		same(t, "the invitation", invitation(t, l, inv.ID), before)
		equal(t, "jobs to take it away", len(jobs(t, l, "revoke")), 1)
		equal(t, "lines in the trail", len(trail(t, l)), 1)
	})

	t.Run("what is not there says so", func(t *testing.T) {
		l, _ := opened(t, open)
		_, err := l.Revoke(t.Context(), by, 9)
		isError(t, err, ledger.ErrNotFound)
		equal(t, "lines in the trail", len(trail(t, l)), 0)
	})
}

func testRevokeJob(t *testing.T, open opener) {
	revoked := func(t *testing.T, l *ledger.Ledger) (ledger.Invitation, ledger.RevokeJob) {
		t.Helper()
		inv := must[ledger.Invitation](t)(l.Revoke(t.Context(), by, sentAs(t, l, invited(t, l, "jane@example.com"), 42).ID))
		return inv, ledger.RevokeJob{Invitation: inv.ID, Run: inv.Run}
	}
	deleted := ledger.Settlement{State: ledger.Revoked, Reason: "it is deleted", Known: true, Taken: true, Attempt: ledger.Attempt{Kind: "revoke", Outcome: "deleted"}}

	t.Run("has the call to itself", func(t *testing.T) {
		l, _ := opened(t, open)
		inv, job := revoked(t, l)
		slot := takeFor(t, l, job)
		equal(t, "granted", slot.Granted, true)
		equal(t, "looks first", slot.Invitation.Unsure, true)
		equal(t, "Retool's identity", slot.Invitation.RetoolID, 42)
		equal(t, "a second is granted", takeFor(t, l, job).Granted, false)
		_, err := l.Retry(t.Context(), by, inv.ID)
		isError(t, err, ledger.ErrConflict)
		must[bool](t)(l.Settle(t.Context(), slot.Invitation, deleted))
		after := invitation(t, l, inv.ID)
		equal(t, "state", after.State, ledger.Revoked)
		equal(t, "reason", after.Reason, "it is deleted")
		equal(t, "is to be taken away", after.Resend, false)
		equal(t, "unsure", after.Unsure, false)
		equal(t, "Retool's identity", after.RetoolID, 0)
		equal(t, "sending since", after.SendingSince, time.Time{})
		equal(t, "its job is void", takeFor(t, l, job).Void, true)
	})

	t.Run("is void once somebody puts the invitation back to work, which takes away first", func(t *testing.T) {
		l, _ := opened(t, open)
		inv, job := revoked(t, l)
		retried := must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
		equal(t, "void", takeFor(t, l, job).Void, true)
		slot := take(t, l, retried)
		equal(t, "granted", slot.Granted, true)
		equal(t, "takes away first", slot.Invitation.Resend, true)
		equal(t, "looks before that", slot.Invitation.Unsure, true)
		same(t, "trail", trail(t, l), []string{by + " revoke 1: sent → revoked", by + " retry 1: revoked → queued"})
	})

	t.Run("keeps an invitation asked for meanwhile from being sent, and lets it go when its call is over", func(t *testing.T) {
		l, c := opened(t, open)
		inv, job := revoked(t, l)
		slot := takeFor(t, l, job)
		c.step(time.Second)
		v := verdict(t, "evt_2", "jane@example.com", access.Invite)
		v.By = by
		equal(t, "invitation", must[int64](t)(l.Record(t.Context(), v)), inv.ID)
		asked := invitation(t, l, inv.ID)
		equal(t, "state", asked.State, ledger.Queued)
		equal(t, "slot while Retool is called", take(t, l, asked).Granted, false)
		must[bool](t)(l.Settle(t.Context(), slot.Invitation, deleted))
		after := invitation(t, l, inv.ID)
		equal(t, "state after the answer", after.State, ledger.Queued)
		equal(t, "is to be taken away", after.Resend, true) // the answer was another run's: it looks again
		next := take(t, l, asked)
		equal(t, "slot after the answer", next.Granted, true)
		must[bool](t)(l.Settle(t.Context(), slot.Invitation, deleted)) // once more: it is no mark of this call
		equal(t, "the new call is marked", invitation(t, l, inv.ID).SendingSince, next.Invitation.SendingSince)
	})

	t.Run("that is given up leaves the invitation taken back, with what is left to do", func(t *testing.T) {
		l, _ := opened(t, open)
		inv, job := revoked(t, l)
		check(t, l.GiveUp(t.Context(), job, ledger.Revoked, "delete it in Retool's settings", fmt.Errorf("a fault of ours")))
		after := invitation(t, l, inv.ID)
		equal(t, "state", after.State, ledger.Revoked)
		equal(t, "reason", after.Reason, "delete it in Retool's settings")
		equal(t, "is to be taken away, should it be sent again", after.Resend, true)
	})
}

func testSendAgain(t *testing.T, open opener) {
	for _, state := range []ledger.State{ledger.Sent, ledger.Expired} {
		t.Run("what is "+string(state)+" takes away what Retool has first", func(t *testing.T) {
			l, _ := opened(t, open)
			inv := put(t, l, sentAs(t, l, invited(t, l, "jane@example.com"), 42), state)
			again := must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
			equal(t, "state", again.State, ledger.Queued)
			equal(t, "reason", invitation(t, l, inv.ID).Reason, "to be sent again, by hand")
			equal(t, "takes away first", again.Resend, true)
			must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID)) // pressed once more
			again = invitation(t, l, inv.ID)
			equal(t, "takes away first, still", again.Resend, true)
			same(t, "trail", trail(t, l), []string{by + " retry 1: " + string(state) + " → queued", by + " retry 1: queued → queued"})

			looked := take(t, l, again).Invitation
			must[bool](t)(l.Settle(t.Context(), looked, ledger.Settlement{State: ledger.Queued, Known: true, RetoolID: 43, Attempt: ledger.Attempt{Kind: "look", Outcome: "found"}}))
			found := invitation(t, l, inv.ID)
			equal(t, "what is taken away", found.RetoolID, 43)
			equal(t, "unsure", found.Unsure, false)
			must[bool](t)(l.Settle(t.Context(), looked, ledger.Settlement{State: ledger.Queued, Known: true, Taken: true, Attempt: ledger.Attempt{Kind: "revoke", Outcome: "deleted"}}))
			gone := invitation(t, l, inv.ID)
			equal(t, "Retool's identity", gone.RetoolID, 0)
			equal(t, "is to be taken away", gone.Resend, false)
			equal(t, "is sent again", sentAs(t, l, gone, 44).RetoolID, 44)
			equal(t, "a new sending is none again", must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID)).Resend, true)
		})
	}

	t.Run("by a new event, of what is expired", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := put(t, l, sentAs(t, l, invited(t, l, "jane@example.com"), 42), ledger.Expired)
		tell(t, l, "evt_2 jane@example.com invite")
		again := invitation(t, l, inv.ID)
		equal(t, "state", again.State, ledger.Queued)
		equal(t, "takes away first", again.Resend, true)
	})

	for _, state := range []ledger.State{ledger.Sent, ledger.Accepted} {
		t.Run("ends with what is "+string(state), func(t *testing.T) {
			l, c := opened(t, open)
			inv := must[ledger.Invitation](t)(l.Retry(t.Context(), by, sentAs(t, l, invited(t, l, "jane@example.com"), 42).ID))
			now := c.step(time.Hour)
			after := put(t, l, take(t, l, inv).Invitation, state)
			equal(t, "is to be taken away", after.Resend, false)
			accepted := time.Time{}
			if state == ledger.Accepted {
				accepted = now
			}
			equal(t, "accepted at", after.AcceptedAt, accepted)
		})
	}

	t.Run("is not undone by the answer to a call of an older run", func(t *testing.T) {
		l, c := opened(t, open)
		slow := take(t, l, invited(t, l, "jane@example.com")).Invitation
		c.step(3 * time.Minute) // its process counts as dead
		inv := must[ledger.Invitation](t)(l.Revoke(t.Context(), by, slow.ID))
		after := sentAs(t, l, slow, 42)
		equal(t, "state", after.State, ledger.Revoked)
		equal(t, "what is taken away", after.RetoolID, 42)
		equal(t, "is to be taken away", after.Resend, true)
		equal(t, "its slot", takeFor(t, l, ledger.RevokeJob{Invitation: inv.ID, Run: inv.Run}).Granted, true)
	})

	t.Run("is not asked about while it is queued", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := sentAs(t, l, invited(t, l, "jane@example.com"), 42)
		look := ledger.Look{Invitation: inv.ID, Run: inv.Run}
		must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
		equal(t, "void", takeFor(t, l, look).Void, true)
	})
}

// correct gives an invitation another address.
func correct(t *testing.T, l *ledger.Ledger, id int64, email string, outcome access.Outcome) (old, corrected ledger.Invitation, err error) {
	t.Helper()
	corrections++
	return l.Correct(t.Context(), by, id, verdict(t, fmt.Sprintf("correction_%d", corrections), email, outcome))
}

var corrections int // each is an event of its own

func testCorrect(t *testing.T, open opener) {
	tests := []struct {
		state   ledger.State
		outcome access.Outcome
		refused string
		want    ledger.State // of the new one
		told    bool
	}{
		{state: ledger.Held, outcome: access.Invite, want: ledger.Queued},
		{state: ledger.Held, outcome: access.Hold, want: ledger.Held},
		{state: ledger.Queued, outcome: access.Invite, want: ledger.Queued},
		{state: ledger.Queued, outcome: access.Hold, want: ledger.Queued}, // it was let in before
		{state: ledger.Sent, outcome: access.Invite, want: ledger.Queued, told: true},
		{state: ledger.Expired, outcome: access.Invite, want: ledger.Queued, told: true},
		{state: ledger.Failed, outcome: access.Invite, want: ledger.Queued},
		{state: ledger.Revoked, outcome: access.Invite, want: ledger.Queued},
		{state: ledger.Accepted, outcome: access.Invite, refused: "the person came in"},
		{state: ledger.Sent, outcome: access.Skip, refused: "that address is not invited: because of skip"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("what is %s, to what is decided %s", tt.state, tt.outcome), func(t *testing.T) {
			l, _ := opened(t, open)
			v := verdict(t, "evt_1", "jnae@example.com", access.Invite)
			v.Decision.Groups, v.Decision.Attributes = []int64{7}, map[string]string{"plan": "pro", "seat": "1"}
			before := put(t, l, invitation(t, l, must[int64](t)(l.Record(t.Context(), v))), tt.state)

			v = verdict(t, "evt_2", "jane@example.com", tt.outcome)
			v.Decision.Groups, v.Decision.Attributes = []int64{8}, map[string]string{"plan": "team"}
			old, corrected, err := l.Correct(t.Context(), by, before.ID, v)
			if tt.refused != "" {
				isError(t, err, ledger.ErrConflict)
				contains(t, err, tt.refused)
				same(t, "the only invitation", only(t, l), before)
				equal(t, "lines in the trail", len(trail(t, l)), 0)
				return
			}
			check(t, err)
			same(t, "the old one", old.State, invitation(t, l, before.ID).State)
			old = invitation(t, l, before.ID)
			equal(t, "state of the old one", old.State, ledger.Revoked)
			equal(t, "it points at the new one", old.CorrectedTo, corrected.ID)
			reason, told := "the address was corrected: see invitation 2", 0
			if tt.told {
				reason, told = reason+"; Retool is being told", 1
			}
			equal(t, "reason", old.Reason, reason)
			equal(t, "jobs to take it away", len(jobs(t, l, "revoke")), told)
			equal(t, "the waiting job is void", take(t, l, before).Void, true)

			same(t, "the new one", corrected, invitation(t, l, corrected.ID))
			equal(t, "state of the new one", corrected.State, tt.want)
			equal(t, "its address", corrected.Email.Full(), "jane@example.com")
			equal(t, "where its address came from", event(t, l, "evt_2").Details.EmailFrom, "corrected by hand")
			same(t, "its groups", corrected.Groups, []int64{7, 8})
			same(t, "its attributes", corrected.Attributes, map[string]string{"plan": "team", "seat": "1"})
			equal(t, "its slot is granted", take(t, l, corrected).Granted, tt.want == ledger.Queued)
			same(t, "trail", trail(t, l), []string{
				fmt.Sprintf("%s correct 1: %s → revoked (to invitation 2)", by, tt.state),
				fmt.Sprintf("%s correct 2:  → %s (from invitation 1)", by, tt.want)})

			_, _, err = correct(t, l, before.ID, "jane@example.com", access.Invite)
			isError(t, err, ledger.ErrConflict)
			contains(t, err, "its address was corrected before; see invitation 2")
			_, err = l.Retry(t.Context(), by, before.ID)
			isError(t, err, ledger.ErrConflict)
			contains(t, err, "retry invitation 2")
			_, _, err = correct(t, l, corrected.ID, "jane@example.com", access.Invite)
			isError(t, err, ledger.ErrConflict)
			contains(t, err, "that is the address it has")
			equal(t, "lines in the trail", len(trail(t, l)), 2)
		})
	}

	t.Run("while it is being sent is refused", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jnae@example.com")
		take(t, l, inv)
		_, _, err := correct(t, l, inv.ID, "jane@example.com", access.Invite)
		isError(t, err, ledger.ErrConflict)
		contains(t, err, "it is being sent right now")
		equal(t, "address", only(t, l).Email.Full(), "jnae@example.com")
	})

	t.Run("by an event that is known already is refused", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jnae@example.com")
		tell(t, l, "evt_3 bob@example.com invite")
		_, _, err := l.Correct(t.Context(), by, inv.ID, verdict(t, "evt_3", "jane@example.com", access.Invite))
		isError(t, err, ledger.ErrConflict)
		contains(t, err, "this correction was recorded before")
		equal(t, "state", invitation(t, l, inv.ID).State, ledger.Queued)
		equal(t, "lines in the trail", len(trail(t, l)), 0)
	})

	t.Run("what is not there says so", func(t *testing.T) {
		l, _ := opened(t, open)
		_, _, err := correct(t, l, 9, "jane@example.com", access.Invite)
		isError(t, err, ledger.ErrNotFound)
	})
}

// The address that it is corrected to may have an invitation of its own.
func testCorrectTo(t *testing.T, open opener) {
	tests := []struct {
		there   ledger.State
		want    ledger.State // where the new address is decided invite
		wantHld ledger.State // where it is decided hold, and the old one was held
		runs    int
	}{
		{there: ledger.Held, want: ledger.Queued, wantHld: ledger.Held},
		{there: ledger.Queued, want: ledger.Queued, wantHld: ledger.Queued},
		{there: ledger.Sent, want: ledger.Sent, wantHld: ledger.Sent},
		{there: ledger.Accepted, want: ledger.Accepted, wantHld: ledger.Accepted},
		{there: ledger.Expired, want: ledger.Queued, wantHld: ledger.Held},
		{there: ledger.Revoked, want: ledger.Queued, wantHld: ledger.Held},
		{there: ledger.Failed, want: ledger.Queued, wantHld: ledger.Held},
	}
	for _, tt := range tests {
		for outcome, want := range map[access.Outcome]ledger.State{access.Invite: tt.want, access.Hold: tt.wantHld} {
			t.Run(fmt.Sprintf("what is %s, decided %s", tt.there, outcome), func(t *testing.T) {
				l, _ := opened(t, open)
				there := put(t, l, invited(t, l, "jane@example.com"), tt.there)
				held := invitation(t, l, must[int64](t)(l.Record(t.Context(), verdict(t, "evt_held", "jnae@example.com", access.Hold))))
				old, corrected, err := correct(t, l, held.ID, "jane@example.com", outcome)
				check(t, err)
				equal(t, "it is the one of that address", corrected.ID, there.ID)
				equal(t, "state", corrected.State, want)
				equal(t, "its slot is granted", take(t, l, corrected).Granted, want == ledger.Queued)
				equal(t, "it points at no other", corrected.CorrectedTo, 0)
				equal(t, "state of the old one", old.State, ledger.Revoked)
				same(t, "trail", trail(t, l), []string{
					by + " correct 2: held → revoked (to invitation 1)",
					fmt.Sprintf("%s correct 1: %s → %s (from invitation 2)", by, tt.there, want)})
			})
		}
	}
}

// Later events of an address that was corrected are the corrected one's.
func testCorrected(t *testing.T, open opener) {
	const first, second, third = "a@example.com", "b@example.com", "c@example.com"
	chain := func(t *testing.T, l *ledger.Ledger) (a, b, c ledger.Invitation) {
		t.Helper()
		a = invited(t, l, first)
		_, b, err := correct(t, l, a.ID, second, access.Invite)
		check(t, err)
		_, c, err = correct(t, l, b.ID, third, access.Invite)
		check(t, err)
		return a, b, c
	}

	t.Run("one event at a time", func(t *testing.T) {
		l, _ := opened(t, open)
		a, _, c := chain(t, l)
		v := verdict(t, "evt_later", first, access.Invite)
		v.Decision.Groups = []int64{9}
		equal(t, "its invitation", must[int64](t)(l.Record(t.Context(), v)), c.ID)
		same(t, "groups", invitation(t, l, c.ID).Groups, []int64{9})
		same(t, "groups of the old one", invitation(t, l, a.ID).Groups, []int64{})
		equal(t, "state of the old one", invitation(t, l, a.ID).State, ledger.Revoked)
		equal(t, "address of the decision", event(t, l, "evt_later").Decisions[0].Email, first)
	})

	t.Run("many in one batch of the decide stage", func(t *testing.T) {
		l, _ := opened(t, open)
		_, _, c := chain(t, l)
		put(t, l, c, ledger.Failed)
		accept(t, l, "evt_3 new@example.com invite\nevt_4 "+first+" invite\nevt_5 "+second+" invite")
		accept(t, l, "evt_6 "+third+" invite\nevt_7 "+first+" hold\nevt_8 "+first+" skip")
		equal(t, "deliveries decided", decide(t, l), 2)
		for _, id := range []string{"evt_4", "evt_5", "evt_6", "evt_7"} {
			equal(t, "invitation of "+id, event(t, l, id).Decisions[0].InvitationID, c.ID)
		}
		equal(t, "invitation of a skipped one", event(t, l, "evt_8").Decisions[0].InvitationID, 0)
		equal(t, "state", invitation(t, l, c.ID).State, ledger.Queued)
		equal(t, "invitations", len(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{}))), 4)
		equal(t, "revoked", len(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{State: ledger.Revoked}))), 2)
	})

	t.Run("an event sent again puts the corrected one back to work", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 "+first+" invite")
		_, b, err := correct(t, l, only(t, l).ID, second, access.Invite)
		check(t, err)
		put(t, l, b, ledger.Failed)
		tell(t, l, "evt_1 "+first+" invite")
		equal(t, "state", invitation(t, l, b.ID).State, ledger.Queued)
		equal(t, "state of the old one", invitation(t, l, 1).State, ledger.Revoked)
	})

	t.Run("a person who asks for the old address means it", func(t *testing.T) {
		l, _ := opened(t, open)
		a, b, _ := chain(t, l)
		v := verdict(t, "evt_by_hand", first, access.Invite)
		v.By = by
		equal(t, "its invitation", must[int64](t)(l.Record(t.Context(), v)), a.ID)
		a = invitation(t, l, a.ID)
		equal(t, "state", a.State, ledger.Queued)
		equal(t, "it points at no other", a.CorrectedTo, 0)
		equal(t, "the other stays", invitation(t, l, b.ID).State, ledger.Revoked)
		tell(t, l, "evt_9 "+first+" invite")
		equal(t, "later events are its own", event(t, l, "evt_9").Decisions[0].InvitationID, a.ID)
	})

	for _, outcome := range []access.Outcome{access.Invite, access.Hold} {
		t.Run("back to the first address is no ring, decided "+string(outcome), func(t *testing.T) {
			l, _ := opened(t, open)
			a := invitation(t, l, must[int64](t)(l.Record(t.Context(), verdict(t, "evt_a", first, access.Hold))))
			_, b, err := correct(t, l, a.ID, second, outcome)
			check(t, err)
			_, again, err := correct(t, l, b.ID, first, outcome)
			check(t, err)
			equal(t, "it is the first", again.ID, a.ID)
			want := map[access.Outcome]ledger.State{access.Invite: ledger.Queued, access.Hold: ledger.Held}[outcome]
			equal(t, "state", again.State, want)
			equal(t, "it points at no other", again.CorrectedTo, 0)
			tell(t, l, "evt_b "+second+" invite")
			equal(t, "an event of the second is the first's", event(t, l, "evt_b").Decisions[0].InvitationID, a.ID)
			equal(t, "state of the second", invitation(t, l, b.ID).State, ledger.Revoked)
		})
	}

	t.Run("who came in by the old address is known there", func(t *testing.T) {
		l, _ := opened(t, open)
		a, _, c := chain(t, l)
		must[int64](t)(l.Record(t.Context(), cameIn(t, "evt_in", third)))
		equal(t, "state of the new one", invitation(t, l, c.ID).State, ledger.Accepted)
		equal(t, "state of the old one", invitation(t, l, a.ID).State, ledger.Revoked)
	})
}

// Two people, or one who clicks twice, act at the same moment: as if one came after the other.
func testByHandAtOnce(t *testing.T, open opener) {
	ctx := context.Background()
	atOnce := func(n int, do func(i int) error) (done int64) {
		var all sync.WaitGroup
		var ok atomic.Int64
		for i := range n {
			all.Go(func() {
				switch err := do(i); {
				case err == nil:
					ok.Add(1)
				case !strings.Contains(err.Error(), ledger.ErrConflict.Error()):
					t.Error(err)
				}
			})
		}
		all.Wait()
		return ok.Load()
	}

	t.Run("revoke", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := sentAs(t, l, invited(t, l, "jane@example.com"), 42)
		equal(t, "done", atOnce(8, func(int) error { _, err := l.Revoke(ctx, by, inv.ID); return err }), 1)
		equal(t, "lines in the trail", len(trail(t, l)), 1)
		equal(t, "jobs to take it away", len(jobs(t, l, "revoke")), 1)
	})

	t.Run("approve", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invitation(t, l, must[int64](t)(l.Record(t.Context(), verdict(t, "evt_1", "jane@example.com", access.Hold))))
		equal(t, "done", atOnce(8, func(int) error { _, err := l.Approve(ctx, by, inv.ID); return err }), 1)
		same(t, "trail", trail(t, l), []string{by + " approve 1: held → queued"})
		equal(t, "jobs to send it", len(jobs(t, l, "invite")), 1)
	})

	t.Run("approve and revoke", func(t *testing.T) {
		for i := range 5 {
			l, _ := opened(t, open)
			inv := invitation(t, l, must[int64](t)(l.Record(t.Context(), verdict(t, "evt_"+itoa(i), "jane@example.com", access.Hold))))
			n := atOnce(2, func(i int) error {
				act := l.Approve
				if i == 1 {
					act = l.Revoke
				}
				_, err := act(ctx, by, inv.ID)
				return err
			})
			equal(t, "state", invitation(t, l, inv.ID).State, ledger.Revoked) // in whichever order
			equal(t, "lines in the trail", int64(len(trail(t, l))), n)
		}
	})

	t.Run("two corrections in opposite directions", func(t *testing.T) {
		l, _ := opened(t, open)
		both := []ledger.Invitation{invited(t, l, "a@example.com"), invited(t, l, "b@example.com")}
		verdicts := []ledger.Verdict{verdict(t, "evt_to_b", "b@example.com", access.Invite), verdict(t, "evt_to_a", "a@example.com", access.Invite)}
		n := atOnce(2, func(i int) error { _, _, err := l.Correct(ctx, by, both[i].ID, verdicts[i]); return err })
		equal(t, "done", n, 2)
		states := []string{string(invitation(t, l, 1).State), string(invitation(t, l, 2).State)}
		slices.Sort(states)
		same(t, "states", states, []string{"queued", "revoked"})
		tell(t, l, "evt_a a@example.com invite\nevt_b b@example.com invite")
		equal(t, "both addresses lead to one", event(t, l, "evt_a").Decisions[0].InvitationID, event(t, l, "evt_b").Decisions[0].InvitationID)
	})

	t.Run("a correction beside events of both addresses", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jnae@example.com")
		v := verdict(t, "evt_c", "jane@example.com", access.Invite)
		for i := range 8 {
			accept(t, l, fmt.Sprintf("evt_%d jnae@example.com invite\nevt_%d jane@example.com invite", 10+i, 20+i))
		}
		words := plainWords(t)
		atOnce(5, func(i int) error {
			if i == 0 {
				_, _, err := l.Correct(ctx, by, inv.ID, v)
				return err
			}
			_, err := l.Decide(ctx, 2, words)
			return err
		})
		decide(t, l)
		equal(t, "set aside", summary(t, l).SetAside, 0)
		equal(t, "undecided", summary(t, l).Undecided, 0)
		old := invitation(t, l, inv.ID)
		equal(t, "state of the old one", old.State, ledger.Revoked)
		equal(t, "state of the new one", invitation(t, l, old.CorrectedTo).State, ledger.Queued)
		equal(t, "invitations", len(must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{}))), 2)
	})
}

func testAudit(t *testing.T, open opener) {
	t.Run("has a line for each invitation that is acted on with others", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 a@example.com hold\nevt_2 b@example.com hold\nevt_3 c@example.com invite\nevt_4 d@example.com invite")
		equal(t, "approved", must[int](t)(l.ApproveAll(t.Context(), by)), 2)
		equal(t, "approved again", must[int](t)(l.ApproveAll(t.Context(), by)), 0)
		put(t, l, invitation(t, l, 1), ledger.Failed)
		put(t, l, invitation(t, l, 3), ledger.Failed)
		put(t, l, invitation(t, l, 4), ledger.Expired)
		equal(t, "retried", must[int](t)(l.RetryAll(t.Context(), "another", ledger.Failed)), 2)
		equal(t, "sent again", must[int](t)(l.RetryAll(t.Context(), "another", ledger.Expired)), 1)
		equal(t, "takes away first", invitation(t, l, 4).Resend, true)
		_, err := l.RetryAll(t.Context(), by, ledger.Sent)
		isError(t, err, ledger.ErrConflict)
		same(t, "trail", trail(t, l), []string{
			by + " approve 1: held → queued", by + " approve 2: held → queued",
			"another retry 1: failed → queued", "another retry 3: failed → queued", "another retry 4: expired → queued"})
	})

	t.Run("tells what became of an address that a person asked for", func(t *testing.T) {
		l, c := opened(t, open)
		for i, outcome := range []access.Outcome{access.Hold, access.Invite, access.Skip, access.Invite} {
			v := verdict(t, "evt_"+itoa(i), "jane@example.com", outcome)
			v.By = by
			must[int64](t)(l.Record(t.Context(), v))
		}
		now := c.step(time.Minute)
		tell(t, l, "evt_9 jane@example.com invite") // nobody's act
		check(t, l.Note(t.Context(), ledger.Entry{Actor: "another", What: ledger.DidTest, Subject: "stripe"}))
		same(t, "trail", trail(t, l), []string{
			by + " invite 1:  → held", by + " invite 1: held → queued",
			by + " invite 0: queued → not invited: external", by + " invite 1: queued → queued",
			"another send test event 0:  →  (stripe)"})
		last := must[[]ledger.Entry](t)(l.Audit(t.Context(), ledger.AuditFilter{Limit: 1}))
		equal(t, "newest first", last[0].At, now)
	})

	t.Run("is listed by invitation, by actor and page by page", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 a@example.com invite\nevt_2 b@example.com invite")
		for _, who := range []string{"x", "y", "x"} {
			must[ledger.Invitation](t)(l.Retry(t.Context(), who, 1))
			must[ledger.Invitation](t)(l.Retry(t.Context(), who, 2))
		}
		list := func(f ledger.AuditFilter) (ids []int64) {
			for _, e := range must[[]ledger.Entry](t)(l.Audit(t.Context(), f)) {
				ids = append(ids, e.ID)
			}
			return ids
		}
		same(t, "of one invitation", list(ledger.AuditFilter{Invitation: 1}), []int64{5, 3, 1})
		same(t, "of one actor", list(ledger.AuditFilter{Actor: "y"}), []int64{4, 3})
		same(t, "the next page", list(ledger.AuditFilter{Invitation: 2, Before: 6, Limit: 1}), []int64{4})
	})

	t.Run("has the replay of a delivery", func(t *testing.T) {
		l, _ := opened(t, open)
		delivery := tell(t, l, "evt_1 a@example.com invite")
		check(t, l.Replay(t.Context(), by, delivery))
		same(t, "trail", trail(t, l), []string{fmt.Sprintf("%s replay 0:  → undecided (delivery %d)", by, delivery)})
	})
}
