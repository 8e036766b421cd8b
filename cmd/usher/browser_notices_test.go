package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// TestTheBrowserNotices what is wrong with a page: else the tests of ours would prove nothing.
func TestTheBrowserNotices(t *testing.T) {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"
	rows := []struct {
		name    string
		body    string
		script  string // of its own, which the policy allows
		style   string
		policy  string // policy when empty
		status  int    // 200 when 0
		width   int64  // a phone's when 0, for which Chromium measures no jumps
		wantAny []string
	}{
		{name: "nothing on a page without fault", body: `<label>Address <input name=a></label><button>Send</button>`},
		{name: "a script that the policy forbids", body: `<script>document.title = "ran"</script>`, wantAny: []string{"Content Security Policy"}},
		{name: "a style that the policy forbids", body: `<p style="color: red">Hello</p>`, wantAny: []string{"Content Security Policy"}},
		{name: "an exception", script: `throw new Error("it broke")`, wantAny: []string{"uncaught", "it broke"}},
		{name: "a line of error on the console", script: `console.error("not well")`, wantAny: []string{"console.error", "not well"}},
		{name: "a picture from elsewhere", body: `<img alt="" src="http://127.0.0.1:9/pixel.png">`, policy: "img-src *", wantAny: []string{"another host"}},
		{name: "a page that is an error", body: `<p>Gone</p>`, status: http.StatusNotFound, wantAny: []string{"404"}},
		{name: "a layout that jumps", body: `<p id=p>Text</p>` + strings.Repeat(`<p>More text to push down</p>`, 20),
			script: `setTimeout(() => { document.getElementById("p").className = "tall" }, 300)`, style: `.tall { height: 500px }`, width: 1280, wantAny: []string{"jumped"}},
		{name: "grey on grey", body: `<p>Can you read this?</p>`, style: `p { color: #999; background: #aaa }`, wantAny: []string{"color-contrast"}},
		{name: "a field without a name", body: `<input name=a>`, wantAny: []string{"critical label"}},
		{name: "a page wider than a phone", body: `<p id=wide>Wide</p>`, style: `#wide { width: 500px }`, wantAny: []string{"px wide", "id=\"wide\""}},
		{name: "nothing when a wide table scrolls in its own box", body: `<div tabindex=0><p>Wide</p></div>`, style: `div { overflow-x: auto } p { width: 500px }`},
	}
	row := &rows[0]
	mux := http.NewServeMux()
	mux.HandleFunc("/favicon.ico", asset("image/x-icon", ""))
	mux.HandleFunc("/style.css", func(w http.ResponseWriter, r *http.Request) { asset("text/css", row.style)(w, r) })
	mux.HandleFunc("/script.js", func(w http.ResponseWriter, r *http.Request) { asset("text/javascript", row.script)(w, r) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", cmp.Or(row.policy, policy))
		w.WriteHeader(cmp.Or(row.status, http.StatusOK))
		_, _ = w.Write([]byte(`<!doctype html><html lang=en><meta name=viewport content="width=device-width"><title>A page</title>
			<link rel=stylesheet href=/style.css><script src=/script.js defer></script><main><h1>A page</h1>` + row.body + `</main></html>`))
	})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close) // after the tab
	b := newTab(t, web.URL)
	for i := range rows {
		row = &rows[i]
		t.Run(row.name, func(t *testing.T) {
			b.t = t
			width := cmp.Or(row.width, phoneWidth)
			b.window(width, 800)
			b.visit("/")
			b.see("A page")
			var got []string
			b.until("notice it", func() (bool, error) {
				b.noJump()
				got = append(append(b.axe(), b.overflow(width)...), b.complaints()...)
				return len(got) > 0 || len(row.wantAny) == 0, nil
			})
			b.forget()
			all := strings.Join(got, "\n")
			for _, want := range row.wantAny {
				if !strings.Contains(all, want) {
					t.Errorf("it noticed\n%s\nand not %q", all, want)
				}
			}
			if len(row.wantAny) == 0 && all != "" {
				t.Errorf("it noticed %s", all)
			}
		})
	}
	b.t = t
	b.visit("/")
	b.forget() // what the last page did
}

func asset(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write([]byte(text))
	}
}

// TestTheBrowserActs as a person does, with scripts and without.
func TestTheBrowserActs(t *testing.T) {
	const form = `<!doctype html><html lang=en><meta name=viewport content="width=device-width"><title>A form</title>
		<style>button, input, a { min-height: 24px; margin: 24px }</style><main><h1>A form</h1>
		<form><label>Name <input name=name value=old></label><label>Colour <select name=colour><option>red<option>blue</select></label>
		<label><input type=checkbox name=agreed>I agree</label><button>Send</button></form>
		<form method=post enctype=multipart/form-data><input type=file name=file aria-label=File><button>Upload</button></form>
		<ul><li>Ada <a href="/ada">Open</a></li><li>Grace <a href="/grace">Open</a></li></ul></main></html>`
	var presses atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/favicon.ico", asset("image/x-icon", ""))
	mux.HandleFunc("/grace", asset("text/html", "<title>Grace</title><h1>Grace's page</h1>"))
	mux.HandleFunc("/twice", asset("text/html", `<title>Twice</title><form target=none action=/press><button>Press</button></form><iframe name=none></iframe>`))
	mux.HandleFunc("/press", func(http.ResponseWriter, *http.Request) { presses.Add(1) })
	mux.HandleFunc("/{$}", asset("text/html", form))
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		_, file, err := r.FormFile("file")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		asset("text/html", "<title>Thanks</title>Thanks for "+file.Filename)(w, r)
	})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close) // after the tab
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprintf("with scripts %t", scripts), func(t *testing.T) {
			b := newTab(t, web.URL)
			if !scripts {
				b.noScripts()
			}
			b.window(phoneWidth, 844)
			b.visit("/")
			b.fits()
			if scripts {
				b.accessible()
			}
			b.fill("Name", "ada")
			b.choose("Colour", "blue")
			b.click("I agree")
			b.click("Send")
			b.arrive("/?")
			if got, want := b.path(), "/?name=ada&colour=blue&agreed=on"; got != want {
				t.Errorf("the form sent %s, want %s", got, want)
			}
			b.click("Open", "Grace")
			b.see("Grace's page")
			b.seeNot("Ada")

			b.visit("/")
			b.tabTo("I agree")
			b.key(" ")
			b.tabTo("Send")
			b.key(kb.Enter)
			b.arrive("/?name=old&colour=red&agreed=on")

			path := filepath.Join(t.TempDir(), "people.csv")
			if err := os.WriteFile(path, []byte("email\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			b.upload(path)
			b.click("Upload")
			b.see("Thanks for people.csv")

			presses.Store(0)
			b.visit("/twice")
			b.doubleClick("Press")
			b.until("press twice", func() (bool, error) { return presses.Load() == 2, nil })
		})
	}
}
