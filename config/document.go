package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is the configuration file, taken apart along the schema. Its values
// are as written: a ${NAME} in them is still to be replaced.
type document struct {
	name     string
	text     string           // as it was read
	settings map[string]value // by full path, such as sources.stripe.secrets
	places   map[string]place // of groups and of keys without a value
	unread   map[string]bool  // what should be a group and is none, by path
	sources  []string         // names, in the order of the file
	lists    map[string]int   // how many groups there are in a list of them, by its path
	problems Problems
	// broken says that the file could not be read or understood, so that
	// nothing may be called missing.
	broken bool
}

// visit takes in what stands under a key of a group.
type visit func(d *document, at string, line int, n *yaml.Node)

// schema says which keys a group knows.
type schema map[string]visit

var (
	ruleSchema   = schemaOf(ruleKeys)
	tokenSchema  = schemaOf(tokenKeys)
	sourceSchema = schemaOf(sourceKeys)
	fileSchema   = topSchema()
)

func topSchema() schema {
	top := schemaOf(configKeys)
	top["access"] = visitList("rules", "rule", ruleSchema)
	top["tokens"] = visitList("tokens", "token", tokenSchema)
	top["sources"] = (*document).visitSources
	return top
}

// schemaOf turns rows such as log.level into groups of keys.
func schemaOf[T any](keys []key[T]) schema {
	top, groups := schema{}, map[string]schema{}
	for _, k := range keys {
		name, rest, nested := strings.Cut(k.path, ".")
		if !nested {
			top[name] = (*document).visitKey
			continue
		}
		if groups[name] == nil {
			inner := schema{}
			groups[name] = inner
			top[name] = func(d *document, at string, line int, n *yaml.Node) { d.visitGroup(at, line, n, inner) }
		}
		groups[name][rest] = (*document).visitKey
	}
	return top
}

func (s schema) names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// readDocument reads the file called name; "" is no file.
func readDocument(name string, readFile func(string) ([]byte, error)) *document {
	d := &document{name: name, settings: map[string]value{}, places: map[string]place{}, unread: map[string]bool{}, lists: map[string]int{}}
	if name == "" {
		return d
	}
	data, err := readFile(name)
	if err != nil {
		d.fail(0, whyUnread(err), "check the path given with --config")
		return d
	}
	d.text = string(data)
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.failSyntax(err)
	case len(root.Content) > 0:
		d.visitGroup("", root.Content[0].Line, root.Content[0], fileSchema)
		d.refuseMore(decoder)
	}
	return d
}

func (d *document) refuseMore(decoder *yaml.Decoder) {
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		d.problem(more.Line, "", "holds more than one YAML document", "keep one and remove the --- between them")
	}
}

// whyUnread tells why a file could not be read without its name: behind a
// variable called NAME_FILE someone may have put the secret itself.
func whyUnread(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "the file may not be read by this user"
	}
	return "the file cannot be read"
}

func (d *document) problem(line int, path, what, mend string) {
	d.problems = append(d.problems, Problem{File: d.name, Line: line, Path: path, What: what, Mend: mend})
}

func (d *document) fail(line int, what, mend string) {
	d.broken = true
	d.problem(line, "", what, mend)
}

var (
	syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	lostAnchor  = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// failSyntax translates an error of the YAML parser. A plain value that begins
// with * is taken for an alias, and the parser's error would print it.
func (d *document) failSyntax(err error) {
	found := syntaxError.FindStringSubmatch(err.Error())
	if found == nil {
		d.fail(0, "is not YAML", "")
		return
	}
	line, _ := strconv.Atoi(found[1])
	if anchor := lostAnchor.FindStringSubmatch(found[2]); anchor != nil {
		before, _, _ := strings.Cut(d.text, "*"+anchor[1])
		d.fail(strings.Count(before, "\n")+1, "refers to a YAML anchor that is not defined", "put quotes around a value that begins with *")
		return
	}
	d.fail(line, "is not YAML: "+found[2], "check indentation and quotes near this line")
}

// visitGroup takes in a mapping whose keys are known.
func (d *document) visitGroup(at string, line int, n *yaml.Node, known schema) {
	for key, n := range d.pairs(at, line, n, "the keys "+strings.Join(known.names(), ", ")) {
		path := join(at, key.Value)
		take, ok := known[key.Value]
		if !ok {
			names := known.names()
			d.problem(key.Line, path, "is not a known key", DidYouMean(key.Value, names)+"known here: "+strings.Join(names, ", "))
			continue
		}
		take(d, path, key.Line, n)
	}
}

// pairs yields the keys and values of a mapping, and reports what is none and
// keys that come twice. Nothing at all is an empty mapping.
func (d *document) pairs(at string, line int, n *yaml.Node, wanted string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(*yaml.Node, *yaml.Node) bool) {
		d.places[at] = place{File: d.name, Line: line}
		n = target(n)
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			d.unread[at] = true
			d.problem(line, at, leaf(n).describe()+", wants "+wanted, "")
			return
		}
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				d.problem(key.Line, at, "has a key that is not plain text", "")
			} else if before, twice := first[key.Value]; twice {
				d.problem(key.Line, join(at, key.Value), fmt.Sprintf("is set twice, first on line %d", before), "remove one of the two")
			} else {
				first[key.Value] = key.Line
				if !yield(key, n.Content[i+1]) {
					return
				}
			}
		}
	}
}

// isUnread reports whether path is, or lies below, what should be a group and
// is none: what it lacks is not known.
func (d *document) isUnread(path string) bool {
	for around := path; around != ""; around = around[:max(0, strings.LastIndexAny(around, ".["))] {
		if d.unread[around] {
			return true
		}
	}
	return d.unread[""]
}

// visitKey takes in what one key is set to; nothing at all leaves it unset.
func (d *document) visitKey(at string, line int, n *yaml.Node) {
	d.places[at] = place{File: d.name, Line: line}
	if n = target(n); !isNull(n) {
		d.settings[at] = d.value(at, line, n)
	}
}

// value copies a node and its children, not deeper: no key holds more, and an
// alias may contain itself.
func (d *document) value(at string, line int, n *yaml.Node) value {
	v := leaf(n)
	v.From = place{File: d.name, Line: line}
	switch v.Shape {
	case list:
		for _, item := range n.Content {
			v.Items = append(v.Items, d.item(item.Line, item))
		}
	case group:
		for key, item := range d.pairs(at, line, n, "") {
			v.Names = append(v.Names, key.Value)
			v.Items = append(v.Items, d.item(key.Line, item))
		}
	}
	return v
}

func (d *document) item(line int, n *yaml.Node) value {
	v := leaf(target(n))
	v.From = place{File: d.name, Line: line}
	return v
}

// visitList takes in a list whose items are groups.
func visitList(many, one string, known schema) visit {
	return func(d *document, at string, line int, n *yaml.Node) {
		d.places[at] = place{File: d.name, Line: line}
		if n = target(n); isNull(n) {
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.problem(line, at, leaf(n).describe()+", wants a list of "+many, "begin each "+one+" with a dash")
			return
		}
		for i, item := range n.Content {
			d.visitGroup(fmt.Sprintf("%s[%d]", at, i), item.Line, item, known)
		}
		d.lists[at] = len(n.Content)
	}
}

// visitSources takes in the sources by name. One with a bad name is still
// looked into, so that its other mistakes show too.
func (d *document) visitSources(at string, line int, n *yaml.Node) {
	for key, n := range d.pairs(at, line, n, "a name for each source, and its keys below the name") {
		path := join(at, key.Value)
		if !sourceName.MatchString(key.Value) {
			d.problem(key.Line, path, "is not a name for a source", "use a-z, 0-9 and -, at most 64, and no - first: the name becomes part of the webhook's address")
		}
		d.visitGroup(path, key.Line, n, sourceSchema)
		d.sources = append(d.sources, key.Value)
	}
}

// leaf is a node without its children.
func leaf(n *yaml.Node) value {
	switch {
	case isNull(n):
		return value{Shape: null}
	case n.Kind == yaml.SequenceNode:
		return value{Shape: list}
	case n.Kind == yaml.MappingNode:
		return value{Shape: group}
	}
	return value{Text: n.Value}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// target follows an alias to what it stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}
