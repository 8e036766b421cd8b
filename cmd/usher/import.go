package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/internal/people"
)

const (
	// Rows go to Usher in pieces that one call takes: so many, and so many bytes.
	mostRows, mostBytes = 500, 700 << 10
	// effectLeft is what import makes of rows whose invitation went wrong or was taken back, unless --again is given.
	effectLeft = "left"
)

// importFlags are what "usher import" was asked for.
type importFlags struct {
	clientFlags
	maps                      []string
	apply, skipInvalid, again bool
	rows                      int
}

func newImport() *cobra.Command {
	f := importFlags{clientFlags: clientFlags{decides: true}}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Invite the people of a CSV file, or of a list of addresses",
		Long: `Import reads a CSV file as spreadsheets save it, or a list of addresses; - is the standard input. Its first line
names the columns: email, and if wanted groups, note, and attributes.NAME. Where they have other names,
--map says what they mean.

It is a dry run: it shows what would be decided of whom, and why, and does nothing. With --apply it is done.

A row that cannot be used is named by its line. Then nothing is done, unless --skip-invalid says to go on with
the rest. The same file can be imported again, also after it was stopped half way or killed: who has an
invitation keeps it, and is not invited twice. One that failed, expired or was revoked is left alone, unless
--again says that it is to go out again.

Exit status 1 when a row cannot be used; people whom a rule refuses are no mistake.`,
		Example: `  usher import customers.csv
  usher import customers.csv --map email=Mail --map attributes.plan=Tier --apply
  pbpaste | usher import - --apply --url https://usher.example.com
  usher import customers.csv --csv --full > decisions.csv`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one file, or - for the standard input\nsee: %s --help", cmd.CommandPath())}
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"csv", "txt"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := f.readList(cmd, args[0])
			if err != nil {
				return err
			}
			return withClient(cmd, f.clientFlags, func(c *client) error {
				return (&importing{client: c, flags: f, cmd: cmd, list: list}).run()
			})
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&f.maps, "map", nil, "what a column means, MEANING=COLUMN: email=Mail, groups=Teams, note=Remarks, attributes.plan=Tier; can be repeated")
	flags.BoolVar(&f.apply, "apply", false, "do it")
	flags.BoolVar(&f.skipInvalid, "skip-invalid", false, "go on without the rows that cannot be used")
	flags.BoolVar(&f.again, "again", false, "also those whose invitation failed, expired or was revoked")
	flags.IntVar(&f.rows, "rows", 20, "how many people the dry run shows, those first that need a look; 0 is all")
	flags.BoolVar(&f.asCSV, "csv", false, "print a row of CSV for each person")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// readList reads the file, and says what is wrong with it.
func (f *importFlags) readList(cmd *cobra.Command, name string) (people.List, error) {
	means, err := f.means()
	if err != nil {
		return people.List{}, err
	}
	var text []byte
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), people.MaxBytes+1))
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return people.List{}, usageError{fmt.Errorf("read the list: %w", err)}
	}
	list, err := people.ReadMapped(text, means)
	var unreadable *people.Unreadable
	if errors.As(err, &unreadable) {
		return list, fmt.Errorf("%s: %s\n%s", plain(name), f.words(unreadable.Detail), f.words(unreadable.Mend))
	}
	return list, err
}

// means reads --map: the name of a column, and what it means.
func (f *importFlags) means() (map[string]string, error) {
	means := map[string]string{}
	for _, pair := range f.maps {
		meaning, column, ok := strings.Cut(pair, "=")
		meaning, column = strings.TrimSpace(meaning), strings.TrimSpace(column)
		known := slices.Contains([]string{"", "email", "groups", "note"}, meaning) || strings.HasPrefix(meaning, "attributes.") && meaning != "attributes."
		switch before, twice := means[column]; {
		case !ok || column == "" || !known:
			return nil, usageError{fmt.Errorf("--map %q: wants MEANING=COLUMN, the meaning being email, groups, note or attributes.NAME, or nothing for a column to be left out", pair)}
		case twice && before != meaning:
			return nil, usageError{fmt.Errorf("--map gives the column %q two meanings", column)}
		}
		for other, taken := range means {
			if taken == meaning && other != column && meaning != "" {
				return nil, usageError{fmt.Errorf("--map gives two columns the meaning %s", meaning)}
			}
		}
		means[column] = meaning
	}
	return means, nil
}

// An importing is one import under way.
type importing struct {
	*client
	flags importFlags
	cmd   *cobra.Command
	list  people.List

	csv    *csv.Writer
	counts map[string]int
	shown  []importedRow
}

// An importedRow is a person of the list and what is decided of them.
type importedRow struct {
	Line int `json:"line"`
	foreseen
}

func (i *importing) run() error {
	i.counts, i.csv = map[string]int{}, csv.NewWriter(i.cmd.OutOrStdout())
	i.remark()
	if len(i.list.Faults) > 0 && i.flags.apply && !i.flags.skipInvalid {
		return fmt.Errorf("%s cannot be used, and nothing was done: mend them, or add --skip-invalid to go on with the rest", count(len(i.list.Faults), "row"))
	}
	if i.asCSV {
		_ = i.csv.Write([]string{"line", "email", "effect", "words", "invitation"}) // what goes wrong, Error tells
	}
	progress, done := newProgress(i.notes, "rows"), 0
	for _, piece := range pieces(i.list.People) {
		if i.flags.apply {
			progress.report("inviting", int64(done), int64(len(i.list.People)))
		}
		if err := i.piece(piece); err != nil {
			progress.done()
			return i.stopped(err, done)
		}
		done += len(piece)
	}
	progress.done()
	return i.finish()
}

// remark says how the list was understood, and what is wrong with it.
func (i *importing) remark() {
	w, mark := i.notes, coloursFor(i.notes)
	for _, text := range i.list.Remarks {
		fmt.Fprintln(w, i.words(text))
	}
	var left []string
	for _, column := range i.list.Columns {
		if column.Means == "" {
			left = append(left, strconv.Quote(column.Name))
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(w, "These columns are left out: %s. --map attributes.NAME=COLUMN takes one along.\n", i.words(strings.Join(left, ", ")))
	}
	for _, fault := range i.list.Faults {
		fmt.Fprintf(w, "%s✗%s %s\n", mark.red, mark.off, i.words(fault.String()))
	}
	for _, double := range i.list.Doubles {
		if double.Differs {
			fmt.Fprintf(w, "%s!%s line %d: the same address as line %d, but with other groups, attributes or note: only line %d counts\n", mark.yellow, mark.off, double.Line, double.First, double.First)
		}
	}
}

// pieces divides people into what one call takes.
func pieces(all []people.Person) (parts [][]people.Person) {
	from, size := 0, 0
	for i, p := range all {
		row, _ := json.Marshal(inviteeOf(p)) // texts and numbers
		if i > from && (i-from >= mostRows || size+len(row) > mostBytes) {
			parts, from, size = append(parts, all[from:i]), i, 0
		}
		size += len(row)
	}
	if from < len(all) {
		parts = append(parts, all[from:])
	}
	return parts
}

func inviteeOf(p people.Person) invitee {
	return invitee{Email: p.Address.Full(), Groups: p.Groups, Attributes: p.Attributes, Note: p.Note}
}

// piece decides of some people, and invites those of them to whom something is to happen.
func (i *importing) piece(some []people.Person) error {
	asks := make([]invitee, len(some))
	for n, p := range some {
		asks[n] = inviteeOf(p)
	}
	rows, _, err := i.preview(i.cmd, asks)
	if err != nil {
		return err
	}
	var wanted []invitee
	var of []int
	for n := range rows {
		if rows[n].Effect == effectQueues && !i.flags.again {
			rows[n].Effect, rows[n].Words = effectLeft, fmt.Sprintf("is %s: --again sends it again", rows[n].State)
		}
		if rows[n].acts() {
			wanted, of = append(wanted, asks[n]), append(of, n)
		}
	}
	if i.flags.apply && len(wanted) > 0 {
		var answer struct {
			Rows []foreseen `json:"rows"`
		}
		if _, err := i.post(i.cmd.Context(), "/v1/invitations/batch", map[string]any{"invitations": wanted}, &answer); err != nil {
			return err
		}
		for k, row := range answer.Rows {
			if k < len(of) {
				rows[of[k]].InvitationID, rows[of[k]].State = row.InvitationID, row.State
			}
		}
	}
	for n, row := range rows {
		i.counts[row.Effect]++
		if err := i.note(importedRow{Line: some[n].Line, foreseen: row}); err != nil {
			return err
		}
	}
	return nil
}

// acts reports whether inviting somebody would change anything.
func (f foreseen) acts() bool {
	switch f.Effect {
	case effectInvites, effectHolds, effectQueues, effectReleases:
		return true
	case effectNothing:
		return f.Adds
	default:
		return false
	}
}

// note prints a row, or keeps it for the table.
func (i *importing) note(row importedRow) error {
	switch {
	case i.asJSON:
		raw, err := json.Marshal(row)
		if err != nil {
			return err
		}
		return i.jsonLine(i.cmd.OutOrStdout(), raw)
	case i.asCSV:
		number := ""
		if row.InvitationID != 0 {
			number = strconv.FormatInt(row.InvitationID, 10)
		}
		_ = i.csv.Write(escaped(strconv.Itoa(row.Line), i.address(row.Email), row.Effect, i.words(row.Words), number)) // what goes wrong, Error tells
		i.csv.Flush()
		return i.csv.Error()
	default:
		i.shown = append(i.shown, row)
		return nil
	}
}

// stopped says how to go on after a stop.
func (i *importing) stopped(err error, done int) error {
	if i.flags.apply {
		return fmt.Errorf("%w\n%d of %d rows were done before; run the same command again to go on: what is done is not done twice", err, done, len(i.list.People))
	}
	return err
}

// importOrder is in which order the dry run shows people: those first that need a look.
var importOrder = []string{effectInvalid, effectRefuses, effectHolds, effectLeft, effectQueues, effectReleases, effectInvites, effectNothing, effectDoubles}

func (i *importing) finish() error {
	out := i.cmd.OutOrStdout()
	if !i.asJSON && !i.asCSV {
		if !i.flags.apply {
			i.table(out)
		}
		i.totals(out)
	}
	if !i.flags.apply {
		fmt.Fprintln(i.notes, "Nothing was done: this is a dry run. --apply does it.")
	}
	if len(i.list.Faults) > 0 {
		return quietError(exitFailure)
	}
	return nil
}

func (i *importing) table(out io.Writer) {
	slices.SortStableFunc(i.shown, func(a, b importedRow) int {
		return cmp.Compare(slices.Index(importOrder, a.Effect), slices.Index(importOrder, b.Effect))
	})
	most := len(i.shown)
	if i.flags.rows > 0 {
		most = min(most, i.flags.rows)
	}
	t := newTable(out, "LINE", "ADDRESS", "WOULD", "GROUPS", "WHY")
	for _, row := range i.shown[:most] {
		t.add(cell{text: strconv.Itoa(row.Line)}, cell{text: i.address(row.Email)}, cell{effectTitle(row.Effect), t.c.effectColour(row.Effect)},
			cell{text: dash(joined(row.Groups))}, cell{text: i.words(row.because())})
	}
	t.flush()
	if more := len(i.shown) - most; more > 0 {
		fmt.Fprintf(out, "… and %d more; --rows 0 shows all\n", more)
	}
	fmt.Fprintln(out)
}

func effectTitle(effect string) string { return cmp.Or(effectTitles[effect], effect) }

// totals prints how many people there are of each kind.
func (i *importing) totals(out io.Writer) {
	verb := "WOULD"
	if i.flags.apply {
		verb = "DID"
	}
	t := newTable(out, verb, "PEOPLE", "MEANS")
	for _, effect := range importOrder {
		if n := i.counts[effect]; n > 0 {
			t.add(cell{effectTitle(effect), t.c.effectColour(effect)}, cell{text: strconv.Itoa(n)}, cell{text: effectMeans[effect]})
		}
	}
	if n := len(i.list.Faults); n > 0 {
		t.add(cell{"invalid", t.c.red}, cell{text: strconv.Itoa(n)}, cell{text: "the row cannot be used, see above"})
	}
	if n := len(i.list.Doubles); n > 0 {
		t.add(cell{"double", t.c.dim}, cell{text: strconv.Itoa(n)}, cell{text: "the same address stands above"})
	}
	t.flush()
}

var effectMeans = map[string]string{
	effectInvites: "a new invitation", effectHolds: "a new invitation that a person must approve", effectQueues: "it failed, expired or was revoked, and goes out again",
	effectReleases: "it was held, and goes out", effectNothing: "they have an invitation", effectRefuses: "a rule says no",
	effectLeft: "it failed, expired or was revoked: --again sends it again", effectInvalid: "cannot be used", effectDoubles: "the same address stands above",
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// escaped are cells of CSV that no spreadsheet takes for formulas.
// https://owasp.org/www-community/attacks/CSV_Injection
func escaped(cells ...string) []string {
	for i, text := range cells {
		if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
			cells[i] = "'" + text
		}
	}
	return cells
}
