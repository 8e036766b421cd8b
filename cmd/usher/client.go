package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
)

const (
	// commandLine is who the audit trail says it was when a command works straight on the ledger.
	commandLine = "command line"
	// callTimeout bounds one call over the network.
	callTimeout = time.Minute
	// mostWait is how long one call waits in all because a running Usher asks it to, and mostInside because the ledger
	// does: there, nobody else makes room.
	mostWait, mostInside = 2 * time.Minute, 5 * time.Second
	// mostTries is how often a call is made again that was cut short.
	mostTries = 3
	// maxAnswer is the largest answer that is read whole.
	maxAnswer = 32 << 20
)

// clientFlags say where the Usher of a command is, and how the command shows what it says.
type clientFlags struct {
	url                 string
	full, asJSON, asCSV bool
	decides             bool // the rules of the configuration decide about people
}

// register gives a command the flags that all commands of the API have.
func (f *clientFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "", "a running Usher, whose token is in USHER_TOKEN (default: $USHER_URL, else straight on the ledger of the configuration)")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON, an object a line")
	flags.BoolVar(&f.full, "full", false, "print whole addresses")
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	_ = cmd.RegisterFlagCompletionFunc("url", cobra.NoFileCompletions) // the flag is there
}

// A client speaks to the /v1 API: of a running Usher, or of one that it makes for itself on the ledger.
type client struct {
	clientFlags
	http  *http.Client
	base  string // without a slash at its end
	token string // "" inside this process
	where string // for people
	waits time.Duration
	limit time.Duration // of one call, 0: none
	notes io.Writer
	close func() error

	mentioned time.Time
}

// withClient runs a command with its client.
func withClient(cmd *cobra.Command, f clientFlags, do func(*client) error) error {
	c, err := newClient(cmd, f)
	if err != nil {
		return err
	}
	err = do(c)
	if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("stopped")
	}
	return errors.Join(err, c.close())
}

func newClient(cmd *cobra.Command, f clientFlags) (*client, error) {
	if !cmd.Flags().Changed("url") {
		f.url = os.Getenv("USHER_URL")
	}
	if f.url == "" {
		return newInsideClient(cmd, f)
	}
	base, err := baseURL(f.url)
	if err != nil {
		return nil, usageError{err}
	}
	token, err := apiToken(cmd)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second}
	// No redirect is followed: the token is meant for this address alone.
	web := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &client{clientFlags: f, http: web, base: strings.TrimRight(base.String(), "/"), token: token, where: strings.TrimRight(base.Redacted(), "/"),
		waits: mostWait, limit: callTimeout, notes: cmd.ErrOrStderr(), close: func() error { transport.CloseIdleConnections(); return nil }}, nil
}

// apiToken is USHER_TOKEN, its twin that names a file, or the admin token of the configuration.
func apiToken(cmd *cobra.Command) (string, error) {
	token := os.Getenv("USHER_TOKEN")
	if file := os.Getenv("USHER_TOKEN_FILE"); token == "" && file != "" {
		text, err := os.ReadFile(file) //nolint:gosec // the operator names it
		if err != nil {
			return "", usageError{fmt.Errorf("read USHER_TOKEN_FILE: %w", err)}
		}
		token = string(text)
	}
	cfg, _ := config.Load(configOptions(cmd)) // only the token matters here
	token = strings.TrimSpace(cmp.Or(token, cfg.AdminToken.Reveal()))
	if token == "" {
		return "", usageError{errors.New("there is no token for the running Usher: set USHER_TOKEN to its admin token, or to one that usher token new made")}
	}
	return token, nil
}

// elsewhere is what else can be done where there is no ledger.
const elsewhere = "run it where usher.yaml is, name that by --config, set DATABASE_URL, or name a running Usher: --url https://usher.example.com, with its token in USHER_TOKEN"

// newInsideClient opens the ledger of the configuration as it is, beside the Usher that may serve from it, and serves the
// API to itself.
func newInsideClient(cmd *cobra.Command, f clientFlags) (*client, error) {
	p, problems := load(configOptions(cmd), io.Discard)
	if err := refuseProblems(cmd, problems, func(path string) bool { return path == "" || path == "database" }); err != nil {
		return nil, err
	}
	p.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError}))
	book, err := ledger.Open(cmd.Context(), p.config.Database.Reveal(), ledger.Options{
		Logger: p.log, CallLimit: onboarding.CallLimit(p.config.Retool.Timeout), AsItIs: true})
	switch {
	case errors.Is(err, ledger.ErrNoLedger):
		return nil, usageError{fmt.Errorf("%w\n%s", err, elsewhere)}
	case err != nil:
		return nil, asUsage(err)
	}
	if f.decides { // a half configuration would decide otherwise than the Usher that serves
		if err := refuseProblems(cmd, problems, func(string) bool { return true }); err != nil {
			return nil, errors.Join(err, book.Close())
		}
	}
	server := handlers.New(p.handlerOptions(book))
	return &client{clientFlags: f, http: &http.Client{Transport: server.InProcess(commandLine)}, base: "http://usher.inside", where: "the ledger " + p.config.Database.String(),
		waits: mostInside, notes: cmd.ErrOrStderr(), close: book.Close}, nil
}

// refuseProblems prints the mistakes of the configuration that matter to a command.
func refuseProblems(cmd *cobra.Command, problems config.Problems, matters func(path string) bool) error {
	var own config.Problems
	for _, problem := range problems {
		if matters(problem.Path) {
			own = append(own, problem)
		}
	}
	if len(own) == 0 {
		return nil
	}
	printProblems(cmd.ErrOrStderr(), own)
	fmt.Fprintln(cmd.ErrOrStderr(), "To work with a running Usher instead: --url https://usher.example.com, with its token in USHER_TOKEN.")
	return quietError(exitUsage)
}

// get asks for something.
func (c *client) get(ctx context.Context, path string, into any) (json.RawMessage, error) {
	return c.call(ctx, http.MethodGet, path, "", nil, into)
}

// post has something done. However often it is tried, it is done once: all tries carry one Idempotency-Key.
func (c *client) post(ctx context.Context, path string, body, into any) (json.RawMessage, error) {
	return c.call(ctx, http.MethodPost, path, rand.Text(), body, into)
}

// consult asks what would be done. It changes nothing, so that its answer need not be kept under a key.
func (c *client) consult(ctx context.Context, path string, body, into any) (json.RawMessage, error) {
	return c.call(ctx, http.MethodPost, path, "", body, into)
}

func (c *client) call(ctx context.Context, method, path, key string, body, into any) (json.RawMessage, error) {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	answer, err := c.insist(ctx, method, path, key, sent)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && into != nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return nil, fmt.Errorf("read what %s answers: %w", c.where, err)
	}
	return raw, nil
}

// stream asks for something of any size, for as long as it takes. The caller closes it.
func (c *client) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	limit := c.limit
	c.limit = 0
	defer func() { c.limit = limit }()
	answer, err := c.insist(ctx, http.MethodGet, path, "", nil) //nolint:bodyclose // the caller does
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// insist makes a call, and makes it again where Usher asks for that or the connection was cut. The answer is a success.
func (c *client) insist(ctx context.Context, method, path, key string, sent []byte) (*http.Response, error) {
	waited := time.Duration(0)
	for try := 1; ; try++ {
		answer, err := c.once(ctx, method, path, key, sent)
		if err == nil {
			return answer, nil
		}
		wait := c.pause(ctx, err, try)
		if wait == 0 || waited+wait > c.waits {
			return nil, err
		}
		c.mention(err, wait)
		waited += wait
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// mention says why a call is made again; a long work that is asked to slow down says so once in a while.
func (c *client) mention(err error, wait time.Duration) {
	if now := time.Now(); now.Sub(c.mentioned) > 10*time.Second || !isRefusal(err, http.StatusTooManyRequests) {
		c.mentioned = now
		fmt.Fprintf(c.notes, "usher: %v; again in %s\n", err, wait.Round(100*time.Millisecond))
	}
}

// pause is how long to wait before a call is made again, 0 where that would not help.
func (c *client) pause(ctx context.Context, err error, try int) time.Duration {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused.retryAfter
	case ctx.Err() != nil || try >= mostTries || isUnreachable(err):
		return 0
	default:
		return time.Duration(try) * time.Second
	}
}

// isUnreachable reports whether nobody answers at an address at all.
func isUnreachable(err error) bool {
	var dialled *net.OpError
	return errors.As(err, &dialled) && dialled.Op == "dial"
}

// once makes one call. An answer that is no success is an error.
func (c *client) once(ctx context.Context, method, path, key string, sent []byte) (*http.Response, error) {
	stop := context.CancelFunc(func() {})
	if c.limit > 0 {
		ctx, stop = context.WithTimeout(ctx, c.limit)
	}
	var body io.Reader
	if sent != nil {
		body = bytes.NewReader(sent)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		stop()
		return nil, err
	}
	request.Header.Set("User-Agent", "usher/"+version())
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if sent != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		stop()
		return nil, c.unanswered(err)
	}
	answer.Body = stoppedBody{answer.Body, stop}
	if answer.StatusCode/100 == 2 && strings.Contains(answer.Header.Get("Content-Type"), "html") {
		answer.StatusCode = http.StatusNotFound // a site's own page, whatever it says
	}
	if answer.StatusCode/100 != 2 {
		return nil, c.refused(method, path, answer)
	}
	return answer, nil
}

// A stoppedBody ends the time-out of its call when it is closed.
type stoppedBody struct {
	io.ReadCloser
	stop context.CancelFunc
}

func (b stoppedBody) Close() error {
	defer b.stop()
	return b.ReadCloser.Close()
}

// unanswered says what to do when no answer came. net/http's own error has the whole address in it.
func (c *client) unanswered(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer in %s: %w", c.where, c.limit, err)
	case isUnreachable(err):
		return fmt.Errorf("%s cannot be reached: %w\nis usher running there? give its address by --url, or leave --url out to work on the ledger of the configuration", c.where, err)
	default:
		return fmt.Errorf("%s gave no answer: %w", c.where, err)
	}
}

// A refusal is an answer of the API that is no success.
type refusal struct {
	status     int
	text       string
	retryAfter time.Duration // 0: trying again does not help
}

func (r *refusal) Error() string { return r.text }

// isRefusal reports whether an error is an answer with this status.
func isRefusal(err error, status int) bool {
	var refused *refusal
	return errors.As(err, &refused) && refused.status == status
}

// A wireProblem is RFC 9457's, as Usher writes it.
type wireProblem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Reason string `json:"reason"`
	Errors []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
		Mend   string `json:"mend"`
	} `json:"errors"`
}

// refused says in words what an answer means, and what to do. It names no whole address.
func (c *client) refused(method, path string, answer *http.Response) error {
	defer answer.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what is missing of it is not shown
	var p wireProblem
	isProblem := json.Unmarshal(raw, &p) == nil && p.Status == answer.StatusCode
	route, _, _ := strings.Cut(path, "?")
	r := &refusal{status: answer.StatusCode}
	switch {
	case answer.StatusCode/100 == 3:
		r.text = fmt.Sprintf("%s answers with a redirect, which is not followed, since the token is meant for this address alone: give the final address by --url", c.where)
	case !isProblem && answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable:
		r.text = fmt.Sprintf("%s answers %d, and not as Usher does: --url must be Usher's base address", c.where, answer.StatusCode)
	case answer.StatusCode == http.StatusUnauthorized:
		r.text = fmt.Sprintf("%s does not take the token: %s\nset USHER_TOKEN to its admin token, or to one that usher token new made", c.where, plain(p.Detail))
	case answer.StatusCode == http.StatusNotFound && p.Detail == "", answer.StatusCode == http.StatusMethodNotAllowed:
		r.text = fmt.Sprintf("%s does not know the call %s %s: it is an older Usher than this command, or --url is not its base address", c.where, method, onboarding.Masked(route))
	default:
		r.text = p.words(answer.StatusCode)
	}
	if answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable {
		r.retryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	}
	if id := answer.Header.Get("X-Request-Id"); id != "" && answer.StatusCode >= http.StatusInternalServerError && c.token != "" {
		r.text += " (X-Request-Id " + id + ")"
	}
	return r
}

// words are a problem in words: each field that is wrong, with its mend.
func (p wireProblem) words(status int) string {
	text := cmp.Or(p.Detail, p.Title, http.StatusText(status), strconv.Itoa(status))
	var lines []string
	for _, e := range p.Errors {
		line := e.Detail
		if e.Field != "" && e.Detail != p.Detail {
			line = e.Field + ": " + line
		}
		if e.Mend != "" {
			line += "; " + e.Mend
		}
		lines = append(lines, line)
	}
	if len(lines) > 0 {
		text = strings.Join(lines, "\n  ")
	}
	if status == http.StatusForbidden {
		text += "; use a token of a role that may"
	}
	return plain(onboarding.Masked(text))
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return max(time.Duration(seconds)*time.Second, 100*time.Millisecond)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 100*time.Millisecond)
	}
	return 0
}
