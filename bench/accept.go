package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// A server is one way to take a webhook.
type server struct {
	name  string
	not   string // what it does not do
	start func(context.Context, *lab) (*process, error)
}

var (
	nostore = server{name: "same handler, no store", not: "stores nothing, decides nothing", start: func(ctx context.Context, l *lab) (*process, error) {
		return l.role(ctx, "nostore", "")
	}}
	journaled = server{name: "same handler, fsynced journal", not: "finds nothing again, decides nothing; one write and one fdatasync for all that wait", start: func(ctx context.Context, l *lab) (*process, error) {
		return l.onFile(ctx, "journal")
	}}
	oneTx = server{name: "same handler, SQLite, one transaction a request", not: "decides nothing", start: func(ctx context.Context, l *lab) (*process, error) {
		return l.onFile(ctx, "onetx")
	}}
	onSQLite   = server{name: "usher serve, SQLite", start: usherOn("sqlite")}
	onPostgres = server{name: "usher serve, Postgres", start: usherOn("postgres")}
)

// onFile starts a role with a file of its own.
func (l *lab) onFile(ctx context.Context, role string) (*process, error) {
	st, err := l.newStore(ctx, "sqlite")
	if err != nil {
		return nil, err
	}
	p, err := l.role(ctx, role, st.path)
	if err != nil {
		st.drop()
		return nil, err
	}
	p.store = st
	return p, nil
}

func usherOn(kind string) func(context.Context, *lab) (*process, error) {
	return func(ctx context.Context, l *lab) (*process, error) {
		st, err := l.newStore(ctx, kind)
		if err != nil {
			return nil, err
		}
		p, err := l.serve(ctx, st)
		if err != nil {
			st.drop()
		}
		return p, err
	}
}

// A comparison is a closed-loop load on several servers in turn.
type comparison struct {
	servers     []server
	connections []int
	ratios      []ratio
	caughtUp    bool // also measure how many were decided meanwhile, and how long the rest takes
}

// A ratio is one server's rate by another's.
type ratio struct {
	over, under server
	wants       map[int]float64 // by connections; where there is none it is only told
}

func (c comparison) run(ctx context.Context, l *lab, t *table) error {
	t.Columns = []string{"requests/s", "p50 ms", "p99 ms", "max ms", "resident MB, peak"}
	if c.caughtUp {
		t.Columns = append(t.Columns, "decided meanwhile", "the rest decided after s")
	}
	t.Settings = fmt.Sprintf("%s a load, rounds in turn: %d", l.Duration, l.Rounds)
	for i := range l.Rounds {
		for _, n := range l.connectionsOr(c.connections) {
			rates := map[string]float64{}
			for _, s := range c.servers {
				say("%s: round %d of %d, %d connections, %s", t.Scenario, i+1, l.Rounds, n, s.name)
				rate, err := c.round(ctx, l, t, s, n)
				if errors.Is(err, errAbsent) {
					t.note("%s was left out: %s.", s.name, err)
					continue
				}
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				rates[s.name] = rate
			}
			for _, r := range c.ratios {
				bound := ""
				if r.wants[n] > 0 {
					bound = "≥"
				}
				if rates[r.under.name] == 0 { // left out
					continue
				}
				t.see(fmt.Sprintf("%s ÷ %s, %d connections", r.over.name, r.under.name, n), bound, r.wants[n], rates[r.over.name]/rates[r.under.name])
			}
		}
	}
	for _, s := range c.servers {
		if s.not != "" {
			t.note("%s: %s.", s.name, s.not)
		}
	}
	return nil
}

func (l *lab) connectionsOr(own []int) []int {
	if l.Connections > 0 {
		return []int{l.Connections}
	}
	return own
}

// round loads one server once and returns its rate.
func (c comparison) round(ctx context.Context, l *lab, t *table, s server, connections int) (float64, error) {
	p, err := s.start(ctx, l)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	time.Sleep(300 * time.Millisecond)
	r, err := l.busy(ctx, p, connections, l.Duration)
	if err != nil {
		return 0, err
	}
	values := []float64{r.PerSecond, r.P50, r.P99, r.Max, p.memory("VmHWM")}
	if c.caughtUp && decides(s) {
		decided, took, err := p.catchUp(ctx, r.Requests)
		if err != nil {
			return 0, err
		}
		values = append(values, decided, took.Seconds())
	}
	t.add(fmt.Sprintf("%s, %d connections", s.name, connections), values...)
	return r.PerSecond, nil
}

func decides(s server) bool { return s.name == onSQLite.name || s.name == onPostgres.name }

// catchUp tells how many of the accepted are decided already, and how long the rest takes.
func (p *process) catchUp(ctx context.Context, accepted int) (decided float64, took time.Duration, err error) {
	start := time.Now()
	left, err := p.store.count(ctx, undecided)
	if err != nil {
		return 0, 0, err
	}
	err = p.store.until(ctx, "everything is decided", anyUndecided, 10*time.Minute)
	return float64(int64(accepted) - left), time.Since(start), err
}

// sustained is a minute of load beside the decide stage, until everything is decided: once by the time of the load, and
// once by the time until all was decided.
func sustained(ctx context.Context, l *lab, t *table) error {
	long := 6 * l.Duration
	t.Columns = []string{"requests/s", "accepted", "p99 ms", "all decided after s", "accepted and decided/s"}
	t.Settings = fmt.Sprintf("%s of load on usher, %s on the handler without a store, 64 connections, rounds in turn: %d", long, l.Duration, l.Rounds)
	for i := range l.Rounds {
		say("sustained: round %d of %d", i+1, l.Rounds)
		limit, err := l.once(ctx, nostore, func(p *process) (float64, error) {
			r, err := l.busy(ctx, p, 64, l.Duration)
			t.add(nostore.name, r.PerSecond, float64(r.Requests), r.P99)
			return r.PerSecond, err
		})
		if err != nil {
			return err
		}
		for _, s := range []server{onSQLite} {
			var accepted float64
			rate, err := l.once(ctx, s, func(p *process) (float64, error) {
				start := time.Now()
				r, err := l.busy(ctx, p, 64, long)
				if err == nil {
					_, _, err = p.catchUp(ctx, r.Requests)
				}
				took := time.Since(start).Seconds()
				accepted = r.PerSecond
				t.add(s.name, r.PerSecond, float64(r.Requests), r.P99, took, float64(r.Requests)/took)
				return float64(r.Requests) / took, err
			})
			if err != nil {
				return err
			}
			t.see(s.name+", every event decided in the end ÷ "+nostore.name, "≥", 0.3, accepted/limit)
			t.see(s.name+", accepted and decided a second ÷ "+nostore.name, "≥", 0.3, rate/limit)
		}
	}
	return nil
}

// once starts a server, uses it, and stops it.
func (l *lab) once(ctx context.Context, s server, use func(*process) (float64, error)) (float64, error) {
	p, err := s.start(ctx, l)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	defer p.stop()
	time.Sleep(300 * time.Millisecond)
	n, err := use(p)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	return n, nil
}

// idle measures what an operator sees before the first request.
func idle(ctx context.Context, l *lab, t *table) error {
	t.Columns = []string{"ready after ms", "resident MB, idle", "binary MB"}
	t.Settings = fmt.Sprintf("a new ledger each time, resident after 1 s; rounds in turn: %d", l.Rounds)
	info, err := os.Stat(l.usher)
	if err != nil {
		return err
	}
	for range l.Rounds {
		for _, s := range []server{onSQLite, onPostgres} {
			_, err := l.once(ctx, s, func(p *process) (float64, error) {
				time.Sleep(time.Second)
				t.add(s.name, p.readyMS, p.memory("VmRSS"), float64(info.Size())/1e6)
				return 0, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
