package handlers

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// One event: how it reached us, what it says, and what was decided of it and why.

const eventsPath = home + "/events"

// An eventPage is one of them.
type eventPage struct {
	ledger.Event
	Facts    []fact
	Steps    []step
	Delivery int64 // that can be decided again; 0: none
	ByHand   bool
	Waiting  bool // for its address
	Source   bool // it has a page
}

// A fact is one thing that an event says.
type fact struct{ Name, Value string }

// A step is one moment of its way.
type step struct {
	At           time.Time
	Kind         string // good, warn, bad or nothing
	Title        string
	Text         string
	Label        string // the reason of a decision
	InvitationID int64
}

// showEventPage takes our number, or the sender's own identity.
func (s *Server) showEventPage(c echo.Context) error {
	ctx := c.Request().Context()
	found, err := s.findEvent(ctx, eventID(c), c.QueryParam("source"))
	if err != nil {
		return err
	}
	receipts, err := s.Ledger.ReceiptsOf(ctx, found.ID)
	if err != nil {
		return err
	}
	lookUps, err := s.Ledger.LookUps(ctx, found.ID)
	if err != nil {
		return err
	}
	page := eventPage{Event: found, Facts: factsOf(found.Details), Steps: stepsOf(found, receipts, lookUps), ByHand: found.DeliveryID == 0, Waiting: len(found.Decisions) == 0,
		Source: s.Sources[found.Details.Source] != nil}
	for _, r := range receipts {
		if r.Delivery == found.DeliveryID && r.BodyKept {
			page.Delivery = r.Delivery
		}
	}
	return s.render(c, http.StatusOK, "event", page)
}

// factsOf is what an event says, without what it leaves out.
func factsOf(e access.Event) (facts []fact) {
	amount := ""
	if e.Amount != 0 {
		amount = strings.TrimSpace(strconv.FormatInt(e.Amount, 10) + " " + e.Currency)
	}
	for _, f := range []fact{
		{"Type", e.Type}, {"The sender's identity", e.ID}, {"Address", e.Email}, {"Read from", e.EmailFrom}, {"Name", e.Name}, {"Customer", e.Customer},
		{"Country", e.Country}, {"Amount, in the smallest unit", amount}, {"Mode", e.Mode}, {"Payment link", e.PaymentLink}, {"Prices", strings.Join(e.Prices, ", ")},
		{"Attached", pairs(e.Metadata)}, {"Attributes", pairs(e.Attributes)},
	} {
		if f.Value != "" {
			facts = append(facts, f)
		}
	}
	return facts
}

// stepsOf is the way of an event, in the order of time.
func stepsOf(e ledger.Event, receipts []ledger.Receipt, lookUps []ledger.Attempt) (steps []step) {
	if !e.OccurredAt.IsZero() && e.DeliveryID != 0 {
		steps = append(steps, step{At: e.OccurredAt, Title: "It happened, by the sender's clock"})
	}
	if e.DeliveryID == 0 {
		steps = append(steps, step{At: e.RecordedAt, Title: "A person asked for it"})
	}
	for _, r := range receipts {
		one := step{At: r.ReceivedAt, Title: fmt.Sprintf("Received as delivery %d", r.Delivery), Text: "The signature was right: " + r.VerifiedBy + "."}
		switch {
		case r.Again && r.SameBody:
			one.Title = fmt.Sprintf("Sent again, the same, as delivery %d", r.Delivery)
		case r.Again:
			one.Title = fmt.Sprintf("Sent again, in other words, as delivery %d", r.Delivery)
		}
		if !r.BodyKept {
			one.Text += " Its body is older than retention.bodies and was removed."
		}
		steps = append(steps, one)
	}
	for _, l := range lookUps {
		steps = append(steps, step{At: l.StartedAt, Kind: lookUpKind(l.Outcome), Title: "The sender was asked for the address: " + l.Outcome, Text: l.Message})
	}
	for _, d := range e.Decisions {
		steps = append(steps, step{At: d.DecidedAt, Kind: outcomeKinds[d.Outcome], Title: outcomeTitles[d.Outcome], Text: d.Sentence, Label: reasonLabel(d.Reason), InvitationID: d.InvitationID})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.At.Truncate(time.Millisecond).Compare(b.At.Truncate(time.Millisecond)) })
	return steps
}

func lookUpKind(outcome string) string {
	if outcome == "found" {
		return "good"
	}
	return "warn"
}

var outcomeTitles = map[access.Outcome]string{access.Invite: "Decided: invite", access.Hold: "Decided: hold, until a person approves", access.Skip: "Decided: invite nobody"}
