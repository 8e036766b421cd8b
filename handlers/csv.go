package handlers

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

const (
	// exportPage is how many invitations of an export are in memory at once.
	exportPage = 1000
	// exportPageFor is how long one of its pages may take to read, and to go over the network.
	exportPageFor = 40 * time.Second
)

// csvHead are the columns of an export. usher export --csv writes the same ones.
var csvHead = []string{"id", "email", "state", "reason", "source", "groups", "note", "tries", "created_at", "sent_at", "accepted_at", "expires_at", "updated_at"}

// exportInvitations answers with all that a search finds, as CSV.
func (s *Server) exportInvitations(c echo.Context) error {
	if err := queryOnly(c, "state", "q", "source"); err != nil {
		return err
	}
	state, err := queryState(c, "")
	if err != nil {
		return err
	}
	return s.writeCSV(c, ledger.Search{Text: c.QueryParam("q"), State: state, Source: c.QueryParam("source")})
}

// writeCSV writes page by page, so that an export of a million takes no more memory than one of a thousand. An answer
// that has begun cannot become an error: where it fails on the way it is cut off, so that nobody takes it for whole.
func (s *Server) writeCSV(c echo.Context, search ledger.Search) error {
	ctx, response := c.Request().Context(), c.Response()
	search.Limit = exportPage
	page, err := s.Ledger.Search(ctx, search)
	if err != nil {
		return err
	}
	response.Header().Set(echo.HeaderContentType, "text/csv; charset=utf-8; header=present")
	response.Header().Set(echo.HeaderContentDisposition, fmt.Sprintf(`attachment; filename="usher-invitations-%s.csv"`, s.Now().UTC().Format(time.DateOnly)))
	control, out := http.NewResponseController(response), csv.NewWriter(response)
	out.UseCRLF = true // RFC 4180
	_ = out.Write(csvHead)
	for {
		// The server allows 40 seconds for a whole answer. Where it cannot be told otherwise, that is how long it has.
		_ = control.SetWriteDeadline(time.Now().Add(exportPageFor))
		for _, inv := range page.Invitations {
			_ = out.Write(csvRow(inv))
		}
		out.Flush()
		if err := out.Error(); err != nil {
			return nil //nolint:nilerr // whoever asked is gone
		}
		if page.Next == "" {
			return nil
		}
		search.From = page.Next
		if page, err = s.Ledger.Search(ctx, search); err != nil {
			if !errors.Is(err, ctx.Err()) || ctx.Err() == nil {
				s.Logger.Error("an export broke off", "request_id", response.Header().Get(echo.HeaderXRequestID), "error", err.Error())
			}
			panic(http.ErrAbortHandler)
		}
	}
}

func csvRow(inv ledger.Invitation) []string {
	groups := make([]string, len(inv.Groups))
	for i, group := range inv.Groups {
		groups[i] = strconv.FormatInt(group, 10)
	}
	row := []string{strconv.FormatInt(inv.ID, 10), inv.Email.Full(), string(inv.State), inv.Reason, inv.Source, strings.Join(groups, ", "), inv.Note, strconv.Itoa(inv.Tries)}
	for _, at := range []time.Time{inv.CreatedAt, inv.SentAt, inv.AcceptedAt, inv.ExpiresAt, inv.UpdatedAt} {
		text := ""
		if !at.IsZero() {
			text = at.UTC().Format(time.RFC3339)
		}
		row = append(row, text)
	}
	for i, text := range row {
		row[i] = noFormula(text)
	}
	return row
}

// noFormula keeps a spreadsheet from running what a customer wrote.
func noFormula(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
