package webhook

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	stripehook "github.com/stripe/stripe-go/v76/webhook"

	"github.com/usher-dev/usher/internal/access"
)

// StripeConfig is what a Stripe source may be told.
type StripeConfig struct {
	Secrets []string // signing secrets, whsec_…; several while one is rolled
	// Tolerance is how far the signed time may be from our clock, DefaultTolerance by default.
	Tolerance time.Duration
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

// NewStripe makes a source that Stripe sends to.
func NewStripe(name string, cfg StripeConfig) (*Source, error) {
	row := Row{Verify: Verify{Kind: kindStripe, Tolerance: cfg.Tolerance}}
	s, err := New(Config{Name: name, Row: row, Secrets: cfg.Secrets, LookUp: cfg.LookUp, RequireLivemode: cfg.RequireLivemode, Stripe: cfg})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", name, err)
	}
	return s, nil
}

// newStripe makes the one source whose signature and events are read by code: stripe-go knows its signatures,
// and a checkout's state decides more than an expression should. What an operator may add are expressions for
// the address, the name, the customer, attributes, and a when beside Stripe's own.
func newStripe(s *Source, c Config, m *mistakes) (*Source, error) {
	cfg := c.Stripe
	cfg.Secrets = nil // the Source has its own
	cfg.LookUp, cfg.RequireLivemode = c.LookUp, c.RequireLivemode
	cfg.NoPaymentRequired = cmp.Or(cfg.NoPaymentRequired, access.Invite)
	cfg.Tolerance = cmp.Or(c.Row.Verify.Tolerance, cfg.Tolerance, DefaultTolerance)
	s.stripe = &cfg
	if len(c.Secrets) == 0 {
		m.add("secrets", "is missing: anybody could send events", "set the signing secret of Stripe's endpoint")
	}
	for i, secret := range c.Secrets {
		// stripe-go v76 accepts what an attacker signed with an empty key.
		if isBlank(secret, "whsec_") {
			m.add(fmt.Sprintf("secrets[%d]", i), "is blank: anybody could sign with it", "set the signing secret of Stripe's endpoint")
		}
	}
	only := Verify{Kind: kindStripe, Tolerance: c.Row.Verify.Tolerance}
	if !reflect.DeepEqual(c.Row.Verify, only) {
		m.add("verify", "is stripe-go's for the preset stripe", "set nothing of it but tolerance")
	}
	for name, set := range map[string]string{"each": c.Row.Each, "event_id": c.Row.EventID, "type": c.Row.Type, "ignore": c.Row.Ignore,
		"livemode": c.Row.Livemode, "accepted": c.Row.Accepted, "occurred_at": c.Row.OccurredAt, "body_field": c.Row.BodyField, "handshake": c.Row.Handshake} {
		if set != "" {
			m.add(name, "is read by code for the preset stripe", "remove it, or describe the source without the preset")
		}
	}
	var headers, query []string
	s.reader, headers, query = newReader(c.Row, &scheme{kind: kindStripe}, m)
	s.keep(append(headers, stripeHeader), query)
	return s.unless(m)
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
		if isBlank(secret, "") {
			continue
		}
		if err = stripehook.ValidatePayloadIgnoringTolerance(body, signature, secret); err == nil {
			return fmt.Sprintf("secrets[%d]", i), within(now, signed, s.stripe.Tolerance)
		}
		if !errors.Is(err, stripehook.ErrNoValidSignature) {
			return "", &Rejection{Rule: "bad_header", Detail: stripeHeader + " cannot be read"}
		}
	}
	return "", &Rejection{Rule: "no_match", Detail: fmt.Sprintf("no signature in %s was made with a configured secret (%d)", stripeHeader, len(s.secrets))}
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

// stripePaths are where a Stripe event may carry an address.
var stripePaths = []string{"data.object.customer_details.email", "data.object.customer_email"}

// stripeEvent reads one Stripe event, then by the operator's own expressions where there are any.
func (s *Source) stripeEvent(v Verified, show func(Step)) Event {
	event := s.readStripe(v.body)
	if show != nil {
		show(Step{Item: -1, Field: "email", Expression: "Stripe's own: " + strings.Join(stripePaths, " or "), Value: event.Email})
	}
	if event.Preliminary.Outcome == access.Skip {
		return event
	}
	s.refine(&event, v, show)
	if event.Email == "" && event.Preliminary.Outcome != access.Skip {
		event.Tried = slices.Concat(stripePaths, event.Tried)
		event.LookUp = s.stripe.LookUp && event.Customer != ""
	}
	return event
}

// refine lays what the operator's expressions give over what Stripe's event says.
func (s *Source) refine(e *Event, v Verified, show func(Step)) {
	if s.reader.isEmpty() {
		return
	}
	events := s.events(v, show)
	own := events[0]
	if own.Preliminary.Reason == ReasonMalformed {
		e.Preliminary = Preliminary{access.Hold, ReasonExpression, "This source's own expressions could not be worked out: " + own.Preliminary.Sentence}
		return
	}
	if own.Email != "" {
		e.Email, e.EmailFrom = own.Email, own.EmailFrom
	}
	overlay(&e.Name, own.Name)
	overlay(&e.Customer, own.Customer)
	e.Attributes, e.Tried = own.Attributes, own.Tried
	if own.Preliminary.Outcome != "" {
		e.Preliminary = own.Preliminary
	}
}

// readStripe normalises one Stripe event. https://docs.stripe.com/api/events/object
func (s *Source) readStripe(body []byte) Event {
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
	return event.skip(ReasonMalformed, "This came from the sender, but "+why+".")
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
