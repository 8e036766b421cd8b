package onboarding_test

import (
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

func TestDecisions(t *testing.T) {
	policy := access.PolicyConfig{Internal: []string{"acme.com"}, Deny: []string{"spam.example"},
		Rules: []access.Rule{{When: `event.customer == "cus_hold"`, Outcome: access.Hold}}}
	tests := []struct {
		name    string
		event   webhooktest.StripeEvent
		outcome access.Outcome
		reason  access.Reason
		address string // of the decision
	}{
		{name: "a paying customer", event: paid(""), outcome: access.Invite, reason: access.ReasonExternal, address: jane},
		{name: "an address on our own domain", event: webhooktest.StripeEvent{Email: "boss@acme.com"}, outcome: access.Skip, reason: access.ReasonInternal, address: "boss@acme.com"},
		{name: "a denied domain", event: webhooktest.StripeEvent{Email: "x@spam.example"}, outcome: access.Skip, reason: access.ReasonDenied, address: "x@spam.example"},
		{name: "what a rule holds", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_hold"}, outcome: access.Hold, reason: access.ReasonRule, address: jane},
		{name: "no address", event: webhooktest.StripeEvent{}, outcome: access.Skip, reason: access.ReasonNoAddress},
		{name: "an address that is none", event: webhooktest.StripeEvent{Email: "jane.doe@@customer"}, outcome: access.Skip, reason: access.ReasonMalformed},
		{name: "not paid yet", event: webhooktest.StripeEvent{Email: jane, PaymentStatus: "unpaid"}, outcome: access.Skip, reason: webhook.ReasonAwaitingPayment, address: jane},
		{name: "a trial, which is to be held", event: webhooktest.StripeEvent{Email: jane, PaymentStatus: "no_payment_required"}, outcome: access.Hold, reason: webhook.ReasonNoPaymentRequired, address: jane},
		{name: "a trial on our own domain is skipped all the same", event: webhooktest.StripeEvent{Email: "boss@acme.com", PaymentStatus: "no_payment_required"}, outcome: access.Skip, reason: access.ReasonInternal, address: "boss@acme.com"},
		{name: "a type that says nothing", event: webhooktest.StripeEvent{Email: jane, Type: "charge.refunded"}, outcome: access.Skip, reason: webhook.ReasonTypeNotHandled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{policy: policy, stripe: webhook.StripeConfig{NoPaymentRequired: access.Hold}})
			w.run()
			tt.event.ID = "evt_1"
			w.deliver(tt.event)
			d := w.decided("evt_1", 1)
			w.equal("outcome", d.Outcome, tt.outcome)
			w.equal("reason", d.Reason, tt.reason)
			w.equal("address", d.Email, tt.address)
			w.equal("there is an invitation", d.InvitationID != 0, tt.outcome != access.Skip)
			w.equal("there is a sentence", d.Sentence != "", true)
			if strings.Contains(d.Sentence, tt.event.Email) && tt.event.Email != "" {
				t.Errorf("the sentence %q names the whole address", d.Sentence)
			}
			if tt.outcome != access.Invite {
				time.Sleep(250 * time.Millisecond) // more than a poll of River
				w.equal("requests", w.retool.TotalRequests(), 0)
			}
		})
	}
}

func TestBodyThatIsNoEventIsDecidedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.run()
	w.deliverRaw([]byte("\xff\x00 not JSON"))
	w.until("it is decided", func() bool { return w.summary().Undecided == 0 })
	w.equal("set aside", w.summary().SetAside, 0)
}

func TestPoisonDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	poison := must(w.ledger.Accept(t.Context(), ledger.Delivery{Source: "removed", ReceivedAt: time.Now(), Request: "{}", Body: []byte(jane)}))(t)
	w.deliver(paid("evt_1"))
	w.run()
	w.reaches(jane, ledger.Sent)
	w.until("the poison is set aside", func() bool { return w.summary().SetAside == 1 })
	w.equal("undecided", w.summary().Undecided, 0)
	w.equal("logged", w.logged("a delivery could not be decided"), 3)
	w.equal("says what to do", strings.Contains(w.logs.String(), "configure it and replay the delivery"), true)
	if err := w.ledger.Replay(t.Context(), "a test", poison); err != nil {
		t.Fatal(err)
	}
	w.until("it is set aside again", func() bool { return w.logged("a delivery could not be decided") == 6 && w.summary().SetAside == 1 })
}

func TestReplayUnderTheSameRulesSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.run()
	delivery := w.deliver(paid("evt_1"))
	w.reaches(jane, ledger.Sent)
	if err := w.ledger.Replay(t.Context(), "a test", delivery); err != nil {
		t.Fatal(err)
	}
	w.decided("evt_1", 2)
	time.Sleep(250 * time.Millisecond)
	w.equal("requests", w.retool.TotalRequests(), 1)
	w.equal("state", w.invitation(jane).State, ledger.Sent)
}
