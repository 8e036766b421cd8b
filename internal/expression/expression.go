// Package expression compiles and runs the expressions of usher.yaml, in the language of
// github.com/expr-lang/expr. It holds the one set of bounds: an expression always ends, always gives the same
// answer for the same input, and its errors never show the data it was working on.
package expression

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// The bounds of one expression, far above any honest one. The memory budget is in the units of expr's
// machine, one for each element of a list it makes. Steps are turns of a loop over a list, so that loops in
// loops end soon. Texts glued together with + are not counted: the bounds are against mistakes and hostile
// payloads, not against an operator who means harm.
const (
	maxSource    = 4096 // bytes
	maxNodes     = 500
	memoryBudget = 100_000
	maxSteps     = 200_000
)

// options take away the built-ins that read the clock or the time zones of the machine, or list a map in
// Go's random order: what an expression gives must come out the same tomorrow.
var options = []expr.Option{
	expr.MaxNodes(maxNodes),
	expr.DisableBuiltin("now"),
	expr.DisableBuiltin("date"),
	expr.DisableBuiltin("timezone"),
	expr.DisableBuiltin("duration"),
	expr.DisableBuiltin("keys"),
	expr.DisableBuiltin("values"),
	expr.DisableBuiltin("toPairs"),
	expr.Patch(countSteps{}),
}

// An Expression is compiled. It does not change and is safe for concurrent use.
type Expression struct {
	source  string
	program *vm.Program
}

// Compile checks an expression against an environment, a struct that embeds Steps. The error is expr's own
// message on one line, with its place in the source.
func Compile(source string, env any, more ...expr.Option) (*Expression, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxSource)
	}
	all := append([]expr.Option{expr.Env(env)}, options...)
	program, err := expr.Compile(source, append(all, more...)...)
	if at, ok := errors.AsType[*file.Error](err); ok {
		message, _, _ := strings.Cut(at.Message, "\n")
		return nil, fmt.Errorf("%s (line %d, column %d)", message, at.Line, at.Column+1)
	}
	if err != nil {
		return nil, err
	}
	return &Expression{source: source, program: program}, nil
}

// String is the source.
func (e *Expression) String() string { return e.source }

// Type is what the expression gives, as far as that is known before it runs.
func (e *Expression) Type() reflect.Type { return e.program.Node().Type() }

// A Machine runs expressions, one at a time: it is not safe for concurrent use.
type Machine struct{ vm vm.VM }

// Run evaluates an expression. The error holds nothing of the environment.
func (m *Machine) Run(e *Expression, env any) (any, error) {
	m.vm.MemoryBudget = memoryBudget
	v, err := m.vm.Run(e.program, env)
	if err != nil {
		return nil, explain(err)
	}
	return v, nil
}

// Steps is the part of an environment that counts the turns of loops. Embed it, and make it anew for each
// value that expressions run on.
type Steps struct {
	Tick func(...any) any `expr:"__tick"`
}

// NewSteps begins to count. Where expressions run on many values in turn, more allows them more steps together.
func NewSteps(more int) Steps {
	left := maxSteps + more
	return Steps{Tick: func(value ...any) any {
		if left--; left < 0 {
			panic(errSteps)
		}
		return value[0]
	}}
}

var errSteps = errors.New("step budget exceeded")

// countSteps makes each turn of a loop count.
type countSteps struct{}

func (countSteps) Visit(node *ast.Node) {
	if predicate, ok := (*node).(*ast.PredicateNode); ok {
		predicate.Node = &ast.CallNode{Callee: &ast.IdentifierNode{Value: "__tick"}, Arguments: []ast.Node{predicate.Node}}
	}
}

// explanations translate the messages of expr's machine. Its own words are not passed on: some quote the
// value they choke on, and a sentence is shown and logged where a customer's data must not be.
var explanations = []struct{ message, meaning string }{
	{"memory budget exceeded", "it needs too much memory"},
	{"step budget exceeded", "it takes too many steps"},
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
	return errors.New("it does not fit the values it is given")
}

// Text writes a value the way a person would: no exponent in a number. A nil is not present.
func Text(value any) (text string, present bool, err error) {
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

// IsScalar reports whether an expression can give what Text writes, as far as is known before it runs.
func IsScalar(e *Expression) bool {
	switch e.Type().Kind() {
	case reflect.Array, reflect.Slice, reflect.Map, reflect.Struct, reflect.Func, reflect.Pointer:
		return false
	default:
		return true
	}
}
