package main

import (
	"context"
	"fmt"
)

// openConnections is the pool of the open model: so many requests may be under way before the next ones wait.
const openConnections = 256

const openModel = "open model: requests come at a constant rate, whatever the server does, over up to 256 connections, and a time counts from when the request was due"

var openColumns = []string{"offered/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "generator late, p99 ms", "failed"}

// latency offers half of the rate that the same server reached just before.
func latency(ctx context.Context, l *lab, t *table) error {
	t.Columns = openColumns
	t.Settings = fmt.Sprintf("half of the closed-loop rate (64 connections, %s) for %s; %s; rounds in turn: %d", l.Duration, l.Duration, openModel, l.Rounds)
	for i := range l.Rounds {
		for _, s := range []server{onSQLite, onPostgres} {
			say("latency: round %d of %d, %s", i+1, l.Rounds, s.name)
			most, err := l.once(ctx, s, func(p *process) (float64, error) {
				r, err := l.busy(ctx, p, 64, l.Duration)
				return r.PerSecond, err
			})
			if err != nil {
				return err
			}
			p99, err := l.once(ctx, s, func(p *process) (float64, error) {
				results, err := l.load(ctx, p, openConnections, fmt.Sprintf("%dx%s", int(most/2), l.Duration))
				if err != nil {
					return 0, err
				}
				t.addOpen(s.name, results[0])
				return results[0].P99, nil
			})
			if err != nil {
				return err
			}
			t.see("p99 at half of the maximum rate, ms, "+s.name, "<", 25, p99)
		}
	}
	return nil
}

func (t *table) addOpen(name string, r result) {
	t.add(name, r.PerSecond, r.P50, r.P99, r.P999, r.Max, r.Late, float64(r.Failed))
}

// launch offers little, then 200 times as much, then little again.
func launch(ctx context.Context, l *lab, t *table) error {
	t.Columns = openColumns
	phases := fmt.Sprintf("%dx%s,%dx%s,%dx%s", l.Base, l.Duration/2, 200*l.Base, l.Duration, l.Base, l.Duration/2)
	t.Settings = fmt.Sprintf("%s; %s; rounds in turn: %d", phases, openModel, l.Rounds)
	for i := range l.Rounds {
		for _, s := range []server{onSQLite, onPostgres} {
			say("launch: round %d of %d, %s", i+1, l.Rounds, s.name)
			var results []result
			p99, err := l.once(ctx, s, func(p *process) (_ float64, err error) {
				if results, err = l.load(ctx, p, openConnections, phases); err != nil {
					return 0, err
				}
				for i, when := range []string{"before", "in the burst", "after"} {
					t.addOpen(s.name+", "+when, results[i])
				}
				return results[1].P99, nil
			})
			if err != nil {
				return err
			}
			t.see("p99 in the burst, ms, "+s.name, "<", 250, p99)
			t.see("failed, "+s.name, "<", 1, float64(results[0].Failed+results[1].Failed+results[2].Failed))
		}
	}
	return nil
}
