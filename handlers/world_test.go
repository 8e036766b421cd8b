package handlers_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// The canaries: no log line and no answer may tell one.
const (
	adminToken = "admin-canary-0123456789abcdef"
	secret     = "whsec_canary0123456789abcdefghij"
)

// address finds a whole e-mail address; the masked form a…@example.com is none.
var address = regexp.MustCompile(`[A-Za-z0-9._+-]+@[A-Za-z0-9-]+\.`)

// A logBuffer is a log that many goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// An acceptor is a ledger that answers as a test wants.
type acceptor func(context.Context, ledger.Delivery) (int64, error)

func (a acceptor) Accept(ctx context.Context, d ledger.Delivery) (int64, error) { return a(ctx, d) }

// A world is a served Usher with a ledger of its own, on a real socket.
type world struct {
	ledger  *ledger.Ledger
	policy  *access.Policy
	source  *webhook.Source
	handler *handlers.Server
	server  *httptest.Server
	logs    *logBuffer
}

// newWorld serves; change may adjust the options before.
func newWorld(t *testing.T, change func(*handlers.Options)) *world {
	t.Helper()
	w := &world{logs: &logBuffer{}}
	log := slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if w.ledger, err = ledger.Open(t.Context(), "sqlite://"+ledgertest.MigratedFile(t, migrate), ledger.Options{Logger: log}); err != nil {
		t.Fatal(err)
	}
	w.policy, err = access.NewPolicy(access.PolicyConfig{
		Internal: []string{"acme.com"}, Deny: []string{"denied.example"},
		Rules: []access.Rule{
			{When: `event.email endsWith "@held.example"`, Outcome: access.Hold},
			{When: `event.email endsWith "@pro.example"`, Groups: []int64{7, 9}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.source, err = webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}}); err != nil {
		t.Fatal(err)
	}
	options := handlers.Options{Sources: map[string]*webhook.Source{"stripe": w.source}, Acceptor: w.ledger, Ledger: w.ledger,
		Policy: w.policy, AdminToken: adminToken, Logger: log, Version: "1.2.3"}
	if change != nil {
		change(&options)
	}
	w.handler = handlers.New(options)
	w.server = httptest.NewUnstartedServer(w.handler)
	w.server.Config = handlers.HTTPServer(w.handler, log)
	w.server.Start()
	w.server.Client().Transport = contract{t, w.server.Client().Transport}
	t.Cleanup(func() {
		w.server.Close()
		_ = w.ledger.Close() // some tests closed it before
		noCanary(t, "the log", w.logs.String())
		if found := address.FindString(w.logs.String()); found != "" {
			t.Errorf("the log tells the address %s", found)
		}
	})
	return w
}

func migrate(address string) error {
	l, err := ledger.Open(context.Background(), address, ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return l.Close()
}

func noCanary(t *testing.T, where, text string) {
	t.Helper()
	for _, canary := range []string{adminToken, secret} {
		if strings.Contains(text, canary) {
			t.Errorf("%s tells %s:\n%s", where, canary, text)
		}
	}
}

// A scenario is one request and what is expected of its answer. A table of them is a story: they share a
// world, in their order.
type scenario struct {
	name       string
	before     func(*testing.T, *world)
	method     string // POST where there is a body or a signature, GET otherwise
	path       string
	header     http.Header
	body       string
	stream     bool   // without Content-Length, in chunks
	signedBy   string // signs the body as Stripe does, now
	anonymous  bool   // without the admin token that is sent to /v1
	wantStatus int
	wantBody   []string
	wantAbsent []string
	wantHeader map[string]string
	after      func(t *testing.T, w *world, body string)
}

func (s scenario) request(t *testing.T, w *world) *http.Request {
	t.Helper()
	var body io.Reader = strings.NewReader(s.body)
	if s.stream {
		body = io.MultiReader(body)
	}
	method := http.MethodGet
	if s.body != "" || s.signedBy != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), cmp.Or(s.method, method), w.server.URL+s.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if s.signedBy != "" {
		r.Header = webhooktest.SignStripe([]byte(s.body), s.signedBy, time.Now())
	}
	if strings.HasPrefix(s.path, "/v1") && !s.anonymous {
		r.Header.Set("Authorization", "Bearer "+adminToken)
	}
	if strings.HasPrefix(s.path, "/v1") && s.body != "" {
		kind := "application/json"
		if strings.HasPrefix(s.path, "/v1/rules") {
			kind = "application/yaml"
		}
		r.Header.Set("Content-Type", kind)
	}
	for name, values := range s.header {
		r.Header[name] = values
	}
	return r
}

// run plays a story.
func run(t *testing.T, w *world, scenarios []scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if s.before != nil {
				s.before(t, w)
			}
			answer, body := do(t, w, s.request(t, w))
			if answer.StatusCode != s.wantStatus {
				t.Fatalf("%d %s, wants %d", answer.StatusCode, body, s.wantStatus)
			}
			s.checkAnswer(t, answer, body)
			if s.after != nil {
				s.after(t, w, body)
			}
		})
	}
}

func do(t *testing.T, w *world, r *http.Request) (*http.Response, string) {
	t.Helper()
	answer, err := w.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func (s scenario) checkAnswer(t *testing.T, answer *http.Response, body string) {
	t.Helper()
	for _, want := range s.wantBody {
		if !strings.Contains(body, want) {
			t.Errorf("the body has no %s:\n%s", want, body)
		}
	}
	for _, absent := range s.wantAbsent {
		if strings.Contains(body, absent) {
			t.Errorf("the body has %s:\n%s", absent, body)
		}
	}
	for name, want := range s.wantHeader {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("the header %s is %q, wants %q", name, got, want)
		}
	}
	noCanary(t, "the answer", body)
	if answer.Header.Get("X-Request-Id") == "" {
		t.Error("the answer has no X-Request-Id")
	}
	plain := s.path == "/livez" || s.path == "/readyz"
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode >= 400 && !plain && answer.Request.Method != http.MethodHead && kind != "application/problem+json" {
		t.Errorf("the problem is of the type %s", kind)
	}
}

// record puts an event into the ledger as the decide stage would, and returns its invitation.
func (w *world) record(t *testing.T, id, email string) int64 {
	t.Helper()
	e := access.Event{Source: "stripe", Type: "invoice.paid", ID: id, Email: email}
	invitation, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, OccurredAt: time.Now(), Decision: w.policy.Decide(e)})
	if err != nil {
		t.Fatal(err)
	}
	return invitation
}

// settle records an attempt of an invitation and the state it led to.
func (w *world) settle(t *testing.T, id int64, state ledger.State, reason string) {
	t.Helper()
	inv, err := w.ledger.Invitation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.ledger.Settle(t.Context(), inv, ledger.Settlement{State: state, Reason: reason, CountTry: true,
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: time.Now(), Duration: 123 * time.Millisecond, Transport: "v2", Status: 422, Outcome: "never", Message: reason}})
	if err != nil {
		t.Fatal(err)
	}
}

// decide does what the decide stage does to all that waits.
func (w *world) decide(t *testing.T) {
	t.Helper()
	_, err := w.ledger.Decide(t.Context(), 100, func(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
		for _, e := range w.source.Events(webhook.FromLedger(d.Source, d.Body, d.ReceivedAt, d.VerifiedBy, d.Request)) {
			verdicts = append(verdicts, ledger.Verdict{Event: e.Event, OccurredAt: e.OccurredAt, Decision: w.policy.Decide(e.Event)})
		}
		return verdicts, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) undecided(t *testing.T) int64 {
	t.Helper()
	summary, err := w.ledger.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return summary.Undecided
}

// event is a body as Stripe sends it.
func event(id, email string) string {
	return string(webhooktest.StripeEvent{ID: id, Email: email, Customer: "cus_1", Created: time.Now()}.JSON())
}
