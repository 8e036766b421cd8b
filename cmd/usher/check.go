package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/retoolclient"
)

// A finding is one line of "usher check".
type finding struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Warning bool   `json:"warning,omitempty"`
	Detail  string `json:"detail"`
	Mend    string `json:"mend,omitempty"`
}

func newCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Try the configuration, the ledger and Retool",
		Long: `Check validates the configuration, opens the ledger, proves that a commit reaches the disk, calls
Retool's health, and makes one authenticated read. It invites nobody.

Exit status 2 when the configuration is wrong, 1 when anything else is ✗.`,
		Example: `  usher check
  usher check --config usher.yaml --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := check(cmd.Context(), configOptions(cmd))
			failed := printFindings(cmd.OutOrStdout(), findings, asJSON)
			switch {
			case !findings[0].OK: // the configuration, which is looked at first
				return quietError(exitUsage)
			case failed:
				return quietError(exitFailure)
			default:
				return nil
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

// check goes as far as it can: what depends on something broken is left out.
func check(ctx context.Context, o config.Options) []finding {
	p, problems := load(o, io.Discard)
	var found []finding
	for _, problem := range problems {
		place := problem
		place.Mend = ""
		found = append(found, finding{Name: "configuration", Detail: place.String(), Mend: problem.Mend})
	}
	if len(problems) > 0 {
		return found
	}
	found = append(found, finding{Name: "configuration", OK: true, Detail: fmt.Sprintf("valid, %d source(s)", len(p.sources))})
	for _, w := range p.warnings() {
		place := w
		place.Mend = ""
		found = append(found, finding{Name: "configuration", OK: true, Warning: true, Detail: place.String(), Mend: w.Mend})
	}
	for _, name := range slices.Sorted(maps.Keys(p.sources)) {
		found = append(found, finding{Name: "source " + name, OK: true, Detail: p.describe(name) + ", at " + p.address(name, p.config.Listen)})
	}
	found = append(found, checkLedger(ctx, p)...)
	return append(found, checkRetool(ctx, p)...)
}

func checkLedger(ctx context.Context, p *parts) []finding {
	book, err := ledger.Open(ctx, p.config.Database.Reveal(), ledger.Options{Logger: p.log})
	if err != nil {
		return []finding{{Name: "ledger", Detail: err.Error(), Mend: ledgerMend(err)}}
	}
	defer book.Close() //nolint:errcheck // nothing was written that a failure to close could lose
	found := []finding{{Name: "ledger", OK: true, Detail: "opened " + p.config.Database.String() + ", its schema is current"}}
	start := time.Now()
	if err := book.ProveWrite(ctx); err != nil {
		return append(found, finding{Name: "disk", Detail: err.Error(), Mend: ledgerMend(err)})
	}
	return append(found, finding{Name: "disk", OK: true, Detail: fmt.Sprintf("a commit with fsync took %s", time.Since(start).Round(10*time.Microsecond))})
}

func ledgerMend(err error) string {
	switch {
	case errors.Is(err, ledger.ErrNewerSchema), errors.Is(err, ledger.ErrUnsupported), errors.Is(err, ledger.ErrUnreachable):
		return "see the sentence before"
	case errors.Is(err, ledger.ErrUnwritable):
		return "give the folder of the database free space and write permission, or set database to another path; for Postgres see the sentence before"
	default:
		return "set database to a path that can be written, such as sqlite:///data/usher.db"
	}
}

func checkRetool(ctx context.Context, p *parts) []finding {
	var found []finding
	if health, err := p.retool.Health(ctx); err != nil {
		found = append(found, retoolFinding("Retool's health", err))
	} else {
		found = append(found, finding{Name: "Retool's health", OK: true, Detail: "answers, version " + health.Version})
	}
	invites, err := p.retool.Invites(ctx)
	switch {
	case err == nil:
		return append(found, finding{Name: "Retool's API", OK: true, Detail: fmt.Sprintf("the token may read invites; there are %d", len(invites))})
	case errors.Is(err, retoolclient.ErrPlan) && p.config.Retool.API != string(retoolclient.APIV2):
		one := retoolFinding("Retool's API", err)
		one.OK, one.Warning = true, true
		one.Mend = "this is your plan's limit, not a mistake: Usher will invite by the bulk call. It cannot look up invites there, so that after a time-out only Retool's own refusal of doubles guards against a second invite"
		return append(found, one)
	default:
		return append(found, retoolFinding("Retool's API", err))
	}
}

func retoolFinding(name string, err error) finding {
	found := finding{Name: name, Detail: err.Error(), Mend: "set retool.url and retool.token, and see that Retool can be reached from here"}
	var refused *retoolclient.Error
	if errors.As(err, &refused) && refused.Advice != "" {
		found.Mend = refused.Advice
	}
	return found
}

func printFindings(w io.Writer, findings []finding, asJSON bool) (failed bool) {
	for _, f := range findings {
		failed = failed || !f.OK
	}
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(map[string]any{"ok": !failed, "checks": findings})
		return failed
	}
	c := coloursFor(w)
	for _, f := range findings {
		mark := c.green + "✓" + c.off
		switch {
		case !f.OK:
			mark = c.red + "✗" + c.off
		case f.Warning:
			mark = c.yellow + "!" + c.off
		}
		fmt.Fprintf(w, "%s %-16s %s\n", mark, f.Name, f.Detail)
		if f.Mend != "" {
			fmt.Fprintf(w, "  %16s → %s\n", "", f.Mend)
		}
	}
	return failed
}
