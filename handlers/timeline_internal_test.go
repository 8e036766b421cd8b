package handlers

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

// at is a moment of the stories: so many minutes after their start.
func at(minutes float64) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(minutes * float64(time.Minute)))
}

func ada(state ledger.State, change func(*ledger.Invitation)) *ledger.Invitation {
	address, err := access.ParseAddress("ada@example.com")
	if err != nil {
		panic(err)
	}
	inv := &ledger.Invitation{ID: 7, Email: address, State: state, Source: "stripe", CreatedAt: at(0), UpdatedAt: at(1)}
	if change != nil {
		change(inv)
	}
	return inv
}

// paid is the event of a checkout, with what was decided of it.
func paid(decisions ...ledger.Decision) toldEvent {
	return toldEvent{
		Event: ledger.Event{ID: 3, DeliveryID: 5, OccurredAt: at(-0.1), RecordedAt: at(0.001), Decisions: decisions,
			Details: access.Event{Source: "stripe", Type: "checkout.session.completed", ID: "evt_1", Email: "ada@example.com", EmailFrom: "customer_details.email"}},
		receipts: []ledger.Receipt{{Event: 3, Delivery: 5, Source: "stripe", ReceivedAt: at(0), VerifiedBy: "secrets[0]", BodyKept: true}},
	}
}

func decided(minute float64, outcome access.Outcome, reason access.Reason, sentence string, rule int) ledger.Decision {
	d := ledger.Decision{EventID: 3, DecidedAt: at(minute), Outcome: outcome, Reason: reason, Sentence: sentence, Rule: rule}
	if outcome != access.Skip {
		d.InvitationID = 7
	}
	return d
}

var invites = decided(0.001, access.Invite, access.ReasonRule, "Access rule 2 applies: this person is invited.", 1)

func called(minute float64, kind, outcome string, status int, message string) ledger.Attempt {
	a := ledger.Attempt{InvitationID: 7, Kind: kind, StartedAt: at(minute), Duration: 312 * time.Millisecond, Transport: "v2", Status: status, Outcome: outcome, Message: message}
	if outcome == "sent" && kind == "invite" {
		a.RetoolID = 99
	}
	return a
}

func did(minute float64, what, before, after, subject string) ledger.Entry {
	return ledger.Entry{At: at(minute), Actor: "token zapier", What: what, InvitationID: 7, Before: before, After: after, Subject: subject}
}

var stories = []struct {
	name string
	story
}{
	{"sent and accepted", story{invitation: ada(ledger.Accepted, func(i *ledger.Invitation) { i.AcceptedAt = at(90) }), now: at(100),
		events: []toldEvent{paid(invites)}, attempts: []ledger.Attempt{called(0.05, "invite", "sent", 200, "success")}}},
	{"sent, and the link still works", story{invitation: ada(ledger.Sent, func(i *ledger.Invitation) { i.ExpiresAt = at(10_000) }), now: at(100),
		events: []toldEvent{paid(invites)}, attempts: []ledger.Attempt{called(0.05, "invite", "sent", 201, "")}}},
	{"sent, and the link has run out", story{invitation: ada(ledger.Sent, func(i *ledger.Invitation) { i.ExpiresAt, i.NextTryAt = at(50), at(120) }), now: at(100)}},
	{"known to Retool already", story{invitation: ada(ledger.Sent, func(i *ledger.Invitation) { i.Reason = "Retool knows this address already: user exists" }), now: at(100),
		events: []toldEvent{paid(invites)}, attempts: []ledger.Attempt{called(0.05, "invite", "present", 409, "user exists")}}},
	{"it waits for its turn", story{invitation: ada(ledger.Queued, nil), now: at(0.01), perMinute: 45, events: []toldEvent{paid(invites)}}},
	{"it is being sent", story{invitation: ada(ledger.Queued, func(i *ledger.Invitation) { i.SendingSince = at(0.02) }), now: at(0.03), callLimit: 3 * time.Minute, events: []toldEvent{paid(invites)}}},
	{"it waits for its next try", story{invitation: ada(ledger.Queued, func(i *ledger.Invitation) { i.Reason, i.NextTryAt = "Bad gateway", at(9) }), now: at(3), events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(0.1, "invite", "later", 0, "connection reset by peer"), called(1, "look", "not found", 200, "no usable invite of this address; sending"), called(2, "invite", "later", 502, "Bad gateway")}}},
	{"everybody waits", story{invitation: ada(ledger.Queued, func(i *ledger.Invitation) { i.Reason = "Retool asked us to slow down" }), now: at(3), pace: ledger.Pace{NotBefore: at(4)},
		events: []toldEvent{paid(invites)}, attempts: []ledger.Attempt{called(2, "invite", "rate limited", 429, "slow down")}}},
	{"sending is stopped", story{invitation: ada(ledger.Queued, func(i *ledger.Invitation) { i.Reason, i.NextTryAt = "sending is stopped: Invalid API token", at(7) }), now: at(3),
		pace: ledger.Pace{StoppedReason: "Invalid API token (make a new one)", StoppedAt: at(2), NotBefore: at(6)}, events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(2, "invite", "stop", 401, "Invalid API token")}}},
	{"failed, then sent again by hand", story{invitation: ada(ledger.Sent, func(i *ledger.Invitation) { i.ExpiresAt = at(10_000) }), now: at(100), events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(0.1, "invite", "never", 422, "email is not allowed"), called(31, "invite", "sent", 200, "success")},
		trail:    []ledger.Entry{did(30, ledger.DidRetry, "failed", "queued", "")}}},
	{"failed", story{invitation: ada(ledger.Failed, func(i *ledger.Invitation) { i.Reason = "email is not allowed" }), now: at(100), events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(0.1, "invite", "never", 422, "email is not allowed")}}},
	{"held", story{invitation: ada(ledger.Held, func(i *ledger.Invitation) {
		i.Reason = "Access rule 1 applies: a person must approve before the invitation is sent."
	}), now: at(1),
		events: []toldEvent{paid(decided(0.001, access.Hold, access.ReasonRule, "Access rule 1 applies: a person must approve before the invitation is sent.", 0))}}},
	{"held and approved", story{invitation: ada(ledger.Queued, func(i *ledger.Invitation) { i.Reason = "approved by hand" }), now: at(61),
		events: []toldEvent{paid(decided(0.001, access.Hold, access.ReasonRuleError, "Access rule 1 could not be worked out.", 0))},
		trail:  []ledger.Entry{did(60, ledger.DidApprove, "held", "queued", "")}}},
	{"expired", story{invitation: ada(ledger.Expired, func(i *ledger.Invitation) { i.Reason, i.ExpiresAt = "its link died before anybody used it", at(50) }), now: at(100), events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(0.1, "invite", "sent", 200, "success"), called(52, "look", "found", 200, "Retool has the invite; nobody used it yet")}}},
	{"taken back", story{invitation: ada(ledger.Revoked, func(i *ledger.Invitation) { i.Reason = "taken back by hand; Retool's invite is deleted" }), now: at(100), events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(0.1, "invite", "sent", 200, "success"), called(40.1, "revoke", "deleted", 204, "the invite is deleted")},
		trail:    []ledger.Entry{did(40, ledger.DidRevoke, "sent", "revoked", "")}}},
	{"taken back, and Retool is being told", story{invitation: ada(ledger.Revoked, func(i *ledger.Invitation) { i.Reason = "taken back by hand; Retool is being told" }), now: at(40.05), events: []toldEvent{paid(invites)},
		attempts: []ledger.Attempt{called(0.1, "invite", "sent", 200, "success")}, trail: []ledger.Entry{did(40, ledger.DidRevoke, "sent", "revoked", "")}}},
	{"corrected", story{invitation: ada(ledger.Revoked, func(i *ledger.Invitation) { i.Reason, i.CorrectedTo = "the address was corrected: see invitation 8", 8 }), now: at(100), events: []toldEvent{paid(invites)},
		trail: []ledger.Entry{did(40, ledger.DidCorrect, "queued", "revoked", "to invitation 8")}}},
	{"the address that took another's place", story{invitation: ada(ledger.Queued, nil), now: at(41), trail: []ledger.Entry{did(40, ledger.DidCorrect, "", "queued", "from invitation 6")},
		events: []toldEvent{{Event: ledger.Event{ID: 9, RecordedAt: at(40), Decisions: []ledger.Decision{decided(40, access.Invite, access.ReasonExternal, "example.com is an outside domain.", -1)},
			Details: access.Event{Source: "stripe", ID: "corrected-X", Email: "ada@example.com", EmailFrom: "corrected by hand"}}}}}},
	{"asked for by hand", story{invitation: ada(ledger.Queued, nil), now: at(1), trail: []ledger.Entry{did(0.001, ledger.DidInvite, "", "queued", "")},
		events: []toldEvent{{Event: ledger.Event{ID: 9, RecordedAt: at(0.001), Decisions: []ledger.Decision{decided(0.001, access.Invite, access.ReasonExternal, "example.com is an outside domain.", -1)},
			Details: access.Event{Source: "api", Type: "invitation.requested", Email: "ada@example.com"}}}}}},
	{"older than retention", story{invitation: ada(ledger.Accepted, func(i *ledger.Invitation) { i.AcceptedAt = at(90) }), now: at(100)}},
	{"looked up, sent again, decided again", story{invitation: ada(ledger.Queued, nil), now: at(200), left: 3, events: []toldEvent{func() toldEvent {
		e := paid(decided(5, access.Skip, "look_up_failed", "The customer's address could not be looked up.", -1), decided(120, access.Invite, access.ReasonExternal, "example.com is an outside domain.", -1))
		e.Details.EmailFrom, e.OccurredAt = "looked up at hubspot", at(-90)
		e.lookUps = []ledger.Attempt{called(1, "customer", "later", 500, ""), called(4, "customer", "never", 404, "no such contact"), called(119, "customer", "found", 200, "")}
		for i := range e.lookUps {
			e.lookUps[i].Transport = "hubspot"
		}
		e.receipts = append(e.receipts,
			ledger.Receipt{Event: 3, Delivery: 6, Source: "stripe", ReceivedAt: at(60), VerifiedBy: "secrets[1] by stripe-v0", Again: true, SameBody: true, BodyKept: true},
			ledger.Receipt{Event: 3, Delivery: 8, Source: "stripe", ReceivedAt: at(118), VerifiedBy: "nothing: unsigned requests are allowed", Again: true})
		return e
	}()}}},
	{"attributes and odd calls", story{invitation: ada(ledger.Accepted, nil), now: at(100), events: []toldEvent{paid(invites, decided(70, access.Skip, "accepted", "This person has come in.", -1))},
		attempts: []ledger.Attempt{called(1, "attributes", "sent", 200, "attribute seat"), called(2, "attributes", "never", 400, "attribute plan: no such attribute"),
			called(3, "look", "cannot look", 403, "API access is only available for enterprise customers"), called(4, "look", "claimed", 200, "the person came in"),
			called(5, "revoke", "cannot delete", 403, "This API token lacks the required scope"), called(6, "something", "new", 299, ""), {Kind: "fault", StartedAt: at(7), Outcome: "never", Message: "panic with a string"}}}},
	{"an event that was skipped", story{now: at(100), events: []toldEvent{paid(decided(0.001, access.Skip, access.ReasonInternal, "acme.com is your own domain.", -1))}}},
	{"an event that waits for its address", story{now: at(100), events: []toldEvent{func() toldEvent {
		e := paid()
		e.Details.Email, e.Details.EmailFrom = "", ""
		return e
	}()}}},
	{"an event of an invitation", story{now: at(100), events: []toldEvent{paid(invites)}}},
}

func TestTimeline(t *testing.T) {
	var told strings.Builder
	for _, s := range stories {
		fmt.Fprintf(&told, "== %s\n\n", s.name)
		for _, one := range s.timeline() {
			moment := "                "
			if one.At != nil {
				moment = one.At.Format("2006-01-02 15:04")
			}
			fmt.Fprintf(&told, "%s  %-8s %-4s  %s\n", moment, one.Kind, one.Tone, one.Title)
			if one.Detail != "" {
				fmt.Fprintf(&told, "%34s%s\n", "", one.Detail)
			}
			if about := fmt.Sprint(one.Reason, one.Actor, one.Event, one.Delivery, one.Invitation); about != "0 0 0" {
				fmt.Fprintf(&told, "%34s[%s %s event %d delivery %d invitation %d]\n", "", one.Reason, one.Actor, one.Event, one.Delivery, one.Invitation)
			}
		}
		told.WriteString("\n")
	}
	const file = "testdata/timeline.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(told.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if told.String() != string(want) {
		t.Errorf("the timelines are not those of %s; see what changed with -update and git diff:\n%s", file, told.String())
	}
}

// A story is in order, ends with what comes next, and is written in sentences.
func TestTimelineIsAStory(t *testing.T) {
	for _, s := range stories {
		steps := s.timeline()
		if last := steps[len(steps)-1]; last.Kind != stepNext {
			t.Errorf("%s: the last step is %q, not what comes next", s.name, last.Title)
		}
		for i, one := range steps {
			if one.Title == "" || strings.HasSuffix(one.Title, ".") || one.Detail != "" && !strings.HasSuffix(one.Detail, ".") && !strings.Contains(one.Detail, "@") {
				t.Errorf("%s: %q %q", s.name, one.Title, one.Detail)
			}
			if i > 0 && one.Kind != stepNext && one.At.Before(*steps[i-1].At) {
				t.Errorf("%s: %q is told before what came first", s.name, steps[i-1].Title)
			}
		}
	}
}
