package onboarding_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const (
	token     = "retool_canarytoken0123456789"
	stripeKey = "rk_live_canarykey0123456789"
	apiKey    = "pat-canarykey0123456789" // of HubSpot and Paddle
	secret    = "whsec_canarysecret0123456789"
	patience  = 20 * time.Second
)

// everything is all that these tests ever logged.
var everything lockedBuffer

// TestMain looks through all logs at the end: no test, whatever it was about, may have logged an address or a secret.
func TestMain(m *testing.M) {
	code := m.Run()
	text := everything.String()
	for _, canary := range []string{token, stripeKey, apiKey, contactPrefix, paddlePrefix, secret, "@customer", "%40customer", "jane.doe", "Jane Doe"} {
		// A masked address is j…@customer.example.
		for line := range strings.Lines(text) {
			if strings.Contains(strings.ReplaceAll(line, "…@customer", ""), canary) {
				fmt.Printf("the log shows %q: %s", canary, line)
				code = 1
			}
		}
	}
	os.Exit(code)
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A world is everything around the stages: a ledger, a Retool and what was logged.
type world struct {
	*testing.T
	path string
	// address is of the ledger where that is no SQLite file at path.
	address string
	ledger  *ledger.Ledger
	retool  *retooltest.Retool
	ob      *onboarding.Onboarding
	logs    *lockedBuffer
	source  *webhook.Source
	client  *retoolclient.Client
}

// A setting is what a test changes of a world.
type setting struct {
	policy  access.PolicyConfig
	stripe  webhook.StripeConfig
	stripes http.Handler // stands in for Stripe's API
	lookUps map[string]onboarding.LookUp
	retool  retooltest.Options
	front   func(retool http.Handler) http.Handler // what stands before Retool
	client  retoolclient.Options
	options onboarding.Options
	address string // of the ledger, a SQLite file of its own by default
}

func migrate(address string) error {
	l, err := ledger.Open(context.Background(), address, ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return l.Close()
}

func newWorld(t *testing.T, s setting) *world {
	t.Helper()
	w := &world{T: t, logs: new(lockedBuffer), address: s.address, path: ledgertest.MigratedFile(t, migrate)}
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))

	s.retool.Token = token
	w.retool = retooltest.New(s.retool)
	var handler http.Handler = w.retool
	if s.front != nil {
		handler = s.front(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.client.BaseURL, s.client.Token = server.URL, token
	w.client = must(retoolclient.New(s.client))(t)

	s.stripe.Secrets = []string{secret}
	s.stripe.LookUp = s.stripes != nil
	w.source = must(webhook.NewStripe("stripe", s.stripe))(t)
	lookUps := map[string]onboarding.LookUp{}
	maps.Copy(lookUps, s.lookUps)
	if s.stripes != nil {
		api := httptest.NewServer(s.stripes)
		t.Cleanup(api.Close)
		lookUps["stripe"] = onboarding.StripeCustomer(stripeKey, api.URL)
	}

	w.ledger = must(ledger.Open(t.Context(), cmp.Or(s.address, "sqlite://"+w.path), ledger.Options{Logger: logger}))(t)
	t.Cleanup(func() {
		if err := w.ledger.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	o := s.options
	o.Ledger, o.Policy, o.Retool, o.LookUps, o.Logger = w.ledger, must(access.NewPolicy(s.policy))(t), w.client, lookUps, logger
	o.Sources = map[string]*webhook.Source{"stripe": w.source}
	if o.RequestsPerMinute == 0 {
		o.RequestsPerMinute = 6000
	}
	if o.MaxTries == 0 {
		o.MaxTries = 20
	}
	if o.FirstWait == 0 {
		o.FirstWait = 10 * time.Millisecond
	}
	w.ob = must(onboarding.New(o))(t)
	return w
}

// Write takes the log lines.
func (w *world) Write(line []byte) (int, error) {
	_, _ = everything.Write(line)
	return w.logs.Write(line)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// run starts the stages; stop ends them and tells how long that took. The test's end stops them too.
func (w *world) run() (stop func() time.Duration) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	release := must(w.ledger.TakeOver(ctx))(w.T)
	done := make(chan error, 1)
	go func() { done <- errors.Join(w.ob.Run(ctx), release()) }()
	var took time.Duration
	stop = sync.OnceValue(func() time.Duration {
		cancel()
		begun := time.Now()
		select {
		case err := <-done:
			if err != nil {
				w.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			w.Error("the stages do not stop")
		}
		took = time.Since(begun)
		return took
	})
	w.Cleanup(func() { stop() })
	return stop
}

// deliver verifies and accepts an event as the handler would.
func (w *world) deliver(e webhooktest.StripeEvent) int64 {
	w.Helper()
	return w.deliverRaw(e.JSON())
}

func (w *world) deliverRaw(body []byte) int64 {
	w.Helper()
	now := time.Now()
	v := must(w.source.Verify(now, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, secret, now), Body: body}))(w.T)
	return must(w.ledger.Accept(w.Context(), ledger.Delivery{Source: v.Source(), ReceivedAt: v.ReceivedAt(), VerifiedBy: v.By(), Request: "{}", Body: v.Body()}))(w.T)
}

// until polls for what another goroutine does.
func (w *world) until(what string, done func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("in vain waited until %s\n%s", what, w.story())
		}
	}
}

// story is what a failed test needs to know.
func (w *world) story() string {
	var b strings.Builder
	for _, inv := range must(w.ledger.Invitations(context.Background(), ledger.Filter{}))(w.T) {
		fmt.Fprintf(&b, "%d %s: %s (%s) tries %d run %d unsure %t\n", inv.ID, inv.Email, inv.State, inv.Reason, inv.Tries, inv.Run, inv.Unsure)
		for _, a := range w.attempts(inv.ID) {
			fmt.Fprintf(&b, "  %s\n", a)
		}
	}
	return b.String() + w.logs.String()
}

// invitation is the one of an address, zero while there is none.
func (w *world) invitation(email string) ledger.Invitation {
	w.Helper()
	all := must(w.ledger.Invitations(context.Background(), ledger.Filter{Email: email}))(w.T)
	if len(all) == 0 {
		return ledger.Invitation{}
	}
	return all[0]
}

// reaches waits until the invitation of an address is in a state.
func (w *world) reaches(email string, state ledger.State) ledger.Invitation {
	w.Helper()
	w.until("the invitation is "+string(state), func() bool { return w.invitation(email).State == state })
	return w.invitation(email)
}

// attempts are "kind outcome status" of each call made for an invitation, oldest first.
func (w *world) attempts(id int64) []string {
	w.Helper()
	words := []string{}
	for _, a := range must(w.ledger.Attempts(context.Background(), id))(w.T) {
		words = append(words, fmt.Sprintf("%s %s %d", a.Kind, a.Outcome, a.Status))
	}
	return words
}

func (w *world) event(id string) ledger.Event {
	w.Helper()
	e, err := w.ledger.EventBySenderID(context.Background(), "", id)
	if err != nil {
		return ledger.Event{}
	}
	return e
}

// decided waits for the n-th decision of an event.
func (w *world) decided(id string, n int) ledger.Decision {
	w.Helper()
	w.until(fmt.Sprintf("the event has %d decisions", n), func() bool { return len(w.event(id).Decisions) >= n })
	return w.event(id).Decisions[n-1]
}

func (w *world) summary() ledger.Summary {
	w.Helper()
	return must(w.ledger.Summary(context.Background()))(w.T)
}

func (w *world) equal(what string, got, want any) {
	w.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// logged counts the log lines with a text.
func (w *world) logged(text string) int { return strings.Count(w.logs.String(), text) }

const jane = "jane.doe@customer.example"

func paid(id string) webhooktest.StripeEvent {
	return webhooktest.StripeEvent{ID: id, Email: jane, Name: "Jane Doe", Customer: "cus_1"}
}
