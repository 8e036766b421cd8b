package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are what a run was asked for.
type settings struct {
	connections, rounds, body int
	duration                  time.Duration
	folder, usher             string
}

// A round is one server's result, with what its process took.
type round struct {
	result
	readyMS          float64
	idleMB, loadedMB float64
}

// compare runs both servers in turn and prints what it saw.
func compare(ctx context.Context, s settings) (err error) {
	if s.folder == "" {
		if s.folder, err = os.MkdirTemp(".", "bench-ledgers-"); err != nil {
			return err
		}
		defer os.RemoveAll(s.folder)
	}
	if s.usher == "" {
		s.usher = filepath.Join(s.folder, "usher")
		if err := build(ctx, s.usher); err != nil {
			return err
		}
	}
	var without, with []round
	for i := range s.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, s.rounds)
		r, err := s.round(ctx, exec.CommandContext(ctx, os.Args[0], "-role", "nostore", "-address"), "/livez")
		if err != nil {
			return fmt.Errorf("no store: %w", err)
		}
		without = append(without, r)
		if r, err = s.round(ctx, s.serve(ctx, i), "/readyz"); err != nil {
			return fmt.Errorf("usher: %w", err)
		}
		with = append(with, r)
	}
	return s.report(without, with)
}

func build(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/usher")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// serve is "usher serve" as an operator runs it, its Retool out of reach so that only accepting and
// deciding are measured.
func (s settings) serve(ctx context.Context, i int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.usher, "serve")
	cmd.Env = []string{
		"STRIPE_WEBHOOK_SECRET=" + secret, "RETOOL_URL=http://127.0.0.1:9", "RETOOL_API_TOKEN=retool_benchmark", "USHER_INTERNAL_DOMAINS=acme.example",
		"USHER_LOG_LEVEL=error", "DATABASE_URL=sqlite://" + filepath.Join(s.folder, fmt.Sprintf("round%d.db", i)),
	}
	return cmd
}

// round starts a server on a free port, loads it, and stops it.
func (s settings) round(ctx context.Context, server *exec.Cmd, ready string) (r round, err error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return r, err
	}
	if server.Env == nil {
		server.Args = append(server.Args, address)
	} else {
		server.Env = append(server.Env, "USHER_LISTEN="+address)
	}
	server.Stderr = os.Stderr
	start := time.Now()
	if err := server.Start(); err != nil {
		return r, err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	}()
	if err := waitReady(ctx, "http://"+address+ready); err != nil {
		return r, err
	}
	r.readyMS = float64(time.Since(start).Microseconds()) / 1000
	time.Sleep(500 * time.Millisecond)
	r.idleMB = memory(server.Process.Pid, "VmRSS:")
	r.result, err = s.load(ctx, address)
	r.loadedMB = memory(server.Process.Pid, "VmHWM:")
	return r, err
}

func (s settings) load(ctx context.Context, address string) (r result, err error) {
	load := exec.CommandContext(ctx, os.Args[0], "-role", "load", "-address", address, "-connections", strconv.Itoa(s.connections),
		"-duration", s.duration.String(), "-body", strconv.Itoa(s.body))
	load.Stderr = os.Stderr
	text, err := load.Output()
	if err != nil {
		return r, fmt.Errorf("load: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	if r.Failed > 0 {
		return r, fmt.Errorf("%d of %d requests were not answered 200", r.Failed, r.Requests)
	}
	return r, nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func waitReady(ctx context.Context, url string) error {
	for range 2000 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("the server was not ready in 10 s")
}

// memory reads a line of /proc/PID/status, in MB; 0 where there is none.
func memory(pid int, line string) float64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if value, ok := strings.CutPrefix(scanner.Text(), line); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

func (s settings) report(without, with []round) error {
	info, err := os.Stat(s.usher)
	if err != nil {
		return err
	}
	var ratios []float64
	for i := range with {
		ratios = append(ratios, with[i].PerSecond/without[i].PerSecond)
	}
	fmt.Printf("%d connections, %s a round, %d rounds in turn, bodies of about %d bytes, GOMAXPROCS %d, %s %s/%s\n\n",
		s.connections, s.duration, s.rounds, s.body, runtime.GOMAXPROCS(0), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Println("| | requests/s | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|")
	row("same handler, no store", without)
	row("usher serve, SQLite, fsync", with)
	fmt.Printf("\nusher ÷ no store: %s\n\n", spread(ratios, "%.2f"))
	fmt.Printf("binary %.1f MB; ready after %s ms; resident %s MB idle, %s MB at the peak of the load\n", float64(info.Size())/1e6,
		spread(each(with, func(r round) float64 { return r.readyMS }), "%.0f"), spread(each(with, func(r round) float64 { return r.idleMB }), "%.0f"),
		spread(each(with, func(r round) float64 { return r.loadedMB }), "%.0f"))
	return nil
}

func row(name string, rounds []round) {
	fmt.Printf("| %s | %s | %s | %s | %s |\n", name, spread(each(rounds, func(r round) float64 { return r.PerSecond }), "%.0f"),
		spread(each(rounds, func(r round) float64 { return r.P50 }), "%.1f"), spread(each(rounds, func(r round) float64 { return r.P99 }), "%.1f"),
		spread(each(rounds, func(r round) float64 { return r.Max }), "%.0f"))
}

func each(rounds []round, of func(round) float64) []float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, of(r))
	}
	return all
}

// spread shows the median, with the lowest and the highest.
func spread(all []float64, format string) string {
	sorted := slices.Sorted(slices.Values(all))
	return fmt.Sprintf(format+" ("+format+"–"+format+")", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
}
