package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/retoolclient/retooltest"
)

func testInviting(t *testing.T) {
	h := openHouse(t)
	b := h.enter()
	b.click("Invite")
	b.see("One person")

	// The domain rule speaks before anything is sent, and what is wrong with an address is said while one types.
	b.fill("Address", "boss@acme.example")
	b.see("Will not be invited", "acme.example is your own domain")
	b.fill("Address", "ada@lovelace")
	b.see("the domain has no dot")
	b.forgive("status of 422") // the console's word on what is wanted here
	b.fill("Address", "boss@acme.example")
	b.click("Invite", "One person")
	b.see("Not invited. acme.example is your own domain")

	h.retool.Inject(retooltest.Fault{Kind: "slow", Delay: time.Second})
	b.fill("Address", "ada@lovelace.example")
	b.see("A new invitation.", "this person is invited")
	b.doubleClick("Invite", "One person")
	b.arrive("/admin/invite?sent=")
	b.mark()
	b.see("ada@lovelace.example", "queued", "waits for its turn")
	b.see("ada@lovelace.example", "sent", "Retool has sent the invite.")
	if !b.marked() {
		t.Error("the page was loaded again")
	}
	if n := h.retool.Count("ada@lovelace.example"); n != 1 {
		t.Errorf("a double click invited %d times", n)
	}
	if n := h.count(`select count(*) from events`); n != 2 { // one of them refused
		t.Errorf("two calls left %d events", n)
	}
	if n := h.count(`select count(*) from audit where actor = 'admin_token' and what = 'invite'`); n != 2 {
		t.Errorf("two calls left %d lines in the audit trail", n)
	}
}

const customers = `Email,Name,Note,Plan
grace@hopper.example,Grace Hopper,from the fair,pro
alan@turing.example,Alan Turing,,pro
not-an-address,Nobody,,
boss@acme.example,The Boss,,
hank@globex.example,Hank Scorpio,,
GRACE@hopper.example,Grace again,,
`

func testImporting(t *testing.T) {
	h := openHouse(t)
	file := filepath.Join(t.TempDir(), "customers.csv")
	if err := os.WriteFile(file, []byte(customers), 0o600); err != nil {
		t.Fatal(err)
	}
	b := h.enter()
	b.click("Invite")
	b.upload(file)
	b.click("Show what would happen")
	b.arrive("/admin/import/")
	b.see("1 line cannot be used", "Line 4", "1 address stands in the list twice", "grace@hopper.example", "acme.example is your own domain", "held")
	b.everyLook()
	if n := h.count(`select count(*) from events`) + len(h.retool.Invites()); n != 0 {
		t.Errorf("a look at the list left %d events and invites", n)
	}

	b.forgive("status of 422") // the console's word on what is wanted here
	b.click("Send 2 invitations")
	b.see("1 line cannot be used. Mend the list and send it anew, or tick the box")
	h.retool.Inject(retooltest.Fault{Kind: "slow", Delay: 1500 * time.Millisecond, Times: 2})
	b.click("Leave the 1 line that cannot be used out")
	b.doubleClick("Send 2 invitations")
	b.see("% done")
	b.mark()
	b.see("Done.", "Nothing is left to send.")
	if !b.marked() {
		t.Error("the page was loaded again")
	}
	b.everyLook()
	for _, address := range []string{"grace@hopper.example", "alan@turing.example"} {
		if n := h.retool.Count(address); n != 1 {
			t.Errorf("%s was invited %d times", address, n)
		}
	}
	if n := len(h.retool.Invites()); n != 2 {
		t.Errorf("%d people were invited, want 2", n)
	}
	h.invitation("hank@globex.example", "held")
}

// testWithoutScripts walks the main paths as a browser does that runs none.
func testWithoutScripts(t *testing.T) {
	h := openHouse(t)
	b := newTab(t, h.url)
	b.noScripts()
	b.visit("/admin")
	b.signIn(storyAdmin)
	b.see("Overview")
	b.click("Invite")
	b.fill("Address", "ada@lovelace.example")
	b.click("Preview")
	b.see("A new invitation.", "this person is invited")
	b.click("Invite", "One person")
	b.see("ada@lovelace.example")
	h.invitation("ada@lovelace.example", "sent")
	b.visit(b.path())
	b.see("Retool has sent the invite.")

	b.fill("Addresses", strings.Join([]string{"grace@hopper.example", "alan@turing.example"}, "\n"))
	b.click("Show what would happen")
	b.click("Send 2 invitations")
	b.see("List of 2 people")
	h.invitation("grace@hopper.example", "sent")
	h.invitation("alan@turing.example", "sent")
	b.visit(b.path())
	b.see("Done.", "Nothing is left to send.")

	id := h.broken("margaret@hamilton.example")
	b.click("Invitations")
	b.fill("Search by address", "margaret")
	b.click("Search")
	b.see("margaret@hamilton.example", "1 invitation")
	b.seeNot("alan@turing.example")
	b.click("margaret@hamilton.example")
	b.see("What happened")
	b.click("Send again")
	h.invitation("margaret@hamilton.example", "sent")
	b.visit(fmt.Sprint("/admin/invitations/", id))
	b.see("sent")

	b.click("Sign out")
	b.see("You are signed out")
}
