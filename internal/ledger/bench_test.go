package ledger_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger"
)

// BenchmarkAccept is the group commit alone: 64 callers, 3 KB bodies, fsync on.
func BenchmarkAccept(b *testing.B) {
	book, err := ledger.Open(context.Background(), "sqlite://"+filepath.Join(b.TempDir(), "usher.db"), ledger.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer book.Close()
	body := bytes.Repeat([]byte("x"), 3000)
	b.SetParallelism(32) // 64 on two cores
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := ledger.Delivery{Source: "stripe", ReceivedAt: time.Now(), VerifiedBy: "secrets[0]", Request: `{"headers":{"Content-Type":"application/json; charset=utf-8"}}`, Body: body}
			if _, err := book.Accept(context.Background(), d); err != nil {
				b.Fatal(err)
			}
		}
	})
}
