package handlers_test

import (
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
)

func TestRateLimit(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(o *handlers.Options) {
		o.Now, o.CallsPerMinute = func() time.Time { return now }, 4
		o.Tokens = []handlers.Token{{Name: "dashboard", Hash: hash(readToken), Role: "read"}}
	})
	const path = "/v1/invitations"
	ask := scenario{name: "within the limit", path: path, wantStatus: 200}
	over := scenario{name: "over it", path: path, wantStatus: 429, wantHeader: map[string]string{"Retry-After": "15"},
		wantBody: []string{`"status":429`, "admin_token makes more than 4 calls a minute", "api.requests_per_minute"}}
	denied := scenario{name: "what is no call counts", path: "/v1/nothing", wantStatus: 404}
	other := scenario{name: "another token has its own", path: path, header: bearer("Bearer " + readToken), wantStatus: 200}
	wrong := scenario{name: "a wrong token spends nobody's", path: path, header: bearer("Bearer x"), wantStatus: 401}
	webhook := scenario{name: "webhooks go on", path: hook, signedBy: secret, body: "{}", wantStatus: 200}
	refused := over
	refused.name, refused.path, refused.body, refused.header = "a refused call is not kept under its key", path, `{"email": "ada@example.com"}`, withKey("one")
	run(t, w, []scenario{ask, denied, ask, wrong, ask, over, refused, over, other, webhook})
	now = now.Add(15 * time.Second)
	refused.wantStatus, refused.wantBody, refused.wantHeader = 202, nil, map[string]string{"Retry-After": "", "Idempotent-Replayed": ""}
	run(t, w, []scenario{refused, over})
	now = now.Add(time.Hour)
	run(t, w, []scenario{ask, ask, ask, ask, over})
}

func TestMethodNotAllowed(t *testing.T) {
	allow := func(methods string) map[string]string { return map[string]string{"Allow": methods} }
	run(t, newWorld(t, nil), []scenario{
		{name: "a list", method: "DELETE", path: "/v1/invitations", wantStatus: 405, wantHeader: allow("GET, POST"), wantBody: []string{`"status":405`, "this call takes GET, POST"}},
		{name: "one call", method: "PUT", path: "/v1/summary", wantStatus: 405, wantHeader: allow("GET")},
		{name: "with a parameter", method: "GET", path: "/v1/invitations/1/retry", wantStatus: 405, wantHeader: allow("POST")},
		{name: "with an escaped slash in it", method: "POST", path: "/v1/events/a%2Fb", wantStatus: 405, wantHeader: allow("GET")},
		{name: "with words that are another call's parameter", method: "PATCH", path: "/v1/invitations/batch", wantStatus: 405, wantHeader: allow("GET, POST")},
		{name: "what is no path", method: "POST", path: "/v1/nothing", wantStatus: 404, wantHeader: allow("")},
		{name: "deeper than any", path: "/v1/events/a/b", wantStatus: 404},
		{name: "the prefix alone", path: "/v1/", wantStatus: 404},
		{name: "without a token nothing is told", method: "DELETE", path: "/v1/invitations", anonymous: true, wantStatus: 401, wantHeader: allow("")},
	})
}
