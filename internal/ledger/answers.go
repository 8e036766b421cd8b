package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// An Answer is what was answered to a call that carries an Idempotency-Key.
type Answer struct {
	Status   int
	Location string
	Body     string
}

// The errors of BeginCall.
var (
	// ErrKeyUsed means that the key came with another request before.
	ErrKeyUsed = errors.New("this key was used for another request")
	// ErrUnderWay means that the same call is being made right now.
	ErrUnderWay = errors.New("this request is under way already")
)

const (
	// abandonedAfter is when a call that was never answered has no process any more.
	abandonedAfter = time.Minute
	// keepAnswers is how long the same call gets the same answer.
	keepAnswers = 24 * time.Hour
)

// A Call is one with a key, which whoever begins it ends or forgets.
type Call struct {
	key string
	at  time.Time
}

// BeginCall begins a call, unless it was made before: then answered is what it was told. What nobody finished within a
// minute is begun again.
func (l *Ledger) BeginCall(ctx context.Context, key, request string) (call Call, answered *Answer, err error) {
	err = l.change(ctx, func(t *tx) error {
		call, answered = Call{key: key, at: t.now}, nil
		n, err := t.exec(`insert into answers (key, request, at) values ($1, $2, $3) on conflict (key) do nothing`, key, request, millis(t.now))
		if err != nil || n > 0 {
			return err
		}
		var was string
		var at sql.NullInt64
		var a Answer
		err = t.row(`select request, at, status, location, body from answers where key = $1`+t.lockRow, key).Scan(&was, &at, &a.Status, &a.Location, &a.Body)
		if err != nil {
			return err
		}
		age := t.now.Sub(moment(at))
		switch {
		case age >= keepAnswers || was == request && a.Status == 0 && age >= abandonedAfter:
			_, err = t.exec(`update answers set request = $2, at = $3, status = 0, location = '', body = '' where key = $1`, key, request, millis(t.now))
			return err
		case was != request:
			return ErrKeyUsed
		case a.Status == 0:
			return ErrUnderWay
		}
		answered = &a
		return nil
	})
	if err != nil && !errors.Is(err, ErrKeyUsed) && !errors.Is(err, ErrUnderWay) {
		err = fmt.Errorf("begin a call with a key: %w", err)
	}
	return call, answered, err
}

// EndCall keeps what a call is answered.
func (l *Ledger) EndCall(ctx context.Context, c Call, a Answer) error {
	return l.change(ctx, func(t *tx) error {
		_, err := t.exec(`update answers set status = $3, location = $4, body = $5 where key = $1 and at = $2 and status = 0`,
			c.key, millis(c.at), a.Status, a.Location, a.Body)
		return err
	})
}

// ForgetCall lets a call be made again that failed by a fault that may pass.
func (l *Ledger) ForgetCall(ctx context.Context, c Call) error {
	return l.change(ctx, func(t *tx) error {
		_, err := t.exec(`delete from answers where key = $1 and at = $2 and status = 0`, c.key, millis(c.at))
		return err
	})
}
