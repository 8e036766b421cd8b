package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger"
)

func newMigrate() *cobra.Command {
	var to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the ledger's schema up to date, or copy a SQLite ledger to Postgres",
		Long: `Migrate brings the schema of the configured ledger up to date, as a start does, and says its version.

With --to it copies the SQLite ledger that database names into an empty Postgres database: every row
with its identity, and the jobs that are not done, so that a Usher started there goes on where this one
stopped. Stop usher first. The SQLite file stays as it is. Counts and a checksum of each table are
compared before anything is kept: a copy that broke off leaves nothing, and any copy can be run again,
unless an usher has worked with it since.

The password need not stand in the command line: PGPASSWORD and ~/.pgpass are read.

Exit status 1 when the schema or the copy is not as it should be; then nothing was changed.`,
		Example: `  usher migrate
  PGPASSWORD=… usher migrate --to postgres://usher@db.internal/usher`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			address, err := databaseOf(cmd)
			if err != nil {
				return err
			}
			if to == "" {
				return migrateSchema(cmd, address, asJSON)
			}
			return migrateTo(cmd, address, to, asJSON)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "Postgres address to copy the ledger to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// databaseOf is the configured database. The rest of the configuration may be incomplete: a ledger is kept without
// Retool's token.
func databaseOf(cmd *cobra.Command) (config.DatabaseURL, error) {
	cfg, problems := config.Load(configOptions(cmd))
	var own config.Problems
	for _, problem := range problems {
		if problem.Path == "database" || problem.Path == "" { // the latter are of the file or the variable itself
			own = append(own, problem)
		}
	}
	if len(own) > 0 {
		printProblems(cmd.ErrOrStderr(), own)
		return cfg.Database, quietError(exitUsage)
	}
	return cfg.Database, nil
}

func migrateSchema(cmd *cobra.Command, address config.DatabaseURL, asJSON bool) (err error) {
	book, err := ledger.Open(cmd.Context(), address.Reveal(), ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return asUsage(err)
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	schema, jobs, err := book.Version(cmd.Context())
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"database": address.String(), "schema": schema, "jobs": jobs})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is up to date: its schema is at version %d, River's tables at %d\n", address, schema, jobs)
	return nil
}

func migrateTo(cmd *cobra.Command, from config.DatabaseURL, to string, asJSON bool) error {
	shown := newProgress(cmd.ErrOrStderr(), "rows")
	copied, err := ledger.Copy(cmd.Context(), from.Reveal(), to, shown.report, ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	shown.done()
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped; the target is as it was, and the copy can be run again")
	}
	if err != nil {
		return asUsage(err)
	}
	target := config.NewDatabaseURL(to)
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"from": from.String(), "to": target.String(), "tables": copied})
	}
	out := cmd.OutOrStdout()
	for _, table := range copied {
		fmt.Fprintf(out, "%s✓%s %-12s %9d rows  sha256 %s\n", coloursFor(out).green, coloursFor(out).off, table.Table, table.Rows, table.Checksum[:16])
	}
	fmt.Fprintf(out, "The ledger is in %s, the same on both sides. Set database (DATABASE_URL) to it and start usher there; keep %s as a backup, and start none on it.\n", target, from)
	return nil
}

// asUsage makes a mistake on the command line of an address that cannot be used by this command.
func asUsage(err error) error {
	if errors.Is(err, ledger.ErrUnsupported) {
		return usageError{err}
	}
	return err
}
