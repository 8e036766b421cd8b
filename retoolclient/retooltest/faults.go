package retooltest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong on order. Faults are used up in the order they came in, one for each request that
// they are for.
type Fault struct {
	// Kind is one of
	//
	//	status              Status, with Retool's error body
	//	429                 too many requests
	//	500                 an internal error, nothing done
	//	unauthorized        401, as for a wrong token
	//	scope               403, as for a token that may not
	//	plan                403, as for a plan that is too small
	//	html                a web page, with status 200 unless Status says otherwise
	//	slow                the work is done after Delay
	//	timeout-after-work  the work is done, and the answer held until the client gives up, or for Delay if it is set
	//	reset               the connection is cut, nothing done
	//	reset-after-work    the work is done and the connection cut
	Kind       string
	Status     int           // HTTP status of "status" and "html"
	RetryAfter string        // header of an error: seconds or a date
	Times      int           // how many requests it hits; 0 means 1, negative all until ClearFaults
	Delay      time.Duration // in JSON a string such as "2s"
	On         string        // which requests: "invite" (by either way; the default), "list", "get" (one invite), "delete" or "any"
	Email      string        // only those that name this address; "" is all
	Message    string        // of an error body; each kind has its own
}

// faultJSON is a Fault as JSON has it.
type faultJSON struct {
	Kind       string `json:"kind"`
	Status     int    `json:"status,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`
	Times      int    `json:"times,omitempty"`
	Delay      string `json:"delay,omitempty"`
	On         string `json:"on,omitempty"`
	Email      string `json:"email,omitempty"`
	Message    string `json:"message,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (f Fault) MarshalJSON() ([]byte, error) {
	j := faultJSON{f.Kind, f.Status, f.RetryAfter, f.Times, "", f.On, f.Email, f.Message}
	if f.Delay != 0 {
		j.Delay = f.Delay.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses what it does not know, so that a misspelt fault is no fault
// in silence.
func (f *Fault) UnmarshalJSON(raw []byte) error {
	var j faultJSON
	if err := strictly(raw, &j); err != nil {
		return err
	}
	*f = Fault{j.Kind, j.Status, j.RetryAfter, j.Times, 0, j.On, j.Email, j.Message}
	if j.Delay != "" {
		delay, err := time.ParseDuration(j.Delay)
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
		f.Delay = delay
	}
	return f.check()
}

// defaults are the status and words of the faults that answer with Retool's error body.
var defaults = map[string]struct {
	status  int
	message string
}{
	"status":       {http.StatusInternalServerError, ""},
	"429":          {http.StatusTooManyRequests, "Too many requests"},
	"500":          {http.StatusInternalServerError, "Internal server error"},
	"unauthorized": {http.StatusUnauthorized, "Invalid API token"},
	"scope":        {http.StatusForbidden, "This API token lacks the required scope: users:write"},
	"plan":         {http.StatusForbidden, enterpriseOnly},
}

func (f Fault) check() error {
	_, plain := defaults[f.Kind]
	if !plain && !slices.Contains([]string{"html", "slow", "timeout-after-work", "reset", "reset-after-work"}, f.Kind) {
		return fmt.Errorf("fault of unknown kind %q", f.Kind)
	}
	if !slices.Contains([]string{"", "invite", "list", "get", "delete", "any"}, f.On) {
		return fmt.Errorf("fault on %q: want invite, list, get, delete or any", f.On)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 999) {
		return fmt.Errorf("fault with status %d", f.Status)
	}
	return nil
}

// Inject adds faults to those that wait. It panics on a fault of an unknown kind, which is a mistake in a test.
func (r *Retool) Inject(faults ...Fault) {
	for _, f := range faults {
		if err := f.check(); err != nil {
			panic("retooltest: " + err.Error())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range faults {
		f.Times = cmp.Or(f.Times, 1)
		r.faults = append(r.faults, f)
	}
}

// ClearFaults forgets the faults that wait.
func (r *Retool) ClearFaults() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

// takeFault returns the next fault for a request, and uses it up.
func (r *Retool) takeFault(req *request) (Fault, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.faults {
		f := &r.faults[i]
		if !f.hits(req) {
			continue
		}
		hit := *f
		switch {
		case f.Times == 1:
			r.faults = slices.Delete(r.faults, i, i+1)
		case f.Times > 1:
			f.Times--
		}
		return hit, true
	}
	return Fault{}, false
}

// hits reports whether the fault is for this request.
func (f Fault) hits(req *request) bool {
	if f.Email != "" && !strings.Contains(strings.ToLower(string(req.body)), `"`+key(f.Email)+`"`) {
		return false
	}
	v2 := strings.HasSuffix(req.URL.Path, "/user_invites")
	switch f.On {
	case "any":
		return true
	case "list":
		return req.Method == http.MethodGet && v2
	case "get":
		return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/user_invites/")
	case "delete":
		return req.Method == http.MethodDelete
	}
	return req.Method == http.MethodPost && (v2 || strings.HasSuffix(req.URL.Path, "/bulkInviteUsers"))
}

// answer does the work of a request, or what a fault makes of it. It returns false when the client went away.
func (r *Retool) answer(req *request, do endpoint) (response, bool) {
	f, hit := r.takeFault(req)
	if !hit {
		return do(req), true
	}
	switch f.Kind {
	case "reset":
		panic(http.ErrAbortHandler) // net/http's way to cut a connection
	case "reset-after-work":
		do(req)
		panic(http.ErrAbortHandler)
	case "timeout-after-work":
		resp := do(req)
		return resp, f.wait(req)
	case "slow":
		if !f.wait(req) {
			return response{}, false
		}
		return do(req), true
	}
	return f.response(), true
}

// wait waits for Delay, or without one for ever, and reports false when the client went away before.
func (f Fault) wait(req *request) bool {
	var over <-chan time.Time
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return true
	case <-req.Context().Done():
		return false
	}
}

// response is the answer of a fault that does no work.
func (f Fault) response() response {
	if f.Kind == "html" {
		return f.withRetryAfter(page(cmp.Or(f.Status, http.StatusOK), cmp.Or(f.Message, "Sign in to Retool")))
	}
	def := defaults[f.Kind]
	status := def.status
	if f.Kind == "status" {
		status = cmp.Or(f.Status, status)
	}
	return f.withRetryAfter(refuse(status, cmp.Or(f.Message, def.message, http.StatusText(status))))
}

// withRetryAfter adds the Retry-After header.
func (f Fault) withRetryAfter(resp response) response {
	if f.RetryAfter != "" {
		resp.header.Set("Retry-After", f.RetryAfter)
	}
	return resp
}
