package handlers

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// A rulesPage is the page that tries rules on history.
type rulesPage struct {
	Since, Config string
	SinceError    string
	Mistakes      []fieldError
	Busy          string
	Tested        bool
	Result        RulesTest
	Tried         string // which parts of the configuration were changed
	All           bool   // every difference is shown
}

// pageDifferences is how many differences a page shows.
const pageDifferences = 200

// showRules shows the form alone: trying rules reads much, so that it wants a click.
func (s *Server) showRules(c echo.Context) error {
	return s.render(c, http.StatusOK, "rules", rulesPage{Since: "30d"})
}

// tryRules shows what the rules of the form would decide differently.
func (s *Server) tryRules(c echo.Context) error {
	page := rulesPage{Since: c.FormValue("since"), Config: c.FormValue("config")}
	if err := page.readFile(c); err != nil {
		return err
	}
	since, err := ParseSince(page.Since, s.Now())
	if err != nil {
		page.SinceError = "This is no time. Write one " + sinceMend + "."
		return s.render(c, http.StatusUnprocessableEntity, "rules", page)
	}
	var changed []byte
	if strings.TrimSpace(page.Config) != "" {
		changed = []byte(page.Config)
	}
	page.Result, err = s.rehearse(c.Request().Context(), since, changed, pageDifferences)
	var told *problem
	switch {
	case errors.As(err, &told) && told.Status == http.StatusUnprocessableEntity:
		page.Mistakes = told.Errors
		return s.render(c, told.Status, "rules", page)
	case errors.As(err, &told) && told.Status == http.StatusTooManyRequests:
		page.Busy = "Somebody else is trying rules at this moment. Try again when they are done, within half a minute."
		return s.render(c, told.Status, "rules", page)
	case err != nil:
		return err
	}
	page.Tested, page.All, page.Tried = true, int64(len(page.Result.Differences)) == page.Result.Different, triedWords(page.Result.Changed)
	return s.render(c, http.StatusOK, "rules", page)
}

// readFile takes the configuration from the file, where one was chosen.
func (p *rulesPage) readFile(c echo.Context) error {
	header, err := c.FormFile("file")
	if err != nil || header.Size == 0 {
		return nil // no file was chosen
	}
	file, err := header.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", errCutShort, err)
	}
	defer func(file multipart.File) { _ = file.Close() }(file)
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return fmt.Errorf("%w: %w", errCutShort, err)
	}
	p.Config = string(text)
	return nil
}

func triedWords(changed []string) string {
	if len(changed) == 0 {
		return "the configuration that runs"
	}
	return "changed " + strings.Join(changed, ", ")
}
