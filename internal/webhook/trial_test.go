package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// pathTokenPreset is one whose address ends in a token.
const pathTokenPreset = "gumroad"

func triedSource(t *testing.T, preset webhook.Preset, secrets ...string) *webhook.Source {
	t.Helper()
	source, err := webhook.New(webhook.Config{Name: preset.Name, Preset: preset.Name, Row: preset.Row, Secrets: secrets,
		PublicURL: "https://usher.example.com/webhooks/" + preset.Name, LookUp: preset.Row.LookUp != "", RequireLivemode: preset.Row.Livemode != "" || preset.Name == "stripe"})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// Every sender that Usher knows can be tried by a button.
func TestTrialOfEveryPreset(t *testing.T) {
	for _, preset := range webhook.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			secret := webhooktest.Secret(preset.Row.Verify)
			source := triedSource(t, preset, secret, webhooktest.Secret(preset.Row.Verify))
			now := time.Now()
			r, err := source.Trial(now, "customer@example.com")
			if err != nil {
				t.Fatal(err)
			}
			if _, greeting := source.Greeting(r); greeting {
				t.Error("it is a handshake and no event")
			}
			v, err := source.Verify(now, r)
			if err != nil {
				t.Fatal(err)
			}
			if v.By() != "secrets[0]" {
				t.Errorf("it is signed by %s", v.By())
			}
			events := source.Events(v)
			if len(events) == 0 {
				t.Fatal("it has no event")
			}
			first := events[0]
			carries := len(webhook.Samples(preset.Name)) == 0 || webhook.Samples(preset.Name)[0].TakesEmail()
			if carries && first.Email != "customer@example.com" && !first.LookUp && first.Preliminary.Outcome != access.Skip {
				t.Errorf("the event is of %q, and says %+v", first.Email, first.Preliminary)
			}
			now = now.Add(time.Second)
			again, err := source.Trial(now, "customer@example.com")
			if err != nil {
				t.Fatal(err)
			}
			if v, err = source.Verify(now, again); err != nil || source.Events(v)[0].ID == first.ID {
				t.Errorf("the next one has the same identity %s (%v)", first.ID, err)
			}
		})
	}
}

func TestTrialNeedsASample(t *testing.T) {
	source, err := webhook.New(webhook.Config{Name: "billing", Secrets: []string{strings.Repeat("s", 24)},
		Row: webhook.Row{Verify: webhook.Verify{Kind: "token", Header: "X-Token"}, Email: []string{"body.email"}, EventID: "body.id"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Trial(time.Now(), "customer@example.com"); !errors.Is(err, webhook.ErrNoSample) {
		t.Errorf("the error is %v", err)
	}
}

// Where the operator's own scheme wants more than the sender sends, nothing is sent, and the reason is told.
func TestTrialThatWouldNotVerify(t *testing.T) {
	preset, _ := webhook.FindPreset("typeform")
	row := preset.Row
	row.Verify.Signed = "{header:X-Else}.{body}"
	source, err := webhook.New(webhook.Config{Name: "forms", Preset: "typeform", Row: row, Secrets: []string{"secret"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Trial(time.Now(), "customer@example.com")
	var rejection *webhook.Rejection
	if !errors.As(err, &rejection) || !strings.Contains(err.Error(), "X-Else") {
		t.Errorf("the error is %v", err)
	}
}

// The mark of a test goes through the ledger, and nothing that comes over the network can have it.
func TestOnlyUsherMarksATest(t *testing.T) {
	preset, _ := webhook.FindPreset("header") // whose token is all the proof: a sender may say anything else
	secret := webhooktest.Secret(preset.Row.Verify)
	source, err := webhook.New(webhook.Config{Name: "open", Preset: "header", Row: webhook.Row{EventID: `query.test ?? headers["Test"] ?? headers["X-Test"] ?? body.id`, Email: []string{"body.email"}}.Over(preset.Row), Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := source.Trial(time.Now(), "customer@example.com")
	if err != nil {
		t.Fatal(err)
	}
	r.Query = "test=true&Test=true&kept.test=true"
	for _, name := range []string{"Test", "X-Test", "Usher-Test", "X-Usher-Test"} {
		r.Header.Set(name, "true")
	}
	r.Body = []byte(`{"test": true, "Test": true, "kept": {"test": true}, "id": "1", "email": "ada@example.com"}`)
	r.Method = http.MethodPost
	v, err := source.Verify(time.Now(), r)
	if err != nil {
		t.Fatal(err)
	}
	if v.Kept().Test {
		t.Error("a request made itself a test")
	}
	var kept webhook.Kept
	if err := json.Unmarshal([]byte(v.Request()), &kept); err != nil || kept.Test {
		t.Errorf("its stored form %s is a test (%v)", v.Request(), err)
	}
	if err := json.Unmarshal([]byte(v.AsTest().Request()), &kept); err != nil || !kept.Test || v.Kept().Test {
		t.Errorf("the mark is %s, and is on the original too: %t (%v)", v.AsTest().Request(), v.Kept().Test, err)
	}
}

func TestAddressesWithATokenHideIt(t *testing.T) {
	preset, _ := webhook.FindPreset(pathTokenPreset)
	secret := webhooktest.Secret(preset.Row.Verify)
	for _, public := range []string{"", "https://x.example/webhooks/" + preset.Name, "https://x.example/webhooks/" + preset.Name + "/" + secret} {
		source, err := webhook.New(webhook.Config{Name: preset.Name, Preset: preset.Name, Row: preset.Row, Secrets: []string{secret}, PublicURL: public})
		if err != nil {
			t.Fatal(err)
		}
		shown, whole := source.Address("https://x.example/"), source.RevealAddress("https://x.example/")
		if shown != "https://x.example/webhooks/gumroad/TOKEN" || whole != "https://x.example/webhooks/gumroad/"+secret {
			t.Errorf("of %q: %s, whole %s", public, shown, whole)
		}
	}
	stripe := newStripe(t, webhook.StripeConfig{})
	if got := stripe.RevealAddress("https://x.example"); got != "https://x.example/webhooks/stripe" {
		t.Errorf("the address of Stripe is %s", got)
	}
}

func TestFingerprintTellsARotation(t *testing.T) {
	preset, _ := webhook.FindPreset("typeform")
	first := triedSource(t, preset, "one", "two")
	if got := triedSource(t, preset, "two", "one").Fingerprint(); got != first.Fingerprint() || len(got) != 4 {
		t.Errorf("in another order it is %q, wants %q", got, first.Fingerprint())
	}
	if got := triedSource(t, preset, "one").Fingerprint(); got == first.Fingerprint() || got == "" {
		t.Errorf("of one secret less it is %q", got)
	}
	other, _ := webhook.FindPreset("tally")
	if got := triedSource(t, other, "one", "two").Fingerprint(); got == first.Fingerprint() {
		t.Error("two sources with the same secrets have the same, which tells that they do")
	}
}

// However a source is printed, no secret is in it.
func TestASourceTellsNoSecret(t *testing.T) {
	preset, _ := webhook.FindPreset("typeform")
	source := triedSource(t, preset, "secret-canary")
	all := fmt.Sprintf("%v %+v %#v %s %s %s %s", source, source, source, source.Proof(), source.Fingerprint(), source.Address("https://x.example"), source.Tolerance())
	if strings.Contains(all, "canary") {
		t.Errorf("a secret is in %s", all)
	}
}
