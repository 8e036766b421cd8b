package retoolclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	minWait       = 200 * time.Millisecond
	maxWait       = 2 * time.Second
	maxRetryAfter = 24 * time.Hour
)

// call is one request to Retool, as data.
type call struct {
	op     string
	api    API
	method string
	path   string // below the base address
	body   []byte // nil for none
	limit  int64  // cap of the answer's body, in bytes

	invites   bool // Retool's words may mean "already there"
	byID      bool // the path names one invite: a 404 speaks of it, not of the address
	emptyOK   bool // a 2xx may come without a body
	anonymous bool // no token is sent
}

// writes reports whether the call changes something in Retool.
func (k call) writes() bool { return k.method != http.MethodGet }

// answer is what came back, its body read and closed.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a call and judges its answer: the error is an *Error unless Retool did what it was asked to.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, &Error{Kind: Later, Op: k.op, Transport: k.api, Err: err}
	}
	var p progress
	req, err := c.newRequest(p.watch(ctx), k)
	if err != nil {
		return answer{}, &Error{Kind: Stop, Op: k.op, Transport: k.api, Err: redactError(*c.token, err)}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, c.noAnswer(k, err, &p)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = readAtMost(resp.Body, k.limit); err != nil {
		return answer{}, &Error{
			Kind: Later, Op: k.op, Status: a.status, Transport: k.api, Ambiguous: k.writes(), Err: redactError(*c.token, err),
		}
	}
	if e := c.judge(k, a); e != nil {
		return answer{}, e
	}
	return a, nil
}

func (c *Client) newRequest(ctx context.Context, k call) (*retryablehttp.Request, error) {
	var body any
	if k.body != nil {
		body = k.body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, k.method, c.base+k.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !k.anonymous {
		req.Header.Set("Authorization", "Bearer "+*c.token)
	}
	return req, nil
}

// noAnswer is the error of a request that brought no answer. It wraps the context's error where that was the reason.
func (c *Client) noAnswer(k call, err error, p *progress) *Error {
	e := &Error{Kind: Later, Op: k.op, Transport: k.api, Err: redactError(*c.token, err)}
	// net/http's errors are all *url.Error. Another one is the context's, which ended the wait between two tries:
	// the try before it surely did nothing, or there would have been no wait.
	var sending *url.Error
	e.Ambiguous = k.writes() && errors.As(err, &sending) && !p.unsent()
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		e.Advice = "The name of Retool's host is not known: check the base URL (retool.url)."
	}
	return e
}

// progress tells how far the latest try of a request came. A transport that reports nothing leaves it unknown, which
// counts as sent.
type progress struct{ state atomic.Int32 }

const (
	progressUnknown int32 = iota
	progressUnsent
	progressSent
)

func (p *progress) unsent() bool { return p.state.Load() == progressUnsent }

// watch returns a context whose requests report to p. WroteHeaders comes before the last byte is on the wire: in
// doubt a request counts as sent.
func (p *progress) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { p.state.Store(progressUnsent) },
		WroteHeaders: func() { p.state.Store(progressSent) },
	})
}

// readAtMost reads a body to its end, or returns an error when it is longer than limit bytes.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("answer over %d bytes", limit)
	}
	return body, nil
}

// newHTTP makes the HTTP client: quiet, without redirects, with retries of what surely did not happen.
func (c *Client) newHTTP(o Options) *retryablehttp.Client {
	rc := retryablehttp.NewClient()
	if o.HTTPClient != nil {
		own := *o.HTTPClient
		rc.HTTPClient = &own
	}
	rc.HTTPClient.Timeout = orDefault(o.Timeout, defaultTimeout)
	rc.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	rc.Logger = nil
	rc.RetryMax = max(0, orDefault(o.Retries, defaultRetries))
	rc.CheckRetry = c.checkRetry
	rc.Backoff = c.backoff
	rc.ErrorHandler = lastAnswer
	return rc
}

// lastAnswer hands out the answer of the last try, its body open, in place of retryablehttp's "giving up".
func lastAnswer(resp *http.Response, err error, _ int) (*http.Response, error) {
	if err != nil && resp != nil {
		resp.Body.Close()
		resp = nil
	}
	return resp, err
}

// checkRetry allows a quick retry of what surely was not carried out: no connection came about, or Retool said that
// it did not take the request, and that it will soon. It returns no errors, so that an answer, once there, is kept.
func (c *Client) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	switch {
	case ctx.Err() != nil:
		return false, nil //nolint:nilerr // see above
	case err != nil:
		return isRefusedDial(err), nil
	}
	wait, told := retryAfter(resp.Header.Get("Retry-After"), c.now())
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return wait <= maxWait, nil
	case http.StatusServiceUnavailable:
		return told && wait <= maxWait, nil
	}
	return false, nil
}

// isRefusedDial reports whether no connection came about, and quickly so: a dial that timed out has used up the time
// for quick retries.
func isRefusedDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && !op.Timeout()
}

// backoff waits as long as Retool asked, or twice as long each time with a little chance in it, so that several
// instances do not come back at once.
func (c *Client) backoff(_, _ time.Duration, try int, resp *http.Response) time.Duration {
	wait := minWait << min(try, 4)
	wait += rand.N(wait / 2) //nolint:gosec // spreads load; nothing secret
	if resp != nil {
		asked, _ := retryAfter(resp.Header.Get("Retry-After"), c.now())
		wait = max(wait, asked)
	}
	return min(wait, maxWait)
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds or a date, at most 24 hours. The second
// result is false when there is none, or none that makes sense.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	header = strings.TrimSpace(header)
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil {
		capped := min(seconds, int64(maxRetryAfter/time.Second))
		return time.Duration(max(0, capped)) * time.Second, seconds >= 0
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return min(max(0, at.Sub(now)), maxRetryAfter), true
}
