package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A Slot is the answer to a worker that wants to call Retool.
type Slot struct {
	// Granted means: call now; the invitation is marked, so that nobody else calls for it meanwhile.
	Granted bool
	// Void means: there is nothing to do; the invitation left the state or run of this caller.
	Void bool
	// Wait is how long to wait before asking again, when not granted.
	Wait time.Duration
	// Stopped is why sending is stopped, when it is.
	Stopped string
	// WorkedAt is when Retool last took a call, of whichever invitation.
	WorkedAt time.Time
	// Invitation is as it stood when the slot was granted, with the mark of this call.
	Invitation Invitation
}

// A slotAsked is one caller that asks for a slot.
type slotAsked struct {
	call
	interval time.Duration
	slot     Slot
	err      error // of this one alone
}

// TakeSlot asks the shared pace for the right to make one call to Retool for an invitation. The call is marked in the
// same commit, so that a crash in the middle of it is seen afterwards, and no two calls for one invitation overlap.
// Those who ask at the same time share one commit.
func (l *Ledger) TakeSlot(ctx context.Context, caller Caller, interval time.Duration) (Slot, error) {
	asked := &slotAsked{call: caller.calls(), interval: interval}
	if err := l.slots.do(ctx, asked); err != nil {
		return Slot{}, err
	}
	return asked.slot, asked.err
}

// callRecheck is when to ask again whether another call for the invitation is over: it nearly always is, unless its
// process died.
const callRecheck = 2 * time.Second

// changeFor bounds one shared commit of slots or settlements: a server that hangs must not keep workers for ever.
const changeFor = 5 * time.Second

func (l *Ledger) takeSlots(all []*slotAsked) error {
	ctx, cancel := context.WithTimeout(context.Background(), changeFor)
	defer cancel()
	return l.change(ctx, func(t *tx) error { return t.takeSlots(all, l.callLimit) })
}

func (t *tx) takeSlots(all []*slotAsked, callLimit time.Duration) error {
	ids := make([]int64, len(all))
	for i, asked := range all {
		ids[i] = asked.invitation
	}
	invitations, err := t.invitations(ids)
	if err != nil {
		return err
	}
	var ready []*slotAsked
	for _, asked := range all {
		inv := invitations[asked.invitation]
		if asked.err = nil; inv == nil {
			asked.err = fmt.Errorf("invitation %d: %w", asked.invitation, ErrNotFound)
			continue
		}
		if asked.slot = asked.readiness(inv, t.now, callLimit); !asked.slot.Void && asked.slot.Wait == 0 {
			ready = append(ready, asked)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return t.grant(ready, invitations, callLimit)
}

// readiness says whether there is nothing to call for, or a call that may still be under way must be waited for.
func (c call) readiness(inv *Invitation, now time.Time, callLimit time.Duration) Slot {
	switch {
	case inv.State != c.in || inv.Run != c.run || c.in == Revoked && !inv.Resend:
		return Slot{Void: true}
	case inv.sendingNow(now, callLimit):
		return Slot{Wait: min(callLimit-now.Sub(inv.SendingSince), callRecheck)}
	default:
		return Slot{}
	}
}

// grant hands out the slots that the pace has, in the order in which they were asked for, and marks the calls.
func (t *tx) grant(ready []*slotAsked, invitations map[int64]*Invitation, callLimit time.Duration) error {
	p, err := t.pace()
	if err != nil {
		return err
	}
	before := p
	var marks []any
	for _, asked := range ready {
		inv := invitations[asked.invitation]
		if inv.sendingNow(t.now, callLimit) { // another caller of this very batch
			asked.slot = asked.readiness(inv, t.now, callLimit)
			continue
		}
		if asked.in == Sent && p.StoppedReason != "" { // a question is no probe
			asked.slot = Slot{Wait: probeEvery, Stopped: p.StoppedReason}
			continue
		}
		if asked.slot = p.take(t.now, asked.interval); !asked.slot.Granted {
			continue
		}
		if !inv.SendingSince.IsZero() {
			inv.Unsure = true // the process that made that call is gone
		}
		inv.SendingSince = t.now
		asked.slot.Invitation = *inv
		marks = append(marks, inv.ID, millis(t.now), flag(inv.Unsure))
	}
	if p != before {
		if err := t.keepPace(p); err != nil {
			return err
		}
	}
	return t.updateMany(`update invitations set sending_since = v.column2, unsure = v.column3`, ` where invitations.id = v.column1`,
		[]string{"bigint", "bigint", "bigint"}, marks)
}

// invitations reads invitations that the transaction may change, each once.
func (t *tx) invitations(ids []int64) (map[int64]*Invitation, error) {
	slices.Sort(ids) // all transactions lock in one order
	ids = slices.Compact(ids)
	values := make([]any, len(ids))
	for i, id := range ids {
		values[i] = id
	}
	read := make(map[int64]*Invitation, len(ids))
	err := t.inGroups(`select `+invitationColumns+` from invitations where id in (`, 1, values, `) order by id`+t.lockRow, func(row scanner) error {
		inv, err := scanInvitation(row)
		read[inv.ID] = &inv
		return err
	})
	return read, err
}

// TakePace asks the shared pace for one call that is not an invitation's.
func (l *Ledger) TakePace(ctx context.Context, interval time.Duration) (slot Slot, err error) {
	err = l.change(ctx, func(t *tx) error {
		p, err := t.pace()
		if err != nil {
			return err
		}
		if slot = p.take(t.now, interval); !slot.Granted {
			return nil
		}
		return t.keepPace(p)
	})
	return slot, err
}
