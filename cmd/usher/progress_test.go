package main

import (
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	bar := func(full int) string {
		return "\r\x1b[K[" + strings.Repeat("█", full) + strings.Repeat("·", 24-full) + "]  "
	}
	tests := []struct {
		name     string
		terminal bool
		want     string
	}{
		{name: "on a terminal, a bar", terminal: true, want: bar(0) + "  0%  copying events" +
			bar(6) + " 25%  copying events  500 rows  50/s  30s left" + bar(0) + "  0%  verifying events" + "\r\x1b[K"},
		{name: "elsewhere, lines", want: "  0%  copying events\n 25%  copying events  500 rows  50/s  30s left\n  0%  verifying events\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			at := time.Unix(0, 0)
			p := newProgress(&out, "rows")
			p.terminal, p.now = tt.terminal, func() time.Time { return at }
			p.report("copying events", 0, 2000)
			at = at.Add(50 * time.Millisecond) // too early for another
			p.report("copying events", 100, 2000)
			at = at.Add(10*time.Second - 50*time.Millisecond)
			p.report("copying events", 500, 2000)
			p.report("verifying events", 0, 2000)
			p.done()
			if out.String() != tt.want {
				t.Errorf("got\n%q\nwant\n%q", out.String(), tt.want)
			}
		})
	}
}
