package webhook_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
)

// mistakesOf takes the error of New apart.
func mistakesOf(t *testing.T, err error) (all []*access.ConfigError) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v (%T) does not join mistakes", err, err)
	}
	for _, one := range joined.Unwrap() {
		var mistake *access.ConfigError
		if !errors.As(one, &mistake) {
			t.Fatalf("%v (%T) is no *access.ConfigError", one, one)
		}
		if mistake.Path == "" || mistake.Problem == "" || mistake.Mend == "" {
			t.Errorf("the mistake %+v does not say where, what and how to mend it", *mistake)
		}
		untold(t, mistake.Path+mistake.Problem+mistake.Mend)
		all = append(all, mistake)
	}
	return all
}

// A source that could be opened by a stranger, or that can never work, is refused before anything starts.
func TestWhatASourceIsRefusedFor(t *testing.T) {
	good := webhook.Verify{Header: "X-Sig", Signed: "{body}"}
	verify := func(change func(*webhook.Verify)) webhook.Config {
		v := good
		change(&v)
		return webhook.Config{Row: webhook.Row{Verify: v}, Secrets: []string{canary}}
	}
	row := func(change func(*webhook.Row)) webhook.Config {
		r := webhook.Row{Verify: good}
		change(&r)
		return webhook.Config{Row: r, Secrets: []string{canary}}
	}
	whole := func(change func(*webhook.Config)) webhook.Config {
		c := webhook.Config{Row: webhook.Row{Verify: good}, Secrets: []string{canary}}
		change(&c)
		return c
	}
	hubspot, _ := webhook.FindPreset("hubspot")
	tests := []struct {
		name   string
		config webhook.Config
		want   []string // "path: problem", each a beginning
	}{
		{name: "an unknown kind", config: verify(func(v *webhook.Verify) { v.Kind = "rsa" }), want: []string{"verify.kind: is not one of"}},
		{name: "a kind in capitals", config: verify(func(v *webhook.Verify) { v.Kind = "HMAC" }), want: []string{"verify.kind: is not one of"}},
		{name: "an unknown algorithm", config: verify(func(v *webhook.Verify) { v.Algorithm = "md5" }), want: []string{"verify.algorithm: is not one of"}},
		{name: "an unknown encoding", config: verify(func(v *webhook.Verify) { v.Encoding = "base32" }), want: []string{"verify.encoding: is not one of"}},
		{name: "an unknown format", config: verify(func(v *webhook.Verify) { v.Format = "jws" }), want: []string{"verify.format: is not one of"}},
		{name: "an unknown unit of time", config: verify(func(v *webhook.Verify) { v.TSUnit = "us" }), want: []string{"verify.ts_unit: is not one of"}},
		{name: "an unknown coding of the key", config: verify(func(v *webhook.Verify) { v.KeyCoding = []string{"raw", "base58"} }), want: []string{"verify.key_coding[1]: is not one of"}},
		{name: "only an unknown coding of the key", config: verify(func(v *webhook.Verify) { v.KeyCoding = []string{"base58"} }), want: []string{"verify.key_coding[0]: is not one of", "secrets[0]: cannot be decoded"}},
		{name: "an unknown way to choose of the body", config: verify(func(v *webhook.Verify) { v.BodySelect = "last" }), want: []string{"verify.body_select: is not one of"}},
		{name: "an unknown way to decode the address", config: verify(func(v *webhook.Verify) { v.URLDecode = "all" }), want: []string{"verify.url_decode: is not one of"}},
		{name: "an unknown handshake", config: row(func(r *webhook.Row) { r.Handshake = "crc" }), want: []string{"handshake: is not one of: url_verification"}},

		{name: "no header for the signature", config: verify(func(v *webhook.Verify) { v.Header = "" }), want: []string{"verify.header: is missing"}},
		{name: "no header for the token", config: verify(func(v *webhook.Verify) { *v = webhook.Verify{Kind: "token"} }), want: []string{"verify.header: is missing"}},
		{name: "nothing signed", config: verify(func(v *webhook.Verify) { v.Signed = "" }), want: []string{"verify.signed: is missing"}},
		{name: "the body not signed", config: verify(func(v *webhook.Verify) { v.Signed = "{method}" }), want: []string{"verify.signed: does not contain {body}"}},
		{name: "a header next to the body", config: verify(func(v *webhook.Verify) { v.Signed = "{header:X-Id}{body}" }), want: []string{"verify.signed: has a {header:Name} without a separator"}},
		{name: "a header behind the body", config: verify(func(v *webhook.Verify) { v.Signed = "{body}{header:X-Id}" }), want: []string{"verify.signed: has a {header:Name} without a separator"}},
		{name: "a hash without a secret", config: verify(func(v *webhook.Verify) { v.Kind = "hash" }), want: []string{"verify.signed: is hashed without {secret}"}},
		{name: "an unknown placeholder", config: verify(func(v *webhook.Verify) { v.Signed = "{body}{nonce}" }), want: []string{"verify.signed: has a placeholder that is none"}},
		{name: "a placeholder in capitals", config: verify(func(v *webhook.Verify) { v.Signed = "{body}{Secret}" }), want: []string{"verify.signed: has a placeholder that is none"}},
		{name: "a placeholder that does not end", config: verify(func(v *webhook.Verify) { v.Signed = "{body}.{ts" }), want: []string{"verify.signed: has a placeholder that is none"}},
		{name: "a placeholder of nothing", config: verify(func(v *webhook.Verify) { v.Signed = "{body}{}" }), want: []string{"verify.signed: has a placeholder that is none"}},
		{name: "a signed header without a name", config: verify(func(v *webhook.Verify) { v.Signed = "{header:}.{body}" }), want: []string{"verify.signed: has a placeholder that is none", "verify.signed: does not contain {body}"}},
		{name: "a signed header with a name that is none", config: verify(func(v *webhook.Verify) { v.Signed = "{body}{header:X Y}" }), want: []string{"verify.signed: has a placeholder that is none"}},
		{name: "a time without a source", config: verify(func(v *webhook.Verify) { v.Signed, v.Tolerance = "{ts}.{body}", time.Minute }), want: []string{"verify.signed: contains {ts}, and nothing says where"}},
		{name: "a source of a time that is not signed", config: verify(func(v *webhook.Verify) { v.TSHeader, v.Tolerance = "X-Time", time.Minute }), want: []string{"verify.signed: does not contain {ts}"}},
		{name: "a time without a tolerance", config: verify(func(v *webhook.Verify) { v.Signed, v.TSHeader = "{ts}.{body}", "X-Time" }), want: []string{"verify.tolerance: is missing"}},
		{name: "a time with a tolerance below nothing", config: verify(func(v *webhook.Verify) { v.Signed, v.TSHeader, v.Tolerance = "{ts}.{body}", "X-Time", -1 }), want: []string{"verify.tolerance: is missing"}},
		{name: "kv without the key of the signature", config: verify(func(v *webhook.Verify) { v.Format = "kv" }), want: []string{"verify.sig_key: is missing"}},
		{name: "the key of a time without kv", config: verify(func(v *webhook.Verify) { v.Signed, v.TSKey, v.Tolerance = "{ts}.{body}", "t", time.Minute }), want: []string{"verify.ts_key: is only for the format kv"}},
		{name: "two sources of the time", config: verify(func(v *webhook.Verify) {
			*v = webhook.Verify{Header: "X-Sig", Format: "kv", SigKey: "v1", TSKey: "t", TSHeader: "X-Time", Signed: "{ts}.{body}", Tolerance: time.Minute}
		}), want: []string{"verify.ts_header: is set beside ts_key"}},
		{name: "an address without a public_url", config: verify(func(v *webhook.Verify) { v.Signed = "{url}{body}" }), want: []string{"public_url: is missing"}},
		{name: "HubSpot without a public_url", config: webhook.Config{Row: hubspot.Row, Secrets: []string{canary}}, want: []string{"public_url: is missing"}},
		{name: "a public_url with a query", config: webhook.Config{Row: hubspot.Row, Secrets: []string{canary}, PublicURL: sourceURL + "?a=b"}, want: []string{"public_url: has a query"}},

		{name: "no secret", config: whole(func(c *webhook.Config) { c.Secrets = nil }), want: []string{"secrets: is missing"}},
		{name: "a blank secret", config: whole(func(c *webhook.Config) { c.Secrets = []string{canary, " \n"} }), want: []string{"secrets[1]: is blank"}},
		{name: "the prefix alone", config: whole(func(c *webhook.Config) {
			c.Row.Verify.KeyPrefix, c.Secrets = "whsec_", []string{"whsec_", " whsec_ "}
		}), want: []string{"secrets[0]: is blank", "secrets[1]: is blank"}},
		{name: "a secret that is no base64", config: whole(func(c *webhook.Config) {
			c.Row.Verify.KeyCoding, c.Row.Verify.KeyPrefix, c.Secrets = []string{"base64"}, "whsec_", []string{"whsec_" + canary + "!"}
		}), want: []string{"secrets[0]: cannot be decoded as base64"}},
		{name: "a secret that is no hex", config: verify(func(v *webhook.Verify) { v.KeyCoding = []string{"hex"} }), want: []string{"secrets[0]: cannot be decoded as hex"}},
		{name: "a secret that is neither", config: whole(func(c *webhook.Config) {
			c.Row.Verify.KeyCoding, c.Secrets = []string{"hex", "base64"}, []string{canary + "!"}
		}), want: []string{"secrets[0]: cannot be decoded as hex or base64"}},
		{name: "a short path token", config: whole(func(c *webhook.Config) {
			c.Row.Verify, c.Secrets = webhook.Verify{Kind: "path_token"}, []string{canary[:23]}
		}), want: []string{"secrets[0]: is not a path segment that nobody guesses"}},
		{name: "a path token with a slash", config: whole(func(c *webhook.Config) {
			c.Row.Verify, c.Secrets = webhook.Verify{Kind: "path_token"}, []string{canary + "/" + canary}
		}), want: []string{"secrets[0]: is not a path segment that nobody guesses"}},
		{name: "no proof at all", config: verify(func(v *webhook.Verify) { v.Kind = "none" }), want: []string{"verify.kind: none takes anything"}},
		{name: "legacy where there is none", config: whole(func(c *webhook.Config) { c.AllowLegacy = true }), want: []string{"allow_legacy: is set"}},
		{name: "Stripe's verification changed", config: whole(func(c *webhook.Config) {
			c.Row.Verify = webhook.Verify{Kind: "stripe", Header: "X-Sig"}
		}), want: []string{"verify: is stripe-go's"}},

		{name: "an expression that is none", config: row(func(r *webhook.Row) { r.When = "body." }), want: []string{"when: unexpected end"}},
		{name: "a name that nobody knows", config: row(func(r *webhook.Row) { r.Email = []string{"body.email", "payload.email"} }), want: []string{"email[1]: unknown name payload"}},
		{name: "a call that nobody knows", config: row(func(r *webhook.Row) { r.Name = "shout(body.name)" }), want: []string{"name: "}},
		{name: "the clock", config: row(func(r *webhook.Row) { r.OccurredAt = "now()" }), want: []string{"occurred_at: "}},
		{name: "a when that is a text", config: row(func(r *webhook.Row) { r.When = `"yes"` }), want: []string{"when: expected bool"}},
		{name: "an ignore that is a number", config: row(func(r *webhook.Row) { r.Ignore = `1` }), want: []string{"ignore: expected bool"}},
		{name: "an id that is a list", config: row(func(r *webhook.Row) { r.EventID = `[body.id]` }), want: []string{"event_id: this gives a list or a map"}},
		{name: "an attribute that is a map", config: row(func(r *webhook.Row) { r.Attributes = map[string]string{"plan": `{"a": 1}`} }), want: []string{"attributes.plan: this gives a list or a map"}},
		{name: "an each that is no list", config: row(func(r *webhook.Row) { r.Each = `"body"` }), want: []string{"each: this does not give a list"}},
		{name: "an expression that is too long", config: row(func(r *webhook.Row) { r.Customer = `"` + strings.Repeat("x", 4096) + `"` }), want: []string{"customer: the expression is longer"}},
		{name: "all headers", config: row(func(r *webhook.Row) { r.EventID = `key(string(headers))` }), want: []string{"event_id: headers is read without a name"}},
		{name: "a header by a name that is worked out", config: row(func(r *webhook.Row) { r.EventID = `headers[body.name]` }), want: []string{"event_id: headers is read without a name"}},
		{name: "all of the query", config: row(func(r *webhook.Row) { r.Type = `let q = query; q["a"]` }), want: []string{"type: query is read without a name"}},
		{name: "Authorization", config: row(func(r *webhook.Row) { r.EventID = `headers["authorization"]` }), want: []string{"event_id: it reads the header Authorization"}},
		{name: "Authorization, as a field", config: row(func(r *webhook.Row) { r.Email = []string{`headers.Authorization`} }), want: []string{"email[0]: it reads the header Authorization"}},
		{name: "a cookie", config: row(func(r *webhook.Row) { r.Name = `headers["COOKIE"]` }), want: []string{"name: it reads the header Cookie"}},
		{name: "the token's header", config: whole(func(c *webhook.Config) {
			c.Row = webhook.Row{Verify: webhook.Verify{Kind: "token", Header: "x-token"}, EventID: `headers["X-Token"]`}
		}), want: []string{"verify.header: is read by an expression, and carries the token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source, err := webhook.New(tt.config)
			if err == nil || source != nil {
				t.Fatalf("source %v, error %v; wants no source and an error", source, err)
			}
			all := mistakesOf(t, err)
			for _, want := range tt.want {
				if !slices.ContainsFunc(all, func(m *access.ConfigError) bool { return strings.HasPrefix(m.Path+": "+m.Problem, want) }) {
					t.Errorf("no mistake begins with %q:\n%v", want, err)
				}
			}
			if len(all) != len(tt.want) {
				t.Errorf("%d mistakes, wants %d:\n%v", len(all), len(tt.want), err)
			}
		})
	}
}

// An operator mends all in one go.
func TestAllMistakesOfASourceAreToldAtOnce(t *testing.T) {
	_, err := webhook.New(webhook.Config{
		Name: "x", Secrets: []string{canary + "!", ""}, AllowLegacy: true,
		Row: webhook.Row{
			Verify:    webhook.Verify{Algorithm: "md5", Encoding: "rot13", Format: "kv", TSHeader: "X-Time", KeyCoding: []string{"hex"}, Signed: "{url}{ts}"},
			Handshake: "wave", Each: "1", When: "body +", Email: []string{"body.email", "nobody"}, EventID: `headers["Authorization"]`,
			Attributes: map[string]string{"plan": "[1]"},
		},
	})
	var got []string
	for _, m := range mistakesOf(t, err) {
		got = append(got, m.Path)
	}
	want := []string{"handshake", "verify.algorithm", "verify.encoding", "verify.header", "verify.sig_key", "verify.signed", "verify.tolerance", "public_url",
		"secrets[0]", "secrets[1]", "allow_legacy", "each", "when", "email[1]", "event_id", "attributes.plan"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("mistakes at\n%q\nwants\n%q", got, want)
	}
}

// What is refused for want of a permission is taken with it, and what is right is taken.
func TestWhatASourceIsNotRefusedFor(t *testing.T) {
	for _, w := range allWays(t) {
		w.source(t, w.secret)
	}
	source := newSource(t, webhook.Config{Name: "x", Row: webhook.Row{Verify: webhook.Verify{Kind: "none"}}, AllowUnsigned: true})
	verifies(t, source, webhook.Request{Method: "POST", Body: []byte("{}")})
}
