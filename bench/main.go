// Command bench measures Usher against other ways to do the same, in one run on one machine, with every fsync on. Each
// scenario is a set of servers that take turns; the load comes from a process of its own, with signed Stripe events of
// about 3 KB, each with an identity and an address of its own.
//
//	go run ./bench -list                    # what there is
//	go run ./bench                          # all of it
//	go run ./bench -only burst,journal      # some of it
//	go run ./bench -quick -json out.json    # a few seconds each, the figures also as JSON
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// secret signs the benchmark's events; it protects nothing.
const secret = "whsec_benchmark_benchmark_benchmark"

// settings are what a run was asked for.
type settings struct {
	Rounds      int           `json:"rounds"`
	Duration    time.Duration `json:"duration_ns"`
	Connections int           `json:"connections"` // 0: each scenario's own
	Backlog     int           `json:"backlog"`
	Queued      int           `json:"queued"`
	Pool        int           `json:"pool"`
	Base        int           `json:"base"`
	Growth      string        `json:"growth"`
	Pages       int           `json:"pages"`
	only        string
	json        string
	folder      string
	usher       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	var r role
	var list, quick bool
	flag.BoolVar(&list, "list", false, "list the scenarios")
	flag.StringVar(&s.only, "only", "", "scenarios to run, separated by commas (default: all)")
	flag.BoolVar(&quick, "quick", false, "one short round of each: shows that it works, measures little")
	flag.StringVar(&s.json, "json", "", "also write every figure of every round to this file, as JSON")
	flag.IntVar(&s.Rounds, "rounds", 3, "rounds of each server, in turn")
	flag.DurationVar(&s.Duration, "duration", 10*time.Second, "length of one load")
	flag.IntVar(&s.Connections, "connections", 0, "connections of the load generator (default: each scenario's own)")
	flag.IntVar(&s.Backlog, "backlog", 100_000, "deliveries to be decided, and invitations to be sent, by the scenarios backlog and drain")
	flag.IntVar(&s.Queued, "queued", 1_000_000, "invitations queued in the scenario memory")
	flag.IntVar(&s.Pool, "pool", 64, "database connections of the one-row-a-request peer on Postgres")
	flag.StringVar(&s.Growth, "growth", "0,1000000,5000000", "old events of the ledgers of the scenario growth, fewest first")
	flag.IntVar(&s.Pages, "pages", 1_000_000, "invitations of the larger ledger of the scenario pages")
	flag.IntVar(&s.Base, "base", 20, "requests a second before and after the burst of the scenario launch, which is 200 times as many")
	flag.StringVar(&s.folder, "folder", "", "folder for the ledgers (default: a new one in the working folder; it must be on a real disk)")
	flag.StringVar(&s.usher, "usher", "", "the usher binary (default: built from this module)")
	r.flags()
	flag.Parse()
	if quick {
		s.Rounds, s.Duration, s.Backlog, s.Queued, s.Growth, s.Pages = 1, 3*time.Second, 10_000, 20_000, "0,100000", 20_000
	}
	var err error
	switch {
	case r.name != "":
		err = r.play(ctx)
	case list:
		for _, one := range scenarios {
			fmt.Printf("%-10s %s\n", one.name, one.about)
		}
	default:
		err = run(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A role is what this binary does in a process of its own.
type role struct {
	name, address, store, scheme, phases string
	connections, pool                    int
}

func (r *role) flags() {
	flag.StringVar(&r.name, "role", "", "internal: what this process is")
	flag.StringVar(&r.address, "address", "", "internal: where the server listens")
	flag.StringVar(&r.store, "store", "", "internal: the server's file or database")
	flag.StringVar(&r.scheme, "scheme", "stripe", "internal: how the load is signed")
	flag.StringVar(&r.phases, "phases", "", "internal: the load")
	flag.IntVar(&r.connections, "load-connections", 64, "internal: connections of the load")
	flag.IntVar(&r.pool, "role-pool", 64, "internal: connections to the database")
}

func (r *role) play(ctx context.Context) error {
	switch r.name {
	case "load":
		return generate(ctx, r.address, r.scheme, r.phases, r.connections)
	case "nostore":
		return serveHandler(ctx, r.address, &forgetful{})
	case "journal":
		return serveJournal(ctx, r.address, r.store)
	case "onetx":
		return serveOneTx(ctx, r.address, r.store)
	case "tutorial":
		return serveTutorial(ctx, r.address, r.store, r.pool)
	case "retool":
		return serveRetool(ctx, r.address)
	default:
		return fmt.Errorf("unknown role %q", r.name)
	}
}
