package ledger

import "context"

// Expiring lists invitations whose links died unused, as far as we know, and about which Retool may be asked now:
// oldest first.
func (l *Ledger) Expiring(ctx context.Context, limit int) ([]Invitation, error) {
	return collect(ctx, l.read, scanInvitation, l.grammar.expiring(), millis(l.now()), limit)
}

func (g grammar) expiring() string {
	return `select ` + invitationColumns + ` from invitations` + g.byExpiry + `
		where state = 'sent' and expires_at <= $1 and (next_try_at is null or next_try_at <= $1) order by expires_at limit $2`
}
