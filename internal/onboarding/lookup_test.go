package onboarding_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// An answer is one of Stripe's, to the question for a customer.
type answer struct {
	status int
	body   string
}

var (
	found        = answer{200, `{"id": "cus_1", "object": "customer", "email": "` + jane + `", "name": "Jane Doe", "address": {"country": "GB"}}`}
	withoutEmail = answer{200, `{"id": "cus_1", "object": "customer", "email": null}`}
	deleted      = answer{200, `{"id": "cus_1", "object": "customer", "deleted": true}`}
	unknown      = answer{404, `{"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such customer: cus_1"}}`}
	broken       = answer{500, `{"error": {"type": "api_error", "message": "something about ` + jane + `"}}`}
	refusedKey   = answer{401, `{"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: ` + stripeKey + `"}}`}
)

// stripe answers in turn, the last answer for ever.
type stripe struct {
	t       *testing.T
	answers []answer
	asked   atomic.Int64
}

func (s *stripe) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	n := int(s.asked.Add(1)) - 1
	if r.URL.Path != "/v1/customers/cus_1" || r.Method != http.MethodGet {
		s.t.Errorf("Stripe was asked for %s %s", r.Method, r.URL.Path)
	}
	if r.Header.Get("Authorization") != "Bearer "+stripeKey {
		s.t.Error("Stripe was asked with another key")
	}
	a := s.answers[min(n, len(s.answers)-1)]
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(a.status)
	_, _ = rw.Write([]byte(a.body))
}

func (w *world) lookUps(event string) string {
	w.Helper()
	var words []string
	for _, a := range must(w.ledger.LookUps(w.Context(), w.event(event).ID))(w.T) {
		words = append(words, a.Outcome)
	}
	return strings.Join(words, ", ")
}

func TestLookUp(t *testing.T) {
	subscribed := webhooktest.StripeEvent{ID: "evt_1", Type: "customer.subscription.created", Customer: "cus_1"}
	trial := webhooktest.StripeEvent{ID: "evt_1", Customer: "cus_1", PaymentStatus: "no_payment_required"}
	tests := []struct {
		name     string
		event    webhooktest.StripeEvent
		answers  []answer
		policy   access.PolicyConfig
		outcome  access.Outcome
		reason   access.Reason
		attempts string
		says     string // in the message of the last attempt or the decision's sentence
	}{
		{name: "finds the address", event: subscribed, answers: []answer{found}, outcome: access.Invite, reason: access.ReasonExternal, attempts: "found"},
		{name: "finds an address of our own", event: subscribed, answers: []answer{found}, policy: access.PolicyConfig{Internal: []string{"customer.example"}},
			outcome: access.Skip, reason: access.ReasonInternal, attempts: "found"},
		{name: "finds a customer without one", event: subscribed, answers: []answer{withoutEmail}, outcome: access.Skip, reason: access.ReasonNoAddress, attempts: "found"},
		{name: "finds a customer that was deleted", event: subscribed, answers: []answer{deleted}, outcome: access.Skip, reason: access.ReasonNoAddress, attempts: "found"},
		{name: "finds no such customer", event: subscribed, answers: []answer{unknown}, outcome: access.Skip, reason: access.ReasonNoAddress, attempts: "found"},
		{name: "asks again after a passing fault", event: subscribed, answers: []answer{broken, broken, found}, outcome: access.Invite, reason: access.ReasonExternal, attempts: "later, later, found"},
		{name: "waits for a key that works", event: subscribed, answers: []answer{refusedKey, refusedKey, found}, outcome: access.Invite, reason: access.ReasonExternal, attempts: "later, later, found"},
		{name: "gives up after the last try", event: subscribed, answers: []answer{refusedKey}, outcome: access.Skip, reason: onboarding.ReasonLookUpFailed,
			attempts: "later, later, later, never", says: "given up after 4 tries; the last answer: Stripe refused the key with 401"},
		{name: "forgets no hold that the sender's own words ask for", event: trial, answers: []answer{found}, outcome: access.Hold, reason: webhook.ReasonNoPaymentRequired, attempts: "found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := &stripe{t: t, answers: tt.answers}
			w := newWorld(t, setting{policy: tt.policy, stripes: api, options: onboarding.Options{MaxTries: 4},
				stripe: webhook.StripeConfig{SubscriptionCreated: true, NoPaymentRequired: access.Hold}})
			w.run()
			w.deliver(tt.event)
			d := w.decided("evt_1", 1)
			w.equal("outcome", d.Outcome, tt.outcome)
			w.equal("reason", d.Reason, tt.reason)
			w.equal("look-ups", w.lookUps("evt_1"), tt.attempts)
			w.equal("questions", api.asked.Load(), len(strings.Split(tt.attempts, ",")))
			if !strings.Contains(d.Sentence, tt.says) {
				t.Errorf("the sentence %q does not say %q", d.Sentence, tt.says)
			}
			for _, a := range must(w.ledger.LookUps(t.Context(), w.event("evt_1").ID))(t) {
				w.equal("transport", a.Transport, "stripe")
				for _, canary := range []string{jane, stripeKey} {
					if strings.Contains(a.Message, canary) {
						t.Errorf("the attempt's message %q holds %q", a.Message, canary)
					}
				}
			}
			switch tt.outcome {
			case access.Invite:
				w.reaches(jane, ledger.Sent)
				w.equal("country", w.event("evt_1").Details.Country, "GB")
				w.equal("where the address came from", w.event("evt_1").Details.EmailFrom, "looked up at Stripe")
				w.equal("invites ever made", w.retool.Count(jane), 1)
			default:
				w.equal("invites ever made", w.retool.Count(jane), 0)
			}
		})
	}
}

func TestLookUpWaitsVisibly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{stripes: &stripe{t: t, answers: []answer{refusedKey}}, stripe: webhook.StripeConfig{SubscriptionCreated: true}})
	w.run()
	w.deliver(webhooktest.StripeEvent{ID: "evt_1", Type: "customer.subscription.created", Customer: "cus_1"})
	w.until("two questions are recorded", func() bool { return strings.HasPrefix(w.lookUps("evt_1"), "later, later") })
	w.equal("looking up", w.summary().LookingUp, 1)
	w.equal("decisions", len(w.event("evt_1").Decisions), 0)
	w.equal("requests to Retool", w.retool.TotalRequests(), 0)
}

func TestReplayAsksStripeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{stripes: &stripe{t: t, answers: []answer{broken, broken, broken, found}}, options: onboarding.Options{MaxTries: 2},
		stripe: webhook.StripeConfig{SubscriptionCreated: true}})
	w.run()
	delivery := w.deliver(webhooktest.StripeEvent{ID: "evt_1", Type: "customer.subscription.created", Customer: "cus_1"})
	w.equal("first decision", w.decided("evt_1", 1).Reason, onboarding.ReasonLookUpFailed)
	if err := w.ledger.Replay(t.Context(), "a test", delivery); err != nil {
		t.Fatal(err)
	}
	w.equal("second decision", w.decided("evt_1", 2).Outcome, access.Invite)
	w.equal("look-ups", w.lookUps("evt_1"), "later, never, later, found")
	w.reaches(jane, ledger.Sent)
}
