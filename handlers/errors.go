package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// The errors of this package.
var (
	errSignature = errors.New("the signature of this request could not be verified")
	errToken     = errors.New("this call needs the header: Authorization: Bearer, with a token of this Usher")
	errAPIOff    = errors.New("the API is off: set USHER_ADMIN_TOKEN (at least 24 characters) and restart")
	errTooLarge  = errors.New("the body is over the size limit")
	errEncoding  = errors.New("send the body without Content-Encoding")
	errCutShort  = errors.New("the body ended before it was whole")
)

// statuses is the one table from an error to its status. Detail tells the caller more than the title only
// where shown is true: the cause of the others is for our log.
var statuses = []struct {
	err        error
	status     int
	retryAfter int // seconds
	shown      bool
}{
	{err: errSignature, status: http.StatusUnauthorized},
	{err: errToken, status: http.StatusUnauthorized},
	{err: errCrossSite, status: http.StatusForbidden},
	{err: errForm, status: http.StatusForbidden},
	{err: errAPIOff, status: http.StatusServiceUnavailable},
	{err: errTooLarge, status: http.StatusRequestEntityTooLarge, shown: true},
	{err: errEncoding, status: http.StatusUnsupportedMediaType},
	{err: errCutShort, status: http.StatusBadRequest},
	{err: ledger.ErrNotFound, status: http.StatusNotFound, shown: true},
	{err: ledger.ErrBodyGone, status: http.StatusGone, shown: true},
	{err: ledger.ErrConflict, status: http.StatusConflict, shown: true},
	{err: ledger.ErrKeyUsed, status: http.StatusUnprocessableEntity, shown: true},
	{err: ledger.ErrUnderWay, status: http.StatusConflict, retryAfter: 1, shown: true},
	{err: ledger.ErrBusy, status: http.StatusServiceUnavailable, retryAfter: 2},
	{err: ledger.ErrUnwritable, status: http.StatusServiceUnavailable, retryAfter: 30},
	{err: context.Canceled, status: http.StatusServiceUnavailable, retryAfter: 2},
	{err: context.DeadlineExceeded, status: http.StatusServiceUnavailable, retryAfter: 2},
}

// problemType is the media type of problems.
const problemType = "application/problem+json"

// A problem is an error's form on the wire: RFC 9457.
type problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Reason string       `json:"reason,omitempty"` // the code of a decision that refused
	Errors []fieldError `json:"errors,omitempty"`

	retryAfter int
	cause      error // what it stands for, for our own eyes
}

// A fieldError names what is wrong with one field, and the mend.
type fieldError struct {
	Field  string `json:"field"`
	Line   int    `json:"line,omitempty"` // of a configuration
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail) }

func (p *problem) Unwrap() error { return p.cause }

// invalid is the problem of a request whose fields are wrong.
func invalid(errs ...fieldError) *problem {
	return &problem{Title: "The request is not valid", Status: http.StatusUnprocessableEntity, Detail: errs[0].Field + ": " + errs[0].Detail, Errors: errs}
}

// problemOf finds the problem that an error stands for.
func problemOf(err error) *problem {
	var own *problem
	if errors.As(err, &own) {
		return own
	}
	for _, row := range statuses {
		if errors.Is(err, row.err) {
			detail := row.err.Error()
			if row.shown {
				detail = err.Error()
			}
			return &problem{Title: http.StatusText(row.status), Status: row.status, Detail: detail, retryAfter: row.retryAfter}
		}
	}
	var routed *echo.HTTPError
	if errors.As(err, &routed) {
		return &problem{Title: http.StatusText(routed.Code), Status: routed.Code}
	}
	return &problem{Title: http.StatusText(http.StatusInternalServerError), Status: http.StatusInternalServerError,
		Detail: "something is wrong with Usher; the cause is in its log under this answer's X-Request-Id"}
}

// answerError is Echo's error handler. Echo's own asserts types, so that a wrapped 413 would become a 500.
func (s *Server) answerError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := *problemOf(err)
	p.Type = "about:blank"
	header := c.Response().Header()
	if p.retryAfter > 0 {
		header.Set(echo.HeaderRetryAfter, strconv.Itoa(p.retryAfter))
	}
	if errors.Is(err, errToken) {
		header.Set(echo.HeaderWWWAuthenticate, `Bearer realm="usher"`)
	}
	if p.Status >= http.StatusInternalServerError {
		s.Logger.LogAttrs(c.Request().Context(), slog.LevelError, "a request failed", slog.String("request_id", header.Get(echo.HeaderXRequestID)),
			slog.String("route", c.Path()), slog.Int("status", p.Status), slog.String("error", err.Error()))
	}
	if c.Request().Method == http.MethodHead {
		_ = c.NoContent(p.Status)
		return
	}
	if isPage(c) && s.pages != nil {
		s.answerPageError(c, &p)
		return
	}
	header.Set(echo.HeaderContentType, problemType)
	_ = c.JSON(p.Status, p)
}

// panicError keeps what Go says of a fault, and only the type of any other value.
func panicError(p any) error {
	var fault runtime.Error
	if err, ok := p.(error); ok && errors.As(err, &fault) {
		return fmt.Errorf("panic: %w", fault)
	}
	return fmt.Errorf("panic with a %T", p)
}
