package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
//	emailField(map)  the values with an @ of keys that contain "mail", the likeliest first, nil if there is none
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
	default: // what the built-ins make: []string of split, map[any][]any of groupBy
		return memberOfOther(reflect.ValueOf(of), name)
	}
	return nil
}

func memberOfOther(of reflect.Value, name any) any {
	switch of.Kind() {
	case reflect.Slice:
		i, ok := name.(int)
		if i < 0 {
			i += of.Len()
		}
		if ok && 0 <= i && i < of.Len() {
			return of.Index(i).Interface()
		}
	case reflect.Map:
		key := reflect.ValueOf(name)
		if key.IsValid() && key.Comparable() && key.Type().AssignableTo(of.Type().Key()) {
			if value := of.MapIndex(key); value.IsValid() {
				return value.Interface()
			}
		}
	}
	return nil
}

// asList is a value as a list, also one that a built-in made.
func asList(value any) (list []any, ok bool) {
	if list, ok = value.([]any); ok {
		return list, true
	}
	of := reflect.ValueOf(value)
	if of.Kind() != reflect.Slice {
		return nil, false
	}
	for i := range of.Len() {
		list = append(list, of.Index(i).Interface())
	}
	return list, true
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

// emailField lists the texts with an @ in fields whose name contains "mail", the likeliest first: those named
// so and no more, whatever number a form tool puts before it, then those whose name ends so. A form may ask
// for the address of a friend too.
func emailField(of any) any {
	fields, _ := of.(map[string]any)
	var names []string
	for name, value := range fields {
		text, ok := value.(string)
		if ok && strings.Contains(text, "@") && strings.Contains(strings.ToLower(name), "mail") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(unlikely(a), unlikely(b)), cmp.Compare(leadingNumber(a), leadingNumber(b)), cmp.Compare(a, b))
	})
	found := make([]any, len(names))
	for i, name := range names {
		found[i] = fields[name]
	}
	return found
}

var (
	// questionNumber is what Jotform puts before a field's name: q3_.
	questionNumber = regexp.MustCompile(`^[a-z]{0,3}(\d{1,6})[_. -]`)
	letters        = regexp.MustCompile(`[^a-z]+`)
)

// unlikely ranks a field's name, the likeliest lowest.
func unlikely(name string) int {
	name = strings.ToLower(name)
	bare := letters.ReplaceAllString(questionNumber.ReplaceAllString(name, ""), "")
	switch {
	case slices.Contains([]string{"email", "mail", "emailaddress", "mailaddress", "youremail", "customeremail"}, bare):
		return 0
	case strings.HasSuffix(bare, "mail") || strings.HasSuffix(bare, "mailaddress"):
		return 1
	default:
		return 2
	}
}

func leadingNumber(name string) int {
	found := questionNumber.FindStringSubmatch(strings.ToLower(name))
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

// A compiler compiles the expressions of one source and notes which headers and query parameters they read:
// those are kept with a delivery, and no others.
type compiler struct {
	mistakes *mistakes
	scheme   *scheme
	headers  map[string]bool // in their canonical form
	query    map[string]bool
	hasItem  bool // there is a list of events, each of them item
}

// compile returns nil for an expression that is empty or wrong.
func (c *compiler) compile(path, source string, more ...expr.Option) (*expression.Expression, *reads) {
	reads := newReads()
	if strings.TrimSpace(source) == "" {
		return nil, reads
	}
	compiled, err := expression.Compile(source, Environment{}, slices.Concat(functions, []expr.Option{expr.Patch(reads)}, more)...)
	if err == nil {
		err = reads.mistake()
	}
	switch {
	case err != nil:
		c.mistakes.add(path, err.Error(), mendFor(path, err))
		return nil, reads
	case reads.item && !c.hasItem:
		c.mistakes.add(path, "reads item, which is nil without each", "add each, the list of events; or read body")
		return nil, reads
	}
	maps.Copy(c.headers, reads.headers)
	maps.Copy(c.query, reads.query)
	return compiled, reads
}

// scalar compiles an expression that must give a single value.
func (c *compiler) scalar(path, source string) (*expression.Expression, *reads) {
	compiled, reads := c.compile(path, source)
	if compiled != nil && !expression.IsScalar(compiled) {
		c.mistakes.add(path, "this gives a list or a map, not a single value", "pick one value, such as body.items[0].id")
	}
	return compiled, reads
}

// label compiles an expression that may read anything: nothing but words depends on it.
func (c *compiler) label(path, source string) *expression.Expression {
	compiled, _ := c.scalar(path, source)
	return compiled
}

// who compiles an expression that says who is invited, with what. It may read only what the sender vouches for.
func (c *compiler) who(path string, compiled *expression.Expression, reads *reads) *expression.Expression {
	if compiled != nil && !c.scheme.vouchesFor(reads) {
		c.mistakes.add(path, "reads a header or the query, which this sender does not sign: anybody who saw one request could change it",
			"read the body")
	}
	return compiled
}

func (c *compiler) truth(path, source string) *expression.Expression {
	compiled, _ := c.compile(path, source, expr.AsBool())
	return compiled
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
