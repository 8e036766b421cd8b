package handlers_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/usher-dev/usher/handlers"
)

func withKey(keys ...string) http.Header { return http.Header{"Idempotency-Key": keys} }

func TestIdempotencyKey(t *testing.T) {
	const path = "/v1/invitations"
	replayed := func(yes string) map[string]string { return map[string]string{"Idempotent-Replayed": yes} }
	const ada, bob = `{"email": "ada@example.com"}`, `{"email": "bob@example.com"}`
	other := withKey("one")
	other.Set("Authorization", "Bearer "+inviteToken)
	run(t, withTokens(t), []scenario{
		{name: "the first call", path: path, header: withKey("one"), body: ada, wantStatus: 202, wantHeader: replayed(""), wantBody: []string{`"id":1`, `"state":"queued"`}},
		{name: "revoked meanwhile", method: "POST", path: path + "/1/revoke", header: withKey("two"), wantStatus: 202, wantHeader: replayed("")},
		{name: "the same call gets the same answer", path: path, header: withKey("one"), body: ada, wantStatus: 202, wantBody: []string{`"id":1`, `"state":"queued"`},
			wantHeader: map[string]string{"Idempotent-Replayed": "true", "Location": path + "/1", "Content-Type": "application/json"}},
		{name: "and nothing happens", path: path + "/1", wantStatus: 200, wantBody: []string{`"state":"revoked"`}},
		{name: "revoked again with its key", method: "POST", path: path + "/1/revoke", header: withKey("two"), wantStatus: 202, wantHeader: replayed("true")},
		{name: "revoked again with another", method: "POST", path: path + "/1/revoke", header: withKey("three"), wantStatus: 409, wantHeader: replayed("")},
		{name: "a refusal is an answer too", method: "POST", path: path + "/1/revoke", header: withKey("three"), wantStatus: 409, wantHeader: replayed("true"), wantBody: []string{"revoked already"}},
		{name: "another body", path: path, header: withKey("one"), body: bob, wantStatus: 422, wantHeader: replayed(""), wantBody: []string{"this key was used for another request"}},
		{name: "another call", path: path + "/batch", header: withKey("one"), body: ada, wantStatus: 422, wantBody: []string{"this key was used"}},
		{name: "a call that changes nothing takes no notice", path: path + "/preview", header: withKey("one"), body: list("ada@example.com"), wantStatus: 200},
		{name: "another query", method: "POST", path: path + "/approve?state=held", header: withKey("two"), wantStatus: 422},
		{name: "somebody else has keys of their own", path: path, header: other, body: bob, wantStatus: 202, wantHeader: replayed(""), wantBody: []string{`"id":2`}},
		{name: "what a rule refuses", path: path, header: withKey("own"), body: `{"email": "boss@acme.com"}`, wantStatus: 422, wantBody: []string{`"reason":"internal_domain"`}},
		{name: "is recorded once", path: path, header: withKey("own"), body: `{"email": "boss@acme.com"}`, wantStatus: 422, wantHeader: replayed("true"), wantBody: []string{`"reason":"internal_domain"`},
			after: func(t *testing.T, w *world, _ string) {
				t.Helper()
				events, body := do(t, w, scenario{path: "/v1/events?reason=internal_domain"}.request(t, w))
				if events.StatusCode != 200 || strings.Count(body, `"recorded_at"`) != 1 {
					t.Errorf("the events are %s", body)
				}
			}},
		{name: "the longest key", path: path, header: withKey(strings.Repeat("~", 255)), body: ada, wantStatus: 202},
		{name: "a key too long", path: path, header: withKey(strings.Repeat("x", 256)), body: ada, wantStatus: 400, wantBody: []string{`"field":"Idempotency-Key"`, "255"}},
		{name: "a key outside ASCII", path: path, header: withKey("schlüssel"), body: ada, wantStatus: 400, wantBody: []string{`"mend"`}},
		{name: "an empty key", path: path, header: withKey(""), body: ada, wantStatus: 400},
		{name: "two keys", path: path, header: withKey("a", "b"), body: ada, wantStatus: 400},
		{name: "a call that only reads takes no notice", path: path + "/2", header: withKey("one"), wantStatus: 200, wantHeader: replayed("")},
		{name: "too large", path: path + "/batch", header: withKey("large"), body: list(strings.Repeat("x", 1<<20)), wantStatus: 413},
		{name: "without a token no key is looked at", path: path, anonymous: true, header: withKey("one"), body: ada, wantStatus: 401, wantHeader: replayed("")},
		{name: "without the role neither", path: path, header: http.Header{"Idempotency-Key": {"one"}, "Authorization": {"Bearer " + readToken}}, body: ada, wantStatus: 403},
		{name: "a list", path: path + "/batch", header: withKey("list"), body: list("x@example.com", "y@example.com"), wantStatus: 202, wantBody: []string{`"invites":2`}},
		{name: "the same list", path: path + "/batch", header: withKey("list"), body: list("x@example.com", "y@example.com"), wantStatus: 202, wantBody: []string{`"invites":2`}, wantHeader: replayed("true")},
	})
}

// However many come at once, one is done.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	var wait sync.WaitGroup
	var mu sync.Mutex
	count := map[string]int{}
	for range 20 {
		wait.Go(func() {
			answer, err := w.server.Client().Do(scenario{path: "/v1/invitations", header: withKey("one"), body: `{"email": "ada@example.com"}`}.request(t, w))
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			count[fmt.Sprint(answer.StatusCode, answer.Header.Get("Idempotent-Replayed"), answer.Header.Get("Retry-After"))]++
		})
	}
	wait.Wait()
	if count["202"] != 1 || count["202"]+count["202true"]+count["4091"] != 20 {
		t.Errorf("the answers are %v", count)
	}
	run(t, w, []scenario{{name: "once in the trail", path: "/v1/audit", wantStatus: 200, wantBody: []string{`{"entries":[{"id":1,`}}})
}

// A fault of ours may pass: the same call is made again, and neither replayed nor refused.
func TestIdempotencyKeyAfterAFault(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.Policy = nil })
	call := scenario{name: "a panic", path: "/v1/invitations", header: withKey("one"), body: `{"email": "ada@example.com"}`, wantStatus: 500,
		wantHeader: map[string]string{"Idempotent-Replayed": ""}}
	run(t, w, []scenario{call, call})
}

// What is kept has no token.
func TestIdempotencyKeyOfAToken(t *testing.T) {
	call := scenario{name: "the first call", path: "/v1/tokens", header: withKey("one"), body: `{"name": "make", "role": "read"}`, wantStatus: 201, wantBody: []string{`"token":"usher_`}}
	again := call
	again.name, again.wantBody, again.wantAbsent, again.wantHeader = "again", []string{`"name":"make"`}, []string{`"token"`, "usher_"}, map[string]string{"Idempotent-Replayed": "true"}
	run(t, newWorld(t, nil), []scenario{call, again})
}
