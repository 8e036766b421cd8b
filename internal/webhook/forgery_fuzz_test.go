package webhook_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// fuzzSources are a source for each way, with two secrets, the second of which signs.
func fuzzSources(f *testing.F) (sources []*webhook.Source) {
	f.Helper()
	for _, w := range ways {
		sources = append(sources, w.source(f, webhooktest.Secret(w.verify), w.secret))
	}
	return sources
}

// Whatever a stranger makes up verifies nowhere.
func FuzzMadeUpRequests(f *testing.F) {
	now := strconv.FormatInt(signedAt.Unix(), 10)
	for _, body := range []string{"", "{}", "[]", "{ts}{body}{secret}", "\x00", "a=b"} {
		for _, w := range ways {
			// What was signed with nothing, with a blank, with the key's prefix, and by somebody else.
			for _, with := range []string{"", webhooktest.Secret(w.verify)} {
				r := w.sign(f, with, body, signedAt)
				f.Add(r.Header.Get(w.needs1()), r.Header.Get("X-Time"), "msg_1", r.Token, "", []byte(body))
			}
		}
	}
	for _, value := range []string{"t=" + now + ",v1=", "v1,", "v1=", "sha256=", "Bearer ", "bearer \t", "Bearer \x00", "=,=,=", strings.Repeat("v1=00,", 700), strings.Repeat("0", 64), "\xff", "t=" + now + ",t=" + now + ",v1=00"} {
		f.Add(value, now, "", "", "a=b&a=c", []byte("{}"))
		f.Add(value, now+"000", "a.b", value, "%", []byte("{}"))
		f.Add(value, signedAt.UTC().Format(time.RFC3339), "\x00", "../x", "", []byte("{}"))
	}
	sources := fuzzSources(f)
	f.Fuzz(func(t *testing.T, value, ts, id, token, query string, body []byte) {
		for i, w := range ways {
			r := webhook.Request{Method: "POST", Query: query, Token: token, Body: body, Header: http.Header{"X-Time": {ts}, "X-Id": {id}, "X-Topic": {id}}}
			r.Header.Set(w.needs1(), value)
			if verified, err := sources[i].Verify(signedAt, r); err == nil || verified.Body() != nil {
				t.Fatalf("%s: what was made up verifies: %q at %q", w.name, value, ts)
			}
		}
	})
}

// needs1 is the header of the signature or token, any where there is none.
func (w way) needs1() string {
	if names := w.needs(); len(names) > 0 {
		return names[0]
	}
	return "X-Sig"
}

// What was signed verifies; with one bit flipped it does not.
func FuzzSignedRequests(f *testing.F) {
	for i, body := range append([]string{"{ts}", "{body}{secret}", `{"a":"é"}`, "a=b&c=d", strings.Repeat("x", 200)}, hostile...) {
		f.Add([]byte(body), uint(i*7))
		f.Add([]byte(body), uint(1<<20+i))
	}
	sources := fuzzSources(f)
	f.Fuzz(func(t *testing.T, body []byte, flip uint) {
		for i, w := range ways {
			r := w.sign(t, w.secret, string(body), signedAt)
			verified, err := sources[i].Verify(signedAt, r)
			if w.verify.Kind == "hash" && bytes.IndexByte(body, 0) >= 0 {
				wantRule(t, err, "bad_body") // see TestRule02AHashedBodyCannotBeMadeLonger
				continue
			}
			if err != nil || verified.By() != "secrets[1]" || !bytes.Equal(verified.Body(), body) {
				t.Fatalf("%s: what was signed: by %q, %v", w.name, verified.By(), err)
			}
			if w.verify.Kind == "path_token" {
				r.Token = string(flipped([]byte(r.Token), flip))
				refuses(t, sources[i], w, r, "the token")
				continue
			}
			if len(body) > 0 && w.isSigned() {
				bent := r
				bent.Body = flipped(body, flip)
				refuses(t, sources[i], w, bent, "the body")
			}
			for _, name := range w.needs() {
				good := r.Header.Get(name)
				bent := string(flipped([]byte(good), flip))
				if name == w.needs1() && saysTheSame(w.verify, good, bent) {
					continue
				}
				refuses(t, sources[i], w, having(r, name, bent), name)
			}
		}
	})
}

func flipped(text []byte, flip uint) []byte {
	text = bytes.Clone(text)
	text[flip/8%uint(len(text))] ^= 1 << (flip % 8)
	return text
}

// saysTheSame reports whether two headers that differ in one bit carry the same bytes: hex in another case, the
// word before a token in another case, or the bits of base64's last character that stand for nothing.
func saysTheSame(v webhook.Verify, good, bent string) bool {
	switch {
	case v.Kind == "token":
		prefix := len(v.Prefix)
		return strings.EqualFold(good[:prefix], bent[:prefix]) && good[prefix:] == bent[prefix:]
	case strings.HasPrefix(v.Encoding, "base64"):
		last := len(strings.TrimRight(good, "=")) - 1
		return good[:last] == bent[:last] && good[last+1:] == bent[last+1:]
	default:
		return strings.EqualFold(good, bent)
	}
}

func refuses(t *testing.T, source *webhook.Source, w way, r webhook.Request, what string) {
	t.Helper()
	if _, err := source.Verify(signedAt, r); err == nil {
		t.Fatalf("%s: with one bit of %s flipped it verifies: %v", w.name, what, r.Header)
	}
}

// Whatever a sender sends is read without a panic, the same each time, and invites nobody whose address is none.
func FuzzEventsOfPresets(f *testing.F) {
	types := []string{"application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain", "", "multipart/form-data", `multipart/form-data; boundary="`, "application/json; charset=\xff", ";"}
	const part = "--b\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n"
	bodies := append([]string{
		"email=ada%40example.com", "%zz", "=&=&", strings.Repeat("a&", 1001), "payload=" + strings.Repeat("%5B", 100), "email=%00%ff",
		fmt.Sprintf(part+"--b--\r\n", `"email"`, "ada@example.com"), fmt.Sprintf(part, `"rawRequest"`, `{"q3_email":"ada@example.com"}`), "--b\r\n\r\n--b--", "--b", "--b--", "--b\r\nContent-Disposition: form-data; name=\"\x00\"\r\n\r\n",
		strings.Repeat("[", 65), strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), `[[],{},null,1,"x",true]`, `[` + strings.Repeat("{},", 200) + `{}]`,
		`{"data":[],"event":{},"body":1e999,"email":["a@b.c",null,{}]}`, `{"email":"ada@example.com\u0000","id":{},"type":[],"created":-1e308}`,
		`{"email":"\u212Aate@example.com","customer":[],"user":"x","payload":null}`, `{"form_response":{"answers":{"type":"email"}}}`, `{"data":{"fields":"x","email_addresses":{"a":1}}}`,
	}, hostile...)
	for i, body := range bodies {
		for _, contentType := range types {
			f.Add(contentType, "id=1&email=ada%40example.com", []byte(body), uint(i))
		}
	}
	var presets []webhook.Preset
	var sources []*webhook.Source
	for _, p := range webhook.Presets() {
		if p.Name == "stripe" { // see FuzzStripeEvents
			continue
		}
		presets = append(presets, p)
		sources = append(sources, newSource(f, webhook.Config{Name: "x", Row: p.Row, Secrets: []string{webhooktest.Secret(p.Row.Verify)}, PublicURL: sourceURL, RequireLivemode: true, LookUp: true}))
		for i, sample := range webhooktest.Samples(p.Name) {
			header, body := sample.Make(webhooktest.Fill{Email: "ada@example.com", Now: signedAt}.Complete())
			f.Add(header.Get("Content-Type"), "", body, uint(i))
		}
	}
	policy, err := access.NewPolicy(access.PolicyConfig{Internal: []string{"acme.com"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType, query string, body []byte, header uint) {
		for i, source := range sources {
			r := webhook.Request{Method: "POST", Query: query, Body: bytes.Clone(body), Header: http.Header{"Content-Type": {contentType}}}
			if samples := webhooktest.Samples(presets[i].Name); len(samples) > 0 {
				for name, value := range samples[header%uint(len(samples))].Headers {
					r.Header.Set(name, value)
				}
			}
			events := source.Events(source.Unsigned(signedAt, r))
			if len(events) == 0 || len(events) > 20_000 {
				t.Fatalf("%s: %d events", presets[i].Name, len(events))
			}
			if !bytes.Equal(r.Body, body) {
				t.Fatalf("%s: reading changed the body", presets[i].Name)
			}
			again := source.Events(source.Unsigned(signedAt, r))
			for k, e := range events {
				soundEvent(t, presets[i].Name, policy, e)
				if again[k].ID != e.ID || again[k].Email != e.Email || again[k].Fingerprint != e.Fingerprint {
					t.Fatalf("%s: the same bytes are %q and %q", presets[i].Name, e.ID, again[k].ID)
				}
			}
		}
	})
}

// soundEvent checks what must hold for each event.
func soundEvent(t *testing.T, preset string, policy *access.Policy, e webhook.Event) {
	t.Helper()
	if e.ID == "" || len(e.ID) > 255 || e.Type == "" || e.Source != "x" || e.Fingerprint == "" {
		t.Fatalf("%s: the event %q of the type %q has no identity", preset, e.ID, e.Type)
	}
	for _, text := range append(texts(e), e.Tried...) {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Fatalf("%s: %q cannot be stored as text", preset, text)
		}
	}
	for name, value := range e.Attributes {
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			t.Fatalf("%s: the attribute %s cannot be stored as text: %q", preset, name, value)
		}
	}
	p := e.Preliminary
	if (p.Outcome == "") != (p.Reason == "") || (p.Outcome == "") != (p.Sentence == "") {
		t.Fatalf("%s: half a decision: %+v", preset, p)
	}
	if p.Reason == webhook.ReasonMalformed && e.Email != "" {
		t.Fatalf("%s: a malformed body has the address %q", preset, e.Email)
	}
	if _, err := access.ParseAddress(e.Email); err != nil && policy.Decide(e.Event).Outcome == access.Invite {
		t.Fatalf("%s: %q would be invited: %v", preset, e.Email, err)
	}
	if e.LookUp && (e.Email != "" || e.Customer == "" || p.Outcome == access.Skip) {
		t.Fatalf("%s: there is nothing to look up in %+v", preset, p)
	}
}

// Whatever an operator writes is taken or refused, and what is taken opens for nobody without a secret.
func FuzzNew(f *testing.F) {
	for _, w := range allWays(f) {
		v := w.verify
		f.Add(v.Kind, v.Header, v.Algorithm, v.Encoding, v.Prefix, v.Format, v.PairSep, v.SigKey, v.TSKey, strings.Join(v.KeyCoding, ","), v.KeyPrefix, v.Signed, v.TSHeader, v.TSUnit, int64(v.Tolerance), w.secret, "body.email")
	}
	for _, template := range []string{"{", "}", "{}", "{{body}}", "{body", "{body}{body}", "{header:}", "{header:\x00}{body}", "{header:X}{header:X}{body}", "{secret}{body}", "{ts}{ts}{body}", strings.Repeat("{body}", 500), "\xff{body}"} {
		for _, secret := range []string{"", " ", "whsec_", "\x00\x00", "AAAA", "0000", "whsec_====", "x", "\xff", "\u00a0"} {
			f.Add("hmac", "X-Sig", "", "", "", "", "", "", "", "base64,hex,raw", "whsec_", template, "", "", int64(0), secret, `headers["X"]`)
			f.Add("hash", "X-Sig", "sha1", "base64", "p", "kv", "=", "=", "", "", "", template+"{secret}{body}", "X-T", "ms", int64(1), secret, "[1,")
		}
	}
	f.Fuzz(func(t *testing.T, kind, header, algorithm, encoding, prefix, format, pairSep, sigKey, tsKey, codings, keyPrefix, signed, tsHeader, tsUnit string, tolerance int64, secret, expression string) {
		v := webhook.Verify{Kind: kind, Header: header, Algorithm: algorithm, Encoding: encoding, Prefix: prefix, Format: format, PairSep: pairSep, SigKey: sigKey,
			TSKey: tsKey, KeyPrefix: keyPrefix, Signed: signed, TSHeader: tsHeader, TSUnit: tsUnit, Tolerance: time.Duration(tolerance)}
		if codings != "" {
			v.KeyCoding = strings.Split(codings, ",")
		}
		row := webhook.Row{Verify: v, When: expression, Email: []string{expression}, EventID: expression, Each: expression}
		if kind == "stripe" {
			row.Each, row.EventID = "", ""
		}
		source, err := webhook.New(webhook.Config{Name: "x", Row: row, Secrets: []string{secret}, PublicURL: sourceURL})
		if (source == nil) == (err == nil) {
			t.Fatalf("the source %v, the error %v", source, err)
		}
		if err != nil {
			return
		}
		body := []byte(`[{"email":"ada@example.com"}]`)
		for _, h := range []http.Header{{}, emptySigned(v, body)} {
			if _, err := source.Verify(signedAt, webhook.Request{Method: "POST", Header: h, Body: body}); err == nil {
				t.Fatalf("%+v takes what nobody signed: %v", v, h)
			}
		}
		source.Events(source.Unsigned(signedAt, webhook.Request{Method: "POST", Header: http.Header{}, Body: body}))
	})
}

// emptySigned are the headers of somebody who believes that the secret is empty.
func emptySigned(v webhook.Verify, body []byte) http.Header {
	header := http.Header{}
	for _, name := range signedHeaders(v.Signed) {
		header.Set(name, "x")
	}
	if err := webhooktest.Sign(v, "", header, "POST", sourceURL, body, signedAt); err != nil {
		return http.Header{}
	}
	return header
}
