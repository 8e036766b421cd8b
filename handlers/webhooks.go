package handlers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// trusted is up to how many announced bytes a body's memory is taken before they arrive; beyond, it grows
// with what comes, so that announcing much and sending nothing costs us little.
const trusted = 64 << 10

// receive is the accept stage: read, verify, put on disk, answer. Nothing of the body is parsed but a
// handshake, and nothing outside the ledger is called.
func (s *Server) receive(c echo.Context) error {
	start := time.Now()
	source := s.source(c)
	if source == nil {
		return s.unknownSource(c)
	}
	request, err := s.readRequest(c, source)
	if err != nil {
		s.metrics.received(source.Name(), "refused")
		s.logRefusal(c, source.Name(), err)
		return err
	}
	if answer, ok := source.Greeting(request); ok {
		return s.shakeHands(c, source, answer)
	}
	verified, err := source.Verify(s.Now(), request)
	if err != nil {
		return s.reject(c, source, err)
	}
	if answer, ok := source.Handshake(verified); ok {
		return s.shakeHands(c, source, answer)
	}
	if isTrial(c.Request().Context()) {
		verified = verified.AsTest()
	}
	id, err := s.Acceptor.Accept(c.Request().Context(), ledger.Delivery{
		Source: verified.Source(), ReceivedAt: verified.ReceivedAt(), VerifiedBy: verified.By(),
		Request: verified.Request(), Body: verified.Body(),
	})
	if err != nil {
		s.metrics.received(source.Name(), "not stored")
		return err
	}
	s.metrics.accepted(source.Name(), time.Since(start))
	return c.JSON(http.StatusOK, receipt{Status: "accepted", Delivery: id})
}

// source is the one that a path names. A segment behind the name is a token, which only some sources have.
func (s *Server) source(c echo.Context) *webhook.Source {
	source := s.Sources[c.Param("source")]
	if source == nil || token(c) != "" && !source.TakesToken() {
		return nil
	}
	return source
}

// token is the segment behind the source's name. A slash at the end of an address does not matter.
func token(c echo.Context) string { return strings.TrimSuffix(c.Param("token"), "/") }

func (s *Server) readRequest(c echo.Context, source *webhook.Source) (webhook.Request, error) {
	r := c.Request()
	limit := s.MaxBody
	if own := source.MaxBody(); own > 0 {
		limit = own
	}
	body, err := s.readBody(c, limit)
	return webhook.Request{Method: r.Method, Query: r.URL.RawQuery, Token: token(c), Header: r.Header, Body: body}, err
}

// shakeHands answers a request that only tries the address. The answer may repeat what was sent, so that a
// browser must not take it for a page.
func (s *Server) shakeHands(c echo.Context, source *webhook.Source, answer webhook.Answer) error {
	s.metrics.received(source.Name(), "handshake")
	c.Response().Header().Set(echo.HeaderXContentTypeOptions, "nosniff")
	return c.Blob(http.StatusOK, answer.ContentType, answer.Body)
}

// A receipt is the answer to a sender.
type receipt struct {
	Status   string `json:"status"`
	Delivery int64  `json:"delivery"`
}

// greet answers the GET and HEAD by which some senders try an address. It does nothing, unless the sender's
// signature says that this is a delivery.
func (s *Server) greet(c echo.Context) error {
	source := s.source(c)
	if source == nil {
		return echo.ErrNotFound
	}
	request := webhook.Request{Method: c.Request().Method, Query: c.Request().URL.RawQuery, Header: c.Request().Header}
	if source.IsDelivery(request) {
		return s.receive(c)
	}
	if answer, ok := source.Greeting(request); ok {
		return s.shakeHands(c, source, answer)
	}
	return c.NoContent(http.StatusOK)
}

// readBody reads the raw bytes once, bounded. They are what was signed.
func (s *Server) readBody(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	if encoding := r.Header.Get(echo.HeaderContentEncoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, errEncoding
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	limited := http.MaxBytesReader(c.Response(), r.Body, limit)
	var body []byte
	var err error
	if 0 < r.ContentLength && r.ContentLength <= trusted {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(limited, body)
	} else {
		body, err = io.ReadAll(limited)
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errCutShort, err)
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w of %d bytes; raise max_body in usher.yaml if this sender's events are that large", errTooLarge, limit)
}

// unknownSource is a webhook to an address where nobody is configured: a slip at the sender loses customers,
// so that it must be seen. What was asked for is logged only if it looks like a name; it may hold a secret.
func (s *Server) unknownSource(c echo.Context) error {
	name := c.Param("source")
	if !sourceName.MatchString(name) {
		name = "(no name of a source)"
	}
	s.logRefusal(c, name, errors.New("there is no such source: compare the address at the sender with usher.yaml"))
	return echo.ErrNotFound
}

var sourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (s *Server) logRefusal(c echo.Context, source string, err error) {
	s.Logger.Warn("a webhook was refused", "source", source, "reason", err.Error(), "remote", c.Request().RemoteAddr,
		"request_id", c.Response().Header().Get(echo.HeaderXRequestID))
}

// reject logs why and tells the sender only that.
func (s *Server) reject(c echo.Context, source *webhook.Source, err error) error {
	rule := "unknown"
	var rejection *webhook.Rejection
	if errors.As(err, &rejection) {
		rule = rejection.Rule
	}
	s.metrics.rejected(source.Name(), rule, s.Now())
	s.logRefusal(c, source.Name(), err)
	return errSignature
}
