package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// TakeBack hands out again the jobs of a queue that have been in hand for longer than limit, and returns how many: on
// Postgres, where their instance is dead. On SQLite TakeOver does, at the start.
func (l *Ledger) TakeBack(ctx context.Context, queue string, limit time.Duration) (n int64, err error) {
	if l.grammar.takeBack == "" {
		return 0, nil
	}
	err = l.change(ctx, func(t *tx) error {
		n, err = t.exec(l.grammar.takeBack, queue, limit.Seconds())
		return err
	})
	return n, err
}

// maxAttended bounds the invitations that get a job in one transaction.
const maxAttended = 500

// Attend gives a job to every queued invitation that has none, and returns how many there were. It reads all that are
// queued. None is ever worked by two: the new job belongs to a new run.
func (l *Ledger) Attend(ctx context.Context) (n int, err error) {
	for {
		ids, err := collect(ctx, l.read, scanID, `select id from invitations where state = 'queued'
			and id not in (select `+l.grammar.invitationOf+` from river_job where kind = $1 and finalized_at is null) limit $2`,
			InviteJob{}.Kind(), maxAttended)
		if err != nil || len(ids) == 0 {
			return n, err
		}
		for _, id := range ids {
			if err := l.attendTo(ctx, id); err != nil {
				return n, err
			}
			n++
		}
	}
}

func (l *Ledger) attendTo(ctx context.Context, id int64) error {
	return l.change(ctx, func(t *tx) error {
		run, found, err := t.id(`update invitations set run = run + 1, next_try_at = null, updated_at = $2 where id = $1 and state = 'queued' returning run`,
			id, millis(t.now))
		if err == nil && found {
			t.enqueue(InviteJob{Invitation: id, Run: int(run)})
		}
		return err
	})
}

// GiveUp fails an invitation whose job cannot be worked, by a fault of ours, and records the fault as an attempt.
func (l *Ledger) GiveUp(ctx context.Context, job InviteJob, fault error) error {
	return l.change(ctx, func(t *tx) error {
		n, err := t.exec(`update invitations set state = $3, reason = $4, next_try_at = null, sending_since = null, updated_at = $5
			where id = $1 and run = $2 and state = 'queued'`, job.Invitation, job.Run, string(Failed), fault.Error(), millis(t.now))
		if err != nil || n == 0 {
			return err
		}
		return t.attempt(Attempt{InvitationID: job.Invitation, Kind: "fault", StartedAt: t.now, Outcome: "never", Message: fault.Error()})
	})
}

// Due is what should have been done by now: the moment since when the oldest of each kind waits, zero for none.
type Due struct {
	Delivery   time.Time // accepted and undecided
	Job        time.Time // of the queues
	Invitation time.Time // queued, and its next try has come
	Pace       Pace
}

// Idle is for how long the budget has gone unused although an invitation was due.
func (d Due) Idle(now time.Time) time.Duration {
	if d.Invitation.IsZero() || d.Pace.StoppedReason != "" {
		return 0
	}
	since := d.Invitation
	for _, other := range []time.Time{d.Pace.NextAt, d.Pace.NotBefore} {
		if other.After(since) {
			since = other
		}
	}
	return now.Sub(since)
}

// Due measures what waits. It reads by indices, however much that is.
func (l *Ledger) Due(ctx context.Context) (d Due, err error) {
	var delivery, job, invitation sql.NullInt64
	err = l.read.QueryRowContext(ctx, `select
		(select d.received_at from undecided u join deliveries d on d.id = u.delivery_id where u.set_aside_at is null order by u.delivery_id limit 1),
		(`+l.grammar.oldestJob+`),
		(select coalesce(next_try_at, updated_at) from invitations
			where state = 'queued' and coalesce(next_try_at, updated_at) <= $1 order by coalesce(next_try_at, updated_at) limit 1)`,
		millis(l.now())).Scan(&delivery, &job, &invitation)
	if err != nil {
		return d, fmt.Errorf("measure what is due: %w", err)
	}
	d.Delivery, d.Job, d.Invitation = moment(delivery), moment(job), moment(invitation)
	d.Pace, err = l.paceNow(ctx)
	return d, err
}

func (l *Ledger) paceNow(ctx context.Context) (Pace, error) {
	return scanPace(l.read.QueryRowContext(ctx, `select next_at, not_before, stopped_reason, stopped_at, worked_at from pace where id = 1`))
}

// A SetAside is a delivery that could not be decided, and why.
type SetAside struct {
	Delivery   int64
	Source     string
	ReceivedAt time.Time
	At         time.Time
	Tries      int
	Error      string
}

// SetAside lists the deliveries that were set aside, newest first, from before a delivery on; 0 for the newest.
func (l *Ledger) SetAside(ctx context.Context, before int64, limit int) ([]SetAside, error) {
	return collect(ctx, l.read, func(row scanner) (s SetAside, err error) {
		var received, at sql.NullInt64
		err = row.Scan(&s.Delivery, &s.Source, &received, &at, &s.Tries, &s.Error)
		s.ReceivedAt, s.At = moment(received), moment(at)
		return s, err
	}, `select u.delivery_id, d.source, d.received_at, u.set_aside_at, u.tries, u.error from undecided u join deliveries d on d.id = u.delivery_id
		where u.set_aside_at is not null and ($1 = 0 or u.delivery_id < $1) order by u.delivery_id desc limit $2`, before, limit)
}
