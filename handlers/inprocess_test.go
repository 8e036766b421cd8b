package handlers_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
)

// inside makes one call from inside the process.
func inside(t *testing.T, w *world, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://usher.inside"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	answer, err := (&http.Client{Transport: w.handler.InProcess("command line")}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestInProcessNeedsNoToken(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.AdminToken = "" }) // the API is off for the network
	status, body := inside(t, w, http.MethodPost, "/v1/invitations", `{"email": "jane@example.com"}`, http.Header{})
	if status != http.StatusAccepted || !strings.Contains(body, `"id":1`) {
		t.Fatalf("%d %s", status, body)
	}
	if status, body = inside(t, w, http.MethodGet, "/v1/invitations/1", "", http.Header{}); status != http.StatusOK || !strings.Contains(body, "jane@example.com") {
		t.Fatalf("%d %s", status, body)
	}
	if status, body = inside(t, w, http.MethodGet, "/v1/audit?actor=command+line", "", http.Header{}); status != http.StatusOK || !strings.Contains(body, `"what":"invite","invitation":1`) {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ = inside(t, w, http.MethodGet, "/v1/invitations/2", "", http.Header{}); status != http.StatusNotFound {
		t.Fatalf("%d", status)
	}
}

// TestInProcessIsClosedToTheNetwork tries what somebody outside could think of.
func TestInProcessIsClosedToTheNetwork(t *testing.T) {
	w := newWorld(t, nil)
	for name, header := range map[string]http.Header{
		"nothing":                   {},
		"its host":                  {"Host": {"usher.inside"}},
		"its name as the actor":     {"X-Actor": {"command line"}, "X-Usher-Actor": {"command line"}, "Actor": {"command line"}},
		"its name as the token":     {"Authorization": {"Bearer command line"}},
		"an empty token":            {"Authorization": {"Bearer "}},
		"that it comes from inside": {"X-Forwarded-For": {"in process"}, "X-Real-Ip": {"in process"}, "Forwarded": {"for=in-process"}},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/v1/invitations", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header, r.Host = header, header.Get("Host")
		if answer, body := do(t, w, r); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, answer.StatusCode, body)
		}
	}
	// What a caller puts into the context of its own request does not cross the network either.
	type insideKey struct{}
	r, err := http.NewRequestWithContext(context.WithValue(t.Context(), insideKey{}, "command line"), http.MethodGet, w.server.URL+"/v1/invitations", nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, body := do(t, w, r); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a context: %d %s", answer.StatusCode, body)
	}
}

func TestInProcessEndsWithItsCaller(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://usher.inside/v1/summary", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if answer, err := w.handler.InProcess("command line").RoundTrip(r); err == nil {
			_ = answer.Body.Close()
		}
	}()
	select {
	case <-done: // with an error or with an answer, whichever was first
	case <-time.After(10 * time.Second):
		t.Fatal("it never came back")
	}
}
