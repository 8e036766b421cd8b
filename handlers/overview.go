package handlers

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// An overview is what people look at first: what needs them, then how it is going.
type overview struct {
	Needs    []need
	Funnels  []funnel
	Seats    seats
	Chart    chart
	Sources  []sourceLine
	Warnings []string // of the configuration
	Empty    bool     // nothing has ever come
	Hooks    []hook   // where senders send to, for whoever begins
}

// A need is something that waits for a person.
type need struct {
	Kind     string // bad, warn or info
	Title    string
	Text     string
	Since    *time.Time
	Next     *time.Time
	Link     string
	LinkText string
	Try      bool // sending can be tried now
}

// A hook is the address of a source.
type hook struct{ Source, Address string }

// showOverview shows the whole page, or the part of it that htmx wants again.
func (s *Server) showOverview(c echo.Context) error {
	page, err := s.overview(c)
	if err != nil {
		return err
	}
	switch c.QueryParam("part") {
	case "now":
		return s.render(c, http.StatusOK, "overview#now", page)
	case "trend":
		return s.render(c, http.StatusOK, "overview#trend", page)
	default:
		return s.render(c, http.StatusOK, "overview", page)
	}
}

func (s *Server) overview(c echo.Context) (overview, error) {
	stats, err := s.Ledger.Stats(c.Request().Context())
	if err != nil {
		return overview{}, err
	}
	today := stats.Days[len(stats.Days)-1]
	page := overview{
		Needs:   s.needs(stats),
		Funnels: []funnel{funnelOf("Today", []ledger.Day{today}), funnelOf(today.Start.Format("January"), sameMonth(stats.Days))},
		Seats:   s.Seats.estimate(stats.Invitations[ledger.Accepted], stats.Invitations[ledger.Sent]),
		Chart:   chartOf(stats.Days[len(stats.Days)-chartDays:]),
		Sources: s.sourceLines(stats.Sources), Warnings: s.Warnings,
		Empty: isEmpty(stats),
	}
	if page.Empty {
		for _, name := range slices.Sorted(maps.Keys(s.Sources)) {
			page.Hooks = append(page.Hooks, hook{name, s.Sources[name].Address(s.baseURL(c))})
		}
	}
	return page, nil
}

func isEmpty(s ledger.Stats) bool {
	for _, n := range s.Invitations {
		if n > 0 {
			return false
		}
	}
	return len(s.Sources) == 0 && s.Undecided == 0 && s.SetAside == 0
}

// sameMonth are the days of the last one's month.
func sameMonth(days []ledger.Day) []ledger.Day {
	return days[len(days)-days[len(days)-1].Start.Day():]
}

// needs are the things that wait for a person, the worst first.
func (s *Server) needs(stats ledger.Stats) (all []need) {
	switch now := sendingNow(stats.Due, s.Now()); now.State {
	case "stopped":
		all = append(all, need{Kind: "bad", Title: "Sending is stopped", Text: now.Reason + " Nothing is lost: every invitation waits in the queue.", Since: now.Since, Next: now.NextTryAt, Try: true})
	case "idle":
		all = append(all, need{Kind: "bad", Title: "Nobody sends", Text: "An invitation is due and no Usher sends it. Is one running with this ledger? Its log has the reason.", Since: now.Since})
	case "waiting":
		all = append(all, need{Kind: "info", Title: "Retool asked to slow down", Text: "Sending goes on by itself.", Next: now.NextTryAt})
	}
	of := func(n int64, kind, one, many, text, link, linkText string) {
		if n > 0 {
			all = append(all, need{Kind: kind, Title: plural(n, one, many), Text: text, Link: link, LinkText: linkText})
		}
	}
	const invitations = home + "/invitations?state="
	of(stats.Invitations[ledger.Failed], "bad", "invitation failed", "invitations failed", "Retool refused, or could not be reached for days.", invitations+"failed", "See what failed")
	of(stats.SetAside, "bad", "webhook could not be decided", "webhooks could not be decided", "Each was tried three times and set aside, alone.", setAsidePath, "See why")
	of(stats.Invitations[ledger.Held], "warn", "invitation waits for approval", "invitations wait for approval", "A rule asks for a person.", invitations+"held", "Decide")
	of(stats.Invitations[ledger.Expired], "warn", "invite expired unused", "invites expired unused", "A link that is dead can be sent again, or left.", invitations+"expired", "See whose")
	of(stats.Expiring, "warn", "invite expires within two days", "invites expire within two days", "Nobody has used them yet.", expiringPath, "See whose")
	for _, name := range slices.Sorted(maps.Keys(s.Sources)) {
		if failed := s.metrics.failures(name); failed.Count > 0 && s.Now().Sub(failed.Last) < 24*time.Hour {
			of(failed.Count, "warn", "webhook to "+name+" was refused", "webhooks to "+name+" were refused",
				"Somebody else sent this, or the secret here is not the sender's. The last time: "+refusalWords(failed.Rule)+".", home+"/sources/"+name, "See the source")
			all[len(all)-1].Since = &failed.Last
		}
	}
	return all
}

// A funnel is what came of the events of some days.
type funnel struct {
	Title string
	Steps []funnelStep
}

// A funnelStep is one step of a funnel, with its share of the step before.
type funnelStep struct {
	Label string
	N     int64
	Share string
	Width string // of its bar, percent
	Class string
}

func funnelOf(title string, days []ledger.Day) funnel {
	var events, made, sent, accepted int64
	for _, d := range days {
		events, made, accepted = events+d.Events, made+d.Made(), accepted+d.Invitations[ledger.Accepted]
		sent += d.Invitations[ledger.Sent] + d.Invitations[ledger.Expired]
	}
	sent += accepted
	most := max(events, made, 1)
	at := func(label string, n, of int64, what, class string) funnelStep {
		one := funnelStep{Label: label, N: n, Width: percent(n, most), Class: class}
		if of > 0 && what != "" {
			one.Share = fmt.Sprintf("%d%% of the %s", (200*n+of)/(2*of), what)
		}
		return one
	}
	return funnel{Title: title, Steps: []funnelStep{
		at("Events", events, 0, "", "series-1"), at("Invitations made", made, 0, "", "series-1"),
		at("Sent", sent, made, "invitations", "series-2"), at("Accepted", accepted, sent, "sent", "series-3"),
	}}
}

// percent writes a share as a length.
func percent(n, of int64) string { return fmt.Sprintf("%.2f%%", 100*float64(n)/float64(of)) }

// A sourceLine is one source as the overview lists it.
type sourceLine struct {
	Name       string
	Configured bool
	ByHand     bool // people and programs asked for it
	Last       time.Time
	LastDay    int64
	Failed     signatureFailures
}

// sourceLines are the configured sources, then others that have told us something.
func (s *Server) sourceLines(told []ledger.SourceStats) (lines []sourceLine) {
	for _, name := range slices.Sorted(maps.Keys(s.Sources)) {
		line := sourceLine{Name: name, Configured: true, Failed: s.metrics.failures(name)}
		for _, t := range told {
			if t.Source == name {
				line.Last, line.LastDay = t.LastEvent, t.LastDay
			}
		}
		lines = append(lines, line)
	}
	for _, t := range told {
		if s.Sources[t.Source] == nil {
			lines = append(lines, sourceLine{Name: t.Source, ByHand: t.Source == sourceAPI, Last: t.LastEvent, LastDay: t.LastDay})
		}
	}
	return lines
}

// trySending lets the next call to Retool through at once although sending is stopped.
func (s *Server) trySending(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.tryNow(ctx, actorOf(c).name); err != nil {
		return err
	}
	say(c, "good", "The next invitation is tried now. If Retool takes it, all go on.")
	return goTo(c, home)
}

func (s *Server) tryNow(ctx context.Context, by string) error {
	if err := s.Ledger.ProbeNow(ctx); err != nil {
		return err
	}
	return s.Ledger.Note(ctx, ledger.Entry{Actor: by, What: ledger.DidRetry, Subject: "all sending"})
}

const expiringPath = home + "/expiring"

// expiringShown is how many invites that end soon are shown.
const expiringShown = 200

// showExpiring lists the invites whose links end soon, the next first.
func (s *Server) showExpiring(c echo.Context) error {
	found, err := s.Ledger.ExpiringSoon(c.Request().Context(), expiringShown)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "expiring", each(found, newInvitation))
}

const setAsidePath = home + "/set-aside"

// setAsideShown is how many of the deliveries that were set aside are shown at once.
const setAsideShown = 50

// showSetAside lists the deliveries that could not be decided, with the reasons.
func (s *Server) showSetAside(c echo.Context) error {
	before, err := queryNumber(c, "before", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	found, err := s.Ledger.SetAside(c.Request().Context(), before, setAsideShown)
	if err != nil {
		return err
	}
	page := struct {
		Deliveries []ledger.SetAside
		Before     int64 // the cursor of this page, 0 for the first
		Next       int64 // of the next, 0 for none
	}{Deliveries: found, Before: before}
	if len(found) == setAsideShown {
		page.Next = found[len(found)-1].Delivery
	}
	return s.render(c, http.StatusOK, "set-aside", page)
}

// decideAgain puts a delivery back to be decided.
func (s *Server) decideAgain(c echo.Context) error {
	id, err := pathID(c, "delivery")
	if err != nil {
		return err
	}
	if err := s.Ledger.Replay(c.Request().Context(), actorOf(c).name, id); err != nil {
		return err
	}
	say(c, "good", fmt.Sprintf("Delivery %d is decided again, in a moment.", id))
	return goTo(c, whereOneWas(c.Request()))
}
