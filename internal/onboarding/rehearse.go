package onboarding

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// A Rehearser tries sources and rules on what the ledger was told: the decide stage without its writing.
type Rehearser struct {
	Ledger  *ledger.Ledger
	Sources map[string]*webhook.Source
	Policy  *access.Policy
	// Hands is how many deliveries are read at once, 1 by default: beside an Usher that serves, the processors are its own.
	Hands int
	// Progress may be nil.
	Progress ledger.Progress
}

// Rehearse decides again all that came since a moment, newest first, and reports what would be decided differently
// from the decision that holds today. It writes nothing and asks nobody. Where ctx ends, it returns what it found until then,
// with the error.
func (r *Rehearser) Rehearse(ctx context.Context, since time.Time, report func(ledger.Difference) error) (ledger.Rehearsal, error) {
	h := &rehearsal{Rehearser: r, ctx: ctx, report: report, found: ledger.Rehearsal{Since: since,
		Lacking: map[string]int64{}, Kinds: map[ledger.Kind]int64{}, Effects: map[ledger.Effect]int64{}}}
	progress := r.Progress
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	err := r.Ledger.History(ctx, since, progress, h.lookAtPage)
	h.found.Complete = err == nil
	return h.found, err
}

type rehearsal struct {
	*Rehearser
	ctx    context.Context //nolint:containedctx // lives exactly as long as the rehearsal
	report func(ledger.Difference) error
	found  ledger.Rehearsal
}

// A reading is what the decide stage makes of a delivery.
type reading struct {
	verdicts []ledger.Verdict
	err      error
}

// lookAtPage reads deliveries together and compares them in their order.
func (h *rehearsal) lookAtPage(page []ledger.Past) error {
	readings := make([]reading, len(page))
	var hands sync.WaitGroup
	var next atomic.Int64
	for range max(1, min(h.Hands, len(page))) {
		hands.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(page)); i = next.Add(1) - 1 {
				if p := page[i]; !p.BodyGone && h.Sources[p.Delivery.Source] != nil {
					readings[i].verdicts, readings[i].err = h.read(p.Delivery)
				}
			}
		})
	}
	hands.Wait()
	for i, p := range page {
		if err := h.look(p, readings[i]); err != nil {
			return err
		}
	}
	return nil
}

// look compares what a delivery would be decided to with what was.
func (h *rehearsal) look(p ledger.Past, r reading) error {
	if p.Delivery.ID != 0 {
		h.found.Deliveries++
		if h.Sources[p.Delivery.Source] == nil {
			h.lacks(p)
			return nil
		}
	}
	if p.BodyGone {
		return h.lookAtDetails(p)
	}
	if r.err != nil {
		return h.cannotDecide(p, r.err)
	}
	if p.SetAside != "" {
		h.found.Mended++
	}
	return h.compareAll(p, r.verdicts)
}

// lacks counts what came from a source that is not configured.
func (h *rehearsal) lacks(p ledger.Past) {
	n := int64(len(p.Events))
	if p.SetAside != "" {
		h.found.Stuck++
		n = max(n, 1)
	}
	if n > 0 {
		h.found.Lacking[p.Delivery.Source] += n
	}
}

// read is the decide stage; a panic is an error here, as it is there.
func (h *rehearsal) read(d ledger.Delivery) (verdicts []ledger.Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	return decideDelivery(h.Sources, h.Policy, d)
}

// cannotDecide is for a delivery that would be set aside.
func (h *rehearsal) cannotDecide(p ledger.Past, why error) error {
	if p.SetAside != "" {
		h.found.Stuck++
	}
	then := ledger.Outlook{Outcome: ledger.IsSetAside, Sentence: "The delivery could not be decided: " + why.Error() + ".", Rule: -1}
	for i := range p.Events {
		if err := h.compare(p, &p.Events[i], outcome{Outlook: then}); err != nil {
			return err
		}
	}
	return nil
}

// lookAtDetails is for what has no body: the details that the ledger keeps, and the rules. What the sender's own words
// decided stands.
func (h *rehearsal) lookAtDetails(p ledger.Past) error {
	for i := range p.Events {
		e := &p.Events[i]
		today, decided := e.Decided()
		if !decided {
			h.found.Waiting++
			continue
		}
		h.found.FromDetails++
		if err := h.compare(p, e, h.byDetails(e, today)); err != nil {
			return err
		}
	}
	return nil
}

// byRules are the reasons that the domain rule and the access rules give; all others are of the sender's own words.
var byRules = []access.Reason{access.ReasonExternal, access.ReasonRule, access.ReasonRuleError, access.ReasonInternal,
	access.ReasonDenied, access.ReasonNotAllowed, access.ReasonMalformed, access.ReasonNoAddress}

func (h *rehearsal) byDetails(e *ledger.PastEvent, today ledger.Decision) outcome {
	ownWords := !slices.Contains(byRules, today.Reason)
	if ownWords && today.Outcome == access.Skip {
		return asToday(today)
	}
	details := e.Details
	details.Email = cmp.Or(details.Email, today.Email)
	d := h.Policy.Decide(details)
	if ownWords && d.Outcome == access.Invite {
		d.Outcome, d.Reason, d.Sentence = today.Outcome, today.Reason, today.Sentence
	}
	return decidedAs(d)
}

// compareAll compares the verdicts of a delivery with the events it brought.
func (h *rehearsal) compareAll(p ledger.Past, verdicts []ledger.Verdict) error {
	if p.Waits && len(p.Events) == 0 {
		h.found.Waiting++
		return nil
	}
	pairs := pairUp(p, verdicts)
	for i := range p.Events {
		e := &p.Events[i]
		if _, decided := e.Decided(); !decided {
			h.found.Waiting++
			continue
		}
		then := outcome{Outlook: ledger.Outlook{Outcome: ledger.IsNoEvent, Sentence: "The delivery would not be read as this event any more.", Rule: -1}}
		if v := pairs.of[i]; v != nil {
			var err error
			if then, err = h.decide(e, v); err != nil {
				return err
			}
		}
		if err := h.compare(p, e, then); err != nil {
			return err
		}
	}
	for _, v := range pairs.fresh {
		if p.Waits || p.SetAside == "" && !v.LookUp && v.Decision.Outcome == access.Skip {
			continue // it is decided in a moment, or would be recorded and nothing else
		}
		if err := h.compareFresh(p, v); err != nil {
			return err
		}
	}
	return nil
}

// decide is what an event would be decided to, when the deliveries that sent it again are taken into account as the
// decide stage does: what was skipped and comes again otherwise is decided again.
func (h *rehearsal) decide(e *ledger.PastEvent, v *ledger.Verdict) (outcome, error) {
	const looksAt = 20 // of an event that is sent again for ever
	then := h.outcomeOf(e, v)
	if then.Outcome != access.Skip || e.Resends == 0 {
		return then, nil
	}
	again, err := h.Ledger.ResentBy(h.ctx, e.ID, looksAt)
	if err != nil {
		return then, err
	}
	for _, d := range again {
		verdicts, err := h.read(d)
		if err != nil {
			continue // it would be set aside, and change nothing
		}
		for i := range verdicts {
			if saysTheSame(e, v, &verdicts[i]) {
				if other := h.outcomeOf(e, &verdicts[i]); other.Outcome != access.Skip {
					return other, nil
				}
				break
			}
		}
	}
	return then, nil
}

// outcomeOf is what a verdict comes to for an event that the ledger knows. An address that its sender was asked for
// once is not asked for again.
func (h *rehearsal) outcomeOf(e *ledger.PastEvent, v *ledger.Verdict) outcome {
	noAddress := v.LookUp || v.Event.Email == "" && v.Decision.Reason == access.ReasonNoAddress
	if !noAddress || !e.LookedUp {
		return outcomeOfVerdict(v)
	}
	today, _ := e.Decided()
	email := cmp.Or(e.Details.Email, today.Email)
	if email == "" {
		return asToday(today)
	}
	found := v.Event
	found.Email, found.Name = email, cmp.Or(found.Name, e.Details.Name)
	held := ledger.LookUpEvent{}
	if v.LookUp && v.Decision.Outcome == access.Hold {
		held.HoldReason, held.HoldSentence = v.Decision.Reason, v.Decision.Sentence
	}
	return decidedAs(decideFound(h.Policy, held, found))
}

// An outcome is what an event would be decided to.
type outcome struct {
	ledger.Outlook
	decision access.Decision
	same     bool // it stands as it does today, whatever that is
}

func outcomeOfVerdict(v *ledger.Verdict) outcome {
	if !v.LookUp {
		return decidedAs(v.Decision)
	}
	sentence := "The event carries no address: the sender would be asked for the customer's, then the rules decide."
	return outcome{Outlook: ledger.Outlook{Outcome: ledger.IsLookingUp, Sentence: sentence, Rule: -1}}
}

func decidedAs(d access.Decision) outcome {
	return outcome{Outlook: ledger.Outlook{Outcome: d.Outcome, Reason: d.Reason, Sentence: d.Sentence, Rule: d.Rule}, decision: d}
}

func asToday(d ledger.Decision) outcome { return outcome{Outlook: outlookOf(d), same: true} }

func outlookOf(d ledger.Decision) ledger.Outlook {
	return ledger.Outlook{Outcome: d.Outcome, Reason: d.Reason, Sentence: d.Sentence, Rule: d.Rule}
}

// compare reports an event where it would be decided differently.
func (h *rehearsal) compare(p ledger.Past, e *ledger.PastEvent, then outcome) error {
	h.found.Events++
	today, decided := e.Decided()
	groups, attributes := missing(e.Groups, then.decision.Groups), others(e.Attributes, then.decision.Attributes)
	by := change(e, today, then, len(groups) > 0, len(attributes) > 0)
	if !decided || by == "" {
		return nil
	}
	if e.DeliveryID == 0 && today.Sentence == then.Sentence {
		return nil // a correction: what a person let in is not held again
	}
	d := ledger.Difference{Event: e.ID, Delivery: e.DeliveryID, SenderID: e.SenderID, Source: e.Details.Source, Type: e.Details.Type, At: p.Delivery.ReceivedAt,
		Email: cmp.Or(then.decision.Address.Full(), today.Email, e.Details.Email), Today: outlookOf(today), Then: then.Outlook, By: by}
	switch by {
	case ledger.ChangeOfGroups:
		d.Groups = groups
	case ledger.ChangeOfAttributes:
		d.Attributes = attributes
	}
	return h.tell(p, d, then.decision, e)
}

// compareFresh reports an event that the ledger does not have.
func (h *rehearsal) compareFresh(p ledger.Past, v *ledger.Verdict) error {
	h.found.Events++
	then := outcomeOfVerdict(v)
	today := ledger.Outlook{Outcome: ledger.IsNoEvent, Sentence: "The ledger has no such event of this delivery.", Rule: -1}
	if p.SetAside != "" {
		today = ledger.Outlook{Outcome: ledger.IsSetAside, Sentence: "The delivery could not be decided: " + p.SetAside + ".", Rule: -1}
	}
	d := ledger.Difference{Delivery: p.Delivery.ID, SenderID: cmp.Or(v.Event.ID, v.BodyKey), Source: v.Event.Source, Type: v.Event.Type, At: p.Delivery.ReceivedAt,
		Email: cmp.Or(then.decision.Address.Full(), v.Event.Email), Today: today, Then: then.Outlook, By: ledger.ChangeOfOutcome}
	return h.tell(p, d, then.decision, nil)
}

// tell counts a difference and says what it comes to.
func (h *rehearsal) tell(p ledger.Past, d ledger.Difference, then access.Decision, e *ledger.PastEvent) error {
	if e != nil {
		d.Invitation, d.State = e.Invitation, e.State
	}
	if address := then.Address.Full(); address != "" {
		inv, err := h.Ledger.InvitationFor(h.ctx, address)
		switch {
		case err == nil:
			d.Invitation, d.State = inv.ID, inv.State
		case !errors.Is(err, ledger.ErrNotFound):
			return err
		default:
			d.Invitation, d.State = 0, ""
		}
	}
	d.Effect, d.Means = effect(d)
	if p.BodyGone && strings.HasPrefix(string(d.Effect), "would_") {
		d.Means += " " + cannotBeReplayed(d)
	}
	h.found.Different++
	h.found.Kinds[ledger.Kind{Today: d.Today.Outcome, Then: d.Then.Outcome, By: d.By}]++
	h.found.Effects[d.Effect]++
	return h.report(d)
}
