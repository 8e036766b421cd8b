package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// StatsDays is how many days Stats looks back, today included: the longest month.
const StatsDays = 31

// ExpiringWithin is how long before its end an invite that was not used counts as expiring.
const ExpiringWithin = 48 * time.Hour

// expiringMost is how many of those are counted: nobody asks for more.
const expiringMost = 10_000

// Stats are what people look at first. The counts of a large ledger may be some seconds old.
type Stats struct {
	Summary
	Days    []Day // StatsDays of them, oldest first: the last is today
	Sources []SourceStats
}

// A Day is what came on one day in UTC, and what has become of it by now.
type Day struct {
	Start       time.Time
	Events      int64
	Invitations map[State]int64 // made that day, by the state they have now
}

func (s Stats) rows() (n int64) {
	for _, of := range s.Invitations {
		n += of
	}
	for _, d := range s.Days {
		n += d.Events
	}
	return n
}

// Made is how many invitations were made that day.
func (d Day) Made() (n int64) {
	for _, of := range d.Invitations {
		n += of
	}
	return n
}

// SourceStats are what one source told us; also one that is not configured any more, and what people asked for by hand.
type SourceStats struct {
	Source    string
	LastEvent time.Time
	LastDay   int64 // events of the last 24 hours
}

// Stats counts what there is.
func (l *Ledger) Stats(ctx context.Context) (Stats, error) { return l.stats.get(ctx) }

func (l *Ledger) countStats(ctx context.Context) (s Stats, err error) {
	begun := time.Now()
	counted, err := l.countAll(ctx)
	if err != nil {
		return s, err
	}
	l.counts.put(counted, time.Since(begun))
	if s.Summary, err = l.summaryOf(ctx, counted); err != nil {
		return s, err
	}
	now := l.now().UTC()
	if s.Days, err = l.days(ctx, now); err != nil {
		return s, err
	}
	s.Sources, err = l.sourceStats(ctx, now)
	return s, err
}

func (g grammar) countExpiring() string {
	return `select count(*) from (select 1 from invitations` + g.byExpiry + ` where state = 'sent' and expires_at <= $1 limit $2) soon`
}

// ExpiringSoon lists invites that nobody has used yet and whose links end within ExpiringWithin, the next to end first.
func (l *Ledger) ExpiringSoon(ctx context.Context, limit int) ([]Invitation, error) {
	return collect(ctx, l.read, scanInvitation, l.grammar.expiringSoon(), millis(l.now().Add(ExpiringWithin)), limit)
}

func (g grammar) expiringSoon() string {
	return `select ` + invitationColumns + ` from invitations` + g.byExpiry + ` where state = 'sent' and expires_at <= $1 order by expires_at limit $2`
}

// pastDays are what is known of days that are over, by their starts: it does not change any more.
type pastDays struct {
	mu          sync.Mutex
	events      map[time.Time]int64
	firstEvent  map[time.Time]int64 // the identity from which on a day's rows are
	firstInvite map[time.Time]int64
}

var firstInvitation = findFirst{"invitations", `select coalesce((select min(id) from invitations), 0), coalesce((select max(id) from invitations), 0)`,
	`select id, created_at from invitations where id >= $1 order by id limit 1`}

// days counts by ranges of identities, which grow with time. So it needs no index on the time, which every acceptance
// and every decision would have to write.
func (l *Ledger) days(ctx context.Context, now time.Time) ([]Day, error) {
	l.past.mu.Lock()
	defer l.past.mu.Unlock()
	past := &l.past
	today := now.Truncate(24 * time.Hour)
	oldest := today.AddDate(0, 0, 1-StatsDays)
	if past.events == nil {
		past.events, past.firstEvent, past.firstInvite = map[time.Time]int64{}, map[time.Time]int64{}, map[time.Time]int64{}
	}
	for _, known := range []map[time.Time]int64{past.events, past.firstEvent, past.firstInvite} {
		for day := range known {
			if day.Before(oldest) {
				delete(known, day)
			}
		}
	}
	days := make([]Day, StatsDays)
	var events, invites []int64
	for i := range days {
		days[i] = Day{Start: oldest.AddDate(0, 0, i), Invitations: map[State]int64{}}
		event, err := l.firstOf(ctx, firstEvent, past.firstEvent, days[i].Start, now)
		if err != nil {
			return nil, err
		}
		invite, err := l.firstOf(ctx, firstInvitation, past.firstInvite, days[i].Start, now)
		if err != nil {
			return nil, err
		}
		events, invites = append(events, event), append(invites, invite)
	}
	if err := l.eventsOfDays(ctx, days, events, now); err != nil {
		return nil, err
	}
	return days, l.invitationsOfDays(ctx, days, invites)
}

// firstOf finds where a day begins, once: nothing is written any more with a time before sinceSlack.
func (l *Ledger) firstOf(ctx context.Context, find findFirst, known map[time.Time]int64, day, now time.Time) (int64, error) {
	if first, ok := known[day]; ok {
		return first, nil
	}
	first, err := l.firstSince(ctx, find, day)
	if err == nil && now.Sub(day) > sinceSlack {
		known[day] = first
	}
	return first, err
}

// eventsOfDays counts the events of the days that are not known yet.
func (l *Ledger) eventsOfDays(ctx context.Context, days []Day, first []int64, now time.Time) error {
	var unknown []int
	var values []any
	for i, day := range days {
		if n, ok := l.past.events[day.Start]; ok {
			days[i].Events = n
			continue
		}
		unknown = append(unknown, i)
		values = append(values, i, first[i], endOf(first, i))
	}
	err := each(ctx, l.read, func(row scanner) error {
		var day int
		var n int64
		err := row.Scan(&day, &n)
		days[day].Events += n
		return err
	}, eventsByDay(len(unknown)), values...)
	if err != nil {
		return fmt.Errorf("count the events of days: %w", err)
	}
	for _, i := range unknown {
		if end := days[i].Start.AddDate(0, 0, 1); now.Sub(end) > sinceSlack {
			l.past.events[days[i].Start] = days[i].Events
		}
	}
	return nil
}

func (l *Ledger) invitationsOfDays(ctx context.Context, days []Day, first []int64) error {
	var values []any
	for i := range days {
		values = append(values, i, first[i], endOf(first, i))
	}
	err := each(ctx, l.read, func(row scanner) error {
		var day int
		var state State
		var n int64
		err := row.Scan(&day, &state, &n)
		if n > 0 {
			days[day].Invitations[state] = n
		}
		return err
	}, invitationsByDay(len(days)), values...)
	if err != nil {
		return fmt.Errorf("count the invitations of days: %w", err)
	}
	return nil
}

// endOf is the identity at which a day's rows end.
func endOf(first []int64, day int) int64 {
	const beyond = 1 << 62
	if day+1 < len(first) {
		return first[day+1]
	}
	return beyond
}

// The days stand in the statement as rows: their number, and the identities from which on and up to which they go.
func dayRows(n int) string {
	return `(values ` + placeholders(n, []string{"bigint", "bigint", "bigint"}, true) + `) d`
}

// eventsByDay counts source by source: the index that has source and identity is small, the table is not.
func eventsByDay(days int) string {
	return everySource + `select d.column1, (select count(*) from events e where e.source = s.source and e.id >= d.column2 and e.id < d.column3)
		from ` + dayRows(days) + ` cross join sources s where s.source is not null`
}

func invitationsByDay(days int) string {
	var states []string
	for _, state := range States() {
		states = append(states, `('`+string(state)+`')`)
	}
	return `select d.column1, s.column1, (select count(*) from invitations i where i.state = s.column1 and i.id >= d.column2 and i.id < d.column3)
		from ` + dayRows(days) + ` cross join (values ` + strings.Join(states, ", ") + `) s`
}

const statsOfSources = everySource + `select s.source, (select count(*) from events e where e.source = s.source and e.id >= $1),
	(select e.recorded_at from events e where e.source = s.source order by e.id desc limit 1)
	from sources s where s.source is not null`

func (l *Ledger) sourceStats(ctx context.Context, now time.Time) ([]SourceStats, error) {
	first, err := l.firstSince(ctx, firstEvent, now.Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	found, err := collect(ctx, l.read, func(row scanner) (s SourceStats, err error) {
		var last sql.NullInt64
		err = row.Scan(&s.Source, &s.LastDay, &last)
		s.LastEvent = moment(last)
		return s, err
	}, statsOfSources, first)
	if err != nil {
		return nil, fmt.Errorf("count the events of sources: %w", err)
	}
	slices.SortFunc(found, func(a, b SourceStats) int { return strings.Compare(a.Source, b.Source) })
	return found, nil
}
