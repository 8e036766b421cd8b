package ledgertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A leash holds a script that runs a Postgres. Go closes a file that nothing refers to, which would end it.
type leash struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func (l *leash) ask(what ...any) error {
	if _, err := fmt.Fprintln(l.in, what...); err != nil {
		return err
	}
	answer, err := l.out.ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "done" {
		err = fmt.Errorf("the script that runs Postgres answered %q", answer)
	}
	return err
}

// A Server is a Postgres of a test's own, with fsync, which the test stops, kills and starts.
type Server struct {
	t testing.TB
	*server
}

// Own starts a Server, which ends with the test. Without a Postgres on this machine it does as Postgres does.
func Own(t testing.TB) *Server {
	t.Helper()
	s, err := startWith("fsync=on")
	must(t, err)
	t.Cleanup(func() {
		_ = s.admin.Close()
		_ = s.leash.in.Close()
	})
	return &Server{t: t, server: s}
}

// Address is of the server's one database.
func (s *Server) Address() string { return s.address("postgres") }

// Stop ends the server: by the signal INT in order though at once, by QUIT like a crash.
func (s *Server) Stop(signal string) {
	s.t.Helper()
	s.ask("stop", signal)
}

// Start starts it again and waits until it answers: before, a signal to stop it could be lost.
func (s *Server) Start() {
	s.t.Helper()
	s.ask("start")
	if err := s.answers(); err != nil {
		s.t.Fatal(err)
	}
}

// KillBackend kills one process that works for a client. The server then ends all others and recovers by itself.
func (s *Server) KillBackend() {
	s.t.Helper()
	var pid int
	for deadline := time.Now().Add(20 * time.Second); pid == 0; time.Sleep(10 * time.Millisecond) {
		err := s.admin.QueryRowContext(context.Background(), `select pid from pg_stat_activity where application_name = 'usher'
			order by state = 'active' desc limit 1`).Scan(&pid)
		if err != nil && time.Now().After(deadline) {
			s.t.Fatalf("find a process to kill: %v", err)
		}
	}
	s.ask("kill", pid)
}

func (s *Server) ask(what ...any) {
	s.t.Helper()
	if err := s.leash.ask(what...); err != nil {
		s.t.Fatal(err)
	}
}
