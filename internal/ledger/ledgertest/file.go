package ledgertest

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// MigratedFile is the file of an SQLite ledger, with what migrate brings into it and closes again: it is called once, all
// others are copies, since under the race detector the migrations take longer than most tests.
func MigratedFile(t testing.TB, migrate func(address string) error) (path string) {
	t.Helper()
	template.once.Do(func() { template.content, template.err = made(migrate) })
	path = filepath.Join(t.TempDir(), "usher.db")
	if err := errors.Join(template.err, os.WriteFile(path, template.content, 0o600)); err != nil {
		t.Fatalf("make a ledger's file: %v", err)
	}
	return path
}

var template struct {
	once    sync.Once
	content []byte
	err     error
}

func made(migrate func(address string) error) (content []byte, err error) {
	folder, err := os.MkdirTemp("", "usher-ledger-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	path := filepath.Join(folder, "usher.db")
	if err := migrate("sqlite://" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
