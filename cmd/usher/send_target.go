package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// A target is a source of a running Usher, with what its sender knows of it.
type target struct {
	name    string // the source's
	preset  string // whose events are sent; "" where --body is all there is
	row     webhook.Row
	secrets []string
	source  *webhook.Source // as Usher makes it, to tell what it will read
	maxBody int64
	base    *url.URL // where Usher runs
	url     string   // where its source is, without a token
	signed  string   // the source's address as its sender signs it
	token   string   // of the API; "": it is not asked
	secret  *strings.Replacer
}

// newTarget finds the source in the configuration. The rest of that may be incomplete: whoever sends a test
// event need not hold Retool's token. It also tells f the preset where only the source was named.
func newTarget(o config.Options, f *sendFlags) (*target, error) {
	base, err := baseURL(f.url)
	if err != nil {
		return nil, usageError{err}
	}
	cfg, problems := config.Load(o)
	name, err := findSource(cfg, *f)
	if err != nil {
		return nil, usageError{err}
	}
	own, known := cfg.Sources[name]
	switch {
	case known && own.Preset == "" && own.Verify.Kind == "" && own.Verify.Header == "":
		own.Preset = f.preset
		cfg.Sources[name] = own
	case f.preset == "":
		f.preset = own.Preset
	case own.Preset != "" && own.Preset != f.preset:
		return nil, usageError{fmt.Errorf("the source %s is of the preset %s: usher send %s --source %s", name, own.Preset, own.Preset, name)}
	}
	p := &parts{config: cfg}
	row, wrong := p.row(name)
	if wrong != nil {
		return nil, usageError{errors.New(wrong.String())}
	}
	t := &target{name: name, preset: f.preset, row: row, base: base, url: strings.TrimRight(base.String(), "/") + "/webhooks/" + name,
		maxBody: cmp.Or(own.MaxBody, cfg.MaxBody, 1<<20), token: strings.TrimSpace(cmp.Or(os.Getenv("USHER_TOKEN"), cfg.AdminToken.Reveal()))}
	for _, secret := range own.Secrets {
		if !secret.IsBlank() {
			t.secrets = append(t.secrets, secret.Reveal())
		}
	}
	if len(t.secrets) == 0 && row.Verify.Kind != "none" {
		return nil, usageError{noSecret(cfg, problems, name)}
	}
	t.signed = cmp.Or(p.publicURL(name), t.url)
	t.hide(cfg, f.email)
	return t, t.read(cfg, own)
}

func baseURL(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("--url wants an address such as https://usher.example.com, without a query")
	}
	return base, nil
}

// findSource is the named source, else the only one of the preset, else the one that has the preset's name.
func findSource(cfg *config.Config, f sendFlags) (string, error) {
	if f.source != "" {
		return f.source, nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		if cfg.Sources[name].Preset == f.preset {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return f.preset, nil
	case 1:
		return names[0], nil
	default:
		return "", fmt.Errorf("several sources are of the preset %s: name one of %s by --source", f.preset, strings.Join(names, ", "))
	}
}

// noSecret says what would give the source a secret, and what the configuration says against it.
func noSecret(cfg *config.Config, problems config.Problems, name string) error {
	mend := "add the source to usher.yaml with the secret that Usher uses, or name Usher's own file with --config"
	if name == "stripe" {
		mend = "set STRIPE_WEBHOOK_SECRET to the one that Usher uses, or name its file with --config"
	}
	text := fmt.Sprintf("there is no signing secret for the source %q: %s", name, mend)
	if others := slices.Sorted(maps.Keys(cfg.Sources)); len(others) > 0 && !slices.Contains(others, name) {
		text += "\n  the configuration has " + config.DidYouMean(name, others) + strings.Join(others, ", ")
	}
	for _, problem := range problems {
		if problem.Path == "" || strings.HasPrefix(problem.Path+".", "sources."+name+".") {
			text += "\n  " + problem.String()
		}
	}
	return errors.New(text)
}

// hide notes what may stand in no output, in each form that it could have there; the longest first.
func (t *target) hide(cfg *config.Config, email string) {
	var all []string
	password, _ := t.base.User.Password()
	for _, secret := range append(slices.Clone(t.secrets), t.token, cfg.AdminToken.Reveal(), password) {
		quoted, _ := json.Marshal(secret)
		for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret), string(quoted[1 : len(quoted)-1])} {
			if form != "" && !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, secret := range all {
		pairs = append(pairs, secret, "…")
	}
	if email != "" { // however odd it looks
		pairs = append(pairs, email, access.Mask(email), url.QueryEscape(email), access.Mask(email))
	}
	t.secret = strings.NewReplacer(pairs...)
}

// shown is a text without secrets and whole addresses.
func (t *target) shown(text string) string { return onboarding.Masked(t.secret.Replace(text)) }

// shownJSON is shown of JSON: a text, where what was hidden was a part of its grammar.
func (t *target) shownJSON(value []byte) json.RawMessage {
	text := t.shown(string(value))
	if !json.Valid([]byte(text)) {
		quoted, _ := json.Marshal(text)
		return quoted
	}
	return json.RawMessage(text)
}

// read makes the source as Usher does. What is wrong with it, Usher would refuse to start with.
func (t *target) read(cfg *config.Config, own config.Source) error {
	var err error
	t.source, err = webhook.New(webhook.Config{Name: t.name, Row: t.row, Secrets: t.secrets, PublicURL: t.signed, AllowUnsigned: own.AllowUnsigned, AllowLegacy: own.AllowLegacy})
	if err == nil {
		return nil
	}
	var problems config.Problems
	for _, one := range split(err) {
		at, text, mend := "sources."+t.name, one.Error(), ""
		var wrong *access.ConfigError
		if errors.As(one, &wrong) {
			at, text, mend = within(at, wrong.Path), wrong.Problem, wrong.Mend
		}
		problems = append(problems, cfg.Problem(at, text, mend))
	}
	return usageError{fmt.Errorf("the source cannot be sent to:\n%s", t.shown(problems.Sorted().Error()))}
}

// signsBody reports whether a change of the body can be seen.
func (t *target) signsBody() bool {
	return !slices.Contains([]string{"token", "path_token", "none"}, t.row.Verify.Kind)
}

// signsTime reports whether an old request can be told from a new one.
func (t *target) signsTime() bool {
	return t.row.Verify.Kind == "stripe" || t.signsBody() && (t.row.Verify.TSKey != "" || t.row.Verify.TSHeader != "")
}

func (t *target) tolerance() time.Duration {
	return cmp.Or(t.row.Verify.Tolerance, webhook.DefaultTolerance)
}

// title is what people call the sender.
func (t *target) title() string { return cmp.Or(t.preset, "the source "+t.name) }

// proof is how the sender proves itself, in words.
func (t *target) proof() string {
	switch t.row.Verify.Kind {
	case "token":
		return "a token in a header proves it"
	case "path_token":
		return "a token in the path proves it"
	case "none":
		return "unsigned requests are allowed"
	default:
		return "a signature proves it"
	}
}

// signedPart is where the signed bytes stand in a body: all of it, or the first element of a batch.
func (t *target) signedPart(body []byte) (from, to int) {
	var batch []json.RawMessage
	if t.row.Verify.BodySelect == "" || json.Unmarshal(body, &batch) != nil || len(batch) == 0 {
		return 0, len(body)
	}
	from = bytes.Index(body, batch[0])
	return from, from + len(batch[0])
}

// A message is an event before it is signed.
type message struct {
	header   http.Header
	body     []byte
	id       string // that Usher will give the event; "" of a greeting
	address  string // that Usher will read in it, of somebody who may be invited
	why      string // nobody is invited though there is an address
	greeting bool   // it only tries the address
	unsigned bool   // and is not signed by its sender
}

// whoIsInvited says what an address, or none, leads to.
func (m message) whoIsInvited(address string) string {
	switch {
	case address != "":
		return "The event has the address " + address + ": it is invited if Usher's rules say so."
	case m.why != "":
		return "Nobody is invited: " + m.why
	default:
		return "The event has no address: nobody is invited."
	}
}

// eventID is what fits into every sample.
var eventID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// message makes what was asked for.
func (t *target) message(f sendFlags, in io.Reader) (m message, err error) {
	if f.id != "" && !eventID.MatchString(f.id) {
		return m, usageError{errors.New("--id wants letters, digits, _ and -, at most 64")}
	}
	switch {
	case f.body != "":
		m, err = t.fileMessage(f.body, in)
	case t.preset == "":
		err = fmt.Errorf("the source %s has no preset, so that there is no sample of its events: give one by --body", t.name)
	case t.preset == "stripe":
		m = stripeMessage(f)
	default:
		var found webhooktest.Sample
		if found, err = sample(t.preset, f.variant); err == nil {
			m.header, m.body = found.Make(webhooktest.Fill{Email: f.email, Name: f.name, ID: f.id}.Complete())
		}
	}
	if err != nil {
		return m, usageError{err}
	}
	for _, header := range f.headers {
		name, value, ok := strings.Cut(header, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return m, usageError{errors.New(`--header wants "Name: value"`)}
		}
		m.header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	t.foresee(&m)
	switch {
	case m.greeting && f.suite:
		return m, usageError{errors.New("this only tries the address and is no event: give --suite another --body")}
	case f.body != "" && f.email != "" && !strings.EqualFold(m.address, f.email):
		return m, usageError{errors.New("--body is sent as it is, and Usher would not read the address of --email in it")}
	case f.body != "" && f.suite && f.email == "" && m.address != "":
		return m, usageError{errors.New("the file of --body carries an address: a suite sends none unless --email names it too")}
	}
	return m, nil
}

func stripeMessage(f sendFlags) message {
	event := webhooktest.StripeEvent{ID: cmp.Or(f.id, webhooktest.StripeID("evt")), Type: f.eventType, Email: f.email, Name: f.name,
		PaymentStatus: f.status, TestMode: f.email == ""}
	return message{header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: event.JSON()}
}

// fileMessage is a file's, with the headers that the preset's events have.
func (t *target) fileMessage(name string, in io.Reader) (m message, err error) {
	if name == "-" {
		m.body, err = io.ReadAll(in)
	} else {
		m.body, err = os.ReadFile(name)
	}
	m.header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	if all := webhooktest.Samples(t.preset); len(all) > 0 {
		m.header, _ = all[0].Make(webhooktest.Fill{}.Complete())
	}
	if json.Valid(m.body) {
		m.header.Set("Content-Type", "application/json")
	}
	return m, err
}

// foresee reads the message as Usher will.
func (t *target) foresee(m *message) {
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
		if event.Email != "" && event.Preliminary.Outcome == access.Skip {
			m.why = cmp.Or(m.why, event.Preliminary.Sentence)
		} else {
			m.address = cmp.Or(m.address, event.Email)
		}
	}
}

// An outgoing request is signed and can be sent any number of times.
type outgoing struct {
	url    string
	header http.Header
	body   []byte
}

// unsigned is a message as somebody sends it who knows no secret.
func (t *target) unsigned(m message, body []byte) outgoing {
	return outgoing{t.url, m.header.Clone(), body}
}

// sign proves a body of a message by one secret, or by several where one header takes their signatures.
func (t *target) sign(m message, body []byte, secrets []string, at time.Time) (outgoing, error) {
	out := t.unsigned(m, body)
	if m.unsigned || t.row.Verify.Kind == "none" {
		return out, nil
	}
	if t.row.Verify.Kind == "path_token" {
		out.url += "/" + url.PathEscape(secrets[0])
	}
	if err := webhooktest.SignAll(t.row.Verify, secrets, out.header, http.MethodPost, t.signed, body, at); err != nil {
		return out, usageError{errors.New(t.shown(err.Error()))}
	}
	return out, nil
}

// prove signs the event with the sender's secret, and sees that Usher would take it: what is missing in it, such
// as a header that is signed, is told here rather than by a 401.
func (t *target) prove(m message) (outgoing, error) {
	now := time.Now()
	out, err := t.sign(m, m.body, t.own(), now)
	if err != nil || m.unsigned {
		return out, err
	}
	r := webhook.Request{Method: http.MethodPost, Header: out.header, Body: out.body}
	if t.source.TakesToken() {
		r.Token = t.secrets[0]
	}
	if _, err := t.source.Verify(now, r); err != nil {
		return out, usageError{fmt.Errorf("by its configuration this source refuses the event: %s\na header that its signature needs is set by --header", t.shown(err.Error()))}
	}
	return out, nil
}

// own is the secret that the sender uses, none where none is needed.
func (t *target) own() []string { return t.secrets[:min(1, len(t.secrets))] }

// post sends a request. The error tells no secret: net/http's own has the whole URL in it.
func (t *target) post(ctx context.Context, out outgoing) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, out.url, bytes.NewReader(out.body))
	if err != nil {
		return answer{}, t.failure(http.MethodPost, t.url, err)
	}
	request.Header = out.header.Clone()
	a, err := exchange(request)
	if err != nil {
		return a, t.failure(http.MethodPost, t.url, err)
	}
	return a, nil
}

func (t *target) failure(method, address string, err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("%s %s: %s", method, t.shown(address), t.shown(err.Error()))
}

// A recordedEvent is what of /v1/events/ID matters here.
type recordedEvent struct {
	ID      int64 `json:"id"`
	Resends int   `json:"resends"`
	Details struct {
		Source string `json:"source"`
		ID     string `json:"id"`
	} `json:"event"`
	Decision *struct {
		Outcome string `json:"outcome"`
		Reason  string `json:"reason"`
	} `json:"decision"`
}

func (e recordedEvent) decided() string {
	if e.Decision == nil {
		return "an address is looked up"
	}
	return e.Decision.Outcome + ", " + e.Decision.Reason
}

// eventPath is where the API tells of an event.
func (t *target) eventPath(id string) string {
	return "/v1/events/" + url.PathEscape(id) + "?source=" + url.QueryEscape(t.name)
}

// errNotAsked means that the API could not be asked, which says nothing about the event.
var errNotAsked = errors.New("the API was not asked")

// await asks for an event until it is as wanted, for at most 10 s: it is decided behind the answer's back.
func (t *target) await(ctx context.Context, id string, wanted func(recordedEvent) bool) (e recordedEvent, err error) {
	if t.token == "" {
		return e, fmt.Errorf("%w: no admin token is at hand (USHER_TOKEN)", errNotAsked)
	}
	address := strings.TrimRight(t.base.String(), "/") + t.eventPath(id)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return e, t.failure(http.MethodGet, address, err)
		}
		request.Header.Set("Authorization", "Bearer "+t.token)
		a, err := exchange(request)
		var found recordedEvent
		switch {
		case err != nil:
			return e, t.failure(http.MethodGet, address, err)
		case a.status == http.StatusOK && json.Unmarshal(a.body, &found) == nil && wanted(found):
			return found, nil
		case a.status != http.StatusOK && a.status != http.StatusNotFound:
			return e, fmt.Errorf("%w: it answered %d", errNotAsked, a.status)
		}
		select {
		case <-ctx.Done():
			return e, ctx.Err()
		case <-tick.C:
		}
	}
	return e, errors.New("after 10 s Usher's ledger did not say so")
}
