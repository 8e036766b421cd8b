package main

import (
	"context"
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
	t.Settings = fmt.Sprintf("each page %d times over one connection, signed in; the median; invitations beside five times as many events; rounds in turn: %d", asked, l.Rounds)
	return l.onBoth(t, func(kind string, _ map[string]float64) error {
		small, err := l.pageTimes(ctx, kind, few)
		if err != nil {
			return err
		}
		large, err := l.pageTimes(ctx, kind, many)
		if err != nil {
			return err
		}
		for _, path := range slices.Concat(pagePaths, []string{nextPage}) {
			t.add(kind+" "+path, small[path], large[path], large[path]/small[path])
			t.see(fmt.Sprintf("ms beside %d invitations, %s: the slowest page", many, kind), "<", 100, slowest(large))
			t.see(fmt.Sprintf("%d ÷ %d invitations, %s: %s", many, few, kind, path), "<", 2, large[path]/small[path])
		}
		return nil
	}, nil)
}

// nextPage stands for the tenth page of the list.
const nextPage = "/admin/invitations, the tenth page"

func slowest(times map[string]float64) (most float64) {
	for _, ms := range times {
		most = max(most, ms)
	}
	return most
}

// pageTimes measures one ledger.
func (l *lab) pageTimes(ctx context.Context, kind string, invitations int) (map[string]float64, error) {
	st, err := l.newStore(ctx, kind)
	if err != nil {
		return nil, err
	}
	say("%d invitations", invitations)
	if err := grow(ctx, st, kind, invitations*ledgertest.EventsPerInvitation); err != nil {
		st.drop()
		return nil, err
	}
	p, err := l.serve(ctx, st, "USHER_ADMIN_TOKEN="+adminToken)
	if err != nil {
		st.drop()
		return nil, err
	}
	defer p.stop()
	v, err := p.signIn(ctx)
	if err != nil {
		return nil, err
	}
	times := map[string]float64{}
	for _, path := range pagePaths {
		if times[path], err = v.time(ctx, path); err != nil {
			return nil, err
		}
	}
	tenth, err := v.further(ctx, "/admin/invitations", 9)
	if err == nil {
		times[nextPage], err = v.time(ctx, tenth)
	}
	return times, err
}

// A visitor is signed in. It keeps the cookie itself: Go's jar sends none that is Secure over plain HTTP.
type visitor struct {
	base   string
	cookie *http.Cookie
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

// time opens a page many times and returns the median, in milliseconds.
func (v *visitor) time(ctx context.Context, path string) (float64, error) {
	var took []time.Duration
	for range asked {
		start := time.Now()
		if _, err := v.get(ctx, path); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return at(took, .5), nil
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
