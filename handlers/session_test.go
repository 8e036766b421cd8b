package handlers_test

import (
	"cmp"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
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
	b := newBrowser(t, newWorld(t, nil))
	answer, _ := b.get(t, "/admin")
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/admin/sign-in?next=%2Fadmin" {
		t.Fatalf("%d to %s", answer.StatusCode, answer.Header.Get("Location"))
	}
	b.signIn(t, "")
	answer, _ = b.post(t, "/admin/sign-out", nil)
	if answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d", answer.StatusCode)
	}
	if answer, _ = b.get(t, "/admin"); answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("after signing out: %d", answer.StatusCode)
	}
}
