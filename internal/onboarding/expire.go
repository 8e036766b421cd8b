package onboarding

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/retoolclient"
)

const (
	// expireEvery is how often the leader of the instances looks for invitations whose links died.
	expireEvery = 5 * time.Minute
	// expireBatch is how many are read at once.
	expireBatch = 20
	// askAgain is when Retool is asked again about one of which it could not tell, and askFor how long after its link died
	// that is tried.
	askAgain, askFor = 10 * time.Minute, 24 * time.Hour
)

type expireWorker struct {
	river.WorkerDefaults[ledger.ExpireJob]
	ob *Onboarding
}

// Work asks about invitations whose links died.
func (w *expireWorker) Work(ctx context.Context, job *river.Job[ledger.ExpireJob]) error {
	return w.ob.guard(job.JobRow, func() error { return w.ob.expire(ctx) }, nil)
}

// NextRetry is after a fault of ours.
func (w *expireWorker) NextRetry(job *river.Job[ledger.ExpireJob]) time.Time {
	return afterFault(job.Attempt)
}

// expire asks Retool about invitations whose links died: somebody may have used one, and nobody told us. A turn is as
// long as that of other jobs; what is left goes on in the next one.
func (ob *Onboarding) expire(ctx context.Context) error {
	until := time.Now().Add(holdFor)
	for {
		due, err := ob.Ledger.Expiring(ctx, expireBatch)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, inv := range due {
			err := ob.run(ctx, until, ledger.Look{Invitation: inv.ID, Run: inv.Run}, expiring{ob})
			if err != nil && ob.gate.isClosed() {
				return river.JobSnooze(expireEvery) // what waits to be sent probes
			}
			if err != nil {
				return err
			}
		}
	}
}

// expiring is the errand of an invitation that was sent, and whose link died as far as we know.
type expiring struct{ *Onboarding }

func (ob expiring) call(ctx context.Context, inv ledger.Invitation) (s ledger.Settlement, done bool) {
	t := ob.trace(ctx, inv)
	const dead = "its link died before anybody used it"
	switch t.found {
	case personIn:
		s = ledger.Settlement{State: ledger.Accepted, Reason: cameIn, AcceptedAt: t.claimedAt(), Known: true, RetoolID: t.invite.ID}
	case inviteThere:
		s = ob.expired(inv, dead)
		if now := time.Now(); t.invite.ExpiresAt.After(now) {
			s = ledger.Settlement{State: ledger.Sent, Still: true, Reason: inv.Reason, ExpiresAt: t.invite.ExpiresAt}
		}
		s.Known, s.RetoolID = true, t.invite.ID
	case nothingThere:
		s = ob.expired(inv, "Retool does not have the invite any more, and never said that the person came in")
		s.Known, s.Taken = true, true
	case outOfReach:
		s = ob.expired(inv, fmt.Sprintf("its link died, and Usher could not look whether anybody had used it: %s", sentence(t.err)))
	default:
		s, _ = ob.failed(inv, t.err)
	}
	s.Attempt = t.attempt
	return s, true
}

func (ob expiring) failed(inv ledger.Invitation, e *retoolclient.Error) (ledger.Settlement, bool) {
	s := ledger.Settlement{State: ledger.Sent, Still: true, Reason: inv.Reason, NextTryAt: time.Now().Add(max(askAgain, e.RetryAfter)),
		Attempt: ledger.Attempt{Kind: kindLook, Outcome: "later", Message: e.Message}}
	switch {
	case e.Kind == retoolclient.Stop:
		s.Pace.Stop = sentence(e)
	case e.RateLimited:
		s.Pace.Wait = ob.wait(e)
	case time.Since(inv.ExpiresAt) > askFor:
		attempt := s.Attempt
		s = ob.expired(inv, fmt.Sprintf("its link died, and Usher could not look whether anybody had used it; the last answer: %s", sentence(e)))
		s.Attempt = attempt
	}
	return s, true
}

// expired ends an invitation, or has it sent again where that is set.
func (ob expiring) expired(inv ledger.Invitation, reason string) ledger.Settlement {
	s := ledger.Settlement{State: ledger.Expired, Reason: reason}
	if inv.Resent < ob.ResendExpired {
		s.SendAgain = fmt.Sprintf("%s; sent again by itself, %d of at most %d times", reason, inv.Resent+1, ob.ResendExpired)
	}
	return s
}
