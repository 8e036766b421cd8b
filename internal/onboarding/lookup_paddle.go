package onboarding

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// paddleCustomers is Paddle's reading of one customer.
// https://developer.paddle.com/api-reference/customers/get-customer
type paddleCustomers struct{ api api }

// PaddleCustomer looks up the address of an event's customer with a key that may read customers. baseURL is
// that of Paddle's live environment when empty; a key of the sandbox needs https://sandbox-api.paddle.com.
func PaddleCustomer(key, baseURL string) LookUp {
	return paddleCustomers{newAPI("Paddle", cmp.Or(baseURL, "https://api.paddle.com"), key,
		"give api_key a key with the permission customer.read, of the same environment (live or sandbox) as api_url")}
}

// Provider is "paddle".
func (paddleCustomers) Provider() string { return "paddle" }

// Limit keeps to Paddle's 240 calls a minute. https://developer.paddle.com/api-reference/about/rate-limiting
func (paddleCustomers) Limit() (int, time.Duration) { return 1, 250 * time.Millisecond }

// Ask reads the customer of each event.
func (p paddleCustomers) Ask(ctx context.Context, events []access.Event) []Answer {
	answers := make([]Answer, len(events))
	for i, e := range events {
		answers[i] = p.one(ctx, e)
	}
	return answers
}

var paddleID = regexp.MustCompile(`^ctm_[a-z0-9]+$`)

func (p paddleCustomers) one(ctx context.Context, e access.Event) Answer {
	if !paddleID.MatchString(e.Customer) {
		return nothingToAsk(e, "the event names no customer of Paddle")
	}
	var got struct {
		Data struct {
			ID    string `json:"id"`
			Email string `json:"email"`
			Name  string `json:"name"`
		} `json:"data"`
	}
	answer, ok := p.api.call(ctx, http.MethodGet, "/customers/"+url.PathEscape(e.Customer), nil, &got)
	answer.Event = e
	switch {
	case !ok && answer.Status == http.StatusNotFound:
		answer.Message = "Paddle does not know this customer, or not yet"
		return answer
	case !ok:
		return answer
	case got.Data.ID != e.Customer: // such as a proxy's own JSON
		answer.Message = "Paddle answered with something else than the customer"
		return answer
	}
	e.Email, e.Name = got.Data.Email, cmp.Or(e.Name, got.Data.Name)
	return found(e, answer.Status, "Paddle")
}
