package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// showOverview is how Usher is doing, and what needs a person.
func (s *Server) showOverview(c echo.Context) error {
	found, err := s.Ledger.Summary(c.Request().Context())
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "overview", found)
}
