package handlers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
)

// The senders: where each sends to, how it proves itself, what came of late, and a button that tries it.

const sourcesPath = home + "/sources"

func (s *Server) sourceRoutes(pages *echo.Group) {
	pages.GET("/sources", s.showSources)
	pages.GET("/sources/:name", s.showSource)
	pages.POST("/sources/:name/test", s.trySource, needs(roleAdmin))
	pages.GET("/sources/:name/test/:id", s.showTrial)
	pages.GET("/events/:id", s.showEventPage)
}

const (
	// shownEvents is how many of a source's events its page shows.
	shownEvents = 10
	// shownAside is how many of its deliveries that were set aside are listed, of the newest ones of all sources.
	shownAside = 200
)

// A sourceView is one source at a glance.
type sourceView struct {
	Name      string
	Preset    string
	Title     string // what people call the sender
	Address   string
	Masked    bool // the address ends in a token, which is not shown
	Proof     string
	Tolerance string
	Open      bool // anybody who knows the address can send
	Secrets   int
	Since     time.Time // the secrets are as they are, at least since then; zero: nobody knows
	ChangedAt time.Time // they last changed; zero: not since then
	LastEvent time.Time
	LastDay   int64
	Failed    signatureFailures
	FailedFor string // the last refusal, in words
	About     *webhook.About
}

func (s *Server) sourceView(c echo.Context, name string, known ledger.KnownSecret) sourceView {
	source := s.Sources[name]
	v := sourceView{Name: name, Preset: source.Preset(), Title: name, Address: source.Address(s.baseURL(c)), Masked: source.TakesToken(), Proof: source.Proof(),
		Secrets: source.Secrets(), Since: known.Since, ChangedAt: known.ChangedAt, Failed: s.metrics.failures(name)}
	v.Open, v.FailedFor = v.Secrets == 0, refusalWords(v.Failed.Rule)
	if tolerance := source.Tolerance(); tolerance > 0 {
		v.Tolerance = inWords(tolerance)
	}
	if preset, ok := webhook.FindPreset(v.Preset); ok {
		v.Title, v.About = preset.About.Title, &preset.About
	}
	return v
}

// refusalWords says what a rule of the verification means, for people.
func refusalWords(rule string) string {
	words, known := map[string]string{
		"no_match":        "it was not made with the secret that Usher has",
		"no_signature":    "it had no signature",
		"too_old":         "it was signed too long ago, or a clock is wrong",
		"in_the_future":   "it was signed in the future: a clock is wrong",
		"repeated_header": "its signature stood there twice",
		"bad_header":      "its signature could not be read",
		"bad_time":        "the time in its signature could not be read",
		"bad_body":        "its body is none that the sender signs",
	}[rule]
	if !known {
		return reasonLabel(access.Reason(rule))
	}
	return words
}

// showSources lists them.
func (s *Server) showSources(c echo.Context) error {
	known, told, err := s.aboutSources(c.Request().Context())
	if err != nil {
		return err
	}
	views := []sourceView{}
	for _, name := range slices.Sorted(maps.Keys(s.Sources)) {
		v := s.sourceView(c, name, known[name])
		v.LastEvent, v.LastDay = told[name].LastEvent, told[name].LastDay
		views = append(views, v)
	}
	return s.render(c, http.StatusOK, "sources", views)
}

// aboutSources is what the ledger knows of all of them.
func (s *Server) aboutSources(ctx context.Context) (map[string]ledger.KnownSecret, map[string]ledger.SourceStats, error) {
	known, err := s.Ledger.KnownSecrets(ctx)
	if err != nil {
		return nil, nil, err
	}
	stats, err := s.Ledger.Stats(ctx)
	told := map[string]ledger.SourceStats{}
	for _, one := range stats.Sources {
		told[one.Source] = one
	}
	return known, told, err
}

// A sourcePage is one of them.
type sourcePage struct {
	sourceView
	Whole    string // the address with its token, once somebody wants to see it
	Events   []eventView
	Aside    []ledger.SetAside
	Trial    *trialView
	TrialBad string // why there is none
}

// An eventView is one event in a line.
type eventView struct {
	ID           int64
	At           time.Time
	Type         string
	Email        string
	Kind         string // good, warn, bad or info
	Label        string // the reason
	Sentence     string
	InvitationID int64
}

func newEventView(e ledger.Event) eventView {
	v := eventView{ID: e.ID, At: e.RecordedAt, Type: e.Details.Type, Email: e.Details.Email, Kind: "info", Label: "looked up", Sentence: "The sender is being asked for the address."}
	if n := len(e.Decisions); n > 0 {
		d := e.Decisions[n-1]
		v.Kind, v.Label, v.Sentence, v.InvitationID = outcomeKinds[d.Outcome], reasonLabel(d.Reason), d.Sentence, d.InvitationID
	}
	return v
}

// outcomeKinds colour the badges of decisions: to skip an event is nothing bad.
var outcomeKinds = map[access.Outcome]string{access.Invite: "good", access.Hold: "warn", access.Skip: ""}

// reasonLabel writes a reason's code for people.
func reasonLabel(r access.Reason) string { return strings.ReplaceAll(string(r), "_", " ") }

func (s *Server) showSource(c echo.Context) error {
	source := s.Sources[c.Param("name")]
	if source == nil {
		return fmt.Errorf("source: %w", ledger.ErrNotFound)
	}
	page, err := s.sourcePage(c, source)
	if err != nil {
		return err
	}
	if id, _ := strconv.ParseInt(c.QueryParam("test"), 10, 64); id > 0 {
		trial, err := s.trialView(c.Request().Context(), source.Name(), id)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		page.Trial = trial
	}
	if source.TakesToken() && c.QueryParam("reveal") != "" && viewerOf(c).Role.allows(roleAdmin) {
		page.Whole = source.RevealAddress(s.baseURL(c))
	}
	return s.render(c, http.StatusOK, "source", page)
}

func (s *Server) sourcePage(c echo.Context, source *webhook.Source) (page sourcePage, err error) {
	ctx, name := c.Request().Context(), source.Name()
	known, told, err := s.aboutSources(ctx)
	if err != nil {
		return page, err
	}
	page.sourceView = s.sourceView(c, name, known[name])
	page.LastEvent, page.LastDay = told[name].LastEvent, told[name].LastDay
	events, err := s.Ledger.Events(ctx, ledger.EventFilter{Source: name, Limit: shownEvents})
	if err != nil {
		return page, err
	}
	for _, e := range events {
		page.Events = append(page.Events, newEventView(e))
	}
	aside, err := s.Ledger.SetAside(ctx, 0, shownAside)
	page.Aside = slices.DeleteFunc(aside, func(d ledger.SetAside) bool { return d.Source != name })
	return page, err
}

// trySource sends a test event, and shows what becomes of it.
func (s *Server) trySource(c echo.Context) error {
	source := s.Sources[c.Param("name")]
	if source == nil {
		return fmt.Errorf("source: %w", ledger.ErrNotFound)
	}
	delivery, err := s.sendTrial(c.Request().Context(), viewerOf(c).Actor, source)
	var impossible *trialError
	if errors.As(err, &impossible) {
		page, err := s.sourcePage(c, source)
		if err != nil {
			return err
		}
		page.TrialBad = sentence(impossible.why)
		return s.render(c, http.StatusUnprocessableEntity, "source", page)
	}
	if err != nil {
		return err
	}
	return goTo(c, fmt.Sprintf("%s/%s?test=%d#test", sourcesPath, source.Name(), delivery))
}

// A trialView is what became of a test event.
type trialView struct {
	Source   string
	Delivery int64
	Done     bool
	Invites  bool // it would have led to an invitation, or to a look-up
	SetAside bool
	Error    string
	Events   []eventView
}

func (s *Server) trialView(ctx context.Context, source string, delivery int64) (*trialView, error) {
	state, err := s.Ledger.DeliveryState(ctx, delivery)
	if err != nil {
		return nil, err
	}
	v := &trialView{Source: source, Delivery: delivery, Done: !state.Waits, SetAside: state.SetAside, Error: state.Error}
	for _, e := range state.Events {
		if e.Details.Source != source {
			return nil, fmt.Errorf("delivery %d of this source: %w", delivery, ledger.ErrNotFound)
		}
		view := newEventView(e)
		v.Events = append(v.Events, view)
		v.Invites = v.Invites || !strings.Contains(view.Sentence, "would have been decided "+string(access.Skip)) // the decide stage's own words
	}
	return v, nil
}

// showTrial is the result alone, until there is one.
func (s *Server) showTrial(c echo.Context) error {
	id, err := pathID(c, "delivery")
	if err != nil {
		return err
	}
	view, err := s.trialView(c.Request().Context(), c.Param("name"), id)
	if err != nil {
		return err
	}
	if !wantsPart(c) {
		return goTo(c, fmt.Sprintf("%s/%s?test=%d", sourcesPath, view.Source, id))
	}
	return s.render(c, pollStatus(view.Done), "source#trial", view)
}
