package handlers_test

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
)

// A browser is a person at the pages: it keeps cookies as browsers do on localhost, and follows no redirect by itself.
type browser struct {
	w      *world
	client *http.Client
	csrf   string // of the last page that had one
}

func newBrowser(t *testing.T, w *world) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := *w.server.Client()
	client.Jar = secureJar{jar}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{w: w, client: &client}
}

// A secureJar sends Secure cookies to the test's own server, as browsers do to localhost.
type secureJar struct{ *cookiejar.Jar }

func (j secureJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.Jar.SetCookies(secured(u), cookies)
}
func (j secureJar) Cookies(u *url.URL) []*http.Cookie { return j.Jar.Cookies(secured(u)) }

func secured(u *url.URL) *url.URL {
	s := *u
	s.Scheme = "https"
	return &s
}

var csrfField = regexp.MustCompile(`name="csrf" value="([0-9a-f]+)"`)

// do sends a request and returns its answer with the whole body.
func (b *browser) do(t *testing.T, method, path string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, b.w.server.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if found := csrfField.FindSubmatch(text); found != nil {
		b.csrf = string(found[1])
	}
	return answer, string(text)
}

func (b *browser) get(t *testing.T, path string, header ...string) (*http.Response, string) {
	t.Helper()
	return b.do(t, http.MethodGet, path, nil, header...)
}

// post sends a form with the session's own token.
func (b *browser) post(t *testing.T, path string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	if form == nil {
		form = url.Values{}
	}
	if _, own := form["csrf"]; !own {
		form.Set("csrf", b.csrf)
	}
	return b.do(t, http.MethodPost, path, form, header...)
}

// signIn signs in with a token, the admin token where it is empty.
func (b *browser) signIn(t *testing.T, token string) *browser {
	t.Helper()
	answer, body := b.do(t, http.MethodPost, "/admin/sign-in", url.Values{"token": {cmp.Or(token, adminToken)}})
	if answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing in was answered %d %s", answer.StatusCode, body)
	}
	if answer, _ = b.get(t, "/admin"); answer.StatusCode != http.StatusOK {
		t.Fatalf("after signing in the overview was answered %d", answer.StatusCode)
	}
	return b
}

func TestSignInAndOut(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w)
	answer, _ := b.get(t, "/admin")
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin")

	_, body := b.get(t, "/admin/sign-in?next=%2Fadmin%2Ftokens")
	has(t, body, `name="token"`, `type="password"`, `value="/admin/tokens"`)
	answer, _ = b.do(t, "POST", "/admin/sign-in", url.Values{"token": {adminToken}, "next": {"/admin/tokens"}})
	isRedirect(t, answer, "/admin/sign-in?kept=no&next=%2Fadmin%2Ftokens")
	cookie := answer.Header.Get("Set-Cookie")
	for _, want := range []string{"usher_session=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/admin", "Max-Age=43200"} {
		has(t, cookie, want)
	}
	has(t, cookie, regexp.MustCompile(`usher_session=[0-9a-f]{64};`).FindString(cookie))
	answer, _ = b.get(t, answer.Header.Get("Location"))
	isRedirect(t, answer, "/admin/tokens")

	answer, body = b.get(t, "/admin")
	if answer.StatusCode != 200 {
		t.Fatalf("the overview is answered %d", answer.StatusCode)
	}
	has(t, body, "admin_token", `aria-current="page"`, `action="/admin/sign-out"`)
	answer, _ = b.get(t, "/admin/sign-in")
	isRedirect(t, answer, "/admin")

	kept := b.client.Jar.Cookies(mustURL(t, w.server.URL+"/admin"))
	answer, _ = b.post(t, "/admin/sign-out", nil)
	isRedirect(t, answer, "/admin/sign-in")
	_, body = b.get(t, "/admin/sign-in")
	has(t, body, "You are signed out.")
	_, body = b.get(t, "/admin/sign-in")
	lacks(t, body, "You are signed out.")
	b.client.Jar.SetCookies(mustURL(t, w.server.URL+"/admin"), kept)
	answer, _ = b.get(t, "/admin")
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin") // whoever kept the cookie has nothing
}

func TestSignInIsRefused(t *testing.T) {
	var said []string
	for _, token := range []string{"", "mistaken", adminToken + "x", strings.Repeat("a", 5000), "usher_abcdefghijklmnopqrstuvwxyz234567"} {
		b := newBrowser(t, newWorld(t, nil))
		answer, body := b.do(t, "POST", "/admin/sign-in", url.Values{"token": {token}, "next": {"/admin/tokens"}})
		if answer.StatusCode != 401 || answer.Header.Get("Set-Cookie") != "" {
			t.Errorf("%.20q is answered %d with the cookie %q", token, answer.StatusCode, answer.Header.Get("Set-Cookie"))
		}
		if len(token) > 1 {
			lacks(t, body, token)
		}
		has(t, body, `value="/admin/tokens"`, `aria-invalid="true"`)
		said = append(said, body)
	}
	for _, body := range said {
		if body != said[0] {
			t.Errorf("what is said tells one wrong token from another:\n%s\n%s", said[0], body)
		}
	}
}

func TestSignInIsSlowedDown(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(o *handlers.Options) { o.Now = func() time.Time { return now } })
	try := func(token, from string) *http.Response {
		answer, body := newBrowser(t, w).do(t, "POST", "/admin/sign-in", url.Values{"token": {token}}, "X-Forwarded-For", from)
		if answer.StatusCode == 429 {
			has(t, body, "Too many tries")
		}
		return answer
	}
	status := func(want int, answer *http.Response) {
		t.Helper()
		if answer.StatusCode != want {
			t.Fatalf("%d, wants %d", answer.StatusCode, want)
		}
	}
	for range 20 {
		status(303, try(adminToken, "192.0.2.1")) // who succeeds is not counted
	}
	for range 10 {
		status(401, try("wrong", "192.0.2.1"))
	}
	slowed := try("wrong", "192.0.2.1")
	status(429, slowed)
	if got := slowed.Header.Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After is %q", got)
	}
	status(429, try(adminToken, "192.0.2.1"))            // or guessing would go on
	status(429, try("wrong", "198.51.100.7, 192.0.2.1")) // what the client itself wrote does not help
	status(401, try("wrong", "192.0.2.2"))               // others are not affected
	now = now.Add(31 * time.Second)
	status(303, try(adminToken, "192.0.2.1"))
	status(401, try("wrong", "192.0.2.1"))
	status(429, try("wrong", "192.0.2.1"))

	for i := range 200 { // from ever other addresses
		if try("wrong", fmt.Sprintf("2001:db8:%x::1", i)).StatusCode == 429 {
			if i < 150 {
				t.Fatalf("after %d addresses all are slowed down", i)
			}
			return
		}
	}
	t.Error("many addresses together are not slowed down")
}

// What a link says must not lead to another site.
func TestNextLeadsToPagesOnly(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct{ next, want string }{
		{"/admin/invitations?state=failed&q=a%40b", "/admin/invitations?state=failed&q=a%40b"},
		{"/admin/tokens", "/admin/tokens"},
		{"", "/admin"},
		{"//evil.example", "/admin"},
		{"/\\evil.example", "/admin"},
		{"https://evil.example/admin", "/admin"},
		{"https:evil.example", "/admin"},
		{"javascript:alert(1)", "/admin"},
		{"/adminevil", "/admin"},
		{"/admin/../../evil", "/admin"},
		{"/admin/%2e%2e/%2e%2e/evil", "/admin"},
		{"/admin//evil.example", "/admin"},
		{"/admin\r\nSet-Cookie: a=b", "/admin"},
		{"/admin/\\evil", "/admin"},
		{"\t//evil.example", "/admin"},
		{"/webhooks/stripe", "/admin"},
		{"/admin/sign-in?next=/admin/sign-in", "/admin"},
		{"/admin/sign-out", "/admin"},
		{"/admin/static/usher.css", "/admin"},
	} {
		b := newBrowser(t, w)
		_, body := b.get(t, "/admin/sign-in?next="+url.QueryEscape(tt.next))
		has(t, body, `name="next" value="`+html.EscapeString(tt.want)+`"`)
		answer, _ := b.do(t, "POST", "/admin/sign-in", url.Values{"token": {adminToken}, "next": {tt.next}})
		isRedirect(t, answer, "/admin/sign-in?kept=no&next="+url.QueryEscape(tt.want))
		answer, _ = b.get(t, "/admin/sign-in?next="+url.QueryEscape(tt.next))
		isRedirect(t, answer, tt.want)
	}
}

func TestAnExpiredSessionComesBack(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { // the ledger's clock is ahead: the session has just expired
		o.Now = func() time.Time { return time.Now().Add(-12 * time.Hour) }
	})
	b := newBrowser(t, w)
	answer, _ := b.do(t, "POST", "/admin/sign-in", url.Values{"token": {adminToken}})
	if answer.StatusCode != 303 {
		t.Fatalf("signing in is answered %d", answer.StatusCode)
	}
	const page = "/admin/invitations?state=failed"
	next := "/admin/sign-in?next=" + url.QueryEscape(page)
	answer, _ = b.get(t, page)
	isRedirect(t, answer, next)
	answer, _ = b.get(t, "/admin?part=live", "HX-Request", "true", "HX-Current-URL", w.server.URL+page)
	if got := answer.Header.Get("HX-Redirect"); answer.StatusCode != 204 || got != next {
		t.Errorf("htmx is answered %d and sent to %q", answer.StatusCode, got)
	}
	answer, _ = b.post(t, "/admin/sign-out", nil, "Referer", w.server.URL+page)
	isRedirect(t, answer, next)
	answer, _ = b.post(t, "/admin/sign-out", nil, "Referer", "https://evil.example/phishing")
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin")
	answer, _ = b.post(t, "/admin/sign-out", nil)
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin")
}

func TestASessionEndsWithItsToken(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	changed := handlers.New(handlers.Options{Acceptor: w.ledger, Ledger: w.ledger, Policy: w.policy, AdminToken: "another-0123456789abcdefghij", Logger: slog.New(slog.DiscardHandler)})
	w.server.Config.Handler = changed
	answer, _ := b.get(t, "/admin")
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin")
}

func TestForgedForms(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	own := b.csrf
	other := newBrowser(t, w).signIn(t, "")
	if own == "" || own == other.csrf {
		t.Fatalf("the tokens of two sessions are %q and %q", own, other.csrf)
	}
	for _, tt := range []struct {
		name   string
		form   url.Values
		header []string
		want   string
	}{
		{name: "without a token", form: url.Values{"csrf": {""}}, want: "earlier sign-in"},
		{name: "with a wrong one", form: url.Values{"csrf": {own[1:] + own[:1] + "0"}}, want: "earlier sign-in"},
		{name: "with that of another session", form: url.Values{"csrf": {other.csrf}}, want: "earlier sign-in"},
		{name: "with the token in the address", form: url.Values{"csrf": {""}}, want: "earlier sign-in"},
		{name: "from another site", header: []string{"Sec-Fetch-Site", "cross-site"}, want: "another site"},
		{name: "from a neighbour", header: []string{"Sec-Fetch-Site", "same-site"}, want: "another site"},
		{name: "from another origin, by an old browser", header: []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, want: "another site"},
	} {
		path := "/admin/sign-out"
		if tt.name == "with the token in the address" {
			path += "?csrf=" + own
		}
		answer, body := b.post(t, path, tt.form, tt.header...)
		if answer.StatusCode != 403 {
			t.Errorf("%s: %d", tt.name, answer.StatusCode)
		}
		has(t, body, "<!doctype html>", tt.want)
		answer, body = b.post(t, path, tt.form, append(tt.header, "HX-Request", "true")...)
		if answer.StatusCode != 403 || answer.Header.Get("HX-Retarget") != "#messages" {
			t.Errorf("%s, by htmx: %d to %q", tt.name, answer.StatusCode, answer.Header.Get("HX-Retarget"))
		}
		has(t, body, `role="alert"`, tt.want)
		lacks(t, body, "<html")
	}
	answer, _ := b.do(t, "POST", "/admin/sign-in", url.Values{"token": {adminToken}}, "Sec-Fetch-Site", "cross-site")
	if answer.StatusCode != 403 {
		t.Errorf("another site signs people in: %d", answer.StatusCode)
	}
	b.csrf = own
	answer, _ = b.post(t, "/admin/sign-out", url.Values{"csrf": {""}}, "X-CSRF-Token", own, "HX-Request", "true")
	if answer.StatusCode != 204 || answer.Header.Get("HX-Redirect") != "/admin/sign-in" {
		t.Errorf("htmx with the token is answered %d", answer.StatusCode)
	}
}

func TestTheAPITakesNoCookieAndPagesNoBearer(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w)
	answer, _ := b.get(t, "/admin", "Authorization", "Bearer "+adminToken)
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin")
	b.signIn(t, "")
	var pairs []string
	for _, cookie := range b.client.Jar.Cookies(mustURL(t, w.server.URL+"/admin")) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	if len(pairs) == 0 {
		t.Fatal("there is no cookie")
	}
	answer, _ = newBrowser(t, w).get(t, "/v1/summary", "Cookie", strings.Join(pairs, "; "))
	if answer.StatusCode != 401 {
		t.Errorf("the API answers a cookie with %d", answer.StatusCode)
	}
}

func TestSignInLink(t *testing.T) {
	w := newWorld(t, nil)
	link := func() string {
		t.Helper()
		path, err := w.handler.SignInLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := link()
	b := newBrowser(t, w)
	answer, body := b.get(t, path, "Sec-Fetch-Site", "cross-site")
	if answer.StatusCode != 200 {
		t.Fatalf("the link is answered %d", answer.StatusCode)
	}
	// A redirect would be part of the other site's navigation, in which a Strict cookie is not sent.
	has(t, body, `http-equiv="refresh" content="0; url=/admin/sign-in?kept=no&amp;next=%2Fadmin"`)
	answer, body = b.get(t, "/admin")
	if answer.StatusCode != 200 {
		t.Fatalf("after the link the overview is answered %d", answer.StatusCode)
	}
	has(t, body, "admin_token")

	answer, body = newBrowser(t, w).get(t, path)
	if answer.StatusCode != 410 || answer.Header.Get("Set-Cookie") != "" {
		t.Errorf("the second time it is answered %d with the cookie %q", answer.StatusCode, answer.Header.Get("Set-Cookie"))
	}
	has(t, body, "used before", `name="token"`)
	answer, body = newBrowser(t, w).get(t, "/admin/sign-in?link=guessed")
	if answer.StatusCode != 410 {
		t.Errorf("a link that never was is answered %d", answer.StatusCode)
	}
	has(t, body, "not valid")

	path = link()
	answer, _ = newBrowser(t, w).do(t, "HEAD", path, nil) // such as a chat program that looks at links
	if answer.Header.Get("Set-Cookie") != "" {
		t.Error("HEAD uses a link up")
	}
	signedIn := make(chan int, 8)
	for range cap(signedIn) {
		other := newBrowser(t, w)
		go func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+path, nil)
			if err != nil {
				t.Error(err)
			}
			answer, err := other.client.Do(r)
			if err != nil {
				t.Error(err)
				signedIn <- 0
				return
			}
			answer.Body.Close()
			signedIn <- answer.StatusCode
		}()
	}
	got := map[int]int{}
	for range cap(signedIn) {
		got[<-signedIn]++
	}
	if got[200] != 1 || got[410] != cap(signedIn)-1 {
		t.Errorf("of %d at once these statuses: %v", cap(signedIn), got)
	}
}

func TestASignInLinkExpires(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { // the ledger's clock is ahead
		o.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	})
	path, err := w.handler.SignInLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, body := newBrowser(t, w).get(t, path)
	if answer.StatusCode != 410 {
		t.Errorf("%d", answer.StatusCode)
	}
	has(t, body, "not valid")
}

func TestWithoutATokenNobodySignsIn(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.AdminToken = " " })
	_, body := newBrowser(t, w).get(t, "/admin/sign-in")
	has(t, body, "USHER_ADMIN_TOKEN")
	for _, token := range []string{"", " "} {
		answer, _ := newBrowser(t, w).do(t, "POST", "/admin/sign-in", url.Values{"token": {token}})
		if answer.StatusCode != 401 {
			t.Errorf("the token %q is answered %d", token, answer.StatusCode)
		}
	}
	if _, err := w.handler.SignInLink(t.Context()); err == nil {
		t.Error("there is a link all the same")
	}
}

// Over plain http on a name that is not localhost browsers drop the cookie.
func TestACookieThatWasNotKeptIsExplained(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil))
	b.client.Jar = nil
	answer, _ := b.do(t, "POST", "/admin/sign-in", url.Values{"token": {adminToken}})
	_, body := b.get(t, answer.Header.Get("Location"))
	has(t, body, "did not keep the cookie", "https", "localhost")
}

// A browser sends no Strict cookie along a link on another site: the sign-in page goes on by itself once, which shows
// whether somebody is signed in.
func TestALinkOnAnotherSiteFindsTheSession(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil))
	_, body := b.get(t, "/admin/sign-in?next=%2Fadmin%2Ftokens", "Sec-Fetch-Site", "cross-site")
	has(t, body, `http-equiv="refresh" content="0; url=/admin/sign-in?again=1&amp;next=%2Fadmin%2Ftokens"`)
	_, body = b.get(t, "/admin/sign-in?again=1&next=%2Fadmin%2Ftokens", "Sec-Fetch-Site", "cross-site")
	lacks(t, body, "http-equiv")
	has(t, body, `name="token"`)
	b.signIn(t, "")
	answer, _ := b.get(t, "/admin/sign-in?again=1&next=%2Fadmin%2Ftokens")
	isRedirect(t, answer, "/admin/tokens")
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func isRedirect(t *testing.T, answer *http.Response, to string) {
	t.Helper()
	if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || got != to {
		t.Errorf("%s is answered %d to %q, wants 303 to %q", answer.Request.URL.Path, answer.StatusCode, got, to)
	}
}

func has(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if want == "" || !strings.Contains(text, want) {
			t.Errorf("there is no %q in:\n%s", want, text)
		}
	}
}

func lacks(t *testing.T, text string, unwanted ...string) {
	t.Helper()
	for _, absent := range unwanted {
		if strings.Contains(text, absent) {
			t.Errorf("there is %q in:\n%s", absent, text)
		}
	}
}
