package main

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// See docs/crash.md. Without flags the runs are short ones, for "make test".
var (
	crashKills = flag.Int("crash.kills", crashKillsShort, "how often the crash tests kill, on each store")
	crashSeed  = flag.Uint64("crash.seed", 0, "of the crash tests' chance; 0 takes a new one each time")
	crashUsher = flag.String("crash.usher", "", "the binary that the crash tests kill; empty: the tests' own")
)

const (
	crashKillsShort = 5
	// readyWithin is how long a start may take, whatever the process before left behind.
	readyWithin = time.Minute
	// settledWithin bounds the end: on Postgres the calls of a dead instance are waited for.
	settledWithin = 2 * time.Minute
)

// sieges are the runs by name. Those that only Linux can do add themselves.
var sieges = map[string]func(*testing.T){"SQLite": crashOnSQLite, "Postgres": crashOnPostgres}

// TestCrash takes from a loaded Usher what it stands on, and proves at the end that nothing was lost or doubled.
func TestCrash(t *testing.T) {
	t.Parallel() // with TestStories
	var all sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(sieges)) {
		if *crashKills > crashKillsShort { // one after the other, each at full speed
			t.Run(name, sieges[name])
			continue
		}
		all.Go(func() { t.Run(name, sieges[name]) }) // each waits most of the time
	}
	all.Wait()
}

// crashOnSQLite kills Usher at random moments.
func crashOnSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.db")
	s := newSiege(t, "sqlite://"+path, 1)
	s.start(s.ushers[0])
	s.load()
	for range *crashKills {
		s.letLive(s.ushers[0])
		s.kill(s.ushers[0])
		s.start(s.ushers[0])
	}
	s.prove(sqliteFile(t, path))
}

// A siege is one run of the crash tests: senders that do not rest, a Retool with faults, and Ushers that are killed.
type siege struct {
	*testing.T
	chance  *rand.Rand // of the kills
	retool  *retooltest.Retool
	ushers  []*victim
	senders *senders
	kills   int
	began   time.Time
	waited  time.Duration // for Ushers to be ready
}

// newSiege prepares Ushers that share a ledger.
func newSiege(t *testing.T, database string, instances int) *siege {
	t.Helper()
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-crash.seed=%d", seed)
	s := &siege{T: t, chance: rand.New(rand.NewPCG(seed, 1)), began: time.Now()}
	// It must make doubles, or the proof that there are none would be its own refusals.
	s.retool = retooltest.New(retooltest.Options{Token: storyToken, InternalDomains: []string{"acme.example"}, Doubles: true})
	web := httptest.NewServer(&faults{chance: rand.New(rand.NewPCG(seed, 2)), retool: s.retool})
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	for range instances {
		s.ushers = append(s.ushers, s.newVictim(database, web.URL))
	}
	s.senders = newSenders(t, s.ushers, seed)
	return s
}

// A victim is one Usher, at one address through all its lives.
type victim struct {
	url     string
	env     []string
	log     *os.File
	process *exec.Cmd
	ended   chan struct{} // of the process
}

func (s *siege) newVictim(database, retoolURL string) *victim {
	address, err := ledgertest.FreeAddress()
	s.check(err)
	log, err := os.CreateTemp(s.TempDir(), "usher-*.log")
	s.check(err)
	v := &victim{url: "http://" + address, log: log, env: []string{
		"STRIPE_WEBHOOK_SECRET=" + storySecret, "RETOOL_URL=" + retoolURL, "RETOOL_API_TOKEN=" + storyToken, "USHER_ADMIN_TOKEN=" + storyAdmin,
		"USHER_INTERNAL_DOMAINS=acme.example", "DATABASE_URL=" + database, "USHER_LISTEN=" + address,
		"USHER_RETOOL_REQUESTS_PER_MINUTE=0", "USHER_RETOOL_FIRST_WAIT=50ms", "USHER_RETOOL_TIMEOUT=1s",
		"HOME=" + os.Getenv("HOME"), "TMPDIR=" + s.TempDir(),
	}}
	s.Cleanup(func() {
		if v.process != nil {
			s.kill(v)
		}
		if s.Failed() {
			text, _ := os.ReadFile(log.Name())
			s.Logf("the last of %s says:\n%s", v.url, text[max(0, len(text)-8000):])
		}
		_ = log.Close()
	})
	return v
}

// start begins a life. Whether it becomes ready is for letLive and settle to see.
func (s *siege) start(v *victim) {
	s.Helper()
	usher := *crashUsher
	if usher == "" {
		var err error
		usher, err = exec.LookPath("usher") // see TestMain
		s.check(err)
	}
	v.process = exec.Command(usher, "serve")
	v.process.Dir, v.process.Env, v.process.Stdout, v.process.Stderr = s.TempDir(), v.env, v.log, v.log
	s.check(v.process.Start())
	v.ended = make(chan struct{})
	go func() {
		_ = v.process.Wait()
		close(v.ended)
	}()
}

func (s *siege) kill(v *victim) {
	_ = v.process.Process.Kill()
	<-v.ended
	s.kills++
}

// letLive lets a life last for a moment: it may be killed while it is starting, or as soon as it is ready, or later.
func (s *siege) letLive(v *victim) {
	s.Helper()
	if s.chance.IntN(4) == 0 {
		time.Sleep(time.Duration(s.chance.Int64N(int64(80 * time.Millisecond))))
		return
	}
	s.ready(v)
	time.Sleep(time.Duration(min(s.chance.ExpFloat64(), 3) * float64(500*time.Millisecond)))
}

// ready waits until an Usher is ready, by itself.
func (s *siege) ready(v *victim) {
	s.Helper()
	began := time.Now()
	defer func() { s.waited += time.Since(began) }()
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if statusOf(s.T, v.url+"/readyz") == http.StatusOK {
			return
		}
		select {
		case <-v.ended:
			s.Fatalf("usher serve ended by itself after %d kills: %s", s.kills, v.process.ProcessState)
		default:
		}
	}
	s.Fatalf("usher serve was not ready within %s, after %d kills", readyWithin, s.kills)
}

// load begins to send. The test's end, or prove, ends it.
func (s *siege) load() {
	s.senders.begin()
	s.Cleanup(s.senders.giveUp)
}

// stop ends an Usher as an operator does: it must end by itself, with status 0.
func (s *siege) stop(v *victim) {
	s.Helper()
	s.check(v.process.Process.Signal(syscall.SIGTERM))
	select {
	case <-v.ended:
	case <-time.After(15 * time.Second):
		s.Fatal("usher serve does not stop")
	}
	if !v.process.ProcessState.Success() {
		s.Errorf("usher serve ended with %s", v.process.ProcessState)
	}
	v.process = nil
}

func (s *siege) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// faults stand before a Retool and make some of its answers go wrong. Each is one that a real network or a real
// Retool could have, and most leave Usher unsure whether the invite was made.
type faults struct {
	retool *retooltest.Retool
	mu     sync.Mutex
	chance *rand.Rand
}

// Of a thousand invites, so many meet each fault. A 429 holds everybody for a second, hence is rare.
var faultsOfThousand = []struct {
	share int
	fault retooltest.Fault
}{
	{15, retooltest.Fault{Kind: "timeout-after-work"}},
	{20, retooltest.Fault{Kind: "reset-after-work"}},
	{10, retooltest.Fault{Kind: "reset"}},
	{10, retooltest.Fault{Kind: "500"}},
	{30, retooltest.Fault{Kind: "slow", Delay: 200 * time.Millisecond}},
	{2, retooltest.Fault{Kind: "429", RetryAfter: "1"}},
	{1, retooltest.Fault{Kind: "500", On: "list"}},
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		f.mu.Lock()
		dice := f.chance.IntN(1000)
		f.mu.Unlock()
		for _, of := range faultsOfThousand {
			if dice -= of.share; dice < 0 {
				f.retool.Inject(of.fault)
				break
			}
		}
	}
	f.retool.ServeHTTP(w, r)
}

// settle waits until nothing is left to do, asked of the ledger from outside.
func (s *siege) settle(book *outside) {
	s.Helper()
	for _, v := range s.ushers {
		s.ready(v)
	}
	s.senders.finish()
	var left string
	for deadline := time.Now().Add(settledWithin); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if left = book.left(s.T); left == "" {
			return
		}
	}
	s.Fatalf("%s after the last kill there is still %s", settledWithin, left)
}

// prove waits for the end and then compares what senders were answered, what the ledger holds, and what Retool remembers.
func (s *siege) prove(book *outside) {
	s.Helper()
	took := time.Since(s.began)
	s.settle(book)
	s.Logf("%d kills in %s, %s of them waiting for a start; settled after another %s", s.kills, took.Round(time.Second), s.waited.Round(time.Second), (time.Since(s.began) - took).Round(100*time.Millisecond))
	summary := s.ask(s.ushers[0], "/v1/summary")
	for _, v := range s.ushers {
		s.stop(v)
	}
	book.prove(s, summary)
}

func (s *siege) ask(v *victim, path string) []byte {
	s.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, v.url+path, nil)
	s.check(err)
	request.Header.Set("Authorization", "Bearer "+storyAdmin)
	status, answer, err := do(request)
	s.check(err)
	if status != http.StatusOK {
		s.Fatalf("%s answered %d %s", path, status, bytes.TrimSpace(answer))
	}
	return answer
}

// lines joins what is wrong, shortened: a lost commit is often a whole batch.
func lines(all []string) string {
	if len(all) > 10 {
		all = append(all[:10:10], "…")
	}
	return strings.Join(all, "\n  ")
}
