package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/rivermigrate"
)

const takenBack = "the migration was taken back whole: mend the cause, and start again"

// migrate brings the schema up to date: ours by goose, then River's own. Each migration is a transaction.
// A schema newer than this program knows is refused, never guessed at.
func migrate(ctx context.Context, db *sql.DB, d dialect) error {
	kind, files := d.goose()
	ours, err := goose.NewProvider(kind, db, files, goose.WithTableName("usher_schema"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	current, target, err := ours.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if current > target {
		return fmt.Errorf("%w: it is at version %d, this program knows %d; run the newer usher, or restore the backup made before it", ErrNewerSchema, current, target)
	}
	if _, err := ours.Up(ctx); err != nil {
		return fmt.Errorf("migrate the ledger: %w; "+takenBack, err)
	}
	return migrateJobs(ctx, db, d)
}

// isCurrent sees that the schema is the one that this program knows, and changes nothing: what serves from the ledger may
// be another version.
func isCurrent(ctx context.Context, db *sql.DB, d dialect) error {
	kind, files := d.goose()
	ours, err := goose.NewProvider(kind, db, files, goose.WithTableName("usher_schema"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	jobs, err := rivermigrate.New(d.driver(db), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return fmt.Errorf("read River's migrations: %w", err)
	}
	sources, known := ours.ListSources(), jobs.AllVersions()
	target, jobsTarget := sources[len(sources)-1].Version, int64(known[len(known)-1].Version)
	var current, jobsCurrent sql.NullInt64
	if err := db.QueryRowContext(ctx, `select max(version_id) from usher_schema`).Scan(&current); isNoTable(err) {
		return fmt.Errorf("%w: the database has no tables of Usher's; %s", ErrNoLedger, makeOne)
	} else if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	_ = db.QueryRowContext(ctx, `select max(version) from river_migration where line = 'main'`).Scan(&jobsCurrent) // an old ledger may have no such table
	switch {
	case current.Int64 > target || jobsCurrent.Int64 > jobsTarget:
		return fmt.Errorf("%w: it is at version %d, this program knows %d; use the usher that serves from it", ErrNewerSchema, current.Int64, target)
	case current.Int64 < target || jobsCurrent.Int64 < jobsTarget:
		return fmt.Errorf("%w: it is at version %d, this program wants %d; use the usher that serves from it, or stop that one and run: usher migrate", ErrOlderSchema, current.Int64, target)
	default:
		return nil
	}
}

// isNoTable reports whether either store says that it has no such table.
func isNoTable(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "42P01" || err != nil && strings.Contains(err.Error(), "no such table")
}

const makeOne = "set database to the one that usher serve uses, which makes it at its first start"

func migrateJobs(ctx context.Context, db *sql.DB, d dialect) error {
	jobs, err := rivermigrate.New(d.driver(db), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return fmt.Errorf("read River's migrations: %w", err)
	}
	known := jobs.AllVersions()
	target := known[len(known)-1].Version
	var current sql.NullInt64
	// Before its first migration River's table is not there, which is no error.
	_ = db.QueryRowContext(ctx, `select max(version) from river_migration where line = 'main'`).Scan(&current)
	if int(current.Int64) > target {
		return fmt.Errorf("%w: River's tables are at version %d, this program knows %d; run the newer usher", ErrNewerSchema, current.Int64, target)
	}
	if int(current.Int64) == target {
		return nil
	}
	if _, err := jobs.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate River's tables: %w; "+takenBack, err)
	}
	return nil
}
