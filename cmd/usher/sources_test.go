package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/usher-dev/usher/config"
)

const sourceSecret = "canary0123456789abcdefghijkl"

// loadText loads a usher.yaml whose ${SECRET} is set, and whose sources are all that may be wrong with it.
func loadText(t *testing.T, text string, env ...string) (*parts, config.Problems) {
	t.Helper()
	return load(config.Options{
		File: "usher.yaml", ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		Env: append([]string{"RETOOL_URL=https://acme.retool.com", "RETOOL_API_TOKEN=retool_0123456789", "USHER_ADMIN_TOKEN=" + strings.Repeat("0", 24),
			"USHER_INTERNAL_DOMAINS=acme.example", "SECRET=" + sourceSecret}, env...),
	}, io.Discard)
}

func TestSettingsThatDoNothingAreTold(t *testing.T) {
	for _, test := range []struct {
		name, text string
		env        []string
		want       []string // the beginning of each warning, in order
	}{
		{
			name: "a tolerance where no time is signed, however long",
			text: "sources:\n  form:\n    preset: typeform\n    secrets: [\"${SECRET}\"]\n    verify:\n      tolerance: 2h\n      ts_unit: ms\n",
			want: []string{
				"usher.yaml:6: sources.form.verify.tolerance: does nothing: this sender signs no time; remove it",
				"usher.yaml:7: sources.form.verify.ts_unit: does nothing: this sender signs no time; remove it",
			},
		}, {
			name: "a tolerance where the time is signed",
			text: "sources:\n  a: {preset: hubspot, secrets: [\"${SECRET}\"], public_url: https://x.example/webhooks/a, api_key: k, verify: {tolerance: 10m}}\n" +
				"  b: {preset: stripe, secrets: [other], verify: {tolerance: 10m}, no_payment_required: hold}\n",
		}, {
			name: "what a token does not need",
			text: `sources:
  open:
    secrets: ["${SECRET}"]
    email: body.email
    verify:
      kind: token
      header: X-Token
      prefix: "Bearer "
      algorithm: sha512
      encoding: base64
      format: single
      pair_sep: ";"
      sig_key: v1
      key_coding: hex
      key_prefix: whsec_
      signed: "{ts}{url}{body}"
      ts_header: X-Time
      ts_unit: ms
      tolerance: 5m
      url_decode: hubspot
      body_select: first_array_element
`,
			want: []string{
				"usher.yaml:9: sources.open.verify.algorithm: does nothing: a token is compared as it is; remove it",
				"usher.yaml:10: sources.open.verify.encoding: does nothing: a token",
				"usher.yaml:11: sources.open.verify.format: does nothing: a token",
				"usher.yaml:12: sources.open.verify.pair_sep: does nothing: a token",
				"usher.yaml:13: sources.open.verify.sig_key: does nothing: a token",
				"usher.yaml:14: sources.open.verify.key_coding: does nothing: a token",
				"usher.yaml:15: sources.open.verify.key_prefix: does nothing: a token",
				"usher.yaml:16: sources.open.verify.signed: does nothing: a token",
				"usher.yaml:17: sources.open.verify.ts_header: does nothing: a token",
				"usher.yaml:18: sources.open.verify.ts_unit: does nothing: a token",
				"usher.yaml:19: sources.open.verify.tolerance: does nothing: a token",
				"usher.yaml:20: sources.open.verify.url_decode: does nothing: a token",
				"usher.yaml:21: sources.open.verify.body_select: does nothing: a token",
			},
		}, {
			name: "a header beside a token in the address, which public_url should not hold",
			text: "sources:\n  open:\n    secrets: [\"${SECRET}\"]\n    email: body.email\n    public_url: https://x.example/webhooks/open/${SECRET}\n    verify:\n      kind: path_token\n      header: X-Token\n",
			want: []string{
				"usher.yaml:5: sources.open.public_url: contains the token, and is not kept secret as secrets are; leave the token out",
				"usher.yaml:8: sources.open.verify.header: does nothing: the token in the address is all that is compared",
			},
		}, {
			name: "secrets and signatures where nothing is proved",
			text: "sources:\n  open:\n    secrets: [\"${SECRET}\"]\n    email: body.email\n    allow_unsigned: true\n    verify:\n      kind: none\n      algorithm: sha1\n",
			want: []string{
				"usher.yaml:3: sources.open.secrets: does nothing: verify.kind none checks nothing; remove it, or use another kind",
				"usher.yaml:7: sources.open.verify.kind: accepts anything that anybody sends",
				"usher.yaml:8: sources.open.verify.algorithm: does nothing: kind none checks nothing",
			},
		}, {
			name: "parts of a signature that this one has not",
			text: "sources:\n  a:\n    secrets: [\"${SECRET}\"]\n    email: body.email\n    verify:\n      header: X-Sig\n      signed: \"{body}\"\n" +
				"      sig_key: v1\n      pair_sep: \";\"\n      key_prefix: whsec_\n      url_decode: hubspot\n      kind: hmac\n",
			want: []string{
				"usher.yaml:8: sources.a.verify.sig_key: does nothing: it is for the formats kv and list",
				"usher.yaml:9: sources.a.verify.pair_sep: does nothing: it is for the formats kv and list",
				"usher.yaml:10: sources.a.verify.key_prefix: does nothing: with the key_coding raw the whole secret is the key",
				"usher.yaml:11: sources.a.verify.url_decode: does nothing: this sender does not sign the address",
			},
		}, {
			name: "what is Stripe's alone",
			text: "sources:\n  form:\n    preset: typeform\n    secrets: [\"${SECRET}\"]\n    events: [a]\n    no_payment_required: invite\n    require_livemode: true\n",
			want: []string{
				"usher.yaml:5: sources.form.events: does nothing: it is only for the preset stripe; remove it: by when",
				"usher.yaml:6: sources.form.no_payment_required: does nothing: it is only for the preset stripe; remove it",
				"usher.yaml:7: sources.form.require_livemode: does nothing: nothing tells this sender's test data from the rest; set livemode",
			},
		}, {
			name: "keys for addresses that nobody asks for, in variables too",
			text: "sources:\n  form:\n    preset: typeform\n    secrets: [\"${SECRET}\"]\n    allow_unsigned: true\n    api_url: https://api.example\n" +
				"  crm:\n    preset: paddle\n    secrets: [\"${SECRET}\"]\n    api_url: https://api.example\n" +
				"  own:\n    preset: hmac-hex\n    secrets: [\"${SECRET}\"]\n    look_up: paddle\n    api_key: k\n",
			env: []string{"USHER_SOURCES_FORM_API_KEY=k"},
			want: []string{
				"usher.yaml:5: sources.form.allow_unsigned: does nothing: requests of this source must prove themselves; remove it",
				"usher.yaml:6: sources.form.api_url: does nothing without look_up and api_key; remove it",
				"usher.yaml:7: sources.crm.api_key: is unset: events of this sender",
				"usher.yaml:10: sources.crm.api_url: does nothing without look_up and api_key",
				"usher.yaml:14: sources.own.look_up: does nothing: customer is unset",
				"env USHER_SOURCES_FORM_API_KEY: sources.form.api_key: does nothing: no address is asked for without look_up",
			},
		}, {
			name: "secrets that are short, or the same",
			text: "sources:\n  a:\n    verify: {kind: token, header: X-Token}\n    email: body.email\n    secrets:\n      - ${SECRET}\n      - fifteen-letters\n      - ${SECRET}\n" +
				"  b: {preset: github, secrets: [short]}\n",
			want: []string{
				"usher.yaml:7: sources.a.secrets[1]: is shorter than 16 characters: it could be guessed; make one with: openssl rand -hex 24",
				"usher.yaml:8: sources.a.secrets[2]: is the same as secrets[0]; remove it",
			},
		}, {
			name: "an address that is signed and cannot be right",
			text: `sources:
  a: {preset: hubspot, api_key: k, secrets: ["${SECRET}"], public_url: https://x.example/webhooks/b}
  b: {preset: hubspot, api_key: k, secrets: ["${SECRET}"], public_url: https://x.example/base/webhooks/b/}
  c: {preset: typeform, secrets: ["${SECRET}"], public_url: https://x.example/elsewhere}
  d: {preset: hubspot, api_key: k, secrets: ["${SECRET}"]}
public_url: https://x.example/base
`,
			want: []string{"usher.yaml:2: sources.a.public_url: does not end in /webhooks/a, where Usher receives: unless a proxy rewrites the path, every signature would fail; set it"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, problems := loadText(t, test.text, test.env...)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			got := p.warnings().Lines()
			if len(got) != len(test.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got  %s\nwant %s", got[i], want)
				}
				if strings.Contains(got[i], sourceSecret) {
					t.Error("a warning tells a secret")
				}
			}
		})
	}
}

func TestAddressesOfSources(t *testing.T) {
	const own = "sources:\n  a: {preset: github, secrets: [s], public_url: https://a.example/in}\n" +
		"  b: {preset: gumroad, secrets: [\"${SECRET}\"]}\n" +
		"  c: {preset: gumroad, secrets: [\"${SECRET}\"], public_url: \"https://c.example/in/${SECRET}\"}\n" +
		"  d: {preset: gumroad, secrets: [\"${SECRET}\"], public_url: https://d.example/in/}\n"
	for _, test := range []struct {
		name, text, listen string
		want               []string
	}{
		{
			name: "without a public address", text: own, listen: "[::]:8080",
			want: []string{"https://a.example/in", "http://localhost:8080/webhooks/b/TOKEN", "https://c.example/in/TOKEN", "https://d.example/in/TOKEN"},
		}, {
			name: "with one", text: own + "public_url: https://usher.example/base/\n", listen: ":8080",
			want: []string{"https://a.example/in", "https://usher.example/base/webhooks/b/TOKEN", "https://c.example/in/TOKEN", "https://d.example/in/TOKEN"},
		}, {
			name: "on one interface", text: "sources:\n  a: {preset: github, secrets: [s]}\n", listen: "192.0.2.1:80",
			want: []string{"http://192.0.2.1:80/webhooks/a"},
		}, {
			name: "on all, as it is written", text: "sources:\n  a: {preset: github, secrets: [s]}\n", listen: ":80",
			want: []string{"http://localhost:80/webhooks/a"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, problems := loadText(t, test.text)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var got []string
			for i := range test.want {
				got = append(got, p.address(string(rune('a'+i)), test.listen))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What stands in the place of a source's keys is told, and not also what it lacks.
func TestASourceThatIsNoGroupIsToldOnce(t *testing.T) {
	_, problems := loadText(t, "sources:\n  a: typeform\n  b: [typeform]\n  c: {preset: typeform, secrets: [s]}\n")
	got := problems.Lines()
	if len(got) != 2 || !strings.HasPrefix(got[0], "usher.yaml:2: sources.a: is text, wants the keys") || !strings.HasPrefix(got[1], "usher.yaml:3: sources.b: is a list, wants the keys") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
