// Package retoolclient invites people to a Retool organisation.
//
// Retool has two ways to do it, and this client speaks both:
//
//   - v2, the documented one: POST /api/v2/user_invites, one address a call, on the Business plan and above;
//   - bulk, the call of Retool's own settings page: POST /api/organization/admin/bulkInviteUsers, several addresses a
//     call. Its body is documented nowhere, so it is a template ([Options.BulkBody]).
//
// By default ([APIAuto]) v2 is tried first, and bulk where the plan refuses v2 or the server does not know it.
//
// An invite is not idempotent, and Retool documents no idempotency key. The client therefore repeats only what surely
// did not happen, for a few seconds; everything else comes back as an [*Error] whose Kind says what the caller can do,
// and whose Ambiguous says when to look ([Client.FindInvite]) before sending again.
//
// The API's reference is https://docs.retool.com/reference/api/v2.
package retoolclient

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// API names a way to invite.
type API string

// The ways to invite.
const (
	APIAuto API = "auto" // v2, and bulk where v2 is not to be had
	APIV2   API = "v2"   // POST /api/v2/user_invites
	APIBulk API = "bulk" // POST /api/organization/admin/bulkInviteUsers
)

const (
	defaultTimeout   = 30 * time.Second
	defaultRetries   = 2
	defaultMaxBody   = 1 << 20
	defaultUserAgent = "usher-retoolclient (+https://github.com/usher-dev/usher)"

	// listFactor times MaxBody is the cap of one page of invites: the API documents no page size, so one page may
	// hold them all.
	listFactor = 32
)

// Options say which Retool to talk to, and how. BaseURL and Token are required; the rest has defaults.
//
// Options hide their token when they are printed. A struct of yours that keeps Options in an unexported field does
// not: fmt calls no methods there.
type Options struct {
	// BaseURL is the organisation's address, such as https://acme.retool.com or https://api.retool.com, with or
	// without /api/v2 at its end; any other path is kept as a prefix. It is https, except to this machine itself.
	BaseURL string

	// Token is an API token of the organisation. It is sent to BaseURL's host and nowhere else: redirects are not
	// followed.
	Token string

	// API pins one way to invite; empty means [APIAuto].
	API API

	// BulkBody is a text/template that renders the JSON body of a bulk call; empty means [DefaultBulkBody]. Its data
	// has .Emails (the addresses) and .Invites (each with .Email, .GroupIDs and .Metadata). The function json
	// renders any of them as JSON; a template that quotes addresses itself is refused.
	BulkBody string

	// Timeout bounds one HTTP request, its answer's body included; 0 means 30 seconds.
	Timeout time.Duration

	// Retries is how often one call may quickly repeat a request that surely was not carried out; 0 means 2, a
	// negative number none. A wait is at most 2 seconds: a longer one is the caller's to keep (Error.RetryAfter).
	Retries int

	// MaxBody caps the body of an answer, in bytes; 0 means 1 MiB. A page of invites may be 32 times as long.
	MaxBody int64

	// PresentPhrases are more phrasings, in any case, by which Retool says that an address is invited or a member
	// already. Retool documents none.
	PresentPhrases []string

	// UserAgent is sent with every request; empty means this package's own.
	UserAgent string

	// HTTPClient brings a transport of your own. The client works on a copy, whose Timeout and CheckRedirect it sets.
	HTTPClient *http.Client

	// OnFallback, if set, is called once, with the reason, when [APIAuto] has found that bulk answers where v2 does
	// not. It may be called from any goroutine that invites.
	OnFallback func(reason string)
}

// Client talks to one Retool organisation. It is safe for concurrent use.
type Client struct {
	base      string  // scheme, host and prefix, without a slash at the end
	token     *string // a pointer: fmt prints strings in unexported fields, but only the address of this
	api       API
	bulk      bulkBody
	present   []string
	maxBody   int64
	userAgent string
	http      *retryablehttp.Client
	now       func() time.Time

	fellBack   *atomic.Bool
	onFallback func(string)
}

// New checks the options and makes a client; it sends nothing. The error names every mistake, one a line, and never
// the token.
func New(o Options) (*Client, error) {
	token := strings.TrimSpace(o.Token)
	base, baseErr := parseBase(o.BaseURL)
	bulk, bulkErr := parseBulkBody(o.BulkBody)
	if err := errors.Join(baseErr, checkToken(token), checkAPI(o.API), bulkErr, checkLimits(o)); err != nil {
		return nil, redactError(token, err)
	}
	c := &Client{
		base:       base,
		token:      &token,
		api:        orDefault(o.API, APIAuto),
		bulk:       bulk,
		present:    lowered(o.PresentPhrases),
		maxBody:    orDefault(o.MaxBody, defaultMaxBody),
		userAgent:  orDefault(o.UserAgent, defaultUserAgent),
		now:        time.Now,
		fellBack:   new(atomic.Bool),
		onFallback: o.OnFallback,
	}
	c.http = c.newHTTP(o)
	return c, nil
}

// Transport tells which way the next invitation goes: [APIV2] or [APIBulk]. With [APIAuto] it is v2 until bulk has
// proved to be the one that answers.
func (c *Client) Transport() API {
	switch {
	case c.api == APIAuto && c.fellBack.Load():
		return APIBulk
	case c.api == APIAuto:
		return APIV2
	}
	return c.api
}

// Format implements [fmt.Formatter], so that no verb prints the token.
func (o Options) Format(f fmt.State, _ rune) {
	token := "none"
	if o.Token != "" {
		token = redactedToken
	}
	base := redact(strings.TrimSpace(o.Token), o.BaseURL)
	fmt.Fprintf(f, "retoolclient.Options{BaseURL: %q, Token: %s, API: %q}", base, token, o.API)
}

// Format implements [fmt.Formatter], so that no verb prints the token.
func (c Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "retoolclient.Client{BaseURL: %q, API: %q}", c.base, c.api)
}

// parseBase returns the scheme, host and path prefix of a base address. Its errors do not repeat the address: whoever
// mixed up two settings would read the token in it.
func parseBase(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return "", errors.New("base URL: not a web address, such as https://acme.retool.com")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return "", errors.New("base URL: give scheme and host, such as https://acme.retool.com")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return "", errors.New("base URL: leave out user, password, query and fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", errors.New("base URL: http:// would send the token in clear; use https://")
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/v2"), "/api")
	return u.Scheme + "://" + u.Host + strings.TrimRight(path, "/"), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func checkToken(token string) error {
	if token == "" {
		return errors.New("token: blank")
	}
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return errors.New("token: has spaces or characters that no API token has")
		}
	}
	return nil
}

func checkAPI(a API) error {
	switch a {
	case "", APIAuto, APIV2, APIBulk:
		return nil
	}
	return fmt.Errorf("api: %q is none of auto, v2, bulk", a)
}

func checkLimits(o Options) error {
	var errs []error
	if o.Timeout < 0 {
		errs = append(errs, errors.New("timeout: negative"))
	}
	if o.MaxBody < 0 {
		errs = append(errs, errors.New("max body: negative"))
	}
	return errors.Join(errs...)
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// lowered returns the phrases in lower case; blank ones, which would match everything, are left out.
func lowered(phrases []string) []string {
	var out []string
	for _, p := range phrases {
		if p = strings.ToLower(strings.TrimSpace(p)); p != "" {
			out = append(out, p)
		}
	}
	return out
}
