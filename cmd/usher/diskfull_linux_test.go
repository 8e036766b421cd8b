package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// TestDiskFull fills a small real disk under a running Usher: senders are asked to come back, what was
// answered 200 is in the ledger, and when space returns Usher goes on without a restart.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, 4<<20)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	url := serveOn(t, "sqlite://"+filepath.Join(disk, "usher.db"))

	var accepted []string
	var refused int
	for i := 0; i < 2000 && refused < 3; i++ {
		id := fmt.Sprintf("evt_full_%d", i)
		body := webhooktest.StripeEvent{ID: id, Email: "ada@lovelace.example", Padding: 8 << 10}.JSON()
		response := postSigned(t, url, body)
		switch response.StatusCode {
		case http.StatusOK:
			accepted = append(accepted, id)
		case http.StatusServiceUnavailable:
			refused++
			if response.Header.Get("Retry-After") == "" {
				t.Error("a 503 has no Retry-After")
			}
		default:
			t.Fatalf("answered %d", response.StatusCode)
		}
	}
	if refused == 0 || len(accepted) == 0 {
		t.Fatalf("%d accepted and %d refused: the disk never filled, or never took anything", len(accepted), refused)
	}
	if got := statusOf(t, url+"/livez"); got != http.StatusOK {
		t.Errorf("livez answered %d on a full disk, wants 200: the process must stay up", got)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "usher is ready again", func() bool { return statusOf(t, url+"/readyz") == http.StatusOK })
	body := webhooktest.StripeEvent{ID: "evt_after", Email: "grace@hopper.example"}.JSON()
	eventually(t, "events are accepted again", func() bool { return postSigned(t, url, body).StatusCode == http.StatusOK })
	for _, id := range append(accepted, "evt_after") {
		eventually(t, id+" is in the ledger", func() bool { return statusOf(t, url+"/v1/events/"+id) == http.StatusOK })
	}
}

// smallDisk mounts a file system of a size, which takes root.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	folder := t.TempDir()
	err := syscall.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	return folder
}

// serveOn runs an Usher on a ledger until the test ends, its Retool out of reach.
func serveOn(t *testing.T, database string) (url string) {
	t.Helper()
	p, problems := load(config.Options{Env: []string{
		"STRIPE_WEBHOOK_SECRET=" + storySecret, "RETOOL_URL=http://127.0.0.1:9", "RETOOL_API_TOKEN=" + storyToken, "USHER_ADMIN_TOKEN=" + storyAdmin,
		"USHER_INTERNAL_DOMAINS=acme.example", "DATABASE_URL=" + database,
	}}, io.Discard)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	p.log = slog.New(slog.DiscardHandler)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	url = "http://" + listener.Addr().String()
	eventually(t, "usher is ready", func() bool { return statusOf(t, url+"/readyz") == http.StatusOK })
	return url
}

func postSigned(t *testing.T, url string, body []byte) *http.Response {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url+"/webhooks/stripe", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = webhooktest.SignStripe(body, storySecret, time.Now())
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		var receipt struct{ Status string }
		if err := json.NewDecoder(response.Body).Decode(&receipt); err != nil || receipt.Status != "accepted" {
			t.Fatalf("a 200 says %q, %v", receipt.Status, err)
		}
	}
	return response
}

func statusOf(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+storyAdmin)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never came true: %s", what)
}
