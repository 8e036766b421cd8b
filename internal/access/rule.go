package access

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
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

// The bounds of one expression, far above any honest rule. The memory budget
// is in the units of expr's machine, one for each element of a list it makes or
// walks, so that loops in loops end soon. Texts glued together with + are not
// counted: rules bound mistakes, not an operator who means harm.
const (
	maxExpression    = 4096 // bytes
	maxNodes         = 500
	memoryBudget     = 100_000
	maxAttributeName = 100 // bytes
)

// event is Event without its methods, which are none of a rule's business.
type event Event

type environment struct {
	Event event `expr:"event"`
}

// options type-check against the event. A decision must come out the same
// tomorrow, so the built-ins are taken away that read the clock or the time
// zones of the machine, or list a map in Go's random order.
var options = []expr.Option{
	expr.Env(environment{}),
	expr.MaxNodes(maxNodes),
	expr.DisableBuiltin("now"),
	expr.DisableBuiltin("date"),
	expr.DisableBuiltin("timezone"),
	expr.DisableBuiltin("duration"),
	expr.DisableBuiltin("keys"),
	expr.DisableBuiltin("values"),
	expr.DisableBuiltin("toPairs"),
}

// What to do about an expression that does not compile.
const (
	mendWhen      = `an expression reads the event, like event.country == "US"`
	mendAttribute = `read the event, like event.customer, or give a fixed text its own quotes, like '"pro"'`
	mendField     = "an event has the fields source, type, id, email, name, customer, country, amount, " +
		"currency, mode, livemode, payment_link, prices and metadata"
)

// rule is a compiled Rule.
type rule struct {
	when       *vm.Program // nil matches every event
	outcome    Outcome
	groups     []int64
	attributes []attribute // sorted by name, so that the first error is always the same one
}

type attribute struct {
	name  string
	value *vm.Program
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

func compileWhen(m *mistakes, when string) *vm.Program {
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
		case !isScalar(program.Node().Type()):
			m.add(path, "this gives a list or a map, not a single value", "pick one value, like event.prices[0]")
		}
		compiled = append(compiled, attribute{name, program})
	}
	return compiled
}

// isScalar reports whether a value of type t can become an attribute, as far
// as is known before an event comes.
func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array, reflect.Slice, reflect.Map, reflect.Struct, reflect.Func, reflect.Pointer:
		return false
	}
	return true
}

// mendFor lists the fields where the mistake is a field that is none.
func mendFor(err error, otherwise string) string {
	if strings.Contains(err.Error(), "event has no field") {
		return mendField
	}
	return otherwise
}

// compile gives expr's own message on one line, with its place in the source.
func compile(source string, more ...expr.Option) (*vm.Program, error) {
	if len(source) > maxExpression {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxExpression)
	}
	program, err := expr.Compile(source, append(slices.Clip(options), more...)...)
	if at, ok := errors.AsType[*file.Error](err); ok {
		message, _, _ := strings.Cut(at.Message, "\n")
		message = strings.ReplaceAll(message, "type access.event", "event")
		return nil, fmt.Errorf("%s (line %d, column %d)", message, at.Line, at.Column+1)
	}
	return program, err
}

// runner evaluates compiled expressions against one event.
type runner struct {
	machine vm.VM
	env     any
}

func newRunner(e Event) *runner {
	return &runner{machine: vm.VM{MemoryBudget: memoryBudget}, env: environment{event(e)}}
}

// run gives an error without any data of the event in it.
func (r *runner) run(program *vm.Program) (any, error) {
	v, err := r.machine.Run(program, r.env)
	if err != nil {
		return nil, explain(err)
	}
	return v, nil
}

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

// evaluate returns the attributes, nil when there are none.
func (r rule) evaluate(run *runner) (map[string]string, error) {
	var values map[string]string
	for _, a := range r.attributes {
		v, err := run.run(a.value)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.name, err)
		}
		text, present, err := render(v)
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

// render writes a value the way a person would: no exponent in a number. A
// nil is not present.
func render(value any) (text string, present bool, err error) {
	v := reflect.ValueOf(value)
	switch {
	case !v.IsValid():
		return "", false, nil
	case v.Kind() == reflect.String:
		return v.String(), true, nil
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool()), true, nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), true, nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), true, nil
	case v.CanFloat() && !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0):
		return strconv.FormatFloat(v.Float(), 'f', -1, 64), true, nil
	case v.CanFloat():
		return "", false, errors.New("it is not a finite number, as after a division by zero")
	}
	return "", false, errors.New("it is a list or a map, not a single value")
}

// explanations translate the messages of expr's machine. Its own words are not
// passed on: some quote the value they choke on, and a sentence is shown and
// logged where a customer's data must not be.
var explanations = []struct{ message, meaning string }{
	{"memory budget exceeded", "it needs too much memory"},
	{"divide by zero", "it divides by zero"},
	{"index out of range", "it reads past the end of a list or text"},
	{"cannot fetch", "it reads a field of something that has none"},
	{"cannot get", "it reads a field of something that has none"},
	{"interface conversion", "it takes one kind of value for another, such as text for a number"},
	{"invalid operation", "it takes one kind of value for another, such as text for a number"},
}

func explain(err error) error {
	message := err.Error()
	if at, ok := errors.AsType[*file.Error](err); ok {
		message = at.Message
	}
	for _, e := range explanations {
		if strings.Contains(message, e.message) {
			return errors.New(e.meaning)
		}
	}
	return errors.New("it does not fit the values of this event")
}
