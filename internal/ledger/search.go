package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/usher-dev/usher/internal/access"
)

// ErrCursor means that a cursor is none of this search.
var ErrCursor = errors.New("this cursor is of another list; begin at its first page")

// A Search is what a person looks for among the invitations, a page at a time.
type Search struct {
	// Text is how an address begins, or behind an @ its domain: "ada", "ada@exa", "@example.com". Without an @ it is
	// either. An empty one takes all, newest first; what others find comes by address, then by domain, backwards, and of
	// one domain newest first.
	Text   string
	State  State
	Source string
	From   Cursor // Next or Previous of another page; empty: the first page
	Limit  int
}

// A Page is a part of what a search finds.
type Page struct {
	Invitations []Invitation
	Next        Cursor // empty: this is the last page
	Previous    Cursor // empty: this is the first one
	// Stopped means that the page is short, perhaps empty, since it has looked at as many as one page may: what the
	// filters leave is rare among what begins like that. It goes on at Next, or at Previous where it went back.
	Stopped bool
}

// searchReach is how many rows one page may look at that begin as they should and are perhaps not what the filters leave,
// or the other way round. Both sets are read by an index; only where both are larger does a page say how far it got.
const searchReach = 10_000

// Search finds invitations by how their addresses begin. However many there are, a page reads a bounded number of rows.
func (l *Ledger) Search(ctx context.Context, s Search) (Page, error) {
	f := finder{Ledger: l, Search: s, lanes: lanesOf(s.Text)}
	if s.From == "" {
		return f.page(ctx, nil, false)
	}
	from, back, err := s.From.read(f.lanes)
	if err != nil {
		return Page{}, err
	}
	return f.page(ctx, &from, back)
}

// A finder makes one page.
type finder struct {
	*Ledger
	Search
	lanes []lane
	few   bool // what the filters leave is little
}

// page reads on behind a place of the list, or back from it.
func (f finder) page(ctx context.Context, from *place, back bool) (p Page, err error) {
	if f.few, err = f.leaveFew(ctx); err != nil {
		return p, err
	}
	found, stopped, err := f.walk(ctx, from, back, f.Limit+1)
	if err != nil {
		return p, err
	}
	more := len(found) > f.Limit
	if back && !more && stopped == nil {
		return f.page(ctx, nil, false) // the first page, and whole
	}
	found = found[:min(f.Limit, len(found))]
	if back {
		slices.Reverse(found)
	}
	for _, one := range found {
		p.Invitations = append(p.Invitations, one.Invitation)
	}
	switch {
	case len(found) > 0:
		if back || more {
			p.Next = found[len(found)-1].cursor(false)
		}
		if from != nil {
			p.Previous = found[0].cursor(true)
		}
	case back:
		p.Next = from.before().cursor(false)
	case from != nil:
		p.Previous = from.behind().cursor(true)
	}
	if p.Stopped = stopped != nil; p.Stopped && back {
		p.Previous = stopped.cursor(true)
	} else if p.Stopped {
		p.Next = stopped.cursor(false)
	}
	return p, nil
}

// leaveFew says whether the filters leave so few that they are all looked at.
func (f finder) leaveFew(ctx context.Context) (bool, error) {
	if !f.filtered() || f.lanes[0].order == newestFirst {
		return false, nil
	}
	var q statementText
	few := `select id from invitations` + f.newest(&q, nil, false) + limited(f.reach+1)
	var n int
	err := f.read.QueryRowContext(ctx, `select count(*) from (`+few+`) few`, storables(q.args)...).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("count what the filters leave: %w", err)
	}
	return n <= f.reach, nil
}

func (f finder) filtered() bool { return f.State != "" || f.Source != "" }

// newest reads what the filters leave, newest first, from a place on.
func (f finder) newest(q *statementText, from *place, back bool) string {
	columns, values := filters(f.State, f.Source)
	return f.grammar.listed(q, columns, values, from.bounds(back), back)
}

// filters are the columns of an index of invitations, and what they must be.
func filters(state State, source string) (columns []string, values []any) {
	if source != "" {
		columns, values = append(columns, `source`), append(values, source)
	}
	if state != "" {
		columns, values = append(columns, `state`), append(values, string(state))
	}
	return columns, values
}

// walk reads up to want rows, lane by lane. stopped is the last one that it looked at, where it may look at no more.
func (f finder) walk(ctx context.Context, from *place, back bool, want int) (found []placed, stopped *place, err error) {
	lanes := slices.Clone(f.lanes)
	if back {
		slices.Reverse(lanes)
	}
	if from != nil {
		lanes = lanes[slices.IndexFunc(lanes, func(l lane) bool { return l.order == from.order }):]
	}
	for _, lane := range lanes {
		for _, s := range f.stretches(lane, from, back) {
			some, stopped, err := f.along(ctx, lane, s, want) // always as many, so that statements stay few
			if err != nil {
				return nil, nil, err
			}
			if found = append(found, some...); len(found) >= want {
				return found[:want], nil, nil
			}
			if stopped != nil {
				return found, stopped, nil
			}
		}
		from = nil // of an earlier lane
	}
	return found, nil, nil
}

// along reads up to want rows of one stretch, in its order.
func (f finder) along(ctx context.Context, of lane, s stretch, want int) (found []placed, stopped *place, err error) {
	query, args := f.query(of, s, want)
	all, err := collect(ctx, f.read, scanInvitation, query, args...)
	if err != nil {
		return nil, nil, err
	}
	for _, inv := range all {
		found = append(found, placed{inv, of.place(inv.ID, inv.Email.Full())})
	}
	slices.SortFunc(found, func(a, b placed) int { return a.compare(b.place) })
	if s.back {
		slices.Reverse(found)
	}
	if len(found) < want && f.mayStop(of) {
		stopped, err = f.reached(ctx, of, s)
	}
	return found, stopped, err
}

// mayStop says whether a page can come to look at many rows that are not what it looks for.
func (f finder) mayStop(of lane) bool {
	return of.order != newestFirst && !f.few && (f.filtered() || of.except != "")
}

// query reads rows of a stretch. Each of its forms reads by an index, and no more than it may.
func (f finder) query(of lane, s stretch, want int) (string, []any) {
	var q statementText
	const rows = `select ` + invitationColumns + ` from invitations`
	switch {
	case f.mayStop(of):
		near := `select id, email, state, source from invitations` + s.along(&q) + limited(f.reach)
		return rows + ` where id in (select id from (` + near + `) near` + q.where(q.equal(filters(f.State, f.Source)), of.refuses(&q)) + limited(want) + `)`, q.args
	case f.filtered() && of.order != newestFirst:
		few := `with few as materialized (select id, email from invitations` + f.newest(&q, nil, false) + limited(f.reach) + `) `
		return few + rows + ` where id in (select id from few` + s.along(&q, of.refuses(&q)...) + limited(want) + `)`, q.args
	default:
		return rows + s.along(&q) + limited(want), q.args
	}
}

// reached is the last row that a stretch was looked at for, nil where it ended before.
func (f finder) reached(ctx context.Context, of lane, s stretch) (*place, error) {
	var q statementText
	last := `select id, email from invitations` + s.along(&q) + limited(1) + ` offset ` + strconv.Itoa(f.reach-1)
	found, err := collect(ctx, f.read, func(row scanner) (p place, err error) {
		var id int64
		var email string
		err = row.Scan(&id, &email)
		return of.place(id, email), err
	}, last, q.args...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// A lane is a part of a list that has one order and one index. A list has one or two.
type lane struct {
	order  order
	low    string // the first key
	high   string // behind the last
	except string // addresses that begin like this are in the lane before
}

type order byte

const (
	newestFirst order = 'n'
	byAddress   order = 'a'
	byDomain    order = 'd' // backwards, and in one domain newest first
)

// behind is greater than all that an address is made of: no address that begins with a text is behind the text and this.
const behind = "\x7f"

// lanesOf are the parts of what a text may mean.
func lanesOf(text string) []lane {
	text = plainText(text)
	local, domain, hasAt := strings.Cut(text, "@")
	addresses := lane{order: byAddress, low: text, high: text + behind}
	switch {
	case text == "":
		return []lane{{order: newestFirst}}
	case hasAt && local == "":
		return []lane{{order: byDomain, low: domain, high: domain + behind}}
	case hasAt:
		return []lane{addresses}
	default:
		return []lane{addresses, {order: byDomain, low: text, high: text + behind, except: text}}
	}
}

// plainText brings what a person typed to the form of addresses. A domain in other letters than ASCII's is known by its
// form on the wire, once it is whole.
func plainText(text string) string {
	text = strings.Trim(text, " \t\r\n")
	if _, inner, ok := strings.Cut(text, "<"); ok { // Ada Lovelace <ada@example.com>
		text = strings.TrimSuffix(inner, ">")
	}
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ToLower(text)
	}
	local, domain, hasAt := strings.Cut(text, "@")
	if !hasAt {
		local, domain = "", text
	}
	address, err := access.ParseAddress("x@" + domain)
	if err != nil {
		return text // which finds nothing
	}
	return strings.ToLower(local) + "@" + address.Domain()
}

// place is where an invitation stands in the lane.
func (l lane) place(id int64, email string) place {
	p := place{order: l.order, id: id}
	switch l.order {
	case byAddress:
		p.key = email
	case byDomain:
		_, p.key, _ = strings.Cut(email, "@")
	}
	return p
}

// refuses leaves out what another lane has.
func (l lane) refuses(q *statementText) []string {
	if l.except == "" {
		return nil
	}
	return []string{`not (email >= ` + q.value(l.except) + ` and email < ` + q.value(l.except+behind) + `)`}
}

// A stretch is a part of a lane that one reading of an index passes.
type stretch struct {
	along func(q *statementText, more ...string) string // its conditions and its order
	back  bool
}

// stretches are what lies behind a place of a lane, or before it; all of the lane without one.
func (f finder) stretches(l lane, from *place, back bool) []stretch {
	low, high := l.low, l.high
	switch l.order {
	case newestFirst:
		return []stretch{{back: back, along: func(q *statementText, _ ...string) string { return f.newest(q, from, back) }}}
	case byAddress:
		order := ` order by email` + descending(back)
		if from == nil {
			return []stretch{between(`email`, ` >= `, low, high, order, back)}
		}
		if back {
			return []stretch{between(`email`, ` >= `, low, from.key, order, back)}
		}
		return []stretch{between(`email`, ` > `, from.key, high, order, back)}
	}
	domain := f.grammar.domainOf
	order := ` order by ` + domain + descending(!back) + `, id` + descending(!back)
	if from == nil {
		return []stretch{between(domain, ` >= `, low, high, order, back)}
	}
	same := stretch{back: back, along: func(q *statementText, more ...string) string {
		return f.grammar.pinned(q, []string{domain}, []any{from.key}, from.bounds(back), back, more...)
	}}
	if back {
		return []stretch{same, between(domain, ` > `, from.key, high, order, back)}
	}
	return []stretch{same, between(domain, ` >= `, low, from.key, order, back)}
}

// between is a stretch of keys.
func between(key, from, low, high, order string, back bool) stretch {
	return stretch{back: back, along: func(q *statementText, more ...string) string {
		return q.where([]string{key + from + q.value(low), key + ` < ` + q.value(high)}, more) + order
	}}
}

// Bounds of identities: 0 and less is none.
type bounds struct{ after, before int64 }

func (p *place) bounds(back bool) bounds {
	switch {
	case p == nil:
		return bounds{}
	case back:
		return bounds{after: p.id}
	default:
		return bounds{before: p.id}
	}
}

// listed reads invitations by the values of some columns, newest first or oldest first, along the index of these.
func (g grammar) listed(q *statementText, columns []string, values []any, of bounds, oldest bool, more ...string) string {
	index := ""
	if !g.byRows && len(columns) > 0 {
		index = ` indexed by invitations_by_` + strings.Join(columns, `_and_`)
	}
	return index + g.pinned(q, columns, values, of, oldest, more...)
}

// pinned reads what has certain values in the first columns of an index whose last is the identity, in its order.
func (g grammar) pinned(q *statementText, columns []string, values []any, of bounds, oldest bool, more ...string) string {
	if !g.byRows {
		conditions := q.equal(columns, values)
		if of.after > 0 {
			conditions = append(conditions, `id > `+q.value(of.after))
		}
		if of.before > 0 {
			conditions = append(conditions, `id < `+q.value(of.before))
		}
		return q.where(conditions, more) + ` order by id` + descending(!oldest)
	}
	if of.before <= 0 {
		of.before = math.MaxInt64
	}
	row := func(id int64) string {
		var marks []string
		for _, value := range append(slices.Clone(values), any(id)) {
			marks = append(marks, q.value(value))
		}
		return `(` + strings.Join(marks, `, `) + `)`
	}
	all := append(slices.Clone(columns), `id`)
	order := ` order by ` + strings.Join(all, descending(!oldest)+`, `) + descending(!oldest)
	key := `(` + strings.Join(all, `, `) + `)`
	return q.where([]string{key + ` > ` + row(of.after), key + ` < ` + row(of.before)}, more) + order
}

func descending(yes bool) string {
	if yes {
		return ` desc`
	}
	return ``
}

// A statementText numbers the values of a statement that is put together of parts.
type statementText struct{ args []any }

func (q *statementText) value(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

func (q *statementText) equal(columns []string, values []any) (conditions []string) {
	for i, column := range columns {
		conditions = append(conditions, column+` = `+q.value(values[i]))
	}
	return conditions
}

func (q *statementText) where(conditions ...[]string) string {
	all := slices.Concat(conditions...)
	if len(all) == 0 {
		return ""
	}
	return ` where ` + strings.Join(all, ` and `)
}
