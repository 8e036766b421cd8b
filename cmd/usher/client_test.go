package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger"
)

// played runs a command against a server that answers as a test wants; answers are given in their order, the last again
// and again.
func played(t *testing.T, answers []http.HandlerFunc, args ...string) (stdout, stderr string, asked []*http.Request, err error) {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		answer := answers[min(len(asked), len(answers)-1)]
		asked = append(asked, r.Clone(context.Background()))
		mu.Unlock()
		answer(w, r)
	}))
	defer server.Close()
	t.Setenv("USHER_TOKEN", "usher_canary")
	var out, notes bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&notes)
	root.SetArgs(append(args, "--url", server.URL))
	err = root.ExecuteContext(t.Context())
	if text := out.String() + notes.String() + fmt.Sprint(err); strings.Contains(text, "usher_canary") || strings.Contains(text, "ada@") {
		t.Errorf("a token or an address is told:\n%s", text)
	}
	return out.String(), notes.String(), asked, err
}

// problem answers as Usher does when it refuses.
func problem(status int, retryAfter, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

func invited(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprint(w, `{"id": 7, "email": "ada@example.com", "state": "queued"}`)
}

// cut ends the connection without an answer.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestClient(t *testing.T) {
	const slow = `{"status": 429, "title": "Too Many Requests", "detail": "too many calls"}`
	tests := []struct {
		name    string
		answers []http.HandlerFunc
		asked   int
		want    string // on the standard output
		notes   string
		wantErr string
	}{
		{name: "it is done", answers: []http.HandlerFunc{invited}, asked: 1, want: "✓ a…@example.com (invitation 7) is queued\n"},
		{name: "asked to slow down", answers: []http.HandlerFunc{problem(429, "0", slow), problem(429, "0", slow), invited}, asked: 3,
			want: "invitation 7", notes: "too many calls; again in 100ms"},
		{name: "the ledger is busy", answers: []http.HandlerFunc{problem(503, "0", `{"status": 503, "detail": "too many requests wait for the ledger"}`), invited}, asked: 2,
			want: "invitation 7", notes: "too many requests wait"},
		{name: "still starting, which is no JSON", answers: []http.HandlerFunc{problem(503, "0", "starting: the ledger cannot be used yet"), invited}, asked: 2, want: "invitation 7", notes: "again in"},
		{name: "asked to come back in an hour", answers: []http.HandlerFunc{problem(429, "3600", slow)}, asked: 1, notes: "✗ a…@example.com: too many calls"},
		{name: "the API is off", answers: []http.HandlerFunc{problem(503, "", `{"status": 503, "detail": "the API is off: set USHER_ADMIN_TOKEN"}`)}, asked: 1, notes: "the API is off"},
		{name: "a connection that breaks", answers: []http.HandlerFunc{cut, invited}, asked: 2, want: "invitation 7", notes: "gave no answer"},
		{name: "connections that break for ever", answers: []http.HandlerFunc{cut}, asked: 3, notes: "✗ a…@example.com: http://"},
		{name: "a field is wrong", answers: []http.HandlerFunc{problem(422, "", `{"status": 422, "title": "no", "detail": "note: has 2000 bytes", "errors": [{"field": "note", "detail": "has 2000 bytes", "mend": "at most 1000"}]}`)},
			asked: 1, notes: "note: has 2000 bytes; at most 1000"},
		{name: "a role that may not", answers: []http.HandlerFunc{problem(403, "", `{"status": 403, "detail": "this call needs the role invite; token x has the role read"}`)}, asked: 1,
			notes: "needs the role invite; token x has the role read; use a token of a role that may"},
		{name: "a token that is none", answers: []http.HandlerFunc{problem(401, "", `{"status": 401, "detail": "the token x was revoked on 2026-11-24"}`)}, asked: 1, notes: "was revoked on 2026-11-24\nset USHER_TOKEN"},
		{name: "a fault of Usher's", answers: []http.HandlerFunc{problem(500, "", `{"status": 500, "detail": "something is wrong with Usher"}`)}, asked: 1, notes: "something is wrong with Usher"},
		{name: "an older Usher", answers: []http.HandlerFunc{problem(404, "", `{"status": 404, "title": "Not Found"}`)}, asked: 1, notes: "does not know the call POST /v1/invitations"},
		{name: "another site", answers: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<h1>Welcome</h1>")
		}}, asked: 1, notes: "not as Usher does: --url must be Usher's base address"},
		{name: "a redirect", answers: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusMovedPermanently)
		}}, asked: 1, notes: "a redirect, which is not followed"},
		{name: "the problem names the address", answers: []http.HandlerFunc{problem(409, "", `{"status": 409, "detail": "ada@example.com is being sent"}`)}, asked: 1, notes: "a…@example.com is being sent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, asked, err := played(t, tt.answers, "invite", "ada@example.com")
			if len(asked) != tt.asked {
				t.Errorf("it asked %d times, wants %d\n%s", len(asked), tt.asked, stderr)
			}
			if !strings.Contains(stdout, tt.want) || !strings.Contains(stderr, tt.notes) {
				t.Errorf("it says %q and %q, wants %q and %q", stdout, stderr, tt.want, tt.notes)
			}
			if done := tt.want != ""; done != (err == nil) {
				t.Errorf("the error is %v", err)
			}
			for _, r := range asked {
				if key := r.Header.Get("Idempotency-Key"); key == "" || key != asked[0].Header.Get("Idempotency-Key") {
					t.Errorf("the keys of one request are %q and %q", asked[0].Header.Get("Idempotency-Key"), key)
				}
				if r.Header.Get("Authorization") != "Bearer usher_canary" {
					t.Error("a try carries no token")
				}
			}
		})
	}
}

// TestMaskJSON reads what is printed without --full: the same, but for the addresses.
func TestMaskJSON(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{name: "fields keep their order", raw: `{"b": 1, "a": [true, null, 1.50, {"c": "d"}], "e": {}}`, want: `{"b":1,"a":[true,null,1.50,{"c":"d"}],"e":{}}`},
		{name: "an address", raw: `{"email": "ada@example.com"}`, want: `{"email":"a…@example.com"}`},
		{name: "what should be one", raw: `{"email": "ada"}`, want: `{"email":"…"}`},
		{name: "one in a text", raw: `{"note": "ask <ada@example.com>"}`, want: `{"note":"ask …@…"}`},
		{name: "one behind an escape", raw: `{"note": "\u003cada@example.com\u003e"}`, want: `{"note":"…@…"}`},
		{name: "one as a name", raw: `{"ada@example.com": 1}`, want: `{"a…@example.com":1}`},
		{name: "large numbers", raw: `{"id": 12345678901234567890}`, want: `{"id":12345678901234567890}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := (clientFlags{}).jsonLine(&got, json.RawMessage(tt.raw)); err != nil {
				t.Fatal(err)
			}
			if !json.Valid(got.Bytes()) || strings.Contains(got.String(), "ada@") {
				t.Errorf("%s is no JSON, or tells an address", got.String())
			}
			if tt.name != "one in a text" && tt.name != "one behind an escape" && strings.TrimSpace(got.String()) != tt.want {
				t.Errorf("got %s, want %s", got.String(), tt.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	rows := [][]string{{"7", "a…@example.com", "the mail server of the other side refuses it"}, {"12345", "b…@much-longer-domain.example.com", ""}}
	tests := []struct {
		name  string
		width int
		want  string
	}{
		{name: "no terminal: nothing is cut", want: "ID     ADDRESS                            WHY\n7      a…@example.com                     the mail server of the other side refuses it\n12345  b…@much-longer-domain.example.com\n"},
		{name: "a terminal: the widest columns give way", width: 40, want: "ID     ADDRESS          WHY\n7      a…@example.com   the mail server…\n12345  b…@much-longer…\n"},
		{name: "too narrow for anything", width: 5, want: "ID     ADDRE…  WHY\n7      a…@ex…  the m…\n12345  b…@mu…\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got bytes.Buffer
			table := newTable(&got, "ID", "ADDRESS", "WHY")
			table.limit = tt.width
			for _, row := range rows {
				table.add(cell{text: row[0]}, cell{text: row[1]}, cell{text: row[2]})
			}
			table.flush()
			if got.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), tt.want)
			}
		})
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"30d": "2026-10-25T12:00:00Z", "36h": "2026-11-23T00:00:00Z", "2026-11-01": "2026-11-01", "2026-11-01T00:00:00Z": "2026-11-01T00:00:00Z",
		"yesterday": "", "-3d": "", "d": "", "": "", "3": "",
	} {
		if got, err := parseSince(text, now); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; wants %q", text, got, err, want)
		}
	}
}

func TestEscaped(t *testing.T) {
	got := escaped("=1+1", "+1", "-1", "@x", "\tx", "plain", "", "a=b")
	want := []string{"'=1+1", "'+1", "'-1", "'@x", "'\tx", "plain", "", "a=b"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestExitStatuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{"DATABASE_URL": "sqlite://usher.db", "USHER_TOKEN": "usher_x", "USHER_URL": "", "USHER_CONFIG": ""} {
		t.Setenv(name, value)
	}
	if status := run([]string{"migrate"}); status != exitOK {
		t.Fatalf("migrate ends with %d", status)
	}
	for _, tt := range []struct {
		args string
		want int
	}{
		{args: "list", want: exitOK},
		{args: "audit --limit 3", want: exitOK},
		{args: "token list", want: exitOK},
		{args: "retry --all --yes", want: exitOK},
		{args: "show 1", want: exitFailure},
		{args: "revoke nobody@example.com", want: exitFailure},
		{args: "list --url http://127.0.0.1:1", want: exitFailure},
		{args: "list --url nowhere", want: exitUsage},
		{args: "list --json --csv", want: exitUsage},
		{args: "list --state nonsense", want: exitUsage},
		{args: "list stray", want: exitUsage},
		{args: "list --nonsense", want: exitUsage},
		{args: "invite ada@example.com", want: exitUsage}, // the rest of the configuration is missing
		{args: "import nowhere.csv", want: exitUsage},
		{args: "export", want: exitUsage},
		{args: "correct 1", want: exitUsage},
		{args: "revoke", want: exitUsage},
		{args: "token", want: exitUsage},
		{args: "token new x", want: exitUsage},
		{args: "token new x --role read --expires 2020-01-01", want: exitUsage},
	} {
		if got := run(strings.Fields(tt.args)); got != tt.want {
			t.Errorf("usher %s ends with %d, wants %d", tt.args, got, tt.want)
		}
	}
	t.Setenv("DATABASE_URL", "sqlite://nowhere.db")
	if got := run([]string{"list"}); got != exitUsage {
		t.Errorf("without a ledger it ends with %d", got)
	}
}

// TestTokenRow puts what "usher token new --yaml" prints into a configuration.
func TestTokenRow(t *testing.T) {
	for _, expires := range []string{"", "90d", "2099-01-31", "2099-01-31T12:00:00Z"} {
		var out, notes bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetErr(&notes)
		root.SetArgs([]string{"token", "new", "zapier", "--role", "invite", "--yaml", "--expires", expires})
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, row, _ := strings.Cut(notes.String(), "\n\n")
		file := filepath.Join(t.TempDir(), "usher.yaml")
		if err := os.WriteFile(file, []byte(row), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, problems := config.Load(config.Options{File: file, Env: []string{"STRIPE_WEBHOOK_SECRET=whsec_x", "RETOOL_URL=https://acme.retool.com", "RETOOL_API_TOKEN=retool_x"}})
		if err := problems.Err(); err != nil {
			t.Fatalf("--expires %q: %v\n%s", expires, err, row)
		}
		if len(cfg.Tokens) != 1 || cfg.Tokens[0].Name != "zapier" || cfg.Tokens[0].Role != "invite" || cfg.Tokens[0].Expires.IsZero() != (expires == "") {
			t.Errorf("--expires %q: the configuration has %+v", expires, cfg.Tokens)
		}
		if token := strings.TrimSpace(out.String()); !strings.Contains(row, ledger.HashToken(token)) || strings.Contains(row, token) {
			t.Errorf("the row is not of the token, or tells it:\n%s", row)
		}
	}
}
