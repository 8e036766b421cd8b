package handlers_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func TestOverviewOfAnEmptyLedgerTeaches(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin")
	has(t, body, w.server.URL+"/webhooks/stripe", `data-copy="hook-0"`, "usher send stripe", `href="/admin/invite"`, "Usher is ready")
	wellMade(t, "the overview", body)

	w.record(t, "evt_1", "ada@example.com")
	_, body = b.get(t, "/admin")
	lacks(t, body, "Nothing has come yet", "/webhooks/stripe")
	has(t, body, "All is going on by itself")

	public := newWorld(t, func(o *handlers.Options) { o.PublicURL = "https://usher.example.com" })
	_, body = newBrowser(t, public).signIn(t, "").get(t, "/admin")
	has(t, body, "https://usher.example.com/webhooks/stripe")
}

func TestOverviewShowsWhatNeedsAPerson(t *testing.T) {
	w := newWorld(t, nil)
	b := newBrowser(t, w).signIn(t, "")
	w.settle(t, w.record(t, "evt_1", "ada@example.com"), ledger.Failed, "no")
	w.settle(t, w.record(t, "evt_2", "bob@example.com"), ledger.Failed, "no")
	w.record(t, "evt_3", "eve@held.example")
	w.settle(t, w.record(t, "evt_4", "zoe@example.com"), ledger.Expired, "")
	soon := w.record(t, "evt_5", "joe@example.com")
	inv, err := w.ledger.Invitation(t.Context(), soon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.ledger.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Sent, ExpiresAt: time.Now().Add(47 * time.Hour), Attempt: ledger.Attempt{Kind: "invite", StartedAt: time.Now(), Outcome: "sent"}}); err != nil {
		t.Fatal(err)
	}
	w.setAside(t, `<script>alert(1)</script>`)
	do(t, w, scenario{path: hook, signedBy: "whsec_another", body: "{}"}.request(t, w))

	_, body := b.get(t, "/admin")
	wellMade(t, "the overview", body)
	has(t, body, "2 invitations failed", `href="/admin/invitations?state=failed"`, "1 invitation waits for approval", `href="/admin/invitations?state=held"`,
		"1 invite expired unused", `href="/admin/invitations?state=expired"`, "1 invite expires within two days",
		"1 webhook could not be decided", `href="/admin/set-aside"`, "1 webhook to stripe was refused", "it was not made with the secret that Usher has", `href="/admin/sources/stripe"`)
	lacks(t, body, "Nothing.", "Sending is stopped", "Try now", "@example.com")

	has(t, body, `href="/admin/expiring"`)
	_, expiring := b.get(t, "/admin/expiring")
	wellMade(t, "what expires", expiring)
	has(t, expiring, `href="/admin/invitations/5">joe@example.com</a>`, "in 46 hours")
	lacks(t, expiring, "zoe@")

	_, body = b.get(t, "/admin/set-aside")
	wellMade(t, "what was set aside", body)
	has(t, body, "&lt;script&gt;alert(1)&lt;/script&gt;", "Decide again")
	lacks(t, body, "<script>alert")
	answer, _ := b.post(t, "/admin/deliveries/1/replay", nil, "Referer", w.server.URL+"/admin/set-aside")
	isRedirect(t, answer, "/admin/set-aside")
	_, body = b.get(t, "/admin/set-aside")
	has(t, body, "Delivery 1 is decided again", "Nothing is set aside")
	answer, body = b.post(t, "/admin/deliveries/99/replay", nil)
	if answer.StatusCode != 404 {
		t.Errorf("a delivery that is none is answered %d %s", answer.StatusCode, body)
	}
}

// setAside sets a delivery aside, for a reason.
func (w *world) setAside(t *testing.T, why string) {
	t.Helper()
	if _, err := w.ledger.Accept(t.Context(), ledger.Delivery{Source: "stripe", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		_, err := w.ledger.Decide(t.Context(), 10, func(ledger.Delivery) ([]ledger.Verdict, error) { return nil, errors.New(why) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOverviewWhileSendingIsStopped(t *testing.T) {
	w := withTokens(t)
	w.record(t, "evt_1", "ada@example.com")
	if _, err := w.ledger.ChangePace(t.Context(), ledger.PaceChange{Stop: "Invalid API token."}); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, w).signIn(t, inviteToken)
	_, body := b.get(t, "/admin")
	has(t, body, "Sending is stopped", "Invalid API token.", "The next try is", `action="/admin/try-sending"`)
	answer, _ := b.post(t, "/admin/try-sending", nil)
	isRedirect(t, answer, "/admin")
	_, body = b.get(t, "/admin")
	has(t, body, "The next invitation is tried now.")
	due, err := w.ledger.Due(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !due.Pace.NotBefore.IsZero() {
		t.Errorf("the next try is at %s", due.Pace.NotBefore)
	}
	trail, err := w.ledger.Audit(t.Context(), ledger.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(trail) != 1 || trail[0].Actor != "token zapier" || trail[0].Subject != "all sending" {
		t.Errorf("the trail is %+v", trail)
	}

	reader := newBrowser(t, w).signIn(t, readToken)
	_, body = reader.get(t, "/admin")
	has(t, body, "Sending is stopped")
	lacks(t, body, "Try now", "Invite someone")
	answer, body = reader.post(t, "/admin/try-sending", nil)
	if answer.StatusCode != 403 {
		t.Errorf("a reader is answered %d", answer.StatusCode)
	}
	has(t, body, "needs the role invite", "with the role read")
}

func TestOverviewCounts(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 1234 {
		w.record(t, fmt.Sprint("evt_", i), fmt.Sprintf("p%d@example.com", i%300))
	}
	for id := int64(1); id <= 30; id++ {
		state := ledger.Sent
		if id <= 12 {
			state = ledger.Accepted
		}
		w.settle(t, id, state, "")
	}
	b := newBrowser(t, w).signIn(t, "")
	_, body := b.get(t, "/admin")
	wellMade(t, "the overview", body)
	today := time.Now().UTC()
	has(t, body, "<dd>1,234</dd>", "<dd>300</dd>", `30 <span class="quiet">10% of the invitations</span>`, `12 <span class="quiet">40% of the sent</span>`,
		"<title>"+today.Format("2 January")+": 300 invitations, 12 accepted</title>", "300 invitations, of which 12 were accepted", `data-label="Last 24 hours" class="n">1,234<`)

	for part, want := range map[string]string{"now": "What needs you", "trend": "Invitations made, by day"} {
		answer, body := b.get(t, "/admin?part="+part, "HX-Request", "true")
		if answer.StatusCode != http.StatusOK {
			t.Errorf("the part %s is answered %d", part, answer.StatusCode)
		}
		has(t, body, want)
		lacks(t, body, "<html", "<h1")
	}
	// What did not change is the same to the letter: the page leaves it alone.
	_, first := b.get(t, "/admin?part=trend")
	_, second := b.get(t, "/admin?part=trend")
	if first != second {
		t.Error("the same is shown otherwise")
	}
}

func TestOverviewEstimatesTheCost(t *testing.T) {
	cost := func(prices handlers.Seats) string {
		w := newWorld(t, func(o *handlers.Options) { o.Seats = prices })
		for i := range 5 {
			id := w.record(t, fmt.Sprint("evt_", i), fmt.Sprintf("p%d@example.com", i))
			w.settle(t, id, []ledger.State{ledger.Accepted, ledger.Accepted, ledger.Accepted, ledger.Sent, ledger.Failed}[i], "")
		}
		_, body := newBrowser(t, w).signIn(t, "").get(t, "/admin")
		wellMade(t, "the overview", body)
		return body
	}
	body := cost(handlers.Seats{Price: "1234.50", Currency: "EUR", Included: 1})
	has(t, body, "1 in your plan", "2,469.00 EUR", "3,703.50 EUR", "Estimated with 1,234.50 EUR")
	lacks(t, body, "usher.yaml")
	body = cost(handlers.Seats{})
	has(t, body, "price: 12.50")
	lacks(t, body, "A month, about")
}

func TestOverviewWhenNobodySends(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.Now = func() time.Time { return time.Now().Add(2 * time.Minute) } })
	w.record(t, "evt_1", "ada@example.com")
	_, body := newBrowser(t, w).signIn(t, "").get(t, "/admin")
	has(t, body, "Nobody sends")
	if _, err := w.ledger.ChangePace(t.Context(), ledger.PaceChange{Wait: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_, body = newBrowser(t, w).signIn(t, "").get(t, "/admin")
	has(t, body, "Retool asked to slow down", "in 5")
}

// What configuration and sources are called is text.
func TestOverviewEscapes(t *testing.T) {
	w := newWorld(t, func(o *handlers.Options) { o.Warnings = []string{`usher.yaml:1: <img src=x onerror="alert(1)">`} })
	e := access.Event{Source: `<b onclick="alert(1)">`, Type: "x", ID: "evt_1", Email: "ada@example.com"}
	if _, err := w.ledger.Record(t.Context(), ledger.Verdict{Event: e, Decision: w.policy.Decide(e)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ledger.ChangePace(t.Context(), ledger.PaceChange{Stop: `</p><script>alert("1")</script>`}); err != nil {
		t.Fatal(err)
	}
	_, body := newBrowser(t, w).signIn(t, "").get(t, "/admin")
	lacks(t, body, "<img src=x", "<b onclick", "<script>alert")
	has(t, body, "&lt;img src=x", "&lt;b onclick", "&lt;script&gt;alert")
}

func TestPartsForWhoIsSignedOut(t *testing.T) {
	b := newBrowser(t, newWorld(t, nil))
	answer, body := b.get(t, "/admin?part=now", "HX-Request", "true", "HX-Current-URL", b.w.server.URL+"/admin")
	if answer.StatusCode != 204 || body != "" || answer.Header.Get("HX-Redirect") != "/admin/sign-in?next="+url.QueryEscape("/admin") {
		t.Errorf("%d %q to %q", answer.StatusCode, strings.TrimSpace(body), answer.Header.Get("HX-Redirect"))
	}
}
