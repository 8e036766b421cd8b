package ledger

import (
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// What an event can be beside invited, held or skipped, in a Difference.
const (
	IsNoEvent   access.Outcome = "none"      // its delivery does not tell it
	IsSetAside  access.Outcome = "set_aside" // its delivery cannot be decided
	IsLookingUp access.Outcome = "look_up"   // its sender would be asked for the address
)

// An Outlook is a decision as it holds today, or as it would be.
type Outlook struct {
	Outcome  access.Outcome
	Reason   access.Reason
	Sentence string
	Rule     int // index of the access rule, -1 for none
}

// A Difference is one event that other rules would decide differently.
type Difference struct {
	Event    int64 // 0 where the ledger has none
	Delivery int64 // 0 where a person asked
	SenderID string
	Source   string
	Type     string
	At       time.Time // when it came
	Email    string    // a whole address, or what stands in its place
	Today    Outlook
	Then     Outlook
	By       ChangeOf
	// Groups are those that the invitation has not, and Attributes the names of those that would have another value:
	// where they are what changes.
	Groups     []int64
	Attributes []string
	Effect     Effect
	Means      string // the effect as a sentence
	// Invitation is the one that the address has today, 0 for none.
	Invitation int64
	State      State
}

// A ChangeOf is what of a decision is another.
type ChangeOf string

// What can change, the weightiest first.
const (
	ChangeOfOutcome    ChangeOf = "outcome"
	ChangeOfAddress    ChangeOf = "address"
	ChangeOfGroups     ChangeOf = "groups"
	ChangeOfAttributes ChangeOf = "attributes"
	ChangeOfReason     ChangeOf = "reason" // nothing but why
)

// An Effect is what a difference comes to in practice, if its delivery is replayed under the other rules.
type Effect string

// The effects.
const (
	WouldInvite    Effect = "would_invite"     // somebody without an invitation gets one
	WouldHold      Effect = "would_hold"       // somebody without an invitation waits for a person
	WouldRequeue   Effect = "would_requeue"    // an invitation that failed or expired is sent again
	WouldAdd       Effect = "would_add"        // groups or attributes are added to an invitation
	WouldLookUp    Effect = "would_look_up"    // the sender is asked for an address
	StaysHeld      Effect = "stays_held"       // a person decides
	GoesOut        Effect = "goes_out"         // it is queued, and is sent all the same
	NothingIsTaken Effect = "nothing_is_taken" // it is sent or accepted, and stays so
	NoEffect       Effect = "none"
)

// A Kind is a sort of difference, to count them by.
type Kind struct {
	Today, Then access.Outcome
	By          ChangeOf
}

// A Rehearsal is what came of trying rules on history.
type Rehearsal struct {
	Since      time.Time // zero: all of it
	Complete   bool      // false where it was broken off
	Deliveries int64     // that were looked at
	Events     int64     // whose decisions were compared
	// FromDetails is how many of the events were decided by what the ledger keeps of them: their bodies are gone, or there
	// were none.
	FromDetails int64
	Waiting     int64 // that are not decided today, so that there is nothing to compare
	// Lacking counts the events, and the deliveries that were set aside, of sources that are not configured, by name.
	Lacking map[string]int64
	// Mended is how many deliveries that were set aside could be decided, and Stuck how many could not.
	Mended, Stuck int64
	Different     int64
	Kinds         map[Kind]int64
	Effects       map[Effect]int64
}
