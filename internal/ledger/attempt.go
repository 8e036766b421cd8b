package ledger

import (
	"context"
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
	Kind         string // "invite", "look", "revoke", "attributes", "customer", "fault"
	StartedAt    time.Time
	Duration     time.Duration
	Transport    string // "v2", "bulk"; of a look-up the provider: "hubspot", "paddle", "stripe"
	Status       int    // HTTP, 0 when no answer came
	Outcome      string // "sent", "present", "found", "not found", "claimed", "deleted", "later", "never", "stop"
	Message      string // the other side's own words, redacted
	RetoolID     int64
}

const newAttemptColumns = `invitation_id, event_id, kind, started_at, duration_ms, transport, status, outcome, message, retool_id`

func (a Attempt) values() []any {
	return []any{orNoID(a.InvitationID), orNoID(a.EventID), a.Kind, millis(a.StartedAt), a.Duration.Milliseconds(),
		a.Transport, a.Status, a.Outcome, a.Message, orNoID(a.RetoolID)}
}

func (t *tx) attempt(a Attempt) error {
	_, err := t.exec(`insert into attempts (`+newAttemptColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, a.values()...)
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
