package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// TestPages plays what a person does with the pages, in a real browser, on a real Usher before a fake Retool.
func TestPages(t *testing.T) {
	t.Parallel() // the browser and the Ushers take turns
	for _, row := range []struct {
		name string
		play func(*testing.T)
	}{
		{"sign in, come back to where one was when the session ends, and sign out", testSigningIn},
		{"everybody can use every page", testEveryPage},
		{"try a change of the rules before it decides", testTryingRules},
		{"invite, and see it become sent without reloading", testInviting},
		{"import a list, and see it go out", testImporting},
		{"the main paths work without scripts", testWithoutScripts},
		{"find a customer whose invitation failed, and send it again, in three clicks", testSendingAgain},
		{"the same by the keyboard", testByKeyboard},
		{"correct an address", testCorrecting},
		{"approve, and take back", testByHand},
		{"act on many at once", testManyAtOnce},
		{"try a source with its real secret", testTryingASource},
		{"what customers write is shown as text", testHostileText},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.play(t)
		})
	}
}

func testSigningIn(t *testing.T) {
	h := openHouse(t)
	b := newTab(t, h.url)
	b.visit("/admin")
	b.arrive("/admin/sign-in")
	b.see("Sign in")
	b.seeNot("Sign out")
	b.forgive("status of 401") // the console's word on what is wanted here
	b.fill("Token", "not-the-token-at-all-0123456789")
	b.click("Sign in")
	b.see("This token is not accepted")
	b.signIn(storyAdmin)
	b.see("Overview", "Sign out")

	b.visit("/admin/tokens")
	h.change(`update sessions set expires_at = $1`, time.Now().Add(-time.Second).UnixMilli())
	b.visit("/admin/tokens")
	b.arrive("/admin/sign-in")
	b.signIn(storyAdmin)
	b.arrive("/admin/tokens")
	b.see("Tokens")

	cookies := b.cookies()
	b.click("Sign out")
	b.see("You are signed out")
	b.visit("/admin/tokens")
	b.arrive("/admin/sign-in")
	b.bring(cookies) // who kept a copy has nothing
	b.visit("/admin/tokens")
	b.arrive("/admin/sign-in")
}

// cookies are the tab's own, with all that protects them.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	cookies := call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{b.site + "/admin"}}).Cookies
	session := slices.IndexFunc(cookies, func(c *network.Cookie) bool { return strings.Contains(c.Name, "session") })
	if session < 0 {
		b.t.Fatal("there is no cookie of a session")
	}
	if c := cookies[session]; !c.HTTPOnly || !c.Secure || c.SameSite != network.CookieSameSiteStrict {
		b.t.Errorf("the session's cookie is httponly %t, secure %t, samesite %s", c.HTTPOnly, c.Secure, c.SameSite)
	}
	return cookies
}

func (b *tab) bring(cookies []*network.Cookie) {
	b.t.Helper()
	for _, c := range cookies {
		call(b, network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: b.site + "/admin", Path: c.Path, Secure: new(c.Secure), HTTPOnly: new(c.HTTPOnly)})
	}
}

// testEveryPage follows the links from page to page, one of each kind, and looks at each in light, in dark and on a phone.
func testEveryPage(t *testing.T) {
	h := openHouse(t, furnished)
	inEveryState(h)
	b := h.enter()
	b.visit("/admin/sign-in")
	b.everyLook()
	b.forgive("status of 404")
	seen := map[string]bool{"/admin/sign-in": true}
	for next := []string{"/admin", "/admin/no-such-page"}; len(next) > 0; next = next[1:] {
		kind := kindOf(next[0])
		if seen[kind] {
			continue
		}
		seen[kind] = true
		b.visit(next[0])
		if next[0] != "/admin/no-such-page" {
			b.answered(200)
		}
		b.everyLook()
		next = append(next, b.links()...)
	}
	t.Logf("these pages were looked at: %s", slices.Sorted(maps.Keys(seen)))
}

var identities = regexp.MustCompile(`/[0-9]+`)

// kindOf is a path without what tells one page from others like it.
func kindOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return identities.ReplaceAllString(path, "/N")
}

// links are the paths of the page's links to pages of ours, but for downloads.
func (b *tab) links() (paths []string) {
	b.t.Helper()
	links, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("a[href]:not([download])")].map((a) => new URL(a.href)).filter((u) => u.origin === location.origin).map((u) => u.pathname + u.search)`))
	b.must("list the links", err)
	for _, link := range links {
		if strings.HasPrefix(link, "/admin") && !strings.Contains(link, "export") {
			paths = append(paths, link)
		}
	}
	return paths
}

// everyLook fails for what keeps people out of the page as it stands.
func (b *tab) everyLook() {
	b.t.Helper()
	b.noJump()
	b.accessible()
	b.media("dark")
	b.accessible()
	b.window(phoneWidth, 844)
	b.accessible()
	b.fits()
	b.media("light")
	b.window(1280, 800)
}

func testTryingASource(t *testing.T) {
	h := openHouse(t)
	b := h.enter()
	b.click("Sources")
	b.click("signup-form")
	b.see("The address to paste at the sender", "/webhooks/signup-form", "Nothing came yet")
	b.click("Send a test event")
	b.see("It works.", "it was decided")
	if n := len(h.retool.Invites()); n != 0 {
		t.Errorf("a test event invited %d people", n)
	}
	b.seeNot(storySecret)
}

// testHostileText lets a customer be called what a browser would run, if it were not for the pages.
func testHostileText(t *testing.T) {
	const payload = `<script>window.pwned = 1</script><img src=x onerror="window.pwned = 1"></title></textarea>"'><svg onload=alert(1)>{{.}}`
	h := openHouse(t)
	h.paid(webhooktest.StripeEvent{Email: "ada@lovelace.example", Name: payload, Customer: payload})
	h.paid(webhooktest.StripeEvent{Email: payload + "@lovelace.example", Name: payload})
	id := h.invitation("ada@lovelace.example", "sent")
	h.until("both are decided", func() bool { return h.count(`select count(*) from decisions`) == 2 })
	b := h.enter()
	for _, path := range []string{"/admin/events/1", fmt.Sprint("/admin/invitations/", id), "/admin/events/2", "/admin/sources/stripe", "/admin/invitations", "/admin"} {
		b.visit(path)
		if path == "/admin/events/1" {
			b.see(payload)
		}
		if pwned, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!window.pwned || !!document.querySelector('svg[onload], img[onerror]')")); err != nil || pwned {
			t.Errorf("%s runs what a customer wrote: %v", path, err)
		}
	}
	b.visit("/admin/invite")
	b.fill("Address", payload)
	b.see("Go on typing")
	b.forgive("status of 422") // the console's word on what is wanted here
	b.click("Invite", "One person")
	b.answered(422)
	b.fill("Addresses", "email,note\n"+payload+",x\ngrace@hopper.example,"+strings.ReplaceAll(payload, `"`, ""))
	b.click("Show what would happen")
	b.see("1 line cannot be used")
}
