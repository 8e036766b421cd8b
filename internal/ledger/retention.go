package ledger

import (
	"context"
	"fmt"
	"time"
)

// A Retention is for how long what is done is kept; 0 is for ever.
type Retention struct {
	Bodies time.Duration // the raw bodies of decided deliveries
	Events time.Duration // skipped events, with their deliveries
}

// Tidied counts what Tidy removed.
type Tidied struct {
	Bodies, Events, Deliveries int64
	Jobs                       int64 // of River, which are done
}

// Any reports whether anything was removed.
func (n Tidied) Any() bool { return n != Tidied{} }

// Add adds what another call removed.
func (n *Tidied) Add(more Tidied) {
	n.Bodies += more.Bodies
	n.Events += more.Events
	n.Deliveries += more.Deliveries
	n.Jobs += more.Jobs
}

const (
	// tidyBatch is how many rows one transaction of Tidy looks at: on SQLite acceptances wait for it, some milliseconds.
	tidyBatch = 100
	// The ledger is the record of what was done. River keeps its own for less long, since each job is a row that it
	// would later remove by the ten thousand.
	keepDoneJobs   = 10 * time.Minute
	keepFailedJobs = 7 * 24 * time.Hour // by a fault of ours: a person may want to look
	keepSessions   = time.Hour          // after they expired
	keepDrafts     = 24 * time.Hour     // of lists to be sent
)

// Tidy removes a little of what need not be kept any longer, in several short transactions, and reports whether there
// is more of it. It goes on where the last call ended, however large the ledger is.
//
// A delivery that waits to be decided keeps its body, and so does one that was set aside, until it is decided. Only an
// event goes that was skipped, speaks for no invitation and lent its identity to no other; its delivery goes with it
// when it brought nothing else. What is gone is forgotten: sent again, it is a new event.
func (l *Ledger) Tidy(ctx context.Context, keep Retention) (n Tidied, more bool, err error) {
	for _, part := range []struct {
		what string
		keep time.Duration
		tidy func(ctx context.Context, before time.Time, n *Tidied) (more bool, err error)
	}{
		{"bodies", keep.Bodies, l.tidyBodies},
		{"bodies passed by", keep.Bodies, l.tidyKeptBodies},
		{"skipped events", keep.Events, l.tidyEvents},
		{"jobs that are done", keepDoneJobs, l.tidyJobs("completed")},
		{"jobs that were cancelled", keepDoneJobs, l.tidyJobs("cancelled")},
		{"jobs that were given up", keepFailedJobs, l.tidyJobs("discarded")},
		{"sessions", keepSessions, l.tidyRows(oldSessions)},
		{"lists that nobody sent", keepDrafts, l.tidyDrafts},
		{"answers", keepAnswers, l.tidyRows(oldAnswers)},
	} {
		if part.keep == 0 {
			continue
		}
		moreOf, err := part.tidy(ctx, l.now().Add(-part.keep), &n)
		if err != nil {
			return n, false, fmt.Errorf("remove old %s: %w", part.what, err)
		}
		more = more || moreOf
	}
	return n, more, nil
}

// A span is a piece of a table, after one identity up to another: what one transaction of Tidy looks at.
type span struct{ after, upTo int64 }

// next is the piece of old rows that follows what was dealt with; found is false when there are none. Identities grow
// with time, so that no index on the time is needed, which every acceptance would have to write. The newest row stays:
// SQLite would give its identity away again.
func (t *tx) next(kind, oldRows string, before time.Time) (s span, found bool, err error) {
	s.after, _, err = t.id(`select reached from upkeep where kind = $1`, kind)
	if err != nil {
		return s, false, err
	}
	s.upTo, _, err = t.id(lastOf(oldRows), s.after, millis(before), tidyBatch)
	return s, s.upTo > 0, err
}

func lastOf(oldRows string) string {
	return `select coalesce(max(id), 0) from (` + oldRows + `) old where at < $2`
}

func (t *tx) reached(kind string, s span) error {
	_, err := t.exec(`insert into upkeep (kind, reached) values ($1, $2) on conflict (kind) do update set reached = excluded.reached`, kind, s.upTo)
	return err
}

const (
	nextDeliveries = `select id, received_at as at from deliveries where id > $1 order by id limit $3`
	nextEvents     = `select id, recorded_at as at from events where id > $1 and id < (select max(id) from events) order by id limit $3`
)

func (l *Ledger) tidyBodies(ctx context.Context, before time.Time, n *Tidied) (more bool, err error) {
	var emptied int64
	err = l.change(ctx, func(t *tx) error {
		s, found, err := t.next("bodies", nextDeliveries, before)
		if more = found; err != nil || !found {
			return err
		}
		if err := t.hold(`select id from deliveries where id > $1 and id <= $2 order by id`, s.after, s.upTo); err != nil {
			return err
		}
		if _, err := t.exec(`insert into kept_bodies (delivery_id) select delivery_id from undecided
			where delivery_id > $1 and delivery_id <= $2 on conflict do nothing`, s.after, s.upTo); err != nil {
			return err
		}
		emptied, err = t.exec(`update deliveries set body = null where id > $1 and id <= $2 and body is not null
			and id not in (select delivery_id from undecided where delivery_id > $1 and delivery_id <= $2)`, s.after, s.upTo)
		if err != nil {
			return err
		}
		return t.reached("bodies", s)
	})
	n.Bodies += emptied
	return more, err
}

// hold keeps a replay from queuing rows that the transaction is about to empty.
func (t *tx) hold(rows string, args ...any) error {
	if t.lockRow == "" {
		return nil // one writer
	}
	_, err := collect(t.ctx, t.Tx, scanID, rows+t.lockRow, args...)
	return err
}

// tidyKeptBodies comes back for the bodies that were passed by, once their deliveries are decided.
func (l *Ledger) tidyKeptBodies(ctx context.Context, _ time.Time, n *Tidied) (more bool, err error) {
	decided, err := collect(ctx, l.read, scanID, `select delivery_id from kept_bodies k
		where not exists (select 1 from undecided u where u.delivery_id = k.delivery_id) limit $1`, tidyBatch)
	if err != nil || len(decided) == 0 {
		return false, err
	}
	var emptied int64
	err = l.change(ctx, func(t *tx) error {
		emptied = 0
		for _, id := range decided {
			if err := t.hold(`select id from deliveries where id = $1`, id); err != nil {
				return err
			}
			if _, waits, err := t.id(`select delivery_id from undecided where delivery_id = $1`, id); err != nil || waits {
				return err
			}
			if _, err := t.exec(`delete from kept_bodies where delivery_id = $1`, id); err != nil {
				return err
			}
			k, err := t.exec(`update deliveries set body = null where id = $1 and body is not null`, id)
			if emptied += k; err != nil {
				return err
			}
		}
		return nil
	})
	n.Bodies += emptied
	return len(decided) == tidyBatch, err
}

// removable are the events of a piece that may go, each with its delivery.
const removable = `select e.id, coalesce(e.delivery_id, 0) from events e where e.id > $1 and e.id <= $2
	and 'skip' = (select d.outcome from decisions d where d.event_id = e.id order by d.id desc limit 1)
	and not exists (select 1 from decisions d where d.event_id = e.id and d.invitation_id is not null)
	and not exists (select 1 from events o where o.reuses_id_of = e.id)
	and not exists (select 1 from undecided u where u.delivery_id = e.delivery_id)
	order by e.id`

func (l *Ledger) tidyEvents(ctx context.Context, before time.Time, n *Tidied) (more bool, err error) {
	var events, deliveries int64
	err = l.change(ctx, func(t *tx) error {
		events, deliveries = 0, 0 // of a run that collided
		if err := t.changesMany(); err != nil {
			return err
		}
		s, found, err := t.next("events", nextEvents, before)
		if more = found; err != nil || !found {
			return err
		}
		if err := t.hold(`select id from events where id > $1 and id <= $2 order by id`, s.after, s.upTo); err != nil {
			return err
		}
		if events, deliveries, err = t.removeEvents(s); err != nil {
			return err
		}
		return t.reached("events", s)
	})
	n.Events, n.Deliveries = n.Events+events, n.Deliveries+deliveries
	return more, err
}

// removeEvents removes the events of a piece that may go, and then the deliveries that brought nothing else.
func (t *tx) removeEvents(s span) (events, deliveries int64, err error) {
	var ids, brought []any
	if err := t.together(removable, []any{s.after, s.upTo}, func(row scanner) error {
		var event, delivery int64
		err := row.Scan(&event, &delivery)
		ids, brought = append(ids, event), append(brought, delivery)
		return err
	}); err != nil {
		return 0, 0, err
	}
	if err := t.inGroups(`select delivery_id from resends where event_id in (`, 1, ids, `)`, func(row scanner) error {
		id, err := scanID(row)
		brought = append(brought, id)
		return err
	}); err != nil {
		return 0, 0, err
	}
	for _, head := range []string{
		`delete from decisions where event_id in (`, `delete from attempts where invitation_id is null and event_id in (`,
		`delete from resends where event_id in (`, `delete from events where id in (`,
	} {
		if err := t.inGroups(head, 1, ids, `)`, nil); err != nil {
			return 0, 0, err
		}
	}
	err = t.inGroups(`delete from deliveries where id in (`, 1, brought, `) and id < (select max(id) from deliveries)
		and not exists (select 1 from events e where e.delivery_id = deliveries.id)
		and not exists (select 1 from resends r where r.delivery_id = deliveries.id)
		and not exists (select 1 from undecided u where u.delivery_id = deliveries.id)
		and not exists (select 1 from kept_bodies k where k.delivery_id = deliveries.id) returning id`, func(scanner) error {
		deliveries++
		return nil
	})
	return int64(len(ids)), deliveries, err
}

func (l *Ledger) tidyJobs(state string) func(context.Context, time.Time, *Tidied) (bool, error) {
	return func(ctx context.Context, before time.Time, n *Tidied) (bool, error) {
		var gone int64
		err := l.change(ctx, func(t *tx) (err error) {
			gone, err = t.exec(t.doneJobs, state, millis(before), tidyBatch)
			return err
		})
		n.Jobs += gone
		return gone == tidyBatch, err
	}
}

const (
	oldSessions = `delete from sessions where id in (select id from sessions where expires_at < $1 limit $2)`
	// A key whose day is over may be begun again meanwhile: then its answer is not old any more.
	oldAnswers = `delete from answers where at < $1 and key in (select key from answers where at < $1 order by at limit $2)`
)

// tidyRows removes some of the rows that a statement deletes.
func (l *Ledger) tidyRows(statement string) func(context.Context, time.Time, *Tidied) (bool, error) {
	return func(ctx context.Context, before time.Time, _ *Tidied) (bool, error) {
		var gone int64
		err := l.change(ctx, func(t *tx) (err error) {
			gone, err = t.exec(statement, millis(before), tidyBatch)
			return err
		})
		return gone == tidyBatch, err
	}
}
