package onboarding

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

const (
	// sweepEvery is how often the stage looks for what no acceptance announced, such as what a crash left.
	sweepEvery = 2 * time.Second
	// yieldFor is how long the stage lets a burst of acceptances go first.
	yieldFor = 10 * time.Second
	// pressedFor is for how long acceptances count as pressing after they last did.
	pressedFor = 100 * time.Millisecond
	// share is how many times as long as its last batch the stage then rests, while acceptances still come faster than
	// commits: it falls behind, and acceptance does not.
	share = 4
)

// decideUntil runs the decide stage until ctx ends: at once after an acceptance, and in sweeps.
func (ob *Onboarding) decideUntil(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		ob.decideAll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ob.Ledger.Accepted():
		case <-sweep.C:
		}
	}
}

// decideAll decides everything that waits. It lets acceptances go first for a while; once its patience is
// over, it goes on beside them, for a part of the time, until it has caught up.
func (ob *Onboarding) decideAll(ctx context.Context) {
	_, batch := ob.Ledger.Deciders()
	patience := time.Now().Add(yieldFor)
	for ctx.Err() == nil {
		ob.yield(ctx, patience)
		begun := time.Now()
		n, err := ob.Ledger.Decide(ctx, batch, ob.decide)
		if ctx.Err() != nil {
			return
		}
		if ob.ledgerUp.changed(err != nil) {
			ob.logLedger(err)
		}
		if err != nil || n == 0 {
			return // the next sweep tries again
		}
		if ob.Ledger.Pressed(pressedFor) {
			ob.sleep(ctx, share*time.Since(begun))
		}
	}
}

// yield waits while acceptances come faster than they can be committed.
func (ob *Onboarding) yield(ctx context.Context, patience time.Time) {
	for ob.Ledger.Pressed(pressedFor) && time.Now().Before(patience) {
		if !ob.sleep(ctx, 20*time.Millisecond) {
			return
		}
	}
}

func (ob *Onboarding) logLedger(err error) {
	if err == nil {
		ob.Logger.Info("the ledger can be written again")
		return
	}
	ob.Logger.Error("deciding waits: the ledger refuses", "error", err)
}

// decide makes of one delivery its events and their decisions. It is pure: the ledger calls it inside the
// transaction that writes what it returns.
func (ob *Onboarding) decide(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ob.caught(p)
		}
	}()
	if verdicts, err = decideDelivery(ob.Sources, ob.Policy, d); err != nil {
		return nil, err
	}
	for _, v := range verdicts {
		ob.remark(d, v)
	}
	return verdicts, nil
}

// decideDelivery reads one delivery's events and decides them. It is the decide stage, and what tries rules on history.
func decideDelivery(sources map[string]*webhook.Source, policy *access.Policy, d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
	source := sources[d.Source]
	if source == nil {
		return nil, fmt.Errorf("the source %q is not configured any more; configure it and replay the delivery", d.Source)
	}
	from := webhook.FromLedger(d.Source, d.Body, d.ReceivedAt, d.VerifiedBy, d.Request)
	for _, e := range source.Events(from) {
		v := Verdict(policy, e)
		if from.Kept().Test {
			v = asTest(v, d.ID)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// asTest makes of a verdict about what Usher sent itself one that touches nobody, and says what it would have been. Its
// identity is its own: neither is it another event's resend, which could put an invitation to work, nor the other way
// round.
func asTest(v ledger.Verdict, delivery int64) ledger.Verdict {
	would := fmt.Sprintf("it would have been decided %s: %s", v.Decision.Outcome, v.Decision.Sentence)
	switch {
	case v.LookUp:
		would = "its sender would have been asked for the customer's address, and then the rules."
	case v.Accepted:
		would = "it would have said that this person came in."
	}
	own := fmt.Sprintf("test:%d:", delivery)
	v.Event.ID = own + v.Event.ID
	if v.BodyKey != "" {
		v.BodyKey = own + v.BodyKey
	}
	v.LookUp, v.Accepted = false, false
	v.Decision = access.Decision{Outcome: access.Skip, Reason: webhook.ReasonTestEvent, Sentence: "A test from Usher's page: " + would,
		Rule: v.Decision.Rule, Address: v.Decision.Address}
	return v
}

// worthSaying are the reasons for which an authentic event invites nobody although somebody may have paid. Its
// sender was answered 200 and does not send again, so that the operator must see it.
var worthSaying = []access.Reason{webhook.ReasonMalformed, webhook.ReasonExpression, access.ReasonNoAddress, access.ReasonMalformed}

func (ob *Onboarding) remark(d ledger.Delivery, v ledger.Verdict) {
	if !v.LookUp && slices.Contains(worthSaying, v.Decision.Reason) {
		ob.Logger.Warn("an event invites nobody", "source", d.Source, "delivery", d.ID, "reason", string(v.Decision.Reason))
	}
}

// Verdict decides one event: by the sender's own words first, then by the domain rule and the access rules.
func Verdict(policy *access.Policy, e webhook.Event) ledger.Verdict {
	v := ledger.Verdict{Event: e.Event, OccurredAt: e.OccurredAt, Fingerprint: e.Fingerprint, BodyKey: e.BodyKey, Accepted: e.Accepted}
	switch p := e.Preliminary; {
	case p.Outcome == access.Skip:
		address, _ := access.ParseAddress(e.Email) // so that a search finds the event
		v.Decision = access.Decision{Outcome: p.Outcome, Reason: p.Reason, Sentence: p.Sentence, Rule: -1, Address: address}
	case e.LookUp:
		v.LookUp = true
		v.Decision = access.Decision{Outcome: p.Outcome, Reason: p.Reason, Sentence: p.Sentence, Rule: -1}
	default:
		v.Decision = policy.Decide(e.Event)
		if p.Outcome == access.Hold && v.Decision.Outcome == access.Invite {
			v.Decision.Outcome, v.Decision.Reason, v.Decision.Sentence = p.Outcome, p.Reason, p.Sentence
		}
		switch {
		case v.Decision.Reason != access.ReasonNoAddress:
		case p.Reason == webhook.ReasonExpression: // nobody is there to be held, and this is why
			v.Decision.Reason, v.Decision.Sentence = p.Reason, p.Sentence
		case len(e.Tried) > 0:
			v.Decision.Sentence += " Tried: " + strings.Join(e.Tried, ", ") + "."
		}
	}
	return v
}

// panicError keeps what Go says of a fault, and drops any other value: it may hold what a customer wrote.
func panicError(p any) error {
	var fault runtime.Error
	if err, ok := p.(error); ok && errors.As(err, &fault) {
		return fmt.Errorf("panic: %w", fault)
	}
	return fmt.Errorf("panic with a %T", p)
}

// sleep waits, and reports false when ctx ended first.
func (ob *Onboarding) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
