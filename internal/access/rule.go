package access

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr"

	"github.com/usher-dev/usher/internal/expression"
)

// Rule is one access rule as the operator writes it. Its expressions are in
// the language of github.com/expr-lang/expr and see one name, event, with the
// fields of [Event].
type Rule struct {
	When    string  // must give true or false, where nil counts as false; "" matches every event
	Outcome Outcome // "" means Invite
	Groups  []int64 // Retool group ids to join
	// Attributes are user attributes by name, each an expression that gives a
	// text, a number, true or false, or nil, which leaves the attribute out.
	Attributes map[string]string
}

const maxAttributeName = 100 // bytes

// event is Event without its methods, which are none of a rule's business.
type event Event

type environment struct {
	expression.Steps
	Event event `expr:"event"`
}

// What to do about an expression that does not compile.
const (
	mendWhen      = `an expression reads the event, like event.country == "US"`
	mendAttribute = `read the event, like event.customer, or give a fixed text its own quotes, like '"pro"'`
	mendField     = "an event has the fields source, type, id, email, name, customer, country, amount, " +
		"currency, mode, livemode, payment_link, prices, metadata and attributes"
)

// rule is a compiled Rule.
type rule struct {
	when       *expression.Expression // nil matches every event
	outcome    Outcome
	groups     []int64
	attributes []attribute // sorted by name, so that the first error is always the same one
}

type attribute struct {
	name  string
	value *expression.Expression
}

// mistakes collects what is wrong below one path of the configuration.
type mistakes struct {
	path string
	all  []error // each a *ConfigError
}

func (m *mistakes) add(below, problem, mend string) {
	m.all = append(m.all, &ConfigError{Path: m.path + below, Problem: problem, Mend: mend})
}

// compileRule returns every mistake in r, each a *ConfigError below path.
func compileRule(path string, r Rule) (rule, []error) {
	m := &mistakes{path: path}
	compiled := rule{
		when:       compileWhen(m, r.When),
		outcome:    cmp.Or(r.Outcome, Invite),
		groups:     slices.Compact(slices.Sorted(slices.Values(r.Groups))),
		attributes: compileAttributes(m, r.Attributes),
	}
	if _, ok := ruleSentences[compiled.outcome]; !ok {
		m.add(".decision", "there is no such decision", "write invite, hold or skip")
	}
	for i, group := range r.Groups {
		if group <= 0 {
			m.add(fmt.Sprintf(".groups[%d]", i), "a group id is a positive number", "copy the id of the group from Retool")
		}
	}
	return compiled, m.all
}

func compileWhen(m *mistakes, when string) *expression.Expression {
	if when == "" {
		return nil
	}
	program, err := compile(when, expr.AsBool())
	if err != nil {
		m.add(".when", err.Error(), mendFor(err, mendWhen))
	}
	return program
}

func compileAttributes(m *mistakes, sources map[string]string) []attribute {
	var compiled []attribute
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		path := ".attributes." + name
		if name == "" || len(name) > maxAttributeName {
			m.add(path, "the name is empty or too long", fmt.Sprintf("use a name of 1 to %d bytes", maxAttributeName))
		}
		program, err := compile(sources[name])
		switch {
		case err != nil:
			m.add(path, err.Error(), mendFor(err, mendAttribute))
		case !expression.IsScalar(program):
			m.add(path, "this gives a list or a map, not a single value", "pick one value, like event.prices[0]")
		}
		compiled = append(compiled, attribute{name, program})
	}
	return compiled
}

// mendFor lists the fields where the mistake is a field that is none.
func mendFor(err error, otherwise string) string {
	if strings.Contains(err.Error(), "event has no field") {
		return mendField
	}
	return otherwise
}

func compile(source string, more ...expr.Option) (*expression.Expression, error) {
	compiled, err := expression.Compile(source, environment{}, more...)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "type access.event", "event"))
	}
	return compiled, nil
}

// runner evaluates compiled expressions against one event.
type runner struct {
	machine expression.Machine
	env     environment
}

func newRunner(e Event) *runner {
	return &runner{env: environment{expression.NewSteps(0), event(e)}}
}

func (r *runner) run(e *expression.Expression) (any, error) { return r.machine.Run(e, r.env) }

// matches reports whether the rule applies.
func (r rule) matches(run *runner) (bool, error) {
	if r.when == nil {
		return true, nil
	}
	v, err := run.run(r.when)
	if err != nil {
		return false, err
	}
	return v == true, nil // always a bool, by expr.AsBool
}

// decide is the decision of rule number i, which matches.
func (r rule) decide(run *runner, i int, addr Address) Decision {
	d := Decision{
		Outcome:  r.outcome,
		Reason:   ReasonRule,
		Sentence: fmt.Sprintf(ruleSentences[r.outcome], i+1),
		Rule:     i,
		Address:  addr,
	}
	if r.outcome == Skip {
		return d
	}
	attributes, err := r.evaluate(run)
	if err != nil {
		d = ruleError(i, addr, err)
	}
	d.Groups = slices.Clone(r.groups)
	d.Attributes = attributes
	return d
}

var ruleSentences = map[Outcome]string{
	Invite: "Access rule %d applies: this person is invited.",
	Hold:   "Access rule %d applies: a person must approve before the invitation is sent.",
	Skip:   "Access rule %d applies: this person is not invited.",
}

// evaluate returns the attributes, those of the rule over those of the event, nil when there are none.
func (r rule) evaluate(run *runner) (map[string]string, error) {
	values := maps.Clone(run.env.Event.Attributes)
	for _, a := range r.attributes {
		v, err := run.run(a.value)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.name, err)
		}
		text, present, err := expression.Text(v)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.name, err)
		}
		if !present {
			continue
		}
		if values == nil {
			values = make(map[string]string, len(r.attributes))
		}
		values[a.name] = text
	}
	return values, nil
}
