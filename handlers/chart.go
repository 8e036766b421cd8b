package handlers

import (
	"fmt"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
)

// The chart of the overview: a bar for each day, drawn here. It is as wide as the page and keeps its text readable at any
// width: across it is measured in percent, up in pixels.

const (
	chartDays   = 30
	chartHeight = 160 // of the bars, pixels
	chartTop    = 12  // above them
	chartBar    = .68 // of a day's width
	labelEvery  = 5   // days
)

// A chart is ready to be drawn.
type chart struct {
	Height   int
	Baseline int
	Bars     []bar
	Ticks    []tick
	Made     int64
	Accepted int64
	Best     string // the day with the most, in words
}

// A bar is one day, of three parts that stand on each other.
type bar struct {
	Day      time.Time
	X, Width string
	Middle   string
	Label    string // below it, for some days
	Minor    bool   // a label that a narrow screen leaves out
	Parts    []barPart
	Made     int64
	Accepted int64
	Sent     int64
	Other    int64
}

// Words say what a bar shows.
func (b bar) Words() string {
	return fmt.Sprintf("%s: %s, %s accepted", b.Day.Format("2 January"), plural(b.Made, "invitation", "invitations"), thousands(b.Accepted))
}

type barPart struct {
	Class     string
	Y, Height string
}

// A tick is one line across, with its number.
type tick struct {
	Y    string
	Text string
}

func chartOf(days []ledger.Day) chart {
	c := chart{Height: chartTop + chartHeight + 28, Baseline: chartTop + chartHeight}
	var most int64
	for _, d := range days {
		made := d.Made()
		c.Made, c.Accepted = c.Made+made, c.Accepted+d.Invitations[ledger.Accepted]
		if made > most {
			most, c.Best = made, fmt.Sprintf("%s with %s", d.Start.Format("2 January"), thousands(made))
		}
	}
	step := tickStep(most)
	top := max(step, (most+step-1)/step*step)
	up := func(n int64) float64 { return float64(n) / float64(top) * chartHeight }
	for n := int64(0); n <= top; n += step {
		c.Ticks = append(c.Ticks, tick{Y: fmt.Sprintf("%.1f", chartTop+chartHeight-up(n)), Text: short(n)})
	}
	slot := 100 / float64(len(days))
	for i, d := range days {
		b := bar{Day: d.Start, X: fmt.Sprintf("%.3f%%", (float64(i)+(1-chartBar)/2)*slot), Width: fmt.Sprintf("%.3f%%", chartBar*slot), Middle: fmt.Sprintf("%.3f%%", (float64(i)+.5)*slot),
			Made: d.Made(), Accepted: d.Invitations[ledger.Accepted], Sent: d.Invitations[ledger.Sent] + d.Invitations[ledger.Expired]}
		b.Other = b.Made - b.Accepted - b.Sent
		if fromEnd := len(days) - 1 - i; fromEnd%labelEvery == 0 {
			b.Label, b.Minor = d.Start.Format("2 Jan"), fromEnd%(2*labelEvery) != 0
		}
		at := float64(chartTop + chartHeight)
		for _, part := range []struct {
			class string
			n     int64
		}{{"series-3", b.Accepted}, {"series-2", b.Sent}, {"series-1", b.Other}} {
			if part.n > 0 {
				height := up(part.n)
				at -= height
				b.Parts = append(b.Parts, barPart{Class: part.class, Y: fmt.Sprintf("%.1f", at), Height: fmt.Sprintf("%.1f", max(height, .5))})
			}
		}
		c.Bars = append(c.Bars, b)
	}
	return c
}

// tickStep is a round number of which at most five fit.
func tickStep(most int64) int64 {
	for size := int64(1); ; size *= 10 {
		for _, step := range []int64{size, 2 * size, 5 * size} {
			if most <= 4*step {
				return step
			}
		}
	}
}

// short writes a round number for the side of a chart: 500, 1.5k, 20k, 3M.
func short(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1_000_000, "M"}, {1_000, "k"}} {
		if n >= unit.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(unit.size)), ".0") + unit.name
		}
	}
	return fmt.Sprint(n)
}
