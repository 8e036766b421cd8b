package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// The rules that belong in the code, one test each. Rule 9, of the statuses, is tested in package handlers.

const (
	canary    = "canary0123456789abcdefghijklmnop"
	sourceURL = "https://usher.example.com/webhooks/x"
)

// A way is one in which a sender proves a request.
type way struct {
	name   string
	verify webhook.Verify
	secret string
}

// ways are one for each format, kind, algorithm, encoding, unit and coding there is.
var ways = []way{
	{name: "single, hex", verify: webhook.Verify{Header: "X-Sig", Signed: "{body}"}, secret: canary},
	{name: "single, base64, with a prefix", verify: webhook.Verify{Header: "X-Sig", Encoding: "base64", Prefix: "sha256=", Signed: "{body}"}, secret: canary},
	{name: "single, base64url, RFC 3339", verify: webhook.Verify{Header: "X-Sig", Encoding: "base64url", Signed: "{ts}{body}", TSHeader: "X-Time", TSUnit: "rfc3339", Tolerance: 5 * time.Minute}, secret: canary},
	{name: "single, SHA-1", verify: webhook.Verify{Header: "X-Sig", Algorithm: "sha1", Signed: "{body}"}, secret: canary},
	{name: "single, SHA-512", verify: webhook.Verify{Header: "X-Sig", Algorithm: "sha512", Signed: "{body}"}, secret: canary},
	{name: "single, all that a template can hold", verify: webhook.Verify{Header: "X-Sig", TSHeader: "X-Time", TSUnit: "ms", Tolerance: 3 * time.Minute,
		Signed: "v0:{ts}:{method} {url} {header:X-Topic}:{secret}:{body}"}, secret: canary},
	{name: "kv", verify: webhook.Verify{Header: "X-Sig", Format: "kv", SigKey: "v1", TSKey: "t", Signed: "{ts}.{body}", Tolerance: 5 * time.Minute}, secret: canary},
	{name: "kv, semicolons", verify: webhook.Verify{Header: "X-Sig", Format: "kv", PairSep: ";", SigKey: "h1", TSKey: "ts", Signed: "{ts}:{body}", Tolerance: 5 * time.Minute}, secret: canary},
	{name: "kv, the time in another header", verify: webhook.Verify{Header: "X-Sig", Format: "kv", SigKey: "v1", TSHeader: "X-Time", Signed: "{ts}.{body}", Tolerance: time.Minute}, secret: canary},
	{name: "kv without a time, hex key", verify: webhook.Verify{Header: "X-Sig", Format: "kv", SigKey: "v1", KeyCoding: []string{"hex"}, Signed: "{body}"}, secret: hex.EncodeToString([]byte(canary))},
	{name: "list, base64 key", verify: webhook.Verify{Header: "X-Sig", Format: "list", Encoding: "base64", KeyCoding: []string{"base64"}, KeyPrefix: "whsec_", TSHeader: "X-Time",
		Signed: "{header:X-Id}.{ts}.{body}", Tolerance: 5 * time.Minute}, secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte(canary))},
	{name: "hash", verify: webhook.Verify{Kind: "hash", Header: "X-Sig", Signed: "{secret}{method}{url}{body}"}, secret: canary},
	{name: "token", verify: webhook.Verify{Kind: "token", Header: "X-Token"}, secret: canary},
	{name: "bearer token", verify: webhook.Verify{Kind: "token", Header: "Authorization", Prefix: "Bearer "}, secret: canary},
	{name: "path token", verify: webhook.Verify{Kind: "path_token"}, secret: canary},
	{name: "Stripe", verify: webhook.Verify{Kind: "stripe", Tolerance: 5 * time.Minute}, secret: "whsec_" + canary},
}

// config makes it a source.
func (w way) config(secrets ...string) webhook.Config {
	return webhook.Config{Name: "x", Row: webhook.Row{Verify: w.verify}, Secrets: secrets, PublicURL: sourceURL}
}

func (w way) source(t testing.TB, secrets ...string) *webhook.Source {
	t.Helper()
	return newSource(t, w.config(secrets...))
}

func newSource(t testing.TB, c webhook.Config) *webhook.Source {
	t.Helper()
	source, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

var signedHeader = regexp.MustCompile(`\{header:([^}]*)\}`)

// signedHeaders are the headers that a template contains.
func signedHeaders(template string) (names []string) {
	for _, found := range signedHeader.FindAllStringSubmatch(template, -1) {
		names = append(names, found[1])
	}
	return names
}

// sign makes the request that a sender with this secret sends.
func (w way) sign(t testing.TB, secret, body string, at time.Time) webhook.Request {
	t.Helper()
	r := webhook.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
	for _, name := range signedHeaders(w.verify.Signed) {
		r.Header.Set(name, "msg_1")
	}
	if err := webhooktest.Sign(w.verify, secret, r.Header, r.Method, sourceURL, r.Body, at); err != nil {
		t.Fatal(err)
	}
	if w.verify.Kind == "path_token" {
		r.Token = secret
	}
	return r
}

func (w way) isSigned() bool {
	return w.verify.Kind != "token" && w.verify.Kind != "path_token"
}

// needs are the headers without which nothing is proved.
func (w way) needs() (names []string) {
	header := w.verify.Header
	if w.verify.Kind == "stripe" {
		header = "Stripe-Signature"
	}
	for _, name := range append([]string{header, w.verify.TSHeader}, signedHeaders(w.verify.Signed)...) {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// presetWays are those of the presets, the hidden ones too.
func presetWays(t testing.TB) (all []way) {
	t.Helper()
	names := []string{"hubspot-v1", "hubspot-v2"}
	for _, p := range webhook.Presets() {
		names = append(names, p.Name)
	}
	for _, name := range names {
		p, ok := webhook.FindPreset(name)
		if !ok {
			t.Fatalf("there is no preset %s", name)
		}
		all = append(all, way{name: "preset " + name, verify: p.Row.Verify, secret: webhooktest.Secret(p.Row.Verify)})
	}
	return all
}

func allWays(t testing.TB) []way {
	t.Helper()
	return slices.Concat(ways, presetWays(t))
}

// verifies asks a source about a request at the moment when it was signed, and wants this rule.
func verifies(t *testing.T, source *webhook.Source, r webhook.Request, rules ...string) {
	t.Helper()
	verified, err := source.Verify(signedAt, r)
	var rejection *webhook.Rejection
	switch {
	case len(rules) == 0 && err != nil:
		t.Errorf("%v, wants that it verifies", err)
	case len(rules) == 0:
	case !errors.As(err, &rejection) || !slices.Contains(rules, rejection.Rule):
		t.Errorf("%v, wants one of the rules %s", err, rules)
	case verified.Body() != nil || verified.Source() != "" || verified.By() != "":
		t.Error("what was rejected still has a body")
	default:
		untold(t, err.Error())
	}
}

// untold checks that a text has nothing of a secret.
func untold(t *testing.T, text string) {
	t.Helper()
	for _, form := range []string{canary, canary[:12], hex.EncodeToString([]byte(canary))[:16], base64.StdEncoding.EncodeToString([]byte(canary))[:16]} {
		if strings.Contains(text, form) {
			t.Errorf("a secret is told: %s", text)
		}
	}
}

func without(r webhook.Request, header string) webhook.Request {
	r.Header = r.Header.Clone()
	r.Header.Del(header)
	return r
}

func having(r webhook.Request, header string, values ...string) webhook.Request {
	r = without(r, header)
	for _, value := range values {
		r.Header.Add(header, value)
	}
	return r
}

// Rule 1: fail closed.
func TestRule01WhatIsMissingIsRefused(t *testing.T) {
	for _, w := range allWays(t) {
		t.Run(w.name, func(t *testing.T) {
			for _, secrets := range [][]string{nil, {}, {""}, {" \t\r\n"}, {w.secret, ""}, {w.verify.KeyPrefix}} {
				source, err := webhook.New(w.config(secrets...))
				if err == nil || source != nil || !strings.Contains(err.Error(), "secrets") {
					t.Errorf("the secrets %d of %d: %v, wants a mistake at secrets", len(strings.Join(secrets, "")), len(secrets), err)
				}
			}
			source, r := w.source(t, w.secret), w.sign(t, w.secret, `{"id":"1"}`, signedAt)
			verifies(t, source, r)
			verifies(t, source, webhook.Request{Method: http.MethodPost, Body: r.Body}, "no_signature")
			for _, name := range w.needs() {
				verifies(t, source, without(r, name), "no_signature")
				for _, blank := range []string{"", " ", "\t"} {
					verifies(t, source, having(r, name, blank), "no_signature")
				}
			}
			if w.verify.TSHeader != "" {
				for _, wrong := range []string{"now", "1e9", "0x10", "+" + r.Header.Get(w.verify.TSHeader), "-1", "1700000000.5", "99999999999999999999", "1_700_000_000", "NaN"} {
					verifies(t, source, having(r, w.verify.TSHeader, wrong), "bad_time", "no_match", "too_old")
				}
			}
			for _, empty := range []string{"", " ", w.verify.KeyPrefix} {
				if w.verify.KeyCoding != nil && w.verify.KeyCoding[0] == "hex" {
					empty = ""
				}
				verifies(t, source, w.sign(t, strings.TrimSuffix(empty, " "), `{"id":"1"}`, signedAt), "no_match", "no_signature", "bad_header")
			}
		})
	}
}

// HMAC fills short keys up with zeros: a secret that decodes to nothing else is an empty one.
func TestRule01AKeyOfZerosIsNone(t *testing.T) {
	for _, tt := range []struct{ coding, secret string }{
		{coding: "hex", secret: strings.Repeat("0", 64)}, {coding: "base64", secret: "whsec_" + strings.Repeat("A", 32)}, {coding: "base64", secret: "whsec_===="},
	} {
		w := way{verify: webhook.Verify{Header: "X-Sig", KeyCoding: []string{tt.coding}, KeyPrefix: "whsec_", Signed: "{body}"}}
		if _, err := webhook.New(w.config(tt.secret)); err == nil || !strings.Contains(err.Error(), "secrets[0]: cannot be decoded") {
			t.Errorf("%s: %v, wants a mistake at secrets[0]", tt.coding, err)
		}
	}
}

// Rule 2: {body} is signed, and a plain hash has a {secret}.
func TestRule02WhatIsSignedHoldsTheBody(t *testing.T) {
	for _, tt := range []struct {
		kind, signed, want string
	}{
		{kind: "hmac", signed: "{method}", want: "verify.signed: does not contain {body}"},
		{kind: "hmac", signed: "body", want: "verify.signed: does not contain {body}"},
		{kind: "hash", signed: "{secret}", want: "verify.signed: does not contain {body}"},
		{kind: "hash", signed: "{body}", want: "verify.signed: is hashed without {secret}"},
		{kind: "hmac", signed: "", want: "verify.signed: is missing"},
	} {
		w := way{verify: webhook.Verify{Kind: tt.kind, Header: "X-Sig", Signed: tt.signed}}
		if _, err := webhook.New(w.config(canary)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s of %q: %v, wants %s", tt.kind, tt.signed, err, tt.want)
		}
	}
	for _, w := range allWays(t) {
		if r := w.sign(t, w.secret, `{"id":"1"}`, signedAt); w.isSigned() {
			r.Body = []byte(`{"id":"2"}`)
			verifies(t, w.source(t, w.secret), r, "no_match")
		}
	}
}

// Who knows a plain hash can make that of a longer text that begins with it: what is between has NULs.
func TestRule02AHashedBodyCannotBeMadeLonger(t *testing.T) {
	w := way{verify: webhook.Verify{Kind: "hash", Header: "X-Sig", Signed: "{secret}{body}"}}
	source, body := w.source(t, canary), `[{"eventId":1}]`
	r := w.sign(t, canary, body, signedAt)
	verifies(t, source, r)

	known, err := hex.DecodeString(r.Header.Get("X-Sig"))
	if err != nil {
		t.Fatal(err)
	}
	length := len(canary) + len(body)
	padding := append([]byte{0x80}, make([]byte, (119-length%64)%64)...)
	padding = binary.BigEndian.AppendUint64(padding, uint64(length)*8)
	more := "\r\n--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\neve@example.com\r\n--b--\r\n"
	// A hash that goes on from the known one, as encoding.BinaryUnmarshaler of crypto/sha256 takes its state.
	state := slices.Concat([]byte("sha\x03"), known, make([]byte, 64), binary.BigEndian.AppendUint64(nil, uint64(length+len(padding))))
	forged := sha256.New()
	if err := forged.(interface{ UnmarshalBinary([]byte) error }).UnmarshalBinary(state); err != nil {
		t.Fatal(err)
	}
	forged.Write([]byte(more))
	longer := slices.Concat([]byte(body), padding, []byte(more))
	if honest := sha256.Sum256(append([]byte(canary), longer...)); !bytes.Equal(honest[:], forged.Sum(nil)) {
		t.Fatal("the test's own forgery is wrong")
	}
	r = having(r, "X-Sig", hex.EncodeToString(forged.Sum(nil)))
	r.Body = longer
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	verifies(t, source, r, "bad_body")
}

// The content type is not signed, so it must not decide what of a JSON is read.
func TestRule02TheContentTypeMakesNoFieldsOfJSON(t *testing.T) {
	w := way{verify: webhook.Verify{Header: "X-Sig", Signed: "{body}"}}
	c := w.config(canary)
	c.Row.Email = []string{"body.email"}
	source := newSource(t, c)
	body := "{\"email\":\"ada@example.com\",\"note\":\n\"\n--b\nContent-Disposition: form-data; name=email\n\neve@example.com\n--b--\n\"}"
	for _, contentType := range []string{"multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "text/plain", "", ";;;"} {
		r := w.sign(t, canary, body, signedAt)
		r.Header.Set("Content-Type", contentType)
		verified, err := source.Verify(signedAt, r)
		if err != nil {
			t.Fatal(err)
		}
		if events := source.Events(verified); len(events) != 1 || events[0].Email != "" {
			t.Errorf("as %s the body gives %q", contentType, events[0].Email)
		}
	}
}

// Rule 3: the template is expanded once.
func TestRule03PlaceholdersInWhatWasSentStayAsTheyAre(t *testing.T) {
	const template = "{header:X-Id}|{ts}|{method}|{url}|{body}"
	const id, body = "{ts}{body}{secret}", `{"a":"{ts} {header:X-Id} {secret} {method} {url}","b":"{body}","c":"{","d":"}"}`
	w := way{verify: webhook.Verify{Header: "X-Sig", Signed: template, TSHeader: "X-Time", Tolerance: time.Minute}}
	source := w.source(t, canary)
	ts := strconv.FormatInt(signedAt.Unix(), 10)
	once := id + "|" + ts + "|POST|" + sourceURL + "|" + body
	twice := strings.NewReplacer("{ts}", ts, "{body}", body, "{secret}", canary, "{method}", "POST", "{url}", sourceURL, "{header:X-Id}", id).Replace(once)
	for _, tt := range []struct {
		name, signed string
		rules        []string
	}{
		{name: "expanded once", signed: once},
		{name: "expanded twice", signed: twice, rules: []string{"no_match"}},
		{name: "not expanded", signed: template, rules: []string{"no_match"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := hmac.New(sha256.New, []byte(canary))
			m.Write([]byte(tt.signed))
			verifies(t, source, webhook.Request{Method: "POST", Body: []byte(body), Header: http.Header{"X-Id": {id}, "X-Time": {ts}, "X-Sig": {hex.EncodeToString(m.Sum(nil))}}}, tt.rules...)
		})
	}
}

// Rule 4: what is compared is bytes, not text. That it takes the same time cannot be tested; that nothing else
// than the whole of it counts can.
func TestRule04SignaturesAreComparedAsBytes(t *testing.T) {
	for _, w := range allWays(t) {
		r := w.sign(t, w.secret, `{"id":"1"}`, signedAt)
		if name := w.needs(); w.isSigned() && w.verify.Kind != "stripe" {
			source, signed := w.source(t, w.secret), r.Header.Get(name[0])
			t.Run(w.name, func(t *testing.T) {
				if w.verify.Encoding == "" || w.verify.Encoding == "hex" {
					at := max(strings.LastIndex(signed, "="), strings.LastIndex(signed, ",")) + 1
					verifies(t, source, having(r, name[0], signed[:at]+strings.ToUpper(signed[at:])))
					verifies(t, source, having(r, name[0], signed+"00"), "no_match")
					verifies(t, source, having(r, name[0], signed[:len(signed)-2]), "no_match")
				}
				for _, wrong := range []string{signed + "!", signed[:len(signed)-1] + "!", "0x" + signed, signed[1:], strings.Repeat("0", 64), strings.Repeat("A", 43) + "="} {
					verifies(t, source, having(r, name[0], wrong), "no_match", "bad_header")
				}
				verifies(t, source, having(r, name[0], strings.Repeat("v1="+strings.Repeat("0", 64)+",", 80)), "bad_header")
			})
		}
	}
	for _, tt := range []struct {
		name, prefix, value string
		rules               []string
	}{
		{name: "as it is", prefix: "Bearer ", value: "Bearer " + canary},
		{name: "the word in small letters", prefix: "Bearer ", value: "bearer " + canary},
		{name: "two spaces", prefix: "Bearer ", value: "Bearer  " + canary},
		{name: "in capitals", prefix: "Bearer ", value: "Bearer " + strings.ToUpper(canary), rules: []string{"no_match"}},
		{name: "a part of it", prefix: "Bearer ", value: "Bearer " + canary[:20], rules: []string{"no_match"}},
		{name: "more than it", prefix: "Bearer ", value: "Bearer " + canary + "x", rules: []string{"no_match"}},
		{name: "it twice", prefix: "Bearer ", value: "Bearer " + canary + " " + canary, rules: []string{"no_match"}},
		{name: "no word", prefix: "Bearer ", value: canary, rules: []string{"bad_header"}},
		{name: "another word", prefix: "Bearer ", value: "Basic " + canary, rules: []string{"bad_header"}},
		{name: "the word alone", prefix: "Bearer ", value: "Bearer ", rules: []string{"no_signature"}},
		{name: "the prefix alone, trimmed", prefix: "Bearer ", value: "Bearer", rules: []string{"bad_header"}},
		{name: "no prefix, with a word", value: "Bearer " + canary, rules: []string{"no_match"}},
	} {
		t.Run("token/"+tt.name, func(t *testing.T) {
			w := way{verify: webhook.Verify{Kind: "token", Header: "X-Token", Prefix: tt.prefix}}
			verifies(t, w.source(t, canary), webhook.Request{Method: "POST", Header: http.Header{"X-Token": {tt.value}}, Body: []byte("{}")}, tt.rules...)
		})
	}
}

// Rule 5: the time that is signed is the one that is checked, either way.
func TestRule05TheSignedTimeIsTheOneThatIsChecked(t *testing.T) {
	timed := 0
	for _, w := range allWays(t) {
		tolerance := w.verify.Tolerance
		if tolerance == 0 {
			continue
		}
		timed++
		t.Run(w.name, func(t *testing.T) {
			source := w.source(t, w.secret)
			for _, tt := range []struct {
				off  time.Duration
				rule []string
			}{
				{off: 0}, {off: tolerance}, {off: -tolerance},
				{off: tolerance + time.Second, rule: []string{"in_the_future"}}, {off: -tolerance - time.Second, rule: []string{"too_old"}},
				{off: 365 * 24 * time.Hour, rule: []string{"in_the_future"}}, {off: -365 * 24 * time.Hour, rule: []string{"too_old"}},
			} {
				r := w.sign(t, w.secret, `{"id":"1"}`, signedAt.Add(tt.off))
				verifies(t, source, r, tt.rule...)
				// What else calls itself a time is not asked.
				r.Header.Set("Date", signedAt.Format(http.TimeFormat))
				r.Header.Set("X-Timestamp", strconv.FormatInt(signedAt.Unix(), 10))
				verifies(t, source, r, tt.rule...)
			}
			old := w.sign(t, w.secret, `{"id":"1"}`, signedAt.Add(-24*time.Hour))
			fresh := w.sign(t, w.secret, `{"id":"1"}`, signedAt)
			if w.verify.TSHeader != "" {
				verifies(t, source, having(old, w.verify.TSHeader, fresh.Header.Get(w.verify.TSHeader)), "no_match")
				return
			}
			name, separator := w.needs()[0], w.verify.PairSep
			if separator == "" {
				separator = ","
			}
			ts, _, _ := strings.Cut(fresh.Header.Get(name), separator)
			verifies(t, source, having(old, name, old.Header.Get(name)+separator+ts), "bad_header")
			verifies(t, source, having(old, name, ts+separator+old.Header.Get(name)), "bad_header")
			_, mac, _ := strings.Cut(old.Header.Get(name), separator)
			verifies(t, source, having(old, name, ts+separator+mac), "no_match")
			verifies(t, source, having(old, name, mac), "bad_header")
		})
	}
	if timed < 15 {
		t.Errorf("only %d ways sign a time", timed)
	}
}

// No time, however extreme, wraps round to one that is near.
func TestRule05ExtremeTimes(t *testing.T) {
	for _, unit := range []string{"s", "ms"} {
		w := way{verify: webhook.Verify{Header: "X-Sig", Signed: "{ts}.{body}", TSHeader: "X-Time", TSUnit: unit, Tolerance: time.Hour}}
		source := w.source(t, canary)
		for _, ts := range []string{"0", "00", "9223372036854775807", "9223372036854775", "9223372036", "1099511627777", "18446744073709551615", "-9223372036854775808", "9223372036854775808"} {
			m := hmac.New(sha256.New, []byte(canary))
			m.Write([]byte(ts + ".{}"))
			r := webhook.Request{Method: "POST", Body: []byte("{}"), Header: http.Header{"X-Time": {ts}, "X-Sig": {hex.EncodeToString(m.Sum(nil))}}}
			verifies(t, source, r, "too_old", "in_the_future", "bad_time")
		}
	}
}

// Rule 6: how pairs are read.
func TestRule06Pairs(t *testing.T) {
	w := way{verify: webhook.Verify{Header: "X-Sig", Format: "kv", SigKey: "v1", TSKey: "t", Signed: "{ts}.{body}", Tolerance: time.Minute}}
	other := canary + "2"
	source := w.source(t, canary, other)
	r := w.sign(t, canary, "{}", signedAt)
	ts, good, _ := strings.Cut(r.Header.Get("X-Sig"), ",")
	_, second, _ := strings.Cut(w.sign(t, other, "{}", signedAt).Header.Get("X-Sig"), ",")
	junk := "v1=" + strings.Repeat("00", 32)
	for _, tt := range []struct {
		name, header string
		rules        []string
	}{
		{name: "a space behind the comma, as WorkOS sends", header: ts + ", " + good},
		{name: "spaces and tabs round pairs", header: " " + ts + " ,\t" + good + " "},
		{name: "the time last", header: good + "," + ts},
		{name: "keys nobody knows", header: ts + ",v0=" + strings.Repeat("11", 32) + ",v2=x," + good + ",x,=,,y="},
		{name: "a comma at the end", header: ts + "," + good + ","},
		{name: "the right one last of several", header: ts + "," + junk + "," + junk + "," + good},
		{name: "the right one first of several", header: ts + "," + good + "," + junk},
		{name: "the second secret's", header: ts + "," + second},
		{name: "both secrets'", header: ts + "," + second + "," + good},
		{name: "behind one that cannot be read", header: ts + ",v1=dummy,v1=," + good},
		{name: "the 16th of 16", header: ts + "," + strings.Repeat(junk+",", 15) + good},
		{name: "the 17th of 17", header: ts + "," + strings.Repeat(junk+",", 16) + good, rules: []string{"bad_header"}},
		{name: "the first of 17", header: ts + "," + good + strings.Repeat(","+junk, 16), rules: []string{"bad_header"}},
		{name: "a space before the equals sign", header: ts + "," + strings.Replace(good, "=", " =", 1), rules: []string{"bad_header"}},
		{name: "the key in capitals", header: ts + "," + strings.Replace(good, "v1", "V1", 1), rules: []string{"bad_header"}},
		{name: "another key", header: ts + "," + strings.Replace(good, "v1", "v0", 1), rules: []string{"bad_header"}},
		{name: "semicolons", header: ts + ";" + good, rules: []string{"bad_header"}},
		{name: "no key", header: ts + "," + strings.TrimPrefix(good, "v1="), rules: []string{"bad_header"}},
		{name: "nothing but the time", header: ts, rules: []string{"bad_header"}},
		{name: "only commas", header: ",,,", rules: []string{"bad_header"}},
		{name: "a time of nothing", header: "t=," + good, rules: []string{"bad_time"}},
		{name: "a time without a value", header: "t," + good, rules: []string{"bad_time"}},
	} {
		t.Run(tt.name, func(t *testing.T) { verifies(t, source, having(r, "X-Sig", tt.header), tt.rules...) })
	}
}

func TestRule06Lists(t *testing.T) {
	w := ways[slices.IndexFunc(ways, func(w way) bool { return w.verify.Format == "list" })]
	source, r := w.source(t, w.secret), w.sign(t, w.secret, "{}", signedAt)
	good := r.Header.Get("X-Sig")
	junk := "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tt := range []struct {
		name, header string
		rules        []string
	}{
		{name: "alone", header: good},
		{name: "behind others", header: junk + " v1a," + strings.Repeat("A", 86) + "== v2,x " + good},
		{name: "two spaces", header: junk + "  " + good + " "},
		{name: "the 16th of 16", header: strings.Repeat(junk+" ", 15) + good},
		{name: "the 17th of 17", header: strings.Repeat(junk+" ", 16) + good, rules: []string{"bad_header"}},
		{name: "of another version", header: strings.Replace(good, "v1,", "v1a,", 1), rules: []string{"bad_header"}},
		{name: "no version", header: strings.TrimPrefix(good, "v1,"), rules: []string{"bad_header"}},
		{name: "commas between", header: junk + "," + good, rules: []string{"bad_header"}},
	} {
		t.Run(tt.name, func(t *testing.T) { verifies(t, source, having(r, "X-Sig", tt.header), tt.rules...) })
	}
}

// Rule 7: nothing that proves something may stand twice.
func TestRule07ARepeatedHeaderIsRefused(t *testing.T) {
	for _, w := range allWays(t) {
		source, r := w.source(t, w.secret), w.sign(t, w.secret, `{"id":"1"}`, signedAt)
		for _, name := range w.needs() {
			t.Run(w.name+"/"+name, func(t *testing.T) {
				if w.verify.Kind == "path_token" {
					return
				}
				value := r.Header.Get(name)
				verifies(t, source, having(r, name, value, value), "repeated_header")
				verifies(t, source, having(r, name, value, "other"), "repeated_header")
				verifies(t, source, having(r, name, "other", value), "repeated_header")
				verifies(t, source, having(r, name, value, ""), "repeated_header")
				verifies(t, source, having(r, name, "", value), "repeated_header", "no_signature")
			})
		}
	}
}

// Rule 8: what ends a signed header may not stand in it, so that its end is where it was signed.
func TestRule08ADotInAStandardWebhooksIDIsRefused(t *testing.T) {
	for _, name := range []string{"standard-webhooks", "svix", "clerk", "polar"} {
		preset, _ := webhook.FindPreset(name)
		w := way{verify: preset.Row.Verify, secret: webhooktest.Secret(preset.Row.Verify)}
		source, id := w.source(t, w.secret), signedHeaders(w.verify.Signed)[0]
		for _, tt := range []struct {
			id    string
			rules []string
		}{
			{id: "msg_2abc"}, {id: "a-b_c:d"},
			{id: "msg.1", rules: []string{"bad_header"}}, {id: "msg_1.1700000000", rules: []string{"bad_header"}}, {id: ".", rules: []string{"bad_header"}},
		} {
			r := webhook.Request{Method: "POST", Header: http.Header{}, Body: []byte("{}")}
			r.Header.Set(id, tt.id)
			if err := webhooktest.Sign(w.verify, w.secret, r.Header, "POST", sourceURL, r.Body, signedAt); err != nil {
				t.Fatal(err)
			}
			verifies(t, source, r, tt.rules...)
		}
	}
}

// The address of a sender that signs it is the configured one, with the query of the request.
func TestRule08TheSignedAddressIsTheConfiguredOne(t *testing.T) {
	for _, tt := range []struct {
		name, preset, method, signedURL, query string
		rules                                  []string
	}{
		{name: "the address", preset: "hubspot", method: "POST", signedURL: sourceURL},
		{name: "with a query in its order", preset: "hubspot", method: "POST", signedURL: sourceURL + "?b=2&a=1", query: "b=2&a=1"},
		{name: "another order of the query", preset: "hubspot", method: "POST", signedURL: sourceURL + "?a=1&b=2", query: "b=2&a=1", rules: []string{"no_match"}},
		{name: "a query that was not signed", preset: "hubspot", method: "POST", signedURL: sourceURL, query: "a=1", rules: []string{"no_match"}},
		{name: "a query that was left out", preset: "hubspot", method: "POST", signedURL: sourceURL + "?a=1", rules: []string{"no_match"}},
		{name: "a slash more", preset: "hubspot", method: "POST", signedURL: sourceURL + "/", rules: []string{"no_match"}},
		{name: "http", preset: "hubspot", method: "POST", signedURL: strings.Replace(sourceURL, "https", "http", 1), rules: []string{"no_match"}},
		{name: "another host", preset: "hubspot", method: "POST", signedURL: "https://evil.example/webhooks/x", rules: []string{"no_match"}},
		{name: "another method", preset: "hubspot", method: "GET", signedURL: sourceURL, rules: []string{"no_match"}},
		{name: "escapes that HubSpot decodes", preset: "hubspot", method: "POST", signedURL: sourceURL + "?u=https://a/b?c@d!$'()*,;", query: "u=https%3A%2f%2Fa%2Fb%3Fc%40d%21%24%27%28%29%2A%2C%3B"},
		{name: "escapes that HubSpot leaves", preset: "hubspot", method: "POST", signedURL: sourceURL + "?a=%20%26%3D%25", query: "a=%20%26%3D%25"},
		{name: "v2 decodes none", preset: "hubspot-v2", method: "POST", signedURL: sourceURL + "?a=%40", query: "a=%40"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			preset, _ := webhook.FindPreset(tt.preset)
			r := webhook.Request{Method: "POST", Query: tt.query, Body: []byte("[]"), Header: http.Header{"Host": {"evil.example"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}}}
			if err := webhooktest.Sign(preset.Row.Verify, canary, r.Header, tt.method, tt.signedURL, r.Body, signedAt); err != nil {
				t.Fatal(err)
			}
			verifies(t, newSource(t, webhook.Config{Name: "x", Row: preset.Row, Secrets: []string{canary}, PublicURL: sourceURL}), r, tt.rules...)
		})
	}
}

// Rule 10: an attempt that is signed anew is the same event; what only repeats the old signature grows old.
func TestRule10AnAttemptThatIsSignedAnewIsTheSameEvent(t *testing.T) {
	for _, name := range []string{"standard-webhooks", "revenuecat", "hubspot", "stripe", "svix"} {
		t.Run(name, func(t *testing.T) {
			preset, _ := webhook.FindPreset(name)
			w := way{verify: preset.Row.Verify, secret: webhooktest.Secret(preset.Row.Verify)}
			source := newSource(t, webhook.Config{Name: "x", Row: preset.Row, Secrets: []string{w.secret}, PublicURL: sourceURL})
			header, body := http.Header{}, webhooktest.StripeEvent{ID: "evt_1", Email: "ada@example.com"}.JSON()
			if samples := webhooktest.Samples(name); len(samples) > 0 {
				header, body = samples[0].Make(webhooktest.Fill{Email: "ada@example.com", ID: strings.Repeat("a", 24), Now: signedAt}.Complete())
			}
			attempt := func(at, now time.Time) (webhook.Event, error) {
				r := webhook.Request{Method: "POST", Header: header.Clone(), Body: body}
				if err := webhooktest.Sign(w.verify, w.secret, r.Header, "POST", sourceURL, body, at); err != nil {
					t.Fatal(err)
				}
				verified, err := source.Verify(now, r)
				if err != nil {
					return webhook.Event{}, err
				}
				return source.Events(verified)[0], nil
			}
			first, err := attempt(signedAt, signedAt)
			if err != nil {
				t.Fatal(err)
			}
			later := signedAt.Add(3 * time.Hour)
			again, err := attempt(later, later)
			if err != nil || again.ID != first.ID || again.BodyKey != first.BodyKey || again.Fingerprint != first.Fingerprint {
				t.Errorf("the second attempt: %v; %q, wants %q", err, again.ID, first.ID)
			}
			_, err = attempt(signedAt, later)
			wantRule(t, err, "too_old")
		})
	}
}

// Rule 11: an identity that is not signed is not the only one.
func TestRule11AnIdentityThatAStrangerCanVaryIsNotTheOnlyOne(t *testing.T) {
	hmacWith := func(signed string) webhook.Verify {
		return webhook.Verify{Header: "X-Sig", Signed: signed}
	}
	for _, tt := range []struct {
		name        string
		verify      webhook.Verify
		eventID     string
		body        string
		header      string
		wantID      string // empty: made of the body
		wantBodyKey bool
	}{
		{name: "in the signed body", verify: hmacWith("{body}"), eventID: "body.id", body: `{"id":"e1"}`, wantID: "e1"},
		{name: "in a signed header", verify: hmacWith("{header:X-Event-Id}.{body}"), eventID: `headers["x-event-id"]`, body: `{}`, header: "e1", wantID: "e1"},
		{name: "in a header that is not signed", verify: hmacWith("{body}"), eventID: `headers["X-Event-Id"]`, body: `{}`, header: "e1", wantID: "e1", wantBodyKey: true},
		{name: "partly in a header that is not signed", verify: hmacWith("{body}"), eventID: `key(body.id, headers["X-Event-Id"])`, body: `{"id":"e1"}`, header: "h1", wantID: "e1:h1", wantBodyKey: true},
		{name: "in a query that is not signed", verify: hmacWith("{body}"), eventID: `query.id`, body: `{}`, wantID: "q1", wantBodyKey: true},
		{name: "in a query that is signed", verify: hmacWith("{url}{body}"), eventID: `query.id`, body: `{}`, wantID: "q1"},
		{name: "absent", verify: hmacWith("{body}"), eventID: "body.id", body: `{}`, wantBodyKey: true},
		{name: "null", verify: hmacWith("{body}"), eventID: "body.id", body: `{"id":null}`, wantBodyKey: true},
		{name: "blank", verify: hmacWith("{body}"), eventID: "body.id", body: `{"id":" "}`, wantBodyKey: true},
		{name: "a list", verify: hmacWith("{body}"), eventID: "body.id", body: `{"id":["e1"]}`, wantBodyKey: true},
		{name: "too long to be one", verify: hmacWith("{body}"), eventID: "body.id", body: `{"id":"` + strings.Repeat("e", 256) + `"}`, wantBodyKey: true},
		{name: "a number of 19 digits", verify: hmacWith("{body}"), eventID: "body.id", body: `{"id":9007199254740993123}`, wantID: "9007199254740993123"},
		{name: "none is looked for", verify: hmacWith("{body}"), body: `{"id":"e1"}`, wantBodyKey: true},
		{name: "with a token, which vouches for all", verify: webhook.Verify{Kind: "token", Header: "X-Token"}, eventID: `headers["X-Event-Id"]`, body: `{}`, header: "e1", wantID: "e1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := way{verify: tt.verify}
			c := w.config(canary)
			c.Row.EventID = tt.eventID
			source := newSource(t, c)
			events := func(eventID string) webhook.Event {
				r := webhook.Request{Method: "POST", Query: "id=q1", Body: []byte(tt.body), Header: http.Header{}}
				if eventID != "" {
					r.Header.Set("X-Event-Id", eventID)
				}
				if err := webhooktest.Sign(w.verify, canary, r.Header, "POST", sourceURL+"?id=q1", r.Body, signedAt); err != nil {
					t.Fatal(err)
				}
				verified, err := source.Verify(signedAt, r)
				if err != nil {
					t.Fatal(err)
				}
				return source.Events(verified)[0]
			}
			e := events(tt.header)
			if want := tt.wantID; want != "" && e.ID != want || want == "" && e.ID != "body:"+e.BodyKey || (e.BodyKey != "") != tt.wantBodyKey {
				t.Errorf("the identity %q and the second %q, wants %q, and a second: %t", e.ID, e.BodyKey, tt.wantID, tt.wantBodyKey)
			}
			if again := events(tt.header); again.ID != e.ID || again.BodyKey != e.BodyKey {
				t.Error("the same request has another identity")
			}
			if tt.header != "" && tt.wantBodyKey {
				if varied := events("another"); varied.ID == e.ID || varied.BodyKey != e.BodyKey {
					t.Errorf("under another header the second identity is %q, wants %q as before", varied.BodyKey, e.BodyKey)
				}
			}
		})
	}
}

func TestRule11ThePresetsIdentities(t *testing.T) {
	for preset, want := range map[string]bool{
		"github": true, "shopify": true, "woocommerce": true, "formspree": true, // unsigned, or none
		"standard-webhooks": false, "svix": false, "clerk": false, "polar": false, "hubspot": false, "typeform": false, "tally": false,
		"paddle": false, "intercom": false, "segment": false, "bearer": false,
	} {
		t.Run(preset, func(t *testing.T) {
			p, _ := webhook.FindPreset(preset)
			w := way{verify: p.Row.Verify, secret: webhooktest.Secret(p.Row.Verify)}
			header, body := webhooktest.Samples(preset)[0].Make(webhooktest.Fill{Email: "ada@example.com", Now: signedAt}.Complete())
			if err := webhooktest.Sign(w.verify, w.secret, header, "POST", sourceURL, body, signedAt); err != nil {
				t.Fatal(err)
			}
			source := newSource(t, webhook.Config{Name: "x", Row: p.Row, Secrets: []string{w.secret}, PublicURL: sourceURL})
			verified, err := source.Verify(signedAt, webhook.Request{Method: "POST", Header: header, Body: body})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range source.Events(verified) {
				if (e.BodyKey != "") != want {
					t.Errorf("the identity %q has the second %q, wants one: %t", e.ID, e.BodyKey, want)
				}
			}
		})
	}
}

// Two items that differ are two events, whatever numbers they have.
func TestRule11ItemsOfOneRequestHaveTheirOwnIdentities(t *testing.T) {
	w := way{verify: webhook.Verify{Header: "X-Sig", Signed: "{body}"}}
	c := w.config(canary)
	c.Row.Each = "body"
	source := newSource(t, c)
	verified, err := source.Verify(signedAt, w.sign(t, canary, `[{"a":1},{"a":2},{"a":1e999,"b":1},{"a":1e999,"b":2},{"a":-1e999},{"b":2,"a":1e999}]`, signedAt))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i, e := range source.Events(verified) {
		if before, twice := seen[e.BodyKey]; twice && (before != 3 || i != 5) {
			t.Errorf("the items %d and %d have one identity", before, i)
		}
		seen[e.BodyKey] = i
	}
	if len(seen) != 5 {
		t.Errorf("%d identities, wants 5", len(seen))
	}
}

// Rule 12: where an address is found, and what is one.
func TestRule12WhereAnAddressIsFound(t *testing.T) {
	form := func(pairs ...string) string {
		values := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			values.Add(pairs[i], pairs[i+1])
		}
		return values.Encode()
	}
	const formType = "application/x-www-form-urlencoded"
	multi := "--b\r\nContent-Disposition: form-data; name=\"rawRequest\"\r\n\r\n{\"q3_email\":\"ada@example.com\"}\r\n--b\r\nContent-Disposition: form-data; name=\"email\"; filename=\"x\"\r\n\r\neve@example.com\r\n--b--\r\n"
	for _, tt := range []struct {
		name, contentType, body, field string
		email                          []string
		want                           string // what the event carries
		usable                         bool
	}{
		{name: "the first path", body: `{"a":"ada@example.com","b":"eve@example.com"}`, email: []string{"body.a", "body.b"}, want: "ada@example.com", usable: true},
		{name: "the second, where the first is missing", body: `{"b":"ada@example.com"}`, email: []string{"body.a", "body.b"}, want: "ada@example.com", usable: true},
		{name: "the second, where the first is null", body: `{"a":null,"b":"ada@example.com"}`, email: []string{"body.a", "body.b"}, want: "ada@example.com", usable: true},
		{name: "the second, where the first is no address", body: `{"a":"unknown","b":"ada@example.com"}`, email: []string{"body.a", "body.b"}, want: "ada@example.com", usable: true},
		{name: "the second, where the first cannot be worked out", body: `{"a":"x","b":"ada@example.com"}`, email: []string{"body.a + 1", "body.b"}, want: "ada@example.com", usable: true},
		{name: "the fault of the first, where none is usable", body: `{"a":"not one","b":"neither"}`, email: []string{"body.a", "body.b"}, want: "not one"},
		{name: "nothing", body: `{}`, email: []string{"body.a", "body.b"}},
		{name: "a path through what has no fields", body: `{"a":[1,{"b":2}]}`, email: []string{"body.a.b.c", "body.a[7].b", "body.a[1].b.c"}},
		{name: "from the end of a list", body: `{"a":["x","ada@example.com"]}`, email: []string{"body.a[-1]"}, want: "ada@example.com", usable: true},
		{name: "by a sibling", body: `{"answers":[{"type":"text","email":"eve@example.com"},{"type":"email","email":"ada@example.com"}]}`,
			email: []string{`find(body.answers ?? [], .type == "email").email`}, want: "ada@example.com", usable: true},
		{name: "by a sibling that is not there", body: `{"answers":[{"type":"text"}]}`, email: []string{`find(body.answers ?? [], .type == "email").email`}},
		{name: "the first usable of a list", body: `{"all":["","x","ada@example.com","eve@example.com"]}`, email: []string{"body.all"}, want: "ada@example.com", usable: true},
		{name: "JSON within JSON", body: `{"raw":"{\"email\":\"ada@example.com\"}"}`, email: []string{"json(body.raw).email"}, want: "ada@example.com", usable: true},
		{name: "no JSON within JSON", body: `{"raw":"{"}`, email: []string{"json(body.raw).email"}},
		{name: "a form", contentType: formType, body: form("email", "ada@example.com"), email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "a form's field with brackets", contentType: formType, body: form("data[email]", "ada@example.com"), email: []string{`form["data[email]"]`}, want: "ada@example.com", usable: true},
		{name: "a form's field twice: the first", contentType: formType, body: "email=ada%40example.com&email=eve%40example.com", email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "JSON in a form's field", contentType: formType, body: form("payload", `{"email":"ada@example.com"}`), field: "payload", email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "JSON in a field of multipart", contentType: "multipart/form-data; boundary=b", body: multi, field: "rawRequest", email: []string{"body.q3_email"}, want: "ada@example.com", usable: true},
		{name: "a file of multipart is no field", contentType: "multipart/form-data; boundary=b", body: multi, email: []string{"form.email"}},
		{name: "JSON that calls itself text", contentType: "text/plain", body: `{"email":"ada@example.com"}`, email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "JSON that calls itself a form", contentType: formType, body: `{"email":"ada@example.com"}`, email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "JSON behind a byte order mark", body: "\ufeff" + `{"email":"ada@example.com"}`, email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "a key that stands twice: the last", body: `{"email":"eve@example.com","email":"ada@example.com"}`, email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "a key with an escape", body: `{"e\u006dail":"ada@example.com"}`, email: []string{"body.email"}, want: "ada@example.com", usable: true},
		{name: "any field with mail in its name", body: `{"a":"eve@example.com","Your E-Mail":"ada@example.com"}`, email: []string{"emailField(body)"}, want: "ada@example.com", usable: true},
		{name: "spaces round it", body: `{"email":" ada@example.com\n"}`, email: []string{"body.email"}, want: "ada@example.com", usable: true},

		{name: "more than one", body: `{"email":"ada@example.com, eve@example.com"}`, email: []string{"body.email"}, want: "ada@example.com, eve@example.com"},
		{name: "a display name", body: `{"email":"Ada <ada@example.com>"}`, email: []string{"body.email"}, want: "Ada <ada@example.com>"},
		{name: "a control character", body: `{"email":"ada@example.com\r\nBcc: eve@example.com"}`, email: []string{"body.email"}, want: "ada@example.com\r\nBcc: eve@example.com"},
		{name: "a NUL", body: `{"email":"ada\u0000@example.com"}`, email: []string{"body.email"}, want: "ada\uFFFD@example.com"},
		{name: "255 bytes", body: `{"email":"ada@` + strings.Repeat("a.", 122) + `example"}`, email: []string{"body.email"}, want: "ada@" + strings.Repeat("a.", 122) + "example"},
		{name: "a number", body: `{"email":42}`, email: []string{"body.email"}, want: "42"},
		{name: "a map", body: `{"email":{"a":"ada@example.com"}}`, email: []string{"body.email"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := way{verify: webhook.Verify{Header: "X-Sig", Signed: "{body}"}}
			c := w.config(canary)
			c.Row.Email, c.Row.BodyField = tt.email, tt.field
			source := newSource(t, c)
			r := w.sign(t, canary, tt.body, signedAt)
			r.Header.Set("Content-Type", tt.contentType)
			verified, err := source.Verify(signedAt, r)
			if err != nil {
				t.Fatal(err)
			}
			e := source.Events(verified)[0]
			_, err = access.ParseAddress(e.Email)
			if e.Email != tt.want || (err == nil) != tt.usable {
				t.Errorf("found %q (%v), wants %q, usable %t", e.Email, err, tt.want, tt.usable)
			}
			if (len(e.Tried) == len(tt.email)) != (tt.want == "") {
				t.Errorf("tried %q", e.Tried)
			}
		})
	}
}

// A body of JSON lines or with something behind its end is not half read.
func TestRule12TheWholeBodyIsRead(t *testing.T) {
	w := way{verify: webhook.Verify{Header: "X-Sig", Signed: "{body}"}}
	c := w.config(canary)
	c.Row.Email = []string{"body.email"}
	source := newSource(t, c)
	const good = `{"email":"ada@example.com"}`
	for _, body := range []string{good + good, good + "\n" + good, good + "x", good + "\x00", good[:len(good)-1], "[" + good, good + "]"} {
		verified, err := source.Verify(signedAt, w.sign(t, canary, body, signedAt))
		if err != nil {
			t.Fatal(err)
		}
		events := source.Events(verified)
		if len(events) != 1 || events[0].Preliminary.Reason != webhook.ReasonMalformed || events[0].Email != "" {
			t.Errorf("%q gives %q for %q", body, events[0].Preliminary.Reason, events[0].Email)
		}
	}
	many := func(n int) (string, string) {
		var form, multi strings.Builder
		for i := range n {
			fmt.Fprintf(&form, "&f%d=x", i)
			fmt.Fprintf(&multi, "--b\r\nContent-Disposition: form-data; name=\"f%d\"\r\n\r\nx\r\n", i)
		}
		return form.String()[1:], multi.String() + "--b--\r\n"
	}
	for n, want := range map[int]access.Reason{1000: "", 1001: webhook.ReasonMalformed} {
		form, multi := many(n)
		for contentType, body := range map[string]string{"application/x-www-form-urlencoded": form, "multipart/form-data; boundary=b": multi} {
			r := w.sign(t, canary, body, signedAt)
			r.Header.Set("Content-Type", contentType)
			verified, err := source.Verify(signedAt, r)
			if err != nil {
				t.Fatal(err)
			}
			if got := source.Events(verified)[0].Preliminary; got.Reason != want {
				t.Errorf("%d fields as %s: %q, wants %q: %s", n, contentType, got.Reason, want, got.Sentence)
			}
		}
	}
}
