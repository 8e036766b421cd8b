package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one mistake in the configuration, told so that it can be mended
// without reading code. It never holds a value, for a value may be a secret
// that stands in the wrong place.
type Problem struct {
	// File is the configuration file, or "env NAME" for an environment
	// variable, or "" when the mistake is an absence and there is no file.
	File string
	// Line counts from 1. It is 0 for the environment and for what is absent.
	Line int
	// Path is the key, such as sources.stripe.secrets[0]. It is "" when the
	// mistake concerns the whole file or variable.
	Path string
	// What is wrong, as the rest of a sentence that begins with Path.
	What string
	// Mend says what to do about it. It may be "".
	Mend string
}

// String returns the problem on one line:
// "usher.yaml:12: sources.stripe.secrets[0]: is blank; set STRIPE_WEBHOOK_SECRET".
func (p Problem) String() string {
	where := p.File
	if where != "" && p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	parts := slices.DeleteFunc([]string{where, p.Path, p.What}, func(s string) bool { return s == "" })
	said := strings.Join(parts, ": ")
	if p.Mend != "" {
		said += "; " + p.Mend
	}
	return said
}

// Problems are all the mistakes of one configuration.
type Problems []Problem

// Error returns one problem per line: those of the file in the order of its
// lines, then those of the environment and what is absent.
func (ps Problems) Error() string {
	return strings.Join(ps.Lines(), "\n")
}

// Lines returns them one by one, in the order of Error.
func (ps Problems) Lines() []string {
	lines := make([]string, len(ps))
	for i, p := range ps.Sorted() {
		lines[i] = p.String()
	}
	return lines
}

// Err returns the problems as an error, nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Sorted puts those of the file in the order of its lines, the others behind them.
func (ps Problems) Sorted() Problems {
	return slices.SortedStableFunc(slices.Values(ps), func(a, b Problem) int {
		switch {
		case a.Line > 0 && b.Line > 0:
			return cmp.Compare(a.Line, b.Line)
		case a.Line > 0:
			return -1
		case b.Line > 0:
			return 1
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Path, b.Path))
	})
}

// DidYouMean returns "did you mean X? " for the known word that is a slip of
// the finger away from word, and "" when there is none.
func DidYouMean(word string, known []string) string {
	best, least := "", min(3, len(word)/3+1)+1
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "? "
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours, each counting 1.
func distance(a, b string) int {
	const tooLong = 128 // no key is; keeps hostile input cheap
	if len(a) > tooLong || len(b) > tooLong {
		return tooLong
	}
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
