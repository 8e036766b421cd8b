package retooltest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// bulkBody is what the bulk call takes. The real one is documented nowhere, so this takes what is likely: addresses as
// a list or separated by commas, or a list of users with their own groups.
type bulkBody struct {
	Emails   emails         `json:"emails"`
	Users    []wish         `json:"users"`
	GroupIDs []int64        `json:"defaultGroupIds"`
	Metadata map[string]any `json:"metadata"`
}

// emails is a list of addresses that JSON has as an array or as one string with commas.
type emails []string

func (e *emails) UnmarshalJSON(raw []byte) error {
	var list string
	if err := json.Unmarshal(raw, &list); err != nil {
		return json.Unmarshal(raw, (*[]string)(e))
	}
	for email := range strings.SplitSeq(list, ",") {
		if email = strings.TrimSpace(email); email != "" {
			*e = append(*e, email)
		}
	}
	return nil
}

func (b bulkBody) wishes() []wish {
	wishes := b.Users
	for _, email := range b.Emails {
		wishes = append(wishes, wish{email, b.GroupIDs, b.Metadata})
	}
	return wishes
}

// skipped is an address that a bulk call did not invite.
type skipped struct {
	Email   string `json:"email"`
	Message string `json:"message"`
}

// bulkInvite grants what it can, and names the rest: an address that is there already does not fail the others.
func (r *Retool) bulkInvite(req *request) response {
	var body bulkBody
	if err := json.Unmarshal(req.body, &body); err != nil {
		return refuse(http.StatusBadRequest, "Invalid request body: unexpected JSON")
	}
	wishes := body.wishes()
	if len(wishes) == 0 {
		return refuse(http.StatusBadRequest, "Invalid request body: emails are required")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	made, left := []Invite{}, []skipped{}
	for _, w := range wishes {
		if status, why := r.objection(w); status != 0 {
			left = append(left, skipped{w.Email, why})
			continue
		}
		made = append(made, r.make(w).copied())
	}
	return reply(map[string]any{"success": true, "invites": made, "skipped": left})
}

// maxLogged caps what the log keeps of the addresses of one request, in bytes.
const maxLogged = 1024

// emailsOf returns the addresses that a request asks to invite, for the log of requests.
func emailsOf(req *request) string {
	if req.Method != http.MethodPost || len(req.body) == 0 {
		return ""
	}
	var body struct {
		Email string `json:"email"`
		bulkBody
	}
	if json.Unmarshal(req.body, &body) != nil {
		return ""
	}
	all := body.Email
	for _, w := range body.wishes() {
		if all != "" {
			all += ","
		}
		if all += w.Email; len(all) > maxLogged {
			return strings.ToValidUTF8(all[:maxLogged], "")
		}
	}
	return all
}
