package handlers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/people"
)

// A list of people: it is read and kept as a draft, shown with what would become of everyone, and sent by one click.
// What happens then is in importing.go.

const importPath = home + "/import"

const (
	// shownRows is how many people of a list one page shows.
	shownRows = 100
	// shownFaults is how many lines that cannot be used are named.
	shownFaults = 100
	// keptText is how long a pasted list may be to stand in its field again when something is wrong with it.
	keptText = 200_000
)

// A listForm is what a person pasted or chose.
type listForm struct {
	Text    string
	Error   string
	MaxRows int
}

func newListForm() listForm { return listForm{MaxRows: people.MaxRows} }

// A savedList is a draft as the ledger keeps it.
type savedList struct {
	People  []savedPerson   `json:"people"`
	Faults  []people.Fault  `json:"faults,omitempty"`
	Doubles []people.Double `json:"doubles,omitempty"`
	Columns []people.Column `json:"columns,omitempty"`
	Remarks []string        `json:"remarks,omitempty"`
}

// A savedPerson is one of them, with short names: there may be fifty thousand.
type savedPerson struct {
	Line       int               `json:"l"`
	Email      string            `json:"e"`
	Groups     []int64           `json:"g,omitempty"`
	Attributes map[string]string `json:"a,omitempty"`
	Note       string            `json:"n,omitempty"`
}

func (p savedPerson) request() invitationRequest {
	return invitationRequest{Email: p.Email, Groups: p.Groups, Attributes: p.Attributes, Note: p.Note}
}

// newSavedList leaves out, as faults, those whom the API would not take either.
func newSavedList(read people.List) savedList {
	saved := savedList{People: make([]savedPerson, 0, len(read.People)), Faults: read.Faults, Doubles: read.Doubles, Columns: read.Columns, Remarks: read.Remarks}
	for _, p := range read.People {
		one := savedPerson{Line: p.Line, Email: p.Address.Full(), Groups: p.Groups, Attributes: p.Attributes, Note: p.Note}
		if wrong := one.request().mistakes(); len(wrong) > 0 {
			saved.Faults = append(saved.Faults, people.Fault{Line: p.Line, Column: wrong[0].Field, Detail: wrong[0].Detail, Mend: wrong[0].Mend})
			continue
		}
		saved.People = append(saved.People, one)
	}
	slices.SortStableFunc(saved.Faults, func(a, b people.Fault) int { return a.Line - b.Line })
	return saved
}

// draftList reads a list and keeps it, and shows it on a page of its own.
func (s *Server) draftList(c echo.Context) error {
	form := newListForm()
	text, err := readListForm(c, &form)
	if err != nil {
		return err
	}
	read, err := people.Read(text)
	var unreadable *people.Unreadable
	switch {
	case errors.As(err, &unreadable):
		form.Error = sentence(unreadable.Detail) + " " + sentence(unreadable.Mend)
	case err != nil:
		return err
	case len(read.People) == 0 && len(read.Faults) == 0:
		form.Error = "There is nobody in the list. Paste addresses, one a line, or choose a CSV file."
	}
	if form.Error != "" {
		page, err := s.invitePage(c, inviteForm{})
		page.List = form
		if err != nil {
			return err
		}
		return s.render(c, http.StatusUnprocessableEntity, "invite", page)
	}
	id, err := s.keepDraft(c.Request().Context(), viewerOf(c).Actor, newSavedList(read))
	if err != nil {
		return err
	}
	return goTo(c, importPath+"/"+id)
}

func (s *Server) keepDraft(ctx context.Context, by string, list savedList) (id string, err error) {
	text, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("keep a list: %w", err)
	}
	id = strings.ToLower(rand.Text())
	return id, s.Ledger.DraftImport(ctx, ledger.Import{ID: id, Actor: by, Total: len(list.People)}, string(text))
}

// readListForm takes the file, where one was chosen, else what was pasted.
func readListForm(c echo.Context, form *listForm) ([]byte, error) {
	r := c.Request()
	if err := r.ParseMultipartForm(maxForm); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return nil, readProblem(err)
	}
	form.Text = r.PostFormValue("list")
	text := form.Text
	if len(form.Text) > keptText {
		form.Text = ""
	}
	if r.MultipartForm == nil || len(r.MultipartForm.File["file"]) == 0 || r.MultipartForm.File["file"][0].Size == 0 {
		return []byte(text), nil
	}
	file, err := r.MultipartForm.File["file"][0].Open()
	if err != nil {
		return nil, readProblem(err)
	}
	defer file.Close()
	content, err := io.ReadAll(file) // the whole form is bounded
	if err != nil {
		return nil, readProblem(err)
	}
	return content, nil
}

// An importPage is a list, before or after it was sent.
type importPage struct {
	ledger.Import
	Draft    *draftView
	Progress *progressView
	Rows     []importRow
	Tabs     []tab
	Shown    string // the tab
	Next     string // the address of the next rows, "" where there are none
	Previous bool   // there are rows before these
	Self     string // the address of these
	Live     bool   // they change by themselves
	Error    string
}

// A draftView is what would become of a list.
type draftView struct {
	Faults      []string
	MoreFaults  int
	FaultLines  int // all of them
	Doubles     []people.Double
	MoreDoubles int
	Differing   int // doubles that want something else than the first
	Used, Left  []people.Column
	Remarks     []string
	Sends       int // how many invitations would go out
	Holds       int
}

// An importRow is one person of a list.
type importRow struct {
	Line         int
	Email        string
	Kind         string // good, warn, bad or info
	Label        string // of the badge
	State        ledger.State
	Words        string
	InvitationID int64
}

// A tab narrows the people that are shown.
type tab struct {
	Title   string
	N       int
	Current bool
	Link    string
}

// showImport shows a list as it is now.
func (s *Server) showImport(c echo.Context) error {
	list, err := s.Ledger.Import(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return s.answerImport(c, http.StatusOK, list, "")
}

func (s *Server) answerImport(c echo.Context, status int, list ledger.Import, mistake string) error {
	page := importPage{Import: list, Shown: c.QueryParam("show"), Error: mistake}
	from, err := queryNumber(c, "from", 0, 0, people.MaxRows)
	if err != nil {
		return err
	}
	page.Previous, page.Self = from > 0, page.link(page.Shown, int(from))
	if list.StartedAt.IsZero() {
		err = s.fillDraft(c.Request().Context(), &page, int(from))
	} else {
		s.goOnRecording(list) // where a process ended before it was done
		err = s.fillSent(c.Request().Context(), &page, int(from))
	}
	if err != nil {
		return err
	}
	return s.render(c, status, "import", page)
}

// link is the address of the people of a tab, from a place on.
func (p importPage) link(show string, from int) string {
	q := url.Values{}
	if show != "" {
		q.Set("show", show)
	}
	if from > 0 {
		q.Set("from", strconv.Itoa(from))
	}
	if len(q) == 0 {
		return importPath + "/" + p.ID
	}
	return importPath + "/" + p.ID + "?" + q.Encode()
}

// addTab offers to see some of the people alone. Where there are none of them it is left out.
func (p *importPage) addTab(name, title string, n int) {
	if n > 0 || name == "" || name == p.Shown {
		p.Tabs = append(p.Tabs, tab{Title: title, N: n, Current: name == p.Shown, Link: p.link(name, 0)})
	}
}

// effectTitles are the tabs of a draft, and the badges of its rows.
var effectTitles = []struct{ effect, title, label, kind string }{
	{effectInvites, "New", "new", "good"}, {effectHolds, "To be held", "held", "warn"}, {effectQueues, "Sent again", "again", "good"},
	{effectReleases, "Released", "released", "good"}, {effectNothing, "There already", "there already", "info"}, {effectRefuses, "Refused", "refused", "bad"},
}

// fillDraft decides everyone in a list, and shows some.
func (s *Server) fillDraft(ctx context.Context, page *importPage, from int) error {
	saved, err := s.savedList(ctx, page.ID)
	if err != nil {
		return err
	}
	requests := make([]invitationRequest, len(saved.People))
	for i, p := range saved.People {
		requests[i] = p.request()
	}
	rows, err := s.preview(ctx, requests)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for i, row := range rows {
		counts[row.effect]++
		if page.Shown != "" && page.Shown != row.effect {
			continue
		}
		if i >= from && len(page.Rows) == shownRows && page.Next == "" {
			page.Next = page.link(page.Shown, i)
		}
		if i >= from && len(page.Rows) < shownRows {
			page.Rows = append(page.Rows, draftRow(saved.People[i], row))
		}
	}
	page.addTab("", "All", len(rows))
	for _, e := range effectTitles {
		page.addTab(e.effect, e.title, counts[e.effect])
	}
	page.Draft = newDraftView(saved, counts)
	return nil
}

func draftRow(p savedPerson, row previewed) importRow {
	view := importRow{Line: p.Line, Email: p.Email, Kind: "info", Label: row.effect, Words: sentence(row.words)}
	for _, e := range effectTitles {
		if e.effect == row.effect {
			view.Label, view.Kind = e.label, e.kind
		}
	}
	if row.invitation != nil {
		view.InvitationID = row.invitation.ID
	}
	return view
}

func newDraftView(saved savedList, counts map[string]int) *draftView {
	d := &draftView{FaultLines: len(saved.Faults), Remarks: saved.Remarks, Holds: counts[effectHolds],
		Sends: counts[effectInvites] + counts[effectQueues] + counts[effectReleases]}
	for _, f := range saved.Faults[:min(len(saved.Faults), shownFaults)] {
		mend := sentence(f.Mend)
		f.Mend = ""
		d.Faults = append(d.Faults, strings.TrimSpace(sentence(f.String())+" "+mend))
	}
	d.MoreFaults = len(saved.Faults) - len(d.Faults)
	for _, double := range saved.Doubles {
		if double.Differs {
			d.Differing++
		}
	}
	d.Doubles = saved.Doubles[:min(len(saved.Doubles), shownFaults)]
	d.MoreDoubles = len(saved.Doubles) - len(d.Doubles)
	for _, column := range saved.Columns {
		if column.Means == "" {
			d.Left = append(d.Left, column)
		} else {
			d.Used = append(d.Used, column)
		}
	}
	return d
}

func (s *Server) savedList(ctx context.Context, id string) (saved savedList, err error) {
	text, err := s.Ledger.ImportList(ctx, id)
	if err != nil || text == "" {
		return saved, err
	}
	if err := json.Unmarshal([]byte(text), &saved); err != nil {
		return saved, fmt.Errorf("read a kept list: %w", err)
	}
	return saved, nil
}

// sendImport begins to send a draft. Sent twice, it is sent once.
func (s *Server) sendImport(c echo.Context) error {
	ctx, id := c.Request().Context(), c.Param("id")
	list, err := s.Ledger.Import(ctx, id)
	if err != nil {
		return err
	}
	if list.StartedAt.IsZero() {
		saved, err := s.savedList(ctx, id)
		if err != nil {
			return err
		}
		if n := len(saved.Faults); n > 0 && c.FormValue("leave_out") != "yes" {
			return s.answerImport(c, http.StatusUnprocessableEntity, list, fmt.Sprintf("%s cannot be used. Mend the list and send it anew, or tick the box to leave them out.", plural(int64(n), "line", "lines")))
		}
		if list.Total == 0 {
			return s.answerImport(c, http.StatusUnprocessableEntity, list, "There is nobody to invite.")
		}
		if list, err = s.Ledger.StartImport(ctx, viewerOf(c).Actor, id); err != nil {
			return err
		}
	}
	s.goOnRecording(list)
	return goTo(c, importPath+"/"+id)
}
