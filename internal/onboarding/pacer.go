package onboarding

import (
	"sync"
	"time"
)

// A pacer keeps the calls to one provider apart, whichever worker makes them.
type pacer struct {
	mu   sync.Mutex
	next time.Time
}

// take asks for one call, now. It returns how long to wait before asking again, 0 when the call is granted.
func (p *pacer) take(interval time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if wait := p.next.Sub(now); wait > 0 {
		return wait
	}
	p.next = now.Add(interval)
	return 0
}

// hold grants no call for a while.
func (p *pacer) hold(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.next) {
		p.next = until
	}
}
