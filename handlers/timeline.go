package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// A step is one thing that happened on the way of an event or an invitation, in plain words, or what comes next. The API,
// the pages and the command line tell the same ones.
type step struct {
	At     *time.Time `json:"at"`   // null: nobody knows
	Kind   string     `json:"kind"` // one of the step constants
	Tone   string     `json:"tone,omitempty"`
	Title  string     `json:"title"`
	Detail string     `json:"detail,omitempty"`
	Reason string     `json:"reason,omitempty"` // of a decision: its code
	Actor  string     `json:"actor,omitempty"`  // of what a person did: who

	Event      int64 `json:"event,omitempty"`
	Delivery   int64 `json:"delivery,omitempty"`
	Invitation int64 `json:"invitation,omitempty"` // another than the one whose timeline it is
}

// The kinds of steps.
const (
	stepReceived = "received" // a sender told us
	stepAddress  = "address"  // where the address was found
	stepLookUp   = "look_up"  // the sender was asked for the address
	stepDecision = "decision"
	stepCall     = "call"   // to Retool
	stepPerson   = "person" // what somebody did
	stepState    = "state"  // the invitation changed otherwise
	stepNext     = "next"   // what is to come; always the last
)

// The tones of steps; most have none.
const (
	toneGood = "good"
	toneWarn = "warn" // it waits, or somebody must look
	toneBad  = "bad"
)

// A story is what the ledger knows of an invitation, or of events alone.
type story struct {
	invitation *ledger.Invitation // nil: no invitation
	events     []toldEvent
	left       int // events that are not among them
	attempts   []ledger.Attempt
	trail      []ledger.Entry // what people did, oldest first
	pace       ledger.Pace
	perMinute  int // the pace of sending, 0 where it is not known
	callLimit  time.Duration
	now        time.Time
}

// A toldEvent is an event, how it reached us, and the calls for its address.
type toldEvent struct {
	ledger.Event
	receipts []ledger.Receipt
	lookUps  []ledger.Attempt
}

// maxToldEvents bounds the events of one story. Some people buy every day.
const maxToldEvents = 25

// storyOf gathers what the ledger knows of an invitation.
func (s *Server) storyOf(ctx context.Context, inv ledger.Invitation, events []ledger.Event) (story, error) {
	t := story{invitation: &inv, perMinute: s.RequestsPerMinute, callLimit: s.Ledger.CallLimit(), now: s.Now()}
	seen := map[int64]bool{}
	for _, e := range events {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		if len(t.events) == maxToldEvents {
			t.left++
			continue
		}
		whole, err := s.Ledger.Event(ctx, e.ID)
		if errors.Is(err, ledger.ErrNotFound) { // retention took it just now
			continue
		}
		if err != nil {
			return t, err
		}
		told, err := s.toldEvent(ctx, whole)
		if err != nil {
			return t, err
		}
		t.events = append(t.events, told)
	}
	trail, err := s.Ledger.Audit(ctx, ledger.AuditFilter{Invitation: inv.ID, Limit: 200})
	if err != nil {
		return t, err
	}
	slices.Reverse(trail)
	t.trail = trail
	if t.attempts, err = s.Ledger.Attempts(ctx, inv.ID); err != nil {
		return t, err
	}
	due, err := s.Ledger.Due(ctx)
	t.pace = due.Pace
	return t, err
}

// eventStory is the story of one event alone.
func (s *Server) eventStory(e toldEvent) story {
	return story{events: []toldEvent{e}, now: s.Now()}
}

func (s *Server) toldEvent(ctx context.Context, e ledger.Event) (told toldEvent, err error) {
	told.Event = e
	if told.receipts, err = s.Ledger.ReceiptsOf(ctx, e.ID); err != nil {
		return told, err
	}
	told.lookUps, err = s.Ledger.LookUps(ctx, e.ID)
	return told, err
}

// timeline tells a story in the order of time. The same story gives the same steps.
func (t story) timeline() []step {
	var steps []step
	for _, e := range t.trail {
		steps = append(steps, personStep(e))
	}
	if t.invitation != nil && len(t.events) == 0 {
		steps = append(steps, step{At: when(t.invitation.CreatedAt), Kind: stepReceived, Title: "Asked for by " + t.invitation.Source,
			Detail: "What was told then is older than retention.events and was removed."})
	}
	for _, e := range t.events {
		steps = append(steps, t.eventSteps(e)...)
	}
	if t.left > 0 {
		steps = append(steps, step{At: when(t.events[len(t.events)-1].RecordedAt), Kind: stepReceived,
			Title: "And " + plural(int64(t.left), "more event", "more events") + " of this person", Detail: "GET /v1/events?email= lists them."})
	}
	for _, a := range t.attempts {
		steps = append(steps, callStep(a))
	}
	if t.invitation != nil {
		steps = append(steps, t.stateSteps()...)
	}
	// A ledger knows milliseconds.
	slices.SortStableFunc(steps, func(a, b step) int { return a.at().Compare(b.at()) })
	return append(steps, t.next())
}

func (s step) at() time.Time {
	if s.At == nil {
		return time.Time{}
	}
	return s.At.Truncate(time.Millisecond)
}

// eventSteps is the way of one event.
func (t story) eventSteps(e toldEvent) (steps []step) {
	add := func(s step) {
		s.Event = e.ID
		steps = append(steps, s)
	}
	switch {
	case len(e.receipts) > 0:
	case e.DeliveryID == 0 && slices.ContainsFunc(t.trail, func(entry ledger.Entry) bool { return entry.At.Equal(e.RecordedAt) }):
		// the trail tells who asked
	case e.DeliveryID == 0 && e.Details.Source == sourceAPI: // an older Usher kept no trail
		add(step{At: when(e.RecordedAt), Kind: stepPerson, Title: "A person asked for it"})
	default: // its delivery is gone
		add(step{At: when(e.RecordedAt), Kind: stepReceived, Title: e.Details.Source + " told us: " + e.Details.Type, Delivery: e.DeliveryID})
	}
	for _, r := range e.receipts {
		add(e.receiptStep(r))
	}
	if s := e.addressStep(); s.Kind != "" {
		add(s)
	}
	for _, l := range e.lookUps {
		add(e.lookUpStep(l))
	}
	for i, d := range e.Decisions {
		add(t.decisionStep(d, i > 0))
	}
	return steps
}

func (e toldEvent) receiptStep(r ledger.Receipt) step {
	s := step{At: when(r.ReceivedAt), Kind: stepReceived, Delivery: r.Delivery}
	var about []string
	switch {
	case r.Again && r.SameBody:
		s.Title = r.Source + " sent it again"
		about = append(about, "The very same.")
	case r.Again:
		s.Title = r.Source + " sent it again, in other words"
		about = append(about, "It is the same event; only what was sent around it differs.")
	default:
		s.Title = r.Source + " told us: " + e.Details.Type
		if late := r.ReceivedAt.Sub(e.OccurredAt); !e.OccurredAt.IsZero() && late.Abs() >= time.Minute {
			about = append(about, "By the sender's clock it happened on "+e.OccurredAt.UTC().Format("2 Jan 2006, 15:04 UTC")+".")
		}
	}
	about = append(about, verifiedWords(r.VerifiedBy), fmt.Sprintf("It is delivery %d.", r.Delivery))
	if !r.BodyKept {
		about = append(about, "Its body is older than retention.bodies and was removed.")
	}
	s.Detail = strings.Join(about, " ")
	return s
}

// verifiedWords says which check held.
func verifiedWords(by string) string {
	place, scheme, _ := strings.Cut(by, " by ")
	switch {
	case strings.HasPrefix(by, "nothing"):
		return "Nothing was checked: this source takes unsigned requests."
	case scheme != "":
		return fmt.Sprintf("Its signature was made with the secret at %s of this source, in the older way %s.", place, scheme)
	default:
		return fmt.Sprintf("Its signature was made with the secret at %s of this source.", by)
	}
}

func (e toldEvent) addressStep() step {
	s := step{At: when(e.RecordedAt), Kind: stepAddress}
	switch d := e.Details; {
	case e.DeliveryID == 0 && d.EmailFrom == "", d.Email == "", strings.HasPrefix(d.EmailFrom, "looked up"): // the look-up tells it
		return step{}
	case d.EmailFrom == "corrected by hand":
		s.Title, s.Detail = "The address was corrected by hand", d.Email
	case d.EmailFrom == "":
		s.Title, s.Detail = "The address is "+d.Email, "Where it was read is not known: an older Usher recorded it."
	default:
		s.Title, s.Detail = "The address was read from "+d.EmailFrom, d.Email
	}
	return s
}

func (e toldEvent) lookUpStep(a ledger.Attempt) step {
	who := a.Transport
	if who == "" {
		who = "the sender"
	}
	s := step{At: when(a.StartedAt), Kind: stepLookUp, Detail: answerWords(who, a)}
	switch a.Outcome {
	case "found":
		s.Title = strings.TrimSpace("The address was looked up at " + who + ": " + e.Details.Email)
	case "later":
		s.Title, s.Tone = "The address could not be looked up at "+who+" yet", toneWarn
	default:
		s.Title, s.Tone = "No address was found at "+who, toneBad
	}
	return s
}

func (t story) decisionStep(d ledger.Decision, again bool) step {
	s := step{At: when(d.DecidedAt), Kind: stepDecision, Tone: outcomeKinds[d.Outcome], Reason: string(d.Reason), Detail: d.Sentence}
	decided := "Decided"
	if again {
		decided = "Decided again"
	}
	switch {
	case d.Reason == webhook.ReasonAccepted:
		s.Title, s.Tone = "Retool says that the person came in", toneGood
	case d.Outcome == access.Invite:
		s.Title = decided + ": invite"
	case d.Outcome == access.Hold:
		s.Title = decided + ": hold, until a person approves"
	default:
		s.Title = decided + ": invite nobody"
	}
	if d.Rule >= 0 && (d.Reason == access.ReasonRule || d.Reason == access.ReasonRuleError) {
		s.Title += fmt.Sprintf(" (access rule %d)", d.Rule+1)
	}
	if t.invitation == nil || t.invitation.ID != d.InvitationID {
		s.Invitation = d.InvitationID
	}
	return s
}

// personWords are what people do. Each takes who did it.
var personWords = map[string]string{
	ledger.DidInvite:  "%s asked for the invitation",
	ledger.DidApprove: "%s approved it",
	ledger.DidRetry:   "%s had it sent again",
	ledger.DidRevoke:  "%s took it back",
	ledger.DidCorrect: "%s corrected the address",
	ledger.DidReplay:  "%s had the delivery decided again",
}

func personStep(e ledger.Entry) step {
	words, ok := personWords[e.What]
	if !ok {
		words = "%s: " + e.What
	}
	s := step{At: when(e.At), Kind: stepPerson, Title: fmt.Sprintf(words, e.Actor), Actor: e.Actor}
	if e.What == ledger.DidRetry && e.Before == string(ledger.Queued) {
		s.Title = e.Actor + " had it tried at once"
	}
	var about []string
	switch word, _, _ := strings.Cut(e.Subject, " "); {
	case word == "to" && e.What == ledger.DidCorrect:
		_, _ = fmt.Sscanf(e.Subject, "to invitation %d", &s.Invitation)
		about = append(about, fmt.Sprintf("Invitation %d took its place.", s.Invitation))
	case word == "from" && e.What == ledger.DidCorrect:
		_, _ = fmt.Sscanf(e.Subject, "from invitation %d", &s.Invitation)
		about = append(about, fmt.Sprintf("It took the place of invitation %d.", s.Invitation))
	case e.Subject != "":
		about = append(about, sentence(e.Subject))
	}
	switch e.Before {
	case e.After:
	case "":
		about = append(about, "It became "+e.After+".")
	default:
		about = append(about, sentence(e.Before+" → "+e.After))
	}
	s.Detail = strings.Join(about, " ")
	return s
}

// A callWord is what a call to Retool came to, in words.
type callWord struct{ title, tone, means string }

// callWords are by the kind of the call and its outcome.
var callWords = map[string]callWord{
	"invite sent":         {"Retool was asked to invite", toneGood, ""},
	"invite present":      {"Retool knows this address already", toneGood, "It counts as sent."},
	"invite later":        {"Retool could not take it", toneWarn, "Usher tries again by itself."},
	"invite rate limited": {"Retool asked to slow down", toneWarn, "Everybody waits, and this counts as no try."},
	"invite never":        {"Retool refused it", toneBad, "Asking the same again would change nothing."},
	"invite stop":         {"Retool refused all of Usher's calls", toneBad, "Sending is stopped for everybody until this is mended; this counts as no try."},

	"look found":        {"Retool has the invite", toneGood, ""},
	"look claimed":      {"Retool says that the person came in", toneGood, ""},
	"look not found":    {"Retool does not have the invite", "", ""},
	"look cannot look":  {"Retool does not let Usher look", toneWarn, ""},
	"look later":        {"Retool could not say whether it has the invite", toneWarn, "Usher asks again by itself."},
	"look rate limited": {"Retool asked to slow down", toneWarn, "Everybody waits, and this counts as no try."},
	"look stop":         {"Retool refused all of Usher's calls", toneBad, "Sending is stopped for everybody until this is mended."},

	"revoke deleted":       {"The invite was deleted at Retool", toneGood, "Its link works no more."},
	"revoke not found":     {"Retool had no invite to delete", "", ""},
	"revoke cannot delete": {"Retool does not let Usher delete the invite", toneBad, "Delete it in Retool's settings."},
	"revoke later":         {"Retool could not delete the invite", toneWarn, "Usher tries again by itself."},
	"revoke rate limited":  {"Retool asked to slow down", toneWarn, ""},
	"revoke never":         {"Retool refused to delete the invite", toneBad, ""},
	"revoke stop":          {"Retool refused all of Usher's calls", toneBad, "Sending is stopped for everybody until this is mended."},

	"attributes sent": {"Retool was told an attribute", toneGood, ""},

	"fault never": {"Usher had a fault of its own", toneBad, "The log has more."},
}

func callStep(a ledger.Attempt) step {
	word, ok := callWords[a.Kind+" "+a.Outcome]
	switch {
	case ok:
	case a.Kind == "attributes":
		word = callWord{"Retool did not take an attribute", toneWarn, ""}
	default:
		word = callWord{"Retool was called (" + a.Kind + "): " + a.Outcome, toneWarn, ""}
	}
	s := step{At: when(a.StartedAt), Kind: stepCall, Title: word.title, Tone: word.tone, Detail: answerWords("Retool", a)}
	if a.Kind == "fault" {
		s.Detail = sentence(a.Message)
	}
	if word.means != "" {
		s.Detail += " " + word.means
	}
	return s
}

// answerWords are what somebody answered, and how soon.
func answerWords(who string, a ledger.Attempt) string {
	who = strings.ToUpper(who[:1]) + who[1:]
	took := " in " + a.Duration.Round(time.Millisecond).String()
	if a.Duration < time.Millisecond {
		took = ""
	}
	var answer string
	switch {
	case a.Status == 0 && a.Kind == "customer" && a.Transport == "":
		answer = who + " was not asked"
	case a.Status == 0:
		answer = "No clear answer came" + took
	default:
		answer = fmt.Sprintf("%s answered %s%s", who, strings.TrimSpace(fmt.Sprint(a.Status, " ", http.StatusText(a.Status))), took)
	}
	if a.Message != "" {
		answer += ": " + a.Message
	}
	if a.Kind == "invite" && a.RetoolID != 0 {
		answer = fmt.Sprintf("%s. Its number there is %d", strings.TrimSuffix(answer, "."), a.RetoolID)
	}
	return strings.TrimSuffix(answer, ".") + "."
}
