// Package handlers is all of Usher's HTTP: the webhooks, the /v1 API, the pages, health and metrics. Errors become
// statuses in one table, in errors.go.
package handlers

import (
	"context"
	"crypto/rand"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// An Acceptor puts a verified delivery where it cannot be lost. *ledger.Ledger is the one of a real Usher;
// the benchmark measures the same handler with one that stores nothing.
type Acceptor interface {
	Accept(ctx context.Context, d ledger.Delivery) (int64, error)
}

// Options are what a Server works with. Sources, Acceptor and Logger are required; without a Ledger there
// is no API.
type Options struct {
	Sources    map[string]*webhook.Source
	Acceptor   Acceptor
	Ledger     *ledger.Ledger
	Policy     *access.Policy
	AdminToken string  // of the /v1 API and the pages
	Tokens     []Token // further ones of the configuration; without any token the API is off
	MaxBody    int64   // bytes of a webhook's body, 1 MiB by default
	Now        func() time.Time
	Logger     *slog.Logger
	Version    string
	Warnings   []string     // of the configuration, for people
	Panics     func() int64 // counts those of the stages, for /metrics; nil: nobody does
	Rehearse   Rehearse     // tries rules on history; nil: nobody can
	// RehearseFor bounds one test of rules, 25 seconds by default.
	RehearseFor time.Duration
	// PublicURL is Usher's own address as the world sees it; empty: as whoever looks at a page sees it.
	PublicURL string
	// RequestsPerMinute is the pace of sending that all instances share, for people to know; 0: none.
	RequestsPerMinute int
	// CallsPerMinute is how many calls of the API one actor may make; 0: any number.
	CallsPerMinute int
	Seats          Seats // for the estimate in the summary
	// SignInLinkFor is how long a link of SignInLink can be used, 10 minutes by default.
	SignInLinkFor time.Duration
}

// A Server is Usher's HTTP handler.
type Server struct {
	Options
	echo     *echo.Echo
	metrics  *metrics
	ready    readiness
	draining atomic.Bool
	callLimits
	// rehearsing is held while rules are tried on history.
	rehearsing sync.Mutex

	pages       map[string]*template.Template // by name, with the layout; nil: there are no pages
	crossOrigin *http.CrossOriginProtection
	signIns     signInLimit
	importing   importing
}

// New makes the handler of everything Usher serves.
func New(o Options) *Server {
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{Options: o, echo: echo.New(), crossOrigin: http.NewCrossOriginProtection()}
	s.metrics = newMetrics(o)
	s.echo.HTTPErrorHandler = s.answerError
	s.echo.Use(s.identify, s.recover)
	s.routes()
	return s
}

func (s *Server) routes() {
	e := s.echo
	for _, path := range []string{"/webhooks/:source", "/webhooks/:source/", "/webhooks/:source/:token"} {
		e.POST(path, s.receive)
		e.GET(path, s.greet)
		e.HEAD(path, s.greet)
	}

	api := e.Group("/v1", s.authorize, s.limit)
	for _, r := range s.calls() {
		do := r.do
		if r.method == http.MethodPost && !slices.Contains(onlyAsk, r.path) {
			do = s.idempotent(do)
		}
		api.Add(r.method, r.path, allow(r.role, do))
	}
	api.RouteNotFound("/*", s.noSuchCall)

	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/livez", s.livez)
		e.Add(method, "/readyz", s.readyz)
	}
	e.GET("/metrics", echo.WrapHandler(s.metrics.handler()))
	e.GET("/openapi.yaml", s.showOpenAPI)

	s.pageRoutes()
}

// onlyAsk are the calls that change nothing, although they are POSTs: their questions have a body.
var onlyAsk = []string{"/invitations/preview", "/rules/test"}

// A call is one of the API.
type call struct {
	method, path string // below /v1
	role         role   // that the caller needs
	do           echo.HandlerFunc
}

// calls is the one table of the API: what there is, and who may.
func (s *Server) calls() []call {
	return []call{
		{"POST", "/invitations", roleInvite, s.createInvitation},
		{"GET", "/invitations", roleRead, s.listInvitations},
		{"GET", "/invitations.csv", roleRead, s.exportInvitations},
		{"POST", "/invitations/preview", roleInvite, s.previewInvitations},
		{"POST", "/invitations/batch", roleInvite, s.inviteMany},
		{"POST", "/invitations/retry", roleInvite, s.retryInvitations},
		{"POST", "/invitations/approve", roleInvite, s.approveInvitations},
		{"GET", "/invitations/:id", roleRead, s.showInvitation},
		{"POST", "/invitations/:id/retry", roleInvite, s.onInvitation(s.retry)},
		{"POST", "/invitations/:id/approve", roleInvite, s.onInvitation(s.approve)},
		{"POST", "/invitations/:id/revoke", roleInvite, s.onInvitation(s.revoke)},
		{"POST", "/invitations/:id/correct", roleInvite, s.correctInvitation},
		{"GET", "/events", roleRead, s.listEvents},
		{"GET", "/events/:id", roleRead, s.showEvent},
		{"GET", "/deliveries", roleRead, s.listDeliveries},
		{"POST", "/deliveries/:id/replay", roleAdmin, s.replayDelivery},
		{"GET", "/rules/test", roleRead, s.testRules},
		{"POST", "/rules/test", roleRead, s.testRules},
		{"GET", "/summary", roleRead, s.showSummary},
		{"GET", "/audit", roleAdmin, s.listAudit},
		{"GET", "/tokens", roleAdmin, s.listTokens},
		{"POST", "/tokens", roleAdmin, s.createToken},
		{"DELETE", "/tokens/:name", roleAdmin, s.deleteToken},
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Drain makes /readyz say no, so that a load balancer sends nothing more.
func (s *Server) Drain() { s.draining.Store(true) }

// HTTPServer is the net/http server for a handler. Every phase has a limit: by default net/http has none,
// and a sender that trickles would hold a connection for ever.
func HTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      40 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// identify gives each request an identity, for its answer and our log.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderXRequestID, rand.Text())
		return next(c)
	}
}

// recover turns a panic into a 500. What was panicked with may hold what a customer wrote, so only its type
// is logged.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler: // on purpose: the answer is cut off
				panic(p)
			default:
				err = panicError(p)
			}
		}()
		return next(c)
	}
}
