package webhook_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// hostile are bodies made to break a reader of events.
var hostile = []string{
	``, ` `, `null`, `0`, `"x"`, `[]`, `{}`, `{`, "\x00", "\xff\xfe{}", "\ufeff{}", `[[[[[[[[`, strings.Repeat("[", 10001), `{"id":null,"type":null}`,
	`{"id":"\u0000","type":"\u0000"}`, `{"id":"\ud800","type":"\udfff"}`, "{\"id\":\"\xff\",\"type\":\"\xc3\x28\"}", `{"ID":"a","Type":"b","id":"c"}`,
	`{"id":"e","type":"checkout.session.completed"}`, `{"id":"e","type":"checkout.session.completed","data":null}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":[]}}`, `{"id":"e","type":"checkout.session.completed","data":{"object":{"customer":[1]}}}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":{"customer":{"id":{}}}}}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":{"customer":"","customer_details":[],"payment_status":"paid"}}}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":{"customer_email":"ada@example.com","amount_total":1e999}}}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":{"payment_status":"ada@example.com","customer_email":"ada@example.com"}}}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":{"metadata":{"ada@example.com":5},"customer_email":"ada@example.com"}}}`,
	`{"id":"e","type":"checkout.session.completed","data":{"object":{"line_items":{"data":[null,{"price":null},{"price":"\u0000"}]},"payment_status":"unpaid"}}}`,
	`{"id":"e","type":"invoice.paid","created":-1,"data":{"object":{"customer_email":"\u0000@x.y","lines":{"data":[{"pricing":{"price_details":{"price":{"id":"p"}}}}]}}}}`,
	`{"id":"e","type":"invoice.paid","created":9223372036854775807,"data":{"object":{"amount_paid":-9223372036854775808,"metadata":{"\u0000":"\u0000"}}}}`,
	`{"id":"e","type":"customer.subscription.created","created":"0000-01-01T00:00:00Z","data":{"object":{"items":{"data":{}}}}}`,
	`{"id":"e","object":"v2.core.event","type":"v2.x","created":"not a time","data":"none"}`,
	`{"id":"e","type":"ada@example.com","data":{"object":{"customer_email":"ada@example.com"}}}`,
}

func FuzzStripeEvents(f *testing.F) {
	for _, name := range payloads(f) {
		f.Add(payload(f, name))
	}
	for _, body := range hostile {
		f.Add([]byte(body))
	}
	sources := []*webhook.Source{
		newStripe(f, webhook.StripeConfig{}),
		newStripe(f, webhook.StripeConfig{RequireLivemode: true, LookUp: true, SubscriptionCreated: true, NoPaymentRequired: access.Hold}),
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, source := range sources {
			e := onlyEvent(t, source, body)
			if e.ID == "" || e.Type == "" || e.Source != "stripe" {
				t.Fatalf("the event %q of the type %q from %q has no identity", e.ID, e.Type, e.Source)
			}
			for _, text := range texts(e) {
				if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
					t.Fatalf("%q cannot be stored as text", text)
				}
			}
			p := e.Preliminary
			if (p.Outcome == "") != (p.Reason == "") || (p.Outcome == "") != (p.Sentence == "") {
				t.Fatalf("half a decision: %+v", p)
			}
			if strings.Contains(e.Email, "@") && strings.Contains(p.Sentence, e.Email) {
				t.Fatalf("the sentence tells the address: %s", p.Sentence)
			}
			if e.LookUp && (e.Email != "" || e.Customer == "" || p.Outcome == access.Skip) {
				t.Fatalf("there is nothing to look up in %+v", p)
			}
			if again := onlyEvent(t, source, body); again.ID != e.ID {
				t.Fatalf("the same bytes are %q and %q", e.ID, again.ID)
			}
		}
	})
}

// texts are all strings of an event.
func texts(e webhook.Event) []string {
	all := []string{e.Source, e.Type, e.ID, e.Email, e.Name, e.Customer, e.Country, e.Currency, e.Mode, e.PaymentLink, e.Preliminary.Sentence}
	all = append(all, e.Prices...)
	for k, v := range e.Metadata {
		all = append(all, k, v)
	}
	return all
}

func FuzzVerify(f *testing.F) {
	body := []byte(`{"id":"evt_1","type":"invoice.paid"}`)
	for _, header := range []string{
		"", "t=1700000000", "t=1700000000,v1=", "v1=,t=1700000000", "t=1700000000,t=1700000000,v1=00", ",", "t", "=", "t==", "t=,v1=",
		"t=-9223372036854775808,v1=00", "t=9223372036854775807,v1=00", "t=+1700000000,v1=00", "t=1700000000,v1=" + strings.Repeat("0", 64),
		signature(body, "", signedAt), signature(body, "whsec_", signedAt), signature(body, foreign, signedAt), scheme("v0", body, secret),
		strings.Repeat(",", 5000), strings.Repeat("v1=00,", 600) + "t=1700000000",
	} {
		f.Add(header, body, uint(0))
	}
	f.Add("t=1700000000\x00", []byte{}, uint(7))
	f.Add("T=1700000000,V1=00", []byte("."), uint(1<<20))
	source := newStripe(f, webhook.StripeConfig{Secrets: []string{rolled, secret}})
	f.Fuzz(func(t *testing.T, header string, body []byte, flip uint) {
		if _, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: http.Header{"Stripe-Signature": {header}}, Body: body}); err == nil {
			t.Fatalf("the made up header %q verifies", header)
		}
		signed := webhooktest.SignStripe(body, secret, signedAt)
		if _, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: signed, Body: body}); err != nil {
			t.Fatalf("a signed body does not verify: %v", err)
		}
		flipped := append([]byte(nil), body...)
		if len(flipped) > 0 {
			flipped[flip/8%uint(len(flipped))] ^= 1 << (flip % 8)
			if _, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: signed, Body: flipped}); err == nil {
				t.Fatal("a body with a flipped bit verifies")
			}
		}
		good := signed.Get("Stripe-Signature")
		bent := []byte(good)
		bent[flip/8%uint(len(bent))] ^= 1 << (flip % 8)
		// Hex is read in either case: the bit between a and A changes nothing that is signed.
		if strings.EqualFold(string(bent), good) {
			return
		}
		if _, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: http.Header{"Stripe-Signature": {string(bent)}}, Body: body}); err == nil {
			t.Fatalf("the header %q verifies with a flipped bit: %q", good, bent)
		}
	})
}
