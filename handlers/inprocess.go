package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// insideKey is where a request carries the actor that it is made for from inside this process. Only InProcess can put
// one there: a request from the network has the context that its server made, whatever its headers say.
type insideKey struct{}

// insideActor is who makes a request from inside this process.
func insideActor(ctx context.Context) (actor string, ok bool) {
	actor, ok = ctx.Value(insideKey{}).(string)
	return actor, ok
}

// InProcess carries requests to this very server without a network, and without a token: whoever holds the ledger's
// file or its password may do all that an admin may. The actor is what the audit trail calls them.
func (s *Server) InProcess(actor string) http.RoundTripper { return inProcess{s, actor} }

type inProcess struct {
	server *Server
	actor  string
}

// RoundTrip answers when the handler has begun to; the body comes while it is read.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, stop := context.WithCancel(context.WithValue(r.Context(), insideKey{}, p.actor))
	inside := r.Clone(ctx)
	if inside.Body == nil {
		inside.Body = http.NoBody
	}
	inside.RequestURI, inside.RemoteAddr = r.URL.RequestURI(), "in process"
	body, w := io.Pipe()
	answer := &pipedAnswer{header: http.Header{}, body: w, begun: make(chan struct{})}
	go func() {
		defer stop()
		defer inside.Body.Close()
		defer func() { answer.end(recover()) }()
		p.server.ServeHTTP(answer, inside)
	}()
	select {
	case <-answer.begun:
	case <-r.Context().Done():
		stop()
		_ = body.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: answer.status, Status: fmt.Sprintf("%d %s", answer.status, http.StatusText(answer.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.sent, Body: stoppingBody{body, stop}, ContentLength: -1, Request: r,
	}, nil
}

// A stoppingBody ends its handler when it is closed, as a connection does.
type stoppingBody struct {
	io.ReadCloser
	stop context.CancelFunc
}

func (b stoppingBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}

// A pipedAnswer is an http.ResponseWriter whose body is read while it is written.
type pipedAnswer struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	begun  chan struct{}
	status int
	sent   http.Header // the header as it was when the answer began
}

func (a *pipedAnswer) Header() http.Header { return a.header }

func (a *pipedAnswer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *pipedAnswer) Write(text []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(text)
}

// Flush is all that a handler can ask of a pipe: what is written is there already.
func (a *pipedAnswer) Flush() { a.WriteHeader(http.StatusOK) }

// end closes the answer; one that a panic cut short must not look whole.
func (a *pipedAnswer) end(panicked any) {
	if panicked != nil {
		a.WriteHeader(http.StatusInternalServerError)
		_ = a.body.CloseWithError(errors.New("the answer was cut short"))
		return
	}
	a.WriteHeader(http.StatusOK)
	_ = a.body.Close()
}
