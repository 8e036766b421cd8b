package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// An Import is a list of people that is sent in one go. It begins as a draft; once started, its people are recorded
// piece by piece, and how far that got is a part of each commit: whoever goes on after a crash repeats nothing.
type Import struct {
	ID        string
	At        time.Time
	Actor     string // who made the draft
	Total     int    // of its people
	Recorded  int
	StartedAt time.Time // zero: a draft
}

// IsRecorded reports whether all of its people are recorded.
func (i Import) IsRecorded() bool { return !i.StartedAt.IsZero() && i.Recorded >= i.Total }

// DraftImport keeps a list until somebody sends it, or a day. What the list is, only the caller knows.
func (l *Ledger) DraftImport(ctx context.Context, i Import, list string) error {
	return l.change(ctx, func(t *tx) error {
		_, err := t.exec(`insert into imports (id, at, actor, total) values ($1, $2, $3, $4)`, i.ID, millis(t.now), i.Actor, i.Total)
		if err == nil {
			_, err = t.exec(`insert into import_lists (import_id, list) values ($1, $2)`, i.ID, list)
		}
		if err != nil {
			return fmt.Errorf("keep a list: %w", err)
		}
		return nil
	})
}

const importColumns = `id, at, actor, total, recorded, started_at`

func scanImport(row scanner) (i Import, err error) {
	var at, started sql.NullInt64
	err = row.Scan(&i.ID, &at, &i.Actor, &i.Total, &i.Recorded, &started)
	if errors.Is(err, sql.ErrNoRows) {
		return i, fmt.Errorf("list: %w", ErrNotFound)
	}
	i.At, i.StartedAt = moment(at), moment(started)
	return i, err
}

// Import finds one list.
func (l *Ledger) Import(ctx context.Context, id string) (Import, error) {
	return scanImport(l.read.QueryRowContext(ctx, `select `+importColumns+` from imports where id = $1`, id))
}

// Imports lists those that were sent, newest first.
func (l *Ledger) Imports(ctx context.Context, limit int) ([]Import, error) {
	return collect(ctx, l.read, scanImport, `select `+importColumns+` from imports where started_at is not null order by started_at desc`+limited(limit))
}

// UnfinishedImports lists those that were sent and are not all recorded.
func (l *Ledger) UnfinishedImports(ctx context.Context) ([]Import, error) {
	return collect(ctx, l.read, scanImport, `select `+importColumns+` from imports where started_at is not null and recorded < total order by started_at`)
}

// ImportList is what DraftImport was given, empty once all is recorded.
func (l *Ledger) ImportList(ctx context.Context, id string) (list string, err error) {
	err = l.read.QueryRowContext(ctx, `select list from import_lists where import_id = $1`, id).Scan(&list)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return list, err
}

// StartImport makes a draft one that is sent. Started before, it stays as it is.
func (l *Ledger) StartImport(ctx context.Context, by, id string) (i Import, err error) {
	err = l.change(ctx, func(t *tx) error {
		if i, err = scanImport(t.row(`select `+importColumns+` from imports where id = $1`+t.lockRow, id)); err != nil || !i.StartedAt.IsZero() {
			return err
		}
		i.StartedAt = t.now
		if _, err := t.exec(`update imports set started_at = $2, actor = $3 where id = $1`, id, millis(t.now), by); err != nil {
			return err
		}
		return t.audit(Entry{Actor: by, What: DidImport, Subject: "list " + id, After: fmt.Sprintf("%d people", i.Total)})
	})
	return i, err
}

// An ImportRow is one of a list's people.
type ImportRow struct {
	Line    int // of the text that the list was read from
	Verdict Verdict
}

// RecordImport records the people of a list from a place on, in one commit with how far it got. It is ErrConflict where
// the list got further meanwhile: another process records it too.
func (l *Ledger) RecordImport(ctx context.Context, id string, from int, rows []ImportRow) error {
	return l.change(ctx, func(t *tx) error {
		if err := t.changesMany(); err != nil {
			return err
		}
		n, err := t.exec(`update imports set recorded = recorded + $3 where id = $1 and recorded = $2 and started_at is not null`, id, from, len(rows))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("record a list: %w: it got further meanwhile", ErrConflict)
		}
		if err := t.recordRows(id, from, rows); err != nil {
			return fmt.Errorf("record a list: %w", err)
		}
		_, err = t.exec(`delete from import_lists where import_id in (select id from imports where id = $1 and recorded >= total)`, id)
		return err
	})
}

// recordRows is recordByHand for many whose events are new: it costs a tenth.
func (t *tx) recordRows(id string, from int, rows []ImportRow) error {
	before, err := t.statesOf(rows)
	if err != nil {
		return err
	}
	all := make([]*statement, len(rows))
	for i, row := range rows {
		all[i] = &statement{pass: newPass(0), verdict: row.Verdict}
	}
	if err := t.recordAll(all); err != nil {
		return err
	}
	after, err := t.statesOf(rows)
	if err != nil {
		return err
	}
	var entries, places []any
	for i, s := range all {
		v := s.verdict
		became := after[v.Decision.Address]
		if s.invitation == 0 {
			became = "not invited: " + string(v.Decision.Reason)
		}
		entries = append(entries, millis(t.now), v.By, DidInvite, orNoID(s.invitation), "list "+id, before[v.Decision.Address], became)
		places = append(places, id, from+i, rows[i].Line, s.event, orNoID(s.invitation))
	}
	if err := t.inGroups(`insert into audit (at, actor, what, invitation_id, subject, before, after) values `, 7, entries, ``, nil); err != nil {
		return err
	}
	return t.inGroups(`insert into import_rows (import_id, place, line, event_id, invitation_id) values `, 5, places, ``, nil)
}

// statesOf are the states of the invitations that the addresses have.
func (t *tx) statesOf(rows []ImportRow) (map[access.Address]string, error) {
	states, values := map[access.Address]string{}, make([]any, len(rows))
	byText := make(map[string]access.Address, len(rows))
	for i, row := range rows {
		values[i] = row.Verdict.Decision.Address.Full()
		byText[row.Verdict.Decision.Address.Full()] = row.Verdict.Decision.Address
	}
	err := t.inGroups(`select email, state from invitations where email in (`, 1, values, `)`, func(row scanner) error {
		var email, state string
		err := row.Scan(&email, &state)
		states[byText[email]] = state
		return err
	})
	return states, err
}

// An ImportProgress is how far the recorded people of a list are.
type ImportProgress struct {
	States  map[State]int // of their invitations
	Refused int           // nobody is invited
}

// ImportProgress counts how far a list is.
func (l *Ledger) ImportProgress(ctx context.Context, id string) (p ImportProgress, err error) {
	p.States = map[State]int{}
	counts, err := collect(ctx, l.read, scanStateCount, `select coalesce(i.state, ''), count(*) from import_rows r
		left join invitations i on i.id = r.invitation_id where r.import_id = $1 group by i.state`, id)
	for _, c := range counts {
		if c.state == "" {
			p.Refused = int(c.n)
		} else {
			p.States[c.state] = int(c.n)
		}
	}
	return p, err
}

// An ImportedRow is what became of one of a list's people.
type ImportedRow struct {
	Place, Line  int
	EventID      int64
	InvitationID int64  // 0: nobody is invited
	Email        string // whole; empty where retention has removed it
	State        State
	Reason       string // of the state, or why nobody is invited
}

// An ImportedFilter narrows the people of a list. The zero value takes the first of them all.
type ImportedFilter struct {
	State   State
	Refused bool // those whom nobody invites
	From    int  // the place
	Limit   int
}

// Imported lists what became of a list's people, in its order.
func (l *Ledger) Imported(ctx context.Context, id string, f ImportedFilter) ([]ImportedRow, error) {
	where := conditions{}
	where.add("r.import_id = ", id, true)
	where.add("r.place >= ", f.From, f.From > 0)
	where.add("i.state = ", string(f.State), f.State != "")
	condition := where.text
	if f.Refused {
		condition += ` and r.invitation_id is null`
	}
	return collect(ctx, l.read, scanImportedRow, `select r.place, r.line, r.event_id, coalesce(r.invitation_id, 0), coalesce(i.email, d.email, ''),
			coalesce(i.state, ''), coalesce(i.reason, d.sentence, '')
		from import_rows r left join invitations i on i.id = r.invitation_id
		left join decisions d on r.invitation_id is null and d.id = (select max(n.id) from decisions n where n.event_id = r.event_id)`+
		condition+` order by r.place`+limited(f.Limit), where.args...)
}

func scanImportedRow(row scanner) (r ImportedRow, err error) {
	err = row.Scan(&r.Place, &r.Line, &r.EventID, &r.InvitationID, &r.Email, &r.State, &r.Reason)
	return r, err
}

// tidyDrafts removes lists that nobody sent.
func (l *Ledger) tidyDrafts(ctx context.Context, before time.Time, _ *Tidied) (more bool, err error) {
	const some = 10 // they are large
	old, err := collect(ctx, l.read, scanText, `select id from imports where started_at is null and at < $1 limit $2`, millis(before), some)
	if err != nil {
		return false, err
	}
	for _, id := range old {
		err := l.change(ctx, func(t *tx) error {
			i, err := scanImport(t.row(`select `+importColumns+` from imports where id = $1`+t.lockRow, id))
			if errors.Is(err, ErrNotFound) || err == nil && !i.StartedAt.IsZero() { // somebody sends it after all
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := t.exec(`delete from import_lists where import_id = $1`, id); err != nil {
				return err
			}
			_, err = t.exec(`delete from imports where id = $1`, id)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	return len(old) == some, nil
}
