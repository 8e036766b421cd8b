package retooltest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// userAttribute is an attribute that every user of the organisation can have.
type userAttribute struct {
	Name         string `json:"name"`
	Label        string `json:"label"`
	DataType     string `json:"dataType"`
	DefaultValue any    `json:"defaultValue,omitempty"`
}

func (r *Retool) listUserAttributes(*request) response {
	r.mu.Lock()
	defer r.mu.Unlock()
	return replyData(append([]userAttribute{}, r.attrs...))
}

func (r *Retool) createUserAttribute(req *request) response {
	var a userAttribute
	if err := strictly(req.body, &a); err != nil {
		return refuse(http.StatusBadRequest, "Invalid request body: "+err.Error())
	}
	if a.Name == "" || !slices.Contains([]string{"string", "json", "number"}, a.DataType) {
		return refuse(http.StatusBadRequest, "Invalid request body: name and dataType are required")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.attrs, func(b userAttribute) bool { return b.Name == a.Name }) {
		return refuse(http.StatusConflict, fmt.Sprintf("A user attribute named %s already exists", a.Name))
	}
	r.attrs = append(r.attrs, a)
	return replyData(a)
}

// listUsers shows the members, on one page.
func (r *Retool) listUsers(*request) response {
	r.mu.Lock()
	defer r.mu.Unlock()
	data := []map[string]any{}
	for _, email := range slices.Sorted(maps.Keys(r.members)) {
		data = append(data, map[string]any{"email": email, "active": true, "user_type": r.userType(email)})
	}
	return reply(map[string]any{
		"success": true, "data": data, "total_count": len(data), "next_token": nil, "has_more": false,
	})
}
