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

// serveWithoutStore serves the very handler of "usher serve", but for the ledger.
func serveWithoutStore(ctx context.Context, address string) error {
	source, err := webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	handler := handlers.New(handlers.Options{Sources: map[string]*webhook.Source{"stripe": source}, Acceptor: &forgetful{}, Logger: log})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := handlers.HTTPServer(handler, log)
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
