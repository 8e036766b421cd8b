package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

func newSend() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send a signed test event to a running Usher",
		Example: `  usher send stripe --email ada@example.com
  usher send stripe --tamper`,
		RunE: func(_ *cobra.Command, args []string) error {
			return usageError{fmt.Errorf("send wants the kind of event to send: usher send stripe (got %q)\nsee: usher send --help", args)}
		},
	}
	cmd.AddCommand(newSendStripe())
	for _, sub := range cmd.Commands() {
		refuseArguments(sub)
	}
	return cmd
}

// sendFlags are what "usher send stripe" was asked for.
type sendFlags struct {
	email, eventType, eventID, status, url, source string
	tamper, stale, asJSON                          bool
}

func newSendStripe() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "stripe",
		Short: "Send an event like Stripe's, signed like Stripe's",
		Long: `Send signs an event with the source's first secret (STRIPE_WEBHOOK_SECRET, or the one in usher.yaml)
and posts it. Without --email the event is of Stripe's test mode and has no address, so that a
production Usher records and skips it.

Exit status 0 when Usher answered as it should: 200, or 401 with --tamper or --stale.`,
		Example: `  usher send stripe --email ada@example.com
  usher send stripe --type invoice.paid --email ada@example.com --url https://usher.example.com
  usher send stripe --tamper`,
		RunE: func(cmd *cobra.Command, _ []string) error { return sendStripe(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.email, "email", "", "the customer's address")
	flags.StringVar(&f.eventType, "type", "checkout.session.completed", "the event's type")
	flags.StringVar(&f.eventID, "id", "", "the event's id, to send the same event again (default: a new one)")
	flags.StringVar(&f.status, "payment-status", "paid", "paid, unpaid or no_payment_required")
	flags.StringVar(&f.url, "url", "http://localhost:8080", "where Usher runs")
	flags.StringVar(&f.source, "source", "stripe", "the source's name")
	flags.BoolVar(&f.tamper, "tamper", false, "change the body after signing; Usher must refuse")
	flags.BoolVar(&f.stale, "stale", false, "sign with a time an hour ago; Usher must refuse")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// A sendResult is what came of a sent event.
type sendResult struct {
	OK       bool            `json:"ok"`
	EventID  string          `json:"event_id"`
	Status   int             `json:"status"`
	Expected int             `json:"expected"`
	Answer   json.RawMessage `json:"answer"`
	TookMS   int64           `json:"took_ms"`
}

func sendStripe(cmd *cobra.Command, f sendFlags) error {
	secret, err := signingSecret(configOptions(cmd), f.source)
	if err != nil {
		return usageError{err}
	}
	event := webhooktest.StripeEvent{ID: f.eventID, Type: f.eventType, Email: f.email, Name: "Test Customer", PaymentStatus: f.status, TestMode: f.email == ""}
	if event.ID == "" {
		event.ID = webhooktest.StripeID("evt")
	}
	signedAt, expected := time.Now(), http.StatusOK
	if f.stale {
		signedAt, expected = signedAt.Add(-time.Hour), http.StatusUnauthorized
	}
	body := event.JSON()
	header := webhooktest.SignStripe(body, secret, signedAt)
	if f.tamper {
		body, expected = append(body, ' '), http.StatusUnauthorized
	}
	start := time.Now()
	status, answer, err := post(cmd.Context(), strings.TrimRight(f.url, "/")+"/webhooks/"+f.source, header, body)
	if err != nil {
		return fmt.Errorf("%w\nis usher running there? give its address with --url", err)
	}
	result := sendResult{OK: status == expected, EventID: event.ID, Status: status, Expected: expected, Answer: answer, TookMS: time.Since(start).Milliseconds()}
	return printSent(cmd.OutOrStdout(), result, f.asJSON)
}

func printSent(w io.Writer, r sendResult, asJSON bool) error {
	if asJSON {
		_ = json.NewEncoder(w).Encode(r)
	} else {
		c := coloursFor(w)
		mark := c.green + "✓" + c.off
		if !r.OK {
			mark = c.red + "✗" + c.off
		}
		fmt.Fprintf(w, "%s %s → %d (expected %d) in %d ms: %s\n", mark, r.EventID, r.Status, r.Expected, r.TookMS, bytes.TrimSpace(r.Answer))
		if r.OK && r.Status == http.StatusOK {
			fmt.Fprintf(w, "why it was decided as it was: curl -H \"Authorization: Bearer $USHER_ADMIN_TOKEN\" …/v1/events/%s\n", r.EventID)
		}
	}
	if !r.OK {
		return quietError(exitFailure)
	}
	return nil
}

// signingSecret finds the first secret of a source. The rest of the configuration may be incomplete: whoever
// sends a test event need not hold Retool's token.
func signingSecret(o config.Options, source string) (string, error) {
	cfg, _ := config.Load(o)
	if s, ok := cfg.Sources[source]; ok && len(s.Secrets) > 0 && !s.Secrets[0].IsBlank() {
		return s.Secrets[0].Reveal(), nil
	}
	return "", fmt.Errorf("there is no signing secret for the source %q: set STRIPE_WEBHOOK_SECRET to the one that Usher uses, or name its file with --config", source)
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
	client := &http.Client{Timeout: 30 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, nil, err
	}
	if !json.Valid(answer) {
		quoted, _ := json.Marshal(fmt.Sprintf("%d bytes that are no JSON", len(answer)))
		answer = quoted
	}
	return response.StatusCode, answer, nil
}
