package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A scenario is one question, answered by one table.
type scenario struct {
	name, about string
	run         func(context.Context, *lab, *table) error
}

var scenarios = []scenario{
	{"idle", "The start, and the size.", idle},
	{"burst", "The accepted path on SQLite by the same handler without a store, in a burst.", comparison{
		servers: []server{nostore, onSQLite}, connections: []int{64, 256}, caughtUp: true,
		ratios: []ratio{{over: onSQLite, under: nostore, wants: map[int]float64{64: 0.6}}},
	}.run},
	{"sustained", "The same for six times as long, every event decided.", sustained},
	{"onetx", "The accepted path on SQLite by one transaction a request.", comparison{
		servers: []server{oneTx, onSQLite}, connections: []int{64},
		ratios: []ratio{{over: onSQLite, under: oneTx, wants: map[int]float64{64: 3.5}}},
	}.run},
	{"journal", "The accepted path on SQLite by an fsynced append-only journal behind the same handler: the practical limit.", comparison{
		servers: []server{journaled, onSQLite}, connections: []int{64},
		ratios: []ratio{{over: onSQLite, under: journaled, wants: map[int]float64{64: 0.75}}},
	}.run},
	{"backlog", "Accepted deliveries that wait, decided.", backlog},
	{"postgres", "The accepted path on Postgres by one row a request on the same Postgres.", comparison{
		servers: []server{tutorial, onPostgres}, connections: []int{64, 256},
		ratios: []ratio{{over: onPostgres, under: tutorial, wants: map[int]float64{64: 2.5, 256: 2.5}}},
	}.run},
	{"latency", "How long an accepted request takes at half of the maximum rate.", latency},
	{"launch", "A burst of 200 times the usual traffic.", launch},
	{"drain", "Queued invitations, sent to a Retool that answers at once.", drain},
	{"memory", "Memory with many invitations queued.", memory},
	{"growth", "The same work with more and more old events in the ledger.", growth},
	{"pages", "The server's time of every page beside 1,000 and a million invitations.", pages},
	{"peers", "What others do, beside Usher, in one run.", comparison{
		servers: []server{debian, nostore, tutorial, onSQLite, onPostgres}, connections: []int{64},
		ratios: []ratio{{over: onSQLite, under: debian}, {over: onSQLite, under: tutorial}, {over: onPostgres, under: tutorial}},
	}.run},
}

// run runs the scenarios that were asked for and prints each table as soon as it is there.
func run(ctx context.Context, s settings) error {
	chosen, err := choose(s.only)
	if err != nil {
		return err
	}
	l, clean, err := newLab(ctx, s)
	if err != nil {
		return err
	}
	defer clean()
	fmt.Printf("%s. Bodies of about %d bytes, each signed, with an identity and an address of its own; every fsync is on; load from another process over loopback.\n"+
		"Median, with the lowest and the highest of the rounds; a ratio is of two servers in one round.\n", machine(), len(newMaker(schemes["stripe"]).event(time.Now())))
	var tables []*table
	for _, one := range chosen {
		t := &table{Scenario: one.name, About: one.about}
		if err = one.run(ctx, l, t); err != nil {
			err = fmt.Errorf("%s: %w", one.name, err)
			break
		}
		t.markdown(os.Stdout)
		tables = append(tables, t)
	}
	if s.json != "" {
		err = errors.Join(err, writeJSON(s.json, s, tables))
	}
	return err
}

func choose(only string) ([]scenario, error) {
	if only == "" {
		return scenarios, nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q; -list shows them", name)
		}
		chosen = append(chosen, scenarios[i])
	}
	return chosen, nil
}
