package ledger

import (
	"database/sql"
	"fmt"
	"strings"

	"github.com/usher-dev/usher/internal/access"
)

// A statement is one verdict of a batch and what became of it. Nearly always its event is new: then it costs a share
// of three inserts of many rows, where one at a time would cost three questions, on Postgres each to another process.
type statement struct {
	pass       *pass
	verdict    Verdict
	event      int64 // 0 until it is recorded as a new one
	invitation int64
}

// recordAll records verdicts in their order.
func (t *tx) recordAll(all []*statement) error {
	if err := t.insertEvents(all); err != nil {
		return err
	}
	var plain []*statement
	for _, s := range all {
		if s.event != 0 && !s.verdict.LookUp && !s.verdict.Accepted {
			plain = append(plain, s)
			continue
		}
		if err := t.decisionsOf(plain); err != nil {
			return err
		}
		plain = nil
		if err := t.recordOne(s); err != nil {
			return err
		}
	}
	return t.decisionsOf(plain)
}

func (t *tx) recordOne(s *statement) (err error) {
	if s.event != 0 {
		_, err = t.first(s.event, s.verdict)
	} else {
		_, err = t.record(s.pass, s.verdict)
	}
	return err
}

// insertEvents records the events that are known by neither of their identities.
func (t *tx) insertEvents(all []*statement) error {
	type identity struct{ source, id, bodyKey string }
	var values []any
	named := map[identity]*statement{}
	for _, s := range all {
		v := s.verdict
		values = append(values, t.eventValues(s.pass.delivery, v, v.senderID(), 0)...)
		if key := (identity{storable(v.Event.Source), storable(v.senderID()), storable(v.BodyKey)}); named[key] == nil {
			named[key] = s // of two in one batch the first row goes in
		}
	}
	return t.inGroups(`insert into events (`+newEventColumns+`) values `, 10, values,
		` on conflict do nothing returning id, source, event_id, coalesce(body_key, '')`, func(row scanner) error {
			var id int64
			var key identity
			if err := row.Scan(&id, &key.source, &key.id, &key.bodyKey); err != nil {
				return err
			}
			s := named[key]
			if s == nil {
				return fmt.Errorf("event %d came back under another identity", id)
			}
			s.event = id
			s.pass.seen[id] = true
			return nil
		})
}

// decisionsOf decides events that are new, as the policy said.
func (t *tx) decisionsOf(all []*statement) error {
	if err := t.promises(all); err != nil {
		return err
	}
	return t.insertDecisions(all)
}

// promises makes the invitations of verdicts, or adds to those that their addresses have.
func (t *tx) promises(all []*statement) (err error) {
	var first, more []*statement
	seen := map[access.Address]bool{}
	for _, s := range all {
		switch address := s.verdict.Decision.Address; {
		case s.verdict.Decision.Outcome == access.Skip:
		case seen[address]:
			more = append(more, s)
		default:
			seen[address] = true
			first = append(first, s)
		}
	}
	if err := t.insertInvitations(first); err != nil {
		return err
	}
	for _, s := range append(first, more...) {
		if s.invitation == 0 {
			if s.invitation, err = t.addTo(s.verdict); err != nil {
				return err
			}
		}
	}
	return nil
}

// insertInvitations makes the invitations of those whose addresses have none; no two have one address.
func (t *tx) insertInvitations(all []*statement) error {
	var values []any
	byAddress := map[string]*statement{}
	for _, s := range all {
		d, state, reason := s.verdict.Decision, Queued, ""
		if d.Outcome == access.Hold {
			state, reason = Held, d.Sentence
		}
		values = append(values, d.Address.Full(), string(state), reason, asJSON(orEmpty(d.Groups)), asJSON(orEmptyMap(d.Attributes)),
			s.verdict.Note, s.verdict.Event.Source, 1, millis(t.now), millis(t.now))
		byAddress[storable(d.Address.Full())] = s
	}
	return t.inGroups(`insert into invitations (email, state, reason, groups, attributes, note, source, run, created_at, updated_at) values `,
		10, values, ` on conflict (email) do nothing returning id, email, state`, func(row scanner) error {
			var id int64
			var email string
			var state State
			if err := row.Scan(&id, &email, &state); err != nil {
				return err
			}
			byAddress[email].invitation = id
			if state == Queued {
				t.enqueue(InviteJob{Invitation: id, Run: 1})
			}
			return nil
		})
}

func (t *tx) insertDecisions(all []*statement) error {
	var values []any
	for _, s := range all {
		d := s.verdict.Decision
		values = append(values, s.event, millis(t.now), string(d.Outcome), string(d.Reason), d.Sentence,
			sql.NullInt64{Int64: int64(d.Rule), Valid: d.Rule >= 0}, d.Address.Full(), orNoID(s.invitation))
	}
	return t.inGroups(`insert into decisions (event_id, decided_at, outcome, reason, sentence, rule, email, invitation_id) values `, 8, values, ``, nil)
}

// inGroups runs a statement over many rows of width values, some at a time: head, the placeholders of the rows, tail.
// A head that ends in "(" takes a list of single values. Each row that comes back goes to scan.
func (t *tx) inGroups(head string, width int, values []any, tail string, scan func(scanner) error) error {
	return t.inGroupsOf(head, make([]string, width), values, tail, scan)
}

func (t *tx) inGroupsOf(head string, types []string, values []any, tail string, scan func(scanner) error) error {
	width := len(types)
	for _, size := range t.groups {
		for len(values) >= size*width {
			if err := t.together(head+placeholders(size, types, !strings.HasSuffix(head, "("))+tail, values[:size*width], scan); err != nil {
				return err
			}
			values = values[size*width:]
		}
	}
	return nil
}

func (t *tx) together(query string, values []any, scan func(scanner) error) error {
	if scan == nil {
		_, err := t.exec(query, values...)
		return err
	}
	rows, err := t.rows(query, values...)
	if err != nil {
		return err
	}
	_, err = all(rows, func(row scanner) (struct{}, error) { return struct{}{}, scan(row) })
	return err
}

// updateMany changes many rows at once: set and where speak of v, whose columns column1, column2 and so on have these
// types and, row by row, these values.
func (t *tx) updateMany(set, where string, types []string, values []any) error {
	return t.inGroupsOf(set+` from (values `, types, values, `) v`+where, nil)
}

// placeholders writes ($1, $2), ($3, $4) for two rows of two values, each with its type where it has one.
func placeholders(rows int, types []string, brackets bool) string {
	var b strings.Builder
	width := len(types)
	for i := range rows * width {
		if i > 0 {
			b.WriteString(", ")
		}
		if brackets && i%width == 0 {
			b.WriteByte('(')
		}
		if of := types[i%width]; of != "" {
			fmt.Fprintf(&b, "cast($%d as %s)", i+1, of)
		} else {
			fmt.Fprintf(&b, "$%d", i+1)
		}
		if brackets && i%width == width-1 {
			b.WriteByte(')')
		}
	}
	return b.String()
}
