package onboarding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/customer"

	"github.com/usher-dev/usher/internal/access"
)

// stripeCustomers is Stripe's reading of one customer.
type stripeCustomers struct{ client customer.Client }

// StripeCustomer looks up the address of an event's customer with a restricted key that may read customers.
// baseURL is Stripe's own when empty.
func StripeCustomer(key, baseURL string) LookUp {
	config := &stripe.BackendConfig{
		HTTPClient:        lookUpClient(),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		MaxNetworkRetries: stripe.Int64(0), // the one schedule is ours
		EnableTelemetry:   stripe.Bool(false),
	}
	if baseURL != "" {
		config.URL = stripe.String(baseURL)
	}
	return stripeCustomers{customer.Client{B: stripe.GetBackendWithConfig(stripe.APIBackend, config), Key: key}}
}

// Provider is "stripe".
func (stripeCustomers) Provider() string { return "stripe" }

// Limit keeps to half of the 100 calls a second that Stripe allows. https://docs.stripe.com/rate-limits
func (stripeCustomers) Limit() (int, time.Duration) { return 1, 20 * time.Millisecond }

// Ask reads the customer of each event.
func (s stripeCustomers) Ask(ctx context.Context, events []access.Event) []Answer {
	answers := make([]Answer, len(events))
	for i, e := range events {
		customer, err := s.client.Get(e.Customer, &stripe.CustomerParams{Params: stripe.Params{Context: ctx}})
		answers[i] = stripeAnswer(e, customer, err)
	}
	return answers
}

// stripeAnswer reads what Stripe said. A customer that is deleted or unknown has no address, now and later.
// https://docs.stripe.com/api/customers/retrieve
func stripeAnswer(e access.Event, customer *stripe.Customer, err error) Answer {
	var refused *stripe.Error
	switch {
	case err == nil && customer.Deleted:
		return Answer{Finding: Settled, Event: e, Status: http.StatusOK, Message: "the customer was deleted at Stripe"}
	case err == nil:
		e.Email, e.Name = customer.Email, cmp.Or(e.Name, customer.Name)
		if e.Country == "" && customer.Address != nil {
			e.Country = customer.Address.Country
		}
		return found(e, http.StatusOK, "Stripe")
	case errors.As(err, &refused) && refused.HTTPStatusCode == http.StatusNotFound:
		return Answer{Finding: Settled, Event: e, Status: http.StatusNotFound, Message: "Stripe does not know this customer"}
	case errors.As(err, &refused):
		return stripeRefusal(e, refused)
	default:
		return Answer{Event: e, Message: "Stripe could not be reached"}
	}
}

func stripeRefusal(e access.Event, refused *stripe.Error) Answer {
	status := refused.HTTPStatusCode
	a := Answer{Event: e, Status: status, Message: refusal("Stripe", status, "give api_key a restricted key that may read customers")}
	if status >= http.StatusInternalServerError || status == http.StatusBadRequest {
		a.Message += fmt.Sprintf(" (%s)", refused.Type)
	}
	if last := refused.LastResponse; last != nil {
		a.After = askedToWait(&http.Response{StatusCode: status, Header: last.Header}, time.Now())
	}
	return a
}
