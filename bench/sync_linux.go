package main

import (
	"os"
	"syscall"
)

// dataSync flushes what was written to a file, and its size.
func dataSync(file *os.File) error { return syscall.Fdatasync(int(file.Fd())) }
