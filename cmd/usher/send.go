package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// sendFlags are what "usher send" was asked for.
type sendFlags struct {
	preset, source, url, body                   string
	email, name, id, variant, eventType, status string
	headers                                     []string
	tamper, stale, suite, asJSON                bool
	setsEventType, setsStatus, setsName         bool
}

func newSend() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send PRESET|SOURCE",
		Short: "Send a signed test event to a running Usher, or try a suite of them on it",
		Long: `Send makes an event like the one that a sender sends, signs it as that sender signs, with the first secret
of the source in Usher's configuration, and posts it. The word is a preset ("usher presets" lists them), else
a source's name. A preset's source is --source, else the one whose preset it is, else the one of that name.
A source that names no preset is sent the event of the preset that has the source's name; where there is none,
a file: usher send NAME --body FILE.

Without --email the event has no address, so that nobody is invited, unless it names a customer whom Usher
looks up: that is told. (Stripe's event is then a guest's, of the test mode.)

--suite tries a whole deployment: what is valid must be taken, and what is sent twice, forged, altered, old,
from the future, empty, too large or compressed must be answered as it should be. It sends no address, and
nothing that Usher would look up, unless --email is given. With the admin token (USHER_TOKEN, or admin_token
of the configuration) it also asks Usher whether a duplicate was counted once.

Exit status 0 when Usher answered as it should: 200, or 401 with --tamper or --stale; with --suite, when no
case failed.`,
		Example: `  usher send stripe                                             # recorded, nobody is invited
  usher send stripe --type invoice.paid --email ada@example.com --url https://usher.example.com
  usher send typeform --tamper                                  # refused
  usher send woocommerce --variant ping
  usher send billing --body event.json --header "X-Event: paid"    # a source without a preset
  usher send hubspot --suite --url https://usher.example.com    # a test kit for your own deployment`,
		Args:              func(_ *cobra.Command, args []string) error { return f.takeArguments(args) },
		ValidArgsFunction: completePreset,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changed := cmd.Flags().Changed
			f.setsEventType, f.setsStatus, f.setsName = changed("type"), changed("payment-status"), changed("name")
			return send(cmd, f)
		},
	}
	f.bind(cmd)
	return cmd
}

func (f *sendFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.source, "source", "", "the source's name in Usher's configuration (default: found by the word)")
	flags.StringVar(&f.url, "url", "http://localhost:8080", "where Usher runs")
	flags.StringVar(&f.email, "email", "", "the customer's address, who may be invited (default: none)")
	flags.StringVar(&f.name, "name", "Test Customer", "the customer's name")
	flags.StringVar(&f.id, "id", "", "the event's id, to send the same event again (default: a new one)")
	flags.StringVar(&f.variant, "variant", "", "another event of the sender, such as ping; an unknown one lists them")
	flags.StringArrayVar(&f.headers, "header", nil, `a header of the request, "Name: value", set before it is signed; can be repeated`)
	flags.StringVar(&f.body, "body", "", "a file with the body, sent as it is; - is the standard input")
	flags.StringVar(&f.eventType, "type", "checkout.session.completed", "stripe only: the event's type")
	flags.StringVar(&f.status, "payment-status", "paid", "stripe only: paid, unpaid or no_payment_required")
	flags.BoolVar(&f.tamper, "tamper", false, "change the body after signing; Usher must refuse")
	flags.BoolVar(&f.stale, "stale", false, "sign with a time that is too long ago; Usher must refuse")
	flags.BoolVar(&f.suite, "suite", false, "try everything that a sender, or somebody who is none, could send")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
}

// takeArguments takes the word that names the preset or the source.
func (f *sendFlags) takeArguments(args []string) error {
	switch {
	case len(args) > 1:
		return usageError{fmt.Errorf("send takes one preset or source, and %q besides\nsee: usher send --help", args[1])}
	case len(args) == 1:
		f.preset = args[0]
	case f.source == "":
		return usageError{errors.New("send wants a preset or a source, such as: usher send stripe\nsee: usher presets")}
	}
	return nil
}

// check refuses flags that mean nothing together.
func (f *sendFlags) check() error {
	for _, c := range []struct {
		wrong bool
		say   string
	}{
		{f.suite && (f.tamper || f.stale), "--suite tampers and waits by itself: leave --tamper and --stale out"},
		{f.suite && f.variant != "", "--suite sends the sender's usual event: leave --variant out"},
		{f.tamper && f.stale, "--tamper and --stale exclude each other: either alone must be refused"},
		{f.body != "" && (f.variant != "" || f.id != "" || f.setsName || f.setsEventType || f.setsStatus), "--body is sent as it is: leave --variant, --id, --name, --type and --payment-status out"},
		{f.preset != "stripe" && (f.setsEventType || f.setsStatus), "--type and --payment-status are for stripe; other senders have --variant"},
		{f.preset == "stripe" && f.variant != "", "stripe has no variants: choose the event by --type"},
	} {
		if c.wrong {
			return usageError{errors.New(c.say + "\nsee: usher send --help")}
		}
	}
	return nil
}

// send finds the source, makes the event, and sends it in one way or in all.
func send(cmd *cobra.Command, f sendFlags) error {
	t, err := newTarget(configOptions(cmd), &f)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	m, err := t.message(f, cmd.InOrStdin())
	if err != nil {
		return err
	}
	if f.suite {
		return runSuite(cmd.Context(), cmd.OutOrStdout(), t, m, f.asJSON)
	}
	return t.sendOne(cmd.Context(), cmd.OutOrStdout(), m, f)
}

// A sendResult is what came of a sent event.
type sendResult struct {
	OK       bool            `json:"ok"`
	Source   string          `json:"source"`
	URL      string          `json:"url"`
	EventID  string          `json:"event_id"` // "" of a handshake, which is no event
	Address  string          `json:"address"`  // masked; "" where nobody can be invited
	LookUp   string          `json:"look_up"`  // who is asked for an address, where Usher has a key
	Status   int             `json:"status"`
	Expected int             `json:"expected"`
	Answer   json.RawMessage `json:"answer"`
	TookMS   int64           `json:"took_ms"`
	Hint     string          `json:"hint,omitempty"` // why it was not answered as expected
}

func (t *target) sendOne(ctx context.Context, w io.Writer, m message, f sendFlags) error {
	at, expected := time.Now(), http.StatusOK
	switch {
	case (f.tamper || f.stale) && m.greeting:
		return usageError{errors.New("this is a handshake, which is answered whoever sends it: choose another event for --tamper or --stale")}
	case f.tamper && !t.signsBody():
		return usageError{fmt.Errorf("%s does not sign the body (%s): nobody could see that it was changed", t.title(), t.proof())}
	case f.stale && !t.signsTime():
		return usageError{fmt.Errorf("%s signs no time: no event of it is ever stale", t.title())}
	case f.stale:
		at, expected = at.Add(-max(time.Hour, t.tolerance()+time.Minute)), http.StatusUnauthorized
	}
	out, err := t.prove(m)
	if err == nil && f.stale {
		out, err = t.sign(m, m.body, t.own(), at)
	}
	if err != nil {
		return err
	}
	if f.tamper {
		out.body, expected = t.tampered(m.body, false), http.StatusUnauthorized
	}
	a, err := t.post(ctx, out)
	if err != nil {
		return fmt.Errorf("%w\nis usher running there? give its address with --url", err)
	}
	r := sendResult{
		OK: a.status == expected, Source: t.name, URL: t.shown(t.url), EventID: t.shown(m.id), Address: t.shown(m.address), LookUp: m.asks,
		Status: a.status, Expected: expected, Answer: t.shownJSON(a.json()), TookMS: a.took.Milliseconds(),
	}
	if !r.OK {
		r.Hint = t.shown(t.hint(a, expected))
	}
	return t.printSent(w, m, r, f.asJSON)
}

func (t *target) printSent(w io.Writer, m message, r sendResult, asJSON bool) error {
	if asJSON {
		_ = json.NewEncoder(w).Encode(r)
	} else {
		c := coloursFor(w)
		mark, what := c.green+"✓"+c.off, r.EventID
		if !r.OK {
			mark = c.red + "✗" + c.off
		}
		if m.greeting {
			what = "a handshake"
		}
		fmt.Fprintf(w, "%s %s → %d (expected %d) in %d ms: %s\n", mark, what, r.Status, r.Expected, r.TookMS, bytes.TrimSpace(r.Answer))
		if r.Hint != "" {
			fmt.Fprintln(w, "  "+r.Hint)
		}
		if r.OK && r.Status == http.StatusOK && !m.greeting {
			fmt.Fprintln(w, m.whoIsInvited(r.Address, t.mayAsk))
			fmt.Fprintf(w, "why it was decided as it was: curl -H \"Authorization: Bearer $USHER_ADMIN_TOKEN\" '%s'\n", t.shown(strings.TrimRight(t.base.Redacted(), "/")+t.eventPath(m.id)))
		}
	}
	if !r.OK {
		return quietError(exitFailure)
	}
	return nil
}

// tampered is a body that was changed where it is signed: by one byte more, or by one bit.
func (t *target) tampered(body []byte, flip bool) []byte {
	from, to := t.signedPart(body)
	if !flip || from == to {
		at := to
		if from > 0 || to < len(body) {
			at = from + 1 // inside the one element of the batch that is signed
		}
		return bytes.Join([][]byte{body[:at], body[at:]}, []byte(" "))
	}
	changed := bytes.Clone(body)
	changed[from+(to-from)/2] ^= 1
	return changed
}

// post sends a body and returns the answer, which must be small.
func post(ctx context.Context, url string, header http.Header, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header = header
	return do(request)
}

// do makes one call with a time-out and reads at most 1 MiB of JSON.
func do(request *http.Request) (int, []byte, error) {
	a, err := exchange(request)
	if err != nil {
		return 0, nil, err
	}
	return a.status, a.json(), nil
}

// An answer is what a call was answered with.
type answer struct {
	status    int
	body      []byte
	requestID string
	location  string // of a redirect
	took      time.Duration
}

// exchange makes one call with a time-out and reads at most 1 MiB. It follows no redirect, as senders do not:
// what is sent holds a token, or lets somebody in.
func exchange(request *http.Request) (answer, error) {
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	start := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, body, response.Header.Get("X-Request-Id"), response.Header.Get("Location"), time.Since(start)}, nil
}

// json is the body, or a text that says that it is none.
func (a answer) json() []byte {
	if json.Valid(a.body) {
		return a.body
	}
	quoted, _ := json.Marshal(fmt.Sprintf("%d bytes that are no JSON", len(a.body)))
	return quoted
}
