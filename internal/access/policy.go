package access

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// PolicyConfig is a [Policy] as the operator writes it.
//
// Internal, Allow and Deny hold domains. "acme.com" is that domain alone,
// "*.acme.com" everything below it but not itself. Non-ASCII domains may be
// written either way.
type PolicyConfig struct {
	Internal []string // the company's own: never invited, whatever else is set
	Allow    []string // where not empty, only these are invited
	Deny     []string // never invited
	Rules    []Rule   // the first that matches decides
}

// Policy decides about events. It does not change after [NewPolicy] and is
// safe for concurrent use.
type Policy struct {
	internal, allow, deny domainList
	rules                 []rule
}

// ConfigError is one mistake in a [PolicyConfig].
type ConfigError struct {
	Path    string // where, in the words of usher.yaml: "access[1].when", "domains.internal[0]"
	Problem string // what is wrong
	Mend    string // what to write instead
}

// Error returns all three parts on one line.
func (e *ConfigError) Error() string {
	return e.Path + ": " + e.Problem + "; " + e.Mend
}

// NewPolicy checks c and compiles its rules. It finds every mistake at once:
// the error joins one [*ConfigError] for each (see [errors.Join]).
func NewPolicy(c PolicyConfig) (*Policy, error) {
	var mistakes []error
	list := func(name string, entries []string) domainList {
		l, errs := newDomainList("domains."+name, entries)
		mistakes = append(mistakes, errs...)
		return l
	}
	p := &Policy{
		internal: list("internal", c.Internal),
		allow:    list("allow", c.Allow),
		deny:     list("deny", c.Deny),
	}
	for i, r := range c.Rules {
		compiled, errs := compileRule(fmt.Sprintf("access[%d]", i), r)
		p.rules = append(p.rules, compiled)
		mistakes = append(mistakes, errs...)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return p, nil
}

// Decide answers what is to be done about e. It never fails and never panics:
// a rule that cannot be worked out for this event holds it for a person,
// because guessing either way would invite a stranger or lose a customer.
func (p *Policy) Decide(e Event) Decision {
	if strings.Trim(e.Email, asciiSpace) == "" {
		return skip(Address{}, ReasonNoAddress, "This event carries no e-mail address, so there is nobody to invite.")
	}
	addr, err := ParseAddress(e.Email)
	if err != nil {
		return skip(Address{}, ReasonMalformed, "The address in this event cannot be used: "+err.Error()+".")
	}
	if d, refused := p.refuse(addr); refused {
		return d
	}
	e.Email = addr.Full() // rules compare text: show them the address we would invite, not its disguise
	return p.applyRules(e, addr)
}

// refuse is the domain rule. The company's own domains come first: nothing
// that is set elsewhere may turn one of them into an external user.
func (p *Policy) refuse(addr Address) (Decision, bool) {
	domain := addr.Domain()
	switch {
	case p.internal.has(domain):
		return skip(addr, ReasonInternal, domain+" is your own domain: this person would become an internal seat, not an external user."), true
	case p.deny.has(domain):
		return skip(addr, ReasonDenied, domain+" is on your list of denied domains."), true
	case !p.allow.empty() && !p.allow.has(domain):
		return skip(addr, ReasonNotAllowed, domain+" is not on your list of allowed domains."), true
	}
	return Decision{}, false
}

func skip(addr Address, reason Reason, sentence string) Decision {
	return Decision{Outcome: Skip, Reason: reason, Sentence: sentence, Rule: -1, Address: addr}
}

// applyRules finds the first rule that matches. An event no rule speaks about
// is invited, without groups: rules add and narrow, they are not a gate.
func (p *Policy) applyRules(e Event, addr Address) Decision {
	run := newRunner(e)
	for i, r := range p.rules {
		match, err := r.matches(run)
		if err != nil {
			return ruleError(i, addr, err)
		}
		if match {
			return r.decide(run, i, addr)
		}
	}
	return Decision{
		Outcome:  Invite,
		Reason:   ReasonExternal,
		Sentence: addr.Domain() + " is an outside domain, and no access rule says otherwise: this person is invited.",
		Rule:     -1,
		Address:  addr,

		Attributes: maps.Clone(e.Attributes),
	}
}

func ruleError(i int, addr Address, err error) Decision {
	return Decision{
		Outcome:  Hold,
		Reason:   ReasonRuleError,
		Sentence: fmt.Sprintf("Access rule %d could not be worked out for this event: %v. A person must decide.", i+1, err),
		Rule:     i,
		Address:  addr,
	}
}
