package onboarding_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/onboarding"
)

// paddlePrefix begins the id of each customer, so that logs can be searched for them.
const paddlePrefix = "ctm_canary"

func customer(n int) string { return fmt.Sprintf("%s%02d", paddlePrefix, n) }

func paddleFound(id string) string {
	return fmt.Sprintf(`{"data": {"id": %q, "status": "active", "name": "Jane Doe", "email": "%s@customer.example"}, "meta": {}}`, id, id)
}

// paddle answers reads of a customer.
type paddle struct {
	t      *testing.T
	answer func(call int, id string) (status int, body string) // call from 1
	header http.Header

	mu  sync.Mutex
	ids []string
}

func (p *paddle) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutPrefix(r.URL.Path, "/behind/customers/")
	if r.Method != http.MethodGet || !ok {
		p.t.Errorf("Paddle was asked for %s %s", r.Method, r.URL.Path)
	}
	if r.Header.Get("Authorization") != "Bearer "+apiKey {
		p.t.Error("Paddle was asked with another key")
	}
	p.mu.Lock()
	p.ids = append(p.ids, id)
	call := len(p.ids)
	p.mu.Unlock()
	maps.Copy(rw.Header(), p.header)
	status, body := p.answer(call, id)
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(body))
}

func (p *paddle) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ids)
}

// lookUps are those of one source, "shop".
func (p *paddle) lookUps() map[string]onboarding.LookUp {
	server := httptest.NewServer(p)
	p.t.Cleanup(server.Close)
	return map[string]onboarding.LookUp{"shop": onboarding.PaddleCustomer(apiKey, server.URL+"/behind")}
}

func TestPaddleCustomer(t *testing.T) {
	id := customer(1)
	const advice = "give api_key a key with the permission customer.read, of the same environment (live or sandbox) as api_url"
	tests := []struct {
		name     string
		customer string
		status   int
		header   http.Header
		body     string
		want     string
		message  string
		after    time.Duration
		unasked  bool
	}{
		{name: "found", customer: id, status: 200, body: paddleFound(id), want: "yes " + id + "@customer.example", message: "Paddle named the customer's address"},
		{name: "no address", customer: id, status: 200, body: `{"data": {"id": "` + id + `", "email": null, "name": null}}`, want: "yes ", message: "the customer has no address at Paddle"},
		{name: "unknown", customer: id, status: 404, body: `{"error": {"code": "not_found", "detail": "` + id + `"}}`, want: "not yet", message: "Paddle does not know this customer, or not yet"},
		{name: "a wrong key", customer: id, status: 401, body: `{"error": {}}`, want: "not yet", message: "Paddle refused the key with 401: " + advice},
		{name: "a key that may not", customer: id, status: 403, body: `{"error": {"code": "forbidden"}}`, want: "not yet", message: "Paddle refused the key with 403: " + advice},
		{name: "too fast", customer: id, status: 429, header: http.Header{"Retry-After": {"60"}}, want: "not yet", message: "Paddle asks to slow down (429)", after: time.Minute},
		{name: "a fault", customer: id, status: 500, want: "not yet", message: "Paddle answered 500"},
		{name: "a page", customer: id, status: 200, body: "<html>" + jane, want: "not yet", message: "Paddle answered 200 with something else than was asked for"},
		{name: "another customer", customer: id, status: 200, body: paddleFound(customer(2)), want: "not yet", message: "Paddle answered with something else than the customer"},
		{name: "another's JSON", customer: id, status: 200, body: `{}`, want: "not yet"},
		{name: "a redirect", customer: id, status: 302, header: http.Header{"Location": {"http://127.0.0.1:1/"}}, want: "not yet", message: "Paddle answered 302"},
		{name: "an odd id", customer: "ctm_../../transactions", unasked: true, want: "yes ", message: "the event names no customer of Paddle"},
		{name: "another kind of id", customer: "cus_1", unasked: true, want: "yes "},
		{name: "an id and a line end", customer: id + "\n", unasked: true, want: "yes "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api := &paddle{t: t, header: tt.header, answer: func(int, string) (int, string) { return tt.status, tt.body }}
			answers := api.lookUps()["shop"].Ask(t.Context(), eventsOf(tt.customer))
			if got := findings(answers); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			a := answers[0]
			if tt.message != "" && a.Message != tt.message {
				t.Errorf("says %q, want %q", a.Message, tt.message)
			}
			if (a.Event.EmailFrom == "looked up at Paddle") != (a.Event.Email != "") {
				t.Errorf("the address %q came from %q", a.Event.Email, a.Event.EmailFrom)
			}
			if a.After != tt.after || a.Status != tt.status || a.Event.Customer != tt.customer {
				t.Errorf("wait for %s, status %d, customer %q", a.After, a.Status, a.Event.Customer)
			}
			if want := map[bool]int{true: 0, false: 1}[tt.unasked]; len(api.asked()) != want {
				t.Errorf("%d calls, want %d", len(api.asked()), want)
			}
		})
	}
}
