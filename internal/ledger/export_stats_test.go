package ledger

import "context"

// CountStats counts as Stats does when nothing is known.
func (l *Ledger) CountStats(ctx context.Context) (Stats, error) { return l.countStats(ctx) }
