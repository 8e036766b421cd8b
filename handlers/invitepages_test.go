package handlers_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

var keyField = regexp.MustCompile(`name="key" value="([A-Z0-9]+)"`)

// key is that of the form that stands on a page.
func key(t *testing.T, body string) string {
	t.Helper()
	found := keyField.FindStringSubmatch(body)
	if found == nil {
		t.Fatal("the form has no key")
	}
	return found[1]
}

func TestInviteOne(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	answer, body := b.get(t, "/admin/invite")
	if answer.StatusCode != 200 {
		t.Fatalf("%d", answer.StatusCode)
	}
	wellMade(t, "the page", body)
	form := url.Values{"email": {"Jane@Example.com"}, "groups": {"42, 7"}, "note": {"paid by bank"}, "key": {key(t, body)}}
	answer, _ = b.post(t, "/admin/invite", form)
	isRedirect(t, answer, "/admin/invite?sent=1")
	answer, _ = b.post(t, "/admin/invite", form) // a double click
	isRedirect(t, answer, "/admin/invite?sent=1")
	again := url.Values{"email": {"other@example.com"}, "key": form["key"]} // from the same page, by the back button
	answer, _ = b.post(t, "/admin/invite", again)
	isRedirect(t, answer, "/admin/invite?sent=2")
	if trail, err := w.ledger.Audit(t.Context(), ledger.AuditFilter{}); err != nil || len(trail) != 2 {
		t.Errorf("the trail of two invitations has %d lines (%v)", len(trail), err)
	}
	inv, err := w.ledger.Invitation(t.Context(), 1)
	if err != nil || inv.State != ledger.Queued || inv.Run != 1 || fmt.Sprint(inv.Groups) != "[7 42]" || inv.Note != "paid by bank" {
		t.Errorf("the invitation is %+v (%v)", inv, err)
	}
	_, body = b.get(t, "/admin/invite?sent=1")
	has(t, body, "jane@example.com", "badge queued", `hx-trigger="every 1s"`, `value=""`)
	wellMade(t, "what was sent", body)

	answer, body = b.get(t, "/admin/invite/sent/1", "HX-Request", "true")
	if answer.StatusCode != 200 {
		t.Errorf("while it is queued: %d", answer.StatusCode)
	}
	has(t, body, "badge queued")
	w.settle(t, 1, ledger.Sent, "")
	answer, body = b.get(t, "/admin/invite/sent/1", "HX-Request", "true")
	if answer.StatusCode != 286 { // which tells htmx to stop
		t.Errorf("once it is sent: %d", answer.StatusCode)
	}
	has(t, body, "badge sent")
	lacks(t, body, "<html")
}

func TestInviteOnePreview(t *testing.T) {
	w := newWorld(t, nil)
	w.settle(t, w.record(t, "evt_1", "known@example.com"), ledger.Sent, "")
	b := newBrowser(t, w).signIn(t, "")
	_, page := b.get(t, "/admin/invite")
	for _, tt := range []struct {
		name, email, groups string
		want                []string
		mistake             bool
	}{
		{name: "a new one", email: "jane@example.com", want: []string{"A new invitation.", "example.com is an outside domain"}},
		{name: "with groups of a rule and of the form", email: "jane@pro.example", groups: "42", want: []string{"A new invitation.", "Groups: 7, 9, 42"}},
		{name: "one of our own", email: "bob@acme.com", want: []string{"Will not be invited.", "acme.com is your own domain"}},
		{name: "one to be held", email: "eve@held.example", want: []string{"held until a person approves it"}},
		{name: "one that is there", email: "KNOWN@example.com", want: []string{"Is sent already", "/admin/invitations/1", "badge sent"}},
		{name: "half an address", email: "jane@exam", want: []string{"domain", "has no dot"}, mistake: true},
		{name: "no at", email: "jane.example.com", want: []string{"address", "has no @ sign"}, mistake: true},
		{name: "hostile", email: `"><script>alert(1)</script>@x.y`, want: []string{"angle brackets"}, mistake: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := url.Values{"email": {tt.email}, "groups": {tt.groups}, "key": {key(t, page)}}
			answer, body := b.post(t, "/admin/invite/preview", form, "HX-Request", "true")
			if answer.StatusCode != 200 {
				t.Fatalf("%d %s", answer.StatusCode, body)
			}
			has(t, body, tt.want...)
			lacks(t, body, "<html", "<script>alert")
			answer, body = b.post(t, "/admin/invite/preview", form) // without scripts
			want := 200
			if tt.mistake {
				want = 422
				has(t, body, `aria-invalid="true"`, `id="email-error"`)
			}
			if answer.StatusCode != want {
				t.Errorf("without scripts it is %d", answer.StatusCode)
			}
			has(t, body, tt.want...)
			has(t, body, "<html")
			lacks(t, body, "<script>alert")
			wellMade(t, "the preview", body)
		})
	}
	if all, err := w.ledger.Invitations(t.Context(), ledger.Filter{}); err != nil || len(all) != 1 {
		t.Errorf("previews made %d invitations (%v)", len(all)-1, err)
	}
}

// What is wrong stands beside its field, and what was typed stays.
func TestInviteOneIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	_, page := b.get(t, "/admin/invite")
	for _, tt := range []struct {
		name string
		form url.Values
		want []string
	}{
		{name: "nothing", form: url.Values{}, want: []string{"There is no address.", `id="email-error"`}},
		{name: "a malformed address", form: url.Values{"email": {"jane@example"}, "note": {"my <b>note</b>"}}, want: []string{"The domain has no dot. Write the whole domain, like example.com.", `value="jane@example"`, `value="my &lt;b&gt;note&lt;/b&gt;"`}},
		{name: "a group that is none", form: url.Values{"email": {"jane@example.com"}, "groups": {"pro"}}, want: []string{"is no Retool group id", `id="groups-error"`, `value="pro"`, "<details class=\"more\" open>"}},
		{name: "a long note", form: url.Values{"email": {"jane@example.com"}, "note": {strings.Repeat("x", 1001)}}, want: []string{"The note has 1001 bytes. At most 1000.", `id="note-error"`}},
		{name: "one of our own", form: url.Values{"email": {"bob@acme.com"}}, want: []string{"Not invited. acme.com is your own domain", `value="bob@acme.com"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.form.Set("key", key(t, page))
			answer, body := b.post(t, "/admin/invite", tt.form)
			if answer.StatusCode != 422 {
				t.Fatalf("%d %s", answer.StatusCode, body)
			}
			has(t, body, tt.want...)
			wellMade(t, "the page", body)
		})
	}
	if all, err := w.ledger.Invitations(t.Context(), ledger.Filter{}); err != nil || len(all) != 0 {
		t.Errorf("%d invitations (%v)", len(all), err)
	}
}

// upload posts a list as a form with a file does.
func (b *browser) upload(t *testing.T, pasted, file string) (*http.Response, string) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range map[string]string{"csrf": b.csrf, "list": pasted} {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile("file", "customers.csv") // browsers send the field without a file too
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return b.send(t, "/admin/invite/list", body.Bytes(), form.FormDataContentType())
}

func (b *browser) send(t *testing.T, path string, body []byte, kind string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.w.server.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer, text.String()
}

// draft uploads a list and returns the address of its page.
func (b *browser) draft(t *testing.T, pasted, file string) string {
	t.Helper()
	answer, body := b.upload(t, pasted, file)
	path := answer.Header.Get("Location")
	if answer.StatusCode != 303 || !regexp.MustCompile(`^/admin/import/[a-z2-7]{26}$`).MatchString(path) {
		t.Fatalf("the list was answered %d to %q: %s", answer.StatusCode, path, body)
	}
	return path
}

// recorded waits until all of a list is recorded.
func (w *world) recorded(t *testing.T, path string) {
	t.Helper()
	for {
		list, err := w.ledger.Import(t.Context(), strings.TrimPrefix(path, "/admin/import/"))
		if err != nil {
			t.Fatal(err)
		}
		if list.IsRecorded() {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the list was not recorded")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

const mixedList = "email,groups,note,attributes.plan,phone\n" +
	"new@example.com,42,hello,pro,1\n" +
	"broken@example,,,,2\n" +
	"bob@acme.com,,,,3\n" +
	"eve@held.example,,,,4\n" +
	"sent@example.com,,,,5\n" +
	"failed@example.com,,,,6\n" +
	"NEW@example.com,43,,,7\n" +
	"<script>alert(1)</script>,,,,8\n"

func TestImportAList(t *testing.T) {
	w := newWorld(t, nil)
	w.settle(t, w.record(t, "evt_1", "sent@example.com"), ledger.Sent, "")
	w.settle(t, w.record(t, "evt_2", "failed@example.com"), ledger.Failed, "")
	b := newBrowser(t, w).signIn(t, "")
	path := b.draft(t, "", mixedList)

	answer, body := b.get(t, path)
	if answer.StatusCode != 200 {
		t.Fatalf("%d", answer.StatusCode)
	}
	wellMade(t, "the draft", body)
	has(t, body, "5 people to invite", "2 lines cannot be used", "Line 3, column email: the domain has no dot. Write the whole domain", "Line 9, column email",
		"1 address stands", "Line 8 is as line 2, with other groups", "Left out: phone", "Send 2 invitations", "Leave the 2 lines",
		"acme.com is your own domain", "A new invitation, held until", "Is sent already", "Is failed: will be queued again.", `<a href="/admin/invitations/1">sent@example.com</a>`)
	lacks(t, body, "<script>alert")
	_, body = b.get(t, path+"?show=refuses")
	has(t, body, "bob@acme.com")
	lacks(t, body, "eve@held.example")

	answer, body = b.post(t, path, nil)
	if answer.StatusCode != 422 {
		t.Fatalf("bad lines were left out although nobody said so: %d", answer.StatusCode)
	}
	has(t, body, "2 lines cannot be used. Mend the list", `role="alert"`)
	for range 2 { // a double click
		answer, _ = b.post(t, path, url.Values{"leave_out": {"yes"}})
		isRedirect(t, answer, path)
	}
	w.recorded(t, path)

	_, body = b.get(t, path)
	wellMade(t, "the list", body)
	has(t, body, "List of 5 people", "Sent by admin_token", `hx-trigger="every 1s"`, "badge queued", "badge held", "acme.com is your own domain")
	inv, err := w.ledger.Invitation(t.Context(), 3)
	if err != nil || inv.Email.Full() != "new@example.com" || fmt.Sprintf("%v %v %s %d", inv.Groups, inv.Attributes, inv.Note, inv.Run) != "[42] map[plan:pro] hello 1" {
		t.Errorf("the first is %+v (%v)", inv, err)
	}
	again, err := w.ledger.Invitation(t.Context(), 2)
	if err != nil || again.State != ledger.Queued || again.Run != 2 {
		t.Errorf("what failed is %s, run %d (%v)", again.State, again.Run, err)
	}
	for _, id := range []int64{2, 3} {
		w.settle(t, id, ledger.Sent, "")
	}
	answer, body = b.get(t, path+"/progress", "HX-Request", "true")
	if answer.StatusCode != 286 {
		t.Errorf("once it is done: %d", answer.StatusCode)
	}
	has(t, body, "Done.", "<dt>Sent</dt><dd>3</dd>", "<dt>Held</dt><dd>1</dd>", "<dt>Refused</dt><dd>1</dd>")
	_, body = newBrowser(t, w).signIn(t, "").get(t, path+"?show=refused") // in a second browser
	has(t, body, "bob@acme.com", "acme.com is your own domain")
	lacks(t, body, "new@example.com", "hx-trigger")
	_, body = b.get(t, "/admin/invite")
	has(t, body, "Lists sent before", path)
	trail, err := w.ledger.Audit(t.Context(), ledger.AuditFilter{Actor: "admin_token"})
	if err != nil || len(trail) != 6 || trail[5].What != ledger.DidImport || trail[5].After != "5 people" {
		t.Errorf("the trail is %+v (%v)", trail, err)
	}
}

func TestImportIsRefused(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil)).signIn(t, "")
	for _, tt := range []struct{ name, pasted, file, want string }{
		{name: "nothing", want: "The list is empty. Paste addresses"},
		{name: "a workbook", file: "PK\x03\x04\x00", want: "This is a workbook, not a text. Save it"},
		{name: "columns without an address", pasted: "name,phone\nAda & Bob,1", want: "No column of the first line is called email."},
		{name: "a header alone", pasted: "email,note\n", want: "There is nobody in the list."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, body := b.upload(t, tt.pasted, tt.file)
			if answer.StatusCode != 422 {
				t.Fatalf("%d", answer.StatusCode)
			}
			has(t, body, tt.want, `id="list-error"`, ">"+strings.ReplaceAll(tt.pasted, "&", "&amp;")+"</textarea>")
			wellMade(t, "the page", body)
		})
	}
	path := b.draft(t, "nonsense\nmore nonsense", "")
	_, body := b.get(t, path)
	has(t, body, "0 people to invite", "2 lines cannot be used")
	if answer, _ := b.post(t, path, url.Values{"leave_out": {"yes"}}); answer.StatusCode != 422 {
		t.Errorf("a list of nobody was sent: %d", answer.StatusCode)
	}
	for _, missing := range []string{"/admin/import/none", "/admin/import/none/progress", path + "?from=-1"} {
		if answer, _ := b.get(t, missing); answer.StatusCode != 404 && answer.StatusCode != 422 {
			t.Errorf("%s is answered %d", missing, answer.StatusCode)
		}
	}
}

// Nothing is sent without the session's own token, nor by who may only read.
func TestInviteNeedsARole(t *testing.T) {
	w := withTokens(t)
	admin, read := newBrowser(t, w).signIn(t, ""), newBrowser(t, w).signIn(t, readToken)
	path := admin.draft(t, "ada@example.com", "")
	for _, post := range []string{"/admin/invite", "/admin/invite/preview", "/admin/invite/list", path} {
		if answer, _ := read.post(t, post, url.Values{"email": {"jane@example.com"}}); answer.StatusCode != 403 {
			t.Errorf("a reader's %s is answered %d", post, answer.StatusCode)
		}
		if answer, _ := admin.post(t, post, url.Values{"email": {"jane@example.com"}, "csrf": {"wrong"}}); answer.StatusCode != 403 {
			t.Errorf("a forged %s is answered %d", post, answer.StatusCode)
		}
	}
	_, body := read.get(t, path)
	has(t, body, "ada@example.com", "disabled")
	lacks(t, body, "href=\"/admin/invite\"") // which would only say no
	_, body = read.get(t, "/admin")
	lacks(t, body, "/admin/invite\"")
	if all, err := w.ledger.Invitations(t.Context(), ledger.Filter{}); err != nil || len(all) != 0 {
		t.Errorf("%d invitations (%v)", len(all), err)
	}
}

// A process that ends in the middle of a list leaves the rest to the next one, and nobody is recorded twice.
func TestImportGoesOnAfterARestart(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	var list strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&list, "person%d@example.com\n", i)
	}
	path := b.draft(t, list.String(), "")
	id := strings.TrimPrefix(path, "/admin/import/")
	if _, err := w.ledger.StartImport(t.Context(), "admin_token", id); err != nil { // what a process did last
		t.Fatal(err)
	}
	var rows []ledger.ImportRow
	for i := range 300 {
		e := access.Event{Source: "api", Type: "invitation.requested", ID: fmt.Sprintf("%s-%d", id, i), Email: fmt.Sprintf("person%d@example.com", i)}
		rows = append(rows, ledger.ImportRow{Line: i + 1, Verdict: ledger.Verdict{Event: e, Decision: w.policy.Decide(e), By: "admin_token"}})
	}
	if err := w.ledger.RecordImport(t.Context(), id, 0, rows); err != nil {
		t.Fatal(err)
	}
	w.handler.Begin(t.Context())
	w.recorded(t, path)
	progress, err := w.ledger.ImportProgress(t.Context(), id)
	if err != nil || progress.States[ledger.Queued] != 1000 {
		t.Errorf("the progress is %+v (%v)", progress, err)
	}
	trail, err := w.ledger.Audit(t.Context(), ledger.AuditFilter{})
	if err != nil || len(trail) != 1001 {
		t.Errorf("the trail has %d lines (%v)", len(trail), err)
	}
}

// A long list is shown and sent as fast as a short one is, or nearly.
func TestImportTenThousand(t *testing.T) {
	if underRace {
		t.Skip("too slow under the race detector; make test runs it without")
	}
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	var list strings.Builder
	list.WriteString("email,groups,note\n")
	for i := range 10_000 {
		fmt.Fprintf(&list, "person%d@customer%d.example,42,\"from the list, row %d\"\n", i, i%700, i)
	}
	timed := func(what string, do func()) {
		start := time.Now()
		do()
		t.Logf("%s: %s", what, time.Since(start).Round(time.Millisecond))
	}
	var path, body string
	timed("read and keep", func() { path = b.draft(t, "", list.String()) })
	timed("show the draft", func() { _, body = b.get(t, path) })
	has(t, body, "10,000 people to invite", "Send 10,000 invitations")
	timed("show its last page", func() { _, body = b.get(t, path+"?from=9900") })
	has(t, body, "person9999@customer199.example")
	timed("answer the click", func() {
		answer, _ := b.post(t, path, nil)
		isRedirect(t, answer, path)
	})
	_, body = b.get(t, path)
	has(t, body, "List of 10,000 people")
	timed("record all", func() { w.recorded(t, path) })
	timed("show the list", func() { _, body = b.get(t, path) })
	has(t, body, `To be sent <span class="count">10,000</span>`)
	timed("show its last page", func() { _, body = b.get(t, path+"?from=9900&show=queued") })
	has(t, body, "person9999@customer199.example")
	timed("the bar", func() { _, body = b.get(t, path+"/progress", "HX-Request", "true") })
	has(t, body, "<dt>To be sent</dt><dd>10,000</dd>", `max="10000" value="0"`)
	summary, err := w.ledger.Summary(t.Context())
	if err != nil || summary.Invitations[ledger.Queued] != 10_000 {
		t.Errorf("%d are queued (%v)", summary.Invitations[ledger.Queued], err)
	}
}
