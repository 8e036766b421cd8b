package main

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
)

// makeSources makes every source, so that the mistakes of all are reported at once. What the configuration's
// own check has said of a key is not said again.
func (p *parts) makeSources(known config.Problems) (problems config.Problems) {
	for name := range p.config.Sources {
		at := "sources." + name
		if reported(known, at+".preset") || reported(known, at+".verify") {
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
		Name: name, Row: row, PublicURL: p.publicURL(name), AllowUnsigned: s.AllowUnsigned, AllowLegacy: s.AllowLegacy,
		RequireLivemode: s.RequireLivemode, MaxBody: s.MaxBody,
		Stripe: webhook.StripeConfig{
			NoPaymentRequired:   access.Outcome(s.NoPaymentRequired),
			SubscriptionCreated: slices.Contains(s.Events, webhook.SubscriptionCreated),
		},
	}
	for _, secret := range s.Secrets {
		cfg.Secrets = append(cfg.Secrets, secret.Reveal())
	}
	lookUp := p.lookUp(name, row)
	cfg.LookUp = lookUp != nil
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

// warnings are settings that are allowed and probably not meant.
func (p *parts) warnings() []config.Problem {
	found := p.config.Warnings()
	for name, s := range p.config.Sources {
		row, problem := p.row(name)
		// Stripe's usual events carry their address.
		if problem == nil && row.LookUp != "" && row.LookUp != "stripe" && s.APIKey.IsBlank() {
			found = append(found, p.config.Problem("sources."+name+".api_key",
				"is unset: events of this sender that carry no address invite nobody", "set it to a key that may read customers: see docs/sources.md"))
		}
	}
	return found
}
