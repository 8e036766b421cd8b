package webhook

import (
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"github.com/usher-dev/usher/internal/expression"
)

// Environment is what the expressions of a source may use. Reading what is not there, or a field of something
// that has none, gives nil. Beside the built-ins of expr there are
//
//	json(text)       the value of a JSON text, nil if it is none
//	key(a, b, …)     the values that are there joined by ":", nil if none is
//	emailField(map)  the value of the first key, in alphabetical order, that contains "mail" and holds an @
type Environment struct {
	expression.Steps
	Body    any               `expr:"body"`    // the parsed JSON, or the fields of a form
	Form    map[string]any    `expr:"form"`    // the fields of a form
	Headers map[string]string `expr:"headers"` // the request's, in any case: headers["X-Event"]
	Query   map[string]string `expr:"query"`   // the address's
	Item    any               `expr:"item"`    // one of each
}

// functions are what expressions may call beside expr's own.
var functions = []expr.Option{
	expr.Function("member", func(p ...any) (any, error) { return member(p[0], p[1]), nil }, new(func(any, any) any)),
	expr.Function("json", func(p ...any) (any, error) { return parsed(p[0]), nil }, new(func(any) any)),
	expr.Function("key", func(p ...any) (any, error) { return compositeKey(p), nil }, new(func(...any) any)),
	expr.Function("emailField", func(p ...any) (any, error) { return emailField(p[0]), nil }, new(func(any) any)),
}

// member is a field or an element, nil where there is none.
func member(of, name any) any {
	switch of := of.(type) {
	case map[string]any:
		if key, ok := name.(string); ok {
			return of[key]
		}
	case map[string]string:
		key, _ := name.(string)
		if value, ok := of[key]; ok {
			return value
		}
	case []any:
		i, ok := name.(int)
		if i < 0 {
			i += len(of)
		}
		if ok && 0 <= i && i < len(of) {
			return of[i]
		}
	}
	return nil
}

func parsed(text any) any {
	s, _ := text.(string)
	value, err := DecodeJSON([]byte(s))
	if err != nil {
		return nil
	}
	return value
}

func compositeKey(values []any) any {
	var parts []string
	for _, value := range values {
		if text, present, err := expression.Text(value); present && err == nil {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return strings.Join(parts, ":")
}

func emailField(of any) any {
	fields, _ := of.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text, ok := fields[name].(string)
		if ok && strings.Contains(strings.ToLower(name), "mail") && strings.Count(text, "@") == 1 {
			return text
		}
	}
	return nil
}

// A compiler compiles the expressions of one source and notes which headers and query parameters they read:
// those are kept with a delivery, and no others.
type compiler struct {
	mistakes *mistakes
	headers  map[string]bool // in their canonical form
	query    map[string]bool
	hasItem  bool // there is a list of events, each of them item
}

// compile returns nil for an expression that is empty or wrong.
func (c *compiler) compile(path, source string, more ...expr.Option) *expression.Expression {
	if strings.TrimSpace(source) == "" {
		return nil
	}
	reads := newReads()
	compiled, err := expression.Compile(source, Environment{}, slices.Concat(functions, []expr.Option{expr.Patch(reads)}, more)...)
	if err == nil {
		err = reads.mistake()
	}
	if err == nil && reads.item && !c.hasItem {
		c.mistakes.add(path, "reads item, which is nil without each", "add each, the list of events; or read body")
		return nil
	}
	if err != nil {
		c.mistakes.add(path, err.Error(), mendFor(path, err))
		return nil
	}
	maps.Copy(c.headers, reads.headers)
	maps.Copy(c.query, reads.query)
	return compiled
}

// scalar compiles an expression that must give a single value.
func (c *compiler) scalar(path, source string) *expression.Expression {
	compiled := c.compile(path, source)
	if compiled != nil && !expression.IsScalar(compiled) {
		c.mistakes.add(path, "this gives a list or a map, not a single value", "pick one value, such as body.items[0].id")
	}
	return compiled
}

func (c *compiler) truth(path, source string) *expression.Expression {
	return c.compile(path, source, expr.AsBool())
}

// mends are for the usual slips; the first whose words are in the message counts.
var mends = []struct{ message, mend string }{
	{`Operator("=")`, "compare with =="},
	{`Operator("|")`, "join two conditions with or"},
	{"Operator(\"&\")", "join two conditions with and"},
	{"expected bool", `give true or false, such as body.type == "paid"`},
	{"is read without a name", `name what is read, in quotes: headers["X-Event"], query["id"]`},
	{"carries secrets", "read another header"},
	{"unknown name now", "the clock cannot be read: the same event must always be decided alike"},
	{"unknown name", "known are body, form, headers, query and, with each, item; the functions json, key and emailField; and those of expr"},
	{"longer than", "split it, or let the sender send less"},
}

func mendFor(path string, err error) string {
	if strings.HasPrefix(path, "attributes.") && strings.Contains(err.Error(), "unknown name") {
		return `read what came, like body.plan, or give a fixed text its own quotes, like '"pro"'`
	}
	for _, m := range mends {
		if strings.Contains(err.Error(), m.message) {
			return m.mend
		}
	}
	return "an expression reads what came, like body.customer.email"
}

// reads makes every access to a member total, and notes the headers and query parameters that are read.
type reads struct {
	headers, query map[string]bool
	item           bool
	bare           map[ast.Node]string // headers or query used other than by one literal name
}

func newReads() *reads {
	return &reads{headers: map[string]bool{}, query: map[string]bool{}, bare: map[ast.Node]string{}}
}

// Visit is called for children before their parents.
func (r *reads) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		switch n.Value {
		case "headers", "query":
			r.bare[n] = n.Value
		case "item":
			r.item = true
		}
	case *ast.MemberNode:
		r.note(n)
		ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: "member"}, Arguments: []ast.Node{n.Node, n.Property}})
	}
}

func (r *reads) note(n *ast.MemberNode) {
	from, isIdentifier := n.Node.(*ast.IdentifierNode)
	name, isLiteral := n.Property.(*ast.StringNode)
	if !isIdentifier || !isLiteral {
		return
	}
	switch from.Value {
	case "headers":
		name.Value = textproto.CanonicalMIMEHeaderKey(name.Value)
		r.headers[name.Value] = true
	case "query":
		r.query[name.Value] = true
	default:
		return
	}
	delete(r.bare, from)
}

func (r *reads) mistake() error {
	for _, name := range slices.Sorted(maps.Values(r.bare)) {
		return fmt.Errorf("%s is read without a name, and Usher keeps no more of a request than it needs", name)
	}
	for name := range r.headers {
		if slices.Contains(private, name) {
			return errors.New("it reads the header " + name + ", which carries secrets and is never kept")
		}
	}
	return nil
}

// private are headers that are never kept.
var private = []string{"Authorization", "Proxy-Authorization", "Cookie"}
