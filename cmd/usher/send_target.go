package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
)

// A target is a source of a running Usher, with what its sender knows of it.
type target struct {
	name    string // the source's
	preset  string // whose events are sent; "" where --body is all there is
	row     webhook.Row
	secrets []string
	source  *webhook.Source // as Usher makes it, to tell what it will read
	mayAsk  bool            // there is a key for look-ups
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
	name, err := findSource(cfg, f)
	if err != nil {
		return nil, usageError{err}
	}
	own, known := cfg.Sources[name]
	if _, err := findPreset(name); f.preset == "" && own.Preset == "" && err == nil {
		f.preset = name // a preset that was pasted as it was shown
	}
	f.preset = cmp.Or(f.preset, own.Preset)
	switch {
	case known && own.Preset == "" && own.Verify.Kind == "" && own.Verify.Header == "":
		own.Preset = f.preset
	case own.Preset != "" && own.Preset != f.preset:
		return nil, usageError{fmt.Errorf("the source %s is of the preset %s: usher send %s --source %s", name, own.Preset, own.Preset, name)}
	}
	own.Secrets = slices.DeleteFunc(slices.Clone(own.Secrets), config.Secret.IsBlank)
	p := &parts{config: cfg, sources: map[string]*webhook.Source{}, lookUps: map[string]onboarding.LookUp{}}
	if known {
		cfg.Sources[name] = own
	}
	row, wrong := p.row(name)
	if wrong != nil {
		return nil, usageError{errors.New(wrong.String())}
	}
	if len(own.Secrets) == 0 && row.Verify.Kind != "none" {
		return nil, usageError{noSecret(cfg, problems, name)}
	}
	t := &target{name: name, preset: f.preset, row: row, base: base, url: strings.TrimRight(base.String(), "/") + "/webhooks/" + name,
		mayAsk: !own.APIKey.IsBlank(), maxBody: cmp.Or(own.MaxBody, cfg.MaxBody, 1<<20),
		token: strings.TrimSpace(cmp.Or(os.Getenv("USHER_TOKEN"), cfg.AdminToken.Reveal()))}
	for _, secret := range own.Secrets {
		t.secrets = append(t.secrets, secret.Reveal())
	}
	t.signed = cmp.Or(p.publicURL(name), t.url)
	t.hide(cfg, f.email)
	own.RequireLivemode = own.RequireLivemode && !f.suite
	return t, t.read(p, own)
}

// read makes the source as Usher does, and as it is where more is known than here: its address, and a key for
// look-ups. What is wrong with it, Usher would refuse to start with.
func (t *target) read(p *parts, own config.Source) error {
	own.PublicURL, own.APIKey = t.signed, config.NewSecret(cmp.Or(own.APIKey.Reveal(), "unknown"))
	p.config.Sources[t.name] = own
	if problems := p.makeSource(t.name); len(problems) > 0 {
		return usageError{fmt.Errorf("the source cannot be sent to:\n%s", t.shown(problems.Sorted().Error()))}
	}
	t.source = p.sources[t.name]
	return nil
}

func baseURL(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("--url wants an address such as https://usher.example.com, without a query")
	}
	return base, nil
}

// findSource is the named source, else the only one of the preset, else the one that has that name. A word that
// is no preset is a source's name, and then f is told so.
func findSource(cfg *config.Config, f *sendFlags) (string, error) {
	if f.preset == "" {
		return f.source, nil
	}
	if _, err := findPreset(f.preset); err != nil {
		word := f.preset
		switch _, isSource := cfg.Sources[word]; {
		case !isSource:
			names := slices.Concat(presetNames(), slices.Sorted(maps.Keys(cfg.Sources)))
			return "", fmt.Errorf("there is no preset and no source %q; %sa source is one of usher.yaml (--config)\nsee: usher presets", word, near(word, names))
		case f.source != "" && f.source != word:
			return "", fmt.Errorf("%q is a source, and --source names another", word)
		}
		f.preset = ""
		return word, nil
	}
	if f.source != "" {
		return f.source, nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		if cfg.Sources[name].Preset == f.preset {
			names = append(names, name)
		}
	}
	if len(names) > 1 {
		return "", fmt.Errorf("several sources are of the preset %s: name one of %s by --source", f.preset, strings.Join(names, ", "))
	}
	return append(names, f.preset)[0], nil
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

// signsBody reports whether a change of the body can be seen.
func (t *target) signsBody() bool {
	return !slices.Contains([]string{"token", "path_token", "none"}, t.row.Verify.Kind)
}

// signsTime reports whether an old request can be told from a new one.
func (t *target) signsTime() bool {
	return t.row.Verify.Kind == "stripe" || t.signsBody() && (t.row.Verify.TSKey != "" || t.row.Verify.TSHeader != "")
}

// isToken reports whether all of the proof is a token.
func (t *target) isToken() bool {
	return t.row.Verify.Kind == "token" || t.row.Verify.Kind == "path_token"
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
	if err := webhook.SignAll(t.row.Verify, secrets, out.header, http.MethodPost, t.signed, body, at); err != nil {
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

// post sends a request to the source.
func (t *target) post(ctx context.Context, out outgoing) (answer, error) {
	return t.call(ctx, http.MethodPost, out.url, t.url, out.header, out.body)
}

// call makes one call. The error tells no secret: net/http's own has the whole URL in it, so that only what is
// shown of it is told.
func (t *target) call(ctx context.Context, method, address, shown string, header http.Header, body []byte) (a answer, err error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err == nil {
		request.Header = header.Clone()
		a, err = exchange(request)
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %s", method, t.shown(shown), t.shown(err.Error()))
	}
	return a, err
}

// ask is a GET of one of Usher's own addresses.
func (t *target) ask(ctx context.Context, path string, header http.Header) (answer, error) {
	address := strings.TrimRight(t.base.String(), "/") + path
	return t.call(ctx, http.MethodGet, address, address, header, nil)
}

// notUsher is why an answer cannot be that of Usher's source, "" where it can.
func (t *target) notUsher(a answer) string {
	switch {
	case a.location != "":
		return "a redirect, which senders do not follow: give the final address by --url"
	case !json.Valid(a.body):
		return "the answer is no JSON, so that it is not Usher's: --url must be Usher's base address, unless something before Usher answered"
	case a.status == http.StatusNotFound:
		return fmt.Sprintf("there is no source %q there: --url must be Usher's base address, and Usher's own configuration must have a source of this name", t.name)
	default:
		return ""
	}
}

// hint is what most often lies behind an answer that should be another.
func (t *target) hint(a answer, want int) string {
	log := ""
	if a.requestID != "" {
		log = "Usher's log has the reason beside " + a.requestID
	}
	switch other := t.notUsher(a); {
	case other != "":
		return other
	case a.status == http.StatusUnauthorized && want == http.StatusOK:
		suspects := "Usher's secret is another"
		if t.signsTime() {
			suspects += ", or a clock is wrong"
		}
		if strings.Contains(t.row.Verify.Signed, "{url}") {
			suspects += ", or Usher's public_url is another than " + t.signed
		}
		return strings.TrimSuffix(suspects+"; "+log, "; ")
	case a.status == http.StatusOK && want == http.StatusUnauthorized:
		return "what must be refused was taken, by Usher or by something before it"
	case want == http.StatusRequestEntityTooLarge:
		return "Usher's max_body is another than in this configuration"
	default:
		return log
	}
}

// A recordedEvent is what of /v1/events/ID matters here.
type recordedEvent struct {
	ID       int64 `json:"id"`
	Resends  int   `json:"resends"`
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
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		a, err := t.ask(ctx, t.eventPath(id), http.Header{"Authorization": {"Bearer " + t.token}})
		var found recordedEvent
		switch {
		case err != nil:
			return e, err
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
