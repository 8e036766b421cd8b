package ledger_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func testDecide(t *testing.T, open opener) {
	t.Run("makes events, decisions, invitations and jobs", func(t *testing.T) {
		l, c := opened(t, open)
		delivery := tell(t, l, "evt_1 jane@example.com invite\nevt_2 held@example.com hold\nevt_3 no@acme.com skip")

		e := event(t, l, "evt_1")
		equal(t, "delivery", e.DeliveryID, delivery)
		equal(t, "occurred at", e.OccurredAt, start.Add(-60e9))
		equal(t, "recorded at", e.RecordedAt, c.Now())
		equal(t, "customer", e.Details.Customer, "cus_1")
		equal(t, "resends", e.Resends, 0)
		equal(t, "decisions", len(e.Decisions), 1)
		equal(t, "outcome", e.Decisions[0].Outcome, access.Invite)
		equal(t, "rule", e.Decisions[0].Rule, -1)
		equal(t, "sentence", e.Decisions[0].Sentence, "because of invite")

		jane := invitation(t, l, e.Decisions[0].InvitationID)
		equal(t, "state", jane.State, ledger.Queued)
		equal(t, "address", jane.Email, address(t, "jane@example.com"))
		equal(t, "source", jane.Source, "stripe")
		equal(t, "run", jane.Run, 1)
		held := invitation(t, l, event(t, l, "evt_2").Decisions[0].InvitationID)
		equal(t, "state", held.State, ledger.Held)
		equal(t, "reason", held.Reason, "because of hold")
		skipped := event(t, l, "evt_3").Decisions[0]
		equal(t, "invitation of a skip", skipped.InvitationID, 0)
		equal(t, "address of a skip", skipped.Email, "no@acme.com")

		queued := jobs(t, l, "invite")
		var job ledger.InviteJob
		if len(queued) != 1 || json.Unmarshal(queued[0].EncodedArgs, &job) != nil || job != (ledger.InviteJob{Invitation: jane.ID, Run: 1}) {
			t.Errorf("got %d invite jobs, want the one of the address that is invited", len(queued))
		}
		equal(t, "deliveries that wait", summary(t, l).Undecided, 0)
		equal(t, "second call", decide(t, l), 0)
		events := must[[]ledger.Event](t)(l.InvitationEvents(t.Context(), jane.ID))
		equal(t, "events of the invitation", len(events), 1)
		equal(t, "event of the invitation", events[0].Details.ID, "evt_1")
	})

	t.Run("is one transaction", func(t *testing.T) {
		l, _ := opened(t, open)
		accept(t, l, "evt_1 jane@example.com invite")
		accept(t, l, "poison")
		equal(t, "deliveries taken", decide(t, l), 1)
		s := summary(t, l)
		equal(t, "undecided", s.Undecided, 2)
		equal(t, "queued", s.Invitations[ledger.Queued], 0)
		equal(t, "jobs", len(jobs(t, l, "invite")), 0)
		_, err := l.EventBySenderID(t.Context(), "", "evt_1")
		isError(t, err, ledger.ErrNotFound)
	})

	t.Run("takes the oldest, up to the limit", func(t *testing.T) {
		l, _ := opened(t, open)
		for range 5 {
			accept(t, l, "evt_1 jane@example.com invite")
		}
		var seen []int64
		for _, want := range []int{2, 2, 1, 0} {
			equal(t, "deliveries taken", must[int](t)(l.Decide(t.Context(), 2, func(d ledger.Delivery) ([]ledger.Verdict, error) {
				seen = append(seen, d.ID)
				return nil, nil
			})), want)
		}
		same(t, "order", seen, []int64{1, 2, 3, 4, 5})
	})

	t.Run("survives a panic of the caller", func(t *testing.T) {
		l, _ := opened(t, open)
		accept(t, l, "evt_1 jane@example.com invite")
		func() {
			defer func() { _ = recover() }()
			_, _ = l.Decide(t.Context(), 1, func(ledger.Delivery) ([]ledger.Verdict, error) { panic("a fault") })
			t.Error("the panic was swallowed")
		}()
		equal(t, "deliveries taken afterwards", decide(t, l), 1)
	})

	t.Run("by many at once records one event and one invitation", func(t *testing.T) {
		l, _ := opened(t, open)
		v := verdict(t, "evt_1", "jane@example.com", access.Invite)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if id, err := l.Record(t.Context(), v); err != nil || id != 1 {
					t.Errorf("got invitation %d and the error %v", id, err)
				}
			})
		}
		all.Wait()
		only(t, l)
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
		same(t, "decisions are of the one event", event(t, l, "evt_1").ID, int64(1))
	})

	t.Run("of many deliveries of one event records it once", func(t *testing.T) {
		l, _ := opened(t, open)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { accept(t, l, "evt_1 jane@example.com invite") })
			all.Go(func() {
				if _, err := l.Decide(t.Context(), 3, plainWords(t)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		decide(t, l)
		only(t, l)
		equal(t, "resends", event(t, l, "evt_1").Resends, 49)
		equal(t, "decisions", len(event(t, l, "evt_1").Decisions), 1)
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
	})
}

func testPoison(t *testing.T, open opener) {
	t.Run("is set aside alone after its tries", func(t *testing.T) {
		l, _ := opened(t, open)
		accept(t, l, "evt_1 a@example.com invite")
		poison := accept(t, l, "poison")
		accept(t, l, "evt_2 b@example.com invite")
		equal(t, "deliveries set to be tried again", decide(t, l), 1)
		equal(t, "deliveries decided without it", decide(t, l), 2)
		for range 2 {
			equal(t, "deliveries set to be tried again", decide(t, l), 1)
		}
		equal(t, "then", decide(t, l), 0)
		s := summary(t, l)
		equal(t, "set aside", s.SetAside, 1)
		equal(t, "undecided", s.Undecided, 0)
		equal(t, "queued", s.Invitations[ledger.Queued], 2)

		check(t, l.Replay(t.Context(), by, poison))
		equal(t, "undecided after a replay", summary(t, l).Undecided, 1)
		equal(t, "decided when the cause is gone", must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) { return nil, nil })), 1)
		equal(t, "set aside", summary(t, l).SetAside, 0)
	})

	t.Run("among many keeps nobody for ever", func(t *testing.T) {
		l, _ := opened(t, open)
		for range 5 {
			accept(t, l, "poison")
			accept(t, l, "evt_1 a@example.com invite")
		}
		for i := 0; decide(t, l) > 0; i++ {
			if i > 20 {
				t.Fatal("the stage goes round in circles")
			}
		}
		equal(t, "set aside", summary(t, l).SetAside, 5)
		equal(t, "resends", event(t, l, "evt_1").Resends, 4)
	})
}

func testResend(t *testing.T, open opener) {
	tests := []struct {
		name      string
		state     ledger.State
		again     string
		wantState ledger.State
		wantRun   int
	}{
		{name: "of a queued invitation only counts", state: ledger.Queued, wantState: ledger.Queued, wantRun: 1},
		{name: "of a sent invitation only counts", state: ledger.Sent, wantState: ledger.Sent, wantRun: 1},
		{name: "of an accepted invitation only counts", state: ledger.Accepted, wantState: ledger.Accepted, wantRun: 1},
		{name: "of an expired invitation only counts", state: ledger.Expired, wantState: ledger.Expired, wantRun: 1},
		{name: "of a revoked invitation only counts", state: ledger.Revoked, wantState: ledger.Revoked, wantRun: 1},
		{name: "of a failed invitation puts it back to work", state: ledger.Failed, wantState: ledger.Queued, wantRun: 2},
		{name: "with another body is still the same event", state: ledger.Failed, again: "evt_1 jane@example.com  invite", wantState: ledger.Queued, wantRun: 2},
		{name: "that names another address invites nobody", state: ledger.Sent, again: "evt_1 mallory@example.com invite", wantState: ledger.Sent, wantRun: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := opened(t, open)
			const body = "evt_1 jane@example.com invite"
			tell(t, l, body)
			if tt.state != ledger.Queued {
				put(t, l, only(t, l), tt.state)
			}
			if tt.again == "" {
				tt.again = body
			}
			tell(t, l, tt.again)
			inv := only(t, l)
			equal(t, "state", inv.State, tt.wantState)
			equal(t, "run", inv.Run, tt.wantRun)
			equal(t, "jobs", len(jobs(t, l, "invite")), tt.wantRun)
			equal(t, "resends", event(t, l, "evt_1").Resends, 1)
			equal(t, "decisions", len(event(t, l, "evt_1").Decisions), 1)
			if tt.wantRun == 2 {
				equal(t, "tries", inv.Tries, 0)
				equal(t, "reason", inv.Reason, "its event was sent again")
			}
		})
	}

	for _, tt := range []struct {
		name, today string
		wantState   ledger.State
		wantRun     int
	}{
		{name: "of an event that is skipped today leaves the failed invitation", today: "skip", wantState: ledger.Failed, wantRun: 1},
		{name: "of an event that was skipped and is not any more is decided again", today: "invite", wantState: ledger.Queued, wantRun: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := opened(t, open)
			delivery := tell(t, l, "evt_1 jane@example.com invite")
			put(t, l, only(t, l), ledger.Failed)
			check(t, l.Replay(t.Context(), by, delivery))
			must[int](t)(l.Decide(t.Context(), 9, func(ledger.Delivery) ([]ledger.Verdict, error) {
				return []ledger.Verdict{verdict(t, "evt_1", "jane@example.com", access.Skip)}, nil
			}))
			tell(t, l, "evt_1 jane@example.com "+tt.today)
			inv := only(t, l)
			equal(t, "state", inv.State, tt.wantState)
			equal(t, "run", inv.Run, tt.wantRun)
			equal(t, "resends", event(t, l, "evt_1").Resends, 1)
		})
	}

	t.Run("of a skipped event brings the customer in once the settings are mended", func(t *testing.T) {
		l, _ := opened(t, open)
		tell(t, l, "evt_1 jane@example.com skip")
		tell(t, l, "evt_1 jane@example.com skip")
		equal(t, "decisions while nothing is mended", len(event(t, l, "evt_1").Decisions), 1)
		for range 3 {
			tell(t, l, "evt_1 jane@example.com invite")
		}
		e := event(t, l, "evt_1")
		equal(t, "decisions", len(e.Decisions), 2)
		equal(t, "resends", e.Resends, 4)
		equal(t, "state", only(t, l).State, ledger.Queued)
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
	})
}

func testReplay(t *testing.T, open opener) {
	t.Run("adds a decision and no second invitation", func(t *testing.T) {
		l, _ := opened(t, open)
		delivery := tell(t, l, "evt_1 jane@example.com invite")
		check(t, l.Replay(t.Context(), by, delivery))
		check(t, l.Replay(t.Context(), by, delivery)) // impatient
		equal(t, "deliveries decided again", decide(t, l), 1)
		e := event(t, l, "evt_1")
		equal(t, "decisions", len(e.Decisions), 2)
		equal(t, "resends", e.Resends, 0)
		equal(t, "invitation", e.Decisions[1].InvitationID, e.Decisions[0].InvitationID)
		only(t, l)
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
	})

	t.Run("under rules that now invite makes the invitation", func(t *testing.T) {
		l, _ := opened(t, open)
		delivery := tell(t, l, "evt_1 jane@example.com skip")
		check(t, l.Replay(t.Context(), by, delivery))
		must[int](t)(l.Decide(t.Context(), 9, func(d ledger.Delivery) ([]ledger.Verdict, error) {
			d.Body = []byte(strings.ReplaceAll(string(d.Body), "skip", "invite"))
			return plainWords(t)(d)
		}))
		equal(t, "state", only(t, l).State, ledger.Queued)
		equal(t, "first decision", event(t, l, "evt_1").Decisions[0].Outcome, access.Skip)
	})

	t.Run("of a failed invitation's delivery puts it back to work", func(t *testing.T) {
		l, _ := opened(t, open)
		delivery := tell(t, l, "evt_1 jane@example.com invite")
		put(t, l, only(t, l), ledger.Failed)
		check(t, l.Replay(t.Context(), by, delivery))
		decide(t, l)
		equal(t, "state", only(t, l).State, ledger.Queued)
		equal(t, "run", only(t, l).Run, 2)
	})

	t.Run("of what is not there says so", func(t *testing.T) {
		l, _ := opened(t, open)
		isError(t, l.Replay(t.Context(), by, 99), ledger.ErrNotFound)
	})

	t.Run("works for an empty body", func(t *testing.T) {
		l, _ := opened(t, open)
		id := accept(t, l, "")
		equal(t, "decided", decide(t, l), 1)
		check(t, l.Replay(t.Context(), by, id))
		equal(t, "decided again", decide(t, l), 1)
	})
}

func testPromise(t *testing.T, open opener) {
	t.Run("a second event of an address adds to its invitation", func(t *testing.T) {
		l, _ := opened(t, open)
		first := verdict(t, "evt_1", "jane@example.com", access.Invite)
		first.Decision.Groups, first.Decision.Attributes, first.Note = []int64{7}, map[string]string{"plan": "basic", "seat": "1"}, "first"
		second := verdict(t, "evt_2", "Jane@Example.com", access.Invite)
		second.Decision.Groups, second.Decision.Attributes = []int64{3, 7}, map[string]string{"plan": "pro"}
		id := must[int64](t)(l.Record(t.Context(), first))
		equal(t, "invitation", must[int64](t)(l.Record(t.Context(), second)), id)
		inv := only(t, l)
		same(t, "groups", inv.Groups, []int64{3, 7})
		same(t, "attributes", inv.Attributes, map[string]string{"plan": "pro", "seat": "1"})
		equal(t, "note", inv.Note, "first")
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
		equal(t, "run", inv.Run, 1)
		equal(t, "events", len(must[[]ledger.Event](t)(l.InvitationEvents(t.Context(), id))), 2)
		same(t, "late groups of what was not sent", inv.LateGroups(), []int64(nil))
	})

	tests := []struct {
		name    string
		state   ledger.State
		outcome access.Outcome
		by      string
		want    ledger.State
		jobs    int // beside the first
	}{
		{name: "a held one stays held whatever another event says", state: ledger.Held, outcome: access.Invite, want: ledger.Held},
		{name: "a held one is queued by hand", state: ledger.Held, outcome: access.Invite, by: by, want: ledger.Queued, jobs: 1},
		{name: "a held one stays held by one more hold", state: ledger.Held, outcome: access.Hold, want: ledger.Held},
		{name: "a queued one stays queued", state: ledger.Queued, outcome: access.Invite, want: ledger.Queued},
		{name: "a queued one is not held back", state: ledger.Queued, outcome: access.Hold, want: ledger.Queued},
		{name: "a sent one stays sent", state: ledger.Sent, outcome: access.Invite, want: ledger.Sent},
		{name: "an accepted one stays accepted", state: ledger.Accepted, outcome: access.Invite, by: by, want: ledger.Accepted},
		{name: "an expired one is queued", state: ledger.Expired, outcome: access.Invite, want: ledger.Queued, jobs: 1},
		{name: "a failed one is queued", state: ledger.Failed, outcome: access.Invite, want: ledger.Queued, jobs: 1},
		{name: "a failed one stays failed by a hold", state: ledger.Failed, outcome: access.Hold, want: ledger.Failed},
		{name: "a revoked one stays revoked by a sender's event", state: ledger.Revoked, outcome: access.Invite, want: ledger.Revoked},
		{name: "a revoked one is queued by hand", state: ledger.Revoked, outcome: access.Invite, by: by, want: ledger.Queued, jobs: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := opened(t, open)
			put(t, l, invited(t, l, "jane@example.com"), tt.state)
			v := verdict(t, "evt_2", "jane@example.com", tt.outcome)
			v.By = tt.by
			must[int64](t)(l.Record(t.Context(), v))
			inv := only(t, l)
			equal(t, "state", inv.State, tt.want)
			equal(t, "jobs", len(jobs(t, l, "invite")), 1+tt.jobs)
			equal(t, "run", inv.Run, 1+tt.jobs)
		})
	}

	t.Run("a skip recorded by hand promises nothing", func(t *testing.T) {
		l, _ := opened(t, open)
		equal(t, "invitation", must[int64](t)(l.Record(t.Context(), verdict(t, "evt_1", "jane@example.com", access.Skip))), 0)
		equal(t, "delivery", event(t, l, "evt_1").DeliveryID, 0)
	})
}

func testLookUp(t *testing.T, open opener) {
	asking := func(t *testing.T) ledger.Verdict {
		return ledger.Verdict{Event: access.Event{Source: "stripe", ID: "evt_1", Type: "customer.subscription.created", Customer: "cus_1"}, LookUp: true}
	}
	asked := ledger.Attempt{Kind: "customer", StartedAt: start, Transport: "stripe", Status: 200, Outcome: "found"}

	t.Run("waits for its answer, which decides it", func(t *testing.T) {
		l, _ := opened(t, open)
		equal(t, "invitation", must[int64](t)(l.Record(t.Context(), asking(t))), 0)
		equal(t, "look-ups", summary(t, l).LookingUp, 1)
		e := event(t, l, "evt_1")
		equal(t, "decisions", len(e.Decisions), 0)
		later := asked
		later.EventID, later.Outcome = e.ID, "later"
		check(t, l.RecordAttempt(t.Context(), later))
		for range 2 { // a job handed out twice
			check(t, l.DecideEvent(t.Context(), ledger.LookUpEvent{Event: e.ID}, verdict(t, "evt_1", "jane@example.com", access.Invite), asked))
		}
		e = event(t, l, "evt_1")
		equal(t, "decisions", len(e.Decisions), 1)
		equal(t, "address", e.Details.Email, "jane@example.com")
		equal(t, "state", only(t, l).State, ledger.Queued)
		equal(t, "calls", len(must[[]ledger.Attempt](t)(l.LookUps(t.Context(), e.ID))), 3)
		equal(t, "jobs", len(jobs(t, l, "invite")), 1)
	})

	t.Run("asks again after a replay", func(t *testing.T) {
		l, _ := opened(t, open)
		ask := func(ledger.Delivery) ([]ledger.Verdict, error) { return []ledger.Verdict{asking(t)}, nil }
		delivery := accept(t, l, "asks")
		must[int](t)(l.Decide(t.Context(), 9, ask))
		e := event(t, l, "evt_1")
		check(t, l.DecideEvent(t.Context(), ledger.LookUpEvent{Event: e.ID}, verdict(t, "evt_1", "jane@example.com", access.Skip), asked))
		check(t, l.Replay(t.Context(), by, delivery))
		must[int](t)(l.Decide(t.Context(), 9, ask))
		all := jobs(t, l, "look_up")
		equal(t, "look-ups", len(all), 2)
		check(t, l.DecideEvent(t.Context(), ledger.LookUpEvent{Event: e.ID, Decided: 1}, verdict(t, "evt_1", "jane@example.com", access.Invite), asked))
		equal(t, "decisions", len(event(t, l, "evt_1").Decisions), 2)
		equal(t, "state", only(t, l).State, ledger.Queued)
	})

	t.Run("keeps the sender's hold in its job", func(t *testing.T) {
		l, _ := opened(t, open)
		v := asking(t)
		v.Decision = access.Decision{Outcome: access.Hold, Reason: "no_payment_required", Sentence: "A trial.", Rule: -1}
		must[int64](t)(l.Record(t.Context(), v))
		if args := string(jobs(t, l, "look_up")[0].EncodedArgs); !strings.Contains(args, "no_payment_required") {
			t.Errorf("the job %s forgot the hold", args)
		}
	})

	t.Run("for what is not there says so", func(t *testing.T) {
		l, _ := opened(t, open)
		_, err := l.Event(t.Context(), 9)
		isError(t, err, ledger.ErrNotFound)
		_, err = l.EventBySenderID(t.Context(), "", "evt_9")
		isError(t, err, ledger.ErrNotFound)
		if err := l.DecideEvent(t.Context(), ledger.LookUpEvent{Event: 9}, asking(t), asked); err == nil || errors.Is(err, ledger.ErrUnwritable) {
			t.Errorf("got %v for an event that is not there", err)
		}
	})
}
