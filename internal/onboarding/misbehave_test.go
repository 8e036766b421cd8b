package onboarding_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

const (
	mostTries = 20
	perMinute = 45
)

// A virtual world is one in virtual time, in which hours pass in a moment: nothing in it waits for anything outside.
type virtual struct {
	*world
	line  *line
	jobs  map[int64]bool // that have an alarm clock
	hands chan struct{}  // as many as River has workers
	ctx   context.Context
	many  int // customers so far
}

// A line is the network to Retool: real HTTP over pipes, since virtual time stands still while anybody waits for a socket.
type line struct {
	calls chan net.Conn
	over  chan struct{}
	down  atomic.Bool // connections are refused

	mu    sync.Mutex
	dials []time.Time
}

func (l *line) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *line) Close() error   { close(l.over); return nil }
func (l *line) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (l *line) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.mu.Lock()
	l.dials = append(l.dials, time.Now())
	l.mu.Unlock()
	if l.down.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	here, there := net.Pipe()
	select {
	case l.calls <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialled counts the connections asked for in [from, to).
func (l *line) dialled(from, to time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.dials {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// quickDir is in memory where the system has such a place: hours of commits need not wait for a disk.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "usher-test-") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newVirtual(t *testing.T) *virtual {
	t.Helper()
	w := &world{T: t, logs: new(lockedBuffer), path: filepath.Join(quickDir(t), "usher.db")}
	logger := slog.New(slog.NewJSONHandler(w, nil))
	w.retool = retooltest.New(retooltest.Options{Token: token})
	l := &line{calls: make(chan net.Conn), over: make(chan struct{})}
	server := &http.Server{Handler: w.retool, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	w.client = must(retoolclient.New(retoolclient.Options{BaseURL: "http://localhost", Token: token,
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}}))(t)
	w.source = must(webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}}))(t)
	// SQLite's upkeep every few milliseconds would fill the hours.
	w.ledger = must(ledger.Open(t.Context(), "sqlite://"+w.path, ledger.Options{Now: time.Now, Logger: logger, TendEvery: time.Minute}))(t)
	t.Cleanup(func() {
		if err := w.ledger.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	w.ob = must(onboarding.New(onboarding.Options{
		Ledger: w.ledger, Policy: must(access.NewPolicy(access.PolicyConfig{}))(t), Retool: w.client, Logger: logger,
		Sources: map[string]*webhook.Source{"stripe": w.source}, RequestsPerMinute: perMinute, MaxTries: mostTries,
		FirstWait: 30 * time.Second, PollEvery: time.Second,
	}))(t)
	return &virtual{world: w, line: l, jobs: map[int64]bool{}, hands: make(chan struct{}, 4), ctx: t.Context()}
}

// work does what River does with the jobs that are new, without its polling, which would fill the hours: each job has
// an alarm clock of its own, and four are worked at once.
func (v *virtual) work() {
	v.Helper()
	v.ob.DecideAll(v.ctx)
	for _, row := range v.world.jobs(ledger.InviteJob{}.Kind()) {
		if !v.jobs[row.ID] {
			v.jobs[row.ID] = true
			var job ledger.InviteJob
			if err := json.Unmarshal(row.EncodedArgs, &job); err != nil {
				v.Fatal(err)
			}
			go v.alarm(job)
		}
	}
}

func (v *virtual) alarm(job ledger.InviteJob) {
	for {
		v.hands <- struct{}{}
		err := v.ob.Invite(v.ctx, job)
		<-v.hands
		var snoozed *river.JobSnoozeError
		switch {
		case v.ctx.Err() != nil || err == nil:
			return
		case !errors.As(err, &snoozed):
			v.Errorf("invitation %d: %v", job.Invitation, err)
			return
		}
		select {
		case <-time.After(snoozed.Duration):
		case <-v.ctx.Done():
			return
		}
	}
}

// customers pay, n of them, one every so often.
func (v *virtual) customers(n int, every time.Duration) {
	v.Helper()
	for range n {
		v.many++
		v.deliver(webhooktest.StripeEvent{ID: fmt.Sprintf("evt_%d", v.many), Email: payer(v.many), Customer: "cus_1"})
		v.work()
		time.Sleep(every)
	}
}

func payer(n int) string { return fmt.Sprintf("c%d@customer.example", n) }

func (v *virtual) all() []ledger.Invitation {
	v.Helper()
	return must(v.ledger.Invitations(context.Background(), ledger.Filter{Limit: 1000}))(v.T)
}

// schedule checks that whoever waits can be seen to wait, for what and until when.
func (v *virtual) schedule() {
	v.Helper()
	now, pace := time.Now(), v.summary().Pace
	busy := time.Duration(v.many+4)*time.Minute/perMinute + time.Duration(v.many)*30*time.Second/4 // everybody's turn, with slow answers
	lifted := v.lifted()
	for _, inv := range v.all() {
		if inv.State != ledger.Queued || !inv.SendingSince.IsZero() || len(v.attempts(inv.ID)) == 0 {
			continue
		}
		if inv.Reason == "" && !inv.Unsure {
			v.Errorf("at %s invitation %d waits for no reason", now.Format(time.TimeOnly), inv.ID)
		}
		attempts := must(v.ledger.Attempts(context.Background(), inv.ID))(v.T)
		last := attempts[len(attempts)-1].StartedAt // a look is followed by the call at once
		if at := slices.MaxFunc([]time.Time{inv.NextTryAt, pace.NotBefore, lifted, last}, time.Time.Compare); at.Before(now.Add(-busy)) && pace.StoppedReason == "" {
			v.Errorf("at %s invitation %d (%s) waits until %s", now.Format(time.TimeOnly), inv.ID, inv.Reason, at.Format(time.TimeOnly))
		}
	}
}

// lifted is when the last stop ended: the first attempt since that Retool took. All that waited is due then.
func (v *virtual) lifted() (at time.Time) {
	v.Helper()
	var attempts []ledger.Attempt
	for _, inv := range v.all() {
		attempts = append(attempts, must(v.ledger.Attempts(context.Background(), inv.ID))(v.T)...)
	}
	slices.SortFunc(attempts, func(a, b ledger.Attempt) int { return a.StartedAt.Compare(b.StartedAt) })
	stopped := false
	for _, a := range attempts {
		took := slices.Contains([]string{"sent", "present", "found", "never"}, a.Outcome)
		if stopped && took {
			at = a.StartedAt
		}
		stopped = !took && (stopped || a.Outcome == retoolclient.Stop.String())
	}
	return at
}

// wait lets time pass until every customer is invited, at most for so long.
func (v *virtual) wait(most time.Duration) {
	v.Helper()
	for end := time.Now().Add(most); int(v.summary().Invitations[ledger.Sent]) < v.many; time.Sleep(10 * time.Minute) {
		if time.Now().After(end) {
			v.Fatalf("after %s: %v\n%s", most, v.summary().Invitations, v.story())
		}
		v.schedule()
	}
}

// proof checks the promise from the outside: everybody once, and never faster than the pace.
func (v *virtual) proof() {
	v.Helper()
	synctest.Wait()
	for _, inv := range v.all() {
		v.equal("state", inv.State, ledger.Sent)
		v.equal("invites ever made for one customer", v.retool.Count(inv.Email.Full()), 1)
		for _, a := range must(v.ledger.Attempts(context.Background(), inv.ID))(v.T) {
			if a.Kind == "" || a.Outcome == "" {
				v.Errorf("an attempt of %d has no kind or outcome", inv.ID)
			}
		}
	}
	v.equal("invitations", len(v.all()), v.many)
	v.equal("invites", len(v.retool.Invites()), v.many)
	v.paced()
}

// paced checks that Retool was never called faster than the pace.
func (v *virtual) paced() {
	v.Helper()
	var calls []time.Time
	for _, inv := range v.all() {
		for _, a := range must(v.ledger.Attempts(context.Background(), inv.ID))(v.T) {
			calls = append(calls, a.StartedAt)
		}
	}
	slices.SortFunc(calls, time.Time.Compare)
	for i := range calls {
		// A slot is stored in whole milliseconds, each a little early.
		if j := i + perMinute; j < len(calls) && calls[j].Sub(calls[i]) < time.Minute-perMinute*time.Millisecond {
			v.Errorf("%d calls in %s at %s", perMinute+1, calls[j].Sub(calls[i]), calls[i])
		}
	}
	// Within one call the client may try three times.
	if dials := v.line.dialled(time.Time{}, time.Now()); dials > 3*len(calls) {
		v.Errorf("%d connections for %d calls", dials, len(calls))
	}
}

// tries checks how many tries were counted for everybody.
func (v *virtual) tries(least, most int) {
	v.Helper()
	for _, inv := range v.all() {
		if inv.Tries < least || inv.Tries > most {
			v.Errorf("invitation %d: %d tries, want %d to %d\n%s", inv.ID, inv.Tries, least, most, strings.Join(v.attempts(inv.ID), ", "))
		}
	}
}

// A spell is some time of one weather at Retool.
type spell struct {
	lasts time.Duration
	fault retooltest.Fault // of every request
	dated bool             // a Retry-After that names the spell's end
	token string           // another than ours
	down  bool
}

func (v *virtual) begin(s spell) {
	if s.dated {
		s.fault.RetryAfter = time.Now().Add(s.lasts).UTC().Format(http.TimeFormat)
	}
	if s.fault.Kind != "" {
		s.fault.Times = -1
		v.retool.Inject(s.fault)
	}
	if s.token != "" {
		v.retool.SetToken(s.token)
	}
	v.line.down.Store(s.down)
}

func (v *virtual) end() {
	v.retool.ClearFaults()
	v.retool.SetToken(token)
	v.line.down.Store(false)
}

// skipUnderRace skips what takes minutes under the race detector, which slows SQLite tenfold: "make test" runs it without.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if underRace {
		t.Skip("hours of virtual time are run without the race detector")
	}
}

const another = "retool_another0123456789"

func TestRetoolMisbehavesForHours(t *testing.T) {
	skipUnderRace(t)
	tests := []struct {
		name      string
		spell     spell
		customers int
		heals     time.Duration // at most, after the spell
		tries     [2]int        // counted for each, least and most
		calls     int           // during the spell at most; 0: whatever the pace allows
		stops     int           // times that sending was stopped, as logged
		reason    string        // why the first customer waits in the middle of the spell
		attempts  string        // of the first customer
	}{
		{name: "down for five hours", spell: spell{lasts: 5 * time.Hour, down: true}, customers: 20, heals: 7 * time.Hour,
			tries: [2]int{9, 12}, reason: "connection refused"},
		{name: "slow for three hours", spell: spell{lasts: 3 * time.Hour, fault: retooltest.Fault{Kind: "slow", Delay: 25 * time.Second, On: "any"}}, customers: 40,
			tries: [2]int{1, 1}, attempts: "invite sent 200"},
		{name: "429 for two hours, saying seconds", spell: spell{lasts: 2 * time.Hour, fault: retooltest.Fault{Kind: "429", RetryAfter: "600", On: "any"}}, customers: 30,
			tries: [2]int{1, 1}, calls: 12, reason: "slow down", heals: 10 * time.Minute},
		{name: "429 for two hours, with a date", spell: spell{lasts: 2 * time.Hour, fault: retooltest.Fault{Kind: "429", On: "any"}, dated: true}, customers: 60,
			tries: [2]int{1, 1}, calls: 1, reason: "slow down", attempts: "invite rate limited 429, invite sent 200"},
		{name: "429 for two hours, not saying how long", spell: spell{lasts: 2 * time.Hour, fault: retooltest.Fault{Kind: "429", On: "any"}}, customers: 30,
			tries: [2]int{1, 1}, calls: 3 * 121, reason: "slow down"},
		{name: "a wrong token for three hours", spell: spell{lasts: 3 * time.Hour, token: another}, customers: 5,
			tries: [2]int{1, 1}, calls: 1 + 3*12, stops: 1, reason: "API token", heals: 6 * time.Minute},
		{name: "a missing permission for an hour", spell: spell{lasts: time.Hour, fault: retooltest.Fault{Kind: "scope", On: "any"}}, customers: 5,
			tries: [2]int{1, 1}, calls: 1 + 12, stops: 1, reason: "permission", heals: 6 * time.Minute},
		{name: "a plan that ended, for an hour", spell: spell{lasts: time.Hour, fault: retooltest.Fault{Kind: "plan", On: "any"}}, customers: 5,
			tries: [2]int{1, 1}, calls: 2 * (1 + 12), stops: 1, reason: "plan", heals: 6 * time.Minute}, // each by v2, then by bulk
		{name: "a login page for an hour", spell: spell{lasts: time.Hour, fault: retooltest.Fault{Kind: "html", On: "any"}}, customers: 5,
			tries: [2]int{1, 1}, calls: 2 * (1 + 12), stops: 1, reason: "does not answer as Retool's API", heals: 6 * time.Minute},
		{name: "a gateway's page for an hour", spell: spell{lasts: time.Hour, fault: retooltest.Fault{Kind: "html", Status: 502, On: "any"}}, customers: 20, heals: 2 * time.Hour,
			tries: [2]int{6, 10}, reason: "Retool answered 502"},
		{name: "time-outs after the work was done for an hour", spell: spell{lasts: time.Hour, fault: retooltest.Fault{Kind: "timeout-after-work"}}, customers: 30,
			tries: [2]int{2, 2}, attempts: "invite later 0, look found 200", heals: 10 * time.Minute},
		{name: "cut off after the work was done for an hour", spell: spell{lasts: time.Hour, fault: retooltest.Fault{Kind: "reset-after-work"}}, customers: 30,
			tries: [2]int{2, 2}, attempts: "invite later 0, look found 200", heals: 10 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtual(t)
				begun := time.Now()
				v.begin(tt.spell)
				v.customers(tt.customers, time.Second)
				time.Sleep(tt.spell.lasts / 2)
				v.schedule()
				if first := v.invitation(payer(1)); !strings.Contains(first.Reason, tt.reason) {
					t.Errorf("the first customer waits because %q, want %q", first.Reason, tt.reason)
				}
				time.Sleep(time.Until(begun.Add(tt.spell.lasts)))
				v.end()
				if n := v.line.dialled(begun, time.Now()); tt.calls > 0 && n > tt.calls {
					t.Errorf("%d calls during the spell, want %d at most", n, tt.calls)
				}
				v.wait(tt.heals + 10*time.Minute)
				v.proof()
				v.tries(tt.tries[0], tt.tries[1])
				v.equal("stops logged", v.logged("sending is stopped"), tt.stops)
				v.equal("stopped", v.summary().Pace.StoppedReason, "")
				if got := strings.Join(v.attempts(v.invitation(payer(1)).ID), ", "); tt.attempts != "" && got != tt.attempts {
					t.Errorf("attempts of the first customer: %s, want %s", got, tt.attempts)
				}
			})
		})
	}
}

// While Retool says for how long to wait, nobody calls, new customers included.
func TestNobodyCallsWhileRetoolAsksToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		v.begin(spell{fault: retooltest.Fault{Kind: "429", RetryAfter: "600", On: "any"}})
		v.customers(20, 4*time.Minute-time.Second) // Retool takes calls again before it would be asked a ninth time
		v.end()
		v.wait(20 * time.Minute)
		v.proof()
		asked := 0
		for _, r := range v.retool.Requests() {
			if r.Status == http.StatusTooManyRequests {
				asked++
				v.equal("calls in the ten minutes after a 429", v.line.dialled(r.At.Add(1), r.At.Add(10*time.Minute)), 0)
			}
		}
		if asked < 7 || asked > 8 {
			t.Errorf("Retool asked %d times in 80 minutes to wait for ten", asked)
		}
	})
}

func TestRetryByHandLiftsAStopAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		v.begin(spell{token: another})
		v.customers(10, time.Second)
		time.Sleep(22 * time.Minute)
		v.end()
		must(v.ledger.Retry(v.ctx, "a test", v.invitation(payer(3)).ID))(t)
		v.work()
		time.Sleep(2 * time.Second) // one of those in hand asks every second, and is the probe
		synctest.Wait()
		v.equal("why sending is stopped after two seconds", v.summary().Pace.StoppedReason, "")
		time.Sleep(time.Minute)
		v.equal("invited after a minute", v.summary().Invitations[ledger.Sent], 10)
		v.proof()
		v.tries(1, 1)
		v.equal("stops logged", v.logged("sending is stopped"), 1)
	})
}

// A login page in place of the list is no leave to send without looking.
func TestLoginPageInPlaceOfTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		v.retool.Inject(retooltest.Fault{Kind: "reset-after-work"}, retooltest.Fault{Kind: "html", On: "list", Times: -1})
		v.customers(1, 20*time.Minute)
		inv := v.invitation(payer(1))
		v.equal("unsure", inv.Unsure, true)
		v.equal("stopped", v.summary().Pace.StoppedReason != "", true)
		v.end()
		v.wait(20 * time.Minute)
		v.proof()
		for i, attempt := range v.attempts(inv.ID)[1:] {
			if !strings.HasPrefix(attempt, "look ") {
				t.Errorf("attempt %d is %q, without knowing", i+2, attempt)
			}
		}
	})
}

// A week is longer than the schedule: what is given up says why, and comes back by hand, all of it.
func TestDownForAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		v.begin(spell{down: true})
		v.customers(6, time.Second)
		time.Sleep(2 * 24 * time.Hour)
		v.equal("given up after two days", v.summary().Invitations[ledger.Failed], 0)
		v.schedule()
		time.Sleep(5 * 24 * time.Hour)
		v.end()
		v.equal("given up after a week", v.summary().Invitations[ledger.Failed], 6)
		for _, inv := range v.all() {
			v.equal("tries", inv.Tries, mostTries)
			if !strings.Contains(inv.Reason, "given up after 20 tries") || !strings.Contains(inv.Reason, "connection refused") {
				t.Errorf("the reason %q does not say why", inv.Reason)
			}
		}
		v.equal("put back to work", must(v.ledger.RetryAll(v.ctx, "a test", ledger.Failed))(t), 6)
		v.work()
		time.Sleep(time.Minute)
		v.proof()
		v.tries(1, 1)
	})
}

// A day in which everything goes wrong in turn, by a seed, while new customers keep coming.
func TestADayOfEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	skipUnderRace(t)
	weathers := []spell{
		{}, // fair
		{down: true},
		{token: another},
		{fault: retooltest.Fault{Kind: "slow", Delay: 25 * time.Second, On: "any"}},
		{fault: retooltest.Fault{Kind: "429", RetryAfter: "300", On: "any"}},
		{fault: retooltest.Fault{Kind: "429", On: "any"}, dated: true},
		{fault: retooltest.Fault{Kind: "429", On: "any"}},
		{fault: retooltest.Fault{Kind: "scope", On: "any"}},
		{fault: retooltest.Fault{Kind: "html", On: "any"}},
		{fault: retooltest.Fault{Kind: "html", Status: 502, On: "any"}},
		{fault: retooltest.Fault{Kind: "500", On: "any"}},
		{fault: retooltest.Fault{Kind: "timeout-after-work"}},
		{fault: retooltest.Fault{Kind: "reset-after-work", On: "any"}},
		{fault: retooltest.Fault{Kind: "reset", On: "any"}},
	}
	const seed = 4
	chance := rand.New(rand.NewPCG(seed, seed))
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); {
			s := weathers[chance.IntN(len(weathers))]
			s.lasts = 10*time.Minute + time.Duration(chance.Int64N(int64(50*time.Minute)))
			v.begin(s)
			for over := time.Now().Add(s.lasts); time.Now().Before(over); {
				v.customers(1, time.Duration(chance.Int64N(int64(30*time.Minute))))
			}
			v.schedule()
			v.end()
		}
		v.wait(24 * time.Hour)
		v.proof()
		v.tries(1, mostTries-1)
		t.Logf("%d customers, %d requests, seed %d", v.many, v.retool.TotalRequests(), seed)
	})
}

// The same with River itself, which takes its time from the ledger: its polling allows for minutes only.
func TestMisbehavingForMinutesWithRiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		v.run()
		for _, s := range []spell{
			{lasts: 3 * time.Minute, down: true},
			{lasts: 3 * time.Minute, fault: retooltest.Fault{Kind: "429", RetryAfter: "120", On: "any"}},
			{lasts: 3 * time.Minute, token: another},
		} {
			v.begin(s)
			for range 3 {
				v.many++
				v.deliver(webhooktest.StripeEvent{ID: fmt.Sprintf("evt_%d", v.many), Email: payer(v.many), Customer: "cus_1"})
			}
			time.Sleep(s.lasts)
			v.schedule()
			v.end()
		}
		v.wait(20 * time.Minute)
		v.proof()
		v.tries(1, 6)
	})
}
