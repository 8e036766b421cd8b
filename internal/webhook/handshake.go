package webhook

import (
	"encoding/json"
	"net/url"
	"regexp"
)

// How senders try an address before they send events to it.
const (
	// handshakeURL: a signed {"type":"url_verification","challenge":…}, whose challenge is sent back (Slack).
	handshakeURL = "url_verification"
	// handshakeChallenge: {"challenge":…} and nothing else, or a GET with ?challenge=, sent back (monday, Dropbox).
	handshakeChallenge = "challenge"
	// handshakeWebhookID: an unsigned form webhook_id=12, answered 200 (WooCommerce).
	handshakeWebhookID = "webhook_id"
)

const (
	maxHandshake = 4096 // bytes of a body that is one
	maxChallenge = 1024
)

// An Answer is what a handshake is answered with.
type Answer struct {
	ContentType string
	Body        []byte
}

var webhookID = regexp.MustCompile(`^webhook_id=\d{1,20}$`)

// Greeting answers a request that only tries the address and is not signed. Nothing but what was sent is
// told, and nothing is done.
func (s *Source) Greeting(r Request) (Answer, bool) {
	switch {
	case s.handshake == handshakeWebhookID && webhookID.Match(r.Body) && !s.schemes[0].applies(r):
		return Answer{ContentType: "application/json", Body: []byte(`{"status":"ready"}`)}, true
	case s.handshake == handshakeChallenge && len(r.Body) > 0:
		fields := smallObject(r.Body)
		return echo(fields["challenge"], len(fields) == 1)
	case s.handshake == handshakeChallenge:
		query, _ := url.ParseQuery(r.Query)
		challenge := query.Get("challenge")
		return Answer{ContentType: "text/plain; charset=utf-8", Body: []byte(challenge)}, challenge != "" && len(challenge) <= maxChallenge
	default:
		return Answer{}, false
	}
}

// Handshake answers a verified request that only tries the address.
func (s *Source) Handshake(v Verified) (Answer, bool) {
	if s.handshake != handshakeURL {
		return Answer{}, false
	}
	fields := smallObject(v.body)
	return echo(fields["challenge"], fields["type"] == "url_verification")
}

func echo(challenge any, wanted bool) (Answer, bool) {
	text, ok := challenge.(string)
	if !wanted || !ok || text == "" || len(text) > maxChallenge {
		return Answer{}, false
	}
	body, err := json.Marshal(map[string]string{"challenge": text})
	return Answer{ContentType: "application/json", Body: body}, err == nil
}

// smallObject reads a JSON object that is short enough to be a handshake.
func smallObject(body []byte) map[string]any {
	if len(body) > maxHandshake {
		return nil
	}
	value, _ := DecodeJSON(body)
	fields, _ := value.(map[string]any)
	return fields
}
