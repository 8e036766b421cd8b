package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

const (
	// senderConnections is how many events are under way at once.
	senderConnections = 32
	// customerEvery: of so many events two or three are customers', all others are of the organisation's own people, who
	// are never invited. With more of them, looking through Retool's list would take up the whole run.
	customerEvery = 40
)

// senders send signed events at full speed, as real senders do: what was not answered 200 comes again, to whichever
// instance answers.
type senders struct {
	t      *testing.T
	ushers []*victim
	client *http.Client
	seed   uint64
	next   atomic.Int64 // number of the next event
	ending context.Context
	end    context.CancelFunc
	all    sync.WaitGroup
	open   atomic.Int64 // how many of the connections send
	gone   atomic.Bool  // the test is over

	mu       sync.Mutex
	answered map[int64][]int64 // by number of the event: the deliveries that were answered 200
	owners   map[int64]int64   // by delivery: the event
	refused  int
	unheard  int // requests that got no answer
	dropped  int // events that their sender gave up
}

func newSenders(t *testing.T, ushers []*victim, seed uint64) *senders {
	s := &senders{t: t, ushers: ushers, seed: seed, answered: map[int64][]int64{}, owners: map[int64]int64{}}
	s.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senderConnections}}
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

func (s *senders) begin() {
	for i := range senderConnections {
		s.all.Go(func() {
			chance := rand.New(rand.NewPCG(s.seed, uint64(100+i)))
			for s.ending.Err() == nil {
				if int64(i) < s.open.Load() {
					s.sendOne(s.next.Add(1)-1, chance)
				} else {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	s.all.Go(s.vary)
}

// vary changes the load: deciding waits while acceptances come at full speed, and must be killed at its work too.
func (s *senders) vary() {
	chance := rand.New(rand.NewPCG(s.seed, 3))
	for s.ending.Err() == nil {
		s.open.Store([]int64{senderConnections, senderConnections, 3, 0}[chance.IntN(4)])
		time.Sleep(time.Duration(chance.IntN(400)) * time.Millisecond)
	}
}

// finish lets no new event begin and waits until each that did is answered.
func (s *senders) finish() {
	s.end()
	s.all.Wait()
	s.client.CloseIdleConnections()
}

// giveUp ends the senders of a test that failed.
func (s *senders) giveUp() {
	s.gone.Store(true)
	s.finish()
}

// sendOne sends an event until it is answered 200; some are sent again although they were, and some given up.
func (s *senders) sendOne(n int64, chance *rand.Rand) {
	body := webhooktest.StripeEvent{ID: eventName(n), Email: eventEmail(n), Padding: 1024}.JSON()
	again := chance.IntN(10) == 0
	for !s.gone.Load() {
		if s.try(n, body, s.ushers[chance.IntN(len(s.ushers))].url) {
			if !again {
				return
			}
			again = false
			continue
		}
		if chance.IntN(200) == 0 {
			s.mu.Lock()
			s.dropped++
			s.mu.Unlock()
			return
		}
		time.Sleep(time.Duration(5+chance.IntN(45)) * time.Millisecond)
	}
}

// try sends an event once and notes a 200. It is the only witness of what Usher promised.
func (s *senders) try(n int64, body []byte, url string) (accepted bool) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url+"/webhooks/stripe", bytes.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return false
	}
	request.Header = webhooktest.SignStripe(body, storySecret, time.Now())
	response, err := s.client.Do(request)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unheard++
		return false
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case response.StatusCode == http.StatusOK && err != nil: // the answer was cut short: a promise all the same
		s.answered[n] = append(s.answered[n], 0)
		return true
	case response.StatusCode == http.StatusOK:
		s.note(n, answer)
		return true
	case response.StatusCode != http.StatusServiceUnavailable:
		s.t.Errorf("event %d was answered %d %s", n, response.StatusCode, answer)
	case response.Header.Get("Retry-After") == "":
		s.t.Error("a 503 has no Retry-After")
	}
	s.refused++
	return false
}

// refusals counts the answers 503.
func (s *senders) refusals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *senders) note(n int64, answer []byte) {
	var receipt struct {
		Status   string
		Delivery int64
	}
	if err := json.Unmarshal(answer, &receipt); err != nil || receipt.Status != "accepted" || receipt.Delivery == 0 {
		s.t.Errorf("event %d was answered 200 %s", n, answer)
	}
	if other, taken := s.owners[receipt.Delivery]; taken {
		s.t.Errorf("events %d and %d were both answered with delivery %d", other, n, receipt.Delivery)
	}
	s.owners[receipt.Delivery] = n
	s.answered[n] = append(s.answered[n], receipt.Delivery)
}

func eventName(n int64) string { return fmt.Sprintf("evt_%d", n) }

// eventNumber reads a name; -1 is none of ours.
func eventNumber(name string) int64 {
	var n int64
	if _, err := fmt.Sscanf(name, "evt_%d", &n); err != nil || eventName(n) != name {
		return -1
	}
	return n
}

// isCustomer: of 40 events number 0 and 10 are of one customer, and 20 is of another.
func isCustomer(n int64) bool {
	place := n % customerEvery
	return place == 0 || place == 10 || place == 20
}

func eventEmail(n int64) string {
	switch {
	case !isCustomer(n):
		return fmt.Sprintf("staff%d@acme.example", n)
	case n%customerEvery == 10:
		return eventEmail(n - 10)
	default:
		return fmt.Sprintf("ada%d@lovelace.example", n)
	}
}
