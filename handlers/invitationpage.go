package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// One invitation: where it stands, how it got there, and what a person can do.

// An invitationView is the page.
type invitationView struct {
	ledger.Invitation
	Address        string
	Steps          []step // the last one is next
	Next           step
	Actions        []action
	WhyNot         []string // what else is not possible, and why
	LateGroups     string
	LateAttributes string
	Facts          []fact
	Every          string // how often the page looks again; empty: nothing changes by itself
	Correction     *correctionForm
}

// An action is one thing that a person can do now.
type action struct {
	Name   string
	Label  string
	Kind   string // of its button: primary or nothing
	Asks   bool   // it is confirmed first
	Key    string // of this very state: pressed twice it counts once
	Action string
}

// A correctionForm is for another address of the person.
type correctionForm struct {
	ID         int64
	Email, Key string
	Error      string
	Preview    *previewView
}

func (s *Server) showOne(c echo.Context) error {
	view, err := s.invitationView(c)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "invitation", view)
}

// showOneLive is what changes by itself, until nothing does.
func (s *Server) showOneLive(c echo.Context) error {
	view, err := s.invitationView(c)
	if err != nil {
		return err
	}
	if !wantsPart(c) {
		return goTo(c, onePath(view.ID))
	}
	return s.render(c, pollStatus(view.Every == ""), "invitation#live", view)
}

func onePath(id int64) string { return fmt.Sprintf("%s/%d", invitationsPath, id) }

func (s *Server) invitationView(c echo.Context) (v invitationView, err error) {
	ctx := c.Request().Context()
	id, err := pathID(c, "invitation")
	if err != nil {
		return v, err
	}
	inv, err := s.Ledger.Invitation(ctx, id)
	if err != nil {
		return v, err
	}
	events, err := s.Ledger.InvitationEvents(ctx, id)
	if err != nil {
		return v, err
	}
	story, err := s.storyOf(ctx, inv, events)
	if err != nil {
		return v, err
	}
	v = invitationView{Invitation: inv, Address: inv.Email.Full(), Steps: story.timeline(), Facts: invitationFacts(inv)}
	v.Next = v.Steps[len(v.Steps)-1]
	v.Steps = v.Steps[:len(v.Steps)-1]
	switch {
	case story.changesFast():
		v.Every = "2s"
	case story.changes():
		v.Every = "10s"
	}
	if inv.State == ledger.Sent || inv.State == ledger.Accepted {
		v.LateGroups, v.LateAttributes = groupList(inv.LateGroups()), pairs(inv.LateAttributes())
	}
	if viewerOf(c).Role.allows(roleInvite) {
		allowed := s.Ledger.Allowed(inv)
		v.Actions, v.WhyNot = actionsOf(inv, allowed)
		if allowed.Correct == nil {
			v.Correction = &correctionForm{ID: id, Key: stateKey(inv, "correct")}
		}
	}
	return v, nil
}

// stateKey is the same until the invitation is queued anew, taken back or accepted: one click does one thing.
func stateKey(inv ledger.Invitation, what string) string {
	return fmt.Sprintf("%s-%d-%d", what, inv.ID, inv.Run)
}

// actionsOf are what can be done, and why the rest cannot.
func actionsOf(inv ledger.Invitation, allowed ledger.Allowed) (actions []action, whyNot []string) {
	add := func(name, label, kind string, asks bool) {
		actions = append(actions, action{Name: name, Label: label, Kind: kind, Asks: asks, Key: stateKey(inv, name), Action: onePath(inv.ID) + "/" + name})
	}
	not := func(err error) {
		if words := sentence(conflictWords(err)); len(whyNot) == 0 || whyNot[len(whyNot)-1] != words {
			whyNot = append(whyNot, words)
		}
	}
	if allowed.Approve == nil {
		add("approve", "Approve and send", "primary", false)
	}
	switch {
	case allowed.Retry == nil && inv.State == ledger.Queued:
		add("retry", "Try now", "", false)
	case allowed.Retry == nil && (inv.State == ledger.Failed || inv.State == ledger.Expired):
		add("retry", "Send again", "primary", false)
	case allowed.Retry == nil:
		add("retry", "Send again", "", false)
	case inv.State != ledger.Held && inv.State != ledger.Accepted:
		not(allowed.Retry)
	}
	switch {
	case allowed.Revoke == nil:
		add("revoke", "Take back", "", true)
	case inv.State != ledger.Revoked && inv.State != ledger.Accepted: // what comes next says it
		not(allowed.Revoke)
	}
	return actions, whyNot
}

func invitationFacts(inv ledger.Invitation) (facts []fact) {
	retool := ""
	if inv.RetoolID != 0 {
		retool = fmt.Sprint(inv.RetoolID)
	}
	tries := ""
	if inv.Tries > 0 {
		tries = fmt.Sprint(inv.Tries)
	}
	source := inv.Source
	if source == sourceAPI {
		source = "asked for by hand"
	}
	for _, f := range []fact{{"Source", source}, {"Note", inv.Note}, {"Groups", groupList(inv.Groups)}, {"Attributes", pairs(inv.Attributes)},
		{"Tries, since it was queued", tries}, {"Number of the invite at Retool", retool}} {
		if f.Value != "" {
			facts = append(facts, f)
		}
	}
	return facts
}

// actOnOne does what a button says, and shows the invitation as it then is. What is not possible any more is said there.
func (s *Server) actOnOne(what string, do func(ctx context.Context, by string, id int64) (ledger.Invitation, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		id, err := pathID(c, "invitation")
		if err != nil {
			return err
		}
		ctx, by := c.Request().Context(), viewerOf(c).Actor
		location, err := s.once(ctx, by, c.FormValue("key"), fmt.Sprintf("%s %d", what, id), func() (string, error) {
			inv, err := do(ctx, by, id)
			if err == nil {
				say(c, "good", actDone(what, inv))
			}
			return onePath(id), err
		})
		return s.afterAct(c, id, location, err)
	}
}

func (s *Server) afterAct(c echo.Context, id int64, location string, err error) error {
	if errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrUnderWay) {
		say(c, "bad", "Nothing was done: "+conflictWords(err)+".")
		return goTo(c, onePath(id))
	}
	if err != nil {
		return err
	}
	return goTo(c, location)
}

func actDone(what string, inv ledger.Invitation) string {
	switch what {
	case "approve":
		return "Approved. It goes out as soon as it is its turn."
	case "revoke":
		if inv.TellingRetool() {
			return "Taken back. Retool is being told to delete the invite."
		}
		return "Taken back. Nothing is sent."
	default:
		return "Queued. It goes out as soon as it is its turn."
	}
}

// confirmRevoke asks before an invitation is taken back.
func (s *Server) confirmRevoke(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	inv, err := s.Ledger.Invitation(c.Request().Context(), id)
	if err != nil {
		return err
	}
	if err := s.Ledger.Allowed(inv).Revoke; err != nil {
		return s.afterAct(c, id, "", err)
	}
	text := "It has not been sent, and will not be."
	if inv.MayBeAtRetool() {
		text = "Retool is told to delete the invite, so that its link stops working."
	}
	return s.render(c, http.StatusOK, "confirm", confirmation{Title: "Take the invitation back?", Text: text + " Later events of this address do not invite again; a person can.",
		Named: []string{inv.Email.Full()}, Action: onePath(id) + "/revoke", Button: "Take back", Danger: true, Fields: [][2]string{{"key", stateKey(inv, "revoke")}}, Back: onePath(id), Crumb: inv.Email.Full()})
}

// previewCorrection says what another address would do, while one types; without scripts, on the page again.
func (s *Server) previewCorrection(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	form := correctionForm{ID: id, Email: strings.TrimSpace(c.FormValue("email")), Key: c.FormValue("key")}
	if form.Email != "" {
		if form.Preview, err = s.foreseen(c.Request().Context(), id, form.Email); err != nil {
			return err
		}
	}
	if wantsPart(c) {
		return s.render(c, http.StatusOK, "invitation#foreseen", form.Preview)
	}
	view, err := s.invitationView(c)
	if err != nil {
		return err
	}
	view.Correction = &form
	return s.render(c, http.StatusOK, "invitation", view)
}

// foreseen is what a correction would do, in words, whatever stands in its way.
func (s *Server) foreseen(ctx context.Context, id int64, email string) (*previewView, error) {
	row, err := s.foreseeCorrection(ctx, id, email)
	var wrongly *problem
	switch {
	case errors.As(err, &wrongly) && len(wrongly.Errors) > 0:
		return &previewView{Kind: "info", Title: "Go on typing: " + wrong(wrongly.Errors[0]) + "."}, nil
	case errors.Is(err, ledger.ErrConflict):
		return &previewView{Kind: "bad", Title: sentence(conflictWords(err))}, nil
	case err != nil:
		return nil, err
	}
	return newPreview(row), nil
}

// correctOne corrects the address, and shows the invitation that takes the old one's place.
func (s *Server) correctOne(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	ctx, by, email := c.Request().Context(), viewerOf(c).Actor, strings.TrimSpace(c.FormValue("email"))
	what := fmt.Sprintf("correct %d %q", id, email)
	location, err := s.once(ctx, by, c.FormValue("key")+" "+what, what, func() (string, error) {
		old, corrected, err := s.correct(ctx, by, id, email)
		if err == nil {
			say(c, "good", "Corrected: this invitation takes the place of "+old.Email.Full()+".")
		}
		return onePath(corrected.ID), err
	})
	var refusal *problem
	if errors.As(err, &refusal) && len(refusal.Errors) > 0 {
		view, err := s.invitationView(c)
		if err != nil {
			return err
		}
		view.Correction = &correctionForm{ID: id, Email: email, Key: c.FormValue("key"), Error: told(refusal.Errors[0])}
		if refusal.Reason != "" {
			view.Correction.Error = "Not invited. " + refusal.Detail
		}
		return s.render(c, http.StatusUnprocessableEntity, "invitation", view)
	}
	return s.afterAct(c, id, location, err)
}
