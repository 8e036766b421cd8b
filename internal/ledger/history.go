package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Past is one delivery as the ledger has it, or one event that came by none, with what was decided of it.
type Past struct {
	Delivery Delivery // its ID is 0 for an event that came by none: a person asked
	BodyGone bool     // retention removed it
	Waits    bool     // it is still to be decided, or again
	SetAside string   // why it was set aside, empty where it was not
	Events   []PastEvent
	Resent   []PastEvent // events of other deliveries that this one brought again: only how they are known
}

// A PastEvent is one event, the decision that holds, and the invitation it led to.
type PastEvent struct {
	Event
	Fingerprint string
	BodyKey     string
	LookedUp    bool // its sender was asked for the address
	// Invitation is of the decision that holds, 0 for none.
	Invitation int64
	State      State
	Groups     []int64
	Attributes map[string]string
	// Newest says that nothing was decided for the invitation after this.
	Newest bool
}

// Decided is the decision that holds; false while there is none.
func (e PastEvent) Decided() (Decision, bool) {
	if len(e.Decisions) == 0 {
		return Decision{}, false
	}
	return e.Decisions[len(e.Decisions)-1], true
}

const (
	// A page of history is small, so that no statement lasts: a long one would keep the write-ahead log from beginning
	// anew, and acceptances with it.
	historyPage  = 200
	historyBytes = 8 << 20
	// historySpan is how many identities one look for events without a delivery goes through.
	historySpan = 5000
	// restFor is how many times as long as its last page a reader of history rests, while acceptances press.
	restFor = 4
)

// History reads what the ledger was told since a moment and what was decided of it, newest first, a page at a time:
// first the deliveries, then the events that came by none. What comes in meanwhile is not in it. It only reads, and goes
// slowly where acceptances press.
func (l *Ledger) History(ctx context.Context, since time.Time, report Progress, each func([]Past) error) error {
	deliveries, err := l.spanSince(ctx, firstDelivery, since)
	if err != nil {
		return err
	}
	events, err := l.spanSince(ctx, firstEvent, since)
	if err != nil {
		return err
	}
	total := deliveries.upTo - deliveries.after
	for s := deliveries; s.upTo > s.after; {
		report("reading deliveries", deliveries.upTo-s.upTo, total)
		begun := time.Now()
		page, err := l.historyOf(ctx, s)
		if err != nil {
			return fmt.Errorf("read deliveries: %w", err)
		}
		if len(page) == 0 {
			break
		}
		s.upTo = page[len(page)-1].Delivery.ID - 1
		if err := eachSince(page, since, each); err != nil {
			return err
		}
		l.rest(ctx, time.Since(begun))
	}
	total = events.upTo - events.after
	for s := events; s.upTo > s.after; s.upTo -= historySpan {
		report("reading what was asked for by hand", events.upTo-s.upTo, total)
		page, err := l.historyByHand(ctx, span{max(s.after, s.upTo-historySpan), s.upTo})
		if err != nil {
			return fmt.Errorf("read what was asked for by hand: %w", err)
		}
		if err := eachSince(page, since, each); err != nil {
			return err
		}
	}
	return nil
}

// rest lets acceptances go first.
func (l *Ledger) rest(ctx context.Context, took time.Duration) {
	if l.acceptor == nil || !l.Pressed(100*time.Millisecond) {
		return
	}
	select {
	case <-time.After(restFor * took):
	case <-ctx.Done():
	}
}

func eachSince(page []Past, since time.Time, each func([]Past) error) error {
	return each(slices.DeleteFunc(page, func(p Past) bool { return p.Delivery.ReceivedAt.Before(since) }))
}

// spanSince is what there is since a moment, or a little more: the clocks of instances differ.
func (l *Ledger) spanSince(ctx context.Context, find findFirst, since time.Time) (s span, err error) {
	if err := l.read.QueryRowContext(ctx, find.ends).Scan(&s.after, &s.upTo); err != nil {
		return s, fmt.Errorf("find the newest of the %s: %w", find.what, err)
	}
	s.after-- // the oldest is part of it
	if since.IsZero() {
		return s, nil
	}
	first, err := l.firstSince(ctx, find, since.Add(-sinceSlack))
	s.after = first - 1
	return s, err
}

const (
	historyDeliveries = `select d.id, d.source, d.received_at, d.verified_by, d.request, d.body, case when u.delivery_id is null then 0 else 1 end,
		coalesce(u.set_aside_at, 0), coalesce(u.error, ''), case when d.body is null then 1 else 0 end
		from deliveries d left join undecided u on u.delivery_id = d.id where d.id > $1 and d.id <= $2 order by d.id desc limit $3`
	historyColumns = `e.id, coalesce(e.delivery_id, 0), e.occurred_at, e.recorded_at, e.details, e.event_id, coalesce(e.reuses_id_of, 0),
		(select count(*) from resends r where r.event_id = e.id), 0, ` + heldColumns + `, e.fingerprint, coalesce(e.body_key, ''),
		case when exists (select 1 from attempts a where a.event_id = e.id) then 1 else 0 end,
		coalesce(i.id, 0), coalesce(i.state, ''), coalesce(i.groups, '[]'), coalesce(i.attributes, '{}'),
		case when d.id = (select max(o.id) from decisions o where o.invitation_id = d.invitation_id) then 1 else 0 end
		from events e left join decisions d on d.id = (select max(n.id) from decisions n where n.event_id = e.id)
		left join invitations i on i.id = d.invitation_id where `
	historyEvents = `select ` + historyColumns + `e.delivery_id is not null and e.delivery_id >= $1 and e.delivery_id <= $2 order by e.delivery_id`
	historyAsked  = `select ` + historyColumns + `e.delivery_id is null and e.id > $1 and e.id <= $2 order by e.id desc`
	historyResent = `select r.delivery_id, e.id, e.event_id, e.fingerprint, coalesce(e.body_key, '') from resends r join events e on e.id = r.event_id
		where r.delivery_id >= $1 and r.delivery_id <= $2 order by r.delivery_id`
	resentBy = `select d.id, d.source, d.received_at, d.verified_by, d.request, d.body from resends r join deliveries d on d.id = r.delivery_id
		where r.event_id = $1 and d.body is not null order by r.delivery_id limit $2`
)

// historyOf reads the newest deliveries of a span with their events.
func (l *Ledger) historyOf(ctx context.Context, s span) (page []Past, err error) {
	if page, err = l.pageOfDeliveries(ctx, s); err != nil || len(page) == 0 {
		return nil, err
	}
	low, high := page[len(page)-1].Delivery.ID, page[0].Delivery.ID
	places := make(map[int64]int, len(page))
	for i := range page {
		places[page[i].Delivery.ID] = i
	}
	events, err := collect(ctx, l.read, scanPastEvent, historyEvents, low, high)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if i, ok := places[e.DeliveryID]; ok {
			page[i].Events = append(page[i].Events, e)
		}
	}
	err = each(ctx, l.read, func(row scanner) error {
		var delivery int64
		var e PastEvent
		err := row.Scan(&delivery, &e.ID, &e.SenderID, &e.Fingerprint, &e.BodyKey)
		if i, ok := places[delivery]; ok {
			page[i].Resent = append(page[i].Resent, e)
		}
		return err
	}, historyResent, low, high)
	for i := range page {
		byID := func(a, b PastEvent) int { return cmp.Compare(a.ID, b.ID) }
		slices.SortFunc(page[i].Events, byID)
		slices.SortFunc(page[i].Resent, byID)
	}
	return page, err
}

// pageOfDeliveries ends early where the bodies are long.
func (l *Ledger) pageOfDeliveries(ctx context.Context, s span) (page []Past, err error) {
	rows, err := l.read.QueryContext(ctx, historyDeliveries, s.after, s.upTo, historyPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	bytes := 0
	for bytes < historyBytes && rows.Next() {
		var p Past
		var at sql.NullInt64
		var waits, setAside, gone int64
		var why string
		if err := rows.Scan(&p.Delivery.ID, &p.Delivery.Source, &at, &p.Delivery.VerifiedBy, &p.Delivery.Request, &p.Delivery.Body, &waits, &setAside, &why, &gone); err != nil {
			return nil, err
		}
		p.Delivery.ReceivedAt, p.BodyGone, p.Waits = moment(at), gone != 0, waits != 0 && setAside == 0
		if setAside != 0 {
			p.SetAside = why
		}
		page = append(page, p)
		bytes += len(p.Delivery.Body)
	}
	return page, rows.Err()
}

// historyByHand reads the events of a span of identities that came by no delivery.
func (l *Ledger) historyByHand(ctx context.Context, s span) ([]Past, error) {
	return collect(ctx, l.read, func(row scanner) (Past, error) {
		e, err := scanPastEvent(row)
		return Past{Delivery: Delivery{Source: e.Details.Source, ReceivedAt: e.RecordedAt}, BodyGone: true, Events: []PastEvent{e}}, err
	}, historyAsked, s.after, s.upTo)
}

func scanPastEvent(row scanner) (e PastEvent, err error) {
	var lookedUp, newest int64
	var groups, attributes string
	e.Event, err = scanListedEvent(rowWith{row, []any{&e.Fingerprint, &e.BodyKey, &lookedUp, &e.Invitation, &e.State, &groups, &attributes, &newest}})
	if err != nil {
		return e, err
	}
	e.LookedUp, e.Newest = lookedUp != 0, newest != 0
	if groups != "[]" {
		err = fromJSON(groups, &e.Groups)
	}
	if attributes != "{}" {
		err = errors.Join(err, fromJSON(attributes, &e.Attributes))
	}
	return e, err
}

// ResentBy returns the deliveries that brought an event again, oldest first and at most limit, where they have a body.
func (l *Ledger) ResentBy(ctx context.Context, event int64, limit int) ([]Delivery, error) {
	return collect(ctx, l.read, func(row scanner) (d Delivery, err error) {
		var at sql.NullInt64
		err = row.Scan(&d.ID, &d.Source, &at, &d.VerifiedBy, &d.Request, &d.Body)
		d.ReceivedAt = moment(at)
		return d, err
	}, resentBy, event, limit)
}

// InvitationFor returns the invitation that an event of an address speaks for today: its own, or the one that took its
// place. It is ErrNotFound where there is none.
func (l *Ledger) InvitationFor(ctx context.Context, address string) (Invitation, error) {
	inv, err := scanInvitation(l.read.QueryRowContext(ctx, `select `+invitationColumns+` from invitations where email = $1`, storable(address)))
	for range maxCorrections {
		if err != nil || inv.CorrectedTo == 0 {
			break
		}
		inv, err = l.Invitation(ctx, inv.CorrectedTo)
	}
	return inv, err
}
