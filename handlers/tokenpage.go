package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// showTokens lists the tokens of the API and the pages.
func (s *Server) showTokens(c echo.Context) error {
	return s.render(c, http.StatusOK, "tokens", nil)
}
