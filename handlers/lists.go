package handlers

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// maxListed is how many people one call can bring.
const maxListed = 1000

// A listRequest brings many people.
type listRequest struct {
	Invitations []invitationRequest `json:"invitations"`
	SkipInvalid bool                `json:"skip_invalid"`
}

// readList reads a list that is not too long.
func readList(c echo.Context) (r listRequest, err error) {
	if err := readJSON(c, maxListBody, &r); err != nil {
		return r, err
	}
	switch n := len(r.Invitations); {
	case n == 0:
		return r, invalid(fieldError{Field: "invitations", Detail: "is missing", Mend: `give a list, such as [{"email": "ada@example.com"}]`})
	case n > maxListed:
		return r, invalid(fieldError{Field: "invitations", Detail: fmt.Sprintf("has %d rows", n), Mend: fmt.Sprintf("at most %d in one call", maxListed)})
	default:
		return r, nil
	}
}

// previewInvitations answers what inviting these people would do. It records nothing.
func (s *Server) previewInvitations(c echo.Context) error {
	request, err := readList(c)
	if err != nil {
		return err
	}
	rows, err := s.preview(c.Request().Context(), request.Invitations)
	if err != nil {
		return err
	}
	answer := newListAnswer(len(rows))
	for i, row := range rows {
		answer.Rows[i] = newListed(i, row)
		answer.Counts[row.effect]++
	}
	return c.JSON(http.StatusOK, answer)
}

// inviteMany records all of a list, or nothing where a row is wrong and the call does not say to go on.
func (s *Server) inviteMany(c echo.Context) error {
	request, err := readList(c)
	if err != nil {
		return err
	}
	if !request.SkipInvalid {
		if err := everyRow(request.Invitations); err != nil {
			return err
		}
	}
	done, err := s.invite(c.Request().Context(), actorOf(c).name, callKey(c), request.Invitations)
	if err != nil {
		return err
	}
	answer := newListAnswer(len(done))
	for i, row := range done {
		answer.Rows[i] = newListed(i, row.previewed)
		answer.Rows[i].InvitationID, answer.Rows[i].State = row.id, ""
		if row.after != nil {
			answer.Rows[i].State = row.after.State
		}
		answer.Counts[row.effect]++
	}
	return c.JSON(http.StatusAccepted, answer)
}

// everyRow names each row that is wrong.
func everyRow(requests []invitationRequest) error {
	var errs []fieldError
	for i, request := range requests {
		for _, e := range request.mistakes() {
			e.Field = fmt.Sprintf("invitations[%d].%s", i, e.Field)
			errs = append(errs, e)
		}
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	return nil
}

// A listAnswer is what is said of a list: its rows in their order, and how many have each effect.
type listAnswer struct {
	Rows   []listed       `json:"rows"`
	Counts map[string]int `json:"counts"`
}

func newListAnswer(rows int) listAnswer {
	answer := listAnswer{make([]listed, rows), map[string]int{}}
	for _, effect := range effects {
		answer.Counts[effect] = 0
	}
	return answer
}

// A listed is one person of a list on the wire.
type listed struct {
	Row          int               `json:"row"` // from 0, as in the request
	Email        string            `json:"email"`
	Effect       string            `json:"effect"`
	Words        string            `json:"words"`
	Outcome      access.Outcome    `json:"outcome,omitempty"`
	Reason       access.Reason     `json:"reason,omitempty"`
	Sentence     string            `json:"sentence,omitempty"`
	Rule         *int              `json:"rule"`
	Groups       []int64           `json:"groups"`
	Attributes   map[string]string `json:"attributes"`
	Adds         bool              `json:"adds"`                 // groups or attributes to that invitation
	InvitationID int64             `json:"invitation,omitempty"` // the address has it
	State        ledger.State      `json:"state,omitempty"`      // of that one
	Doubles      *int              `json:"doubles"`              // the row before it that has the same address
	Errors       []fieldError      `json:"errors,omitempty"`
}

func newListed(i int, p previewed) listed {
	wire := listed{Row: i, Email: p.Email, Effect: p.effect, Words: p.words, Outcome: p.decision.Outcome, Reason: p.decision.Reason, Sentence: p.decision.Sentence,
		Groups: append([]int64{}, p.decision.Groups...), Attributes: p.decision.Attributes, Adds: p.adds(), Errors: p.errors}
	if !p.address.IsZero() {
		wire.Email = p.address.Full()
	}
	if wire.Attributes == nil {
		wire.Attributes = map[string]string{}
	}
	if len(p.errors) == 0 && p.decision.Rule >= 0 {
		wire.Rule = &p.decision.Rule
	}
	if p.invitation != nil {
		wire.InvitationID, wire.State = p.invitation.ID, p.invitation.State
	}
	if p.doubles >= 0 {
		wire.Doubles = &p.doubles
	}
	return wire
}
