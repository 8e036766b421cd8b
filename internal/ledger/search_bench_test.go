package ledger_test

import (
	"context"
	"database/sql"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

var searchRows = flag.Int("search-rows", 5_000, "how many invitations the ledgers of BenchmarkSearch have")

// BenchmarkSearch is what each kind of search costs:
//
//	go test ./internal/ledger -run '^$' -bench Search -search-rows 1000000 [-growth-store postgres] -timeout 30m
func BenchmarkSearch(b *testing.B) {
	l := crowded(b, *searchRows)
	for _, s := range []struct {
		name string
		ledger.Search
	}{
		{name: "all"},
		{name: "a common state", Search: ledger.Search{State: ledger.Sent}},
		{name: "a rare state", Search: ledger.Search{State: ledger.Held}},
		{name: "a rare state and a source", Search: ledger.Search{State: ledger.Held, Source: "form"}},
		{name: "one letter", Search: ledger.Search{Text: "g"}},
		{name: "one letter, a common state", Search: ledger.Search{Text: "g", State: ledger.Sent}},
		{name: "one letter, a rare state", Search: ledger.Search{Text: "g", State: ledger.Held}},
		{name: "one letter, a state of others", Search: ledger.Search{Text: "a", State: ledger.Failed}},
		{name: "one letter, a source of others", Search: ledger.Search{Text: "a", Source: "rare"}},
		{name: "one letter, a state and a source", Search: ledger.Search{Text: "g", State: ledger.Accepted, Source: "form"}},
		{name: "an address", Search: ledger.Search{Text: "grace000777@company777.example"}},
		{name: "no match", Search: ledger.Search{Text: "nobody-is-called-so"}},
		{name: "no match in a state", Search: ledger.Search{Text: "nobody-is-called-so", State: ledger.Sent}},
		{name: "a common domain", Search: ledger.Search{Text: "@example.com"}},
		{name: "a common domain, a common state", Search: ledger.Search{Text: "@example.com", State: ledger.Sent}},
		{name: "a common domain, a rare state", Search: ledger.Search{Text: "@example.com", State: ledger.Held}},
		{name: "a common domain, a state of others", Search: ledger.Search{Text: "@zoo.example", State: ledger.Failed}},
		{name: "a rare domain", Search: ledger.Search{Text: "@company25.example"}},
		{name: "the beginning of many domains", Search: ledger.Search{Text: "@company"}},
		{name: "no domain", Search: ledger.Search{Text: "@nowhere.example"}},
	} {
		s.Limit = 50
		pages := []struct {
			name string
			ledger.Search
		}{{"first page", s.Search}}
		if first, err := l.Search(context.Background(), s.Search); err != nil {
			b.Fatal(err)
		} else if first.Next != "" {
			next := s.Search
			next.From = first.Next
			back := s.Search
			second, err := l.Search(context.Background(), next)
			if err != nil {
				b.Fatal(err)
			}
			third := next
			third.From = second.Next
			pages = append(pages, struct {
				name string
				ledger.Search
			}{"next page", next})
			if last, err := l.Search(context.Background(), third); err == nil && last.Previous != "" {
				back.From = last.Previous
				pages = append(pages, struct {
					name string
					ledger.Search
				}{"page before", back})
			}
		}
		for _, page := range pages {
			b.Run(s.name+"/"+page.name, func(b *testing.B) {
				var found ledger.Page
				var err error
				for b.Loop() {
					if found, err = l.Search(context.Background(), page.Search); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(found.Invitations)), "found")
				if found.Stopped {
					b.ReportMetric(1, "stopped")
				}
			})
		}
	}
}

// crowded opens a ledger of many invitations: half of them of one domain, the rest of many; nearly all sent or accepted,
// some failed, all of them of people whose names begin with z, and a handful held.
func crowded(b *testing.B, n int) *ledger.Ledger {
	b.Helper()
	ctx := context.Background()
	address, driver := "sqlite://"+filepath.Join(b.TempDir(), "usher.db"), "sqlite"
	if *growthStore == "postgres" {
		address, driver = ledgertest.Postgres(b), "pgx"
	}
	l, err := ledger.Open(ctx, address, quietly(time.Now))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	db, err := sql.Open(driver, strings.TrimPrefix(address, "sqlite://"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	begun := time.Now()
	if err := ledgertest.Crowd(ctx, db, *growthStore, n); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d invitations were made in %s", n, time.Since(begun).Round(time.Millisecond))
	return l
}
