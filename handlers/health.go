package handlers

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// livez says that the process runs, and nothing more.
func (s *Server) livez(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz says whether a webhook sent now would be accepted. That Retool is down, or that sending is
// stopped, is no reason to turn customers away: see /v1/summary for those.
func (s *Server) readyz(c echo.Context) error {
	if s.draining.Load() {
		return c.String(http.StatusServiceUnavailable, "stopping\n")
	}
	if s.Ledger != nil && !s.ready.check(s.Ledger.ProveWrite) {
		return c.String(http.StatusServiceUnavailable, "the ledger cannot be written\n")
	}
	return c.String(http.StatusOK, "ok\n")
}

// A readiness remembers its last answer for a second, so that a flood of questions costs no fsync each.
type readiness struct {
	mu    sync.Mutex
	asked time.Time
	ok    bool
}

func (r *readiness) check(prove func(context.Context) error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) > time.Second {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		r.ok, r.asked = prove(ctx) == nil, time.Now()
	}
	return r.ok
}
