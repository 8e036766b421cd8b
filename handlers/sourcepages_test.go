package handlers_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

const pathToken = "token-canary-0123456789abcdefghij"

// withSources serves stripe, a source whose address ends in a token, one that anybody can send to, and one that no
// sample is known of.
func withSources(t *testing.T) *world {
	t.Helper()
	source := func(c webhook.Config) *webhook.Source {
		t.Helper()
		made, err := webhook.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	gumroad, _ := webhook.FindPreset("gumroad")
	return newWorld(t, func(o *handlers.Options) {
		o.Sources["shop"] = source(webhook.Config{Name: "shop", Preset: "gumroad", Row: gumroad.Row, Secrets: []string{pathToken}, PublicURL: "https://hooks.example/webhooks/shop"})
		o.Sources["billing"] = source(webhook.Config{Name: "billing", Secrets: []string{secret + "1", secret + "2"},
			Row: webhook.Row{Verify: webhook.Verify{Kind: "token", Header: "X-Token"}, Email: []string{"body.email"}, EventID: "body.id"}})
		o.Sources["open"] = source(webhook.Config{Name: "open", AllowUnsigned: true, Row: webhook.Row{Verify: webhook.Verify{Kind: "none"}, Email: []string{"body.email"}, EventID: "body.id"}})
	})
}

func TestSources(t *testing.T) {
	w := withSources(t)
	w.handler.Begin(t.Context())
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/sources")
	wellMade(t, "the sources", body)
	has(t, body, w.server.URL+"/webhooks/stripe", "https://hooks.example/webhooks/shop/TOKEN", "HMAC-SHA256, time signed", "token in X-Token", "anybody can send", "none yet")
	lacks(t, body, pathToken, secret)

	for i := range 12 {
		w.record(t, fmt.Sprintf("evt_%d", i), fmt.Sprintf("person%d@example.com", i))
	}
	w.record(t, "evt_own", "<b>x</b>@acme.com")
	for range 3 {
		do(t, w, scenario{path: "/webhooks/stripe", body: `{}`}.request(t, w)) // unsigned
	}
	_, body = b.get(t, "/admin/sources/stripe")
	wellMade(t, "stripe", body)
	has(t, body, "unchanged since at least", "at most 5 minutes old", "malformed address", "external", "&lt;b&gt;x&lt;/b&gt;@acme.com", "person11@example.com", "/admin/invitations/12", "/admin/events/13",
		`<span class="badge bad">3</span>`, "it had no signature", "Send a test event", "In the dashboard open Developers", "<dt>Events in 24 hours</dt><dd>13</dd>")
	lacks(t, body, secret, "person2@example.com", "<b>x</b>")

	_, body = b.get(t, "/admin/sources/billing")
	has(t, body, "none: described in usher.yaml", "2 set", "Nothing came yet")
	if answer, _ := b.get(t, "/admin/sources/nobody"); answer.StatusCode != 404 {
		t.Errorf("a source that is none is answered %d", answer.StatusCode)
	}

	none := newBrowser(t, newWorld(t, func(o *handlers.Options) { o.Sources = nil })).signIn(t, "")
	_, body = none.get(t, "/admin/sources")
	has(t, body, "No sender is configured", "preset: typeform", "docs/sources.md")
	wellMade(t, "without sources", body)
}

func TestSourceSecretsAreKnownByTheirAge(t *testing.T) {
	w := withSources(t)
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/sources/stripe")
	has(t, body, "<dt>Secret</dt><dd>set</dd>")
	if err := w.ledger.NoteSecrets(t.Context(), map[string]string{"stripe": "0000"}); err != nil { // what an earlier start saw
		t.Fatal(err)
	}
	w.handler.Begin(t.Context())
	_, body = b.get(t, "/admin/sources/stripe")
	has(t, body, "set, last rotated")
	lacks(t, body, "unchanged")
}

func TestSourceRevealsItsTokenToAnAdmin(t *testing.T) {
	w := withSources(t)
	w.handler.Tokens = append(w.handler.Tokens, handlers.Token{Name: "dashboard", Hash: hash(readToken), Role: "read"})
	admin, reader := newBrowser(t, w).signIn(t, ""), newBrowser(t, w).signIn(t, readToken)
	_, body := admin.get(t, "/admin/sources/shop")
	has(t, body, "/webhooks/shop/TOKEN", "reveal=1")
	lacks(t, body, pathToken)
	_, body = admin.get(t, "/admin/sources/shop?reveal=1")
	has(t, body, "https://hooks.example/webhooks/shop/"+pathToken)
	wellMade(t, "revealed", body)
	_, body = reader.get(t, "/admin/sources/shop?reveal=1")
	has(t, body, "/webhooks/shop/TOKEN")
	lacks(t, body, pathToken, "reveal=1")
}

func TestSourceIsTried(t *testing.T) {
	w := withSources(t)
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/sources/stripe")
	has(t, body, `action="/admin/sources/stripe/test"`)
	answer, _ := b.post(t, "/admin/sources/stripe/test", nil)
	isRedirect(t, answer, "/admin/sources/stripe?test=1#test")
	_, body = b.get(t, "/admin/sources/stripe?test=1")
	has(t, body, "It is being decided", `hx-get="/admin/sources/stripe/test/1"`)
	if answer, _ = b.get(t, "/admin/sources/stripe/test/1", "HX-Request", "true"); answer.StatusCode != 200 {
		t.Errorf("while it waits: %d", answer.StatusCode)
	}
	w.decide(t)
	answer, body = b.get(t, "/admin/sources/stripe/test/1", "HX-Request", "true")
	if answer.StatusCode != 286 {
		t.Errorf("once it is decided: %d", answer.StatusCode)
	}
	has(t, body, "It works.", "/admin/events/1")

	// The mark went with it, and so did the word of who sent it.
	marked := false
	_, err := w.ledger.Decide(t.Context(), 1, func(d ledger.Delivery) ([]ledger.Verdict, error) { return nil, nil })
	if err == nil {
		err = w.ledger.Replay(t.Context(), "a test", 1)
	}
	if err == nil {
		_, err = w.ledger.Decide(t.Context(), 1, func(d ledger.Delivery) ([]ledger.Verdict, error) {
			marked = strings.Contains(d.Request, `"test":true`)
			return nil, nil
		})
	}
	if err != nil || !marked {
		t.Errorf("the delivery is not marked as a test (%v)", err)
	}
	trail, err := w.ledger.Audit(t.Context(), ledger.AuditFilter{Actor: "admin_token"})
	if err != nil || len(trail) != 1 || trail[0].What != ledger.DidTest || trail[0].Subject != "source stripe, delivery 1" {
		t.Errorf("the trail is %+v (%v)", trail, err)
	}

	answer, _ = b.post(t, "/admin/sources/shop/test", nil) // its token is in the path
	isRedirect(t, answer, "/admin/sources/shop?test=2#test")
	if _, err := w.ledger.Decide(t.Context(), 9, func(d ledger.Delivery) ([]ledger.Verdict, error) {
		return []ledger.Verdict{{Event: access.Event{Source: d.Source, Type: "sale", ID: "test:2:x"}, Decision: access.Decision{Outcome: access.Skip, Reason: webhook.ReasonTestEvent,
			Sentence: "A test from Usher's page: it would have been decided skip: there is no address.", Rule: -1}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	_, body = b.get(t, "/admin/sources/shop?test=2")
	has(t, body, "It arrives, and would invite nobody.", "there is no address")
	lacks(t, body, "It works.")
	if answer, _ = b.get(t, "/admin/sources/stripe/test/2", "HX-Request", "true"); answer.StatusCode != 404 {
		t.Errorf("the test of another source is answered %d", answer.StatusCode)
	}
	answer, body = b.post(t, "/admin/sources/billing/test", nil)
	if answer.StatusCode != 422 {
		t.Errorf("without a sample: %d", answer.StatusCode)
	}
	has(t, body, "names no preset", "usher send billing --body FILE")
	if answer, _ = b.get(t, "/admin/sources/stripe/test/99", "HX-Request", "true"); answer.StatusCode != 404 {
		t.Errorf("a test that was none is answered %d", answer.StatusCode)
	}
}

func TestSourceTestsNeedAnAdmin(t *testing.T) {
	w := withTokens(t)
	for token, want := range map[string]int{readToken: 403, inviteToken: 403, otherAdmin: 303} {
		b := newBrowser(t, w).signIn(t, token)
		b.get(t, "/admin/sources/stripe")
		if answer, _ := b.post(t, "/admin/sources/stripe/test", nil); answer.StatusCode != want {
			t.Errorf("%s is answered %d, wants %d", token, answer.StatusCode, want)
		}
		if answer, _ := b.post(t, "/admin/sources/stripe/test", url.Values{"csrf": {"wrong"}}); answer.StatusCode != 403 {
			t.Errorf("a forged test is answered %d", answer.StatusCode)
		}
	}
}

// Nobody outside can make a delivery a test: it would be recorded, and its customer never invited.
func TestNoRequestIsATest(t *testing.T) {
	w := newWorld(t, nil)
	for i, header := range []http.Header{{"X-Test": {"true"}}, {"Test": {"true"}}, {"Usher-Test": {"true"}}, {"Trial": {"1"}}} {
		body := event(fmt.Sprintf("evt_%d", i), "jane@example.com")
		r := scenario{path: "/webhooks/stripe?test=true&trial=1", body: body, signedBy: secret, header: header}.request(t, w)
		if answer, text := do(t, w, r); answer.StatusCode != 200 {
			t.Fatalf("%d %s", answer.StatusCode, text)
		}
	}
	n, err := w.ledger.Decide(t.Context(), 9, func(d ledger.Delivery) ([]ledger.Verdict, error) {
		if strings.Contains(d.Request, "est\":") {
			t.Errorf("the delivery is kept with %s", d.Request)
		}
		return nil, nil
	})
	if err != nil || n != 4 {
		t.Errorf("%d were decided (%v)", n, err)
	}
}

func TestEventPage(t *testing.T) {
	w := newWorld(t, nil)
	body := string(webhooktest.StripeEvent{ID: "evt_1", Email: "bob@acme.com", Name: "<i>Bob</i>", Created: time.Now()}.JSON())
	for range 2 {
		if answer, text := do(t, w, scenario{path: "/webhooks/stripe", body: body, signedBy: secret}.request(t, w)); answer.StatusCode != 200 {
			t.Fatalf("%d %s", answer.StatusCode, text)
		}
	}
	w.decide(t)
	b := newBrowser(t, w).signIn(t, "")
	_, page := b.get(t, "/admin/events/1")
	wellMade(t, "the event", page)
	has(t, page, "Event 1", "stripe told us: checkout.session.completed", "It is delivery 1.", "secrets[0]", "stripe sent it again", "It is delivery 2.", "Decided: invite nobody", "internal domain", "acme.com is your own domain",
		"&lt;i&gt;Bob&lt;/i&gt;", "checkout.session.completed", `action="/admin/deliveries/1/replay"`)
	lacks(t, page, "<i>Bob")
	answer, _ := b.get(t, "/admin/events/evt_1?source=stripe")
	if answer.StatusCode != 200 {
		t.Errorf("by the sender's identity it is %d", answer.StatusCode)
	}
	for _, missing := range []string{"/admin/events/99", "/admin/events/evt_none"} {
		if answer, _ := b.get(t, missing); answer.StatusCode != 404 {
			t.Errorf("%s is answered %d", missing, answer.StatusCode)
		}
	}
	id, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: access.Event{Source: "api", Type: "invitation.requested", ID: "x", Email: "jane@example.com"},
		Decision: w.policy.Decide(access.Event{Email: "jane@example.com"}), By: "admin_token"})
	if err != nil {
		t.Fatal(err)
	}
	_, page = b.get(t, "/admin/events/2")
	has(t, page, "A person asked for it", "Decided: invite", fmt.Sprintf("/admin/invitations/%d", id))
	lacks(t, page, "/replay")
}

func TestSourceListsWhatCouldNotBeDecided(t *testing.T) {
	w := withSources(t)
	for _, source := range []string{"stripe", "shop"} {
		if _, err := w.ledger.Accept(t.Context(), ledger.Delivery{Source: source, ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Request: "{}", Body: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		if _, err := w.ledger.Decide(t.Context(), 1, func(d ledger.Delivery) ([]ledger.Verdict, error) {
			return nil, fmt.Errorf("<em>poison</em> of %s", d.Source)
		}); err != nil {
			t.Fatal(err)
		}
	}
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/sources/shop")
	wellMade(t, "the source", body)
	has(t, body, "Could not be decided", "&lt;em&gt;poison&lt;/em&gt; of shop", `action="/admin/deliveries/2/replay"`)
	lacks(t, body, "of stripe", "/admin/deliveries/1/replay", "<em>")
	answer, _ := b.post(t, "/admin/deliveries/2/replay", nil, "Referer", w.server.URL+"/admin/sources/shop")
	isRedirect(t, answer, "/admin/sources/shop")
	_, body = b.get(t, "/admin/sources/shop")
	has(t, body, "Delivery 2 is decided again")
	lacks(t, body, "Could not be decided")
}
