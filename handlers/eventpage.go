package handlers

import (
	"net/http"
	"strconv"
	"strings"

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
	Source   bool // it has a page
}

// A fact is one thing that an event says.
type fact struct{ Name, Value string }

// showEventPage takes our number, or the sender's own identity.
func (s *Server) showEventPage(c echo.Context) error {
	ctx := c.Request().Context()
	found, err := s.findEvent(ctx, eventID(c), c.QueryParam("source"))
	if err != nil {
		return err
	}
	told, err := s.toldEvent(ctx, found)
	if err != nil {
		return err
	}
	page := eventPage{Event: found, Facts: factsOf(found.Details), Steps: s.eventStory(told).timeline(), ByHand: found.DeliveryID == 0,
		Source: s.Sources[found.Details.Source] != nil}
	for i := range page.Steps {
		page.Steps[i].Event = 0 // it is this one
	}
	for _, r := range told.receipts {
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
