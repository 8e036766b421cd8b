package onboarding

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
)

func TestScheduleAfter(t *testing.T) {
	s := schedule{first: 30 * time.Second, cap: 6 * time.Hour}
	tests := []struct {
		name  string
		n     int
		asked time.Duration
		want  time.Duration // at least; a quarter more at most
	}{
		{name: "the first failure", n: 1, want: 30 * time.Second},
		{name: "the second", n: 2, want: time.Minute},
		{name: "the tenth", n: 10, want: 512 * 30 * time.Second},
		{name: "the first at the cap", n: 11, want: 6 * time.Hour},
		{name: "far beyond the cap", n: 1000, want: 6 * time.Hour},
		{name: "beyond all numbers", n: math.MaxInt, want: 6 * time.Hour},
		{name: "a number that makes no sense", n: -1, want: 30 * time.Second},
		{name: "asked for less", n: 2, asked: time.Second, want: time.Minute},
		{name: "asked for more", n: 1, asked: time.Hour, want: time.Hour},
		{name: "asked for more than the cap", n: 1000, asked: 24 * time.Hour, want: 24 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			least, most := time.Duration(math.MaxInt64), time.Duration(0)
			for range 5000 {
				wait := s.after(tt.n, tt.asked)
				least, most = min(least, wait), max(most, wait)
			}
			if least < tt.want || most > tt.want+tt.want/4 {
				t.Errorf("waits lie from %s to %s, want from %s to a quarter more", least, most, tt.want)
			}
			// 5000 draws leave a tenth of the range empty at either end once in 10^228.
			if spread := tt.want / 4; least > tt.want+spread/10 || most < tt.want+spread-spread/10 {
				t.Errorf("waits lie from %s to %s only: no jitter to speak of", least, most)
			}
		})
	}
	t.Run("twenty tries take about three days", func(t *testing.T) {
		var all time.Duration
		for n := 1; n < 20; n++ {
			all += s.after(n, 0)
		}
		if all < 2*24*time.Hour || all > 4*24*time.Hour {
			t.Errorf("they take %s", all)
		}
	})
}

func TestPanicErrorHidesWhatACustomerWrote(t *testing.T) {
	const text = "jane.doe@customer.example"
	tests := []struct {
		name  string
		fault func()
		want  string
	}{
		{name: "a text", fault: func() { panic(text) }, want: "panic with a string"},
		{name: "an error", fault: func() { panic(errors.New(text)) }, want: "panic with a *errors.errorString"},
		{name: "a struct", fault: func() { panic(struct{ Email string }{text}) }, want: "panic with a struct { Email string }"},
		{name: "an index out of range", fault: func() { _ = []int{}[len(text)] }, want: "index out of range"},
		{name: "a nil map", fault: func() { var m map[string]int; m[text] = 1 }, want: "assignment to entry in nil map"},
		{name: "an index out of range, wrapped in a text", fault: func() {
			defer func() { panic(fmt.Errorf("decide %s: %w", text, recover().(error))) }()
			_ = []int{}[len(text)]
		}, want: "index out of range"},
		{name: "a wrong type", fault: func() { _ = any(text).(int) }, want: "string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			func() {
				defer func() { err = panicError(recover()) }()
				tt.fault()
			}()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), text) {
				t.Errorf("the error shows what a customer wrote: %v", err)
			}
		})
	}
}

func TestFailedInARow(t *testing.T) {
	tests := []struct {
		name     string
		attempts string // kind and outcome, oldest first
		want     int
	}{
		{name: "none", want: 0},
		{name: "all later", attempts: "look later look later", want: 2},
		{name: "of another kind", attempts: "invite later", want: 0},
		{name: "between others", attempts: "look later invite sent look later", want: 2},
		{name: "after one that ended it", attempts: "look later look never look later", want: 1},
		{name: "before one that ended it", attempts: "look later look found", want: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var attempts []ledger.Attempt
			words := strings.Fields(tt.attempts)
			for i := 0; i < len(words); i += 2 {
				attempts = append(attempts, ledger.Attempt{Kind: words[i], Outcome: words[i+1]})
			}
			if got := failedInARow(attempts, "look"); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestMasked(t *testing.T) {
	for words, want := range map[string]string{
		"nothing to hide":                       "nothing to hide",
		"no jane.doe@customer.example here":     "no j…@customer.example here",
		"User <jane.doe@customer.example> is":   "is",
		`{"email":"jane.doe@customer.example"}`: "",
	} {
		got := Masked(words)
		if strings.Contains(got, "doe") || !strings.Contains(got, want) {
			t.Errorf("%q became %q, want %q", words, got, want)
		}
	}
}

func TestEdge(t *testing.T) {
	var e edge
	for i, tt := range []struct{ down, want bool }{{false, false}, {true, true}, {true, false}, {false, true}, {false, false}} {
		if got := e.changed(tt.down); got != tt.want {
			t.Errorf("turn %d: got %t, want %t", i, got, tt.want)
		}
	}
}
