package handlers

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// The pages below /admin: rendered here, so that they work without scripts; htmx keeps them fresh. A page is a file
// templates/NAME.html that defines "title" and "main", and whatever parts of itself htmx asks for. What all share is in
// templates/layout*.html.

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*.js static/*.css static/*.svg
var staticFiles embed.FS

// pagesPolicy is the Content-Security-Policy of every page: what a customer wrote can load, run and send nothing.
const pagesPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxForm bounds a form, bytes: a list of customers is the largest.
const maxForm = 16 << 20

// home is the first page.
const home = "/admin"

func (s *Server) pageRoutes() {
	if s.Ledger == nil {
		return
	}
	s.pages = parsePages(s.Now)
	e := s.echo
	pages := e.Group(home, s.pageHeaders, s.sameOrigin, s.signedIn)
	pages.GET("/static/:name", serveStatic)
	pages.GET("/sign-in", s.showSignIn)
	pages.POST("/sign-in", s.signIn)
	pages.GET("", s.showOverview)
	pages.GET("/", func(c echo.Context) error { return c.Redirect(http.StatusSeeOther, home) })
	pages.POST("/sign-out", s.signOut)
	pages.GET("/rules", s.showRules)
	pages.POST("/rules", s.tryRules)
	pages.POST("/try-sending", s.trySending, needs(roleInvite))
	pages.GET("/expiring", s.showExpiring)
	pages.GET("/set-aside", s.showSetAside)
	pages.POST("/deliveries/:id/replay", s.decideAgain, needs(roleAdmin))
	pages.GET("/tokens", s.showTokens, needs(roleAdmin))
	pages.POST("/tokens", s.makeTokenHere, needs(roleAdmin))
	pages.POST("/tokens/:name/revoke", s.revokeTokenHere, needs(roleAdmin))
	s.invitationRoutes(pages)
	s.inviteRoutes(pages)
	s.sourceRoutes(pages)
	pages.RouteNotFound("/*", echo.NotFoundHandler)
}

// nav is the navigation, in its order. Who may do less than least does not see an entry.
var nav = []navEntry{
	{Path: home, Title: "Overview", least: roleRead},
	{Path: invitationsPath, Title: "Invitations", least: roleRead},
	{Path: invitePath, Title: "Invite", least: roleInvite, also: importPath},
	{Path: sourcesPath, Title: "Sources", least: roleRead, also: eventsPath},
	{Path: home + "/rules", Title: "Rules", least: roleRead},
	{Path: tokensPath, Title: "Tokens", least: roleAdmin},
}

// A navEntry is one entry of the navigation.
type navEntry struct {
	Path, Title string
	least       role
	also        string // pages that are reached from it
	Current     bool
}

func navFor(v *viewer, route string) (entries []navEntry) {
	for _, entry := range nav {
		if v != nil && v.Role.allows(entry.least) {
			below := func(path string) bool { return path != "" && path != home && strings.HasPrefix(route, path+"/") }
			entry.Current = entry.Path == route || below(entry.Path) || below(entry.also)
			entries = append(entries, entry)
		}
	}
	return entries
}

// pageHeaders are what every answer below /admin carries.
func (s *Server) pageHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		header := c.Response().Header()
		header.Set("Content-Security-Policy", pagesPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		return next(c)
	}
}

// A view is what a template is given: the page's own data, and what the layout shows around it.
type view struct {
	Data     any
	Viewer   *viewer // nil: nobody is signed in
	CSRF     string
	Nav      []navEntry
	Messages []message
	Version  string
	Part     bool // only a part of a page was asked for
}

// May reports whether who looks may do what needs a role.
func (v view) May(least string) bool { return v.Viewer != nil && v.Viewer.Role.allows(role(least)) }

// render answers with a page, "NAME", or with a part of one that its file defines, "NAME#PART".
func (s *Server) render(c echo.Context, status int, name string, data any) error {
	page, part, isPart := strings.Cut(name, "#")
	v := view{Data: data, Viewer: viewerOf(c), Version: s.Version, Messages: takeMessages(c), Part: isPart}
	if v.Viewer != nil {
		v.CSRF = v.Viewer.csrf
	}
	if !isPart {
		part = "layout"
		v.Nav = navFor(v.Viewer, c.Path())
	}
	pages := s.pages[page]
	if pages == nil {
		return fmt.Errorf("render %s: there is no such page", name)
	}
	var text bytes.Buffer
	err := pages.ExecuteTemplate(&text, part, v)
	if err == nil && isPart && len(v.Messages) > 0 {
		err = pages.ExecuteTemplate(&text, "messages", v)
	}
	if err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	return c.HTMLBlob(status, text.Bytes())
}

// wantsPart reports whether htmx asks, to put the answer into the page that is there.
func wantsPart(c echo.Context) bool { return c.Request().Header.Get("HX-Request") == "true" }

// goTo sends the browser to a page, whichever way it asked.
func goTo(c echo.Context, to string) error {
	if wantsPart(c) {
		c.Response().Header().Set("HX-Redirect", to)
		return c.NoContent(http.StatusNoContent)
	}
	return c.Redirect(http.StatusSeeOther, to)
}

// A message tells people what became of what they did.
type message struct {
	Kind string // good, bad or info
	Text string
}

const (
	messagesKey   = "messages"
	messageCookie = "usher_said"
)

// say tells whoever looks something, with this answer, or with the next one if this one is a redirect.
func say(c echo.Context, kind, text string) {
	said, _ := c.Get(messagesKey).([]message)
	said = append(said, message{kind, text})
	c.Set(messagesKey, said)
	encoded, err := json.Marshal(said)
	if err != nil || len(encoded) > 2000 { // more than a cookie may hold, hence only with this answer
		return
	}
	setMessageCookie(c, base64.RawURLEncoding.EncodeToString(encoded), 60)
}

func setMessageCookie(c echo.Context, value string, seconds int) {
	kept := c.Response().Header()[echo.HeaderSetCookie]
	c.Response().Header()[echo.HeaderSetCookie] = slices.DeleteFunc(kept, func(text string) bool { return strings.HasPrefix(text, messageCookie+"=") })
	c.SetCookie(&http.Cookie{Name: messageCookie, Value: value, Path: home, MaxAge: seconds, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
}

// takeMessages takes what was said, now or before a redirect: it is told once.
func takeMessages(c echo.Context) (said []message) {
	cookie, err := c.Request().Cookie(messageCookie)
	if err == nil {
		if text, err := base64.RawURLEncoding.DecodeString(cookie.Value); err == nil {
			_ = json.Unmarshal(text, &said) // nobody but us can set it; what cannot be read is not told
		}
	}
	now, _ := c.Get(messagesKey).([]message)
	if err == nil || len(now) > 0 {
		setMessageCookie(c, "", -1)
	}
	return append(said, now...)
}

// baseURL is Usher's own address as the world sees it, for people to copy.
func (s *Server) baseURL(c echo.Context) string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	r, scheme := c.Request(), "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// isPage reports whether an answer goes to somebody who looks at the pages.
func isPage(c echo.Context) bool {
	path := c.Request().URL.Path
	return path == home || strings.HasPrefix(path, home+"/")
}

// A failure is an error as people see it on a page.
type failure struct {
	Status    int
	Title     string
	Text      string
	Errors    []fieldError
	RequestID string // where the log has more
	Search    bool   // offer a search
}

func failureOf(p *problem, requestID string) failure {
	f := failure{Status: p.Status, Title: p.Title, Text: p.Detail, Errors: p.Errors}
	switch {
	case p.Status == http.StatusNotFound:
		f.Title, f.Text, f.Search = "Not found", "There is no such page, or what it showed is not in the ledger.", true
	case p.Status == http.StatusConflict:
		f.Title = "Not possible now"
	case p.Status == http.StatusForbidden:
		f.Title = "Not allowed"
	case p.Status == http.StatusMethodNotAllowed:
		f.Title, f.Text = "Not possible", "This address does not take what your browser sent."
	case p.Status >= http.StatusInternalServerError:
		f.Title, f.Text, f.RequestID = "Something went wrong", "Usher could not do this. Its log has the cause.", requestID
		if p.Status == http.StatusServiceUnavailable {
			f.Title, f.Text = "Not possible right now", "The ledger cannot be used at this moment. Nothing was changed. Try again in a moment."
		}
	}
	return f
}

// answerPageError shows an error as a page, or to htmx as a message in the page that is there.
func (s *Server) answerPageError(c echo.Context, p *problem) {
	f := failureOf(p, c.Response().Header().Get(echo.HeaderXRequestID))
	name := "error"
	if wantsPart(c) {
		c.Response().Header().Set("HX-Retarget", "#messages")
		c.Response().Header().Set("HX-Reswap", "innerHTML")
		name = "error#failure"
	}
	if err := s.render(c, f.Status, name, f); err != nil {
		s.Logger.Error("a page of an error failed", "error", err.Error())
		_ = c.String(f.Status, f.Title+". "+f.Text+"\n")
	}
}

// parsePages reads every page with the layout.
func parsePages(now func() time.Time) map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(pageFuncs(now)).ParseFS(templateFiles, "templates/layout*.html"))
	pages := map[string]*template.Template{}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic("handlers: " + err.Error())
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if !strings.HasPrefix(name, "layout") {
			pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFiles, file))
		}
	}
	return pages
}

// pageFuncs are what all templates can call.
func pageFuncs(now func() time.Time) template.FuncMap {
	return template.FuncMap{
		"static": staticURL,
		"state":  stateBadge,
		"when":   func(at any) template.HTML { return timeElement(at, now(), false) }, // 24 Nov 2026, 01:35 UTC (3 minutes ago)
		"ago":    func(at any) template.HTML { return timeElement(at, now(), true) },  // 3 minutes ago
		"number": func(n any) string { return thousands(wholeNumber(n)) },
		"money":  func(amount string) string { return money(amount) },
		"plural": func(n any, one, many string) string { return plural(wholeNumber(n), one, many) }, // 1 invitation, 2,000 invitations
		"dict":   dict,
		"reason": func(code string) string { return reasonLabel(access.Reason(code)) },
	}
}

// dict gives a template several values: dict "Name" "email" "Label" "Address".
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict takes names and values in pairs")
	}
	values := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict takes a name, not a %T", pairs[i])
		}
		values[name] = pairs[i+1]
	}
	return values, nil
}

// stateSigns stand beside the words: no state is told by its colour alone.
var stateSigns = map[ledger.State]string{
	ledger.Held: "‖", ledger.Queued: "…", ledger.Sent: "→", ledger.Accepted: "✓", ledger.Expired: "○", ledger.Revoked: "–", ledger.Failed: "!",
}

// stateBadge shows the state of an invitation.
func stateBadge(state ledger.State) template.HTML {
	sign, known := stateSigns[state]
	if !known {
		return template.HTML(template.HTMLEscapeString(string(state))) //nolint:gosec // escaped
	}
	return template.HTML(fmt.Sprintf(`<span class="badge %s"><span aria-hidden="true">%s</span> %[1]s</span>`, state, sign)) //nolint:gosec // constants
}

func wholeNumber(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	default:
		panic(fmt.Sprintf("a template counts a %T", n))
	}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	digits, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		digits, sign = digits[1:], "-"
	}
	var groups []string
	for ; len(digits) > 3; digits = digits[:len(digits)-3] {
		groups = append(groups, digits[len(digits)-3:])
	}
	slices.Reverse(groups)
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}

// money writes the decimal number 1234.50 as 1,234.50.
func money(amount string) string {
	whole, fraction, isFraction := strings.Cut(amount, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return amount
	}
	if isFraction {
		return thousands(n) + "." + fraction
	}
	return thousands(n)
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// timeElement writes a moment for machines and for people. It takes a time.Time or a *time.Time; none is a dash.
func timeElement(at any, now time.Time, short bool) template.HTML {
	moment, isTime := at.(time.Time)
	if pointer, ok := at.(*time.Time); ok {
		isTime = true
		if pointer != nil {
			moment = *pointer
		}
	}
	if !isTime {
		panic(fmt.Sprintf("a template tells the time of a %T", at))
	}
	if moment.IsZero() {
		return "–"
	}
	moment = moment.UTC()
	machine, exact, words := moment.Format(time.RFC3339), moment.Format("2 Jan 2006, 15:04 UTC"), fromNow(moment, now)
	text := `<time datetime="%s">%s <span class="quiet">(%s)</span></time>`
	if short {
		text, exact = `<time datetime="%s" title="%s">%s</time>`, moment.Format("2 Jan 2006, 15:04:05 UTC")
	}
	return template.HTML(fmt.Sprintf(text, machine, exact, words)) //nolint:gosec // a time and words of ours
}

// fromNow says how far a moment is: "3 minutes ago", "in 2 days".
func fromNow(at, now time.Time) string {
	d, form := now.Sub(at), "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	const day = 24 * time.Hour
	var span string
	switch { // nothing finer than a minute: what is shown again every few seconds should stay as it is
	case d < time.Minute && form == "in %s":
		return "in a moment"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		span = plural(int64(d/time.Minute), "minute", "minutes")
	case d < 2*day:
		span = plural(int64(d/time.Hour), "hour", "hours")
	case d < 60*day:
		span = plural(int64(d/day), "day", "days")
	case d < 730*day:
		span = plural(int64(d/(30*day)), "month", "months")
	default:
		span = plural(int64(d/(365*day)), "year", "years")
	}
	return fmt.Sprintf(form, span)
}

// An asset is one file that pages load.
type asset struct {
	body []byte
	kind string
	hash string
}

var assets = readAssets()

func readAssets() map[string]asset {
	found := map[string]asset{}
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		panic("handlers: " + err.Error())
	}
	kinds := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
	for _, entry := range entries {
		body, err := staticFiles.ReadFile("static/" + entry.Name())
		if err != nil {
			panic("handlers: " + err.Error())
		}
		sum := sha256.Sum256(body)
		extension := path.Ext(entry.Name())
		found[entry.Name()] = asset{body: body, kind: cmp.Or(kinds[extension], mime.TypeByExtension(extension)), hash: hex.EncodeToString(sum[:8])}
	}
	return found
}

// staticURL is where a page finds a file: the address changes with the content, so that browsers may keep it.
func staticURL(name string) (string, error) {
	found, ok := assets[name]
	if !ok {
		return "", fmt.Errorf("there is no file static/%s", name)
	}
	return "/admin/static/" + name + "?v=" + found.hash, nil
}

func serveStatic(c echo.Context) error {
	found, ok := assets[c.Param("name")]
	if !ok {
		return echo.ErrNotFound
	}
	header := c.Response().Header()
	header.Set("ETag", `"`+found.hash+`"`)
	header.Set("Cache-Control", "no-cache")
	if c.QueryParam("v") == found.hash {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	header.Set(echo.HeaderContentType, found.kind)
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(found.body))
	return nil
}
