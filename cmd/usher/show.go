package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newShow() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "show ADDRESS|ID",
		Short: "Show one invitation, with its events and attempts",
		Long: `Show prints all that is known of one invitation: how far it got and why, the events that spoke of its address,
and every call to Retool with the answer. Times are in the local time zone. With --json it is the API's answer.

usher explain tells the same as a story.

Exit status 1 when there is no such invitation.`,
		Example: `  usher show ada@example.com
  usher show 7 --full --json | jq .attempts`,
		Args: onePerson,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, f, func(c *client) error { return c.show(cmd, args[0]) })
		},
	}
	f.register(cmd)
	return cmd
}

// onePerson wants exactly one address or id.
func onePerson(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one address, or the id of one invitation\nsee: %s --help", cmd.CommandPath())}
	}
	return wantPerson(cmd, args[0])
}

// A shownPerson is an invitation with what led to it and what was done for it.
type shownPerson struct {
	person
	Events []struct {
		ID         int64     `json:"id"`
		RecordedAt time.Time `json:"recorded_at"`
		Event      struct {
			Source string `json:"source"`
			Type   string `json:"type"`
		} `json:"event"`
		Decision *struct {
			Outcome  string `json:"outcome"`
			Sentence string `json:"sentence"`
		} `json:"decision"`
	} `json:"events"`
	Attempts []struct {
		Kind       string    `json:"kind"`
		StartedAt  time.Time `json:"started_at"`
		DurationMS int64     `json:"duration_ms"`
		Status     int       `json:"status"`
		Outcome    string    `json:"outcome"`
		Message    string    `json:"message"`
	} `json:"attempts"`
}

// read asks for all that is known of somebody.
func (c *client) read(cmd *cobra.Command, who string, into any) (json.RawMessage, error) {
	if isID(who) {
		return c.byID(cmd.Context(), who, into)
	}
	found, err := c.find(cmd.Context(), who)
	if err != nil {
		return nil, err
	}
	return c.byID(cmd.Context(), strconv.FormatInt(found.ID, 10), into)
}

func (c *client) show(cmd *cobra.Command, who string) error {
	var p shownPerson
	raw, err := c.read(cmd, who, &p)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if c.asJSON {
		return c.jsonLine(out, raw)
	}
	c.facts(out, p.person)
	mark := coloursFor(out)
	fmt.Fprintf(out, "\n%sEvents%s\n", mark.bold, mark.off)
	events := newTable(out, "ID", "RECEIVED", "SOURCE", "TYPE", "DECIDED", "WHY")
	for _, e := range p.Events {
		decided, why := "–", ""
		if e.Decision != nil {
			decided, why = e.Decision.Outcome, e.Decision.Sentence
		}
		events.add(cell{text: strconv.FormatInt(e.ID, 10)}, cell{text: clock(e.RecordedAt)}, cell{text: plain(e.Event.Source)}, cell{text: plain(e.Event.Type)}, cell{text: decided}, cell{text: c.words(why)})
	}
	events.flush()
	fmt.Fprintf(out, "\n%sAttempts%s\n", mark.bold, mark.off)
	if len(p.Attempts) == 0 {
		fmt.Fprintln(out, "none yet")
		return nil
	}
	attempts := newTable(out, "AT", "CALL", "OUTCOME", "STATUS", "TOOK", "RETOOL SAYS")
	for _, a := range p.Attempts {
		attempts.add(cell{text: clock(a.StartedAt)}, cell{text: a.Kind}, cell{text: a.Outcome}, cell{text: strconv.Itoa(a.Status)},
			cell{text: fmt.Sprintf("%d ms", a.DurationMS)}, cell{text: c.words(a.Message)})
	}
	attempts.flush()
	return nil
}

// facts prints an invitation, a line for each thing that there is to say.
func (c *client) facts(out io.Writer, p person) {
	mark := coloursFor(out)
	fmt.Fprintf(out, "%s%s%s  %s%s%s  invitation %d\n", mark.bold, c.address(p.Email), mark.off, mark.stateColour(p.State), p.State, mark.off, p.ID)
	line := func(name, value string) {
		if value != "" && value != "–" {
			fmt.Fprintf(out, "  %-13s %s\n", name, value)
		}
	}
	line("why", c.words(p.Reason))
	line("source", plain(p.Source))
	line("note", c.words(p.Note))
	line("groups", joined(p.Groups))
	line("attributes", c.pairs(p.Attributes))
	if len(p.LateGroups) > 0 {
		line("groups to add", joined(p.LateGroups)+": by hand in Retool, which takes groups only with the invite")
	}
	line("still to tell", c.pairs(p.LateAttributes))
	line("created", moment(p.CreatedAt))
	line("sent", moment(p.SentAt))
	line("came in", moment(p.AcceptedAt))
	line("expires", moment(p.ExpiresAt))
	line("next try", moment(p.NextTryAt))
	if p.Tries > 0 {
		line("tries", strconv.Itoa(p.Tries))
	}
	if p.CorrectedTo != 0 {
		line("corrected to", fmt.Sprintf("invitation %d", p.CorrectedTo))
	}
}

// moment is a moment to the second, with its time zone.
func moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05 MST")
}

func joined(list []int64) string {
	var texts []string
	for _, n := range list {
		texts = append(texts, strconv.FormatInt(n, 10))
	}
	return strings.Join(texts, ", ")
}

func (c *client) pairs(m map[string]string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		texts = append(texts, c.words(name+"="+m[name]))
	}
	return strings.Join(texts, ", ")
}
