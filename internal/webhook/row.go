package webhook

import (
	"cmp"
	"strings"
	"time"
)

// A Row describes one kind of sender as data: a row of presets.yaml, or what an operator wrote below
// sources.NAME in usher.yaml, where the keys have the same names. Expressions are in the language of
// github.com/expr-lang/expr; see Environment for the names they may use.
type Row struct {
	Verify Verify `yaml:"verify"`
	// Legacy names rows whose schemes are tried, with allow_legacy, when the header of this one is absent.
	Legacy []string `yaml:"legacy"`
	// OnlyIf, "Header: value", must hold for the scheme to be tried as another row's legacy.
	OnlyIf string `yaml:"only_if"`
	// Handshake is how the sender tries the address before it sends events: one of the Handshake constants.
	Handshake string `yaml:"handshake"`
	// BodyField names the form field that holds the event as JSON.
	BodyField string `yaml:"body_field"`

	Each       string            `yaml:"each"`        // the list of events in one request; unset: the request is one event
	Ignore     string            `yaml:"ignore"`      // true for a sender's test or ping
	When       string            `yaml:"when"`        // true if a customer came; unset: always
	Email      []string          `yaml:"email"`       // the address: the first that gives a usable one
	EventID    string            `yaml:"event_id"`    // the sender's identity of the event
	Type       string            `yaml:"type"`        // the sender's word for what happened
	Name       string            `yaml:"name"`        // the person's name
	Customer   string            `yaml:"customer"`    // the sender's id of the customer
	OccurredAt string            `yaml:"occurred_at"` // seconds or milliseconds since 1970, or RFC 3339
	Livemode   string            `yaml:"livemode"`    // false for test data; unset: all is live
	Accepted   string            `yaml:"accepted"`    // true if the event says that an invited person came in
	Attributes map[string]string `yaml:"attributes"`  // Retool user attributes by name
	// LookUp names the provider that is asked for the address of Customer when the event carries none.
	LookUp string `yaml:"look_up"`
}

// Verify describes how a sender proves that a request is its own. The zero value of a field means its
// default, the one named first.
type Verify struct {
	Kind      string `yaml:"kind"`      // hmac, hash, token, path_token, none; and stripe, which is its preset's alone
	Header    string `yaml:"header"`    // that carries the signature or the token
	Algorithm string `yaml:"algorithm"` // sha256, sha1, sha512
	Encoding  string `yaml:"encoding"`  // of the signature: hex, base64, base64url
	Prefix    string `yaml:"prefix"`    // that must stand before the signature or token
	// Format is single (the header is the signature), kv (t=…,v1=…) or list (v1,… v1,…: Standard Webhooks).
	Format  string `yaml:"format"`
	PairSep string `yaml:"pair_sep"` // between the pairs of kv (a comma) or the entries of list (a space)
	SigKey  string `yaml:"sig_key"`  // the key of signatures in kv, the version of those in list
	TSKey   string `yaml:"ts_key"`   // the key of the time in kv
	// KeyCoding is how the secret's text becomes the key: raw, base64, hex, tried in order. KeyPrefix is taken
	// off before base64 and hex; raw is the whole text.
	KeyCoding []string `yaml:"key_coding"`
	KeyPrefix string   `yaml:"key_prefix"`
	// Signed is the template of what was signed: {body} {ts} {method} {url} {secret} {header:Name}.
	Signed    string        `yaml:"signed"`
	TSHeader  string        `yaml:"ts_header"`  // the header that carries the time
	TSUnit    string        `yaml:"ts_unit"`    // s, ms, rfc3339
	Tolerance time.Duration `yaml:"tolerance"`  // between the signed time and our clock, either way; 5m
	URLDecode string        `yaml:"url_decode"` // hubspot: decode the escapes that HubSpot decodes before it signs
	// BodySelect is first_array_element where only the first of a batch is signed: the rest is dropped.
	BodySelect string `yaml:"body_select"`
}

// Proof says in a few words how a sender proves that a request is its own.
func (v Verify) Proof() string {
	algorithm := strings.ToUpper(cmp.Or(v.Algorithm, "sha256"))
	var also []string
	for _, part := range []struct{ placeholder, name string }{{"{url}", "address"}, {"{ts}", "time"}} {
		if strings.Contains(v.Signed, part.placeholder) {
			also = append(also, part.name)
		}
	}
	if v.Kind == kindStripe {
		also = []string{"time"}
	}
	signed := ""
	if len(also) > 0 {
		signed = ", " + strings.Join(also, " and ") + " signed"
	}
	prefix := strings.ToLower(strings.TrimSpace(v.Prefix))
	switch {
	case v.Kind == kindToken && prefix == "bearer":
		return "bearer token"
	case v.Kind == kindToken && prefix == "basic":
		return "basic authentication"
	case v.Kind == kindToken:
		return "token in " + v.Header
	case v.Kind == kindPathToken:
		return "token in the address"
	case v.Kind == kindNone:
		return "nothing"
	case v.Kind == kindHash:
		return algorithm + " of secret and body" + signed
	default:
		return "HMAC-" + algorithm + signed
	}
}

// About is what people should know of a sender; docs/sources.md is made of it.
type About struct {
	Title     string   `yaml:"title"`
	Group     string   `yaml:"group"`      // billing, shops, forms, relays, crm, identity, messaging, generic
	Link      string   `yaml:"link"`       // the sender's own page on its webhooks
	Secret    string   `yaml:"secret"`     // where the secret is found or made
	Env       string   `yaml:"env"`        // the variable that its example reads the secret from
	Setup     []string `yaml:"setup"`      // what to click at the sender
	Events    string   `yaml:"events"`     // which events invite, in words
	Answer    string   `yaml:"answer"`     // how long the sender waits
	OnFailure string   `yaml:"on_failure"` // what the sender does when Usher does not answer 200
	Notes     []string `yaml:"notes"`      // what else is worth knowing
	Code      string   `yaml:"code"`       // a script to paste at the sender, if it needs one
}
