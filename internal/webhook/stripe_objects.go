package webhook

import (
	"encoding/json"

	"github.com/usher-dev/usher/internal/access"
)

// An expandable is a reference: the id alone, or the whole object when the endpoint expands it.
// https://docs.stripe.com/api/expanding_objects
type expandable struct{ ID string }

func (e *expandable) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &e.ID)
	}
	var object struct {
		ID string `json:"id"`
	}
	err := json.Unmarshal(raw, &object)
	e.ID = object.ID
	return err
}

// stripeLines are line items, of a checkout session (when expanded) or of an invoice. The price moved with
// API version 2025-03-31.basil.
type stripeLines struct {
	Data []struct {
		Price   expandable `json:"price"`
		Pricing struct {
			PriceDetails struct {
				Price expandable `json:"price"`
			} `json:"price_details"`
		} `json:"pricing"`
	} `json:"data"`
}

func (l stripeLines) prices() []string {
	var prices []string
	for _, line := range l.Data {
		if id := line.Price.ID; id != "" {
			prices = append(prices, clean(id))
		} else if id := line.Pricing.PriceDetails.Price.ID; id != "" {
			prices = append(prices, clean(id))
		}
	}
	return prices
}

// metadata is what the seller attached: text by text at Stripe. A value of another kind is kept as its JSON,
// because nobody who paid may be turned away for it.
type metadata map[string]string

func (m *metadata) UnmarshalJSON(raw []byte) error {
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		return nil //nolint:nilerr // no metadata at all: see above
	}
	*m = make(metadata, len(values))
	for name, value := range values {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		(*m)[name] = text
	}
	return nil
}

type stripeAddress struct {
	Country string `json:"country"`
}

// checkoutSession is https://docs.stripe.com/api/checkout/sessions/object, as far as it matters here.
type checkoutSession struct {
	PaymentStatus   string `json:"payment_status"`
	CustomerDetails *struct {
		Email   string        `json:"email"`
		Name    string        `json:"name"`
		Address stripeAddress `json:"address"`
	} `json:"customer_details"`
	CustomerEmail string      `json:"customer_email"`
	Customer      expandable  `json:"customer"`
	AmountTotal   int64       `json:"amount_total"`
	Currency      string      `json:"currency"`
	Mode          string      `json:"mode"`
	PaymentLink   expandable  `json:"payment_link"`
	LineItems     stripeLines `json:"line_items"`
	Metadata      metadata    `json:"metadata"`
}

func (s *Source) fillCheckout(e *Event, raw json.RawMessage) error {
	var session checkoutSession
	if err := readObject(raw, &session); err != nil {
		return err
	}
	e.readEmail(session.CustomerEmail, "customer_email")
	if details := session.CustomerDetails; details != nil {
		e.Name, e.Country = clean(details.Name), clean(details.Address.Country)
		e.readEmail(details.Email, "customer_details.email")
	}
	e.Customer, e.PaymentLink = clean(session.Customer.ID), clean(session.PaymentLink.ID)
	e.Amount, e.Currency, e.Mode = session.AmountTotal, clean(session.Currency), clean(session.Mode)
	e.Prices, e.Metadata = session.LineItems.prices(), cleanMap(session.Metadata)
	e.Preliminary = s.paid(e.Type, session.PaymentStatus)
	return nil
}

// readEmail takes the address that a field of Stripe's object has, if any.
func (e *Event) readEmail(address, field string) {
	if address != "" {
		e.Email, e.EmailFrom = clean(address), field
	}
}

// paid decides by the payment, not by the event's name: a checkout by a delayed method completes unpaid.
// https://docs.stripe.com/checkout/fulfillment#delayed-notification
func (s *Source) paid(eventType, status string) Preliminary {
	if eventType == CheckoutAsyncFailed {
		return Preliminary{access.Skip, ReasonPaymentFailed, "The delayed payment failed: nobody is invited."}
	}
	switch status {
	case "paid":
		return Preliminary{}
	case "no_payment_required":
		return s.unpaidIsFine()
	case "unpaid":
		return Preliminary{access.Skip, ReasonAwaitingPayment,
			"The checkout is complete but not paid yet; Stripe sends async_payment_succeeded when the money is there."}
	default:
		return Preliminary{access.Hold, ReasonMalformed, "The checkout has no payment_status that Usher knows; approve it if the customer paid."}
	}
}

func (s *Source) unpaidIsFine() Preliminary {
	if s.stripe.NoPaymentRequired == access.Invite {
		return Preliminary{}
	}
	return Preliminary{s.stripe.NoPaymentRequired, ReasonNoPaymentRequired,
		"No payment was required (a trial, a set-up or a full discount), and no_payment_required is not set to invite."}
}

// invoice is https://docs.stripe.com/api/invoices/object, as far as it matters here.
type invoice struct {
	CustomerEmail   string        `json:"customer_email"`
	CustomerName    string        `json:"customer_name"`
	CustomerAddress stripeAddress `json:"customer_address"`
	Customer        expandable    `json:"customer"`
	AmountPaid      int64         `json:"amount_paid"`
	Currency        string        `json:"currency"`
	Lines           stripeLines   `json:"lines"`
	Metadata        metadata      `json:"metadata"`
}

func (s *Source) fillInvoice(e *Event, raw json.RawMessage) error {
	var inv invoice
	if err := readObject(raw, &inv); err != nil {
		return err
	}
	e.readEmail(inv.CustomerEmail, "customer_email")
	e.Name, e.Country = clean(inv.CustomerName), clean(inv.CustomerAddress.Country)
	e.Customer, e.Amount, e.Currency = clean(inv.Customer.ID), inv.AmountPaid, clean(inv.Currency)
	e.Mode = "subscription"
	e.Prices, e.Metadata = inv.Lines.prices(), cleanMap(inv.Metadata)
	if e.Amount == 0 { // a trial's first invoice is "paid" too
		e.Preliminary = s.unpaidIsFine()
	}
	return nil
}

// subscription is https://docs.stripe.com/api/subscriptions/object; it never carries an address.
type subscription struct {
	Status   string      `json:"status"`
	Customer expandable  `json:"customer"`
	Currency string      `json:"currency"`
	Items    stripeLines `json:"items"`
	Metadata metadata    `json:"metadata"`
}

func (s *Source) fillSubscription(e *Event, raw json.RawMessage) error {
	var sub subscription
	if err := readObject(raw, &sub); err != nil {
		return err
	}
	e.Customer, e.Currency, e.Mode = clean(sub.Customer.ID), clean(sub.Currency), "subscription"
	e.Prices, e.Metadata = sub.Items.prices(), cleanMap(sub.Metadata)
	e.Preliminary = s.begun(sub.Status)
	return nil
}

// begun decides by a new subscription's status: one whose first payment is still to come is created too.
// https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses
func (s *Source) begun(status string) Preliminary {
	switch status {
	case "incomplete", "incomplete_expired":
		return Preliminary{access.Skip, ReasonAwaitingPayment,
			"The subscription's first payment is not made yet; Stripe sends invoice.paid when the money is there."}
	case "trialing":
		return s.unpaidIsFine()
	default:
		return Preliminary{}
	}
}

// readObject reads the object of an event; none at all is a mistake, not an empty one.
func readObject(raw json.RawMessage, into any) error {
	if len(raw) == 0 || string(raw) == "null" {
		return &json.UnmarshalTypeError{Value: "nothing", Field: "data.object"}
	}
	return json.Unmarshal(raw, into)
}

func cleanMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	cleaned := make(map[string]string, len(m))
	for k, v := range m {
		cleaned[clean(k)] = clean(v)
	}
	return cleaned
}
