package handlers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// Where a story stands, and what comes next.

// stateSteps are the changes that nothing else tells.
func (t story) stateSteps() (steps []step) {
	inv := t.invitation
	told := slices.ContainsFunc(t.events, func(e toldEvent) bool {
		return slices.ContainsFunc(e.Decisions, func(d ledger.Decision) bool { return d.Reason == webhook.ReasonAccepted })
	})
	told = told || slices.ContainsFunc(t.attempts, func(a ledger.Attempt) bool { return a.Outcome == "claimed" })
	if !inv.AcceptedAt.IsZero() && !told {
		steps = append(steps, step{At: when(inv.AcceptedAt), Kind: stepState, Tone: toneGood, Title: "The person came in"})
	}
	if inv.State == ledger.Expired && !inv.ExpiresAt.IsZero() {
		steps = append(steps, step{At: when(inv.ExpiresAt), Kind: stepState, Tone: toneWarn, Title: "The link in Retool's mail ran out", Detail: sentence(inv.Reason)})
	}
	return steps
}

// next says what comes, or whom it waits for.
func (t story) next() step {
	s := t.nextOf()
	s.Kind = stepNext
	return s
}

func (t story) nextOf() step {
	inv := t.invitation
	if inv == nil {
		return t.nextOfEvent()
	}
	if t.sendingNow() {
		return step{Title: "Retool is being asked right now", Tone: toneWarn}
	}
	switch inv.State {
	case ledger.Held:
		return step{Title: "It waits for a person to approve it", Tone: toneWarn, Detail: sentence(inv.Reason)}
	case ledger.Queued:
		return t.nextTry()
	case ledger.Sent:
		if inv.ExpiresAt.IsZero() {
			return step{Title: "It waits for the person to come in", Detail: sentence(inv.Reason)}
		}
		if inv.ExpiresAt.Before(t.now) {
			return step{At: when(inv.NextTryAt), Title: "Usher looks whether the person came in", Detail: "The link in Retool's mail has run out."}
		}
		return step{At: when(inv.ExpiresAt), Title: "It waits for the person to come in", Detail: strings.TrimSpace(sentence(inv.Reason) + " The link in Retool's mail works until then; after that Usher looks whether it was used.")}
	case ledger.Accepted:
		return step{Title: "Nothing is left to do", Tone: toneGood, Detail: "The person is in. To take that back, disable them in Retool's settings."}
	case ledger.Expired:
		return step{Title: "It waits for a person to send it again", Tone: toneWarn, Detail: sentence(inv.Reason)}
	case ledger.Revoked:
		return t.nextOfRevoked()
	default:
		return step{Title: "It waits for a person: mend the cause, then send it again", Tone: toneBad, Detail: sentence(inv.Reason)}
	}
}

func (t story) nextOfEvent() step {
	if len(t.events) == 0 {
		return step{Title: "Nothing is known of it"}
	}
	switch e := t.events[len(t.events)-1]; {
	case len(e.Decisions) == 0:
		return step{Title: "Its sender is being asked for the address", Tone: toneWarn, Detail: "Then it is decided. Usher asks again by itself where no answer comes."}
	case e.Decisions[len(e.Decisions)-1].InvitationID != 0:
		return step{Title: "The invitation tells the rest", Invitation: e.Decisions[len(e.Decisions)-1].InvitationID}
	case e.DeliveryID == 0:
		return step{Title: "Nothing more happens by itself"}
	default:
		return step{Title: "Nothing more happens by itself", Detail: "Once the settings are mended, have its delivery decided again, or have the sender send it again."}
	}
}

func (t story) nextTry() step {
	inv := t.invitation
	reason := sentence(inv.Reason)
	at := t.now
	if inv.NextTryAt.After(at) {
		at = inv.NextTryAt
	}
	switch {
	case t.pace.StoppedReason != "":
		return step{At: when(t.pace.NotBefore), Title: "Sending is stopped for everybody; one call tries then whether it works again", Tone: toneBad, Detail: sentence(t.pace.StoppedReason)}
	case t.pace.NotBefore.After(at):
		return step{At: when(t.pace.NotBefore), Title: "The next try is then: Retool asked to slow down", Tone: toneWarn, Detail: reason}
	case inv.NextTryAt.After(t.now):
		return step{At: when(inv.NextTryAt), Title: "The next try", Tone: toneWarn, Detail: strings.TrimSpace("The last answer: " + reason)}
	case t.perMinute > 0:
		return step{Title: "It goes out as soon as it is its turn", Tone: toneWarn, Detail: strings.TrimSpace(reason + fmt.Sprintf(" Usher makes at most %s to Retool a minute, the oldest first.", plural(int64(t.perMinute), "call", "calls")))}
	default:
		return step{Title: "It goes out as soon as it is its turn", Tone: toneWarn, Detail: reason}
	}
}

func (t story) nextOfRevoked() step {
	inv := t.invitation
	s := step{Title: "Nothing more happens by itself", Detail: sentence(inv.Reason), Invitation: inv.CorrectedTo}
	switch {
	case t.tellsRetool():
		s.At, s.Title, s.Tone = when(inv.NextTryAt), "Retool is told that it was taken back", toneWarn
	case inv.CorrectedTo != 0:
		s.Title = "Another invitation took its place"
	}
	return s
}

// tellsRetool says whether an invite is still to be deleted at Retool, by Usher.
func (t story) tellsRetool() bool {
	inv := t.invitation
	return inv.State == ledger.Revoked && (!inv.NextTryAt.IsZero() || inv.TellingRetool())
}

func (t story) sendingNow() bool {
	since := t.invitation.SendingSince
	return !since.IsZero() && t.now.Sub(since) < t.callLimit
}

// changes says whether the invitation becomes something else by itself, and soon.
func (t story) changes() bool {
	return t.invitation.State == ledger.Queued || t.tellsRetool() || t.sendingNow()
}

// changesFast says whether that is a matter of a moment.
func (t story) changesFast() bool {
	return t.changes() && t.pace.StoppedReason == "" && t.invitation.NextTryAt.Sub(t.now) < time.Minute
}
