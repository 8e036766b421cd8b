package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	logdomain "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	tabLife     = time.Minute      // chromedp itself waits for ever
	tabPatience = 15 * time.Second // for one thing to appear
	tabGlance   = 15 * time.Millisecond

	betweenClicks = 80 * time.Millisecond

	phoneWidth = 390
	mostShift  = 0.1 // of the layout, unasked: more than this is felt as a jump (web.dev/cls)
)

//go:embed testdata/browser/page.js
var pageScript string

// A chromium is a running browser.
type chromium struct {
	ctx context.Context
	end func()
}

// browser is the one of this test binary, started by the first test that wants one. withBrowser ends it.
var browser struct {
	sync.Mutex
	*chromium
	err error
}

// withBrowser are tests that may have started the browser.
type withBrowser struct{ *testing.M }

func (m withBrowser) Run() int {
	code := m.M.Run()
	browser.Lock()
	defer browser.Unlock()
	if browser.chromium != nil {
		browser.end()
	}
	return code
}

// browserPath is CHROMIUM, else what there is.
func browserPath() (string, error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return exec.LookPath(path)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New(`there is no Chromium: run "scripts/need.sh browser", or name one in CHROMIUM`)
}

// theBrowser skips without a browser; in CI there must be one.
func theBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := browserPath()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	browser.Lock()
	defer browser.Unlock()
	if browser.chromium == nil && browser.err == nil {
		browser.chromium, browser.err = startBrowser(path)
	}
	if browser.err != nil {
		t.Fatalf("start %s: %v", path, browser.err)
	}
	return browser.ctx
}

// startBrowser gives it a profile of its own, and nobody to talk to but this machine.
func startBrowser(path string) (*chromium, error) {
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path),
		chromedp.DisableGPU,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
		chromedp.Flag("font-render-hinting", "none"), // text of the same width everywhere
		chromedp.Flag("lang", "en-GB"),
	)
	process, endProcess := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, endBrowser := chromedp.NewContext(process)
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(ctx) }()
	select {
	case err := <-started:
		return &chromium{ctx: ctx, end: func() { endBrowser(); endProcess() }}, err
	case <-time.After(tabLife):
		endProcess()
		return nil, errors.New("it did not answer in a minute")
	}
}

// A tab is one tab with cookies of its own. What goes wrong in it unasked fails its test: errors on the console, breaches
// of the Content-Security-Policy, dialogs, calls to other hosts, jumps of the layout.
type tab struct {
	t    *testing.T
	ctx  context.Context
	site string // where its pages are

	mu       sync.Mutex
	problems []string
	forgiven []string
	status   int64 // of the last page
	clicks   int
}

func newTab(t *testing.T, site string) *tab {
	t.Helper()
	b := &tab{t: t, site: site}
	ctx, closeTab := chromedp.NewContext(theBrowser(t), chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	ctx, cancel := context.WithTimeout(ctx, tabLife)
	t.Cleanup(func() { cancel(); closeTab() })
	b.ctx = ctx
	b.must("open a tab", chromedp.Do(ctx))
	call(b, network.Enable, network.EnableParams{})
	call(b, logdomain.Enable, cdp.Empty{})
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchShifts})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}) // tabs of other tests may be in front
	b.window(1280, 800)
	b.media("light")
	t.Cleanup(b.close)
	return b
}

// watchShifts adds up what moved on the page within half a second of nothing that the person did.
const watchShifts = `window.usherShift = 0; new PerformanceObserver((list) => {
	for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.usherShift += entry.value;
}).observe({type: "layout-shift", buffered: true});`

// close fails the test for what went wrong unasked.
func (b *tab) close() {
	b.noJump()
	for _, problem := range b.complaints() {
		b.t.Error(problem)
	}
	if b.t.Failed() && b.ctx.Err() == nil {
		b.t.Logf("at the end the page was %s", b.address())
		if path := os.Getenv("USHER_TEST_SHOT"); path != "" { // a folder: what a failed test saw last
			_ = os.WriteFile(filepath.Join(path, strings.ReplaceAll(b.t.Name(), "/", "-")+".png"), b.shot(), 0o600)
		}
	}
}

func (b *tab) complaints() (problems []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		if !slices.ContainsFunc(b.forgiven, func(part string) bool { return strings.Contains(problem, part) }) {
			problems = append(problems, problem)
		}
	}
	return problems
}

// forgive lets pass what a test provokes, such as the console's word on a page that is not found.
func (b *tab) forgive(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgiven = append(b.forgiven, part)
}

// forget drops what went wrong until now.
func (b *tab) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = nil
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// hear runs for each event of the tab, within its reader: it may not ask anything.
func (b *tab) hear(event any) {
	switch event := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if event.Type == "error" || event.Type == "warning" || event.Type == "assert" {
			var words []string
			for _, arg := range event.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			b.complain("console.%s: %s", event.Type, strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		what := event.ExceptionDetails.Text
		if exception := event.ExceptionDetails.Exception; exception != nil {
			what += " " + exception.Description
		}
		b.complain("uncaught: %s at %s:%d", what, event.ExceptionDetails.URL, event.ExceptionDetails.LineNumber)
	case *logdomain.EventEntryAdded:
		if event.Entry.Level == "error" || event.Entry.Level == "warning" {
			b.complain("the browser's log, %s: %s (%s)", event.Entry.Source, event.Entry.Text, event.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		if event.Type != page.DialogTypeConfirm {
			b.complain("a dialog, %s: %s", event.Type, event.Message)
		}
		go func() {
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	case *network.EventRequestWillBeSent:
		if to := event.Request.URL; !strings.HasPrefix(to, b.site+"/") && !strings.HasPrefix(to, "data:") {
			b.complain("a request to another host: %s", to)
		}
	case *network.EventResponseReceived:
		if event.Type == "Document" {
			b.mu.Lock()
			b.status = event.Response.Status
			b.mu.Unlock()
		}
	}
}

// call is one command of the protocol to the tab.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	b.must(command.Method, err)
	return result
}

func (b *tab) must(doing string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", doing, err)
	}
}

// window sets what of the page there is to see; up to 500 px it is a phone.
func (b *tab) window(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width <= 500})
}

// media sets the colour scheme, "light" or "dark", and that nothing shall move.
func (b *tab) media(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// noScripts is the browser of a person who switched JavaScript off.
func (b *tab) noScripts() {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// ask evaluates a call of page.js; what the page's own policy forbids does not concern it.
func ask[T any](b *tab, question string, args ...string) (answer T, err error) {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = strconv.Quote(arg)
	}
	ctx, cancel := context.WithTimeout(b.ctx, tabPatience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](fmt.Sprintf("%s.%s(%s)", strings.TrimSpace(pageScript), question, strings.Join(quoted, ", ")), chromedp.EvalAwaitPromise))
}

// until asks until it is so. Answers that fail do not count: between two pages there is nobody to ask.
func (b *tab) until(what string, so func() (bool, error)) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(tabPatience); time.Now().Before(deadline) && b.ctx.Err() == nil; time.Sleep(tabGlance) {
		var yes bool
		if yes, err = so(); yes && err == nil {
			return
		}
	}
	b.t.Fatalf("%s: not so after %s (%v); the page %s says:\n%s", what, tabPatience, err, b.address(), b.text())
}

// visit opens a page, and waits until it is loaded.
func (b *tab) visit(path string) {
	b.t.Helper()
	b.must("visit "+path, chromedp.Do(b.ctx, chromedp.Navigate(b.site+path)))
}

// answered waits until the last page came with this status.
func (b *tab) answered(status int64) {
	b.t.Helper()
	b.until(fmt.Sprintf("an answer with status %d", status), func() (bool, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.status == status, nil
	})
}

// path is the one of the page, with its query.
func (b *tab) path() string {
	b.t.Helper()
	at, err := url.Parse(b.address())
	b.must("read the page's address", err)
	return at.RequestURI()
}

func (b *tab) address() string {
	at, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		return "unknown"
	}
	return at
}

func (b *tab) text() string {
	text, err := ask[string](b, "text")
	if err != nil {
		return ""
	}
	return text
}

// see waits for words on the page, all of them at once.
func (b *tab) see(words ...string) {
	b.t.Helper()
	b.until("see "+strings.Join(words, " · "), func() (bool, error) {
		text, err := ask[string](b, "text")
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }), err
	})
}

// seeNot looks once: wait first for what must be there.
func (b *tab) seeNot(words ...string) {
	b.t.Helper()
	text := b.text()
	for _, word := range words {
		if strings.Contains(text, word) {
			b.t.Errorf("the page %s says %q:\n%s", b.address(), word, text)
		}
	}
}

// arrive waits until the page's path begins so.
func (b *tab) arrive(prefix string) {
	b.t.Helper()
	b.until("arrive at "+prefix, func() (bool, error) {
		at, err := chromedp.Run(b.ctx, chromedp.Location())
		return strings.HasPrefix(at, b.site+prefix), err
	})
}

// A spot is where on the page something is, or why not.
type spot struct {
	X, Y    float64
	Problem string
}

func (b *tab) spot(doing, question string, args ...string) (at spot) {
	b.t.Helper()
	b.until(doing, func() (bool, error) {
		var err error
		if at, err = ask[spot](b, question, args...); err == nil && at.Problem != "" {
			err = errors.New(at.Problem)
		}
		return err == nil, err
	})
	return at
}

// click presses with the mouse what has this name: a button, a link, a box. With words, the one beside them.
func (b *tab) click(name string, beside ...string) {
	b.t.Helper()
	at := b.spot("click "+name, "spot", append([]string{"press", name}, beside...)...)
	b.must("click "+name, chromedp.Do(b.ctx, chromedp.MouseClickXY(at.X, at.Y)))
	b.clicks++
}

// doubleClick presses twice, as fast as a hand can: of two clicks within one turn of its loop Chromium submits one.
func (b *tab) doubleClick(name string, beside ...string) {
	b.t.Helper()
	at := b.spot("click "+name, "spot", append([]string{"press", name}, beside...)...)
	b.must("click "+name, chromedp.Do(b.ctx, chromedp.MouseClickXY(at.X, at.Y)))
	time.Sleep(betweenClicks)
	b.must("click again "+name, chromedp.Do(b.ctx, chromedp.MouseClickXY(at.X, at.Y, chromedp.ClickCount(2))))
}

// fill types into the field with this label, in place of what stands there.
func (b *tab) fill(label, text string) {
	b.t.Helper()
	b.spot("fill "+label, "focus", label)
	if text == "" {
		b.key("\b")
		return
	}
	b.key(text)
}

// choose takes an option of the list with this label.
func (b *tab) choose(label, option string) {
	b.t.Helper()
	b.spot("choose "+option, "choose", label, option)
}

// key presses keys, one for each rune; kb has the runes of those without letters.
func (b *tab) key(keys string) {
	b.t.Helper()
	b.must("press keys", chromedp.Do(b.ctx, chromedp.KeyEvent(keys)))
}

// shortcut presses a key as a keyboard does: a page that takes the key for itself keeps it from being typed, which key
// would type all the same.
func (b *tab) shortcut(key string) {
	b.t.Helper()
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: key, Text: key})
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: key})
}

// tabTo presses Tab until the thing with this name has the focus, as who has no mouse does.
func (b *tab) tabTo(name string) {
	b.t.Helper()
	var passed []string
	for range 80 {
		b.key("\t")
		focused, err := ask[string](b, "focused")
		b.must("read what has the focus", err)
		if focused == name {
			return
		}
		passed = append(passed, focused)
	}
	b.t.Fatalf("the Tab key never came to %q, but to %q", name, passed)
}

// mark leaves something in the page that a reload takes away; marked tells whether it is there.
func (b *tab) mark() {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("window.usherMark = true"))
	b.must("mark the page", err)
}

func (b *tab) marked() bool {
	b.t.Helper()
	there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!window.usherMark"))
	b.must("look for the mark", err)
	return there
}

// upload gives files to the page's file field.
func (b *tab) upload(paths ...string) {
	b.t.Helper()
	var field *runtime.RemoteObject
	b.until("find the file field", func() (_ bool, err error) {
		field, err = chromedp.Run(b.ctx, chromedp.Evaluate[*runtime.RemoteObject](strings.TrimSpace(pageScript)+".file()"))
		return err == nil && field.ObjectID != "", err
	})
	call(b, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: paths, ObjectID: field.ObjectID})
}

// shot is what there is to see, as PNG.
func (b *tab) shot() []byte {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.must("take a picture", err)
	return png
}

// accessible fails for what axe-core finds serious or critical.
func (b *tab) accessible() {
	b.t.Helper()
	for _, violation := range b.axe() {
		b.t.Errorf("%s: %s", b.path(), violation)
	}
}

func (b *tab) axe() []string {
	b.t.Helper()
	there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!window.axe"))
	if err == nil && !there {
		_, err = chromedp.Run(b.ctx, chromedp.Evaluate[chromedp.Void](axeScript(b.t)))
	}
	b.must("load axe-core", err)
	violations, err := ask[[]string](b, "axe")
	b.must("run axe-core", err)
	return violations
}

// axeScript is what scripts/need.sh installed. In CI it must be there.
func axeScript(t *testing.T) string {
	t.Helper()
	folder := filepath.Join("..", "..", "bin", "axe")
	want, err := os.ReadFile(filepath.Join("testdata", "axe", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, _ := os.ReadFile(filepath.Join(folder, "installed")) // absent, it is not the same either
	script, err := os.ReadFile(filepath.Join(folder, "node_modules", "axe-core", "axe.min.js"))
	if err == nil && string(installed) == string(want) {
		return string(script)
	}
	const missing = `axe-core is not installed: run "scripts/need.sh axe"`
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// fits fails when the page is wider than a phone.
func (b *tab) fits() {
	b.t.Helper()
	if wide := b.overflow(phoneWidth); len(wide) > 0 {
		b.t.Errorf("%s does not fit %d px: %s", b.path(), phoneWidth, strings.Join(wide, "\n    "))
	}
}

func (b *tab) overflow(width int64) []string {
	b.t.Helper()
	wide, err := ask[[]string](b, "overflow", strconv.FormatInt(width, 10))
	b.must("measure the page", err)
	return wide
}

// noJump complains when what stood on the page moved by itself.
func (b *tab) noJump() {
	shift, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64]("window.usherShift || 0"))
	if err == nil && shift > mostShift {
		b.complain("the layout of %s jumped: %.2f", b.address(), shift)
	}
}

func (b *tab) signIn(token string) {
	b.t.Helper()
	b.fill("Token", token)
	b.click("Sign in")
}
