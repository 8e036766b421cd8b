package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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
	shown := newProgress(c.notes, "invitations")
	if isTerminal(cmd.OutOrStdout()) {
		shown = newProgress(io.Discard, "")
	}
	defer shown.done()
	done := int64(0)
	count := func(rows int) {
		if done += int64(rows); done > pageSize { // what is written at once needs no progress
			shown.report("writing", done, 0)
		}
	}
	if c.asCSV && !query.Has("email") && !query.Has("since") {
		return c.exportCSV(cmd, query, count)
	}
	show := c.printer(cmd)
	_, err := c.pages(cmd, "/v1/invitations", "invitations", query, 0, true, func(rows []json.RawMessage) error {
		count(len(rows))
		return show(rows)
	})
	return err
}

// exportCSV copies what Usher itself writes as CSV, in one answer of any size, with the addresses masked.
func (c *client) exportCSV(cmd *cobra.Command, query url.Values, count func(rows int)) error {
	answer, err := c.stream(cmd.Context(), "/v1/invitations.csv?"+query.Encode())
	if err != nil {
		return err
	}
	defer answer.Close()
	from, to := csv.NewReader(bufio.NewReaderSize(answer, 64<<10)), csv.NewWriter(cmd.OutOrStdout())
	from.ReuseRecord = true
	var columns []string // as they are named there: what is masked goes by the name
	for {
		row, err := from.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read what %s answers: it broke off: %w", c.where, err)
		}
		if columns == nil {
			if columns = slices.Clone(row); !slices.Contains(columns, "email") {
				return fmt.Errorf("%s answers with a table that has no column email: is it another version of Usher?", c.where)
			}
			_ = to.Write(row) // what goes wrong, Error tells
			continue
		}
		for i := range row {
			switch columns[i] {
			case "email":
				row[i] = c.address(row[i])
			case "reason", "note":
				row[i] = c.words(row[i])
			}
		}
		_ = to.Write(row)
		count(1)
	}
	to.Flush()
	return to.Error()
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
