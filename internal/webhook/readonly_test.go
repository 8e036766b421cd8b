package webhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/webhook"
)

// What is in the ledger was verified: to read it, no preset needs a secret or an address. It lets nothing new in.
func TestASourceThatOnlyReads(t *testing.T) {
	for _, preset := range webhook.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			s, err := webhook.New(webhook.Config{Name: "x", Row: preset.Row, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			events := s.Events(webhook.FromLedger("x", []byte(`{"id": "evt_1", "type": "x"}`), time.Now(), "secrets[0]", "{}"))
			if len(events) == 0 || events[0].Source != "x" {
				t.Errorf("it read %v", events)
			}
			var refused *webhook.Rejection
			if _, err := s.Verify(time.Now(), webhook.Request{Method: http.MethodPost, Header: http.Header{}, Body: []byte("{}")}); !errors.As(err, &refused) {
				t.Errorf("it verified: %v", err)
			}
		})
	}

	t.Run("its mistakes are told all the same", func(t *testing.T) {
		_, err := webhook.New(webhook.Config{Name: "x", ReadOnly: true, Row: webhook.Row{When: "body.(", EventID: "body.id", Verify: webhook.Verify{Kind: "hmac", Signed: "{url}{body}"}}})
		told := fmt.Sprint(err)
		if !strings.Contains(told, "when:") || !strings.Contains(told, "verify.header:") || strings.Contains(told, "secrets") || strings.Contains(told, "public_url:") {
			t.Errorf("it told\n%s", told)
		}
	})
}
