package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const refusedForNow = "This email cannot be invited right now"

// broken lets one customer fail at Retool, for a reason that is gone by now.
func (h *house) broken(email string) (id int64) {
	h.t.Helper()
	h.retool.Inject(retooltest.Fault{Kind: "status", Status: 422, Message: refusedForNow, Email: email})
	h.paid(webhooktest.StripeEvent{Email: email})
	return h.invitation(email, "failed")
}

// failing is a house with a customer whose invitation has failed; by now Retool would take it.
func failing(t *testing.T) (h *house, id int64) {
	t.Helper()
	h = openHouse(t)
	h.paid(webhooktest.StripeEvent{Email: "ada@lovelace.example"})
	h.invitation("ada@lovelace.example", "sent")
	return h, h.broken("grace@hopper.example")
}

// testSendingAgain is somebody who never saw the pages and has a customer on the telephone: three clicks.
func testSendingAgain(t *testing.T) {
	h, _ := failing(t)
	b := h.enter()
	b.see("1 invitation failed") // which leads there too
	b.clicks = 0
	b.click("Invitations")
	b.fill("Search by address", "grace")
	b.see("grace@hopper.example", "failed", refusedForNow)
	b.click("grace@hopper.example")
	b.see("What happened", "Decided: invite", refusedForNow)
	h.retool.Inject(retooltest.Fault{Kind: "slow", Delay: time.Second})
	b.mark()
	b.doubleClick("Send again")
	if b.clicks++; b.clicks > 3 {
		t.Errorf("it took %d clicks", b.clicks)
	}
	b.see("queued")
	b.see("It waits for the person to come in")
	if n := h.retool.Count("grace@hopper.example"); n != 1 {
		t.Errorf("a double click invited %d times", n)
	}
	if n := h.count(`select count(*) from audit where actor = 'admin_token' and what = 'retry' and before = 'failed' and after = 'queued'`); n != 1 {
		t.Errorf("a double click left %d lines in the audit trail", n)
	}
	b.see("admin_token")
}

// testByKeyboard does the same without a mouse.
func testByKeyboard(t *testing.T) {
	h, _ := failing(t)
	b := newTab(t, h.url)
	b.visit("/admin/invitations")
	b.arrive("/admin/sign-in")
	b.fill("Token", storyAdmin)
	b.key(kb.Enter)
	b.arrive("/admin/invitations")
	b.see("Sign out")
	b.shortcut("/")
	if focused, err := ask[string](b, "focused"); err != nil || focused != "Search by address" {
		t.Errorf("the slash goes to %q: %v", focused, err)
	}
	b.key("grace")
	b.see("1 invitation")
	b.tabTo("grace@hopper.example")
	b.key(kb.Enter)
	b.see("What happened")
	b.tabTo("Send again")
	b.key(kb.Enter)
	h.invitation("grace@hopper.example", "sent")
	b.see("It waits for the person to come in")
}

// testCorrecting gives a customer who mistyped the address another one.
func testCorrecting(t *testing.T) {
	h := openHouse(t)
	h.paid(webhooktest.StripeEvent{Email: "ada@lovelaec.example"})
	h.invitation("ada@lovelaec.example", "sent")
	b := h.enter()
	b.click("Invitations")
	b.click("ada@lovelaec.example")
	b.fill("The right address", "ada@acme.example")
	b.see("acme.example is your own domain")
	b.forgive("status of 422") // the console's word on what is wanted here
	b.click("Correct and send")
	b.arrive("/admin/invitations/1/correct")
	b.see("Not invited. acme.example is your own domain")
	if n := h.count(`select count(*) from invitations`); n != 1 {
		t.Errorf("a refused correction left %d invitations", n)
	}
	b.fill("The right address", "ada@lovelace.example")
	b.see("A new invitation", "this person is invited")
	b.click("Correct and send")
	h.invitation("ada@lovelace.example", "sent")
	b.see("ada@lovelace.example", "It waits for the person to come in", "correct")
	h.invitation("ada@lovelaec.example", "revoked")
	h.until("Retool's invite of the wrong address is deleted", func() bool { return h.retool.Invites()[0].Deleted })
	if n := h.retool.Count("ada@lovelace.example"); n != 1 {
		t.Errorf("the right address was invited %d times", n)
	}
	if groups := h.count(`select count(*) from invitations where email = 'ada@lovelace.example' and groups = '[1042]'`); groups != 1 {
		t.Error("the corrected invitation does not have the groups of the rule")
	}
}

// crowded gives a house the invitations of so many people: see ledgertest.Crowd for who they are.
func crowded(people int) preparation {
	return func(t *testing.T, _ *parts, _ *retooltest.Retool, file string) {
		t.Helper()
		db, err := openFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := ledgertest.Crowd(t.Context(), db, "sqlite", people); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPagesAmongMany has 100,000 people in the ledger. Under the race detector, where SQLite takes minutes to fill, it has
// fewer; make test runs it without as well.
func TestPagesAmongMany(t *testing.T) {
	people := 100_000
	if underRace {
		people = 4_000
	}
	h := openHouse(t, crowded(people))
	var zoe, company string
	h.row(`select email from invitations where email like 'zoe%' order by id desc limit 1`, nil, &zoe)
	h.row(`select substr(email, instr(email, '@')) from invitations where email like 'bob%@company%' limit 1`, nil, &company)
	failed := h.count(`select count(*) from invitations where state = 'failed'`)
	b := h.enter()
	b.click("Invitations")
	b.see("Search by address", "All "+grouped(people))
	b.mark()
	b.fill("Search by address", zoe[:strings.Index(zoe, "@")]) // as fast as keys can be pressed
	b.see(zoe, "1 invitation")
	b.seeNot("grace0", "bob0")
	b.fill("Search by address", company)
	b.see(company, "bob0")
	b.seeNot(zoe)
	b.fill("Search by address", "nobody-of-that-name")
	b.see("No invitation")
	b.fill("Search by address", "")
	b.see("Next page")
	if !b.marked() {
		t.Error("the page was loaded again for a search")
	}

	b.click("Failed")
	b.see("Send all "+grouped(failed)+" again", "bob0")
	b.seeNot("grace0", "ada0")
	b.click("Next page")
	b.see("First page", "bob0")
	b.everyLook()
}

// grouped writes 12345 as 12,345.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// testByHand approves, and takes back.
func testByHand(t *testing.T) {
	h := openHouse(t)
	h.paid(webhooktest.StripeEvent{Email: "hank@globex.example"})
	h.invitation("hank@globex.example", "held")
	b := h.enter()
	b.click("Decide")
	b.see("hank@globex.example")
	b.click("hank@globex.example")
	b.see("What happened")
	b.mark()
	b.doubleClick("Approve and send")
	h.invitation("hank@globex.example", "sent")
	b.see("sent", "admin_token")

	b.click("Take back…")
	b.see("hank@globex.example", "Leave it")
	b.everyLook()
	b.click("Take back", "Leave it")
	h.invitation("hank@globex.example", "revoked")
	b.see("revoked")
	h.until("the invite is taken back", func() bool { return len(h.retool.State().Invites) == 0 })

	if n := h.count(`select count(*) from audit where actor = 'admin_token' and what in ('approve', 'revoke')`); n != 2 {
		t.Errorf("two deeds left %d lines in the audit trail", n)
	}
}

// testManyAtOnce sends all that failed again, and approves what is held, after it was asked whether.
func testManyAtOnce(t *testing.T) {
	h, _ := failing(t)
	h.paid(webhooktest.StripeEvent{Email: "hank@globex.example"})
	h.invitation("hank@globex.example", "held")
	b := h.enter()
	b.visit("/admin/invitations?state=failed")
	b.click("Send all")
	b.arrive("/admin/invitations/bulk")
	b.see("1 invitation")
	b.everyLook()
	b.click("Send")
	h.invitation("grace@hopper.example", "sent")
	b.visit("/admin/invitations?state=held")
	b.click("Tick hank@globex.example")
	b.click("Approve ticked")
	b.arrive("/admin/invitations/bulk")
	b.see("hank@globex.example")
	b.click("Approve")
	h.invitation("hank@globex.example", "sent")
}
