package ledger_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func testWatch(t *testing.T, open opener) {
	t.Run("a queued invitation without a job gets one, once it was left alone for a minute", func(t *testing.T) {
		l, c := opened(t, open)
		forgotten := invited(t, l, "jane@example.com")
		invited(t, l, "has.a.job@example.com")
		put(t, l, invited(t, l, "sent@example.com"), ledger.Sent)
		must[int64](t)(l.Record(t.Context(), verdict(t, "evt_held", "held@example.com", access.Hold)))
		client := must[*river.Client[*sql.Tx]](t)(river.NewClient(l.Driver(), &river.Config{SkipUnknownJobCheck: true}))
		for _, job := range jobs(t, l, "invite") {
			if job.ID != 2 {
				_, err := client.JobCancel(t.Context(), job.ID)
				check(t, err)
			}
		}
		c.step(time.Minute - time.Millisecond)
		equal(t, "attended at once", must[int](t)(l.Attend(t.Context())), 0)
		c.step(time.Millisecond)
		equal(t, "attended after a minute", must[int](t)(l.Attend(t.Context())), 1)
		equal(t, "run", invitation(t, l, forgotten.ID).Run, forgotten.Run+1)
		all := jobs(t, l, "invite")
		var job ledger.InviteJob
		check(t, json.Unmarshal(all[len(all)-1].EncodedArgs, &job))
		equal(t, "its job", job, ledger.InviteJob{Invitation: forgotten.ID, Run: 2})
		c.step(time.Hour)
		equal(t, "attended once more", must[int](t)(l.Attend(t.Context())), 0)
		equal(t, "jobs", len(jobs(t, l, "invite")), 4)
	})

	t.Run("what cannot be worked fails with its reason, in its own run only", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		fault := errors.New("a fault of ours")
		check(t, l.GiveUp(t.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run + 1}, ledger.Failed, "given up", fault))
		equal(t, "state after another run's fault", invitation(t, l, inv.ID).State, ledger.Queued)
		check(t, l.GiveUp(t.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}, ledger.Failed, "given up", fault))
		inv = invitation(t, l, inv.ID)
		equal(t, "state", inv.State, ledger.Failed)
		equal(t, "reason", inv.Reason, "given up")
		attempts := must[[]ledger.Attempt](t)(l.Attempts(t.Context(), inv.ID))
		equal(t, "attempts", len(attempts), 1)
		equal(t, "attempt", attempts[0].Kind+" "+attempts[0].Outcome+" "+attempts[0].Message, "fault never a fault of ours")
		must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
		check(t, l.GiveUp(t.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}, ledger.Failed, "given up", fault))
		equal(t, "state after the old job's fault", invitation(t, l, inv.ID).State, ledger.Queued)
	})

	t.Run("what is due is measured from when it should have been done", func(t *testing.T) {
		l, c := opened(t, open)
		due := func() ledger.Due { t.Helper(); return must[ledger.Due](t)(l.Due(t.Context())) }
		equal(t, "delivery of an empty ledger", due().Delivery, time.Time{})
		equal(t, "job of an empty ledger", due().Job, time.Time{})
		equal(t, "invitation of an empty ledger", due().Invitation, time.Time{})
		equal(t, "idle", due().Idle(c.Now()), 0)

		c.step(time.Hour)
		inv := invited(t, l, "jane@example.com")
		accept(t, l, "evt_1 bob@example.com invite") // received at start
		c.step(time.Minute)
		equal(t, "delivery", due().Delivery, start)
		equal(t, "invitation", due().Invitation, start.Add(time.Hour))
		equal(t, "job", due().Job, start.Add(time.Hour))
		equal(t, "idle", due().Idle(c.Now()), time.Minute)

		slot := must[ledger.Slot](t)(l.TakeSlot(t.Context(), ledger.InviteJob{Invitation: inv.ID, Run: 1}, 30*time.Second))
		equal(t, "idle while the budget is used", due().Idle(c.Now()) > 0, false)
		must[bool](t)(l.Settle(t.Context(), slot.Invitation, ledger.Settlement{State: ledger.Queued, NextTryAt: c.Now().Add(time.Hour)}))
		equal(t, "invitation whose next try is to come", due().Invitation, time.Time{})
		c.step(2 * time.Hour)
		equal(t, "idle since its next try", due().Idle(c.Now()), time.Hour)
		must[bool](t)(l.ChangePace(t.Context(), ledger.PaceChange{Stop: "the token"}))
		equal(t, "idle while sending is stopped", due().Idle(c.Now()), 0)
	})

	t.Run("lists what was set aside, newest first", func(t *testing.T) {
		l, c := opened(t, open)
		for range 3 {
			accept(t, l, "poison")
		}
		accept(t, l, "evt_1 bob@example.com invite")
		c.step(time.Hour)
		for decide(t, l) > 0 {
		}
		page := must[[]ledger.SetAside](t)(l.SetAside(t.Context(), 0, 2))
		equal(t, "page", len(page), 2)
		same(t, "newest", page[0], ledger.SetAside{Delivery: 3, Source: "stripe", ReceivedAt: start, At: start.Add(time.Hour), Tries: 3, Error: "decide delivery 3: this delivery is poison"})
		page = must[[]ledger.SetAside](t)(l.SetAside(t.Context(), page[1].Delivery, 2))
		equal(t, "last page", len(page), 1)
		equal(t, "oldest", page[0].Delivery, 1)
	})
}

func TestPostgresTakesBackWhatADeadInstanceHad(t *testing.T) {
	ledgers, address := instances(t, 1, quietly(time.Now))
	l, db := ledgers[0], outsidePostgres(t, address)
	for _, email := range []string{"jane@example.com", "bob@example.com", "eve@example.com"} {
		invited(t, l, email)
	}
	execute(t, db, `update river_job set state = 'running', attempt = 1, attempted_at = now() - make_interval(secs => case id when 1 then 76 else 74 end) where id <= 2`)
	equal(t, "of another queue", must[int64](t)(l.TakeBack(t.Context(), ledger.QueueLookUp, time.Second)), 0)
	equal(t, "taken back", must[int64](t)(l.TakeBack(t.Context(), ledger.QueueRetool, 75*time.Second)), 1)
	states := map[int64]string{}
	for _, job := range jobs(t, l, "invite") {
		states[job.ID] = string(job.State)
	}
	same(t, "states", states, map[int64]string{1: "available", 2: "running", 3: "available"})
	equal(t, "taken back again", must[int64](t)(l.TakeBack(t.Context(), ledger.QueueRetool, 75*time.Second)), 0)
}
