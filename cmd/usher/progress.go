package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A progress shows how far a long work is: a bar on a terminal, elsewhere a line for each step and every ten seconds.
type progress struct {
	w        io.Writer
	unit     string
	terminal bool
	now      func() time.Time

	step      string
	began     time.Time // the step, for the rate
	from      int64     // done when it began
	lastShown time.Time
}

func newProgress(w io.Writer, unit string) *progress {
	return &progress{w: w, unit: unit, terminal: isTerminal(w), now: time.Now}
}

// report is a ledger.Progress.
func (p *progress) report(step string, done, total int64) {
	now := p.now()
	every := 10 * time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	fresh := step != p.step
	if fresh {
		p.step, p.began, p.from = step, now, done
	}
	if !fresh && now.Sub(p.lastShown) < every {
		return
	}
	p.lastShown = now
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(now, done, total))
		return
	}
	fmt.Fprintln(p.w, p.line(now, done, total))
}

// done leaves the line to what comes next.
func (p *progress) done() {
	if p.terminal && p.step != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *progress) line(now time.Time, done, total int64) string {
	const width = 24
	parts := []string{}
	if total > 0 {
		share := min(1, float64(done)/float64(total))
		if p.terminal {
			full := int(share * width)
			parts = append(parts, "["+strings.Repeat("█", full)+strings.Repeat("·", width-full)+"]")
		}
		parts = append(parts, fmt.Sprintf("%3.0f%%", 100*share))
	}
	parts = append(parts, p.step)
	if done > 0 {
		parts = append(parts, fmt.Sprintf("%d %s", done, p.unit))
	}
	if took := now.Sub(p.began).Seconds(); took > 1 && done > p.from {
		rate := float64(done-p.from) / took
		parts = append(parts, fmt.Sprintf("%.0f/s", rate))
		if total > done {
			left := time.Duration(float64(total-done) / rate * float64(time.Second))
			parts = append(parts, left.Round(time.Second).String()+" left")
		}
	}
	return strings.Join(parts, "  ")
}
