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

	driver "modernc.org/sqlite"
)

// ErrExists means that a backup would write over a file.
var ErrExists = errors.New("there is a file already")

// backupPages is how many pages are copied at a time, some 2 MB, and flushPages after how many they are brought to the disk:
// all at once would hold up the commits of an Usher that shares it.
const (
	backupPages = 256
	flushPages  = 8 * backupPages
)

// Backup writes a copy of the SQLite ledger at an address, as it is at this moment, to a new file, which only its owner
// may read. An Usher may serve from the ledger meanwhile: the pages are read in one read transaction, which holds up no
// commit. The file has its name only once it is whole, was checked, and is on disk. It returns its size.
func Backup(ctx context.Context, address, file string, report Progress) (size int64, err error) {
	d, err := dialectFor(address)
	if err != nil {
		return 0, err
	}
	source, ok := d.(sqlite)
	if !ok {
		return 0, fmt.Errorf("%w: a backup is made of a ledger in SQLite, and database names %s; back it up with Postgres's own: pg_dump --format=custom --file=%s", ErrUnsupported, d, file)
	}
	db, err := source.openReadOnly()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	whole, err := filepath.Abs(file)
	if err != nil {
		return 0, err
	}
	partial := whole + ".partial"
	if err := reserve(file, partial); err != nil {
		return 0, err
	}
	err = backUp(ctx, db, partial, report)
	if err == nil {
		err = checkFile(ctx, partial, report)
	}
	if err == nil {
		size, err = publish(partial, file)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("back up %s to %s: %w", source, file, err), os.Remove(partial))
	}
	return size, nil
}

// reserve makes the partial file, so that nobody else writes to it.
func reserve(file, partial string) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s; a backup never writes over one, name another", ErrExists, file)
	}
	created, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s; another backup is being written to it, or was killed: in that case remove it", ErrExists, partial)
	case err != nil:
		return fmt.Errorf("write a backup: %w; name a file in a folder that can be written", err)
	}
	return created.Close()
}

// backUp copies all pages within one read transaction. Without one each commit of the Usher that serves would make the
// copy begin again.
func backUp(ctx context.Context, db *sql.DB, partial string, report Progress) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it goes with the database
	if _, err := conn.ExecContext(ctx, `begin`); err != nil {
		return err
	}
	var schema int64
	if err := conn.QueryRowContext(ctx, `select max(version_id) from usher_schema`).Scan(&schema); err != nil {
		return fmt.Errorf("the file is no ledger; set database to the one that usher serve uses (%w)", err)
	}
	return conn.Raw(func(raw any) error {
		from, ok := raw.(interface {
			NewBackup(to string) (*driver.Backup, error)
		})
		if !ok {
			return fmt.Errorf("the connection is a %T", raw)
		}
		// What is in the file counts only once publish has brought it to the disk.
		query := url.Values{"_pragma": {"synchronous(OFF)", "journal_mode(OFF)"}}
		backup, err := from.NewBackup((&url.URL{Scheme: "file", Path: partial, RawQuery: query.Encode()}).String())
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if more, err = backup.Step(backupPages); err == nil {
				err = ctx.Err()
			}
			copied := backup.PageCount() - backup.Remaining()
			if err == nil && copied%flushPages == 0 {
				err = flush(partial)
			}
			report("copying pages", int64(copied), int64(backup.PageCount()))
		}
		return errors.Join(err, backup.Finish())
	})
}

// checkFile lets SQLite look at every page and index of a file that nobody else has.
func checkFile(ctx context.Context, path string, report Progress) error {
	report("checking", 0, 0)
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro&immutable=1"}).String())
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // it only read
	said, err := collect(ctx, db, func(row scanner) (line string, err error) {
		err = row.Scan(&line)
		return line, err
	}, `pragma integrity_check(3)`)
	if err == nil && (len(said) != 1 || said[0] != "ok") {
		err = fmt.Errorf("the copy is broken, and so the ledger may be: %q; keep the earlier backups, and stop usher and run: sqlite3 FILE 'pragma integrity_check'", said)
	}
	return err
}

// publish brings the file to the disk and gives it its name.
func publish(partial, file string) (size int64, err error) {
	if err := flush(partial); err != nil {
		return 0, err
	}
	info, err := os.Stat(partial)
	if err != nil {
		return 0, err
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s, which came meanwhile", ErrExists, file)
	}
	if err := os.Rename(partial, file); err != nil {
		return 0, err
	}
	return info.Size(), flush(filepath.Dir(file))
}

// flush waits until a file or a folder is on the disk.
func flush(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
