package onboarding_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

var history = flag.Int("history", 2000, "how many events BenchmarkRehearse tries the rules on")

// BenchmarkRehearse tries rules on a history of checkouts of 3 KB, of which one in ten would be decided otherwise:
//
//	go test ./internal/onboarding -run '^$' -bench Rehearse -benchtime 1x -history 100000
func BenchmarkRehearse(b *testing.B) {
	book := must(ledger.Open(b.Context(), "sqlite://"+filepath.Join(b.TempDir(), "usher.db"), ledger.Options{Logger: slog.New(slog.DiscardHandler)}))(b)
	defer book.Close()
	source := must(webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}}))(b)
	sources := map[string]*webhook.Source{"stripe": source}
	rules := access.PolicyConfig{Internal: []string{"acme.com"}, Rules: []access.Rule{
		{When: `event.amount > 100000`, Outcome: access.Hold},
		{When: `event.customer startsWith "cus_9"`, Groups: []int64{7}, Attributes: map[string]string{"stripe_customer": "event.customer"}},
	}}
	remember(b, book, sources, must(access.NewPolicy(rules))(b))
	rules.Deny = []string{"d7.example"}
	for _, hands := range []int{1, runtime.NumCPU()} {
		b.Run(fmt.Sprintf("hands=%d", hands), func(b *testing.B) {
			r := &onboarding.Rehearser{Ledger: book, Sources: sources, Policy: must(access.NewPolicy(rules))(b), Hands: hands}
			for b.Loop() {
				found, err := r.Rehearse(b.Context(), time.Time{}, func(ledger.Difference) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				if found.Events != int64(*history) || found.Different != int64(*history/10) {
					b.Fatalf("%+v", found)
				}
			}
			b.ReportMetric(float64(*history)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// remember fills a ledger by the way that events take.
func remember(b *testing.B, book *ledger.Ledger, sources map[string]*webhook.Source, policy *access.Policy) {
	b.Helper()
	var senders sync.WaitGroup
	numbers := make(chan int)
	for range 64 {
		senders.Go(func() {
			for n := range numbers {
				body := webhooktest.StripeEvent{ID: fmt.Sprintf("evt_%07d", n), Email: fmt.Sprintf("person%07d@d%d.example", n, n%10), Padding: 1500}.JSON()
				_, err := book.Accept(context.Background(), ledger.Delivery{Source: "stripe", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]",
					Request: `{"headers":{"Content-Type":"application/json; charset=utf-8"}}`, Body: body})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for n := range *history {
		numbers <- n
	}
	close(numbers)
	senders.Wait()
	ob := must(onboarding.New(onboarding.Options{Ledger: book, Policy: policy, Sources: sources, Logger: slog.New(slog.DiscardHandler)}))(b)
	ob.DecideAll(b.Context())
}
