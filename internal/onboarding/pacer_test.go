package onboarding

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		calls := make(chan time.Time, 4)
		for range cap(calls) { // workers that contend
			go func() {
				for wait := p.take(250 * time.Millisecond); wait > 0; wait = p.take(250 * time.Millisecond) {
					time.Sleep(wait)
				}
				calls <- time.Now()
			}()
		}
		last := <-calls
		for range cap(calls) - 1 {
			next := <-calls
			if apart := next.Sub(last); apart < 250*time.Millisecond {
				t.Errorf("two calls are %s apart", apart)
			}
			last = next
		}
		p.hold(time.Minute)
		p.hold(time.Second) // the longer one holds
		if wait := p.take(0); wait < 59*time.Second {
			t.Errorf("the pace goes on after %s", wait)
		}
	})
}

func TestAskedToWait(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		status int
		header http.Header
		want   time.Duration
	}{
		{name: "seconds", status: 429, header: http.Header{"Retry-After": {"7"}}, want: 7 * time.Second},
		{name: "a date", status: 429, header: http.Header{"Retry-After": {"Sun, 01 Mar 2026 12:02:00 GMT"}}, want: 2 * time.Minute},
		{name: "a date long ago", status: 429, header: http.Header{"Retry-After": {"Sun, 01 Mar 2020 12:02:00 GMT"}}, want: rateLimitWait},
		{name: "HubSpot's window", status: 429, header: http.Header{http.CanonicalHeaderKey("X-HubSpot-RateLimit-Interval-Milliseconds"): {"10000"}}, want: 10 * time.Second},
		{name: "nothing", status: 429, want: rateLimitWait},
		{name: "nonsense", status: 429, header: http.Header{"Retry-After": {"-1; soon"}}, want: rateLimitWait},
		{name: "longer than a day", status: 429, header: http.Header{"Retry-After": {"4000000000"}}, want: maxAfter},
		{name: "beyond all numbers", status: 429, header: http.Header{"Retry-After": {"99999999999999999999"}}, want: rateLimitWait},
		{name: "away for a while", status: 503, header: http.Header{"Retry-After": {"7"}}, want: 7 * time.Second},
		{name: "away", status: 503},
		{name: "a refusal that names a time", status: 401, header: http.Header{"Retry-After": {"7"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := askedToWait(&http.Response{StatusCode: tt.status, Header: tt.header}, now); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
