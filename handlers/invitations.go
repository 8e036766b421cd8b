package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// invitationRequest is the "create external user" action: an address is enough.
type invitationRequest struct {
	Email      string            `json:"email"`
	Groups     []int64           `json:"groups"`
	Attributes map[string]string `json:"attributes"`
	Note       string            `json:"note"`
}

// mistakes are what is wrong with a request whatever the rules say.
func (r invitationRequest) mistakes() (errs []fieldError) {
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
	return errs
}

func addressError(err error) fieldError {
	var wrong *access.AddressError
	if errors.As(err, &wrong) {
		return fieldError{Field: "email", Detail: wrong.Part + ": " + wrong.Problem, Mend: wrong.Mend}
	}
	return fieldError{Field: "email", Detail: "is not an address"}
}

func (s *Server) createInvitation(c echo.Context) error {
	var request invitationRequest
	if err := readJSON(c, maxAPIBody, &request); err != nil {
		return err
	}
	if mistakes := request.mistakes(); len(mistakes) > 0 {
		return invalid(mistakes...)
	}
	done, err := s.invite(c.Request().Context(), actorOf(c).name, callKey(c), []invitationRequest{request})
	if err != nil {
		return err
	}
	if done[0].id == 0 {
		return refused(done[0].decision)
	}
	return s.answerInvitation(c, http.StatusAccepted, done[0].id)
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
	if err := queryOnly(c, "state", "email", "q", "source", "since", "limit", "cursor"); err != nil {
		return err
	}
	state, err := queryState(c, "")
	if err != nil {
		return err
	}
	if text := c.QueryParam("q"); text != "" {
		for _, name := range []string{"email", "since"} {
			if c.QueryParam(name) != "" {
				return invalid(fieldError{Field: name, Detail: "does not go together with q", Mend: "q goes with state and source"})
			}
		}
		return s.searchInvitations(c, ledger.Search{Text: text, State: state, Source: c.QueryParam("source")})
	}
	page, err := queryPage(c)
	if err != nil {
		return err
	}
	email, err := queryEmail(c)
	if err != nil {
		return err
	}
	since, err := queryTime(c, "since")
	if err != nil {
		return err
	}
	return s.answerInvitations(c, ledger.Filter{State: state, Email: email, Source: c.QueryParam("source"), Since: since, Before: page.before, Limit: page.limit})
}

// searchInvitations lists those whose addresses, or their domains, begin with a text.
func (s *Server) searchInvitations(c echo.Context, search ledger.Search) error {
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	search.Limit, search.From = limit, ledger.Cursor(c.QueryParam("cursor"))
	found, err := s.Ledger.Search(c.Request().Context(), search)
	if errors.Is(err, ledger.ErrCursor) {
		return errNoCursor
	}
	if err != nil {
		return err
	}
	page := invitationPage{Invitations: each(found.Invitations, newInvitation)}
	if found.Next != "" {
		page.NextCursor = (*string)(&found.Next)
	}
	return c.JSON(http.StatusOK, page)
}

// An invitationPage is a part of a list on the wire.
type invitationPage struct {
	Invitations []invitation `json:"invitations"`
	NextCursor  *string      `json:"next_cursor"`
}

func (s *Server) answerInvitations(c echo.Context, filter ledger.Filter) error {
	found, err := s.Ledger.Invitations(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	next := nextCursor(found, filter.Limit, func(inv ledger.Invitation) int64 { return inv.ID })
	return c.JSON(http.StatusOK, invitationPage{each(found, newInvitation), next})
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
	story, err := s.storyOf(ctx, inv, events)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		invitation
		Events   []event   `json:"events"`
		Attempts []attempt `json:"attempts"`
		Timeline []step    `json:"timeline"`
	}{newInvitation(inv), each(events, newEvent), each(story.attempts, newAttempt), story.timeline()})
}

// onInvitation is a call that a person makes about one invitation.
func (s *Server) onInvitation(do func(ctx context.Context, by string, id int64) (ledger.Invitation, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		id, err := pathID(c, "invitation")
		if err != nil {
			return err
		}
		if err := readNothing(c); err != nil {
			return err
		}
		inv, err := do(c.Request().Context(), actorOf(c).name, id)
		if err != nil {
			return err
		}
		return locate(c, inv)
	}
}

func locate(c echo.Context, inv ledger.Invitation) error {
	c.Response().Header().Set(echo.HeaderLocation, fmt.Sprintf("/v1/invitations/%d", inv.ID))
	return c.JSON(http.StatusAccepted, newInvitation(inv))
}

// correctInvitation answers with the invitation that takes the old one's place; of a dry run with what it would be.
func (s *Server) correctInvitation(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	var request struct {
		Email  string `json:"email"`
		DryRun bool   `json:"dry_run"`
	}
	if err := readJSON(c, maxAPIBody, &request); err != nil {
		return err
	}
	if request.DryRun {
		row, err := s.foreseeCorrection(c.Request().Context(), id, request.Email)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, newListed(0, row))
	}
	_, corrected, err := s.correct(c.Request().Context(), actorOf(c).name, id, request.Email)
	if err != nil {
		return err
	}
	return locate(c, corrected)
}

func (s *Server) retryInvitations(c echo.Context) error {
	state, err := queryState(c, ledger.Failed)
	if err != nil {
		return err
	}
	n, err := s.retryAll(c.Request().Context(), actorOf(c).name, state)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, map[string]int{"retried": n})
}

func (s *Server) approveInvitations(c echo.Context) error {
	state, err := queryState(c, ledger.Held)
	if err != nil {
		return err
	}
	if state != ledger.Held {
		return fmt.Errorf("%w: only held invitations can be approved", ledger.ErrConflict)
	}
	n, err := s.approveAll(c.Request().Context(), actorOf(c).name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, map[string]int{"approved": n})
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
	CorrectedTo    int64             `json:"corrected_to,omitempty"` // the invitation that took its place
	SentAt         *time.Time        `json:"sent_at"`
	AcceptedAt     *time.Time        `json:"accepted_at"`
	ExpiresAt      *time.Time        `json:"expires_at"`
	CreatedAt      *time.Time        `json:"created_at"`
	UpdatedAt      *time.Time        `json:"updated_at"`
}

func newInvitation(i ledger.Invitation) invitation {
	wire := invitation{
		ID: i.ID, Email: i.Email.Full(), State: i.State, Reason: i.Reason, Groups: i.Groups, Attributes: i.Attributes,
		Note: i.Note, Source: i.Source, Tries: i.Tries, NextTryAt: when(i.NextTryAt), RetoolInviteID: i.RetoolID,
		CorrectedTo: i.CorrectedTo, SentAt: when(i.SentAt), AcceptedAt: when(i.AcceptedAt), ExpiresAt: when(i.ExpiresAt), CreatedAt: when(i.CreatedAt), UpdatedAt: when(i.UpdatedAt),
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
