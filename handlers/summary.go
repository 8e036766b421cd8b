package handlers

import (
	"context"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// Seats is what people cost at Retool, for an estimate.
type Seats struct {
	Price    string // of one a month, a decimal number; empty: there is no estimate
	Currency string
	Included int64 // in the plan
}

// A summary is how Usher is doing at a glance, for the API and the overview.
type summary struct {
	Invitations   map[ledger.State]int64 `json:"invitations"`
	Expiring      int64                  `json:"expiring_soon"`
	Undecided     int64                  `json:"undecided_deliveries"`
	SetAside      int64                  `json:"set_aside_deliveries"`
	LookingUp     int64                  `json:"looking_up"`
	OldestWaiting *time.Time             `json:"oldest_waiting"`
	Due           due                    `json:"oldest_due"`
	Sending       sending                `json:"sending"`
	Seats         seats                  `json:"seats"`
	Warnings      []string               `json:"warnings"`
}

// seats are how many people came in, how many may, and what they cost where the price is known.
type seats struct {
	Accepted int64   `json:"accepted"`
	Sent     int64   `json:"sent"`
	Included int64   `json:"included"`
	Price    *string `json:"price"` // decimal numbers, as text
	Currency string  `json:"currency,omitempty"`
	Cost     *string `json:"cost"`           // a month, of those who came in
	CostSent *string `json:"cost_with_sent"` // and of those who still may
}

func (s *Server) showSummary(c echo.Context) error {
	found, err := s.summary(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, found)
}

func (s *Server) summary(ctx context.Context) (summary, error) {
	found, err := s.Ledger.Summary(ctx)
	if err != nil {
		return summary{}, err
	}
	return summary{
		Invitations: found.Invitations, Expiring: found.Expiring, Undecided: found.Undecided, SetAside: found.SetAside, LookingUp: found.LookingUp,
		OldestWaiting: when(found.OldestWaiting), Due: due{when(found.Due.Delivery), when(found.Job), when(found.Due.Invitation)},
		Sending: sendingNow(found.Due, s.Now()), Seats: s.Seats.estimate(found.Invitations[ledger.Accepted], found.Invitations[ledger.Sent]), Warnings: append([]string{}, s.Warnings...),
	}, nil
}

// estimate says what people cost a month, as exactly as the price is written.
func (s Seats) estimate(accepted, sent int64) seats {
	all := seats{Accepted: accepted, Sent: sent, Included: s.Included}
	price, ok := new(big.Rat).SetString(s.Price)
	if !ok {
		return all
	}
	_, fraction, _ := strings.Cut(s.Price, ".")
	cost := func(people int64) *string {
		paid := new(big.Rat).SetInt64(max(0, people-s.Included))
		text := paid.Mul(paid, price).FloatString(len(fraction))
		return &text
	}
	all.Price, all.Currency, all.Cost, all.CostSent = &s.Price, s.Currency, cost(accepted), cost(accepted+sent)
	return all
}

func sendingNow(d ledger.Due, now time.Time) sending {
	switch p, idle := d.Pace, d.Idle(now); {
	case p.StoppedReason != "":
		return sending{State: "stopped", Reason: p.StoppedReason, Since: when(p.StoppedAt), NextTryAt: when(p.NotBefore)}
	case p.NotBefore.After(now):
		return sending{State: "waiting", Reason: "Retool asked us to slow down", NextTryAt: when(p.NotBefore)}
	case idle > ledger.IdleAfter:
		return sending{State: "idle", Reason: "an invitation is due and nobody sends it", Since: when(now.Add(-idle))}
	default:
		return sending{State: "going on"}
	}
}

// due is since when the oldest work of each kind waits that should have been done; null where there is none.
type due struct {
	Delivery   *time.Time `json:"delivery"`
	Job        *time.Time `json:"job"`
	Invitation *time.Time `json:"invitation"`
}

// sending is whether invitations go out, and if not, why and until when.
type sending struct {
	State     string     `json:"state"` // "going on", "waiting", "stopped", "idle"
	Reason    string     `json:"reason,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
	NextTryAt *time.Time `json:"next_try_at,omitempty"`
}
