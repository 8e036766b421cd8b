package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook"
)

// runningYAML is a configuration with a bit of everything, and secrets that nobody may be told.
const runningYAML = `
retool: {url: "https://acme.retool.com", token: "${RETOOL_API_TOKEN}"}
domains: {internal: [acme.com]}
access:
  - when: event.amount > 100
    decision: hold
sources:
  stripe: {preset: stripe, secrets: ["${STRIPE_WEBHOOK_SECRET}"], api_key: "${STRIPE_API_KEY}"}
  crm: {preset: hubspot, secrets: [canary-of-hubspot-0123456789], api_key: canary-key, public_url: "https://u.example/webhooks/crm"}
`

// running loads a configuration as serve does.
func running(t *testing.T, text string, env ...string) *parts {
	t.Helper()
	env = append([]string{"STRIPE_WEBHOOK_SECRET=whsec_canary", "STRIPE_API_KEY=rk_canary", "RETOOL_API_TOKEN=canary-token"}, env...)
	p, problems := load(config.Options{File: "usher.yaml", Env: env, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}, t.Output())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

func TestWhatARequestMayChange(t *testing.T) {
	tests := []struct {
		name    string
		env     []string
		text    string
		changed string
		wrong   []string // each begins a mistake
		check   func(t *testing.T, tried, running *parts)
	}{
		{name: "the access rules alone", text: "access:\n  - decision: skip\n", changed: "access", check: func(t *testing.T, tried, running *parts) {
			if tried.sources["crm"] != running.sources["crm"] || len(tried.config.Domains.Internal) != 1 || len(tried.config.Access) != 1 || tried.config.Access[0].Decision != "skip" {
				t.Errorf("%v", tried.config)
			}
		}},
		{name: "no rules any more", text: "access: []\n", changed: "access", check: func(t *testing.T, tried, _ *parts) {
			if len(tried.config.Access) != 0 {
				t.Error("there are still rules")
			}
		}},
		{name: "a whole file, whose secrets are left out", changed: "access domains sources",
			text: "retool: {url: x}\nlog: {level: loud}\ndomains: {deny: [spam.example]}\naccess:\nsources:\n  stripe: {preset: stripe}\n  crm: {preset: hubspot}\n",
			check: func(t *testing.T, tried, _ *parts) {
				if _, err := tried.sources["stripe"].Verify(time.Now(), webhook.Request{}); !strings.Contains(fmt.Sprint(err), "made to read alone") {
					t.Errorf("it verifies: %v", err)
				}
				if tried.sources["crm"] == nil || !tried.asks("crm") || len(tried.config.Domains.Internal) != 0 {
					t.Errorf("%v %v", tried.sources, tried.config.Domains)
				}
			}},
		{name: "a whole file as it stands", text: runningYAML, changed: "access domains sources"},
		{name: "a source that the variables make is there too", text: "sources: {form: {preset: typeform}}\n", changed: "sources", check: func(t *testing.T, tried, _ *parts) {
			if len(tried.sources) != 2 || tried.sources["form"] == nil || tried.sources["stripe"] == nil {
				t.Errorf("%v", tried.sources)
			}
		}},
		{name: "domains of the variables hold, as they do after a restart", env: []string{"USHER_DOMAINS_DENY=spam.example"}, text: "domains: {internal: [acme.org]}\n", changed: "domains", check: func(t *testing.T, tried, _ *parts) {
			if got := fmt.Sprint(tried.config.Domains); got != "{[acme.org] [] [spam.example]}" {
				t.Error(got)
			}
		}},
		{name: "the environment stays", env: []string{"USHER_ENVIRONMENT=development"}, text: "sources: {stripe: {preset: stripe}}\n", changed: "sources", check: func(t *testing.T, tried, _ *parts) {
			if tried.config.Sources["stripe"].RequireLivemode {
				t.Error("test events are skipped")
			}
		}},

		{name: "nothing that decides", text: "log: {level: debug}\n", wrong: []string{"has none of access, domains and sources"}},
		{name: "mistakes of every part", text: "access:\n  - when: event.\ndomains:\n  internal: [no domain]\nsources:\n  form: {preset: typefrom}\n  shop: {verify: {kind: hmac, header: X, signed: \"{body}\"}, when: \"body.(\"}\n",
			wrong: []string{"the changed configuration:2: access[0].when", "the changed configuration:4: domains.internal[0]", "the changed configuration:6: sources.form.preset", "the changed configuration:7: sources.shop.when"}},
		{name: "no YAML", text: "access: [\n", wrong: []string{"the changed configuration:"}},
		{name: "a variable where no secret is", text: "domains: {internal: [\"${RETOOL_API_TOKEN}\"]}\n", wrong: []string{"the changed configuration:1: domains.internal[0]: refers to RETOOL_API_TOKEN, and no variables are read here; write the value itself"}},
		{name: "a secret in a rule", text: "access:\n  - when: '\"${STRIPE_WEBHOOK_SECRET}\" (${STRIPE_API_KEY}'\n", wrong: []string{"the changed configuration:2: access[0].when"}},
		{name: "a file in place of a variable", text: "domains: {internal: [\"${RETOOL}\"]}\n", env: []string{"RETOOL_FILE=/etc/hostname"}, wrong: []string{"the changed configuration:1: domains.internal[0]: refers to RETOOL,"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := running(t, runningYAML, tt.env...)
			tried, changed, problems := p.changedBy([]byte(tt.text))
			if strings.Contains(problems.Error(), "canary") {
				t.Errorf("the problems tell a secret:\n%v", problems)
			}
			if len(problems) != len(tt.wrong) {
				t.Fatalf("got %d problems, wants %d:\n%v", len(problems), len(tt.wrong), problems)
			}
			for i, line := range problems.Lines() {
				if !strings.HasPrefix(strings.TrimPrefix(line, "the changed configuration: "), strings.TrimPrefix(tt.wrong[i], "the changed configuration: ")) {
					t.Errorf("got   %s\nwants %s", line, tt.wrong[i])
				}
			}
			if len(tt.wrong) > 0 {
				return
			}
			if got := strings.Join(changed, " "); got != tt.changed {
				t.Errorf("changed are %q, wants %q", got, tt.changed)
			}
			if tt.check != nil {
				tt.check(t, tried, p)
			}
		})
	}
}

func TestVariablesWithoutSecrets(t *testing.T) {
	env := []string{
		"STRIPE_WEBHOOK_SECRET=canary", "STRIPE_API_KEY_FILE=/run/canary", "USHER_SOURCES_CRM_SECRETS=canary", "USHER_SOURCES_CRM_API_KEY=canary",
		"RETOOL_API_TOKEN=canary", "USHER_ADMIN_TOKEN=canary", "DATABASE_URL=postgres://u:canary@h/d", "USHER_RETOOL_TOKEN=canary", "PATH=/canary",
		"USHER_SOURCES_HOOK_PUBLIC_URL=https://u.example/webhooks/hook/canary", "USHER_SOURCES_HOOK_API_URL=canary", "USHER_DOMAINS_DENY=", "EMPTY=",
		"USHER_INTERNAL_DOMAINS=acme.com", "USHER_DOMAINS_ALLOW=a.example", "USHER_SOURCES_CRM_PRESET=hubspot",
	}
	got := withoutSecrets(env)
	slices.Sort(got)
	want := "STRIPE_API_KEY=set-and-not-told STRIPE_WEBHOOK_SECRET=set-and-not-told USHER_DOMAINS_ALLOW=a.example USHER_INTERNAL_DOMAINS=acme.com " +
		"USHER_SOURCES_CRM_API_KEY=set-and-not-told USHER_SOURCES_CRM_PRESET=hubspot USHER_SOURCES_CRM_SECRETS=set-and-not-told"
	if strings.Join(got, " ") != want {
		t.Errorf("got\n%s\nwants\n%s", strings.Join(got, " "), want)
	}
}
