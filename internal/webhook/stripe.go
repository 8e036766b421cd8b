package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	stripehook "github.com/stripe/stripe-go/v76/webhook"

	"github.com/usher-dev/usher/internal/access"
)

// StripeConfig is what a Stripe source may be told.
type StripeConfig struct {
	Secrets []string // signing secrets, whsec_…; several while one is rolled
	// NoPaymentRequired is the outcome of a checkout that is complete without a payment: a trial, a set-up,
	// a discount of all. Invite by default.
	NoPaymentRequired access.Outcome
	// RequireLivemode skips events of Stripe's test mode.
	RequireLivemode bool
	// LookUp says that Stripe can be asked for the address of a customer whose event carries none.
	LookUp bool
	// SubscriptionCreated also takes customer.subscription.created, whose address must be looked up.
	SubscriptionCreated bool
}

// NewStripe makes a source that Stripe sends to. A blank secret is refused: stripe-go v76 accepts what an
// attacker signed with an empty key.
func NewStripe(name string, cfg StripeConfig) (*Source, error) {
	secrets, err := usable(cfg.Secrets)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", name, err)
	}
	if cfg.NoPaymentRequired == "" {
		cfg.NoPaymentRequired = access.Invite
	}
	cfg.Secrets = nil // the Source has its own
	return &Source{name: name, secrets: secrets, stripe: cfg}, nil
}

const (
	stripeHeader = "Stripe-Signature"
	// maxStripeHeader bounds what an attacker can make us parse: a header with 16 signatures has 1.1 KB.
	maxStripeHeader = 4096
)

// verifyStripe checks the signature with stripe-go and the time ourselves: stripe-go only refuses what is
// too old, so that a timestamp of next year would pass.
func (s *Source) verifyStripe(now time.Time, header http.Header, body []byte) (by string, err error) {
	signature, err := one(header, stripeHeader)
	if err != nil {
		return "", err
	}
	if len(signature) > maxStripeHeader {
		return "", &Rejection{Rule: "bad_header", Detail: fmt.Sprintf("%s has %d bytes", stripeHeader, len(signature))}
	}
	signed, err := stripeTime(signature)
	if err != nil {
		return "", err
	}
	for i, secret := range s.secrets {
		if err = stripehook.ValidatePayloadIgnoringTolerance(body, signature, secret); err == nil {
			return fmt.Sprintf("secrets[%d]", i), within(now, signed)
		}
		if !errors.Is(err, stripehook.ErrNoValidSignature) {
			return "", &Rejection{Rule: "bad_header", Detail: stripeHeader + " cannot be read"}
		}
	}
	return "", &Rejection{Rule: "no_match", Detail: fmt.Sprintf("no signature in %s matches any of %d secrets", stripeHeader, len(s.secrets))}
}

// stripeTime reads the one timestamp of the header. Two would let stripe-go sign with one and us check the other.
func stripeTime(signature string) (time.Time, error) {
	var found []string
	for pair := range strings.SplitSeq(signature, ",") {
		if key, value, _ := strings.Cut(pair, "="); key == "t" {
			found = append(found, value)
		}
	}
	if len(found) != 1 {
		return time.Time{}, &Rejection{Rule: "bad_header", Detail: fmt.Sprintf("%s has %d timestamps, wants one", stripeHeader, len(found))}
	}
	seconds, err := strconv.ParseInt(found[0], 10, 64)
	if err != nil {
		return time.Time{}, &Rejection{Rule: "bad_header", Detail: "the timestamp in " + stripeHeader + " is not a number"}
	}
	return time.Unix(seconds, 0), nil
}

// within refuses a signed time more than the Tolerance before or after now.
func within(now, signed time.Time) error {
	switch off := now.Sub(signed); {
	case off > Tolerance:
		return &Rejection{Rule: "too_old", Detail: fmt.Sprintf("signed more than %s ago", Tolerance)}
	case off < -Tolerance:
		return &Rejection{Rule: "in_the_future", Detail: fmt.Sprintf("signed more than %s ahead of our clock", Tolerance)}
	default:
		return nil
	}
}

// The event types that a Stripe source handles.
const (
	CheckoutCompleted      = "checkout.session.completed"
	CheckoutAsyncSucceeded = "checkout.session.async_payment_succeeded"
	CheckoutAsyncFailed    = "checkout.session.async_payment_failed"
	InvoicePaid            = "invoice.paid"
	SubscriptionCreated    = "customer.subscription.created"
)

// stripeEnvelope is what every event has. Our own small structs, not stripe-go's: its types are of one API
// version, and accounts send others. Created is a number, or text in a thin event.
type stripeEnvelope struct {
	ID       string          `json:"id"`
	Object   string          `json:"object"`
	Type     string          `json:"type"`
	Created  json.RawMessage `json:"created"`
	Livemode bool            `json:"livemode"`
	Data     struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

// stripeEvent normalises one Stripe event. https://docs.stripe.com/api/events/object
func (s *Source) stripeEvent(body []byte) Event {
	var envelope stripeEnvelope
	if err := json.Unmarshal(body, &envelope); err != nil {
		return s.malformed(body, "the body is not the JSON of an event: "+shape(err))
	}
	if envelope.ID == "" || envelope.Type == "" {
		return s.malformed(body, "the event has no id or no type")
	}
	event := Event{
		Event:      access.Event{Source: s.name, ID: clean(envelope.ID), Type: clean(envelope.Type), Livemode: envelope.Livemode},
		OccurredAt: stripeMoment(envelope.Created),
	}
	if envelope.Object == "v2.core.event" {
		return event.skip(ReasonThinEvent, "A thin event carries no data; point a snapshot destination (v1 events) at Usher instead.")
	}
	fill, handled := s.stripeFills(event.Type)
	if !handled {
		return event.skip(ReasonTypeNotHandled, fmt.Sprintf("Events of the type %s do not say that a customer came.", event.Type))
	}
	if err := fill(&event, envelope.Data.Object); err != nil {
		return event.skip(ReasonMalformed, "The event's data cannot be read: "+shape(err)+".")
	}
	if s.stripe.RequireLivemode && !event.Livemode {
		return event.skip(ReasonTestMode, "This is an event of Stripe's test mode, and require_livemode is on.")
	}
	event.LookUp = s.stripe.LookUp && event.Email == "" && event.Customer != "" && event.Preliminary.Outcome != access.Skip
	return event
}

// stripeFills returns what reads the data of an event type.
func (s *Source) stripeFills(eventType string) (fill func(*Event, json.RawMessage) error, handled bool) {
	switch eventType {
	case CheckoutCompleted, CheckoutAsyncSucceeded, CheckoutAsyncFailed:
		return s.fillCheckout, true
	case InvoicePaid:
		return s.fillInvoice, true
	case SubscriptionCreated:
		return s.fillSubscription, s.stripe.SubscriptionCreated
	default:
		return nil, false
	}
}

// malformed is the event made of a body that is none: its identity is the body's hash, so that a resend is
// still seen as one.
func (s *Source) malformed(body []byte, why string) Event {
	hash := sha256.Sum256(body)
	event := Event{Event: access.Event{Source: s.name, ID: "body:" + hex.EncodeToString(hash[:]), Type: "malformed"}}
	return event.skip(ReasonMalformed, "This was signed by the sender, but "+why+".")
}

func (e Event) skip(reason access.Reason, sentence string) Event {
	e.Preliminary = Preliminary{Outcome: access.Skip, Reason: reason, Sentence: sentence}
	return e
}

// shape tells what is wrong with JSON without telling its content.
func shape(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("invalid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Sprintf("it is of the kind %s, not an object", kindOnly(kind.Value))
	case errors.As(err, &kind):
		return fmt.Sprintf("the field %s is of the kind %s", kind.Field, kindOnly(kind.Value))
	default:
		return "it cannot be read"
	}
}

// kindOnly drops the content that encoding/json puts behind a kind: "number 12.5" is a number.
func kindOnly(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}

// clean makes sender's text safe to store: Postgres refuses NUL in text.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// stripeMoment reads seconds since 1970, or the text of a thin event.
func stripeMoment(raw json.RawMessage) time.Time {
	var seconds int64
	if json.Unmarshal(raw, &seconds) == nil && seconds > 0 && seconds < math.MaxInt32*2 {
		return time.Unix(seconds, 0).UTC()
	}
	var text time.Time
	if json.Unmarshal(raw, &text) == nil {
		return text.UTC()
	}
	return time.Time{}
}
