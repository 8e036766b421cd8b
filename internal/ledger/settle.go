package ledger

import (
	"cmp"
	"context"
	"time"
)

// A Settlement is what an attempt changed.
type Settlement struct {
	Attempt   Attempt
	State     State
	Reason    string
	NextTryAt time.Time // zero: none
	CountTry  bool      // a 429 and a stop count nothing
	Unsure    bool      // what Retool has of it is not known: the call may have been carried out
	// After sending: what Retool now knows.
	RetoolID       int64
	ExpiresAt      time.Time
	ToldGroups     []int64
	ToldAttributes map[string]string
	// Still means that it was sent before and is still: of what Retool knows, nothing is new but ExpiresAt, if set.
	Still bool
	// Known means that RetoolID is the invite that Retool has of one that is not sent now; 0: none that can be taken away.
	Known bool
	// Taken means that nothing of it is left at Retool that has to be taken away.
	Taken bool
	// AcceptedAt is when the person came in, of one that is accepted; zero: now.
	AcceptedAt time.Time
	// SendAgain puts one that is expired back to work at once, for this reason, which is counted.
	SendAgain string
	// What the attempt says about all sending.
	Pace PaceChange
}

// A settling is one attempt that is being recorded.
type settling struct {
	inv        Invitation
	settlement Settlement
	stoppedNow bool
}

// Settle records an attempt and the invitation's new state in one commit, which it shares with other calls that run at
// the same time. stoppedNow is true when this attempt was the one that stopped all sending.
func (l *Ledger) Settle(ctx context.Context, inv Invitation, s Settlement) (stoppedNow bool, err error) {
	s.Attempt.InvitationID = inv.ID
	one := &settling{inv: inv, settlement: s}
	if err := l.settler.do(ctx, one); err != nil {
		return false, err
	}
	return one.stoppedNow, nil
}

func (l *Ledger) settleAll(all []*settling) error {
	ctx, cancel := context.WithTimeout(context.Background(), changeFor)
	defer cancel()
	return l.change(ctx, func(t *tx) error {
		for len(all) > 0 {
			n := distinct(all)
			if err := t.settle(all[:n]); err != nil {
				return err
			}
			all = all[n:]
		}
		return nil
	})
}

// distinct counts the settlings up to the first of an invitation that has one already.
func distinct(all []*settling) int {
	seen := map[int64]bool{}
	for n, one := range all {
		if seen[one.inv.ID] {
			return n
		}
		seen[one.inv.ID] = true
	}
	return len(all)
}

// settle records attempts of as many invitations. Always the invitations before the pace: transactions that take them
// in one order wait, and never collide.
func (t *tx) settle(all []*settling) error {
	ids := make([]int64, len(all))
	for i, one := range all {
		ids[i] = one.inv.ID
	}
	invitations, err := t.invitations(ids)
	if err != nil {
		return err
	}
	if err := t.attempts(all); err != nil {
		return err
	}
	if err := t.changePaces(all); err != nil {
		return err
	}
	if err := t.newStates(all); err != nil {
		return err
	}
	if err := t.whatWasSent(all, invitations); err != nil {
		return err
	}
	for _, one := range all {
		if err := t.besides(one, invitations[one.inv.ID]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) attempts(all []*settling) error {
	var values []any
	for _, one := range all {
		values = append(values, one.settlement.Attempt.values()...)
	}
	return t.inGroups(`insert into attempts (`+newAttemptColumns+`) values `, 10, values, ``, nil)
}

// changePaces applies what the attempts say about all sending, in their order. What says the same as the one before
// it says nothing more.
func (t *tx) changePaces(all []*settling) (err error) {
	var last PaceChange
	for _, one := range all {
		if one.settlement.Pace == last {
			continue
		}
		last = one.settlement.Pace
		if one.stoppedNow, err = t.changePace(last); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) newStates(all []*settling) error {
	var values []any
	for _, one := range all {
		s, tries := one.settlement, 0
		if s.CountTry {
			tries = 1
		}
		values = append(values, one.inv.ID, one.inv.Run, string(s.State), s.Reason, tries, orNull(s.NextTryAt), flag(s.Unsure), millis(t.now))
	}
	return t.updateMany(`update invitations set state = v.column3, reason = v.column4, tries = tries + v.column5, next_try_at = v.column6,
		unsure = v.column7, sending_since = null, updated_at = v.column8`, ` where invitations.id = v.column1 and invitations.run = v.column2`,
		[]string{"bigint", "bigint", "text", "text", "bigint", "bigint", "bigint", "bigint"}, values)
}

// whatWasSent keeps what Retool was told, and has it told what events added while the call was under way.
func (t *tx) whatWasSent(all []*settling, invitations map[int64]*Invitation) error {
	var values []any
	for _, one := range all {
		s, inv := one.settlement, invitations[one.inv.ID]
		if !s.tells() || inv == nil {
			continue
		}
		owed := inv.Resend && inv.Run != one.inv.Run // a later run may want this very invite taken away
		values = append(values, inv.ID, orNoID(s.RetoolID), orNull(s.ExpiresAt), asJSON(orEmpty(s.ToldGroups)), asJSON(orEmptyMap(s.ToldAttributes)), millis(t.now), flag(owed))
		if inv.SentAttributes = s.ToldAttributes; s.State == Sent && s.RetoolID != 0 && len(inv.LateAttributes()) > 0 {
			t.enqueue(AttributesJob{Invitation: inv.ID})
		}
	}
	return t.updateMany(`update invitations set retool_id = v.column2, expires_at = v.column3, sent_groups = v.column4, sent_attributes = v.column5,
		sent_at = v.column6, resend = v.column7`, ` where invitations.id = v.column1`, []string{"bigint", "bigint", "bigint", "text", "text", "bigint", "bigint"}, values)
}

// tells says whether an attempt found or left an invite at Retool that the ledger did not know.
func (s Settlement) tells() bool {
	return s.State == Sent && !s.Still || s.State == Accepted && s.ToldAttributes != nil
}

// besides records what few attempts bring. One of an older run changes nothing, but its call is over.
func (t *tx) besides(one *settling, inv *Invitation) (err error) {
	s, id := one.settlement, one.inv.ID
	switch {
	case inv == nil:
		return nil
	case inv.Run != one.inv.Run:
		_, err = t.exec(`update invitations set sending_since = null where id = $1 and sending_since = $2`, id, orNull(one.inv.SendingSince))
		return err
	case s.State == Accepted:
		if _, err = t.exec(`update invitations set accepted_at = $2, resend = 0 where id = $1`, id, millis(cmp.Or(s.AcceptedAt, t.now))); err != nil {
			return err
		}
	}
	if s.Still && !s.ExpiresAt.IsZero() {
		if _, err := t.exec(`update invitations set expires_at = $2 where id = $1`, id, millis(s.ExpiresAt)); err != nil {
			return err
		}
	}
	if s.Known || s.Taken {
		_, err = t.exec(`update invitations set retool_id = case when $2 = 1 then $3 else retool_id end, resend = case when $4 = 1 then 0 else resend end where id = $1`,
			id, flag(s.Known), orNoID(s.RetoolID), flag(s.Taken))
	}
	if err == nil && s.SendAgain != "" {
		err = t.sendAgain(inv, s.SendAgain)
	}
	return err
}

func (t *tx) sendAgain(inv *Invitation, reason string) error {
	if _, err := t.exec(`update invitations set resent = resent + 1 where id = $1`, inv.ID); err != nil {
		return err
	}
	return t.queue(inv, reason)
}
