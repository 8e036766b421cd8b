package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A DeliveryState is how far one delivery got.
type DeliveryState struct {
	Waits    bool   // for the decide stage
	SetAside bool   // it could not be decided
	Error    string // of its last try
	Events   []Event
}

// DeliveryState finds how far a delivery got, with the events that it brought first, at most a hundred.
func (l *Ledger) DeliveryState(ctx context.Context, delivery int64) (s DeliveryState, err error) {
	var waits, aside bool
	err = l.read.QueryRowContext(ctx, `select u.delivery_id is not null, u.set_aside_at is not null, coalesce(u.error, '')
		from deliveries d left join undecided u on u.delivery_id = d.id where d.id = $1`, delivery).Scan(&waits, &aside, &s.Error)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("delivery %d: %w", delivery, ErrNotFound)
	}
	if err != nil {
		return s, fmt.Errorf("read a delivery: %w", err)
	}
	s.Waits, s.SetAside = waits && !aside, aside
	s.Events, err = collect(ctx, l.read, scanListedEvent, `select `+eventColumns+`, `+heldColumns+`
		from events e left join decisions d on d.id = (select max(n.id) from decisions n where n.event_id = e.id)
		where e.delivery_id = $1 order by e.id limit 100`, delivery)
	return s, err
}
