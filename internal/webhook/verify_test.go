package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	stripehook "github.com/stripe/stripe-go/v76/webhook"

	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

const (
	secret  = "whsec_canary0123456789abcdefghij"
	rolled  = "whsec_rolled0123456789abcdefghij"
	foreign = "whsec_foreign123456789abcdefghij"
)

// signedAt is when the tests' requests are signed, unless a case says otherwise.
var signedAt = time.Unix(1700000000, 0)

func newStripe(t testing.TB, cfg webhook.StripeConfig) *webhook.Source {
	t.Helper()
	if cfg.Secrets == nil {
		cfg.Secrets = []string{secret}
	}
	source, err := webhook.NewStripe("stripe", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// signature is the header that stripe-go's own signer makes.
func signature(body []byte, with string, at time.Time) string {
	return webhooktest.SignStripe(body, with, at).Get("Stripe-Signature")
}

// scheme is a signature of another scheme, such as the v0 of test events.
func scheme(name string, body []byte, with string) string {
	signed := stripehook.GenerateTestSignedPayload(&stripehook.UnsignedPayload{Payload: body, Secret: with, Timestamp: signedAt, Scheme: name})
	return signed.Header
}

// v1 is the second part of a signature: what a roll appends to the header.
func v1(body []byte, with string) string {
	_, pair, _ := strings.Cut(signature(body, with, signedAt), ",")
	return pair
}

// wantRule fails the test unless err is a Rejection by this rule; the empty rule wants no error.
func wantRule(t *testing.T, err error, rule string) {
	t.Helper()
	var rejection *webhook.Rejection
	switch {
	case rule == "" && err != nil:
		t.Fatalf("verify: %v, wants no error", err)
	case rule == "":
	case !errors.As(err, &rejection):
		t.Fatalf("verify: %v (%T), wants a *Rejection %s", err, err, rule)
	case rejection.Rule != rule:
		t.Fatalf("verify: %v, wants the rule %s", err, rule)
	}
}

type vector struct {
	Scheme  string            `json:"scheme"`
	Origin  string            `json:"origin"`
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Now     string            `json:"now"`
}

// stripeVectors are those for stripe-go's scheme. The endpoint's own test, in package handlers, takes all.
func stripeVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	vectors = slices.DeleteFunc(vectors, func(v vector) bool { return v.Scheme != "stripe" })
	if len(vectors) == 0 {
		t.Fatal("there are no vectors of Stripe")
	}
	return vectors
}

func TestVerifyOtherPeoplesVectors(t *testing.T) {
	for _, v := range stripeVectors(t) {
		seconds, err := strconv.ParseInt(v.Now, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(seconds, 0)
		tests := []struct {
			name   string
			secret string
			empty  bool // signed by somebody without any secret
			body   string
			clock  time.Duration
			rule   string
		}{
			{name: "as published"},
			{name: "another secret", secret: v.Secret + "x", rule: "no_match"},
			{name: "signed with an empty key", empty: true, rule: "no_match"},
			{name: "one byte more in the body", body: v.Body + "\n", rule: "no_match"},
			{name: "299 s after the signature", clock: 299 * time.Second},
			{name: "299 s before the signature", clock: -299 * time.Second},
			{name: "300 s after the signature", clock: 300 * time.Second},
			{name: "301 s after the signature", clock: 301 * time.Second, rule: "too_old"},
			{name: "301 s before the signature", clock: -301 * time.Second, rule: "in_the_future"},
			{name: "a year before the signature", clock: -365 * 24 * time.Hour, rule: "in_the_future"},
		}
		for _, tt := range tests {
			t.Run(v.Origin+"/"+tt.name, func(t *testing.T) {
				header, body := http.Header{}, []byte(v.Body)
				for name, value := range v.Headers {
					header.Set(name, value)
				}
				if tt.body != "" {
					body = []byte(tt.body)
				}
				if tt.empty {
					header = webhooktest.SignStripe(body, "", now)
				}
				source := newStripe(t, webhook.StripeConfig{Secrets: []string{v.Secret + strings.TrimPrefix(tt.secret, v.Secret)}})
				_, err := source.Verify(now.Add(tt.clock), webhook.Request{Method: http.MethodPost, Header: header, Body: body})
				wantRule(t, err, tt.rule)
			})
		}
	}
}

func TestVerifyHeader(t *testing.T) {
	body := webhooktest.StripeEvent{ID: "evt_1", Customer: "cus_1", Email: "ada@example.com", Created: signedAt}.JSON()
	good := signature(body, secret, signedAt)
	junk := "v1=" + strings.Repeat("00", 32)
	tests := []struct {
		name    string
		secrets []string
		header  []string
		by      string
		rule    string
	}{
		{name: "one signature", header: []string{good}, by: "secrets[0]"},
		{name: "the wrong signature after the right one", header: []string{good + "," + junk}, by: "secrets[0]"},
		{name: "the wrong signature before the right one", header: []string{"t=1700000000," + junk + "," + v1(body, secret)}, by: "secrets[0]"},
		{name: "the time behind the signature", header: []string{v1(body, secret) + ",t=1700000000"}, by: "secrets[0]"},
		{name: "v0 beside v1, as for test events", header: []string{good + ",v0=" + strings.Repeat("00", 32)}, by: "secrets[0]"},
		{name: "a pair of a kind that Stripe may add", header: []string{good + ",v2=whatever"}, by: "secrets[0]"},
		{name: "the sender rolls: the second secret matches", secrets: []string{foreign, rolled}, header: []string{signature(body, rolled, signedAt)}, by: "secrets[1]"},
		{name: "the sender rolls: both sign, we know the old", secrets: []string{secret}, header: []string{signature(body, rolled, signedAt) + "," + v1(body, secret)}, by: "secrets[0]"},
		{name: "the sender rolls: both sign, we know both", secrets: []string{rolled, secret}, header: []string{good + "," + v1(body, rolled)}, by: "secrets[0]"},
		{name: "a 3 KB header with the right signature last", header: []string{"t=1700000000," + strings.Repeat(junk+",", 45) + v1(body, secret)}, by: "secrets[0]"},

		{name: "none of several secrets", secrets: []string{foreign, rolled}, header: []string{good}, rule: "no_match"},
		{name: "v0 only", header: []string{scheme("v0", body, secret)}, rule: "no_match"},
		{name: "an empty secret signed", header: []string{signature(body, "", signedAt)}, rule: "no_match"},
		{name: "a blank secret signed", header: []string{signature(body, " ", signedAt)}, rule: "no_match"},
		{name: "the prefix of a secret signed", header: []string{signature(body, "whsec_", signedAt)}, rule: "no_match"},
		{name: "no header", rule: "no_signature"},
		{name: "a blank header", header: []string{""}, rule: "no_signature"},
		{name: "a header of spaces", header: []string{" \t "}, rule: "no_signature"},
		{name: "the header twice, alike", header: []string{good, good}, rule: "repeated_header"},
		{name: "the header twice, the first wrong", header: []string{"t=1700000000," + junk, good}, rule: "repeated_header"},
		{name: "no time", header: []string{v1(body, secret)}, rule: "bad_header"},
		{name: "two times, alike", header: []string{good + ",t=1700000000"}, rule: "bad_header"},
		{name: "two times, the fresh one last", header: []string{good + ",t=1700009999"}, rule: "bad_header"},
		{name: "a time that is no number", header: []string{"t=now," + v1(body, secret)}, rule: "bad_header"},
		{name: "a time with a fraction", header: []string{"t=1700000000.5," + v1(body, secret)}, rule: "bad_header"},
		{name: "a time beyond 64 bits", header: []string{"t=99999999999999999999," + v1(body, secret)}, rule: "bad_header"},
		{name: "a blank time", header: []string{"t=," + v1(body, secret)}, rule: "bad_header"},
		{name: "a time without a value", header: []string{"t," + v1(body, secret)}, rule: "bad_header"},
		{name: "another time than the signed one", header: []string{"t=1700000001," + v1(body, secret)}, rule: "no_match"},
		{name: "a space after the comma", header: []string{strings.Replace(good, ",", ", ", 1)}, rule: "no_match"},
		{name: "a space before the time", header: []string{" " + good}, rule: "bad_header"},
		{name: "a comma at the end", header: []string{good + ","}, rule: "bad_header"},
		{name: "two equals signs in a pair", header: []string{strings.Replace(good, "v1=", "v1==", 1)}, rule: "bad_header"},
		{name: "only commas", header: []string{",,,"}, rule: "bad_header"},
		{name: "5 KB of signatures", header: []string{good + strings.Repeat(","+junk, 75)}, rule: "bad_header"},
		{name: "a signature one byte short", header: []string{good[:len(good)-2]}, rule: "no_match"},
		{name: "a signature one byte long", header: []string{good + "00"}, rule: "no_match"},
		{name: "a signature of nothing", header: []string{"t=1700000000,v1="}, rule: "no_match"},
		{name: "a signature that is not hex", header: []string{"t=1700000000,v1=" + strings.Repeat("z", 64)}, rule: "no_match"},
		{name: "half a hex digit", header: []string{good[:len(good)-1]}, rule: "no_match"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			for _, value := range tt.header {
				header.Add("Stripe-Signature", value)
			}
			source := newStripe(t, webhook.StripeConfig{Secrets: tt.secrets})
			verified, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: header, Body: body})
			wantRule(t, err, tt.rule)
			if verified.By() != tt.by {
				t.Errorf("by %q, wants %q", verified.By(), tt.by)
			}
			if err == nil {
				return
			}
			if verified.Body() != nil || verified.Source() != "" {
				t.Error("a rejected request still has a body or a source")
			}
			_, mac, _ := strings.Cut(good, "v1=")
			for _, kept := range []string{secret, rolled, foreign, mac, mac[:16], "ada@example.com"} {
				if strings.Contains(err.Error(), kept) {
					t.Errorf("the rejection %q tells %q", err, kept)
				}
			}
		})
	}
}

// An extreme time must not wrap round to one that is near; it is signed, as only then the clock matters.
func TestVerifyExtremeTimes(t *testing.T) {
	body := []byte(`{}`)
	tests := []struct {
		name    string
		seconds int64
		rule    string
	}{
		{name: "1970", seconds: 0, rule: "too_old"},
		{name: "one second before 1970", seconds: -1, rule: "too_old"},
		{name: "the year 292277026596", seconds: 1<<63 - 62135596801 - 1, rule: "in_the_future"},
		{name: "milliseconds taken for seconds", seconds: 1700000000000, rule: "in_the_future"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := time.Unix(tt.seconds, 0)
			header := http.Header{"Stripe-Signature": {signature(body, secret, at)}}
			_, err := newStripe(t, webhook.StripeConfig{}).Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: header, Body: body})
			wantRule(t, err, tt.rule)
		})
	}
}

func TestVerifiedTellsWhatWasVerified(t *testing.T) {
	body := []byte("not even JSON \x00\xff")
	source := newStripe(t, webhook.StripeConfig{})
	now := signedAt.Add(time.Second)
	verified, err := source.Verify(now, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, secret, signedAt), Body: body})
	if err != nil {
		t.Fatal(err)
	}
	if source.Name() != "stripe" || verified.Source() != "stripe" || string(verified.Body()) != string(body) || !verified.ReceivedAt().Equal(now) {
		t.Errorf("verified %s %q at %s", verified.Source(), verified.Body(), verified.ReceivedAt())
	}
}

func TestNewStripeRefusesBlankSecrets(t *testing.T) {
	tests := []struct {
		name    string
		secrets []string
		want    string // in the error; empty: none
	}{
		{name: "one secret", secrets: []string{secret}},
		{name: "two secrets", secrets: []string{secret, rolled}},
		{name: "no list", want: "secrets: is missing"},
		{name: "an empty list", secrets: []string{}, want: "secrets: is missing"},
		{name: "an empty secret", secrets: []string{""}, want: "secrets[0]: is blank"},
		{name: "a secret of white space", secrets: []string{" \t\r\n"}, want: "secrets[0]: is blank"},
		{name: "a prefix alone", secrets: []string{"whsec_"}, want: "secrets[0]: is blank"},
		{name: "a blank secret behind a good one", secrets: []string{secret, ""}, want: "secrets[1]: is blank"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source, err := webhook.NewStripe("billing", webhook.StripeConfig{Secrets: tt.secrets})
			if tt.want == "" {
				if err != nil || source == nil {
					t.Fatalf("source %v, error %v", source, err)
				}
				return
			}
			if err == nil || source != nil {
				t.Fatalf("source %v, error %v; wants no source and an error", source, err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "billing") || strings.Contains(err.Error(), secret) {
				t.Errorf("error %q, wants %q, the source's name and no secret", err, tt.want)
			}
		})
	}
}

// What the caller does with its list of secrets afterwards must not open the door.
func TestNewStripeKeepsItsOwnSecrets(t *testing.T) {
	secrets := []string{secret}
	source := newStripe(t, webhook.StripeConfig{Secrets: secrets})
	secrets[0] = ""
	body := []byte(`{}`)
	_, err := source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, "", signedAt), Body: body})
	wantRule(t, err, "no_match")
	_, err = source.Verify(signedAt, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, secret, signedAt), Body: body})
	wantRule(t, err, "")
}

func TestPrintingASourceTellsNoSecret(t *testing.T) {
	source := newStripe(t, webhook.StripeConfig{Secrets: []string{secret}})
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, source); strings.Contains(text, secret) {
			t.Errorf("%s prints the secret: %s", format, text)
		}
	}
}
