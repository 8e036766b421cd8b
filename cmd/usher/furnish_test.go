package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// migrated opens the ledger of a house that is not open yet, by a clock of its own.
func migrated(t *testing.T, p *parts, now func() time.Time) *ledger.Ledger {
	t.Helper()
	book, err := ledger.Open(t.Context(), p.config.Database.Reveal(), ledger.Options{Logger: p.log, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// A past is what happened in the days before a house was opened: really signed, verified and decided, by a clock that was
// put back. The same seed gives the same past.
type past struct {
	t       *testing.T
	p       *parts
	book    *ledger.Ledger
	chance  *rand.Rand
	now     time.Time
	persons int
}

// furnished gives a house a month of customers.
func furnished(t *testing.T, p *parts, _ *retooltest.Retool, _ string) {
	t.Helper()
	past := &past{t: t, p: p, chance: rand.New(rand.NewPCG(5, 7))}
	past.book = migrated(t, p, func() time.Time { return past.now })
	defer past.book.Close()
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	for day := -30; day <= -1; day++ {
		past.now = midnight.AddDate(0, 0, day).Add(7*time.Hour + time.Duration(past.chance.IntN(600))*time.Minute)
		weekday := past.now.Weekday()
		customers := 4 + past.chance.IntN(5) + (day+30)/6
		if weekday == time.Saturday || weekday == time.Sunday {
			customers /= 3
		}
		past.day(customers)
	}
}

// day lets customers come, and says what became of their invitations.
func (p *past) day(customers int) {
	p.t.Helper()
	var paid errgroup.Group // they share commits
	for range customers {
		e := p.event()
		paid.Go(func() error { return p.pay(e) })
	}
	p.must(paid.Wait())
	decided, err := p.book.Decide(p.t.Context(), customers, p.verdicts)
	p.must(err)
	if decided != customers {
		p.t.Fatalf("%d of %d deliveries were decided", decided, customers)
	}
	queued, err := p.book.Invitations(p.t.Context(), ledger.Filter{State: ledger.Queued})
	p.must(err)
	var sent errgroup.Group
	var came []ledger.Verdict
	for _, inv := range queued {
		sent.Go(func() error { return p.send(inv) })
		if p.chance.IntN(10) > 1 {
			came = append(came, p.cameIn(inv))
		}
	}
	p.must(sent.Wait())
	p.now = p.now.Add(time.Minute)
	_, err = p.book.RecordMany(p.t.Context(), came)
	p.must(err)
}

func (p *past) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// event is one customer at Stripe: most have paid, a few not yet, and some are colleagues who try the shop.
func (p *past) event() webhooktest.StripeEvent {
	first := []string{"ada", "grace", "alan", "edsger", "barbara", "donald", "frances", "john", "katherine", "dennis", "margaret", "ken", "radia", "tim", "shafi", "leslie"}
	firm := []string{"lovelace", "hopper", "turing", "dijkstra", "liskov", "knuth", "allen", "backus", "johnson", "ritchie", "hamilton", "thompson", "perlman", "lee", "goldwasser", "lamport", "initech", "hooli"}
	p.persons++
	name := first[p.persons%len(first)]
	e := webhooktest.StripeEvent{ID: fmt.Sprintf("evt_%024d", p.persons), Name: strings.ToUpper(name[:1]) + name[1:], Created: p.now,
		Email: fmt.Sprintf("%s%d@%s.example", name, p.persons, firm[p.persons%len(firm)])}
	switch p.chance.IntN(20) {
	case 0:
		e.PaymentStatus = "unpaid"
	case 1:
		e.Email = name + "@acme.example"
	}
	return e
}

func (p *past) pay(e webhooktest.StripeEvent) error {
	body := e.JSON()
	v, err := p.p.sources["stripe"].Verify(p.now, webhook.Request{Method: http.MethodPost, Header: webhooktest.SignStripe(body, storySecret, p.now), Body: body})
	if err != nil {
		return err
	}
	_, err = p.book.Accept(p.t.Context(), ledger.Delivery{Source: v.Source(), ReceivedAt: p.now, VerifiedBy: v.By(), Request: v.Request(), Body: body})
	return err
}

func (p *past) verdicts(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
	v, err := webhooktest.VerifyAgain(p.p.sources[d.Source], d.ReceivedAt, d.Request, d.Body)
	if err != nil {
		return nil, err
	}
	for _, e := range p.p.sources[d.Source].Events(v) {
		verdicts = append(verdicts, onboarding.Verdict(p.p.policy, e))
	}
	return verdicts, nil
}

// send is what Retool answered to an invitation.
func (p *past) send(inv ledger.Invitation) error {
	_, err := p.book.Settle(p.t.Context(), inv, ledger.Settlement{State: ledger.Sent, RetoolID: 1000 + inv.ID, ExpiresAt: p.now.Add(7 * 24 * time.Hour), CountTry: true,
		ToldGroups: inv.Groups, ToldAttributes: inv.Attributes,
		Attempt: ledger.Attempt{Kind: "invite", StartedAt: p.now.Add(2 * time.Second), Duration: 180 * time.Millisecond, Transport: "v2", Status: http.StatusOK,
			Outcome: "sent", Message: "Retool made the invite", RetoolID: 1000 + inv.ID}})
	return err
}

// cameIn is Retool's own word that the person is there.
func (p *past) cameIn(inv ledger.Invitation) ledger.Verdict {
	return ledger.Verdict{Event: access.Event{Source: "retool", Type: "user.accepted", ID: fmt.Sprint("came_", inv.ID), Email: inv.Email.Full()}, OccurredAt: p.now,
		Accepted: true, Decision: access.Decision{Outcome: access.Skip, Reason: webhook.ReasonAccepted, Sentence: "This person has come in.", Address: inv.Email}}
}

// inEveryState lets live customers come whose invitations end in each of the states, and events that bring none.
func inEveryState(h *house) {
	h.t.Helper()
	for _, e := range []webhooktest.StripeEvent{
		{Email: "katherine@johnson.example", Name: "Katherine Johnson"},
		{Email: "boss@acme.example", Name: "The Boss"},
		{Email: "linus@torvalds.example", Name: "Linus", PaymentStatus: "unpaid"},
		{Email: "elliot@evilcorp.example", Name: "Elliot Alderson"}, // Retool says that this is another organisation's
		{Email: "hank@globex.example", Name: "Hank Scorpio"},
		{Email: "margaret@hamilton.example", Name: "Margaret Hamilton"},
	} {
		h.paid(e)
	}
	h.invitation("katherine@johnson.example", "sent")
	h.invitation("margaret@hamilton.example", "sent")
	h.invitation("elliot@evilcorp.example", "failed")
	h.invitation("hank@globex.example", "held")
	h.retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "2", Times: 1}, retooltest.Fault{Kind: "status", Status: http.StatusServiceUnavailable})
	h.paid(webhooktest.StripeEvent{Email: "ada@lovelace.example", Name: "Ada Lovelace"})
	h.until("ada is to be tried again", func() bool { return len(h.retool.State().Faults) == 0 })
	h.invitation("ada@lovelace.example", "queued")
	h.change(`update invitations set state = 'expired', reason = 'the link was not used in seven days' where email = $1`, "grace1@hopper.example")
}
