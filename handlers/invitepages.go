package handlers

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// The page with the button: one address, one click. Lists of people are in importpages.go.

const invitePath = home + "/invite"

func (s *Server) inviteRoutes(pages *echo.Group) {
	mayInvite := needs(roleInvite)
	pages.GET("/invite", s.showInvite, mayInvite)
	pages.POST("/invite", s.sendInvite, mayInvite)
	pages.POST("/invite/preview", s.previewInvite, mayInvite)
	pages.GET("/invite/sent/:id", s.showSent, mayInvite)
	pages.POST("/invite/list", s.draftList, mayInvite)
	pages.GET("/import/:id", s.showImport)
	pages.GET("/import/:id/progress", s.showImportProgress)
	pages.POST("/import/:id", s.sendImport, mayInvite)
}

// An inviteForm is what a person typed, and what is wrong with it.
type inviteForm struct {
	Email, Groups, Note string
	Key                 string // of this form: sent twice, it counts once
	Errors              map[string]string
}

// An invitePage is the page with the button.
type invitePage struct {
	Form    inviteForm
	Preview *previewView
	Sent    *sentView // what the last click made
	List    listForm
	Recent  []ledger.Import
}

// A previewView is a decision in words.
type previewView struct {
	Kind         string // good, warn, bad or info
	Title        string
	Text         string
	Groups       string
	Attributes   string
	InvitationID int64 // that the address has already
	State        ledger.State
}

func newPreview(row previewed) *previewView {
	v := &previewView{Kind: "info", Title: sentence(row.words)}
	if row.invitation != nil {
		v.InvitationID, v.State = row.invitation.ID, row.invitation.State
	}
	switch row.effect {
	case effectInvalid:
		v.Title = "Go on typing: " + wrong(row.errors[0]) + "."
		return v
	case effectRefuses:
		v.Kind, v.Title, v.Text = "bad", "Will not be invited.", row.decision.Sentence
		return v
	case effectHolds:
		v.Kind = "warn"
	case effectInvites, effectQueues, effectReleases:
		v.Kind = "good"
	}
	v.Text, v.Groups, v.Attributes = row.decision.Sentence, groupList(row.decision.Groups), pairs(row.decision.Attributes)
	return v
}

// sentence begins with a capital, unless it begins with a domain, and ends with a full stop.
func sentence(words string) string {
	if words == "" {
		return ""
	}
	if !strings.HasSuffix(words, ".)") {
		words = strings.TrimSuffix(words, ".") + "."
	}
	if first, _, more := strings.Cut(words, " "); more && strings.Contains(first, ".") {
		return words
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// wrong says what is wrong with a field: "the domain has no dot".
func wrong(e fieldError) string {
	part, problem, isAddress := strings.Cut(e.Detail, ": ")
	switch {
	case e.Field == "email" && isAddress:
		return "the " + part + " " + problem
	case e.Field == "email" && e.Detail == "is missing":
		return "there is no address"
	case e.Field == "note" || e.Field == "email":
		return "the " + strings.Replace(e.Field, "email", "address", 1) + " " + e.Detail
	default:
		return e.Field + " " + e.Detail
	}
}

func (s *Server) invitePage(c echo.Context, form inviteForm) (invitePage, error) {
	recent, err := s.Ledger.Imports(c.Request().Context(), 5)
	form.Key = cmp.Or(form.Key, rand.Text())
	return invitePage{Form: form, Recent: recent, List: newListForm()}, err
}

// showInvite shows the empty form, and above it what the last one became.
func (s *Server) showInvite(c echo.Context) error {
	page, err := s.invitePage(c, inviteForm{Email: strings.TrimSpace(c.QueryParam("email"))})
	if err != nil {
		return err
	}
	if id, _ := strconv.ParseInt(c.QueryParam("sent"), 10, 64); id > 0 {
		inv, err := s.Ledger.Invitation(c.Request().Context(), id)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		if err == nil {
			page.Sent = newSent(inv)
		}
	}
	return s.render(c, http.StatusOK, "invite", page)
}

// showSent is what an invitation has become, until nothing more comes of it by itself.
func (s *Server) showSent(c echo.Context) error {
	id, err := pathID(c, "invitation")
	if err != nil {
		return err
	}
	inv, err := s.Ledger.Invitation(c.Request().Context(), id)
	if err != nil {
		return err
	}
	view := newSent(inv)
	return s.render(c, pollStatus(!view.Waits), "invite#sent", view)
}

// pollStatus is the status of a part that htmx asks for again and again: 286 tells it to stop.
func pollStatus(over bool) int {
	if over {
		return 286
	}
	return http.StatusOK
}

// readInvite reads the form; its mistakes stand beside the fields.
func readInvite(c echo.Context) (inviteForm, invitationRequest) {
	form := inviteForm{Email: strings.TrimSpace(c.FormValue("email")), Groups: strings.TrimSpace(c.FormValue("groups")), Note: strings.TrimSpace(c.FormValue("note")),
		Key: c.FormValue("key"), Errors: map[string]string{}}
	request := invitationRequest{Email: form.Email, Note: form.Note}
	for _, text := range strings.FieldsFunc(form.Groups, func(r rune) bool { return strings.ContainsRune(" ,;", r) }) {
		group, err := strconv.ParseInt(text, 10, 64)
		if err != nil || group <= 0 {
			form.Errors["groups"] = fmt.Sprintf("%q is no Retool group id: ids are positive whole numbers, such as 1042", text)
			break
		}
		request.Groups = append(request.Groups, group)
	}
	for _, e := range request.mistakes() {
		form.Errors[e.Field] = told(e)
	}
	return form, request
}

// told is what is wrong and the mend.
func told(e fieldError) string { return strings.TrimSpace(sentence(wrong(e)) + " " + sentence(e.Mend)) }

// previewInvite says what inviting would do, while one types; without scripts, on a page of its own.
func (s *Server) previewInvite(c echo.Context) error {
	form, request := readInvite(c)
	isPart := wantsPart(c)
	if isPart && form.Email == "" {
		return s.render(c, http.StatusOK, "invite#foreseen", (*previewView)(nil))
	}
	var preview *previewView
	if len(form.Errors) == 0 || isPart {
		rows, err := s.preview(c.Request().Context(), []invitationRequest{request})
		if err != nil {
			return err
		}
		preview = newPreview(rows[0])
	}
	if isPart {
		return s.render(c, http.StatusOK, "invite#foreseen", preview)
	}
	page, err := s.invitePage(c, form)
	if err != nil {
		return err
	}
	page.Preview = preview
	return s.render(c, statusOf(form.Errors), "invite", page)
}

func statusOf(mistakes map[string]string) int {
	if len(mistakes) > 0 {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// sendInvite invites, and goes on with an empty form that shows what became of it.
func (s *Server) sendInvite(c echo.Context) error {
	form, request := readInvite(c)
	if len(form.Errors) == 0 {
		ctx, by := c.Request().Context(), viewerOf(c).Actor
		what := fmt.Sprintf("invite %q %q %q", form.Email, form.Groups, form.Note)
		// Whoever goes back and changes the form means another invitation.
		location, err := s.once(ctx, by, form.Key+" "+what, what, func() (string, error) {
			done, err := s.invite(ctx, by, "", []invitationRequest{request})
			switch {
			case err != nil:
				return "", err
			case done[0].id == 0:
				return "", refused(done[0].decision)
			}
			return fmt.Sprintf("%s?sent=%d", invitePath, done[0].id), nil
		})
		var refusal *problem
		switch {
		case errors.As(err, &refusal) && refusal.Reason != "":
			form.Errors["email"] = "Not invited. " + refusal.Detail
		case err != nil:
			return err
		default:
			return goTo(c, location)
		}
	}
	page, err := s.invitePage(c, form)
	if err != nil {
		return err
	}
	return s.render(c, statusOf(form.Errors), "invite", page)
}

// A sentView is what has become of an invitation.
type sentView struct {
	ledger.Invitation
	Address string
	Kind    string // good, warn, bad or info
	Waits   bool   // it changes by itself
}

func newSent(inv ledger.Invitation) *sentView {
	v := &sentView{Invitation: inv, Address: inv.Email.Full(), Kind: "info", Waits: inv.State == ledger.Queued}
	switch inv.State {
	case ledger.Sent, ledger.Accepted:
		v.Kind = "good"
	case ledger.Held, ledger.Expired:
		v.Kind = "warn"
	case ledger.Failed, ledger.Revoked:
		v.Kind = "bad"
	}
	return v
}

// groupList writes group ids for people.
func groupList(groups []int64) string {
	texts := make([]string, len(groups))
	for i, group := range groups {
		texts[i] = strconv.FormatInt(group, 10)
	}
	return strings.Join(texts, ", ")
}

// pairs are a map for people, in the order of its names, without what is empty.
func pairs(m map[string]string) string {
	var all []string
	for name, value := range m {
		if value != "" {
			all = append(all, name+": "+value)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
