package onboarding

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/retoolclient"
)

const (
	// holdFor is how long a worker waits in place for send slots; for longer it hands its job back.
	holdFor = 5 * time.Second
	// rateLimitWait is how long everyone waits after a 429 that does not say how long.
	rateLimitWait = time.Minute
	// probeWait is when an invitation that met a stop is looked at again.
	probeWait = 5 * time.Minute
	// stoppedRecheck is when the job comes back whose own attempt met a stop, and stoppedPoll how often one job asks,
	// for all that wait, whether sending goes on again.
	stoppedRecheck = 5 * time.Second
	stoppedPoll    = time.Second
	// inviteLasts is how long an invite can be claimed, where Retool does not say until when.
	inviteLasts = 7 * 24 * time.Hour
	// settleFor bounds how long an attempt waits to be recorded, which goes on when its job is cancelled; the commit
	// itself has as long once more.
	settleFor = 5 * time.Second
)

type inviteWorker struct {
	river.WorkerDefaults[ledger.InviteJob]
	ob *Onboarding
}

func (w *inviteWorker) Work(ctx context.Context, job *river.Job[ledger.InviteJob]) error {
	return w.ob.guard(job.JobRow, func() error { return w.ob.invite(ctx, job.Args) }, func(fault error) error {
		return w.ob.Ledger.GiveUp(ctx, job.Args, ledger.Failed, fault.Error(), fault)
	})
}

// NextRetry is after a fault of ours.
func (w *inviteWorker) NextRetry(job *river.Job[ledger.InviteJob]) time.Time {
	return afterFault(job.Attempt)
}

// invite makes the next attempt of an invitation, under the shared pace. After an attempt whose outcome
// is unknown it first looks whether the invite is there, then sends. One that is sent again is first taken away.
func (ob *Onboarding) invite(ctx context.Context, job ledger.InviteJob) error {
	return ob.run(ctx, time.Now().Add(holdFor), job, sending{ob})
}

// An errand is what is to be done at Retool for one invitation, call by call. Whatever the next one needs to know is in
// the ledger, so that a crash between two calls loses nothing.
type errand interface {
	// call makes the next call. done means that no other follows.
	call(ctx context.Context, inv ledger.Invitation) (s ledger.Settlement, done bool)
	// failed is what a call comes to that failed, by this invitation's own fault or by nobody's.
	failed(inv ledger.Invitation, e *retoolclient.Error) (s ledger.Settlement, done bool)
}

// run makes the calls of an errand, each under the shared pace, until it is done or the next one has to wait: then it
// returns an error for River.
func (ob *Onboarding) run(ctx context.Context, until time.Time, caller ledger.Caller, e errand) error {
	for {
		slot, err := ob.slot(ctx, until, func() (ledger.Slot, error) { return ob.Ledger.TakeSlot(ctx, caller, ob.interval) })
		if err != nil || slot.Void {
			return err
		}
		settlement, done := ob.attempt(ctx, slot.Invitation, e)
		if settlement.Pace.Stop != "" {
			settlement, done = ob.aloneAtFault(ctx, slot, settlement, done, e)
		}
		if err := ob.settle(ctx, slot.Invitation, settlement); err != nil {
			return err
		}
		switch {
		case settlement.Pace.Stop != "":
			return river.JobSnooze(stoppedRecheck)
		case done:
			return nil
		case !settlement.NextTryAt.IsZero():
			return river.JobSnooze(max(0, time.Until(settlement.NextTryAt)))
		}
	}
}

// slot waits for the right to call Retool. It hands the job back, by an error for River, when that takes
// longer than until or when Usher is stopping.
func (ob *Onboarding) slot(ctx context.Context, until time.Time, take func() (ledger.Slot, error)) (ledger.Slot, error) {
	for {
		if time.Now().After(until) { // after earlier calls: the job's end could cut this one off
			return ledger.Slot{}, river.JobSnooze(0)
		}
		if wait := ob.gate.wait(time.Now()); wait > 0 {
			if !ob.rest(ctx, min(wait, time.Until(until)+time.Millisecond)) {
				return ledger.Slot{}, river.JobSnooze(0)
			}
			continue
		}
		slot, err := take()
		if err != nil || slot.Void {
			return slot, err
		}
		ob.gate.set(slot.Stopped != "" && !slot.Granted, time.Now())
		if slot.Granted {
			return slot, nil
		}
		if slot.Stopped != "" {
			continue
		}
		switch {
		case slot.Wait > holdFor:
			return slot, river.JobSnooze(slot.Wait + time.Second)
		case slot.Wait > time.Until(until):
			return slot, river.JobSnooze(slot.Wait)
		}
		if !ob.rest(ctx, slot.Wait+time.Millisecond) {
			return slot, river.JobSnooze(0)
		}
	}
}

// A gate is closed while sending is stopped, so that a hundred thousand jobs that wait do not each ask the ledger, and
// ask again: those in hand stay in hand, the others queued, and one asks for all.
type gate struct {
	mu     sync.Mutex
	closed bool
	next   time.Time // when one may ask
}

// wait is how long to wait; whoever gets zero asks, and sets the gate by the answer.
func (g *gate) wait(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		return 0
	}
	if wait := g.next.Sub(now); wait > 0 {
		return wait
	}
	g.next = now.Add(stoppedPoll)
	return 0
}

// isClosed says whether sending is stopped, as far as is known here.
func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

func (g *gate) set(closed bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.next = closed, now.Add(stoppedPoll)
}

// aloneAtFault keeps one invitation that Retool always answers with a stop from stopping everybody again:
// where another's call worked since this one met a stop, the fault is this one's, and counts.
func (ob *Onboarding) aloneAtFault(ctx context.Context, slot ledger.Slot, s ledger.Settlement, done bool, e errand) (ledger.Settlement, bool) {
	attempts, err := ob.Ledger.Attempts(ctx, slot.Invitation.ID)
	if err != nil {
		return s, done
	}
	workedSince := func(a ledger.Attempt) bool {
		return a.Outcome == retoolclient.Stop.String() && a.StartedAt.Before(slot.WorkedAt)
	}
	if !slices.ContainsFunc(attempts, workedSince) {
		return s, done
	}
	alone, done := e.failed(slot.Invitation, &retoolclient.Error{Kind: retoolclient.Later, Message: s.Pace.Stop, Ambiguous: s.Unsure})
	alone.Attempt = s.Attempt
	return alone, done
}

// attempt makes one call and says what it changed. A panic is an attempt too: it must not leave the
// invitation without a next try.
func (ob *Onboarding) attempt(ctx context.Context, inv ledger.Invitation, e errand) (s ledger.Settlement, done bool) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s, done = e.failed(inv, &retoolclient.Error{Kind: retoolclient.Later, Message: ob.caught(p).Error(), Ambiguous: true})
		}
		s.Attempt.StartedAt, s.Attempt.Duration = start, time.Since(start)
	}()
	return e.call(ctx, inv)
}

// sending is the errand of an invitation that is queued.
type sending struct{ *Onboarding }

func (ob sending) call(ctx context.Context, inv ledger.Invitation) (s ledger.Settlement, done bool) {
	switch {
	case inv.Resend && inv.Unsure:
		s = ob.clear(inv, ob.trace(ctx, inv))
	case inv.Resend && inv.RetoolID != 0:
		s = ob.clear(inv, ob.remove(ctx, inv))
	case inv.Unsure:
		s = ob.look(ctx, inv)
	default:
		s = ob.send(ctx, inv)
	}
	return s, s.State != ledger.Queued
}

func (ob sending) failed(inv ledger.Invitation, e *retoolclient.Error) (ledger.Settlement, bool) {
	s := ob.later(inv, e)
	s.Attempt.Kind = "invite"
	return s, s.State != ledger.Queued
}

// clear is what the way to a second invite comes to, on which the first one is taken away.
func (ob sending) clear(inv ledger.Invitation, t traced) (s ledger.Settlement) {
	switch t.found {
	case personIn:
		s = ledger.Settlement{State: ledger.Accepted, Reason: cameIn + ", and nothing was sent again", AcceptedAt: t.claimedAt(), Known: true, RetoolID: t.invite.ID}
	case inviteThere:
		s = ledger.Settlement{State: ledger.Queued, Reason: inv.Reason, Known: true, RetoolID: t.invite.ID}
	case nothingThere:
		s = ledger.Settlement{State: ledger.Queued, Reason: inv.Reason, Known: true, Taken: true, Pace: ledger.PaceChange{Works: t.deleted}}
	case outOfReach: // what is known is tried, and then Retool's refusal of doubles is the guard
		s = ledger.Settlement{State: ledger.Queued, Reason: inv.Reason, Known: t.attempt.Kind == kindRevoke}
	default:
		s = ob.refused(inv, t.laterAtMost())
		s.Unsure = true
	}
	s.Attempt = t.attempt
	return s
}

// look asks Retool whether an earlier call was carried out although no clear answer came.
func (ob *Onboarding) look(ctx context.Context, inv ledger.Invitation) (s ledger.Settlement) {
	found, err := ob.Retool.FindInvite(ctx, inv.Email.Full())
	defer func() { s.Attempt.Kind = "look" }()
	switch refused := asRetoolError(err); {
	case err == nil && found != nil:
		s = ob.sent("found", "the invite of an earlier call is there", *found)
		s.ToldGroups, s.ToldAttributes = told(*found)
		s.Attempt.Status = http.StatusOK
		if found.Claimed() {
			s.State, s.Reason, s.AcceptedAt, s.Attempt.Outcome = ledger.Accepted, cameIn, claimedAt(found), outcomeClaimed
		}
	case err == nil:
		s = ledger.Settlement{State: ledger.Queued, Reason: inv.Reason} // send next
		if inv.Tries >= ob.MaxTries {
			s.State, s.Reason = ledger.Failed, fmt.Sprintf("given up after %d tries; no invite is at Retool; the last answer: %s", inv.Tries, inv.Reason)
		}
		s.Attempt.Status, s.Attempt.Outcome, s.Attempt.Message = http.StatusOK, "not found", "no usable invite of this address; sending"
	case refused.Kind == retoolclient.Never, mayNotLook(refused):
		// The plan or the scopes do not allow looking. Sending is the only way to know: Retool refuses a second invite.
		s = ledger.Settlement{State: ledger.Queued, Reason: inv.Reason}
		s.Attempt.Status, s.Attempt.Outcome, s.Attempt.Message = refused.Status, "cannot look", refused.Message
	default:
		s = ob.refused(inv, refused)
		s.Unsure = true
	}
	return s
}

// mayNotLook says whether a look is refused for good. A wrong token, a login page or a redirect is not: it stops
// everything, and then there is still a look to be had before anything is sent again.
func mayNotLook(e *retoolclient.Error) bool {
	return e.Kind == retoolclient.Stop &&
		(e.Status == http.StatusForbidden || e.Status == http.StatusNotFound || errors.Is(e, retoolclient.ErrPlan))
}

func (ob *Onboarding) send(ctx context.Context, inv ledger.Invitation) ledger.Settlement {
	result, err := ob.Retool.Invite(ctx, retoolclient.Invitation{Email: inv.Email.Full(), GroupIDs: inv.Groups, Metadata: inv.Attributes})
	var s ledger.Settlement
	if err != nil {
		s = ob.refused(inv, asRetoolError(err))
	} else {
		var invite retoolclient.Invite
		if result.Invite != nil {
			invite = *result.Invite
		}
		s = ob.sent("sent", result.Message, invite)
		s.ToldGroups, s.ToldAttributes = inv.Groups, inv.Attributes
		s.Attempt.Status, s.Attempt.Transport = result.Status, string(result.Transport)
		if s.ExpiresAt.IsZero() {
			s.ExpiresAt = time.Now().Add(inviteLasts)
		}
		if inv.Resend {
			s.Reason = "Retool was asked to send it again, beside the earlier invite, which it does not let Usher delete"
		}
	}
	s.Attempt.Kind = "invite"
	return s
}

// told reads from an invite at Retool what an earlier call told it: what is missing there is still owed.
func told(invite retoolclient.Invite) (groups []int64, attributes map[string]string) {
	attributes = map[string]string{}
	for name, value := range invite.Metadata {
		attributes[name] = fmt.Sprint(value)
	}
	for _, g := range invite.Groups {
		groups = append(groups, g.ID, g.LegacyID)
	}
	return groups, attributes
}

func (ob *Onboarding) sent(outcome, message string, invite retoolclient.Invite) ledger.Settlement {
	return ledger.Settlement{
		State: ledger.Sent, RetoolID: invite.ID, ExpiresAt: invite.ExpiresAt, CountTry: true, Pace: ledger.PaceChange{Works: true},
		Attempt: ledger.Attempt{Outcome: outcome, Message: message, RetoolID: invite.ID},
	}
}

// refused is the one table from what Retool answered to what becomes of the invitation.
func (ob *Onboarding) refused(inv ledger.Invitation, e *retoolclient.Error) (s ledger.Settlement) {
	switch e.Kind {
	case retoolclient.Present:
		s = ob.sent("present", e.Message, retoolclient.Invite{})
		s.Reason = "Retool knows this address already: " + e.Message
		if inv.Resend {
			s.Reason = "not sent again, since Retool still has the earlier invite and does not let Usher delete it: " + e.Message
		}
	case retoolclient.Never:
		s = ledger.Settlement{State: ledger.Failed, Reason: sentence(e), CountTry: true, Pace: ledger.PaceChange{Works: true}}
	case retoolclient.Stop:
		s = ledger.Settlement{State: ledger.Queued, Reason: "sending is stopped: " + sentence(e), Unsure: e.Ambiguous,
			NextTryAt: time.Now().Add(probeWait), Pace: ledger.PaceChange{Stop: sentence(e)}}
	default:
		s = ob.later(inv, e)
	}
	s.Attempt.Outcome = outcomeOf(e)
	s.Attempt.Status, s.Attempt.Transport, s.Attempt.Message = e.Status, string(e.Transport), e.Message
	return s
}

func outcomeOf(e *retoolclient.Error) string {
	if e.RateLimited {
		return "rate limited"
	}
	return e.Kind.String()
}

// later schedules the next attempt; after the last one it gives up, with the reason.
func (ob *Onboarding) later(inv ledger.Invitation, e *retoolclient.Error) ledger.Settlement {
	s, spent := ob.again(inv, e)
	s.State = ledger.Queued
	if spent && !e.Ambiguous { // an unclear answer is looked into first
		s.State, s.NextTryAt = ledger.Failed, time.Time{}
		s.Reason = fmt.Sprintf("given up after %d tries; the last answer: %s", inv.Tries+1, sentence(e))
	}
	return s
}

// again says when a call is made once more that failed for now, and whether its tries are used up.
func (ob *Onboarding) again(inv ledger.Invitation, e *retoolclient.Error) (s ledger.Settlement, spent bool) {
	if e.RateLimited { // not the invitation's fault: its budget stays, and everyone waits
		wait := ob.wait(e)
		return ledger.Settlement{Reason: "Retool asked us to slow down", NextTryAt: time.Now().Add(wait), Pace: ledger.PaceChange{Wait: wait}}, false
	}
	tries := inv.Tries + 1
	return ledger.Settlement{Reason: sentence(e), CountTry: true, Unsure: e.Ambiguous, NextTryAt: time.Now().Add(ob.schedule.after(tries, e.RetryAfter)),
		Attempt: ledger.Attempt{Outcome: "later", Message: e.Message}}, tries >= ob.MaxTries
}

// wait is how long everybody waits after a 429.
func (ob *Onboarding) wait(e *retoolclient.Error) time.Duration {
	if e.RetryAfter == 0 {
		return rateLimitWait
	}
	return max(e.RetryAfter, time.Second)
}

// settle records the attempt even while Usher is stopping: an answer that came must not be forgotten.
func (ob *Onboarding) settle(ctx context.Context, inv ledger.Invitation, s ledger.Settlement) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	stopped, err := ob.Ledger.Settle(ctx, inv, s)
	if err != nil {
		return fmt.Errorf("record attempt of invitation %d: %w", inv.ID, err)
	}
	if stopped {
		ob.Logger.Error("sending is stopped; every invitation is kept", "reason", Masked(s.Pace.Stop), "next_probe_in", probeWait)
	}
	ob.Logger.Info("attempt", "invitation", inv.ID, "email", inv.Email, "kind", s.Attempt.Kind, "outcome", s.Attempt.Outcome,
		"status", s.Attempt.Status, "state", s.State, "duration", s.Attempt.Duration.Round(time.Millisecond))
	return nil
}

// asRetoolError gives every failure of the client its type; nil for nil.
func asRetoolError(err error) *retoolclient.Error {
	if err == nil {
		return nil
	}
	var e *retoolclient.Error
	if errors.As(err, &e) {
		return e
	}
	return &retoolclient.Error{Kind: retoolclient.Later, Message: err.Error(), Ambiguous: true, Err: err}
}

// sentence is what a person should read about a refusal.
func sentence(e *retoolclient.Error) string {
	switch {
	case e.Advice != "" && e.Message != "":
		return e.Message + " (" + e.Advice + ")"
	case e.Advice != "":
		return e.Advice
	case e.Message != "":
		return e.Message
	case e.Err != nil:
		return e.Err.Error()
	case e.Status != 0:
		return fmt.Sprintf("Retool answered %d", e.Status)
	default:
		return "no answer"
	}
}
