package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// keptHeaders are the request headers that go into the ledger with a delivery: what proves it and what
// tells how to read it. Never Authorization or Cookie.
var keptHeaders = []string{"Content-Type", "User-Agent", "Stripe-Signature"}

// trusted is up to how many announced bytes a body's memory is taken before they arrive; beyond, it grows
// with what comes, so that announcing much and sending nothing costs us little.
const trusted = 64 << 10

// receive is the accept stage: read, verify, put on disk, answer. Nothing of the body is parsed, and
// nothing outside the ledger is called.
func (s *Server) receive(c echo.Context) error {
	start := time.Now()
	source := s.Sources[c.Param("source")]
	if source == nil {
		return echo.ErrNotFound
	}
	body, err := s.readBody(c)
	if err != nil {
		s.metrics.received(source.Name(), "refused")
		return err
	}
	verified, err := source.Verify(s.Now(), c.Request().Header, body)
	if err != nil {
		return s.reject(c, source, err)
	}
	id, err := s.Acceptor.Accept(c.Request().Context(), ledger.Delivery{
		Source: verified.Source(), ReceivedAt: verified.ReceivedAt(), VerifiedBy: verified.By(),
		Headers: keep(c.Request().Header), Body: verified.Body(),
	})
	if err != nil {
		s.metrics.received(source.Name(), "not stored")
		return err
	}
	s.metrics.accepted(source.Name(), time.Since(start))
	return c.JSON(http.StatusOK, receipt{Status: "accepted", Delivery: id})
}

// A receipt is the answer to a sender.
type receipt struct {
	Status   string `json:"status"`
	Delivery int64  `json:"delivery"`
}

// greet answers the GET and HEAD by which some senders try an address. It does nothing.
func (s *Server) greet(c echo.Context) error {
	if s.Sources[c.Param("source")] == nil {
		return echo.ErrNotFound
	}
	return c.NoContent(http.StatusOK)
}

// readBody reads the raw bytes once, bounded. They are what was signed.
func (s *Server) readBody(c echo.Context) ([]byte, error) {
	r := c.Request()
	if encoding := r.Header.Get(echo.HeaderContentEncoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, errEncoding
	}
	if r.ContentLength > s.MaxBody {
		return nil, s.tooLarge()
	}
	limited := http.MaxBytesReader(c.Response(), r.Body, s.MaxBody)
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
		return nil, s.tooLarge()
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errCutShort, err)
	}
	return body, nil
}

func (s *Server) tooLarge() error {
	return fmt.Errorf("%w of %d bytes; raise max_body in usher.yaml if this sender's events are that large", errTooLarge, s.MaxBody)
}

// reject logs why and tells the sender only that.
func (s *Server) reject(c echo.Context, source *webhook.Source, err error) error {
	rule := "unknown"
	var rejection *webhook.Rejection
	if errors.As(err, &rejection) {
		rule = rejection.Rule
	}
	s.metrics.rejected(source.Name(), rule)
	s.Logger.Warn("a webhook was refused", "source", source.Name(), "reason", err.Error(), "remote", c.Request().RemoteAddr,
		"request_id", c.Response().Header().Get(echo.HeaderXRequestID))
	return errSignature
}

func keep(header http.Header) string {
	kept := make(map[string]string, len(keptHeaders))
	for _, name := range keptHeaders {
		if value := header.Get(name); value != "" {
			kept[name] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return "{}" // cannot be: text to text
	}
	return string(text)
}
