package ledger

import (
	"context"
	"fmt"
	"maps"
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

// queueByHand queues an invitation again. What Retool may still have of it is taken away before it is sent.
func (t *tx) queueByHand(inv *Invitation) error {
	reason := "put back to work by hand"
	if inv.State == Sent || inv.State == Expired {
		inv.Resend, reason = true, "to be sent again, by hand"
		if _, err := t.exec(`update invitations set resend = 1 where id = $1`, inv.ID); err != nil {
			return err
		}
	}
	return t.queue(inv, reason)
}

func retryable(inv Invitation, now time.Time, callLimit time.Duration) error {
	switch {
	case inv.sendingNow(now, callLimit):
		return fmt.Errorf("%w: it is being sent right now; look again in a minute", ErrConflict)
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
		if inv.State != Held {
			return fmt.Errorf("%w: it is %s, not held", ErrConflict, inv.State)
		}
		return t.queue(inv, "approved by hand")
	})
}

// Revoke takes an invitation back. Where Retool may have an invite of it, a RevokeJob has it deleted.
func (l *Ledger) Revoke(ctx context.Context, by string, id int64) (Invitation, error) {
	return l.act(ctx, by, DidRevoke, id, func(t *tx, inv *Invitation) error {
		if err := revocable(*inv, t.now, l.callLimit); err != nil {
			return err
		}
		if inv.State == Revoked {
			return fmt.Errorf("%w: it is revoked already", ErrConflict)
		}
		return t.revoke(inv, "taken back by hand", 0)
	})
}

func revocable(inv Invitation, now time.Time, callLimit time.Duration) error {
	switch {
	case inv.sendingNow(now, callLimit):
		return fmt.Errorf("%w: it is being sent right now; look again in a minute", ErrConflict)
	case inv.State == Accepted:
		return fmt.Errorf("%w: the person came in, and Retool's API cannot take that back; disable them in Retool's settings", ErrConflict)
	default:
		return nil
	}
}

// revoke ends an invitation; a job that still waits to send it does nothing, since the run is another.
func (t *tx) revoke(inv *Invitation, reason string, correctedTo int64) error {
	atRetool := inv.State == Sent || inv.State == Expired || inv.RetoolID != 0 || inv.Unsure
	if atRetool {
		reason += "; Retool is being told"
	}
	inv.State, inv.Reason, inv.CorrectedTo, inv.NextTryAt = Revoked, reason, correctedTo, time.Time{}
	inv.Run++
	_, err := t.exec(`update invitations set state = $2, reason = $3, run = $4, corrected_to = $5, next_try_at = null, resend = 0, updated_at = $6 where id = $1`,
		inv.ID, string(inv.State), reason, inv.Run, orNoID(correctedTo), millis(t.now))
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
		if old, err = t.invitation(id); err != nil {
			return err
		}
		before := old.State
		if err := correctable(old, v.Decision.Address, t.now, l.callLimit); err != nil {
			return err
		}
		v.Decision.Groups = union(v.Decision.Groups, old.Groups)
		wanted := orEmptyMap(maps.Clone(old.Attributes))
		maps.Copy(wanted, v.Decision.Attributes)
		v.Decision.Attributes = wanted
		if v.Decision.Outcome == access.Hold && old.State != Held {
			v.Decision.Outcome = access.Invite
		}
		v.By = by
		newID, err := t.record(newPass(0), v)
		if err != nil {
			return err
		}
		if err := t.revoke(&old, fmt.Sprintf("the address was corrected: see invitation %d", newID), newID); err != nil {
			return err
		}
		if corrected, err = t.invitation(newID); err != nil {
			return err
		}
		return t.auditBoth(Entry{Actor: by, What: DidCorrect, Before: string(before), After: string(old.State)}, old, corrected)
	})
	return old, corrected, err
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
		return revocable(old, now, callLimit)
	}
}

// auditBoth puts a correction into the trail of both invitations.
func (t *tx) auditBoth(e Entry, old, corrected Invitation) error {
	e.InvitationID, e.Subject = old.ID, fmt.Sprintf("to invitation %d", corrected.ID)
	if err := t.audit(e); err != nil {
		return err
	}
	e.InvitationID, e.Subject, e.Before, e.After = corrected.ID, fmt.Sprintf("from invitation %d", old.ID), "", string(corrected.State)
	return t.audit(e)
}

// RetryAll puts every invitation of a state back to work, oldest first, and returns how many.
func (l *Ledger) RetryAll(ctx context.Context, by string, state State) (int, error) {
	if state != Failed && state != Expired {
		return 0, fmt.Errorf("%w: only failed and expired invitations can be retried together", ErrConflict)
	}
	return l.actOnAll(ctx, by, DidRetry, state, func(t *tx, inv *Invitation) error { return t.queueByHand(inv) })
}

// ApproveAll queues every invitation that is held, oldest first, and returns how many.
func (l *Ledger) ApproveAll(ctx context.Context, by string) (int, error) {
	return l.actOnAll(ctx, by, DidApprove, Held, func(t *tx, inv *Invitation) error { return t.queue(inv, "approved by hand") })
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
