package ledger

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// What a person does to one invitation. Each change and its line of the audit trail are one commit.

// act changes one invitation on behalf of a person.
func (l *Ledger) act(ctx context.Context, by, what string, id int64, do func(*tx, *Invitation) error) (inv Invitation, err error) {
	err = l.change(ctx, func(t *tx) error {
		if inv, err = t.invitation(id); err != nil {
			return err
		}
		before := inv.State
		if err := do(t, &inv); err != nil {
			return err
		}
		return t.audit(Entry{Actor: by, What: what, InvitationID: id, Before: string(before), After: string(inv.State)})
	})
	return inv, err
}

// Retry puts an invitation back to work at once, whether it failed or waits for its next attempt; one that was sent is
// sent again. If sending is stopped, the next attempt is a probe.
func (l *Ledger) Retry(ctx context.Context, by string, id int64) (Invitation, error) {
	return l.act(ctx, by, DidRetry, id, func(t *tx, inv *Invitation) error {
		if err := retryable(*inv, t.now, l.callLimit); err != nil {
			return err
		}
		if err := t.queueByHand(inv); err != nil {
			return err
		}
		return t.probeNow()
	})
}

func (t *tx) queueByHand(inv *Invitation) error {
	if inv.State == Sent || inv.State == Expired {
		return t.queue(inv, "to be sent again, by hand")
	}
	return t.queue(inv, "put back to work by hand")
}

// busy says that a call to Retool is under way.
func busy(inv Invitation, now time.Time, callLimit time.Duration) error {
	switch {
	case !inv.sendingNow(now, callLimit):
		return nil
	case inv.State == Queued:
		return fmt.Errorf("%w: it is being sent right now; look again in a minute", ErrConflict)
	default:
		return fmt.Errorf("%w: Retool is being asked about it right now; try again in a minute", ErrConflict)
	}
}

func retryable(inv Invitation, now time.Time, callLimit time.Duration) error {
	if err := busy(inv, now, callLimit); err != nil {
		return err
	}
	switch {
	case inv.State == Held:
		return fmt.Errorf("%w: it is held; approve it instead", ErrConflict)
	case inv.State == Accepted:
		return fmt.Errorf("%w: it is accepted; there is nothing to retry", ErrConflict)
	case inv.CorrectedTo != 0:
		return fmt.Errorf("%w: its address was corrected; retry invitation %d", ErrConflict, inv.CorrectedTo)
	default:
		return nil
	}
}

// Approve queues an invitation that a rule held.
func (l *Ledger) Approve(ctx context.Context, by string, id int64) (Invitation, error) {
	return l.act(ctx, by, DidApprove, id, func(t *tx, inv *Invitation) error {
		if err := approvable(*inv); err != nil {
			return err
		}
		return t.approve(inv)
	})
}

func (t *tx) approve(inv *Invitation) error { return t.queue(inv, "approved by hand") }

func approvable(inv Invitation) error {
	if inv.State != Held {
		return fmt.Errorf("%w: it is %s, not held", ErrConflict, inv.State)
	}
	return nil
}

// Revoke takes an invitation back. Where Retool may have an invite of it, a RevokeJob has it deleted.
func (l *Ledger) Revoke(ctx context.Context, by string, id int64) (Invitation, error) {
	return l.act(ctx, by, DidRevoke, id, func(t *tx, inv *Invitation) error {
		if err := revocable(*inv, t.now, l.callLimit); err != nil {
			return err
		}
		return t.revoke(inv, 0)
	})
}

// Allowed says of each thing that a person may do to an invitation why it is not possible now; nil where it is.
type Allowed struct{ Retry, Approve, Revoke, Correct error }

// Allowed says what may be done to an invitation as it is now. When it is done, it may be another.
func (l *Ledger) Allowed(inv Invitation) Allowed {
	now := l.now()
	return Allowed{Retry: retryable(inv, now, l.callLimit), Approve: approvable(inv), Revoke: revocable(inv, now, l.callLimit),
		Correct: correctable(inv, access.Address{}, now, l.callLimit)}
}

// CallLimit is after how long a call to Retool that was never settled has no process any more.
func (l *Ledger) CallLimit() time.Duration { return l.callLimit }

func revocable(inv Invitation, now time.Time, callLimit time.Duration) error {
	if err := takable(inv, now, callLimit); err != nil {
		return err
	}
	if inv.State == Revoked {
		return fmt.Errorf("%w: it is revoked already", ErrConflict)
	}
	return nil
}

// takable says whether what Retool may have of an invitation can be taken back, also once more.
func takable(inv Invitation, now time.Time, callLimit time.Duration) error {
	if err := busy(inv, now, callLimit); err != nil {
		return err
	}
	if inv.State == Accepted {
		return fmt.Errorf("%w: the person came in, and Retool's API cannot take that back; disable them in Retool's settings", ErrConflict)
	}
	return nil
}

const beingTold = "Retool is being told"

// TellingRetool says of a revoked invitation that what Retool has of it is still to be deleted.
func (i Invitation) TellingRetool() bool { return strings.HasSuffix(i.Reason, beingTold) }

// revoke ends an invitation; a job that still waits to send it does nothing, since the run is another. Where Retool may
// have an invite of it, that is left to be taken away: by the RevokeJob, or by the next InviteJob, should somebody ask for
// the address again before.
func (t *tx) revoke(inv *Invitation, correctedTo int64) error {
	atRetool := inv.MayBeAtRetool()
	inv.Resend, inv.Unsure, inv.CorrectedTo = atRetool, atRetool, correctedTo
	reason := inv.WhyRevoked()
	if atRetool {
		reason += "; " + beingTold
	}
	err := t.begin(inv, Revoked, reason, correctedTo)
	if err == nil && atRetool {
		t.enqueue(RevokeJob{Invitation: inv.ID, Run: inv.Run})
	}
	return err
}

// Correct gives the person behind an invitation the address of the verdict instead: the old invitation is revoked and
// knows the one that takes its place, which has its groups and attributes. What a person let in already is not held
// again. Later events of the old address go to the new one.
func (l *Ledger) Correct(ctx context.Context, by string, id int64, v Verdict) (old, corrected Invitation, err error) {
	err = l.change(ctx, func(t *tx) error {
		if err := t.changesMany(); err != nil { // two invitations, in any order
			return err
		}
		if old, err = t.invitation(id); err != nil {
			return err
		}
		before := old.State
		if err := correctable(old, v.Decision.Address, t.now, l.callLimit); err != nil {
			return err
		}
		if v.Decision.Outcome == access.Skip {
			return fmt.Errorf("%w: that address is not invited: %s", ErrConflict, v.Decision.Sentence)
		}
		beforeThere, err := t.stateOf(v.Decision.Address)
		if err != nil {
			return err
		}
		newID, err := t.record(newPass(0), old.corrected(v, by))
		if err != nil {
			return err
		}
		if corrected, err = t.invitation(newID); err != nil {
			return err
		}
		if corrected.Email != v.Decision.Address { // its event is another's, sent again
			return fmt.Errorf("%w: this correction was recorded before", ErrConflict)
		}
		if err := t.revoke(&old, newID); err != nil {
			return err
		}
		return t.auditBoth(by, old, corrected, string(before), beforeThere)
	})
	return old, corrected, err
}

// corrected is the verdict of the address that takes an invitation's place.
func (i Invitation) corrected(v Verdict, by string) Verdict {
	v.By, v.corrects, v.Event.EmailFrom = by, true, "corrected by hand"
	v.Decision.Groups = union(v.Decision.Groups, i.Groups)
	wanted := orEmptyMap(maps.Clone(i.Attributes))
	maps.Copy(wanted, v.Decision.Attributes)
	v.Decision.Attributes = wanted
	if v.Decision.Outcome == access.Hold && i.State != Held {
		v.Decision.Outcome = access.Invite
	}
	return v
}

// Correctable says why an invitation cannot be given this address instead, if so.
func (l *Ledger) Correctable(old Invitation, address access.Address) error {
	return correctable(old, address, l.now(), l.callLimit)
}

func correctable(old Invitation, address access.Address, now time.Time, callLimit time.Duration) error {
	switch {
	case old.Email == address:
		return fmt.Errorf("%w: that is the address it has", ErrConflict)
	case old.CorrectedTo != 0:
		return fmt.Errorf("%w: its address was corrected before; see invitation %d", ErrConflict, old.CorrectedTo)
	default:
		return takable(old, now, callLimit)
	}
}

// auditBoth puts a correction into the trail of both invitations.
func (t *tx) auditBoth(by string, old, corrected Invitation, beforeOld, beforeCorrected string) error {
	err := t.audit(Entry{Actor: by, What: DidCorrect, InvitationID: old.ID, Subject: fmt.Sprintf("to invitation %d", corrected.ID),
		Before: beforeOld, After: string(old.State)})
	if err != nil {
		return err
	}
	return t.audit(Entry{Actor: by, What: DidCorrect, InvitationID: corrected.ID, Subject: fmt.Sprintf("from invitation %d", old.ID),
		Before: beforeCorrected, After: string(corrected.State)})
}

// RetryAll puts every invitation of a state back to work, oldest first, and returns how many.
func (l *Ledger) RetryAll(ctx context.Context, by string, state State) (int, error) {
	if state != Failed && state != Expired {
		return 0, fmt.Errorf("%w: only failed and expired invitations can be retried together", ErrConflict)
	}
	return l.actOnAll(ctx, by, DidRetry, state, (*tx).queueByHand)
}

// ApproveAll queues every invitation that is held, oldest first, and returns how many.
func (l *Ledger) ApproveAll(ctx context.Context, by string) (int, error) {
	return l.actOnAll(ctx, by, DidApprove, Held, (*tx).approve)
}

// actOnAll does the same to every invitation of a state that it leaves.
func (l *Ledger) actOnAll(ctx context.Context, by, what string, state State, do func(*tx, *Invitation) error) (int, error) {
	const batch = 500 // so that no transaction keeps acceptances waiting
	for total := 0; ; {
		n, err := l.actOnSome(ctx, by, what, state, batch, do)
		total += n
		if err != nil || n < batch {
			return total, err
		}
	}
}

func (l *Ledger) actOnSome(ctx context.Context, by, what string, state State, limit int, do func(*tx, *Invitation) error) (n int, err error) {
	err = l.change(ctx, func(t *tx) error {
		if err := t.changesMany(); err != nil {
			return err
		}
		some, err := collect(t.ctx, t.Tx, scanInvitation,
			`select `+invitationColumns+` from invitations where state = $1 order by id limit $2`+t.lockRow, string(state), limit)
		if err != nil {
			return err
		}
		n = len(some)
		for i := range some {
			inv := &some[i]
			if err := do(t, inv); err != nil {
				return err
			}
			if err := t.audit(Entry{Actor: by, What: what, InvitationID: inv.ID, Before: string(state), After: string(inv.State)}); err != nil {
				return err
			}
		}
		return t.probeNow()
	})
	return n, err
}
