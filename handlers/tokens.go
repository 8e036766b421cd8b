package handlers

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// An apiToken is its form on the wire, without what opens.
type apiToken struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	From      string     `json:"from"` // "configuration" or "ledger"
	Valid     bool       `json:"valid"`
	CreatedAt *time.Time `json:"created_at"`
	CreatedBy string     `json:"created_by,omitempty"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

func (s *Server) newToken(t ledger.Token, from string) apiToken {
	return apiToken{Name: t.Name, Role: t.Role, From: from, Valid: t.Over(s.Now()) == "",
		CreatedAt: when(t.CreatedAt), CreatedBy: t.CreatedBy, ExpiresAt: when(t.ExpiresAt), RevokedAt: when(t.RevokedAt)}
}

// tokens lists those of the configuration, then those of the ledger.
func (s *Server) tokens(ctx context.Context) ([]apiToken, error) {
	made, err := s.Ledger.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	all := []apiToken{}
	for _, t := range s.Tokens {
		all = append(all, s.newToken(t.ledger(), "configuration"))
	}
	for _, t := range made {
		all = append(all, s.newToken(t, "ledger"))
	}
	return all, nil
}

func (s *Server) listTokens(c echo.Context) error {
	all, err := s.tokens(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string][]apiToken{"tokens": all})
}

var tokenName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// makeToken makes a token, which nobody can see again.
func (s *Server) makeToken(ctx context.Context, by, name string, may role, expires time.Time) (secret string, made ledger.Token, err error) {
	var errs []fieldError
	if !tokenName.MatchString(name) {
		errs = append(errs, fieldError{Field: "name", Detail: "is no name for a token", Mend: "use a-z, 0-9, - and _, at most 64"})
	}
	if !slices.Contains(roles(), may) {
		errs = append(errs, fieldError{Field: "role", Detail: "is no role", Mend: fmt.Sprintf("one of %v", roles())})
	}
	if !expires.IsZero() && !expires.After(s.Now()) {
		errs = append(errs, fieldError{Field: "expires", Detail: "is in the past", Mend: "give a day to come, or none"})
	}
	if len(errs) > 0 {
		return "", made, invalid(errs...)
	}
	if s.configured(name) {
		return "", made, fmt.Errorf("%w: the configuration has a token %s; choose another name", ledger.ErrConflict, name)
	}
	return s.Ledger.MakeToken(ctx, by, name, string(may), expires)
}

// configured says whether the configuration has a token of this name.
func (s *Server) configured(name string) bool {
	return slices.ContainsFunc(s.Tokens, func(t Token) bool { return t.Name == name })
}

func (s *Server) createToken(c echo.Context) error {
	var request struct {
		Name    string `json:"name"`
		Role    role   `json:"role"`
		Expires string `json:"expires"`
	}
	if err := readJSON(c, maxAPIBody, &request); err != nil {
		return err
	}
	expires, err := readTime("expires", request.Expires)
	if err != nil {
		return err
	}
	secret, made, err := s.makeToken(c.Request().Context(), actorOf(c).name, request.Name, request.Role, expires)
	if err != nil {
		return err
	}
	answer := s.newToken(made, "ledger")
	keepInstead(c, answer) // no secret into the ledger
	return c.JSON(http.StatusCreated, struct {
		Token string `json:"token"`
		apiToken
	}{secret, answer})
}

// revokeToken ends a token of the ledger at once.
func (s *Server) revokeToken(ctx context.Context, by, name string) error {
	if s.configured(name) {
		return fmt.Errorf("%w: the token %s is in the configuration; remove it there, and restart", ledger.ErrConflict, name)
	}
	return s.Ledger.RevokeToken(ctx, by, name)
}

func (s *Server) deleteToken(c echo.Context) error {
	if err := s.revokeToken(c.Request().Context(), actorOf(c).name, c.Param("name")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
