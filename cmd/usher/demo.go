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
Stripe events over HTTP, and shows what becomes of each. Then it keeps serving until Ctrl-C.

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
	token     string // of the API
	first     string // id of the first event
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
	d := &demo{w: w, c: coloursFor(w), folder: folder, secret: "whsec_" + rand.Text(), token: "demo-" + rand.Text(),
		url: "http://" + usher.Addr().String(), retoolURL: "http://" + sandbox.Addr().String()}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error {
		return serveUntil(serving, sandbox, retooltest.New(retooltest.Options{Token: "retool_demosandboxtoken", InternalDomains: []string{"acme.example"}}))
	})
	group.Go(func() error { return d.serve(serving, usher) })
	expected, err := d.show(serving)
	if err == nil && !exit { // with exit, the addresses are gone as soon as they could be tried
		d.curls()
		fmt.Fprintf(w, "\n%sServing until Ctrl-C.%s\n", d.c.bold, d.c.off)
		<-serving.Done()
	}
	stop()
	err = errors.Join(err, group.Wait())
	if err == nil && !expected {
		return quietError(exitFailure)
	}
	return err
}

func listenTwice(ctx context.Context, address string) (usher, sandbox net.Listener, err error) {
	if usher, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address); err != nil {
		return nil, nil, err
	}
	sandbox, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	return usher, sandbox, err
}

// serve runs the same Usher as "usher serve", configured by variables as for Stripe alone.
func (d *demo) serve(ctx context.Context, listener net.Listener) error {
	p, problems := load(config.Options{Env: []string{
		"STRIPE_WEBHOOK_SECRET=" + d.secret, "RETOOL_URL=" + d.retoolURL, "RETOOL_API_TOKEN=retool_demosandboxtoken",
		"USHER_ADMIN_TOKEN=" + d.token, "USHER_INTERNAL_DOMAINS=acme.example",
		"DATABASE_URL=sqlite://" + filepath.Join(d.folder, "usher.db"), "USHER_RETOOL_REQUESTS_PER_MINUTE=600",
	}}, io.Discard)
	if err := problems.Err(); err != nil {
		return err
	}
	p.log = slog.New(slog.DiscardHandler)
	return p.serve(ctx, listener)
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
	paid := webhooktest.StripeEvent{ID: webhooktest.StripeID("evt"), Email: "ada@lovelace.example", Name: "Ada Lovelace"}
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
	once, err := d.once(ctx, shown)
	return expected && once, err
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

// until asks the API until what it says is settled, for at most 5 s.
func (d *demo) until(ctx context.Context, path string, into any, settled func() bool) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
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
	return fmt.Errorf("%s was not settled in 5 s", path)
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
func (d *demo) once(ctx context.Context, shown []showing) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.retoolURL+"/sandbox/state", nil)
	if err != nil {
		return false, err
	}
	_, answer, err := do(request)
	if err != nil {
		return false, err
	}
	var memory struct {
		Created map[string]int `json:"created"`
	}
	if err := json.Unmarshal(answer, &memory); err != nil {
		return false, fmt.Errorf("read the sandbox's memory: %w", err)
	}
	want := map[string]int{}
	for _, s := range shown {
		if s.outcome == "invite" {
			want[s.event.Email] = 1
		}
	}
	if !maps.Equal(memory.Created, want) {
		fmt.Fprintf(d.w, "%s✗  Retool remembers other invites than those: %v%s\n", d.c.red, memory.Created, d.c.off)
		return false, nil
	}
	fmt.Fprintf(d.w, "%s✓%s  Retool's own memory agrees: %d people invited, each once\n", d.c.green, d.c.off, len(want))
	return true, nil
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func (d *demo) curls() {
	fmt.Fprintf(d.w, `
%sTry it yourself%s
  export USHER=%s TOKEN=%s
  curl -s -H "Authorization: Bearer $TOKEN" $USHER/v1/summary
  curl -s -H "Authorization: Bearer $TOKEN" $USHER/v1/events/%s
  curl -s -H "Authorization: Bearer $TOKEN" -d '{"email": "you@customer.example"}' $USHER/v1/invitations
  curl -s -H "Authorization: Bearer $TOKEN" -X POST "$USHER/v1/invitations/retry?state=failed"
  curl -s %s/sandbox/state
`, d.c.bold, d.c.off, d.url, d.token, d.first, d.retoolURL)
}
