package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// outside reads a ledger beside Usher, read-only and without any of Usher's code.
type outside struct {
	*sql.DB
	file bool // SQLite
}

func sqliteFile(t *testing.T, path string) *outside {
	t.Helper()
	return openOutside(t, "sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(10000)")
}

func openOutside(t *testing.T, driver, address string) *outside {
	t.Helper()
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	return &outside{DB: db, file: driver == "sqlite"}
}

// left says what is not done yet, or nothing.
func (o *outside) left(t *testing.T) string {
	t.Helper()
	var left []string
	for what, query := range map[string]string{
		"deliveries that are undecided":  `select count(*) from undecided`,
		"invitations that are not sent":  `select count(*) from invitations where state <> 'sent'`,
		"calls that are marked as begun": `select count(*) from invitations where sending_since is not null or unsure <> 0`,
		"invite jobs":                    `select count(*) from river_job where kind = 'invite' and finalized_at is null`,
	} {
		var n int
		if err := o.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
			t.Logf("%s: %v", what, err)
			return what
		}
		if n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
	}
	return strings.Join(left, ", ")
}

// prove compares the three witnesses: the senders, the ledger, and Retool.
func (o *outside) prove(s *siege, summary []byte) {
	s.Helper()
	if o.file {
		s.none("what integrity_check says", o.texts(s.T, `select * from pragma_integrity_check where integrity_check <> 'ok'`))
		s.none("rows that foreign_key_check names", o.texts(s.T, `select "table" || ' ' || rowid from pragma_foreign_key_check`))
	}
	if left := o.left(s.T); left != "" {
		s.Errorf("in the ledger there are %s", left)
	}
	s.none("events that were not decided once", o.texts(s.T, `select event_id from events e where (select count(*) from decisions d where d.event_id = e.id) <> 1`))
	s.none("deliveries that became nothing", o.texts(s.T, `select 'delivery ' || cast(id as text) from deliveries d
		where id not in (select delivery_id from events where delivery_id is not null union select delivery_id from resends)`))
	s.none("events that count as another one under its identity", o.texts(s.T, `select event_id from events where reuses_id_of is not null`))
	s.none("invitations without exactly one call that worked", o.texts(s.T, `select 'invitation ' || cast(id as text) from invitations i
		where (select count(*) from attempts a where a.invitation_id = i.id and a.outcome in ('sent', 'found', 'present')) <> 1`))
	o.proveAnswers(s)
	o.proveInvites(s)
	o.proveSummary(s, summary)
}

// proveAnswers: every 200 is in the ledger, under the delivery it named.
func (o *outside) proveAnswers(s *siege) {
	s.Helper()
	brought := map[string]bool{} // event and delivery
	known := map[int64]bool{}
	for _, pair := range o.texts(s.T, `select event_id || ' ' || cast(delivery_id as text) from events
		union all select e.event_id || ' ' || cast(r.delivery_id as text) from resends r join events e on e.id = r.event_id`) {
		name, _, _ := strings.Cut(pair, " ")
		brought[pair], known[eventNumber(name)] = true, true
	}
	var lost, strange []string
	events, deliveries := 0, 0
	for n, all := range s.senders.answered {
		events++
		for _, delivery := range all {
			deliveries++
			if delivery == 0 && !known[n] || delivery != 0 && !brought[fmt.Sprint(eventName(n), " ", delivery)] {
				lost = append(lost, fmt.Sprintf("event %d, delivery %d", n, delivery))
			}
		}
	}
	for n := range known {
		if n < 0 || n >= s.senders.next.Load() {
			strange = append(strange, eventName(n))
		}
	}
	s.none("answered 200 and lost", lost)
	s.none("events that nobody sent", strange)
	s.Logf("%d events answered 200 by %d deliveries (%d refused with 503, %d unheard, %d given up)", events, deliveries, s.senders.refused, s.senders.unheard, s.senders.dropped)
}

// proveInvites: every customer in the ledger has one invitation and one invite at Retool, and nobody else has.
func (o *outside) proveInvites(s *siege) {
	s.Helper()
	var wrong []string
	wanted := map[string]bool{}
	for _, row := range o.texts(s.T, `select e.event_id || ' ' || d.outcome || ' ' || d.email from events e join decisions d on d.event_id = e.id`) {
		var name, outcome, email string
		if _, err := fmt.Sscan(row, &name, &outcome, &email); err != nil {
			s.Fatalf("decision %q: %v", row, err)
		}
		n, want := eventNumber(name), "skip"
		if isCustomer(n) {
			want = "invite"
			wanted[email] = true
		}
		if outcome != want || email != eventEmail(n) {
			wrong = append(wrong, row)
		}
	}
	s.none("wrong decisions", wrong)
	invitations := o.texts(s.T, `select email from invitations`)
	var doubled, forgotten, uninvited []string
	for _, email := range invitations {
		if !wanted[email] {
			uninvited = append(uninvited, email)
		}
		delete(wanted, email)
		switch count := s.retool.Count(email); {
		case count == 0:
			forgotten = append(forgotten, email)
		case count > 1:
			doubled = append(doubled, fmt.Sprint(email, " ", count))
		}
	}
	for email := range wanted {
		forgotten = append(forgotten, email)
	}
	if made := len(s.retool.Invites()); made != len(invitations) {
		s.Errorf("Retool made %d invites for %d invitations", made, len(invitations))
	}
	s.none("invited more than once", doubled)
	s.none("never invited", forgotten)
	s.none("invitations that no event asks for", uninvited)
	s.Logf("%d invitations, %d invites made, by %d requests to Retool", len(invitations), len(s.retool.Invites()), s.retool.TotalRequests())
}

// proveSummary: Usher itself says the same.
func (o *outside) proveSummary(s *siege, summary []byte) {
	s.Helper()
	var says struct {
		Invitations map[string]int
		Undecided   int `json:"undecided_deliveries"`
		SetAside    int `json:"set_aside_deliveries"`
	}
	s.check(json.Unmarshal(summary, &says))
	sent := len(s.retool.Invites())
	all := 0
	for _, n := range says.Invitations {
		all += n
	}
	if sent == 0 || says.Invitations["sent"] != sent || all != sent || says.Undecided != 0 || says.SetAside != 0 {
		s.Errorf("Retool made %d invites, and the summary is %s", sent, summary)
	}
}

func (s *siege) none(what string, found []string) {
	s.Helper()
	if len(found) > 0 {
		s.Errorf("%d %s:\n  %s", len(found), what, lines(found))
	}
}

// texts runs a query of one text a row.
func (o *outside) texts(t *testing.T, query string) (all []string) {
	t.Helper()
	rows, err := o.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
