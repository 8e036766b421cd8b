package webhook

import (
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"
)

// DefaultTolerance is how far a signed time may be from our clock, either way, where nothing else is set.
// https://docs.stripe.com/webhooks#replay-attacks and Standard Webhooks 1.0.0 both take five minutes.
const DefaultTolerance = 5 * time.Minute

// Config describes one source.
type Config struct {
	Name    string
	Preset  string   // whose row is below, "" for none
	Row     Row      // the preset's with the operator's own fields laid over it
	Secrets []string // any may match
	// PublicURL is the whole address as the sender knows it, without the query. Only senders that sign it need it.
	PublicURL       string
	AllowUnsigned   bool  // lets anybody send: kind none
	AllowLegacy     bool  // also tries the schemes that Row.Legacy names
	RequireLivemode bool  // skips test data
	LookUp          bool  // an address that an event leaves out can be asked for
	MaxBody         int64 // bytes, 0: the receiver's own limit
	Stripe          StripeConfig
	// ReadOnly makes a source that reads what the ledger has and verifies nothing. It needs neither secrets nor PublicURL.
	ReadOnly bool
}

// A Source is one configured sender. It is immutable and safe for concurrent use.
type Source struct {
	name            string
	preset          string
	verify          Verify
	publicURL       string
	secrets         []string
	stripe          *StripeConfig
	schemes         []*scheme // the first is the source's own, the others its legacy
	reader          *reader
	handshake       string
	requireLivemode bool
	lookUp          bool
	maxBody         int64
	readOnly        bool
	keptHeaders     []string
	keptQuery       []string
}

// New makes a source. The error joins one *access.ConfigError for each mistake, with its path below the
// source: "verify.signed", "email[1]".
func New(c Config) (*Source, error) {
	m := &mistakes{}
	s := &Source{name: c.Name, preset: c.Preset, verify: c.Row.Verify, publicURL: c.PublicURL, secrets: slices.Clone(c.Secrets),
		handshake: c.Row.Handshake, requireLivemode: c.RequireLivemode, lookUp: c.LookUp, maxBody: c.MaxBody, readOnly: c.ReadOnly}
	if c.Row.Verify.Kind == kindStripe {
		return newStripe(s, c, m)
	}
	m.oneOf("handshake", c.Row.Handshake, "", handshakeURL, handshakeChallenge, handshakeWebhookID)
	s.schemes = []*scheme{newScheme("", c.Row.Verify, c, m)}
	if c.AllowLegacy {
		s.schemes = append(s.schemes, legacySchemes(c, m)...)
	}
	var headers, query []string
	s.reader, headers, query = newReader(c.Row, s.schemes[0], m)
	s.keep(headers, query)
	if s.schemes[0].kind == kindToken && slices.Contains(headers, textproto.CanonicalMIMEHeaderKey(s.schemes[0].header)) {
		m.add("verify.header", "is read by an expression, and carries the token", "remove it from the expressions: a token is never kept")
	}
	return s.unless(m)
}

// unless returns the source only where there is no mistake.
func (s *Source) unless(m *mistakes) (*Source, error) {
	if s.readOnly {
		m.forgive("secrets", "public_url")
	}
	if len(m.all) > 0 {
		return nil, errors.Join(m.all...)
	}
	return s, nil
}

// legacySchemes are tried only where the source's own header is absent, never after it failed.
func legacySchemes(c Config, m *mistakes) (schemes []*scheme) {
	if len(c.Row.Legacy) == 0 {
		m.add("allow_legacy", "is set, and this sender has no older way to sign", "remove it")
	}
	for _, name := range c.Row.Legacy {
		if preset, ok := FindPreset(name); ok {
			scheme := newScheme(name, preset.Row.Verify, c, &mistakes{}) // its secrets are the source's own
			scheme.onlyHeader, scheme.onlyValue, _ = strings.Cut(preset.Row.OnlyIf, ": ")
			schemes = append(schemes, scheme)
		}
	}
	return schemes
}

// keep says which parts of a request are kept: what tells how to read it, what proves it, what is read.
func (s *Source) keep(headers, query []string) {
	all := append([]string{"Content-Type", "User-Agent"}, headers...)
	for _, scheme := range s.schemes {
		if scheme.kind == kindHMAC || scheme.kind == kindHash {
			all = append(all, scheme.header, scheme.tsHeader, scheme.onlyHeader)
		}
		for _, part := range scheme.template {
			all = append(all, part.header)
		}
	}
	for _, name := range all {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if name != "" && !slices.Contains(s.keptHeaders, name) {
			s.keptHeaders = append(s.keptHeaders, name)
		}
	}
	s.keptQuery = query
}

// Name is the source's name in the configuration and in its path.
func (s *Source) Name() string { return s.name }

// String is the name: what else a Source has is secret.
func (s *Source) String() string { return s.name }

// GoString is String, so that %#v tells no more than %v.
func (s *Source) GoString() string { return s.name }

// MaxBody is how many bytes the source's requests may have, 0 where it has no limit of its own.
func (s *Source) MaxBody() int64 { return s.maxBody }

// TakesToken reports whether the source's address ends in a secret segment.
func (s *Source) TakesToken() bool { return len(s.schemes) > 0 && s.schemes[0].kind == kindPathToken }

// Verify checks that a request was sent by the source, with one of its secrets, and in time where a time is
// signed. The error is a *Rejection.
func (s *Source) Verify(now time.Time, r Request) (Verified, error) {
	if s.readOnly {
		return Verified{}, &Rejection{Rule: "read_only", Detail: "this source was made to read alone"}
	}
	v := Verified{source: s.name, body: r.Body, receivedAt: now}
	var err error
	if s.stripe != nil {
		v.by, err = s.verifyStripe(now, r.Header, r.Body)
	} else {
		v.by, v.body, err = s.schemeFor(r).verify(now, r)
	}
	if err != nil {
		return Verified{}, err
	}
	v.kept = s.kept(r)
	return v, nil
}

// schemeFor is the source's own scheme, unless its header is absent and an older scheme's is there.
func (s *Source) schemeFor(r Request) *scheme {
	if !s.schemes[0].isSpoken(r) {
		for _, legacy := range s.schemes[1:] {
			if legacy.applies(r) {
				return legacy
			}
		}
	}
	return s.schemes[0]
}

func (s *Source) kept(r Request) Kept {
	kept := Kept{Headers: make(map[string]string, len(s.keptHeaders))}
	if r.Method != http.MethodPost {
		kept.Method = r.Method
	}
	for _, name := range s.keptHeaders {
		if value := r.Header.Get(name); value != "" {
			kept.Headers[name] = clean(value)
		}
	}
	if len(s.keptQuery) == 0 || r.Query == "" {
		return kept
	}
	query, _ := url.ParseQuery(r.Query) // what is not broken in it counts
	for _, name := range s.keptQuery {
		if query.Has(name) {
			if kept.Query == nil {
				kept.Query = map[string]string{}
			}
			kept.Query[name] = clean(query.Get(name))
		}
	}
	return kept
}

// IsDelivery reports whether a request that is no POST carries an event all the same: a sender that signs
// the method sends by others too (HubSpot's workflows by GET), and then its signature is there.
func (s *Source) IsDelivery(r Request) bool {
	return slices.ContainsFunc(s.schemes, func(scheme *scheme) bool {
		signsMethod := slices.ContainsFunc(scheme.template, func(p part) bool { return p.kind == isMethod })
		return signsMethod && scheme.applies(r)
	})
}

// Events takes the events out of what was verified. It never fails: a body that cannot be read is an event
// too, skipped as malformed, so that nothing is lost from sight.
func (s *Source) Events(v Verified) []Event { return s.Explain(v, nil) }

// Explain is Events, and shows each step on the way where show is not nil.
func (s *Source) Explain(v Verified, show func(Step)) (events []Event) {
	if s.stripe != nil {
		events = []Event{s.stripeEvent(v, show)}
	} else {
		events = s.events(v, show)
	}
	for i := range events {
		events[i].Fingerprint = events[i].fingerprint()
	}
	return events
}

// Unsigned makes a Verified of a request that nobody signed, to try a source's expressions on. It is not for
// what came over the network.
func (s *Source) Unsigned(now time.Time, r Request) Verified {
	v := Verified{source: s.name, body: r.Body, receivedAt: now, by: "nobody", kept: s.kept(r)}
	if s.stripe == nil {
		if signed, err := s.schemes[0].signedBody(r.Body); err == nil {
			v.body = signed
		}
	}
	return v
}
