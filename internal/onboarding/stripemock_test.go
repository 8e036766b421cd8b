package onboarding_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
)

// stripeMock is Stripe's own mock server, pinned; "make test" builds it once and names it in STRIPE_MOCK.
const stripeMock = "github.com/stripe/stripe-mock@v0.203.0"

// TestStripeCustomer asks Stripe's own mock server, which checks each request against Stripe's OpenAPI
// document. Its customers have no address, so what is proven is the call, the key and the reading.
func TestStripeCustomer(t *testing.T) {
	url := startStripeMock(t)
	events := []access.Event{{ID: "evt_1", Customer: "cus_123"}}
	answer := onboarding.StripeCustomer("sk_test_mock", url).Ask(t.Context(), events)[0]
	if answer.Finding != onboarding.Settled || answer.Status != http.StatusOK {
		t.Errorf("finding %d with %d, want an answer with 200: %s", answer.Finding, answer.Status, answer.Message)
	}
	if answer.Event.Email != "" || answer.Message != "the customer has no address at Stripe" {
		t.Errorf("got address %q and %q; stripe-mock's customer has none", answer.Event.Email, answer.Message)
	}

	answer = onboarding.StripeCustomer("no key of Stripe's", url).Ask(t.Context(), events)[0]
	if answer.Finding != onboarding.NotYet || answer.Status != http.StatusUnauthorized {
		t.Errorf("a wrong key: finding %d with %d; want none yet, with 401", answer.Finding, answer.Status)
	}
}

func startStripeMock(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	mock := exec.Command("go", "run", stripeMock, "-http-addr", address)
	if built := os.Getenv("STRIPE_MOCK"); built != "" {
		mock = exec.Command(built, "-http-addr", address)
	}
	ownGroup(mock)
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killGroup(mock)
		_ = mock.Wait()
	})
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return "http://" + address
		}
	}
	t.Fatal("stripe-mock did not start in two minutes")
	return ""
}
