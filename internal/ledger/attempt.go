package ledger

import (
	"context"
	"database/sql"
	"time"
)

// sendingNow says whether a call is under way; one that began longer ago than callLimit lost its process.
func (i Invitation) sendingNow(now time.Time, callLimit time.Duration) bool {
	return !i.SendingSince.IsZero() && now.Sub(i.SendingSince) < callLimit
}

// An Attempt is one call to the outside and what it answered.
type Attempt struct {
	ID           int64
	InvitationID int64
	EventID      int64  // of a look-up, which has no invitation yet
	Kind         string // "invite", "look", "attributes", "customer"
	StartedAt    time.Time
	Duration     time.Duration
	Transport    string // "v2", "bulk"; of a look-up the provider: "hubspot", "paddle", "stripe"
	Status       int    // HTTP, 0 when no answer came
	Outcome      string // "sent", "present", "found", "not found", "later", "never", "stop"
	Message      string // the other side's own words, redacted
	RetoolID     int64
}

func (t *tx) attempt(a Attempt) error {
	null := func(id int64) sql.NullInt64 { return sql.NullInt64{Int64: id, Valid: id != 0} }
	_, err := t.exec(`insert into attempts (invitation_id, event_id, kind, started_at, duration_ms, transport, status, outcome, message, retool_id)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		null(a.InvitationID), null(a.EventID), a.Kind, millis(a.StartedAt), a.Duration.Milliseconds(),
		a.Transport, a.Status, a.Outcome, a.Message, null(a.RetoolID))
	return err
}

// A Slot is the answer to a worker that wants to call Retool.
type Slot struct {
	// Granted means: call now; the invitation is marked as being sent.
	Granted bool
	// Void means: there is nothing to do; the invitation left the state or run of this job.
	Void bool
	// Wait is how long to wait before asking again, when not granted.
	Wait time.Duration
	// Stopped is why sending is stopped, when it is.
	Stopped string
	// WorkedAt is when Retool last took a call, of whichever invitation.
	WorkedAt time.Time
	// Invitation is as it stood when the slot was granted.
	Invitation Invitation
}

// TakeSlot asks the shared pace for the right to make one call to Retool for an invitation's job. The call
// is marked in the same commit, so that a crash in the middle of it is seen afterwards.
func (l *Ledger) TakeSlot(ctx context.Context, job InviteJob, interval time.Duration) (slot Slot, err error) {
	err = l.change(ctx, func(t *tx) error {
		slot = Slot{} // of a run that collided
		inv, err := t.invitation(job.Invitation)
		if err != nil {
			return err
		}
		if inv.State != Queued || inv.Run != job.Run {
			slot.Void = true
			return nil
		}
		if inv.sendingNow(t.now, l.callLimit) {
			slot.Wait = l.callLimit - t.now.Sub(inv.SendingSince)
			return nil
		}
		if !inv.SendingSince.IsZero() {
			inv.Unsure = true // the process that made that call is gone
		}
		if slot, err = t.takePace(interval); err != nil || !slot.Granted {
			return err
		}
		slot.Invitation = inv
		_, err = t.exec(`update invitations set sending_since = $2, unsure = $3 where id = $1`, inv.ID, millis(t.now), flag(inv.Unsure))
		return err
	})
	return slot, err
}

// TakePace asks the shared pace for one call that is not an invitation's.
func (l *Ledger) TakePace(ctx context.Context, interval time.Duration) (slot Slot, err error) {
	err = l.change(ctx, func(t *tx) error {
		slot, err = t.takePace(interval)
		return err
	})
	return slot, err
}

// A Settlement is what an attempt changed.
type Settlement struct {
	Attempt   Attempt
	State     State
	Reason    string
	NextTryAt time.Time // zero: none
	CountTry  bool      // a 429 and a stop count nothing
	Unsure    bool      // the call may have been carried out
	// After sending: what Retool now knows.
	RetoolID       int64
	ExpiresAt      time.Time
	ToldGroups     []int64
	ToldAttributes map[string]string
	// What the attempt says about all sending.
	Pace PaceChange
}

// Settle records an attempt and the invitation's new state in one commit. stoppedNow is true when this
// attempt was the one that stopped all sending.
func (l *Ledger) Settle(ctx context.Context, inv Invitation, s Settlement) (stoppedNow bool, err error) {
	err = l.change(ctx, func(t *tx) error {
		// Always the invitation before the pace: two transactions that take them in one order wait, and never collide.
		if _, err := t.invitation(inv.ID); err != nil {
			return err
		}
		s.Attempt.InvitationID = inv.ID
		if err := t.attempt(s.Attempt); err != nil {
			return err
		}
		if stoppedNow, err = t.changePace(s.Pace); err != nil {
			return err
		}
		return t.settle(inv, s)
	})
	return stoppedNow, err
}

func (t *tx) settle(inv Invitation, s Settlement) error {
	count := 0
	if s.CountTry {
		count = 1
	}
	_, err := t.exec(`update invitations set state = $3, reason = $4, tries = tries + $5, next_try_at = $6, unsure = $7,
		sending_since = null, updated_at = $8 where id = $1 and run = $2`,
		inv.ID, inv.Run, string(s.State), s.Reason, count, orNull(s.NextTryAt), flag(s.Unsure), millis(t.now))
	if err != nil || s.State != Sent {
		return err
	}
	return t.settleSent(inv, s)
}

func (t *tx) settleSent(inv Invitation, s Settlement) error {
	if _, err := t.exec(`update invitations set retool_id = $2, expires_at = $3, sent_groups = $4, sent_attributes = $5, sent_at = $6 where id = $1`,
		inv.ID, sql.NullInt64{Int64: s.RetoolID, Valid: s.RetoolID != 0}, orNull(s.ExpiresAt),
		asJSON(orEmpty(s.ToldGroups)), asJSON(orEmptyMap(s.ToldAttributes)), millis(t.now)); err != nil {
		return err
	}
	// An event may have added attributes while the call was under way.
	now, err := t.invitation(inv.ID)
	if err == nil && now.RetoolID != 0 && len(now.LateAttributes()) > 0 {
		t.enqueue(AttributesJob{Invitation: inv.ID})
	}
	return err
}

// SettleAttribute records one attribute told to Retool after the invitation was sent.
func (l *Ledger) SettleAttribute(ctx context.Context, id int64, name, value string, told bool, a Attempt) error {
	return l.change(ctx, func(t *tx) error {
		a.InvitationID = id
		inv, err := t.invitation(id)
		if err != nil {
			return err
		}
		if err := t.attempt(a); err != nil || !told {
			return err
		}
		inv.SentAttributes[name] = value
		_, err = t.exec(`update invitations set sent_attributes = $2, updated_at = $3 where id = $1`, id, asJSON(inv.SentAttributes), millis(t.now))
		return err
	})
}

// RecordAttempt records a call that changes no invitation.
func (l *Ledger) RecordAttempt(ctx context.Context, a Attempt) error {
	return l.change(ctx, func(t *tx) error { return t.attempt(a) })
}
