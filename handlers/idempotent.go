package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// headerKey makes a call that is repeated the same call; headerReplayed marks the answer of the first.
const (
	headerKey      = "Idempotency-Key"
	headerReplayed = "Idempotent-Replayed"
	maxKey         = 255
)

// endCallWithin bounds the keeping of an answer, which a caller that hangs up does not end.
const endCallWithin = 10 * time.Second

// idempotent answers a call whose key and contents came before with what was answered then. A fault of ours, which may
// pass, is not kept: the same call may be made again.
func (s *Server) idempotent(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		key, err := keyOf(c.Request())
		if err != nil {
			return err
		}
		if key == "" {
			return next(c)
		}
		request, err := fingerprint(c)
		if err != nil {
			return err
		}
		call, answered, err := s.Ledger.BeginCall(c.Request().Context(), hashKey(actorOf(c).name, key), request)
		if err != nil {
			return err
		}
		if answered != nil {
			return replay(c, *answered)
		}
		c.Set(headerKey, key)
		return s.answerOnce(c, call, next)
	}
}

// keyOf reads the key of a call, empty for none.
func keyOf(r *http.Request) (string, error) {
	all := r.Header.Values(headerKey)
	if len(all) == 0 {
		return "", nil
	}
	odd := strings.ContainsFunc(all[0], func(r rune) bool { return r < ' ' || r > '~' })
	if len(all) > 1 || odd || all[0] == "" || len(all[0]) > maxKey {
		detail := fmt.Sprintf("is not one text of 1 to %d printable ASCII characters", maxKey)
		return "", &problem{Title: "The header cannot be used", Status: http.StatusBadRequest, Detail: headerKey + " " + detail,
			Errors: []fieldError{{Field: headerKey, Detail: detail, Mend: "send a new UUID with each new request, and the same one when you repeat it"}}}
	}
	return all[0], nil
}

// callKey is the key of the call in hand, empty for none.
func callKey(c echo.Context) string {
	key, _ := c.Get(headerKey).(string)
	return key
}

// hashKey is what is kept of an actor's key.
func hashKey(by, key string) string { return hash(fmt.Sprintf("%q %q", by, key)) }

// fingerprint is what a request asks for. It leaves the body to be read again.
func fingerprint(c echo.Context) (string, error) {
	r := c.Request()
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxListBody))
	if err != nil {
		return "", readProblem(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return hash(r.Method + " " + r.URL.RequestURI() + "\n" + string(body)), nil
}

func replay(c echo.Context, a ledger.Answer) error {
	header := c.Response().Header()
	header.Set(headerReplayed, "true")
	if a.Location != "" {
		header.Set(echo.HeaderLocation, a.Location)
	}
	kind := echo.MIMEApplicationJSON
	if a.Status >= http.StatusBadRequest {
		kind = problemType
	}
	return c.Blob(a.Status, kind, []byte(a.Body))
}

// answerOnce makes a call, keeps what it is answered, and only then answers.
func (s *Server) answerOnce(c echo.Context, call ledger.Call, next echo.HandlerFunc) (err error) {
	response := c.Response()
	kept := &keptAnswer{ResponseWriter: response.Writer}
	response.Writer = kept
	finished := false
	defer func() {
		response.Writer = kept.ResponseWriter
		if !finished { // a panic: what was done is not known
			response.Committed = false
			s.forget(c.Request().Context(), call)
		}
	}()
	if err := next(c); err != nil {
		s.answerError(err, c)
	}
	finished = true
	s.keep(c.Request().Context(), call, kept.answer(c.Get("kept")))
	return kept.send()
}

// once does what a form asks for, whose hidden key makes a second click the same request: it is told where the first
// one led, waiting for it where need be. What failed can be sent again.
func (s *Server) once(ctx context.Context, by, key, request string, do func() (location string, err error)) (location string, err error) {
	if key == "" {
		return do()
	}
	call, answered, err := s.beginForm(ctx, hashKey(by, "form "+key), hash(request))
	if err != nil {
		return "", err
	}
	if answered != nil {
		return answered.Location, nil
	}
	finished := false
	defer func() {
		if !finished {
			s.forget(ctx, call)
		}
	}()
	if location, err = do(); err != nil {
		return "", err
	}
	finished = true
	s.end(ctx, call, ledger.Answer{Status: http.StatusSeeOther, Location: location})
	return location, nil
}

// beginForm begins a call, or waits for the first click to be done.
func (s *Server) beginForm(ctx context.Context, key, request string) (call ledger.Call, answered *ledger.Answer, err error) {
	const look, patience = 50 * time.Millisecond, 10 * time.Second
	for end := time.Now().Add(patience); ; {
		call, answered, err = s.Ledger.BeginCall(ctx, key, request)
		if !errors.Is(err, ledger.ErrUnderWay) || time.Now().After(end) {
			return call, answered, err
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return call, nil, ctx.Err()
		}
	}
}

// keep stores an answer, but for those that may be another one next time.
func (s *Server) keep(ctx context.Context, call ledger.Call, a ledger.Answer) {
	if a.Status >= http.StatusInternalServerError || a.Status == http.StatusTooManyRequests {
		s.forget(ctx, call)
		return
	}
	s.end(ctx, call, a)
}

func (s *Server) end(ctx context.Context, call ledger.Call, a ledger.Answer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endCallWithin)
	defer cancel()
	if err := s.Ledger.EndCall(ctx, call, a); err != nil {
		s.Logger.LogAttrs(ctx, slog.LevelError, "the answer to a call with a key could not be kept; repeated within a minute it is answered 409", slog.String("error", err.Error()))
	}
}

func (s *Server) forget(ctx context.Context, call ledger.Call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endCallWithin)
	defer cancel()
	if err := s.Ledger.ForgetCall(ctx, call); err != nil {
		s.Logger.LogAttrs(ctx, slog.LevelError, "a call with a key that failed could not be forgotten; it can be made again in a minute", slog.String("error", err.Error()))
	}
}

// keepInstead has another body kept than the one that is answered, which holds a secret.
func keepInstead(c echo.Context, body any) { c.Set("kept", body) }

// A keptAnswer holds an answer back until it is kept.
type keptAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) WriteHeader(status int) { k.status = status }

func (k *keptAnswer) Write(text []byte) (int, error) {
	if k.status == 0 {
		k.status = http.StatusOK
	}
	return k.body.Write(text)
}

// answer is what to keep; instead, if not nil, of what was written.
func (k *keptAnswer) answer(instead any) ledger.Answer {
	a := ledger.Answer{Status: k.status, Location: k.Header().Get(echo.HeaderLocation), Body: k.body.String()}
	if text, err := json.Marshal(instead); instead != nil && err == nil {
		a.Body = string(text)
	}
	return a
}

func (k *keptAnswer) send() error {
	k.ResponseWriter.WriteHeader(k.status)
	_, err := k.ResponseWriter.Write(k.body.Bytes())
	return err
}
