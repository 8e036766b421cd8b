package handlers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
)

func TestHealth(t *testing.T) {
	run(t, newWorld(t, nil), []scenario{
		{name: "alive", path: "/livez", wantStatus: 200, wantBody: []string{"ok\n"}},
		{name: "ready", path: "/readyz", wantStatus: 200, wantBody: []string{"ok\n"}},
		{name: "not ready while draining", before: func(_ *testing.T, w *world) { w.handler.Drain() }, path: "/readyz", wantStatus: 503, wantBody: []string{"stopping\n"}},
		{name: "alive while draining", path: "/livez", wantStatus: 200},
		{name: "what still comes is accepted while draining", path: hook, signedBy: secret, body: "{}", wantStatus: 200},
	})
}

func TestReadyWhileSendingIsStopped(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.ledger.ChangePace(t.Context(), ledger.PaceChange{Stop: "Retool refuses the token"}); err != nil {
		t.Fatal(err)
	}
	run(t, w, []scenario{{name: "ready", path: "/readyz", wantStatus: 200}})
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.Panics = func() int64 { return 3 } })
	w.record(t, "evt_0", "grace@example.com")
	run(t, w, []scenario{
		{name: "accepted", path: hook, signedBy: secret, body: event("evt_metrics", "ada@example.com"), wantStatus: 200},
		{name: "rejected", path: hook, signedBy: "whsec_another", body: "{}", wantStatus: 401},
		{name: "rejected without a signature", path: hook, body: "{}", wantStatus: 401},
		{name: "refused", path: hook, signedBy: secret, body: "{}", header: http.Header{"Content-Encoding": {"br"}}, wantStatus: 415},
		{name: "unknown sources make no labels", path: "/webhooks/ada@example.com", signedBy: secret, body: "{}", wantStatus: 404},
		{name: "metrics", path: "/metrics", wantStatus: 200, wantBody: []string{
			`usher_deliveries_total{result="accepted",source="stripe"} 1`, `usher_deliveries_total{result="rejected",source="stripe"} 2`, `usher_deliveries_total{result="refused",source="stripe"} 1`,
			`usher_signature_failures_total{rule="no_match",source="stripe"} 1`, `usher_signature_failures_total{rule="no_signature",source="stripe"} 1`,
			"usher_accept_duration_seconds_count 1", `usher_build_info{version="1.2.3"} 1`, `usher_invitations{state="queued"} 1`, `usher_invitations{state="failed"} 0`,
			"usher_undecided_deliveries 1", "usher_set_aside_deliveries 0", "usher_oldest_waiting_seconds ", "usher_sending_stopped 0", `usher_oldest_due_seconds{of="delivery"} `,
			`usher_oldest_due_seconds{of="job"} `, `usher_oldest_due_seconds{of="invitation"} `, "usher_sending_idle_seconds ", "usher_panics_total 3", "go_goroutines", "process_",
		}, wantAbsent: []string{"@", "evt_", "whsec"}},
		{name: "sending is stopped", before: func(t *testing.T, w *world) {
			t.Helper()
			if _, err := w.ledger.ChangePace(t.Context(), ledger.PaceChange{Stop: "Retool refuses the token"}); err != nil {
				t.Fatal(err)
			}
		}, path: "/metrics", wantStatus: 200, wantBody: []string{"usher_sending_stopped 1"}, wantAbsent: []string{"refuses"}},
	})
}

// Without limits a sender that trickles holds a connection for ever.
func TestHTTPServerHasEveryTimeout(t *testing.T) {
	server := handlers.HTTPServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	tests := []struct {
		name  string
		got   time.Duration
		least time.Duration
		most  time.Duration
	}{
		{name: "header", got: server.ReadHeaderTimeout, least: time.Second, most: 10 * time.Second},
		{name: "read", got: server.ReadTimeout, least: 10 * time.Second, most: time.Minute},
		{name: "write", got: server.WriteTimeout, least: server.ReadTimeout, most: 2 * time.Minute},
		{name: "idle", got: server.IdleTimeout, least: 30 * time.Second, most: 5 * time.Minute},
	}
	for _, tt := range tests {
		if tt.got < tt.least || tt.got > tt.most {
			t.Errorf("the %s time-out is %s, wants %s to %s", tt.name, tt.got, tt.least, tt.most)
		}
	}
	if server.MaxHeaderBytes <= 0 || server.MaxHeaderBytes > 64<<10 {
		t.Errorf("a header may have %d bytes", server.MaxHeaderBytes)
	}
	if server.ErrorLog == nil {
		t.Error("net/http would log to stderr by itself")
	}
}

// Two requests never share an identity, and a client cannot choose it.
func TestRequestIDs(t *testing.T) {
	w := newWorld(t, nil)
	seen := map[string]bool{"chosen": true}
	for _, path := range []string{"/livez", "/livez", "/nothing", hook, "/v1/nothing"} {
		r := scenario{path: path, header: http.Header{"X-Request-Id": {"chosen"}}}.request(t, w)
		answer, _ := do(t, w, r)
		id := answer.Header.Get("X-Request-Id")
		if id == "" || seen[id] {
			t.Errorf("%s has the identity %q", path, id)
		}
		seen[id] = true
	}
}

// Addresses and secrets in every place where a request can have text: newWorld looks through the log when the
// test ends, and this makes sure that there is something to look through.
func TestCanary(t *testing.T) {
	const canary = "canary.person@private.example"
	w := newWorld(t, func(o *handlers.Options) {
		next := o.Acceptor
		o.Acceptor = acceptor(func(ctx context.Context, d ledger.Delivery) (int64, error) {
			switch string(d.Body) {
			case "panic":
				panic("the customer " + canary + " and " + secret)
			case "unwritable":
				return 0, fmt.Errorf("accept: %w", ledger.ErrUnwritable)
			}
			return next.Accept(ctx, d)
		})
	})
	escaped := url.QueryEscape(canary)
	leaky := http.Header{"Stripe-Signature": {"t=" + canary + ",v1=" + secret}}
	run(t, w, []scenario{
		{name: "accepted", path: hook, signedBy: secret, body: event("evt_1", canary), wantStatus: 200},
		{name: "wrongly signed", path: hook, signedBy: "whsec_another", body: event("evt_1", canary), wantStatus: 401},
		{name: "signature of text", path: hook, header: leaky, body: event("evt_1", canary), wantStatus: 401},
		{name: "panic", path: hook, signedBy: secret, body: "panic", wantStatus: 500},
		{name: "unwritable", path: hook, signedBy: secret, body: "unwritable", wantStatus: 503},
		{name: "in the query", path: hook + "?email=" + escaped + "&token=" + adminToken, signedBy: "whsec_another", body: "{}", wantStatus: 401},
		{name: "in the path", path: "/webhooks/" + escaped, signedBy: secret, body: "{}", wantStatus: 404},
		{name: "invited", path: "/v1/invitations", body: `{"email": "` + canary + `"}`, wantStatus: 202},
		{name: "own domain", path: "/v1/invitations", body: `{"email": "canary.person@acme.com"}`, wantStatus: 422, wantAbsent: []string{"canary.person"}},
		{name: "malformed", path: "/v1/invitations", body: `{"email": "` + canary + `@` + canary + `"}`, wantStatus: 422, wantAbsent: []string{"canary.person"}},
		{name: "no JSON", path: "/v1/invitations", body: canary, wantStatus: 400, wantAbsent: []string{"canary.person"}},
		{name: "wrong token", path: "/v1/invitations?email=" + escaped, header: bearer("Bearer " + secret), wantStatus: 401},
		{name: "the ledger is gone", before: func(t *testing.T, w *world) {
			t.Helper()
			if err := w.ledger.Close(); err != nil {
				t.Fatal(err)
			}
		}, path: "/v1/invitations?email=" + escaped, wantStatus: 500, wantAbsent: []string{"canary.person", "database"}},
		{name: "created without a ledger", path: "/v1/invitations", body: `{"email": "` + canary + `"}`, wantStatus: 500, wantAbsent: []string{"canary.person", "database"}},
	})
	for _, absent := range []string{"canary.person", "private.example", "whsec_another", escaped} {
		if strings.Contains(w.logs.String(), absent) {
			t.Errorf("the log tells %s:\n%s", absent, w.logs)
		}
	}
	for _, want := range []string{"a webhook was refused", "a request failed", `"route":"/webhooks/:source"`, `"request_id":"`, "panic with a string"} {
		if !strings.Contains(w.logs.String(), want) {
			t.Errorf("the log has no %s", want)
		}
	}
}
