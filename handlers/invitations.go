package handlers

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// sourceAPI is the source of the events that calls of the API make.
const sourceAPI = "api"

// adminToken is the actor of calls with the admin token of the configuration.
const adminToken = "admin_token"

// invitationRequest is the "create external user" action: an address is enough.
type invitationRequest struct {
	Email      string            `json:"email"`
	Groups     []int64           `json:"groups"`
	Attributes map[string]string `json:"attributes"`
	Note       string            `json:"note"`
}

func (r invitationRequest) check() error {
	var errs []fieldError
	if r.Email == "" {
		errs = append(errs, fieldError{Field: "email", Detail: "is missing", Mend: `give the customer's address, such as "ada@example.com"`})
	} else if _, err := access.ParseAddress(r.Email); err != nil {
		errs = append(errs, addressError(err))
	}
	for i, group := range r.Groups {
		if group <= 0 {
			errs = append(errs, fieldError{Field: fmt.Sprintf("groups[%d]", i), Detail: "is no Retool group id", Mend: "ids are positive whole numbers"})
		}
	}
	if len(r.Note) > 1000 {
		errs = append(errs, fieldError{Field: "note", Detail: fmt.Sprintf("has %d bytes", len(r.Note)), Mend: "at most 1000"})
	}
	if len(errs) == 0 {
		return nil
	}
	return invalid(errs...)
}

func addressError(err error) fieldError {
	var wrong *access.AddressError
	if errors.As(err, &wrong) {
		return fieldError{Field: "email", Detail: wrong.Part + ": " + wrong.Problem, Mend: wrong.Mend}
	}
	return fieldError{Field: "email", Detail: "is not an address"}
}

// createInvitation decides like a webhook would: the domain rule speaks here too.
func (s *Server) createInvitation(c echo.Context) error {
	var request invitationRequest
	if err := readJSON(c, &request); err != nil {
		return err
	}
	if err := request.check(); err != nil {
		return err
	}
	event := access.Event{Source: sourceAPI, Type: "invitation.requested", ID: rand.Text(), Email: request.Email}
	decision := s.Policy.Decide(event)
	decision.Groups = slices.Compact(slices.Sorted(slices.Values(append(decision.Groups, request.Groups...))))
	if len(request.Attributes) > 0 {
		wanted := maps.Clone(request.Attributes)
		maps.Copy(wanted, decision.Attributes)
		decision.Attributes = wanted
	}
	id, err := s.Ledger.Record(c.Request().Context(), ledger.Verdict{Event: event, OccurredAt: s.Now(), Decision: decision, By: adminToken, Note: request.Note})
	if err != nil {
		return err
	}
	if decision.Outcome == access.Skip {
		return &problem{Title: "This address is not invited", Status: http.StatusUnprocessableEntity, Detail: decision.Sentence,
			Reason: string(decision.Reason), Errors: []fieldError{{Field: "email", Detail: decision.Sentence}}}
	}
	return s.answerInvitation(c, http.StatusAccepted, id)
}

func (s *Server) answerInvitation(c echo.Context, status int, id int64) error {
	inv, err := s.Ledger.Invitation(c.Request().Context(), id)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, fmt.Sprintf("/v1/invitations/%d", id))
	return c.JSON(status, newInvitation(inv))
}

func (s *Server) listInvitations(c echo.Context) error {
	state, err := queryState(c, "")
	if err != nil {
		return err
	}
	limit, err := queryNumber(c, "limit", 50, 1, 200)
	if err != nil {
		return err
	}
	cursor, err := queryNumber(c, "cursor", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	email, err := queryEmail(c)
	if err != nil {
		return err
	}
	return s.answerInvitations(c, ledger.Filter{State: state, Email: email, Source: c.QueryParam("source"), Before: cursor, Limit: int(limit)})
}

func (s *Server) answerInvitations(c echo.Context, filter ledger.Filter) error {
	found, err := s.Ledger.Invitations(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	page := struct {
		Invitations []invitation `json:"invitations"`
		NextCursor  *string      `json:"next_cursor"`
	}{Invitations: []invitation{}}
	for _, inv := range found {
		page.Invitations = append(page.Invitations, newInvitation(inv))
	}
	if len(found) == filter.Limit {
		cursor := strconv.FormatInt(found[len(found)-1].ID, 10)
		page.NextCursor = &cursor
	}
	return c.JSON(http.StatusOK, page)
}

func (s *Server) showInvitation(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	inv, err := s.Ledger.Invitation(ctx, id)
	if err != nil {
		return err
	}
	events, err := s.Ledger.InvitationEvents(ctx, id)
	if err != nil {
		return err
	}
	attempts, err := s.Ledger.Attempts(ctx, id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		invitation
		Events   []event   `json:"events"`
		Attempts []attempt `json:"attempts"`
	}{newInvitation(inv), each(events, newEvent), each(attempts, newAttempt)})
}

func (s *Server) retryInvitation(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	if _, err := s.Ledger.Retry(c.Request().Context(), adminToken, id); err != nil {
		return err
	}
	return s.answerInvitation(c, http.StatusAccepted, id)
}

func (s *Server) approveInvitation(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	if _, err := s.Ledger.Approve(c.Request().Context(), adminToken, id); err != nil {
		return err
	}
	return s.answerInvitation(c, http.StatusAccepted, id)
}

func (s *Server) retryInvitations(c echo.Context) error {
	state, err := queryState(c, ledger.Failed)
	if err != nil {
		return err
	}
	n, err := s.Ledger.RetryAll(c.Request().Context(), adminToken, state)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, map[string]int{"retried": n})
}

// An invitation is its form on the wire.
type invitation struct {
	ID             int64             `json:"id"`
	Email          string            `json:"email"`
	State          ledger.State      `json:"state"`
	Reason         string            `json:"reason,omitempty"`
	Groups         []int64           `json:"groups"`
	Attributes     map[string]string `json:"attributes"`
	LateGroups     []int64           `json:"late_groups,omitempty"` // wanted after sending: Retool takes groups only with the invite
	LateAttributes map[string]string `json:"late_attributes,omitempty"`
	Note           string            `json:"note,omitempty"`
	Source         string            `json:"source"`
	Tries          int               `json:"tries"`
	NextTryAt      *time.Time        `json:"next_try_at"`
	RetoolInviteID int64             `json:"retool_invite_id,omitempty"`
	SentAt         *time.Time        `json:"sent_at"`
	ExpiresAt      *time.Time        `json:"expires_at"`
	CreatedAt      *time.Time        `json:"created_at"`
	UpdatedAt      *time.Time        `json:"updated_at"`
}

func newInvitation(i ledger.Invitation) invitation {
	wire := invitation{
		ID: i.ID, Email: i.Email.Full(), State: i.State, Reason: i.Reason, Groups: i.Groups, Attributes: i.Attributes,
		Note: i.Note, Source: i.Source, Tries: i.Tries, NextTryAt: when(i.NextTryAt), RetoolInviteID: i.RetoolID,
		SentAt: when(i.SentAt), ExpiresAt: when(i.ExpiresAt), CreatedAt: when(i.CreatedAt), UpdatedAt: when(i.UpdatedAt),
	}
	if i.State == ledger.Sent {
		wire.LateGroups, wire.LateAttributes = i.LateGroups(), i.LateAttributes()
	}
	return wire
}

// when is a moment on the wire: null when there is none.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// each gives a list its form on the wire; an empty one is [], not null.
func each[A, B any](list []A, form func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, one := range list {
		out = append(out, form(one))
	}
	return out
}
