package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// fillers is how many accept at once while a ledger is filled.
const fillers = 256

// A filling writes into a ledger what "usher serve" would, in this process and with no stage running.
type filling struct {
	ledger *ledger.Ledger
	source *webhook.Source
	policy *access.Policy
}

// fill accepts n deliveries and, if asked to, decides them all: the invitations are then queued.
func fill(ctx context.Context, address string, n int, decided bool) (err error) {
	var f filling
	if f.source, err = stripeSource(); err != nil {
		return err
	}
	if f.policy, err = access.NewPolicy(access.PolicyConfig{Internal: []string{"acme.example"}}); err != nil {
		return err
	}
	if f.ledger, err = ledger.Open(ctx, address, ledger.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.ledger.Close()) }()
	say("filling a ledger with %d deliveries", n)
	if err := f.accept(ctx, n); err != nil || !decided {
		return err
	}
	say("deciding them")
	return f.decide(ctx, n)
}

func (f *filling) accept(ctx context.Context, n int) error {
	var next atomic.Int64
	return together(fillers, func() error {
		m := newMaker(schemes["stripe"])
		for next.Add(1) <= int64(n) {
			now := time.Now()
			body := slices.Clone(m.event(now))
			header := http.Header{"Stripe-Signature": {string(m.sign(nil, now))}}
			v, err := f.source.Verify(now, webhook.Request{Method: http.MethodPost, Header: header, Body: body})
			if err != nil {
				return err
			}
			if _, err := f.ledger.Accept(ctx, ledger.Delivery{Source: v.Source(), ReceivedAt: now, VerifiedBy: v.By(), Request: v.Request(), Body: body}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *filling) decide(ctx context.Context, n int) error {
	deciders, batch := f.ledger.Deciders()
	var done atomic.Int64
	err := together(deciders, func() error {
		for {
			n, err := f.ledger.Decide(ctx, batch, f.verdicts)
			if err != nil || n == 0 {
				return err
			}
			done.Add(int64(n))
		}
	})
	if err == nil && done.Load() != int64(n) {
		return fmt.Errorf("%d of %d deliveries were decided", done.Load(), n)
	}
	return err
}

func (f *filling) verdicts(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
	v, err := webhooktest.VerifyAgain(f.source, d.ReceivedAt, d.Request, d.Body)
	if err != nil {
		return nil, err
	}
	for _, e := range f.source.Events(v) {
		verdicts = append(verdicts, onboarding.Verdict(f.policy, e))
	}
	return verdicts, nil
}

// together runs f n times at once.
func together(n int, f func() error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f() })
	}
	all.Wait()
	return errors.Join(errs...)
}
