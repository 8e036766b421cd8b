package onboarding_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// invited sends an invitation while nothing runs.
func (w *world) invited(e webhooktest.StripeEvent) ledger.Invitation {
	w.Helper()
	w.deliver(e)
	w.ob.DecideAll(w.Context())
	inv := w.invitation(e.Email)
	if err := w.ob.Invite(w.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}); err != nil {
		w.Fatal(err)
	}
	inv = w.invitation(e.Email)
	w.equal("state", inv.State, ledger.Sent)
	return inv
}

// since are the attempts after the first n.
func (w *world) since(id int64, n int) string {
	w.Helper()
	return strings.Join(w.attempts(id)[n:], ", ")
}

// claimedOnDelete lets the person accept in the moment in which the invite is to be deleted.
func claimedOnDelete(retool http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if fake, ok := retool.(*retooltest.Retool); ok && r.Method == http.MethodDelete {
			fake.Claim(jane)
		}
		retool.ServeHTTP(rw, r)
	})
}

const forgetID = `update invitations set retool_id = null`

// What becomes of an invite that a person takes back, by what Retool has and answers.
func TestRevoke(t *testing.T) {
	tests := []struct {
		name     string
		retool   retooltest.Options
		front    func(http.Handler) http.Handler
		client   retoolclient.Options
		maxTries int
		prepare  func(*world) // once it is sent
		attempts string
		reason   string
		stays    bool // at Retool
		owed     bool // should somebody ask for the address again
	}{
		{
			name: "that nobody used is deleted", attempts: "look found 200, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
		{
			name: "that was used says whom to disable", prepare: func(w *world) { w.retool.Claim(jane) },
			attempts: "look claimed 200", reason: "taken back by hand, but the person had come in already: disable them in Retool's settings", stays: true,
		},
		{
			name: "that is used just then says so too", front: claimedOnDelete,
			attempts: "look found 200, revoke never 422, look claimed 200", reason: "taken back by hand, but the person had come in already: disable them in Retool's settings", stays: true,
		},
		{
			name: "that somebody deleted in Retool", prepare: func(w *world) { w.delete(1) },
			attempts: "look not found 404", reason: "taken back by hand; Retool had none",
		},
		{
			name: "that ran out is deleted all the same", prepare: func(w *world) { w.retool.Expire(jane) },
			attempts: "look found 200, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
		{
			name: "whose identity is not known is found by its address", prepare: func(w *world) { w.tamper(forgetID) },
			attempts: "look found 200, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
		{
			name: "whose identity is not known and that was used", prepare: func(w *world) { w.tamper(forgetID); w.retool.Claim(jane) },
			attempts: "look claimed 200", reason: "taken back by hand, but the person had come in already: disable them in Retool's settings", stays: true,
		},
		{
			name: "of which nothing is known or found", prepare: func(w *world) { w.tamper(forgetID); w.delete(1) },
			attempts: "look not found 200", reason: "taken back by hand; Retool had none",
		},
		{
			name: "is deleted after a passing fault", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "delete"}) },
			attempts: "look found 200, revoke later 500, look found 200, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
		{
			name: "is looked for again after no answer", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "reset-after-work", On: "delete"}) },
			attempts: "look found 200, revoke later 0, look not found 404", reason: "taken back by hand; Retool had none",
		},
		{
			name: "is looked for again where the look fails", prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "get", Times: 2}) },
			attempts: "look later 500, look later 500, look found 200, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
		{
			name: "waits as long as Retool asks", client: retoolclient.Options{Retries: -1}, prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "1", On: "delete"}) },
			attempts: "look found 200, revoke rate limited 429, look found 200, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
		{
			name: "is left to a person after the last try", maxTries: 2, prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "delete", Times: -1}) },
			attempts: "look found 200, revoke later 500, look found 200, revoke later 500",
			reason:   "taken back here, but Retool still has the invite: Internal server error; delete it in Retool's settings", stays: true, owed: true,
		},
		{
			name: "is left to a person where the plan has no such call", prepare: func(w *world) { w.retool.SetPlan(retooltest.BulkOnly) },
			attempts: "look cannot look 403, revoke cannot delete 403", stays: true, owed: true,
			reason: "taken back here, but Retool still has the invite: API access is only available for enterprise customers (Retool's Business plan does not include this call: that is the plan's limit, not a mistake of yours.); delete it in Retool's settings",
		},
		{
			name: "is left to a person where the plan has no such call and nothing is known", prepare: func(w *world) { w.retool.SetPlan(retooltest.Legacy); w.tamper(forgetID) },
			attempts: "look cannot look 404", stays: true, owed: true, reason: "taken back here, but Retool may still have an invite: This address does not answer as Retool's API does",
		},
		{
			name: "is left to a person where the token may not delete", prepare: func(w *world) { w.retool.SetScopes("users:read") },
			attempts: "look found 200, revoke cannot delete 403", stays: true, owed: true, reason: "taken back here, but Retool still has the invite: This API token lacks the required scope: users:write",
		},
		{
			name: "is deleted where the token may not look", prepare: func(w *world) { w.retool.SetScopes("users:write") },
			attempts: "look cannot look 403, revoke deleted 204", reason: "taken back by hand; Retool's invite is deleted",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{retool: tt.retool, front: tt.front, client: tt.client, options: onboarding.Options{MaxTries: tt.maxTries}})
			inv := w.invited(paid("evt_1"))
			if tt.prepare != nil {
				tt.prepare(w)
			}
			must(w.ledger.Revoke(t.Context(), "a test", inv.ID))(t)
			w.run()
			w.until("its job is done", func() bool { return w.jobs("revoke")[0].FinalizedAt != nil })
			w.equal("attempts", w.since(inv.ID, 1), tt.attempts)
			inv = w.invitation(jane)
			w.equal("state", inv.State, ledger.Revoked)
			if !strings.HasPrefix(inv.Reason, tt.reason) {
				t.Errorf("the reason is %q, wants %q", inv.Reason, tt.reason)
			}
			w.equal("is at Retool", !w.retool.Invites()[0].Deleted, tt.stays)
			w.equal("is to be taken away", inv.Resend, tt.owed)
			w.equal("next try", inv.NextTryAt.IsZero(), true)
			w.equal("sending", inv.SendingSince.IsZero(), true)
			w.equal("invites ever made", w.retool.Count(jane), 1)
			w.equal("stopped", w.summary().Pace.StoppedReason, "")
			if strings.Contains(inv.Reason, "@") {
				t.Errorf("the reason %q names an address", inv.Reason)
			}
		})
	}
}

// delete deletes an invite as somebody does in Retool's settings.
func (w *world) delete(id int64) {
	w.Helper()
	if err := w.client.DeleteInvite(w.Context(), id); err != nil {
		w.Fatal(err)
	}
}

func TestRevokeBeforeItIsSentAsksRetoolNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{policy: access.PolicyConfig{Rules: []access.Rule{{When: `event.customer == "cus_hold"`, Outcome: access.Hold}}}})
	w.deliver(paid("evt_1"))
	w.deliver(webhooktest.StripeEvent{ID: "evt_2", Email: bob, Customer: "cus_hold"})
	w.ob.DecideAll(t.Context())
	for _, email := range []string{jane, bob} {
		must(w.ledger.Revoke(t.Context(), "a test", w.invitation(email).ID))(t)
	}
	w.run()
	w.until("the job of the queued one is done", func() bool { return w.jobs("invite")[0].FinalizedAt != nil })
	w.equal("jobs to take away", len(w.jobs("revoke")), 0)
	w.equal("requests", w.retool.TotalRequests(), 0)
	w.equal("reason", w.invitation(jane).Reason, "taken back by hand")
}

// A wrong token stops all, a revocation too; once it is mended, what was asked for is done.
func TestRevokeWhileSendingIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	inv := w.invited(paid("evt_1"))
	w.retool.SetToken("retool_another0123456789")
	must(w.ledger.Revoke(t.Context(), "a test", inv.ID))(t)
	w.run()
	w.until("sending is stopped", func() bool { return w.summary().Pace.StoppedReason != "" })
	w.until("it says so", func() bool {
		return strings.HasPrefix(w.invitation(jane).Reason, "taken back by hand; Retool is not told yet, since sending is stopped: Invalid API token")
	})
	w.equal("tries", w.invitation(jane).Tries, 0)
	w.retool.SetToken(token)
	w.until("it is deleted", func() bool {
		if err := w.ledger.ProbeNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		return w.retool.Invites()[0].Deleted
	})
	w.until("that is recorded", func() bool {
		return w.invitation(jane).Reason == "taken back by hand; Retool's invite is deleted"
	})
	w.equal("stopped", w.summary().Pace.StoppedReason, "")
}

func TestCorrectedInvitationTakesTheOldOneAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	inv := w.invited(paid("evt_1"))
	v := ledger.Verdict{Event: access.Event{Source: "stripe", ID: "evt_correct", Email: bob},
		Decision: access.Decision{Outcome: access.Invite, Reason: access.ReasonExternal, Rule: -1, Address: must(access.ParseAddress(bob))(t)}}
	if _, _, err := w.ledger.Correct(t.Context(), "a test", inv.ID, v); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.reaches(bob, ledger.Sent)
	w.until("the old one is deleted", func() bool {
		return w.invitation(jane).Reason == "the address was corrected: see invitation 2; Retool's invite is deleted"
	})
	w.equal("the old invite", w.retool.Invites()[0].Deleted, true)
	w.deliver(paid("evt_2"))
	w.equal("a later event of the old address", w.decided("evt_2", 1).InvitationID, w.invitation(bob).ID)
}

// A fault of ours leaves what a person must know.
func TestPoisonRevokeJobIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	inv := w.invited(paid("evt_1"))
	must(w.ledger.Revoke(t.Context(), "a test", inv.ID))(t)
	w.tamper(`update invitations set groups = 'no JSON'`, `update river_job set attempt = max_attempts - 1 where kind = 'revoke'`)
	w.run()
	w.until("its job is given up", func() bool { return w.jobs("revoke")[0].FinalizedAt != nil })
	w.tamper(`update invitations set groups = '[]'`)
	inv = w.invitation(jane)
	w.equal("state", inv.State, ledger.Revoked)
	if !strings.HasPrefix(inv.Reason, "taken back here, but Retool still has the invite: given up after 10 faults in Usher itself") {
		t.Errorf("the reason is %q", inv.Reason)
	}
}
