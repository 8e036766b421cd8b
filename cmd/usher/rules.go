package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Try rules before they decide about anybody",
		Example: `  usher rules test --config new.yaml
  usher rules test --since 30d`,
		Args: func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("rules wants test\nsee: %s --help", cmd.CommandPath())}
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(newRulesTest())
	return cmd
}

// rulesFlags are what "usher rules test" was asked for.
type rulesFlags struct {
	clientFlags
	changed, since   string
	limit            int
	failOnDifference bool
}

func newRulesTest() *cobra.Command {
	var f rulesFlags
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Show what a changed configuration would have decided differently",
		Long: `Test reads all that senders told of, decides it anew by the access, domains and sources of a changed
configuration, and shows what would be decided differently from the decision that holds today. It writes
nothing, asks no sender, and invites nobody: an Usher may serve from the ledger meanwhile.

Here --config names the changed file, which need not be whole: secrets and Retool's settings are not
needed. Without it the configuration in force is tried: what then differs was decided under earlier
rules. The configuration in force says where the ledger is: --current, else $USHER_CONFIG, else
usher.yaml where there is one.

With --url a running Usher tries it, for at most half a minute; there, parts that the file leaves out
stay as they run.

Exit status 0 with and without differences, 1 with differences and --fail-on-difference, and where the
ledger cannot be read; 2 when the command line or a configuration is wrong.`,
		Example: `  usher rules test --config new.yaml --since 30d
  usher rules test --config new.yaml --fail-on-difference --json
  usher rules test                  # would a replay decide anything anew?`,
		RunE: func(cmd *cobra.Command, _ []string) error { return rulesTest(cmd, f) },
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.changed, "config", "c", "", "the changed configuration file (default: the one in force)")
	flags.String("current", "", "the configuration file in force (default: $USHER_CONFIG, else usher.yaml where there is one)")
	flags.StringVar(&f.since, "since", "", "only what came since then: 2026-11-24, or how long ago, such as 30d or 36h (default: all)")
	flags.IntVar(&f.limit, "limit", 200, "how many differences to show at most; --csv shows all")
	flags.BoolVar(&f.asCSV, "csv", false, "print all differences as CSV, without the totals")
	flags.BoolVar(&f.failOnDifference, "fail-on-difference", false, "exit with status 1 where anything would be decided differently")
	for _, file := range []string{"config", "current"} {
		_ = cmd.MarkFlagFilename(file, "yaml", "yml") // the flags are there
	}
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

func rulesTest(cmd *cobra.Command, f rulesFlags) error {
	if f.limit < 1 {
		return usageError{fmt.Errorf("--limit %d: wants a whole number from 1 on", f.limit)}
	}
	since, err := handlers.ParseSince(f.since, time.Now())
	if err != nil {
		return usageError{fmt.Errorf("--since %q: %w", plain(f.since), err)}
	}
	if !cmd.Flags().Changed("url") {
		f.url = os.Getenv("USHER_URL")
	}
	var found handlers.RulesTest
	if f.url != "" {
		found, err = f.testThere(cmd, since)
	} else {
		found, err = f.testHere(cmd, since)
	}
	if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
		return errors.New("stopped; nothing was changed")
	}
	if err != nil {
		return err
	}
	if err := f.print(cmd, found); err != nil {
		return err
	}
	if f.failOnDifference && found.Different > 0 {
		return quietError(exitFailure)
	}
	return nil
}

// testHere reads the ledger of the configuration in force.
func (f *rulesFlags) testHere(cmd *cobra.Command, since time.Time) (handlers.RulesTest, error) {
	address, err := databaseOf(cmd)
	if err != nil {
		return handlers.RulesTest{}, err
	}
	tried, changed, problems := f.load(cmd)
	if len(problems) > 0 {
		printProblems(cmd.ErrOrStderr(), problems)
		return handlers.RulesTest{}, quietError(exitUsage)
	}
	book, err := ledger.OpenReadOnly(cmd.Context(), address.Reveal(), ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	switch {
	case errors.Is(err, ledger.ErrNoLedger):
		return handlers.RulesTest{}, usageError{fmt.Errorf("%w\nthe configuration in force says where the ledger is: name its file by --current, or set DATABASE_URL", err)}
	case err != nil:
		return handlers.RulesTest{}, asUsage(err)
	}
	defer book.Close() //nolint:errcheck // nothing was written that a failure to close could lose
	useRoom()
	r := tried.rehearser(book)
	bar, begun := newProgress(cmd.ErrOrStderr(), "looked through"), time.Now()
	r.Hands, r.Progress = runtime.NumCPU(), func(step string, done, total int64) {
		if time.Since(begun) > 2*time.Second { // what is done at once needs no progress
			bar.report(step, done, total)
		}
	}
	shown := &handlers.Weightiest{Limit: f.limit}
	report, end := shown.Add, func() error { return nil }
	if f.asCSV {
		out := f.csv(cmd.OutOrStdout())
		end = func() error { out.Flush(); return out.Error() }
		report = func(d ledger.Difference) error { return out.Write(f.row(handlers.NewRuleDifference(d))) }
	}
	result, err := r.Rehearse(cmd.Context(), since, report)
	bar.done()
	err = errors.Join(err, end())
	return handlers.NewRulesTest(result, changed, shown.List(), time.Since(begun)), err
}

// load reads the configuration to try. The one in force need only be right where it is the one.
func (f *rulesFlags) load(cmd *cobra.Command) (tried *parts, changed []string, problems config.Problems) {
	running, problems := loadToRead(configOptions(cmd), nil)
	if f.changed == "" {
		return running, nil, problems
	}
	tried, problems = loadToRead(config.Options{File: f.changed, Env: os.Environ()}, running)
	return tried, decidingParts, problems
}

// testThere has a running Usher do it.
func (f *rulesFlags) testThere(cmd *cobra.Command, since time.Time) (found handlers.RulesTest, err error) {
	method, body := http.MethodGet, []byte(nil)
	if f.changed != "" {
		if body, err = os.ReadFile(f.changed); err != nil {
			return found, usageError{err}
		}
		method = http.MethodPost
	}
	limit := min(f.limit, mostThere)
	if f.asCSV {
		limit = mostThere
	}
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	err = withClient(cmd, f.clientFlags, func(c *client) error {
		answer, err := c.insist(cmd.Context(), method, "/v1/rules/test?"+query.Encode(), "", body)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		return json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&found)
	})
	if isRefusal(err, http.StatusUnprocessableEntity) {
		return found, usageError{err}
	}
	if err == nil && f.asCSV {
		out := f.csv(cmd.OutOrStdout())
		for _, d := range found.Differences {
			_ = out.Write(f.row(d)) // what goes wrong, Error tells
		}
		out.Flush()
		err = out.Error()
		if left := found.Different - int64(len(found.Differences)); left > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "usher: %d more differences are not shown: over the network at most %d are; run it where the ledger is\n", left, mostThere)
		}
	}
	return found, err
}

// mostThere is how many differences the API shows at most.
const mostThere = 1000

func (f *rulesFlags) csv(w io.Writer) *csv.Writer {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"event", "delivery", "sender_id", "source", "type", "at", "email", "today", "today_reason", "then", "then_reason", "by", "effect", "means", "sentence", "invitation", "state"}) // a later Write tells
	return out
}

func (f *rulesFlags) row(d handlers.RuleDifference) []string {
	at := ""
	if d.At != nil {
		at = d.At.Format(time.RFC3339)
	}
	number := func(id int64) string {
		if id == 0 {
			return ""
		}
		return strconv.FormatInt(id, 10)
	}
	return escaped(number(d.Event), number(d.Delivery), f.words(d.SenderID), d.Source, f.words(d.Type), at, f.address(d.Email), string(d.Today.Outcome), string(d.Today.Reason),
		string(d.Then.Outcome), string(d.Then.Reason), string(d.By), string(d.Effect), d.Means, f.words(d.Then.Sentence), number(d.Invitation), string(d.State))
}

func (f *rulesFlags) print(cmd *cobra.Command, found handlers.RulesTest) error {
	switch out := cmd.OutOrStdout(); {
	case f.asCSV:
		return nil
	case f.asJSON:
		raw, err := json.Marshal(found)
		if err != nil {
			return err
		}
		return f.jsonLine(out, raw)
	default:
		f.printDifferences(out, found)
		f.printTotals(out, found)
		return nil
	}
}

// printDifferences prints a row for each, and below it why, and what it means.
func (f *rulesFlags) printDifferences(w io.Writer, found handlers.RulesTest) {
	if len(found.Differences) == 0 {
		return
	}
	t := newTable(w, "EVENT", "SOURCE", "ADDRESS", "TODAY → THEN")
	for _, d := range found.Differences {
		t.add(cell{text: f.words(d.SenderID)}, cell{text: d.Source}, cell{text: dash(f.address(d.Email))}, cell{outcomes(d.Today.Outcome, d.Then.Outcome, d.By), t.c.bold})
	}
	t.begin()
	for i, d := range found.Differences {
		t.line(t.rows[i])
		fmt.Fprintf(w, "    %s%s %s%s\n", t.c.dim, f.words(d.Then.Sentence), d.Means, t.c.off)
	}
	if rest := found.Different - int64(len(found.Differences)); rest > 0 {
		fmt.Fprintf(w, "… and %d more; --limit shows more, --csv all.\n", rest)
	}
	fmt.Fprintln(w)
}

func outcomes[T ~string](today, then T, by ledger.ChangeOf) string {
	text := string(today) + " → " + string(then)
	if what := otherWords[by]; what != "" {
		text += ", " + what
	}
	return strings.ReplaceAll(text, "_", " ")
}

var otherWords = map[ledger.ChangeOf]string{
	ledger.ChangeOfAddress: "another address", ledger.ChangeOfGroups: "more groups", ledger.ChangeOfAttributes: "other attributes",
	ledger.ChangeOfReason: "for another reason",
}

func (f *rulesFlags) printTotals(w io.Writer, found handlers.RulesTest) {
	c := coloursFor(w)
	since := ""
	if found.Since != nil {
		since = " since " + clock(*found.Since)
	}
	verdict := fmt.Sprintf("%d would be decided differently", found.Different)
	if found.Different == 0 {
		verdict = "nothing would be decided differently"
	}
	fmt.Fprintf(w, "%s%d events in %d deliveries%s: %s.%s\n", c.bold, found.Events, found.Deliveries, since, verdict, c.off)
	for _, kind := range found.Kinds {
		fmt.Fprintf(w, "  %8d  %s\n", kind.Events, outcomes(kind.Today, kind.Then, kind.By))
	}
	if len(found.Effects) > 0 {
		fmt.Fprintln(w, "The rules decide about what comes from now on. If what came was replayed:")
	}
	for _, effect := range found.Effects {
		fmt.Fprintf(w, "  %8d  %s\n", effect.Events, effect.Words())
	}
	for _, lacking := range found.Lacking {
		fmt.Fprintf(w, "%s%d events of the source %q were not looked at: this configuration has no such source.%s\n", c.yellow, lacking.Events, lacking.Source, c.off)
	}
	for _, one := range []struct {
		n    int64
		text string
	}{
		{found.SetAside.WouldBeDecided, "deliveries that were set aside could be decided: replay them."},
		{found.SetAside.WouldStay, "deliveries that were set aside still could not be decided."},
		{found.FromDetails, "events were decided by what the ledger keeps of them: retention removed what was sent, or a person asked."},
		{found.Waiting, "wait for their first decision, and could not be compared."},
	} {
		if one.n > 0 {
			fmt.Fprintf(w, "%d %s\n", one.n, one.text)
		}
	}
	if !found.Complete {
		fmt.Fprintf(w, "%sHalf a minute was not enough for all of it: these are the newest. Choose a later --since, or run the command beside the ledger, without --url.%s\n", c.yellow, c.off)
	}
	fmt.Fprintln(w, "Nothing was written, and nobody was invited.")
}
