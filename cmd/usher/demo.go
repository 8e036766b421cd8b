package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

func newDemo() *cobra.Command {
	var exit bool
	var listen string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the whole road, from a signed Stripe checkout to a Retool invite",
		Long: `Demo starts a sandbox Retool and an Usher on a fresh ledger in a temporary folder, sends really signed
Stripe events over HTTP, and shows what becomes of each. More customers follow, so that there is one in every
state. Then it prints a link that signs in to the pages, and keeps serving until Ctrl-C.

Exit status 0 only if every outcome was the expected one.`,
		Example: `  usher demo
  usher demo --exit`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), listen, exit)
		},
	}
	cmd.Flags().BoolVar(&exit, "exit", false, "end after the summary")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address of the demo's Usher")
	return cmd
}

// A demo is one running demonstration.
type demo struct {
	w         io.Writer
	c         colours
	url       string // of its Usher
	retoolURL string
	folder    string
	secret    string // signing
	events    string // the token of Retool's own events
	token     string // of the API
	first     string // id of the first event

	usher   *served
	sandbox *retooltest.Retool
}

func runDemo(ctx context.Context, w io.Writer, listen string, exit bool) (err error) {
	folder, err := os.MkdirTemp("", "usher-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	usher, sandbox, err := listenTwice(ctx, listen)
	if err != nil {
		return err
	}
	d := &demo{w: w, c: coloursFor(w), folder: folder, secret: "whsec_" + rand.Text(), events: rand.Text(), token: "demo-" + rand.Text(),
		url: "http://" + usher.Addr().String(), retoolURL: "http://" + sandbox.Addr().String(),
		sandbox: retooltest.New(retooltest.Options{Token: demoRetoolToken, InternalDomains: []string{"acme.example"}, OtherOrg: []string{otherOrg}})}
	if err := d.configure(); err != nil {
		return errors.Join(err, usher.Close(), sandbox.Close())
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return serveUntil(serving, sandbox, d.sandbox) })
	d.start(serving, usher)
	expected, err := d.show(serving)
	if err == nil {
		err = d.end(serving, exit)
	}
	stop()
	err = errors.Join(err, d.usher.wait(), group.Wait())
	if err == nil && !expected {
		return quietError(exitFailure)
	}
	return err
}

// end says where to look, and serves until Ctrl-C; with exit the addresses are gone as soon as they could be tried, and it
// only sees that they work.
func (d *demo) end(ctx context.Context, exit bool) error {
	if err := d.tryPages(ctx); err != nil || exit {
		return err
	}
	link, err := d.signInLink(ctx)
	if err != nil {
		return err
	}
	d.curls(link)
	fmt.Fprintf(d.w, "\n%sServing until Ctrl-C.%s\n", d.c.bold, d.c.off)
	select {
	case <-ctx.Done():
	case <-d.usher.done:
	}
	return nil
}

const (
	demoRetoolToken = "retool_demosandboxtoken"
	demoConfig      = "usher.yaml"
)

func listenTwice(ctx context.Context, address string) (usher, sandbox net.Listener, err error) {
	if usher, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address); err != nil {
		return nil, nil, err
	}
	sandbox, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	return usher, sandbox, err
}

// configure writes the file that "usher serve" would be given.
func (d *demo) configure() error {
	text := fmt.Sprintf(`admin_token: %s
database: sqlite://%s
retool:
  url: %s
  token: %s
  requests_per_minute: 600
domains:
  internal: [acme.example]
sources:
  stripe:
    preset: stripe
    secrets: [%s]
    no_payment_required: hold
  retool:
    preset: retool-events
    secrets: [%s]
`, d.token, filepath.Join(d.folder, "usher.db"), d.retoolURL, demoRetoolToken, d.secret, d.events)
	return os.WriteFile(filepath.Join(d.folder, demoConfig), []byte(text), 0o600)
}

// load makes the parts of the demo's Usher.
func (d *demo) load() (*parts, error) {
	p, problems := load(config.Options{File: filepath.Join(d.folder, demoConfig)}, io.Discard)
	p.log = slog.New(slog.DiscardHandler)
	return p, problems.Err()
}

// A served is an Usher that serves.
type served struct {
	stop func()
	done chan struct{}
	err  error
}

// wait waits until it has ended.
func (s *served) wait() error {
	<-s.done
	return s.err
}

// start runs the same Usher as "usher serve".
func (d *demo) start(ctx context.Context, listener net.Listener) {
	ctx, stop := context.WithCancel(ctx)
	s := &served{stop: stop, done: make(chan struct{})}
	d.usher = s
	go func() {
		defer close(s.done)
		p, err := d.load()
		if err != nil {
			s.err = errors.Join(err, listener.Close())
			return
		}
		if s.err = p.serve(ctx, listener); errors.Is(s.err, context.Canceled) {
			s.err = nil
		}
	}()
}

// restart stops the Usher and starts another on its ledger, at the same address.
func (d *demo) restart(ctx context.Context) error {
	d.usher.stop()
	if err := d.usher.wait(); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		return err
	}
	d.start(ctx, listener)
	return d.waitReady(ctx)
}

// A scene is one event of the demonstration and what must become of it.
type scene struct {
	title    string
	event    webhooktest.StripeEvent
	forged   bool
	again    bool // the same event was sent before
	status   int
	outcome  string
	reason   string
	state    string // of the invitation
	attempts int
}

func scenes() []scene {
	paid := webhooktest.StripeEvent{ID: webhooktest.StripeID("evt"), Email: "ada@lovelace.example", Name: "Ada Lovelace", Created: time.Now()}
	return []scene{
		{title: "A paid checkout", event: paid, status: 200, outcome: "invite", reason: "external", state: "sent", attempts: 1},
		{title: "The same event again, as Stripe does when in doubt", event: paid, again: true, status: 200, outcome: "invite", reason: "external", state: "sent", attempts: 1},
		{title: "A checkout that is not paid yet", event: webhooktest.StripeEvent{ID: webhooktest.StripeID("evt"), Email: "grace@hopper.example", PaymentStatus: "unpaid"},
			status: 200, outcome: "skip", reason: "awaiting_payment"},
		{title: "A checkout from the company's own domain", event: webhooktest.StripeEvent{ID: webhooktest.StripeID("evt"), Email: "boss@acme.example"},
			status: 200, outcome: "skip", reason: "internal_domain"},
		{title: "A forged event, signed with a guessed secret", event: webhooktest.StripeEvent{ID: webhooktest.StripeID("evt"), Email: "mallory@evil.example"}, forged: true, status: 401},
		{title: "A paid checkout of a newer Stripe API version", event: webhooktest.StripeEvent{ID: webhooktest.StripeID("evt"), Email: "alan@turing.example", APIVersion: "2026-03-25.dahlia"},
			status: 200, outcome: "invite", reason: "external", state: "sent", attempts: 1},
	}
}

// A showing is what became of a scene.
type showing struct {
	scene
	gotStatus   int
	gotOutcome  string
	gotReason   string
	gotState    string
	gotAttempts int
}

func (s showing) ok() bool {
	return s.gotStatus == s.status && s.gotOutcome == s.outcome && s.gotReason == s.reason && s.gotState == s.state && s.gotAttempts == s.attempts
}

// show plays every scene, then the summary; expected is true when every outcome was.
func (d *demo) show(ctx context.Context) (expected bool, err error) {
	if err := d.waitReady(ctx); err != nil {
		return false, err
	}
	fmt.Fprintf(d.w, "%sUsher%s at %s, with a sandbox Retool at %s and its ledger in %s\n", d.c.bold, d.c.off, d.url, d.retoolURL, d.folder)
	var shown []showing
	expected = true
	for i, sc := range scenes() {
		fmt.Fprintf(d.w, "\n%s%d. %s%s  %s%s · %s%s\n", d.c.bold, i+1, sc.title, d.c.off, d.c.dim, sc.event.ID, sc.event.Email, d.c.off)
		result, err := d.play(ctx, sc)
		if err != nil {
			return false, fmt.Errorf("%s: %w", sc.title, err)
		}
		shown = append(shown, result)
		d.first = cmp.Or(d.first, sc.event.ID)
		expected = expected && result.ok()
	}
	d.summarise(shown)
	more, err := d.showStates(ctx)
	if err != nil {
		return false, err
	}
	return d.once(shown) && expected && more, nil
}

func (d *demo) waitReady(ctx context.Context) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/readyz", nil)
		if err != nil {
			return err
		}
		if status, _, err := do(request); err == nil && status == http.StatusOK {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the demo's Usher was not ready in 10 s")
}

func (d *demo) play(ctx context.Context, sc scene) (showing, error) {
	result := showing{scene: sc}
	secret := d.secret
	if sc.forged {
		secret = "whsec_guessed"
	}
	body := sc.event.JSON()
	status, answer, err := post(ctx, d.url+"/webhooks/stripe", webhooktest.SignStripe(body, secret, time.Now()), body)
	if err != nil {
		return result, err
	}
	result.gotStatus = status
	if status != http.StatusOK {
		d.step("received", d.c.red, "the signature matches no secret: answered %d, nothing is kept", status)
		return result, nil
	}
	var receipt struct {
		Delivery int64 `json:"delivery"`
	}
	if err := json.Unmarshal(answer, &receipt); err != nil {
		return result, err
	}
	d.step("received", d.c.blue, "delivery %d is on disk: answered %d", receipt.Delivery, status)
	d.step("verified", d.c.blue, "Stripe's signature, by stripe-go")
	return result, d.follow(ctx, &result)
}

// shownEvent and shownInvitation are what the demo reads of the API.
type shownEvent struct {
	Resends  int `json:"resends"`
	Decision *struct {
		Outcome    string `json:"outcome"`
		Reason     string `json:"reason"`
		Sentence   string `json:"sentence"`
		Invitation int64  `json:"invitation"`
	} `json:"decision"`
}

type shownInvitation struct {
	State    string `json:"state"`
	Attempts []struct {
		Outcome    string `json:"outcome"`
		Status     int    `json:"status"`
		Message    string `json:"message"`
		DurationMS int64  `json:"duration_ms"`
	} `json:"attempts"`
}

// follow waits, through the API, until the event is decided and its invitation has left the queue.
func (d *demo) follow(ctx context.Context, result *showing) error {
	var event shownEvent
	err := d.until(ctx, "/v1/events/"+result.event.ID, &event, func() bool {
		return event.Decision != nil && (!result.again || event.Resends > 0)
	})
	if err != nil {
		return err
	}
	decision := event.Decision
	result.gotOutcome, result.gotReason = decision.Outcome, decision.Reason
	colour := d.c.green
	if decision.Outcome != "invite" {
		colour = d.c.yellow
	}
	if result.again {
		d.step("decided", colour, "this event is known: it is counted as sent again, and nothing else happens")
	} else {
		d.step("decided", colour, "%s (%s): %s", decision.Outcome, decision.Reason, decision.Sentence)
	}
	if decision.Invitation == 0 {
		return nil
	}
	return d.followInvitation(ctx, decision.Invitation, result)
}

func (d *demo) followInvitation(ctx context.Context, id int64, result *showing) error {
	var inv shownInvitation
	err := d.until(ctx, fmt.Sprintf("/v1/invitations/%d", id), &inv, func() bool { return inv.State != "queued" })
	if err != nil {
		return err
	}
	result.gotState, result.gotAttempts = inv.State, len(inv.Attempts)
	if last := len(inv.Attempts) - 1; last >= 0 && !result.again {
		a := inv.Attempts[last]
		d.step("invited", d.c.green, "%s: Retool answered %d in %d ms: %s", inv.State, a.Status, a.DurationMS, a.Message)
	} else {
		d.step("invited", d.c.dim, "still the one invitation, %s once", inv.State)
	}
	return nil
}

// until asks the API until what it says is settled, for at most 10 s.
func (d *demo) until(ctx context.Context, path string, into any, settled func() bool) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+d.token)
		status, answer, err := do(request)
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			if err := json.Unmarshal(answer, into); err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			if settled() {
				return nil
			}
		}
	}
	return fmt.Errorf("%s was not settled in 10 s", path)
}

func (d *demo) step(word, colour, format string, args ...any) {
	fmt.Fprintf(d.w, "   %s%-9s%s %s\n", colour, word, d.c.off, fmt.Sprintf(format, args...))
}

func (d *demo) summarise(shown []showing) {
	fmt.Fprintf(d.w, "\n%s   %-51s %-6s %-8s %-17s %-8s%s\n", d.c.bold, "event", "answer", "decision", "reason", "invite", d.c.off)
	for _, s := range shown {
		mark := d.c.green + "✓" + d.c.off
		if !s.ok() {
			mark = d.c.red + "✗" + d.c.off
		}
		fmt.Fprintf(d.w, "%s  %-51s %-6d %-8s %-17s %-8s\n", mark, s.title, s.gotStatus, dash(s.gotOutcome), dash(s.gotReason), dash(s.gotState))
		if !s.ok() {
			fmt.Fprintf(d.w, "   %sexpected: %d %s %s %s, %d attempt(s); there were %d%s\n", d.c.red, s.status, dash(s.outcome), dash(s.reason), dash(s.state), s.attempts, s.gotAttempts, d.c.off)
		}
	}
}

// once compares with the sandbox Retool's own memory: each person who paid was invited once, and nobody else.
func (d *demo) once(shown []showing) bool {
	created := d.sandbox.State().Created
	want := map[string]int{}
	for _, s := range shown {
		if s.outcome == "invite" {
			want[s.event.Email] = 1
		}
	}
	for _, one := range demoCustomers() {
		if one.reached {
			want[one.email] = 1
		}
	}
	if !maps.Equal(created, want) {
		fmt.Fprintf(d.w, "%s✗  Retool remembers other invites than those: %v%s\n", d.c.red, created, d.c.off)
		return false
	}
	fmt.Fprintf(d.w, "%s✓%s  Retool's own memory agrees: %d people invited, each once\n", d.c.green, d.c.off, len(want))
	return true
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// curls says where to look, and what to try.
func (d *demo) curls(link string) {
	fmt.Fprintf(d.w, `
%[1]sLook around%[2]s
  %[3]s%[4]s
  This link signs in once, within the hour. Later, sign in at %[3]s/admin with the admin token: %[5]s

%[1]sTry it yourself%[2]s
  export USHER_URL=%[3]s USHER_TOKEN=%[5]s
  usher list
  usher explain %[6]s
  usher invite you@customer.example
  curl -s -H "Authorization: Bearer $USHER_TOKEN" $USHER_URL/v1/summary
  curl -s %[7]s/sandbox/state
`, d.c.bold, d.c.off, d.url, link, d.token, d.first, d.retoolURL)
}
