package main

import (
	"testing"

	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

func testTryingRules(t *testing.T) {
	h := openHouse(t)
	h.paid(webhooktest.StripeEvent{Email: "ada@lovelace.example", Name: "<img src=x onerror=alert(1)>"})
	h.paid(webhooktest.StripeEvent{Email: "boss@acme.example"})
	h.invitation("ada@lovelace.example", "sent")
	h.until("both are decided", func() bool { return h.count(`select count(*) from decisions`) == 2 })
	b := h.enter()
	b.click("Rules")
	b.see("Try rules on what came", "A change to begin with")
	b.fill("Changed configuration", "domains: {deny: [lovelace.exmaple")
	b.forgive("status of 422") // the console's word on what is wanted here
	b.click("Try it")
	b.see("Nothing was tried", "Line 1")
	b.everyLook()
	b.fill("Changed configuration", "domains: {deny: [lovelace.example]}")
	b.click("Try it")
	b.see("2 events would be decided differently", "changed domains", "ada@lovelace.example", "lovelace.example is on your list of denied domains.",
		"Is sent already: nothing is taken back.", "boss@acme.example")
	b.everyLook()
	if n := h.count(`select count(*) from decisions`); n != 2 {
		t.Errorf("there are %d decisions, and were two", n)
	}
}
