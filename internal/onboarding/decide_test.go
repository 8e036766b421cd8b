package onboarding_test

import (
	"net/http"
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

// What the page sends to try a source is decided and told, and nobody is invited, nor anything put to work.
func TestTestEvents(t *testing.T) {
	policy := access.PolicyConfig{Internal: []string{"acme.com"}, Rules: []access.Rule{{When: `event.customer == "cus_hold"`, Outcome: access.Hold}}}
	tests := []struct {
		name  string
		event webhooktest.StripeEvent
		want  string // of the sentence
	}{
		{name: "that would invite", event: paid("evt_1"),
			want: "A test from Usher's page: it would have been decided invite: customer.example is an outside domain, and no access rule says otherwise: this person is invited."},
		{name: "that would be held", event: webhooktest.StripeEvent{ID: "evt_1", Email: jane, Customer: "cus_hold"},
			want: "A test from Usher's page: it would have been decided hold: Access rule 1 applies: a person must approve before the invitation is sent."},
		{name: "that would be skipped", event: webhooktest.StripeEvent{ID: "evt_1", Email: "boss@acme.com"},
			want: "A test from Usher's page: it would have been decided skip: acme.com is your own domain: this person would become an internal seat, not an external user."},
		{name: "whose address would be looked up", event: webhooktest.StripeEvent{ID: "evt_1", Type: "customer.subscription.created", Customer: "cus_1"},
			want: "A test from Usher's page: its sender would have been asked for the customer's address, and then the rules."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{policy: policy, stripe: webhook.StripeConfig{SubscriptionCreated: true}, stripes: http.NotFoundHandler()})
			w.try(tt.event)
			w.ob.DecideAll(t.Context())
			d := w.decided("test:1:evt_1", 1)
			w.equal("outcome", d.Outcome, access.Skip)
			w.equal("reason", d.Reason, webhook.ReasonTestEvent)
			w.equal("sentence", d.Sentence, tt.want)
			w.equal("invitations", len(must(w.ledger.Invitations(t.Context(), ledger.Filter{}))(t)), 0)
			w.equal("jobs", len(w.jobs("invite"))+len(w.jobs("look_up")), 0)
			w.equal("warned", w.logged("an event invites nobody"), 0)
		})
	}

	t.Run("is no resend of an event that came", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.deliver(paid("evt_1"))
		w.ob.DecideAll(t.Context())
		inv := w.invitation(jane)
		if _, err := w.ledger.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Failed, Attempt: ledger.Attempt{Kind: "invite", Outcome: "never"}}); err != nil {
			t.Fatal(err)
		}
		w.try(paid("evt_1"))
		w.ob.DecideAll(t.Context())
		w.equal("state", w.invitation(jane).State, ledger.Failed)
		w.equal("resends", w.event("evt_1").Resends, 0)
		w.equal("reason", w.decided("test:2:evt_1", 1).Reason, webhook.ReasonTestEvent)
		w.deliver(paid("evt_1")) // the same bytes as the test, and as the first
		w.ob.DecideAll(t.Context())
		w.equal("state after a resend", w.invitation(jane).State, ledger.Queued)
	})

	t.Run("is not what a customer later sends", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.try(paid("evt_1"))
		w.ob.DecideAll(t.Context())
		w.deliver(paid("evt_1"))
		w.ob.DecideAll(t.Context())
		w.equal("outcome", w.decided("evt_1", 1).Outcome, access.Invite)
	})

	t.Run("that says a person came in accepts nobody", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.deliver(paid("evt_1"))
		w.ob.DecideAll(t.Context())
		row := webhook.Row{Verify: webhook.Verify{Kind: "hmac", Header: "X-Sig", Signed: "{body}"}, Accepted: "true", Email: []string{"body.email"}, EventID: "body.id"}
		retool := must(webhook.New(webhook.Config{Name: "retool", Secrets: []string{secret}, Row: row}))(t)
		w.ob.Sources["retool"] = retool
		v := retool.Unsigned(time.Now(), webhook.Request{Header: http.Header{}, Body: []byte(`{"id":"in","email":"` + jane + `"}`)}).AsTest()
		must(w.ledger.Accept(t.Context(), ledger.Delivery{Source: "retool", ReceivedAt: time.Now(), Request: v.Request(), Body: v.Body()}))(t)
		w.ob.DecideAll(t.Context())
		w.equal("sentence", w.decided("test:2:in", 1).Sentence, "A test from Usher's page: it would have said that this person came in.")
		w.equal("state", w.invitation(jane).State, ledger.Queued)
	})
}

// try is deliver by the page that tries a source.
func (w *world) try(e webhooktest.StripeEvent) {
	w.Helper()
	body, now := e.JSON(), time.Now()
	v := must(w.source.Verify(now, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, secret, now), Body: body}))(w.T).AsTest()
	must(w.ledger.Accept(w.Context(), ledger.Delivery{Source: v.Source(), ReceivedAt: v.ReceivedAt(), VerifiedBy: v.By(), Request: v.Request(), Body: v.Body()}))(w.T)
}
