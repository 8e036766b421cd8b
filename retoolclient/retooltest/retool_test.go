package retooltest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const (
	invites = "/api/v2/user_invites"
	bulk    = "/api/organization/admin/bulkInviteUsers"
)

// serve starts a fake Retool and returns it with a function that sends it a request.
func serve(t *testing.T, o retooltest.Options) (*retooltest.Retool, func(method, path, body string) (int, string)) {
	t.Helper()
	retool := retooltest.New(o)
	srv := httptest.NewServer(retool)
	t.Cleanup(srv.Close)
	return retool, func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer good")
		resp, err := srv.Client().Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, strings.TrimSpace(string(raw))
	}
}

func TestInviteHasRetoolsShape(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	_, send := serve(t, retooltest.Options{Now: func() time.Time { return now }, FirstID: 9007199254740993})
	status, body := send("POST", invites, `{"email":"Ada@Example.com","defaultGroupIds":[7],"metadata":{"plan":"pro"}}`)
	want := `{"data":{"id":9007199254740993,"legacy_id":9007199254740993,"invited_by":"admin@retool.invalid",` +
		`"invited_email":"Ada@Example.com","expires_at":"2026-03-08T12:00:00.000Z","created_at":"2026-03-01T12:00:00.000Z",` +
		`"claimed_by":null,"claimed_at":null,"user_type":"external","metadata":{"plan":"pro"},` +
		`"invite_link":"https://retool.invalid/auth/invite/9007199254740993",` +
		`"groups":[{"id":7,"legacy_id":7,"name":"group 7"}]},"success":true}`
	if status != 200 || body != want {
		t.Errorf("got %d %s\nwant 200 %s", status, body, want)
	}
}

func TestAnswers(t *testing.T) {
	const ada = `{"email":"ada@example.com"}`
	enterprise := `{"message":"API access is only available for enterprise customers","success":false}`
	tests := []struct {
		name       string
		opts       retooltest.Options
		method     string
		path       string
		body       string
		wantStatus int
		want       string // part of the body
	}{
		{
			name: "an unknown field is refused", method: "POST", path: invites, body: `{"email":"a@b.c","groups":[1]}`,
			wantStatus: 400, want: `unknown field`,
		},
		{
			name: "an address that is none is refused", method: "POST", path: invites, body: `{"email":"ada"}`,
			wantStatus: 400, want: `{"message":"Invalid email address","success":false}`,
		},
		{
			name: "another token is refused", opts: retooltest.Options{Token: "other"}, method: "POST", path: invites, body: ada,
			wantStatus: 401, want: `"success":false`,
		},
		{
			name: "a missing scope is named", opts: retooltest.Options{Scopes: []string{"users:read"}},
			method: "POST", path: invites, body: ada, wantStatus: 403, want: `users:write`,
		},
		{
			name: "a scope that suffices lets in", opts: retooltest.Options{Scopes: []string{"users:read"}},
			method: "GET", path: invites, wantStatus: 200, want: `{"data":[],"has_more":false,"next_token":null,"success":true,"total_count":0}`,
		},
		{
			name: "a member is there already", opts: retooltest.Options{Members: []string{"ADA@example.com"}},
			method: "POST", path: invites, body: ada, wantStatus: 409, want: `already a member of this organization`,
		},
		{
			name: "an address of another organisation is refused", opts: retooltest.Options{OtherOrg: []string{"ada@example.com"}},
			method: "POST", path: invites, body: ada, wantStatus: 422, want: `belongs to another organization`,
		},
		{
			name: "an unknown group is refused", opts: retooltest.Options{GroupIDs: []int64{1}},
			method: "POST", path: invites, body: `{"email":"a@b.c","defaultGroupIds":[2]}`, wantStatus: 422, want: `Group 2 does not exist`,
		},
		{
			name: "a colleague becomes an internal user", opts: retooltest.Options{InternalDomains: []string{"example.com"}},
			method: "POST", path: invites, body: ada, wantStatus: 200, want: `"user_type":"default"`,
		},
		{name: "users are not on the Business plan", method: "GET", path: "/api/v2/users", wantStatus: 403, want: enterprise},
		{name: "nor is making one", method: "POST", path: "/api/v2/users", wantStatus: 403, want: enterprise},
		{name: "nor are groups", method: "GET", path: "/api/v2/groups", wantStatus: 403, want: enterprise},
		{
			name: "users are on the Enterprise plan", opts: retooltest.Options{Plan: retooltest.Enterprise, Members: []string{"a@b.c"}},
			method: "GET", path: "/api/v2/users", wantStatus: 200, want: `"email":"a@b.c"`,
		},
		{
			name: "a legacy plan has web pages for an API", opts: retooltest.Options{Plan: retooltest.Legacy},
			method: "POST", path: invites, body: ada, wantStatus: 404, want: `<!DOCTYPE html>`,
		},
		{
			name: "a bulk-only plan says enterprise", opts: retooltest.Options{Plan: retooltest.BulkOnly},
			method: "POST", path: invites, body: ada, wantStatus: 403, want: enterprise,
		},
		{
			name: "a legacy plan has the bulk call", opts: retooltest.Options{Plan: retooltest.Legacy},
			method: "POST", path: bulk, body: `{"emails":"a@b.c, d@e.f"}`, wantStatus: 200, want: `"invited_email":"d@e.f"`,
		},
		{
			name: "bulk takes users", method: "POST", path: bulk, body: `{"users":[{"email":"a@b.c","defaultGroupIds":[3]}]}`,
			wantStatus: 200, want: `"name":"group 3"`,
		},
		{
			name: "bulk names those it leaves out", opts: retooltest.Options{Members: []string{"a@b.c"}},
			method: "POST", path: bulk, body: `{"emails":["a@b.c","d@e.f"]}`, wantStatus: 200,
			want: `"skipped":[{"email":"a@b.c","message":"This user is already a member`,
		},
		{name: "bulk wants addresses", method: "POST", path: bulk, body: `{}`, wantStatus: 400, want: `emails are required`},
		{
			name: "health needs no token", opts: retooltest.Options{Token: "other"},
			method: "GET", path: "/api/checkHealth", wantStatus: 200, want: `{"version":"3.300.0-sandbox"}`,
		},
		{name: "an unknown invite is not found", method: "GET", path: invites + "/5", wantStatus: 404, want: `"success":false`},
		{name: "an unknown path of the API is not found", method: "GET", path: "/api/v2/nothing", wantStatus: 404, want: `"success":false`},
		{name: "any other path is a page", method: "GET", path: "/apps", wantStatus: 404, want: `<html>`},
		{name: "the front page says what this is", method: "GET", path: "/", wantStatus: 200, want: `This is not Retool`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, send := serve(t, tt.opts)
			status, body := send(tt.method, tt.path, tt.body)
			if status != tt.wantStatus || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %s\nwant %d …%s…", status, body, tt.wantStatus, tt.want)
			}
		})
	}
}

func TestAnInviteLivesOnce(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	retool, send := serve(t, retooltest.Options{Now: func() time.Time { return now }, InviteTTL: time.Hour})
	invite := func(want int) {
		t.Helper()
		if status, body := send("POST", invites, `{"email":"ada@example.com"}`); status != want {
			t.Fatalf("invite: got %d %s, want %d", status, body, want)
		}
	}
	invite(200)
	invite(409)
	now = now.Add(time.Hour)
	if retool.Claim("ada@example.com") {
		t.Error("an expired invite was claimed")
	}
	invite(200) // the first has expired
	if status, _ := send("DELETE", invites+"/2", ""); status != 204 {
		t.Errorf("delete: got %d, want 204", status)
	}
	invite(200)
	if !retool.Claim("ADA@example.com") {
		t.Error("an open invite was not claimed")
	}
	invite(409)
	if got := retool.Count("Ada@Example.com"); got != 3 {
		t.Errorf("Count: got %d, want 3", got)
	}
	all := retool.Invites()
	if len(all) != 3 || all[0].Deleted || !all[1].Deleted || all[2].ClaimedAt == nil {
		t.Errorf("Invites: got %+v", all)
	}
}

func TestAnInviteRunsOutOnOrder(t *testing.T) {
	retool, send := serve(t, retooltest.Options{})
	for _, want := range []int{200, 409} {
		if status, body := send("POST", invites, `{"email":"ada@example.com"}`); status != want {
			t.Fatalf("got %d %s, want %d", status, body, want)
		}
	}
	if !retool.Expire("ADA@example.com") || retool.Expire("ada@example.com") || retool.Expire("bob@example.com") {
		t.Error("an invite runs out once, and only one that there is")
	}
	if retool.Claim("ada@example.com") {
		t.Error("what ran out was claimed")
	}
	if status, body := send("POST", invites, `{"email":"ada@example.com"}`); status != 200 {
		t.Errorf("got %d %s, want 200", status, body)
	}
}

func TestInvitesOfOneAddressLastLess(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	retool, send := serve(t, retooltest.Options{Now: func() time.Time { return now }})
	retool.Shorten("Ada@example.com", time.Minute)
	for _, email := range []string{"ada@example.com", "bob@example.com"} {
		if status, body := send("POST", invites, `{"email":"`+email+`"}`); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	now = now.Add(time.Minute)
	if retool.Claim("ada@example.com") || !retool.Claim("bob@example.com") {
		t.Error("after a minute that of ada is dead, and that of bob is not")
	}
}

func TestFaultsForOneAddress(t *testing.T) {
	retool, send := serve(t, retooltest.Options{})
	retool.Inject(retooltest.Fault{Kind: "500", Times: -1, Email: "Ada@example.com"})
	for email, want := range map[string]int{"ada@example.com": 500, "bob@example.com": 200, "not-ada@example.com": 200} {
		if status, body := send("POST", invites, `{"email":"`+email+`"}`); status != want {
			t.Errorf("%s: got %d %s, want %d", email, status, body, want)
		}
	}
}

// A test that proves there are no doubles must be able to fail: with Doubles, the fake does not refuse them.
func TestDoublesAreMadeAndCounted(t *testing.T) {
	retool, send := serve(t, retooltest.Options{Doubles: true, Members: []string{"grace@example.com"}})
	for range 2 {
		if status, body := send("POST", invites, `{"email":"ada@example.com"}`); status != 200 {
			t.Errorf("got %d %s, want 200", status, body)
		}
	}
	if got := retool.Count("ada@example.com"); got != 2 {
		t.Errorf("%d invites are counted, want 2", got)
	}
	if status, _ := send("POST", invites, `{"email":"grace@example.com"}`); status != 409 {
		t.Errorf("a member's invite got %d, want 409", status)
	}
}

func TestListPagesAreWholeAndSkipTheDeleted(t *testing.T) {
	_, send := serve(t, retooltest.Options{})
	for i := range 250 {
		send("POST", invites, fmt.Sprintf(`{"email":"p%d@example.com"}`, i))
	}
	send("DELETE", invites+"/1", "")
	seen, token := 0, ""
	for range 3 {
		var p struct {
			Data  []struct{ ID int64 }
			Total int     `json:"total_count"`
			Next  *string `json:"next_token"`
			More  bool    `json:"has_more"`
		}
		_, body := send("GET", invites+"?next_token="+token, "")
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatal(err)
		}
		if p.Total != 249 || p.More != (p.Next != nil) {
			t.Errorf("page after %q: total %d, more %v, next %v", token, p.Total, p.More, p.Next)
		}
		seen += len(p.Data)
		if p.Next != nil {
			token = *p.Next
		}
	}
	if seen != 249 {
		t.Errorf("got %d invites in three pages, want 249", seen)
	}
}

func TestAttributes(t *testing.T) {
	_, send := serve(t, retooltest.Options{})
	send("POST", invites, `{"email":"ada@example.com"}`)
	steps := []struct {
		method, path, body string
		wantStatus         int
		want               string
	}{
		{"POST", invites + "/1/user_attributes", `{"name":"plan","value":"pro"}`, 200, `{"metadata":{"plan":"pro"}}`},
		{"POST", invites + "/1/user_attributes", `{"name":"plan","value":null}`, 200, `{"metadata":{}}`},
		{"DELETE", invites + "/1/user_attributes/plan", ``, 404, `"success":false`},
		{"POST", invites + "/1/user_attributes", `{"value":"pro"}`, 400, `"success":false`},
		{"POST", "/api/v2/user_attributes", `{"name":"plan","label":"Plan","dataType":"string"}`, 200, `"name":"plan"`},
		{"POST", "/api/v2/user_attributes", `{"name":"plan","label":"Plan","dataType":"string"}`, 409, `already exists`},
		{"GET", "/api/v2/user_attributes", ``, 200, `"data":[{"name":"plan"`},
	}
	for _, s := range steps {
		if status, body := send(s.method, s.path, s.body); status != s.wantStatus || !strings.Contains(body, s.want) {
			t.Errorf("%s %s %s: got %d %s, want %d %s", s.method, s.path, s.body, status, body, s.wantStatus, s.want)
		}
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name       string
		fault      retooltest.Fault
		wantStatus int // 0: no answer
		wantBody   string
		wantCount  int // of invites made by the one request
	}{
		{name: "a status", fault: retooltest.Fault{Kind: "status", Status: 418}, wantStatus: 418, wantBody: "I'm a teapot"},
		{name: "too many", fault: retooltest.Fault{Kind: "429", RetryAfter: "2"}, wantStatus: 429, wantBody: "Too many"},
		{name: "an internal error", fault: retooltest.Fault{Kind: "500", Message: "boom"}, wantStatus: 500, wantBody: `"message":"boom"`},
		{name: "a page", fault: retooltest.Fault{Kind: "html"}, wantStatus: 200, wantBody: "<html>"},
		{name: "a token", fault: retooltest.Fault{Kind: "unauthorized"}, wantStatus: 401, wantBody: "token"},
		{name: "a scope", fault: retooltest.Fault{Kind: "scope"}, wantStatus: 403, wantBody: "users:write"},
		{name: "a plan", fault: retooltest.Fault{Kind: "plan"}, wantStatus: 403, wantBody: "enterprise"},
		{name: "slowness", fault: retooltest.Fault{Kind: "slow", Delay: time.Millisecond}, wantStatus: 200, wantCount: 1},
		{
			name: "a late answer", fault: retooltest.Fault{Kind: "timeout-after-work", Delay: time.Millisecond},
			wantStatus: 200, wantCount: 1,
		},
		{name: "a cut before the work", fault: retooltest.Fault{Kind: "reset"}, wantCount: 0},
		{name: "a cut after the work", fault: retooltest.Fault{Kind: "reset-after-work"}, wantCount: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			retool, send := serve(t, retooltest.Options{})
			retool.Inject(tt.fault)
			if status, _ := send("GET", invites, ""); status != 200 {
				t.Errorf("the list was hit too: %d", status)
			}
			status, body := send("POST", invites, `{"email":"ada@example.com"}`)
			if status != tt.wantStatus || !strings.Contains(body, tt.wantBody) {
				t.Errorf("got %d %s, want %d %s", status, body, tt.wantStatus, tt.wantBody)
			}
			if got := retool.Count("ada@example.com"); got != tt.wantCount {
				t.Errorf("made %d invites, want %d", got, tt.wantCount)
			}
			if status, _ := send("POST", invites, `{"email":"bob@example.com"}`); status != 200 {
				t.Errorf("the next request was hit too: %d", status)
			}
		})
	}
}

func TestFaultsAreUsedInOrder(t *testing.T) {
	retool, send := serve(t, retooltest.Options{})
	retool.Inject(
		retooltest.Fault{Kind: "500", Times: 2},
		retooltest.Fault{Kind: "unauthorized", On: "list"},
		retooltest.Fault{Kind: "429", Times: -1},
	)
	var got []int
	for range 4 {
		status, _ := send("POST", invites, `{"email":"ada@example.com"}`)
		got = append(got, status)
	}
	list, _ := send("GET", invites, "")
	retool.ClearFaults()
	last, _ := send("POST", invites, `{"email":"ada@example.com"}`)
	if fmt.Sprint(got, list, last) != "[500 500 429 429] 401 200" {
		t.Errorf("got %v %d %d", got, list, last)
	}
}

func TestSandboxControls(t *testing.T) {
	retool, send := serve(t, retooltest.Options{})
	if status, body := send("POST", "/sandbox/faults", `{"kind":"slow","delay":"2ms","times":3,"on":"any"}`); status != 200 {
		t.Fatalf("one fault: %d %s", status, body)
	}
	if status, body := send("POST", "/sandbox/faults", `[{"kind":"429"},{"kind":"500"}]`); status != 200 {
		t.Fatalf("two faults: %d %s", status, body)
	}
	for _, bad := range []string{`{"kind":"flood"}`, `{"kind":"429","retryAfter":"1"}`, `{"kind":"slow","delay":"2"}`, `nonsense`} {
		if status, _ := send("POST", "/sandbox/faults", bad); status != 400 {
			t.Errorf("fault %s: got %d, want 400", bad, status)
		}
	}
	_, state := send("GET", "/sandbox/state", "")
	want := `{"invites":[],"created":{},"requests":0,"faults":[{"kind":"slow","times":3,"delay":"2ms","on":"any"},` +
		`{"kind":"429","times":1},{"kind":"500","times":1}]}`
	if state != want {
		t.Errorf("state: got %s\nwant %s", state, want)
	}
	send("DELETE", "/sandbox/faults", "")
	send("POST", invites, `{"email":"ada@example.com"}`)
	if status, _ := send("POST", "/sandbox/claim", `{"email":"ada@example.com"}`); status != 200 {
		t.Errorf("claim: got %d", status)
	}
	if status, _ := send("POST", "/sandbox/claim", `{"email":"bob@example.com"}`); status != 404 {
		t.Errorf("claim of nobody: got %d", status)
	}
	if status, _ := send("POST", "/sandbox/expire", `{"email":"ada@example.com"}`); status != 404 {
		t.Errorf("expiry of what was claimed: got %d", status)
	}
	send("POST", "/sandbox/token", `{"token":"new"}`)
	if status, _ := send("GET", invites, ""); status != 401 {
		t.Errorf("old token: got %d, want 401", status)
	}
	s := retool.State()
	if s.Created["ada@example.com"] != 1 || len(s.Invites) != 1 || s.Requests != 2 || len(s.Faults) != 0 {
		t.Errorf("state: got %+v", s)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	for i := range 10_005 {
		req := httptest.NewRequest("POST", invites, strings.NewReader(fmt.Sprintf(`{"email":"p%d@example.com"}`, i)))
		req.Header.Set("Authorization", "Bearer any")
		retool.ServeHTTP(httptest.NewRecorder(), req)
	}
	got := retool.Requests()
	if len(got) != 10_000 || retool.TotalRequests() != 10_005 {
		t.Fatalf("got %d of %d requests", len(got), retool.TotalRequests())
	}
	if got[0].Email != "p5@example.com" || got[9_999].Email != "p10004@example.com" || got[0].Status != 200 {
		t.Errorf("got %+v to %+v", got[0], got[9_999])
	}
}

func TestSettersTakeEffectAtOnce(t *testing.T) {
	retool, send := serve(t, retooltest.Options{})
	check := func(what string, want int) {
		t.Helper()
		if got, body := send("GET", invites, ""); got != want {
			t.Errorf("%s: got %d %s, want %d", what, got, body, want)
		}
	}
	check("as it is", 200)
	retool.SetPlan(retooltest.Legacy)
	check("legacy", 404)
	retool.SetPlan("")
	check("business again", 200)
	retool.SetScopes("users:write")
	check("no scope to read", 403)
	retool.SetScopes()
	check("all scopes", 200)
	retool.SetToken("other")
	check("another token", 401)
}

func TestInjectRefusesAnUnknownKind(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Inject took a fault that does not exist")
		}
	}()
	retooltest.New(retooltest.Options{}).Inject(retooltest.Fault{Kind: "flood"})
}

func TestAbortIsNetHTTPs(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	retool.Inject(retooltest.Fault{Kind: "reset", On: "any"})
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("got %v, want http.ErrAbortHandler", err)
		}
		if n := retool.TotalRequests(); n != 1 {
			t.Errorf("the cut request was logged %d times", n)
		}
	}()
	retool.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", invites, nil))
}

func BenchmarkInvite(b *testing.B) {
	retool := retooltest.New(retooltest.Options{})
	for i := 0; b.Loop(); i++ {
		req := httptest.NewRequest("POST", invites, strings.NewReader(fmt.Sprintf(`{"email":"p%d@example.com"}`, i)))
		req.Header.Set("Authorization", "Bearer any")
		retool.ServeHTTP(httptest.NewRecorder(), req)
	}
}
