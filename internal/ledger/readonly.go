package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// OpenReadOnly opens a ledger that exists for its queries alone, beside an Usher that serves from it or without one. Nothing
// in it changes, its schema neither: one of another version is refused.
func OpenReadOnly(ctx context.Context, address string, opts Options) (*Ledger, error) {
	d, err := dialectFor(address)
	if err != nil {
		return nil, err
	}
	if err := d.exists(); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", d, err)
	}
	l := newLedger(d, opts)
	switch d := d.(type) {
	case sqlite:
		l.read, err = d.openReadOnly()
	case postgres:
		l.read, err = d.openReadOnly(ctx)
	}
	if err == nil {
		err = isCurrent(ctx, l.read, d)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", d, err), l.Close())
	}
	return l, nil
}

// openReadOnly opens the file for reading alone, on one connection. Nothing in it changes, not even when the connection
// is the last to close: the log stays as it is.
func (s sqlite) openReadOnly() (*sql.DB, error) {
	path, err := filepath.Abs(s.path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no ledger at %s; set database to the one that usher serve uses", s)
	}
	query := url.Values{"mode": {"ro"}, "_dqs": {"0"}, "_pragma": {"busy_timeout(10000)", "query_only(ON)", "temp_store(MEMORY)", "cache_size(-8000)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}
