package webhook_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/webhook"
)

// The tests here are of customers who would be lost, or of strangers who would come in.

func sourceOf(t *testing.T, row webhook.Row) *webhook.Source {
	t.Helper()
	if row.Verify.Kind == "" {
		row.Verify = webhook.Verify{Kind: "hmac", Header: "X-Sig", Signed: "{body}"}
	}
	source, err := webhook.New(webhook.Config{Name: "shop", Secrets: []string{"secret"}, Row: row})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestTheSameIdentityPaidIsAnotherThingThanPending(t *testing.T) {
	source := sourceOf(t, webhook.Row{When: `body.status == "paid"`, Email: []string{"body.email"}, EventID: "body.id"})
	pending := readJSON(t, source, `{"id":7,"status":"pending","email":"ada@lovelace.example"}`)[0]
	paid := readJSON(t, source, `{"id":7,"status":"paid","email":"ada@lovelace.example"}`)[0]
	again := readJSON(t, source, `{"id":7,"status":"paid","email":"ada@lovelace.example","attempt":2}`)[0]
	if pending.ID != paid.ID || pending.Fingerprint == paid.Fingerprint {
		t.Errorf("pending and paid are one: %s %s", pending.Fingerprint, paid.Fingerprint)
	}
	if again.Fingerprint != paid.Fingerprint {
		t.Error("a resend that counts attempts is another event")
	}
}

// Where an address was read is for people to see, and makes no other event of it.
func TestWhereTheAddressWasRead(t *testing.T) {
	tests := []struct {
		name  string
		email []string
		body  string
		want  string
	}{
		{name: "the first that gives one", email: []string{"body.a", "body.b"}, body: `{"a":"ada@lovelace.example","b":"ada@lovelace.example"}`, want: "body.a"},
		{name: "the second", email: []string{"body.a", "body.b ?? body.c"}, body: `{"b":"ada@lovelace.example"}`, want: "body.b ?? body.c"},
		{name: "what is no address too", email: []string{"body.a", "body.b"}, body: `{"a":"nobody","b":"no one"}`, want: "body.a"},
		{name: "nowhere", email: []string{"body.a"}, body: `{}`},
	}
	for _, tt := range tests {
		e := readJSON(t, sourceOf(t, webhook.Row{Email: tt.email, EventID: `"7"`}), tt.body)[0]
		if e.EmailFrom != tt.want {
			t.Errorf("%s: it came from %q, wants %q", tt.name, e.EmailFrom, tt.want)
		}
	}
	body := `{"a":"ada@lovelace.example","b":"ada@lovelace.example"}`
	one := readJSON(t, sourceOf(t, webhook.Row{Email: []string{"body.a"}, EventID: "body.id"}), body)[0]
	other := readJSON(t, sourceOf(t, webhook.Row{Email: []string{"body.b"}, EventID: "body.id"}), body)[0]
	if one.EmailFrom == other.EmailFrom || one.Fingerprint != other.Fingerprint || one.ID != other.ID || one.BodyKey != other.BodyKey {
		t.Errorf("read elsewhere it is another event: %+v, %+v", one, other)
	}
}

func TestWhereStripesAddressWasRead(t *testing.T) {
	for name, want := range map[string]string{
		"checkout_paid": "customer_details.email", "checkout_details_null_customer_email": "customer_email", "invoice_paid": "customer_email",
	} {
		source, err := webhook.NewStripe("stripe", webhook.StripeConfig{Secrets: []string{secret}})
		if err != nil {
			t.Fatal(err)
		}
		if e := onlyEvent(t, source, payload(t, name)); e.EmailFrom != want {
			t.Errorf("%s: it came from %q, wants %q", name, e.EmailFrom, want)
		}
		own, err := webhook.New(webhook.Config{Name: "stripe", Secrets: []string{secret}, Row: webhook.Row{Verify: webhook.Verify{Kind: "stripe"}, Email: []string{`"own@lovelace.example"`}}})
		if err != nil {
			t.Fatal(err)
		}
		if e := onlyEvent(t, own, payload(t, name)); e.EmailFrom != `"own@lovelace.example"` || e.Email != "own@lovelace.example" {
			t.Errorf("%s by an expression: %q came from %q", name, e.Email, e.EmailFrom)
		}
	}
}

func TestAnExpressionThatFailsHoldsTheEvent(t *testing.T) {
	for name, row := range map[string]webhook.Row{
		"a method of nothing":   {Email: []string{"lower(body.mail)"}},
		"text and nothing":      {Email: []string{"body.none", `body.first + body.domain`}},
		"an identity of a list": {Email: []string{"body.none"}, EventID: "body.list"},
		"a customer of a list":  {Email: []string{"body.none"}, Customer: "body.list"},
	} {
		t.Run(name, func(t *testing.T) {
			e := readJSON(t, sourceOf(t, row), `{"mail":5,"first":"ada","list":[1]}`)[0]
			if e.Preliminary.Outcome != access.Hold || e.Preliminary.Reason != webhook.ReasonExpression {
				t.Errorf("%+v", e.Preliminary)
			}
		})
	}
	e := readJSON(t, sourceOf(t, webhook.Row{When: "body.paid == true", Email: []string{"lower(body.mail)"}}), `{"mail":5}`)[0]
	if e.Preliminary.Reason != webhook.ReasonNotACustomer {
		t.Errorf("what is no customer needs no address: %+v", e.Preliminary)
	}
	e = readJSON(t, sourceOf(t, webhook.Row{Email: []string{"lower(body.mail)", "body.email"}}), `{"mail":5,"email":"ada@lovelace.example"}`)[0]
	if e.Preliminary.Outcome != "" || e.Email != "ada@lovelace.example" {
		t.Errorf("a candidate that fails beside one that does not: %+v", e)
	}
}

func TestEveryItemIsFoundInAListBesideIt(t *testing.T) {
	source := sourceOf(t, webhook.Row{Each: "body.items", Email: []string{"find(body.customers, .id == item.customer).email"}, EventID: "item.id"})
	const n = 800
	var items, customers []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"id":%d,"customer":%d}`, i, n-1-i))
		customers = append(customers, fmt.Sprintf(`{"id":%d,"email":"c%d@lovelace.example"}`, i, i))
	}
	for i, e := range readJSON(t, source, `{"items":[`+strings.Join(items, ",")+`],"customers":[`+strings.Join(customers, ",")+`]}`) {
		if want := fmt.Sprintf("c%d@lovelace.example", n-1-i); e.Email != want || e.Preliminary.Outcome != "" {
			t.Fatalf("item %d: %q, %+v", i, e.Email, e.Preliminary)
		}
	}
}

func TestAnIdentityOfTheWholeRequestIsMadeOneForEachItem(t *testing.T) {
	source := sourceOf(t, webhook.Row{Each: "body.items", Email: []string{"item"}, EventID: "body.id"})
	events := readJSON(t, source, `{"id":"evt_1","items":["a@lovelace.example","b@lovelace.example"]}`)
	if len(events) != 2 || events[0].ID != "evt_1/0" || events[1].ID != "evt_1/1" {
		t.Errorf("%+v", events)
	}
}

func TestTheLikeliestFieldForAnAddressIsTriedFirst(t *testing.T) {
	source := sourceOf(t, webhook.Row{Email: []string{"emailField(body)"}})
	for body, want := range map[string]string{
		`{"q3_email":"ada@lovelace.example","q10_referrersEmail":"friend@other.example"}`:    "ada@lovelace.example",
		`{"q10_email":"ada@lovelace.example","q3_friendsEmail":"friend@other.example"}`:      "ada@lovelace.example",
		`{"q3_email":"ada@lovelace.example","q10_email":"second@other.example"}`:             "ada@lovelace.example",
		`{"Best time to mail":"me @ noon","Email":"ada@lovelace.example"}`:                   "ada@lovelace.example",
		`{"Friend's e-mail":"friend@other.example","E-Mail Address":"ada@lovelace.example"}`: "ada@lovelace.example",
		`{"Work email":"ada@lovelace.example","mailing list":"no@other.example"}`:            "ada@lovelace.example",
		`{"email":"","contact":"ada@lovelace.example"}`:                                      "",
	} {
		if e := readJSON(t, source, body)[0]; e.Email != want {
			t.Errorf("%s: %q", body, e.Email)
		}
	}
}

func TestWhatBuiltInsMakeCanBeRead(t *testing.T) {
	for expression, want := range map[string]string{
		`split(body.to, ",")[0]`:                            "ada@lovelace.example",
		`split(body.to, ",")[-1]`:                           "bob@lovelace.example",
		`split(body.to, ",")`:                               "ada@lovelace.example",
		`let p = split(body.to, ","); p[1]`:                 "bob@lovelace.example",
		`groupBy(body.items, .type)["EMAIL"][0].value`:      "eve@lovelace.example",
		`filter(body.items, .type == "EMAIL")[0].value`:     "eve@lovelace.example",
		`map(body.items, .value)`:                           "eve@lovelace.example",
		`{"a": {"b": body.items[0].value}}.a.b`:             "eve@lovelace.example",
		`split(body.to, ",")[7] ?? body.items[0].value`:     "eve@lovelace.example",
		`groupBy(body.items, .type)["NONE"][0].value ?? ""`: "",
	} {
		e := readJSON(t, sourceOf(t, webhook.Row{Email: []string{expression}}), `{"to":"ada@lovelace.example,bob@lovelace.example","items":[{"type":"EMAIL","value":"eve@lovelace.example"}]}`)[0]
		if e.Email != want || e.Preliminary.Outcome != "" {
			t.Errorf("%s: %q, %+v", expression, e.Email, e.Preliminary)
		}
	}
}

func TestWhatIsNotSignedDoesNotSayWhoIsInvited(t *testing.T) {
	hmacOf := webhook.Verify{Kind: "hmac", Header: "X-Sig", Signed: "{body}"}
	for name, row := range map[string]webhook.Row{
		"email[0]":        {Email: []string{"query.email"}},
		"email[1]":        {Email: []string{"body.email", `headers["X-Email"]`}},
		"customer":        {Customer: "query.customer"},
		"attributes.plan": {Attributes: map[string]string{"plan": "query.plan"}},
	} {
		row.Verify = hmacOf
		_, err := webhook.New(webhook.Config{Name: "shop", Secrets: []string{"secret"}, Row: row})
		if err == nil || !strings.Contains(err.Error(), name+": reads a header or the query, which this sender does not sign") {
			t.Errorf("%s: %v", name, err)
		}
	}
	row := webhook.Row{Email: []string{"query.email"}, Verify: webhook.Verify{Kind: "token", Header: "X-Token"}}
	if _, err := webhook.New(webhook.Config{Name: "shop", Secrets: []string{"secret"}, Row: row}); err != nil {
		t.Errorf("what comes with a token is as good as the token: %v", err)
	}
}

func TestTheQueryMakesNoSecondEventWhereItIsNotSigned(t *testing.T) {
	source := sourceOf(t, webhook.Row{Email: []string{"body.email"}, EventID: "query.id"})
	read := func(query string) webhook.Event {
		return source.Events(source.Unsigned(time.Now(), webhook.Request{Method: "POST", Query: query, Body: []byte(`{"email":"ada@lovelace.example"}`)}))[0]
	}
	if a, b := read("id=1"), read("id=2"); a.BodyKey == "" || a.BodyKey != b.BodyKey {
		t.Errorf("%q, %q", a.BodyKey, b.BodyKey)
	}
}

func TestAFailedSignatureIsNotSavedByAnOlderOne(t *testing.T) {
	preset, _ := webhook.FindPreset("hubspot")
	row := webhook.Row{OnlyIf: "X-HubSpot-Signature-Version: v3"}.Over(preset.Row)
	source, err := webhook.New(webhook.Config{Name: "hs", Secrets: []string{"secret"}, PublicURL: "https://usher.example.com/webhooks/hs", AllowLegacy: true, Row: row})
	if err != nil {
		t.Fatal(err)
	}
	const body = `[{"eventId":1}]`
	header := http.Header{"X-Hubspot-Signature-V3": {"AAAA"}, "X-Hubspot-Request-Timestamp": {fmt.Sprint(time.Now().UnixMilli())},
		"X-Hubspot-Signature-Version": {"v1"}, "X-Hubspot-Signature": {sha256Hex("secret" + body)}}
	if _, err := source.Verify(time.Now(), webhook.Request{Method: "POST", Header: header, Body: []byte(body)}); err == nil {
		t.Error("a failed v3 was saved by a v1")
	}
	header.Del("X-HubSpot-Signature-v3")
	if _, err := source.Verify(time.Now(), webhook.Request{Method: "POST", Header: header, Body: []byte(body)}); err != nil {
		t.Errorf("without a v3: %v", err)
	}
}

func TestAFieldThatIsNotEscapedCostsOnlyItself(t *testing.T) {
	source := sourceOf(t, webhook.Row{Email: []string{"form.email"}})
	for _, body := range []string{"id=1&email=ada%40lovelace.example&note=a;b", "email=ada%40lovelace.example&discount=10%"} {
		e := source.Events(source.Unsigned(time.Now(), webhook.Request{Method: "POST", Body: []byte(body),
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}))[0]
		if e.Email != "ada@lovelace.example" {
			t.Errorf("%s: %+v", body, e)
		}
	}
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
