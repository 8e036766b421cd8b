package handlers_test

import (
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// told records an invitation by hand, with a note.
func (w *world) told(t *testing.T, email, note string) int64 {
	t.Helper()
	e := access.Event{Source: "api", Type: "invitation.requested", ID: "asked for " + email, Email: email}
	id, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, Decision: w.policy.Decide(e), By: "a test", Note: note})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// What a spreadsheet, or a program that reads RFC 4180, is given.
func TestExportIsGolden(t *testing.T) {
	w := newWorld(t, nil)
	for i, note := range []string{"plain", `=HYPERLINK("http://evil.example","click")`, "+1 555", "-2", "@SUM(A1)", "\ttab", "\rreturn", `a "quoted", note`, "two\nlines", "Grüße 👋", "'quoted"} {
		w.told(t, fmt.Sprintf("person%d@pro.example", i), note)
	}
	w.settle(t, 1, ledger.Failed, "=cmd|' /C calc'!A0")
	w.settle(t, 2, ledger.Sent, "")
	for _, path := range []string{"/v1/invitations.csv"} {
		var answer *http.Response
		var body string
		if strings.HasPrefix(path, "/v1") {
			answer, body = do(t, w, scenario{path: path}.request(t, w))
		} else {
			answer, body = newBrowser(t, w).signIn(t, "").get(t, path)
		}
		if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/csv; charset=utf-8; header=present" {
			t.Fatalf("%s is answered %d %s", path, answer.StatusCode, answer.Header.Get("Content-Type"))
		}
		if want, got := fmt.Sprintf(`attachment; filename="usher-invitations-%s.csv"`, time.Now().UTC().Format(time.DateOnly)), answer.Header.Get("Content-Disposition"); got != want {
			t.Errorf("%s is called %s, wants %s", path, got, want)
		}
		golden(t, "testdata/invitations.csv", moments.ReplaceAllString(body, "2026-03-01T12:00:00Z"))
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not what %s has:\n%s", file, got)
	}
}

// An export has all that its filters leave, however many pages it takes, and nothing twice.
func TestExportIsWhole(t *testing.T) {
	w := newWorld(t, nil)
	var verdicts []ledger.Verdict
	for i := range 2345 {
		e := access.Event{Source: []string{"stripe", "form"}[i%2], ID: fmt.Sprint("evt_", i), Email: fmt.Sprintf("%c%d@example.com", 'a'+i%3, i)}
		verdicts = append(verdicts, ledger.Verdict{Event: e, Decision: w.policy.Decide(e)})
	}
	if _, err := w.ledger.RecordMany(t.Context(), verdicts); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{"": 2345, "q=a": 782, "source=form": 1172, "q=b&source=form": 391, "state=queued": 2345, "state=failed": 0, "q=@example": 2345, "q=nobody": 0} {
		answer, body := do(t, w, scenario{path: "/v1/invitations.csv?" + query}.request(t, w))
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%s: %d, %v", query, answer.StatusCode, err)
		}
		seen := map[string]bool{}
		for _, row := range rows[1:] {
			seen[row[0]] = true
		}
		if len(rows)-1 != want || len(seen) != want {
			t.Errorf("%q exports %d rows of %d invitations, wants %d", query, len(rows)-1, len(seen), want)
		}
	}
	run(t, w, []scenario{
		{name: "a filter that is none", path: "/v1/invitations.csv?email=a@example.com", wantStatus: 422, wantBody: []string{"email"}},
		{name: "a state that is none", path: "/v1/invitations.csv?state=lost", wantStatus: 422},
		{name: "nobody's token", path: "/v1/invitations.csv", anonymous: true, wantStatus: 401},
	})
}

// An export that breaks off must not look whole.
func TestExportThatFails(t *testing.T) {
	w := newWorld(t, nil)
	var verdicts []ledger.Verdict
	note := strings.Repeat("x", 20_000)
	for i := range 2000 {
		e := access.Event{Source: "stripe", ID: fmt.Sprint("evt_", i), Email: fmt.Sprintf("a%d@example.com", i)}
		verdicts = append(verdicts, ledger.Verdict{Event: e, Decision: w.policy.Decide(e), Note: note})
	}
	if _, err := w.ledger.RecordMany(t.Context(), verdicts); err != nil {
		t.Fatal(err)
	}
	answers := map[string]*http.Response{}
	for name, client := range map[string]*http.Client{"over the network": {}, "in process": {Transport: w.handler.InProcess("a test")}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/v1/invitations.csv", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+adminToken)
		if answers[name], err = client.Do(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.ledger.Close(); err != nil { // more is to come than fits into the buffers on the way
		t.Fatal(err)
	}
	for name, answer := range answers {
		text, err := io.ReadAll(answer.Body)
		if err == nil {
			t.Errorf("%s: %d bytes were read, and nothing tells that there should be more", name, len(text))
		}
	}
}

func TestSearchByAPI(t *testing.T) {
	w := newWorld(t, nil)
	for _, email := range []string{"ada@example.com", "adam@example.com", "bob@ada.example", "eve@example.org"} {
		w.record(t, "evt_"+email, email)
	}
	w.settle(t, 2, ledger.Failed, "refused")
	var cursor string
	run(t, w, []scenario{
		{name: "the beginning of an address, or of a domain", path: "/v1/invitations?q=ada", wantStatus: 200,
			wantBody: []string{"ada@example.com", "adam@example.com", "bob@ada.example", `"next_cursor":null`}, wantAbsent: []string{"eve@"}},
		{name: "a domain", path: "/v1/invitations?q=%40example", wantStatus: 200, wantBody: []string{"ada@", "adam@", "eve@"}, wantAbsent: []string{"bob@"}},
		{name: "in a state", path: "/v1/invitations?q=ada&state=failed", wantStatus: 200, wantBody: []string{"adam@"}, wantAbsent: []string{"ada@example", "bob@"}},
		{name: "from another source", path: "/v1/invitations?q=ada&source=form", wantStatus: 200, wantBody: []string{`"invitations":[]`}},
		{name: "a wildcard is none", path: "/v1/invitations?q=%25", wantStatus: 200, wantBody: []string{`"invitations":[]`}},
		{name: "a whole book", path: "/v1/invitations?q=" + url.QueryEscape(strings.Repeat("'%_", 3000)), wantStatus: 200, wantBody: []string{`"invitations":[]`}},
		{name: "the first page", path: "/v1/invitations?q=ada&limit=2", wantStatus: 200, wantBody: []string{"ada@example", "adam@"}, wantAbsent: []string{"bob@"},
			after: func(t *testing.T, w *world, body string) {
				cursor = regexp.MustCompile(`"next_cursor":"([^"]+)"`).FindStringSubmatch(body)[1]
			}},
		{name: "a cursor that is none", path: "/v1/invitations?q=ada&cursor=77", wantStatus: 422, wantBody: []string{"cursor"}},
		{name: "together with what it cannot", path: "/v1/invitations?q=ada&since=2026-01-01", wantStatus: 422, wantBody: []string{"does not go together with q"}},
	})
	run(t, w, []scenario{{name: "the next page", path: "/v1/invitations?q=ada&limit=2&cursor=" + cursor, wantStatus: 200, wantBody: []string{"bob@", `"next_cursor":null`}}})
}
