package handlers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func bearer(text string) http.Header { return http.Header{"Authorization": {text}} }

func TestAdminToken(t *testing.T) {
	challenge := map[string]string{"Www-Authenticate": `Bearer realm="usher"`}
	const path = "/v1/summary"
	run(t, newWorld(t, nil), []scenario{
		{name: "the right token", path: path, wantStatus: 200},
		{name: "the scheme in small letters", path: path, header: bearer("bearer " + adminToken), wantStatus: 200},
		{name: "no token", path: path, anonymous: true, wantStatus: 401, wantHeader: challenge, wantBody: []string{"Authorization: Bearer"}},
		{name: "a wrong token", path: path, header: bearer("Bearer wrong"), wantStatus: 401, wantHeader: challenge, wantAbsent: []string{"wrong"}},
		{name: "the start of the token", path: path, header: bearer("Bearer " + adminToken[:20]), wantStatus: 401},
		{name: "the token and more", path: path, header: bearer("Bearer " + adminToken + "x"), wantStatus: 401},
		{name: "an empty token", path: path, header: bearer("Bearer "), wantStatus: 401},
		{name: "the token alone", path: path, header: bearer(adminToken), wantStatus: 401},
		{name: "another scheme", path: path, header: bearer("Basic " + adminToken), wantStatus: 401},
		{name: "two spaces", path: path, header: bearer("Bearer  " + adminToken), wantStatus: 401},
		{name: "the token in the query", path: path + "?token=" + adminToken + "&access_token=" + adminToken, anonymous: true, wantStatus: 401},
		{name: "an unknown call without a token", path: "/v1/nothing", anonymous: true, wantStatus: 401},
		{name: "an unknown call with the token", path: "/v1/nothing", wantStatus: 404},
		{name: "another method of a call, without a token", method: "DELETE", path: path, anonymous: true, wantStatus: 401},
		{name: "a call that changes, without a token", method: "POST", path: "/v1/invitations/retry", anonymous: true, wantStatus: 401},
		{name: "the root", path: "/", wantStatus: 404},
	})
}

func TestAPIOff(t *testing.T) {
	tests := []struct {
		name   string
		change func(*handlers.Options)
	}{
		{name: "no token is set", change: func(o *handlers.Options) { o.AdminToken = "" }},
		{name: "a blank token is set", change: func(o *handlers.Options) { o.AdminToken = " \t" }},
		{name: "there is no ledger", change: func(o *handlers.Options) { o.Ledger = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, newWorld(t, tt.change), []scenario{
				{name: "with a token", path: "/v1/summary", wantStatus: 503, wantBody: []string{"the API is off", "USHER_ADMIN_TOKEN"}},
				{name: "without a token", path: "/v1/summary", anonymous: true, wantStatus: 503, wantBody: []string{"the API is off"}},
				{name: "with an empty token", path: "/v1/summary", header: bearer("Bearer "), wantStatus: 503},
				{name: "webhooks are accepted all the same", path: hook, signedBy: secret, body: "{}", wantStatus: 200},
				{name: "ready all the same", path: "/readyz", wantStatus: 200},
			})
		})
	}
}

func TestCreateInvitation(t *testing.T) {
	const path = "/v1/invitations"
	located := func(id string) map[string]string { return map[string]string{"Location": path + "/" + id} }
	run(t, newWorld(t, nil), []scenario{
		{name: "an address is enough", path: path, body: `{"email": "ada@example.com"}`, wantStatus: 202, wantHeader: located("1"),
			wantBody: []string{`"id":1`, `"email":"ada@example.com"`, `"state":"queued"`, `"groups":[]`, `"attributes":{}`, `"sent_at":null`, `"source":"api"`}},
		{name: "the same address is the same invitation", path: path, body: `{"email": " ADA@Example.COM "}`, wantStatus: 202, wantHeader: located("1"), wantBody: []string{`"id":1`}},
		{name: "all fields", path: path, body: `{"email": "bob@example.com", "groups": [9, 7, 9], "attributes": {"plan": "pro"}, "note": "asked by phone"}`, wantStatus: 202, wantHeader: located("2"),
			wantBody: []string{`"groups":[7,9]`, `"attributes":{"plan":"pro"}`, `"note":"asked by phone"`}},
		{name: "groups of a rule and of the call, each once", path: path, body: `{"email": "eve@pro.example", "groups": [8, 7]}`, wantStatus: 202, wantBody: []string{`"groups":[7,8,9]`}},
		{name: "groups asked for later are added", path: path, body: `{"email": "ada@example.com", "groups": [5]}`, wantStatus: 202, wantBody: []string{`"id":1`, `"groups":[5]`}},
		{name: "held by a rule", path: path, body: `{"email": "ada@held.example"}`, wantStatus: 202, wantBody: []string{`"state":"held"`}},

		{name: "an own domain", path: path, body: `{"email": "boss@acme.com"}`, wantStatus: 422, wantBody: []string{`"reason":"internal_domain"`, "acme.com is your own domain", `"field":"email"`}, wantAbsent: []string{"boss"}, wantHeader: map[string]string{"Location": ""}},
		{name: "a denied domain", path: path, body: `{"email": "eve@denied.example"}`, wantStatus: 422, wantBody: []string{`"reason":"denied_domain"`}, wantAbsent: []string{"eve@"}},
		{name: "no address", path: path, body: `{"note": "x"}`, wantStatus: 422, wantBody: []string{`"field":"email"`, "is missing"}},
		{name: "null", path: path, body: `null`, wantStatus: 422, wantBody: []string{"is missing"}},
		{name: "an address without @", path: path, body: `{"email": "ada.example.com"}`, wantStatus: 422, wantBody: []string{`"field":"email"`, "has no @ sign", `"mend":`}, wantAbsent: []string{"ada.example"}},
		{name: "a domain without a dot", path: path, body: `{"email": "ada@localhost"}`, wantStatus: 422, wantBody: []string{"domain"}, wantAbsent: []string{"ada@localhost", "localhost"}},
		{name: "two addresses", path: path, body: `{"email": "ada@x.example, bob@y.example"}`, wantStatus: 422, wantBody: []string{"more than one address"}, wantAbsent: []string{"x.example", "bob"}},
		{name: "a display name", path: path, body: `{"email": "Ada <ada@x.example>"}`, wantStatus: 422, wantAbsent: []string{"x.example"}},
		{name: "every mistake at once", path: path, body: `{"email": "ada", "groups": [1, 0, -4], "note": "` + strings.Repeat("x", 1001) + `"}`, wantStatus: 422,
			wantBody: []string{`"field":"email"`, `"field":"groups[1]"`, `"field":"groups[2]"`, `"field":"note"`}, wantAbsent: []string{`"field":"groups[0]"`}},
		{name: "an unknown field", path: path, body: `{"email": "ada@example.com", "group": 5}`, wantStatus: 422, wantBody: []string{`"field":"group"`, "is not a field"}},
		{name: "a wrong type", path: path, body: `{"email": 12.5}`, wantStatus: 422, wantBody: []string{`"field":"email"`, "is a number, wants a string"}, wantAbsent: []string{"12.5"}},
		{name: "a wrong type in a list", path: path, body: `{"email": "ada@example.com", "groups": ["canary@x.example"]}`, wantStatus: 422, wantBody: []string{`"field":"groups`}, wantAbsent: []string{"x.example"}},
		{name: "no object", path: path, body: `["ada@x.example"]`, wantStatus: 400, wantBody: []string{`"field":"body"`}, wantAbsent: []string{"x.example"}},
		{name: "no JSON", path: path, body: `email=ada@x.example`, wantStatus: 400, wantBody: []string{"not one JSON object"}, wantAbsent: []string{"x.example"}},
		{name: "JSON cut short", path: path, body: `{"email": "ada@x.example"`, wantStatus: 400, wantAbsent: []string{"x.example"}},
		{name: "an empty body", method: "POST", path: path, wantStatus: 400, wantBody: []string{"the body is empty"}},
		{name: "a second object behind the first", path: path, body: `{"email": "ada@example.com"} {"email": "bob@example.com"}`, wantStatus: 400},
		{name: "garbage behind the object", path: path, body: `{"email": "ada@example.com"}x`, wantStatus: 400},
		{name: "too large", path: path, body: `{"note": "` + strings.Repeat("x", 64<<10) + `"}`, wantStatus: 413, wantBody: []string{"65536"}},
		{name: "too large, in chunks", path: path, body: `{"note": "` + strings.Repeat("x", 64<<10) + `"}`, stream: true, wantStatus: 413},

		{name: "none of the refused made an invitation", path: path, wantStatus: 200, wantBody: []string{"ada@example.com", "bob@example.com", "eve@pro.example", "ada@held.example"}, wantAbsent: []string{"acme.com", "denied.example", "x.example", `"id":5`}},
	})
}

func TestListInvitations(t *testing.T) {
	w := newWorld(t, nil)
	w.settle(t, w.record(t, "evt_1", "ada@example.com"), ledger.Failed, "Retool refuses this address")
	w.record(t, "evt_2", "bob@example.com")
	w.record(t, "evt_3", "eve@held.example")
	const path = "/v1/invitations"
	run(t, w, []scenario{
		{name: "all, newest first", path: path, wantStatus: 200, wantBody: []string{`{"invitations":[{"id":3,`, `"next_cursor":null`}},
		{name: "by state", path: path + "?state=failed", wantStatus: 200, wantBody: []string{"ada@example.com", "Retool refuses this address"}, wantAbsent: []string{"bob@", "eve@"}},
		{name: "a state without any", path: path + "?state=revoked", wantStatus: 200, wantBody: []string{`{"invitations":[],"next_cursor":null}`}},
		{name: "no state", path: path + "?state=broken", wantStatus: 422, wantBody: []string{`"field":"state"`, "queued"}},
		{name: "by address, in any writing", path: path + "?email=" + url.QueryEscape("Bob@EXAMPLE.com"), wantStatus: 200, wantBody: []string{"bob@example.com"}, wantAbsent: []string{"ada@", "eve@"}},
		{name: "by an address that is none", path: path + "?email=bob", wantStatus: 422, wantBody: []string{`"field":"email"`}},
		{name: "by source", path: path + "?source=stripe", wantStatus: 200, wantBody: []string{"ada@example.com", "bob@example.com"}},
		{name: "by another source", path: path + "?source=api", wantStatus: 200, wantBody: []string{`"invitations":[]`}},
		{name: "by all", path: path + "?state=queued&source=stripe&email=bob%40example.com&limit=1", wantStatus: 200, wantBody: []string{"bob@example.com"}},
		{name: "since a day", path: path + "?since=2020-01-01", wantStatus: 200, wantBody: []string{"ada@example.com", "eve@held.example"}},
		{name: "since a time to come", path: path + "?since=2999-01-01T00:00:00Z", wantStatus: 200, wantBody: []string{`"invitations":[]`}},
		{name: "since what is no time", path: path + "?since=yesterday", wantStatus: 422, wantBody: []string{`"field":"since"`}},
		{name: "a search since a day", path: path + "?q=ada&since=2020-01-01", wantStatus: 422, wantBody: []string{`"field":"since"`, "does not go together with q"}},
		{name: "a filter with a typing error", path: path + "?stat=failed", wantStatus: 422, wantBody: []string{`"field":"stat"`, "is not a parameter of this call"}},
		{name: "a quotation mark is text", path: path + "?source=" + url.QueryEscape(`' or 1=1 --`), wantStatus: 200, wantBody: []string{`"invitations":[]`}},
		{name: "the least limit", path: path + "?limit=1", wantStatus: 200, wantBody: []string{`"next_cursor":"3"`}},
		{name: "the greatest limit", path: path + "?limit=200", wantStatus: 200},
		{name: "a limit of none", path: path + "?limit=0", wantStatus: 422, wantBody: []string{`"field":"limit"`, "from 1 to 200"}},
		{name: "a limit too great", path: path + "?limit=201", wantStatus: 422},
		{name: "a limit that is no number", path: path + "?limit=ten", wantStatus: 422},
		{name: "a cursor", path: path + "?cursor=2", wantStatus: 200, wantBody: []string{"ada@example.com"}, wantAbsent: []string{"bob@"}},
		{name: "a cursor of none", path: path + "?cursor=0", wantStatus: 422, wantBody: []string{`"field":"cursor"`}},
		{name: "a cursor below all", path: path + "?cursor=-1", wantStatus: 422},
		{name: "a cursor beyond 64 bits", path: path + "?cursor=9223372036854775808", wantStatus: 422},
	})
}

// A walk sees each invitation once, though others are made under way.
func TestCursorWalk(t *testing.T) {
	const count = 120
	w := newWorld(t, nil)
	for i := range count {
		w.record(t, fmt.Sprintf("evt_%d", i), fmt.Sprintf("user%d@example.com", i))
	}
	for _, limit := range []string{"", "7", "40", "200"} {
		t.Run("limit "+limit, func(t *testing.T) {
			var seen []int64
			query := url.Values{}
			if limit != "" {
				query.Set("limit", limit)
			}
			for pages := 0; ; pages++ {
				if pages > 3*count {
					t.Fatal("the walk does not end")
				}
				_, body := do(t, w, scenario{path: "/v1/invitations?" + query.Encode()}.request(t, w))
				var page struct {
					Invitations []struct{ ID int64 }
					NextCursor  *string `json:"next_cursor"`
				}
				if err := json.Unmarshal([]byte(body), &page); err != nil {
					t.Fatal(err)
				}
				for _, one := range page.Invitations {
					seen = append(seen, one.ID)
				}
				w.record(t, fmt.Sprintf("evt_%s_%d", limit, pages), fmt.Sprintf("late%d@limit%s.example.com", pages, limit))
				if page.NextCursor == nil {
					break
				}
				query.Set("cursor", *page.NextCursor)
			}
			if !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
				t.Errorf("out of order or twice: %v", seen)
			}
			if int64(len(seen)) != seen[0] || seen[len(seen)-1] != 1 {
				t.Errorf("%d of %d invitations were seen", len(seen), seen[0])
			}
		})
	}
}

func TestShowAndChangeInvitation(t *testing.T) {
	w := newWorld(t, nil)
	w.settle(t, w.record(t, "evt_1", "ada@example.com"), ledger.Failed, "Retool refuses this address")
	w.record(t, "evt_2", "ada@example.com")
	w.record(t, "evt_3", "eve@held.example")
	w.settle(t, w.record(t, "evt_4", "sent@example.com"), ledger.Sent, "")
	const path = "/v1/invitations"
	missing := []string{`"title":"Not Found"`, `"status":404`, `"type":"about:blank"`, "not in the ledger"}
	run(t, w, []scenario{
		{name: "show with events and attempts", path: path + "/1", wantStatus: 200, wantBody: []string{
			`"email":"ada@example.com"`, `"events":[{"id":1,`, `"id":"evt_1"`, `"id":"evt_2"`, `"outcome":"invite"`, `"reason":"external"`, `"rule":null`,
			`"attempts":[{"kind":"invite"`, `"duration_ms":123`, `"transport":"v2","status":422,"outcome":"never","message":"Retool refuses this address"`}},
		{name: "show without attempts", path: path + "/2", wantStatus: 200, wantBody: []string{`"state":"held"`, `"attempts":[]`, `"rule":0`}},
		{name: "show none", path: path + "/99", wantStatus: 404, wantBody: missing},
		{name: "show zero", path: path + "/0", wantStatus: 404, wantBody: missing},
		{name: "show a negative one", path: path + "/-1", wantStatus: 404, wantBody: missing},
		{name: "show what is no number", path: path + "/ada", wantStatus: 404, wantBody: missing},
		{name: "show beyond 64 bits", path: path + "/9223372036854775808", wantStatus: 404, wantBody: missing},

		{name: "retry none", method: "POST", path: path + "/99/retry", wantStatus: 404, wantBody: missing},
		{name: "retry what is held", method: "POST", path: path + "/2/retry", wantStatus: 409, wantBody: []string{`"title":"Conflict"`, "approve it instead"}},
		{name: "retry what was sent: it is sent again", method: "POST", path: path + "/3/retry", wantStatus: 202, wantBody: []string{`"state":"queued"`, "to be sent again"}},
		{name: "approve none", method: "POST", path: path + "/99/approve", wantStatus: 404, wantBody: missing},
		{name: "approve what is not held", method: "POST", path: path + "/3/approve", wantStatus: 409, wantBody: []string{"not held"}},
		{name: "approve", method: "POST", path: path + "/2/approve", wantStatus: 202, wantBody: []string{`"state":"queued"`, "approved by hand"}, wantHeader: map[string]string{"Location": path + "/2"}},
		{name: "approve again", method: "POST", path: path + "/2/approve", wantStatus: 409},
		{name: "retry what waits", method: "POST", path: path + "/2/retry", wantStatus: 202, wantBody: []string{`"state":"queued"`}, wantHeader: map[string]string{"Location": path + "/2"}},
		{name: "retry, and a second time", method: "POST", path: path + "/1/retry", wantStatus: 202, wantBody: []string{`"state":"queued"`, "put back to work by hand"}},

		{name: "retry what is being sent", before: func(t *testing.T, w *world) {
			t.Helper()
			inv, err := w.ledger.Invitation(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if slot, err := w.ledger.TakeSlot(t.Context(), ledger.InviteJob{Invitation: 1, Run: inv.Run}, time.Millisecond); err != nil || !slot.Granted {
				t.Fatalf("slot %+v, error %v", slot, err)
			}
		}, method: "POST", path: path + "/1/retry", wantStatus: 409, wantBody: []string{"being sent right now"}},
		{name: "retry all", before: func(t *testing.T, w *world) {
			t.Helper()
			for i := range 3 {
				w.settle(t, w.record(t, fmt.Sprintf("evt_all_%d", i), fmt.Sprintf("all%d@example.com", i)), ledger.Failed, "Retool is down")
			}
		}, method: "POST", path: path + "/retry", wantStatus: 202, wantBody: []string{`{"retried":3}`}},
		{name: "retry all again: none is left", method: "POST", path: path + "/retry?state=failed", wantStatus: 202, wantBody: []string{`{"retried":0}`}},
		{name: "retry all expired", method: "POST", path: path + "/retry?state=expired", wantStatus: 202},
		{name: "retry all sent", method: "POST", path: path + "/retry?state=sent", wantStatus: 409, wantBody: []string{"only failed and expired"}},
		{name: "retry all of no state", method: "POST", path: path + "/retry?state=broken", wantStatus: 422},
	})
}

func TestEventsAndReplay(t *testing.T) {
	w := newWorld(t, nil)
	deliver := func(id, email string) scenario {
		return scenario{name: "deliver " + id, path: hook, signedBy: secret, body: event(id, email), wantStatus: 200,
			after: func(t *testing.T, w *world, _ string) { t.Helper(); w.decide(t) }}
	}
	first := event("evt_first", "ada@example.com")
	deliverFirst := scenario{name: "deliver evt_first", path: hook, signedBy: secret, body: first, wantStatus: 200, after: deliver("", "").after}
	run(t, w, []scenario{
		deliverFirst,
		deliver("evt_own", "boss@acme.com"),
		deliverFirst, // a resend
		{name: "by our number", path: "/v1/events/1", wantStatus: 200, wantBody: []string{`{"id":1,"delivery":1,`, `"resends":1`, `"id":"evt_first"`, `"outcome":"invite"`, `"invitation":1`, `"waiting_for_look_up":false`}},
		{name: "by the sender's identity", path: "/v1/events/evt_first", wantStatus: 200, wantBody: []string{`{"id":1,"delivery":1,`}},
		{name: "why somebody was not invited", path: "/v1/events/evt_own", wantStatus: 200, wantBody: []string{`"outcome":"skip"`, `"reason":"internal_domain"`, "acme.com is your own domain"}, wantAbsent: []string{`"invitation":`}},
		{name: "an unknown number", path: "/v1/events/99", wantStatus: 404, wantBody: []string{"event: not in the ledger"}},
		{name: "an unknown identity", path: "/v1/events/evt_none", wantStatus: 404},
		{name: "a quotation mark is text", path: "/v1/events/" + url.PathEscape(`' or 1=1 --`), wantStatus: 404},

		{name: "replay", method: "POST", path: "/v1/deliveries/2/replay", wantStatus: 202, wantBody: []string{`{"status":"undecided","delivery":2}`}, after: waits(1)},
		{name: "replay what waits already", method: "POST", path: "/v1/deliveries/2/replay", wantStatus: 202, after: func(t *testing.T, w *world, _ string) {
			t.Helper()
			waits(1)(t, w, "")
			w.decide(t)
		}},
		{name: "the replayed event has a history", path: "/v1/events/evt_own", wantStatus: 200, wantBody: []string{`"earlier_decisions":[{"outcome":"skip"`}},
		{name: "replay an unknown delivery", method: "POST", path: "/v1/deliveries/99/replay", wantStatus: 404, wantBody: []string{"delivery 99"}},
		{name: "replay what is no number", method: "POST", path: "/v1/deliveries/evt_own/replay", wantStatus: 404},

		{name: "an event whose address is asked for", before: func(t *testing.T, w *world) {
			t.Helper()
			e := access.Event{Source: "stripe", Type: "customer.subscription.created", ID: "evt_wait", Customer: "cus_1"}
			if _, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, LookUp: true}); err != nil {
				t.Fatal(err)
			}
			if err := w.ledger.RecordAttempt(t.Context(), ledger.Attempt{EventID: 3, Kind: "customer", StartedAt: time.Now(), Transport: "stripe", Status: 500, Outcome: "later", Message: "Stripe is down"}); err != nil {
				t.Fatal(err)
			}
		}, path: "/v1/events/evt_wait", wantStatus: 200, wantBody: []string{`"waiting_for_look_up":true`, `"decision":null`, `"occurred_at":null`, `"look_ups":[{"kind":"customer"`, "Stripe is down"}},
	})
}

func TestSummary(t *testing.T) {
	w := newWorld(t, nil)
	pace := func(c ledger.PaceChange) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			if _, err := w.ledger.ChangePace(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	const path = "/v1/summary"
	run(t, w, []scenario{
		{name: "nothing yet", path: path, wantStatus: 200, wantBody: []string{`"queued":0`, `"revoked":0`, `"undecided_deliveries":0`, `"oldest_waiting":null`, `"oldest_due":{"delivery":null,"job":null,"invitation":null}`, `"sending":{"state":"going on"}`}},
		{name: "a delivery waits", before: func(t *testing.T, w *world) {
			t.Helper()
			do(t, w, scenario{path: hook, signedBy: secret, body: event("evt_1", "ada@example.com")}.request(t, w))
		}, path: path, wantStatus: 200, wantBody: []string{`"undecided_deliveries":1`, `"oldest_waiting":"20`}, wantAbsent: []string{"ada@example.com"}},
		{name: "an invitation waits", before: func(t *testing.T, w *world) { t.Helper(); w.decide(t) }, path: path, wantStatus: 200, wantBody: []string{`"undecided_deliveries":0`, `"queued":1`, `"oldest_due":{"delivery":null,"job":"20`, `"invitation":"20`}},
		{name: "Retool asked us to wait", before: pace(ledger.PaceChange{Wait: time.Hour}), path: path, wantStatus: 200, wantBody: []string{`"state":"waiting"`, `"next_try_at":"20`}},
		{name: "sending is stopped", before: pace(ledger.PaceChange{Stop: "Retool refuses the token"}), path: path, wantStatus: 200, wantBody: []string{`"state":"stopped","reason":"Retool refuses the token","since":"20`, `"next_try_at":"20`}},
		{name: "Retool works again", before: pace(ledger.PaceChange{Works: true}), path: path, wantStatus: 200, wantBody: []string{`"sending":{"state":"going on"}`, `"warnings":[]`}},
	})
}

func TestSummaryTellsSeats(t *testing.T) {
	priced := func(price string, included int64) func(*handlers.Options) {
		return func(o *handlers.Options) { o.Seats = handlers.Seats{Price: price, Currency: "EUR", Included: included} }
	}
	const none = `"price":null,"cost":null,"cost_with_sent":null`
	tests := []struct {
		name   string
		change func(*handlers.Options)
		want   string // with 3 who came in, and 2 who may
	}{
		{name: "no price", change: priced("", 0), want: `"seats":{"accepted":3,"sent":2,"included":0,` + none},
		{name: "no price, some included", change: priced("", 7), want: `"included":7,` + none},
		{name: "a price", change: priced("12.50", 0), want: `"price":"12.50","currency":"EUR","cost":"37.50","cost_with_sent":"62.50"`},
		{name: "a price without cents", change: priced("8", 0), want: `"cost":"24","cost_with_sent":"40"`},
		{name: "a price that no binary fraction holds", change: priced("0.1", 0), want: `"cost":"0.3","cost_with_sent":"0.5"`},
		{name: "some are included", change: priced("12.50", 2), want: `"included":2,"price":"12.50","currency":"EUR","cost":"12.50","cost_with_sent":"37.50"`},
		{name: "all are included", change: priced("12.50", 100), want: `"cost":"0.00","cost_with_sent":"0.00"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.change)
			for i, state := range []ledger.State{ledger.Accepted, ledger.Accepted, ledger.Accepted, ledger.Sent, ledger.Sent, ledger.Failed} {
				w.settle(t, w.record(t, fmt.Sprintf("evt_%d", i), fmt.Sprintf("user%d@example.com", i)), state, "")
			}
			run(t, w, []scenario{{name: "is told", path: "/v1/summary", wantStatus: 200, wantBody: []string{tt.want, `"expiring_soon":0`}}})
		})
	}
}

// A later clock finds that nobody sends what is due.
func TestSummaryTellsIdle(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.Now = func() time.Time { return time.Now().Add(2 * time.Minute) } })
	w.record(t, "evt_1", "ada@example.com")
	run(t, w, []scenario{{name: "idle", path: "/v1/summary", wantStatus: 200, wantBody: []string{`"sending":{"state":"idle","reason":"an invitation is due and nobody sends it","since":"20`}}})
}

func TestDeliveriesThatWereSetAside(t *testing.T) {
	w := newWorld(t, nil)
	for range 2 {
		if _, err := w.ledger.Accept(t.Context(), ledger.Delivery{Source: "removed", ReceivedAt: time.Now(), Body: []byte("ada@example.com")}); err != nil {
			t.Fatal(err)
		}
	}
	for range 9 {
		if _, err := w.ledger.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) { return nil, errors.New("no such source") }); err != nil {
			t.Fatal(err)
		}
	}
	const path = "/v1/deliveries?state=set_aside"
	run(t, w, []scenario{
		{name: "newest first, with the reason", path: path + "&limit=1", wantStatus: 200, wantBody: []string{`"delivery":2,"source":"removed"`, `"tries":3,"error":"decide delivery 2: no such source"`, `"next_cursor":"2"`}, wantAbsent: []string{`"delivery":1`, "ada@"}},
		{name: "the last page", path: path + "&cursor=2", wantStatus: 200, wantBody: []string{`"delivery":1,`, `"next_cursor":null`}, wantAbsent: []string{`"delivery":2`}},
		{name: "no state", path: "/v1/deliveries", wantStatus: 422, wantBody: []string{`"field":"state"`, "set_aside"}},
		{name: "without a token", path: path, anonymous: true, wantStatus: 401},
	})
}

// Retention may have removed what a replay reads.
func TestReplayOfWhatIsGone(t *testing.T) {
	w := newWorld(t, nil)
	id, err := w.ledger.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: time.Now().Add(-2 * time.Hour), Body: []byte("old")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ledger.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if n, _, err := w.ledger.Tidy(t.Context(), ledger.Retention{Bodies: time.Hour}); err != nil || n.Bodies != 1 {
		t.Fatalf("removed %+v, %v", n, err)
	}
	run(t, w, []scenario{{name: "is told plainly", method: "POST", path: "/v1/deliveries/" + strconv.FormatInt(id, 10) + "/replay", wantStatus: 410,
		wantBody: []string{"delivery 1: its body is gone: it is older than retention.bodies; ask its sender to send the event again"}}})
}

func TestSummaryTellsTheWarnings(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) {
		o.Warnings = []string{"usher.yaml:4: sources.open.verify.kind: accepts anything that anybody sends"}
	})
	run(t, w, []scenario{
		{name: "to whom has the token", path: "/v1/summary", wantStatus: 200, wantBody: []string{`"warnings":["usher.yaml:4: sources.open.verify.kind: accepts anything that anybody sends"]`}},
		{name: "to nobody else", path: "/v1/summary", anonymous: true, wantStatus: 401, wantAbsent: []string{"sources.open"}},
	})
}
