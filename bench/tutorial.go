package main

import (
	"context"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	stripehook "github.com/stripe/stripe-go/v76/webhook"
)

// serveTutorial is the shape that most tutorials teach: verify with Stripe's library, insert one row, answer. Its one
// statement is its transaction, which spares the round trips of begin and commit.
func serveTutorial(ctx context.Context, address, database string, connections int) error {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return err
	}
	config.MaxConns = int32(connections)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, `create table stripe_events (id text primary key, type text not null, payload bytea not null, received_at timestamptz not null default now())`); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /webhooks/stripe", func(w http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 65536))
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		event, err := stripehook.ConstructEvent(payload, r.Header.Get("Stripe-Signature"), secret)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if _, err := pool.Exec(r.Context(), `insert into stripe_events (id, type, payload) values ($1, $2, $3) on conflict do nothing`,
			event.ID, string(event.Type), payload); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	return serve(ctx, address, mux)
}
