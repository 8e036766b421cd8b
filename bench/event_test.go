package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
)

// A benchmark whose requests are refused, or invite nobody, would measure something else.
func TestRequestsAreAcceptedAndInvite(t *testing.T) {
	source, err := stripeSource()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := access.NewPolicy(access.PolicyConfig{Internal: []string{"acme.example"}})
	if err != nil {
		t.Fatal(err)
	}
	m, now := newMaker(schemes["stripe"]), time.Now()
	ids, addresses := map[string]bool{}, map[string]bool{}
	for range 100 {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(m.next(now))))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || !json.Valid(body) || len(body) < 2900 || len(body) > 3300 {
			t.Fatalf("%v; %d bytes: %s", err, len(body), body)
		}
		v, err := source.Verify(now, webhook.Request{Method: r.Method, Header: r.Header, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range source.Events(v) {
			verdict := onboarding.Verdict(policy, e)
			if verdict.Decision.Outcome != access.Invite {
				t.Fatalf("%+v", verdict.Decision)
			}
			ids[e.ID], addresses[verdict.Decision.Address.Full()] = true, true
		}
	}
	if len(ids) != 100 || len(addresses) != 100 {
		t.Errorf("100 requests with %d identities and %d addresses", len(ids), len(addresses))
	}
}

// The open model's schedule is what latency is counted from.
func TestWhenRequestsAreDue(t *testing.T) {
	start := time.Unix(1000, 0)
	g := &generator{start: start, phases: []phase{{rate: 2, duration: 3 * time.Second}, {rate: 100, duration: time.Second}}}
	tests := []struct {
		name      string
		n         int
		wantPhase int
		want      time.Duration
		wantOver  bool
	}{
		{name: "the first is due at once", n: 0, want: 0},
		{name: "the last of the first phase", n: 5, want: 2500 * time.Millisecond},
		{name: "the first of the second", n: 6, wantPhase: 1, want: 3 * time.Second},
		{name: "the last of all", n: 105, wantPhase: 1, want: 3990 * time.Millisecond},
		{name: "then it is over", n: 106, wantOver: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			phase, at, ok := g.due(tt.n)
			if ok == tt.wantOver {
				t.Fatalf("goes on: %v", ok)
			}
			if ok && (phase != tt.wantPhase || at.Sub(start) != tt.want) {
				t.Errorf("phase %d after %s, want %d after %s", phase, at.Sub(start), tt.wantPhase, tt.want)
			}
		})
	}
}
