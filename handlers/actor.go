package handlers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// An actor is who makes a call: the name goes into the audit trail.
type actor struct {
	name string // such as "admin_token", "token zapier"
	role role
}

// A role is what an actor may do. Each includes those before it.
type role string

// The roles, from the least to the most. They are stored in the ledger: never rename one.
const (
	roleRead   role = "read"   // sees everything but tokens and the audit trail
	roleInvite role = "invite" // and decides about invitations
	roleAdmin  role = "admin"  // and about tokens, and old deliveries
)

func roles() []role { return []role{roleRead, roleInvite, roleAdmin} }

// allows says whether who has this role may do what another is needed for.
func (r role) allows(needed role) bool {
	return slices.Index(roles(), r) >= slices.Index(roles(), needed) && slices.Contains(roles(), needed)
}

// actorAdmin is the actor of calls with the admin token of the configuration.
const actorAdmin = "admin_token"

// A Token is one of the configuration.
type Token struct {
	Name    string
	Hash    string // SHA-256 in hex
	Role    string
	Expires time.Time // zero: never
}

func (t Token) ledger() ledger.Token {
	return ledger.Token{Name: t.Name, Hash: t.Hash, Role: t.Role, ExpiresAt: t.Expires}
}

// act says who makes the call.
func act(c echo.Context, who actor) { c.Set("actor", who) }

// actorOf is who makes the call.
func actorOf(c echo.Context) actor {
	who, _ := c.Get("actor").(actor)
	return who
}

// authorize finds out who makes a call. It looks at nothing but the token: no cookie opens the API.
func (s *Server) authorize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store") // whole addresses
		if s.Ledger == nil {
			return errAPIOff
		}
		ctx := c.Request().Context()
		if name, inside := insideActor(ctx); inside {
			act(c, actor{name: name, role: roleAdmin})
			return next(c)
		}
		scheme, token, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			token = ""
		}
		who, err := s.tokenActor(ctx, token)
		if errors.Is(err, errToken) && s.apiOff() {
			return errAPIOff
		}
		if err != nil {
			return err
		}
		act(c, who)
		return next(c)
	}
}

// apiOff says whether the configuration has no token at all.
func (s *Server) apiOff() bool { return strings.TrimSpace(s.AdminToken) == "" && len(s.Tokens) == 0 }

// allow lets an actor with the role through.
func allow(needed role, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if who := actorOf(c); !who.role.allows(needed) {
			return &problem{Title: http.StatusText(http.StatusForbidden), Status: http.StatusForbidden,
				Detail: fmt.Sprintf("this call needs the role %s; %s has the role %s", needed, who.name, who.role)}
		}
		return next(c)
	}
}

// tokenActor finds whose token this is: errToken when it is nobody's.
func (s *Server) tokenActor(ctx context.Context, token string) (actor, error) {
	if strings.TrimSpace(token) == "" {
		return actor{}, errToken
	}
	return s.credentialActor(ctx, ledger.HashToken(token))
}

// credentialActor does so by the token's hash, which is all that is kept of it. Whoever has a token that is not valid
// any more is told so, in an error that is errToken too.
func (s *Server) credentialActor(ctx context.Context, credential string) (actor, error) {
	if strings.TrimSpace(s.AdminToken) != "" && subtle.ConstantTimeCompare([]byte(credential), []byte(ledger.HashToken(s.AdminToken))) == 1 {
		return actor{name: actorAdmin, role: roleAdmin}, nil
	}
	found, err := s.findToken(ctx, credential)
	if errors.Is(err, ledger.ErrNotFound) {
		return actor{}, errToken
	}
	if err != nil {
		return actor{}, err
	}
	name := "token " + found.Name
	if over := found.Over(s.Now()); over != "" {
		return actor{}, &problem{Title: http.StatusText(http.StatusUnauthorized), Status: http.StatusUnauthorized, Detail: "the " + name + " " + over, cause: errToken}
	}
	return actor{name: name, role: role(found.Role)}, nil
}

// findToken looks for a token in the configuration, then in the ledger.
func (s *Server) findToken(ctx context.Context, hash string) (ledger.Token, error) {
	for _, t := range s.Tokens {
		if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) == 1 {
			return t.ledger(), nil
		}
	}
	return s.Ledger.TokenByHash(ctx, hash)
}

// hash is SHA-256 in hex.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
