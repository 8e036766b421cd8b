package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A result is what the load generator saw of one phase.
type result struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	Max       float64 `json:"max_ms"`
	Late      float64 `json:"late_p99_ms"` // in the open model: how late requests left whose connection was free in time
	Requests  int     `json:"requests"`
	Failed    int     `json:"failed"` // answers other than 200, and none
}

// A phase is a stretch of load: at a constant rate whatever the server does (open model), or at rate 0 with each
// connection busy all the time (closed loop).
type phase struct {
	rate     int
	duration time.Duration
}

// phases are in text such as "20x5s,4000x10s".
func parsePhases(text string) (phases []phase, err error) {
	for one := range strings.SplitSeq(text, ",") {
		var p phase
		rate, duration, _ := strings.Cut(one, "x")
		if p.rate, err = strconv.Atoi(rate); err != nil {
			return nil, err
		}
		if p.duration, err = time.ParseDuration(duration); err != nil {
			return nil, err
		}
		phases = append(phases, p)
	}
	return phases, nil
}

// A generator is the load of one process. It speaks HTTP by hand, so that it leaves the cores to the server as far as it can.
type generator struct {
	address string
	scheme  scheme
	phases  []phase
	next    atomic.Int64 // of the open model: the next request to be sent
	start   time.Time
	// patience is how long one connection may live.
	patience time.Duration
}

// generate puts load on a server and prints the result of each phase as JSON.
func generate(ctx context.Context, address, schemeName, phasesText string, connections int) error {
	phases, err := parsePhases(phasesText)
	if err != nil {
		return err
	}
	g := &generator{address: address, scheme: schemes[schemeName], phases: phases}
	for _, p := range phases {
		g.patience += p.duration
	}
	g.patience += time.Minute
	clients := make([]*client, connections)
	for i := range clients {
		clients[i] = &client{generator: g, maker: newMaker(g.scheme), seen: make([]sample, len(phases))}
	}
	g.start = time.Now()
	errs := make([]error, connections)
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() { errs[i] = c.run(ctx) })
	}
	all.Wait()
	took := time.Since(g.start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var results []result
	for i, p := range phases {
		if p.rate > 0 {
			took = p.duration
		}
		results = append(results, sum(clients, i, took))
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

// A client is one connection.
type client struct {
	*generator
	maker   *maker
	conn    net.Conn
	answers *bufio.Reader
	seen    []sample // by phase
}

type sample struct {
	took, late []time.Duration
	failed     int
}

func (c *client) dial(ctx context.Context) (err error) {
	if c.conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", c.address); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.patience)); err != nil { // a server that hangs must not hang the run
		return err
	}
	c.answers = bufio.NewReaderSize(c.conn, 4096)
	return nil
}

func (c *client) run(ctx context.Context) error {
	defer c.hangUp()
	if c.phases[0].rate == 0 {
		if err := c.dial(ctx); err != nil {
			return err
		}
		return c.busy(ctx)
	}
	return c.onTime(ctx)
}

// busy sends the next request as soon as the answer is there.
func (c *client) busy(ctx context.Context) error {
	seen := &c.seen[0]
	for end := c.start.Add(c.phases[0].duration); ctx.Err() == nil; {
		now := time.Now()
		if now.After(end) {
			return nil
		}
		request := c.maker.next(now)
		start := time.Now()
		status, err := c.exchange(request)
		if err != nil {
			return err
		}
		seen.took = append(seen.took, time.Since(start))
		if status != http200 {
			seen.failed++
		}
	}
	return ctx.Err()
}

// onTime sends each request when it is due, however slow the server is. The time of an answer counts from when its
// request was due: one that had to wait for a free connection was late because of the server.
func (c *client) onTime(ctx context.Context) error {
	for ctx.Err() == nil {
		phase, due, ok := c.due(int(c.next.Add(1) - 1))
		if !ok {
			return nil
		}
		now := time.Now()
		request := c.maker.next(now)
		time.Sleep(time.Until(due))
		seen := &c.seen[phase]
		if now.Before(due) { // else the server kept every connection busy
			seen.late = append(seen.late, time.Since(due))
		}
		status, err := c.exchangeOn(ctx, request)
		seen.took = append(seen.took, time.Since(due))
		if err != nil || status != http200 {
			seen.failed++
		}
	}
	return ctx.Err()
}

// exchangeOn connects where there is no connection: one that was opened long before its first request would be closed by
// the server, which waits for a request's head for some seconds only.
func (c *client) exchangeOn(ctx context.Context, request []byte) (status string, err error) {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return "", err
		}
	}
	if status, err = c.exchange(request); err != nil {
		c.hangUp()
	}
	return status, err
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// due is when the nth request is to be sent.
func (g *generator) due(n int) (phase int, at time.Time, ok bool) {
	at = g.start
	for i, p := range g.phases {
		if all := int(float64(p.rate) * p.duration.Seconds()); n >= all {
			n -= all
			at = at.Add(p.duration)
			continue
		}
		return i, at.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second))), true
	}
	return 0, at, false
}
