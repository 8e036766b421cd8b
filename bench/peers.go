package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

var (
	tutorial = server{name: "verify and insert, one row a request, Postgres", not: "decides nothing, invites nobody; its pool has as many connections as -pool says, more than pgx's own default of 4, which holds it back",
		start: startTutorial}
	debian = server{name: "webhook (adnanh)", not: "starts a command for each request, here /bin/true, behind its answer; it stores nothing, so that whatever runs or waits when it dies is lost; its signature is an HMAC of the body alone, without a time",
		start: startDebian}
)

// errAbsent means that a peer is not on this machine.
var errAbsent = errors.New("it is not on this machine")

func startTutorial(ctx context.Context, l *lab) (*process, error) {
	st, err := l.newStore(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	p, err := l.role(ctx, "tutorial", st.address)
	if err != nil {
		st.drop()
		return nil, err
	}
	p.store = st
	return p, nil
}

const debianHook = `[{"id": "bench", "execute-command": "/bin/true", "trigger-rule": {"match": {
	"type": "payload-hmac-sha256", "secret": "` + secret + `", "parameter": {"source": "header", "name": "X-Hub-Signature-256"}}}}]`

func startDebian(ctx context.Context, l *lab) (*process, error) {
	program, err := exec.LookPath("webhook")
	if err != nil {
		return nil, errAbsent
	}
	hooks := filepath.Join(l.folder, "hooks.json")
	if err := os.WriteFile(hooks, []byte(debianHook), 0o600); err != nil {
		return nil, err
	}
	p, err := l.start(ctx, func(address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address) // it is one
		return exec.CommandContext(ctx, program, "-hooks", hooks, "-ip", host, "-port", port)
	}, "/")
	if err == nil {
		p.scheme = "hub"
	}
	return p, err
}
