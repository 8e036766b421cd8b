package retooltest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
)

const about = `This is not Retool. It is a fake of Retool's invite API, for tests and demonstrations: it invites nobody.

The API:
  POST   /api/v2/user_invites                        {"email": "ada@example.com"}
  GET    /api/v2/user_invites
  GET    /api/v2/user_invites/{id}
  DELETE /api/v2/user_invites/{id}
  POST   /api/organization/admin/bulkInviteUsers     {"emails": ["ada@example.com"]}
  GET    /api/checkHealth

The controls:
  GET    /sandbox/state                              what it remembers
  POST   /sandbox/faults                             {"kind": "429", "retry_after": "2", "times": 3}, or a list;
                                                     with "email" only where that address is invited
  DELETE /sandbox/faults
  POST   /sandbox/claim                              {"email": "ada@example.com"}: the person accepts
  POST   /sandbox/expire                             {"email": "ada@example.com"}: the invite runs out
  POST   /sandbox/token                              {"token": "…"}: the one accepted from now on
`

// State is what GET /sandbox/state answers.
type State struct {
	Invites  []Invite       `json:"invites"`  // those not deleted, oldest first
	Created  map[string]int `json:"created"`  // by address in lower case: invites ever made
	Requests int            `json:"requests"` // requests ever, these controls not counted
	Faults   []Fault        `json:"faults"`   // still to come
}

// State returns what the fake remembers.
func (r *Retool) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := State{
		Invites: []Invite{}, Created: maps.Clone(r.counts), Requests: r.log.total, Faults: append([]Fault{}, r.faults...),
	}
	for _, inv := range r.invites {
		if !inv.Deleted {
			s.Invites = append(s.Invites, inv.copied())
		}
	}
	return s
}

// sandboxRoutes mounts the controls, which need no token and are not logged.
func (r *Retool) sandboxRoutes() {
	r.control("GET /sandbox/state", func([]byte) response { return reply(r.State()) })
	r.control("POST /sandbox/faults", r.postFaults)
	r.control("DELETE /sandbox/faults", func([]byte) response {
		r.ClearFaults()
		return response{status: http.StatusNoContent}
	})
	r.control("POST /sandbox/claim", func(body []byte) response { return r.postTo(body, r.Claim) })
	r.control("POST /sandbox/expire", func(body []byte) response { return r.postTo(body, r.Expire) })
	r.control("POST /sandbox/token", r.postToken)
	r.control("GET /{$}", func([]byte) response {
		return response{http.StatusOK, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(about)}
	})
}

func (r *Retool) control(pattern string, do func(body []byte) response) {
	r.mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
		if err != nil {
			return // the client is gone
		}
		do(body).writeTo(w)
	})
}

func (r *Retool) postFaults(body []byte) response {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		body = append(append([]byte("["), body...), ']')
	}
	var faults []Fault
	if err := json.Unmarshal(body, &faults); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	r.Inject(faults...)
	return reply(map[string]any{"success": true, "added": len(faults)})
}

// postTo does something to the invite of the address in a body.
func (r *Retool) postTo(body []byte, do func(email string) bool) response {
	var who struct {
		Email string `json:"email"`
	}
	if err := strictly(body, &who); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	if !do(who.Email) {
		return refuse(http.StatusNotFound, "No invite of this address can be accepted")
	}
	return reply(map[string]any{"success": true})
}

func (r *Retool) postToken(body []byte) response {
	var t struct {
		Token string `json:"token"`
	}
	if err := strictly(body, &t); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	r.SetToken(t.Token)
	return reply(map[string]any{"success": true})
}
