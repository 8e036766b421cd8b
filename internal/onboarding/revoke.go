package onboarding

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/retoolclient"
)

// The kinds of attempts by which what Retool has is found and taken away, and what can be found.
const (
	kindLook       = "look"
	kindRevoke     = "revoke"
	outcomeClaimed = "claimed"
)

// cameIn is the reason of an invitation that a look found accepted.
const cameIn = "accepted: Retool says the person came in"

type revokeWorker struct {
	river.WorkerDefaults[ledger.RevokeJob]
	ob *Onboarding
}

func (w *revokeWorker) Work(ctx context.Context, job *river.Job[ledger.RevokeJob]) error {
	return w.ob.guard(job.JobRow, func() error { return w.ob.revoke(ctx, job.Args) }, func(fault error) error {
		return w.ob.Ledger.GiveUp(ctx, job.Args, ledger.Revoked, leftAtRetool("taken back here", "still has the invite", fault.Error()), fault)
	})
}

// NextRetry is after a fault of ours.
func (w *revokeWorker) NextRetry(job *river.Job[ledger.RevokeJob]) time.Time {
	return afterFault(job.Attempt)
}

// revoke has Retool delete the invite of an invitation that was taken back.
func (ob *Onboarding) revoke(ctx context.Context, job ledger.RevokeJob) error {
	return ob.run(ctx, time.Now().Add(holdFor), job, revoking{ob})
}

// revoking is the errand of an invitation that was taken back while Retool may have an invite of it.
type revoking struct{ *Onboarding }

func (ob revoking) call(ctx context.Context, inv ledger.Invitation) (s ledger.Settlement, done bool) {
	next := ob.remove
	if inv.Unsure {
		next = ob.trace
	}
	t := next(ctx, inv)
	s, done = ob.comesTo(inv, t)
	s.State, s.Attempt = ledger.Revoked, t.attempt
	return s, done
}

func (ob revoking) comesTo(inv ledger.Invitation, t traced) (s ledger.Settlement, done bool) {
	why := inv.WhyRevoked()
	switch t.found {
	case personIn:
		return ledger.Settlement{Reason: why + ", but the person had come in already: disable them in Retool's settings", Known: true, RetoolID: t.invite.ID, Taken: true}, true
	case inviteThere:
		return ledger.Settlement{Reason: inv.Reason, Known: true, RetoolID: t.invite.ID}, false
	case nothingThere:
		reason := why + "; Retool had none"
		if t.deleted {
			reason = why + "; Retool's invite is deleted"
		}
		return ledger.Settlement{Reason: reason, Known: true, Taken: true, Pace: ledger.PaceChange{Works: t.deleted}}, true
	case outOfReach:
		if t.attempt.Kind == kindLook && inv.RetoolID != 0 { // it may still let us delete
			return ledger.Settlement{Reason: inv.Reason}, false
		}
		return ob.left(inv, t.err), true
	}
	if t.err.Kind == retoolclient.Stop {
		return ledger.Settlement{Reason: why + "; Retool is not told yet, since sending is stopped: " + sentence(t.err), Unsure: true,
			NextTryAt: time.Now().Add(probeWait), Pace: ledger.PaceChange{Stop: sentence(t.err)}}, false
	}
	return ob.failed(inv, t.err)
}

func (ob revoking) failed(inv ledger.Invitation, e *retoolclient.Error) (ledger.Settlement, bool) {
	s, spent := ob.again(inv, e)
	s.State, s.Reason, s.Unsure, s.Attempt.Kind = ledger.Revoked, inv.WhyRevoked()+"; Retool is not told yet: "+s.Reason, true, kindRevoke
	if spent {
		left := ob.left(inv, e)
		s.Reason, s.NextTryAt = left.Reason, time.Time{}
	}
	return s, spent
}

// left is where nobody tries any more: a person has to. Should somebody ask for the address again, Usher does, too.
func (ob revoking) left(inv ledger.Invitation, e *retoolclient.Error) ledger.Settlement {
	what, why := "may still have an invite", "taken back here"
	if inv.RetoolID != 0 {
		what = "still has the invite"
	}
	if inv.CorrectedTo != 0 {
		why = inv.WhyRevoked()
	}
	return ledger.Settlement{Reason: leftAtRetool(why, what, sentence(e)), Unsure: true}
}

func leftAtRetool(why, what, cause string) string {
	return why + ", but Retool " + what + ": " + cause + "; delete it in Retool's settings"
}

// What Retool has of an invitation, as far as one call could tell.
type traces int

const (
	notKnown     traces = iota // the call failed
	personIn                   // an invite that was claimed
	inviteThere                // an invite that was not, though it may have expired
	nothingThere               // no invite
	outOfReach                 // the plan, or the token's permissions, do not include the call
)

// traced is what one call brought.
type traced struct {
	found   traces
	invite  *retoolclient.Invite // of personIn and inviteThere
	deleted bool                 // there is nothing since this very call
	err     *retoolclient.Error  // of notKnown and outOfReach
	attempt ledger.Attempt
}

// trace looks for what Retool has of an invitation: by its identity there, else by the address.
func (ob *Onboarding) trace(ctx context.Context, inv ledger.Invitation) traced {
	var invite *retoolclient.Invite
	var err error
	if inv.RetoolID != 0 {
		var one retoolclient.Invite
		if one, err = ob.Retool.InviteByID(ctx, inv.RetoolID); err == nil {
			invite = &one
		}
	} else {
		invite, err = ob.Retool.NewestInvite(ctx, inv.Email.Full())
	}
	t := traced{invite: invite, err: asRetoolError(err), attempt: ledger.Attempt{Kind: kindLook, Status: http.StatusOK, RetoolID: inv.RetoolID}}
	switch {
	case t.err == nil && invite == nil, errors.Is(err, retoolclient.ErrNotFound):
		t.found, t.attempt.Outcome, t.attempt.Message = nothingThere, "not found", "Retool has no invite of it"
	case t.err == nil && invite.Claimed():
		t.found, t.attempt.Outcome, t.attempt.Message = personIn, outcomeClaimed, "the person came in"
	case t.err == nil:
		t.found, t.attempt.Outcome, t.attempt.Message = inviteThere, "found", "Retool has the invite; nobody used it yet"
	default:
		t.refused("cannot look")
	}
	if invite != nil {
		t.attempt.RetoolID = invite.ID
	}
	if t.err != nil {
		t.attempt.Status = t.err.Status
	}
	return t
}

// remove deletes the invite that Retool has of an invitation.
func (ob *Onboarding) remove(ctx context.Context, inv ledger.Invitation) traced {
	err := ob.Retool.DeleteInvite(ctx, inv.RetoolID)
	t := traced{err: asRetoolError(err), attempt: ledger.Attempt{Kind: kindRevoke, Status: http.StatusNoContent, RetoolID: inv.RetoolID}}
	switch {
	case t.err == nil:
		t.found, t.deleted, t.attempt.Outcome, t.attempt.Message = nothingThere, true, "deleted", "the invite is deleted"
	case errors.Is(err, retoolclient.ErrNotFound):
		t.found, t.attempt.Outcome, t.attempt.Message = nothingThere, "not found", t.err.Message
	default:
		t.refused("cannot delete")
	}
	if t.err != nil {
		t.attempt.Status = t.err.Status
	}
	return t
}

// refused is a call that Retool did not carry out, or not surely.
func (t *traced) refused(cannot string) {
	t.attempt.Outcome, t.attempt.Message = outcomeOf(t.err), t.err.Message
	if mayNotLook(t.err) || t.err.Kind == retoolclient.Never && cannot == "cannot look" {
		t.found, t.attempt.Outcome = outOfReach, cannot
	}
}

// laterAtMost is a failure that does not end the invitation at once: a refusal to delete may mean that the invite was
// claimed a moment ago, and the next look will tell. It looks first in any case, so that no answer is in doubt.
func (t traced) laterAtMost() *retoolclient.Error {
	e := *t.err
	if e.Kind != retoolclient.Stop {
		e.Kind = retoolclient.Later
	}
	e.Ambiguous = false
	return &e
}

func (t traced) claimedAt() time.Time { return claimedAt(t.invite) }

// claimedAt is when an invite was claimed, zero where Retool does not say.
func claimedAt(invite *retoolclient.Invite) time.Time {
	if invite.ClaimedAt == nil {
		return time.Time{}
	}
	return *invite.ClaimedAt
}
