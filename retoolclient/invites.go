package retoolclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	invitesPath = "/api/v2/user_invites"
	healthPath  = "/api/checkHealth"

	// maxPages ends a list that a broken server never does: a million invites at 100 a page.
	maxPages = 10_000
)

// Health is what Retool tells about itself.
type Health struct {
	Version string `json:"version"` // such as "3.196.0"
}

// Health asks whether Retool is there, without sending the token.
func (c *Client) Health(ctx context.Context) (Health, error) {
	k := call{op: "check health", method: http.MethodGet, path: healthPath, limit: c.maxBody, anonymous: true}
	a, err := c.do(ctx, k)
	if err != nil {
		return Health{}, err
	}
	var h Health
	if err := unmarshal(a.body, &h); err != nil || h.Version == "" {
		return Health{}, c.unexpected(k, a, errors.New("no version in it"))
	}
	return h, nil
}

// page is one answer of the list.
type page struct {
	Data      []Invite `json:"data"`
	NextToken string   `json:"next_token"`
	HasMore   bool     `json:"has_more"`
}

// Invites lists all invites that the organisation has: open, expired and claimed ones.
//
// Retool documents next_token in the answer but no parameter to send it back with. The client sends it as next_token,
// and when a page brings nothing new it takes the list as complete, without an error: on an organisation with many
// invites the list may then be short.
func (c *Client) Invites(ctx context.Context) ([]Invite, error) {
	var all []Invite
	seen := map[int64]bool{}
	token := ""
	for range maxPages {
		p, err := c.invitePage(ctx, token)
		if err != nil {
			return nil, err
		}
		before := len(all)
		for _, inv := range p.Data {
			if !seen[inv.ID] {
				seen[inv.ID] = true
				all = append(all, inv)
			}
		}
		if !p.HasMore || p.NextToken == "" || len(all) == before {
			return all, nil
		}
		token = p.NextToken
	}
	return nil, &Error{Kind: Later, Op: "list invites", Transport: APIV2, Err: fmt.Errorf("no end after %d pages", maxPages)}
}

func (c *Client) invitePage(ctx context.Context, token string) (page, error) {
	k := call{op: "list invites", api: APIV2, method: http.MethodGet, path: invitesPath, limit: c.maxBody * listFactor}
	if token != "" {
		k.path += "?" + url.Values{"next_token": {token}}.Encode()
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return page{}, err
	}
	var p page
	if err := unmarshal(a.body, &p); err != nil {
		return page{}, c.unexpected(k, a, err)
	}
	if p.Data == nil {
		return page{}, c.unexpected(k, a, errors.New("no data in it"))
	}
	return p, nil
}

// FindInvite returns the newest invite of an address, in any case, that was claimed or can still be; nil when there is
// none. It lists all invites: the API has no search.
func (c *Client) FindInvite(ctx context.Context, email string) (*Invite, error) {
	all, err := c.Invites(ctx)
	if err != nil {
		return nil, err
	}
	return newestOf(c.usable(all), email), nil
}

// NewestInvite is FindInvite, and where there is no such invite, the newest that has expired.
func (c *Client) NewestInvite(ctx context.Context, email string) (*Invite, error) {
	all, err := c.Invites(ctx)
	if err != nil {
		return nil, err
	}
	if invite := newestOf(c.usable(all), email); invite != nil {
		return invite, nil
	}
	return newestOf(all, email), nil
}

// usable returns the invites that were claimed or can still be.
func (c *Client) usable(all []Invite) (usable []Invite) {
	now := c.now()
	for _, inv := range all {
		if inv.Usable(now) {
			usable = append(usable, inv)
		}
	}
	return usable
}

// newestOf returns the newest of the invites that is this address's; nil when there is none.
func newestOf(invites []Invite, email string) *Invite {
	var newest *Invite
	for i := range invites {
		inv := &invites[i]
		if !sameAddress(inv.InvitedEmail, email) {
			continue
		}
		if newest == nil || inv.CreatedAt.After(newest.CreatedAt) || inv.CreatedAt.Equal(newest.CreatedAt) && inv.ID > newest.ID {
			newest = inv
		}
	}
	return newest
}

// sameAddress compares two addresses without regard to the case of ASCII letters. strings.EqualFold would take the
// Kelvin sign for a k, and so a look-alike for the customer.
func sameAddress(a, b string) bool { return lowerASCII(a) == lowerASCII(b) }

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(s))
}

// InviteByID returns one invite. One that does not exist is an error of Kind [Never] that wraps [ErrNotFound].
func (c *Client) InviteByID(ctx context.Context, id int64) (Invite, error) {
	k := call{op: "get invite", api: APIV2, method: http.MethodGet, path: invitePath(id), limit: c.maxBody, byID: true}
	a, err := c.do(ctx, k)
	if err != nil {
		return Invite{}, err
	}
	return c.decodeInvite(k, a)
}

// DeleteInvite takes an invite back before it is claimed. One that does not exist is an error of Kind [Never] that
// wraps [ErrNotFound].
func (c *Client) DeleteInvite(ctx context.Context, id int64) error {
	_, err := c.do(ctx, call{
		op: "delete invite", api: APIV2, method: http.MethodDelete, path: invitePath(id), limit: c.maxBody,
		byID: true, emptyOK: true,
	})
	return err
}

// SetInviteAttribute sets one user attribute of an invite; a nil value deletes it. An invite that does not exist is an
// error of Kind [Never] that wraps [ErrNotFound].
func (c *Client) SetInviteAttribute(ctx context.Context, id int64, name string, value *string) error {
	const op = "set invite attribute"
	if strings.TrimSpace(name) == "" {
		return &Error{Kind: Never, Op: op, Transport: APIV2, Err: errors.New("no attribute name given")}
	}
	body, err := json.Marshal(struct {
		Name  string  `json:"name"`
		Value *string `json:"value"`
	}{name, value})
	if err != nil {
		return &Error{Kind: Never, Op: op, Transport: APIV2, Err: err}
	}
	_, err = c.do(ctx, call{
		op: op, api: APIV2, method: http.MethodPost, path: invitePath(id) + "/user_attributes", body: body,
		limit: c.maxBody, byID: true,
	})
	return err
}

func invitePath(id int64) string { return invitesPath + "/" + strconv.FormatInt(id, 10) }

// decodeInvite reads {"data": Invite}.
func (c *Client) decodeInvite(k call, a answer) (Invite, error) {
	var body struct{ Data *Invite }
	if err := unmarshal(a.body, &body); err != nil {
		return Invite{}, c.unexpected(k, a, err)
	}
	if body.Data == nil || body.Data.ID == 0 {
		return Invite{}, c.unexpected(k, a, errors.New("no invite in it"))
	}
	return *body.Data, nil
}

// unexpected is the error of a success whose body is not what the API documents. A request that writes may well have
// been carried out.
func (c *Client) unexpected(k call, a answer, err error) *Error {
	return &Error{
		Kind: Stop, Op: k.op, Status: a.status, Transport: k.api, Ambiguous: k.writes(), Advice: adviceNotAPI,
		Err: fmt.Errorf("%w: read answer: %s", ErrNoEndpoint, c.clean(err.Error())), // it may quote the answer
	}
}

// unmarshal is json.Unmarshal, except that numbers in an any keep all their digits.
func unmarshal(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(v)
}
