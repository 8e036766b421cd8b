package webhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
)

func listSource(t *testing.T) *webhook.Source {
	t.Helper()
	source, err := webhook.New(webhook.Config{Name: "billing", Secrets: []string{"secret"}, Row: webhook.Row{
		Verify: webhook.Verify{Kind: "hmac", Header: "X-Sig", Signed: "{body}"},
		Each:   "body.items", Ignore: `body.type == "ping"`, When: `body.type == "paid"`, Email: []string{"item.email"}, EventID: "item.id",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func readJSON(t *testing.T, source *webhook.Source, body string) []webhook.Event {
	t.Helper()
	return source.Events(source.Unsigned(time.Now(), webhook.Request{Method: "POST", Body: []byte(body)}))
}

func TestARequestWithoutItsListIsToldAsWhatItIs(t *testing.T) {
	source := listSource(t)
	for body, want := range map[string]access.Reason{
		`{"type":"ping"}`:                           webhook.ReasonTestEvent,
		`{"type":"refund"}`:                         webhook.ReasonNotACustomer,
		`{"type":"refund","items":[]}`:              webhook.ReasonNotACustomer,
		`{"type":"paid"}`:                           webhook.ReasonMalformed, // a customer may be lost here
		`{"type":"paid","items":[]}`:                webhook.ReasonMalformed,
		`{"type":"paid","items":{"email":"a@b.c"}}`: "", // one without its list
		`nonsense`:                                  webhook.ReasonMalformed,
	} {
		events := readJSON(t, source, body)
		if len(events) != 1 || events[0].Preliminary.Reason != want {
			t.Errorf("%s: %d events, the first %+v", body, len(events), events[0].Preliminary)
		}
	}
}

func TestEveryEventOfALongListIsRead(t *testing.T) {
	source := listSource(t)
	list := func(n int) string {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(`{"id":%d,"email":"c%d@lovelace.example"}`, i, i)
		}
		return `{"type":"paid","items":[` + strings.Join(items, ",") + `]}`
	}
	events := readJSON(t, source, list(20_000))
	if len(events) != 20_000 || events[19_999].Email != "c19999@lovelace.example" || events[19_999].Preliminary.Outcome != "" {
		t.Errorf("%d events", len(events))
	}
	if events := readJSON(t, source, list(20_001)); len(events) != 1 || events[0].Preliminary.Reason != webhook.ReasonMalformed {
		t.Errorf("beyond the bound: %d events", len(events))
	}
}

func TestAListThatExpressionsWalkForEachItemIsBounded(t *testing.T) {
	source, err := webhook.New(webhook.Config{Name: "billing", Secrets: []string{"secret"}, Row: webhook.Row{
		Verify: webhook.Verify{Kind: "hmac", Header: "X-Sig", Signed: "{body}"},
		Each:   "body", When: "none(body, # == item.other)", Email: []string{"item.email"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	events := readJSON(t, source, "["+strings.Repeat(`{"email":"ada@lovelace.example"},`, 2999)+"{}]")
	if last := events[len(events)-1].Preliminary; len(events) != 3000 || last.Outcome != access.Hold || last.Reason != webhook.ReasonExpression {
		t.Errorf("%d events, the last %+v", len(events), last)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
