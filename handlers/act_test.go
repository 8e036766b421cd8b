package handlers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/ledger"
)

// people has one invitation in each state: the number is its identity.
func people(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, nil)
	w.record(t, "evt_1", "held@held.example")
	w.record(t, "evt_2", "queued@pro.example")
	w.settle(t, w.record(t, "evt_3", "sent@example.com"), ledger.Sent, "")
	w.settle(t, w.record(t, "evt_4", "failed@example.com"), ledger.Failed, "Retool refuses this address")
	w.settle(t, w.record(t, "evt_5", "expired@example.com"), ledger.Expired, "")
	w.settle(t, w.record(t, "evt_6", "accepted@example.com"), ledger.Accepted, "")
	w.settle(t, w.record(t, "evt_7", "revoked@example.com"), ledger.Revoked, "")
	return w
}

// list is a body with one row for each address.
func list(addresses ...string) string {
	rows := make([]string, len(addresses))
	for i, one := range addresses {
		rows[i] = fmt.Sprintf(`{"email": %q}`, one)
	}
	return `{"invitations": [` + strings.Join(rows, ", ") + `]}`
}

func TestPreview(t *testing.T) {
	const path = "/v1/invitations/preview"
	one := func(name, address string, want ...string) scenario {
		return scenario{name: name, path: path, body: list(address), wantStatus: 200, wantBody: append(want, `"row":0`)}
	}
	run(t, people(t), []scenario{
		one("a new address", " New@Example.com ", `"email":"new@example.com","effect":"invites","words":"a new invitation","outcome":"invite","reason":"external"`, `"rule":null,"groups":[],"attributes":{}`, `"invites":1`),
		one("a rule gives groups", "new@pro.example", `"effect":"invites"`, `"reason":"rule"`, `"rule":1,"groups":[7,9]`),
		one("a rule holds", "new@held.example", `"effect":"holds","words":"a new invitation, held until a person approves it","outcome":"hold"`, `"rule":0`),
		one("an own domain", "boss@acme.com", `"effect":"refuses","words":"acme.com is your own domain`, `"outcome":"skip","reason":"internal_domain"`),
		one("no address", "boss", `"email":"boss","effect":"invalid","words":"address: has no @ sign"`, `"errors":[{"field":"email"`, `"mend"`),
		one("one that is held, by a rule that still holds", "held@held.example", `"effect":"nothing","words":"is held already: nothing happens"`, `"invitation":1,"state":"held"`),
		one("one that is queued", "queued@pro.example", `"effect":"nothing","words":"is queued already: nothing happens"`, `"invitation":2,"state":"queued"`),
		one("one that is sent", "sent@example.com", `"effect":"nothing","words":"is sent already: nothing happens"`, `"invitation":3`),
		one("one that failed", "failed@example.com", `"effect":"queues","words":"is failed: will be queued again"`),
		one("one that expired", "expired@example.com", `"effect":"queues"`),
		one("one that came in", "accepted@example.com", `"effect":"nothing","words":"is accepted already: nothing happens"`),
		one("one that was taken back", "revoked@example.com", `"effect":"queues","words":"is revoked: will be queued again"`),
		{name: "doubles within the list", path: path, body: list("a@example.com", "b@example.com", "A@example.com", "bad", "bad"), wantStatus: 200,
			wantBody: []string{`"row":2,"email":"a@example.com","effect":"doubles","words":"the same address as in row 1"`, `"doubles":0`, `"invites":2`, `"doubles":1`, `"invalid":2`}},
		{name: "groups that a sent one has not", path: path, body: `{"invitations": [{"email": "sent@example.com", "groups": [5]}]}`, wantStatus: 200,
			wantBody: []string{`"words":"is sent already: nothing happens, but that groups and attributes are added"`, `"adds":true`}},
		{name: "every mistake of a row", path: path, body: `{"invitations": [{"email": "x", "groups": [0], "note": "` + strings.Repeat("x", 1001) + `"}]}`, wantStatus: 200,
			wantBody: []string{`"field":"email"`, `"field":"groups[0]"`, `"field":"note"`}},
		{name: "an empty list", path: path, body: `{"invitations": []}`, wantStatus: 422, wantBody: []string{`"field":"invitations"`}},
		{name: "no list", path: path, body: `{}`, wantStatus: 422, wantBody: []string{`"field":"invitations"`}},
		{name: "too many", path: path, body: list(make([]string, 1001)...), wantStatus: 422, wantBody: []string{"has 1001 rows", "at most 1000"}},
		{name: "an unknown field of a row", path: path, body: `{"invitations": [{"mail": "x@example.com"}]}`, wantStatus: 422, wantBody: []string{`"field":"mail"`}},
		{name: "nothing was recorded", path: "/v1/invitations?limit=1", wantStatus: 200, wantBody: []string{`"id":7,`}},
		{name: "and no event", path: "/v1/events?source=api", wantStatus: 200, wantBody: []string{`"events":[]`}},
	})
}

// What the preview says is what happens.
func TestPreviewTellsTheTruth(t *testing.T) {
	w := people(t)
	addresses := []string{"new@example.com", "new@held.example", "held@held.example", "queued@pro.example", "sent@example.com", "failed@example.com",
		"expired@example.com", "accepted@example.com", "revoked@example.com", "boss@acme.com", "failed@example.com"}
	after := map[string]ledger.State{"invites": "queued", "holds": "held", "queues": "queued", "releases": "queued", "refuses": "", "doubles": "queued"}
	type row struct {
		Email, Effect string
		State         ledger.State
	}
	ask := func(path string, want int) (answer struct{ Rows []row }) {
		t.Helper()
		got, body := do(t, w, scenario{path: path, body: list(addresses...)}.request(t, w))
		if err := json.Unmarshal([]byte(body), &answer); err != nil || got.StatusCode != want {
			t.Fatalf("%d %s: %v", got.StatusCode, body, err)
		}
		return answer
	}
	foreseen, done := ask("/v1/invitations/preview", 200), ask("/v1/invitations/batch", 202)
	for i, before := range foreseen.Rows {
		want, changes := after[before.Effect]
		if !changes {
			want = before.State
		}
		if done.Rows[i].State != want {
			t.Errorf("%s was said to become %q (%s), and is %q", before.Email, want, before.Effect, done.Rows[i].State)
		}
	}
}

func TestInviteMany(t *testing.T) {
	const path = "/v1/invitations/batch"
	run(t, people(t), []scenario{
		{name: "one bad row refuses all", path: path, body: list("ok@example.com", "bad", "ok2@example.com", "worse@"), wantStatus: 422,
			wantBody: []string{`"field":"invitations[1].email"`, `"field":"invitations[3].email"`}, wantAbsent: []string{"invitations[0]", "invitations[2]"}},
		{name: "and nobody was invited", path: "/v1/invitations?limit=1", wantStatus: 200, wantBody: []string{`"id":7,`}},
		{name: "but for those that are right, when told so", path: path, body: `{"skip_invalid": true, ` + list("ok@example.com", "bad", "boss@acme.com")[1:], wantStatus: 202,
			wantBody: []string{`"row":0,"email":"ok@example.com","effect":"invites"`, `"invitation":8,"state":"queued"`, `"row":1,"email":"bad","effect":"invalid"`, `"row":2,"email":"boss@acme.com","effect":"refuses"`,
				`"invites":1`, `"invalid":1`, `"refuses":1`}},
		{name: "a wrong type", path: path, body: `{"invitations": "ok@example.com"}`, wantStatus: 422, wantBody: []string{`"field":"invitations"`}},
		{name: "more than a call may bring", path: path, body: list(strings.Repeat("x", 1<<20)), wantStatus: 413, wantBody: []string{"1048576"}},
		{name: "what a rule refused is recorded", path: "/v1/events?source=api&reason=internal_domain", wantStatus: 200, wantBody: []string{`"outcome":"skip"`}},
	})
}

// Beyond one commit.
func TestInviteAThousand(t *testing.T) {
	addresses := make([]string, 1000)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("user%d@example.com", i)
	}
	run(t, newWorld(t, nil), []scenario{
		{name: "all of them", path: "/v1/invitations/batch", body: list(addresses...), wantStatus: 202, wantBody: []string{`"invites":1000`, `"invitation":1000,"state":"queued"`}},
		{name: "once", path: "/v1/invitations/batch", body: list(addresses...), wantStatus: 202, wantBody: []string{`"invites":0`, `"nothing":1000`}, wantAbsent: []string{`"invitation":1001`}},
	})
}

func TestRevoke(t *testing.T) {
	const path = "/v1/invitations"
	run(t, people(t), []scenario{
		{name: "what is held", method: "POST", path: path + "/1/revoke", wantStatus: 202, wantBody: []string{`"state":"revoked"`}, wantHeader: map[string]string{"Location": path + "/1"}},
		{name: "what waits", method: "POST", path: path + "/2/revoke", wantStatus: 202, wantBody: []string{`"state":"revoked"`, "taken back by hand"}, wantAbsent: []string{"Retool is being told"}},
		{name: "what was sent", method: "POST", path: path + "/3/revoke", wantStatus: 202, wantBody: []string{`"state":"revoked"`, "Retool is being told"}},
		{name: "whom Retool let in", method: "POST", path: path + "/6/revoke", wantStatus: 409, wantBody: []string{"came in", "disable them in Retool"}},
		{name: "again", method: "POST", path: path + "/1/revoke", wantStatus: 409, wantBody: []string{"revoked already"}},
		{name: "none", method: "POST", path: path + "/99/revoke", wantStatus: 404},
		{name: "with an empty object", path: path + "/4/revoke", body: `{}`, wantStatus: 202},
		{name: "with fields", path: path + "/5/revoke", body: `{"email": "x@example.com"}`, wantStatus: 422, wantBody: []string{`"field":"email"`}},
		{name: "in the trail", path: "/v1/audit?invitation=3", wantStatus: 200, wantBody: []string{`"actor":"admin_token","what":"revoke","invitation":3,"before":"sent","after":"revoked"`, `"next_cursor":null`}},
	})
}

func TestCorrect(t *testing.T) {
	const path = "/v1/invitations"
	fixed := func(address string) string { return fmt.Sprintf(`{"email": %q}`, address) }
	dry := func(address string) string { return fmt.Sprintf(`{"email": %q, "dry_run": true}`, address) }
	run(t, people(t), []scenario{
		{name: "no address", path: path + "/2/correct", body: `{}`, wantStatus: 422, wantBody: []string{`"field":"email"`, "is missing"}},
		{name: "what is none", path: path + "/2/correct", body: fixed("x"), wantStatus: 422, wantBody: []string{"has no @ sign"}},
		{name: "an own domain", path: path + "/2/correct", body: fixed("boss@acme.com"), wantStatus: 422, wantBody: []string{`"reason":"internal_domain"`}, wantAbsent: []string{"boss"}},
		{name: "the address it has", path: path + "/2/correct", body: fixed("QUEUED@pro.example"), wantStatus: 409, wantBody: []string{"that is the address it has"}},
		{name: "of none", path: path + "/99/correct", body: fixed("x@example.com"), wantStatus: 404},
		{name: "whom Retool let in", path: path + "/6/correct", body: fixed("x@example.com"), wantStatus: 409, wantBody: []string{"came in"}},

		{name: "what would come of an own domain", path: path + "/2/correct", body: dry("boss@acme.com"), wantStatus: 200, wantBody: []string{`"effect":"refuses"`, `"reason":"internal_domain"`}},
		{name: "what would come of the address it has", path: path + "/2/correct", body: dry("queued@pro.example"), wantStatus: 409, wantBody: []string{"that is the address it has"}},
		{name: "what would come of whom Retool let in", path: path + "/6/correct", body: dry("x@example.com"), wantStatus: 409, wantBody: []string{"came in"}},
		{name: "what would come of an address that has an invitation", path: path + "/2/correct", body: dry("expired@example.com"), wantStatus: 200, wantBody: []string{`"effect":"queues"`, `"invitation":5`}},
		{name: "what would come of one let in before, whom a rule holds", path: path + "/3/correct", body: dry("new@held.example"), wantStatus: 200, wantBody: []string{`"effect":"invites"`}},
		{name: "nothing came of asking", path: path + "/2", wantStatus: 200, wantBody: []string{`"state":"queued"`}, wantAbsent: []string{"corrected_to"}},
		{name: "to a new address, with the groups it had", path: path + "/2/correct", body: fixed("right@example.com"), wantStatus: 202, wantHeader: map[string]string{"Location": path + "/8"},
			wantBody: []string{`"id":8,"email":"right@example.com","state":"queued"`, `"groups":[7,9]`, `"source":"stripe"`}},
		{name: "the old one knows the new one", path: path + "/2", wantStatus: 200, wantBody: []string{`"state":"revoked"`, `"corrected_to":8`}},
		{name: "the new one has the event that paid", path: path + "/8", wantStatus: 200, wantBody: []string{`"source":"stripe","type":"invoice.paid","id":"corrected-`}},
		{name: "a second time", path: path + "/2/correct", body: fixed("other@example.com"), wantStatus: 409, wantBody: []string{"see invitation 8"}},
		{name: "the new one is wrong too", path: path + "/8/correct", body: fixed("righter@pro.example"), wantStatus: 202, wantBody: []string{`"id":9`, `"groups":[7,9]`}},
		{name: "to an address that has an invitation", path: path + "/4/correct", body: fixed("expired@example.com"), wantStatus: 202, wantBody: []string{`"id":5`, `"state":"queued"`}},
		{name: "one let in is not held again", path: path + "/3/correct", body: fixed("new@held.example"), wantStatus: 202, wantBody: []string{`"email":"new@held.example","state":"queued"`}},
		{name: "one that is held stays held", path: path + "/1/correct", body: fixed("other@held.example"), wantStatus: 202, wantBody: []string{`"email":"other@held.example","state":"held"`}},
		{name: "one invited by hand", path: path, body: fixed("hand@exmaple.com"), wantStatus: 202},
		{name: "is corrected too", path: path + "/12/correct", body: fixed("hand@example.com"), wantStatus: 202, wantBody: []string{`"email":"hand@example.com"`, `"source":"api"`}},
		{name: "in the trail of both", path: "/v1/audit?invitation=8", wantStatus: 200, wantBody: []string{`"what":"correct","invitation":8,"subject":"from invitation 2"`}, wantAbsent: []string{"@"}},
	})
}

func TestApproveAll(t *testing.T) {
	w := people(t)
	w.record(t, "evt_8", "two@held.example")
	const path = "/v1/invitations/approve"
	run(t, w, []scenario{
		{name: "those of another state", method: "POST", path: path + "?state=failed", wantStatus: 409, wantBody: []string{"only held"}},
		{name: "those of no state", method: "POST", path: path + "?state=x", wantStatus: 422},
		{name: "all that are held", method: "POST", path: path + "?state=held", wantStatus: 202, wantBody: []string{`{"approved":2}`}},
		{name: "again", method: "POST", path: path, wantStatus: 202, wantBody: []string{`{"approved":0}`}},
	})
}

func TestAudit(t *testing.T) {
	w := people(t)
	run(t, w, []scenario{
		{name: "nobody did anything yet", path: "/v1/audit", wantStatus: 200, wantBody: []string{`{"entries":[],"next_cursor":null}`}},
		{name: "invite", path: "/v1/invitations", body: `{"email": "ada@example.com"}`, wantStatus: 202},
		{name: "invite whom a rule refuses", path: "/v1/invitations", body: `{"email": "boss@acme.com"}`, wantStatus: 422},
		{name: "approve", method: "POST", path: "/v1/invitations/1/approve", wantStatus: 202},
		{name: "newest first", path: "/v1/audit", wantStatus: 200, wantBody: []string{`{"entries":[{"id":3,`, `"what":"approve","invitation":1,"before":"held","after":"queued"`,
			`"what":"invite","before":"","after":"not invited: internal_domain"`, `"what":"invite","invitation":8,"before":"","after":"queued"`}, wantAbsent: []string{"@"}},
		{name: "a page", path: "/v1/audit?limit=1", wantStatus: 200, wantBody: []string{`"id":3,`, `"next_cursor":"3"`}, wantAbsent: []string{`"id":2,`}},
		{name: "the next", path: "/v1/audit?limit=1&cursor=3", wantStatus: 200, wantBody: []string{`"id":2,`}},
		{name: "of nobody", path: "/v1/audit?actor=nobody", wantStatus: 200, wantBody: []string{`"entries":[]`}},
		{name: "a filter with a typing error", path: "/v1/audit?invitations=1", wantStatus: 422},
	})
}
