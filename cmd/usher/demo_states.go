package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const (
	otherOrg    = "mary@jackson.example"    // is in another organisation of Retool's
	unlucky     = "dorothy@vaughan.example" // Retool answers 500 whenever this one is invited
	shortLived  = "joan@clarke.example"
	shortLasts  = 2 * time.Second
	linkForDemo = time.Hour
)

// A customer comes after the scenes, so that there is somebody in every state.
type customer struct {
	email, name string
	payment     string // of the checkout; "" is paid
	reached     bool   // Retool made an invite
	first       string // the state that the checkout leads to
	then        func(d *demo, ctx context.Context, id int64) error
	state       string // at the end
	why         string // in words
}

func demoCustomers() []customer {
	return []customer{
		{email: shortLived, name: "Joan Clarke", reached: true, first: "sent", then: (*demo).outlast, state: "expired", why: "nobody used the link before it died; Usher asked Retool, after a restart"},
		{email: "katherine@johnson.example", name: "Katherine Johnson", payment: "no_payment_required", first: "held", state: "held", why: "the checkout cost nothing, and no_payment_required says hold: a person must approve"},
		{email: unlucky, name: "Dorothy Vaughan", first: "queued", then: (*demo).tried, state: "queued", why: "Retool answers 500: it is tried again by itself, for days"},
		{email: otherOrg, name: "Mary Jackson", first: "failed", state: "failed", why: "Retool refuses for good: the address belongs to another organization"},
		{email: "margaret@hamilton.example", name: "Margaret Hamilton", reached: true, first: "sent", then: (*demo).comeIn, state: "accepted", why: "she used the link, and Retool's own event said so"},
		{email: "annie@easley.example", name: "Annie Easley", reached: true, first: "sent", then: (*demo).takeBack, state: "revoked", why: "a person took it back: Retool's invite is deleted"},
	}
}

// showStates brings a customer into every state, by the same means as in life.
func (d *demo) showStates(ctx context.Context) (expected bool, err error) {
	fmt.Fprintf(d.w, "\n%sMore customers, so that there is one in every state%s\n", d.c.bold, d.c.off)
	d.sandbox.Inject(retooltest.Fault{Kind: "500", Times: -1, Email: unlucky})
	d.sandbox.Shorten(shortLived, shortLasts)
	all, ids := demoCustomers(), map[string]int64{}
	for _, one := range all {
		if ids[one.email], err = d.pay(ctx, one); err != nil {
			return false, fmt.Errorf("%s: %w", one.email, err)
		}
	}
	for _, one := range append(all[1:], all[0]) { // the restart last
		if err := d.reach(ctx, ids[one.email], one.first); err != nil {
			return false, fmt.Errorf("%s: %w", one.email, err)
		}
		if one.then != nil {
			if err := one.then(d, ctx, ids[one.email]); err != nil {
				return false, fmt.Errorf("%s: %w", one.email, err)
			}
		}
	}
	expected = true
	for _, one := range all {
		var now shownInvitation
		if err := d.until(ctx, invitationPath(ids[one.email]), &now, func() bool { return true }); err != nil {
			return false, err
		}
		mark := d.c.green + "✓" + d.c.off
		if now.State != one.state {
			mark, expected = d.c.red+"✗"+d.c.off, false
		}
		fmt.Fprintf(d.w, "%s  %s%-8s%s  %-26s %s\n", mark, d.c.stateColour(now.State), now.State, d.c.off, one.email, one.why)
	}
	return expected, nil
}

func invitationPath(id int64) string { return fmt.Sprintf("/v1/invitations/%d", id) }

// pay sends a customer's checkout, and returns the invitation that it leads to.
func (d *demo) pay(ctx context.Context, one customer) (int64, error) {
	event := webhook.StripeSample{ID: webhook.StripeID("evt"), Email: one.email, Name: one.name, PaymentStatus: one.payment}
	body := event.JSON()
	status, answer, err := post(ctx, d.url+"/webhooks/stripe", webhook.SignStripe(body, d.secret, time.Now()), body)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("answered %d %s", status, answer)
	}
	var e shownEvent
	err = d.until(ctx, "/v1/events/"+event.ID, &e, func() bool { return e.Decision != nil && e.Decision.Invitation != 0 })
	if err != nil {
		return 0, err
	}
	return e.Decision.Invitation, nil
}

// reach waits until an invitation is in a state.
func (d *demo) reach(ctx context.Context, id int64, state string) error {
	var inv shownInvitation
	if err := d.until(ctx, invitationPath(id), &inv, func() bool { return inv.State == state }); err != nil {
		return fmt.Errorf("%w: it is %s, not %s", err, inv.State, state)
	}
	return nil
}

// tried waits until Retool was asked, in vain.
func (d *demo) tried(ctx context.Context, id int64) error {
	var inv shownInvitation
	return d.until(ctx, invitationPath(id), &inv, func() bool { return len(inv.Attempts) > 0 })
}

// comeIn accepts the invite, of which Retool tells us by an event of its own.
func (d *demo) comeIn(ctx context.Context, id int64) error {
	var inv person
	if err := d.until(ctx, invitationPath(id), &inv, func() bool { return true }); err != nil {
		return err
	}
	if !d.sandbox.Claim(inv.Email) {
		return errors.New("the sandbox has no invite that could be accepted")
	}
	body, err := json.Marshal(map[string]string{"eventType": "User Created", "userEmail": inv.Email})
	if err != nil {
		return err
	}
	header := http.Header{"Authorization": {"Bearer " + d.events}, "Content-Type": {"application/json"}}
	status, answer, err := post(ctx, d.url+"/webhooks/retool", header, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("answered %d %s", status, answer)
	}
	return d.reach(ctx, id, "accepted")
}

// takeBack revokes, and waits until Retool's invite is deleted.
func (d *demo) takeBack(ctx context.Context, id int64) error {
	status, answer, err := post(ctx, d.url+invitationPath(id)+"/revoke", http.Header{"Authorization": {"Bearer " + d.token}}, nil)
	if err != nil {
		return err
	}
	if status != http.StatusAccepted {
		return fmt.Errorf("answered %d %s", status, answer)
	}
	var inv person
	return d.until(ctx, invitationPath(id), &inv, func() bool {
		return inv.State == "revoked" && !slices.ContainsFunc(d.sandbox.State().Invites, func(i retooltest.Invite) bool { return i.InvitedEmail == inv.Email })
	})
}

// outlast waits for the death of a link, and starts Usher anew: at a start it asks Retool about dead links.
func (d *demo) outlast(ctx context.Context, id int64) error {
	var inv person
	if err := d.until(ctx, invitationPath(id), &inv, func() bool { return !inv.ExpiresAt.IsZero() && time.Now().After(inv.ExpiresAt) }); err != nil {
		return err
	}
	if err := d.restart(ctx); err != nil {
		return fmt.Errorf("start Usher anew: %w", err)
	}
	return d.reach(ctx, id, "expired")
}

// signInLink makes an address that signs in to the pages once, beside the Usher that serves them.
func (d *demo) signInLink(ctx context.Context) (path string, err error) {
	p, err := d.load()
	if err != nil {
		return "", err
	}
	book, err := ledger.Open(ctx, p.config.Database.Reveal(), ledger.Options{Logger: slog.New(slog.DiscardHandler), AsItIs: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	options := p.handlerOptions(book)
	options.SignInLinkFor = linkForDemo
	return handlers.New(options).SignInLink(ctx)
}

// tryPages signs in by a link of its own, and looks at the pages that the demo ends on.
func (d *demo) tryPages(ctx context.Context) error {
	link, err := d.signInLink(ctx)
	if err != nil {
		return err
	}
	cookies, err := d.look(ctx, link, nil)
	if err == nil && len(cookies) == 0 {
		err = errors.New("the link does not sign in")
	}
	if err == nil {
		_, err = d.look(ctx, "/admin", cookies)
	}
	return err
}

// look gets a page with cookies, wherever the browser thinks that they may go.
func (d *demo) look(ctx context.Context, path string, cookies []*http.Cookie) ([]*http.Cookie, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
	if err != nil {
		return nil, err
	}
	for _, cookie := range cookies {
		request.AddCookie(cookie)
	}
	browser := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := browser.Do(request)
	if err != nil {
		return nil, fmt.Errorf("look at the pages: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("look at the pages: answered %d", answer.StatusCode)
	}
	return answer.Cookies(), nil
}
