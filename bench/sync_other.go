//go:build !linux

package main

import "os"

// dataSync flushes what was written to a file.
func dataSync(file *os.File) error { return file.Sync() }
