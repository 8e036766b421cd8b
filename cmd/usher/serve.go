package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
)

func newServe() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Receive webhooks and send invitations",
		Long: `Serve receives webhooks, keeps every one of them in the ledger before it answers, decides, and
sends invitations to Retool. It stops gracefully on SIGTERM or Ctrl-C, in under ten seconds.

For Stripe alone no file is needed: STRIPE_WEBHOOK_SECRET, RETOOL_URL, RETOOL_API_TOKEN,
USHER_ADMIN_TOKEN, USHER_INTERNAL_DOMAINS, DATABASE_URL, PORT.

Exit status 0 when it was told to stop, 1 when it cannot serve, such as on a port that is taken, 2 when the
configuration is wrong.`,
		Example: `  usher serve
  usher serve --config usher.yaml
  STRIPE_WEBHOOK_SECRET_FILE=/run/secrets/stripe RETOOL_URL=https://acme.retool.com RETOOL_API_TOKEN=… usher serve`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := mustLoad(cmd)
			if err != nil {
				return err
			}
			listener, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", p.config.Listen)
			if err != nil {
				return fmt.Errorf("%w\nset listen (or PORT) to a free port", err)
			}
			err = p.serve(cmd.Context(), listener)
			if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil // told to stop while it was starting
			}
			return err
		},
	}
}

// serve runs everything until ctx ends. It owns the listener, and answers from the first moment: a ledger that cannot
// be used yet is waited for.
func (p *parts) serve(ctx context.Context, listener net.Listener) (err error) {
	start := time.Now()
	defer listener.Close()
	useRoom()
	var ends []func() error // once no request and no stage is under way
	defer func() {
		for _, end := range slices.Backward(ends) {
			err = errors.Join(err, end())
		}
		p.log.Info("usher has stopped")
	}()
	group, ctx := errgroup.WithContext(ctx)
	door := &handlers.Door{Why: "starting: the ledger cannot be used yet", RetryAfter: mostOpenWait}
	group.Go(func() error { return p.serveHTTP(ctx, listener, door) })
	group.Go(func() error {
		book, err := p.openLedger(ctx)
		if err != nil {
			return err
		}
		ends = append(ends, book.Close)
		release, err := book.TakeOver(ctx)
		if err != nil {
			return err
		}
		ends = append(ends, release)
		stages, server, err := p.behind(book)
		if err != nil {
			return err
		}
		server.Begin(ctx)
		p.log.Info("usher is ready", "version", version(), "listen", listener.Addr().String(), "in", time.Since(start))
		for _, name := range slices.Sorted(maps.Keys(p.sources)) {
			p.log.Info("a source is ready", "source", name, "preset", dash(p.config.Sources[name].Preset), "address", p.address(name, listener.Addr().String()))
		}
		door.Open(server) // from here on it is ready for who asks
		return stages.Run(ctx)
	})
	return group.Wait()
}

const (
	firstOpenWait = time.Second
	mostOpenWait  = 15 * time.Second
)

// openLedger opens the ledger, and waits for one that cannot be reached or written yet.
func (p *parts) openLedger(ctx context.Context) (*ledger.Ledger, error) {
	for wait := firstOpenWait; ; wait = min(2*wait, mostOpenWait) {
		book, err := ledger.Open(ctx, p.config.Database.Reveal(), ledger.Options{Logger: p.log, CallLimit: onboarding.CallLimit(p.config.Retool.Timeout)})
		if !errors.Is(err, ledger.ErrUnreachable) && !errors.Is(err, ledger.ErrUnwritable) {
			return book, err
		}
		p.log.Error("the ledger cannot be used yet; webhooks are answered 503 meanwhile, and their senders try again", "error", err, "next_try_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// behind makes what is behind the door: the stages, which the caller runs, and the handlers.
func (p *parts) behind(book *ledger.Ledger) (*onboarding.Onboarding, *handlers.Server, error) {
	stages, err := onboarding.New(onboarding.Options{
		Ledger: book, Policy: p.policy, Sources: p.sources, Retool: p.retool, LookUps: p.lookUps,
		RequestsPerMinute: p.config.Retool.RequestsPerMinute, MaxTries: p.config.Retool.MaxTries, FirstWait: p.config.Retool.FirstWait, ResendExpired: p.config.Retool.ResendExpired,
		CallTimeout: p.config.Retool.Timeout, Logger: p.log,
		Retention: ledger.Retention{Bodies: p.config.Retention.Bodies, Events: p.config.Retention.Events},
	})
	if err != nil {
		return nil, nil, err
	}
	options := p.handlerOptions(book)
	options.Warnings, options.Panics = p.warnings().Lines(), stages.Panics
	return stages, handlers.New(options), nil
}

// handlerOptions are those of the one server behind the network, the pages and the command line.
func (p *parts) handlerOptions(book *ledger.Ledger) handlers.Options {
	return handlers.Options{
		Sources: p.sources, Acceptor: book, Ledger: book, Policy: p.policy, AdminToken: p.config.AdminToken.Reveal(), Tokens: p.tokens(),
		MaxBody: p.config.MaxBody, Logger: p.log, Version: version(), Rehearse: p.rehearse(book),
		PublicURL: p.config.PublicURL, RequestsPerMinute: p.config.Retool.RequestsPerMinute, CallsPerMinute: p.config.API.RequestsPerMinute,
		Seats: handlers.Seats{Price: p.config.Seats.Price, Currency: p.config.Seats.Currency, Included: int64(p.config.Seats.Included)},
	}
}

func (p *parts) tokens() []handlers.Token {
	all := make([]handlers.Token, len(p.config.Tokens))
	for i, t := range p.config.Tokens {
		all[i] = handlers.Token{Name: t.Name, Hash: t.Hash.Reveal(), Role: t.Role, Expires: t.Expires}
	}
	return all
}

// useRoom lets garbage gather while there is room: little lives for longer than a request, so that Go's own setting
// collects many times a second under load. GOGC, GOMEMLIMIT and GOMAXPROCS are the operator's, if set.
func useRoom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(128 << 20)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) // the ledger's writer waits for the disk most of the time, and holds one
	}
}

// serveHTTP serves until ctx ends, then takes no more requests and lets those in hand finish.
func (p *parts) serveHTTP(ctx context.Context, listener net.Listener, handler *handlers.Door) error {
	server := handlers.HTTPServer(handler, p.log)
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		handler.Drain()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.config.ShutdownTimeout)
		defer cancel()
		err := server.Shutdown(patience)
		if errors.Is(err, context.DeadlineExceeded) {
			p.log.Warn("requests were still under way at the end of shutdown_timeout; their senders will retry")
			err = server.Close()
		}
		stopped <- err
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return <-stopped
}
