// Package webhooktest has what tests, the demo and the benchmark say of events as senders send them, in fewer words than
// package webhook, which makes and signs them.
package webhooktest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/webhook"
)

// A StripeEvent describes an event of Stripe.
type StripeEvent = webhook.StripeSample

// A Sample is a realistic request of a preset, with gaps.
type Sample = webhook.Sample

// A Fill is what goes into the gaps.
type Fill = webhook.Fill

// Samples returns the samples of a preset.
func Samples(preset string) []Sample { return webhook.Samples(preset) }

// StripeID makes an identity like Stripe's.
func StripeID(prefix string) string { return webhook.StripeID(prefix) }

// Sign signs a request as its sender does.
func Sign(v webhook.Verify, secret string, header http.Header, method, url string, body []byte, at time.Time) error {
	return webhook.Sign(v, secret, header, method, url, body, at)
}

// SignStripe signs a body as Stripe does.
func SignStripe(body []byte, secret string, at time.Time) http.Header {
	return webhook.SignStripe(body, secret, at)
}

// Secret makes a secret that a scheme can read, which nobody uses.
func Secret(v webhook.Verify) string {
	random := sha256.Sum256([]byte(StripeID("secret")))
	text := hex.EncodeToString(random[:])
	if len(v.KeyCoding) > 0 && v.KeyCoding[0] == "base64" {
		text = base64.StdEncoding.EncodeToString(random[:])
	}
	if v.Kind == "token" && strings.EqualFold(v.Prefix, "Basic ") {
		text = base64.StdEncoding.EncodeToString([]byte("usher:" + text))
	}
	return v.KeyPrefix + text
}

// VerifyAgain verifies what a ledger kept of a request, at the time it came: nothing else makes events.
func VerifyAgain(source *webhook.Source, at time.Time, request string, body []byte) (webhook.Verified, error) {
	var kept webhook.Kept
	if err := json.Unmarshal([]byte(request), &kept); err != nil {
		return webhook.Verified{}, err
	}
	header := http.Header{}
	for name, value := range kept.Headers {
		header.Set(name, value)
	}
	return source.Verify(at, webhook.Request{Method: http.MethodPost, Header: header, Body: body})
}
