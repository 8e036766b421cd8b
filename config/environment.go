package config

import (
	"regexp"
	"slices"
	"strings"
)

// environment is the process's environment, in which every NAME has a twin
// NAME_FILE that names a file to read the value from.
type environment struct {
	vars     map[string]string
	readFile func(string) ([]byte, error)
}

// foreign are the USHER_ variables that the command line takes for itself.
var foreign = []string{"USHER_CONFIG", "USHER_URL", "USHER_TOKEN"}

func newEnvironment(environ []string, readFile func(string) ([]byte, error)) environment {
	vars := make(map[string]string, len(environ))
	for _, pair := range environ {
		if name, text, ok := strings.Cut(pair, "="); ok && name != "" {
			vars[name] = text
		}
	}
	return environment{vars: vars, readFile: readFile}
}

// lookup returns the value of a variable or its twin, false when neither is
// set. What is wrong with them is in the problems, and makes the value broken.
// An empty twin counts as unset; whether an empty variable does is up to the
// caller.
func (e environment) lookup(name string) (value, bool, Problems) {
	twin := name + "_FILE"
	text, direct := e.vars[name]
	from := place{File: "env " + name}
	file := e.vars[twin]
	switch {
	case file != "" && text != "":
		return value{Shape: broken, From: from}, true, Problems{{
			File: from.File, What: "is set, and so is " + twin, Mend: "unset one of the two",
		}}
	case file != "":
		return e.fromFile(twin, file)
	}
	return value{Text: text, Split: true, From: from}, direct, nil
}

func (e environment) fromFile(twin, file string) (value, bool, Problems) {
	from := place{File: "env " + twin}
	data, err := e.readFile(file)
	if err != nil {
		return value{Shape: broken, From: from}, true, Problems{{
			File: from.File, What: whyUnread(err), Mend: "set it to the path of a file that Usher can read",
		}}
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	return value{Text: text, Split: true, From: from}, true, nil
}

// isKubernetes returns a test for the variables that Kubernetes puts into every
// pod beside a service called usher or usher-something: USHER_SERVICE_HOST,
// USHER_PORT_8080_TCP and their kin.
func (e environment) isKubernetes() func(string) bool {
	var services []string
	for name := range e.vars {
		if service, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok {
			services = append(services, service)
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(services, func(service string) bool {
			return strings.HasPrefix(name, service+"_SERVICE_") || strings.HasPrefix(name, service+"_PORT")
		})
	}
}

// has reports whether a variable or its twin is set and not empty.
func (e environment) has(name string) bool { return e.vars[name] != "" || e.vars[name+"_FILE"] != "" }

// unknown reports the USHER_ variables that set nothing: known are those that
// do, and the text of the file may refer to more.
func (e environment) unknown(known []string, text string) Problems {
	var found Problems
	isKubernetes := e.isKubernetes()
	for name := range e.vars {
		single := strings.TrimSuffix(name, "_FILE")
		expected := slices.Contains(known, single) || slices.Contains(foreign, single) || isKubernetes(name) ||
			strings.Contains(text, "${"+name+"}") || strings.Contains(text, "${"+single+"}")
		if expected || !strings.HasPrefix(name, "USHER_") {
			continue
		}
		mend := "if it is not meant for Usher, give it a name that does not begin with USHER_"
		if source := sourceOf(single); source != "" {
			mend = "the file must name the source first: write " + source + ": below sources, then its keys can be variables"
		}
		found = append(found, Problem{File: "env " + name, What: "sets no key of usher.yaml", Mend: DidYouMean(name, known) + mend})
	}
	return found
}

// sourceOf is the name of the source that a variable speaks of, such as foo in
// USHER_SOURCES_FOO_PRESET, or "" when it speaks of none.
func sourceOf(variable string) string {
	rest, ok := strings.CutPrefix(variable, "USHER_SOURCES_")
	if !ok {
		return ""
	}
	shortest := ""
	for _, k := range sourceKeys {
		name, isKey := strings.CutSuffix(rest, strings.TrimPrefix(k.env(""), "USHER"))
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if !k.file && isKey && sourceName.MatchString(name) && (shortest == "" || len(name) < len(shortest)) {
			shortest = name // FOO_EVENT_ID is the event_id of foo, not the id of foo-event
		}
	}
	return shortest
}

var (
	// reference matches the escape $${, and ${NAME} or what begins like it.
	reference = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)
	// oneName matches a reference that is well made.
	oneName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
)

// expand replaces the references in a text, once: what a variable holds is
// taken as it is. The names of the variables and what is wrong come with it.
func (e environment) expand(text string) (expanded string, names []string, wrong Problems) {
	expanded = reference.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$${" {
			return "${"
		}
		name := oneName.FindStringSubmatch(match)
		if name == nil {
			wrong = append(wrong, Problem{What: "holds ${ without the name of a variable", Mend: "write ${NAME}, or $${ for a plain ${"})
			return ""
		}
		v, ok, problems := e.lookup(name[1])
		names, wrong = append(names, name[1]), append(wrong, problems...)
		if !ok {
			wrong = append(wrong, Problem{What: "refers to " + name[1] + ", which is not set", Mend: "set " + name[1] + " or " + name[1] + "_FILE"})
		}
		return v.Text
	})
	return expanded, names, wrong
}
