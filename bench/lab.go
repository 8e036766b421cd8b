package main

import (
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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A lab is what one run of the benchmark works with.
type lab struct {
	settings
	made     int // stores
	postgres *cluster
}

// newLab makes the folder and the binary.
func newLab(ctx context.Context, s settings) (*lab, func(), error) {
	l := &lab{settings: s}
	if s.folder == "" {
		var err error
		if l.folder, err = os.MkdirTemp(".", "bench-ledgers-"); err != nil {
			return nil, nil, err
		}
	}
	var err error
	if l.folder, err = filepath.Abs(l.folder); err != nil {
		return nil, nil, err
	}
	clean := func() {
		if l.postgres != nil {
			l.postgres.stop()
		}
		if s.folder == "" {
			_ = os.RemoveAll(l.folder) // what stays is in sight
		}
	}
	if l.usher == "" {
		l.usher = filepath.Join(l.folder, "usher")
		say("building usher")
		if err := build(ctx, l.usher); err != nil {
			clean()
			return nil, nil, err
		}
	}
	return l, clean, nil
}

func build(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/usher")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// A process is one server that runs.
type process struct {
	cmd     *exec.Cmd
	address string
	scheme  string  // how its load is signed
	readyMS float64 // after its start
	started time.Time
	store   *store
}

// start runs a server on a free port and waits until it is ready.
func (l *lab) start(ctx context.Context, command func(address string) *exec.Cmd, ready string) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: command(address), address: address, scheme: "stripe", started: time.Now()}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitReady(ctx, "http://"+address+ready); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w", filepath.Base(p.cmd.Path), err)
	}
	p.readyMS = float64(time.Since(p.started).Microseconds()) / 1000
	return p, nil
}

// role starts this binary again in another role.
func (l *lab) role(ctx context.Context, name, store string) (*process, error) {
	return l.start(ctx, func(address string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0], "-role", name, "-address", address, "-store", store, "-role-pool", strconv.Itoa(l.Pool))
		// As usher serve sets itself.
		cmd.Env = append(os.Environ(), "GOGC=400", "GOMEMLIMIT=128MiB", "GOMAXPROCS="+strconv.Itoa(runtime.NumCPU()+1))
		return cmd
	}, "/livez")
}

// serve starts "usher serve" as an operator runs it, on a store. Without more settings its Retool is out of reach, so that
// only accepting and deciding are measured.
func (l *lab) serve(ctx context.Context, st *store, more ...string) (*process, error) {
	p, err := l.start(ctx, func(address string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, l.usher, "serve")
		cmd.Env = append([]string{
			"STRIPE_WEBHOOK_SECRET=" + secret, "RETOOL_URL=http://127.0.0.1:9", "RETOOL_API_TOKEN=retool_benchmark", "USHER_INTERNAL_DOMAINS=acme.example",
			"USHER_LOG_LEVEL=error", "DATABASE_URL=" + st.address, "USHER_LISTEN=" + address,
		}, more...)
		return cmd
	}, "/readyz")
	if err != nil {
		return nil, err
	}
	p.store = st
	return p, nil
}

// stop ends the server, and drops its store.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	defer time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() }).Stop()
	_ = p.cmd.Wait() // it was told to
	if p.store != nil {
		p.store.drop()
	}
}

// memory reads a line of /proc/PID/status, in MB; 0 where there is none.
func (p *process) memory(line string) float64 {
	kb, _, _ := strings.Cut(lineOf(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), line), " ")
	n, _ := strconv.ParseFloat(kb, 64)
	return n / 1024
}

// load puts load on a server from a process of its own: phases as in "0x10s", which keeps every connection busy.
func (l *lab) load(ctx context.Context, p *process, connections int, phases string) (results []result, err error) {
	load := exec.CommandContext(ctx, os.Args[0], "-role", "load", "-address", p.address, "-scheme", p.scheme,
		"-load-connections", strconv.Itoa(connections), "-phases", phases)
	load.Stderr = os.Stderr
	text, err := load.Output()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return results, json.Unmarshal(text, &results)
}

// busy keeps every connection busy for a while; each request must be answered 200.
func (l *lab) busy(ctx context.Context, p *process, connections int, duration time.Duration) (r result, err error) {
	results, err := l.load(ctx, p, connections, "0x"+duration.String())
	if err != nil {
		return r, err
	}
	if r = results[0]; r.Failed > 0 {
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
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("the server was not ready in 10 s")
}
