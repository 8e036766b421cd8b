package handlers

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// Who looks at the pages: a token signs in, a cookie keeps it. The API knows no cookie and the pages know no bearer, so
// that neither can be used by way of the other.

const (
	signInPath    = home + "/sign-in"
	staticPath    = home + "/static/:name"
	sessionCookie = "usher_session"
	sessionLasts  = 12 * time.Hour
	linkLasts     = 10 * time.Minute // Options.SignInLinkFor by default
)

// The errors of the pages.
var (
	errCrossSite = errors.New("this was sent by another site, so that nothing was done")
	errForm      = errors.New("this form is from an earlier sign-in, so that nothing was done; go back, load the page again, and send it once more")
)

// A viewer is who is signed in.
type viewer struct {
	Actor   string // as the audit trail has it
	Role    role
	session string // its identity in the ledger
	csrf    string // what every form and htmx call of this session carries
}

const viewerKey = "viewer"

// viewerOf is who looks, nil for nobody.
func viewerOf(c echo.Context) *viewer {
	v, _ := c.Get(viewerKey).(*viewer)
	return v
}

// needs lets only those through whose role is enough.
func needs(least role) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if v := viewerOf(c); v == nil || !v.Role.allows(least) {
				return &problem{Title: "Not allowed", Status: http.StatusForbidden, Detail: fmt.Sprintf("This needs the role %s. You are signed in with the role %s: sign in with another token.", least, roleOf(v))}
			}
			return next(c)
		}
	}
}

func roleOf(v *viewer) role {
	if v == nil {
		return "none"
	}
	return v.Role
}

// sameOrigin refuses what another site made a browser send.
func (s *Server) sameOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.crossOrigin.Check(c.Request()); err != nil {
			return errCrossSite
		}
		return next(c)
	}
}

// signedIn lets those through who are signed in, and sends others to sign in and then back to where they were. What
// changes anything must carry the session's own token beside the cookie.
func (s *Server) signedIn(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Path() == staticPath {
			return next(c)
		}
		v, err := s.findViewer(c)
		if err != nil {
			return err
		}
		c.Set(viewerKey, v)
		if c.Path() == signInPath {
			return next(c)
		}
		if v == nil {
			return goTo(c, signInPath+"?next="+url.QueryEscape(whereOneWas(c.Request())))
		}
		act(c, actor{name: v.Actor, role: v.Role})
		if err := checkForm(c, v); err != nil {
			return err
		}
		return next(c)
	}
}

// findViewer finds whose cookie this is; nil where it is nobody's any more. The token that signed in is looked up
// again each time: what it may do now counts, and with it the session ends.
func (s *Server) findViewer(c echo.Context) (*viewer, error) {
	cookie, err := c.Request().Cookie(sessionCookie)
	if err != nil || cookie.Value == "" {
		return nil, nil //nolint:nilerr,nilnil // nobody is signed in
	}
	ctx := c.Request().Context()
	session, err := s.Ledger.Session(ctx, hash(cookie.Value))
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil //nolint:nilnil // it has expired
	}
	if err != nil {
		return nil, err
	}
	who, err := s.credentialActor(ctx, session.Credential)
	if errors.Is(err, errToken) {
		return nil, nil //nolint:nilnil // its token is gone
	}
	if err != nil {
		return nil, err
	}
	return &viewer{Actor: who.name, Role: who.role, session: session.ID, csrf: hash("csrf " + cookie.Value)}, nil
}

// checkForm compares the token that a form carries with the session's.
func checkForm(c echo.Context, v *viewer) error {
	r := c.Request()
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	got := r.Header.Get("X-CSRF-Token")
	if got == "" {
		if err := r.ParseMultipartForm(maxForm); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			return readProblem(err)
		}
		got = r.PostFormValue("csrf")
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(v.csrf)) != 1 {
		return errForm
	}
	return nil
}

func readProblem(err error) error {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return fmt.Errorf("%w of %d bytes", errTooLarge, over.Limit)
	}
	return fmt.Errorf("%w: %w", errCutShort, err)
}

// whereOneWas is the page to come back to: the page itself, or where a form or a call of htmx came from.
func whereOneWas(r *http.Request) string {
	if r.Method == http.MethodGet && r.Header.Get("HX-Request") == "" {
		return localPath(r.URL.RequestURI())
	}
	from, err := url.Parse(cmp.Or(r.Header.Get("HX-Current-URL"), r.Referer()))
	if err != nil {
		return home
	}
	return localPath(from.RequestURI())
}

// localPath lets only addresses of pages pass; anything else is the first page. What a link says may lead nowhere else.
func localPath(to string) string {
	if strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return home
	}
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Path != path.Clean(u.Path) {
		return home
	}
	if u.Path != home && !strings.HasPrefix(u.Path, home+"/") || u.Path == signInPath || u.Path == home+"/sign-out" || strings.HasPrefix(u.Path, home+"/static/") {
		return home
	}
	return u.RequestURI()
}

// A signInForm is the page that asks for a token.
type signInForm struct {
	Next    string
	Error   string
	Off     bool   // there is no token that could sign in
	Forward string // where to go on by itself
}

// showSignIn asks for a token, or takes a link that has one in it.
func (s *Server) showSignIn(c echo.Context) error {
	form := signInForm{Next: localPath(c.QueryParam("next")), Off: s.apiOff()}
	link := c.QueryParam("link")
	switch {
	case viewerOf(c) != nil:
		return c.Redirect(http.StatusSeeOther, form.Next)
	case link != "":
		return s.takeLink(c, link, form)
	case c.QueryParam("kept") == "no":
		form.Error = "Your browser did not keep the cookie that signs you in: it keeps it only over https, or on localhost. Open Usher by its https address."
	case cameFromElsewhere(c.Request()):
		// A browser does not send the cookie along a link on another site; along one of our own it does.
		form.Forward = signInPath + "?again=1&next=" + url.QueryEscape(form.Next)
	}
	return s.render(c, http.StatusOK, "sign-in", form)
}

func cameFromElsewhere(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.URL.Query().Get("again") == ""
}

// signIn begins a session for whoever has a token.
func (s *Server) signIn(c echo.Context) error {
	r := c.Request()
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxAPIBody)
	if err := r.ParseForm(); err != nil {
		return readProblem(err)
	}
	form := signInForm{Next: localPath(r.PostForm.Get("next")), Off: s.apiOff()}
	remote := remoteOf(r)
	if wait := s.signIns.wait(remote, s.Now()); wait > 0 {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		form.Error = fmt.Sprintf("Too many tries went wrong. Wait %s and try again.", plural(int64(math.Ceil(wait.Seconds())), "second", "seconds"))
		return s.render(c, http.StatusTooManyRequests, "sign-in", form)
	}
	token := strings.TrimSpace(r.PostForm.Get("token"))
	who, err := s.tokenActor(r.Context(), token)
	if errors.Is(err, errToken) {
		s.signIns.failed(remote, s.Now())
		s.Logger.Warn("a sign-in was refused", "remote", r.RemoteAddr, "request_id", c.Response().Header().Get(echo.HeaderXRequestID))
		form.Error = "This token is not accepted. Compare it with the one you were given; it may also have been revoked, or have expired."
		return s.render(c, http.StatusUnauthorized, "sign-in", form)
	}
	if err != nil {
		return err
	}
	secret := newSecret()
	session := ledger.Session{ID: hash(secret), Actor: who.name, Credential: ledger.HashToken(token), ExpiresAt: s.Now().Add(sessionLasts)}
	if err := s.Ledger.BeginSession(r.Context(), session); err != nil {
		return err
	}
	s.beginSession(c, who.name, secret)
	// There a browser that did not keep the cookie is told so.
	return c.Redirect(http.StatusSeeOther, signInPath+"?kept=no&next="+url.QueryEscape(form.Next))
}

func (s *Server) beginSession(c echo.Context, name, secret string) {
	s.Logger.Info("somebody signed in", "actor", name, "remote", c.Request().RemoteAddr, "request_id", c.Response().Header().Get(echo.HeaderXRequestID))
	c.SetCookie(cookieOf(secret, int(sessionLasts.Seconds())))
}

func cookieOf(secret string, seconds int) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Value: secret, Path: home, MaxAge: seconds, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode}
}

// newSecret cannot be guessed: 256 bits.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// signOut ends the session here and in the ledger.
func (s *Server) signOut(c echo.Context) error {
	if err := s.Ledger.EndSession(c.Request().Context(), viewerOf(c).session); err != nil {
		return err
	}
	c.SetCookie(cookieOf("", -1))
	say(c, "info", "You are signed out.")
	return goTo(c, signInPath)
}

// SignInLink makes a path that signs in as the admin token does, once. Whoever has it can use it, so that it goes to
// nobody but the operator's own terminal.
func (s *Server) SignInLink(ctx context.Context) (path string, err error) {
	if s.Ledger == nil || strings.TrimSpace(s.AdminToken) == "" {
		return "", errAPIOff
	}
	secret := newSecret()
	err = s.Ledger.OfferSession(ctx, ledger.Session{ID: hash(secret), Actor: actorAdmin, Credential: ledger.HashToken(s.AdminToken),
		ExpiresAt: s.Now().Add(cmp.Or(s.SignInLinkFor, linkLasts))})
	return signInPath + "?link=" + secret, err
}

// takeLink signs in whoever opens a link first. It answers with a page that goes on by itself: along a redirect some
// browsers would not send the cookie, when the link was opened in another program.
func (s *Server) takeLink(c echo.Context, link string, form signInForm) error {
	secret := newSecret()
	session, err := s.Ledger.TakeSession(c.Request().Context(), hash(link), ledger.Session{ID: hash(secret), ExpiresAt: s.Now().Add(sessionLasts)})
	switch {
	case errors.Is(err, ledger.ErrUsed):
		form.Error = "This link was used before, and it signs in only once. Make a new one, or sign in with a token."
		return s.render(c, http.StatusGone, "sign-in", form)
	case errors.Is(err, ledger.ErrNotFound):
		form.Error = "This link is not valid, or not any more. Make a new one, or sign in with a token."
		return s.render(c, http.StatusGone, "sign-in", form)
	case err != nil:
		return err
	}
	s.beginSession(c, session.Actor, secret)
	form.Forward = signInPath + "?kept=no&next=" + url.QueryEscape(form.Next)
	return s.render(c, http.StatusOK, "sign-in", form)
}

// remoteOf is who tries to sign in. Where the connection comes from a proxy on the machine or the private network, it
// is whom the proxy names last: what stands before, anybody can write.
func remoteOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if address.IsPrivate() || address.IsLoopback() {
		named := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if told, err := netip.ParseAddr(strings.TrimSpace(named[len(named)-1])); err == nil {
			address = told
		}
	}
	if address = address.Unmap().WithZone(""); address.Is6() { // one line has a whole /64
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

const (
	// failuresEach is how many sign-ins may fail from one address in a row; then one more is let through every failureRest.
	failuresEach = 10
	failureRest  = 30 * time.Second
	// failuresAll and allRest are the same for all addresses together.
	failuresAll = 200
	allRest     = 500 * time.Millisecond
	// rememberedMost bounds how many addresses are remembered; beyond, the limit for all must do.
	rememberedMost = 10_000
)

// A signInLimit slows those down who try tokens. Only failures count. The zero value is ready to use.
type signInLimit struct {
	mu   sync.Mutex
	each map[string]time.Time // address → when all its failures are forgiven
	all  time.Time
}

// wait is how long an address must wait before it may try again; 0 when it need not.
func (l *signInLimit) wait(remote string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, debt(l.each[remote], now)-(failuresEach-1)*failureRest, debt(l.all, now)-(failuresAll-1)*allRest)
}

// failed counts one try that went wrong.
func (l *signInLimit) failed(remote string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.each) >= rememberedMost {
		for address, forgiven := range l.each {
			if !forgiven.After(now) {
				delete(l.each, address)
			}
		}
	}
	if l.each == nil {
		l.each = map[string]time.Time{}
	}
	if _, known := l.each[remote]; known || len(l.each) < rememberedMost {
		l.each[remote] = now.Add(debt(l.each[remote], now) + failureRest)
	}
	l.all = now.Add(debt(l.all, now) + allRest)
}

// debt is what is left of earlier failures.
func debt(forgiven, now time.Time) time.Duration { return max(0, forgiven.Sub(now)) }
