package handlers

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// A Door answers from the first moment: it says that Usher is alive and not ready, until there is a Server behind it.
// A webhook that comes before that is answered 503, so that its sender tries again.
type Door struct {
	behind atomic.Pointer[Server]
	// Why is told to whoever asks meanwhile.
	Why string
	// RetryAfter is what they are asked to wait.
	RetryAfter time.Duration
}

// Open puts a server behind the door.
func (d *Door) Open(s *Server) { d.behind.Store(s) }

// Drain makes /readyz say no.
func (d *Door) Drain() {
	if s := d.behind.Load(); s != nil {
		s.Drain()
	}
}

// ServeHTTP answers one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := d.behind.Load(); s != nil {
		s.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Path == "/livez" {
		_, _ = io.WriteString(w, "ok\n")
		return
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfter.Seconds())))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprintln(w, d.Why)
}
