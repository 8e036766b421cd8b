package retooltest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pageSize is how many invites one page of the list has.
const pageSize = 100

// Invite is one invitation as Retool keeps it, with its field names.
type Invite struct {
	ID           int64          `json:"id"`
	LegacyID     int64          `json:"legacy_id"`
	InvitedBy    string         `json:"invited_by"`
	InvitedEmail string         `json:"invited_email"`
	ExpiresAt    Time           `json:"expires_at"`
	CreatedAt    Time           `json:"created_at"`
	ClaimedBy    *string        `json:"claimed_by"`
	ClaimedAt    *Time          `json:"claimed_at"`
	UserType     string         `json:"user_type"`
	Metadata     map[string]any `json:"metadata"`
	InviteLink   string         `json:"invite_link"`
	Groups       []Group        `json:"groups,omitempty"`

	Deleted bool `json:"-"` // the list does not show it any more
}

// Group is a permission group that an invite names.
type Group struct {
	ID       int64  `json:"id"`
	LegacyID int64  `json:"legacy_id"`
	Name     string `json:"name"`
}

// Time is a time that JSON shows as Retool does: ISO 8601 with milliseconds, in UTC.
type Time struct{ time.Time }

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// Invites returns every invite ever made, deleted ones included, oldest first.
func (r *Retool) Invites() []Invite {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Invite, len(r.invites))
	for i, inv := range r.invites {
		out[i] = inv.copied()
	}
	return out
}

// Count tells how many invites were ever made for an address, in any case.
func (r *Retool) Count(email string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[key(email)]
}

// Claim accepts the newest invite of an address, as the person would, who is a member from then on. It reports false
// when there is none that can be accepted.
func (r *Retool) Claim(email string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	inv := r.newest[key(email)]
	now := r.opts.Now()
	if !inv.pending(now) {
		return false
	}
	who := fmt.Sprintf("user_%032x", inv.ID)
	inv.ClaimedBy, inv.ClaimedAt = &who, &Time{now}
	r.members[key(email)] = true
	return true
}

// Expire lets the newest invite of an address run out now. It reports false when there is none that can be accepted.
func (r *Retool) Expire(email string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	inv := r.newest[key(email)]
	now := r.opts.Now()
	if !inv.pending(now) {
		return false
	}
	inv.ExpiresAt = Time{now}
	return true
}

// Revive gives the newest invite of an address time anew, and reports whether there is one that nobody accepted.
func (r *Retool) Revive(email string, lasts time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	inv := r.newest[key(email)]
	if inv == nil || inv.Deleted || inv.ClaimedAt != nil {
		return false
	}
	inv.ExpiresAt = Time{r.opts.Now().Add(lasts)}
	return true
}

// Shorten lets the invites that an address gets from now on last so long only.
func (r *Retool) Shorten(email string, lasts time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lasts[key(email)] = lasts
}

// pending reports whether the invite can be accepted. A nil one cannot.
func (i *Invite) pending(now time.Time) bool {
	return i != nil && !i.Deleted && i.ClaimedAt == nil && now.Before(i.ExpiresAt.Time)
}

// copied returns a copy that shares nothing which changes.
func (i *Invite) copied() Invite {
	c := *i
	c.Metadata = maps.Clone(i.Metadata)
	return c
}

// wish is one address to invite, whichever way it came.
type wish struct {
	Email    string         `json:"email"`
	GroupIDs []int64        `json:"defaultGroupIds"`
	Metadata map[string]any `json:"metadata"`
}

func (r *Retool) createInvite(req *request) response {
	var w wish
	if err := strictly(req.body, &w); err != nil {
		return refuse(http.StatusBadRequest, "Invalid request body: "+err.Error())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if status, why := r.objection(w); status != 0 {
		return refuse(status, why)
	}
	return replyData(r.make(w).copied())
}

// objection returns why a wish is not granted; 0 when it is. The lock is held.
func (r *Retool) objection(w wish) (status int, message string) {
	email := key(w.Email)
	if a, err := mail.ParseAddress(w.Email); err != nil || a.Address != strings.TrimSpace(w.Email) {
		return http.StatusBadRequest, "Invalid email address"
	}
	for _, id := range w.GroupIDs {
		if len(r.opts.GroupIDs) > 0 && !slices.Contains(r.opts.GroupIDs, id) {
			return http.StatusUnprocessableEntity, fmt.Sprintf("Group %d does not exist", id)
		}
	}
	switch {
	case r.otherOrg[email]:
		return http.StatusUnprocessableEntity, "This email belongs to another organization"
	case r.members[email]:
		return http.StatusConflict, "This user is already a member of this organization"
	case r.newest[email].pending(r.opts.Now()) && !r.opts.Doubles:
		return http.StatusConflict, "A user invite already exists for this email"
	}
	return 0, ""
}

// make grants a wish. The lock is held.
func (r *Retool) make(w wish) *Invite {
	now, id := r.opts.Now(), r.opts.FirstID+int64(len(r.invites))
	inv := &Invite{
		ID:           id,
		LegacyID:     id,
		InvitedBy:    "admin@retool.invalid",
		InvitedEmail: strings.TrimSpace(w.Email),
		ExpiresAt:    Time{now.Add(cmp.Or(r.lasts[key(w.Email)], r.opts.InviteTTL))},
		CreatedAt:    Time{now},
		UserType:     r.userType(w.Email),
		Metadata:     w.Metadata,
		InviteLink:   fmt.Sprintf("https://retool.invalid/auth/invite/%d", id),
	}
	for _, g := range w.GroupIDs {
		inv.Groups = append(inv.Groups, Group{ID: g, LegacyID: g, Name: fmt.Sprintf("group %d", g)})
	}
	email := key(w.Email)
	r.invites = append(r.invites, inv)
	r.newest[email] = inv
	r.counts[email]++
	r.open++
	return inv
}

// userType tells internal from external users as Retool does: by the domain alone.
func (r *Retool) userType(email string) string {
	_, domain, _ := strings.Cut(key(email), "@")
	for _, d := range r.opts.InternalDomains {
		if strings.EqualFold(d, domain) {
			return "default"
		}
	}
	return "external"
}

// listInvites pages by position: next_token is the index to go on from, which deletions do not move.
func (r *Retool) listInvites(req *request) response {
	from, err := strconv.Atoi(cmp.Or(req.URL.Query().Get("next_token"), "0"))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || from < 0 || from > len(r.invites) {
		return refuse(http.StatusBadRequest, "Invalid next_token")
	}
	data := []Invite{}
	next := from
	for ; next < len(r.invites) && len(data) < pageSize; next++ {
		if inv := r.invites[next]; !inv.Deleted {
			data = append(data, inv.copied())
		}
	}
	var token *string
	if next < len(r.invites) {
		s := strconv.Itoa(next)
		token = &s
	}
	return reply(map[string]any{
		"success": true, "data": data, "total_count": r.open, "next_token": token, "has_more": token != nil,
	})
}

// withInvite finds the invite of the path, and calls do with the lock held.
func (r *Retool) withInvite(do func(*request, *Invite) response) endpoint {
	return func(req *request) response {
		id, err := strconv.ParseInt(req.PathValue("id"), 10, 64)
		r.mu.Lock()
		defer r.mu.Unlock()
		at := id - r.opts.FirstID
		if err != nil || at < 0 || at >= int64(len(r.invites)) || r.invites[at].Deleted {
			return refuse(http.StatusNotFound, "User invite not found")
		}
		return do(req, r.invites[at])
	}
}

func (r *Retool) getInvite(_ *request, inv *Invite) response { return replyData(inv.copied()) }

func (r *Retool) deleteInvite(_ *request, inv *Invite) response {
	if inv.ClaimedAt != nil {
		return refuse(http.StatusUnprocessableEntity, "This user invite has been accepted and cannot be deleted")
	}
	inv.Deleted = true
	r.open--
	return response{status: http.StatusNoContent}
}

func (r *Retool) setAttribute(req *request, inv *Invite) response {
	var body struct {
		Name  string  `json:"name"`
		Value *string `json:"value"`
	}
	if err := strictly(req.body, &body); err != nil || body.Name == "" {
		return refuse(http.StatusBadRequest, "Invalid request body: name and value are required")
	}
	inv.Metadata = maps.Clone(inv.Metadata)
	switch {
	case body.Value == nil:
		delete(inv.Metadata, body.Name)
	case inv.Metadata == nil:
		inv.Metadata = map[string]any{body.Name: *body.Value}
	default:
		inv.Metadata[body.Name] = *body.Value
	}
	return replyData(map[string]any{"metadata": inv.Metadata})
}

func (r *Retool) deleteAttribute(req *request, inv *Invite) response {
	name := req.PathValue("name")
	if _, ok := inv.Metadata[name]; !ok {
		return refuse(http.StatusNotFound, "User attribute not found")
	}
	inv.Metadata = maps.Clone(inv.Metadata)
	delete(inv.Metadata, name)
	return replyData(map[string]any{"metadata": inv.Metadata})
}

func replyData(data any) response { return reply(map[string]any{"success": true, "data": data}) }
