package ledger_test

import (
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func takePace(t *testing.T, l *ledger.Ledger, interval time.Duration) ledger.Slot {
	t.Helper()
	return must[ledger.Slot](t)(l.TakePace(t.Context(), interval))
}

func change(t *testing.T, l *ledger.Ledger, c ledger.PaceChange) bool {
	t.Helper()
	return must[bool](t)(l.ChangePace(t.Context(), c))
}

func testPace(t *testing.T, open opener) {
	const interval = time.Second

	t.Run("grants one slot for each interval", func(t *testing.T) {
		l, c := opened(t, open)
		granted := 0
		for range 100 { // 10 s in steps of 100 ms
			slot := takePace(t, l, interval)
			if slot.Granted {
				granted++
				equal(t, "wait with a slot", slot.Wait, 0)
			} else if slot.Wait <= 0 || slot.Wait > interval {
				t.Fatalf("told to wait %s", slot.Wait)
			}
			c.step(100 * time.Millisecond)
		}
		equal(t, "slots in ten seconds", granted, 10)
	})

	t.Run("says how long to wait", func(t *testing.T) {
		l, c := opened(t, open)
		equal(t, "first", takePace(t, l, interval).Granted, true)
		c.step(300 * time.Millisecond)
		slot := takePace(t, l, interval)
		equal(t, "granted", slot.Granted, false)
		equal(t, "wait", slot.Wait, 700*time.Millisecond)
		c.step(slot.Wait)
		equal(t, "after that wait", takePace(t, l, interval).Granted, true)
	})

	t.Run("waits for all as long as Retool asks", func(t *testing.T) {
		l, c := opened(t, open)
		equal(t, "stopped by a wait", change(t, l, ledger.PaceChange{Wait: time.Minute}), false)
		change(t, l, ledger.PaceChange{Wait: time.Second}) // a shorter one takes nothing back
		slot := takePace(t, l, interval)
		equal(t, "wait", slot.Wait, time.Minute)
		equal(t, "stopped", slot.Stopped, "")
		change(t, l, ledger.PaceChange{Works: true}) // an answer to an earlier call
		equal(t, "wait", takePace(t, l, interval).Wait, time.Minute)
		c.step(time.Minute)
		equal(t, "after a minute", takePace(t, l, interval).Granted, true)
	})

	t.Run("stops once, and lets one probe through", func(t *testing.T) {
		l, c := opened(t, open)
		equal(t, "stopped now", change(t, l, ledger.PaceChange{Stop: "the token is wrong"}), true)
		equal(t, "stopped again", change(t, l, ledger.PaceChange{Stop: "the token is wrong, still"}), false)
		slot := takePace(t, l, interval)
		equal(t, "granted", slot.Granted, false)
		equal(t, "wait", slot.Wait, 5*time.Minute)
		equal(t, "why", slot.Stopped, "the token is wrong")
		p := summary(t, l).Pace
		equal(t, "stopped reason", p.StoppedReason, "the token is wrong")
		equal(t, "stopped at", p.StoppedAt, start)
		equal(t, "not before", p.NotBefore, start.Add(5*time.Minute))

		c.step(5 * time.Minute)
		equal(t, "the probe", takePace(t, l, interval).Granted, true)
		c.step(2 * interval)
		equal(t, "a second beside the probe", takePace(t, l, interval).Granted, false)
		equal(t, "the probe's stop is news", change(t, l, ledger.PaceChange{Stop: "the token is wrong"}), false)
		c.step(5 * time.Minute)
		equal(t, "the next probe", takePace(t, l, interval).Granted, true)

		change(t, l, ledger.PaceChange{Works: true})
		p = summary(t, l).Pace
		equal(t, "stopped reason", p.StoppedReason, "")
		equal(t, "stopped at", p.StoppedAt, time.Time{})
		c.step(interval)
		equal(t, "after it works", takePace(t, l, interval).Granted, true)
		equal(t, "stopped anew", change(t, l, ledger.PaceChange{Stop: "another reason"}), true)
	})

	t.Run("can be probed at once", func(t *testing.T) {
		l, _ := opened(t, open)
		change(t, l, ledger.PaceChange{Stop: "the token is wrong"})
		check(t, l.ProbeNow(t.Context()))
		slot := takePace(t, l, interval)
		equal(t, "granted", slot.Granted, true)
		equal(t, "stopped", slot.Stopped, "the token is wrong")
	})

	t.Run("is not hurried by a probe while Retool asks to wait", func(t *testing.T) {
		l, _ := opened(t, open)
		change(t, l, ledger.PaceChange{Wait: time.Minute})
		check(t, l.ProbeNow(t.Context()))
		equal(t, "wait", takePace(t, l, interval).Wait, time.Minute)
	})
}

func take(t *testing.T, l *ledger.Ledger, inv ledger.Invitation) ledger.Slot {
	t.Helper()
	return must[ledger.Slot](t)(l.TakeSlot(t.Context(), ledger.InviteJob{Invitation: inv.ID, Run: inv.Run}, time.Second))
}

func testSlot(t *testing.T, open opener) {
	t.Run("marks the invitation as being sent", func(t *testing.T) {
		l, c := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		slot := take(t, l, inv)
		equal(t, "granted", slot.Granted, true)
		equal(t, "address", slot.Invitation.Email, inv.Email)
		equal(t, "unsure", slot.Invitation.Unsure, false)
		equal(t, "sending since", invitation(t, l, inv.ID).SendingSince, start)

		c.step(2 * time.Second)
		slot = take(t, l, inv)
		equal(t, "granted twice", slot.Granted, false)
		equal(t, "wait", slot.Wait, 2*time.Second)
		c.step(3*time.Minute - 3*time.Second)
		slot = take(t, l, inv)
		equal(t, "granted after nearly three minutes", slot.Granted, false)
		equal(t, "wait until it counts as dead", slot.Wait, time.Second)
		_, err := l.Retry(t.Context(), by, inv.ID)
		isError(t, err, ledger.ErrConflict)
	})

	t.Run("takes a call of three minutes for dead, and looks first", func(t *testing.T) {
		l, c := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		take(t, l, inv)
		c.step(3 * time.Minute)
		slot := take(t, l, inv)
		equal(t, "granted", slot.Granted, true)
		equal(t, "unsure", slot.Invitation.Unsure, true)
		equal(t, "unsure in the ledger", invitation(t, l, inv.ID).Unsure, true)
	})

	t.Run("does not mark when there is none", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		takePace(t, l, time.Second)
		slot := take(t, l, inv)
		equal(t, "wait", slot.Wait, time.Second)
		equal(t, "sending since", invitation(t, l, inv.ID).SendingSince, time.Time{})
	})

	for _, state := range ledger.States() {
		if state == ledger.Queued {
			continue
		}
		t.Run("is void for an invitation that is "+string(state), func(t *testing.T) {
			l, _ := opened(t, open)
			inv := put(t, l, invited(t, l, "jane@example.com"), state)
			slot := take(t, l, inv)
			equal(t, "void", slot.Void, true)
			equal(t, "granted", slot.Granted, false)
			equal(t, "a slot is left", takePace(t, l, time.Second).Granted, true)
		})
	}

	t.Run("is void for a job of another run", func(t *testing.T) {
		l, _ := opened(t, open)
		old := invited(t, l, "jane@example.com")
		retried := must[ledger.Invitation](t)(l.Retry(t.Context(), by, old.ID))
		equal(t, "the old job", take(t, l, old).Void, true)
		equal(t, "the new job", take(t, l, retried).Granted, true)
	})

	t.Run("for an invitation that is not there says so", func(t *testing.T) {
		l, _ := opened(t, open)
		_, err := l.TakeSlot(t.Context(), ledger.InviteJob{Invitation: 9, Run: 1}, time.Second)
		isError(t, err, ledger.ErrNotFound)
	})
}

func testSettle(t *testing.T, open opener) {
	t.Run("records the attempt", func(t *testing.T) {
		l, c := opened(t, open)
		inv := take(t, l, invited(t, l, "jane@example.com")).Invitation
		next := c.step(time.Second).Add(time.Minute)
		made := ledger.Attempt{Kind: "invite", StartedAt: start, Duration: 1500 * time.Millisecond, Transport: "v2", Status: 500, Outcome: "later", Message: "oops"}
		stopped := must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{Attempt: made, State: ledger.Queued, Reason: "oops", NextTryAt: next, CountTry: true, Unsure: true}))
		equal(t, "stopped", stopped, false)
		inv = invitation(t, l, inv.ID)
		equal(t, "state", inv.State, ledger.Queued)
		equal(t, "reason", inv.Reason, "oops")
		equal(t, "tries", inv.Tries, 1)
		equal(t, "unsure", inv.Unsure, true)
		equal(t, "next try", inv.NextTryAt, next)
		equal(t, "sending since", inv.SendingSince, time.Time{})
		equal(t, "updated at", inv.UpdatedAt, c.Now())
		made.ID, made.InvitationID = 1, inv.ID
		attempts := must[[]ledger.Attempt](t)(l.Attempts(t.Context(), inv.ID))
		equal(t, "attempts", len(attempts), 1)
		equal(t, "attempt", attempts[0], made)
	})

	t.Run("counts only what counts", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		for _, counts := range []bool{true, false, true, false} {
			must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Queued, CountTry: counts, Attempt: ledger.Attempt{Kind: "invite", Outcome: "later"}}))
		}
		equal(t, "tries", only(t, l).Tries, 2)
		equal(t, "attempts", len(must[[]ledger.Attempt](t)(l.Attempts(t.Context(), inv.ID))), 4)
	})

	t.Run("remembers what Retool was told", func(t *testing.T) {
		l, _ := opened(t, open)
		v := verdict(t, "evt_1", "jane@example.com", access.Invite)
		v.Decision.Groups, v.Decision.Attributes = []int64{7}, map[string]string{"plan": "pro"}
		inv := invitation(t, l, must[int64](t)(l.Record(t.Context(), v)))
		expires := start.Add(7 * 24 * time.Hour)
		must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Sent, RetoolID: 42, ExpiresAt: expires, CountTry: true,
			ToldGroups: []int64{7}, ToldAttributes: map[string]string{"plan": "pro"},
			Attempt: ledger.Attempt{Kind: "invite", Outcome: "sent", RetoolID: 42}}))
		inv = only(t, l)
		equal(t, "Retool's id", inv.RetoolID, 42)
		equal(t, "expires at", inv.ExpiresAt, expires)
		equal(t, "sent at", inv.SentAt, start)
		same(t, "sent groups", inv.SentGroups, []int64{7})
		same(t, "sent attributes", inv.SentAttributes, map[string]string{"plan": "pro"})
		equal(t, "late attributes", len(inv.LateAttributes()), 0)
		equal(t, "late groups", len(inv.LateGroups()), 0)
		equal(t, "jobs for attributes", len(jobs(t, l, "attributes")), 0)

		v = verdict(t, "evt_2", "jane@example.com", access.Invite)
		v.Decision.Groups, v.Decision.Attributes = []int64{8}, map[string]string{"plan": "team"}
		must[int64](t)(l.Record(t.Context(), v))
		inv = only(t, l)
		equal(t, "state", inv.State, ledger.Sent)
		same(t, "late groups", inv.LateGroups(), []int64{8})
		same(t, "late attributes", inv.LateAttributes(), map[string]string{"plan": "team"})
		equal(t, "jobs for attributes", len(jobs(t, l, "attributes")), 1)

		told := ledger.Attempt{Kind: "attributes", Outcome: "later"}
		check(t, l.SettleAttribute(t.Context(), inv.ID, "plan", "team", false, told))
		equal(t, "late attributes after a refusal", len(only(t, l).LateAttributes()), 1)
		told.Outcome = "sent"
		check(t, l.SettleAttribute(t.Context(), inv.ID, "plan", "team", true, told))
		equal(t, "late attributes after telling", len(only(t, l).LateAttributes()), 0)
		equal(t, "attempts", len(must[[]ledger.Attempt](t)(l.Attempts(t.Context(), inv.ID))), 3)
	})

	for name, tt := range map[string]struct {
		retoolID int64
		want     int
	}{
		"asks for attributes that came while it was sent":          {retoolID: 42, want: 1},
		"asks for none where Retool gave no id to tell them under": {retoolID: 0, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := opened(t, open)
			inv := take(t, l, invited(t, l, "jane@example.com")).Invitation
			v := verdict(t, "evt_2", "jane@example.com", access.Invite)
			v.Decision.Attributes = map[string]string{"plan": "pro"}
			must[int64](t)(l.Record(t.Context(), v))
			must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Sent, RetoolID: tt.retoolID, Attempt: ledger.Attempt{Kind: "invite", Outcome: "sent"}}))
			equal(t, "jobs for attributes", len(jobs(t, l, "attributes")), tt.want)
			equal(t, "late attributes", len(only(t, l).LateAttributes()), 1)
		})
	}

	t.Run("of an older run changes no state", func(t *testing.T) {
		l, _ := opened(t, open)
		old := invited(t, l, "jane@example.com")
		must[ledger.Invitation](t)(l.Retry(t.Context(), by, old.ID))
		must[bool](t)(l.Settle(t.Context(), old, ledger.Settlement{State: ledger.Failed, Reason: "too late", CountTry: true, Attempt: ledger.Attempt{Kind: "invite", Outcome: "never"}}))
		inv := only(t, l)
		equal(t, "state", inv.State, ledger.Queued)
		equal(t, "tries", inv.Tries, 0)
		equal(t, "attempts", len(must[[]ledger.Attempt](t)(l.Attempts(t.Context(), inv.ID))), 1)
	})

	t.Run("tells once that it stopped everything", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		stop := ledger.Settlement{State: ledger.Queued, Pace: ledger.PaceChange{Stop: "401"}, Attempt: ledger.Attempt{Kind: "invite", Outcome: "stop"}}
		for _, want := range []bool{true, false, false} {
			equal(t, "stopped now", must[bool](t)(l.Settle(t.Context(), inv, stop)), want)
		}
	})
}

func testByHand(t *testing.T, open opener) {
	tests := []struct {
		state                  ledger.State
		retryErr, approveErr   error
		retryState, retriedAll ledger.State
		retryAllErr            error
	}{
		{state: ledger.Held, retryErr: ledger.ErrConflict, retryAllErr: ledger.ErrConflict},
		{state: ledger.Queued, approveErr: ledger.ErrConflict, retryAllErr: ledger.ErrConflict},
		{state: ledger.Sent, approveErr: ledger.ErrConflict, retryAllErr: ledger.ErrConflict},
		{state: ledger.Accepted, retryErr: ledger.ErrConflict, approveErr: ledger.ErrConflict, retryAllErr: ledger.ErrConflict},
		{state: ledger.Expired, approveErr: ledger.ErrConflict},
		{state: ledger.Revoked, approveErr: ledger.ErrConflict, retryAllErr: ledger.ErrConflict},
		{state: ledger.Failed, approveErr: ledger.ErrConflict},
	}
	acts := []struct {
		name string
		do   func(*testing.T, *ledger.Ledger, ledger.Invitation) error
		want func(i int) error
	}{
		{name: "retry", do: func(t *testing.T, l *ledger.Ledger, inv ledger.Invitation) error {
			_, err := l.Retry(t.Context(), by, inv.ID)
			return err
		}, want: func(i int) error { return tests[i].retryErr }},
		{name: "approve", do: func(t *testing.T, l *ledger.Ledger, inv ledger.Invitation) error {
			_, err := l.Approve(t.Context(), by, inv.ID)
			return err
		}, want: func(i int) error { return tests[i].approveErr }},
		{name: "retry all", do: func(t *testing.T, l *ledger.Ledger, inv ledger.Invitation) error {
			_, err := l.RetryAll(t.Context(), by, inv.State)
			return err
		}, want: func(i int) error { return tests[i].retryAllErr }},
	}
	for _, act := range acts {
		for i, tt := range tests {
			t.Run(act.name+" of what is "+string(tt.state), func(t *testing.T) {
				l, _ := opened(t, open)
				before := put(t, l, invited(t, l, "jane@example.com"), tt.state)
				err, want := act.do(t, l, before), act.want(i)
				isError(t, err, want)
				after := only(t, l)
				if want != nil {
					same(t, "the invitation", after, before)
					equal(t, "jobs", len(jobs(t, l, "invite")), 1)
					return
				}
				equal(t, "state", after.State, ledger.Queued)
				equal(t, "run", after.Run, 2)
				equal(t, "tries", after.Tries, 0)
				equal(t, "jobs", len(jobs(t, l, "invite")), 2)
				equal(t, "the job's slot", take(t, l, after).Granted, true)
			})
		}
	}

	t.Run("of what is not there says so", func(t *testing.T) {
		l, _ := opened(t, open)
		_, err := l.Retry(t.Context(), by, 9)
		isError(t, err, ledger.ErrNotFound)
		_, err = l.Approve(t.Context(), by, 9)
		isError(t, err, ledger.ErrNotFound)
		_, err = l.Invitation(t.Context(), 9)
		isError(t, err, ledger.ErrNotFound)
	})

	t.Run("a retry probes at once", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		change(t, l, ledger.PaceChange{Stop: "401"})
		inv = must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
		equal(t, "granted", take(t, l, inv).Granted, true)
	})

	t.Run("a retry of an unsure one still looks first", func(t *testing.T) {
		l, _ := opened(t, open)
		inv := invited(t, l, "jane@example.com")
		must[bool](t)(l.Settle(t.Context(), inv, ledger.Settlement{State: ledger.Failed, Unsure: true, Attempt: ledger.Attempt{Kind: "invite", Outcome: "later"}}))
		inv = must[ledger.Invitation](t)(l.Retry(t.Context(), by, inv.ID))
		equal(t, "unsure", take(t, l, inv).Invitation.Unsure, true)
	})

	t.Run("retries all of a state, in several batches", func(t *testing.T) {
		l, _ := opened(t, open)
		const many = 501
		words := ""
		for i := range many {
			words += "evt_" + itoa(i) + " person" + itoa(i) + "@example.com invite\n"
		}
		tell(t, l, words)
		for _, inv := range must[[]ledger.Invitation](t)(l.Invitations(t.Context(), ledger.Filter{})) {
			put(t, l, inv, ledger.Failed)
		}
		equal(t, "retried", must[int](t)(l.RetryAll(t.Context(), by, ledger.Failed)), many)
		equal(t, "failed", summary(t, l).Invitations[ledger.Failed], 0)
		equal(t, "retried again", must[int](t)(l.RetryAll(t.Context(), by, ledger.Failed)), 0)
	})
}
