package onboarding

import (
	"math/rand/v2"
	"time"
)

// A schedule is the one place that knows when a failed attempt is made again: the first wait, doubled each
// time up to the cap, plus up to a quarter. Jitter goes only upward, so that nobody is asked earlier than
// promised. With a first wait of 30 s and a cap of 6 h, 20 tries take about three days.
type schedule struct {
	first, cap time.Duration
}

// after returns the wait after the n-th failed attempt (n from 1), never less than what the other side asked for.
func (s schedule) after(n int, asked time.Duration) time.Duration {
	wait := s.first
	for i := 1; i < n && wait < s.cap; i++ {
		wait *= 2
	}
	wait = max(min(wait, s.cap), asked)
	return wait + rand.N(wait/4+1) //nolint:gosec // spreads load; nothing secret
}
