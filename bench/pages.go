package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// pagePaths are what people look at. Where a ledger has more than one kind of answer, the dear ones are here: an address
// that many others begin like, a state that few or nearly all are in, a source that is rare, and nobody.
var pagePaths = []string{
	"/admin",
	"/admin?part=now",
	"/admin?part=trend",
	"/admin/expiring",
	"/admin/set-aside",
	"/admin/invitations",
	"/admin/invitations?state=sent",
	"/admin/invitations?state=accepted",
	"/admin/invitations?state=failed",
	"/admin/invitations?source=rare",
	"/admin/invitations?source=rare&state=accepted",
	"/admin/invitations?q=g",
	"/admin/invitations?q=grown000001",
	"/admin/invitations?q=grown&state=failed",
	"/admin/invitations?q=grown&state=accepted&source=rare",
	"/admin/invitations?q=%40example.com",
	"/admin/invitations?q=nobody%40nowhere.example",
	"/admin/invitations/500",
	"/admin/invitations/500/live",
	"/admin/events/2500",
	"/admin/invite",
	"/admin/sources",
	"/admin/sources/stripe",
	"/admin/rules",
	"/admin/tokens",
}

// pages measures the server's time of each page beside few and many invitations.
func pages(ctx context.Context, l *lab, t *table) error {
	few, many := 1_000, l.Pages
	t.Columns = []string{fmt.Sprintf("%d ms", few), fmt.Sprintf("%d ms", many), "ratio"}
	t.Settings = fmt.Sprintf("each page %d times over one connection, signed in, both ledgers in turns; the median; invitations beside five times as many events; rounds in turn: %d", asked, l.Rounds)
	return l.onBoth(t, func(kind string, _ map[string]float64) error {
		small, stop, err := l.visit(ctx, t, kind, few)
		if err != nil {
			return err
		}
		defer stop()
		large, stop, err := l.visit(ctx, t, kind, many)
		if err != nil {
			return err
		}
		defer stop()
		slowest := 0.0
		for _, path := range slices.Concat(pagePaths, []string{tenthPage}) {
			smallMS, largeMS, err := inTurns(ctx, small, large, path)
			if err != nil {
				return err
			}
			slowest = max(slowest, largeMS)
			t.add(kind+" "+path, smallMS, largeMS, largeMS/smallMS)
			t.see(fmt.Sprintf("%d ÷ %d invitations, %s: %s", many, few, kind, path), "<", 2, largeMS/smallMS)
		}
		t.see(fmt.Sprintf("ms beside %d invitations, %s: the slowest page", many, kind), "<", 100, slowest)
		return nil
	}, nil)
}

// tenthPage stands for the tenth page of the list.
const tenthPage = "/admin/invitations, the tenth page"

// visit grows a ledger, serves from it and signs in.
func (l *lab) visit(ctx context.Context, t *table, kind string, invitations int) (*visitor, func(), error) {
	st, err := l.newStore(ctx, kind)
	if err != nil {
		return nil, nil, err
	}
	say("%d invitations", invitations)
	if err := fillEmpty(ctx, st, func(db *sql.DB) error { // so that the days of the overview have all there is to count
		return ledgertest.GrowOver(ctx, db, kind, invitations*ledgertest.EventsPerInvitation, 30*24*time.Hour)
	}); err != nil {
		st.drop()
		return nil, nil, err
	}
	p, err := l.serve(ctx, st, "USHER_ADMIN_TOKEN="+adminToken)
	if err != nil {
		st.drop()
		return nil, nil, err
	}
	v, err := p.signIn(ctx)
	if err == nil {
		start := time.Now()
		_, err = v.get(ctx, "/admin") // the days that are over are counted once
		t.note("%s, %d invitations: the first overview after the start took %d ms.", kind, invitations, time.Since(start).Milliseconds())
	}
	if err == nil {
		v.tenth, err = v.further(ctx, "/admin/invitations", 9)
	}
	if err != nil {
		p.stop()
		return nil, nil, err
	}
	return v, p.stop, nil
}

// inTurns opens a page of two ledgers many times and returns the medians, in milliseconds. They take turns, so that what
// else the machine does hits both.
func inTurns(ctx context.Context, a, b *visitor, path string) (float64, float64, error) {
	took := map[*visitor][]time.Duration{}
	for range asked {
		for _, v := range []*visitor{a, b} {
			of := path
			if path == tenthPage {
				of = v.tenth
			}
			start := time.Now()
			if _, err := v.get(ctx, of); err != nil {
				return 0, 0, err
			}
			took[v] = append(took[v], time.Since(start))
		}
	}
	slices.Sort(took[a])
	slices.Sort(took[b])
	return at(took[a], .5), at(took[b], .5), nil
}

// A visitor is signed in. It keeps the cookie itself: Go's jar sends none that is Secure over plain HTTP.
type visitor struct {
	base   string
	cookie *http.Cookie
	tenth  string // the tenth page of the list
	client http.Client
}

func (p *process) signIn(ctx context.Context) (*visitor, error) {
	v := &visitor{base: "http://" + p.address, client: http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	form := url.Values{"token": {adminToken}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base+"/admin/sign-in", strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := v.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	for _, cookie := range response.Cookies() {
		if cookie.Name == "usher_session" {
			v.cookie = cookie
			return v, nil
		}
	}
	return nil, errors.New("nobody could sign in: " + response.Status)
}

func (v *visitor) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+path, nil)
	if err != nil {
		return "", err
	}
	request.AddCookie(v.cookie)
	if strings.HasSuffix(path, "/live") { // only htmx asks for it
		request.Header.Set("HX-Request", "true")
	}
	response, err := v.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	const asksNoMore = 286 // htmx's own: what is shown will not change by itself
	if response.StatusCode != http.StatusOK && response.StatusCode != asksNoMore {
		return "", fmt.Errorf("GET %s was answered %s", path, response.Status)
	}
	page, err := io.ReadAll(response.Body)
	return string(page), err
}

var nextLink = regexp.MustCompile(`rel="next" href="([^"]+)"`)

// further follows a list's links to the pages behind.
func (v *visitor) further(ctx context.Context, path string, pages int) (string, error) {
	for i := range pages {
		page, err := v.get(ctx, path)
		if err != nil {
			return "", err
		}
		link := nextLink.FindStringSubmatch(page)
		if link == nil {
			return "", errors.New("the list ends with page " + strconv.Itoa(i+1))
		}
		path = html.UnescapeString(link[1])
	}
	return path, nil
}
