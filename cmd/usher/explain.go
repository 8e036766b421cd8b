package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func newExplain() *cobra.Command {
	var f clientFlags
	var source string
	var isEvent bool
	cmd := &cobra.Command{
		Use:   "explain EVENT|ADDRESS|ID",
		Short: "Tell why something did or did not happen, as a story",
		Long: `Explain tells what became of an event, or of a person, step by step: what came, where its address was read, what
was decided and why, every call to Retool with the answer, what people did, and what comes next.

EVENT is the sender's own id, such as Stripe's evt_…, or Usher's number with --event. A bare number is an
invitation's id. Two senders may use the same id: --source says whose is meant. Times are in the local time zone.

Exit status 1 when nothing is known of it: then it was never received, or its signature failed; see Usher's log.`,
		Example: `  usher explain evt_1Q2w3E4r5T6y7U8i
  usher explain ada@example.com
  usher explain 7 --json
  usher explain 12345 --source hubspot`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || strings.TrimSpace(args[0]) == "" {
				return usageError{fmt.Errorf("name one event, address or invitation\nsee: %s --help", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, f, func(c *client) error { return c.explain(cmd, args[0], source, isEvent) })
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&source, "source", "", "the source whose event is meant")
	cmd.Flags().BoolVar(&isEvent, "event", false, "it is an event, not an invitation")
	_ = cmd.RegisterFlagCompletionFunc("source", completeSources) // the flag is there
	return cmd
}

// explain tells of an address or an invitation's id, else of an event.
func (c *client) explain(cmd *cobra.Command, what, source string, isEvent bool) error {
	if isEvent = isEvent || source != ""; !isEvent && (strings.Contains(what, "@") || isID(what)) {
		var p toldPerson
		raw, err := c.read(cmd, what, &p)
		switch {
		case err == nil:
			return c.tellPerson(cmd, p, raw)
		case isID(what) || !errors.Is(err, errNobody): // some senders' ids have an @ in them
			return err
		}
	}
	var e toldEvent
	query := ""
	if source != "" {
		query = "?source=" + url.QueryEscape(source)
	}
	raw, err := c.get(cmd.Context(), "/v1/events/"+url.PathEscape(what)+query, &e)
	if isRefusal(err, http.StatusNotFound) {
		return fmt.Errorf("nothing is known of %s: no event with this id was received, or its signature failed; then Usher's log has the reason", c.words(what))
	}
	if err != nil {
		return err
	}
	return c.tellEvent(cmd, e, raw)
}

// A step is one thing that happened, or what comes next, as the API tells it.
type step struct {
	At         time.Time `json:"at"` // zero: nobody knows
	Kind       string    `json:"kind"`
	Tone       string    `json:"tone"`
	Title      string    `json:"title"`
	Detail     string    `json:"detail"`
	Reason     string    `json:"reason"`
	Event      int64     `json:"event"`
	Invitation int64     `json:"invitation"`
}

// stepNext is the kind of the step that says what comes.
const stepNext = "next"

// A toldPerson is an invitation with its story.
type toldPerson struct {
	person
	Timeline []step `json:"timeline"`
}

// A toldEvent is an event with its story.
type toldEvent struct {
	ID    int64 `json:"id"`
	Event struct {
		Source string `json:"source"`
		ID     string `json:"id"`
	} `json:"event"`
	Decision *struct {
		Invitation int64 `json:"invitation"`
	} `json:"decision"`
	Timeline []step `json:"timeline"`
}

// tellPerson tells the story of an invitation.
func (c *client) tellPerson(cmd *cobra.Command, p toldPerson, raw json.RawMessage) error {
	if c.asJSON {
		return c.jsonLine(cmd.OutOrStdout(), raw)
	}
	c.title(cmd.OutOrStdout(), p.person)
	c.tell(cmd.OutOrStdout(), p.Timeline)
	return nil
}

func (c *client) title(out io.Writer, p person) {
	mark := coloursFor(out)
	fmt.Fprintf(out, "%s%s%s  %s%s%s  invitation %d\n\n", mark.bold, c.address(p.Email), mark.off, mark.stateColour(p.State), p.State, mark.off, p.ID)
}

// tellEvent tells the story of an event, and how that of its invitation goes on.
func (c *client) tellEvent(cmd *cobra.Command, e toldEvent, raw json.RawMessage) error {
	out := cmd.OutOrStdout()
	if c.asJSON {
		return c.jsonLine(out, raw)
	}
	mark := coloursFor(out)
	fmt.Fprintf(out, "%sEvent %s of %s%s  number %d\n\n", mark.bold, c.words(e.Event.ID), plain(e.Event.Source), mark.off, e.ID)
	if e.Decision == nil || e.Decision.Invitation == 0 {
		c.tell(out, e.Timeline)
		return nil
	}
	var p toldPerson
	if _, err := c.get(cmd.Context(), fmt.Sprintf("/v1/invitations/%d", e.Decision.Invitation), &p); err != nil {
		return err
	}
	c.tell(out, slices.DeleteFunc(e.Timeline, func(s step) bool { return s.Kind == stepNext }))
	fmt.Fprintln(out)
	c.title(out, p.person)
	c.tell(out, slices.DeleteFunc(p.Timeline, func(s step) bool { return s.Event == e.ID }))
	return nil
}

// tones are the marks of steps.
func (c colours) tone(s step) (mark, colour string) {
	switch {
	case s.Tone == "good":
		return "✓", c.green
	case s.Tone == "bad":
		return "✗", c.red
	case s.Tone == "warn":
		return "!", c.yellow
	case s.Kind == stepNext:
		return "→", c.bold
	default:
		return "·", c.dim
	}
}

// tell prints steps: when, what, and in words.
func (c *client) tell(out io.Writer, steps []step) {
	margin := len(time.DateTime) + 2*gap
	mark, width := coloursFor(out), terminalWidth(out)
	for _, s := range steps {
		sign, colour := mark.tone(s)
		when := strings.Repeat(" ", len(time.DateTime))
		if !s.At.IsZero() {
			when = s.At.Local().Format(time.DateTime)
		}
		title := c.words(s.Title)
		if s.Reason != "" {
			title += " (" + plain(s.Reason) + ")"
		}
		if s.Invitation != 0 {
			title += fmt.Sprintf(" → invitation %d", s.Invitation)
		}
		fmt.Fprintf(out, "%s%s%s  %s%s %s%s\n", mark.dim, when, mark.off, colour, sign, title, mark.off)
		for _, line := range wrapped(c.words(s.Detail), width-margin) {
			fmt.Fprintf(out, "%s%s\n", strings.Repeat(" ", margin), line)
		}
	}
}

// wrapped breaks a text into lines of a width, between words; where there is no terminal it is one line.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && width > 0 && utf8.RuneCountInString(line+" "+word) > max(30, width) {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	if line == "" {
		return lines
	}
	return append(lines, line)
}
