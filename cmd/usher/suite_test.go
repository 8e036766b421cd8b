package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// The secrets of the stories of "usher send": none may stand in what is printed.
func init() {
	canaries = append(canaries, "canary-typeform", "canary-paddle", "canary-hubspot", "canary-bearer", "canary-jotform", "canary-slack",
		"canary-woo", "canary-calcom", "canary-mail", "canary-asking", "canary-tally", "canary-billing", "canary-calendly", "Y2FuYXJ5", "63616e617279", "6e6f2068657820")
}

// takes is a ledger that takes everything.
type takes struct{}

func (takes) Accept(context.Context, ledger.Delivery) (int64, error) { return 1, nil }

// serveEveryPreset serves a source of each preset, named after it, and returns the address and the
// configuration that senders need.
func serveEveryPreset(t *testing.T) (url, file string) {
	t.Helper()
	var text strings.Builder
	text.WriteString("sources:\n")
	for _, preset := range webhook.Presets() {
		secret := webhooktest.Secret(preset.Row.Verify)
		text.WriteString("  " + preset.Name + ": {preset: " + preset.Name + ", secrets: [\"" + secret + "\"]}\n")
		canaries = append(canaries, secret)
	}
	text.WriteString("public_url: https://usher.example.com\n")
	file = filepath.Join(t.TempDir(), "usher.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p, problems := load(config.Options{File: file, Env: []string{"RETOOL_URL=https://acme.retool.example", "RETOOL_API_TOKEN=" + storyToken}}, io.Discard)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	server := httptest.NewServer(handlers.New(handlers.Options{Sources: p.sources, Acceptor: takes{}, Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	return server.URL, file
}

// runSend runs the command as main does, without a process.
func runSend(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var stdout bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"send"}, args...))
	root.SetOut(&stdout)
	err = root.ExecuteContext(t.Context())
	for _, canary := range canaries {
		if strings.Contains(stdout.String(), canary) || err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("send %q tells the secret or address %s:\n%s%v", args, canary, stdout.String(), err)
		}
	}
	return stdout.String(), err
}

// TestSendEveryPreset sends each preset's sample and its variants to a real handler. None has an address that
// was not given; what is altered is refused where the body is signed.
func TestSendEveryPreset(t *testing.T) {
	url, file := serveEveryPreset(t)
	for _, preset := range webhook.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			common := []string{preset.Name, "--json", "--config", file, "--url", url}
			variants := []string{""}
			if all := webhooktest.Samples(preset.Name); len(all) > 1 {
				for _, s := range all[1:] {
					variants = append(variants, s.Variant(preset.Name))
				}
			} else if len(all) == 0 && preset.Name != "stripe" {
				t.Fatal("there is no sample")
			}
			if slices.Sort(variants); len(slices.Compact(slices.Clone(variants))) != len(variants) {
				t.Fatalf("two variants have one name: %q", variants)
			}
			signsBody := slices.Contains([]string{"", "hmac", "hash", "stripe"}, preset.Row.Verify.Kind)
			for _, variant := range variants {
				args := common
				if variant != "" {
					args = append(slices.Clone(common), "--variant", variant)
				}
				sent := checkSent(t, 200, args...)
				if sent.Address != "" {
					t.Errorf("%q: without --email the event has the address %s", variant, sent.Address)
				}
				if signsBody && sent.EventID != "" {
					checkSent(t, 401, append(slices.Clone(args), "--tamper")...)
				} else if _, err := runSend(t, append(slices.Clone(args), "--tamper")...); !errors.As(err, new(usageError)) {
					t.Errorf("%q: --tamper has no meaning, and gives %v", variant, err)
				}
			}
		})
	}
}

// TestSuiteEveryPreset plays the suite on each preset. Without a ledger behind it the API cannot be asked.
func TestSuiteEveryPreset(t *testing.T) {
	url, file := serveEveryPreset(t)
	for _, preset := range webhook.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			out, err := runSend(t, preset.Name, "--suite", "--config", file, "--url", url)
			if err != nil || strings.Contains(out, "✗") || !strings.Contains(out, "✓ valid") || !strings.Contains(out, "nobody is invited") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestSuiteElsewhere plays the suite on what is no Usher: it ends after the first case, and says why.
func TestSuiteElsewhere(t *testing.T) {
	_, file := serveEveryPreset(t)
	for name, test := range map[string]struct {
		status int
		header string
		body   string
		want   string
	}{
		"a site's page for everything": {status: 200, body: "<html></html>", want: "answered 200, and the answer is no JSON, so that it is not Usher's"},
		"a site without such a page":   {status: 404, body: "<html></html>", want: "answered 404, expected 200: the answer is no JSON"},
		"another API":                  {status: 404, body: "{}", want: `there is no source "typeform" there: --url must be Usher's base address`},
		"a redirect":                   {status: 308, header: "https://www.example.com", want: "answered 308, expected 200: a redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if test.header != "" {
					w.Header().Set("Location", test.header)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer server.Close()
			out, err := runSend(t, "typeform", "--suite", "--config", file, "--url", server.URL)
			if err == nil || !strings.Contains(out, test.want) || strings.Contains(out, "duplicate") || !strings.Contains(out, "\n0 passed, 1 failed, 0 not applicable\n") {
				t.Errorf("%v\n%s", err, out)
			}
			out, _ = runSend(t, "typeform", "--suite", "--config", file, "--url", server.URL, "--json")
			if !strings.Contains(out, `"stopped": true`) {
				t.Error(out)
			}
		})
	}
}

// TestSendEmailEverywhere gives each event an address: it is read, or told that it is not, or refused.
func TestSendEmailEverywhere(t *testing.T) {
	url, file := serveEveryPreset(t)
	for _, preset := range webhook.Presets() {
		for i, s := range webhooktest.Samples(preset.Name) {
			args := []string{preset.Name, "--config", file, "--url", url, "--email", "ada@lovelace.example"}
			if i > 0 {
				args = append(args, "--variant", s.Variant(preset.Name))
			}
			out, err := runSend(t, args...)
			switch told := strings.Contains(out, "has the address a…@lovelace.example") || strings.Contains(out, "Nobody is invited: "); {
			case s.TakesEmail() && (err != nil || !told):
				t.Errorf("%s: %v\n%s", s.File, err, out)
			case !s.TakesEmail() && (!errors.As(err, new(usageError)) || !strings.Contains(err.Error(), "leave --email out")):
				t.Errorf("%s: an address that is in no event gives %v\n%s", s.File, err, out)
			}
		}
	}
}

// TestSendVariantsByName holds how a sample's file gives its variant's name.
func TestSendVariantsByName(t *testing.T) {
	for _, test := range []struct{ preset, file, want string }{
		{preset: "github", file: "github.ping.json", want: "ping"},
		{preset: "github", file: "github.form", want: "form"},
		{preset: "gumroad", file: "gumroad.refund.form", want: "refund"},
	} {
		if got := (webhooktest.Sample{File: test.file}).Variant(test.preset); got != test.want {
			t.Errorf("%s is the variant %q, wants %q", test.file, got, test.want)
		}
	}
}

func checkSent(t *testing.T, want int, args ...string) (sent sendResult) {
	t.Helper()
	out, err := runSend(t, args...)
	if err != nil {
		t.Errorf("send %q: %v\n%s", args, err, out)
	}
	if err := json.Unmarshal([]byte(out), &sent); err != nil {
		t.Fatalf("send %q printed no JSON: %v\n%s", args, err, out)
	}
	if sent.Status != want || sent.Expected != want {
		t.Errorf("send %q was answered %d, expected %d, wants %d", args, sent.Status, sent.Expected, want)
	}
	return sent
}
