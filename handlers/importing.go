package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// What happens to a list once it is sent: its people are recorded behind the answer, and then the stages send to them
// as to everybody.

const (
	// importSlice is how many people are recorded in one commit, for which acceptances wait.
	importSlice = 250
	// importYield is how long recording rests while acceptances come faster than commits.
	importYield = 200 * time.Millisecond
)

// An importing is what this process knows of the lists that are under way. The zero value is ready to use.
type importing struct {
	mu        sync.Mutex
	recording map[string]bool
	paces     map[string]*paceWatch
}

// begin claims the recording of a list; false where it is under way.
func (i *importing) begin(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.recording[id] {
		return false
	}
	if i.recording == nil {
		i.recording = map[string]bool{}
	}
	i.recording[id] = true
	return true
}

func (i *importing) end(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.recording, id)
}

// Begin takes up what an earlier process left: lists that are not all recorded. It also notes whether the secrets of
// the sources are as they were. Call it once, when the server serves.
func (s *Server) Begin(ctx context.Context) {
	fingerprints := map[string]string{}
	for name, source := range s.Sources {
		if text := source.Fingerprint(); text != "" {
			fingerprints[name] = text
		}
	}
	if err := s.Ledger.NoteSecrets(ctx, fingerprints); err != nil {
		s.Logger.Warn("since when the secrets of the sources are as they are could not be noted", "error", err.Error())
	}
	unfinished, err := s.Ledger.UnfinishedImports(ctx)
	if err != nil {
		s.Logger.Error("lists that are not all recorded could not be looked for", "error", err.Error())
	}
	for _, list := range unfinished {
		s.goOnRecording(list)
	}
}

// goOnRecording records what is left of a list, behind the answer; once, however often it is asked for.
func (s *Server) goOnRecording(list ledger.Import) {
	if list.StartedAt.IsZero() || list.IsRecorded() || s.draining.Load() || !s.importing.begin(list.ID) {
		return
	}
	go func() {
		defer s.importing.end(list.ID)
		if err := s.recordSafely(context.Background(), list.ID); err != nil && !s.draining.Load() {
			s.Logger.Error("recording a list broke off; it goes on when its page is looked at, and at the next start", "list", list.ID, "error", err.Error())
		}
	}()
}

func (s *Server) recordSafely(ctx context.Context, id string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	return s.recordList(ctx, id)
}

func (s *Server) recordList(ctx context.Context, id string) error {
	list, err := s.Ledger.Import(ctx, id)
	if err != nil || list.StartedAt.IsZero() || list.IsRecorded() {
		return err
	}
	saved, err := s.savedList(ctx, id)
	if err != nil {
		return err
	}
	for from := list.Recorded; from < len(saved.People) && !s.draining.Load(); {
		some := saved.People[from:min(from+importSlice, len(saved.People))]
		err := s.Ledger.RecordImport(ctx, id, from, s.importRows(list, from, some))
		if errors.Is(err, ledger.ErrConflict) {
			return nil // another instance records it
		}
		if err != nil {
			return err
		}
		from += len(some)
		if s.Ledger.Pressed(importYield) {
			time.Sleep(importYield)
		}
	}
	return nil
}

// importRows decides some people of a list, under today's rules.
func (s *Server) importRows(list ledger.Import, from int, some []savedPerson) []ledger.ImportRow {
	rows := make([]ledger.ImportRow, len(some))
	for i, p := range some {
		row := s.decideRequest(p.request())
		if len(row.errors) > 0 { // an earlier version of Usher took it
			row.decision = access.Decision{Outcome: access.Skip, Reason: access.ReasonMalformed, Sentence: sentence(row.errors[0].Detail), Rule: -1}
		}
		rows[i] = ledger.ImportRow{Line: p.Line, Verdict: ledger.Verdict{Event: row.event(fmt.Sprintf("%s-%d", list.ID, from+i)), OccurredAt: s.Now(),
			Decision: row.decision, By: list.Actor, Note: p.Note}}
	}
	return rows
}

// A progressView is how far a list is.
type progressView struct {
	ID        string
	Total     int
	Recorded  int
	Recording bool
	Done      bool // nothing more comes by itself
	Bar       int  // of Total
	Sent      int  // Retool has them, or they came in
	Accepted  int
	Held      int
	Failed    int
	Left      int // to be sent
	Refused   int
	Other     int // expired or taken back since
	Percent   int
	Rate      string // "45 a minute"
	TimeLeft  string // "about 3 minutes"
	Sending   sending
	Every     string // how often to look again
}

func (s *Server) progress(ctx context.Context, list ledger.Import) (*progressView, ledger.ImportProgress, error) {
	counted, err := s.Ledger.ImportProgress(ctx, list.ID)
	if err != nil {
		return nil, counted, err
	}
	due, err := s.Ledger.Due(ctx)
	if err != nil {
		return nil, counted, err
	}
	n := counted.States
	v := &progressView{ID: list.ID, Total: list.Total, Recorded: list.Recorded, Recording: !list.IsRecorded(),
		Sent: n[ledger.Sent] + n[ledger.Accepted], Accepted: n[ledger.Accepted], Held: n[ledger.Held], Failed: n[ledger.Failed], Left: n[ledger.Queued],
		Refused: counted.Refused, Other: n[ledger.Expired] + n[ledger.Revoked], Sending: sendingNow(due, s.Now()), Every: "1s"}
	v.Done = !v.Recording && v.Left == 0
	v.Bar = v.Sent + v.Held + v.Failed + v.Refused + v.Other
	if v.Total > 0 {
		v.Percent = 100 * v.Bar / v.Total
	}
	if v.Total > 2000 {
		v.Every = "3s"
	}
	s.foretell(v)
	return v, counted, nil
}

// foretell says how fast it goes and how long it will take: as it was seen to go, else by the pace that is set.
func (s *Server) foretell(v *progressView) {
	perMinute := cmp.Or(s.importing.seen(v.ID, s.Now(), v.Bar), float64(s.RequestsPerMinute))
	if v.Done || v.Recording || perMinute == 0 || v.Sending.State == "stopped" {
		return
	}
	v.Rate = thousands(int64(math.Round(max(1, perMinute)))) + " a minute"
	v.TimeLeft = "about " + inWords(time.Duration(float64(v.Left)/perMinute*float64(time.Minute)))
}

// inWords says how long something takes: "2 minutes", "3 hours 20 minutes".
func inWords(d time.Duration) string {
	d = max(d, time.Second)
	switch {
	case d < 90*time.Second:
		return plural(int64(math.Ceil(d.Seconds())), "second", "seconds")
	case d < 90*time.Minute:
		return plural(int64(math.Round(d.Minutes())), "minute", "minutes")
	case d < 48*time.Hour:
		text := plural(int64(d.Hours()), "hour", "hours")
		if rest := int64(d.Minutes()) % 60; rest > 0 && d < 10*time.Hour {
			text += " " + plural(rest, "minute", "minutes")
		}
		return text
	default:
		return plural(int64(math.Round(d.Hours()/24)), "day", "days")
	}
}

// A paceWatch remembers how far a list was, for a minute.
type paceWatch struct{ points []pacePoint }

type pacePoint struct {
	at   time.Time
	done int
}

const (
	paceWindow  = time.Minute
	paceLeast   = 10 * time.Second // over which a pace says something
	pacesKept   = 100
	pacePoints  = 60
	paceBetween = time.Second
)

// seen notes how far a list is, and returns how many a minute became done lately, 0 where that is not known.
func (i *importing) seen(id string, now time.Time, done int) (perMinute float64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.paces == nil || len(i.paces) > pacesKept {
		i.paces = map[string]*paceWatch{}
	}
	w := i.paces[id]
	if w == nil {
		w = &paceWatch{}
		i.paces[id] = w
	}
	return w.see(now, done)
}

func (w *paceWatch) see(now time.Time, done int) (perMinute float64) {
	for len(w.points) > 0 && (now.Sub(w.points[0].at) > paceWindow || len(w.points) > pacePoints) {
		w.points = w.points[1:]
	}
	if n := len(w.points); n == 0 || now.Sub(w.points[n-1].at) >= paceBetween {
		w.points = append(w.points, pacePoint{now, done})
	}
	first := w.points[0]
	took := now.Sub(first.at)
	if took < paceLeast || done <= first.done {
		return 0
	}
	return float64(done-first.done) / took.Minutes()
}

// showImportProgress is the bar alone.
func (s *Server) showImportProgress(c echo.Context) error {
	list, err := s.Ledger.Import(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if list.StartedAt.IsZero() || !wantsPart(c) {
		return goTo(c, importPath+"/"+list.ID)
	}
	s.goOnRecording(list)
	view, _, err := s.progress(c.Request().Context(), list)
	if err != nil {
		return err
	}
	return s.render(c, pollStatus(view.Done), "import#progress", view)
}

// stateTabs are the tabs of a list that was sent.
var stateTabs = []struct {
	state ledger.State
	title string
}{
	{ledger.Queued, "To be sent"}, {ledger.Sent, "Sent"}, {ledger.Accepted, "Came in"}, {ledger.Held, "Held"}, {ledger.Failed, "Failed"},
	{ledger.Expired, "Expired"}, {ledger.Revoked, "Taken back"},
}

const refusedTab = "refused"

// fillSent shows what became of a list.
func (s *Server) fillSent(ctx context.Context, page *importPage, from int) error {
	progress, counted, err := s.progress(ctx, page.Import)
	if err != nil {
		return err
	}
	page.Progress, page.Live = progress, !progress.Done
	page.addTab("", "All", page.Recorded)
	for _, t := range stateTabs {
		page.addTab(string(t.state), t.title, counted.States[t.state])
	}
	page.addTab(refusedTab, "Refused", counted.Refused)
	filter := ledger.ImportedFilter{From: from, Limit: shownRows + 1}
	if page.Shown == refusedTab {
		filter.Refused = true
	} else {
		filter.State = ledger.State(page.Shown)
	}
	rows, err := s.Ledger.Imported(ctx, page.ID, filter)
	if err != nil {
		return err
	}
	if len(rows) > shownRows {
		page.Next, rows = page.link(page.Shown, rows[shownRows].Place), rows[:shownRows]
	}
	for _, row := range rows {
		view := importRow{Line: row.Line, Email: row.Email, State: row.State, Words: row.Reason, InvitationID: row.InvitationID}
		if row.InvitationID == 0 {
			view.Kind, view.Label = "bad", "refused"
		}
		page.Rows = append(page.Rows, view)
	}
	return nil
}
