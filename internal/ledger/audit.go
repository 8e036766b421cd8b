package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// An Entry is one line of the audit trail: what a person did. The trail is only ever added to.
type Entry struct {
	ID           int64
	At           time.Time
	Actor        string // who, such as "admin_token", "token zapier", "command line"
	What         string // one of the Did constants
	InvitationID int64  // 0: it was about something else
	Subject      string // what else it was about, such as "delivery 7"
	Before       string
	After        string
}

// What people do. They are stored in the ledger: never change one.
const (
	DidInvite      = "invite"
	DidApprove     = "approve"
	DidRetry       = "retry"
	DidRevoke      = "revoke"
	DidCorrect     = "correct"
	DidReplay      = "replay"
	DidImport      = "import"
	DidMakeToken   = "make token"
	DidRevokeToken = "revoke token"
	DidTest        = "send test event"
)

// audit records in the transaction of the change itself.
func (t *tx) audit(e Entry) error {
	_, err := t.exec(`insert into audit (at, actor, what, invitation_id, subject, before, after) values ($1, $2, $3, $4, $5, $6, $7)`,
		millis(t.now), e.Actor, e.What, orNoID(e.InvitationID), e.Subject, e.Before, e.After)
	if err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	return nil
}

// Note records what a person did that changes nothing else in the ledger.
func (l *Ledger) Note(ctx context.Context, e Entry) error {
	return l.change(ctx, func(t *tx) error { return t.audit(e) })
}

// An AuditFilter narrows the audit trail. The zero value takes everything.
type AuditFilter struct {
	Invitation int64
	Actor      string
	Before     int64 // identities below this one: the cursor
	Limit      int   // 0: no limit
}

// Audit lists what people did, newest first.
func (l *Ledger) Audit(ctx context.Context, f AuditFilter) ([]Entry, error) {
	where := conditions{}
	where.add("invitation_id = ", f.Invitation, f.Invitation > 0)
	where.add("actor = ", f.Actor, f.Actor != "")
	where.add("id < ", f.Before, f.Before > 0)
	return collect(ctx, l.read, scanEntry, `select id, at, actor, what, coalesce(invitation_id, 0), subject, before, after from audit`+
		where.text+` order by id desc`+limited(f.Limit), where.args...)
}

func scanEntry(row scanner) (Entry, error) {
	var e Entry
	var at sql.NullInt64
	err := row.Scan(&e.ID, &at, &e.Actor, &e.What, &e.InvitationID, &e.Subject, &e.Before, &e.After)
	e.At = moment(at)
	return e, err
}
