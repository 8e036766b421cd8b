package handlers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// The list of invitations: search, filters, pages. What is done to many of them is in invitationbulk.go, one of them is
// in invitationpage.go.

const (
	invitationsPath = home + "/invitations"
	// listedInvitations is how many stand on one page.
	listedInvitations = 50
)

func (s *Server) invitationRoutes(pages *echo.Group) {
	mayInvite := needs(roleInvite)
	pages.GET("/invitations", s.showInvitations)
	pages.GET("/invitations.csv", s.exportInvitations)
	pages.POST("/invitations/bulk", s.confirmBulk, mayInvite)
	pages.POST("/invitations/bulk/done", s.doBulk, mayInvite)
	pages.GET("/invitations/:id", s.showOne)
	pages.GET("/invitations/:id/live", s.showOneLive)
	pages.POST("/invitations/:id/retry", s.actOnOne("retry", s.retry), mayInvite)
	pages.POST("/invitations/:id/approve", s.actOnOne("approve", s.approve), mayInvite)
	pages.GET("/invitations/:id/revoke", s.confirmRevoke, mayInvite)
	pages.POST("/invitations/:id/revoke", s.actOnOne("revoke", s.revoke), mayInvite)
	pages.POST("/invitations/:id/correct/preview", s.previewCorrection, mayInvite)
	pages.POST("/invitations/:id/correct", s.correctOne, mayInvite)
}

// A listFilter is what of the list is asked for: all of it stands in the page's address, so that it can be sent to others.
type listFilter struct {
	Q      string
	State  ledger.State
	Source string
	From   ledger.Cursor
}

// Link is the address of the page with this filter.
func (f listFilter) Link() string { return f.path("") }

func (f listFilter) path(suffix string) string {
	var parts []string
	for _, part := range [][2]string{{"q", f.Q}, {"state", string(f.State)}, {"source", f.Source}, {"from", string(f.From)}} {
		if part[1] != "" {
			parts = append(parts, part[0]+"="+url.QueryEscape(part[1]))
		}
	}
	if len(parts) == 0 {
		return invitationsPath + suffix
	}
	return invitationsPath + suffix + "?" + strings.Join(parts, "&")
}

func (f listFilter) in(state ledger.State) listFilter { f.State, f.From = state, ""; return f }

func (f listFilter) at(from ledger.Cursor) listFilter { f.From = from; return f }

// everywhere is the same search without the other filters.
func (f listFilter) everywhere() listFilter { return listFilter{Q: f.Q} }

// An invitationList is the page.
type invitationList struct {
	Filter   listFilter
	Tabs     []listTab
	Sources  []string
	Rows     []invitationRow
	Count    string // what was found, in words
	Previous string // addresses of pages
	First    string
	Next     string
	NextText string
	CSV      string
	Empty    *emptyList
	All      *bulkAll // what can be done to all of this state
	Retry    bool     // whether some of these can be sent again, or approved
	Approve  bool
}

// A listTab is one state.
type listTab struct {
	Title   string
	Link    string
	Current bool
	Counted bool
	N       int64
}

// An invitationRow is one invitation in the list.
type invitationRow struct {
	ledger.Invitation
	Address string
	Can     bool // be selected
}

// A bulkAll is what can be done to all invitations of a state at once.
type bulkAll struct {
	State ledger.State
	Do    string
	Label string
}

// An emptyList says why there is nothing, and what to do.
type emptyList struct {
	Title, Text string
	Link        string
	LinkText    string
	Begin       bool // nobody was ever invited
}

// showInvitations shows the page, or to htmx what was found alone.
func (s *Server) showInvitations(c echo.Context) error {
	state, err := queryState(c, "")
	if err != nil {
		return err
	}
	filter := listFilter{Q: strings.TrimSpace(c.QueryParam("q")), State: state, Source: c.QueryParam("source"), From: ledger.Cursor(c.QueryParam("from"))}
	page, err := s.invitationList(c.Request().Context(), filter, viewerOf(c).Role.allows(roleInvite))
	if errors.Is(err, ledger.ErrCursor) { // a page of an earlier search
		return goTo(c, filter.at("").Link())
	}
	if err != nil {
		return err
	}
	if wantsPart(c) {
		c.Response().Header().Set("HX-Replace-Url", filter.Link())
		return s.render(c, http.StatusOK, "invitations#found", page)
	}
	return s.render(c, http.StatusOK, "invitations", page)
}

func (s *Server) invitationList(ctx context.Context, f listFilter, mayAct bool) (page invitationList, err error) {
	found, err := s.Ledger.Search(ctx, ledger.Search{Text: f.Q, State: f.State, Source: f.Source, From: f.From, Limit: listedInvitations})
	if err != nil {
		return page, err
	}
	summary, err := s.Ledger.Summary(ctx)
	if err != nil {
		return page, err
	}
	page = invitationList{Filter: f, Tabs: tabsOf(f, summary.Invitations), Sources: s.sourceNames(f.Source), CSV: f.at("").path(".csv"), Count: countWords(found)}
	for _, inv := range found.Invitations {
		allowed := s.Ledger.Allowed(inv)
		row := invitationRow{Invitation: inv, Address: inv.Email.Full()}
		if mayAct {
			row.Can = allowed.Retry == nil || allowed.Approve == nil
			page.Retry, page.Approve = page.Retry || allowed.Retry == nil, page.Approve || allowed.Approve == nil
		}
		page.Rows = append(page.Rows, row)
	}
	page.pager(f, found)
	if len(page.Rows) == 0 && !found.Stopped {
		page.Empty = emptyOf(f, summary.Invitations)
	}
	if all := bulkOf(f.State); mayAct && all != nil && f.Q == "" && f.Source == "" && summary.Invitations[f.State] > 0 {
		all.Label = fmt.Sprintf(all.Label, thousands(summary.Invitations[f.State]))
		page.All = all
	}
	return page, nil
}

func (p *invitationList) pager(f listFilter, found ledger.Page) {
	if found.Previous != "" {
		p.Previous = f.at(found.Previous).Link()
	}
	if f.From != "" {
		p.First = f.at("").Link()
	}
	if found.Next != "" {
		p.Next, p.NextText = f.at(found.Next).Link(), "Next page"
		if found.Stopped {
			p.NextText = "Look further"
		}
	}
}

// countWords say what was found. How many there are beyond a page is not counted: of a million that would take long.
func countWords(found ledger.Page) string {
	n := plural(int64(len(found.Invitations)), "invitation", "invitations")
	switch {
	case found.Stopped && len(found.Invitations) == 0:
		return "None so far: what you look for is rare among so many. Look further."
	case found.Stopped:
		return n + " so far: what you look for is rare among so many. Look further."
	case len(found.Invitations) == 0:
		return "No invitation."
	case found.Next == "" && found.Previous == "":
		return n + "."
	case found.Next != "" && found.Previous == "":
		return "The first " + n + "; there are more."
	default:
		return n + " on this page."
	}
}

// tabTitles are in the order of the road.
var tabTitles = map[ledger.State]string{ledger.Held: "Held", ledger.Queued: "Queued", ledger.Sent: "Sent", ledger.Accepted: "Accepted", ledger.Expired: "Expired",
	ledger.Revoked: "Revoked", ledger.Failed: "Failed"}

// tabsOf are the states. The counts are of all there is, so that they stand only where nothing else narrows the list.
func tabsOf(f listFilter, counts map[ledger.State]int64) []listTab {
	counted := f.Q == "" && f.Source == ""
	all := listTab{Title: "All", Link: f.in("").Link(), Current: f.State == "", Counted: counted}
	tabs := []listTab{}
	for _, state := range ledger.States() {
		all.N += counts[state]
		tabs = append(tabs, listTab{Title: tabTitles[state], Link: f.in(state).Link(), Current: f.State == state, Counted: counted, N: counts[state]})
	}
	return append([]listTab{all}, tabs...)
}

// sourceNames are the sources there are, people, and the one that is asked for.
func (s *Server) sourceNames(asked string) []string {
	names := append(slices.Sorted(maps.Keys(s.Sources)), sourceAPI)
	if asked != "" && !slices.Contains(names, asked) {
		names = append(names, asked)
	}
	return names
}

// bulkOf is what can be done to all of a state, nil for nothing.
func bulkOf(state ledger.State) *bulkAll {
	switch state {
	case ledger.Failed, ledger.Expired:
		return &bulkAll{State: state, Do: "retry", Label: "Send all %s again"}
	case ledger.Held:
		return &bulkAll{State: state, Do: "approve", Label: "Approve all %s"}
	default:
		return nil
	}
}

// emptyStates teach what would stand there.
var emptyStates = map[ledger.State][2]string{
	ledger.Held:     {"Nobody waits for approval", "An access rule with decision: hold, or a rule that cannot be worked out for an event, puts people here until somebody approves them."},
	ledger.Queued:   {"Nobody waits to be sent", "Here stands who goes out next, and who waits for the next try because Retool could not be reached."},
	ledger.Sent:     {"No invite is on its way", "Here stands whom Retool has sent an invite, until they come in or its link runs out."},
	ledger.Accepted: {"Nobody came in yet", "Once somebody uses their invite, they stand here. Usher learns it from Retool."},
	ledger.Expired:  {"No invite ran out unused", "When the link of an invite runs out before anybody uses it, it stands here, and can be sent again."},
	ledger.Revoked:  {"Nothing was taken back", "An invitation that somebody takes back, or whose address was corrected, stands here."},
	ledger.Failed:   {"Nothing failed", "What Retool refuses, or cannot be reached for in all tries, stands here with the reason."},
}

func emptyOf(f listFilter, counts map[ledger.State]int64) *emptyList {
	var all int64
	for _, n := range counts {
		all += n
	}
	narrowed := f.State != "" || f.Source != ""
	switch {
	case all == 0:
		return &emptyList{Title: "Nobody is invited yet", Begin: true}
	case f.From != "":
		return &emptyList{Title: "There is nothing more", Text: "What stood here has moved on.", Link: f.at("").Link(), LinkText: "To the first page"}
	case f.Q != "" && narrowed:
		return &emptyList{Title: "Nobody like that here", Text: "Among those you look at, no address and no domain begins with this.", Link: f.everywhere().Link(), LinkText: "Search in all invitations"}
	case f.Q != "":
		return &emptyList{Title: "Nobody like that", Text: "Search by how an address begins, such as ada or ada@exa, or by its domain: @example.com. " +
			"A customer who paid and is not here may have left no address, or one of your own domains: their source lists what it told us.", Link: sourcesPath, LinkText: "To the sources"}
	case f.State != "" && f.Source == "":
		return &emptyList{Title: emptyStates[f.State][0], Text: emptyStates[f.State][1], Link: listFilter{}.Link(), LinkText: "All invitations"}
	default:
		return &emptyList{Title: "Nobody here", Text: "No invitation of this source is in this state.", Link: listFilter{}.Link(), LinkText: "All invitations"}
	}
}
