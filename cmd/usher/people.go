package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// A person is an invitation as the API tells it.
type person struct {
	ID             int64             `json:"id"`
	Email          string            `json:"email"`
	State          string            `json:"state"`
	Reason         string            `json:"reason"`
	Groups         []int64           `json:"groups"`
	Attributes     map[string]string `json:"attributes"`
	LateGroups     []int64           `json:"late_groups"`
	LateAttributes map[string]string `json:"late_attributes"`
	Note           string            `json:"note"`
	Source         string            `json:"source"`
	Tries          int               `json:"tries"`
	CorrectedTo    int64             `json:"corrected_to"`
	NextTryAt      time.Time         `json:"next_try_at"` // these are zero when there is none
	SentAt         time.Time         `json:"sent_at"`
	AcceptedAt     time.Time         `json:"accepted_at"`
	ExpiresAt      time.Time         `json:"expires_at"`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
}

// stateColour is the colour of a state: green came in, red needs somebody.
func (c colours) stateColour(state string) string {
	switch ledger.State(state) {
	case ledger.Sent, ledger.Accepted:
		return c.green
	case ledger.Queued:
		return c.blue
	case ledger.Held, ledger.Expired:
		return c.yellow
	case ledger.Failed:
		return c.red
	default:
		return c.dim
	}
}

// wantPeople refuses what can be neither an address nor an invitation's id.
func wantPeople(cmd *cobra.Command, args []string) error {
	for _, who := range args {
		if err := wantPerson(cmd, who); err != nil {
			return err
		}
	}
	return nil
}

func wantPerson(cmd *cobra.Command, who string) error {
	if strings.Contains(who, "@") || isID(who) {
		return nil
	}
	return usageError{fmt.Errorf("%q is neither an address nor an invitation's id, which is a number: usher list shows them\nsee: %s --help", plain(who), cmd.CommandPath())}
}

func isID(text string) bool {
	id, err := strconv.ParseInt(text, 10, 64)
	return err == nil && id > 0
}

// errNobody means that there is no invitation of an address or an id.
var errNobody = errors.New("there is no invitation of")

// find is the invitation of an address, or of an id.
func (c *client) find(ctx context.Context, who string) (person, error) {
	var found person
	if isID(who) {
		_, err := c.byID(ctx, who, &found)
		return found, err
	}
	var page struct {
		Invitations []person `json:"invitations"`
	}
	if _, err := c.get(ctx, "/v1/invitations?limit=1&email="+url.QueryEscape(who), &page); err != nil {
		return found, err
	}
	if len(page.Invitations) == 0 {
		return found, fmt.Errorf("%w %s; usher list --search finds by how an address begins", errNobody, c.address(who))
	}
	return page.Invitations[0], nil
}

// byID asks for all that is known of one invitation.
func (c *client) byID(ctx context.Context, id string, into any) (json.RawMessage, error) {
	raw, err := c.get(ctx, "/v1/invitations/"+id, into)
	if isRefusal(err, http.StatusNotFound) {
		return nil, fmt.Errorf("%w the id %s; usher list shows all", errNobody, id)
	}
	return raw, err
}

// name is what a command calls somebody: as they were named on the command line.
func (c *client) name(who string) string {
	if isID(who) {
		return "invitation " + who
	}
	return c.address(who)
}

// toEach does the same to several people. One that is refused does not keep the others.
func (c *client) toEach(cmd *cobra.Command, people []string, do func(who string) error) error {
	var failed error
	for _, who := range people {
		if err := do(who); err != nil {
			if cmd.Context().Err() != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s✗%s %s: %v\n", coloursFor(cmd.ErrOrStderr()).red, coloursFor(cmd.ErrOrStderr()).off, c.name(who), err)
			failed = quietError(exitFailure)
		}
	}
	return failed
}

// act makes a call about one person's invitation and prints what became of it.
func (c *client) act(cmd *cobra.Command, who, what string) error {
	found, err := c.find(cmd.Context(), who)
	if err != nil {
		return err
	}
	var after person
	raw, err := c.post(cmd.Context(), fmt.Sprintf("/v1/invitations/%d/%s", found.ID, what), nil, &after)
	if err != nil {
		return err
	}
	return c.report(cmd.OutOrStdout(), after, raw)
}

// report prints what became of an invitation.
func (c *client) report(w io.Writer, after person, raw json.RawMessage) error {
	if c.asJSON {
		return c.jsonLine(w, raw)
	}
	why := ""
	if after.Reason != "" {
		why = ": " + c.words(after.Reason)
	}
	mark := coloursFor(w)
	fmt.Fprintf(w, "%s✓%s %s (invitation %d) is %s%s%s%s\n", mark.green, mark.off, c.address(after.Email), after.ID, mark.stateColour(after.State), after.State, mark.off, why)
	return nil
}

// confirm asks before many things are changed at once. Where nobody can be asked, --yes must say so.
func confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !isTerminal(in) {
		return usageError{fmt.Errorf("%s Add --yes to say so: there is no terminal to ask at", question)}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s Go on? [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // no answer is a no
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// count asks how many invitations are in a state.
func (c *client) count(ctx context.Context, state string) (int64, error) {
	var summary struct {
		Invitations map[string]int64 `json:"invitations"`
	}
	_, err := c.get(ctx, "/v1/summary", &summary)
	return summary.Invitations[state], err
}

// parseSince reads how long ago, such as 30d or 36h, or leaves a day or a moment to the API.
func parseSince(text string, now time.Time) (string, error) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n).UTC().Format(time.RFC3339), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UTC().Format(time.RFC3339), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if _, err := time.Parse(form, text); err == nil {
			return text, nil
		}
	}
	return "", usageError{fmt.Errorf("--since %q is no time: give a day such as 2026-11-24, a moment such as 2026-11-24T01:35:00Z, or how long ago, such as 30d or 36h", text)}
}

func stateNames() (names []string) {
	for _, state := range ledger.States() {
		names = append(names, string(state))
	}
	return names
}

// wantState refuses what is no state of an invitation.
func wantState(state string) error {
	if state != "" && !slices.Contains(stateNames(), state) {
		return usageError{fmt.Errorf("--state %q is no state: %sone of %s", state, config.DidYouMean(state, stateNames()), strings.Join(stateNames(), ", "))}
	}
	return nil
}

// completeSources offers the sources of the configuration to the shell.
func completeSources(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, _ := config.Load(configOptions(cmd))
	return append(slices.Sorted(maps.Keys(cfg.Sources)), "api"), cobra.ShellCompDirectiveNoFileComp
}

// wantAddress refuses what is no address before anything is done, saying which part of it is wrong.
func wantAddress(text string) error {
	_, err := access.ParseAddress(text)
	var wrong *access.AddressError
	if errors.As(err, &wrong) {
		return usageError{fmt.Errorf("the address %s cannot be used: its %s %s; %s", access.Mask(text), wrong.Part, wrong.Problem, wrong.Mend)}
	}
	return err
}
