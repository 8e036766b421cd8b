package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// maxAPIBody and maxListBody bound the body of an API call and of one with a list of people, bytes.
const (
	maxAPIBody  = 64 << 10
	maxListBody = 1 << 20
)

// noSuchCall answers what no call is: where the path is one of another method, with those that it takes.
func (s *Server) noSuchCall(c echo.Context) error {
	var methods []string
	for _, one := range s.calls() {
		if one.isAt(strings.TrimPrefix(c.Request().URL.EscapedPath(), "/v1")) && !slices.Contains(methods, one.method) {
			methods = append(methods, one.method)
		}
	}
	if len(methods) == 0 {
		return echo.ErrNotFound
	}
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	c.Response().Header().Set(echo.HeaderAllow, allow)
	return &problem{Title: http.StatusText(http.StatusMethodNotAllowed), Status: http.StatusMethodNotAllowed, Detail: "this call takes " + allow}
}

// isAt says whether a path, with its escapes, is the call's.
func (k call) isAt(path string) bool {
	return slices.EqualFunc(strings.Split(k.path, "/"), strings.Split(path, "/"), func(want, got string) bool {
		return want == got || strings.HasPrefix(want, ":") && got != ""
	})
}

// readJSON reads a whole body into a struct: no unknown field, nothing behind it.
func readJSON(c echo.Context, most int64, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, most))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind the JSON object")
		}
	}
	if err == nil {
		return nil
	}
	return bodyProblem(err)
}

func bodyProblem(err error) error {
	var kind *json.UnmarshalTypeError
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return fmt.Errorf("%w of %d bytes", errTooLarge, over.Limit)
	case errors.As(err, &kind) && kind.Field != "":
		got, _, _ := strings.Cut(kind.Value, " ")
		return invalid(fieldError{Field: kind.Field, Detail: fmt.Sprintf("is a %s, wants a %s", got, jsonKind(kind.Type))})
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		field := strings.Trim(strings.TrimPrefix(err.Error(), "json: unknown field "), `"`)
		return invalid(fieldError{Field: field, Detail: "is not a field of this call"})
	case errors.Is(err, io.EOF):
		return badBody(emptyBody, `send JSON, such as {"email": "ada@example.com"}`)
	default:
		return badBody("the body is not one JSON object", `send JSON with Content-Type: application/json, such as {"email": "ada@example.com"}`)
	}
}

// jsonKind is what JSON calls the values of a type.
func jsonKind(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the rest are numbers
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "list"
	case reflect.Map, reflect.Struct:
		return "object"
	default:
		return "whole number"
	}
}

// readNothing lets a call without fields have no body, or an empty object.
func readNothing(c echo.Context) error {
	if c.Request().ContentLength == 0 {
		return nil
	}
	err := readJSON(c, maxAPIBody, &struct{}{})
	var empty *problem
	if errors.As(err, &empty) && empty.Detail == emptyBody {
		return nil
	}
	return err
}

const emptyBody = "the body is empty"

func badBody(detail, mend string) *problem {
	return &problem{Title: "The body cannot be read", Status: http.StatusBadRequest, Detail: detail,
		Errors: []fieldError{{Field: "body", Detail: detail, Mend: mend}}}
}

// pathID reads the number in a path. What is no number is in no ledger.
func pathID(c echo.Context, what string) (int64, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil || id <= 0 {
		return 0, fmt.Errorf("%s: %w", what, ledger.ErrNotFound)
	}
	return id, nil
}

// queryState reads ?state=.
func queryState(c echo.Context, byDefault ledger.State) (ledger.State, error) {
	text := c.QueryParam("state")
	if text == "" {
		return byDefault, nil
	}
	if !slices.Contains(ledger.States(), ledger.State(text)) {
		return "", invalid(fieldError{Field: "state", Detail: "is no state of an invitation", Mend: fmt.Sprintf("one of %v", ledger.States())})
	}
	return ledger.State(text), nil
}

// queryNumber reads a whole number from the query.
func queryNumber(c echo.Context, name string, byDefault, low, high int64) (int64, error) {
	text := c.QueryParam(name)
	if text == "" {
		return byDefault, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, invalid(fieldError{Field: name, Detail: fmt.Sprintf("wants a whole number from %d to %d", low, high)})
	}
	return n, nil
}

// A pageAsked is which part of a list a call wants: lists are newest first, and go on below an identity.
type pageAsked struct {
	before int64
	limit  int
}

// queryPage reads ?limit= and ?cursor=.
func queryPage(c echo.Context) (page pageAsked, err error) {
	if page.limit, err = queryLimit(c); err != nil {
		return page, err
	}
	if text := c.QueryParam("cursor"); text != "" {
		if page.before, err = strconv.ParseInt(text, 10, 64); err != nil || page.before <= 0 {
			return page, errNoCursor
		}
	}
	return page, nil
}

// queryLimit reads ?limit=.
func queryLimit(c echo.Context) (int, error) {
	limit, err := queryNumber(c, "limit", 50, 1, 200)
	return int(limit), err
}

var errNoCursor = invalid(fieldError{Field: "cursor", Detail: "is none that this list gave", Mend: "give the next_cursor of the page before, or none for the first page"})

// nextCursor is where the list goes on behind a page: nil where the page is not full.
func nextCursor[T any](page []T, limit int, id func(T) int64) *string {
	if len(page) < limit {
		return nil
	}
	cursor := strconv.FormatInt(id(page[len(page)-1]), 10)
	return &cursor
}

// queryOnly refuses a parameter that a call does not know: a filter with a typing error would answer with
// everything.
func queryOnly(c echo.Context, names ...string) error {
	for _, name := range slices.Sorted(maps.Keys(c.QueryParams())) {
		if !slices.Contains(names, name) {
			return invalid(fieldError{Field: name, Detail: "is not a parameter of this call", Mend: fmt.Sprintf("one of %v", names)})
		}
	}
	return nil
}

// queryEmail reads ?email= in the form in which the ledger keeps addresses.
func queryEmail(c echo.Context) (string, error) {
	text := c.QueryParam("email")
	if text == "" {
		return "", nil
	}
	address, err := access.ParseAddress(text)
	if err != nil {
		return "", invalid(addressError(err))
	}
	return address.Full(), nil
}

// queryTime reads a moment from the query.
func queryTime(c echo.Context, name string) (time.Time, error) {
	return readTime(name, c.QueryParam(name))
}

// readTime reads a moment, or the day at whose start it is meant; zero where there is none.
func readTime(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, invalid(fieldError{Field: name, Detail: "is no time", Mend: "such as 2026-11-24T01:35:00Z or 2026-11-24, in UTC"})
}
