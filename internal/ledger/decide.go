package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// maxDecideTries is how often a delivery may fail the decide stage before it is set aside, alone.
const maxDecideTries = 3

// maxDecideBytes bounds the bodies that one transaction of the stage holds in memory.
const maxDecideBytes = 8 << 20

// A Verdict is one event together with what was decided of it.
type Verdict struct {
	Event      access.Event
	OccurredAt time.Time // by the sender's clock, zero when it did not say
	Decision   access.Decision
	// LookUp means that the address must first be asked for: a LookUpJob is enqueued. Decision is empty, or a
	// hold that stands whatever the look-up brings.
	LookUp bool
	// Fingerprint is what the event says, hashed: it tells a resend from an identity used twice. Empty matches
	// anything.
	Fingerprint string
	// BodyKey is the event's second identity: the hash of what was signed or, in a batch, of its own item, since
	// two events with one key are one. It is empty where the sender's own identity is inside what was signed.
	BodyKey string
	// Accepted means that Retool says the person of Decision.Address came in. Decision is to skip.
	Accepted bool
	// By is the person who asked, for the audit trail; empty: none did. A revoked invitation is then queued again too.
	By   string
	Note string

	corrects bool // the address takes the place of another
}

// Deciders is how many goroutines of one process should decide at once on this store, and how many deliveries each
// should take.
func (l *Ledger) Deciders() (goroutines, batch int) { return l.grammar.deciders, l.grammar.decideBatch }

// Decide takes up to limit undecided deliveries, oldest first, and commits in one transaction everything
// that decide makes of them: events, decisions, invitations, jobs, and that they are decided. It returns how
// many it took. A delivery for which decide fails keeps the others unharmed: it is tried again, and set aside
// after three tries.
func (l *Ledger) Decide(ctx context.Context, limit int, decide func(Delivery) ([]Verdict, error)) (int, error) {
	n, culprit, err := l.decideBatch(ctx, limit, decide)
	failed := func() bool { return err != nil && !errors.Is(err, ErrUnwritable) && ctx.Err() == nil }
	if failed() && culprit == 0 && n > 1 { // together they cannot be recorded: one alone tells more
		n, culprit, err = l.decideBatch(ctx, 1, decide)
	}
	if !failed() || culprit == 0 {
		return n, err
	}
	// Everything was rolled back. Blame the one delivery; the next call goes on without it.
	l.log.Error("a delivery could not be decided", "delivery", culprit, "error", err)
	return 1, l.blame(ctx, culprit, err)
}

// decideBatch decides a batch; culprit is the one delivery that failed it, if it is known.
func (l *Ledger) decideBatch(ctx context.Context, limit int, decide func(Delivery) ([]Verdict, error)) (n int, culprit int64, err error) {
	err = l.change(ctx, func(t *tx) error {
		n, culprit = 0, 0 // of a run that collided
		if err := t.changesMany(); err != nil {
			return err
		}
		batch, err := t.undecided(limit)
		if err != nil {
			return err
		}
		n = len(batch)
		var all []*statement
		for _, d := range batch {
			verdicts, err := decide(d)
			if err != nil {
				culprit = d.ID
				return fmt.Errorf("decide delivery %d: %w", d.ID, err)
			}
			p := newPass(d.ID)
			for _, v := range verdicts {
				all = append(all, &statement{pass: p, verdict: v})
			}
		}
		if n == 1 {
			culprit = batch[0].ID
		}
		if err := t.recordAll(all); err != nil {
			return fmt.Errorf("record events: %w", err)
		}
		return t.decided(batch)
	})
	return n, culprit, err
}

func (t *tx) decided(batch []Delivery) error {
	values := make([]any, len(batch))
	for i, d := range batch {
		values[i] = d.ID
	}
	return t.inGroups(`delete from undecided where delivery_id in (`, 1, values, `)`, nil)
}

// undecided reads the deliveries that wait, oldest first. Those that failed before come when there are no others.
func (t *tx) undecided(limit int) ([]Delivery, error) {
	batch, err := t.undecidedWhere(neverTried, limit)
	if err != nil || len(batch) > 0 {
		return batch, err
	}
	return t.undecidedWhere(triedBefore, limit)
}

const (
	undecidedBodies = `select d.id, d.source, d.received_at, d.verified_by, d.request, d.body from undecided u join deliveries d on d.id = u.delivery_id where `
	neverTried      = `u.tries = 0 and u.set_aside_at is null order by u.delivery_id`
	triedBefore     = `u.tries > 0 and u.set_aside_at is null order by u.tries, u.delivery_id`
)

func (t *tx) undecidedWhere(where string, limit int) ([]Delivery, error) {
	rows, err := t.QueryContext(t.ctx, undecidedBodies+where+` limit $1`+t.skipLocked, limit)
	if err != nil {
		return nil, fmt.Errorf("read undecided deliveries: %w", err)
	}
	defer rows.Close()
	var batch []Delivery
	bytes := 0
	for rows.Next() {
		var d Delivery
		var at int64
		if err := rows.Scan(&d.ID, &d.Source, &at, &d.VerifiedBy, &d.Request, &d.Body); err != nil {
			return nil, fmt.Errorf("read an undecided delivery: %w", err)
		}
		d.ReceivedAt = time.UnixMilli(at).UTC()
		batch = append(batch, d)
		if bytes += len(d.Body); bytes > maxDecideBytes {
			break
		}
	}
	return batch, rows.Err()
}

// blame counts a failed try against one delivery and sets it aside after the last.
func (l *Ledger) blame(ctx context.Context, delivery int64, cause error) error {
	return l.change(ctx, func(t *tx) error {
		_, err := t.exec(`update undecided set tries = tries + 1, error = $2,
			set_aside_at = case when tries + 1 >= $3 then cast($4 as bigint) end where delivery_id = $1`,
			delivery, cause.Error(), maxDecideTries, millis(t.now))
		return err
	})
}

// Replay marks a delivery undecided again, so that it is decided under today's rules. It is ErrBodyGone where retention
// removed what would be read.
func (l *Ledger) Replay(ctx context.Context, by string, delivery int64) error {
	return l.change(ctx, func(t *tx) error {
		hasBody, found, err := t.id(`select case when body is null then 0 else 1 end from deliveries where id = $1`+t.lockRow, delivery)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("delivery %d: %w", delivery, ErrNotFound)
		case hasBody == 0:
			return fmt.Errorf("delivery %d: %w; ask its sender to send the event again", delivery, ErrBodyGone)
		}
		_, err = t.exec(`insert into undecided (delivery_id) values ($1)
			on conflict (delivery_id) do update set tries = 0, set_aside_at = null, error = ''`, delivery)
		if err != nil {
			return err
		}
		return t.audit(Entry{Actor: by, What: DidReplay, Subject: fmt.Sprintf("delivery %d", delivery), After: "undecided"})
	})
}

// Record records one event that did not come by a webhook, such as an invitation asked for by hand, with
// its decision, and returns the invitation: zero when the decision was to skip.
func (l *Ledger) Record(ctx context.Context, v Verdict) (invitation int64, err error) {
	ids, err := l.RecordMany(ctx, []Verdict{v})
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// RecordMany is Record for many at once, in one commit.
func (l *Ledger) RecordMany(ctx context.Context, all []Verdict) (invitations []int64, err error) {
	err = l.change(ctx, func(t *tx) error {
		if len(all) > 1 {
			if err := t.changesMany(); err != nil {
				return err
			}
		}
		invitations = make([]int64, len(all))
		for i, v := range all {
			if invitations[i], err = t.recordByHand(v); err != nil {
				return err
			}
		}
		return nil
	})
	return invitations, err
}

// recordByHand records an event, and what became of its address in the audit trail where a person asked. What a person
// asked for already, by the same identity, is the invitation that it led to: a call that is repeated does nothing.
func (t *tx) recordByHand(v Verdict) (invitation int64, err error) {
	if invitation, err = t.askedBefore(v); err != nil || invitation != 0 {
		return invitation, err
	}
	before, err := t.stateOf(v.Decision.Address)
	if err != nil {
		return 0, err
	}
	invitation, err = t.record(newPass(0), v)
	if err != nil || v.By == "" {
		return invitation, err
	}
	after := "not invited: " + string(v.Decision.Reason)
	if invitation != 0 {
		if after, err = t.stateOf(v.Decision.Address); err != nil {
			return 0, err
		}
	}
	return invitation, t.audit(Entry{Actor: v.By, What: DidInvite, InvitationID: invitation, Before: before, After: after})
}

// askedBefore is the invitation that a person's request led to when it was made before, 0 where it led to none.
func (t *tx) askedBefore(v Verdict) (invitation int64, err error) {
	if v.By == "" || v.Event.ID == "" {
		return 0, nil
	}
	invitation, _, err = t.id(`select case d.outcome when 'skip' then 0 else coalesce(d.invitation_id, 0) end
		from decisions d where d.id = (select max(n.id) from decisions n join events e on e.id = n.event_id where e.source = $1 and e.event_id = $2)`,
		v.Event.Source, v.Event.ID)
	return invitation, err
}

// stateOf is the state of an address's invitation, empty where it has none.
func (t *tx) stateOf(address access.Address) (state string, err error) {
	err = t.row(`select state from invitations where email = $1`, address.Full()).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return state, err
}

// record writes an event and what was decided of it; an event known already is a resend, or a replay of
// its own delivery. What this delivery said before in the same pass is not recorded again.
func (t *tx) record(p *pass, v Verdict) (invitation int64, err error) {
	event, known, err := t.identify(p, v)
	if err != nil || p.seen[event] {
		return 0, err
	}
	p.seen[event] = true
	if known != nil && known.own {
		return t.decideAgain(event, v)
	}
	if known != nil {
		return t.cameAgain(p, known, v)
	}
	return t.first(event, v)
}

// first makes the first decision of an event, or asks for its address.
func (t *tx) first(event int64, v Verdict) (invitation int64, err error) {
	if v.LookUp {
		t.lookUp(event, 0, v)
		return 0, nil
	}
	return t.decision(event, v)
}

// cameAgain records a resend. Where the event was skipped and would not be today, it is decided again: to mend
// the settings and press "resend" at the sender must bring the customer in, and so must the same body sent
// once more under the topic that counts. One address has one invitation all the same.
func (t *tx) cameAgain(p *pass, known *found, v Verdict) (invitation int64, err error) {
	invitation, err = t.resend(p, known)
	if err != nil || !v.LookUp && v.Decision.Outcome == access.Skip {
		return invitation, err
	}
	skipped, _, err := t.id(`select case outcome when 'skip' then 1 else 0 end from decisions where event_id = $1 order by id desc limit 1`, known.id)
	if err != nil || skipped == 0 {
		return invitation, err
	}
	return t.decideAgain(known.id, v)
}

// decisions counts what was decided of an event.
func (t *tx) decisions(event int64) (n int64, err error) {
	n, _, err = t.id(`select count(*) from decisions where event_id = $1`, event)
	return n, err
}

func (t *tx) decision(event int64, v Verdict) (invitation int64, err error) {
	switch {
	case v.Decision.Outcome != access.Skip:
		invitation, err = t.promise(v)
	case v.Accepted:
		invitation, err = t.cameIn(v.Decision.Address)
	}
	if err != nil {
		return 0, err
	}
	return invitation, t.insertDecisions([]*statement{{verdict: v, event: event, invitation: invitation}})
}

// resend notes that a known event came again. The sender's resend of an event whose invitation failed puts
// the invitation back to work; anything else changes nothing.
func (t *tx) resend(p *pass, known *found) (invitation int64, err error) {
	event := known.id
	same, err := t.hasBodyOf(p, known.delivery)
	if err == nil && !same {
		same, err = t.bodyIsGone(known.delivery) // then nobody can say that it was another
	}
	if err != nil {
		return 0, err
	}
	if p.delivery != 0 && known.delivery != 0 {
		if _, err := t.exec(`insert into resends (event_id, delivery_id, received_at, same_body) values ($1, $2, $3, $4) on conflict do nothing`,
			event, p.delivery, millis(t.now), flag(same)); err != nil {
			return 0, err
		}
	}
	// The newest decision holds: one to skip, such as after a replay, speaks for no invitation.
	invitation, _, err = t.id(`select case outcome when 'skip' then 0 else coalesce(invitation_id, 0) end
		from decisions where event_id = $1 order by id desc limit 1`, event)
	if err != nil || invitation == 0 {
		return 0, err
	}
	inv, err := t.follow(invitation, Verdict{})
	if err != nil || inv.State != Failed {
		return inv.ID, err
	}
	return inv.ID, t.queue(&inv, "its event was sent again")
}

// decideAgain adds today's decision to an event; the earlier ones stay as its history. Where the event waits
// for a look-up again, the address that an earlier one found is gone until then.
func (t *tx) decideAgain(event int64, v Verdict) (int64, error) {
	if err := t.readAgain(event, v); err != nil {
		return 0, err
	}
	if v.LookUp {
		decided, err := t.decisions(event)
		if err == nil {
			t.lookUp(event, decided, v)
		}
		return 0, err
	}
	return t.decision(event, v)
}
