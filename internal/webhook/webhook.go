// Package webhook answers two questions about a request: is it authentic, and which events does it carry?
//
// The first is Source.Verify, before anything of the body is parsed; the second is Source.Events, which takes
// a Verified and so cannot be asked of a request that was not verified. How a sender signs and where its
// events carry an address is data: a Row, of which presets.yaml holds one for each well-known sender.
package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// A Request is what of an HTTP request matters here.
type Request struct {
	Method string
	Query  string // raw, without the question mark
	Token  string // the segment of the path behind the source's name, "" when there is none
	Header http.Header
	Body   []byte
}

// A Rejection is why a request is not authentic. It is for our log only: the sender is always told the same.
type Rejection struct {
	Rule   string // a short code: "no_signature", "no_match", "too_old" …
	Detail string // which header, and how; never its content
}

func (r *Rejection) Error() string { return r.Rule + ": " + r.Detail }

// Kept is what of a request beside its body goes into the ledger: what proves it, and what the source's
// expressions read. Never a token, Authorization or a cookie.
type Kept struct {
	Method  string            `json:"method,omitempty"` // where it is not POST
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	Test    bool              `json:"test,omitempty"` // Usher sent it itself: see AsTest
}

// Verified is a request's body that its sender provably sent. Only Verify and FromLedger make one.
type Verified struct {
	source     string
	body       []byte
	receivedAt time.Time
	by         string
	kept       Kept
}

// Source names the source that verified the request.
func (v Verified) Source() string { return v.source }

// Body is the bytes that were signed. Do not change them.
func (v Verified) Body() []byte { return v.body }

// ReceivedAt is our clock at verification.
func (v Verified) ReceivedAt() time.Time { return v.receivedAt }

// By says which secret matched, by its place in the configuration: "secrets[1]".
func (v Verified) By() string { return v.by }

// Kept is what else of the request is worth keeping.
func (v Verified) Kept() Kept { return v.kept }

// Request is Kept as the ledger stores it.
func (v Verified) Request() string {
	text, err := json.Marshal(v.kept)
	if err != nil {
		return "{}" // cannot be: text to text
	}
	return string(text)
}

// FromLedger is the other door to a Verified: nothing enters the ledger unverified, so what comes out of it
// was. Request is what Verified.Request gave. Only the decide stage may call it; a test at the root holds that.
func FromLedger(source string, body []byte, receivedAt time.Time, by, request string) Verified {
	v := Verified{source: source, body: body, receivedAt: receivedAt, by: by}
	_ = json.Unmarshal([]byte(request), &v.kept) // what cannot be read is not there
	return v
}

// Reasons, beside those of access, for which the sender's own words already decide an event. They are stored
// in the ledger and counted: never rename one.
const (
	ReasonTypeNotHandled    access.Reason = "type_not_handled"
	ReasonThinEvent         access.Reason = "thin_event"
	ReasonMalformed         access.Reason = "malformed"
	ReasonAwaitingPayment   access.Reason = "awaiting_payment"
	ReasonPaymentFailed     access.Reason = "payment_failed"
	ReasonNoPaymentRequired access.Reason = "no_payment_required"
	ReasonTestMode          access.Reason = "test_mode"
	ReasonTestEvent         access.Reason = "test_event"       // a sender's test or ping
	ReasonNotACustomer      access.Reason = "not_a_customer"   // the source's when is false
	ReasonExpression        access.Reason = "expression_error" // one of the source's expressions could not be worked out
	ReasonAccepted          access.Reason = "accepted"         // an invited person came in
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
	// Tried are the places where an address was looked for, when there is none.
	Tried []string
	// Accepted means that the person with this address has come in.
	Accepted bool
	// Fingerprint is a hash of what the event says: the same for an event that is sent again, another where
	// a sender uses one identity twice.
	Fingerprint string
	// BodyKey is set where ID is not inside what was signed: the hash of that is then an identity too, so
	// that nobody makes one event into two by sending it again under another ID.
	BodyKey string
}

// A Preliminary is a decision made before the access rules are asked.
type Preliminary struct {
	Outcome  access.Outcome
	Reason   access.Reason
	Sentence string
}

func (e Event) skip(reason access.Reason, sentence string) Event {
	e.Preliminary = Preliminary{Outcome: access.Skip, Reason: reason, Sentence: sentence}
	return e
}

// fingerprint hashes what the event says, with what its sender's words make of it: an order that is pending
// and the same one paid are two things. It is no secret and no proof: 128 bits tell events apart.
func (e Event) fingerprint() string {
	said := struct {
		access.Event
		Outcome  access.Outcome
		Reason   access.Reason
		Accepted bool
	}{e.Event, e.Preliminary.Outcome, e.Preliminary.Reason, e.Accepted}
	said.EmailFrom = "" // the same words read by another expression are the same words
	text, err := json.Marshal(said)
	if err != nil {
		return "" // cannot be: texts, numbers and maps of texts
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
