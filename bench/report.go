package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// A table is what one scenario saw.
type table struct {
	Scenario string   `json:"scenario"`
	About    string   `json:"about"`
	Settings string   `json:"settings"`
	Columns  []string `json:"columns"`
	Rows     []*row   `json:"rows"`
	Goals    []*goal  `json:"goals"`
	Notes    []string `json:"notes"`
}

// A row is one server: its figures by column, one for each round.
type row struct {
	Server string      `json:"server"`
	Values [][]float64 `json:"values"`
}

// A goal is a ratio or figure that has to be reached.
type goal struct {
	What  string    `json:"what"`
	Bound string    `json:"bound"` // "≥", "<", or empty where it is only told
	Wants float64   `json:"wants"`
	Seen  []float64 `json:"seen"`
}

// add notes one round of a server.
func (t *table) add(server string, values ...float64) {
	i := slices.IndexFunc(t.Rows, func(r *row) bool { return r.Server == server })
	if i < 0 {
		i = len(t.Rows)
		t.Rows = append(t.Rows, &row{Server: server, Values: make([][]float64, len(t.Columns))})
	}
	for c, v := range values {
		t.Rows[i].Values[c] = append(t.Rows[i].Values[c], v)
	}
}

// see notes one round's figure of a goal.
func (t *table) see(what, bound string, wants, value float64) {
	i := slices.IndexFunc(t.Goals, func(g *goal) bool { return g.What == what })
	if i < 0 {
		i = len(t.Goals)
		t.Goals = append(t.Goals, &goal{What: what, Bound: bound, Wants: wants})
	}
	t.Goals[i].Seen = append(t.Goals[i].Seen, value)
}

// note adds a remark once.
func (t *table) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(t.Notes, text) {
		t.Notes = append(t.Notes, text)
	}
}

func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n%s\n%s\n\n", t.Scenario, t.About, t.Settings)
	if len(t.Rows) > 0 {
		fmt.Fprintf(w, "| | %s |\n|---%s|\n", strings.Join(t.Columns, " | "), strings.Repeat("|---", len(t.Columns)))
	}
	for _, r := range t.Rows {
		fmt.Fprintf(w, "| %s", r.Server)
		for _, values := range r.Values {
			fmt.Fprintf(w, " | %s", spread(values))
		}
		fmt.Fprintln(w, " |")
	}
	if len(t.Goals) > 0 {
		fmt.Fprintln(w, "\n| figure | wanted | seen | |\n|---|---|---|---|")
	}
	for _, g := range t.Goals {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", g.What, g.wanted(), spread(g.Seen), g.verdict())
	}
	for _, n := range t.Notes {
		fmt.Fprintf(w, "\n- %s", n)
	}
	fmt.Fprintln(w)
}

func (g *goal) wanted() string {
	if g.Bound == "" {
		return ""
	}
	return fmt.Sprintf("%s %s", g.Bound, number(g.Wants))
}

// verdict is by the median.
func (g *goal) verdict() string {
	m := median(g.Seen)
	switch {
	case g.Bound == "":
		return ""
	case g.Bound == "≥" && m >= g.Wants, g.Bound == "<" && m < g.Wants:
		return "reached"
	default:
		return "missed"
	}
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// spread shows the median, with the lowest and the highest where there are several.
func spread(all []float64) string {
	switch len(all) {
	case 0:
		return "–"
	case 1:
		return number(all[0])
	}
	return fmt.Sprintf("%s (%s–%s)", number(median(all)), number(slices.Min(all)), number(slices.Max(all)))
}

// number shows as many digits as say something.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// machine says where this was measured.
func machine() string {
	return fmt.Sprintf("%d cores (%s), %s, %s/%s, %s", runtime.NumCPU(), cmp.Or(lineOf("/proc/cpuinfo", "model name"), "of an unknown kind"),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, cmp.Or(fileText("/proc/sys/kernel/osrelease"), "an unknown kernel"))
}

func fileText(path string) string {
	text, _ := os.ReadFile(path) // it is there on Linux
	return strings.TrimSpace(string(text))
}

// lineOf is the value of the first line with that name, as in /proc.
func lineOf(path, name string) string {
	for line := range strings.Lines(fileText(path)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func writeJSON(path string, s settings, tables []*table) error {
	text, err := json.MarshalIndent(struct {
		Machine  string   `json:"machine"`
		Settings settings `json:"settings"`
		Tables   []*table `json:"scenarios"`
	}{machine(), s, tables}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
