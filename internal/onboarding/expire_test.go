package onboarding_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

func invitationOf(inv ledger.Invitation) retoolclient.Invitation {
	return retoolclient.Invitation{Email: inv.Email.Full(), GroupIDs: inv.Groups, Metadata: inv.Attributes}
}

// died lets the link of an invitation die some time ago, here and at Retool.
func (w *world) died(ago time.Duration) {
	w.Helper()
	w.tamper(fmt.Sprintf(`update invitations set expires_at = %d`, time.Now().Add(-ago).UnixMilli()))
	w.retool.Expire(jane)
}

// What becomes of a sent invitation whose link died, by what Retool has and answers.
func TestExpire(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		name     string
		ago      time.Duration
		prepare  func(*world)
		attempts string
		want     ledger.State
		reason   string
		waits    time.Duration // until it is asked again
		stopped  bool
		snoozed  bool
		expires  bool // later than was known
	}{
		{name: "nobody used it", ago: hour, attempts: "look found 200", want: ledger.Expired, reason: "its link died before anybody used it"},
		{name: "somebody did, and nobody told us", ago: hour, prepare: func(w *world) { w.revive(); w.retool.Claim(jane) },
			attempts: "look claimed 200", want: ledger.Accepted, reason: "accepted: Retool says the person came in"},
		{name: "its identity is not known, and somebody used it", ago: hour, prepare: func(w *world) { w.tamper(forgetID); w.revive(); w.retool.Claim(jane) },
			attempts: "look claimed 200", want: ledger.Accepted, reason: "accepted: Retool says the person came in"},
		{name: "it was deleted in Retool", ago: hour, prepare: func(w *world) { w.delete(1) },
			attempts: "look not found 404", want: ledger.Expired, reason: "Retool does not have the invite any more, and never said that the person came in"},
		{name: "Retool gave it more time", ago: hour, prepare: func(w *world) { w.revive() }, attempts: "look found 200", want: ledger.Sent, expires: true},
		{name: "the plan does not let Usher look", ago: hour, prepare: func(w *world) { w.retool.SetPlan(retooltest.BulkOnly) },
			attempts: "look cannot look 403", want: ledger.Expired, reason: "its link died, and Usher could not look whether anybody had used it: API access is only available for enterprise customers"},
		{name: "the token does not let Usher look", ago: hour, prepare: func(w *world) { w.retool.SetScopes("users:write") },
			attempts: "look cannot look 403", want: ledger.Expired, reason: "its link died, and Usher could not look whether anybody had used it: This API token lacks the required scope: users:read"},
		{name: "Retool has a fault", ago: hour, prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "get"}) },
			attempts: "look later 500", want: ledger.Sent, waits: 10 * time.Minute},
		{name: "Retool has a fault for a day", ago: 25 * hour, prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "500", On: "get"}) },
			attempts: "look later 500", want: ledger.Expired, reason: "its link died, and Usher could not look whether anybody had used it; the last answer: Internal server error"},
		{name: "Retool asks to slow down", ago: hour, prepare: func(w *world) { w.retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "1200", On: "get"}) },
			attempts: "look rate limited 429", want: ledger.Sent, waits: 20 * time.Minute},
		{name: "the token is wrong", ago: 25 * hour, prepare: func(w *world) { w.retool.SetToken("retool_another0123456789") },
			attempts: "look stop 401", want: ledger.Sent, waits: 10 * time.Minute, stopped: true, snoozed: true},
		{name: "its time has not come", ago: -time.Minute, want: ledger.Sent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			sent := w.invited(paid("evt_1"))
			w.died(tt.ago)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			begun := time.Now()
			err := w.ob.Expire(t.Context())
			var snoozed *river.JobSnoozeError
			if err != nil && !errors.As(err, &snoozed) || tt.snoozed != (err != nil) {
				t.Errorf("got the error %v", err)
			}
			inv := w.invitation(jane)
			w.equal("attempts", w.since(inv.ID, 1), tt.attempts)
			w.equal("state", inv.State, tt.want)
			if !strings.HasPrefix(inv.Reason, tt.reason) {
				t.Errorf("the reason is %q, wants %q", inv.Reason, tt.reason)
			}
			w.equal("sent at", inv.SentAt, sent.SentAt)
			w.equal("tries", inv.Tries, sent.Tries)
			w.equal("sending", inv.SendingSince.IsZero(), true)
			w.equal("stopped", w.summary().Pace.StoppedReason != "", tt.stopped)
			w.equal("expires later", inv.ExpiresAt.After(time.Now()), tt.expires || tt.ago < 0)
			w.equal("came in", inv.AcceptedAt.IsZero(), tt.want != ledger.Accepted)
			if tt.want == ledger.Accepted {
				w.equal("accepted at", inv.AcceptedAt.UnixMilli(), w.retool.Invites()[0].ClaimedAt.UnixMilli())
				w.equal("the invite's identity at Retool", inv.RetoolID, w.retool.Invites()[0].ID)
			}
			if tt.waits == 0 != inv.NextTryAt.IsZero() || tt.waits > 0 && inv.NextTryAt.Sub(begun).Round(time.Minute) != tt.waits {
				t.Errorf("it is asked again at %s", inv.NextTryAt)
			}
			requests := w.retool.TotalRequests()
			if tt.stopped {
				return
			}
			if err := w.ob.Expire(t.Context()); err != nil {
				t.Error(err)
			}
			w.equal("asked at once again", w.retool.TotalRequests()-requests, 0)
		})
	}
}

// revive gives an invite at Retool more time.
func (w *world) revive() { w.retool.Revive(jane, time.Hour) }

// While sending is stopped, a question about a dead link is no probe: what waits to be sent is.
func TestExpireLeavesTheProbeToSending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.invited(paid("evt_1"))
	w.died(time.Hour)
	must(w.ledger.ChangePace(t.Context(), ledger.PaceChange{Stop: "the token is refused"}))(t)
	if err := w.ledger.ProbeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	requests := w.retool.TotalRequests()
	begun := time.Now()
	var snoozed *river.JobSnoozeError
	if err := w.ob.Expire(t.Context()); !errors.As(err, &snoozed) || snoozed.Duration != 5*time.Minute {
		t.Errorf("got %v", err)
	}
	w.equal("requests", w.retool.TotalRequests(), requests)
	w.equal("handed its worker back in time", time.Since(begun) < 10*time.Second, true)
	w.deliver(webhooktest.StripeEvent{ID: "evt_2", Email: bob})
	w.run()
	w.reaches(bob, ledger.Sent) // by the start's probe
}

// The leader looks at its start, and has sent again what died, as often as is set.
func TestExpiredIsSentAgainByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{options: onboarding.Options{ResendExpired: 1}})
	inv := w.invited(paid("evt_1"))
	w.died(time.Hour)
	w.run()
	w.until("it is sent again", func() bool { return w.retool.Count(jane) == 2 && w.invitation(jane).State == ledger.Sent })
	w.equal("attempts", w.since(inv.ID, 1), "look found 200, look found 200, revoke deleted 204, invite sent 200")
	w.equal("sent again", w.invitation(jane).Resent, 1)
	w.died(time.Hour)
	w.until("the next time it is left to a person", func() bool {
		_ = w.ob.Expire(t.Context())
		return w.invitation(jane).State == ledger.Expired
	})
	w.equal("reason", w.invitation(jane).Reason, "its link died before anybody used it")
	w.equal("invites ever made", w.retool.Count(jane), 2)

	must(w.ledger.Retry(t.Context(), "a test", inv.ID))(t)
	w.until("by hand it is sent once more", func() bool { return w.retool.Count(jane) == 3 })
}

// Weeks in which some come in and nobody tells us, Retool is down for a day, and everybody is asked about once in the end.
func TestLinksDieForWeeks(t *testing.T) {
	skipUnderRace(t)
	const many, resends = 60, 1
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		v.ob.ResendExpired = resends
		v.customers(many, 10*time.Second)
		time.Sleep(time.Hour)
		v.equal("sent", v.summary().Invitations[ledger.Sent], many)
		for n := 1; n <= many; n += 3 {
			v.equal("claimed", v.retool.Claim(payer(n)), true)
		}
		watch := func(days int) {
			for end := time.Now().Add(time.Duration(days) * 24 * time.Hour); time.Now().Before(end); time.Sleep(15 * time.Minute) {
				_ = v.ob.Expire(v.ctx) // what it could not do now it does the next time
				v.work()
			}
		}
		watch(6)
		v.equal("requests while no link died", v.retool.TotalRequests(), many)
		v.begin(spell{down: true})
		watch(2)
		v.equal("expired while nobody could look, for less than a day", v.summary().Invitations[ledger.Expired], 0)
		v.end()
		watch(1)
		v.equal("accepted", v.summary().Invitations[ledger.Accepted], many/3)
		v.equal("sent again", v.summary().Invitations[ledger.Sent], many-many/3)
		for n := 2; n <= many; n += 3 {
			v.equal("claimed the second", v.retool.Claim(payer(n)), true)
		}
		watch(9)
		synctest.Wait()
		v.equal("accepted in the end", v.summary().Invitations[ledger.Accepted], 2*many/3)
		v.equal("expired in the end", v.summary().Invitations[ledger.Expired], many/3)
		for n := range many {
			v.equal("invites of one customer", v.retool.Count(payer(n+1)), map[bool]int{true: 1, false: 2}[n%3 == 0])
		}
		v.paced()
	})
}
