package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A Session is somebody who is signed in to the pages. It lives no longer than the token that signed in.
type Session struct {
	ID         string // SHA-256 of what the cookie holds
	Actor      string
	Credential string // SHA-256 of the token that signed in
	CreatedAt  time.Time
	ExpiresAt  time.Time
}

// What the column link says: most rows are sessions; the others are links that make one, once.
const (
	isSession = iota
	isLink
	isUsedLink // kept until it expires, to tell whoever opens it again
)

// ErrUsed means that a link had signed somebody in before.
var ErrUsed = errors.New("was used before")

// BeginSession records that somebody signed in.
func (l *Ledger) BeginSession(ctx context.Context, s Session) error {
	return l.change(ctx, func(t *tx) error { return t.keepSession(s, isSession) })
}

// OfferSession records a link that signs in once: its ID is SHA-256 of what the link holds.
func (l *Ledger) OfferSession(ctx context.Context, link Session) error {
	return l.change(ctx, func(t *tx) error { return t.keepSession(link, isLink) })
}

func (t *tx) keepSession(s Session, link int) error {
	_, err := t.exec(`insert into sessions (id, actor, credential, created_at, expires_at, link) values ($1, $2, $3, $4, $5, $6)`,
		s.ID, s.Actor, s.Credential, millis(t.now), millis(s.ExpiresAt), link)
	if err != nil {
		return fmt.Errorf("record a session: %w", err)
	}
	return nil
}

// TakeSession begins the session that a link offers; the new session's ID and ExpiresAt are the caller's. Of all who
// open one link, one is signed in.
func (l *Ledger) TakeSession(ctx context.Context, link string, s Session) (Session, error) {
	err := l.change(ctx, func(t *tx) error {
		var state int
		var expires int64
		err := t.row(`select actor, credential, expires_at, link from sessions where id = $1 and link <> 0`+t.lockRow, link).
			Scan(&s.Actor, &s.Credential, &expires, &state)
		switch {
		case errors.Is(err, sql.ErrNoRows), err == nil && expires <= millis(t.now):
			return fmt.Errorf("link: %w", ErrNotFound)
		case err != nil:
			return fmt.Errorf("read a link: %w", err)
		case state == isUsedLink:
			return fmt.Errorf("link: %w", ErrUsed)
		}
		if _, err := t.exec(`update sessions set link = $2 where id = $1`, link, isUsedLink); err != nil {
			return err
		}
		return t.keepSession(s, isSession)
	})
	return s, err
}

// Session finds one that has not expired.
func (l *Ledger) Session(ctx context.Context, id string) (Session, error) {
	s := Session{ID: id}
	var created, expires sql.NullInt64
	err := l.read.QueryRowContext(ctx, `select actor, credential, created_at, expires_at from sessions where id = $1 and link = 0 and expires_at > $2`, id, millis(l.now())).
		Scan(&s.Actor, &s.Credential, &created, &expires)
	s.CreatedAt, s.ExpiresAt = moment(created), moment(expires)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("session: %w", ErrNotFound)
	}
	if err != nil {
		return s, fmt.Errorf("read a session: %w", err)
	}
	return s, nil
}

// EndSession signs out.
func (l *Ledger) EndSession(ctx context.Context, id string) error {
	return l.change(ctx, func(t *tx) error {
		_, err := t.exec(`delete from sessions where id = $1`, id)
		return err
	})
}

func scanText(row scanner) (text string, err error) {
	err = row.Scan(&text)
	return text, err
}
