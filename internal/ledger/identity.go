package ledger

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
)

// A pass is one reading of one delivery: which events its verdicts were found to be. What a delivery says
// twice is one event, and two things it says under one identity are two.
type pass struct {
	delivery int64 // 0: asked for by hand
	seen     map[int64]bool
	// sameBody remembers which deliveries have the very bytes of this one: bodies are long, and a delivery may
	// have thousands of events.
	sameBody map[int64]bool
}

func newPass(delivery int64) *pass {
	return &pass{delivery: delivery, seen: map[int64]bool{}, sameBody: map[int64]bool{}}
}

// hasBodyOf compares the body of this pass with another's, once.
func (t *tx) hasBodyOf(p *pass, delivery int64) (bool, error) {
	same, known := p.sameBody[delivery]
	if known || delivery == 0 {
		return same, nil
	}
	n, _, err := t.id(`select count(*) from deliveries own, deliveries this
		where own.id = $1 and this.id = $2 and length(own.body) = length(this.body) and own.body = this.body`, delivery, p.delivery)
	p.sameBody[delivery] = n > 0
	return n > 0, err
}

// bodyIsGone says whether retention removed a delivery's body.
func (t *tx) bodyIsGone(delivery int64) (bool, error) {
	_, gone, err := t.id(`select id from deliveries where id = $1 and body is null`, delivery)
	return gone, err
}

// A found event is what the ledger knew of a verdict's event before.
type found struct {
	id          int64
	fingerprint string
	sameKey     bool  // it is known by the verdict's second identity
	own         bool  // the delivery of this pass brought it: a replay
	brought     bool  // the delivery of this pass brought it, first or again
	delivery    int64 // its own
}

// senderID is the identity that the ledger knows a verdict's event by: the second one where the sender gave none.
func (v Verdict) senderID() string { return cmp.Or(v.Event.ID, v.BodyKey) }

// identify finds the event that a verdict speaks of, or records it as a new one; known is nil for a new one.
//
// A sender's identity alone does not tell: unsigned, anybody who saw a delivery could send it under
// another one, and some senders give one identity to several things. So the second identity, the hash of the
// body, goes first; and an identity that comes back with other contents is kept beside the first, flagged,
// since a signature vouches for both.
func (t *tx) identify(p *pass, v Verdict) (event int64, known *found, err error) {
	event, isNew, err := t.insertEvent(p.delivery, v, v.senderID(), 0)
	if err != nil || isNew {
		return event, nil, err
	}
	if err := t.holdIdentity(v); err != nil {
		return 0, nil, err
	}
	all, err := t.candidates(p.delivery, v)
	if err != nil {
		return 0, nil, err
	}
	known, err = t.choose(p, all, v.Fingerprint)
	if err != nil {
		return 0, nil, err
	}
	if known != nil {
		return known.id, known, nil
	}
	event, err = t.insertTwin(p.delivery, v)
	return event, nil, err
}

// holdIdentity keeps other instances from adding to the events of one identity, until the transaction ends: else
// each would miss what the other adds, and add it too.
func (t *tx) holdIdentity(v Verdict) error {
	if t.lockRow == "" {
		return nil // one writer
	}
	_, _, err := t.id(`select id from events where source = $1 and event_id = $2`+t.lockRow, v.Event.Source, v.senderID())
	return err
}

// insertEvent records an event, unless it is known by one of its identities.
func (t *tx) insertEvent(delivery int64, v Verdict, eventID string, reuses int64) (id int64, isNew bool, err error) {
	return t.id(`insert into events (`+newEventColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing returning id`,
		t.eventValues(delivery, v, eventID, reuses)...)
}

const newEventColumns = `delivery_id, source, event_id, type, occurred_at, recorded_at, details, fingerprint, body_key, reuses_id_of`

func (t *tx) eventValues(delivery int64, v Verdict, eventID string, reuses int64) []any {
	e := v.Event
	return []any{orNoID(delivery), e.Source, eventID, e.Type, orNull(v.OccurredAt), millis(t.now), asJSON(e), v.Fingerprint, orNoText(v.BodyKey), orNoID(reuses)}
}

// insertTwin records an event whose identity the sender has used for another one. The name it gets is only
// ours: what it says keeps the sender's.
func (t *tx) insertTwin(delivery int64, v Verdict) (int64, error) {
	first, _, err := t.id(`select id from events where source = $1 and event_id = $2`, v.Event.Source, v.senderID())
	if err != nil {
		return 0, err
	}
	name := v.senderID() + "#" + v.Fingerprint[:min(12, len(v.Fingerprint))]
	for n, free := 1, name; ; n, free = n+1, fmt.Sprintf("%s-%d", name, n+1) {
		id, isNew, err := t.insertEvent(delivery, v, free, first)
		if err != nil || isNew {
			return id, err
		}
	}
}

// candidates are the events that a verdict may speak of, oldest first: what has its second identity, what
// has its identity, and what was given the same identity after that.
func (t *tx) candidates(delivery int64, v Verdict) ([]found, error) {
	return collect(t.ctx, t.Tx, scanFound, candidatesOf, v.Event.Source, v.senderID(), orNoText(v.BodyKey), delivery, v.Fingerprint)
}

// Where a sender gives everything one identity, only the newest hundred that were given it are looked at, and
// those that say the same: else each event would cost more than the one before.
const candidatesOf = `select e.id, e.fingerprint, coalesce(e.body_key = $3, false),
		coalesce(e.delivery_id, 0) = $4,
		coalesce(e.delivery_id, 0) = $4 or exists (select 1 from resends r where r.event_id = e.id and r.delivery_id = $4),
		coalesce(e.delivery_id, 0)
	from events e where e.id in (
		select id from events where source = $1 and body_key = $3
		union all select id from events where source = $1 and event_id = $2
		union all select id from events where reuses_id_of = (select id from events where source = $1 and event_id = $2) and fingerprint = $5
		union all select id from (
			select id from events where reuses_id_of = (select id from events where source = $1 and event_id = $2) order by id desc limit 100) newest)
	order by e.id`

func scanFound(row scanner) (f found, err error) {
	err = row.Scan(&f.id, &f.fingerprint, &f.sameKey, &f.own, &f.brought, &f.delivery)
	return f, err
}

// choose says which of the candidates a verdict speaks of, nil for none. What this delivery brought before
// goes first: the event that says the same, else one event for each verdict in turn, since the settings by
// which it is read may have changed. So may those of a resend, which its bytes betray. Last is an event of
// which nobody knows what it said.
func (t *tx) choose(p *pass, all []found, fingerprint string) (chosen *found, err error) {
	same := func(f found) bool { return f.fingerprint == fingerprint && fingerprint != "" }
	for _, is := range []func(found) bool{
		func(f found) bool { return f.brought && (f.sameKey || same(f)) },
		func(f found) bool { return f.sameKey },
		func(f found) bool { return f.brought && !p.seen[f.id] },
		same,
		func(f found) bool {
			same, failed := t.hasBodyOf(p, f.delivery)
			err = errors.Join(err, failed)
			return same && !p.seen[f.id]
		},
		func(f found) bool { return f.fingerprint == "" || fingerprint == "" },
	} {
		for i := range all {
			if is(all[i]) {
				return &all[i], err
			}
		}
	}
	return nil, err
}

// readAgain brings an event to what its delivery says today: the settings by which it is read may have
// changed. Its place among the sender's identities follows only where nothing else has it.
func (t *tx) readAgain(event int64, v Verdict) error {
	e := v.Event
	_, err := t.exec(`update events set type = $3, occurred_at = $4, details = $5, fingerprint = $6,
		event_id = case when reuses_id_of is not null or exists (select 1 from events o where o.source = $2 and o.event_id = $7) then event_id else $7 end,
		body_key = case when exists (select 1 from events o where o.source = $2 and o.body_key = $8 and o.id <> $1) then body_key else $8 end
		where id = $1`,
		event, e.Source, e.Type, orNull(v.OccurredAt), asJSON(e), v.Fingerprint, v.senderID(), orNoText(v.BodyKey))
	return err
}

// orNoID stores the identity 0 as null.
func orNoID(id int64) sql.NullInt64 { return sql.NullInt64{Int64: id, Valid: id != 0} }

// orNoText stores the empty text as null.
func orNoText(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }
