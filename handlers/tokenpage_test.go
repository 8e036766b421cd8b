package handlers_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
)

func TestTokensPage(t *testing.T) {
	w := withTokens(t)
	admin := newBrowser(t, w).signIn(t, "")
	_, body := admin.get(t, "/admin/tokens")
	wellMade(t, "the tokens", body)
	has(t, body, "dashboard", "zapier", "ops", "expired", "in the configuration")
	lacks(t, body, hash(readToken), "/revoke")

	answer, body := admin.post(t, "/admin/tokens", url.Values{"name": {`"><script>alert(1)</script>`}, "role": {"root"}, "expires": {"2020-01-01"}})
	if answer.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a form with mistakes is answered %d", answer.StatusCode)
	}
	wellMade(t, "the form with mistakes", body)
	has(t, body, `id="name-error"`, `id="role-error"`, `id="expires-error"`, "&#34;&gt;&lt;script&gt;alert(1)")
	answer, body = admin.post(t, "/admin/tokens", url.Values{"name": {"make"}, "role": {"read"}, "expires": {"soon"}})
	if answer.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a day that is none is answered %d", answer.StatusCode)
	}
	has(t, body, `id="expires-error"`, `value="make"`)

	today := time.Now().UTC().Format(time.DateOnly)
	answer, body = admin.post(t, "/admin/tokens", url.Values{"name": {"make"}, "role": {"admin"}, "expires": {today}})
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("a form that is right is answered %d %s", answer.StatusCode, body)
	}
	wellMade(t, "the new token", body)
	secret := regexp.MustCompile(`usher_[a-z2-7]{32}`).FindString(body)
	has(t, body, secret, `data-copy="secret"`, "Copy it now")
	_, body = admin.get(t, "/admin/tokens")
	lacks(t, body, secret, hash(secret))
	has(t, body, "make", "by admin_token", `action="/admin/tokens/make/revoke"`)
	answer, body = admin.post(t, "/admin/tokens", url.Values{"name": {"make"}, "role": {"read"}})
	if answer.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a name that is taken is answered %d", answer.StatusCode)
	}
	has(t, body, "is taken")

	other := newBrowser(t, w).signIn(t, secret)
	_, body = other.get(t, "/admin/tokens")
	has(t, body, `make <span class="quiet">you</span>`)
	answer, _ = admin.post(t, "/admin/tokens/make/revoke", nil)
	isRedirect(t, answer, "/admin/tokens")
	_, body = admin.get(t, "/admin/tokens")
	has(t, body, "The token make is revoked", "revoked</span>")
	answer, _ = other.get(t, "/admin") // its session ends at once
	isRedirect(t, answer, "/admin/sign-in?next=%2Fadmin")
	answer, _ = newBrowser(t, w).do(t, "POST", "/admin/sign-in", url.Values{"token": {secret}})
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked token signs in: %d", answer.StatusCode)
	}
	for path, want := range map[string]int{"/admin/tokens/make/revoke": 409, "/admin/tokens/zapier/revoke": 409, "/admin/tokens/none/revoke": 404} {
		if answer, _ := admin.post(t, path, nil); answer.StatusCode != want {
			t.Errorf("%s is answered %d, wants %d", path, answer.StatusCode, want)
		}
	}
	noCanary(t, "the log", w.logs.String())
	lacks(t, w.logs.String(), secret)
}

// Pages obey the roles of the API.
func TestPagesObeyRoles(t *testing.T) {
	w := withTokens(t)
	browsers := map[string]*browser{"read": newBrowser(t, w).signIn(t, readToken), "invite": newBrowser(t, w).signIn(t, inviteToken), "admin": newBrowser(t, w).signIn(t, otherAdmin)}
	rank := []string{"read", "invite", "admin"}
	for path, needed := range map[string]int{
		"GET /admin": 0, "GET /admin/set-aside": 0, "GET /admin/sources": 0, "GET /admin/rules": 0,
		"POST /admin/try-sending": 1, "GET /admin/invite": 1, "POST /admin/invite": 1,
		"GET /admin/tokens": 2, "POST /admin/tokens": 2, "POST /admin/tokens/none/revoke": 2, "POST /admin/deliveries/99/replay": 2,
	} {
		method, target, _ := strings.Cut(path, " ")
		for i, role := range rank {
			b := browsers[role]
			var form url.Values
			if method == http.MethodPost {
				form = url.Values{"csrf": {b.csrf}}
			}
			answer, body := b.do(t, method, target, form)
			switch {
			case i < needed && answer.StatusCode != http.StatusForbidden:
				t.Errorf("%s is answered %d to the role %s", path, answer.StatusCode, role)
			case i < needed:
				has(t, body, "needs the role "+rank[needed], "with the role "+role)
			case answer.StatusCode == http.StatusForbidden:
				t.Errorf("%s is refused to the role %s", path, role)
			}
		}
	}
	_, body := browsers["read"].get(t, "/admin")
	lacks(t, body, `href="/admin/tokens"`, `href="/admin/invite"`)
	_, body = browsers["admin"].get(t, "/admin")
	has(t, body, `href="/admin/tokens"`, "token ops")
}

func TestTokensPageWithoutAnAdminToken(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) {
		o.AdminToken, o.Tokens = "", []handlers.Token{{Name: "ops", Hash: hash(otherAdmin), Role: "admin"}}
	})
	_, body := newBrowser(t, w).signIn(t, otherAdmin).get(t, "/admin/tokens")
	has(t, body, "ops")
	lacks(t, body, "admin_token")
}
