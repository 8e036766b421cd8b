package handlers

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

// callLimits bound how often each actor calls: one program that runs wild must not keep the others waiting, nor the webhooks.
type callLimits struct {
	mu  sync.Mutex
	per map[string]*rate.Limiter // by the actor's name; there are as many as there are tokens
}

// take takes one call of an actor's, or says how long to wait for the next. A minute's calls may come at once.
func (l *callLimits) take(who string, perMinute int, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.per == nil {
		l.per = map[string]*rate.Limiter{}
	}
	limiter := l.per[who]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Limit(float64(perMinute)/time.Minute.Seconds()), perMinute)
		l.per[who] = limiter
	}
	reserved := limiter.ReserveN(now, 1)
	if wait = reserved.DelayFrom(now); wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}

// limit refuses calls that come too often; those from inside this process never do.
func (s *Server) limit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		_, inside := insideActor(c.Request().Context())
		if inside || s.CallsPerMinute <= 0 {
			return next(c)
		}
		who := actorOf(c).name
		if wait := s.callLimits.take(who, s.CallsPerMinute, s.Now()); wait > 0 {
			return &problem{Title: http.StatusText(http.StatusTooManyRequests), Status: http.StatusTooManyRequests, retryAfter: int(math.Ceil(wait.Seconds())),
				Detail: fmt.Sprintf("%s makes more than %d calls a minute: the limit is api.requests_per_minute", who, s.CallsPerMinute)}
		}
		return next(c)
	}
}
