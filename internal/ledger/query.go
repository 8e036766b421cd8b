package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// A Decision is what was decided of one event, as recorded.
type Decision struct {
	ID           int64
	EventID      int64
	DecidedAt    time.Time
	Outcome      access.Outcome
	Reason       access.Reason
	Sentence     string
	Rule         int // index of the access rule that matched, -1 none
	Email        string
	InvitationID int64
}

// An Event is one thing a sender told us, as recorded.
type Event struct {
	ID         int64
	DeliveryID int64 // 0: asked for by hand
	OccurredAt time.Time
	RecordedAt time.Time
	Details    access.Event
	Decisions  []Decision // oldest first; the last one holds; none while its address is looked up
	// SenderID is what the ledger knows it by: the sender's identity, with a # and more where ReusesIDOf is set.
	SenderID string
	// ReusesIDOf is the event to which the sender had given the same identity before, 0 for none.
	ReusesIDOf int64
	Resends    int
	// ResentOtherwise is how many of the resends had another body.
	ResentOtherwise int
}

// A Filter narrows a list. The zero value takes everything.
type Filter struct {
	State  State
	Email  string // a whole address
	Source string
	Since  time.Time // made then or later
	Before int64     // identities below this one: the cursor
	Limit  int       // 0: no limit
}

// An EventFilter narrows a list of events. The zero value takes everything. Reason, Outcome and Email are of
// the decision that holds: an event that still waits for one has none of them.
type EventFilter struct {
	Reason  access.Reason
	Outcome access.Outcome
	Email   string // a whole address
	Source  string
	Type    string
	Since   time.Time // recorded then or later
	Before  int64     // identities below this one: the cursor
	Limit   int       // 0: no limit
}

// Invitation returns one invitation.
func (l *Ledger) Invitation(ctx context.Context, id int64) (Invitation, error) {
	return scanInvitation(l.read.QueryRowContext(ctx, `select `+invitationColumns+` from invitations where id = $1`, id))
}

// Invitations lists invitations, newest first.
func (l *Ledger) Invitations(ctx context.Context, f Filter) ([]Invitation, error) {
	var from int64
	if !f.Since.IsZero() {
		var err error
		if from, err = l.firstSince(ctx, firstInvitation, f.Since.Add(-sinceSlack)); err != nil {
			return nil, err
		}
	}
	query, args := f.query(l.grammar, from)
	return collect(ctx, l.read, scanInvitation, query, args...)
}

// query reads from an identity on: they grow with time.
func (f Filter) query(g grammar, since int64) (string, []any) {
	var q statementText
	columns, values := filters(f.State, f.Source)
	text := `select ` + invitationColumns + ` from invitations`
	var later []string
	if !f.Since.IsZero() {
		later = append(later, `created_at >= `+q.value(millis(f.Since)))
	}
	if f.Email == "" {
		return text + g.listed(&q, columns, values, bounds{after: since - 1, before: f.Before}, false, later...) + limited(f.Limit), q.args
	}
	if f.Before > 0 {
		later = append(later, `id < `+q.value(f.Before))
	}
	return text + q.where(q.equal(append(columns, `email`), append(values, f.Email)), later), q.args // there is one at most
}

func limited(limit int) string {
	if limit <= 0 {
		return ""
	}
	return ` limit ` + strconv.Itoa(limit)
}

// conditions builds a where clause out of what a filter sets.
type conditions struct {
	text string
	args []any
}

func (c *conditions) add(column string, value any, wanted bool) {
	if !wanted {
		return
	}
	word := " and "
	if len(c.args) == 0 {
		word = " where "
	}
	c.args = append(c.args, value)
	c.text += word + column + "$" + strconv.Itoa(len(c.args))
}

// Attempts lists the calls made for an invitation, oldest first.
func (l *Ledger) Attempts(ctx context.Context, invitation int64) ([]Attempt, error) {
	return collect(ctx, l.read, scanAttempt, `select `+attemptColumns+` from attempts where invitation_id = $1 order by id`, invitation)
}

// LookUps lists the calls made for an event's address, oldest first.
func (l *Ledger) LookUps(ctx context.Context, event int64) ([]Attempt, error) {
	return collect(ctx, l.read, scanAttempt, `select `+attemptColumns+` from attempts where event_id = $1 order by id`, event)
}

const attemptColumns = `id, coalesce(invitation_id, 0), coalesce(event_id, 0), kind, started_at, duration_ms, transport, status, outcome, message, coalesce(retool_id, 0)`

func scanAttempt(row scanner) (Attempt, error) {
	var a Attempt
	var started, duration int64
	err := row.Scan(&a.ID, &a.InvitationID, &a.EventID, &a.Kind, &started, &duration, &a.Transport, &a.Status, &a.Outcome, &a.Message, &a.RetoolID)
	a.StartedAt, a.Duration = time.UnixMilli(started).UTC(), time.Duration(duration)*time.Millisecond
	return a, err
}

// Event returns one event with its decisions.
func (l *Ledger) Event(ctx context.Context, id int64) (Event, error) {
	return l.event(ctx, `e.id = $1`, id)
}

// EventBySenderID returns the newest event that a sender gave this identity; any sender where source is empty.
func (l *Ledger) EventBySenderID(ctx context.Context, source, eventID string) (Event, error) {
	if source == "" {
		return l.event(ctx, newestOfAnySource, eventID)
	}
	return l.event(ctx, `e.source = $1 and e.event_id = $2`, source, eventID)
}

// everySource walks the index of identities, which begins with the source, from source to source, of which there are few.
const everySource = `with recursive sources (source) as (
	select min(source) from events
	union all select (select min(o.source) from events o where o.source > s.source) from sources s where s.source is not null) `

const newestOfAnySource = `e.id = (
	` + everySource + `select max(o.id) from sources s join events o on o.source = s.source and o.event_id = $1)`

// Events lists events, newest first, each with the decision that holds.
func (l *Ledger) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	var from int64
	if !f.Since.IsZero() {
		var err error
		if from, err = l.firstSince(ctx, firstEvent, f.Since.Add(-sinceSlack)); err != nil {
			return nil, err
		}
	}
	query, args := f.query(from)
	return collect(ctx, l.read, scanListedEvent, query, args...)
}

// sinceSlack is more than the clocks of instances differ.
const sinceSlack = 10 * time.Minute

// A findFirst is how the first row of a table since a moment is found: both ends of it, and the next row from an identity on.
type findFirst struct{ what, ends, next string }

var (
	firstEvent = findFirst{"events", `select coalesce((select min(id) from events), 0), coalesce((select max(id) from events), 0)`,
		`select id, recorded_at from events where id >= $1 order by id limit 1`}
	firstDelivery = findFirst{"deliveries", `select coalesce((select min(id) from deliveries), 0), coalesce((select max(id) from deliveries), 0)`,
		`select id, received_at from deliveries where id >= $1 order by id limit 1`}
)

// firstSince finds the identity from which on rows came since a moment: both grow together, so that some
// twenty looks do, without an index on the time.
func (l *Ledger) firstSince(ctx context.Context, find findFirst, since time.Time) (first int64, err error) {
	var low, high int64
	if err := l.read.QueryRowContext(ctx, find.ends).Scan(&low, &high); err != nil {
		return 0, fmt.Errorf("find %s by time: %w", find.what, err)
	}
	for high++; low < high; {
		middle := low + (high-low)/2
		var id, at int64
		err := l.read.QueryRowContext(ctx, find.next, middle).Scan(&id, &at)
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return 0, fmt.Errorf("find %s by time: %w", find.what, err)
		case err == nil && at < millis(since):
			low = id + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// query reads in the order of the page, by an index that has it: of decisions, where the filter speaks of
// them, else of events, from an identity on. However long the ledger is, a page costs no sorting.
func (f EventFilter) query(since int64) (string, []any) {
	const newest = `(select max(n.id) from decisions n where n.event_id = `
	from, id := `events e left join decisions d on d.id = `+newest+`e.id)`, `e.id`
	where := conditions{}
	where.add("d.reason = ", string(f.Reason), f.Reason != "")
	where.add("d.outcome = ", string(f.Outcome), f.Outcome != "")
	where.add("d.email <> '' and d.email = ", f.Email, f.Email != "")
	if len(where.args) > 0 {
		from, id = `decisions d join events e on e.id = d.event_id and d.id = `+newest+`d.event_id)`, `d.event_id`
	}
	where.add("e.source = ", f.Source, f.Source != "")
	where.add("e.type = ", f.Type, f.Type != "")
	where.add("e.recorded_at >= ", millis(f.Since), !f.Since.IsZero())
	where.add(id+" >= ", since, since > 0)
	where.add(id+" < ", f.Before, f.Before > 0)
	return `select ` + eventColumns + `, ` + heldColumns + ` from ` + from + where.text + ` order by ` + id + ` desc` + limited(f.Limit), where.args
}

const heldColumns = `coalesce(d.id, 0), e.id, coalesce(d.decided_at, 0), coalesce(d.outcome, ''), coalesce(d.reason, ''), coalesce(d.sentence, ''),
	coalesce(d.rule, -1), coalesce(d.email, ''), coalesce(d.invitation_id, 0)`

// scanListedEvent reads the columns of an event and, behind them, those of its decision.
func scanListedEvent(row scanner) (Event, error) {
	var d Decision
	var at int64
	e, err := scanEvent(rowWith{row, []any{&d.ID, &d.EventID, &at, &d.Outcome, &d.Reason, &d.Sentence, &d.Rule, &d.Email, &d.InvitationID}})
	if d.ID != 0 {
		d.DecidedAt = time.UnixMilli(at).UTC()
		e.Decisions = []Decision{d}
	}
	return e, err
}

// A rowWith is a row with more columns than its reader knows.
type rowWith struct {
	scanner
	more []any
}

func (r rowWith) Scan(into ...any) error { return r.scanner.Scan(append(into, r.more...)...) }

const eventColumns = `e.id, coalesce(e.delivery_id, 0), e.occurred_at, e.recorded_at, e.details, e.event_id, coalesce(e.reuses_id_of, 0),
	(select count(*) from resends r where r.event_id = e.id), (select count(*) from resends r where r.event_id = e.id and r.same_body = 0)`

func scanEvent(row scanner) (Event, error) {
	var e Event
	var occurred, recorded sql.NullInt64
	var details string
	err := row.Scan(&e.ID, &e.DeliveryID, &occurred, &recorded, &details, &e.SenderID, &e.ReusesIDOf, &e.Resends, &e.ResentOtherwise)
	if errors.Is(err, sql.ErrNoRows) {
		return Event{}, fmt.Errorf("event: %w", ErrNotFound)
	}
	if err != nil {
		return Event{}, fmt.Errorf("read event: %w", err)
	}
	e.OccurredAt, e.RecordedAt = moment(occurred), moment(recorded)
	return e, fromJSON(details, &e.Details)
}

func (l *Ledger) event(ctx context.Context, condition string, args ...any) (Event, error) {
	e, err := scanEvent(l.read.QueryRowContext(ctx, `select `+eventColumns+` from events e where `+condition, storables(args)...))
	if err != nil {
		return Event{}, err
	}
	e.Decisions, err = collect(ctx, l.read, scanDecision,
		`select `+decisionColumns+` from decisions where event_id = $1 order by id`, e.ID)
	return e, err
}

// InvitationEvents lists the events that spoke for an invitation, oldest first, each with the decision that
// led there.
func (l *Ledger) InvitationEvents(ctx context.Context, invitation int64) ([]Event, error) {
	decisions, err := collect(ctx, l.read, scanDecision,
		`select `+decisionColumns+` from decisions where invitation_id = $1 order by id limit 200`, invitation)
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, d := range decisions {
		e, err := scanEvent(l.read.QueryRowContext(ctx, `select `+eventColumns+` from events e where e.id = $1`, d.EventID))
		if err != nil {
			return nil, err
		}
		e.Decisions = []Decision{d}
		events = append(events, e)
	}
	return events, nil
}

const decisionColumns = `id, event_id, decided_at, outcome, reason, sentence, coalesce(rule, -1), email, coalesce(invitation_id, 0)`

func scanDecision(row scanner) (Decision, error) {
	var d Decision
	var at int64
	err := row.Scan(&d.ID, &d.EventID, &at, &d.Outcome, &d.Reason, &d.Sentence, &d.Rule, &d.Email, &d.InvitationID)
	d.DecidedAt = time.UnixMilli(at).UTC()
	return d, err
}

// A Summary is the state of the whole ledger at a glance.
type Summary struct {
	Invitations   map[State]int64
	Undecided     int64     // deliveries that wait for the decide stage
	OldestWaiting time.Time // of the deliveries undecided and the invitations queued; zero when nothing waits
	SetAside      int64     // deliveries that could not be decided, for a person to look at
	LookingUp     int64     // events whose address is still being asked for
	Expiring      int64     // invites that nobody has used yet and whose links end within ExpiringWithin
	Due
}

// Summary counts what there is. The counts of a large ledger may be some seconds old.
func (l *Ledger) Summary(ctx context.Context) (Summary, error) {
	counted, err := l.counts.get(ctx)
	if err != nil {
		return Summary{}, err
	}
	return l.summaryOf(ctx, counted)
}

// summaryOf adds to what was counted what costs little.
func (l *Ledger) summaryOf(ctx context.Context, counted counts) (s Summary, err error) {
	s.Invitations = make(map[State]int64)
	for _, state := range States() {
		s.Invitations[state] = 0
	}
	maps.Copy(s.Invitations, counted.invitations)
	s.Undecided, s.LookingUp, s.Expiring = counted.undecided, counted.lookingUp, counted.expiring
	var oldest sql.NullInt64
	err = l.read.QueryRowContext(ctx, `select
		(select count(*) from undecided where set_aside_at is not null),
		(select created_at from invitations where state = 'queued' order by id limit 1)`).Scan(&s.SetAside, &oldest)
	if err != nil {
		return s, fmt.Errorf("count what waits: %w", err)
	}
	s.Undecided = max(0, s.Undecided-s.SetAside)
	s.Due, err = l.Due(ctx)
	s.OldestWaiting = earlier(moment(oldest), s.Due.Delivery)
	return s, err
}

// counts are what costs the more to count the more there is.
type counts struct {
	invitations          map[State]int64
	undecided, lookingUp int64 // undecided with what was set aside
	expiring             int64
}

func (c counts) rows() int64 {
	all := c.undecided + c.lookingUp
	for _, n := range c.invitations {
		all += n
	}
	return all
}

func (l *Ledger) countAll(ctx context.Context) (counts, error) {
	c := counts{invitations: map[State]int64{}}
	states, err := collect(ctx, l.read, scanStateCount, countStates)
	if err != nil {
		return c, fmt.Errorf("count what there is: %w", err)
	}
	for _, s := range states {
		c.invitations[s.state] = s.n
	}
	err = l.read.QueryRowContext(ctx, `select (`+countUndecided+`), (`+l.grammar.lookUpsWaiting+`)`, LookUpJob{}.Kind()).Scan(&c.undecided, &c.lookingUp)
	if err != nil {
		return c, fmt.Errorf("count what waits: %w", err)
	}
	err = l.read.QueryRowContext(ctx, l.grammar.countExpiring(), millis(l.now().Add(ExpiringWithin)), expiringMost).Scan(&c.expiring)
	if err != nil {
		return c, fmt.Errorf("count what expires: %w", err)
	}
	return c, nil
}

const (
	countStates    = `select state, count(*) from invitations group by state`
	countUndecided = `select count(*) from undecided`
)

// earlier is the earlier of two moments, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

type stateCount struct {
	state State
	n     int64
}

func scanStateCount(row scanner) (stateCount, error) {
	var c stateCount
	err := row.Scan(&c.state, &c.n)
	return c, err
}

// scanner is one row, of a query for one or for many.
type scanner interface{ Scan(into ...any) error }

// querier is what reads: a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect reads every row of a query.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, storables(args)...)
	if err != nil {
		return nil, fmt.Errorf("read from the ledger: %w", err)
	}
	return all(rows, scan)
}

// each hands every row of a query over.
func each(ctx context.Context, q querier, scan func(scanner) error, query string, args ...any) error {
	_, err := collect(ctx, q, func(row scanner) (struct{}, error) { return struct{}{}, scan(row) }, query, args...)
	return err
}

// all reads what is left of the rows, and closes them.
func all[T any](rows *sql.Rows, scan func(scanner) (T, error)) ([]T, error) {
	defer rows.Close()
	read := []T{}
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		read = append(read, one)
	}
	return read, rows.Err()
}
