package usher_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "github.com/usher-dev/usher"
	echoPath = "github.com/labstack/echo"

	maxFunctionLines = 100
)

// arrows say which packages of ours a package may import. cmd and bench, which wire the parts together, may
// import all; a package that is not named here may import none.
var arrows = map[string][]string{
	"handlers":            {"internal/webhook", "internal/access", "internal/ledger", "internal/people"},
	"internal/onboarding": {"internal/webhook", "internal/access", "internal/ledger", "retoolclient"},
	"internal/webhook":    {"internal/access", "internal/expression"},
	"internal/ledger":     {"internal/access"},
	"internal/people":     {"internal/access"}, // its own room: handlers and cmd both read lists, and neither may import the other's
	"internal/access":     {"internal/expression"},
	"internal/expression": {},
	"config":              {},
	"retoolclient":        {},
}

// A source is one file that is not a test, by its path below the root, with slashes.
type source struct {
	path string
	text string
}

func TestRules(t *testing.T) {
	sources := readSources(t)
	if len(sources) < 30 {
		t.Fatalf("only %d files were found", len(sources))
	}
	for _, violation := range check(t, sources) {
		t.Error(violation)
	}
}

// readSources reads the files themselves: a test that asks go list stays cached while they change.
func readSources(t *testing.T) (sources []source) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "vendor") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		sources = append(sources, source{path: filepath.ToSlash(file), text: string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// check returns a sentence for each place where a rule is broken.
func check(t *testing.T, sources []source) (violations []string) {
	t.Helper()
	documented := map[string]bool{}
	for _, s := range sources {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, s.path, s.text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(s.path)
		documented[dir] = documented[dir] || file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != ""
		violations = append(violations, checkFile(files, file, dir)...)
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			violations = append(violations, dir+": the package has no doc comment")
		}
	}
	return violations
}

func checkFile(files *token.FileSet, file *ast.File, dir string) (violations []string) {
	report := func(at token.Pos, format string, args ...any) {
		p := files.Position(at)
		violations = append(violations, fmt.Sprintf("%s:%d: ", p.Filename, p.Line)+fmt.Sprintf(format, args...))
	}
	names := map[string]string{} // a name in this file → the path it imports
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value) // the parser accepted it
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
		if why := checkImport(dir, imported); why != "" {
			report(spec.Pos(), "%s", why)
		}
		if name == "." {
			report(spec.Pos(), "%s is imported into the file's own names, where the rules cannot see its calls", imported)
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if from, ok := node.X.(*ast.Ident); ok {
				if why := checkUse(dir, names[from.Name], node.Sel.Name); why != "" {
					report(node.Pos(), "%s", why)
				}
			}
		case *ast.FuncDecl:
			lines := files.Position(node.End()).Line - files.Position(node.Pos()).Line + 1
			if lines > maxFunctionLines {
				report(node.Pos(), "the function %s has %d lines, at most %d are readable", node.Name.Name, lines, maxFunctionLines)
			}
		}
		return true
	})
	return violations
}

// checkImport says why a package may not import another, or nothing.
func checkImport(dir, imported string) string {
	if imported == echoPath || strings.HasPrefix(imported, echoPath+"/") {
		if dir != "handlers" && !within(dir, "cmd") {
			return dir + " imports Echo, which only handlers and cmd may"
		}
	}
	ours, ok := strings.CutPrefix(imported, module+"/")
	switch {
	case imported == module:
		return dir + " imports the root, which has no package"
	case !ok || within(dir, "cmd") || within(dir, "bench"):
		return ""
	case isTestHelper(ours):
		return fmt.Sprintf("%s imports %s, which is only for tests, cmd and bench", dir, ours)
	case isTestHelper(dir) && ours == path.Dir(dir):
		return "" // a helper may know what it helps to test
	case !slices.Contains(arrows[dir], ours):
		return fmt.Sprintf("%s imports %s: it may import %v of ours", dir, ours, arrows[dir])
	}
	return ""
}

// checkUse says why a package may not use something of another, or nothing.
func checkUse(dir, imported, name string) string {
	switch {
	case imported == "os" && slices.Contains([]string{"Exit", "Getenv", "Environ", "LookupEnv", "ExpandEnv"}, name):
		if dir != "cmd/usher" && !within(dir, "bench") && !isTestHelper(dir) {
			return fmt.Sprintf("%s uses os.%s, which only cmd/usher may", dir, name)
		}
	case imported == "log" && (strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")):
		return fmt.Sprintf("%s uses log.%s: it ends the process behind everybody's back", dir, name)
	case imported == module+"/internal/webhook" && name == "FromLedger" && dir != "internal/onboarding":
		return dir + " uses webhook.FromLedger: what it makes counts as verified, so only the decide stage may"
	}
	return ""
}

func within(dir, above string) bool { return dir == above || strings.HasPrefix(dir, above+"/") }

// isTestHelper knows the packages of test doubles by their names: webhooktest, retooltest.
func isTestHelper(dir string) bool { return strings.HasSuffix(path.Base(dir), "test") }

// A check that nothing fails would be worth nothing.
func TestCheckFindsViolations(t *testing.T) {
	const doc = "// Package p is documented.\npackage p\n"
	imports := func(paths ...string) string {
		text := doc
		for _, p := range paths {
			text += fmt.Sprintf("import _ %q\n", p)
		}
		return text
	}
	tests := []struct {
		name    string
		sources []source
		want    []string // in the violations, one each and in this order
	}{
		{name: "handlers imports what it may", sources: []source{{path: "handlers/a.go", text: imports(module+"/internal/webhook", module+"/internal/access", module+"/internal/ledger", echoPath+"/v4", "os")}}},
		{name: "handlers imports onboarding", sources: []source{{path: "handlers/a.go", text: imports(module + "/internal/onboarding")}}, want: []string{"handlers/a.go:3: handlers imports internal/onboarding"}},
		{name: "handlers imports the Retool client", sources: []source{{path: "handlers/a.go", text: imports(module + "/retoolclient")}}, want: []string{"handlers imports retoolclient"}},
		{name: "handlers imports the configuration", sources: []source{{path: "handlers/a.go", text: imports(module + "/config")}}, want: []string{"handlers imports config"}},
		{name: "onboarding imports what it may", sources: []source{{path: "internal/onboarding/a.go", text: imports(module+"/internal/webhook", module+"/internal/access", module+"/internal/ledger", module+"/retoolclient")}}},
		{name: "onboarding imports handlers", sources: []source{{path: "internal/onboarding/a.go", text: imports(module + "/handlers")}}, want: []string{"internal/onboarding imports handlers"}},
		{name: "webhook imports the ledger", sources: []source{{path: "internal/webhook/a.go", text: imports(module+"/internal/access", module+"/internal/ledger")}}, want: []string{"a.go:4: internal/webhook imports internal/ledger"}},
		{name: "the ledger imports webhook", sources: []source{{path: "internal/ledger/a.go", text: imports(module + "/internal/webhook")}}, want: []string{"internal/ledger imports internal/webhook"}},
		{name: "access imports anything of ours", sources: []source{{path: "internal/access/a.go", text: imports(module + "/internal/ledger")}}, want: []string{"internal/access imports internal/ledger"}},
		{name: "config imports anything of ours", sources: []source{{path: "config/a.go", text: imports(module + "/internal/access")}}, want: []string{"config imports internal/access"}},
		{name: "retoolclient imports anything of ours", sources: []source{{path: "retoolclient/a.go", text: imports(module + "/internal/access")}}, want: []string{"retoolclient imports internal/access"}},
		{name: "a new package imports anything of ours", sources: []source{{path: "internal/fresh/a.go", text: imports(module + "/internal/access")}}, want: []string{"internal/fresh imports internal/access"}},
		{name: "a package imports cmd", sources: []source{{path: "handlers/a.go", text: imports(module + "/cmd/usher")}}, want: []string{"handlers imports cmd/usher"}},
		{name: "cmd and bench import all", sources: []source{
			{path: "cmd/usher/a.go", text: imports(module+"/handlers", module+"/config", module+"/internal/webhook/webhooktest", echoPath+"/v4")},
			{path: "bench/a.go", text: imports(module+"/handlers", module+"/internal/webhook/webhooktest")},
		}},
		{name: "Echo elsewhere", sources: []source{{path: "internal/webhook/a.go", text: imports(echoPath + "/v4")}, {path: "config/a.go", text: imports(echoPath + "/v4/middleware")}}, want: []string{"internal/webhook imports Echo", "config imports Echo"}},
		{name: "a test helper in the code", sources: []source{{path: "handlers/a.go", text: imports(module + "/internal/webhook/webhooktest")}, {path: "internal/onboarding/a.go", text: imports(module + "/retoolclient/retooltest")}}, want: []string{"handlers imports internal/webhook/webhooktest, which is only for tests", "internal/onboarding imports retoolclient/retooltest, which is only for tests"}},
		{name: "a test helper imports what it helps to test", sources: []source{{path: "retoolclient/retooltest/a.go", text: imports(module + "/retoolclient")}}},
		{name: "a test helper imports another room", sources: []source{{path: "retoolclient/retooltest/a.go", text: imports(module + "/internal/ledger")}}, want: []string{"retoolclient/retooltest imports internal/ledger"}},
		{name: "the environment and the exit in cmd/usher", sources: []source{{path: "cmd/usher/a.go", text: doc + "import \"os\"\nfunc f() { os.Exit(len(os.Getenv(\"A\"))) }\n"}}},
		{name: "an exit in a library", sources: []source{{path: "internal/ledger/a.go", text: doc + "import \"os\"\nfunc f() { os.Exit(1) }\n"}}, want: []string{"a.go:4: internal/ledger uses os.Exit"}},
		{name: "the environment in a library, by another name", sources: []source{{path: "config/a.go", text: doc + "import system \"os\"\nvar a, b, c = system.Getenv, system.Environ, system.LookupEnv\n"}}, want: []string{"config uses os.Getenv", "config uses os.Environ", "config uses os.LookupEnv"}},
		{name: "os as one's own names", sources: []source{{path: "config/a.go", text: doc + "import . \"os\"\nfunc f() { Exit(1) }\n"}}, want: []string{"os is imported into the file's own names"}},
		{name: "a fatal log line", sources: []source{{path: "handlers/a.go", text: doc + "import \"log\"\nfunc f() { log.Fatalf(\"no\") }\n"}}, want: []string{"handlers uses log.Fatalf"}},
		{name: "the second door to a Verified, in its one place", sources: []source{{path: "internal/onboarding/a.go", text: doc + "import \"" + module + "/internal/webhook\"\nvar f = webhook.FromLedger\n"}}},
		{name: "the second door to a Verified, in handlers", sources: []source{{path: "handlers/a.go", text: doc + "import hook \"" + module + "/internal/webhook\"\nvar f = hook.FromLedger\n"}}, want: []string{"handlers uses webhook.FromLedger"}},
		{name: "the second door to a Verified, in cmd", sources: []source{{path: "cmd/usher/a.go", text: doc + "import \"" + module + "/internal/webhook\"\nvar f = webhook.FromLedger\n"}}, want: []string{"cmd/usher uses webhook.FromLedger"}},
		{name: "a package documented in one file of two", sources: []source{{path: "config/a.go", text: "package config\n"}, {path: "config/b.go", text: doc}}},
		{name: "a package without documentation", sources: []source{{path: "config/a.go", text: "package config\n"}, {path: "config/b.go", text: "//go:build linux\n\npackage config\n"}}, want: []string{"config: the package has no doc comment"}},
		{name: "a function of 100 lines", sources: []source{{path: "config/a.go", text: doc + "func f() {" + strings.Repeat("\n", 99) + "}\n"}}},
		{name: "a function of 101 lines", sources: []source{{path: "config/a.go", text: doc + "func f() {" + strings.Repeat("\n", 100) + "}\n"}}, want: []string{"a.go:3: the function f has 101 lines"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := check(t, tt.sources)
			if len(got) != len(tt.want) {
				t.Fatalf("violations %q, wants %q", got, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("the violation %q, wants %q", got[i], want)
				}
			}
		})
	}
}
