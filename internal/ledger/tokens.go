package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Token lets its holder make calls. The token itself is told once, to who made it: the ledger keeps its hash.
type Token struct {
	Name      string
	Hash      string // SHA-256 in hex: a token is too long to be guessed
	Role      string
	CreatedAt time.Time
	CreatedBy string
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: it is not
}

// Over says when and why a token is not valid any more; empty while it is.
func (t Token) Over(now time.Time) string {
	switch {
	case !t.RevokedAt.IsZero():
		return "was revoked on " + t.RevokedAt.Format(time.DateOnly)
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return "expired on " + t.ExpiresAt.Format(time.DateOnly)
	default:
		return ""
	}
}

// TokenPrefix is how tokens begin, so that who finds one knows what it is.
const TokenPrefix = "usher_"

// NewToken is TokenPrefix and 160 bits of chance in small letters.
func NewToken() string {
	const bytes = 20
	random := make([]byte, bytes)
	_, _ = rand.Read(random) // never fails
	return TokenPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(random))
}

// HashToken is what is kept of a token.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// MakeToken makes a token. A name that is taken is ErrConflict, unless its token is not valid any more.
func (l *Ledger) MakeToken(ctx context.Context, by, name, role string, expires time.Time) (token string, made Token, err error) {
	token = NewToken()
	err = l.change(ctx, func(t *tx) error {
		old, err := scanToken(t.row(`select `+tokenColumns+` from tokens where name = $1`+t.lockRow, name))
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return err
		case old.Over(t.now) == "":
			return fmt.Errorf("%w: there is a token %s already; revoke it first, or choose another name", ErrConflict, name)
		}
		made = Token{Name: name, Hash: HashToken(token), Role: role, CreatedAt: t.now, CreatedBy: by, ExpiresAt: expires}
		_, err = t.exec(`insert into tokens (name, hash, role, created_at, created_by, expires_at) values ($1, $2, $3, $4, $5, $6)
			on conflict (name) do update set hash = $2, role = $3, created_at = $4, created_by = $5, expires_at = $6, revoked_at = null`,
			name, made.Hash, role, millis(t.now), by, orNull(expires))
		if err != nil {
			return fmt.Errorf("keep the token %s: %w", name, err)
		}
		return t.audit(Entry{Actor: by, What: DidMakeToken, Subject: "token " + name, After: role})
	})
	return token, made, err
}

// RevokeToken ends a token at once.
func (l *Ledger) RevokeToken(ctx context.Context, by, name string) error {
	return l.change(ctx, func(t *tx) error {
		old, err := scanToken(t.row(`select `+tokenColumns+` from tokens where name = $1`+t.lockRow, name))
		if err != nil {
			return err
		}
		if !old.RevokedAt.IsZero() {
			return fmt.Errorf("%w: token %s %s", ErrConflict, name, old.Over(t.now))
		}
		if _, err := t.exec(`update tokens set revoked_at = $2 where name = $1`, name, millis(t.now)); err != nil {
			return err
		}
		return t.audit(Entry{Actor: by, What: DidRevokeToken, Subject: "token " + name, Before: old.Role, After: "revoked"})
	})
}

// Tokens lists all tokens by name, those that are not valid any more too.
func (l *Ledger) Tokens(ctx context.Context) ([]Token, error) {
	return collect(ctx, l.read, scanToken, `select `+tokenColumns+` from tokens order by name`)
}

// TokenByHash finds a token, valid or not, by what HashToken made of it.
func (l *Ledger) TokenByHash(ctx context.Context, hash string) (Token, error) {
	return scanToken(l.read.QueryRowContext(ctx, `select `+tokenColumns+` from tokens where hash = $1`, hash))
}

const tokenColumns = `name, hash, role, created_at, created_by, expires_at, revoked_at`

func scanToken(row scanner) (Token, error) {
	var t Token
	var created, expires, revoked sql.NullInt64
	err := row.Scan(&t.Name, &t.Hash, &t.Role, &created, &t.CreatedBy, &expires, &revoked)
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, fmt.Errorf("token: %w", ErrNotFound)
	}
	t.CreatedAt, t.ExpiresAt, t.RevokedAt = moment(created), moment(expires), moment(revoked)
	return t, err
}
