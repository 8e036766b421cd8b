package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"
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

const (
	// attendPage bounds the rows that one statement of Attend reads: a long one would keep the write-ahead log from
	// beginning anew.
	attendPage = 10_000
	// attendAfter is how long an invitation must have been left alone to count as forgotten.
	attendAfter = time.Minute
)

// Attend gives a job to every queued invitation that has none, and returns how many there were. It reads all that are
// queued and all their jobs, a page at a time, and keeps a bit for each. None is ever worked by two: the new job belongs
// to a new run.
func (l *Ledger) Attend(ctx context.Context) (n int, err error) {
	begun := l.now()
	forgotten := bitset{}
	err = l.pages(ctx, queuedPage, nil, func(row scanner) (id int64, err error) {
		err = row.Scan(&id)
		forgotten.add(id)
		return id, err
	})
	if err != nil || len(forgotten) == 0 {
		return 0, err
	}
	// The jobs come second: whoever is queued from now on is not looked for.
	err = l.pages(ctx, `select id, coalesce(`+l.grammar.invitationOf+`, 0) from river_job where id > $1 and finalized_at is null and kind = $3 order by id limit $2`,
		[]any{InviteJob{}.Kind()}, func(row scanner) (id int64, err error) {
			var invitation int64
			err = row.Scan(&id, &invitation)
			forgotten.remove(invitation)
			return id, err
		})
	if err != nil {
		return 0, err
	}
	for id := range forgotten.all() {
		attended, err := l.attendTo(ctx, id, begun.Add(-attendAfter))
		if err != nil {
			return n, err
		}
		n += attended
	}
	return n, nil
}

const queuedPage = `select id from invitations where state = 'queued' and id > $1 order by id limit $2`

// pages reads all that a query finds after an identity, $1, in pages of $2 rows.
func (l *Ledger) pages(ctx context.Context, query string, args []any, read func(scanner) (id int64, err error)) error {
	for last := int64(0); ; {
		ids, err := collect(ctx, l.read, read, query, append([]any{last, attendPage}, args...)...)
		if err != nil || len(ids) < attendPage {
			return err
		}
		last = ids[len(ids)-1]
	}
}

// attendTo queues an invitation anew, unless something became of it since.
func (l *Ledger) attendTo(ctx context.Context, id int64, since time.Time) (n int, err error) {
	err = l.change(ctx, func(t *tx) error {
		run, found, err := t.id(`update invitations set run = run + 1, next_try_at = null, updated_at = $2
			where id = $1 and state = 'queued' and updated_at <= $3 returning run`, id, millis(t.now), millis(since))
		n = 0
		if err == nil && found {
			n = 1
			t.enqueue(InviteJob{Invitation: id, Run: int(run)})
		}
		return err
	})
	return n, err
}

// A bitset holds identities, in leaves of 4096: half a kilobyte each.
type bitset map[int64]*[64]uint64

func (b bitset) add(id int64) {
	leaf := b[id>>12]
	if leaf == nil {
		leaf = new([64]uint64)
		b[id>>12] = leaf
	}
	leaf[id>>6&63] |= 1 << (id & 63)
}

func (b bitset) remove(id int64) {
	if leaf := b[id>>12]; leaf != nil {
		leaf[id>>6&63] &^= 1 << (id & 63)
	}
}

// all yields what is held, in order.
func (b bitset) all() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for _, high := range slices.Sorted(maps.Keys(b)) {
			for word, left := range b[high] {
				for ; left != 0; left &= left - 1 {
					if !yield(high<<12 | int64(word)<<6 | int64(bits.TrailingZeros64(left))) {
						return
					}
				}
			}
		}
	}
}

// GiveUp ends an invitation whose job cannot be worked, by a fault of ours, in a state, for a reason, and records the
// fault as an attempt.
func (l *Ledger) GiveUp(ctx context.Context, job Caller, state State, reason string, fault error) error {
	of := job.calls()
	return l.change(ctx, func(t *tx) error {
		n, err := t.exec(`update invitations set state = $3, reason = $4, next_try_at = null, sending_since = null, updated_at = $5
			where id = $1 and run = $2 and state = $6`, of.invitation, of.run, string(state), reason, millis(t.now), string(of.in))
		if err != nil || n == 0 {
			return err
		}
		return t.attempt(Attempt{InvitationID: of.invitation, Kind: "fault", StartedAt: t.now, Outcome: "never", Message: fault.Error()})
	})
}

// Due is what should have been done by now: the moment since when the oldest of each kind waits, zero for none.
type Due struct {
	Delivery   time.Time // accepted and undecided
	Job        time.Time // of the queues
	Invitation time.Time // queued, and its next try has come
	Pace       Pace
}

// IdleAfter is for how long the budget may go unused while an invitation is due, until people are told.
const IdleAfter = time.Minute

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
	err = l.read.QueryRowContext(ctx, l.grammar.due(), millis(l.now())).Scan(&delivery, &job, &invitation)
	if err != nil {
		return d, fmt.Errorf("measure what is due: %w", err)
	}
	d.Delivery, d.Job, d.Invitation = moment(delivery), moment(job), moment(invitation)
	d.Pace, err = l.paceNow(ctx)
	return d, err
}

func (g grammar) due() string {
	return `select
		(select d.received_at from undecided u join deliveries d on d.id = u.delivery_id where u.set_aside_at is null order by u.delivery_id limit 1),
		(` + g.oldestJob + `),
		(select coalesce(next_try_at, updated_at) from invitations` + g.byDue + `
			where state = 'queued' and coalesce(next_try_at, updated_at) <= $1 order by coalesce(next_try_at, updated_at) limit 1)`
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
	}, setAsideList, before, limit)
}

const setAsideList = `select u.delivery_id, d.source, d.received_at, u.set_aside_at, u.tries, u.error from undecided u join deliveries d on d.id = u.delivery_id
	where u.set_aside_at is not null and ($1 = 0 or u.delivery_id < $1) order by u.delivery_id desc limit $2`
