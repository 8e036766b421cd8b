package onboarding_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// What becomes of an invitation that a person has sent again, by what Retool has and answers.
func TestSendAgain(t *testing.T) {
	tests := []struct {
		name     string
		front    func(http.Handler) http.Handler
		maxTries int
		prepare  func(*world) // once it is sent
		attempts string
		want     ledger.State
		reason   string
		invites  int // ever made
	}{
		{
			name: "the first invite is deleted, then the second made", attempts: "look found 200, revoke deleted 204, invite sent 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "whoever came in gets none", prepare: func(w *world) { w.retool.Claim(jane) },
			attempts: "look claimed 200", want: ledger.Accepted, invites: 1, reason: "accepted: Retool says the person came in, and nothing was sent again",
		},
		{
			name: "whoever comes in just then gets none", front: claimedOnDelete,
			attempts: "look found 200, revoke never 422, look claimed 200", want: ledger.Accepted, invites: 1, reason: "accepted: Retool says the person came in, and nothing was sent again",
		},
		{
			name: "one that ran out is deleted too", prepare: func(w *world) { w.retool.Expire(jane) },
			attempts: "look found 200, revoke deleted 204, invite sent 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "one that somebody deleted in Retool", prepare: func(w *world) { w.delete(1) },
			attempts: "look not found 404, invite sent 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "one whose identity is not known is found by its address", prepare: func(w *world) { w.tamper(forgetID) },
			attempts: "look found 200, revoke deleted 204, invite sent 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "no answer to the second is looked into as ever", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "reset-after-work"}) },
			attempts: "look found 200, revoke deleted 204, invite later 0, look found 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "no answer to the deletion is looked into", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "reset-after-work", On: "delete"}) },
			attempts: "look found 200, revoke later 0, look not found 404, invite sent 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "a passing fault of the look", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "get"}) },
			attempts: "look later 500, look found 200, revoke deleted 204, invite sent 200", want: ledger.Sent, invites: 2,
		},
		{
			name: "a deletion that never works", maxTries: 2, prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "delete", Times: -1}) },
			attempts: "look found 200, revoke later 500, look found 200, revoke later 500", want: ledger.Failed, invites: 1, reason: "given up after 2 tries; the last answer: Internal server error",
		},
		{
			name: "a token that may not delete says that nothing was sent", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "scope", On: "delete"}) },
			attempts: "look found 200, revoke cannot delete 403, invite present 409", want: ledger.Sent, invites: 1,
			reason: "not sent again, since Retool still has the earlier invite and does not let Usher delete it: A user invite already exists for this email",
		},
		{
			name: "a plan without the call asks and says so", prepare: func(w *world) { w.retool.SetPlan(retooltest.BulkOnly) },
			attempts: "look cannot look 403, revoke cannot delete 403, invite sent 200", want: ledger.Sent, invites: 1,
			reason: "Retool was asked to send it again, beside the earlier invite, which it does not let Usher delete",
		},
		{
			name: "a plan without the call sends where the first ran out", prepare: func(w *world) { w.retool.SetPlan(retooltest.BulkOnly); w.retool.Expire(jane) },
			attempts: "look cannot look 403, revoke cannot delete 403, invite sent 200", want: ledger.Sent, invites: 2,
			reason: "Retool was asked to send it again, beside the earlier invite, which it does not let Usher delete",
		},
		{
			name: "a token that may not look deletes and sends", prepare: func(w *world) { w.retool.SetScopes("users:write") },
			attempts: "look cannot look 403, revoke deleted 204, invite sent 200", want: ledger.Sent, invites: 2,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{front: tt.front, options: onboarding.Options{MaxTries: tt.maxTries}})
			inv := w.invited(paid("evt_1"))
			if tt.prepare != nil {
				tt.prepare(w)
			}
			must(w.ledger.Retry(t.Context(), "a test", inv.ID))(t)
			w.run()
			w.until("its job is done", func() bool { return w.jobs("invite")[1].FinalizedAt != nil })
			w.equal("attempts", w.since(inv.ID, 1), tt.attempts)
			inv = w.invitation(jane)
			w.equal("state", inv.State, tt.want)
			w.equal("reason", inv.Reason, tt.reason)
			w.equal("invites ever made", w.retool.Count(jane), tt.invites)
			open := 0
			for _, invite := range w.retool.Invites() {
				if !invite.Deleted && (invite.ClaimedAt != nil || invite.ExpiresAt.After(time.Now())) {
					open++
				}
			}
			w.equal("invites that can be used or were", open, 1)
			w.equal("is to be taken away", inv.Resend, tt.want == ledger.Failed)
			w.equal("sending", inv.SendingSince.IsZero(), true)
			w.equal("came in", !inv.AcceptedAt.IsZero(), tt.want == ledger.Accepted)
			if tt.want == ledger.Sent && tt.invites == 2 {
				w.equal("Retool's identity", inv.RetoolID, 2)
				w.equal("it expires", inv.ExpiresAt.After(time.Now()), true)
			}
		})
	}
}

// What events added meanwhile goes along with the second invite, groups too.
func TestSendAgainTakesAllAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{policy: access.PolicyConfig{Rules: []access.Rule{
		{When: `event.customer == "cus_2"`, Groups: []int64{8}, Attributes: map[string]string{"plan": `"team"`}},
		{Groups: []int64{7}, Attributes: map[string]string{"plan": `"pro"`}}}}})
	inv := w.invited(paid("evt_1"))
	e := paid("evt_2")
	e.Customer = "cus_2"
	w.deliver(e)
	w.ob.DecideAll(t.Context())
	w.equal("late groups", len(w.invitation(jane).LateGroups()), 1)
	must(w.ledger.Retry(t.Context(), "a test", inv.ID))(t)
	w.run()
	w.until("it is sent again", func() bool { return w.invitation(jane).RetoolID == 2 })
	made := w.retool.Invites()[1]
	w.equal("groups", len(made.Groups), 2)
	w.equal("plan", made.Metadata["plan"], "team")
	w.equal("late groups", len(w.invitation(jane).LateGroups()), 0)
	w.equal("late attributes", len(w.invitation(jane).LateAttributes()), 0)
}

// A process that is killed in the middle leaves nobody without an invite, and nobody with two.
func TestSendAgainAfterAKill(t *testing.T) {
	take := func(w *world, inv ledger.Invitation) ledger.Invitation {
		w.Helper()
		var slot ledger.Slot
		w.until("there is a slot", func() bool {
			slot = must(w.ledger.TakeSlot(w.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}, 0))(w.T)
			return slot.Granted
		})
		return slot.Invitation
	}
	settle := func(w *world, inv ledger.Invitation, s ledger.Settlement) {
		w.Helper()
		s.State = ledger.Queued
		must(w.ledger.Settle(w.Context(), inv, s))(w.T)
	}
	found := ledger.Settlement{Known: true, RetoolID: 1, Attempt: ledger.Attempt{Kind: "look", Outcome: "found", Status: 200}}
	gone := ledger.Settlement{Known: true, Taken: true, Attempt: ledger.Attempt{Kind: "revoke", Outcome: "deleted", Status: 204}}
	tests := []struct {
		name     string
		until    func(w *world, inv ledger.Invitation)
		attempts string
	}{
		{name: "before the look", until: func(w *world, inv ledger.Invitation) {},
			attempts: "look found 200, revoke deleted 204, invite sent 200"},
		{name: "during the look", until: func(w *world, inv ledger.Invitation) { take(w, inv) },
			attempts: "look found 200, revoke deleted 204, invite sent 200"},
		{name: "after the look", until: func(w *world, inv ledger.Invitation) { settle(w, take(w, inv), found) },
			attempts: "look found 200, revoke deleted 204, invite sent 200"},
		{name: "before the deletion arrives", until: func(w *world, inv ledger.Invitation) { settle(w, take(w, inv), found); take(w, inv) },
			attempts: "look found 200, look found 200, revoke deleted 204, invite sent 200"},
		{name: "after the deletion, before its answer", until: func(w *world, inv ledger.Invitation) {
			settle(w, take(w, inv), found)
			take(w, inv)
			w.delete(1)
		}, attempts: "look found 200, look not found 404, invite sent 200"},
		{name: "between the deletion and the sending", until: func(w *world, inv ledger.Invitation) {
			settle(w, take(w, inv), found)
			settle(w, take(w, inv), gone)
			w.delete(1)
		}, attempts: "look found 200, revoke deleted 204, invite sent 200"},
		{name: "before the sending arrives", until: func(w *world, inv ledger.Invitation) {
			settle(w, take(w, inv), found)
			settle(w, take(w, inv), gone)
			w.delete(1)
			take(w, inv)
		}, attempts: "look found 200, revoke deleted 204, look not found 200, invite sent 200"},
		{name: "after the sending, before its answer", until: func(w *world, inv ledger.Invitation) {
			settle(w, take(w, inv), found)
			settle(w, take(w, inv), gone)
			w.delete(1)
			take(w, inv)
			must(w.client.Invite(w.Context(), invitationOf(inv)))(w.T)
		}, attempts: "look found 200, revoke deleted 204, look found 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			inv := must(w.ledger.Retry(t.Context(), "a test", w.invited(paid("evt_1")).ID))(t)
			tt.until(w, inv)
			w.run() // a new process takes the ledger over
			w.reaches(jane, ledger.Sent)
			w.equal("attempts", w.since(inv.ID, 1), tt.attempts)
			w.equal("invites ever made", w.retool.Count(jane), 2)
			w.equal("Retool's identity", w.invitation(jane).RetoolID, 2)
			made := w.retool.Invites()
			w.equal("the first is deleted", made[0].Deleted, true)
			w.equal("the second is not", made[1].Deleted, false)
		})
	}
}

// Taken back and asked for again before Retool was told: one errand does both.
func TestInviteAfterRevokeSendsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	inv := w.invited(paid("evt_1"))
	must(w.ledger.Revoke(t.Context(), "a test", inv.ID))(t)
	must(w.ledger.Retry(t.Context(), "a test", inv.ID))(t)
	w.run()
	w.reaches(jane, ledger.Sent)
	w.until("the job to take it away is void", func() bool { return w.jobs("revoke")[0].FinalizedAt != nil })
	w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite sent 200, look found 200, revoke deleted 204, invite sent 200")
	w.equal("invites ever made", w.retool.Count(jane), 2)
}

// An unclear first call, and the person came in by it: that is known from the look.
func TestALookThatFindsThePersonInAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.retool.Inject(retooltest.Fault{Kind: "reset-after-work"})
	w.deliver(paid("evt_1"))
	w.ob.DecideAll(t.Context())
	inv := w.invitation(jane)
	if err := w.ob.Invite(t.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}); err == nil {
		t.Fatal("an unclear answer is tried again")
	}
	w.retool.Claim(jane)
	w.run()
	inv = w.reaches(jane, ledger.Accepted)
	w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite later 0, look claimed 200")
	w.equal("accepted at", inv.AcceptedAt.UnixMilli(), w.retool.Invites()[0].ClaimedAt.UnixMilli())
	w.equal("sent at", inv.SentAt.IsZero(), false)
	w.equal("reason", inv.Reason, "accepted: Retool says the person came in")
}
