package handlers

import (
	"math"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// An auditEntry is one line of the audit trail on the wire.
type auditEntry struct {
	ID           int64      `json:"id"`
	At           *time.Time `json:"at"`
	Actor        string     `json:"actor"`
	What         string     `json:"what"`
	InvitationID int64      `json:"invitation,omitempty"`
	Subject      string     `json:"subject,omitempty"`
	Before       string     `json:"before"`
	After        string     `json:"after"`
}

func newAuditEntry(e ledger.Entry) auditEntry {
	return auditEntry{ID: e.ID, At: when(e.At), Actor: e.Actor, What: e.What, InvitationID: e.InvitationID, Subject: e.Subject, Before: e.Before, After: e.After}
}

// listAudit answers what people did, newest first.
func (s *Server) listAudit(c echo.Context) error {
	if err := queryOnly(c, "invitation", "actor", "limit", "cursor"); err != nil {
		return err
	}
	asked, err := queryPage(c)
	if err != nil {
		return err
	}
	invitation, err := queryNumber(c, "invitation", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	found, err := s.Ledger.Audit(c.Request().Context(), ledger.AuditFilter{Invitation: invitation, Actor: c.QueryParam("actor"), Before: asked.before, Limit: asked.limit})
	if err != nil {
		return err
	}
	page := struct {
		Entries    []auditEntry `json:"entries"`
		NextCursor *string      `json:"next_cursor"`
	}{each(found, newAuditEntry), nextCursor(found, asked.limit, func(e ledger.Entry) int64 { return e.ID })}
	return c.JSON(http.StatusOK, page)
}
