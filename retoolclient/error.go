package retoolclient

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what a caller can do about an error.
type Kind int

// The kinds of errors.
const (
	Later   Kind = iota // nothing is decided: try again after RetryAfter, or at your own pace
	Never               // Retool refuses this very request: sending it again changes nothing
	Present             // the address is invited or a member already: done
	Stop                // token, plan or address are wrong: every request would fail until a person mends it
)

// String returns the kind's name in lower case, such as "later".
func (k Kind) String() string {
	switch k {
	case Later:
		return "later"
	case Never:
		return "never"
	case Present:
		return "present"
	case Stop:
		return "stop"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Errors that an [*Error] may wrap, for errors.Is.
var (
	// ErrPlan means that Retool's plan does not include the call, whatever the token's permissions.
	ErrPlan = errors.New("the plan does not include this call")

	// ErrNoEndpoint means that the address does not answer as Retool's API does: an unknown path, or a web page.
	ErrNoEndpoint = errors.New("no Retool API at this address")

	// ErrNotFound means that there is no invite of this id.
	ErrNotFound = errors.New("no such invite")
)

// Error is every error that the calls of a [Client] return. It never holds the token.
type Error struct {
	Kind    Kind
	Op      string // what was asked for: "invite", "list invites", …
	Status  int    // HTTP status; 0 when no answer came
	Message string // Retool's own words: one line, at most 500 bytes, what looks like a token redacted
	Advice  string // what a person can do, in a sentence; "" if there is nothing to say

	// RetryAfter is how long Retool asks to wait, at most 24 hours; 0 when it did not say. Only with Later.
	RetryAfter time.Duration

	// Ambiguous means that the request may have been carried out although no clear answer came: look before you
	// send it again. It is never set for calls that only read.
	Ambiguous bool

	Transport   API  // the way the request went: v2 or bulk; "" for Health
	RateLimited bool // the answer was 429: the pace, not the request, was wrong
	Err         error
}

// Error returns what was asked for and what came of it, without the advice.
func (e *Error) Error() string {
	what := e.Message
	if what == "" && e.Err != nil {
		what = e.Err.Error()
	}
	switch {
	case e.Status == 0:
		return e.Op + ": " + what
	case what == "":
		return fmt.Sprintf("%s: Retool answered %d", e.Op, e.Status)
	}
	return fmt.Sprintf("%s: Retool answered %d: %s", e.Op, e.Status, what)
}

// Unwrap returns the cause, if there is one: [ErrPlan], a context's error, an error of the network, …
func (e *Error) Unwrap() error { return e.Err }
