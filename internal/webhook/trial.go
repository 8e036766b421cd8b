package webhook

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What a source tells about itself, and what it does with its secrets but verify by them. No secret leaves this package,
// but for the token of an address, by RevealAddress.

// ErrNoSample means that nobody knows what the source's events look like.
var ErrNoSample = errors.New("the source names no preset, so that there is no sample of its events")

// Preset is the preset whose events the source takes, "" where it is described by its own fields alone.
func (s *Source) Preset() string {
	if s.stripe != nil {
		return kindStripe // that kind is its preset's alone
	}
	return s.preset
}

// Proof says in a few words how the source's sender proves that a request is its own.
func (s *Source) Proof() string { return s.verify.Proof() }

// Tolerance is how far a signed time may be from our clock, 0 where none is signed.
func (s *Source) Tolerance() time.Duration {
	switch {
	case s.stripe != nil:
		return s.stripe.Tolerance
	case s.schemes[0].tsKey != "" || s.schemes[0].tsHeader != "":
		return s.schemes[0].tolerance
	default:
		return 0
	}
}

// Secrets is how many secrets the source has.
func (s *Source) Secrets() int { return len(s.secrets) }

// Fingerprint tells whether the secrets are the same as they were, "" where there are none. It gives nothing away:
// of two hundred million secrets that somebody may guess, three thousand have the fingerprint of the right one, and
// each guess costs twenty thousand hashes. One change in 65,536 goes unseen.
func (s *Source) Fingerprint() string {
	if len(s.secrets) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(s.secrets))
	hash, err := pbkdf2.Key(sha256.New, strings.Join(sorted, "\x00"), []byte("usher source "+s.name), 20_000, 2)
	if err != nil {
		return "" // in FIPS mode, which wants longer ones: then nothing is known
	}
	return hex.EncodeToString(hash)
}

// Address is where the source's sender sends to, for people to read: base is Usher's own address as it is known to
// whoever asks, and serves where the configuration has none. A token in it is only the word TOKEN.
func (s *Source) Address(base string) string {
	address := cmp.Or(s.publicURL, strings.TrimRight(base, "/")+"/webhooks/"+s.name)
	if !s.TakesToken() {
		return address
	}
	for _, secret := range s.secrets {
		address = strings.ReplaceAll(address, secret, "TOKEN")
	}
	return strings.TrimSuffix(strings.TrimRight(address, "/"), "/TOKEN") + "/TOKEN"
}

// RevealAddress is Address with the token.
func (s *Source) RevealAddress(base string) string {
	address := s.Address(base)
	if !s.TakesToken() {
		return address
	}
	return strings.TrimSuffix(address, "TOKEN") + url.PathEscape(s.secrets[0])
}

// Trial makes an event as the source's sender would, of a customer with this address, and signs it with the source's
// first secret. It verifies.
func (s *Source) Trial(now time.Time, email string) (Request, error) {
	r := Request{Method: http.MethodPost}
	samples := Samples(cmp.Or(s.preset, s.name))
	switch {
	case s.stripe != nil:
		r.Header, r.Body = http.Header{}, StripeSample{Email: email, Name: "Test Customer", Created: now}.JSON()
	case len(samples) > 0:
		r.Header, r.Body = samples[0].Make(Fill{Email: email, Now: now}.Complete())
	default:
		return Request{}, ErrNoSample
	}
	if s.TakesToken() {
		r.Token = s.secrets[0]
	}
	if len(s.secrets) > 0 {
		if err := Sign(s.verify, s.secrets[0], r.Header, r.Method, s.publicURL, r.Body, now); err != nil {
			return Request{}, err
		}
	}
	if _, err := s.Verify(now, r); err != nil {
		return Request{}, fmt.Errorf("the sample is not what this source verifies: %w", err)
	}
	return r, nil
}

// AsTest marks what Usher sent itself to try a source: it is decided, and nobody is invited. What came over the network
// can never be it, since no part of a request leads here.
func (v Verified) AsTest() Verified {
	v.kept.Test = true
	return v
}
