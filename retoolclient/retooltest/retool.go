// Package retooltest is a Retool to test against: an HTTP handler with the invite API of Retool, its plans and scopes,
// faults to order, and a memory of who was invited how often.
//
// Its answers follow Retool's API reference. Where that is silent (the status of a duplicate, say, or the body of a
// bulk invite) it does one of the things that a careful client must bear; do not read it as Retool's documentation.
//
// Serve it with httptest.NewServer(retooltest.New(retooltest.Options{})).
package retooltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Plan is what the organisation has paid for; it decides which calls there are.
type Plan string

// The plans.
const (
	Business   Plan = "business"   // invites, by both ways; the default
	Enterprise Plan = "enterprise" // and users and groups
	Legacy     Plan = "legacy"     // no API v2 at all, web pages in its place; only the bulk invite
	BulkOnly   Plan = "bulk-only"  // API v2 says that it is for enterprise customers; only the bulk invite
)

// Version is what the health check tells.
const Version = "3.300.0-sandbox"

const (
	defaultInviteTTL = 7 * 24 * time.Hour
	maxBody          = 4 << 20
	enterpriseOnly   = "API access is only available for enterprise customers"
)

// Options describe the organisation. The zero value is one on the Business plan that takes any token.
type Options struct {
	Token           string           // the one that is accepted; "" takes any
	Plan            Plan             // "" means Business
	Scopes          []string         // what the token may do, such as "users:write"; none means all
	InternalDomains []string         // addresses there become "default" users, all others "external"
	Now             func() time.Time // nil means time.Now
	InviteTTL       time.Duration    // how long an invite can be claimed; 0 means 7 days
	GroupIDs        []int64          // the groups there are; none means any
	Members         []string         // addresses that are in the organisation already
	OtherOrg        []string         // addresses that belong to another organisation
	FirstID         int64            // id of the first invite; 0 means 1
	Doubles         bool             // a second invite for an address is made and counted, not refused
}

// Retool is a fake Retool. It is safe for concurrent use.
type Retool struct {
	mux *http.ServeMux

	mu       sync.Mutex
	opts     Options
	invites  []*Invite                // every one ever made, in order; an invite's id is FirstID and its index
	open     int                      // how many of them are not deleted
	newest   map[string]*Invite       // by address, in lower case
	counts   map[string]int           // by address: invites ever made
	lasts    map[string]time.Duration // by address: how long its invites last, where that is not the usual time
	members  map[string]bool
	otherOrg map[string]bool
	attrs    []userAttribute
	faults   []Fault
	log      ring
}

// New makes a fake Retool.
func New(o Options) *Retool {
	if o.Plan == "" {
		o.Plan = Business
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.InviteTTL == 0 {
		o.InviteTTL = defaultInviteTTL
	}
	if o.FirstID == 0 {
		o.FirstID = 1
	}
	r := &Retool{
		opts:     o,
		mux:      http.NewServeMux(),
		newest:   map[string]*Invite{},
		lasts:    map[string]time.Duration{},
		counts:   map[string]int{},
		members:  setOf(o.Members),
		otherOrg: setOf(o.OtherOrg),
	}
	r.routes()
	return r
}

func (r *Retool) routes() {
	r.api("GET /api/checkHealth", r.health)
	r.api("POST /api/organization/admin/bulkInviteUsers", r.authorized("users:write", r.bulkInvite))

	r.v2("POST /api/v2/user_invites", "users:write", r.createInvite)
	r.v2("GET /api/v2/user_invites", "users:read", r.listInvites)
	r.v2("GET /api/v2/user_invites/{id}", "users:read", r.withInvite(r.getInvite))
	r.v2("DELETE /api/v2/user_invites/{id}", "users:write", r.withInvite(r.deleteInvite))
	r.v2("POST /api/v2/user_invites/{id}/user_attributes", "users:write", r.withInvite(r.setAttribute))
	r.v2("DELETE /api/v2/user_invites/{id}/user_attributes/{name}", "users:write", r.withInvite(r.deleteAttribute))
	r.v2("GET /api/v2/user_attributes", "users:read", r.listUserAttributes)
	r.v2("POST /api/v2/user_attributes", "users:write", r.createUserAttribute)
	r.v2("GET /api/v2/users", "users:read", r.enterprise(r.listUsers))
	for _, path := range []string{"/api/v2/users", "/api/v2/users/", "/api/v2/groups", "/api/v2/groups/"} {
		r.v2(path, "", r.enterprise(noSuchPath))
	}
	r.v2("/api/v2/", "", noSuchPath)

	r.sandboxRoutes()
	r.api("/", func(*request) response { return page(http.StatusNotFound, "Page not found") })
}

// ServeHTTP answers as Retool would.
func (r *Retool) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.mux.ServeHTTP(w, req) }

// SetToken changes the token that is accepted; "" takes any.
func (r *Retool) SetToken(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opts.Token = token
}

// SetPlan changes the plan; "" means Business.
func (r *Retool) SetPlan(p Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == "" {
		p = Business
	}
	r.opts.Plan = p
}

// SetScopes changes what the token may do; none means everything.
func (r *Retool) SetScopes(scopes ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opts.Scopes = slices.Clone(scopes)
}

// request is one call with its body read.
type request struct {
	*http.Request
	body []byte
}

// response is an answer, as data.
type response struct {
	status int
	header http.Header
	body   []byte
}

// endpoint does the work of one call. It locks what it needs.
type endpoint func(*request) response

// api mounts an endpoint behind the request log and the faults.
func (r *Retool) api(pattern string, do endpoint) {
	r.mux.HandleFunc(pattern, func(w http.ResponseWriter, hr *http.Request) {
		body, err := io.ReadAll(io.LimitReader(hr.Body, maxBody))
		if err != nil {
			return // the client is gone
		}
		req := &request{hr, body}
		entry := Request{Method: hr.Method, Path: hr.URL.Path, Email: emailsOf(req), At: r.now()}
		defer func() { r.record(entry) }() // also when a fault panics the connection away
		resp, ok := r.answer(req, do)
		if !ok {
			return
		}
		entry.Status = resp.status
		resp.writeTo(w)
	})
}

// v2 mounts an endpoint of the documented API.
func (r *Retool) v2(pattern, scope string, do endpoint) {
	allowed := r.authorized(scope, do)
	r.api(pattern, func(req *request) response {
		switch r.plan() {
		case Legacy:
			return page(http.StatusNotFound, "Page not found")
		case BulkOnly:
			return refuse(http.StatusForbidden, enterpriseOnly)
		}
		return allowed(req)
	})
}

// authorized lets only a request with the token, and the scope, through.
func (r *Retool) authorized(scope string, do endpoint) endpoint {
	return func(req *request) response {
		r.mu.Lock()
		token, scopes := r.opts.Token, r.opts.Scopes
		r.mu.Unlock()
		given, bearer := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if !bearer || given == "" || token != "" && given != token {
			return refuse(http.StatusUnauthorized, "Invalid API token")
		}
		if scope != "" && len(scopes) > 0 && !slices.Contains(scopes, scope) {
			return refuse(http.StatusForbidden, fmt.Sprintf("This API token lacks the required scope: %s", scope))
		}
		return do(req)
	}
}

// enterprise lets only the Enterprise plan through.
func (r *Retool) enterprise(do endpoint) endpoint {
	return func(req *request) response {
		if r.plan() != Enterprise {
			return refuse(http.StatusForbidden, enterpriseOnly)
		}
		return do(req)
	}
}

func (r *Retool) plan() Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opts.Plan
}

func (r *Retool) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opts.Now()
}

func (r *Retool) health(*request) response { return reply(map[string]string{"version": Version}) }

func noSuchPath(*request) response { return refuse(http.StatusNotFound, "Not found") }

// reply is a 200 with a JSON body.
func reply(v any) response { return jsonResponse(http.StatusOK, v) }

// refuse is Retool's error body.
func refuse(status int, message string) response {
	return jsonResponse(status, map[string]any{"success": false, "message": message})
}

// page is a web page, which Retool answers where there is no API.
func page(status int, title string) response {
	body := fmt.Sprintf("<!DOCTYPE html><html><head><title>Retool</title></head><body><h1>%s</h1></body></html>\n", title)
	return response{status, http.Header{"Content-Type": {"text/html; charset=utf-8"}}, []byte(body)}
}

func jsonResponse(status int, v any) response {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // only values of this package come here
	}
	return response{status, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, buf.Bytes()}
}

func (resp response) writeTo(w http.ResponseWriter) {
	for name, values := range resp.header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.status)
	_, _ = w.Write(resp.body) // a client that is gone needs no answer
}

// strictly reads a JSON object that has no other fields than v's.
func strictly(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("more than one value")
	}
	return nil
}

func setOf(addresses []string) map[string]bool {
	set := make(map[string]bool, len(addresses))
	for _, a := range addresses {
		set[key(a)] = true
	}
	return set
}

// key is how an address is remembered.
func key(email string) string { return strings.ToLower(strings.TrimSpace(email)) }
