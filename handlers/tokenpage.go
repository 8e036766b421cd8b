package handlers

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

const tokensPath = home + "/tokens"

// A tokensPage lists the tokens of the API and the pages, and makes new ones.
type tokensPage struct {
	Admin  bool // there is an admin_token
	Tokens []tokenLine
	Form   tokenForm
	Made   *madeToken // just now; it is never shown again
}

// A tokenLine is one token without what opens.
type tokenLine struct {
	apiToken
	Own     bool   // who looks signed in with it
	Over    string // why it is not valid any more, such as "expired"
	Revoked bool
}

// A madeToken is what its maker must keep.
type madeToken struct{ Name, Role, Secret string }

// A tokenForm is what a person filled in, and what is wrong with it.
type tokenForm struct {
	Name, Role, Expires string
	Errors              map[string]string
}

func (s *Server) showTokens(c echo.Context) error {
	return s.answerTokens(c, http.StatusOK, tokensPage{Form: tokenForm{Role: string(roleInvite)}})
}

func (s *Server) answerTokens(c echo.Context, status int, page tokensPage) error {
	all, err := s.tokens(c.Request().Context())
	if err != nil {
		return err
	}
	page.Admin = strings.TrimSpace(s.AdminToken) != ""
	for _, t := range all {
		line := tokenLine{apiToken: t, Own: "token "+t.Name == actorOf(c).name, Revoked: t.RevokedAt != nil}
		switch {
		case line.Revoked:
			line.Over = "revoked"
		case !t.Valid:
			line.Over = "expired"
		}
		page.Tokens = append(page.Tokens, line)
	}
	return s.render(c, status, "tokens", page)
}

// makeTokenHere makes a token and shows it, once. It does not redirect: the token would have to be kept meanwhile.
func (s *Server) makeTokenHere(c echo.Context) error {
	form := tokenForm{Name: strings.TrimSpace(c.FormValue("name")), Role: c.FormValue("role"), Expires: c.FormValue("expires")}
	var day time.Time
	if form.Expires != "" {
		var err error
		if day, err = time.Parse(time.DateOnly, form.Expires); err != nil {
			form.Errors = map[string]string{"expires": "is no day, such as 2027-12-31"}
			return s.answerTokens(c, http.StatusUnprocessableEntity, tokensPage{Form: form})
		}
		day = day.AddDate(0, 0, 1) // the day itself still counts
	}
	secret, made, err := s.makeToken(c.Request().Context(), actorOf(c).name, form.Name, role(form.Role), day)
	var wrong *problem
	switch {
	case errors.As(err, &wrong) && wrong.Status == http.StatusUnprocessableEntity:
		form.Errors = map[string]string{}
		for _, e := range wrong.Errors {
			form.Errors[e.Field] = e.Detail + ": " + e.Mend
		}
	case errors.Is(err, ledger.ErrConflict):
		form.Errors = map[string]string{"name": "is taken: revoke the token of that name first, or choose another name"}
	case err != nil:
		return err
	default:
		return s.answerTokens(c, http.StatusOK, tokensPage{Form: tokenForm{Role: string(roleInvite)}, Made: &madeToken{made.Name, made.Role, secret}})
	}
	return s.answerTokens(c, http.StatusUnprocessableEntity, tokensPage{Form: form})
}

// revokeTokenHere ends a token; whoever signed in with it is signed out.
func (s *Server) revokeTokenHere(c echo.Context) error {
	name := c.Param("name")
	if err := s.revokeToken(c.Request().Context(), actorOf(c).name, name); err != nil {
		return err
	}
	say(c, "good", "The token "+name+" is revoked. It opens nothing any more.")
	return goTo(c, tokensPath)
}
