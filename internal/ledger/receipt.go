package ledger

import (
	"context"
	"database/sql"
	"time"
)

// A Receipt is one time that an event reached us: the first, or sent again.
type Receipt struct {
	Event      int64
	Delivery   int64
	Source     string
	ReceivedAt time.Time
	VerifiedBy string // which secret matched, by its place in the configuration
	BodyKept   bool   // else retention removed it
	Again      bool   // the event was known
	SameBody   bool   // of one that came again: in the same bytes
}

// ReceiptsOf lists how an event reached us, oldest first: at most the first fifty times that it came again, since some
// senders send for ever. An event that a person asked for did not come at all.
func (l *Ledger) ReceiptsOf(ctx context.Context, event int64) ([]Receipt, error) {
	return collect(ctx, l.read, scanReceipt, receiptsOf, event)
}

const receiptsOf = `select came.event, d.id, d.source, d.received_at, d.verified_by, case when d.body is null then 0 else 1 end, came.again, came.same from (
		select id as event, delivery_id as delivery, 0 as again, 1 as same from events where id = $1 and delivery_id is not null
		union all select * from (select event_id, delivery_id, 1, same_body from resends where event_id = $1 order by delivery_id limit 50) resent) came
	join deliveries d on d.id = came.delivery order by came.again, d.id`

func scanReceipt(row scanner) (r Receipt, err error) {
	var at sql.NullInt64
	err = row.Scan(&r.Event, &r.Delivery, &r.Source, &at, &r.VerifiedBy, &r.BodyKept, &r.Again, &r.SameBody)
	r.ReceivedAt = moment(at)
	return r, err
}
