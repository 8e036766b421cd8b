package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const commandsBegin = "<!-- commands -->\n"

// TestCommandLineDoc holds docs/cli.md against what the commands say of themselves. What stands above the mark is written
// by hand.
func TestCommandLineDoc(t *testing.T) {
	const doc = "../../docs/cli.md"
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	head, got, ok := strings.Cut(string(text), commandsBegin)
	if !ok {
		t.Fatalf("%s lacks the line %q", doc, commandsBegin)
	}
	want := commandsDoc(newRoot())
	if got == want {
		return
	}
	if *updateDocs {
		if err := os.WriteFile(doc, []byte(head+commandsBegin+want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what the commands say; mend it with: go test ./cmd/usher -run TestCommandLineDoc -update-docs\n%s", doc, firstDifference(got, want))
}

// commandsDoc is a table of all commands, and a chapter for each.
func commandsDoc(root *cobra.Command) string {
	var table, chapters strings.Builder
	table.WriteString("| Command | Does |\n|---|---|\n")
	for _, cmd := range everyCommand(root) {
		name := cmd.CommandPath()
		fmt.Fprintf(&table, "| [`%s`](#%s) | %s |\n", name, strings.ReplaceAll(name, " ", "-"), strings.ReplaceAll(cmd.Short, "|", `\|`))
		fmt.Fprintf(&chapters, "\n## %s\n\n```\n%s\n```\n\n%s\n\n```sh\n%s\n```\n", name, cmd.UseLine(), cmd.Long, unindented(cmd.Example))
		if cmd.LocalNonPersistentFlags().HasAvailableFlags() {
			chapters.WriteString("\n| Flag | Default | Meaning |\n|---|---|---|\n")
			cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { chapters.WriteString(flagRow(f)) })
		}
	}
	return "\n" + table.String() + chapters.String()
}

func flagRow(f *pflag.Flag) string {
	if f.Name == "help" {
		return ""
	}
	name := "`--" + f.Name + "`"
	if f.Shorthand != "" {
		name = "`-" + f.Shorthand + "`, " + name
	}
	byDefault := "–"
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
		byDefault = "`" + f.DefValue + "`"
	}
	return fmt.Sprintf("| %s | %s | %s |\n", name, byDefault, strings.ReplaceAll(f.Usage, "|", `\|`))
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

// everyCommand lists the commands that are ours, those below others behind them.
func everyCommand(of *cobra.Command) (all []*cobra.Command) {
	for _, cmd := range of.Commands() {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		all = append(all, cmd)
		all = append(all, everyCommand(cmd)...)
	}
	return all
}

// TestEveryCommandExplainsItself wants of each command what a person looks for in its help.
func TestEveryCommandExplainsItself(t *testing.T) {
	for _, cmd := range everyCommand(newRoot()) {
		name := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its summary is %q", name, cmd.Short)
		}
		if n := strings.Count(cmd.Example, "usher "); n < 2 {
			t.Errorf("%s has %d examples", name, n)
		}
		if !strings.Contains(cmd.Long, "xit status") && !cmd.HasSubCommands() {
			t.Errorf("%s does not say with which status it ends", name)
		}
		for line := range strings.Lines(cmd.Long) {
			if len([]rune(line)) > 115 {
				t.Errorf("%s: a line of its help is too long: %s", name, line)
			}
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: its meaning is %q", name, f.Name, f.Usage)
			}
		})
	}
}
