package ledger_test

import (
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
)

func testExpire(t *testing.T, open opener) {
	const week = 7 * 24 * time.Hour
	look := func(inv ledger.Invitation) ledger.Look { return ledger.Look{Invitation: inv.ID, Run: inv.Run} }
	asked := func(s ledger.Settlement) ledger.Settlement {
		s.Attempt = ledger.Attempt{Kind: "look", StartedAt: start, Outcome: "test"}
		return s
	}
	expiring := func(t *testing.T, l *ledger.Ledger) []int64 {
		t.Helper()
		return ids(must[[]ledger.Invitation](t)(l.Expiring(t.Context(), 10)))
	}
	due := func(t *testing.T, l *ledger.Ledger, c *clock) ledger.Invitation {
		t.Helper()
		inv := sentAs(t, l, invited(t, l, "jane@example.com"), 42)
		c.step(week)
		slot := takeFor(t, l, look(inv))
		equal(t, "granted", slot.Granted, true)
		return slot.Invitation
	}

	t.Run("lists what is sent and whose link died, oldest first", func(t *testing.T) {
		l, c := opened(t, open)
		first := sentAs(t, l, invited(t, l, "a@example.com"), 1)
		second := sentAs(t, l, invited(t, l, "b@example.com"), 2)
		put(t, l, sentAs(t, l, invited(t, l, "c@example.com"), 3), ledger.Accepted)
		put(t, l, invited(t, l, "d@example.com"), ledger.Sent) // nobody knows until when
		must[bool](t)(l.Settle(t.Context(), first, asked(ledger.Settlement{State: ledger.Sent, Still: true, ExpiresAt: start.Add(week + time.Hour)})))
		same(t, "before", expiring(t, l), []int64{})
		c.step(week)
		same(t, "after a week", expiring(t, l), []int64{second.ID})
		c.step(time.Hour)
		same(t, "an hour later", expiring(t, l), []int64{second.ID, first.ID})
		must[bool](t)(l.Settle(t.Context(), second, asked(ledger.Settlement{State: ledger.Sent, Still: true, NextTryAt: c.Now().Add(time.Minute)})))
		same(t, "after an answer that did not tell", expiring(t, l), []int64{first.ID})
		c.step(time.Minute)
		same(t, "a minute later", expiring(t, l), []int64{second.ID, first.ID})
		must[ledger.Invitation](t)(l.Retry(t.Context(), by, second.ID))
		same(t, "after one is sent again", expiring(t, l), []int64{first.ID})
	})

	t.Run("a question is no probe", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := sentAs(t, l, invited(t, l, "jane@example.com"), 42)
		change(t, l, ledger.PaceChange{Stop: "the token is wrong"})
		check(t, l.ProbeNow(t.Context()))
		slot := takeFor(t, l, look(inv))
		equal(t, "granted", slot.Granted, false)
		equal(t, "stopped", slot.Stopped, "the token is wrong")
		equal(t, "sending since", invitation(t, l, inv.ID).SendingSince, time.Time{})
		equal(t, "the probe is another's", take(t, l, invited(t, l, "bob@example.com")).Granted, true)
	})

	t.Run("still sent keeps what Retool was told", func(t *testing.T) {
		l, c := opened(t, open)
		inv := due(t, l, c)
		later := c.Now().Add(week)
		must[bool](t)(l.Settle(t.Context(), inv, asked(ledger.Settlement{State: ledger.Sent, Still: true, Reason: "as it was", ExpiresAt: later, Known: true, RetoolID: 42})))
		after := invitation(t, l, inv.ID)
		equal(t, "state", after.State, ledger.Sent)
		equal(t, "sent at", after.SentAt, start)
		equal(t, "expires at", after.ExpiresAt, later)
		equal(t, "Retool's identity", after.RetoolID, 42)
		equal(t, "tries", after.Tries, 1)
		equal(t, "sending since", after.SendingSince, time.Time{})
	})

	t.Run("accepted is known with its moment", func(t *testing.T) {
		l, c := opened(t, open)
		inv := due(t, l, c)
		at := start.Add(time.Hour)
		must[bool](t)(l.Settle(t.Context(), inv, asked(ledger.Settlement{State: ledger.Accepted, AcceptedAt: at, Known: true, RetoolID: 42})))
		after := invitation(t, l, inv.ID)
		equal(t, "state", after.State, ledger.Accepted)
		equal(t, "accepted at", after.AcceptedAt, at)
		equal(t, "sent at", after.SentAt, start)
		equal(t, "Retool's identity", after.RetoolID, 42)
	})

	t.Run("expired is left to a person", func(t *testing.T) {
		l, c := opened(t, open)
		inv := due(t, l, c)
		must[bool](t)(l.Settle(t.Context(), inv, asked(ledger.Settlement{State: ledger.Expired, Reason: "its link died"})))
		after := invitation(t, l, inv.ID)
		equal(t, "state", after.State, ledger.Expired)
		equal(t, "run", after.Run, inv.Run)
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
		equal(t, "retried", must[int](t)(l.RetryAll(t.Context(), by, ledger.Expired)), 1)
	})

	t.Run("expired is sent again by itself, and counted", func(t *testing.T) {
		l, c := opened(t, open)
		inv := due(t, l, c)
		must[bool](t)(l.Settle(t.Context(), inv, asked(ledger.Settlement{State: ledger.Expired, Reason: "its link died", SendAgain: "sent again by itself"})))
		after := invitation(t, l, inv.ID)
		equal(t, "state", after.State, ledger.Queued)
		equal(t, "reason", after.Reason, "sent again by itself")
		equal(t, "sent again", after.Resent, 1)
		equal(t, "takes away first", after.Resend, true)
		equal(t, "run", after.Run, inv.Run+1)
		equal(t, "jobs", len(jobs(t, l, "invite")), 2)
		equal(t, "its slot", take(t, l, after).Granted, true)
		equal(t, "lines in the trail", len(trail(t, l)), 0) // nobody did it
	})

	t.Run("an answer that comes too late changes nothing", func(t *testing.T) {
		l, c := opened(t, open)
		inv := due(t, l, c)
		c.step(3 * time.Minute) // its process counts as dead
		must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
		must[bool](t)(l.Settle(t.Context(), inv, asked(ledger.Settlement{State: ledger.Expired, Reason: "its link died", SendAgain: "sent again by itself", Known: true, Taken: true})))
		after := invitation(t, l, inv.ID)
		equal(t, "reason", after.Reason, "to be sent again, by hand")
		equal(t, "sent again", after.Resent, 0)
		equal(t, "takes away first", after.Resend, true)
		equal(t, "Retool's identity", after.RetoolID, 42)
		equal(t, "jobs", len(jobs(t, l, "invite")), 2)
	})
}
