package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// A cluster is a Postgres of the benchmark's own: Debian's or the distribution's defaults, said once more where they matter.
type cluster struct {
	server *exec.Cmd
	port   string
	admin  *sql.DB
}

// postgresSettings are stated in each table; all but max_connections are Postgres's own defaults.
var postgresSettings = []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=128MB", "autovacuum=on", "max_connections=300"}

// startCluster makes a cluster in the folder and serves it.
func startCluster(ctx context.Context, folder string) (*cluster, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	if err := ownedByPostgres(ctx, folder); err != nil {
		return nil, err
	}
	data := filepath.Join(folder, "data")
	if text, err := asPostgres(ctx, filepath.Join(programs, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a Postgres cluster: %w\n%s", err, text)
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	c := &cluster{}
	_, c.port, _ = net.SplitHostPort(address) // it is one
	arguments := []string{"-D", data, "-p", c.port, "-k", folder, "-c", "listen_addresses=127.0.0.1"}
	for _, s := range postgresSettings {
		arguments = append(arguments, "-c", s)
	}
	// Without the context: it is stopped last, by stop.
	c.server = asPostgres(context.WithoutCancel(ctx), filepath.Join(programs, "postgres"), arguments...)
	log, err := os.Create(filepath.Join(folder, "postgres.log"))
	if err != nil {
		return nil, err
	}
	c.server.Stderr = log
	if err := c.server.Start(); err != nil {
		return nil, err
	}
	return c, c.wait(ctx)
}

// wait waits until the server answers.
func (c *cluster) wait(ctx context.Context) (err error) {
	if c.admin, err = sql.Open("pgx", c.address("postgres")); err != nil {
		return err
	}
	for range 500 {
		if err = c.admin.PingContext(ctx); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.stop()
	return fmt.Errorf("the benchmark's Postgres does not answer: %w", err)
}

func (c *cluster) address(database string) string {
	return "postgres://postgres@127.0.0.1:" + c.port + "/" + database + "?sslmode=disable"
}

func (c *cluster) exec(ctx context.Context, statement string) error {
	_, err := c.admin.ExecContext(ctx, statement)
	return err
}

// stop ends the server at once, without waiting for its clients.
func (c *cluster) stop() {
	_ = c.admin.Close() // it holds nothing
	_ = c.server.Process.Signal(syscall.SIGINT)
	_ = c.server.Wait() // it was told to
}

// postgresPrograms is the folder of initdb and postgres, which Debian keeps off the path.
func postgresPrograms() (string, error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(folders)
	slices.Reverse(folders)
	if program, err := exec.LookPath("initdb"); err == nil {
		folders = append([]string{filepath.Dir(program)}, folders...)
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "postgres")); err == nil {
			return folder, nil
		}
	}
	return "", errors.New("there is no Postgres on this machine; scripts/need.sh postgres installs it")
}

// ownedByPostgres makes a folder for the user whom asPostgres becomes. The folder above must let that user through.
func ownedByPostgres(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil
	}
	if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	return exec.CommandContext(ctx, "chown", "postgres:", folder).Run()
}

// asPostgres runs a program as the user postgres where this is root, whom Postgres refuses. It ends with this process.
func asPostgres(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	if os.Getuid() == 0 {
		arguments = append([]string{"--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=INT", program}, arguments...)
		program = "setpriv"
	}
	return exec.CommandContext(ctx, program, arguments...)
}
