package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/internal/ledger"
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
		var p shownPerson
		raw, err := c.read(cmd, what, &p)
		switch {
		case err == nil:
			return c.tellPerson(cmd, p, raw)
		case isID(what) || !errors.Is(err, errNobody): // some senders' ids have an @ in them
			return err
		}
	}
	var e shownWebhook
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

// tellPerson tells the story of an invitation: what came, what was decided, what was done.
func (c *client) tellPerson(cmd *cobra.Command, p shownPerson, raw json.RawMessage) error {
	out := cmd.OutOrStdout()
	if c.asJSON {
		return c.jsonLine(out, raw)
	}
	mark := coloursFor(out)
	fmt.Fprintf(out, "%s%s%s  %s%s%s  invitation %d\n\n", mark.bold, c.address(p.Email), mark.off, mark.stateColour(p.State), p.State, mark.off, p.ID)
	var steps []step
	for _, e := range p.Events {
		steps = append(steps, e.steps(mark)...)
	}
	c.tell(out, append(steps, p.calls(mark)...))
	return nil
}

// tellEvent tells the story of an event, and of the invitation that it spoke for.
func (c *client) tellEvent(cmd *cobra.Command, e shownWebhook, raw json.RawMessage) error {
	out := cmd.OutOrStdout()
	if c.asJSON {
		return c.jsonLine(out, raw)
	}
	mark := coloursFor(out)
	fmt.Fprintf(out, "%sEvent %s of %s%s  number %d\n\n", mark.bold, c.words(e.Event.ID), plain(e.Event.Source), mark.off, e.ID)
	steps := e.steps(mark)
	if e.Decision != nil && e.Decision.Invitation != 0 {
		var p shownPerson
		if _, err := c.get(cmd.Context(), fmt.Sprintf("/v1/invitations/%d", e.Decision.Invitation), &p); err != nil {
			return err
		}
		steps = append(steps, step{what: "for", text: fmt.Sprintf("invitation %d of %s", p.ID, p.Email)})
		steps = append(steps, p.calls(mark)...)
	}
	c.tell(out, steps)
	return nil
}

// A shownWebhook is an event as the API tells it.
type shownWebhook struct {
	ID         int64     `json:"id"`
	Delivery   int64     `json:"delivery"`
	RecordedAt time.Time `json:"recorded_at"`
	Resends    int       `json:"resends"`
	SameIDAs   int64     `json:"same_id_as"`
	Event      struct {
		Source    string `json:"source"`
		Type      string `json:"type"`
		ID        string `json:"id"`
		Email     string `json:"email"`
		EmailFrom string `json:"email_from"`
	} `json:"event"`
	Waiting  bool            `json:"waiting_for_look_up"`
	Decision *shownDecision  `json:"decision"`
	Earlier  []shownDecision `json:"earlier_decisions"`
	LookUps  []shownAttempt  `json:"look_ups"`
}

type shownDecision struct {
	Outcome    string    `json:"outcome"`
	Reason     string    `json:"reason"`
	Sentence   string    `json:"sentence"`
	Rule       *int      `json:"rule"`
	Invitation int64     `json:"invitation"`
	DecidedAt  time.Time `json:"decided_at"`
}

type shownAttempt struct {
	Kind       string    `json:"kind"`
	StartedAt  time.Time `json:"started_at"`
	DurationMS int64     `json:"duration_ms"`
	Status     int       `json:"status"`
	Outcome    string    `json:"outcome"`
	Message    string    `json:"message"`
}

// A step is one thing that happened, in words.
type step struct {
	at           time.Time // zero: at the moment of the step before
	what, colour string
	text         string
}

// steps are what became of an event.
func (e shownWebhook) steps(mark colours) (all []step) {
	came := fmt.Sprintf("%s of the sender %s came, as delivery %d; its signature was right", e.Event.Type, e.Event.Source, e.Delivery)
	if e.Delivery == 0 {
		came = "a person asked for it, by hand"
	}
	all = append(all, step{e.RecordedAt, "received", mark.blue, came})
	if e.SameIDAs != 0 {
		all = append(all, step{what: "note", text: fmt.Sprintf("the sender had given the same id to another event, number %d", e.SameIDAs)})
	}
	if e.Resends > 0 {
		all = append(all, step{what: "again", text: "the sender sent it again: " + count(e.Resends, "time")})
	}
	for _, a := range e.LookUps {
		all = append(all, a.step("asked the sender for the address", mark))
	}
	switch {
	case e.Event.EmailFrom != "":
		all = append(all, step{what: "address", text: fmt.Sprintf("read from %s: %s", e.Event.EmailFrom, e.Event.Email)})
	case e.Event.Email != "":
		all = append(all, step{what: "address", text: e.Event.Email})
	}
	for _, d := range e.Earlier {
		all = append(all, d.step(mark))
	}
	if e.Decision != nil {
		return append(all, e.Decision.step(mark))
	}
	return append(all, step{what: "waits", colour: mark.yellow, text: "the sender is asked for the address"})
}

func (d shownDecision) step(mark colours) step {
	colour, rule := mark.green, ""
	switch d.Outcome {
	case "hold":
		colour = mark.yellow
	case "skip":
		colour = mark.red
	}
	if d.Rule != nil {
		rule = fmt.Sprintf(", by access rule %d counted from 0", *d.Rule)
	}
	return step{d.DecidedAt, "decided", colour, fmt.Sprintf("%s (%s%s): %s", d.Outcome, d.Reason, rule, d.Sentence)}
}

func (a shownAttempt) step(what string, mark colours) step {
	colour, said := mark.green, "no answer"
	switch a.Outcome {
	case "later", "rate limited", "cannot look":
		colour = mark.yellow
	case "never", "stop":
		colour = mark.red
	}
	if a.Status != 0 {
		said = fmt.Sprintf("answered %d", a.Status)
	}
	text := fmt.Sprintf("%s: %s in %d ms: %s", what, said, a.DurationMS, a.Outcome)
	if a.Message != "" {
		text += ": " + a.Message
	}
	return step{a.StartedAt, "called", colour, text}
}

// did are the calls to Retool in words.
var did = map[string]string{"invite": "asked Retool to invite", "look": "looked whether Retool has the invite already", "attributes": "told Retool the attributes",
	"revoke": "had Retool delete the invite"}

// calls are what was done for an invitation, and where it stands.
func (p shownPerson) calls(mark colours) (all []step) {
	for _, a := range p.Attempts {
		what, ok := did[a.Kind]
		if !ok {
			what = "called Retool: " + a.Kind
		}
		all = append(all, a.step(what, mark))
	}
	now := stateWords[ledger.State(p.State)]
	if p.Reason != "" {
		now += ": " + p.Reason
	}
	switch ledger.State(p.State) {
	case ledger.Queued:
		if !p.NextTryAt.IsZero() {
			now += "; next try at " + moment(p.NextTryAt)
		}
	case ledger.Sent:
		if !p.ExpiresAt.IsZero() {
			now += "; its link runs out at " + moment(p.ExpiresAt)
		}
	}
	if p.CorrectedTo != 0 {
		now += fmt.Sprintf("; invitation %d took its place", p.CorrectedTo)
	}
	return append(all, step{p.UpdatedAt, p.State, mark.stateColour(p.State), now})
}

var stateWords = map[ledger.State]string{
	ledger.Held: "it waits for a person to approve it", ledger.Queued: "it waits to be sent", ledger.Sent: "Retool has the invite", ledger.Accepted: "the person came in",
	ledger.Expired: "the link ran out unused", ledger.Revoked: "it was taken back", ledger.Failed: "it was given up",
}

// tell prints steps: when, what, and in words.
func (c *client) tell(out io.Writer, steps []step) {
	const word = 10
	margin := len(time.DateTime) + word + 2*gap - 2
	mark, width := coloursFor(out), terminalWidth(out)
	for _, s := range steps {
		when := strings.Repeat(" ", len(time.DateTime))
		if !s.at.IsZero() {
			when = s.at.Local().Format(time.DateTime)
		}
		lines := []string{c.words(s.text)}
		if width > 0 {
			lines = wrapped(lines[0], max(30, width-margin))
		}
		fmt.Fprintf(out, "%s%s%s  %s%-*s%s%s\n", mark.dim, when, mark.off, s.colour, word, s.what, mark.off, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(out, "%s%s\n", strings.Repeat(" ", margin), line)
		}
	}
}

// wrapped breaks a text into lines that fit, between words.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line+" "+word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
