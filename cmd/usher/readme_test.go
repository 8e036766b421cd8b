package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/usher-dev/usher/config"
)

var updateReadme = flag.Bool("update-readme", false, "write the table of settings into README.md")

const (
	settingsBegin = "<!-- settings -->\n"
	settingsEnd   = "<!-- /settings -->\n"
)

// TestReadmeSettings holds the README's table against the code, so that no setting goes undescribed.
func TestReadmeSettings(t *testing.T) {
	const readme = "../../README.md"
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, hasBegin := strings.Cut(string(text), settingsBegin)
	got, after, hasEnd := strings.Cut(rest, settingsEnd)
	if !hasBegin || !hasEnd {
		t.Fatalf("README.md lacks the lines %q and %q", settingsBegin, settingsEnd)
	}
	want := settingsTable(config.Keys())
	if got == want {
		return
	}
	if *updateReadme {
		if err := os.WriteFile(readme, []byte(before+settingsBegin+want+settingsEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table of settings in README.md is not that of the code; mend it with: go test ./cmd/usher -run TestReadmeSettings -update-readme\n%s", firstDifference(got, want))
}

func settingsTable(keys []config.Key) string {
	var b strings.Builder
	b.WriteString("| Setting | Variable | Default | Meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Path, variables(k), defaultOf(k), strings.ReplaceAll(k.Doc, "|", `\|`))
	}
	return b.String()
}

func variables(k config.Key) string {
	var names []string
	for _, name := range []string{k.Short, k.Env} {
		if name != "" {
			names = append(names, "`"+name+"`")
		}
	}
	if len(names) == 0 {
		return "–"
	}
	return strings.Join(names, ", ")
}

func defaultOf(k config.Key) string {
	switch {
	case k.Required:
		return "**required**"
	case k.Default == "":
		return "–"
	default:
		return "`" + k.Default + "`"
	}
}

// firstDifference shows the first line that differs.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range b {
		if i >= len(a) || a[i] != b[i] {
			return fmt.Sprintf("got  %s\nwant %s", strings.Join(a[min(i, len(a)):min(i+1, len(a))], ""), b[i])
		}
	}
	return fmt.Sprintf("got %d lines more", len(a)-len(b))
}
