package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/ledger"
)

// What is done to many invitations at once: those that are ticked, or all of a state. It is asked for, confirmed on a page
// that names the number, and then done.

const (
	// maxTicked bounds what one form can tick: more than a page has.
	maxTicked = 200
	// bulkFor bounds what is done to all of a state. It goes on when whoever asked goes away.
	bulkFor = 10 * time.Minute
	// namedMost is how many addresses a confirmation names.
	namedMost = 10
)

// A bulk is what was asked for.
type bulk struct {
	do    string       // retry or approve
	state ledger.State // of all; empty: those that are ticked
	ids   []int64
	back  string // the list it was asked on
}

// A confirmation asks before something is done.
type confirmation struct {
	Title, Text string
	Named       []string // whom it concerns, the first of them
	More        int64    // how many it does not name
	Skipped     []string // whom it does not concern, and why
	Action      string   // where the form goes; empty: there is nothing to do
	Button      string
	Danger      bool
	Fields      [][2]string // of the form
	Back        string
	Crumb       string
}

// readBulk reads what a form asks for.
func readBulk(c echo.Context) (b bulk, err error) {
	form, err := c.FormParams()
	if err != nil {
		return b, readProblem(err)
	}
	b.do, b.back = form.Get("do"), localPath(form.Get("back"))
	if state, ok := strings.CutPrefix(b.do, "all-"); ok {
		b.state = ledger.State(state)
		all := bulkOf(b.state)
		if all == nil {
			return b, invalid(fieldError{Field: "do", Detail: "is nothing that can be done to all"})
		}
		b.do = all.Do
		return b, nil
	}
	if b.do != "retry" && b.do != "approve" {
		return b, invalid(fieldError{Field: "do", Detail: "is nothing that can be done to many"})
	}
	for _, text := range form["id"] {
		if id, err := strconv.ParseInt(text, 10, 64); err == nil && id > 0 && !slices.Contains(b.ids, id) {
			b.ids = append(b.ids, id)
		}
	}
	if len(b.ids) > maxTicked {
		return b, invalid(fieldError{Field: "id", Detail: fmt.Sprintf("stands there %d times", len(b.ids)), Mend: fmt.Sprintf("at most %d at once", maxTicked)})
	}
	return b, nil
}

// allowed says whether what is asked for can be done to an invitation.
func (b bulk) allowed(a ledger.Allowed) error {
	if b.do == "approve" {
		return a.Approve
	}
	return a.Retry
}

// title and button name what is done, to how many.
func (b bulk) title(n int64) string {
	if b.do == "approve" {
		return "Approve " + plural(n, "invitation", "invitations") + "?"
	}
	return "Send " + plural(n, "invitation", "invitations") + " again?"
}

func (b bulk) button(n int64) string {
	if b.do == "approve" {
		return "Approve " + thousands(n)
	}
	return "Send " + thousands(n) + " again"
}

func (b bulk) text() string {
	if b.do == "approve" {
		return "They go out one after the other, at Usher's pace."
	}
	return "They go out one after the other, at Usher's pace. What Retool still has of them is taken away first, so that an earlier link stops working."
}

// confirmBulk asks, naming the number.
func (s *Server) confirmBulk(c echo.Context) error {
	b, err := readBulk(c)
	if err != nil {
		return err
	}
	if b.state == "" && len(b.ids) == 0 {
		say(c, "info", "Nobody is ticked. Tick those you mean, then press the button.")
		return goTo(c, b.back)
	}
	page := confirmation{Back: b.back, Crumb: "Invitations", Text: b.text(), Fields: [][2]string{{"key", rand.Text()}, {"back", b.back}}}
	n, err := s.foreseeBulk(c.Request().Context(), b, &page)
	if err != nil {
		return err
	}
	if page.Title = b.title(n); n == 0 {
		page.Title, page.Text = "None of them", "What you asked for is not possible for any of them as they are now."
		return s.render(c, http.StatusOK, "confirm", page)
	}
	page.Action, page.Button = invitationsPath+"/bulk/done", b.button(n)
	return s.render(c, http.StatusOK, "confirm", page)
}

// foreseeBulk counts whom it concerns, and names some.
func (s *Server) foreseeBulk(ctx context.Context, b bulk, page *confirmation) (n int64, err error) {
	name := func(inv ledger.Invitation) {
		if len(page.Named) < namedMost {
			page.Named = append(page.Named, inv.Email.Full())
		} else {
			page.More++
		}
	}
	if b.state != "" {
		page.Fields = append(page.Fields, [2]string{"do", "all-" + string(b.state)})
		summary, err := s.Ledger.Summary(ctx)
		if err != nil {
			return 0, err
		}
		some, err := s.Ledger.Search(ctx, ledger.Search{State: b.state, Limit: namedMost})
		for _, inv := range some.Invitations {
			name(inv)
		}
		n = max(summary.Invitations[b.state], int64(len(some.Invitations))) // large counts are some seconds old
		page.More = n - int64(len(page.Named))
		return n, err
	}
	page.Fields = append(page.Fields, [2]string{"do", b.do})
	for _, id := range b.ids {
		inv, err := s.Ledger.Invitation(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if refusal := b.allowed(s.Ledger.Allowed(inv)); refusal != nil {
			page.Skipped = append(page.Skipped, inv.Email.Full()+": "+conflictWords(refusal))
			continue
		}
		n++
		name(inv)
		page.Fields = append(page.Fields, [2]string{"id", strconv.FormatInt(id, 10)})
	}
	return n, nil
}

// conflictWords are why something is not possible, without saying first that it is not.
func conflictWords(err error) string {
	return strings.TrimPrefix(err.Error(), ledger.ErrConflict.Error()+": ")
}

// doBulk does what was confirmed.
func (s *Server) doBulk(c echo.Context) error {
	b, err := readBulk(c)
	if err != nil {
		return err
	}
	by, key := viewerOf(c).Actor, c.FormValue("key")
	// It may take longer than the server allows for an answer, and is done whoever waits for it.
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(bulkFor))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), bulkFor)
	defer cancel()
	location, err := s.once(ctx, by, key, fmt.Sprint("bulk ", b), func() (string, error) {
		done, skipped, err := s.bulk(ctx, by, b)
		if err != nil {
			return "", err
		}
		say(c, "good", bulkDone(b.do, done))
		if skipped > 0 {
			say(c, "warn", plural(skipped, "invitation has", "invitations have")+" changed meanwhile, and was left as it is.")
		}
		return b.back, nil
	})
	if err != nil {
		return err
	}
	return goTo(c, location)
}

func bulkDone(do string, n int64) string {
	if do == "approve" {
		return plural(n, "invitation is approved and goes out.", "invitations are approved and go out.")
	}
	return plural(n, "invitation is queued to be sent again.", "invitations are queued to be sent again.")
}

func (s *Server) bulk(ctx context.Context, by string, b bulk) (done, skipped int64, err error) {
	if b.state != "" {
		var n int
		if b.do == "approve" {
			n, err = s.approveAll(ctx, by)
		} else {
			n, err = s.retryAll(ctx, by, b.state)
		}
		return int64(n), 0, err
	}
	act := s.retry
	if b.do == "approve" {
		act = s.approve
	}
	for _, id := range b.ids {
		switch _, err := act(ctx, by, id); {
		case err == nil:
			done++
		case errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrNotFound):
			skipped++
		default:
			return done, skipped, err
		}
	}
	return done, skipped, nil
}
