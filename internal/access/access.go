// Package access decides who may come in.
//
// One event from a sender goes in, one [Decision] comes out: invite, hold until
// a person approves, or skip, each with a reason code and a sentence that a
// person understands. The road is always the same: the address is parsed
// strictly ([ParseAddress]), the domain rule is asked (own domains, denied
// domains, allowed domains), then the access rules, where the first match wins.
//
// Both mistakes cost: an address on the company's own domain would become a
// paid internal seat instead of an external user, a look-alike would let a
// stranger in, and a good address refused is a customer who paid and stands
// outside. So what is refused is refused with its reason, as a value; only a
// wrong configuration is an error.
//
// The package is pure: no input or output, no clock, and the same event under
// the same [Policy] always gives the same decision. That is what makes it safe
// to try new rules on history.
package access

import (
	"fmt"
	"log/slog"
)

// Event is one thing a sender told us, brought to one form for all senders.
// The `expr` tags are the names access rules use (event.payment_link); the
// `json` tags are the names in the ledger.
//
// An Event carries personal data in the open, because rules read it and the
// ledger stores it. fmt and slog therefore see only its source, type and id.
type Event struct {
	Source      string            `expr:"source" json:"source"`                       // name of the configured sender
	Type        string            `expr:"type" json:"type"`                           // the sender's word for what happened
	ID          string            `expr:"id" json:"id"`                               // the sender's id, unique within Source
	Email       string            `expr:"email" json:"email,omitempty"`               // as the sender wrote it; rules see it parsed, as [Address.Full] gives it
	EmailFrom   string            `expr:"-" json:"email_from,omitempty"`              // where Email was read, for people: no rule sees it, and it tells no event from another
	Name        string            `expr:"name" json:"name,omitempty"`                 // the person's name
	Customer    string            `expr:"customer" json:"customer,omitempty"`         // the sender's id of the customer
	Country     string            `expr:"country" json:"country,omitempty"`           // as sent, by most senders ISO 3166-1 alpha-2
	Amount      int64             `expr:"amount" json:"amount,omitempty"`             // in the minor unit of Currency: cents, or whole yen
	Currency    string            `expr:"currency" json:"currency,omitempty"`         // as sent, by Stripe ISO 4217 in lower case
	Mode        string            `expr:"mode" json:"mode,omitempty"`                 // of a checkout: payment, subscription or setup
	Livemode    bool              `expr:"livemode" json:"livemode,omitempty"`         // false for a sender's test data
	PaymentLink string            `expr:"payment_link" json:"payment_link,omitempty"` // id of the payment link that was used
	Prices      []string          `expr:"prices" json:"prices,omitempty"`             // ids of the prices that were bought
	Metadata    map[string]string `expr:"metadata" json:"metadata,omitempty"`         // what the seller attached to the sale
	Attributes  map[string]string `expr:"attributes" json:"attributes,omitempty"`     // Retool user attributes that the source's expressions gave
}

// String names the event without anything personal.
func (e Event) String() string {
	return fmt.Sprintf("event %s of %s (%s)", e.ID, e.Source, e.Type)
}

// GoString is String, so that %#v reveals no more than %v.
func (e Event) GoString() string { return e.String() }

// LogValue logs the source, type and id, and nothing personal.
func (e Event) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("source", e.Source),
		slog.String("type", e.Type),
		slog.String("id", e.ID),
	)
}

// Outcome is what is to be done about an event.
type Outcome string

// The three outcomes. They are stored in the ledger: never rename one.
const (
	Invite Outcome = "invite" // send an invitation
	Hold   Outcome = "hold"   // a person must approve first
	Skip   Outcome = "skip"   // record the event, invite nobody
)

// Reason is the code of why a [Decision] came out as it did.
type Reason string

// The reasons. They are stored in the ledger and counted: never rename one.
const (
	ReasonExternal   Reason = "external"           // an outside address that no rule speaks about
	ReasonRule       Reason = "rule"               // an access rule decided
	ReasonInternal   Reason = "internal_domain"    // the company's own domain
	ReasonDenied     Reason = "denied_domain"      // a domain on the deny list
	ReasonNotAllowed Reason = "not_allowed_domain" // there is an allow list, and the domain is not on it
	ReasonMalformed  Reason = "malformed_address"  // the address is not one that can be invited
	ReasonNoAddress  Reason = "no_address"         // the event carries no address at all
	ReasonRuleError  Reason = "rule_error"         // an access rule could not be worked out for this event
)

// Decision is the answer of [Policy.Decide].
type Decision struct {
	Outcome  Outcome
	Reason   Reason
	Sentence string // for people, in plain English; names the domain, never the whole address
	Rule     int    // index of the access rule that matched or could not be worked out, -1 for none
	Address  Address
	// Groups are the Retool group ids to join, sorted and without doubles.
	Groups []int64
	// Attributes are the user attributes to set. They may be personal: they
	// come from the event by the operator's own expressions.
	Attributes map[string]string
}
