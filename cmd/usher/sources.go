package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
)

// makeSources makes every source, so that the mistakes of all are reported at once. What the configuration's
// own check has said of a key is not said again.
func (p *parts) makeSources(known config.Problems) (problems config.Problems) {
	for _, name := range slices.Sorted(maps.Keys(p.config.Sources)) {
		at, s := "sources."+name, p.config.Sources[name]
		if s.Preset == "" && s.Verify.Kind == "" || reported(known, at+".preset") || reported(known, at+".verify") {
			continue // what it is to be is not known
		}
		for _, problem := range p.makeSource(name) {
			if !reported(known, problem.Path) {
				problems = append(problems, problem)
			}
		}
	}
	return problems
}

// reported says whether there is a problem with this key, or with one inside or around it.
func reported(problems config.Problems, path string) bool {
	inside := func(inner, outer string) bool {
		rest, ok := strings.CutPrefix(inner, outer)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return slices.ContainsFunc(problems, func(p config.Problem) bool {
		return strings.Count(p.Path, ".") > 1 && (inside(p.Path, path) || inside(path, p.Path))
	})
}

func (p *parts) makeSource(name string) (problems config.Problems) {
	at, s := "sources."+name, p.config.Sources[name]
	row, problem := p.row(name)
	if problem != nil {
		return config.Problems{*problem}
	}
	cfg := webhook.Config{
		Name: name, Preset: s.Preset, Row: row, PublicURL: p.publicURL(name), AllowUnsigned: s.AllowUnsigned, AllowLegacy: s.AllowLegacy,
		RequireLivemode: s.RequireLivemode, MaxBody: s.MaxBody, ReadOnly: p.readOnly,
		Stripe: webhook.StripeConfig{
			NoPaymentRequired:   access.Outcome(s.NoPaymentRequired),
			SubscriptionCreated: slices.Contains(s.Events, webhook.SubscriptionCreated),
		},
	}
	for _, secret := range s.Secrets {
		cfg.Secrets = append(cfg.Secrets, secret.Reveal())
	}
	lookUp := p.lookUp(name, row)
	cfg.LookUp = lookUp != nil || p.readOnly && row.LookUp != "" && p.asks(name)
	source, err := webhook.New(cfg)
	for _, one := range split(err) {
		var wrong *access.ConfigError
		if errors.As(one, &wrong) {
			problems = append(problems, p.config.Problem(cmp.Or(within(at, wrong.Path), at), wrong.Problem, wrong.Mend))
		} else {
			problems = append(problems, p.config.Problem(at, one.Error(), ""))
		}
	}
	if len(problems) > 0 {
		return problems
	}
	p.sources[name] = source
	if lookUp != nil {
		p.lookUps[name] = lookUp
	}
	return nil
}

func within(at, path string) string {
	if path == "" {
		return at
	}
	return at + "." + path
}

// row is the preset's, where there is one, with the operator's own fields over it.
func (p *parts) row(name string) (webhook.Row, *config.Problem) {
	s := p.config.Sources[name]
	own := webhook.Row{
		Verify: webhook.Verify(s.Verify), Handshake: s.Handshake, BodyField: s.BodyField, Each: s.Each, Ignore: s.Ignore, When: s.When,
		Email: s.Email, EventID: s.EventID, Type: s.Type, Name: s.Name, Customer: s.Customer, OccurredAt: s.OccurredAt,
		Livemode: s.Livemode, Accepted: s.Accepted, Attributes: s.Attributes, LookUp: s.LookUp,
	}
	if s.Preset == "" {
		return own, nil
	}
	preset, ok := webhook.FindPreset(s.Preset)
	if !ok {
		problem := p.config.Problem("sources."+name+".preset", "there is no such preset", config.DidYouMean(s.Preset, presetNames())+"usher presets lists them")
		return own, &problem
	}
	return own.Over(preset.Row), nil
}

func presetNames() (names []string) {
	for _, preset := range webhook.Presets() {
		names = append(names, preset.Name)
	}
	return names
}

// publicURL is the source's whole address as its sender knows it, "" where nobody told.
func (p *parts) publicURL(name string) string {
	if own := p.config.Sources[name].PublicURL; own != "" || p.config.PublicURL == "" {
		return own
	}
	return p.config.PublicURL + "/webhooks/" + name
}

// lookUp asks the sender for addresses that its events leave out, nil where it cannot be asked.
func (p *parts) lookUp(name string, row webhook.Row) onboarding.LookUp {
	s := p.config.Sources[name]
	if s.APIKey.IsBlank() {
		return nil
	}
	switch row.LookUp {
	case "hubspot":
		return onboarding.HubSpotContact(s.APIKey.Reveal(), s.APIURL)
	case "paddle":
		return onboarding.PaddleCustomer(s.APIKey.Reveal(), s.APIURL)
	case "stripe":
		return onboarding.StripeCustomer(s.APIKey.Reveal(), s.APIURL)
	default:
		return nil
	}
}

// address is the one that a source's sender calls, as well as it is known: for people to read.
func (p *parts) address(name, listen string) string {
	return p.sources[name].Address(localAddress(listen))
}

// localAddress is the address of what listens on this machine.
func localAddress(listen string) string {
	if host, port, err := net.SplitHostPort(listen); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return "http://localhost:" + port
	}
	return "http://" + listen
}

// describe says in a few words what a source is.
func (p *parts) describe(name string) string {
	if preset := p.config.Sources[name].Preset; preset != "" {
		return "preset " + preset
	}
	return "described by its own verify"
}

// warnings are settings that are allowed and probably not meant.
func (p *parts) warnings() config.Problems {
	var found config.Problems
	for _, name := range slices.Sorted(maps.Keys(p.config.Sources)) {
		row, problem := p.row(name)
		if problem != nil {
			continue
		}
		found = append(found, p.sourceWarnings(name, row)...)
		found = append(found, p.secretWarnings(name, row.Verify.Kind)...)
	}
	for _, w := range p.config.Warnings() {
		// What does nothing does no harm either.
		if !slices.ContainsFunc(found, func(f config.Problem) bool { return f.Path == w.Path }) {
			found = append(found, w)
		}
	}
	return found.Sorted()
}

// A doubt is a setting that may not be meant: told if it holds.
type doubt struct {
	holds            bool
	path, what, mend string
}

// sourceWarnings are settings of a source that do nothing, or less than they seem.
func (p *parts) sourceWarnings(name string, row webhook.Row) (found config.Problems) {
	at, s := "sources."+name+".", p.config.Sources[name]
	isStripe, isNone, noKey := row.Verify.Kind == "stripe", row.Verify.Kind == "none", s.APIKey.IsBlank()
	const stripeOnly = "does nothing: it is only for the preset stripe"
	doubts := []doubt{
		// Stripe's usual events carry their address.
		{row.LookUp != "" && row.LookUp != "stripe" && noKey, "api_key", "is unset: events of this sender that carry no address invite nobody",
			"set it to a key that may read customers: see docs/sources.md"},
		{row.LookUp == "" && !noKey, "api_key", "does nothing: no address is asked for without look_up", "remove it, or set look_up"},
		{s.APIURL != "" && (row.LookUp == "" || noKey), "api_url", "does nothing without look_up and api_key", "remove it"},
		{row.LookUp != "" && !isStripe && row.Customer == "", "look_up", "does nothing: customer is unset, and it is the customer's address that is asked for",
			"set customer to the expression that gives the sender's id"},
		{len(s.Events) > 0 && !isStripe, "events", stripeOnly, "remove it: by when a source says which events invite"},
		{p.config.IsSet(at+"no_payment_required") && !isStripe, "no_payment_required", stripeOnly, "remove it"},
		{p.config.IsSet(at+"require_livemode") && s.RequireLivemode && !isStripe && row.Livemode == "", "require_livemode",
			"does nothing: nothing tells this sender's test data from the rest", "set livemode to an expression, or remove it"},
		{s.AllowUnsigned && !isNone, "allow_unsigned", "does nothing: requests of this source must prove themselves", "remove it"},
		{len(s.Secrets) > 0 && isNone, "secrets", "does nothing: verify.kind none checks nothing", "remove it, or use another kind"},
		{s.PublicURL != "" && strings.Contains(row.Verify.Signed, "{url}") && !leadsTo(s.PublicURL, name), "public_url",
			"does not end in /webhooks/" + name + ", where Usher receives: unless a proxy rewrites the path, every signature would fail",
			"set it to the address that the sender calls"},
	}
	for _, d := range append(doubts, idle(s.Verify, row.Verify)...) {
		if d.holds {
			found = append(found, p.config.Problem(at+d.path, d.what, d.mend))
		}
	}
	return found
}

func leadsTo(address, name string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/webhooks/"+name)
}

// idle are the keys below verify that an operator wrote and nothing reads, as the whole scheme stands.
func idle(own config.Verify, scheme webhook.Verify) (doubts []doubt) {
	if scheme.Kind == "stripe" {
		return nil // webhook refuses whatever is not read
	}
	why := map[string]string{
		"token": "does nothing: a token is compared as it is", "path_token": "does nothing: the token in the address is all that is compared",
		"none": "does nothing: kind none checks nothing",
	}[scheme.Kind]
	isSignature := why == ""
	signs := func(placeholder string) bool { return isSignature && strings.Contains(scheme.Signed, placeholder) }
	isList := isSignature && (scheme.Format == "kv" || scheme.Format == "list")
	decodes := isSignature && slices.ContainsFunc(scheme.KeyCoding, func(coding string) bool { return coding != "raw" })
	for _, key := range []struct {
		path         string
		isSet, reads bool
		why          string // of a signature that does not read it
	}{
		{"header", own.Header != "", isSignature || scheme.Kind == "token", ""},
		{"prefix", own.Prefix != "", isSignature || scheme.Kind == "token", ""},
		{"algorithm", own.Algorithm != "", isSignature, ""},
		{"encoding", own.Encoding != "", isSignature, ""},
		{"format", own.Format != "", isSignature, ""},
		{"pair_sep", own.PairSep != "", isList, "does nothing: it is for the formats kv and list"},
		{"sig_key", own.SigKey != "", isList, "does nothing: it is for the formats kv and list"},
		{"ts_key", own.TSKey != "", isSignature, ""},
		{"key_coding", len(own.KeyCoding) > 0, isSignature, ""},
		{"key_prefix", own.KeyPrefix != "", decodes, "does nothing: with the key_coding raw the whole secret is the key"},
		{"signed", own.Signed != "", isSignature, ""},
		{"ts_header", own.TSHeader != "", isSignature, ""},
		{"ts_unit", own.TSUnit != "", signs("{ts}"), "does nothing: this sender signs no time"},
		{"tolerance", own.Tolerance != 0, signs("{ts}"), "does nothing: this sender signs no time"},
		{"url_decode", own.URLDecode != "", signs("{url}"), "does nothing: this sender does not sign the address"},
		{"body_select", own.BodySelect != "", isSignature, ""},
	} {
		doubts = append(doubts, doubt{key.isSet && !key.reads, "verify." + key.path, cmp.Or(why, key.why), "remove it"})
	}
	return doubts
}

// secretWarnings are about secrets that are weaker, or fewer, than they seem. None is shown.
func (p *parts) secretWarnings(name, kind string) (found config.Problems) {
	const shortToken = 16
	s := p.config.Sources[name]
	inAddress := false
	for i, secret := range s.Secrets {
		at, text := fmt.Sprintf("sources.%s.secrets[%d]", name, i), secret.Reveal()
		if first := slices.IndexFunc(s.Secrets, func(other config.Secret) bool { return other.Reveal() == text }); first < i {
			found = append(found, p.config.Problem(at, fmt.Sprintf("is the same as secrets[%d]", first), "remove it, or put the new one of a rotation there"))
		}
		if kind == "token" && utf8.RuneCountInString(text) < shortToken {
			found = append(found, p.config.Problem(at, fmt.Sprintf("is shorter than %d characters: it could be guessed", shortToken), "make one with: openssl rand -hex 24"))
		}
		inAddress = inAddress || kind == "path_token" && strings.Contains(s.PublicURL, text)
	}
	if inAddress {
		found = append(found, p.config.Problem("sources."+name+".public_url", "contains the token, and is not kept secret as secrets are", "leave the token out: /TOKEN is added where it is shown"))
	}
	return found
}
