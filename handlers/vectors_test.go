package handlers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// senders are the sources, as usher.yaml has them, to which the schemes of the vectors are sent.
var senders = map[string]string{
	"basic":              `preset: basic`,
	"calendly":           `preset: calendly`,
	"generic-hex":        `preset: hmac-hex`,
	"generic-sha512-b64": `verify: {kind: hmac, header: X-Convoy-Signature, algorithm: sha512, encoding: base64, signed: "{body}"}`,
	"github":             `preset: github`,
	"hubspot-v2":         `{preset: hubspot, allow_legacy: true}`,
	"hubspot-v3":         `preset: hubspot`,
	"intercom":           `preset: intercom`,
	"paddle":             `preset: paddle`,
	"polar":              `preset: polar`,
	"shopify":            `preset: shopify`,
	"slack":              `preset: slack-style`,
	"squarespace":        `preset: squarespace`,
	"standard-webhooks":  `preset: standard-webhooks`,
	"static-bearer":      `preset: bearer`,
	"static-header":      `preset: header`,
	"stripe":             `preset: stripe`,
	"typeform":           `preset: typeform`,
}

// forALongTime is what a test writes into usher.yaml to replay what was signed years ago.
const forALongTime = `verify: {tolerance: 876000h}`

// A vector is a request that others published or that others' code signed.
type vector struct {
	Scheme  string            `json:"scheme"`
	Origin  string            `json:"origin"`
	Secret  string            `json:"secret"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Now     string            `json:"now"` // as it stands in the request, in the unit of its scheme; empty: no time is signed
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("../internal/webhook/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 20 {
		t.Fatalf("there are only %d vectors", len(vectors))
	}
	return vectors
}

// configOf reads the source of usher.yaml, each further text laid over those before.
func configOf(t *testing.T, texts ...string) webhook.Config {
	t.Helper()
	var config webhook.Config
	for _, text := range texts {
		var source struct {
			Preset      string      `yaml:"preset"`
			AllowLegacy bool        `yaml:"allow_legacy"`
			Row         webhook.Row `yaml:",inline"`
		}
		if err := yaml.Unmarshal([]byte(text), &source); err != nil {
			t.Fatal(err)
		}
		if source.Preset != "" {
			preset, ok := webhook.FindPreset(source.Preset)
			if !ok {
				t.Fatalf("there is no preset %s", source.Preset)
			}
			config.Row = preset.Row
		}
		config.Row = source.Row.Over(config.Row)
		config.AllowLegacy = config.AllowLegacy || source.AllowLegacy
	}
	return config
}

// config is the source that a vector is sent to.
func (v vector) config(t *testing.T, secret string, over ...string) webhook.Config {
	t.Helper()
	c := configOf(t, append([]string{senders[v.Scheme]}, over...)...)
	c.Secrets = []string{secret}
	c.PublicURL, _, _ = strings.Cut(v.URL, "?")
	return c
}

// verify is how the vector is signed, which for an older scheme is not how its source is signed to.
func (v vector) verify(t *testing.T) webhook.Verify {
	t.Helper()
	if hidden, ok := webhook.FindPreset(v.Scheme); ok && hidden.Hidden {
		return hidden.Row.Verify
	}
	return v.config(t, v.Secret).Row.Verify
}

// signedAt is the moment that was signed, zero where none was.
func (v vector) signedAt(t *testing.T) time.Time {
	t.Helper()
	if v.Now == "" {
		return time.Time{}
	}
	n, err := strconv.ParseInt(v.Now, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if n > 1e11 {
		return time.UnixMilli(n)
	}
	return time.Unix(n, 0)
}

// signedWithNothing is the vector as somebody sends it who believes that the secret was never set.
func (v vector) signedWithNothing(t *testing.T) vector {
	t.Helper()
	header := http.Header{}
	for name, value := range v.Headers {
		header.Set(name, value)
	}
	if err := webhooktest.Sign(v.verify(t), "", header, v.Method, v.URL, []byte(v.Body), v.signedAt(t)); err != nil {
		t.Fatal(err)
	}
	v.Headers = map[string]string{}
	for name := range header {
		v.Headers[name] = header.Get(name)
	}
	return v
}

// anotherSecret has the same form as a secret and differs in one character.
func anotherSecret(secret string) string {
	middle := []byte(secret)
	if i := len(middle) / 2; middle[i] == '0' {
		middle[i] = '1'
	} else {
		middle[i] = '0'
	}
	return string(middle)
}

// A vectorCase is one way to send a vector.
type vectorCase struct {
	name   string
	source string
	send   vector
	at     time.Time
	want   int
}

// cases are all ways to send one vector to its three sources.
func (v vector) cases(t *testing.T, source string) []vectorCase {
	t.Helper()
	at, verify := v.signedAt(t), v.verify(t)
	if at.IsZero() {
		at = time.Now()
	}
	longer := v
	longer.Body += "\n"
	forTokens := http.StatusUnauthorized // a token vouches for who sends, not for what
	if verify.Kind == "token" {
		forTokens = http.StatusOK
	}
	cases := []vectorCase{
		{name: "as it was sent, when it was sent", source: source, send: v, at: at, want: 200},
		{name: "as it was sent, today, with a long tolerance", source: source + "-long", send: v, at: time.Now(), want: 200},
		{name: "a wrong secret", source: source + "-wrong", send: v, at: at, want: 401},
		{name: "signed with an empty secret", source: source, send: v.signedWithNothing(t), at: at, want: 401},
		{name: "one byte more in the body", source: source, send: longer, at: at, want: forTokens},
	}
	if v.Now == "" {
		return cases
	}
	return append(cases,
		vectorCase{name: "at the end of the tolerance", source: source, send: v, at: at.Add(verify.Tolerance), want: 200},
		vectorCase{name: "at the beginning of the tolerance", source: source, send: v, at: at.Add(-verify.Tolerance), want: 200},
		vectorCase{name: "past the tolerance", source: source, send: v, at: at.Add(verify.Tolerance + time.Second), want: 401},
		vectorCase{name: "before the tolerance", source: source, send: v, at: at.Add(-verify.Tolerance - time.Second), want: 401},
		vectorCase{name: "today, with the usual tolerance", source: source, send: v, at: time.Now(), want: 401},
		vectorCase{name: "a year before it was signed", source: source, send: v, at: at.AddDate(-1, 0, 0), want: 401},
	)
}

// Every published vector goes through the real endpoint into a real ledger, and nothing near it does.
func TestEveryVectorVerifiesAtTheEndpoint(t *testing.T) {
	vectors := readVectors(t)
	var clock atomic.Pointer[time.Time]
	w := newWorld(t, func(o *handlers.Options) {
		o.Now = func() time.Time { return *clock.Load() }
		for i, v := range vectors {
			if _, known := senders[v.Scheme]; !known {
				t.Fatalf("the vector %d is of the scheme %q, which no source of this test speaks: name one in senders", i, v.Scheme)
			}
			name := fmt.Sprintf("v%d", i)
			for _, c := range []struct {
				name   string
				config webhook.Config
			}{
				{name: name, config: v.config(t, v.Secret)},
				{name: name + "-long", config: v.config(t, v.Secret, forALongTime)},
				{name: name + "-wrong", config: v.config(t, anotherSecret(v.Secret))},
			} {
				c.config.Name = c.name
				source, err := webhook.New(c.config)
				if err != nil {
					t.Fatalf("%s for %s: %v", c.name, v.Scheme, err)
				}
				o.Sources[c.name] = source
			}
		}
	})
	stored := int64(0)
	for i, v := range vectors {
		for _, c := range v.cases(t, fmt.Sprintf("v%d", i)) {
			t.Run(v.Scheme+"/"+v.Origin+"/"+c.name, func(t *testing.T) {
				clock.Store(&c.at)
				answer, body := do(t, w, c.send.request(t, w, c.source))
				if answer.StatusCode != c.want {
					t.Errorf("answered %d %s, wants %d", answer.StatusCode, body, c.want)
				}
				if c.want == http.StatusOK {
					stored++
				}
				waits(stored)(t, w, "")
				if strings.Contains(body, v.Secret) {
					t.Errorf("the answer tells the secret: %s", body)
				}
			})
		}
	}
	for _, v := range vectors {
		if len(v.Secret) > 12 && strings.Contains(w.logs.String(), v.Secret) {
			t.Errorf("the log tells the secret of %s", v.Origin)
		}
	}
}

// request is the vector as its sender sends it to a source.
func (v vector) request(t *testing.T, w *world, source string) *http.Request {
	t.Helper()
	address := w.server.URL + "/webhooks/" + source
	if sent, err := url.Parse(v.URL); err == nil && sent.RawQuery != "" {
		address += "?" + sent.RawQuery
	}
	r, err := http.NewRequestWithContext(t.Context(), v.Method, address, strings.NewReader(v.Body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range v.Headers {
		r.Header.Set(name, value)
	}
	return r
}

// What stands where a secret should stand never opens a source.
func TestNoVectorsSourceStartsWithoutASecret(t *testing.T) {
	for _, v := range readVectors(t) {
		for _, blank := range []string{"", " \t\n", v.verify(t).KeyPrefix} {
			source, err := webhook.New(v.config(t, blank))
			var mistake *access.ConfigError
			if source != nil || !errors.As(err, &mistake) || mistake.Path != "secrets[0]" {
				t.Errorf("%s with the secret %q: %v, wants a mistake at secrets[0]", v.Scheme, blank, err)
			}
		}
	}
}
