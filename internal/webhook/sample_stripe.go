package webhook

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	stripehook "github.com/stripe/stripe-go/v76/webhook"
)

// A StripeSample describes an event of Stripe. The zero value is a paid live checkout without an address.
type StripeSample struct {
	ID            string // made up when empty
	Type          string // checkout.session.completed when empty
	Email         string
	Name          string
	Customer      string
	Guest         bool   // no customer is named
	PaymentStatus string // paid when empty
	APIVersion    string // 2023-10-16, the one of stripe-go v76, when empty
	TestMode      bool
	Created       time.Time // now when zero
	Padding       int       // bytes of metadata, for a body of a realistic size
}

// StripeID makes an identity like Stripe's.
func StripeID(prefix string) string { return prefix + "_" + rand.Text()[:24] }

// JSON is the event's body as Stripe sends it.
func (e StripeSample) JSON() []byte {
	e.complete()
	event := map[string]any{
		"id": e.ID, "object": "event", "api_version": e.APIVersion, "created": e.Created.Unix(), "livemode": !e.TestMode,
		"pending_webhooks": 1, "request": map[string]any{"id": nil, "idempotency_key": nil}, "type": e.Type,
		"data": map[string]any{"object": e.object()},
	}
	body, err := json.MarshalIndent(event, "", "  ")
	if err != nil {
		panic("webhook: " + err.Error()) // maps of text and numbers
	}
	return body
}

func (e *StripeSample) complete() {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&e.ID, StripeID("evt"))
	set(&e.Type, "checkout.session.completed")
	hash := sha256.Sum256([]byte(e.ID))
	if !e.Guest {
		set(&e.Customer, "cus_"+hex.EncodeToString(hash[:8])) // one event, one customer, however often it is sent
	}
	set(&e.PaymentStatus, "paid")
	set(&e.APIVersion, "2023-10-16")
	if e.Created.IsZero() {
		e.Created = time.Now()
	}
}

func (e *StripeSample) object() map[string]any {
	switch {
	case strings.HasPrefix(e.Type, "invoice."):
		return e.invoice()
	case strings.HasPrefix(e.Type, "customer.subscription."):
		return e.subscription()
	default:
		return e.checkout()
	}
}

func (e *StripeSample) checkout() map[string]any {
	return map[string]any{
		"id": StripeID("cs_live"), "object": "checkout.session", "amount_subtotal": 4900, "amount_total": 4900, "currency": "usd",
		"customer": orNil(e.Customer), "customer_email": nil, "mode": "payment", "payment_link": "plink_1OaBcDeFgHiJkLmN",
		"payment_status": e.PaymentStatus, "status": "complete", "livemode": !e.TestMode,
		"customer_details": map[string]any{
			"address": map[string]any{"city": "London", "country": "GB", "line1": nil, "line2": nil, "postal_code": "NW1", "state": nil},
			"email":   orNil(e.Email), "name": orNil(e.Name), "phone": nil, "tax_exempt": "none", "tax_ids": []any{},
		},
		"metadata": map[string]any{"plan": "pro", "padding": strings.Repeat("x", e.Padding)},
	}
}

func (e *StripeSample) invoice() map[string]any {
	return map[string]any{
		"id": StripeID("in"), "object": "invoice", "amount_due": 4900, "amount_paid": 4900, "currency": "usd", "status": "paid",
		"customer": orNil(e.Customer), "customer_email": orNil(e.Email), "customer_name": orNil(e.Name), "metadata": map[string]any{},
		"lines": map[string]any{"object": "list", "data": []any{map[string]any{"id": StripeID("il"), "price": map[string]any{"id": "price_pro", "object": "price"}}}},
	}
}

func (e *StripeSample) subscription() map[string]any {
	return map[string]any{
		"id": StripeID("sub"), "object": "subscription", "currency": "usd", "customer": orNil(e.Customer), "status": "active", "metadata": map[string]any{},
		"items": map[string]any{"object": "list", "data": []any{map[string]any{"id": StripeID("si"), "price": map[string]any{"id": "price_pro", "object": "price"}}}},
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// SignStripe signs a body with stripe-go's own test signer and returns the headers that Stripe sends.
func SignStripe(body []byte, secret string, at time.Time) http.Header {
	signed := stripehook.GenerateTestSignedPayload(&stripehook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: at})
	header := http.Header{}
	header.Set("Stripe-Signature", signed.Header)
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	return header
}
