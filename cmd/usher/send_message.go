package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
)

// A message is an event before it is signed.
type message struct {
	header   http.Header
	body     []byte
	sample   string // the file that it was made of, "" of none
	usual    string // the sample in whose place this is sent, "" of none
	id       string // that Usher will give the event; "" of a greeting
	byBody   bool   // Usher knows the event by its bytes too: it may have it under another id
	address  string // that Usher will read in it, of somebody who may be invited
	asks     string // who is asked for the address that it leaves out, "": nobody
	why      string // nobody is invited though --email was given, or there is an address
	greeting bool   // it only tries the address
	unsigned bool   // and is not signed by its sender
}

// whoIsInvited says what an address, or none, leads to.
func (m message) whoIsInvited(address string, mayAsk bool) string {
	var say []string
	if address != "" {
		say = append(say, "The event has the address "+address+": it is invited if Usher's rules say so.")
	}
	switch {
	case m.asks != "" && mayAsk:
		say = append(say, "The event names a customer: Usher asks "+m.asks+" for the address, which is invited if Usher's rules say so.")
	case m.asks != "":
		say = append(say, "The event names a customer: with an api_key (here is none) Usher asks "+m.asks+" for the address, without one nobody is invited.")
	case address == "" && m.why != "":
		say = append(say, "Nobody is invited: "+m.why)
	case address == "":
		say = append(say, "The event has no address: nobody is invited.")
	}
	return strings.Join(say, "\n")
}

// instead says which sample is sent in another's place.
func (m message) instead() string {
	if m.usual == "" {
		return ""
	}
	return "Sent is the sample " + m.sample + ": by the usual one, " + m.usual + ", Usher would look up or invite somebody.\n"
}

// eventID is what fits into every sample.
var eventID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// message makes what was asked for. A suite without --email is the first event that can invite nobody, and
// looks nobody up.
func (t *target) message(f sendFlags, in io.Reader) (message, error) {
	if f.id != "" && !eventID.MatchString(f.id) {
		return message{}, usageError{errors.New("--id wants letters, digits, _ and -, at most 64")}
	}
	all, err := t.candidates(f, in)
	if err != nil {
		return message{}, usageError{err}
	}
	for i := range all {
		for _, header := range f.headers {
			name, value, ok := strings.Cut(header, ":")
			if !ok || strings.TrimSpace(name) == "" {
				return message{}, usageError{errors.New(`--header wants "Name: value"`)}
			}
			all[i].header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
		}
		t.foresee(&all[i], f.email != "")
	}
	m := all[0]
	if f.suite && f.email == "" {
		if i := slices.IndexFunc(all, message.isHarmless); i > 0 {
			m = all[i]
			m.usual = all[0].sample
		}
	}
	if err := m.fits(f); err != nil {
		return m, usageError{err}
	}
	return m, nil
}

// isHarmless reports whether an event can invite nobody.
func (m message) isHarmless() bool { return !m.greeting && m.address == "" && m.asks == "" }

// fits refuses what a suite, or an address, cannot be tried on.
func (m message) fits(f sendFlags) error {
	switch {
	case m.greeting && f.suite:
		return errors.New("this only tries the address and is no event: give --suite another --body")
	case f.body != "" && f.email != "" && !strings.EqualFold(m.address, f.email):
		return errors.New("--body is sent as it is, and Usher would not read the address of --email in it")
	case f.suite && f.email == "" && m.address != "":
		return errors.New("the event carries an address: a suite sends none unless --email names it too")
	case f.suite && f.email == "" && m.asks != "":
		return fmt.Errorf("the event names a customer, for whose address Usher would ask %s: give --suite the --body of another", m.asks)
	}
	return nil
}

// candidates are the events that may be sent: of a preset's suite all of its samples, else one.
func (t *target) candidates(f sendFlags, in io.Reader) ([]message, error) {
	switch {
	case f.body != "":
		m, err := t.fileMessage(f.body, in)
		return []message{m}, err
	case t.preset == "":
		return nil, fmt.Errorf("the source %s has no preset, so that there is no sample of its events: give one by --body", t.name)
	case t.preset == "stripe":
		return stripeMessage(f)
	}
	found, err := sample(t.preset, f.variant)
	if err == nil && f.email != "" && !found.TakesEmail() {
		err = noEmail(t.preset, f)
	}
	if err != nil {
		return nil, err
	}
	samples := []webhook.Sample{found}
	if f.suite {
		samples = webhook.Samples(t.preset)
	}
	var all []message
	for _, s := range samples {
		m := message{sample: s.File}
		m.header, m.body = s.Make(webhook.Fill{Email: f.email, Name: f.name, ID: f.id}.Complete())
		all = append(all, m)
	}
	return all, nil
}

// stripeMessage is a guest's where there is no address, so that Usher looks nobody up, but of a type whose
// customer always is.
func stripeMessage(f sendFlags) ([]message, error) {
	alwaysNamed := strings.HasPrefix(f.eventType, "customer.subscription.")
	if alwaysNamed && f.email != "" {
		return nil, fmt.Errorf("an event %s carries no address: leave --email out, or choose --type %s", f.eventType, webhook.CheckoutCompleted)
	}
	event := webhook.StripeSample{ID: cmp.Or(f.id, webhook.StripeID("evt")), Type: f.eventType, Email: f.email, Name: f.name,
		PaymentStatus: f.status, TestMode: f.email == "", Guest: f.email == "" && (f.suite || !alwaysNamed)}
	return []message{{header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: event.JSON()}}, nil
}

// noEmail says which event of a preset could carry the address.
func noEmail(preset string, f sendFlags) error {
	which := cmp.Or(f.variant, "usual")
	text := fmt.Sprintf("the %s event of %s carries no address: leave --email out", which, preset)
	var carriers []string
	for i, s := range webhook.Samples(preset) {
		switch {
		case f.suite || !s.TakesEmail():
		case i == 0:
			return errors.New(text + ", or --variant: the usual event carries one")
		default:
			carriers = append(carriers, "--variant "+s.Variant(preset))
		}
	}
	if len(carriers) > 0 {
		text += ", or choose " + strings.Join(carriers, " or ") + ", which carries one"
	}
	return errors.New(text)
}

// sample finds the preset's sample that a variant names, the main one without.
func sample(preset, variant string) (webhook.Sample, error) {
	all := webhook.Samples(preset)
	if len(all) == 0 {
		return webhook.Sample{}, fmt.Errorf("there is no sample event of %s: give one by --body", preset)
	}
	known := variantsOf(preset)
	i := slices.Index(known, variant)
	switch {
	case variant == "":
		return all[0], nil
	case i >= 0:
		return all[i+1], nil
	case len(known) == 0:
		return webhook.Sample{}, fmt.Errorf("%s has no variants", preset)
	}
	return webhook.Sample{}, fmt.Errorf("%s has no variant %q; %sthere are: %s", preset, variant, config.DidYouMean(variant, known), strings.Join(known, ", "))
}

// variantsOf are the names of a preset's samples but the main one.
func variantsOf(preset string) (names []string) {
	for i, s := range webhook.Samples(preset) {
		if i > 0 {
			names = append(names, s.Variant(preset))
		}
	}
	return names
}

// fileMessage is a file's, with the headers that the preset's events have.
func (t *target) fileMessage(name string, in io.Reader) (m message, err error) {
	if name == "-" {
		m.body, err = io.ReadAll(in)
	} else {
		m.body, err = os.ReadFile(name)
	}
	m.header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	if all := webhook.Samples(t.preset); len(all) > 0 {
		m.header, _ = all[0].Make(webhook.Fill{}.Complete())
	}
	if json.Valid(m.body) {
		m.header.Set("Content-Type", "application/json")
	}
	return m, err
}

// foresee reads the message as Usher will.
func (t *target) foresee(m *message, hasEmail bool) {
	from, to := t.signedPart(m.body)
	r := webhook.Request{Method: http.MethodPost, Header: m.header, Body: m.body[from:to]}
	if _, m.unsigned = t.source.Greeting(r); m.unsigned {
		m.greeting = true
		return
	}
	v := t.source.Unsigned(time.Now(), r)
	if _, m.greeting = t.source.Handshake(v); m.greeting {
		return
	}
	for _, event := range t.source.Events(v) {
		m.id = cmp.Or(m.id, event.ID)
		m.byBody = event.BodyKey != "" && event.ID != "body:"+event.BodyKey
		switch {
		case event.LookUp:
			m.asks = lookUpTitles[t.row.LookUp]
		case event.Preliminary.Outcome != access.Skip:
			m.address = cmp.Or(m.address, event.Email)
		case event.Email != "" || hasEmail:
			m.why = cmp.Or(m.why, event.Preliminary.Sentence)
		}
	}
	if hasEmail {
		m.why = cmp.Or(m.why, "Usher reads no address in this event.")
	}
}

// lookUpTitles are the names of those that can be asked.
var lookUpTitles = map[string]string{"hubspot": "HubSpot", "paddle": "Paddle", "stripe": "Stripe"}
