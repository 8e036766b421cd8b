package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver, to prepare a ledger and to see into it

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const houseConfig = `
admin_token: %s
database: sqlite://%s
retool:
  url: %s
  token: %s
  requests_per_minute: 6000
domains:
  internal: [acme.example]
  deny: ["mailinator.example"]
access:
  - when: event.email endsWith "@globex.example"
    decision: hold
  - when: event.source == "stripe"
    groups: [1042]
    attributes: {plan: '"pro"'}
sources:
  stripe:
    preset: stripe
    secrets: [%s]
  signup-form:
    preset: typeform
    secrets: [%s]
  retool:
    preset: retool-events
    secrets: [%s]
seats:
  price: 12.50
`

// A house is one Usher as "usher serve" runs it, in this process, on an SQLite ledger of its own, before a fake Retool.
type house struct {
	t      *testing.T
	url    string
	retool *retooltest.Retool
	file   string // of the ledger
	log    *logged
}

// A preparation changes the ledger before the house opens, or its Retool.
type preparation func(t *testing.T, p *parts, retool *retooltest.Retool, file string)

func openHouse(t *testing.T, prepare ...preparation) *house {
	t.Helper()
	h := &house{t: t, file: ledgertest.MigratedFile(t, migrate), log: new(logged),
		retool: retooltest.New(retooltest.Options{Token: storyToken, InternalDomains: []string{"acme.example"}, OtherOrg: []string{"elliot@evilcorp.example"}})}
	sandbox := httptest.NewServer(h.retool)
	t.Cleanup(func() { sandbox.CloseClientConnections(); sandbox.Close() })
	settings := filepath.Join(t.TempDir(), "usher.yaml")
	text := fmt.Sprintf(houseConfig, storyAdmin, h.file, sandbox.URL, storyToken, storySecret, storySecret, storySecret)
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, problems := load(config.Options{File: settings}, h.log)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	p.log = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, prepared := range prepare {
		prepared(t, p, h.retool, h.file)
	}
	h.serve(p)
	return h
}

func migrate(address string) error {
	book, err := ledger.Open(context.Background(), address, ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return book.Close()
}

// serve runs it until the test ends.
func (h *house) serve(p *parts) {
	h.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.url = "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, listener) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			h.t.Errorf("usher ended with %v", err)
		}
		if h.t.Failed() {
			h.t.Logf("usher said:\n%s", h.log)
		}
	})
	h.until("usher is ready", func() bool {
		response, err := http.Get(h.url + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

func (h *house) until(what string, so func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(tabPatience); time.Now().Before(deadline); time.Sleep(tabGlance) {
		if so() {
			return
		}
	}
	h.t.Fatalf("%s: not so after %s; usher said:\n%s", what, tabPatience, h.log)
}

// paid is a checkout at Stripe, really signed.
func (h *house) paid(event webhooktest.StripeEvent) {
	h.t.Helper()
	body := event.JSON() // once: it makes identities up
	h.deliver("stripe", webhooktest.SignStripe(body, storySecret, time.Now()), body)
}

func (h *house) deliver(source string, header http.Header, body []byte) {
	h.t.Helper()
	status, answer, err := post(h.t.Context(), h.url+"/webhooks/"+source, header, body)
	if err != nil || status != http.StatusOK {
		h.t.Fatalf("a webhook of %s was answered %d %s: %v", source, status, answer, err)
	}
}

// row reads one row of the ledger, beside the Usher that has it open.
func (h *house) row(query string, args []any, into ...any) {
	h.t.Helper()
	db := h.db()
	defer db.Close()
	if err := db.QueryRowContext(h.t.Context(), query, args...).Scan(into...); err != nil {
		h.t.Fatalf("%s: %v", query, err)
	}
}

// count is the one number of a query.
func (h *house) count(query string, args ...any) (n int) {
	h.t.Helper()
	h.row(query, args, &n)
	return n
}

// change changes the ledger as no person and no Usher would, such as to let time pass.
func (h *house) change(statement string, args ...any) {
	h.t.Helper()
	if _, err := h.db().Exec(statement, args...); err != nil {
		h.t.Fatalf("%s: %v", statement, err)
	}
}

func (h *house) db() *sql.DB {
	h.t.Helper()
	db, err := openFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = db.Close() })
	return db
}

func openFile(file string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?_pragma=busy_timeout(10000)&_txlock=immediate")
}

// invitation waits until the invitation of an address has this state, and returns its identity.
func (h *house) invitation(email, state string) (id int64) {
	h.t.Helper()
	db, now := h.db(), ""
	defer db.Close()
	h.until(email+" is "+state, func() bool {
		now = ""
		err := db.QueryRow(`select id, state from invitations where email = $1`, email).Scan(&id, &now)
		return err == nil && now == state
	})
	return id
}

// enter opens a tab and signs in.
func (h *house) enter() *tab {
	h.t.Helper()
	b := newTab(h.t, h.url)
	b.visit("/admin")
	b.signIn(storyAdmin)
	b.see("Sign out")
	return b
}
