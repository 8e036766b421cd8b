package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// shortForm is a source as it stands in usher.yaml when the preset is taken as it is.
func shortForm(p webhook.Preset) string {
	var b strings.Builder
	b.WriteString("sources:\n  " + p.Name + ":\n    preset: " + p.Name + "\n    secrets: [\"${" + p.About.Env + "}\"]\n")
	if strings.Contains(p.Row.Verify.Signed, "{url}") {
		b.WriteString("    public_url: " + publicURL(p) + "\n")
	}
	if p.Row.LookUp != "" {
		b.WriteString("    api_key: ${" + strings.ToUpper(p.Row.LookUp) + "_API_KEY}\n")
	}
	return b.String()
}

func publicURL(p webhook.Preset) string { return "https://usher.example.com/webhooks/" + p.Name }

// loadSource loads an usher.yaml with the one source of a preset.
func loadSource(t *testing.T, p webhook.Preset, text, secret string) *webhook.Source {
	t.Helper()
	file := filepath.Join(t.TempDir(), "usher.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"RETOOL_URL=https://acme.retool.com", "RETOOL_API_TOKEN=retool_0123456789", "USHER_ADMIN_TOKEN=" + strings.Repeat("0", 24), "USHER_INTERNAL_DOMAINS=acme.example", p.About.Env + "=" + secret,
	}
	if p.Row.LookUp != "" {
		env = append(env, strings.ToUpper(p.Row.LookUp)+"_API_KEY=key_0123456789")
	}
	loaded, problems := load(config.Options{File: file, Env: env}, io.Discard)
	if len(problems) > 0 {
		t.Fatalf("%s\n%s", problems, text)
	}
	if warnings := loaded.warnings(); len(warnings) > 0 {
		t.Errorf("%s", warnings)
	}
	if (loaded.lookUps[p.Name] != nil) != (p.Row.LookUp != "") {
		t.Errorf("look-up: %t", loaded.lookUps[p.Name] != nil)
	}
	return loaded.sources[p.Name]
}

// requestsOf are the requests of all of a preset's samples, signed.
func requestsOf(t *testing.T, p webhook.Preset, secret string, now time.Time) (requests []webhook.Request) {
	t.Helper()
	add := func(header http.Header, body []byte) {
		if err := webhooktest.Sign(p.Row.Verify, secret, header, http.MethodPost, publicURL(p), body, now); err != nil {
			t.Fatal(err)
		}
		requests = append(requests, webhook.Request{Method: http.MethodPost, Token: secret, Header: header, Body: body})
	}
	if p.Name == "stripe" {
		for _, kind := range []string{"checkout.session.completed", "invoice.paid", "customer.subscription.created"} {
			add(http.Header{}, webhooktest.StripeEvent{Type: kind, Email: "ada@lovelace.example"}.JSON())
		}
	}
	for _, sample := range webhooktest.Samples(p.Name) {
		add(sample.Make(webhooktest.Fill{Email: "ada@lovelace.example", Now: now}.Complete()))
	}
	return requests
}

// What "usher presets show" prints, and the short form in docs/sources.md, are sources that do what the preset does.
func TestPresetsWrittenOut(t *testing.T) {
	now := time.Now()
	for _, p := range webhook.Presets() {
		secret := webhooktest.Secret(p.Row.Verify)
		own, err := webhook.New(webhook.Config{
			Name: p.Name, Row: p.Row, Secrets: []string{secret}, PublicURL: publicURL(p), LookUp: p.Row.LookUp != "", RequireLivemode: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		for form, text := range map[string]string{
			"shown": strings.NewReplacer("# public_url:", "public_url:", "# api_key:", "api_key:").Replace(p.Example()),
			"short": shortForm(p),
		} {
			t.Run(p.Name+" "+form, func(t *testing.T) {
				source := loadSource(t, p, text, secret)
				for _, request := range requestsOf(t, p, secret, now) {
					want := eventsOf(t, own, now, request)
					if got := eventsOf(t, source, now, request); got != want {
						t.Errorf("events\n%s\nwants\n%s", got, want)
					}
				}
			})
		}
	}
}

func eventsOf(t *testing.T, source *webhook.Source, now time.Time, request webhook.Request) string {
	t.Helper()
	verified, err := source.Verify(now, request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(source.Events(verified), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestProofInWords(t *testing.T) {
	for name, want := range map[string]string{
		"stripe": "HMAC-SHA256, time signed", "hubspot": "HMAC-SHA256, address and time signed", "segment": "HMAC-SHA1", "bearer": "bearer token",
		"basic": "basic authentication", "header": "token in X-Webhook-Secret", "jotform": "token in the address", "hubspot-v1": "SHA256 of secret and body",
	} {
		preset, _ := webhook.FindPreset(name)
		if got := preset.Row.Verify.Proof(); got != want {
			t.Errorf("%s: %q, wants %q", name, got, want)
		}
	}
}
