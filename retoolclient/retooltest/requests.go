package retooltest

import "time"

// maxRequests is how many requests are remembered.
const maxRequests = 10_000

// Request is one request that the fake has seen. The control surface under /sandbox/ is not counted.
type Request struct {
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"` // 0: no answer was given
	At     time.Time `json:"at"`
	Email  string    `json:"email,omitempty"` // of an invite; several are separated by commas
}

// ring keeps the latest requests.
type ring struct {
	entries []Request
	total   int // requests ever; the next one goes to total modulo maxRequests
}

func (l *ring) add(req Request) {
	if len(l.entries) < maxRequests {
		l.entries = append(l.entries, req)
	} else {
		l.entries[l.total%maxRequests] = req
	}
	l.total++
}

// inOrder returns the requests that are kept, oldest first.
func (l *ring) inOrder() []Request {
	if len(l.entries) < maxRequests {
		return append([]Request(nil), l.entries...)
	}
	oldest := l.total % maxRequests
	return append(append([]Request(nil), l.entries[oldest:]...), l.entries[:oldest]...)
}

func (r *Retool) record(req Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.add(req)
}

// Requests returns the latest 10,000 requests, oldest first.
func (r *Retool) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.inOrder()
}

// TotalRequests tells how many requests there were.
func (r *Retool) TotalRequests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.total
}
