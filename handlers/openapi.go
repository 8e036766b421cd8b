package handlers

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed openapi.yaml
var openAPI string

// openAPIBase is the line of the document that has the server's address.
const openAPIBase = "default: http://localhost:8080\n"

// showOpenAPI serves the document of the API, to anybody: there is no secret in it. Retool's editor reads it from the
// browser, so that pages of other origins may; nothing else of Usher lets them.
func (s *Server) showOpenAPI(c echo.Context) error {
	base, err := json.Marshal(s.baseURL(c)) // JSON is YAML, whatever is in a Host header
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderAccessControlAllowOrigin, "*")
	c.Response().Header().Set(echo.HeaderVary, "Host")
	return c.Blob(http.StatusOK, "application/yaml", []byte(strings.Replace(openAPI, openAPIBase, "default: "+string(base)+"\n", 1)))
}
