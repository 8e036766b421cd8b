package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// csvHead are the columns of CSV.
var csvHead = []string{"id", "email", "state", "reason", "source", "groups", "note", "tries", "created_at", "sent_at", "accepted_at", "expires_at", "updated_at"}

func (c *client) csvRow(p person) []string {
	utc := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return at.UTC().Format(time.RFC3339)
	}
	return escaped(strconv.FormatInt(p.ID, 10), c.address(p.Email), p.State, c.words(p.Reason), p.Source, joined(p.Groups), c.words(p.Note), strconv.Itoa(p.Tries),
		utc(p.CreatedAt), utc(p.SentAt), utc(p.AcceptedAt), utc(p.ExpiresAt), utc(p.UpdatedAt))
}

func newExport() *cobra.Command {
	var f listFlags
	var file string
	cmd := &cobra.Command{
		Use:   "export --csv | --json",
		Short: "Write all invitations as CSV or JSON, however many there are",
		Long: `Export writes every invitation that the filters leave, newest first, as CSV for spreadsheets or as JSON, an
object a line. Times are in UTC. Cells that a spreadsheet would take for formulas begin with an apostrophe.
Addresses are masked unless --full is given.

With --output the file has its name only once it is whole, and only its owner may read it; one that is there is
replaced.

Exit status 0, also where there is nothing to write.`,
		Example: `  usher export --csv --full --output customers.csv
  usher export --json --state failed --since 30d | jq -r .reason | sort | uniq -c`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !f.asCSV && !f.asJSON {
				return usageError{errors.New("say in which form: --csv or --json")}
			}
			query, err := f.query()
			if err != nil {
				return err
			}
			return withClient(cmd, f.clientFlags, func(c *client) error {
				if file == "" {
					return c.export(cmd, query)
				}
				return c.exportTo(cmd, query, file)
			})
		},
	}
	f.register(cmd)
	f.filters(cmd)
	cmd.Flags().BoolVar(&f.asCSV, "csv", false, "write CSV")
	cmd.Flags().StringVarP(&file, "output", "o", "", "the file to write (default: the standard output)")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// export writes all of them to the standard output.
func (c *client) export(cmd *cobra.Command, query url.Values) error {
	show, shown, done := c.printer(cmd), newProgress(c.notes, "invitations"), int64(0)
	if isTerminal(cmd.OutOrStdout()) {
		shown = newProgress(io.Discard, "")
	}
	_, err := c.pages(cmd, "/v1/invitations", "invitations", query, 0, true, func(rows []json.RawMessage) error {
		done += int64(len(rows))
		if done > pageSize { // what is written at once needs no progress
			shown.report("writing", done, 0)
		}
		return show(rows)
	})
	shown.done()
	return err
}

// exportTo writes a file that is there whole or not at all.
func (c *client) exportTo(cmd *cobra.Command, query url.Values, name string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(name), ".usher-export-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	out, buffered := cmd.OutOrStdout(), bufio.NewWriterSize(file, 64<<10)
	cmd.SetOut(buffered)
	err = c.export(cmd, query)
	cmd.SetOut(out)
	if err == nil {
		err = errors.Join(buffered.Flush(), file.Sync())
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err = os.Rename(file.Name(), name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	fmt.Fprintf(c.notes, "%s is written.\n", name)
	return nil
}
