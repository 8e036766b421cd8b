// Command bench measures the accept stage: "usher serve" on SQLite, with every fsync on, against the same
// handler that stores nothing, in one run on one machine. A load generator in a process of its own keeps 64
// connections busy with signed Stripe events of 3 KB, each with an identity of its own.
//
//	go run ./bench            # builds usher, runs the rounds, prints Markdown
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// secret signs the benchmark's events; it protects nothing.
const secret = "whsec_benchmark_benchmark_benchmark"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var s settings
	var role, address string
	flag.StringVar(&role, "role", "", "internal: nostore or load")
	flag.StringVar(&address, "address", "", "internal: where the server listens")
	flag.IntVar(&s.connections, "connections", 64, "connections of the load generator")
	flag.DurationVar(&s.duration, "duration", 10*time.Second, "length of one round")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of each server, in turn")
	flag.IntVar(&s.body, "body", 3000, "bytes of a body, about")
	flag.StringVar(&s.folder, "folder", "", "folder for the ledgers (default: a new one beside the working folder; it must be on a real disk)")
	flag.StringVar(&s.usher, "usher", "", "the usher binary (default: built from this module)")
	flag.Parse()
	var err error
	switch role {
	case "":
		err = compare(ctx, s)
	case "nostore":
		err = serveWithoutStore(ctx, address)
	case "load":
		err = generate(ctx, s, address)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
