package handlers_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

const hubspotURL = "https://usher.example.com/hooks/hubspot"

// greeters are the sources of the tests about handshakes, as usher.yaml has them.
var greeters = map[string]string{
	"slack":   `preset: slack-style`,
	"monday":  `{preset: hmac-hex, handshake: challenge}`,
	"plain":   `preset: hmac-hex`,
	"shop":    `preset: woocommerce`,
	"crm":     `{preset: hubspot, allow_legacy: true}`,
	"gumroad": `preset: gumroad`,
	"bearer":  `preset: bearer`,
}

// greetersWorld serves them all, with the canary as the secret of each. What is stored can be looked at.
func greetersWorld(t *testing.T, stored *[]ledger.Delivery) *world {
	t.Helper()
	return newWorld(t, func(o *handlers.Options) {
		for name, text := range greeters {
			config := configOf(t, text)
			config.Name, config.Secrets, config.PublicURL = name, []string{secret}, hubspotURL
			source, err := webhook.New(config)
			if err != nil {
				t.Fatal(err)
			}
			o.Sources[name] = source
		}
		ledgers := o.Acceptor
		o.Acceptor = acceptor(func(ctx context.Context, d ledger.Delivery) (int64, error) {
			if stored != nil {
				*stored = append(*stored, d)
			}
			return ledgers.Accept(ctx, d)
		})
	})
}

// signedFor signs as the sender of a preset does, now.
func signedFor(t *testing.T, preset, with, method, url, body string) http.Header {
	t.Helper()
	p, ok := webhook.FindPreset(preset)
	if !ok {
		t.Fatalf("there is no preset %s", preset)
	}
	header := http.Header{}
	if p.Row.OnlyIf != "" {
		name, value, _ := strings.Cut(p.Row.OnlyIf, ": ")
		header.Set(name, value)
	}
	if err := webhooktest.Sign(p.Row.Verify, with, header, method, url, []byte(body), time.Now()); err != nil {
		t.Fatal(err)
	}
	return header
}

func with(header http.Header, name, value string) http.Header {
	header = header.Clone()
	header.Set(name, value)
	return header
}

func TestGetAndHeadOfEverySourceDoNothing(t *testing.T) {
	w := greetersWorld(t, nil)
	for name := range greeters {
		for _, method := range []string{"GET", "HEAD"} {
			run(t, w, []scenario{
				{name: method + " of " + name, method: method, path: "/webhooks/" + name, wantStatus: 200, wantHeader: map[string]string{"Location": ""}, after: func(t *testing.T, w *world, body string) {
					if body != "" {
						t.Errorf("the answer has the body %q", body)
					}
					waits(0)(t, w, "")
				}},
			})
		}
	}
}

func TestHandshakes(t *testing.T) {
	w := greetersWorld(t, nil)
	const verification = `{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}`
	slack := func(with, body string) http.Header { return signedFor(t, "slack-style", with, "POST", "", body) }
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	gzip := http.Header{"Content-Encoding": {"gzip"}}
	long := strings.Repeat("c", 1025)
	safe := map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
	text := map[string]string{"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
	run(t, w, []scenario{
		{name: "Slack: a signed url_verification is answered with its challenge", path: "/webhooks/slack", body: verification, header: slack(secret, verification),
			wantStatus: 200, wantBody: []string{`{"challenge":"3eZbrw1aB"}`}, wantAbsent: []string{"accepted"}, wantHeader: safe, after: waits(0)},
		{name: "Slack: unsigned", path: "/webhooks/slack", body: verification, wantStatus: 401, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},
		{name: "Slack: signed by another", path: "/webhooks/slack", body: verification, header: slack("another", verification), wantStatus: 401, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},
		{name: "Slack: signed with an empty secret", path: "/webhooks/slack", body: verification, header: slack("", verification), wantStatus: 401, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},
		{name: "Slack: compressed", path: "/webhooks/slack", body: verification, header: with(slack(secret, verification), "Content-Encoding", "gzip"), wantStatus: 415, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},

		{name: "a challenge is echoed", path: "/webhooks/monday", body: `{"challenge":"3eZbrw1aB"}`, wantStatus: 200, wantBody: []string{`{"challenge":"3eZbrw1aB"}`}, wantHeader: safe, after: waits(0)},
		{name: "a challenge that is markup is no page", path: "/webhooks/monday", body: `{"challenge":"<script>alert(1)</script>"}`, wantStatus: 200, wantAbsent: []string{"<script>"}, wantHeader: safe, after: waits(0)},
		{name: "a challenge beside something else is an event without a signature", path: "/webhooks/monday", body: `{"challenge":"3eZbrw1aB","email":"ada@example.com"}`, wantStatus: 401, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},
		{name: "a challenge that is no text", path: "/webhooks/monday", body: `{"challenge":{"a":"b"}}`, wantStatus: 401, after: waits(0)},
		{name: "a challenge that is empty", path: "/webhooks/monday", body: `{"challenge":""}`, wantStatus: 401, after: waits(0)},
		{name: "a challenge that is too long", path: "/webhooks/monday", body: `{"challenge":"` + long + `"}`, wantStatus: 401, wantAbsent: []string{"ccc"}, after: waits(0)},
		{name: "a challenge, compressed", path: "/webhooks/monday", body: `{"challenge":"3eZbrw1aB"}`, header: gzip, wantStatus: 415, after: waits(0)},
		{name: "a challenge by GET is echoed as text", path: "/webhooks/monday?challenge=3eZbrw1aB", wantStatus: 200, wantBody: []string{"3eZbrw1aB"}, wantHeader: text, after: waits(0)},
		{name: "a challenge by GET that is markup is no page", path: "/webhooks/monday?challenge=%3Cscript%3E", wantStatus: 200, wantHeader: text, after: waits(0)},
		{name: "a challenge by GET that is too long", path: "/webhooks/monday?challenge=" + long, wantStatus: 200, wantAbsent: []string{"c"}, after: waits(0)},
		{name: "no handshake, no echo", path: "/webhooks/plain", body: `{"challenge":"3eZbrw1aB"}`, wantStatus: 401, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},
		{name: "no handshake, no echo by GET", path: "/webhooks/plain?challenge=3eZbrw1aB", wantStatus: 200, wantAbsent: []string{"3eZbrw1aB"}, after: waits(0)},

		{name: "WooCommerce's unsigned ping", path: "/webhooks/shop", body: "webhook_id=12", header: form, wantStatus: 200, wantAbsent: []string{"accepted", "12"}, after: waits(0)},
		{name: "WooCommerce's ping with a second field", path: "/webhooks/shop", body: "webhook_id=12&billing[email]=ada@example.com", header: form, wantStatus: 401, after: waits(0)},
		{name: "WooCommerce's ping twice over", path: "/webhooks/shop", body: "webhook_id=12&webhook_id=13", header: form, wantStatus: 401, after: waits(0)},
		{name: "WooCommerce's ping with a line more", path: "/webhooks/shop", body: "webhook_id=12\n", header: form, wantStatus: 401, after: waits(0)},
		{name: "WooCommerce's ping that is no number", path: "/webhooks/shop", body: "webhook_id=ada@example.com", header: form, wantStatus: 401, after: waits(0)},
		{name: "WooCommerce's ping with a signature that is wrong", path: "/webhooks/shop", body: "webhook_id=12", header: signedFor(t, "woocommerce", "another", "POST", "", "webhook_id=12"), wantStatus: 401, after: waits(0)},
		{name: "WooCommerce's ping to another source", path: "/webhooks/plain", body: "webhook_id=12", header: form, wantStatus: 401, after: waits(0)},

		{name: "an event of a sender that knows handshakes", path: "/webhooks/slack", body: `{"type":"event_callback"}`, header: slack(secret, `{"type":"event_callback"}`), wantStatus: 200, wantBody: []string{"accepted"}, after: waits(1)},
		{name: "compressed, with no handshake", path: "/webhooks/plain", body: "{}", header: with(signedFor(t, "hmac-hex", secret, "POST", "", "{}"), "Content-Encoding", "gzip"), wantStatus: 415, after: waits(1)},
	})
}

// HubSpot's workflows send by GET too. The address that is signed is the configured one, with the query of the
// request: what a stranger writes into Host or X-Forwarded-Host is never part of it.
func TestHubSpotDeliversByGet(t *testing.T) {
	w := greetersWorld(t, nil)
	const query = "?email=ada%40example.com&vid=42"
	v3 := func(method, url, body string) http.Header {
		return signedFor(t, "hubspot", secret, method, strings.NewReplacer("%40", "@").Replace(url), body)
	}
	v2 := func(method, url, body string) http.Header {
		return signedFor(t, "hubspot-v2", secret, method, url, body)
	}
	elsewhere := func(h http.Header) http.Header {
		h = with(h, "X-Forwarded-Host", "evil.example")
		h.Set("X-Forwarded-Proto", "http")
		h.Set("Forwarded", "host=evil.example")
		h.Set("X-Original-Url", "/evil")
		return h
	}
	const evil = "https://evil.example/hooks/hubspot"
	run(t, w, []scenario{
		{name: "GET without a signature does nothing", path: "/webhooks/crm" + query, wantStatus: 200, after: waits(0)},
		{name: "v3 by GET", method: "GET", path: "/webhooks/crm" + query, header: v3("GET", hubspotURL+query, ""), wantStatus: 200, wantBody: []string{"accepted"}, after: waits(1)},
		{name: "v2 by GET", method: "GET", path: "/webhooks/crm" + query, header: v2("GET", hubspotURL+query, ""), wantStatus: 200, wantBody: []string{"accepted"}, after: waits(2)},
		{name: "v3 by GET without a query", method: "GET", path: "/webhooks/crm", header: v3("GET", hubspotURL, ""), wantStatus: 200, wantBody: []string{"accepted"}, after: waits(3)},
		{name: "v3 by POST", path: "/webhooks/crm" + query, body: "[]", header: v3("POST", hubspotURL+query, "[]"), wantStatus: 200, after: waits(4)},
		{name: "v3, and a proxy that names another host", path: "/webhooks/crm", body: "[]", header: elsewhere(v3("POST", hubspotURL, "[]")), wantStatus: 200, after: waits(5)},

		{name: "v3, signed for another host that the request names", path: "/webhooks/crm", body: "[]", header: elsewhere(v3("POST", evil, "[]")), wantStatus: 401, after: waits(5)},
		{name: "v2, signed for another host that the request names", path: "/webhooks/crm", body: "[]", header: elsewhere(v2("POST", evil, "[]")), wantStatus: 401, after: waits(5)},
		{name: "v3 signed for POST, sent by GET", method: "GET", path: "/webhooks/crm" + query, header: v3("POST", hubspotURL+query, ""), wantStatus: 401, after: waits(5)},
		{name: "v2 signed for POST, sent by GET", method: "GET", path: "/webhooks/crm" + query, header: v2("POST", hubspotURL+query, ""), wantStatus: 401, after: waits(5)},
		{name: "v3 with another query", method: "GET", path: "/webhooks/crm?email=eve%40example.com&vid=42", header: v3("GET", hubspotURL+query, ""), wantStatus: 401, after: waits(5)},
		{name: "v2 with another query", method: "GET", path: "/webhooks/crm?email=eve%40example.com&vid=42", header: v2("GET", hubspotURL+query, ""), wantStatus: 401, after: waits(5)},
		{name: "v3 whose query went into the body", path: "/webhooks/crm", body: query + "[]", header: v3("POST", hubspotURL+"?email=ada@example.com&vid=42", "[]"), wantStatus: 401, after: waits(5)},
		{name: "v3 by HEAD, signed for GET", method: "HEAD", path: "/webhooks/crm" + query, header: v3("GET", hubspotURL+query, ""), wantStatus: 401, after: waits(5)},
		{name: "v3 that failed is not tried as v2", path: "/webhooks/crm", body: "[]", header: with(v2("POST", hubspotURL, "[]"), "X-HubSpot-Signature-v3", "AAAA"), wantStatus: 401, after: waits(5)},
		{name: "GET with a signature of a sender that signs no method", method: "GET", path: "/webhooks/plain", header: signedFor(t, "hmac-hex", secret, "GET", "", ""), wantStatus: 200, wantAbsent: []string{"accepted"}, after: waits(5)},
		{name: "v2 where legacy is not allowed", before: func(t *testing.T, w *world) {
			source, err := webhook.New(webhook.Config{Name: "crm", Row: configOf(t, "preset: hubspot").Row, Secrets: []string{secret}, PublicURL: hubspotURL})
			if err != nil {
				t.Fatal(err)
			}
			w.handler.Sources["crm"] = source
		}, path: "/webhooks/crm", body: "[]", header: v2("POST", hubspotURL, "[]"), wantStatus: 401, after: waits(5)},
	})
}

// A token in the path opens its source and is seen nowhere. The canary is the token, so that newWorld watches
// the log and run the answers.
func TestTokenInThePath(t *testing.T) {
	var stored []ledger.Delivery
	w := greetersWorld(t, &stored)
	const sale, door = "sale_id=1&email=ada%40example.com", "/webhooks/gumroad/"
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Referer": {"https://usher.example.com" + door + secret}}
	run(t, w, []scenario{
		{name: "the right token", path: door + secret, body: sale, header: form, wantStatus: 200, wantBody: []string{"accepted"}, after: waits(1)},
		{name: "a wrong token", path: door + anotherSecret(secret), body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "the token and more", path: door + secret + "x", body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "a part of the token", path: door + secret[:len(secret)-1], body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "the token in capitals", path: door + strings.ToUpper(secret), body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "no token", path: "/webhooks/gumroad", body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "a slash and no token", path: door, body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "a blank token", path: door + "%20", body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "the token in the query", path: "/webhooks/gumroad?token=" + secret, body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "the token in a header", path: "/webhooks/gumroad", body: sale, header: http.Header{"Authorization": {"Bearer " + secret}}, wantStatus: 401, after: waits(1)},
		{name: "a segment behind the token", path: door + secret + "/more", body: sale, header: form, wantStatus: 401, after: waits(1)},
		{name: "GET with the token does nothing", path: door + secret, wantStatus: 200, after: waits(1)},
		{name: "GET with a wrong token tells nothing", path: door + anotherSecret(secret), wantStatus: 200, after: waits(1)},
		{name: "HEAD with the token does nothing", method: "HEAD", path: door + secret, wantStatus: 200, after: waits(1)},
		{name: "compressed", path: door + secret, body: sale, header: with(form, "Content-Encoding", "gzip"), wantStatus: 415, after: waits(1)},
		{name: "the metrics", path: "/metrics", wantStatus: 200, wantBody: []string{`source="gumroad"`}},

		{name: "a slash behind a signed source does not matter", path: "/webhooks/plain/", body: "{}", header: signedFor(t, "hmac-hex", secret, "POST", "", "{}"), wantStatus: 200, after: waits(2)},
		{name: "a segment behind a signed source", path: "/webhooks/plain/" + secret, body: "{}", header: signedFor(t, "hmac-hex", secret, "POST", "", "{}"), wantStatus: 404, after: waits(2)},
		{name: "a segment behind a source with a token header", path: "/webhooks/bearer/" + secret, body: "{}", header: http.Header{"Authorization": {"Bearer " + secret}}, wantStatus: 404, after: waits(2)},
		{name: "a segment behind Stripe's source", path: "/webhooks/stripe/" + secret, body: "{}", signedBy: secret, wantStatus: 404, after: waits(2)},
		{name: "a segment behind a signed source, by GET", path: "/webhooks/plain/" + secret, wantStatus: 404},
		{name: "a segment behind a signed source, by HEAD", method: "HEAD", path: "/webhooks/plain/" + secret, wantStatus: 404},
		{name: "a segment behind nothing", path: "/webhooks/nobody/" + secret, body: "{}", wantStatus: 404, after: waits(2)},
	})
	if len(stored) != 2 {
		t.Fatalf("%d deliveries were stored, wants 2", len(stored))
	}
	if d := stored[0]; strings.Contains(d.Request+d.VerifiedBy+string(d.Body), secret) || d.VerifiedBy != "secrets[0]" {
		t.Errorf("the delivery by %s keeps the token: %s", d.VerifiedBy, d.Request)
	}
	if !strings.Contains(w.logs.String(), `"source":"nobody","reason":"there is no such source`) {
		t.Error("the log does not tell of a webhook to nobody")
	}
	if strings.Contains(strings.ToLower(w.logs.String()), strings.ToLower(secret[:len(secret)-1])) {
		t.Error("the log tells the token, or nearly so")
	}
}

// Rule 9: a bad signature is 401, whatever is valid is 200, also when it is of no use.
func TestRule09ABadSignatureIs401AndWhatIsOfNoUseIs200(t *testing.T) {
	w := greetersWorld(t, nil)
	stored := int64(0)
	for _, body := range []string{
		`{"type":"ping"}`, `{"email":"not an address"}`, `{"email":"ada@acme.com"}`, `{}`, `[]`, `null`, `{"email":`, "\x00\xff", "", " ",
		`{"id":"1","email":"ada@example.com"}`, strings.Repeat("[", 1000), "email=ada%40example.com", "%zz",
	} {
		stored++
		run(t, w, []scenario{
			{name: "signed", method: "POST", path: "/webhooks/plain", body: body, header: signedFor(t, "hmac-hex", secret, "POST", "", body), wantStatus: 200, wantBody: []string{"accepted"}, after: waits(stored)},
			{name: "signed by another", method: "POST", path: "/webhooks/plain", body: body, header: signedFor(t, "hmac-hex", "another", "POST", "", body), wantStatus: 401, after: waits(stored)},
			{name: "not signed", method: "POST", path: "/webhooks/plain", body: body, wantStatus: 401, after: waits(stored)},
		})
	}
}
