package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// A logged is a log that is read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestServeWaitsForPostgres starts an Usher before its Postgres: it says what is missing at every try, asks senders to come
// back, and is ready once Postgres is there.
func TestServeWaitsForPostgres(t *testing.T) {
	database, err := url.Parse(ledgertest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	behind := database.Host
	if database.Host, err = ledgertest.FreeAddress(); err != nil {
		t.Fatal(err)
	}
	database.User = url.UserPassword("postgres", "s3cret")
	p, problems := load(config.Options{Env: []string{
		"STRIPE_WEBHOOK_SECRET=" + storySecret, "RETOOL_URL=http://127.0.0.1:9", "RETOOL_API_TOKEN=" + storyToken, "USHER_ADMIN_TOKEN=" + storyAdmin,
		"USHER_INTERNAL_DOMAINS=acme.example", "DATABASE_URL=" + database.String(),
	}}, io.Discard)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	log := new(logged)
	p.log = slog.New(slog.NewTextHandler(log, nil))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})

	at := "http://" + listener.Addr().String()
	const line = "the ledger cannot be used yet"
	eventually(t, "it has tried twice", func() bool { return strings.Count(log.String(), line) >= 2 })
	if live, ready := statusOf(t, at+"/livez"), statusOf(t, at+"/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("livez answers %d and readyz %d, want 200 and 503", live, ready)
	}
	body := webhooktest.StripeEvent{ID: "evt_early", Email: "ada@lovelace.example"}.JSON()
	if response := postSigned(t, at, body); response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("a webhook is answered %d with Retry-After %q, want 503 and some seconds", response.StatusCode, response.Header.Get("Retry-After"))
	}

	forward(t, database.Host, behind)
	eventually(t, "usher is ready", func() bool { return statusOf(t, at+"/readyz") == http.StatusOK })
	if response := postSigned(t, at, body); response.StatusCode != http.StatusOK {
		t.Errorf("a webhook is answered %d, want 200", response.StatusCode)
	}
	eventually(t, "the event is in the ledger", func() bool { return statusOf(t, at+"/v1/events/evt_early") == http.StatusOK })
	text := log.String()
	if !strings.Contains(text, "see that Postgres runs at "+database.Host) || !strings.Contains(text, "next_try_in=1s") {
		t.Errorf("the log does not say what to do and when it is tried again:\n%s", text)
	}
	if strings.Contains(text, "s3cret") {
		t.Errorf("the log holds the password:\n%s", text)
	}
}

// forward lets what listens at one address be reached at another, until the test ends.
func forward(t *testing.T, from, to string) {
	t.Helper()
	listener, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				}()
			}
		}
	}()
}
