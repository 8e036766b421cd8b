package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// trialEmail is the customer of test events.
const trialEmail = "test-customer@example.com"

// trialKey is where a request carries that Usher sends it to itself, to try a source. Only sendTrial puts it there: a
// request from the network has the context that its server made, so that it can never be one.
type trialKey struct{}

func isTrial(ctx context.Context) bool { return ctx.Value(trialKey{}) != nil }

// A trialError is why a source cannot be tried. Nothing was recorded.
type trialError struct{ why string }

func (e *trialError) Error() string { return "send a test event: " + e.why }

// sendTrial signs a sample event as the source's sender does, sends it to the source's own address from inside the
// process, and returns its delivery. It is verified like any other; only the decide stage, which sees the mark, invites
// nobody.
func (s *Server) sendTrial(ctx context.Context, by string, source *webhook.Source) (delivery int64, err error) {
	sample, err := source.Trial(s.Now(), trialEmail)
	switch {
	case errors.Is(err, webhook.ErrNoSample):
		return 0, &trialError{fmt.Sprintf("%s. On the command line, usher send %s --body FILE sends one of yours.", err, source.Name())}
	case err != nil:
		return 0, &trialError{sentence(err.Error())}
	}
	path := "/webhooks/" + source.Name()
	if sample.Token != "" {
		path += "/" + url.PathEscape(sample.Token)
	}
	request, err := http.NewRequestWithContext(context.WithValue(ctx, trialKey{}, true), sample.Method, "http://usher.inside"+path, bytes.NewReader(sample.Body))
	if err != nil {
		return 0, fmt.Errorf("make a test event: %w", err)
	}
	request.Header = sample.Header
	answer, err := s.InProcess(by).RoundTrip(request)
	if err != nil {
		return 0, fmt.Errorf("send a test event: %w", err)
	}
	defer answer.Body.Close()
	var got receipt
	err = json.NewDecoder(answer.Body).Decode(&got)
	switch {
	case answer.StatusCode == http.StatusServiceUnavailable:
		return 0, fmt.Errorf("send a test event: %w", ledger.ErrBusy)
	case answer.StatusCode != http.StatusOK || err != nil || got.Delivery == 0:
		return 0, &trialError{fmt.Sprintf("Usher's own answer was %d; its log has the reason.", answer.StatusCode)}
	}
	return got.Delivery, s.Ledger.Note(ctx, ledger.Entry{Actor: by, What: ledger.DidTest, Subject: fmt.Sprintf("source %s, delivery %d", source.Name(), got.Delivery)})
}
