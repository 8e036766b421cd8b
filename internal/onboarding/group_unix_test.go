//go:build unix

package onboarding_test

import (
	"os/exec"
	"syscall"
)

// ownGroup and killGroup end "go run" together with the program it runs.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
