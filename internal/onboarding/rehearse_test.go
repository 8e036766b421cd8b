package onboarding_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// rehearse tries sources and rules on what a world was told, and returns the differences, a line each.
func (w *world) rehearse(sources map[string]*webhook.Source, policy access.PolicyConfig, since time.Time) ([]string, ledger.Rehearsal) {
	w.Helper()
	lines := []string{}
	r := &onboarding.Rehearser{Ledger: w.ledger, Sources: sources, Policy: must(access.NewPolicy(policy))(w.T)}
	found, err := r.Rehearse(w.Context(), since, func(d ledger.Difference) error {
		lines = append(lines, fmt.Sprintf("%s %s: %s → %s by %s, %s", d.SenderID, d.Email, d.Today.Outcome, d.Then.Outcome, d.By, d.Effect))
		if d.By == ledger.ChangeOfGroups && !strings.Contains(d.Means, "9") || d.By == ledger.ChangeOfAttributes && !strings.Contains(d.Means, "the attribute plan") {
			w.Errorf("it does not say what is added: %s", d.Means)
		}
		if d.Means == "" || d.Then.Sentence == "" || d.Today.Sentence == "" || d.At.IsZero() || d.Source == "" {
			w.Errorf("a difference does not say all: %+v", d)
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	var kinds, effects int64
	for _, n := range found.Kinds {
		kinds += n
	}
	for _, n := range found.Effects {
		effects += n
	}
	if n := int64(len(lines)); found.Different != n || kinds != n || effects != n || !found.Complete {
		w.Errorf("%d differences, and the counts say %+v", n, found)
	}
	return lines, found
}

// own are the sources of a world.
func (w *world) own() map[string]*webhook.Source {
	return map[string]*webhook.Source{"stripe": w.source}
}

// nothingDiffers sees that the rules by which all was decided find nothing to say, and that trying them changes nothing.
func (w *world) nothingDiffers(policy access.PolicyConfig) {
	w.Helper()
	before := w.story()
	lines, _ := w.rehearse(w.own(), policy, time.Time{})
	w.equal("under the very same rules", lines, []string{})
	w.equal("what the ledger holds", w.story(), before)
}

func (w *world) decideAll() { w.Helper(); w.ob.DecideAll(w.Context()) }

// put brings the invitation of an address into a state as an attempt would.
func (w *world) put(email string, state ledger.State) {
	w.Helper()
	must(w.ledger.Settle(w.Context(), w.invitation(email), ledger.Settlement{State: state, Reason: "put there",
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: time.Now(), Outcome: "test", RetoolID: 7}}))(w.T)
}

func TestRehearsalShowsWhatOtherRulesWouldDecide(t *testing.T) {
	t.Parallel()
	before := access.PolicyConfig{Internal: []string{"acme.com"}, Rules: []access.Rule{
		{When: `event.customer == "cus_hold"`, Outcome: access.Hold},
		{When: `event.customer == "cus_pro"`, Groups: []int64{7}, Attributes: map[string]string{"plan": `"pro"`}},
	}}
	tests := []struct {
		name   string
		event  webhooktest.StripeEvent
		state  ledger.State // of the invitation, queued if empty
		policy access.PolicyConfig
		stripe webhook.StripeConfig
		want   string // empty: nothing differs
	}{
		{name: "the same rules", event: paid(""), policy: before},
		{name: "a rule in front that matches nothing", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_hold"}, state: ledger.Held,
			policy: with(before, access.Rule{When: `event.country == "XX"`, Outcome: access.Skip})},
		{name: "a domain is denied before it is sent", event: paid(""), policy: access.PolicyConfig{Internal: before.Internal, Deny: []string{"customer.example"}},
			want: jane + ": invite → skip by outcome, goes_out"},
		{name: "a domain is denied after it was sent", event: paid(""), state: ledger.Sent, policy: access.PolicyConfig{Deny: []string{"customer.example"}},
			want: jane + ": invite → skip by outcome, nothing_is_taken"},
		{name: "a domain is denied for who waits for a person", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_hold"}, state: ledger.Held,
			policy: access.PolicyConfig{Deny: []string{"customer.example"}}, want: jane + ": hold → skip by outcome, stays_held"},
		{name: "a domain is internal no more", event: webhooktest.StripeEvent{Email: "boss@acme.com"}, policy: access.PolicyConfig{},
			want: "boss@acme.com: skip → invite by outcome, would_invite"},
		{name: "who was skipped would be held", event: webhooktest.StripeEvent{Email: "boss@acme.com"}, policy: access.PolicyConfig{Rules: []access.Rule{{Outcome: access.Hold}}},
			want: "boss@acme.com: skip → hold by outcome, would_hold"},
		{name: "who was held would be invited", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_hold"}, state: ledger.Held, policy: access.PolicyConfig{},
			want: jane + ": hold → invite by outcome, stays_held"},
		{name: "who was invited and failed would be held", event: paid(""), state: ledger.Failed, policy: access.PolicyConfig{Rules: []access.Rule{{Outcome: access.Hold}}},
			want: jane + ": invite → hold by outcome, none"},
		{name: "one more group before it is sent", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_pro"},
			policy: access.PolicyConfig{Rules: []access.Rule{{Groups: []int64{7, 9}, Attributes: map[string]string{"plan": `"pro"`}}}},
			want:   jane + ": invite → invite by groups, would_add"},
		{name: "one group less changes nothing: nothing is taken back", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_pro"}, policy: access.PolicyConfig{Rules: []access.Rule{{}}}},
		{name: "another attribute", event: webhooktest.StripeEvent{Email: jane, Customer: "cus_pro"}, state: ledger.Sent,
			policy: access.PolicyConfig{Rules: []access.Rule{{Groups: []int64{7}, Attributes: map[string]string{"plan": `"gold"`}}}},
			want:   jane + ": invite → invite by attributes, would_add"},
		{name: "another reason for the same", event: webhooktest.StripeEvent{Email: "boss@acme.com"}, policy: access.PolicyConfig{Allow: []string{"customer.example"}},
			want: "boss@acme.com: skip → skip by reason, none"},
		{name: "a rule that cannot be worked out", event: paid(""), state: ledger.Sent, policy: access.PolicyConfig{Rules: []access.Rule{{When: `event.prices[5] == "x"`}}},
			want: jane + ": invite → hold by outcome, nothing_is_taken"},
		{name: "a trial is to be held from now on", event: webhooktest.StripeEvent{Email: jane, PaymentStatus: "no_payment_required"}, state: ledger.Accepted, policy: before,
			stripe: webhook.StripeConfig{NoPaymentRequired: access.Hold}, want: jane + ": invite → hold by outcome, nothing_is_taken"},
		{name: "what the sender's own words skip stays skipped", event: webhooktest.StripeEvent{Email: jane, Type: "charge.refunded"}, policy: access.PolicyConfig{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{policy: before})
			tt.event.ID = "evt_1"
			w.deliver(tt.event)
			w.decideAll()
			if tt.state != "" && tt.state != ledger.Held {
				w.put(tt.event.Email, tt.state)
			}
			w.nothingDiffers(before)
			tt.stripe.Secrets = []string{secret}
			lines, found := w.rehearse(map[string]*webhook.Source{"stripe": must(webhook.NewStripe("stripe", tt.stripe))(t)}, tt.policy, time.Time{})
			want := []string{}
			if tt.want != "" {
				want = append(want, "evt_1 "+tt.want)
			}
			w.equal("differences", lines, want)
			w.equal("deliveries and events", []int64{found.Deliveries, found.Events}, []int64{1, 1})
		})
	}
}

// with is a policy with one more rule, in front of the others.
func with(p access.PolicyConfig, rule access.Rule) access.PolicyConfig {
	p.Rules = append([]access.Rule{rule}, p.Rules...)
	return p
}

func TestRehearsalOfWhatAPersonDid(t *testing.T) {
	t.Parallel()
	held := access.PolicyConfig{Internal: []string{"acme.com"}, Rules: []access.Rule{{When: `event.email endsWith "@customer.example"`, Outcome: access.Hold}}}
	w := newWorld(t, setting{policy: held})
	policy := must(access.NewPolicy(held))(t)
	ask := func(id, email string, more ...int64) ledger.Verdict {
		e := access.Event{Source: "api", Type: "invitation.requested", ID: id, Email: email}
		d := policy.Decide(e)
		d.Groups = append(d.Groups, more...)
		return ledger.Verdict{Event: e, Decision: d, By: "a test"}
	}
	must(w.ledger.Record(t.Context(), ask("by_hand", "ann@elsewhere.example", 42)))(t)
	must(w.ledger.Record(t.Context(), ask("own", "boss@acme.com")))(t)
	first := must(w.ledger.Record(t.Context(), ask("approved", jane)))(t)
	must(w.ledger.Approve(t.Context(), "a test", first))(t)
	if _, _, err := w.ledger.Correct(t.Context(), "a test", first, ask("corrected", "jane.d@customer.example")); err != nil {
		t.Fatal(err)
	}
	w.nothingDiffers(held)

	r := &onboarding.Rehearser{Ledger: w.ledger, Policy: must(access.NewPolicy(access.PolicyConfig{Deny: []string{"elsewhere.example"}}))(t)}
	var means []string
	if _, err := r.Rehearse(t.Context(), time.Time{}, func(d ledger.Difference) error { means = append(means, d.SenderID+": "+d.Means); return nil }); err != nil {
		t.Fatal(err)
	}
	w.equal("differences", strings.Join(means, "\n"), strings.Join([]string{
		"corrected: Is queued already.", // it is no rule that lets them in now
		"approved: Is queued already.",
		"own: Would be invited: has no invitation today. It was asked for by hand: ask again.",
		"by_hand: Is queued, and goes out all the same: revoke it to stop it.",
	}, "\n"))
}

func TestRehearsalAsksNobodyForAnAddress(t *testing.T) {
	t.Parallel()
	withSubscriptions := webhook.StripeConfig{SubscriptionCreated: true}
	created := webhooktest.StripeEvent{ID: "evt_1", Type: webhook.SubscriptionCreated, Customer: "cus_1"}
	tests := []struct {
		name    string
		answers []answer
		policy  access.PolicyConfig
		stripe  webhook.StripeConfig
		want    string
	}{
		{name: "the same rules", answers: []answer{found}, stripe: withSubscriptions},
		{name: "a domain is denied", answers: []answer{found}, stripe: withSubscriptions, policy: access.PolicyConfig{Deny: []string{"customer.example"}},
			want: jane + ": invite → skip by outcome, nothing_is_taken"},
		{name: "subscriptions are not taken any more", answers: []answer{found}, want: jane + ": invite → skip by outcome, nothing_is_taken"},
		{name: "the customer has no address", answers: []answer{withoutEmail}, stripe: withSubscriptions, policy: access.PolicyConfig{Deny: []string{"customer.example"}}},
		{name: "the customer could not be asked for", answers: []answer{broken}, stripe: withSubscriptions, policy: access.PolicyConfig{Deny: []string{"customer.example"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := &stripe{t: t, answers: tt.answers}
			w := newWorld(t, setting{stripe: withSubscriptions, stripes: api, options: onboarding.Options{MaxTries: 1}})
			stop := w.run()
			w.deliver(created)
			if w.decided("evt_1", 1).Outcome == access.Invite {
				w.reaches(jane, ledger.Sent)
			}
			stop()
			asked := api.asked.Load()
			w.nothingDiffers(access.PolicyConfig{})
			tt.stripe.Secrets, tt.stripe.LookUp = []string{secret}, true
			lines, _ := w.rehearse(map[string]*webhook.Source{"stripe": must(webhook.NewStripe("stripe", tt.stripe))(t)}, tt.policy, time.Time{})
			want := []string{}
			if tt.want != "" {
				want = append(want, "evt_1 "+tt.want)
			}
			w.equal("differences", lines, want)
			w.equal("calls to Stripe", api.asked.Load(), asked)

			// An address that was found is known, also without a key to ask with.
			tt.stripe.LookUp = false
			lines, _ = w.rehearse(map[string]*webhook.Source{"stripe": must(webhook.NewStripe("stripe", tt.stripe))(t)}, tt.policy, time.Time{})
			w.equal("differences without a key", lines, want)
		})
	}

	t.Run("who was never asked for would be", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.deliver(webhooktest.StripeEvent{ID: "evt_1", Customer: "cus_1"})
		w.decideAll()
		w.nothingDiffers(access.PolicyConfig{})
		lines, _ := w.rehearse(map[string]*webhook.Source{"stripe": must(webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}, LookUp: true}))(t)}, access.PolicyConfig{}, time.Time{})
		w.equal("differences", lines, []string{"evt_1 : skip → look_up by outcome, would_look_up"})
	})
}

func TestRehearsalOfWhatHasNoBody(t *testing.T) {
	t.Parallel()
	before := access.PolicyConfig{Internal: []string{"acme.com"}, Rules: []access.Rule{{When: `event.customer == "cus_hold"`, Outcome: access.Hold}}}
	w := newWorld(t, setting{policy: before, stripe: webhook.StripeConfig{NoPaymentRequired: access.Hold}})
	for _, e := range []webhooktest.StripeEvent{
		{ID: "evt_paid", Email: jane},
		{ID: "evt_own", Email: "boss@acme.com"},
		{ID: "evt_held", Email: "ann@customer.example", Customer: "cus_hold"},
		{ID: "evt_refund", Email: "bob@customer.example", Type: "charge.refunded"},
		{ID: "evt_trial", Email: "cy@customer.example", PaymentStatus: "no_payment_required"},
		{ID: "evt_nobody"},
	} {
		w.deliver(e)
	}
	w.decideAll()
	for more := true; more; {
		var err error
		if _, more, err = w.ledger.Tidy(t.Context(), ledger.Retention{Bodies: -time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	w.nothingDiffers(before)
	lines, found := w.rehearse(w.own(), access.PolicyConfig{}, time.Time{})
	slices.Sort(lines)
	w.equal("differences", strings.Join(lines, "\n"), strings.Join([]string{
		"evt_held ann@customer.example: hold → invite by outcome, stays_held",
		"evt_own boss@acme.com: skip → invite by outcome, would_invite",
	}, "\n"))
	w.equal("by what the ledger keeps", found.FromDetails, 6)
	lines, _ = w.rehearse(w.own(), access.PolicyConfig{Deny: []string{"customer.example"}}, time.Time{})
	slices.Sort(lines)
	w.equal("differences", strings.Join(lines, "\n"), strings.Join([]string{
		"evt_held ann@customer.example: hold → skip by outcome, stays_held",
		"evt_own boss@acme.com: skip → invite by outcome, would_invite",
		"evt_paid jane.doe@customer.example: invite → skip by outcome, goes_out",
		"evt_trial cy@customer.example: hold → skip by outcome, stays_held",
	}, "\n"))
}

// described makes a source out of expressions.
func described(t *testing.T, name string, row webhook.Row) *webhook.Source {
	t.Helper()
	row.Verify = webhook.Verify{Kind: "token", Header: "X-Token"}
	return must(webhook.New(webhook.Config{Name: name, Row: row, Secrets: []string{secret}, RequireLivemode: true}))(t)
}

func TestRehearsalOfOtherSources(t *testing.T) {
	t.Parallel()
	shop := webhook.Row{Each: "body.items", EventID: "item.id", Email: []string{"item.email"}, When: `item.kind == "paid"`}
	send := func(w *world, request, body string) int64 {
		return must(w.ledger.Accept(w.Context(), ledger.Delivery{Source: "shop", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Request: request, Body: []byte(body)}))(w.T)
	}
	const two = `{"items": [{"id": "1", "email": "ann@one.example", "kind": "paid"}, {"id": "2", "email": "bob@two.example", "kind": "trial"}]}`
	tests := []struct {
		name   string
		change func(*webhook.Row)
		want   []string
	}{
		{name: "the same", change: func(*webhook.Row) {}, want: []string{}},
		{name: "trials count too", change: func(r *webhook.Row) { r.When = "" }, want: []string{"2 bob@two.example: skip → invite by outcome, would_invite"}},
		{name: "nothing counts", change: func(r *webhook.Row) { r.When = "false" }, want: []string{"1 ann@one.example: invite → skip by outcome, goes_out"}},
		{name: "the address stands elsewhere", change: func(r *webhook.Row) { r.Email = []string{`item.kind + "@three.example"`} },
			want: []string{"1 paid@three.example: invite → invite by address, would_invite"}},
		{name: "the identity is read in another way", change: func(r *webhook.Row) { r.EventID = `"order " + item.id` }, want: []string{}},
		{name: "there is no identity", change: func(r *webhook.Row) { r.EventID = "" }, want: []string{}},
		{name: "the first item is all", change: func(r *webhook.Row) { r.Each = "body.items[1:]" },
			want: []string{"1 ann@one.example: invite → none by outcome, goes_out"}},
		{name: "each item is two", change: func(r *webhook.Row) { r.Each, r.EventID = "concat(body.items, body.items)", "" }, want: []string{}},
		{name: "an expression that cannot be worked out", change: func(r *webhook.Row) { r.When = `int(item.kind) == 1` },
			want: []string{"1 ann@one.example: invite → hold by outcome, goes_out", "2 bob@two.example: skip → hold by outcome, would_hold"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.ob.Sources["shop"] = described(t, "shop", shop)
			send(w, "{}", two)
			send(w, "{}", two) // it is sent again
			w.decideAll()
			changed := shop
			tt.change(&changed)
			lines, found := w.rehearse(map[string]*webhook.Source{"shop": described(t, "shop", changed)}, access.PolicyConfig{}, time.Time{})
			w.equal("differences", lines, tt.want)
			w.equal("deliveries", found.Deliveries, 2)
		})
	}

	t.Run("what comes again under another header is decided by that", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		row := webhook.Row{EventID: "body.id", Email: []string{"body.email"}, When: `headers["X-Topic"] == "paid"`}
		w.ob.Sources["shop"] = described(t, "shop", row)
		const body = `{"id": "1", "email": "ann@one.example"}`
		send(w, `{"headers": {"X-Topic": "seen"}}`, body)
		w.decideAll()
		send(w, `{"headers": {"X-Topic": "paid"}}`, body)
		w.decideAll()
		lines, _ := w.rehearse(w.ob.Sources, access.PolicyConfig{}, time.Time{})
		w.equal("under the same rules", lines, []string{})
		lines, _ = w.rehearse(w.ob.Sources, access.PolicyConfig{Deny: []string{"one.example"}}, time.Time{})
		w.equal("under others", lines, []string{"1 ann@one.example: invite → skip by outcome, goes_out"})
	})

	t.Run("a source that is not configured is counted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.ob.Sources["shop"] = described(t, "shop", shop)
		send(w, "{}", two)
		w.deliver(paid("evt_1"))
		w.decideAll()
		lines, found := w.rehearse(w.own(), access.PolicyConfig{}, time.Time{})
		w.equal("differences", lines, []string{})
		w.equal("lacking", found.Lacking, map[string]int64{"shop": 2})
		w.equal("compared", found.Events, 1)
	})

	t.Run("what was set aside and can be decided now", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		send(w, "{}", two)
		for range 3 {
			w.decideAll()
		}
		w.equal("set aside", w.summary().SetAside, 1)
		lines, found := w.rehearse(w.own(), access.PolicyConfig{}, time.Time{})
		w.equal("differences without its source", lines, []string{})
		w.equal("stuck, and mended", []int64{found.Stuck, found.Mended, found.Lacking["shop"]}, []int64{1, 0, 1})
		lines, found = w.rehearse(map[string]*webhook.Source{"shop": described(t, "shop", shop)}, access.PolicyConfig{}, time.Time{})
		w.equal("differences", lines, []string{
			"1 ann@one.example: set_aside → invite by outcome, would_invite", "2 bob@two.example: set_aside → skip by outcome, none"})
		w.equal("stuck, and mended", []int64{found.Stuck, found.Mended}, []int64{0, 1})
	})

	t.Run("what is not decided yet is counted, and left alone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setting{})
		w.deliver(paid("evt_1"))
		lines, found := w.rehearse(w.own(), access.PolicyConfig{}, time.Time{})
		w.equal("differences", lines, []string{})
		w.equal("waiting", found.Waiting, 1)
	})
}

func TestRehearsalAfterReplaysAndResends(t *testing.T) {
	t.Parallel()
	rules := access.PolicyConfig{Deny: []string{"customer.example"}}
	w := newWorld(t, setting{policy: rules})
	first := w.deliver(paid("evt_1"))
	w.decideAll()
	w.deliver(paid("evt_1"))
	w.decideAll()
	if err := w.ledger.Replay(t.Context(), "a test", first); err != nil {
		t.Fatal(err)
	}
	w.decideAll()
	w.nothingDiffers(rules)
	lines, _ := w.rehearse(w.own(), access.PolicyConfig{}, time.Time{})
	w.equal("differences: one, however often it came", lines, []string{"evt_1 " + jane + ": skip → invite by outcome, would_invite"})
}

func TestRehearsalBeginsAtAMomentAndCanBeBrokenOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.deliver(paid("evt_1"))
	w.deliver(paid("evt_2"))
	w.decideAll()
	lines, _ := w.rehearse(w.own(), access.PolicyConfig{Deny: []string{"customer.example"}}, time.Now().Add(time.Hour))
	w.equal("differences of what came later", lines, []string{})
	r := &onboarding.Rehearser{Ledger: w.ledger, Sources: w.own(), Policy: must(access.NewPolicy(access.PolicyConfig{Deny: []string{"customer.example"}}))(t)}
	ctx, cancel := context.WithCancel(t.Context())
	found, err := r.Rehearse(ctx, time.Time{}, func(ledger.Difference) error { cancel(); return ctx.Err() })
	if !errors.Is(err, context.Canceled) || found.Complete || found.Different != 1 {
		t.Errorf("broken off: %v, %+v", err, found)
	}
}
