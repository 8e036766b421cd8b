package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// BenchmarkVerify measures one 3 KB request of each family of senders three ways, in one run:
//
//	byhand      an HMAC-SHA256 check of the same body, written out for this sender alone
//	verify      the declarative scheme
//	extract     the scheme, the JSON and every expression of the row
//	byhandJSON  the check by hand, and encoding/json into a struct of the two fields that are wanted
//
// "make bench" prints verify ÷ byhand and extract ÷ byhandJSON.
func BenchmarkVerify(b *testing.B) {
	for _, family := range families {
		preset, ok := webhook.FindPreset(family.preset)
		if !ok {
			b.Fatalf("there is no preset %s", family.preset)
		}
		at := time.Unix(1_700_000_000, 0)
		secret := webhooktest.Secret(preset.Row.Verify)
		source, err := webhook.New(webhook.Config{Name: "bench", Row: preset.Row, Secrets: []string{secret}, PublicURL: "https://usher.example.com/webhooks/bench"})
		if err != nil {
			b.Fatal(err)
		}
		r := threeKB(b, preset, secret, at)
		b.Run(family.name+"/byhand", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !family.byHand(r, secret) {
					b.Fatal("does not verify")
				}
			}
		})
		b.Run(family.name+"/verify", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := source.Verify(at, r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(family.name+"/extract", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verified, err := source.Verify(at, r)
				if err != nil {
					b.Fatal(err)
				}
				if len(source.Events(verified)) == 0 {
					b.Fatal("no event")
				}
			}
		})
		b.Run(family.name+"/byhandJSON", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var wanted struct {
					ID    string `json:"id"`
					Email string `json:"email"`
				}
				if !family.byHand(r, secret) {
					b.Fatal("does not verify")
				}
				_ = json.Unmarshal(r.Body, &wanted) // what matters is that it is read to its end
			}
		})
	}
}

// threeKB is the preset's main sample, padded, signed as its sender signs.
func threeKB(b *testing.B, preset webhook.Preset, secret string, at time.Time) webhook.Request {
	b.Helper()
	var header http.Header
	var body []byte
	if preset.Name == "stripe" {
		header, body = http.Header{}, webhooktest.StripeEvent{Email: "ada@lovelace.example", Padding: 1700}.JSON()
	} else {
		header, body = webhooktest.Samples(preset.Name)[0].Make(webhooktest.Fill{Email: "ada@lovelace.example", Now: at}.Complete())
		body = pad(b, body)
	}
	if err := webhooktest.Sign(preset.Row.Verify, secret, header, http.MethodPost, "https://usher.example.com/webhooks/bench", body, at); err != nil {
		b.Fatal(err)
	}
	return webhook.Request{Method: http.MethodPost, Header: header, Body: body}
}

func pad(b *testing.B, body []byte) []byte {
	b.Helper()
	for len(body) < 3072 {
		end := strings.LastIndexByte(string(body), '}')
		line := `,"line_` + hex.EncodeToString([]byte{byte(len(body) >> 8), byte(len(body))}) + `":{"sku":"SKU-1","quantity":1,"price":49.00,"title":"A seat"}`
		body = []byte(string(body[:end]) + line + string(body[end:]))
	}
	if !json.Valid(body) {
		b.Fatal("the padded sample is not JSON")
	}
	return body
}

// families are the ways to sign, each by the check that somebody would write out for it.
var families = []struct {
	name, preset string
	byHand       func(webhook.Request, string) bool
}{
	{name: "hex", preset: "github", byHand: func(r webhook.Request, secret string) bool {
		theirs, _ := hex.DecodeString(strings.TrimPrefix(r.Header.Get("X-Hub-Signature-256"), "sha256="))
		return hmac.Equal(mac([]byte(secret), r.Body), theirs)
	}},
	{name: "base64", preset: "shopify", byHand: func(r webhook.Request, secret string) bool {
		theirs, _ := base64.StdEncoding.DecodeString(r.Header.Get("X-Shopify-Hmac-Sha256"))
		return hmac.Equal(mac([]byte(secret), r.Body), theirs)
	}},
	{name: "kv", preset: "calendly", byHand: func(r webhook.Request, secret string) bool {
		return keysAndValues(r.Header.Get("Calendly-Webhook-Signature"), secret, r.Body)
	}},
	{name: "list", preset: "standard-webhooks", byHand: func(r webhook.Request, secret string) bool {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		id, ts := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		theirs, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Webhook-Signature"), "v1,"))
		return hmac.Equal(mac(key, []byte(id+"."+ts+"."), r.Body), theirs)
	}},
	{name: "url", preset: "hubspot", byHand: func(r webhook.Request, secret string) bool {
		theirs, _ := base64.StdEncoding.DecodeString(r.Header.Get("X-Hubspot-Signature-V3"))
		ts := r.Header.Get("X-Hubspot-Request-Timestamp")
		return hmac.Equal(mac([]byte(secret), []byte("POSThttps://usher.example.com/webhooks/bench"), r.Body, []byte(ts)), theirs)
	}},
	{name: "stripe", preset: "stripe", byHand: func(r webhook.Request, secret string) bool {
		return keysAndValues(r.Header.Get("Stripe-Signature"), secret, r.Body)
	}},
}

func keysAndValues(header, secret string, body []byte) bool {
	var ts string
	var theirs []byte
	for _, pair := range strings.Split(header, ",") {
		switch key, value, _ := strings.Cut(pair, "="); key {
		case "t":
			ts = value
		case "v1":
			theirs, _ = hex.DecodeString(value)
		}
	}
	return hmac.Equal(mac([]byte(secret), []byte(ts+"."), body), theirs)
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}
