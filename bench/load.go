package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// A result is what one round of load saw.
type result struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	Requests  int     `json:"requests"`
	Failed    int     `json:"failed"` // answers other than 200
}

// generate keeps every connection busy for the duration and prints the result as JSON. It speaks HTTP by
// hand, so that it leaves the two cores to the server as far as it can.
func generate(ctx context.Context, s settings, address string) error {
	ctx, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	clients := make([]client, s.connections)
	errs := make([]error, s.connections)
	var all sync.WaitGroup
	start := time.Now()
	for i := range clients {
		all.Go(func() { errs[i] = clients[i].run(ctx, address, i, s.body) })
	}
	all.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(sum(clients, took))
}

// A client is one connection.
type client struct {
	took   []time.Duration
	failed int
}

func (c *client) run(ctx context.Context, address string, n, bodySize int) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReaderSize(conn, 4096)
	padding := bodySize - len(webhooktest.StripeEvent{Email: "customer@example.com"}.JSON())
	for i := 0; ctx.Err() == nil; i++ {
		request := buildRequest(fmt.Sprintf("evt_%d_%d_%d", time.Now().UnixNano(), n, i), fmt.Sprintf("c%d.%d@example.com", n, i), padding)
		start := time.Now()
		if _, err := conn.Write(request); err != nil {
			return err
		}
		status, err := readAnswer(answers)
		if err != nil {
			return err
		}
		c.took = append(c.took, time.Since(start))
		if status != "200" {
			c.failed++
		}
	}
	return nil
}

func buildRequest(id, email string, padding int) []byte {
	body := eventBody(id, email, padding)
	header := webhooktest.SignStripe(body, secret, time.Now())
	var b bytes.Buffer
	b.Grow(len(body) + 512)
	fmt.Fprintf(&b, "POST /webhooks/stripe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=utf-8\r\nUser-Agent: %s\r\nStripe-Signature: %s\r\nContent-Length: %d\r\n\r\n",
		header.Get("User-Agent"), header.Get("Stripe-Signature"), len(body))
	b.Write(body)
	return b.Bytes()
}

var (
	bodyOnce sync.Once
	bodyText []byte
)

// eventBody is one event rendered once, with its identity and address replaced: rendering JSON for each
// request would take the server's share of the cores.
func eventBody(id, email string, padding int) []byte {
	bodyOnce.Do(func() {
		bodyText = webhooktest.StripeEvent{ID: "evt_BENCH_ID", Email: "BENCH@EMAIL", Padding: max(0, padding)}.JSON()
	})
	return bytes.Replace(bytes.Replace(bodyText, []byte("evt_BENCH_ID"), []byte(id), 1), []byte("BENCH@EMAIL"), []byte(email), 1)
}

// readAnswer reads one answer with a Content-Length and returns its status.
func readAnswer(r *bufio.Reader) (status string, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	status = string(line[9:12])
	length := 0
	for {
		line, err = r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return "", err
			}
		}
	}
	_, err = io.CopyN(io.Discard, r, int64(length))
	return status, err
}

func sum(clients []client, took time.Duration) result {
	var all []time.Duration
	r := result{}
	for _, c := range clients {
		all = append(all, c.took...)
		r.Failed += c.failed
	}
	slices.Sort(all)
	at := func(q float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return all[int(q*float64(len(all)-1))].Seconds() * 1000
	}
	r.Requests, r.PerSecond = len(all), float64(len(all))/took.Seconds()
	r.P50, r.P99, r.Max = at(.5), at(.99), at(1)
	return r
}
