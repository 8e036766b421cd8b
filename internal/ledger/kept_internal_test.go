package ledger

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Each count takes what a test says and finds how many were counted so far.
func newKept(rows int64, takes time.Duration, fails *atomic.Bool) (k *kept[int], begun *atomic.Int64) {
	begun = &atomic.Int64{}
	return &kept[int]{log: slog.New(slog.DiscardHandler), rows: func(int) int64 { return rows }, count: func(ctx context.Context) (int, error) {
		n := begun.Add(1)
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if fails != nil && fails.Load() {
			return 0, errors.New("it cannot be read")
		}
		return int(n), nil
	}}, begun
}

func TestKept(t *testing.T) {
	get := func(t *testing.T, k *kept[int], want int) {
		t.Helper()
		if got, err := k.get(t.Context()); err != nil || got != want {
			t.Errorf("got %d and %v, wants %d", got, err, want)
		}
	}

	t.Run("few are counted for whoever asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, _ := newKept(manyCounted, time.Second, nil)
			for n := range 3 {
				get(t, k, n+1)
			}
		})
	})

	t.Run("many are counted again behind those who ask", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, begun := newKept(manyCounted+1, 300*time.Millisecond, nil)
			get(t, k, 1)
			time.Sleep(3 * time.Second)
			get(t, k, 1) // good for ten times its cost
			time.Sleep(time.Millisecond)
			asked := time.Now()
			get(t, k, 1)
			get(t, k, 1)
			if took := time.Since(asked); took > 0 {
				t.Errorf("whoever asks waits %v", took)
			}
			time.Sleep(300 * time.Millisecond)
			synctest.Wait()
			if n := begun.Load(); n != 2 {
				t.Errorf("%d counted, wants 2", n)
			}
			get(t, k, 2)
			time.Sleep(keptMost + time.Millisecond)
			get(t, k, 3) // nobody asked for long
		})
	})

	t.Run("those who ask at once wait for one", func(t *testing.T) {
		k, begun := newKept(manyCounted+1, 0, nil)
		one, release := k.count, make(chan struct{})
		k.count = func(ctx context.Context) (int, error) { <-release; return one(ctx) }
		all := make(chan int)
		for range 9 {
			go func() {
				got, _ := k.get(context.Background())
				all <- got
			}()
		}
		close(release)
		for range 9 {
			if got := <-all; got != 1 {
				t.Errorf("one got %d", got)
			}
		}
		if n := begun.Load(); n != 1 {
			t.Errorf("%d counted", n)
		}
	})

	t.Run("a failure behind is tried again, and told once the last count is too old", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var fails atomic.Bool
			k, _ := newKept(manyCounted+1, time.Millisecond, &fails)
			get(t, k, 1)
			fails.Store(true)
			for range 5 {
				time.Sleep(2 * time.Second)
				get(t, k, 1)
			}
			time.Sleep(keptMost)
			if _, err := k.get(t.Context()); err == nil {
				t.Error("a count of long ago is told")
			}
		})
	})

	t.Run("closing ends what counts behind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, _ := newKept(manyCounted+1, time.Second, nil)
			get(t, k, 1)
			time.Sleep(11 * time.Second)
			get(t, k, 1)
			begun := time.Now()
			k.close()
			if took := time.Since(begun); took > 0 {
				t.Errorf("closing waits %v", took)
			}
			time.Sleep(11 * time.Second)
			get(t, k, 1) // and nothing begins any more
		})
	})
}
