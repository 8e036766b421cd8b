package retoolclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/template"
)

const bulkPath = "/api/organization/admin/bulkInviteUsers"

// DefaultBulkBody renders the body of a bulk call where [Options.BulkBody] is empty. It is a guess after the page in
// Retool's settings, which takes a list of addresses, and the field names of v2: nobody outside Retool knows the real
// one. The groups and metadata are those of the first invitation, so invitations that differ in them are refused.
const DefaultBulkBody = `{"emails":{{json .Emails}}` +
	`{{with (index .Invites 0).GroupIDs}},"defaultGroupIds":{{json .}}{{end}}` +
	`{{with (index .Invites 0).Metadata}},"metadata":{{json .}}{{end}}}`

// bulkBody renders the body of a bulk call.
type bulkBody struct {
	tmpl    *template.Template
	uniform bool // one list of groups and metadata for all
}

// bulkData is what the template sees.
type bulkData struct {
	Emails  []string
	Invites []Invitation
}

// parseBulkBody compiles a template and tries it on invitations that are awkward on purpose.
func parseBulkBody(text string) (bulkBody, error) {
	b := bulkBody{uniform: text == ""}
	funcs := template.FuncMap{"json": toJSON}
	tmpl, err := template.New("bulk body").Funcs(funcs).Option("missingkey=error").Parse(orDefault(text, DefaultBulkBody))
	if err != nil {
		return b, fmt.Errorf("bulk body: %w", err)
	}
	b.tmpl = tmpl
	full := Invitation{Email: `"a\b"@example.com`, GroupIDs: []int64{1, 2}, Metadata: map[string]string{"plan": `"pro"`}}
	for _, sample := range [][]Invitation{{full}, {full, full}, {{Email: full.Email}}} {
		if _, err := b.render(sample); err != nil {
			return b, fmt.Errorf("bulk body: %w", err)
		}
	}
	return b, nil
}

// render returns the body for these invitations.
func (b bulkBody) render(invs []Invitation) ([]byte, error) {
	data := bulkData{Invites: invs}
	for _, inv := range invs {
		if b.uniform && !sameTerms(inv, invs[0]) {
			return nil, errors.New("the default body has one list of groups and metadata for all: invite these one by one")
		}
		data.Emails = append(data.Emails, strings.TrimSpace(inv.Email))
	}
	var buf bytes.Buffer
	if err := b.tmpl.Execute(&buf, data); err != nil {
		return nil, err
	}
	if !json.Valid(buf.Bytes()) {
		return nil, errors.New("the template does not render JSON; use its function json for every value")
	}
	return buf.Bytes(), nil
}

func sameTerms(a, b Invitation) bool {
	return slices.Equal(a.GroupIDs, b.GroupIDs) && maps.Equal(a.Metadata, b.Metadata)
}

// toJSON is the template function json.
func toJSON(v any) (string, error) {
	var buf strings.Builder
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(buf.String(), "\n"), nil
}

func (c *Client) inviteByBulk(ctx context.Context, op string, invs []Invitation) (Result, error) {
	body, err := c.bulk.render(invs)
	if err != nil {
		return Result{}, &Error{Kind: Never, Op: op, Transport: APIBulk, Err: fmt.Errorf("render bulk body: %w", err)}
	}
	k := call{op: op, api: APIBulk, method: http.MethodPost, path: bulkPath, body: body, limit: c.maxBody, invites: true}
	a, err := c.do(ctx, k)
	if err != nil {
		return Result{}, err
	}
	res := Result{Invites: findInvites(a.body, 3), Transport: APIBulk, Status: a.status, Message: c.said(a)}
	if len(invs) == 1 {
		res.Invite = newestOf(res.Invites, invs[0].Email)
	}
	return res, nil
}

// findInvites picks invites out of a bulk answer of unknown shape: an invite, a list of them, or an object that has
// either under "invites" or "data", nested at most depth times.
func findInvites(raw []byte, depth int) []Invite {
	if depth < 0 || len(raw) == 0 {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		var out []Invite
		for _, item := range list {
			out = append(out, findInvites(item, depth-1)...)
		}
		return out
	}
	var invite Invite
	if unmarshal(raw, &invite) == nil && invite.InvitedEmail != "" {
		return []Invite{invite}
	}
	var object struct{ Invites, Data json.RawMessage }
	if json.Unmarshal(raw, &object) != nil {
		return nil
	}
	return append(findInvites(object.Invites, depth-1), findInvites(object.Data, depth-1)...)
}
