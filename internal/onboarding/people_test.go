package onboarding_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// usable counts the invites of an address at Retool by which somebody can come in, or came.
func (w *world) usable(email string) (n int) {
	for _, invite := range w.retool.Invites() {
		if strings.EqualFold(invite.InvitedEmail, email) && !invite.Deleted && (invite.ClaimedAt != nil || invite.ExpiresAt.After(time.Now())) {
			n++
		}
	}
	return n
}

// People press every button at once while Retool loses answers. In the end each address has what its invitation says:
// one invite or none, although this Retool would make doubles.
func TestPeopleAndWorkersAtOnce(t *testing.T) {
	t.Parallel()
	const people, addresses, acts = 4, 6, 150
	w := newWorld(t, setting{retool: retooltest.Options{Doubles: true}, options: onboarding.Options{MaxTries: 50, PollEvery: 100 * time.Millisecond, RequestsPerMinute: 60_000},
		front: func(retool http.Handler) http.Handler {
			return &oneAtATime{t: t, retool: retool.(*retooltest.Retool), busy: map[string]bool{}} //nolint:forcetypeassert // it is one
		}})
	email := func(n int) string { return fmt.Sprintf("pressed%d@customer.example", n) }
	for n := range addresses {
		w.deliver(webhooktest.StripeEvent{ID: fmt.Sprintf("evt_%d", n), Email: email(n)})
	}
	w.run()
	var all sync.WaitGroup
	for p := range people {
		all.Go(func() {
			chance := rand.New(rand.NewPCG(7, uint64(p)))
			for i := range acts {
				id := int64(chance.IntN(addresses) + 1)
				to := email(chance.IntN(addresses))
				switch err := w.act(chance.IntN(5), fmt.Sprintf("act_%d_%d", p, i), id, to); {
				case err == nil, errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrNotFound):
				default:
					t.Error(err)
				}
				if fault := chance.IntN(12); fault < 3 {
					w.retool.Inject(retooltest.Fault{Kind: []string{"reset-after-work", "500", "reset"}[fault], On: []string{"invite", "delete", "get", "list"}[chance.IntN(4)]})
				}
				time.Sleep(time.Duration(chance.IntN(20)) * time.Millisecond)
			}
		})
	}
	all.Wait()
	w.retool.ClearFaults()
	w.until("all is done", func() bool {
		for _, inv := range must(w.ledger.Invitations(context.Background(), ledger.Filter{}))(t) {
			if inv.State == ledger.Queued || inv.Resend || !inv.SendingSince.IsZero() {
				return false
			}
		}
		return true
	})
	for _, inv := range must(w.ledger.Invitations(t.Context(), ledger.Filter{}))(t) {
		want := map[ledger.State]int{ledger.Sent: 1, ledger.Revoked: 0}
		n, known := want[inv.State]
		if !known {
			t.Errorf("%s is %s (%s)", inv.Email.Full(), inv.State, inv.Reason)
		}
		w.equal("usable invites of invitation "+fmt.Sprint(inv.ID), w.usable(inv.Email.Full()), n)
	}
	if t.Failed() {
		t.Log(w.story())
	}
}

// oneAtATime is slow, and sees to it that no two calls about one address overlap.
type oneAtATime struct {
	t      *testing.T
	retool *retooltest.Retool
	mu     sync.Mutex
	busy   map[string]bool
}

func (o *oneAtATime) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if email := o.about(r); email != "" {
		if o.mark(email, true) {
			o.t.Errorf("%s %s beside another call about %s", r.Method, r.URL.Path, email)
		}
		defer o.mark(email, false)
		time.Sleep(rand.N(250 * time.Millisecond))
	}
	o.retool.ServeHTTP(rw, r)
}

func (o *oneAtATime) mark(email string, busy bool) (was bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was, o.busy[email] = o.busy[email], busy
	return was
}

// about is whom a call is about, nobody for the list.
func (o *oneAtATime) about(r *http.Request) string {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var asked struct{ Email string }
		if err != nil || json.Unmarshal(body, &asked) != nil {
			o.t.Errorf("an odd call: %s", body)
		}
		return asked.Email
	}
	if id, err := strconv.Atoi(path.Base(r.URL.Path)); err == nil {
		return o.retool.Invites()[id-1].InvitedEmail
	}
	return ""
}

// act is what one person does.
func (w *world) act(what int, name string, id int64, to string) error {
	ctx := context.Background()
	address, err := access.ParseAddress(to)
	if err != nil {
		return err
	}
	v := ledger.Verdict{Event: access.Event{Source: "api", ID: name, Email: to}, By: "a test",
		Decision: access.Decision{Outcome: access.Invite, Reason: access.ReasonExternal, Rule: -1, Address: address}}
	switch what {
	case 0:
		_, err = w.ledger.Retry(ctx, "a test", id)
	case 1:
		_, err = w.ledger.Record(ctx, v)
	case 2:
		_, _, err = w.ledger.Correct(ctx, "a test", id, v)
	default:
		_, err = w.ledger.Revoke(ctx, "a test", id)
	}
	return err
}

// Two instances share a ledger: what a person takes back, has sent again, and what dies is done once.
func TestTwoInstancesTakeBackAndSendAgain(t *testing.T) {
	t.Parallel()
	const many = 12
	address := ledgertest.Postgres(t)
	first := newWorld(t, setting{address: address, options: onboarding.Options{ResendExpired: 1}})
	forward := func(http.Handler) http.Handler { return first.retool }
	second := newWorld(t, setting{address: address, options: onboarding.Options{ResendExpired: 1}, front: forward})
	email := func(n int) string { return fmt.Sprintf("shared%d@customer.example", n) }
	var sent []ledger.Invitation
	for n := range many {
		sent = append(sent, first.invited(webhooktest.StripeEvent{ID: fmt.Sprintf("evt_%d", n), Email: email(n)}))
	}
	for n, inv := range sent {
		switch n % 4 {
		case 0:
			must(first.ledger.Revoke(t.Context(), "a test", inv.ID))(t)
		case 1:
			must(second.ledger.Retry(t.Context(), "a test", inv.ID))(t)
		case 2:
			first.retool.Claim(email(n))
			first.tamper(fmt.Sprintf(`update invitations set expires_at = 1 where id = %d`, inv.ID))
		case 3:
			first.retool.Expire(email(n))
			first.tamper(fmt.Sprintf(`update invitations set expires_at = 1 where id = %d`, inv.ID))
		}
	}
	first.run()
	second.run()
	want := []struct {
		state ledger.State
		made  int
		calls string
	}{
		{ledger.Revoked, 1, "look found 200, revoke deleted 204"},
		{ledger.Sent, 2, "look found 200, revoke deleted 204, invite sent 200"},
		{ledger.Accepted, 1, "look claimed 200"},
		{ledger.Sent, 2, "look found 200, look found 200, revoke deleted 204, invite sent 200"},
	}
	for n, inv := range sent {
		w := want[n%4]
		first.until("all calls are made", func() bool { return first.since(inv.ID, 1) == w.calls })
		first.until("it is "+string(w.state), func() bool { return first.invitation(email(n)).State == w.state })
		first.equal("invites ever made", first.retool.Count(email(n)), w.made)
	}
	time.Sleep(300 * time.Millisecond) // more than a poll of River: time enough to do the wrong thing
	for n, inv := range sent {
		first.equal("calls", first.since(inv.ID, 1), want[n%4].calls)
	}
}
