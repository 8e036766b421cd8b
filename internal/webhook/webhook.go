// Package webhook answers two questions about a request: is it authentic, and which events does it carry?
//
// The first is Source.Verify, before anything of the body is parsed; the second is Source.Events, which takes
// a Verified and so cannot be asked of a request that was not verified.
package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// Tolerance is how far a signed timestamp may be from our clock, either way.
// https://docs.stripe.com/webhooks#replay-attacks and Standard Webhooks 1.0.0 both take five minutes.
const Tolerance = 5 * time.Minute

// A Source is one configured sender. It is immutable and safe for concurrent use.
type Source struct {
	name    string
	secrets []string
	stripe  StripeConfig
}

// Name is the source's name in the configuration and in its path.
func (s *Source) Name() string { return s.name }

// String is the name: what else a Source has is secret.
func (s *Source) String() string { return s.name }

// GoString is String, so that %#v tells no more than %v.
func (s *Source) GoString() string { return s.name }

// A Rejection is why a request is not authentic. It is for our log only: the sender is always told the same.
type Rejection struct {
	Rule   string // a short code: "no_signature", "no_match", "too_old" …
	Detail string // which header, and how; never its content
}

func (r *Rejection) Error() string { return r.Rule + ": " + r.Detail }

// Verified is a request's body that its sender provably sent. Only Verify and FromLedger make one.
type Verified struct {
	source     string
	body       []byte
	receivedAt time.Time
	by         string
}

// Source names the source that verified the request.
func (v Verified) Source() string { return v.source }

// Body is the bytes that were signed. Do not change them.
func (v Verified) Body() []byte { return v.body }

// ReceivedAt is our clock at verification.
func (v Verified) ReceivedAt() time.Time { return v.receivedAt }

// By says which secret matched, by its place in the configuration: "secrets[1]".
func (v Verified) By() string { return v.by }

// FromLedger is the other door to a Verified: nothing enters the ledger unverified, so what comes out of it
// was. Only the decide stage may call it; a test at the root holds that.
func FromLedger(source string, body []byte, receivedAt time.Time, by string) Verified {
	return Verified{source: source, body: body, receivedAt: receivedAt, by: by}
}

// Reasons, beside those of access, for which the sender's own words already decide an event.
const (
	ReasonTypeNotHandled    access.Reason = "type_not_handled"
	ReasonThinEvent         access.Reason = "thin_event"
	ReasonMalformed         access.Reason = "malformed"
	ReasonAwaitingPayment   access.Reason = "awaiting_payment"
	ReasonPaymentFailed     access.Reason = "payment_failed"
	ReasonNoPaymentRequired access.Reason = "no_payment_required"
	ReasonTestMode          access.Reason = "test_mode"
)

// An Event is one thing a sender told us, normalised.
type Event struct {
	access.Event
	OccurredAt time.Time // by the sender's clock, zero when it did not say
	// Preliminary is set where the sender's own words decide already: Outcome skip, or hold if the access
	// rules would invite. Its zero value means that a customer came.
	Preliminary Preliminary
	// LookUp means that the event names a customer but not the address, which must be asked for.
	LookUp bool
}

// A Preliminary is a decision made before the access rules are asked.
type Preliminary struct {
	Outcome  access.Outcome
	Reason   access.Reason
	Sentence string
}

// Verify checks that a request was sent by the source, with one of its secrets, within the Tolerance of now.
// The error is a *Rejection.
func (s *Source) Verify(now time.Time, header http.Header, body []byte) (Verified, error) {
	by, err := s.verifyStripe(now, header, body)
	if err != nil {
		return Verified{}, err
	}
	return Verified{source: s.name, body: body, receivedAt: now, by: by}, nil
}

// Events takes the events out of what was verified. It never fails: a body that cannot be read is an event
// too, skipped as malformed, so that nothing is lost from sight.
func (s *Source) Events(v Verified) []Event {
	return []Event{s.stripeEvent(v.body)}
}

// one returns a header that must stand in the request exactly once.
func one(header http.Header, name string) (string, error) {
	switch values := header.Values(name); {
	case len(values) == 0 || strings.TrimSpace(values[0]) == "":
		return "", &Rejection{Rule: "no_signature", Detail: "the header " + name + " is missing or blank"}
	case len(values) > 1:
		return "", &Rejection{Rule: "repeated_header", Detail: fmt.Sprintf("the header %s stands %d times", name, len(values))}
	default:
		return values[0], nil
	}
}

// usable refuses blank secrets, as with an empty key anybody could sign. It returns a copy, so that nobody
// can blank one later.
func usable(secrets []string) ([]string, error) {
	for i, s := range secrets {
		if strings.TrimSpace(s) == "" {
			return nil, fmt.Errorf("secrets[%d] is blank: anybody could sign with it", i)
		}
	}
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret: anybody could send events")
	}
	return slices.Clone(secrets), nil
}
