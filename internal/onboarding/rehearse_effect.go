package onboarding

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// What a difference would mean, in words.

// cannotBeReplayed says what it takes instead.
func cannotBeReplayed(d ledger.Difference) string {
	if d.Delivery == 0 {
		return "It was asked for by hand: ask again."
	}
	return "Its body is gone, so that it cannot be replayed: its sender must send it again."
}

// change is what would be another, empty where nothing would. A rule that has only moved in the list changes nothing.
func change(e *ledger.PastEvent, today ledger.Decision, then outcome, moreGroups, otherAttributes bool) ledger.ChangeOf {
	switch {
	case then.same:
		return ""
	case today.Outcome == access.Skip && then.Outcome == ledger.IsNoEvent:
		return "" // nobody is invited either way
	case today.Outcome != then.Outcome:
		return ledger.ChangeOfOutcome
	case today.Outcome != access.Skip && today.Email != then.decision.Address.Full():
		return ledger.ChangeOfAddress
	case adds(e, today) && moreGroups:
		return ledger.ChangeOfGroups
	case adds(e, today) && e.Newest && otherAttributes:
		return ledger.ChangeOfAttributes
	case today.Reason != then.Reason:
		return ledger.ChangeOfReason
	}
	return ""
}

// adds says that the invitation has what this decision asked for: an event that is held adds nothing to an invitation
// that is not.
func adds(e *ledger.PastEvent, today ledger.Decision) bool {
	return e.Invitation != 0 && (today.Outcome == access.Invite || today.Outcome == access.Hold && e.State == ledger.Held)
}

// missing are the groups that are wanted and not there.
func missing(have, want []int64) (groups []int64) {
	for _, group := range want {
		if !slices.Contains(have, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// others are the names of the attributes that are not there as they are wanted.
func others(have, want map[string]string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got, ok := have[name]; !ok || got != want[name] {
			names = append(names, name)
		}
	}
	return names
}

// effect is what a difference comes to if its delivery is replayed. It follows what the ledger does with a verdict for an
// address that has an invitation: see docs/states.md.
func effect(d ledger.Difference) (ledger.Effect, string) {
	state := string(d.State)
	switch d.Then.Outcome {
	case ledger.IsLookingUp:
		return ledger.WouldLookUp, "The sender would be asked for the address."
	case access.Invite:
		return effectOfInvite(d)
	case access.Hold:
		switch d.State {
		case "":
			return ledger.WouldHold, "Would wait for a person's approval."
		case ledger.Held:
			return ledger.StaysHeld, "Is held already, until a person approves it."
		}
	}
	switch d.State {
	case "":
		return ledger.NoEffect, "Nobody is invited."
	case ledger.Held:
		return ledger.StaysHeld, "Is held, and stays so until a person approves or revokes it."
	case ledger.Queued:
		return ledger.GoesOut, "Is queued, and goes out all the same: revoke it to stop it."
	case ledger.Sent, ledger.Accepted:
		return ledger.NothingIsTaken, "Is " + state + " already: nothing is taken back."
	default:
		return ledger.NoEffect, "Is " + state + ", and stays so."
	}
}

func effectOfInvite(d ledger.Difference) (ledger.Effect, string) {
	added := addition(d)
	switch d.State {
	case "":
		return ledger.WouldInvite, "Would be invited: has no invitation today."
	case ledger.Held:
		return ledger.StaysHeld, "Is held, and stays so until a person approves it."
	case ledger.Failed, ledger.Expired:
		return ledger.WouldRequeue, "Is " + string(d.State) + ": would be sent again."
	case ledger.Revoked:
		return ledger.NoEffect, "A person revoked it, and it stays so."
	case ledger.Queued:
		if added != "" {
			return ledger.WouldAdd, "Is queued: would be sent with " + added + "."
		}
		return ledger.NoEffect, "Is queued already."
	}
	switch d.By {
	case ledger.ChangeOfGroups:
		return ledger.WouldAdd, "Is " + string(d.State) + " already: a person must add " + added + " in Retool."
	case ledger.ChangeOfAttributes:
		if d.State == ledger.Sent {
			return ledger.WouldAdd, "Is sent already: Retool would be told " + added + "."
		}
	}
	return ledger.NothingIsTaken, "Is " + string(d.State) + " already: nothing is sent again."
}

// addition names what an invitation would get.
func addition(d ledger.Difference) string {
	var names []string
	for _, group := range d.Groups {
		names = append(names, strconv.FormatInt(group, 10))
	}
	names = append(names, d.Attributes...)
	kind := strings.TrimSuffix(string(d.By), "s")
	switch len(names) {
	case 0:
		return ""
	case 1:
		return "the " + kind + " " + names[0]
	default:
		return "the " + kind + "s " + strings.Join(names, ", ")
	}
}
