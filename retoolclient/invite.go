package retoolclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Invitation is a wish: let this address in.
//
// Whether the person becomes an external or an internal user is not the call's to say: Retool decides it by the
// address's domain and the organisation's list of internal domains.
type Invitation struct {
	Email    string
	GroupIDs []int64           // Retool's ids of the groups to join; none means Retool's default
	Metadata map[string]string // becomes the user's attributes, current_user.metadata in apps
}

// Invite is what Retool keeps of an invitation. It has no way to send one again: delete it, then invite.
type Invite struct {
	ID           int64          `json:"id"`
	LegacyID     int64          `json:"legacy_id"`
	InvitedBy    string         `json:"invited_by"`
	InvitedEmail string         `json:"invited_email"`
	ExpiresAt    time.Time      `json:"expires_at"` // 7 days after CreatedAt, says Retool
	CreatedAt    time.Time      `json:"created_at"`
	ClaimedBy    *string        `json:"claimed_by"`  // nil until the person accepts
	ClaimedAt    *time.Time     `json:"claimed_at"`  // nil until the person accepts
	UserType     *string        `json:"user_type"`   // default, mobile, external, or nil
	Metadata     map[string]any `json:"metadata"`    // numbers are json.Number
	InviteLink   string         `json:"invite_link"` // dies at ExpiresAt; may be absent
	Groups       []Group        `json:"groups"`      // may be absent
}

// Group is a permission group that an invite names.
type Group struct {
	ID       int64  `json:"id"`
	LegacyID int64  `json:"legacy_id"`
	Name     string `json:"name"`
}

// Claimed reports whether the person has accepted.
func (i Invite) Claimed() bool { return i.ClaimedAt != nil || i.ClaimedBy != nil }

// Usable reports whether the invite has been accepted or still can be.
func (i Invite) Usable(now time.Time) bool {
	return i.Claimed() || i.ExpiresAt.IsZero() || now.Before(i.ExpiresAt)
}

// Result is what a call that invites brought.
type Result struct {
	Invite    *Invite  // the invite of a single address, where Retool returned it; v2 always does
	Invites   []Invite // what bulk returned, as far as it looks like invites
	Transport API      // the way it went
	Status    int      // HTTP status
	Message   string   // Retool's words in short, or "success"
}

// Invite invites one address.
//
// The error is an [*Error]. Of Kind [Present] it is good news: the address is invited or a member already. Where it is
// Ambiguous, look with [Client.FindInvite] before you invite again.
//
// With [APIAuto], where the plan refuses v2 or the server does not know it, the invitation goes by bulk at once, and
// so do all after it if bulk answers. What bulk answers is not documented: any JSON with a 2xx status and without
// "success": false counts as done.
func (c *Client) Invite(ctx context.Context, inv Invitation) (Result, error) {
	const op = "invite"
	if strings.TrimSpace(inv.Email) == "" {
		return Result{}, &Error{Kind: Never, Op: op, Transport: c.Transport(), Err: errors.New("no address given")}
	}
	if c.Transport() == APIBulk {
		return c.inviteByBulk(ctx, op, []Invitation{inv})
	}
	res, err := c.inviteByV2(ctx, op, inv)
	if c.api == APIAuto && (errors.Is(err, ErrPlan) || errors.Is(err, ErrNoEndpoint) && !isAmbiguous(err)) {
		return c.fallBack(ctx, op, inv, err)
	}
	return res, err
}

// InviteMany invites several addresses in one call. Only bulk can: with any other Transport it is an error that sends
// nothing.
//
// One answer speaks for all of them. What Retool does when it accepts some addresses and not others is not known: an
// error says nothing about any single address, so invite them one by one to find out.
func (c *Client) InviteMany(ctx context.Context, invs []Invitation) (Result, error) {
	const op = "invite many"
	if api := c.Transport(); api != APIBulk {
		return Result{}, &Error{
			Kind: Stop, Op: op, Transport: api, Err: errors.New("v2 takes one address a call"),
			Advice: "Set the api to bulk to invite several addresses in one call.",
		}
	}
	if len(invs) == 0 {
		return Result{}, &Error{Kind: Never, Op: op, Transport: APIBulk, Err: errors.New("no address given")}
	}
	return c.inviteByBulk(ctx, op, invs)
}

func (c *Client) inviteByV2(ctx context.Context, op string, inv Invitation) (Result, error) {
	body, err := json.Marshal(struct { // no other field is accepted
		Email    string            `json:"email"`
		GroupIDs []int64           `json:"defaultGroupIds,omitempty"`
		Metadata map[string]string `json:"metadata,omitempty"`
	}{strings.TrimSpace(inv.Email), inv.GroupIDs, inv.Metadata})
	if err != nil {
		return Result{}, &Error{Kind: Never, Op: op, Transport: APIV2, Err: err}
	}
	k := call{op: op, api: APIV2, method: http.MethodPost, path: invitesPath, body: body, limit: c.maxBody, invites: true}
	a, err := c.do(ctx, k)
	if err != nil {
		return Result{}, err
	}
	invite, err := c.decodeInvite(k, a)
	if err != nil {
		return Result{}, err
	}
	return Result{Invite: &invite, Transport: APIV2, Status: a.status, Message: c.said(a)}, nil
}

// fallBack invites by bulk because v2 is not to be had. The change is remembered only once bulk has answered as an API
// does: a maintenance page on both must not pin a way that does not work either.
func (c *Client) fallBack(ctx context.Context, op string, inv Invitation, refusal error) (Result, error) {
	res, err := c.inviteByBulk(ctx, op, []Invitation{inv})
	var e *Error
	if errors.As(err, &e) {
		switch e.Kind {
		case Stop:
			return Result{}, bothRefused(op, refusal, e)
		case Later:
			return res, err
		}
	}
	if c.fellBack.CompareAndSwap(false, true) && c.onFallback != nil {
		c.onFallback(refusal.Error())
	}
	return res, err
}

// bothRefused is the error of an invitation that neither way took. Its advice is about v2, the documented one.
func bothRefused(op string, refusal error, bulk *Error) *Error {
	both := &Error{
		Kind: Stop, Op: op, Status: bulk.Status, Transport: APIBulk, Ambiguous: bulk.Ambiguous,
		Advice: bulk.Advice, Err: errors.Join(refusal, bulk),
	}
	var v2 *Error
	if !errors.As(refusal, &v2) {
		return both
	}
	both.Advice = cmp.Or(v2.Advice, bulk.Advice)
	both.Message = fmt.Sprintf("%s; before that v2 answered %d: %s", bulk.words(), v2.Status, v2.words())
	return both
}

// words returns what Retool said, or what stands for it.
func (e *Error) words() string {
	if e.Message == "" && e.Err != nil {
		return e.Err.Error()
	}
	return cmp.Or(e.Message, "no message")
}

// said returns Retool's message in short.
func (c *Client) said(a answer) string {
	return cmp.Or(c.clean(readReply(a).message), "success")
}

func isAmbiguous(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Ambiguous
}
