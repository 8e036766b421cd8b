package main

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const refusedForNow = "This email cannot be invited right now"

// failing is a house with a customer whose invitation has failed; by now Retool would take it.
func failing(t *testing.T) (h *house, id int64) {
	t.Helper()
	h = openHouse(t)
	h.retool.Inject(retooltest.Fault{Kind: "status", Status: 422, Email: "grace@hopper.example", Message: refusedForNow})
	h.paid(webhooktest.StripeEvent{Email: "ada@lovelace.example"})
	h.paid(webhooktest.StripeEvent{Email: "grace@hopper.example"})
	h.invitation("ada@lovelace.example", "sent")
	return h, h.invitation("grace@hopper.example", "failed")
}

// testSendingAgain is somebody who never saw the pages and has a customer on the telephone: three clicks.
func testSendingAgain(t *testing.T) {
	h, _ := failing(t)
	b := h.enter()
	b.click("Invitations")
	b.fill("Search by address", "grace")
	b.see("grace@hopper.example", "failed", refusedForNow)
	b.click("grace@hopper.example")
	b.see("What happened", "Decided: invite", refusedForNow)
	h.retool.Inject(retooltest.Fault{Kind: "slow", Delay: time.Second})
	b.mark()
	b.doubleClick("Send again")
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
	b.key("/")
	if focused, err := ask[string](b, "focused"); err != nil || focused != "Search by address" {
		t.Errorf("the slash goes to %q: %v", focused, err)
	}
	b.fill("Search by address", "grace") // in place of the slash: Chromium is sent it as a letter too
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

// aHundredThousand is a preparation: so many people were invited before.
func aHundredThousand(t *testing.T, p *parts, _ *retooltest.Retool, file string) {
	t.Helper()
	if err := migrated(t, p, time.Now).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := openFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), `with recursive s (n) as (select 1 union all select n + 1 from s where n < 100000)
		insert into invitations (email, state, source, run, tries, retool_id, created_at, updated_at, sent_at)
		select printf('customer%06d@example.com', n), 'sent', 'stripe', 1, 1, n, $1 + n, $1 + n, $1 + n from s`, time.Now().AddDate(0, -1, 0).UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
}

// testSearching finds one of a hundred thousand while one types, and pages through them.
func testSearching(t *testing.T) {
	h := openHouse(t, aHundredThousand)
	b := h.enter()
	b.visit("/admin/invitations")
	b.mark()
	b.fill("Search by address", "customer077777@")
	b.see("1 invitation", "customer077777@example.com")
	b.fill("Search by address", "nobody@nowhere.example")
	b.see("Nobody like that")
	b.seeNot("customer077777@example.com")
	if !b.marked() {
		t.Error("the page was loaded again")
	}
	b.visit("/admin/invitations")
	b.click("Next page")
	b.see("Previous page")
	b.noJump()
	b.click("Sent")
	b.arrive("/admin/invitations?")
	b.see("sent")
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
