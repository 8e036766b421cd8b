package ledger

// SetSearchReach lets a test of few rows see what happens among many.
func (l *Ledger) SetSearchReach(rows int) { l.reach = rows }
