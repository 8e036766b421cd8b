package webhook_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// eventsOf signs a body as Stripe does, verifies it, and takes its events.
func eventsOf(t testing.TB, source *webhook.Source, body []byte) []webhook.Event {
	t.Helper()
	verified, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, secret, signedAt), Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return source.Events(verified)
}

// onlyEvent is eventsOf where there must be one.
func onlyEvent(t testing.TB, source *webhook.Source, body []byte) webhook.Event {
	t.Helper()
	events := eventsOf(t, source, body)
	if len(events) != 1 {
		t.Fatalf("%d events, wants 1", len(events))
	}
	return events[0]
}

func payload(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "stripe", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// payloads are the names of all files in testdata/stripe.
func payloads(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "stripe", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no payloads: %v", err)
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	return names
}

// Every payload under testdata/stripe is normalised to the file of its name under testdata/golden.
func TestStripeEventsGolden(t *testing.T) {
	source := newStripe(t, webhook.StripeConfig{LookUp: true, SubscriptionCreated: true})
	for _, name := range payloads(t) {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(onlyEvent(t, source, payload(t, name)), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", "golden", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("%s became\n%s\nwants (-update writes it anew)\n%s", name, got, want)
			}
		})
	}
}

func TestMalformedPayloads(t *testing.T) {
	source := newStripe(t, webhook.StripeConfig{LookUp: true})
	for _, name := range payloads(t) {
		if !strings.HasPrefix(name, "malformed_") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			body := payload(t, name)
			first, again := onlyEvent(t, source, body), onlyEvent(t, source, body)
			if first.ID == "" || first.ID != again.ID {
				t.Errorf("the same bytes are %q and %q", first.ID, again.ID)
			}
			if strings.HasPrefix(first.ID, "body:") && onlyEvent(t, source, append(body, ' ')).ID == first.ID {
				t.Errorf("other bytes have the same identity %s", first.ID)
			}
			p := first.Preliminary
			if p.Outcome != access.Skip || p.Reason != webhook.ReasonMalformed || first.LookUp {
				t.Errorf("%+v, look up %t; wants a skip as malformed", p, first.LookUp)
			}
			for _, absent := range []string{"ada@example.com", "@", "  ", "of the kind ."} {
				if strings.Contains(p.Sentence, absent) {
					t.Errorf("the sentence has %q: %s", absent, p.Sentence)
				}
			}
			if !strings.HasSuffix(p.Sentence, ".") || strings.HasSuffix(p.Sentence, "..") {
				t.Errorf("this is no sentence: %s", p.Sentence)
			}
		})
	}
}

func TestStripeSettings(t *testing.T) {
	tests := []struct {
		name    string
		config  webhook.StripeConfig
		payload string
		outcome access.Outcome // empty: left to the access rules
		reason  access.Reason
		lookUp  bool
	}{
		{name: "a live event where live mode is required", config: webhook.StripeConfig{RequireLivemode: true}, payload: "checkout_paid"},
		{name: "a test event where live mode is required", config: webhook.StripeConfig{RequireLivemode: true}, payload: "checkout_test_mode", outcome: access.Skip, reason: webhook.ReasonTestMode},
		{name: "a test event where it is not", payload: "checkout_test_mode"},
		{name: "no payment required, by default", payload: "checkout_no_payment_required"},
		{name: "no payment required, invite", config: webhook.StripeConfig{NoPaymentRequired: access.Invite}, payload: "checkout_no_payment_required"},
		{name: "no payment required, hold", config: webhook.StripeConfig{NoPaymentRequired: access.Hold}, payload: "checkout_no_payment_required", outcome: access.Hold, reason: webhook.ReasonNoPaymentRequired},
		{name: "no payment required, skip", config: webhook.StripeConfig{NoPaymentRequired: access.Skip}, payload: "checkout_no_payment_required", outcome: access.Skip, reason: webhook.ReasonNoPaymentRequired},
		{name: "an invoice over nothing, skip", config: webhook.StripeConfig{NoPaymentRequired: access.Skip}, payload: "invoice_paid_nothing", outcome: access.Skip, reason: webhook.ReasonNoPaymentRequired},
		{name: "the setting says nothing about what was paid", config: webhook.StripeConfig{NoPaymentRequired: access.Skip}, payload: "checkout_paid"},
		{name: "the setting says nothing about what is not yet paid", config: webhook.StripeConfig{NoPaymentRequired: access.Hold}, payload: "checkout_unpaid", outcome: access.Skip, reason: webhook.ReasonAwaitingPayment},
		{name: "a delayed payment failed", payload: "checkout_async_failed", outcome: access.Skip, reason: webhook.ReasonPaymentFailed},
		{name: "no address, and Stripe cannot be asked", payload: "checkout_without_address"},
		{name: "no address, and Stripe can be asked", config: webhook.StripeConfig{LookUp: true}, payload: "checkout_without_address", lookUp: true},
		{name: "an address, so that nobody is asked", config: webhook.StripeConfig{LookUp: true}, payload: "checkout_paid"},
		{name: "no address and held: asked all the same", config: webhook.StripeConfig{LookUp: true, NoPaymentRequired: access.Hold}, payload: "checkout_setup_mode_without_details", outcome: access.Hold, reason: webhook.ReasonNoPaymentRequired, lookUp: true},
		{name: "no address and skipped: nobody is asked", config: webhook.StripeConfig{LookUp: true, NoPaymentRequired: access.Skip}, payload: "checkout_setup_mode_without_details", outcome: access.Skip, reason: webhook.ReasonNoPaymentRequired},
		{name: "a subscription, not asked for", config: webhook.StripeConfig{LookUp: true}, payload: "subscription_created", outcome: access.Skip, reason: webhook.ReasonTypeNotHandled},
		{name: "a subscription, asked for", config: webhook.StripeConfig{LookUp: true, SubscriptionCreated: true}, payload: "subscription_created", lookUp: true},
		{name: "a subscription whose first payment is to come", config: webhook.StripeConfig{LookUp: true, SubscriptionCreated: true}, payload: "subscription_incomplete", outcome: access.Skip, reason: webhook.ReasonAwaitingPayment},
		{name: "a subscription on trial, by default", config: webhook.StripeConfig{LookUp: true, SubscriptionCreated: true}, payload: "subscription_trialing", lookUp: true},
		{name: "a subscription on trial, hold", config: webhook.StripeConfig{LookUp: true, SubscriptionCreated: true, NoPaymentRequired: access.Hold}, payload: "subscription_trialing", outcome: access.Hold, reason: webhook.ReasonNoPaymentRequired, lookUp: true},
		{name: "a thin event", config: webhook.StripeConfig{LookUp: true}, payload: "thin_event", outcome: access.Skip, reason: webhook.ReasonThinEvent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event := onlyEvent(t, newStripe(t, tt.config), payload(t, tt.payload))
			if p := event.Preliminary; p.Outcome != tt.outcome || p.Reason != tt.reason {
				t.Errorf("%s %s, wants %s %s", p.Outcome, p.Reason, tt.outcome, tt.reason)
			}
			if (event.Preliminary.Sentence == "") != (tt.outcome == "") {
				t.Errorf("the sentence is %q", event.Preliminary.Sentence)
			}
			if event.LookUp != tt.lookUp {
				t.Errorf("look up %t, wants %t", event.LookUp, tt.lookUp)
			}
		})
	}
}
