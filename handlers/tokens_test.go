package handlers_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
)

// The tokens of the configuration in these tests.
const (
	readToken    = "usher_read-canary-abcdefghijklmnopqrst"
	inviteToken  = "usher_invite-canary-abcdefghijklmnopqr"
	otherAdmin   = "usher_admin-canary-abcdefghijklmnopqrs"
	expiredToken = "usher_expired-canary-abcdefghijklmnopq"
)

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// withTokens serves with a token of each role. Its log and answers tell none of them, nor a hash.
func withTokens(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(o *handlers.Options) {
		o.Tokens = []handlers.Token{
			{Name: "dashboard", Hash: hash(readToken), Role: "read"},
			{Name: "zapier", Hash: hash(inviteToken), Role: "invite", Expires: time.Now().Add(time.Hour)},
			{Name: "ops", Hash: hash(otherAdmin), Role: "admin"},
			{Name: "old", Hash: hash(expiredToken), Role: "admin", Expires: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)},
		}
	})
	t.Cleanup(func() {
		for _, secret := range []string{readToken, inviteToken, otherAdmin, expiredToken, adminToken} {
			for _, absent := range []string{secret, hash(secret)} {
				if strings.Contains(w.logs.String(), absent) {
					t.Errorf("the log tells %s", absent)
				}
			}
		}
	})
	return w
}

// Every call lets in those whom its description names, and nobody else.
func TestRoles(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	holders := []struct{ name, token, role string }{
		{"token dashboard", readToken, "read"}, {"token zapier", inviteToken, "invite"}, {"token ops", otherAdmin, "admin"}, {"admin_token", adminToken, "admin"},
	}
	rank := map[string]int{"read": 1, "invite": 2, "admin": 3}
	w := withTokens(t)
	for path, item := range doc.Paths.Map() {
		for method, call := range item.Operations() {
			role, ok := call.Extensions["x-role"].(string)
			if !ok {
				continue
			}
			for _, holder := range holders {
				t.Run(method+" "+path+" by "+holder.name, func(t *testing.T) {
					s := scenario{method: method, path: strings.NewReplacer("{id}", "99", "{name}", "none").Replace(path), header: bearer("Bearer " + holder.token)}
					answer, body := do(t, w, s.request(t, w))
					allowed := answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusUnauthorized
					want := "this call needs the role " + role + "; " + holder.name + " has the role " + holder.role
					switch {
					case rank[holder.role] >= rank[role] && !allowed:
						t.Errorf("%d %s", answer.StatusCode, body)
					case rank[holder.role] < rank[role] && (answer.StatusCode != http.StatusForbidden || !strings.Contains(body, want)):
						t.Errorf("%d %s, wants 403 and %q", answer.StatusCode, body, want)
					}
				})
			}
		}
	}
}

func TestNamedTokens(t *testing.T) {
	const path = "/v1/summary"
	run(t, withTokens(t), []scenario{
		{name: "one of the configuration", path: path, header: bearer("Bearer " + readToken), wantStatus: 200, wantHeader: map[string]string{"Cache-Control": "no-store"}},
		{name: "one that expired, told to its holder", path: path, header: bearer("Bearer " + expiredToken), wantStatus: 401,
			wantBody: []string{"the token old expired on 2020-01-02"}, wantHeader: map[string]string{"Www-Authenticate": `Bearer realm="usher"`}},
		{name: "to nobody else", path: path, header: bearer("Bearer " + expiredToken + "x"), wantStatus: 401, wantAbsent: []string{"old", "expired"}},
		{name: "a hash opens nothing", path: path, header: bearer("Bearer " + hash(readToken)), wantStatus: 401},
		{name: "a hash in its configured form opens nothing", path: path, header: bearer("Bearer sha256:" + hash(readToken)), wantStatus: 401},
		{name: "a cookie opens nothing", path: path, anonymous: true, header: http.Header{"Cookie": {"usher_session=" + readToken + "; token=" + adminToken}}, wantStatus: 401},
		{name: "the actor is in the trail", path: "/v1/invitations", body: `{"email": "ada@example.com"}`, header: bearer("Bearer " + inviteToken), wantStatus: 202,
			after: func(t *testing.T, w *world, _ string) {
				t.Helper()
				run(t, w, []scenario{{name: "by name", path: "/v1/audit?actor=token+zapier", wantStatus: 200, wantBody: []string{`"actor":"token zapier","what":"invite","invitation":1`}}})
			}},
	})
}

// Without an admin token, those of the configuration open the API alone.
func TestNamedTokensWithoutAdminToken(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) {
		o.AdminToken, o.Tokens = "", []handlers.Token{{Name: "dashboard", Hash: hash(readToken), Role: "read"}}
	})
	run(t, w, []scenario{
		{name: "one of them", path: "/v1/summary", header: bearer("Bearer " + readToken), wantStatus: 200},
		{name: "none", path: "/v1/summary", anonymous: true, wantStatus: 401},
		{name: "an empty one", path: "/v1/summary", header: bearer("Bearer "), wantStatus: 401},
	})
}

func TestMakeAndRevokeTokens(t *testing.T) {
	const path = "/v1/tokens"
	w := withTokens(t)
	var made struct{ Token, Name, Role string }
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	run(t, w, []scenario{
		{name: "none was made", path: path, wantStatus: 200, wantBody: []string{`{"name":"dashboard","role":"read","from":"configuration","valid":true`, `"name":"old","role":"admin","from":"configuration","valid":false`},
			wantAbsent: []string{hash(readToken), `"from":"ledger"`}},
		{name: "every mistake at once", path: path, body: `{"name": "Zap ier", "role": "root", "expires": "2020-01-01"}`, wantStatus: 422, wantBody: []string{`"field":"name"`, `"field":"role"`, `"field":"expires"`}},
		{name: "a time that is none", path: path, body: `{"name": "x", "role": "read", "expires": "soon"}`, wantStatus: 422, wantBody: []string{`"field":"expires"`}},
		{name: "a name that the configuration has", path: path, body: `{"name": "zapier", "role": "read"}`, wantStatus: 409, wantBody: []string{"the configuration has a token zapier"}},
		{name: "one for a day", path: path, body: `{"name": "make", "role": "invite", "expires": "` + tomorrow + `"}`, wantStatus: 201, wantHeader: map[string]string{"Cache-Control": "no-store"},
			wantBody: []string{`"name":"make","role":"invite","from":"ledger","valid":true`, `"created_by":"admin_token"`, `"revoked_at":null`},
			after: func(t *testing.T, w *world, body string) {
				t.Helper()
				if err := json.Unmarshal([]byte(body), &made); err != nil {
					t.Fatal(err)
				}
				if !regexp.MustCompile(`^usher_[a-z2-7]{32}$`).MatchString(made.Token) {
					t.Fatalf("the token is %q", made.Token)
				}
				run(t, w, []scenario{
					{name: "it opens", path: "/v1/summary", header: bearer("Bearer " + made.Token), wantStatus: 200},
					{name: "what its role may", path: path, header: bearer("Bearer " + made.Token), wantStatus: 403},
					{name: "it is told no more", path: path, wantStatus: 200, wantBody: []string{`"name":"make"`}, wantAbsent: []string{made.Token, hash(made.Token)}},
				})
			}},
		{name: "its name is taken", path: path, body: `{"name": "make", "role": "read"}`, wantStatus: 409, wantBody: []string{"revoke it first"}},
		{name: "revoke one of the configuration", method: "DELETE", path: path + "/zapier", wantStatus: 409, wantBody: []string{"remove it there"}},
		{name: "revoke none", method: "DELETE", path: path + "/none", wantStatus: 404},
		{name: "revoke", method: "DELETE", path: path + "/make", wantStatus: 204, after: func(t *testing.T, w *world, _ string) {
			t.Helper()
			run(t, w, []scenario{{name: "it opens nothing", path: "/v1/summary", header: bearer("Bearer " + made.Token), wantStatus: 401, wantBody: []string{"the token make was revoked on 20"}}})
			if strings.Contains(w.logs.String(), made.Token) || strings.Contains(w.logs.String(), hash(made.Token)) {
				t.Error("the log tells the token")
			}
		}},
		{name: "revoke again", method: "DELETE", path: path + "/make", wantStatus: 409, wantBody: []string{"was revoked on"}},
		{name: "its name is free again", path: path, body: `{"name": "make", "role": "read"}`, wantStatus: 201, wantBody: []string{`"role":"read"`, `"expires_at":null`}},
		{name: "in the trail", path: "/v1/audit", wantStatus: 200, wantBody: []string{`"what":"make token","subject":"token make","before":"","after":"invite"`, `"what":"revoke token","subject":"token make","before":"invite","after":"revoked"`}},
	})
}

// A token of the ledger ends when its time comes.
func TestTokenExpires(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(o *handlers.Options) { o.Now = func() time.Time { return now } })
	secret, _, err := w.ledger.MakeToken(t.Context(), "test", "short", "read", now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ask := scenario{name: "within its time", path: "/v1/summary", header: bearer("Bearer " + secret), wantStatus: 200}
	run(t, w, []scenario{ask})
	now = now.Add(time.Minute)
	ask.name, ask.wantStatus, ask.wantBody = "after it", 401, []string{"the token short expired on"}
	run(t, w, []scenario{ask})
	if token, err := w.ledger.TokenByHash(t.Context(), ledger.HashToken(secret)); err != nil || token.Name != "short" {
		t.Errorf("the ledger knows %+v, %v", token, err)
	}
}
