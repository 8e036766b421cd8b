package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func TestListEvents(t *testing.T) {
	w := newWorld(t, nil)
	w.record(t, "evt_1", "ada@example.com")
	w.record(t, "evt_2", "")
	w.record(t, "evt_3", "boss@acme.com")
	w.record(t, "evt_4", "eve@held.example")
	if _, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: access.Event{Source: "form", Type: "submitted", ID: "evt_5"}, LookUp: true}); err != nil {
		t.Fatal(err)
	}
	const path = "/v1/events"
	since := func(d time.Duration) string { return url.QueryEscape(time.Now().Add(d).UTC().Format(time.RFC3339)) }
	run(t, w, []scenario{
		{name: "all, newest first", path: path, wantStatus: 200, wantBody: []string{`{"events":[{"id":5,`, `"next_cursor":null`, "evt_1"}},
		{name: "one that waits has no decision", path: path + "?type=submitted", wantStatus: 200, wantBody: []string{`"waiting_for_look_up":true,"decision":null`}, wantAbsent: []string{"evt_4"}},
		{name: "by reason", path: path + "?reason=no_address", wantStatus: 200, wantBody: []string{`"id":"evt_2"`, `"outcome":"skip","reason":"no_address"`}, wantAbsent: []string{"evt_1", "evt_3", "evt_4", "evt_5"}},
		{name: "by a reason that none has", path: path + "?reason=malformed", wantStatus: 200, wantBody: []string{`{"events":[],"next_cursor":null}`}},
		{name: "by outcome", path: path + "?outcome=hold", wantStatus: 200, wantBody: []string{`"id":"evt_4"`, `"invitation":2`}, wantAbsent: []string{"evt_1", "evt_3", "evt_5"}},
		{name: "no outcome", path: path + "?outcome=maybe", wantStatus: 422, wantBody: []string{`"field":"outcome"`, "one of [invite hold skip]"}},
		{name: "by source", path: path + "?source=form", wantStatus: 200, wantBody: []string{"evt_5"}, wantAbsent: []string{"evt_1"}},
		{name: "by address, in any writing", path: path + "?email=" + url.QueryEscape("Ada@EXAMPLE.com"), wantStatus: 200, wantBody: []string{"evt_1"}, wantAbsent: []string{"evt_3", "evt_4"}},
		{name: "by an address that is none", path: path + "?email=ada", wantStatus: 422, wantBody: []string{`"field":"email"`}},
		{name: "since an hour ago", path: path + "?since=" + since(-time.Hour), wantStatus: 200, wantBody: []string{"evt_1", "evt_5"}},
		{name: "since tomorrow", path: path + "?since=" + since(25*time.Hour), wantStatus: 200, wantBody: []string{`"events":[]`}},
		{name: "since a day", path: path + "?since=2026-01-31", wantStatus: 200},
		{name: "since no time", path: path + "?since=yesterday", wantStatus: 422, wantBody: []string{`"field":"since"`, "2026-11-24"}},
		{name: "since no day", path: path + "?since=2026-02-30", wantStatus: 422},
		{name: "by all", path: path + "?reason=internal_domain&outcome=skip&source=stripe&type=invoice.paid&email=boss%40acme.com&since=2020-01-01&limit=1&cursor=9", wantStatus: 200,
			wantBody: []string{"evt_3", `"next_cursor":"3"`}},
		{name: "a parameter with a typing error", path: path + "?raeson=no_address", wantStatus: 422, wantBody: []string{`"field":"raeson"`, "is not a parameter", "reason"}},
		{name: "a quotation mark is text", path: path + "?reason=" + url.QueryEscape(`' or 1=1 --`), wantStatus: 200, wantBody: []string{`"events":[]`}},
		{name: "a limit", path: path + "?limit=2", wantStatus: 200, wantBody: []string{`"next_cursor":"4"`}, wantAbsent: []string{"evt_3"}},
		{name: "a limit of none", path: path + "?limit=0", wantStatus: 422, wantBody: []string{`"field":"limit"`, "from 1 to 200"}},
		{name: "a limit too great", path: path + "?limit=201", wantStatus: 422},
		{name: "a cursor", path: path + "?cursor=2", wantStatus: 200, wantBody: []string{"evt_1"}, wantAbsent: []string{"evt_2"}},
		{name: "a cursor of none", path: path + "?cursor=0", wantStatus: 422, wantBody: []string{`"field":"cursor"`}},
		{name: "without a token", path: path, anonymous: true, wantStatus: 401, wantAbsent: []string{"evt_1"}},
	})
}

// Some senders' identities are addresses or numbers, and two senders may use the same one.
func TestShowEventByItsSendersIdentity(t *testing.T) {
	w := newWorld(t, nil)
	const address = "https://api.calendly.example/invitees/1?a=b c%2F"
	for _, e := range []access.Event{{Source: "calendly", ID: address}, {Source: "form", ID: "1"}, {Source: "shop", ID: "1"}} {
		if _, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, LookUp: true}); err != nil {
			t.Fatal(err)
		}
	}
	run(t, w, []scenario{
		{name: "an address", path: "/v1/events/" + url.PathEscape(address), wantStatus: 200, wantBody: []string{`"source":"calendly"`}},
		{name: "an address of a source", path: "/v1/events/" + url.PathEscape(address) + "?source=calendly", wantStatus: 200, wantBody: []string{`"source":"calendly"`}},
		{name: "our number", path: "/v1/events/1", wantStatus: 200, wantBody: []string{`"source":"calendly"`}},
		{name: "a number of one source", path: "/v1/events/1?source=form", wantStatus: 200, wantBody: []string{`"source":"form"`}},
		{name: "a number of the other", path: "/v1/events/1?source=shop", wantStatus: 200, wantBody: []string{`"source":"shop"`}},
		{name: "of a source that does not have it", path: "/v1/events/1?source=stripe", wantStatus: 404},
		{name: "a slip", path: "/v1/events/1?sorce=form", wantStatus: 422, wantBody: []string{`"field":"sorce"`}},
	})
}

// A walk over the events of a reason sees each once, though others are made under way.
func TestEventsCursorWalk(t *testing.T) {
	const count = 60
	w := newWorld(t, nil)
	for i := range count {
		w.record(t, fmt.Sprintf("evt_own_%d", i), fmt.Sprintf("user%d@acme.com", i))
		w.record(t, fmt.Sprintf("evt_%d", i), fmt.Sprintf("user%d@example.com", i))
	}
	for _, limit := range []string{"", "7", "30", "200"} {
		t.Run("limit "+limit, func(t *testing.T) {
			query := url.Values{"reason": {"internal_domain"}}
			if limit != "" {
				query.Set("limit", limit)
			}
			var seen []int64
			for pages := 0; ; pages++ {
				if pages > count {
					t.Fatal("the walk does not end")
				}
				_, body := do(t, w, scenario{path: "/v1/events?" + query.Encode()}.request(t, w))
				var page struct {
					Events []struct {
						ID       int64
						Decision struct{ Reason string }
					}
					NextCursor *string `json:"next_cursor"`
				}
				if err := json.Unmarshal([]byte(body), &page); err != nil {
					t.Fatal(err)
				}
				for _, one := range page.Events {
					seen = append(seen, one.ID)
					if one.Decision.Reason != "internal_domain" {
						t.Errorf("event %d has the reason %s", one.ID, one.Decision.Reason)
					}
				}
				w.record(t, fmt.Sprintf("evt_late_%s_%d", limit, pages), "late@example.com")
				if page.NextCursor == nil {
					break
				}
				query.Set("cursor", *page.NextCursor)
			}
			if !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) || len(slices.Compact(slices.Clone(seen))) != count {
				t.Errorf("out of order, twice or missing: %v", seen)
			}
		})
	}
}

func TestShowAnIdentityUsedTwice(t *testing.T) {
	w := newWorld(t, nil)
	tell := func(body, says string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			if _, err := w.ledger.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: time.Now(), Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
			_, err := w.ledger.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
				e := access.Event{Source: "stripe", Type: "invoice.paid", ID: "evt_1", Email: says + "@example.com"}
				return []ledger.Verdict{{Event: e, Fingerprint: says, Decision: w.policy.Decide(e)}}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, w, []scenario{
		{name: "the first", before: tell("one", "ada"), path: "/v1/events/evt_1", wantStatus: 200, wantBody: []string{`"id":1,`, `"resends":0,"resends_with_another_body":0`}, wantAbsent: []string{"same_id_as"}},
		{name: "resent in other words", before: tell("two", "ada"), path: "/v1/events/evt_1", wantStatus: 200, wantBody: []string{`"resends":1,"resends_with_another_body":1`}},
		{name: "the second says something else", before: tell("three", "bob"), path: "/v1/events/2", wantStatus: 200, wantBody: []string{`"same_id_as":1`, `"id":"evt_1"`, "bob@example.com"}},
		{name: "the identity finds the first", path: "/v1/events/evt_1", wantStatus: 200, wantBody: []string{`{"id":1,`, "ada@example.com"}},
		{name: "a list shows both", path: "/v1/events", wantStatus: 200, wantBody: []string{`"same_id_as":1`, "ada@example.com", "bob@example.com"}},
	})
}
