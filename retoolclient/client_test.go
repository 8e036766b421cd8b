package retoolclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const token = "retool_01canary23456789abcdefghij"

var ada = retoolclient.Invitation{Email: "ada@example.com"}

// start serves a handler and returns a client for it; change may adjust the client's options.
func start(t *testing.T, h http.Handler, change func(*retoolclient.Options)) *retoolclient.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	o := retoolclient.Options{BaseURL: srv.URL, Token: token, Retries: -1}
	if change != nil {
		change(&o)
	}
	return newClient(t, o)
}

func newClient(t *testing.T, o retoolclient.Options) *retoolclient.Client {
	t.Helper()
	c, err := retoolclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// says answers every request alike.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// asError returns the *Error in err, and fails the test without one.
func asError(t *testing.T, err error) *retoolclient.Error {
	t.Helper()
	var e *retoolclient.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func TestNewNamesEveryMistake(t *testing.T) {
	good := retoolclient.Options{BaseURL: "https://acme.retool.com", Token: token}
	tests := []struct {
		name   string
		change func(*retoolclient.Options)
		want   []string // parts of the error; none: no error
	}{
		{name: "the least there is", change: func(*retoolclient.Options) {}},
		{name: "this machine in clear", change: func(o *retoolclient.Options) { o.BaseURL = "http://127.0.0.1:3000" }},
		{name: "this machine by name", change: func(o *retoolclient.Options) { o.BaseURL = "http://localhost:3000/retool" }},
		{name: "this machine by IPv6", change: func(o *retoolclient.Options) { o.BaseURL = "http://[::1]:3000" }},
		{name: "a token with a line end", change: func(o *retoolclient.Options) { o.Token += "\n" }},
		{name: "nothing at all", change: func(o *retoolclient.Options) { *o = retoolclient.Options{} }, want: []string{"base URL", "token"}},
		{name: "no scheme", change: func(o *retoolclient.Options) { o.BaseURL = "acme.retool.com" }, want: []string{"scheme"}},
		{name: "another scheme", change: func(o *retoolclient.Options) { o.BaseURL = "ftp://acme.retool.com" }, want: []string{"scheme"}},
		{name: "no host", change: func(o *retoolclient.Options) { o.BaseURL = "https://" }, want: []string{"host"}},
		{name: "in clear", change: func(o *retoolclient.Options) { o.BaseURL = "http://acme.retool.com" }, want: []string{"in clear"}},
		{name: "a host that only begins like this machine", change: func(o *retoolclient.Options) { o.BaseURL = "http://localhost.evil.com" }, want: []string{"in clear"}},
		{name: "a password in the address", change: func(o *retoolclient.Options) { o.BaseURL = "https://u:" + token + "@acme.retool.com" }, want: []string{"password"}},
		{name: "the two mixed up", change: func(o *retoolclient.Options) { o.BaseURL, o.Token = token, o.BaseURL }, want: []string{"scheme"}},
		{name: "a token in the query", change: func(o *retoolclient.Options) { o.BaseURL += "?token=" + token }, want: []string{"query"}},
		{name: "a token that is a sentence", change: func(o *retoolclient.Options) { o.Token = "ask " + token }, want: []string{"token"}},
		{name: "an unknown api", change: func(o *retoolclient.Options) { o.API = "v3" }, want: []string{"v3"}},
		{name: "a template that does not parse", change: func(o *retoolclient.Options) { o.BulkBody = "{{" + token }, want: []string{"bulk body"}},
		{name: "a template that renders no JSON", change: func(o *retoolclient.Options) { o.BulkBody = "{{.Emails}}" }, want: []string{"JSON"}},
		{name: "a template that quotes by itself", change: func(o *retoolclient.Options) { o.BulkBody = `{"e":"{{index .Emails 0}}"}` }, want: []string{"json"}},
		{name: "a template of unknown fields", change: func(o *retoolclient.Options) { o.BulkBody = `{{json .People}}` }, want: []string{"People"}},
		{name: "negative limits", change: func(o *retoolclient.Options) { o.Timeout, o.MaxBody = -1, -1 }, want: []string{"timeout", "max body"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			_, err := retoolclient.New(o)
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("got error %v, want %q", err, tt.want)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, which does not say %q", err, part)
				}
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows the token: %q", err)
			}
		})
	}
}

func TestBaseURLKeepsItsPrefix(t *testing.T) {
	for _, base := range []string{"", "/", "/api", "/api/v2", "/api/v2/", "/prefix", "/prefix/", "/prefix/api/v2", "/a%2Fb/api/v2/"} {
		t.Run(base, func(t *testing.T) {
			prefix := strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(base, "/"), "/v2"), "/api"), "/")
			var paths []string
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				paths = append(paths, r.URL.EscapedPath())
				says(500, "application/json", `{}`)(w, r)
			})
			for _, api := range []retoolclient.API{retoolclient.APIV2, retoolclient.APIBulk} {
				c := start(t, h, func(o *retoolclient.Options) { o.BaseURL += base; o.API = api })
				_, _ = c.Invite(t.Context(), ada)
				_, _ = c.Health(t.Context())
			}
			want := fmt.Sprint([]string{
				prefix + "/api/v2/user_invites", prefix + "/api/checkHealth",
				prefix + "/api/organization/admin/bulkInviteUsers", prefix + "/api/checkHealth",
			})
			if fmt.Sprint(paths) != want {
				t.Errorf("got  %v\nwant %v", paths, want)
			}
		})
	}
}

func TestInviteBehindAPrefix(t *testing.T) {
	retool := retooltest.New(retooltest.Options{Token: token, FirstID: 9007199254740993, GroupIDs: []int64{1042}})
	c := start(t, http.StripPrefix("/tools", retool), func(o *retoolclient.Options) { o.BaseURL += "/tools/api/v2" })
	inv := retoolclient.Invitation{Email: "Ada@Example.com", GroupIDs: []int64{1042}, Metadata: map[string]string{"plan": "pro"}}
	res, err := c.Invite(t.Context(), inv)
	if err != nil {
		t.Fatal(err)
	}
	if res.Transport != retoolclient.APIV2 || res.Status != 200 || res.Message != "success" {
		t.Errorf("got %+v", res)
	}
	got := res.Invite
	if got.ID != 9007199254740993 || got.InvitedEmail != "Ada@Example.com" || got.Groups[0].ID != 1042 ||
		got.Metadata["plan"] != "pro" || got.Claimed() || got.ExpiresAt.Sub(got.CreatedAt) != 7*24*time.Hour {
		t.Errorf("got %+v", got)
	}
	if retool.Count("ada@example.com") != 1 {
		t.Error("the invite was not made once")
	}
}

func TestInviteRequestHasNoOtherField(t *testing.T) {
	var body, auth, kind string
	c := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		body, auth, kind = string(raw), r.Header.Get("Authorization"), r.Header.Get("Content-Type")
		says(500, "application/json", `{}`)(w, r)
	}), nil)
	_, _ = c.Invite(t.Context(), ada)
	if body != `{"email":"ada@example.com"}` || auth != "Bearer "+token || kind != "application/json" {
		t.Errorf("got %q %q %q", body, auth, kind)
	}
}

const (
	js       = "application/json"
	html     = "text/html; charset=utf-8"
	homepage = "<!DOCTYPE html><html><body>Sign in to Retool</body></html>"
)

func TestInviteJudgesAnswers(t *testing.T) {
	failure := func(message string) string {
		raw, _ := json.Marshal(map[string]any{"success": false, "message": message})
		return string(raw)
	}
	const later, never, present, stop = retoolclient.Later, retoolclient.Never, retoolclient.Present, retoolclient.Stop
	tests := []struct {
		name          string
		status        int
		contentType   string // "" is JSON
		body          string
		wantKind      retoolclient.Kind
		wantAmbiguous bool
		wantAdvice    string // part of it; "" is none at all
		wantErr       error
	}{
		{name: "a token that is not known", status: 401, body: failure("Invalid token"), wantKind: stop, wantAdvice: "token"},
		{name: "a scope that lacks", status: 403, body: failure("missing scope users:write"), wantKind: stop, wantAdvice: "permission"},
		{
			name: "a plan that is too small", status: 403, body: failure("API access is only available for enterprise customers"),
			wantKind: stop, wantAdvice: "not a mistake of yours", wantErr: retoolclient.ErrPlan,
		},
		{
			name: "the same with a 500", status: 500, body: failure("API access is only available for enterprise customers"),
			wantKind: stop, wantAdvice: "plan", wantErr: retoolclient.ErrPlan,
		},
		{
			name: "the same with a 200", status: 200, body: failure("API access is only available for enterprise customers"),
			wantKind: stop, wantAdvice: "plan", wantErr: retoolclient.ErrPlan,
		},
		{name: "a 429 that praises a plan", status: 429, body: failure("Only 60 calls; upgrade to enterprise"), wantKind: later},
		{
			name: "a customer named Enterprise", status: 422, body: failure("only-available.for-enterprise.customers@enterprise.plan is not a valid email"),
			wantKind: never,
		},
		{name: "an unknown path", status: 404, body: failure("Not found"), wantKind: stop, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "an unknown page", status: 404, contentType: html, body: homepage, wantKind: stop, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a sign-in page", status: 200, contentType: html, body: homepage, wantKind: stop, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a page that says it is JSON", status: 200, body: "\n" + homepage, wantKind: stop, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a proxy's 400 page", status: 400, contentType: html, body: homepage, wantKind: stop, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a proxy's 400 text", status: 400, contentType: "text/plain", body: "bad request", wantKind: stop, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a success of another shape", status: 200, body: `{"ok":true}`, wantKind: stop, wantAmbiguous: true, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a success without an id", status: 200, body: `{"success":true,"data":{}}`, wantKind: stop, wantAmbiguous: true, wantAdvice: "base URL"},
		{name: "a success with wrong types", status: 200, body: `{"success":true,"data":{"id":"x"}}`, wantKind: stop, wantAmbiguous: true, wantAdvice: "base URL"},
		{name: "an empty success", status: 200, wantKind: stop, wantAmbiguous: true, wantAdvice: "base URL", wantErr: retoolclient.ErrNoEndpoint},
		{name: "a success that is text", status: 200, contentType: "text/plain", body: "OK", wantKind: stop, wantAmbiguous: true, wantAdvice: "base URL"},

		{name: "an address that is none", status: 400, body: failure("Invalid email address"), wantKind: never},
		{name: "an unknown group", status: 422, body: failure("group does not exist"), wantKind: never},
		{name: "an attribute that exists", status: 400, body: failure("A user attribute named plan already exists"), wantKind: never},
		{name: "somebody not there yet", status: 400, body: failure("The user is not already a member"), wantKind: never},
		{name: "somebody who isn't there yet", status: 400, body: failure("User isn't already invited to group"), wantKind: never},
		{name: "an address that claims to be invited", status: 422, body: failure("already.invited@x.com: invalid"), wantKind: never},
		{name: "another organisation", status: 422, body: failure("This email belongs to another organization"), wantKind: never, wantAdvice: "another address"},
		{name: "another organisation by 409", status: 409, body: failure("User already exists in a different organisation"), wantKind: never, wantAdvice: "another address"},
		{name: "another organisation by 403", status: 403, body: failure("belongs to another org"), wantKind: never, wantAdvice: "another address"},

		{name: "a conflict", status: 409, body: failure("Conflict"), wantKind: present},
		{name: "already invited", status: 400, body: failure("User has already been invited"), wantKind: present},
		{name: "already exists", status: 422, body: failure("A user invite already EXISTS for this email"), wantKind: present},
		{name: "already a member", status: 400, body: failure("ada is already a member of this organization"), wantKind: present},
		{name: "pending", status: 422, body: failure("ada@example.com has a pending invite"), wantKind: present},
		{name: "an operator's phrase", status: 400, body: failure("Schon DABEI."), wantKind: present},
		{name: "already invited with a 200", status: 200, body: failure("already invited"), wantKind: present},

		{name: "a refused address with a 200", status: 200, body: failure("email is not valid"), wantKind: never},
		{name: "a refused token with a 200", status: 200, body: failure("token lacks permission for this email"), wantKind: stop, wantAdvice: "permission"},
		{name: "a refusal for no reason with a 200", status: 200, body: failure("Something went wrong"), wantKind: later},

		{name: "too slow a request", status: 408, body: failure("timeout"), wantKind: later},
		{name: "too early", status: 425, wantKind: later},
		{name: "too many", status: 429, body: failure("slow down"), wantKind: later},
		{name: "too many, as a page", status: 429, contentType: html, body: homepage, wantKind: later},
		{name: "an internal error", status: 500, body: failure("oops"), wantKind: later, wantAmbiguous: true},
		{name: "a proxy's 502", status: 502, contentType: html, body: homepage, wantKind: later, wantAmbiguous: true},
		{name: "a proxy's 503", status: 503, contentType: html, body: homepage, wantKind: later},
		{name: "a proxy's 504", status: 504, contentType: html, body: homepage, wantKind: later, wantAmbiguous: true},
		{name: "Cloudflare's 524", status: 524, contentType: html, body: homepage, wantKind: later, wantAmbiguous: true},
		{name: "payment required", status: 402, body: failure("Payment required"), wantKind: stop},
		{name: "a method that is not", status: 405, body: failure("Method not allowed"), wantKind: stop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ct := tt.contentType
			if ct == "" {
				ct = js
			}
			c := start(t, says(tt.status, ct, tt.body), func(o *retoolclient.Options) {
				o.API = retoolclient.APIV2
				o.PresentPhrases = []string{" schon dabei ", ""}
			})
			_, err := c.Invite(t.Context(), ada)
			e := asError(t, err)
			if e.Kind != tt.wantKind || e.Ambiguous != tt.wantAmbiguous || e.Status != tt.status {
				t.Errorf("got %v, ambiguous %v, status %d (%v); want %v, %v, %d",
					e.Kind, e.Ambiguous, e.Status, err, tt.wantKind, tt.wantAmbiguous, tt.status)
			}
			if !strings.Contains(e.Advice, tt.wantAdvice) || (tt.wantAdvice == "") != (e.Advice == "") {
				t.Errorf("got advice %q, want %q", e.Advice, tt.wantAdvice)
			}
			if tt.wantErr != nil && !errors.Is(err, tt.wantErr) {
				t.Errorf("got %v, want it to be %v", err, tt.wantErr)
			}
			if e.RateLimited != (tt.status == 429) {
				t.Errorf("RateLimited: got %v with status %d", e.RateLimited, tt.status)
			}
			if strings.Contains(err.Error(), "<") {
				t.Errorf("the error shows the page: %v", err)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var visits atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		t.Errorf("the other host got %v", r.Header)
	}))
	defer thief.Close()
	host := strings.TrimPrefix(thief.URL, "http://")
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := start(t, http.RedirectHandler(thief.URL+"/secret-path", status), nil)
		_, err := c.Invite(t.Context(), ada)
		e := asError(t, err)
		if e.Kind != retoolclient.Stop || !strings.Contains(e.Advice, "redirects to "+host+":") || strings.Contains(e.Advice, "secret-path") {
			t.Errorf("%d: got %v, advice %q", status, e.Kind, e.Advice)
		}
	}
	if visits.Load() != 0 {
		t.Error("a redirect was followed")
	}
	c := start(t, http.RedirectHandler("/login", 302), nil)
	_, err := c.Invites(t.Context())
	if e := asError(t, err); e.Kind != retoolclient.Stop || !strings.Contains(e.Advice, "another page") {
		t.Errorf("a redirect to the same host: got %v, advice %q", e.Kind, e.Advice)
	}
}

func TestNoErrorShowsTheToken(t *testing.T) {
	other := "retool_zz99canaryzz99canaryzz99"
	for _, secret := range []string{token, "canary-of-another-shape!"} {
		echo := secret + " and " + other
		quoted, _ := json.Marshal("bad token " + echo)
		answers := map[string]http.HandlerFunc{
			"message":   says(400, js, fmt.Sprintf(`{"success":false,"message":%s}`, quoted)),
			"conflict":  says(409, js, fmt.Sprintf(`{"success":false,"message":%s}`, quoted)),
			"text":      says(500, "text/plain", echo),
			"page":      says(200, html, "<p>"+echo),
			"time":      says(200, js, fmt.Sprintf(`{"data":{"id":1,"created_at":%s}}`, quoted)),
			"long":      says(400, js, fmt.Sprintf(`{"success":false,"message":"%s %s"}`, strings.Repeat("x", 480), secret)),
			"invisible": says(400, js, fmt.Sprintf(`{"success":false,"message":"%s\u0007%s"}`, secret[:9], secret[9:])),
			"redirect": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://"+strings.TrimSuffix(secret, "!")+".example.com/")
				w.WriteHeader(302)
			},
			"protocol": func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", echo)
			},
		}
		for name, h := range answers {
			c := start(t, h, func(o *retoolclient.Options) { o.Token = secret })
			_, inviteErr := c.Invite(t.Context(), ada)
			_, listErr := c.Invites(t.Context())
			_, getErr := c.InviteByID(t.Context(), 1)
			_, healthErr := c.Health(t.Context())
			value := "pro"
			attrErr := c.SetInviteAttribute(t.Context(), 1, "plan", &value)
			errs := []error{inviteErr, listErr, getErr, healthErr, attrErr, c.DeleteInvite(t.Context(), 1)}
			for _, err := range errs {
				shown := fmt.Sprintf("%v %+v %#v %s %#v", err, err, err, advice(err), errors.Unwrap(err))
				if name == "redirect" { // a host cannot hold the whole of a token with an exclamation mark
					shown = strings.ReplaceAll(shown, "canary-of-another-shape.example.com", "")
				}
				if strings.Contains(shown, "canary") {
					t.Errorf("%s: %s", name, shown)
				}
			}
		}
	}
}

func advice(err error) string {
	var e *retoolclient.Error
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Advice + e.Message
}

func TestSuccessMessageHidesTheToken(t *testing.T) {
	c := start(t, says(200, js, `{"success":true,"message":"hello `+token+`"}`), func(o *retoolclient.Options) { o.API = retoolclient.APIBulk })
	res, err := c.Invite(t.Context(), ada)
	if err != nil || res.Message != "hello retool_…" {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestPrintingHidesTheToken(t *testing.T) {
	o := retoolclient.Options{BaseURL: "https://acme.retool.com", Token: token, HTTPClient: http.DefaultClient}
	c := newClient(t, o)
	held := struct {
		inner  *retoolclient.Client
		copied retoolclient.Client
	}{c, *c}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{o, &o, c, *c, held, &held} {
			shown := fmt.Sprintf(verb, v)
			if strings.Contains(shown, "canary") || strings.Contains(shown, fmt.Sprintf("%x", token)) {
				t.Errorf("%s of %T: %s", verb, v, shown)
			}
		}
	}
	if got := fmt.Sprint(o); got != `retoolclient.Options{BaseURL: "https://acme.retool.com", Token: retool_…, API: ""}` {
		t.Errorf("got %s", got)
	}
}

func TestMessagesAreShortAndClean(t *testing.T) {
	for _, lead := range []string{"", "x", "xx"} { // so that the cut falls on every byte of a letter
		raw, _ := json.Marshal(map[string]any{"success": false, "message": lead + strings.Repeat("é\x00\u202e\n ", 400)})
		c := start(t, says(400, js, string(raw)), nil)
		_, err := c.Invite(t.Context(), ada)
		e := asError(t, err)
		if len(e.Message) > 500 || !strings.HasPrefix(e.Message, lead+"é é é") || strings.ContainsAny(e.Message, "\x00\n\u202e\ufffd") {
			t.Errorf("got %d bytes: %q", len(e.Message), e.Message)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		name   string
		header string
		want   time.Duration
	}{
		{name: "seconds", header: "120", want: 2 * time.Minute},
		{name: "a date", header: time.Now().Add(2 * time.Hour).UTC().Format(http.TimeFormat), want: 2 * time.Hour},
		{name: "a date gone by", header: "Fri, 31 Dec 1999 23:59:59 GMT"},
		{name: "nothing"},
		{name: "a negative number", header: "-5"},
		{name: "nonsense", header: "soon"},
		{name: "a year", header: "31536000", want: 24 * time.Hour},
		{name: "more than a duration holds", header: "9223372036854775807", want: 24 * time.Hour},
		{name: "more than a number holds", header: "99999999999999999999"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			retool := retooltest.New(retooltest.Options{})
			retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: tt.header})
			_, err := start(t, retool, nil).Invite(t.Context(), ada)
			e := asError(t, err)
			if !e.RateLimited || e.RetryAfter > tt.want || e.RetryAfter < tt.want-5*time.Second {
				t.Errorf("got %v, want %v", e.RetryAfter, tt.want)
			}
		})
	}
}

// roundTripper is a transport without a network, for tests with a synthetic clock.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestQuickRetries(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	dialTimeout := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	cut := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	tests := []struct {
		name       string
		err        error
		status     int
		retryAfter string
		retries    int
		wantTries  int
		wantWait   time.Duration // at most; the waits are at least half of it
	}{
		{name: "a refused connection is tried again", err: refused, wantTries: 3, wantWait: 900 * time.Millisecond},
		{name: "as often as asked for", err: refused, retries: 5, wantTries: 6, wantWait: 6100 * time.Millisecond},
		{name: "not at all if so wished", err: refused, retries: -1, wantTries: 1},
		{name: "a connection that timed out is not", err: dialTimeout, wantTries: 1},
		{name: "a cut connection is not", err: cut, wantTries: 1},
		{name: "a 429 is", status: 429, wantTries: 3, wantWait: 900 * time.Millisecond},
		{name: "a 429 that names a short time is", status: 429, retryAfter: "2", wantTries: 3, wantWait: 4 * time.Second},
		{name: "a 429 that names a long time is not", status: 429, retryAfter: "3", wantTries: 1},
		{name: "a 503 that names a short time is", status: 503, retryAfter: "1", wantTries: 3, wantWait: 2 * time.Second},
		{name: "a 503 that names none is not", status: 503, wantTries: 1},
		{name: "a 500 is not", status: 500, retryAfter: "1", wantTries: 1},
		{name: "a 502 is not", status: 502, retryAfter: "1", wantTries: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, closed := 0, 0
				c := newClient(t, retoolclient.Options{
					BaseURL: "https://acme.retool.com", Token: token, Retries: tt.retries,
					HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), "ada") {
							t.Errorf("try %d has the body %q", tries, body)
						}
						tries++
						if tt.err != nil {
							return nil, tt.err
						}
						body := closeCounter{strings.NewReader(`{"success":false,"message":"no"}`), &closed}
						return &http.Response{StatusCode: tt.status, Body: body, Header: http.Header{"Retry-After": {tt.retryAfter}}}, nil
					})},
				})
				began := time.Now()
				_, err := c.Invite(t.Context(), ada)
				if e := asError(t, err); e.Kind != retoolclient.Later || e.Status != tt.status {
					t.Errorf("got %v (%v)", e.Kind, err)
				}
				if waited := time.Since(began); tries != tt.wantTries || waited > tt.wantWait || waited < tt.wantWait/2 {
					t.Errorf("got %d tries in %v, want %d in %v", tries, waited, tt.wantTries, tt.wantWait)
				}
				if tt.err == nil && closed != tries {
					t.Errorf("%d of %d bodies were closed", closed, tries)
				}
			})
		})
	}
}

type closeCounter struct {
	io.Reader
	closed *int
}

func (c closeCounter) Close() error { *c.closed++; return nil }

func TestARetrySucceeds(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "0"})
	c := start(t, retool, func(o *retoolclient.Options) { o.Retries = 1 })
	if _, err := c.Invite(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	if n := retool.Count(ada.Email); n != 1 || retool.TotalRequests() != 2 {
		t.Errorf("got %d invites by %d requests", n, retool.TotalRequests())
	}
}

func TestCancelledWhileWaitingIsNotAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, retoolclient.Options{
			BaseURL: "https://acme.retool.com", Token: token,
			HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 429, Body: http.NoBody, Header: http.Header{"Retry-After": {"2"}}}, nil
			})},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Invite(ctx, ada)
		if e := asError(t, err); e.Ambiguous || e.Kind != retoolclient.Later || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, ambiguous %v", err, e.Ambiguous)
		}
	})
}

func TestWhatMayHaveHappenedIsAmbiguous(t *testing.T) {
	tests := []struct {
		name          string
		fault         retooltest.Fault
		wantInvited   int
		wantAmbiguous bool
	}{
		{name: "no answer after the work", fault: retooltest.Fault{Kind: "timeout-after-work"}, wantInvited: 1, wantAmbiguous: true},
		{name: "a cut after the work", fault: retooltest.Fault{Kind: "reset-after-work"}, wantInvited: 1, wantAmbiguous: true},
		{name: "a cut before the work, which looks the same", fault: retooltest.Fault{Kind: "reset"}, wantAmbiguous: true},
		{name: "too many", fault: retooltest.Fault{Kind: "429"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			retool := retooltest.New(retooltest.Options{})
			retool.Inject(tt.fault)
			c := start(t, retool, func(o *retoolclient.Options) { o.Timeout = 200 * time.Millisecond })
			_, err := c.Invite(t.Context(), ada)
			if e := asError(t, err); e.Kind != retoolclient.Later || e.Ambiguous != tt.wantAmbiguous {
				t.Errorf("got %v, ambiguous %v: %v", e.Kind, e.Ambiguous, err)
			}
			found, err := start(t, retool, nil).FindInvite(t.Context(), "ADA@example.com")
			if err != nil || (found != nil) != (tt.wantInvited == 1) || retool.Count(ada.Email) != tt.wantInvited {
				t.Errorf("FindInvite: got %v, %v; %d invites were made", found, err, retool.Count(ada.Email))
			}
		})
	}
}

func TestNoConnectionIsNotAmbiguous(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c := newClient(t, retoolclient.Options{BaseURL: srv.URL, Token: token, Retries: -1})
	_, err := c.Invite(t.Context(), ada)
	if e := asError(t, err); e.Kind != retoolclient.Later || e.Ambiguous || e.Status != 0 || !strings.HasPrefix(err.Error(), "invite: Post ") {
		t.Errorf("got %v, ambiguous %v: %v", e.Kind, e.Ambiguous, err)
	}
	if c.Transport() != retoolclient.APIV2 {
		t.Error("a failure of the network switched to bulk")
	}
}

func TestAnUnknownHostHasAnAdvice(t *testing.T) {
	lookup := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "acme.retool.com", IsNotFound: true}}
	c := newClient(t, retoolclient.Options{
		BaseURL: "https://acme.retool.com", Token: token, Retries: -1,
		HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, lookup })},
	})
	_, err := c.Invites(t.Context())
	if e := asError(t, err); e.Kind != retoolclient.Later || !strings.Contains(e.Advice, "base URL") {
		t.Errorf("got %v, advice %q", err, e.Advice)
	}
}

func TestCancellation(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	retool.Inject(retooltest.Fault{Kind: "timeout-after-work", Times: -1, On: "any"})
	c := start(t, retool, nil)

	done, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Invite(done, ada)
	if e := asError(t, err); e.Ambiguous || e.Kind != retoolclient.Later || !errors.Is(err, context.Canceled) || retool.TotalRequests() != 0 {
		t.Errorf("before sending: got %v, ambiguous %v", err, e.Ambiguous)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Invite(ctx, ada)
	if e := asError(t, err); !e.Ambiguous || e.Kind != retoolclient.Later || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after sending: got %v, ambiguous %v", err, e.Ambiguous)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Invites(ctx)
	if e := asError(t, err); e.Ambiguous {
		t.Error("a call that only reads was ambiguous")
	}
}

func TestAnswersAreCapped(t *testing.T) {
	c := start(t, says(200, js, `{"success":true,"message":"`+strings.Repeat("x", 2000)+`"}`), func(o *retoolclient.Options) {
		o.MaxBody = 1000
	})
	_, err := c.Invite(t.Context(), ada)
	if e := asError(t, err); e.Kind != retoolclient.Later || !e.Ambiguous || !strings.Contains(err.Error(), "answer over 1000 bytes") {
		t.Errorf("got %v, ambiguous %v: %v", e.Kind, e.Ambiguous, err)
	}
}

func TestATruncatedAnswerIsAmbiguous(t *testing.T) {
	c := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"success":`)
	}), nil)
	_, err := c.Invite(t.Context(), ada)
	if e := asError(t, err); e.Kind != retoolclient.Later || !e.Ambiguous || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, ambiguous %v: %v", e.Kind, e.Ambiguous, err)
	}
}

func TestHealth(t *testing.T) {
	var auth []string
	c := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth = r.Header["Authorization"]
		retooltest.New(retooltest.Options{}).ServeHTTP(w, r)
	}), nil)
	h, err := c.Health(t.Context())
	if err != nil || h.Version != retooltest.Version || auth != nil {
		t.Errorf("got %+v, %v; sent %q", h, err, auth)
	}
	_, err = start(t, says(200, js, `{}`), nil).Health(t.Context())
	if e := asError(t, err); e.Kind != retoolclient.Stop {
		t.Errorf("got %v", err)
	}
}

func TestAutoFallsBack(t *testing.T) {
	for _, plan := range []retooltest.Plan{retooltest.Legacy, retooltest.BulkOnly} {
		t.Run(string(plan), func(t *testing.T) {
			retool := retooltest.New(retooltest.Options{Token: token, Plan: plan})
			var reasons []string
			c := start(t, retool, func(o *retoolclient.Options) {
				o.OnFallback = func(reason string) { reasons = append(reasons, reason) }
			})
			if c.Transport() != retoolclient.APIV2 {
				t.Errorf("before: got %s", c.Transport())
			}
			inv := retoolclient.Invitation{Email: "ada@example.com", GroupIDs: []int64{7}, Metadata: map[string]string{"plan": "pro"}}
			res, err := c.Invite(t.Context(), inv)
			if err != nil || res.Transport != retoolclient.APIBulk || res.Invite == nil || res.Invite.Groups[0].ID != 7 || res.Invite.Metadata["plan"] != "pro" {
				t.Fatalf("got %+v, %v", res, err)
			}
			if _, err := c.Invite(t.Context(), retoolclient.Invitation{Email: "bob@example.com"}); err != nil {
				t.Fatal(err)
			}
			if c.Transport() != retoolclient.APIBulk || len(reasons) != 1 || retool.TotalRequests() != 3 {
				t.Errorf("got %s, reasons %q, %d requests; want bulk, one reason, 3 requests", c.Transport(), reasons, retool.TotalRequests())
			}
		})
	}
}

func TestAutoFallsBackOnceForAll(t *testing.T) {
	retool := retooltest.New(retooltest.Options{Plan: retooltest.BulkOnly})
	var calls atomic.Int32
	c := start(t, retool, func(o *retoolclient.Options) { o.OnFallback = func(string) { calls.Add(1) } })
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := c.Invite(t.Context(), retoolclient.Invitation{Email: fmt.Sprintf("p%d@example.com", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if calls.Load() != 1 || len(retool.Invites()) != 16 {
		t.Errorf("OnFallback was called %d times, %d invites were made", calls.Load(), len(retool.Invites()))
	}
}

func TestAutoStaysWithV2(t *testing.T) {
	for _, fault := range []string{"500", "unauthorized", "scope", "reset", "429"} {
		retool := retooltest.New(retooltest.Options{})
		retool.Inject(retooltest.Fault{Kind: fault})
		c := start(t, retool, nil)
		_, err := c.Invite(t.Context(), ada)
		if asError(t, err); c.Transport() != retoolclient.APIV2 || retool.TotalRequests() != 1 {
			t.Errorf("%s: went by %s with %d requests", fault, c.Transport(), retool.TotalRequests())
		}
	}
}

func TestAutoDoesNotSendTwiceWhatMayBeDone(t *testing.T) {
	var requests atomic.Int32
	c := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		says(200, js, `{"success":true,"data":{"id":"of another shape"}}`)(w, r)
	}), nil)
	_, err := c.Invite(t.Context(), ada)
	if e := asError(t, err); !e.Ambiguous || requests.Load() != 1 {
		t.Errorf("got %v after %d requests", err, requests.Load())
	}
}

func TestKindString(t *testing.T) {
	got := fmt.Sprint(retoolclient.Later, retoolclient.Never, retoolclient.Present, retoolclient.Stop, retoolclient.Kind(9))
	if got != "later never present stop kind 9" {
		t.Errorf("got %q", got)
	}
}

func TestBothRefusedTellsBoth(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/api/v2/", says(403, js, `{"success":false,"message":"API access is only available for enterprise customers"}`))
	mux.Handle("/api/organization/", says(401, js, `{"success":false,"message":"No session cookie"}`))
	var fell atomic.Bool
	c := start(t, mux, func(o *retoolclient.Options) { o.OnFallback = func(string) { fell.Store(true) } })
	_, err := c.Invite(t.Context(), ada)
	e := asError(t, err)
	want := "invite: Retool answered 401: No session cookie; before that v2 answered 403: API access is only available for enterprise customers"
	if e.Kind != retoolclient.Stop || err.Error() != want || !errors.Is(err, retoolclient.ErrPlan) || !strings.Contains(e.Advice, "plan") {
		t.Errorf("got %v %q, advice %q", e.Kind, err, e.Advice)
	}
	if fell.Load() || c.Transport() != retoolclient.APIV2 {
		t.Error("a way that does not work was remembered")
	}
}

func TestBulkBodies(t *testing.T) {
	full := retoolclient.Invitation{Email: "ada@example.com", GroupIDs: []int64{1, 2}, Metadata: map[string]string{"plan": `<"pro">`}}
	bob := retoolclient.Invitation{Email: `"b\"ob"@example.com`}
	tests := []struct {
		name     string
		template string
		invs     []retoolclient.Invitation
		want     string // "" means refused before sending
	}{
		{name: "one address", invs: []retoolclient.Invitation{ada}, want: `{"emails":["ada@example.com"]}`},
		{
			name: "groups and metadata", invs: []retoolclient.Invitation{full},
			want: `{"emails":["ada@example.com"],"defaultGroupIds":[1,2],"metadata":{"plan":"<\"pro\">"}}`,
		},
		{name: "several on one footing", invs: []retoolclient.Invitation{ada, bob}, want: `{"emails":["ada@example.com","\"b\\\"ob\"@example.com"]}`},
		{name: "several that differ", invs: []retoolclient.Invitation{full, bob}},
		{name: "nobody"},
		{
			name: "a template for each", template: `{"users":[{{range $i, $v := .Invites}}{{if $i}},{{end}}{"e":{{json .Email}},"g":{{json .GroupIDs}}}{{end}}]}`,
			invs: []retoolclient.Invitation{full, ada}, want: `{"users":[{"e":"ada@example.com","g":[1,2]},{"e":"ada@example.com","g":null}]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			c := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				got = string(raw)
				says(200, js, `{"success":true}`)(w, r)
			}), func(o *retoolclient.Options) { o.API, o.BulkBody = retoolclient.APIBulk, tt.template })
			res, err := c.InviteMany(t.Context(), tt.invs)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.want == "" {
				if e := asError(t, err); e.Kind != retoolclient.Never {
					t.Errorf("got %v", err)
				}
			} else if err != nil || res.Transport != retoolclient.APIBulk || res.Message != "success" {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
}

func TestBulkAnswers(t *testing.T) {
	const inv = `{"id":9007199254740993,"invited_email":"ADA@example.com"}`
	tests := []struct {
		name     string
		status   int
		body     string
		wantID   int64
		wantKind retoolclient.Kind
		wantErr  bool
	}{
		{name: "success and no more", status: 200, body: `{"success":true}`},
		{name: "an empty object", status: 201, body: `{}`},
		{name: "a list", status: 200, body: `[` + inv + `]`, wantID: 9007199254740993},
		{name: "invites", status: 200, body: `{"success":true,"invites":[` + inv + `]}`, wantID: 9007199254740993},
		{name: "data", status: 200, body: `{"data":` + inv + `}`, wantID: 9007199254740993},
		{name: "data with invites", status: 200, body: `{"data":{"invites":[null,7,` + inv + `]}}`, wantID: 9007199254740993},
		{name: "a number", status: 200, body: `1`},
		{name: "nothing", status: 200, wantErr: true, wantKind: retoolclient.Stop},
		{name: "a refusal", status: 200, body: `{"success":false,"message":"already invited"}`, wantErr: true, wantKind: retoolclient.Present},
		{name: "a refused address", status: 400, body: `{"success":false,"message":"Invalid email address"}`, wantErr: true, wantKind: retoolclient.Never},
		{name: "a refused body", status: 400, body: `{"success":false,"message":"emails must be an array"}`, wantErr: true, wantKind: retoolclient.Stop},
		{name: "a refused body without a word", status: 400, body: `{"success":false}`, wantErr: true, wantKind: retoolclient.Stop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, says(tt.status, js, tt.body), func(o *retoolclient.Options) { o.API = retoolclient.APIBulk })
			res, err := c.Invite(t.Context(), ada)
			if tt.wantErr {
				if e := asError(t, err); e.Kind != tt.wantKind {
					t.Errorf("got %v: %v", e.Kind, err)
				}
				return
			}
			if err != nil || (res.Invite != nil) != (tt.wantID != 0) || res.Invite != nil && res.Invite.ID != tt.wantID {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
}

func TestInviteManyNeedsBulk(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	_, err := start(t, retool, nil).InviteMany(t.Context(), []retoolclient.Invitation{ada})
	if e := asError(t, err); !strings.Contains(err.Error(), "one address a call") || e.Kind != retoolclient.Stop || retool.TotalRequests() != 0 {
		t.Errorf("got %v", err)
	}
	c := start(t, retool, func(o *retoolclient.Options) { o.API = retoolclient.APIBulk })
	res, err := c.InviteMany(t.Context(), []retoolclient.Invitation{ada, {Email: "bob@example.com"}})
	if err != nil || len(res.Invites) != 2 || res.Invite != nil || retool.TotalRequests() != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestBlankInputSendsNothing(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	c := start(t, retool, nil)
	_, err := c.Invite(t.Context(), retoolclient.Invitation{Email: " "})
	for _, err := range []error{err, c.SetInviteAttribute(t.Context(), 1, "", nil)} {
		if e := asError(t, err); e.Kind != retoolclient.Never || retool.TotalRequests() != 0 {
			t.Errorf("got %v", err)
		}
	}
}
