package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/internal/ledger"
)

func newBackup() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy a SQLite ledger to a file, also while usher serves from it",
		Long: `Backup writes a copy of the SQLite ledger that database names, as it is at one moment, to a new file.
Usher may go on serving: no webhook waits for it. The copy is checked by SQLite and on the disk before it has
its name; a file that exists is never written over. Only its owner may read it.

To restore, stop usher, move the old ledger away with the files -wal and -shm beside it, and put the copy there.
A ledger in Postgres is backed up with pg_dump.

Exit status 1 when there is no copy.`,
		Example: `  usher backup /backup/usher-$(date +%F).db
  usher backup --config usher.yaml --json /backup/usher.db`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name the file to write, and nothing else\nsee: %s --help", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := databaseOf(cmd)
			if err != nil {
				return err
			}
			start, shown := time.Now(), newProgress(cmd.ErrOrStderr(), "pages")
			size, err := ledger.Backup(cmd.Context(), address.Reveal(), args[0], shown.report)
			shown.done()
			if errors.Is(err, context.Canceled) {
				return errors.New("stopped; nothing is left of the backup")
			}
			if err != nil {
				return asUsage(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"database": address.String(), "file": args[0], "bytes": size, "integrity": "ok"})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s holds %s: %.1f MB, checked and on the disk, in %s\n", args[0], address, float64(size)/1e6, time.Since(start).Round(10*time.Millisecond))
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}
