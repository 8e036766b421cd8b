package config_test

import (
	"fmt"

	"github.com/usher-dev/usher/config"
)

func ExampleLoad() {
	file := `
retool:
  url: https://acme.retool.com
  token: ${RETOOL_API_TOKEN}
  requests_per_minute: fast
sources:
  stripe:
    preset: stripe
    secret: ["${STRIPE_WEBHOOK_SECRET}"]
`
	_, problems := config.Load(config.Options{
		File:     "usher.yaml",
		Env:      []string{"STRIPE_WEBHOOK_SECRET=whsec_1"},
		ReadFile: func(string) ([]byte, error) { return []byte(file), nil },
	})
	fmt.Println(problems)
	// Output:
	// usher.yaml:4: retool.token: refers to RETOOL_API_TOKEN, which is not set; set RETOOL_API_TOKEN or RETOOL_API_TOKEN_FILE
	// usher.yaml:5: retool.requests_per_minute: is text, wants a whole number from 0 to 6000
	// usher.yaml:9: sources.stripe.secret: is not a known key; did you mean secrets? known here: accepted, allow_legacy, allow_unsigned, api_key, api_url, attributes, body_field, customer, each, email, event_id, events, handshake, ignore, livemode, look_up, max_body, name, no_payment_required, occurred_at, preset, public_url, require_livemode, secrets, type, verify, when
}
