package handlers_test

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const wantPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func TestPageHeaders(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil))
	check := func(path string, status int) {
		t.Helper()
		answer, body := b.get(t, path)
		if answer.StatusCode != status {
			t.Errorf("%s is answered %d, wants %d", path, answer.StatusCode, status)
		}
		for name, want := range map[string]string{"Content-Security-Policy": wantPolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := answer.Header.Get(name); got != want {
				t.Errorf("%s has the %s %q, wants %q", path, name, got, want)
			}
		}
		if body != "" {
			if got := answer.Header.Get("Content-Type"); got != "text/html; charset=UTF-8" {
				t.Errorf("%s is %s", path, got)
			}
			wellMade(t, path, body)
		}
	}
	check("/admin/sign-in", 200)
	check("/admin", 303)
	check("/admin/nothing", 303)
	b.signIn(t, "")
	check("/admin", 200)
	check("/admin/tokens", 200)
	check("/admin/nothing", 404)
	check("/admin/static/nothing", 404)
	check("/admin/sign-out", 404)
}

var (
	inlineCode = regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:`)
	elsewhere  = regexp.MustCompile(`(?i)(?:src|href|action)="(?:https?:)?//`)
	identities = regexp.MustCompile(`\sid="([^"]*)"`)
)

// wellMade looks for what no page may have.
func wellMade(t *testing.T, where, body string) {
	t.Helper()
	for _, bad := range []*regexp.Regexp{inlineCode, elsewhere} {
		if found := bad.FindString(body); found != "" {
			t.Errorf("%s has %q, which the policy refuses", where, found)
		}
	}
	for _, bad := range []string{"ZgotmplZ", "%!", "<no value>", "&lt;nil&gt;"} {
		if strings.Contains(body, bad) {
			t.Errorf("%s has %q", where, bad)
		}
	}
	seen := map[string]bool{}
	for _, id := range identities.FindAllStringSubmatch(body, -1) {
		if seen[id[1]] {
			t.Errorf("%s has the id %q twice", where, id[1])
		}
		seen[id[1]] = true
	}
	if strings.Contains(body, "<html") && strings.Count(body, "<h1") != 1 {
		t.Errorf("%s has %d first headings", where, strings.Count(body, "<h1"))
	}
}

func TestErrorPages(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/nothing")
	has(t, body, "Not found", `action="/admin/invitations"`, `role="search"`)
	answer, body := b.get(t, "/admin/nothing", "HX-Request", "true")
	if answer.StatusCode != 404 || answer.Header.Get("HX-Retarget") != "#messages" {
		t.Errorf("htmx is answered %d to %q", answer.StatusCode, answer.Header.Get("HX-Retarget"))
	}
	has(t, body, "Not found", `role="alert"`)
	lacks(t, body, "<html")

	if err := w.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	answer, body = b.get(t, "/admin")
	if answer.StatusCode != 500 {
		t.Fatalf("without a ledger: %d", answer.StatusCode)
	}
	has(t, body, "Something went wrong", answer.Header.Get("X-Request-Id"))
	lacks(t, body, "sql:", "closed")
	has(t, w.logs.String(), answer.Header.Get("X-Request-Id"), "database is closed")
}

var assetURL = regexp.MustCompile(`/admin/static/[^"?]+\?v=[0-9a-f]+`)

func TestStaticFiles(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil))
	_, body := b.get(t, "/admin/sign-in")
	urls := map[string]bool{}
	for _, found := range assetURL.FindAllString(body, -1) {
		urls[found] = true
	}
	if len(urls) != 4 {
		t.Fatalf("a page loads %v", urls)
	}
	kinds := map[string]string{".js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
	for path := range urls {
		name, _, _ := strings.Cut(path, "?")
		answer, text := b.get(t, path)
		if answer.StatusCode != 200 || text == "" {
			t.Fatalf("%s is answered %d", path, answer.StatusCode)
		}
		if got, want := answer.Header.Get("Content-Type"), kinds[name[len(name)-3:]]; got != want {
			t.Errorf("%s is %s, wants %s", path, got, want)
		}
		if got := answer.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s has the Cache-Control %q", path, got)
		}
		again, _ := b.get(t, name, "If-None-Match", answer.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s, which is known, is answered %d", name, again.StatusCode)
		}
		older, _ := b.get(t, name+"?v=0123456789abcdef")
		if got := older.Header.Get("Cache-Control"); older.StatusCode != 200 || got != "no-cache" {
			t.Errorf("an older address of %s is answered %d with the Cache-Control %q", name, older.StatusCode, got)
		}
	}
	answer, _ := b.get(t, "/admin/static/README.md")
	if answer.StatusCode != 404 {
		t.Errorf("the README is served: %d", answer.StatusCode)
	}
}

// The colours of the style sheet, in both schemes, by the formula of WCAG 2.
func TestContrast(t *testing.T) {
	text, err := os.ReadFile("static/usher.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, found := strings.Cut(string(text), "@media (prefers-color-scheme: dark)")
	dark, _, _ := strings.Cut(rest, "/* Ground */")
	if !found || len(dark) < 100 {
		t.Fatal("there is no dark scheme")
	}
	const body, edge = 4.5, 3
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]string{}
		for _, found := range regexp.MustCompile(`--([a-z0-9-]+):\s*(#[0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
			colours[found[1]] = found[2]
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"text", "ground", body}, {"text", "surface", body}, {"text", "sunken", body},
			{"quiet", "ground", body}, {"quiet", "surface", body}, {"quiet", "sunken", body},
			{"link", "ground", body}, {"link", "surface", body}, {"link", "sunken", body},
			{"on-accent", "accent", body}, {"on-accent", "accent-hover", body}, {"on-danger", "danger", body}, {"on-danger", "danger-hover", body},
			{"good", "good-ground", body}, {"bad", "bad-ground", body}, {"warn", "warn-ground", body}, {"info", "info-ground", body},
			{"sent", "sent-ground", body}, {"faded", "faded-ground", body}, {"bad", "surface", body},
			{"edge", "surface", edge}, {"edge", "ground", edge}, {"focus", "ground", edge}, {"focus", "surface", edge},
			{"accent", "surface", edge}, {"accent", "sunken", edge},
			{"series-1", "surface", edge}, {"series-2", "surface", edge}, {"series-3", "surface", edge},
		} {
			if got := contrast(t, colours[pair.front], colours[pair.back]); got < pair.least {
				t.Errorf("%s: --%s on --%s has the contrast %.2f, wants %.1f", scheme, pair.front, pair.back, got, pair.least)
			}
		}
	}
}

func contrast(t *testing.T, front, back string) float64 {
	t.Helper()
	a, b := luminance(t, front), luminance(t, back)
	return (max(a, b) + .05) / (min(a, b) + .05)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	if len(colour) != 7 {
		t.Fatalf("there is no colour %q", colour)
	}
	var sum float64
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(fmt.Errorf("the colour %s: %w", colour, err))
		}
		if c := float64(n) / 255; c <= .04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+.055)/1.055, 2.4)
		}
	}
	return sum
}
