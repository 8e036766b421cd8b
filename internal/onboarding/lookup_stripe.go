package onboarding

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/customer"

	"github.com/usher-dev/usher/internal/access"
)

// StripeCustomer looks up the address of an event's customer with a restricted key that may read customers.
// baseURL is Stripe's own when empty.
func StripeCustomer(key, baseURL string) LookUp {
	config := &stripe.BackendConfig{
		HTTPClient:        &http.Client{Timeout: 20 * time.Second},
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		MaxNetworkRetries: stripe.Int64(0), // the one schedule is ours
		EnableTelemetry:   stripe.Bool(false),
	}
	if baseURL != "" {
		config.URL = stripe.String(baseURL)
	}
	client := customer.Client{B: stripe.GetBackendWithConfig(stripe.APIBackend, config), Key: key}
	return func(ctx context.Context, e access.Event) (access.Event, Answer, error) {
		params := &stripe.CustomerParams{}
		params.Context = ctx
		found, err := client.Get(e.Customer, params)
		return stripeAnswer(e, found, err)
	}
}

// stripeAnswer reads what Stripe said. A customer that is deleted or unknown has no address, now and later.
// https://docs.stripe.com/api/customers/retrieve
func stripeAnswer(e access.Event, found *stripe.Customer, err error) (access.Event, Answer, error) {
	var refused *stripe.Error
	switch {
	case err == nil && found.Deleted:
		return e, Answer{http.StatusOK, "the customer was deleted at Stripe"}, nil
	case err == nil:
		e.Email = found.Email
		if e.Name == "" {
			e.Name = found.Name
		}
		if e.Country == "" && found.Address != nil {
			e.Country = found.Address.Country
		}
		if e.Email == "" {
			return e, Answer{http.StatusOK, "the customer has no address at Stripe"}, nil
		}
		return e, Answer{http.StatusOK, "Stripe named the customer's address"}, nil
	case errors.As(err, &refused) && refused.HTTPStatusCode == http.StatusNotFound:
		return e, Answer{http.StatusNotFound, "Stripe does not know this customer"}, nil
	case errors.As(err, &refused):
		return e, Answer{refused.HTTPStatusCode, stripeAdvice(refused)}, err
	default:
		return e, Answer{0, "Stripe could not be reached"}, err
	}
}

func stripeAdvice(e *stripe.Error) string {
	switch e.HTTPStatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("Stripe refused the key with %d: give api_key a restricted key that may read customers", e.HTTPStatusCode)
	default:
		return fmt.Sprintf("Stripe answered %d (%s)", e.HTTPStatusCode, e.Type)
	}
}
