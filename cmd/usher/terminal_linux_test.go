package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal: what is written to the slave is read from the master, and the other way round.
func openTerminal(t *testing.T, columns uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// onTerminal runs the program on a terminal, types an answer, and returns all that the terminal shows.
func onTerminal(t *testing.T, columns uint16, env []string, typed string, args ...string) (shown string, failed error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	master, slave := openTerminal(t, columns)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Args[0] = "usher" // by which name the test binary is the program
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	if typed != "" {
		if _, err := master.WriteString(typed); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	for lines := bufio.NewScanner(master); lines.Scan(); { // it ends with an error when the last of the other side is closed
		text.WriteString(strings.TrimRight(lines.Text(), "\r") + "\n")
	}
	return text.String(), cmd.Wait()
}

var escape = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// TestOnATerminal looks at what people see: tables that fit, colours unless they are not wanted, and questions.
func TestOnATerminal(t *testing.T) {
	env := append(os.Environ(), "DATABASE_URL=sqlite://"+filepath.Join(t.TempDir(), "usher.db"), "RETOOL_URL=http://127.0.0.1:1", "RETOOL_API_TOKEN=retool_x",
		"STRIPE_WEBHOOK_SECRET=whsec_0123456789abcdef", "USHER_INTERNAL_DOMAINS=acme.example", "NO_COLOR=")
	must := func(args ...string) {
		t.Helper()
		if shown, err := onTerminal(t, 200, env, "", args...); err != nil {
			t.Fatalf("usher %v: %v\n%s", args, err, shown)
		}
	}
	must("migrate")
	must("invite", "ada@a-domain-with-a-long-name-indeed.example", "bob@example.com", "carol@example.com")

	shown, err := onTerminal(t, 72, env, "", "list")
	if err != nil || !strings.Contains(shown, "\x1b[36mqueued\x1b[0m") || !strings.Contains(shown, "\x1b[1mID") {
		t.Errorf("a table has no colours: %v\n%q", err, shown)
	}
	for line := range strings.Lines(escape.ReplaceAllString(shown, "")) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 72 {
			t.Errorf("a line has %d characters: %s", n, line)
		}
	}
	if !strings.Contains(shown, "a…@a-dom") || strings.Contains(shown, "indeed.example") {
		t.Errorf("an address is not cut: %s", shown)
	}
	if shown, err = onTerminal(t, 72, append(env, "NO_COLOR=1"), "", "list"); err != nil || strings.Contains(shown, "\x1b") {
		t.Errorf("NO_COLOR: %v\n%q", err, shown)
	}
	if shown, err = onTerminal(t, 200, env, "n\n", "revoke", "1", "2"); err == nil || !strings.Contains(shown, "This takes 2 invitations back. Go on? [y/N]") || !strings.Contains(shown, "nothing was done") {
		t.Errorf("a no: %v\n%s", err, shown)
	}
	if shown, err = onTerminal(t, 200, env, "y\n", "revoke", "1", "2"); err != nil || !strings.Contains(escape.ReplaceAllString(shown, ""), "✓ b…@example.com (invitation 2) is revoked") {
		t.Errorf("a yes: %v\n%s", err, shown)
	}
	if shown, err = onTerminal(t, 200, env, "", "list", "--state", "revoked"); err != nil || strings.Count(shown, "taken back by hand") != 2 {
		t.Errorf("after a yes: %v\n%s", err, shown)
	}
}
