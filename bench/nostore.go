package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// forgetful accepts everything and stores nothing: the upper bound, which loses all.
type forgetful struct{ n atomic.Int64 }

func (f *forgetful) Accept(context.Context, ledger.Delivery) (int64, error) { return f.n.Add(1), nil }

// serveHandler serves the very handler of "usher serve", with another store behind it.
func serveHandler(ctx context.Context, address string, store handlers.Acceptor) error {
	source, err := stripeSource()
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	return serve(ctx, address, handlers.New(handlers.Options{Sources: map[string]*webhook.Source{"stripe": source}, Acceptor: store, Logger: log}))
}

func stripeSource() (*webhook.Source, error) {
	return webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}})
}

// serve serves a handler until ctx ends.
func serve(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := handlers.HTTPServer(handler, slog.New(slog.DiscardHandler))
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
