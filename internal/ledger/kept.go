package ledger

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// manyCounted is up to how many rows are counted for whoever asks. Counting reads all that it counts: of a million
	// rows that takes a tenth of a second and more. Counters in the ledger would be exact, but every change of a state
	// would wait for their rows. So counts of more are kept for a while.
	manyCounted = 50_000
	// keptRest is for how many times the time that it took a large count is good, and keptLeast for how long at least.
	// Then it is counted again, while whoever asks is told the last one.
	keptRest  = 10
	keptLeast = time.Second
	// keptMost is how old the last one may be, and how long a count may take.
	keptMost = 30 * time.Second
)

// A kept is what costs the more to count the more there is. Whoever asks while nothing is known waits for the one who
// counts.
type kept[T any] struct {
	count func(context.Context) (T, error)
	rows  func(T) int64 // about how many were counted
	log   *slog.Logger

	mu       sync.Mutex
	last     T
	at       time.Time // by the machine's clock; zero: nothing is known
	cost     time.Duration
	counting *later // nil: nobody counts in the background
	closed   bool
}

// later is a count in the background.
type later struct {
	stop context.CancelFunc
	done chan struct{}
}

// get counts, or returns what was counted a moment ago.
func (k *kept[T]) get(ctx context.Context) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := time.Since(k.at)
	if k.at.IsZero() || k.rows(k.last) <= manyCounted || age > keptMost {
		begun := time.Now()
		found, err := k.count(ctx)
		if err == nil {
			k.last, k.at, k.cost = found, time.Now(), time.Since(begun)
		}
		return found, err
	}
	if age > max(keptLeast, keptRest*k.cost) && k.counting == nil && !k.closed {
		background, stop := context.WithTimeout(context.WithoutCancel(ctx), keptMost)
		k.counting = &later{stop: stop, done: make(chan struct{})}
		go k.countLater(background, k.counting)
	}
	return k.last, nil
}

// put keeps what was counted for another purpose.
func (k *kept[T]) put(found T, cost time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.at, k.cost = found, time.Now(), cost
}

// countLater counts while others go on with the last count.
func (k *kept[T]) countLater(ctx context.Context, counting *later) {
	defer close(counting.done)
	defer counting.stop()
	begun := time.Now()
	found, err := k.count(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counting = nil
	switch {
	case err == nil:
		k.last, k.at, k.cost = found, time.Now(), time.Since(begun)
	case !k.closed:
		k.log.Warn("what there is could not be counted again", "error", err)
	}
}

// close ends the count in the background, and waits for it.
func (k *kept[T]) close() {
	k.mu.Lock()
	counting := k.counting
	k.closed = true
	k.mu.Unlock()
	if counting != nil {
		counting.stop()
		<-counting.done
	}
}
