package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// storyCondition knows whether there is a Postgres for a story. In CI there always is, or its command fails.
func storyCondition(condition string) (bool, error) {
	if condition != "postgres" {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	return os.Getenv("CI") == "true" || ledgertest.Available() == nil, nil
}

// postgres gives the story an empty database.
func cmdPostgres(ts *testscript.TestScript, neg bool, args []string) {
	address, err := ledgertest.Address()
	ts.Check(err)
	ts.Setenv("DATABASE_URL", address)
}

// second starts a second instance on the same database: "second", and lets it take the place of the first,
// which crashed: "second alone".
func cmdSecond(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	if len(args) == 1 && args[0] == "alone" {
		s.server, s.url, s.second, s.secondURL = s.second, s.secondURL, nil, ""
		return
	}
	s.secondURL = freeURL(ts)
	s.second = s.start(ts, s.secondURL)
}

func floodEmail(n int) string { return fmt.Sprintf("ada%d@lovelace.example", n) }

// flood posts signed events of many people, each to one instance in turn: flood FROM TO. A refusal is an instance
// that is gone: the sender tries the other one.
func cmdFlood(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	from, to := numbers(ts, args)
	urls := []string{s.url}
	if s.secondURL != "" {
		urls = append(urls, s.secondURL)
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, 8)
	errs := make(chan error, to-from)
	for n := from; n < to; n++ {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			body := webhooktest.StripeEvent{ID: fmt.Sprint("evt_", n), Email: floodEmail(n)}.JSON()
			status, answer, err := post(context.Background(), urls[n%len(urls)]+"/webhooks/stripe", webhooktest.SignStripe(body, storySecret, time.Now()), body)
			if err != nil || status != http.StatusOK {
				errs <- fmt.Errorf("event %d: %d %s %w", n, status, answer, err)
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		ts.Fatalf("%v\n%s", err, s.text(ts))
	}
}

// until-flooded waits until the fake Retool remembers each of some people, and fails where it was asked twice for
// one: until-flooded FROM TO PATIENCE [HOW MANY OF THEM].
func cmdUntilFlooded(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	from, to := numbers(ts, args[:2])
	patience, err := time.ParseDuration(args[2])
	ts.Check(err)
	enough := to - from
	if len(args) == 4 {
		enough, err = strconv.Atoi(args[3])
		ts.Check(err)
	}
	var missing []string
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		missing = nil
		for n := from; n < to; n++ {
			switch count := s.retool.Count(floodEmail(n)); {
			case count > 1:
				ts.Fatalf("Retool was made to invite person %d %d times\n%s", n, count, s.text(ts))
			case count == 0:
				missing = append(missing, strconv.Itoa(n))
			}
		}
		if to-from-len(missing) >= enough {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never invited: %s\n%s", strings.Join(missing, " "), s.text(ts))
		}
	}
}

// until-settled is until for the summary, with a patience: until-settled TEXT PATIENCE.
func cmdUntilSettled(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	patience, err := time.ParseDuration(args[1])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		_, answer := s.call(ts, http.MethodGet, "/v1/summary", "")
		if strings.Contains(string(answer), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the summary never contained %s: %s\n%s", args[0], answer, s.text(ts))
		}
	}
}

func numbers(ts *testscript.TestScript, args []string) (from, to int) {
	if len(args) != 2 {
		ts.Fatalf("want two numbers, got %q", args)
	}
	from, err := strconv.Atoi(args[0])
	ts.Check(err)
	to, err = strconv.Atoi(args[1])
	ts.Check(err)
	return from, to
}

func freeURL(ts *testscript.TestScript) string {
	address, err := ledgertest.FreeAddress()
	ts.Check(err)
	return "http://" + address
}

// What goes wrong with a Postgres is told by check with what to do, and without its password.
func TestCheckOfPostgres(t *testing.T) {
	for _, test := range []struct{ name, address, want string }{
		{name: "down", address: "postgres://usher:s3cret@127.0.0.1:1/usher", want: "see that Postgres runs at 127.0.0.1:1"},
		{name: "there", address: ledgertest.Postgres(t), want: "its schema is current"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("DATABASE_URL", test.address)
			for name, value := range map[string]string{"STRIPE_WEBHOOK_SECRET": storySecret, "RETOOL_URL": "http://127.0.0.1:1", "RETOOL_API_TOKEN": storyToken, "USHER_ADMIN_TOKEN": storyAdmin} {
				t.Setenv(name, value)
			}
			cmd := newCheck()
			cmd.Flags().String("config", "", "")
			var out strings.Builder
			cmd.SetOut(&out)
			cmd.SetArgs(nil)
			_ = cmd.ExecuteContext(t.Context())
			if !strings.Contains(out.String(), test.want) || strings.Contains(out.String(), "s3cret") {
				t.Errorf("want %q and no password in\n%s", test.want, out.String())
			}
		})
	}
}
