package main

import (
	"context"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
)

// Trying the rules of a changed configuration on history: only its access, domains and sources matter, and no secret.

// decidingParts are the parts of the configuration that decide.
var decidingParts = []string{"access", "domains", "sources"}

// loadToRead reads what of a configuration decides. What is for receiving and sending alone may be missing. Beside
// another configuration, that of an Usher that runs, it is known which senders can be asked for an address: the key may
// not be at hand here.
func loadToRead(o config.Options, beside *parts) (*parts, config.Problems) {
	cfg, problems := config.Load(o)
	p := newParts(cfg, io.Discard)
	p.readOnly, p.beside = true, beside
	problems = slices.DeleteFunc(problems, isNoMatterToReading)
	problems = append(problems, p.makeSources(problems)...)
	problems = append(problems, p.makePolicy()...)
	return p, problems.Sorted()
}

// notForReading are the keys of a source that have nothing to do with reading what it sent.
var notForReading = regexp.MustCompile(`^sources\.[^.]+\.(secrets|api_key|api_url|public_url|max_body)(\[\d+\])?$`)

func isNoMatterToReading(p config.Problem) bool {
	top, _, _ := strings.Cut(p.Path, ".")
	top, _, _ = strings.Cut(top, "[")
	switch {
	case p.Path == "":
		return strings.HasPrefix(p.File, "env ") // a variable that sets nothing
	case !slices.Contains(decidingParts, top), notForReading.MatchString(p.Path):
		return true
	default:
		return strings.Contains(p.What, "api_key is unset")
	}
}

// asks says whether a source's sender can be asked for addresses, as far as this configuration tells.
func (p *parts) asks(name string) bool {
	return p.lookUps[name] != nil || p.config.IsSet("sources."+name+".api_key") || p.beside != nil && p.beside.asks(name)
}

// rehearser tries these parts on a ledger.
func (p *parts) rehearser(book *ledger.Ledger) *onboarding.Rehearser {
	return &onboarding.Rehearser{Ledger: book, Sources: p.sources, Policy: p.policy}
}

// rehearse is what the API and the pages of a running Usher try rules by.
func (p *parts) rehearse(book *ledger.Ledger) handlers.Rehearse {
	return func(ctx context.Context, since time.Time, changed []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
		tried, parts := p, []string(nil)
		if changed != nil {
			var problems config.Problems
			if tried, parts, problems = p.changedBy(changed); len(problems) > 0 {
				return ledger.Rehearsal{}, nil, configError(problems)
			}
		}
		found, err := tried.rehearser(book).Rehearse(ctx, since, report)
		return found, parts, err
	}
}

// changedName stands for what came by a request.
const changedName = "the changed configuration"

// changedBy reads a configuration that came by a request. The parts that it leaves out are those that run. It comes
// from somebody who may read what Usher decides, and no more: the variables of this process are not told to it, but those
// that set domains and sources, as they would after a restart.
func (p *parts) changedBy(text []byte) (tried *parts, changed []string, problems config.Problems) {
	o := config.Options{File: changedName, Env: withoutSecrets(p.env), ReadFile: func(name string) ([]byte, error) {
		if name == changedName {
			return text, nil
		}
		return os.ReadFile(name) // that a variable of this process names
	}}
	if named, _ := config.Load(o); !named.IsSet("environment") {
		o.Env = append(o.Env, "USHER_ENVIRONMENT="+p.config.Environment)
	}
	tried, problems = loadToRead(o, p)
	for _, part := range decidingParts {
		if tried.config.IsSet(part) {
			changed = append(changed, part)
			continue
		}
		problems = slices.DeleteFunc(problems, func(one config.Problem) bool { return isOf(one, part) })
	}
	if len(problems) == 0 && len(changed) == 0 {
		problems = append(problems, config.Problem{What: "has none of access, domains and sources", Mend: "give at least one of these parts of usher.yaml"})
	}
	tried.keepAllBut(changed, p)
	if len(problems) == 0 {
		problems = tried.makePolicy() // of both
	}
	return tried, changed, asRequested(problems)
}

func isOf(p config.Problem, part string) bool {
	rest, ok := strings.CutPrefix(p.Path, part)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// keepAllBut takes the parts that were not changed from what runs.
func (p *parts) keepAllBut(changed []string, running *parts) {
	if !slices.Contains(changed, "access") {
		p.config.Access = running.config.Access
	}
	if !slices.Contains(changed, "domains") {
		p.config.Domains = running.config.Domains
	}
	if !slices.Contains(changed, "sources") {
		p.sources = running.sources
	}
}

// asRequested says what is wrong to somebody who has no variables to set.
func asRequested(problems config.Problems) config.Problems {
	for i, p := range problems {
		if strings.HasPrefix(p.What, "refers to ") && strings.HasSuffix(p.What, " is not set") {
			problems[i].What = strings.TrimSuffix(p.What, ", which is not set") + ", and no variables are read here"
			problems[i].Mend = "write the value itself"
		}
	}
	return problems
}

// unread stands for a secret that is set, and not told.
const unread = "set-and-not-told"

var (
	decidingVariable = regexp.MustCompile(`^(USHER_INTERNAL_DOMAINS|USHER_ENVIRONMENT|USHER_DOMAINS_\w+|USHER_SOURCES_\w+)$`)
	addressVariable  = regexp.MustCompile(`_(PUBLIC|API)_URL(_FILE)?$`) // may hold a token, and is not needed to read
	secretVariable   = regexp.MustCompile(`^(STRIPE_WEBHOOK_SECRET|STRIPE_API_KEY|USHER_SOURCES_\w+_(SECRETS|API_KEY))(_FILE)?$`)
)

// withoutSecrets are the variables that set domains and sources. Of secrets it says only that they are set: by them there
// is a source.
func withoutSecrets(env []string) (public []string) {
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case value == "", addressVariable.MatchString(name):
		case secretVariable.MatchString(name):
			public = append(public, strings.TrimSuffix(name, "_FILE")+"="+unread)
		case decidingVariable.MatchString(name):
			public = append(public, pair)
		}
	}
	return public
}

func configError(problems config.Problems) *handlers.ConfigError {
	wrong := &handlers.ConfigError{}
	for _, p := range problems {
		what := p.What
		if p.File != changedName && p.File != "" {
			what = p.File + ": " + what
		}
		wrong.Mistakes = append(wrong.Mistakes, handlers.ConfigMistake{Line: p.Line, Path: p.Path, What: what, Mend: p.Mend})
	}
	return wrong
}
