package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// adminToken opens the API of the benchmark's own usher; it protects nothing.
const adminToken = "benchmark_benchmark_benchmark_benchmark"

// asked is how often each question is asked; the median counts.
const asked = 51

// questions are what people and programs ask of a ledger.
var questions = []struct{ name, path string }{
	{"list invitations ms", "/v1/invitations?limit=50"},
	{"list events ms", "/v1/events?limit=50"},
	{"search an address ms", "/v1/events?email=nobody@example.com"},
	{"summary ms", "/v1/summary"},
}

// growth measures the same work on ledgers with more and more old events.
func growth(ctx context.Context, l *lab, t *table) error {
	t.Columns = []string{"requests/s", "decided/s"}
	for _, q := range questions {
		t.Columns = append(t.Columns, q.name)
	}
	t.Settings = fmt.Sprintf("old events: %s; 64 connections for %s, then all decided, then each question %d times; rounds in turn: %d", l.Growth, l.Duration, asked, l.Rounds)
	return l.onBoth(t, func(kind string, _ map[string]float64) error {
		var empty []float64
		for size := range strings.SplitSeq(l.Growth, ",") {
			n, err := strconv.Atoi(size)
			if err != nil {
				return err
			}
			seen, err := l.grown(ctx, kind, n)
			if err != nil {
				return err
			}
			t.add(fmt.Sprintf("%s, %d old events", kind, n), seen...)
			if empty == nil {
				empty = seen
				continue
			}
			for i, column := range t.Columns {
				cost := seen[i] / empty[i]
				if i < 2 { // rates: the other way round
					cost = empty[i] / seen[i]
				}
				bound := "<"
				if strings.HasPrefix(column, "summary") { // it counts every invitation: only told
					bound = ""
				}
				t.see(fmt.Sprintf("cost of %s, %s: %d old events ÷ the fewest", column, kind, n), bound, 1.5, cost)
			}
		}
		return nil
	}, nil)
}

// grown measures one ledger with n old events.
func (l *lab) grown(ctx context.Context, kind string, n int) ([]float64, error) {
	st, err := l.newStore(ctx, kind)
	if err != nil {
		return nil, err
	}
	say("%d old events", n)
	if err := grow(ctx, st, kind, n); err != nil {
		st.drop()
		return nil, err
	}
	p, err := l.serve(ctx, st, "USHER_ADMIN_TOKEN="+adminToken)
	if err != nil {
		st.drop()
		return nil, err
	}
	defer p.stop()
	r, err := l.busy(ctx, p, 64, l.Duration)
	if err != nil {
		return nil, err
	}
	decided, took, err := p.catchUp(ctx, r.Requests)
	if err != nil {
		return nil, err
	}
	seen := []float64{r.PerSecond, (float64(r.Requests) - decided) / took.Seconds()}
	for _, q := range questions {
		ms, err := p.ask(ctx, q.path)
		if err != nil {
			return nil, err
		}
		seen = append(seen, ms)
	}
	return seen, nil
}

func grow(ctx context.Context, st *store, kind string, n int) error {
	return fillEmpty(ctx, st, func(db *sql.DB) error {
		if n == 0 {
			return nil
		}
		return ledgertest.Grow(ctx, db, kind, n)
	})
}

// fillEmpty has a new ledger filled by SQL, of which nothing need survive a crash yet.
func fillEmpty(ctx context.Context, st *store, fill func(*sql.DB) error) error {
	book, err := ledger.Open(ctx, st.address, ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := book.Close(); err != nil {
		return err
	}
	driver, name := "pgx", st.address
	if st.path != "" {
		driver, name = "sqlite", "file:"+st.path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=cache_size(-262144)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		return err
	}
	defer db.Close()
	return fill(db)
}

// ask asks the API many times and returns the median, in milliseconds.
func (p *process) ask(ctx context.Context, path string) (float64, error) {
	var took []time.Duration
	for range asked {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer "+adminToken)
		start := time.Now()
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return 0, err
		}
		if response.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("GET %s was answered %s", path, response.Status)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return at(took, .5), nil
}
