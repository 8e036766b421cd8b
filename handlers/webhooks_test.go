package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

const hook = "/webhooks/stripe"

// waits checks how many deliveries wait to be decided.
func waits(want int64) func(*testing.T, *world, string) {
	return func(t *testing.T, w *world, _ string) {
		t.Helper()
		if got := w.undecided(t); got != want {
			t.Errorf("%d deliveries wait, wants %d", got, want)
		}
	}
}

func TestWebhooks(t *testing.T) {
	w := newWorld(t, nil)
	mebibyte := strings.Repeat("x", 1<<20)
	gzip, identity := http.Header{"Content-Encoding": {"gzip"}}, http.Header{"Content-Encoding": {"Identity"}}
	run(t, w, []scenario{
		{name: "GET tries the address", path: hook, wantStatus: 200, wantHeader: map[string]string{"Content-Length": "0"}, after: waits(0)},
		{name: "HEAD tries the address", method: "HEAD", path: hook, wantStatus: 200, after: waits(0)},
		{name: "GET with a signed body does nothing", method: "GET", path: hook, signedBy: secret, body: event("evt_0", "ada@example.com"), wantStatus: 200, after: waits(0)},
		{name: "GET of an unknown source", path: "/webhooks/nobody", wantStatus: 404},
		{name: "HEAD of an unknown source", method: "HEAD", path: "/webhooks/nobody", wantStatus: 404},
		{name: "PUT", method: "PUT", path: hook, signedBy: secret, body: "{}", wantStatus: 405, after: waits(0)},
		{name: "PATCH", method: "PATCH", path: hook, signedBy: secret, body: "{}", wantStatus: 405, after: waits(0)},
		{name: "DELETE", method: "DELETE", path: hook, wantStatus: 405},
		{name: "no source in the path", path: "/webhooks/", signedBy: secret, body: "{}", wantStatus: 404},
		{name: "an unknown source", path: "/webhooks/nobody", signedBy: secret, body: "{}", wantStatus: 404, after: waits(0)},
		{name: "a source's name in capitals", path: "/webhooks/Stripe", signedBy: secret, body: "{}", wantStatus: 404, after: waits(0)},
		{name: "one byte too many, announced", path: hook, signedBy: secret, body: mebibyte + "x", wantStatus: 413, wantBody: []string{"1048576", "max_body"}, after: waits(0)},
		{name: "one byte too many, in chunks", path: hook, signedBy: secret, body: mebibyte + "x", stream: true, wantStatus: 413, wantBody: []string{"1048576"}, after: waits(0)},
		{name: "compressed", path: hook, signedBy: secret, body: "{}", header: gzip, wantStatus: 415, after: waits(0)},

		{name: "a signed event", path: hook, signedBy: secret, body: event("evt_1", "ada@example.com"), wantStatus: 200,
			wantBody: []string{`{"status":"accepted","delivery":1}`}, wantAbsent: []string{"ada@example.com"}, wantHeader: map[string]string{"Content-Type": "application/json"}, after: waits(1)},
		{name: "a signed event in chunks", path: hook, signedBy: secret, body: event("evt_2", "ada@example.com"), stream: true, wantStatus: 200, wantBody: []string{`{"status":"accepted","delivery":2}`}},
		{name: "the same event again is another delivery", path: hook, signedBy: secret, body: event("evt_1", "ada@example.com"), wantStatus: 200, wantBody: []string{`"delivery":3`}},
		{name: "malformed JSON", path: hook, signedBy: secret, body: `{"id": "evt_`, wantStatus: 200, wantBody: []string{`"delivery":4`}},
		{name: "no JSON at all", path: hook, signedBy: secret, body: "\x00\xff", wantStatus: 200, wantBody: []string{`"delivery":5`}},
		{name: "an empty body", path: hook, signedBy: secret, wantStatus: 200, wantBody: []string{`"delivery":6`}},
		{name: "an encoding that is none", path: hook, signedBy: secret, body: "{}", header: identity, wantStatus: 200, wantBody: []string{`"delivery":7`}},
		{name: "exactly as much as is allowed", path: hook, signedBy: secret, body: mebibyte, wantStatus: 200, wantBody: []string{`"delivery":8`}},
		{name: "exactly as much as is allowed, in chunks", path: hook, signedBy: secret, body: mebibyte, stream: true, wantStatus: 200, wantBody: []string{`"delivery":9`}, after: waits(9)},
		{name: "a query behind the path", path: hook + "?a=b", signedBy: secret, body: "{}", wantStatus: 200},
	})
}

// What is kept with a delivery proves it, and is nothing that lets anybody in.
func TestDeliveryKeepsTheRightHeaders(t *testing.T) {
	got := make(chan ledger.Delivery, 1)
	w := newWorld(t, func(o *handlers.Options) {
		o.Acceptor = acceptor(func(_ context.Context, d ledger.Delivery) (int64, error) { got <- d; return 1, nil })
	})
	body := event("evt_1", "ada@example.com")
	run(t, w, []scenario{{name: "a signed event with much in its header", path: hook, signedBy: secret, body: body, wantStatus: 200,
		header: http.Header{"Authorization": {"Bearer " + adminToken}, "Cookie": {"session=canary"}, "User-Agent": {"Stripe/1.0 \xff"}}}})
	d := <-got
	if d.Source != "stripe" || d.VerifiedBy != "secrets[0]" || string(d.Body) != body || time.Since(d.ReceivedAt) > time.Minute {
		t.Errorf("the delivery is of %s by %s at %s", d.Source, d.VerifiedBy, d.ReceivedAt)
	}
	for _, want := range []string{`"Stripe-Signature":"t=`, `"Content-Type":"application/json; charset=utf-8"`, "Stripe/1.0 \uFFFD"} {
		if !strings.Contains(d.Request, want) {
			t.Errorf("the request %s has no %s", d.Request, want)
		}
	}
	for _, absent := range []string{adminToken, "Authorization", "canary", "Cookie", secret} {
		if strings.Contains(d.Request, absent) {
			t.Errorf("the request %s has %s", d.Request, absent)
		}
	}
}

// A sender is told one and the same for every way a signature can fail; our log says which.
func TestSignatureFailuresAreAlike(t *testing.T) {
	w := newWorld(t, nil)
	body := event("evt_1", "ada@example.com")
	sign := func(with string, ago time.Duration) string {
		return webhooktest.SignStripe([]byte(body), with, time.Now().Add(-ago)).Get("Stripe-Signature")
	}
	tests := []struct {
		name      string
		signature []string
		rule      string
	}{
		{name: "no header", rule: "no_signature"},
		{name: "a blank header", signature: []string{""}, rule: "no_signature"},
		{name: "the header twice", signature: []string{sign(secret, 0), sign(secret, 0)}, rule: "repeated_header"},
		{name: "nonsense", signature: []string{"nonsense"}, rule: "bad_header"},
		{name: "5 KB", signature: []string{sign(secret, 0) + strings.Repeat(",v1=00", 850)}, rule: "bad_header"},
		{name: "another secret", signature: []string{sign("whsec_another", 0)}, rule: "no_match"},
		{name: "an empty secret", signature: []string{sign("", 0)}, rule: "no_match"},
		{name: "too old", signature: []string{sign(secret, 10*time.Minute)}, rule: "too_old"},
		{name: "in the future", signature: []string{sign(secret, -10*time.Minute)}, rule: "in_the_future"},
	}
	var first string
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scenario{path: hook, body: body, header: http.Header{"Stripe-Signature": tt.signature}}
			answer, text := do(t, w, s.request(t, w))
			answer.Header.Del("X-Request-Id")
			answer.Header.Del("Date")
			text = fmt.Sprintln(answer.StatusCode, answer.Header, text)
			if first == "" {
				first = text
			}
			if text != first || answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("answered\n%s\nwants, as for all others,\n%s", text, first)
			}
			for _, absent := range []string{tt.rule, "v1", "secrets[", "ada@example.com", "minute"} {
				if strings.Contains(text, absent) {
					t.Errorf("the answer tells %q: %s", absent, text)
				}
			}
			if !strings.Contains(w.logs.String(), `"reason":"`+tt.rule+`: `) {
				t.Errorf("the log does not tell the rule %s", tt.rule)
			}
		})
	}
	waits(0)(t, w, "")
}

// brokenRequest speaks HTTP by hand, ends in the middle of the body, and returns the answer.
func brokenRequest(t *testing.T, w *world, head, body string) *http.Response {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: usher\r\n%s\r\n\r\n%s", hook, head, body); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func TestBodyCutShort(t *testing.T) {
	w := newWorld(t, nil)
	signature := "Stripe-Signature: " + webhooktest.SignStripe([]byte(`{"id":`), secret, time.Now()).Get("Stripe-Signature")
	tests := []struct {
		name, head, body string
	}{
		{name: "less than announced", head: "Content-Length: 100\r\n" + signature, body: `{"id":`},
		{name: "nothing of what was announced", head: "Content-Length: 100\r\n" + signature},
		{name: "no last chunk", head: "Transfer-Encoding: chunked\r\n" + signature, body: "6\r\n{\"id\":\r\n"},
		{name: "no chunk", head: "Transfer-Encoding: chunked\r\n" + signature, body: "zz\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := brokenRequest(t, w, tt.head, tt.body)
			text, _ := io.ReadAll(answer.Body) // a broken end is no matter here
			if answer.StatusCode != http.StatusBadRequest || answer.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("answered %d %s, wants 400", answer.StatusCode, text)
			}
		})
	}
	waits(0)(t, w, "")
}

// Whatever happens behind the door has its status, however it is wrapped, and tells the sender nothing.
func TestAcceptFails(t *testing.T) {
	const inner = "inner canary 5f3a"
	tests := []struct {
		name       string
		err        error
		panics     any
		status     int
		retryAfter string
		inLog      string
	}{
		{name: "the ledger cannot be written", err: ledger.ErrUnwritable, status: 503, retryAfter: "30", inLog: "cannot be written"},
		{name: "the ledger cannot be written, wrapped", err: fmt.Errorf(inner+": %w", errors.Join(ledger.ErrUnwritable, errors.New("disk full"))), status: 503, retryAfter: "30", inLog: "disk full"},
		{name: "too many wait", err: ledger.ErrBusy, status: 503, retryAfter: "2"},
		{name: "too many wait, wrapped twice", err: fmt.Errorf("a: %w", fmt.Errorf(inner+": %w", ledger.ErrBusy)), status: 503, retryAfter: "2", inLog: inner},
		{name: "out of time", err: fmt.Errorf(inner+": %w", context.DeadlineExceeded), status: 503, retryAfter: "2"},
		{name: "a wrapped status of Echo", err: fmt.Errorf(inner+": %w", echo.NewHTTPError(http.StatusRequestEntityTooLarge, inner)), status: 413},
		{name: "an error nobody knows", err: errors.New(inner), status: 500, inLog: inner},
		{name: "a panic with what a customer wrote", panics: inner + " ada@example.com", status: 500, inLog: "panic with a string"},
		{name: "a panic with an error", panics: errors.New(inner + " ada@example.com"), status: 500, inLog: "panic with a *errors.errorString"},
		{name: "a fault of ours", panics: "index", status: 500, inLog: "index out of range"},
	}
	var accept acceptor
	w := newWorld(t, func(o *handlers.Options) {
		o.Acceptor = acceptor(func(ctx context.Context, d ledger.Delivery) (int64, error) { return accept(ctx, d) })
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accept = func(_ context.Context, d ledger.Delivery) (int64, error) {
				if tt.panics == "index" {
					return int64(d.Body[len(d.Body)]), nil
				}
				if tt.panics != nil {
					panic(tt.panics)
				}
				return 0, tt.err
			}
			before := len(w.logs.String())
			run(t, w, []scenario{
				{name: "fails", path: hook, signedBy: secret, body: event("evt_1", "ada@example.com"), wantStatus: tt.status,
					wantAbsent: []string{inner, "ada@example.com", "disk full", "index out", "accepted"}, wantHeader: map[string]string{"Retry-After": tt.retryAfter}},
				{name: "the process stays", path: "/livez", wantStatus: 200},
			})
			if log := w.logs.String()[before:]; !strings.Contains(log, tt.inLog) {
				t.Errorf("the log has no %q:\n%s", tt.inLog, log)
			}
		})
	}
}

// The same with a real ledger that was closed under way.
func TestAcceptIntoAClosedLedger(t *testing.T) {
	w := newWorld(t, nil)
	run(t, w, []scenario{
		{name: "before", path: hook, signedBy: secret, body: "{}", wantStatus: 200},
		{name: "after", before: func(t *testing.T, w *world) {
			if err := w.ledger.Close(); err != nil {
				t.Fatal(err)
			}
		}, path: hook, signedBy: secret, body: "{}", wantStatus: 503, wantHeader: map[string]string{"Retry-After": "30"}},
		{name: "not ready", path: "/readyz", wantStatus: 503, wantBody: []string{"the ledger cannot be written"}},
		{name: "alive", path: "/livez", wantStatus: 200},
		{name: "its own numbers are still told", path: "/metrics", wantStatus: 200,
			wantBody: []string{`usher_deliveries_total{result="not stored",source="stripe"} 1`}, wantAbsent: []string{"database is closed"}},
	})
}

func TestManySendersAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	const senders, each = 8, 10
	var all sync.WaitGroup
	for range senders {
		requests := make([]*http.Request, each)
		for i := range requests {
			requests[i] = scenario{path: hook, signedBy: secret, body: event("", "ada@example.com")}.request(t, w)
		}
		all.Go(func() {
			for _, r := range requests {
				answer, err := w.server.Client().Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					t.Errorf("answered %d", answer.StatusCode)
				}
			}
		})
	}
	all.Wait()
	waits(senders*each)(t, w, "")
}
