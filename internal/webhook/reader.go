package webhook

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/expression"
)

// A reader takes the events out of what a source sent, by the expressions of its row.
type reader struct {
	bodyField                                 string
	each, ignore, when, livemode, accepted    *expression.Expression
	eventID, kind, name, customer, occurredAt *expression.Expression
	email                                     []*expression.Expression
	attributes                                []namedExpression
	idIsSigned                                bool // nobody but the sender can have chosen the event's identity
	idIsOfItem                                bool // it is read of the item, so that each of a list has its own
	queryIsSigned                             bool
}

// isEmpty reports whether no expression is there.
func (r *reader) isEmpty() bool {
	return r.when == nil && r.name == nil && r.customer == nil && len(r.email) == 0 && len(r.attributes) == 0
}

type namedExpression struct {
	name  string
	value *expression.Expression
}

// newReader compiles a row. It also returns which headers and query parameters the expressions read.
func newReader(row Row, s *scheme, m *mistakes) (r *reader, headers, query []string) {
	c := &compiler{mistakes: m, scheme: s, headers: map[string]bool{}, query: map[string]bool{}, hasItem: row.Each != ""}
	r = &reader{bodyField: row.BodyField}
	var id *reads
	r.eventID, id = c.scalar("event_id", row.EventID)
	r.idIsSigned, r.idIsOfItem = s.vouchesFor(id), id.item
	r.queryIsSigned = s.vouchesFor(&reads{query: map[string]bool{"": true}})
	r.each, _ = c.compile("each", row.Each)
	if r.each != nil {
		if kind := r.each.Type().Kind(); kind != reflect.Interface && kind != reflect.Slice {
			m.add("each", "this does not give a list", "name the list of events, such as body or body.items")
		}
	}
	r.ignore, r.when = c.truth("ignore", row.Ignore), c.truth("when", row.When)
	r.livemode, r.accepted = c.truth("livemode", row.Livemode), c.truth("accepted", row.Accepted)
	r.kind, r.name, r.occurredAt = c.label("type", row.Type), c.label("name", row.Name), c.label("occurred_at", row.OccurredAt)
	customer, read := c.scalar("customer", row.Customer)
	r.customer = c.who("customer", customer, read)
	for i, source := range row.Email {
		path := fmt.Sprintf("email[%d]", i)
		compiled, read := c.compile(path, source)
		if compiled = c.who(path, compiled, read); compiled != nil {
			r.email = append(r.email, compiled)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(row.Attributes)) {
		path := "attributes." + name
		compiled, read := c.scalar(path, row.Attributes[name])
		if compiled = c.who(path, compiled, read); compiled != nil {
			r.attributes = append(r.attributes, namedExpression{name, compiled})
		}
	}
	return r, slices.Sorted(maps.Keys(c.headers)), slices.Sorted(maps.Keys(c.query))
}

// vouchesFor reports whether everything that an expression reads is inside what the scheme signs. Who sends a
// token with the request could write anything in it: there, everything is as good as the token.
func (s *scheme) vouchesFor(what *reads) bool {
	if s.kind != kindHMAC && s.kind != kindHash {
		return true
	}
	for name := range what.headers {
		if !slices.ContainsFunc(s.template, func(p part) bool { return p.kind == isHeader && strings.EqualFold(p.header, name) }) {
			return false
		}
	}
	return len(what.query) == 0 || slices.ContainsFunc(s.template, func(p part) bool { return p.kind == isURL })
}

// A Step is one thing that was worked out on the way from a body to its events, for people to see.
type Step struct {
	Item       int    // of each, counted from 0; -1 without
	Field      string // "when", "email[1]" …
	Expression string
	Value      any
	Err        error
}

// A reading is one delivery being read.
type reading struct {
	*reader
	source  *Source
	raw     []byte
	kept    Kept
	machine expression.Machine
	env     Environment
	item    int
	failed  []string   // what could not be worked out for this event, and matters
	show    func(Step) // nil: nobody looks
}

// events reads a delivery. A body that cannot be read is an event too.
func (s *Source) events(v Verified, show func(Step)) []Event {
	kept := v.Kept()
	r := &reading{reader: s.reader, source: s, raw: v.body, kept: kept, show: show, item: -1}
	body, form, err := decodeBody(kept.Headers["Content-Type"], v.body, s.reader.bodyField)
	if err != nil {
		return []Event{s.malformed(v.body, "the body cannot be read: "+err.Error())}
	}
	r.env = Environment{Steps: expression.NewSteps(0), Body: body, Form: form, Headers: kept.Headers, Query: kept.Query}
	if r.each == nil {
		return []Event{r.event()}
	}
	items, err := r.items()
	if err != nil {
		return []Event{r.without(err)}
	}
	r.env.Steps = expression.NewSteps(min(stepsPerItem*len(items), maxStepsMore))
	events := make([]Event, 0, len(items))
	for i, item := range items {
		r.env.Item, r.item = item, i
		events = append(events, r.event())
	}
	return events
}

// stepsPerItem is what each event of a list adds to the steps that its delivery may take: enough to look
// something up in a list of a thousand or two beside it. All together take a fraction of a second.
const (
	stepsPerItem = 10_000
	maxStepsMore = 2_000_000
)

// without is the event of a request whose list cannot be had: a ping or another type may well have none, and
// is then told as what it is.
func (r *reading) without(err error) Event {
	if e := r.event(); e.Preliminary.Outcome == access.Skip {
		return e
	}
	return r.source.malformed(r.raw, err.Error())
}

// items is the list of events. A single one without its list is a list of one.
func (r *reading) items() ([]any, error) {
	value, err := r.run("each", r.each)
	list, isList := asList(value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("each cannot be worked out: %w", err)
	case value == nil:
		return nil, errors.New("each gives nothing")
	case !isList:
		return []any{value}, nil
	case len(list) == 0:
		return nil, errors.New("each gives an empty list")
	case len(list) > maxEvents:
		return nil, fmt.Errorf("each gives more than %d events", maxEvents)
	}
	return list, nil
}

// event normalises what is in the environment.
func (r *reading) event() Event {
	r.failed = nil
	e := Event{Event: access.Event{Source: r.source.name}}
	r.identify(&e)
	e.Type = cmp.Or(r.text("type", r.kind), "event")
	e.OccurredAt = r.moment()
	e.Email, e.EmailFrom, e.Tried = r.address()
	e.Name, e.Customer = r.text("name", r.name), r.needed("customer", r.customer)
	for _, a := range r.attributes {
		if value := r.text("attributes."+a.name, a.value); value != "" {
			if e.Attributes == nil {
				e.Attributes = make(map[string]string, len(r.attributes))
			}
			e.Attributes[a.name] = value
		}
	}
	r.judge(&e)
	e.LookUp = r.source.lookUp && e.Email == "" && e.Customer != "" && e.Preliminary.Outcome != access.Skip
	return e
}

// judge says what the sender's own words decide.
func (r *reading) judge(e *Event) {
	unknown := false // whether it is an event of the kind that counts
	truth := func(field string, x *expression.Expression, unset bool) bool {
		if x == nil {
			return unset
		}
		value, err := r.run(field, x)
		r.fail(field, err)
		unknown = unknown || err != nil
		return value == true
	}
	ignore, accepted := truth("ignore", r.ignore, false), truth("accepted", r.accepted, false)
	live, when := truth("livemode", r.livemode, true), truth("when", r.when, true)
	e.Livemode = live
	switch {
	case ignore:
		*e = e.skip(ReasonTestEvent, "This is the sender's test or ping: nobody is invited.")
	case accepted:
		e.Accepted = true
		*e = e.skip(ReasonAccepted, "This person has come in.")
	case !when && !unknown:
		*e = e.skip(ReasonNotACustomer, "This source's when says that no customer came.")
	case !live && r.source.requireLivemode && !unknown:
		*e = e.skip(ReasonTestMode, "This is an event of the sender's test mode, and require_livemode is on.")
	case len(r.failed) > 0:
		e.Preliminary = Preliminary{access.Hold, ReasonExpression,
			"An expression of this source could not be worked out (" + strings.Join(r.failed, "; ") + "): a person must decide."}
	}
}

// fail notes an error after which nobody but a person can know what the event means.
func (r *reading) fail(field string, err error) {
	if err != nil {
		r.failed = append(r.failed, field+": "+err.Error())
	}
}

// address returns the first usable address of the candidates, else the first that is at least something, so
// that its fault is told, with the expression that gave it; and what was tried when there is nothing.
func (r *reading) address() (email, from string, tried []string) {
	errs := map[string]error{}
	for i, candidate := range r.email {
		tried = append(tried, candidate.String())
		field := fmt.Sprintf("email[%d]", i)
		value, err := r.run(field, candidate)
		if err != nil {
			errs[field] = err
			continue
		}
		for _, text := range texts(value) {
			if _, err := access.ParseAddress(text); err == nil {
				return text, candidate.String(), nil
			}
			if email == "" {
				email, from = text, candidate.String()
			}
		}
	}
	if email != "" {
		return email, from, nil
	}
	for _, field := range slices.Sorted(maps.Keys(errs)) {
		r.fail(field, errs[field])
	}
	return "", "", tried
}

// texts are the texts of a value or of a list of values, without blank ones.
func texts(value any) (found []string) {
	list, ok := asList(value)
	if !ok {
		list = []any{value}
	}
	for _, one := range list {
		if text, present, err := expression.Text(one); present && err == nil && strings.TrimSpace(text) != "" {
			found = append(found, clean(strings.TrimSpace(text)))
		}
	}
	return found
}

// maxID bounds an identity: a longer one is no identity but content.
const maxID = 255

// identify gives the event its identity: the sender's, and where a stranger could have chosen that or there
// is none, also the hash of what was signed.
func (r *reading) identify(e *Event) {
	e.ID = r.needed("event_id", r.eventID)
	if len(e.ID) > maxID {
		e.ID = ""
	}
	if e.ID != "" && r.item >= 0 && !r.idIsOfItem {
		e.ID = fmt.Sprintf("%s/%d", e.ID, r.item) // one identity for the whole list
	}
	if e.ID != "" && r.idIsSigned {
		return
	}
	e.BodyKey = r.hash()
	e.ID = cmp.Or(e.ID, "body:"+e.BodyKey)
}

// hash is of the request, or of one item of it: a sender may batch what it sends again in another way.
func (r *reading) hash() string {
	what := r.raw
	if r.item >= 0 {
		var err error
		if what, err = json.Marshal(r.env.Item); err != nil { // an infinite number, for which JSON has no word
			what = fmt.Append(nil, r.env.Item) // keys come sorted, as they do from Marshal
		}
	}
	sum := sha256.New()
	sum.Write(what)
	for _, name := range slices.Sorted(maps.Keys(r.kept.Query)) {
		if !r.queryIsSigned {
			break // a stranger could vary it
		}
		fmt.Fprintf(sum, "\n%s=%s", name, r.kept.Query[name])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// text is an expression's value as text, empty where it gives none.
func (r *reading) text(field string, x *expression.Expression) string {
	text, _ := r.value(field, x)
	return text
}

// needed is text, and notes where it could not be worked out.
func (r *reading) needed(field string, x *expression.Expression) string {
	text, err := r.value(field, x)
	r.fail(field, err)
	return text
}

func (r *reading) value(field string, x *expression.Expression) (string, error) {
	if x == nil {
		return "", nil
	}
	value, err := r.run(field, x)
	if err != nil {
		return "", err
	}
	text, _, err := expression.Text(value)
	return clean(strings.TrimSpace(text)), err
}

// moment reads the sender's clock: a number is seconds, or milliseconds from 1973 on.
func (r *reading) moment() time.Time {
	text := r.text("occurred_at", r.occurredAt)
	if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 && n < 1e14 {
		if n > 1e11 {
			return time.UnixMilli(int64(n)).UTC()
		}
		return time.UnixMilli(int64(n * 1000)).UTC()
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

func (r *reading) run(field string, x *expression.Expression) (any, error) {
	value, err := r.machine.Run(x, r.env)
	if r.show != nil {
		r.show(Step{Item: r.item, Field: field, Expression: x.String(), Value: value, Err: err})
	}
	return value, err
}
