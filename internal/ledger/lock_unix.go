//go:build unix

package ledger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock keeps a second serving process off a SQLite ledger: it could work the same invitation twice.
// The kernel frees it when the process dies, whatever way.
func (s sqlite) lock() (unlock func() error, err error) {
	file, err := os.OpenFile(s.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger's lock file: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%w: stop it first, or give this one another database", ErrInUse), file.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the ledger: %w", err), file.Close())
	}
	return file.Close, nil
}
