package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// probeEvery is how often one attempt is let through while sending is stopped, to see whether the cause is gone.
const probeEvery = 5 * time.Minute

// A Pace is the state of the shared send budget.
type Pace struct {
	NextAt        time.Time // no slot before this
	NotBefore     time.Time // Retool asked us to wait, or sending is stopped until a probe
	StoppedReason string    // empty: sending goes on
	StoppedAt     time.Time
	WorkedAt      time.Time // when Retool last took a call
}

// A PaceChange is what one attempt says about all sending. The zero value says nothing.
type PaceChange struct {
	Stop  string        // stop everything, for this reason
	Wait  time.Duration // Retool asked everyone to wait (429)
	Works bool          // Retool took a call: whatever stopped us is over
}

func (t *tx) pace() (Pace, error) {
	return scanPace(t.row(`select next_at, not_before, stopped_reason, stopped_at, worked_at from pace where id = 1` + t.lockRow))
}

func scanPace(row scanner) (p Pace, err error) {
	var next, notBefore, stopped, worked sql.NullInt64
	if err := row.Scan(&next, &notBefore, &p.StoppedReason, &stopped, &worked); err != nil {
		return p, fmt.Errorf("read the pace: %w", err)
	}
	p.NextAt, p.NotBefore, p.StoppedAt, p.WorkedAt = moment(next), moment(notBefore), moment(stopped), moment(worked)
	return p, nil
}

// take grants one call when the budget has a slot now; otherwise it says how long to wait.
func (p *Pace) take(now time.Time, interval time.Duration) Slot {
	if wait := max(p.NextAt.Sub(now), p.NotBefore.Sub(now)); wait > 0 {
		return Slot{Wait: wait, Stopped: p.StoppedReason}
	}
	if p.StoppedReason != "" { // this call is the probe; nobody else until it has spoken
		p.NotBefore = now.Add(probeEvery)
	}
	p.NextAt = now.Add(interval)
	return Slot{Granted: true, Stopped: p.StoppedReason, WorkedAt: p.WorkedAt}
}

// keepPace stores what granting calls changed.
func (t *tx) keepPace(p Pace) error {
	_, err := t.exec(`update pace set next_at = $1, not_before = $2 where id = 1`, millis(p.NextAt), millis(p.NotBefore))
	return err
}

func (t *tx) changePace(c PaceChange) (stoppedNow bool, err error) {
	switch {
	case c.Stop != "":
		n, err := t.exec(`update pace set stopped_reason = $1, stopped_at = $2, not_before = $3 where id = 1 and stopped_reason = ''`,
			c.Stop, millis(t.now), millis(t.now.Add(probeEvery)))
		return n > 0, err
	case c.Wait > 0:
		_, err := t.exec(`update pace set not_before = $1 where id = 1 and not_before < $1`, millis(t.now.Add(c.Wait)))
		return false, err
	case c.Works:
		_, err := t.exec(`update pace set worked_at = $1, stopped_reason = '', stopped_at = null,
			not_before = case when stopped_reason <> '' then 0 else not_before end where id = 1`, millis(t.now))
		return false, err
	}
	return false, nil
}

// probeNow lets the next call through at once although sending is stopped.
func (t *tx) probeNow() error {
	_, err := t.exec(`update pace set not_before = 0 where id = 1 and stopped_reason <> ''`)
	return err
}

// ProbeNow lets the next call through at once although sending is stopped: for a start, after which the
// token may be another, and for retries by hand.
func (l *Ledger) ProbeNow(ctx context.Context) error {
	return l.change(ctx, func(t *tx) error { return t.probeNow() })
}

// ChangePace applies what a call outside any invitation said about all sending.
func (l *Ledger) ChangePace(ctx context.Context, c PaceChange) (stoppedNow bool, err error) {
	err = l.change(ctx, func(t *tx) error {
		stoppedNow, err = t.changePace(c)
		return err
	})
	return stoppedNow, err
}
