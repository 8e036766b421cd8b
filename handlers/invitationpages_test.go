package handlers_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// people records invitations, one by one.
func (w *world) people(t *testing.T, emails ...string) {
	t.Helper()
	for _, email := range emails {
		w.record(t, "evt_"+email, email)
	}
}

var rowsOf = regexp.MustCompile(`<td role="cell" class="whose"><a href="/admin/invitations/\d+">([^<]*)</a>`)

// listed are the addresses on a page, in their order.
func listed(body string) string {
	var all []string
	for _, found := range rowsOf.FindAllStringSubmatch(body, -1) {
		all = append(all, html.UnescapeString(found[1]))
	}
	return strings.Join(all, " ")
}

func link(t *testing.T, body, text string) string {
	t.Helper()
	found := regexp.MustCompile(`href="([^"]*)"[^>]*>` + regexp.QuoteMeta(text) + `<`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("there is no link %q in:\n%s", text, body)
	}
	return html.UnescapeString(found[1])
}

func TestInvitationList(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "ada@example.com", "adam@example.com", "bob@ada.example", "eve@held.example", "zoe@example.org")
	w.settle(t, 2, ledger.Failed, "<b>refused</b>")
	w.settle(t, 5, ledger.Sent, "")
	b := newBrowser(t, w).signIn(t, "")
	for _, tt := range []struct {
		name, query string
		want        string // addresses
		has, lacks  []string
	}{
		{name: "all, newest first", want: "zoe@example.org eve@held.example bob@ada.example adam@example.com ada@example.com",
			has: []string{"5 invitations.", `All <span class="count">5</span>`, `Failed <span class="count">1</span>`, "&lt;b&gt;refused&lt;/b&gt;", `href="/admin/invitations.csv"`}, lacks: []string{"<b>refused"}},
		{name: "the beginning of an address or a domain", query: "?q=ada", want: "ada@example.com adam@example.com bob@ada.example", has: []string{"3 invitations.", `value="ada"`, `href="/admin/invitations?q=ada&amp;state=failed"`}, lacks: []string{`class="count"`}},
		{name: "a state", query: "?state=failed", want: "adam@example.com", has: []string{`<input type="hidden" name="state" value="failed">`, "Send all 1 again", `aria-current="true">Failed`}},
		{name: "held", query: "?state=held", want: "eve@held.example", has: []string{"Approve all 1", "Approve ticked"}, lacks: []string{"Send ticked again"}},
		{name: "a source", query: "?source=stripe", want: "zoe@example.org eve@held.example bob@ada.example adam@example.com ada@example.com", has: []string{`<option value="stripe" selected>`}},
		{name: "another source", query: "?source=%3Cscript%3E", has: []string{`<option value="&lt;script&gt;" selected>`, "Nobody here"}, lacks: []string{"<script>"}},
		{name: "nobody", query: "?q=nobody", has: []string{"No invitation.", "Nobody like that", "@example.com"}},
		{name: "nobody in a state", query: "?q=zoe&state=failed", has: []string{"Nobody like that here", `href="/admin/invitations?q=zoe"`}},
		{name: "an empty state", query: "?state=accepted", has: []string{"Nobody came in yet"}},
		{name: "hostile", query: "?q=" + url.QueryEscape(`"><script>alert(1)</script>%_'`), has: []string{"&#34;&gt;&lt;script&gt;"}, lacks: []string{"<script>alert"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, body := b.get(t, "/admin/invitations"+tt.query)
			if answer.StatusCode != 200 {
				t.Fatalf("%d %s", answer.StatusCode, body)
			}
			wellMade(t, tt.name, body)
			if got := listed(body); got != tt.want {
				t.Errorf("lists %q, wants %q", got, tt.want)
			}
			has(t, body, tt.has...)
			lacks(t, body, tt.lacks...)
		})
	}

	t.Run("htmx is given what was found alone, and the address to show", func(t *testing.T) {
		answer, body := b.get(t, "/admin/invitations?q=ada&state=&source=", "HX-Request", "true")
		if got := answer.Header.Get("HX-Replace-Url"); answer.StatusCode != 200 || got != "/admin/invitations?q=ada" {
			t.Errorf("%d, and the address is %q", answer.StatusCode, got)
		}
		has(t, body, `<div id="found">`, `<p id="count" hx-swap-oob="innerHTML">3 invitations.</p>`)
		lacks(t, body, "<html", `id="q"`)
	})
	t.Run("what is no state", func(t *testing.T) {
		if answer, _ := b.get(t, "/admin/invitations?state=lost"); answer.StatusCode != 422 {
			t.Errorf("%d", answer.StatusCode)
		}
	})
	t.Run("a page of another search is the first page of this one", func(t *testing.T) {
		answer, _ := b.get(t, "/admin/invitations?q=ada&from=xyz")
		isRedirect(t, answer, "/admin/invitations?q=ada")
	})
	t.Run("as CSV", func(t *testing.T) {
		answer, body := b.get(t, "/admin/invitations.csv?q=ada")
		if answer.StatusCode != 200 || strings.Count(body, "\r\n") != 4 {
			t.Errorf("%d %s", answer.StatusCode, body)
		}
	})
}

func TestInvitationListOfNobody(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil)).signIn(t, "")
	_, body := b.get(t, "/admin/invitations")
	wellMade(t, "the empty list", body)
	has(t, body, "Nobody is invited yet", `href="/admin/sources"`, `href="/admin/invite"`)
}

func TestInvitationPager(t *testing.T) {
	w := newWorld(t, nil)
	var want []string
	var verdicts []ledger.Verdict
	for i := range 120 {
		e := access.Event{Source: "stripe", ID: fmt.Sprint(i), Email: fmt.Sprintf("person%03d@example.com", i)}
		verdicts = append(verdicts, ledger.Verdict{Event: e, Decision: w.policy.Decide(e)})
		want = append(want, e.Email)
	}
	if _, err := w.ledger.RecordMany(t.Context(), verdicts); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, w).signIn(t, "")
	_, first := b.get(t, "/admin/invitations?q=person&source=stripe")
	has(t, first, "The first 50 invitations; there are more.")
	lacks(t, first, "Previous page", "First page")
	_, second := b.get(t, link(t, first, "Next page"))
	has(t, second, "50 invitations on this page.", "First page", `value="person"`, `<option value="stripe" selected>`)
	_, third := b.get(t, link(t, second, "Next page"))
	lacks(t, third, "Next page")
	if got := strings.Join([]string{listed(first), listed(second), listed(third)}, " "); got != strings.Join(want, " ") {
		t.Errorf("the pages list %s", got)
	}
	_, back := b.get(t, link(t, third, "Previous page"))
	if listed(back) != listed(second) {
		t.Errorf("back from the third page is %s", listed(back))
	}
	_, home := b.get(t, link(t, back, "Previous page"))
	if listed(home) != listed(first) {
		t.Errorf("back from the second page is %s", listed(home))
	}
}

var formKey = regexp.MustCompile(`name="key" value="([^"]+)"`)

func TestInvitationPage(t *testing.T) {
	w := newWorld(t, nil)
	w.record(t, "evt_1", "ada@pro.example")
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/invitations/1")
	wellMade(t, "queued", body)
	has(t, body, "ada@pro.example", "badge queued", "It goes out as soon as it is its turn", "stripe told us: invoice.paid", "Decided: invite (access rule 2)", "7, 9",
		`hx-get="/admin/invitations/1/live"`, `hx-trigger="every 2s"`, `id="do-retry"`, "Try now", `href="/admin/invitations/1/revoke"`, "Was the address wrong?")
	lacks(t, body, "do-approve")
	answer, body := b.get(t, "/admin/invitations/1/live", "HX-Request", "true")
	if answer.StatusCode != 200 {
		t.Errorf("while it is queued: %d", answer.StatusCode)
	}
	has(t, body, "badge queued", `<p id="said" hx-swap-oob="innerHTML">queued. It goes out as soon as it is its turn.</p>`)
	lacks(t, body, "<html")
	answer, _ = b.get(t, "/admin/invitations/1/live") // such as by the address bar
	isRedirect(t, answer, "/admin/invitations/1")

	w.settle(t, 1, ledger.Failed, "the address <i>bounces</i>")
	answer, body = b.get(t, "/admin/invitations/1/live", "HX-Request", "true")
	if answer.StatusCode != 286 {
		t.Errorf("once it failed: %d", answer.StatusCode)
	}
	has(t, body, "badge failed", "Retool refused it", "the address &lt;i&gt;bounces&lt;/i&gt;", "mend the cause", "Send again")
	lacks(t, body, "<i>bounces")

	_, body = b.get(t, "/admin/invitations/1")
	key := formKey.FindStringSubmatch(body)[1]
	for range 2 { // a double click
		answer, _ = b.post(t, "/admin/invitations/1/retry", url.Values{"key": {key}})
		isRedirect(t, answer, "/admin/invitations/1")
	}
	_, body = b.get(t, "/admin/invitations/1")
	has(t, body, "Queued. It goes out", "badge queued", "admin_token had it sent again", "Failed → queued.")
	if inv, err := w.ledger.Invitation(t.Context(), 1); err != nil || inv.Run != 2 {
		t.Errorf("the run is %d (%v), wants 2", inv.Run, err)
	}

	for _, missing := range []string{"/admin/invitations/99", "/admin/invitations/bulk", "/admin/invitations/ada", "/admin/invitations/99/revoke"} {
		if answer, body := b.get(t, missing); answer.StatusCode != 404 || !strings.Contains(body, "Find an invitation") {
			t.Errorf("%s is answered %d", missing, answer.StatusCode)
		}
	}
}

func TestInvitationPageApprove(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "eve@held.example")
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/invitations/1")
	has(t, body, "badge held", "It waits for a person to approve it", `id="do-approve"`)
	lacks(t, body, `id="do-retry"`, `hx-get="/admin/invitations/1/live"`)
	answer, _ := b.post(t, "/admin/invitations/1/approve", url.Values{"key": {formKey.FindStringSubmatch(body)[1]}})
	isRedirect(t, answer, "/admin/invitations/1")
	_, body = b.get(t, "/admin/invitations/1")
	has(t, body, "Approved. It goes out", "admin_token approved it", "Held → queued.")
	answer, _ = b.post(t, "/admin/invitations/1/approve", url.Values{"key": {"another page"}})
	isRedirect(t, answer, "/admin/invitations/1")
	_, body = b.get(t, "/admin/invitations/1")
	has(t, body, `<p class="notice bad">Nothing was done: it is queued, not held.</p>`)
}

func TestInvitationPageRevoke(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "ada@example.com", "bob@example.com", "eve@example.com")
	w.settle(t, 2, ledger.Sent, "")
	w.settle(t, 3, ledger.Accepted, "")
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/invitations/1/revoke")
	wellMade(t, "the confirmation", body)
	has(t, body, "Take the invitation back?", "has not been sent", "ada@example.com")
	key := formKey.FindStringSubmatch(body)[1]
	for range 2 {
		answer, _ := b.post(t, "/admin/invitations/1/revoke", url.Values{"key": {key}})
		isRedirect(t, answer, "/admin/invitations/1")
	}
	_, body = b.get(t, "/admin/invitations/1")
	has(t, body, "Taken back. Nothing is sent.", "badge revoked", "admin_token took it back")
	lacks(t, body, "notice bad")
	_, body = b.get(t, "/admin/invitations/2/revoke")
	has(t, body, "Retool is told to delete the invite")
	answer, _ := b.post(t, "/admin/invitations/2/revoke", url.Values{"key": {formKey.FindStringSubmatch(body)[1]}})
	isRedirect(t, answer, "/admin/invitations/2")
	_, body = b.get(t, "/admin/invitations/2")
	has(t, body, "Retool is being told to delete the invite.", "Retool is told that it was taken back", `hx-trigger="every 2s"`)
	answer, _ = b.get(t, "/admin/invitations/3/revoke")
	isRedirect(t, answer, "/admin/invitations/3")
	_, body = b.get(t, "/admin/invitations/3")
	has(t, body, "Nothing was done: the person came in", "Nothing is left to do")
	lacks(t, body, "do-revoke", "do-retry", "Was the address wrong?")
}

func TestInvitationPageCorrect(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "jane@exmaple.com", "known@example.com")
	b := newBrowser(t, w).signIn(t, "")
	_, page := b.get(t, "/admin/invitations/1")
	keys := formKey.FindAllStringSubmatch(page, -1)
	key := keys[len(keys)-1][1]
	for _, tt := range []struct {
		name, email string
		want        string
		status      int // when it is sent
	}{
		{name: "half an address", email: "jane@example", want: "Go on typing: the domain has no dot.", status: 422},
		{name: "one of our own", email: "jane@acme.com", want: "acme.com is your own domain", status: 422},
		{name: "the same", email: "jane@exmaple.com", want: "That is the address it has.", status: 303},
		{name: "one that has an invitation", email: "known@example.com", want: "Is queued already"},
		{name: "hostile", email: `"><script>alert(1)</script>`, want: "angle brackets", status: 422},
		{name: "a good one", email: "Jane@Example.com", want: "A new invitation."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := url.Values{"email": {tt.email}, "key": {key}}
			answer, body := b.post(t, "/admin/invitations/1/correct/preview", form, "HX-Request", "true")
			if answer.StatusCode != 200 {
				t.Fatalf("%d %s", answer.StatusCode, body)
			}
			has(t, body, tt.want)
			lacks(t, body, "<html", "<script>alert")
			_, body = b.post(t, "/admin/invitations/1/correct/preview", form) // without scripts
			has(t, body, tt.want, "<html")
			lacks(t, body, "<script>alert")
			wellMade(t, tt.name, body)
			if tt.status == 0 {
				return
			}
			if answer, body = b.post(t, "/admin/invitations/1/correct", form); answer.StatusCode != tt.status {
				t.Errorf("sent, it is answered %d", answer.StatusCode)
			}
			lacks(t, body, "<script>alert")
		})
	}
	form := url.Values{"email": {"jane@example.com"}, "key": {key}}
	for range 2 { // a double click
		answer, _ := b.post(t, "/admin/invitations/1/correct", form)
		isRedirect(t, answer, "/admin/invitations/3")
	}
	_, body := b.get(t, "/admin/invitations/3")
	has(t, body, "jane@example.com", "takes the place of jane@exmaple.com", "It took the place of invitation 1.", `href="/admin/invitations/1"`)
	_, body = b.get(t, "/admin/invitations/1")
	has(t, body, "badge revoked", "Another invitation took its place", `href="/admin/invitations/3"`)
	lacks(t, body, "Was the address wrong?")
}

func TestBulk(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "a@example.com", "b@example.com", "c@example.com", "d@held.example", "e@held.example", "f@example.com")
	for _, id := range []int64{1, 2, 3} {
		w.settle(t, id, ledger.Failed, "refused")
	}
	w.settle(t, 6, ledger.Accepted, "")
	b := newBrowser(t, w).signIn(t, "")
	_, _ = b.get(t, "/admin/invitations")
	back := "/admin/invitations?state=failed"
	ask := func(form url.Values) string {
		t.Helper()
		form.Set("back", back)
		answer, body := b.post(t, "/admin/invitations/bulk", form)
		if answer.StatusCode != 200 {
			t.Fatalf("%d %s", answer.StatusCode, body)
		}
		wellMade(t, "the confirmation", body)
		return body
	}
	confirm := func(body string) {
		t.Helper()
		form := url.Values{}
		for _, field := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(body, -1) {
			form.Add(field[1], html.UnescapeString(field[2]))
		}
		for range 2 { // a double click
			form.Del("csrf")
			answer, text := b.post(t, "/admin/invitations/bulk/done", form)
			if answer.StatusCode != 303 {
				t.Fatalf("%d %s", answer.StatusCode, text)
			}
			isRedirect(t, answer, back)
		}
	}
	states := func() (text string) {
		all, err := w.ledger.Invitations(t.Context(), ledger.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, inv := range all {
			text = fmt.Sprintf("%d%c%d ", inv.ID, inv.State[0], inv.Run) + text
		}
		return strings.TrimSpace(text)
	}
	const before = "1f1 2f1 3f1 4h1 5h1 6a1"
	if states() != before {
		t.Fatalf("it begins with %s", states())
	}

	answer, _ := b.post(t, "/admin/invitations/bulk", url.Values{"do": {"retry"}, "back": {back}})
	isRedirect(t, answer, back)
	_, body := b.get(t, back)
	has(t, body, "Nobody is ticked.")

	body = ask(url.Values{"do": {"retry"}, "id": {"1", "2", "4", "6", "99", "x", "1"}})
	has(t, body, "Send 2 invitations again?", "a@example.com", "b@example.com", "d@held.example: it is held; approve it instead", "f@example.com: it is accepted", "2 of those you ticked are left as they are")
	if states() != before {
		t.Fatalf("asking has changed %s", states())
	}
	confirm(body)
	if got := states(); got != "1q2 2q2 3f1 4h1 5h1 6a1" {
		t.Fatalf("the ticked are %s", got)
	}
	_, body = b.get(t, back)
	has(t, body, "2 invitations are queued to be sent again.")

	body = ask(url.Values{"do": {"approve"}, "id": {"6"}})
	has(t, body, "None of them", "f@example.com: it is accepted, not held")
	lacks(t, body, "/bulk/done")

	body = ask(url.Values{"do": {"all-held"}})
	has(t, body, "Approve 2 invitations?", "d@held.example")
	confirm(body)
	body = ask(url.Values{"do": {"all-failed"}})
	has(t, body, "Send 1 invitation again?")
	confirm(body)
	if got := states(); got != "1q2 2q2 3q2 4q2 5q2 6a1" {
		t.Fatalf("after all: %s", got)
	}

	for _, wrong := range []url.Values{{"do": {"revoke"}, "id": {"1"}}, {"do": {"all-accepted"}}, {"do": {""}}, {"do": {"all-"}}} {
		if answer, _ := b.post(t, "/admin/invitations/bulk", wrong); answer.StatusCode != 422 {
			t.Errorf("%v is answered %d", wrong, answer.StatusCode)
		}
	}
	form := url.Values{"do": {"retry"}, "id": {"1"}, "back": {"https://evil.example/"}}
	_, body = b.post(t, "/admin/invitations/bulk", form)
	lacks(t, body, "evil.example")
}

// Who may only read sees no button and can press none; who is not signed in, or comes from another site, does nothing.
func TestInvitationPagesRoles(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "ada@example.com", "eve@held.example")
	token, _, err := w.ledger.MakeToken(t.Context(), "a test", "looker", "read", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, w).signIn(t, token)
	for _, path := range []string{"/admin/invitations", "/admin/invitations/1", "/admin/invitations/2"} {
		answer, body := b.get(t, path)
		if answer.StatusCode != 200 {
			t.Fatalf("%s is answered %d", path, answer.StatusCode)
		}
		wellMade(t, path, body)
		has(t, body, "example")
		lacks(t, body, "<button class=\"button primary\"", `id="do-`, `name="id"`, "Was the address wrong?", `href="/admin/invite"`, "ticked")
	}
	_, _ = b.get(t, "/admin/invitations")
	posts := []string{"/admin/invitations/1/retry", "/admin/invitations/1/approve", "/admin/invitations/1/revoke", "/admin/invitations/1/correct", "/admin/invitations/1/correct/preview",
		"/admin/invitations/bulk", "/admin/invitations/bulk/done"}
	form := func() url.Values {
		return url.Values{"do": {"retry"}, "id": {"1"}, "email": {"x@example.com"}, "key": {"k"}}
	}
	for _, path := range posts {
		if answer, _ := b.post(t, path, form()); answer.StatusCode != 403 {
			t.Errorf("who may only read is answered %d by %s", answer.StatusCode, path)
		}
	}
	if answer, _ := b.get(t, "/admin/invitations/1/revoke"); answer.StatusCode != 403 {
		t.Errorf("who may only read is answered %d by the confirmation", answer.StatusCode)
	}
	admin := newBrowser(t, w).signIn(t, "")
	_, _ = admin.get(t, "/admin/invitations")
	stranger := newBrowser(t, w)
	for _, path := range posts {
		forged := form()
		forged.Set("csrf", "0123")
		if answer, _ := admin.post(t, path, forged); answer.StatusCode != 403 {
			t.Errorf("a forged form is answered %d by %s", answer.StatusCode, path)
		}
		if answer, _ := admin.post(t, path, form(), "Sec-Fetch-Site", "cross-site"); answer.StatusCode != 403 {
			t.Errorf("another site is answered %d by %s", answer.StatusCode, path)
		}
		if answer, _ := stranger.post(t, path, form()); answer.StatusCode != 303 || !strings.HasPrefix(answer.Header.Get("Location"), "/admin/sign-in") {
			t.Errorf("a stranger is answered %d by %s", answer.StatusCode, path)
		}
	}
	if trail, err := w.ledger.Audit(t.Context(), ledger.AuditFilter{Invitation: 1}); err != nil || len(trail) != 0 {
		t.Errorf("something was done: %v (%v)", trail, err)
	}
}

// What customers and people wrote is text, wherever it stands.
func TestInvitationPageEscapes(t *testing.T) {
	w := newWorld(t, nil)
	const evil = `"><script>alert(1)</script>'`
	e := access.Event{Source: "stripe", Type: evil, ID: evil, Email: "ada@example.com", EmailFrom: evil, Name: evil}
	decision := w.policy.Decide(e)
	decision.Sentence, decision.Attributes = evil, map[string]string{evil: evil}
	if _, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, Decision: decision, Note: evil, By: evil}); err != nil {
		t.Fatal(err)
	}
	w.settle(t, 1, ledger.Failed, evil)
	b := newBrowser(t, w).signIn(t, "")
	for _, path := range []string{"/admin/invitations/1", "/admin/invitations", "/admin/events/1", "/admin/invitations/1/revoke"} {
		_, body := b.get(t, path)
		wellMade(t, path, body)
		lacks(t, body, "<script>alert")
	}
	_, body := b.get(t, "/admin/invitations/1")
	has(t, body, "&lt;script&gt;alert(1)&lt;/script&gt;")
}

func TestLateGroupsAreTold(t *testing.T) {
	w := newWorld(t, nil)
	w.people(t, "ada@example.com")
	w.settle(t, 1, ledger.Sent, "")
	e := access.Event{Source: "stripe", ID: "evt_more", Email: "ada@example.com"}
	decision := w.policy.Decide(e)
	decision.Groups, decision.Attributes = []int64{42}, map[string]string{"plan": "pro"}
	if _, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, Decision: decision}); err != nil {
		t.Fatal(err)
	}
	_, body := newBrowser(t, w).signIn(t, "").get(t, "/admin/invitations/1")
	has(t, body, "Groups wanted after it was sent: 42.", "add the person to them in Retool", "Attributes wanted after it was sent: plan: pro.")
	wellMade(t, "late groups", body)
}

// TestALaterPageThatEmptied is what stands there once everybody on it was approved: the others are still held.
func TestALaterPageThatEmptied(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 51 {
		w.record(t, fmt.Sprint("evt_", i), fmt.Sprintf("a%d@held.example", i))
	}
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin/invitations?state=held")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(body)
	if next == nil {
		t.Fatal("51 invitations are on one page")
	}
	if _, err := w.ledger.Approve(t.Context(), "a test", 1); err != nil { // the oldest, alone on the last page
		t.Fatal(err)
	}
	_, body = b.get(t, html.UnescapeString(next[1]))
	has(t, body, "There is nothing more", "To the first page")
	lacks(t, body, "Nobody waits for approval")
}
