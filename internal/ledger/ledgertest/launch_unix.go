//go:build unix

package ledgertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// launch starts the server as this user, or as another one where this is root, whom Postgres refuses.
func launch(programs, port string, settings ...string) (*leash, error) {
	folder, err := os.MkdirTemp("", "usher-postgres")
	if err != nil {
		return nil, err
	}
	command := exec.Command("/bin/sh", append([]string{"-c", script, "sh", folder, programs, port}, settings...)...) //nolint:gosec,noctx // our own script, which ends with this process
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                                                        // a Ctrl-C is for the tests; they end it
	if os.Getuid() == 0 {
		uid, gid, err := other()
		if err != nil {
			return nil, err
		}
		if err := os.Chown(folder, int(uid), int(gid)); err != nil {
			return nil, err
		}
		command.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	in, err := command.StdinPipe() // the end of this process closes it
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(out)
	answer, _ := reader.ReadString('\n')
	if err := started(answer); err != nil {
		rest, _ := io.ReadAll(reader)
		return nil, fmt.Errorf("%w%s", err, rest)
	}
	return &leash{in: in, out: reader}, nil
}

// other is a user without any rights.
func other() (uid, gid uint32, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		id, wrong := strconv.ParseUint(u.Uid, 10, 32)
		group, wrong2 := strconv.ParseUint(u.Gid, 10, 32)
		if errors.Join(wrong, wrong2) == nil {
			return uint32(id), uint32(group), nil
		}
	}
	return 0, 0, errors.New("postgres does not run as root, and there is no user postgres or nobody")
}
