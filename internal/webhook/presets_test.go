package webhook_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// wantPresets are the senders that must be known.
const wantPresets = `stripe hubspot hubspot-workflow typeform tally fillout jotform webflow formspree google-forms zapier make n8n shopify
	woocommerce paddle lemonsqueezy polar chargebee gumroad squarespace revenuecat standard-webhooks svix clerk calendly calcom github intercom
	customerio segment workos auth0 retool-events slack-style bearer header basic hmac-hex hmac-base64`

// presetFill is what stands in the gaps of all samples here.
var presetFill = webhooktest.Fill{Email: "ada@lovelace.example", Name: "Ada Lovelace", ID: "65f0c1d2a4b5e6f708192a3b", Number: "1618033988", Now: signedAt}

// What an event may come to before the access rules are asked.
const (
	invites   = "invites"
	looksUp   = "looks up"
	noAddress = "no address"
	testEvent = string(webhook.ReasonTestEvent)
	noCustom  = string(webhook.ReasonNotACustomer)
)

// wantEvents says of each sample what its events come to. A main sample that is not named invites.
var wantEvents = map[string][]string{
	"hubspot.json":                   {noCustom, invites, noCustom}, // a batch: a stage changed, the address was set, a deal was made
	"hubspot.lookup.json":            {looksUp, looksUp},
	"hubspot.deletion.json":          {noCustom, noCustom},
	"hubspot.test.json":              {testEvent},
	"hubspot-workflow.flat.json":     {invites},
	"typeform.test.json":             {testEvent},
	"webflow.label.json":             {invites},
	"zapier.form":                    {invites},
	"calendly.canceled.json":         {noCustom},
	"calcom.cancelled.json":          {noCustom},
	"calcom.ping.json":               {testEvent},
	"bearer.text":                    {invites},
	"paddle.json":                    {looksUp}, // a transaction names the customer only
	"paddle.lookup.json":             {looksUp},
	"paddle.customer.json":           {noCustom},
	"lemonsqueezy.subscription.json": {invites},
	"lemonsqueezy.cancelled.json":    {noCustom},
	"polar.renewal.json":             {noCustom},
	"chargebee.cancelled.json":       {noCustom},
	"gumroad.test.form":              {string(webhook.ReasonTestMode)},
	"gumroad.refund.form":            {noCustom},
	"revenuecat.test.json":           {testEvent},
	"shopify.unpaid.json":            {noCustom},
	"shopify.customer.json":          {noCustom},
	"woocommerce.pending.json":       {noCustom},
	"squarespace.json":               {noAddress}, // an event names an order only, and nothing asks for its address
	"squarespace.update.json":        {noCustom},
	"clerk.unverified.json":          {noAddress}, // the address is not verified
	"clerk.session.json":             {noCustom},
	"workos.session.json":            {noCustom},
	"auth0.logs.json":                {invites, noCustom},
	"github.json":                    {noAddress}, // a sponsorship never has an address
	"github.form":                    {noAddress},
	"github.marketplace.json":        {invites},
	"github.ping.json":               {testEvent},
	"intercom.ping.json":             {testEvent},
	"customerio.opened.json":         {noCustom},
	"segment.page.json":              {noCustom},
	"segment.batch.json":             {invites},                        // only the first is signed
	"retool-events.json":             {string(webhook.ReasonAccepted)}, // Retool's own events invite nobody
	"retool-events.invited.json":     {noCustom},
}

// handshakes are the samples that carry no event but try the address.
var handshakes = []string{"woocommerce.ping.form", "slack-style.challenge.json"}

// nameless are samples without the person's name: of an organization, and of a log.
var nameless = []string{"github.marketplace.json", "auth0.logs.json"}

func TestPresetsAreDescribed(t *testing.T) {
	groups := []string{"billing", "shops", "forms", "relays", "crm", "identity", "messaging", "generic"}
	word := regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	variable := regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)
	var names []string
	for _, p := range webhook.Presets() { // panics on a key that is none
		a := p.About
		for what, wrong := range map[string]bool{
			"name": !word.MatchString(p.Name) || slices.Contains(names, p.Name), "title": a.Title == "", "group": !slices.Contains(groups, a.Group),
			"link": !strings.HasPrefix(a.Link, "https://"), "secret": !strings.HasSuffix(a.Secret, "."), "env": !variable.MatchString(a.Env),
			"setup": len(a.Setup) == 0, "events": !strings.HasSuffix(a.Events, "."), "answer": !strings.HasSuffix(a.Answer, "."),
			"on_failure": !strings.HasSuffix(a.OnFailure, "."), "verify.kind": p.Row.Verify.Kind == "", "source": p.Source == "",
		} {
			if wrong {
				t.Errorf("%s: its %s is not right", p.Name, what)
			}
		}
		names = append(names, p.Name)
		if p.Name != "stripe" && len(webhooktest.Samples(p.Name)) == 0 {
			t.Errorf("%s has no sample", p.Name)
		}
	}
	for _, name := range strings.Fields(wantPresets) {
		if !slices.Contains(names, name) {
			t.Errorf("there is no preset %s", name)
		}
	}
}

// newPreset makes a source of a preset, and a secret for it.
func newPreset(t testing.TB, p webhook.Preset) (source *webhook.Source, secret string) {
	t.Helper()
	secret = webhooktest.Secret(p.Row.Verify)
	source, err := webhook.New(webhook.Config{
		Name: p.Name, Row: p.Row, Secrets: []string{secret}, PublicURL: presetURL(p), LookUp: p.Row.LookUp != "", RequireLivemode: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return source, secret
}

func presetURL(p webhook.Preset) string { return "https://usher.example.com/webhooks/" + p.Name }

// sampleRequest is a sample as its sender sends and signs it.
func sampleRequest(t testing.TB, p webhook.Preset, sample webhooktest.Sample, secret string) webhook.Request {
	t.Helper()
	header, body := sample.Make(presetFill)
	if err := webhooktest.Sign(p.Row.Verify, secret, header, http.MethodPost, presetURL(p), body, signedAt); err != nil {
		t.Fatal(err)
	}
	return webhook.Request{Method: http.MethodPost, Token: secret, Header: header, Body: body}
}

// Every sample of every preset is verified, read without an error, comes to what wantEvents says, and to the
// file of its name under testdata/golden/presets.
func TestPresetSamples(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range webhook.Presets() {
		source, secret := newPreset(t, p)
		for i, sample := range webhooktest.Samples(p.Name) {
			seen[sample.File] = true
			if slices.Contains(handshakes, sample.File) {
				continue
			}
			want, ok := wantEvents[sample.File]
			if !ok && i == 0 {
				want = []string{invites}
			}
			t.Run(sample.File, func(t *testing.T) {
				verified, err := source.Verify(signedAt, sampleRequest(t, p, sample, secret))
				if err != nil {
					t.Fatal(err)
				}
				events := source.Explain(verified, func(s webhook.Step) {
					if s.Err != nil {
						t.Errorf("%s of item %d, %s: %v", s.Field, s.Item, s.Expression, s.Err)
					}
				})
				var got []string
				for _, e := range events {
					got = append(got, comesTo(e))
					checkSampleEvent(t, p, sample.File, e)
				}
				if !slices.Equal(got, want) {
					t.Errorf("its events come to %q, wants %q", got, want)
				}
				golden(t, filepath.Join("presets", strings.TrimSuffix(sample.File, ".json")+".json"), events)
			})
		}
	}
	for file := range wantEvents {
		if !seen[file] {
			t.Errorf("there is no sample %s", file)
		}
	}
}

func comesTo(e webhook.Event) string {
	switch {
	case e.Preliminary.Reason != "":
		return string(e.Preliminary.Reason)
	case e.LookUp:
		return looksUp
	case e.Email == "":
		return noAddress
	default:
		return invites
	}
}

// checkSampleEvent compares what was read with what was filled in.
func checkSampleEvent(t *testing.T, p webhook.Preset, file string, e webhook.Event) {
	t.Helper()
	outcome := comesTo(e)
	if outcome != invites && outcome != looksUp {
		return
	}
	if outcome == invites && e.Email != presetFill.Email {
		t.Errorf("it invites %q", e.Email)
	}
	if outcome == looksUp && (e.Customer == "" || e.Email != "") {
		t.Errorf("it looks up the customer %q with the address %q", e.Customer, e.Email)
	}
	if e.Preliminary != (webhook.Preliminary{}) || e.Accepted || !e.Livemode {
		t.Errorf("%+v", e)
	}
	if p.Row.EventID == "" != strings.HasPrefix(e.ID, "body:") {
		t.Errorf("its identity is %s", e.ID)
	}
	fixed := p.Name == "hubspot" // its identities are made of numbers that the sample holds
	if p.Row.EventID != "" && !fixed && !strings.Contains(e.ID, presetFill.ID) && !strings.Contains(e.ID, presetFill.Number) {
		t.Errorf("its identity is %s, without %s and %s", e.ID, presetFill.ID, presetFill.Number)
	}
	fixed = p.Name == "woocommerce" // it writes times without a zone
	if p.Row.OccurredAt == "" != e.OccurredAt.IsZero() || p.Row.OccurredAt != "" && !fixed && !e.OccurredAt.Equal(signedAt) {
		t.Errorf("it happened at %s, wants %s", e.OccurredAt, signedAt)
	}
	if p.Row.Name != "" && outcome == invites && e.Name != presetFill.Name && !slices.Contains(nameless, file) {
		t.Errorf("the name is %q", e.Name)
	}
	if p.Row.Type == "" != (e.Type == "event") {
		t.Errorf("the type is %q", e.Type)
	}
}

// golden compares what was got with a file under testdata/golden.
func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("it became\n%s\nwants (-update writes it anew)\n%s", got, want)
	}
}

// What only tries the address is answered, and is no event.
func TestPresetHandshakes(t *testing.T) {
	for _, name := range []string{"woocommerce", "slack-style"} {
		p, _ := webhook.FindPreset(name)
		source, secret := newPreset(t, p)
		for _, sample := range webhooktest.Samples(name) {
			if !slices.Contains(handshakes, sample.File) {
				continue
			}
			request := sampleRequest(t, p, sample, secret)
			if name == "woocommerce" {
				request.Header.Del(p.Row.Verify.Header) // never signed
				if answer, ok := source.Greeting(request); !ok || len(answer.Body) == 0 {
					t.Errorf("%s is not greeted", sample.File)
				}
				continue
			}
			verified, err := source.Verify(signedAt, request)
			if err != nil {
				t.Fatal(err)
			}
			if answer, ok := source.Handshake(verified); !ok || !strings.Contains(string(answer.Body), presetFill.ID) {
				t.Errorf("%s is answered %s", sample.File, answer.Body)
			}
		}
	}
}

// HubSpot hides the value of a property that it takes for sensitive: the contact must be asked for.
func TestHubSpotHidesTheAddress(t *testing.T) {
	p, _ := webhook.FindPreset("hubspot")
	source, secret := newPreset(t, p)
	header, body := webhooktest.Samples("hubspot")[0].Make(webhooktest.Fill{Email: "REDACTED"}.Complete())
	if err := webhooktest.Sign(p.Row.Verify, secret, header, http.MethodPost, presetURL(p), body, signedAt); err != nil {
		t.Fatal(err)
	}
	verified, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: header, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	if events := source.Events(verified); len(events) != 3 || comesTo(events[1]) != looksUp {
		t.Errorf("%+v", events)
	}
}
