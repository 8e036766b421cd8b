package onboarding_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// What becomes of one paid event, by what Retool answers.
func TestInvite(t *testing.T) {
	tests := []struct {
		name       string
		faults     []retooltest.Fault
		retool     retooltest.Options
		client     retoolclient.Options
		maxTries   int
		want       ledger.State
		attempts   []string
		invites    int // that Retool ever made
		tries      int
		reasonHas  string
		wantUnsure bool
	}{
		{
			name: "all goes well", want: ledger.Sent, attempts: []string{"invite sent 200"}, invites: 1, tries: 1,
		},
		{
			name: "an internal error may have come after the work, so it looks first", faults: []retooltest.Fault{{Kind: "500"}},
			want: ledger.Sent, attempts: []string{"invite later 500", "look not found 200", "invite sent 200"}, invites: 1, tries: 2,
		},
		{
			name: "a connection cut before the work", faults: []retooltest.Fault{{Kind: "reset"}},
			want: ledger.Sent, attempts: []string{"invite later 0", "look not found 200", "invite sent 200"}, invites: 1, tries: 2,
		},
		{
			name: "a connection cut after the work", faults: []retooltest.Fault{{Kind: "reset-after-work"}},
			want: ledger.Sent, attempts: []string{"invite later 0", "look found 200"}, invites: 1, tries: 2,
		},
		{
			name: "a time-out after the work", faults: []retooltest.Fault{{Kind: "timeout-after-work"}}, client: retoolclient.Options{Timeout: 300 * time.Millisecond},
			want: ledger.Sent, attempts: []string{"invite later 0", "look found 200"}, invites: 1, tries: 2,
		},
		{
			name: "a look that fails is made again before anything is sent", faults: []retooltest.Fault{{Kind: "reset-after-work"}, {Kind: "500", On: "list", Times: 2}},
			want: ledger.Sent, attempts: []string{"invite later 0", "look later 500", "look later 500", "look found 200"}, invites: 1, tries: 4,
		},
		{
			name: "a token that may not look sends again, and Retool knows the address", faults: []retooltest.Fault{{Kind: "reset-after-work"}},
			retool: retooltest.Options{Scopes: []string{"users:write"}},
			want:   ledger.Sent, attempts: []string{"invite later 0", "look cannot look 403", "invite present 409"}, invites: 1, tries: 2,
			reasonHas: "knows this address",
		},
		{
			name: "a group that does not exist", faults: []retooltest.Fault{{Kind: "status", Status: 422, Message: "Group 9 does not exist"}},
			want: ledger.Failed, attempts: []string{"invite never 422"}, tries: 1, reasonHas: "Group 9 does not exist",
		},
		{
			name: "an address of another organisation", retool: retooltest.Options{OtherOrg: []string{jane}},
			want: ledger.Failed, attempts: []string{"invite never 422"}, tries: 1, reasonHas: "another organi",
		},
		{
			name: "a member already", retool: retooltest.Options{Members: []string{jane}},
			want: ledger.Sent, attempts: []string{"invite present 409"}, tries: 1, reasonHas: "already a member",
		},
		{
			name: "the last try", faults: []retooltest.Fault{{Kind: "500", Times: -1}}, maxTries: 3,
			want: ledger.Failed, attempts: []string{"invite later 500", "look not found 200", "invite later 500", "look not found 200", "invite later 500", "look not found 200"}, tries: 3,
			reasonHas: "given up after 3 tries; no invite is at Retool; the last answer: Internal server error",
		},
		{
			name: "a plan without the documented API", retool: retooltest.Options{Plan: retooltest.BulkOnly},
			want: ledger.Sent, attempts: []string{"invite sent 200"}, invites: 1, tries: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{retool: tt.retool, client: tt.client, options: onboarding.Options{MaxTries: tt.maxTries}})
			w.retool.Inject(tt.faults...)
			w.run()
			w.deliver(paid("evt_1"))
			inv := w.reaches(jane, tt.want)
			w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), strings.Join(tt.attempts, ", "))
			w.equal("invites ever made", w.retool.Count(jane), tt.invites)
			w.equal("tries", inv.Tries, tt.tries)
			w.equal("unsure", inv.Unsure, tt.wantUnsure)
			w.equal("sending", inv.SendingSince.IsZero(), true)
			w.equal("next try", inv.NextTryAt.IsZero(), true)
			w.equal("stopped", w.summary().Pace.StoppedReason, "")
			if !strings.Contains(inv.Reason, tt.reasonHas) {
				t.Errorf("the reason %q does not say %q", inv.Reason, tt.reasonHas)
			}
			if tt.invites == 1 && tt.retool.Scopes == nil {
				w.equal("Retool's id", inv.RetoolID, 1)
				w.equal("it expires", inv.ExpiresAt.After(time.Now()), true)
			}
		})
	}
}

func TestManyEventsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.run()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { w.deliver(paid("evt_1")) })
		all.Go(func() { w.deliver(paid("evt_" + string(rune('a'+i)))) })
	}
	all.Wait()
	w.until("all are decided", func() bool { return w.summary().Undecided == 0 })
	w.reaches(jane, ledger.Sent)
	w.equal("resends", w.event("evt_1").Resends, 19)
	w.equal("invites ever made", w.retool.Count(jane), 1)
	w.equal("requests", w.retool.TotalRequests(), 1)
}

func TestInviteCarriesGroupsAndAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{policy: access.PolicyConfig{Rules: []access.Rule{
		{When: `event.metadata.plan == "pro"`, Groups: []int64{7}, Attributes: map[string]string{"customer": "event.customer"}}}}})
	w.run()
	w.deliver(paid("evt_1"))
	inv := w.reaches(jane, ledger.Sent)
	made := w.retool.Invites()[0]
	w.equal("address", made.InvitedEmail, jane)
	w.equal("type", made.UserType, "external")
	w.equal("group", made.Groups[0].ID, 7)
	w.equal("attribute", made.Metadata["customer"], "cus_1")

	t.Run("and learns of what a later event adds", func(t *testing.T) {
		e := paid("evt_2")
		e.Customer = "cus_2"
		w.deliver(e)
		w.until("Retool was told", func() bool { return w.retool.Invites()[0].Metadata["customer"] == "cus_2" })
		w.until("that is recorded", func() bool { return len(w.invitation(jane).LateAttributes()) == 0 })
		w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite sent 200, attributes sent 200")
		w.equal("invites ever made", w.retool.Count(jane), 1)
		w.equal("state", w.invitation(jane).State, ledger.Sent)
	})
}

func TestAttributes(t *testing.T) {
	policy := access.PolicyConfig{Rules: []access.Rule{{Attributes: map[string]string{"customer": "event.customer"}}}}
	tests := []struct {
		name     string
		fault    retooltest.Fault
		scopes   []string
		attempts []string // after the invite
		late     int
		state    string // of the job
		logged   string
	}{
		{name: "are told again after a passing fault", fault: retooltest.Fault{Kind: "500", On: "any", Times: 2},
			attempts: []string{"attributes later 500", "attributes later 500", "attributes sent 200"}},
		{name: "are given up after the last try", fault: retooltest.Fault{Kind: "500", On: "any", Times: -1, Message: "no luck for " + jane}, late: 1, logged: "an attribute is given up",
			attempts: []string{"attributes later 500", "attributes later 500", "attributes later 500"}},
		{name: "stay untold when Retool will never take them", fault: retooltest.Fault{Kind: "status", Status: 422, On: "any"}, late: 1,
			attempts: []string{"attributes never 422"}},
		{name: "stop no invitation when the token may not set them", fault: retooltest.Fault{Kind: "scope", On: "any", Message: jane + " lacks the required scope"}, late: 1,
			attempts: []string{"attributes stop 403"}, logged: "does not let us set attributes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{policy: policy, options: onboarding.Options{MaxTries: 3}})
			w.run()
			w.deliver(paid("evt_1"))
			inv := w.reaches(jane, ledger.Sent)
			w.retool.Inject(tt.fault)
			e := paid("evt_2")
			e.Customer = "cus_2"
			w.deliver(e)
			want := append([]string{"invite sent 200"}, tt.attempts...)
			w.until("all attempts are made", func() bool { return len(w.attempts(inv.ID)) >= len(want) })
			if tt.logged != "" {
				w.until("it is logged", func() bool { return w.logged(tt.logged) == 1 })
			}
			w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), strings.Join(want, ", "))
			w.equal("late attributes", len(w.invitation(jane).LateAttributes()), tt.late)
			w.equal("stopped", w.summary().Pace.StoppedReason, "")
		})
	}
}

func TestRateLimitBurnsNoTries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{client: retoolclient.Options{Retries: -1}, options: onboarding.Options{MaxTries: 2}})
	w.retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "1", Times: 3})
	w.run()
	begun := time.Now()
	w.deliver(paid("evt_1"))
	w.until("Retool has asked to slow down", func() bool { return w.invitation(jane).Reason == "Retool asked us to slow down" })
	if wait := time.Until(w.summary().Pace.NotBefore); wait > time.Second {
		t.Errorf("everyone waits %s, Retool asked for a second", wait)
	}
	inv := w.reaches(jane, ledger.Sent)
	if took := time.Since(begun); took < 3*time.Second {
		t.Errorf("sent after %s although Retool asked three times for a second", took)
	}
	w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite rate limited 429, invite rate limited 429, invite rate limited 429, invite sent 200")
	w.equal("tries", inv.Tries, 1)
	w.equal("invites ever made", w.retool.Count(jane), 1)
}

func TestRateLimitThatIsLongMakesEveryoneWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "600"})
	w.run()
	w.deliver(paid("evt_1"))
	w.until("the pace waits", func() bool { return time.Until(w.summary().Pace.NotBefore) > 9*time.Minute })
	other := paid("evt_2")
	other.Email = "other@customer.example"
	w.deliver(other)
	w.decided("evt_2", 1)
	time.Sleep(300 * time.Millisecond) // more than a poll of River: time enough to do the wrong thing
	w.equal("requests", w.retool.TotalRequests(), 1)
	w.equal("the other", w.invitation("other@customer.example").State, ledger.Queued)
	w.equal("tries", w.invitation(jane).Tries, 0)
}

func TestStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.retool.SetToken("retool_another0123456789")
	w.run()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		e := paid("evt_" + name)
		e.Email = name + "b@customer.example"
		w.deliver(e)
	}
	w.until("sending is stopped", func() bool { return w.summary().Pace.StoppedReason != "" })
	w.until("all are decided", func() bool { return w.summary().Invitations[ledger.Queued] == 5 })
	time.Sleep(300 * time.Millisecond)
	s := w.summary()
	if !strings.Contains(s.Pace.StoppedReason, "token") {
		t.Errorf("the reason %q does not speak of the token", s.Pace.StoppedReason)
	}
	w.equal("queued", s.Invitations[ledger.Queued], 5)
	w.equal("logged", w.logged("sending is stopped; every invitation is kept"), 1)
	if n := w.retool.TotalRequests(); n > 5 {
		t.Errorf("%d requests with a token that is refused", n)
	}

	w.retool.SetToken(token)
	if _, err := w.ledger.Retry(t.Context(), "a test", w.invitation("ab@customer.example").ID); err != nil {
		t.Fatal(err)
	}
	inv := w.reaches("ab@customer.example", ledger.Sent)
	w.equal("invites ever made", w.retool.Count("ab@customer.example"), 1)
	w.equal("tries", inv.Tries, 1)
	w.equal("stopped", w.summary().Pace.StoppedReason, "")
	w.equal("logged", w.logged("sending is stopped; every invitation is kept"), 1)
}

// Retool's words about a refusal may name the customer; the log must not.
func TestStopDoesNotLogTheAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.retool.Inject(retooltest.Fault{Kind: "scope", Message: "This API token lacks the required scope to invite " + jane})
	w.run()
	w.deliver(paid("evt_1"))
	w.until("it is logged", func() bool { return w.logged("sending is stopped") == 1 })
	w.equal("masked address in the reason", w.logged("to invite j…@customer.example"), 1)
}

// A success without an invite in it is no clear answer: the work may have been done. It stops everything, and
// then it looks.
func TestUnclearSuccessLooksBeforeSendingAgain(t *testing.T) {
	t.Parallel()
	var garbled atomic.Bool
	w := newWorld(t, setting{front: func(retool http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || garbled.Swap(true) {
				retool.ServeHTTP(rw, r)
				return
			}
			retool.ServeHTTP(httptest.NewRecorder(), r)
			_, _ = rw.Write([]byte(`{"success": true}`))
		})
	}})
	w.run()
	w.deliver(paid("evt_1"))
	w.until("sending is stopped", func() bool { return w.summary().Pace.StoppedReason != "" })
	inv := w.invitation(jane)
	w.equal("state", inv.State, ledger.Queued)
	w.equal("unsure", inv.Unsure, true)
	if _, err := w.ledger.Retry(t.Context(), "a test", inv.ID); err != nil {
		t.Fatal(err)
	}
	w.reaches(jane, ledger.Sent)
	w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite stop 200, look found 200")
	w.equal("invites ever made", w.retool.Count(jane), 1)
}

func TestShutdown(t *testing.T) {
	t.Run("finishes the invite in hand", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.retool.Inject(retooltest.Fault{Kind: "slow", Delay: 1500 * time.Millisecond})
		stop := w.run()
		w.deliver(paid("evt_1"))
		w.until("it is being sent", func() bool { return !w.invitation(jane).SendingSince.IsZero() })
		if took := stop(); took > 8*time.Second {
			t.Errorf("stopping took %s", took)
		}
		inv := w.invitation(jane)
		w.equal("state", inv.State, ledger.Sent)
		w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite sent 200")
		w.equal("invites ever made", w.retool.Count(jane), 1)
	})

	t.Run("releases an invite that does not end, and records that", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.retool.Inject(retooltest.Fault{Kind: "timeout-after-work"})
		stop := w.run()
		w.deliver(paid("evt_1"))
		w.until("it is being sent", func() bool { return !w.invitation(jane).SendingSince.IsZero() })
		if took := stop(); took > 8*time.Second {
			t.Errorf("stopping took %s", took)
		}
		inv := w.invitation(jane)
		w.equal("state", inv.State, ledger.Queued)
		w.equal("unsure", inv.Unsure, true)
		w.equal("sending", inv.SendingSince.IsZero(), true)
		w.equal("attempts", strings.Join(w.attempts(inv.ID), ", "), "invite later 0")
	})

	t.Run("is at once while it waits for the pace", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{options: onboarding.Options{RequestsPerMinute: 6}}) // a slot each 10 s: waited for in place
		stop := w.run()
		for _, name := range []string{"a", "b", "c"} {
			e := paid("evt_" + name)
			e.Email = name + "b@customer.example"
			w.deliver(e)
		}
		w.until("one is sent", func() bool { return w.summary().Invitations[ledger.Sent] == 1 })
		w.until("the others are queued", func() bool { return w.summary().Invitations[ledger.Queued] == 2 })
		time.Sleep(300 * time.Millisecond) // until they wait in their workers
		if took := stop(); took > 2*time.Second {
			t.Errorf("stopping took %s", took)
		}
		w.equal("requests", w.retool.TotalRequests(), 1)
	})
}

// One address that Retool always refuses with a 403 stops everybody once; after another's call worked it
// only counts against itself.
func TestOneRefusedAddressStopsNobodyElseForGood(t *testing.T) {
	t.Parallel()
	refuseMallory := func(retool http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || strings.Contains(string(body), "mallory") {
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(rw, `{"success":false,"message":"Sign-ups are not permitted"}`)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			retool.ServeHTTP(rw, r)
		})
	}
	w := newWorld(t, setting{front: refuseMallory, options: onboarding.Options{MaxTries: 2}})
	w.run()
	w.deliver(webhooktest.StripeEvent{ID: "evt_m", Email: "mallory@evil.example"})
	w.until("sending is stopped", func() bool { return w.summary().Pace.StoppedReason != "" })
	w.deliver(paid("evt_1"))
	w.decided("evt_1", 1)
	w.until("a retry by hand lets the other through", func() bool {
		_, _ = w.ledger.Retry(t.Context(), "a test", w.invitation(jane).ID) // a conflict once it is sent
		time.Sleep(300 * time.Millisecond)
		return w.invitation(jane).State == ledger.Sent
	})
	inv := w.reaches("mallory@evil.example", ledger.Failed)
	w.equal("tries", inv.Tries, 2)
	w.equal("stopped", w.summary().Pace.StoppedReason, "")
}
