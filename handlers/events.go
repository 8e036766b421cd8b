package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// showEvent answers why something did or did not happen. It takes our number, or the sender's own identity
// (evt_…), which is what a person has at hand; ?source= says whose identity it is.
func (s *Server) showEvent(c echo.Context) error {
	if err := queryOnly(c, "source"); err != nil {
		return err
	}
	ctx := c.Request().Context()
	found, err := s.findEvent(ctx, eventID(c), c.QueryParam("source"))
	if err != nil {
		return err
	}
	told, err := s.toldEvent(ctx, found)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		event
		LookUps  []attempt `json:"look_ups,omitempty"`
		Timeline []step    `json:"timeline"`
	}{newEvent(found), each(told.lookUps, newAttempt), s.eventStory(told).timeline()})
}

// eventID is the identity in the path. Some are addresses, whose slashes come escaped: then Echo leaves the
// parameter as it came.
func eventID(c echo.Context) string {
	id := c.Param("id")
	if c.Request().URL.RawPath == "" {
		return id
	}
	if plain, err := url.PathUnescape(id); err == nil {
		return plain
	}
	return id
}

// findEvent goes by our number first, unless a source is named: some senders' identities are numbers too.
func (s *Server) findEvent(ctx context.Context, id, source string) (ledger.Event, error) {
	if number, err := strconv.ParseInt(id, 10, 64); err == nil && source == "" {
		found, err := s.Ledger.Event(ctx, number)
		if !errors.Is(err, ledger.ErrNotFound) {
			return found, err
		}
	}
	return s.Ledger.EventBySenderID(ctx, source, id)
}

// listEvents answers what kept people out, or in: by the reason of the decision that holds, and more.
func (s *Server) listEvents(c echo.Context) error {
	filter, err := eventFilter(c)
	if err != nil {
		return err
	}
	found, err := s.Ledger.Events(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	page := struct {
		Events     []event `json:"events"`
		NextCursor *string `json:"next_cursor"`
	}{each(found, newEvent), nextCursor(found, filter.Limit, func(e ledger.Event) int64 { return e.ID })}
	return c.JSON(http.StatusOK, page)
}

func eventFilter(c echo.Context) (f ledger.EventFilter, err error) {
	if err := queryOnly(c, "reason", "outcome", "source", "type", "email", "since", "limit", "cursor"); err != nil {
		return f, err
	}
	page, err := queryPage(c)
	if err != nil {
		return f, err
	}
	if f.Since, err = queryTime(c, "since"); err != nil {
		return f, err
	}
	if f.Email, err = queryEmail(c); err != nil {
		return f, err
	}
	outcomes := []access.Outcome{access.Invite, access.Hold, access.Skip}
	if f.Outcome = access.Outcome(c.QueryParam("outcome")); f.Outcome != "" && !slices.Contains(outcomes, f.Outcome) {
		return f, invalid(fieldError{Field: "outcome", Detail: "is no outcome of a decision", Mend: fmt.Sprintf("one of %v", outcomes)})
	}
	f.Reason, f.Source, f.Type, f.Limit = access.Reason(c.QueryParam("reason")), c.QueryParam("source"), c.QueryParam("type"), page.limit
	f.Before = page.before
	return f, nil
}

func (s *Server) replayDelivery(c echo.Context) error {
	id, err := pathID(c, "delivery")
	if err != nil {
		return err
	}
	if err := s.Ledger.Replay(c.Request().Context(), actorOf(c).name, id); err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, receipt{Status: "undecided", Delivery: id})
}

// An event is its form on the wire.
type event struct {
	ID         int64        `json:"id"`
	DeliveryID int64        `json:"delivery,omitempty"`
	OccurredAt *time.Time   `json:"occurred_at"`
	RecordedAt *time.Time   `json:"recorded_at"`
	Resends    int          `json:"resends"`
	Otherwise  int          `json:"resends_with_another_body"`
	SameIDAs   int64        `json:"same_id_as,omitempty"` // the sender had given its id to this event before
	Details    access.Event `json:"event"`
	Waiting    bool         `json:"waiting_for_look_up"`
	Decision   *decision    `json:"decision"`
	Earlier    []decision   `json:"earlier_decisions,omitempty"`
}

func newEvent(e ledger.Event) event {
	wire := event{ID: e.ID, DeliveryID: e.DeliveryID, OccurredAt: when(e.OccurredAt), RecordedAt: when(e.RecordedAt),
		Resends: e.Resends, Otherwise: e.ResentOtherwise, SameIDAs: e.ReusesIDOf, Details: e.Details, Waiting: len(e.Decisions) == 0}
	decisions := each(e.Decisions, newDecision)
	if n := len(decisions); n > 0 {
		wire.Decision, wire.Earlier = &decisions[n-1], decisions[:n-1]
	}
	return wire
}

// A decision is its form on the wire.
type decision struct {
	Outcome      access.Outcome `json:"outcome"`
	Reason       access.Reason  `json:"reason"`
	Sentence     string         `json:"sentence"`
	Rule         *int           `json:"rule"`
	InvitationID int64          `json:"invitation,omitempty"`
	DecidedAt    *time.Time     `json:"decided_at"`
}

func newDecision(d ledger.Decision) decision {
	wire := decision{Outcome: d.Outcome, Reason: d.Reason, Sentence: d.Sentence, InvitationID: d.InvitationID, DecidedAt: when(d.DecidedAt)}
	if d.Rule >= 0 {
		wire.Rule = &d.Rule
	}
	return wire
}

// An attempt is its form on the wire.
type attempt struct {
	Kind       string     `json:"kind"`
	StartedAt  *time.Time `json:"started_at"`
	DurationMS int64      `json:"duration_ms"`
	Transport  string     `json:"transport,omitempty"`
	Status     int        `json:"status"`
	Outcome    string     `json:"outcome"`
	Message    string     `json:"message"`
}

func newAttempt(a ledger.Attempt) attempt {
	return attempt{Kind: a.Kind, StartedAt: when(a.StartedAt), DurationMS: a.Duration.Milliseconds(), Transport: a.Transport,
		Status: a.Status, Outcome: a.Outcome, Message: a.Message}
}

// aside is a delivery that could not be decided, as the API shows it.
type aside struct {
	Delivery   int64      `json:"delivery"`
	Source     string     `json:"source"`
	ReceivedAt *time.Time `json:"received_at"`
	SetAsideAt *time.Time `json:"set_aside_at"`
	Tries      int        `json:"tries"`
	Error      string     `json:"error"`
}

func newAside(d ledger.SetAside) aside {
	return aside{d.Delivery, d.Source, when(d.ReceivedAt), when(d.At), d.Tries, d.Error}
}

// listDeliveries lists the deliveries that were set aside: they wait for a person, and for a replay.
func (s *Server) listDeliveries(c echo.Context) error {
	if err := queryOnly(c, "state", "limit", "cursor"); err != nil {
		return err
	}
	if c.QueryParam("state") != "set_aside" {
		return invalid(fieldError{Field: "state", Detail: "is none that deliveries are listed by", Mend: "set_aside"})
	}
	asked, err := queryPage(c)
	if err != nil {
		return err
	}
	found, err := s.Ledger.SetAside(c.Request().Context(), asked.before, asked.limit)
	if err != nil {
		return err
	}
	page := struct {
		Deliveries []aside `json:"deliveries"`
		NextCursor *string `json:"next_cursor"`
	}{each(found, newAside), nextCursor(found, asked.limit, func(d ledger.SetAside) int64 { return d.Delivery })}
	return c.JSON(http.StatusOK, page)
}
