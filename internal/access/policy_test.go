package access_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/usher-dev/usher/internal/access"
)

func mustPolicy(t testing.TB, c access.PolicyConfig) *access.Policy {
	t.Helper()
	p, err := access.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sale is an event with everything in it.
func sale() access.Event {
	return access.Event{
		Source:      "stripe",
		Type:        "checkout.session.completed",
		ID:          "evt_1",
		Email:       " Jane@Example.com ",
		Name:        "Jane Doe",
		Customer:    "cus_1",
		Country:     "US",
		Amount:      123_456_789_012,
		Currency:    "usd",
		Mode:        "subscription",
		Livemode:    true,
		PaymentLink: "plink_1",
		Prices:      []string{"price_1", "price_2"},
		Metadata:    map[string]string{"plan": "pro"},
		Attributes:  map[string]string{"tier": "gold"},
	}
}

func TestDecide(t *testing.T) {
	config := access.PolicyConfig{
		Internal: []string{"acme.com"},
		Deny:     []string{"*.spam.example"},
		Rules: []access.Rule{
			{When: `event.payment_link == "plink_1"`, Groups: []int64{7, 3, 7}, Attributes: map[string]string{"plan": `"pro"`, "customer": "event.customer"}},
			{When: `event.country == "KP"`, Outcome: access.Skip, Groups: []int64{1}, Attributes: map[string]string{"x": "event.prices[9]"}},
			{When: `event.country == "US"`, Outcome: access.Hold, Groups: []int64{5}},
			{When: `event.metadata.score != "" && int(event.metadata.score) > 5`, Groups: []int64{6}},
			{When: `event.mode == "setup"`, Groups: []int64{8}, Attributes: map[string]string{"first": "event.prices[0]"}},
		},
	}
	const malformed = "The address in this event cannot be used: "
	tests := []struct {
		name  string
		event access.Event
		want  access.Decision // without Address
	}{
		{
			name: "no address",
			want: access.Decision{Outcome: access.Skip, Reason: access.ReasonNoAddress, Rule: -1, Sentence: "This event carries no e-mail address, so there is nobody to invite."},
		},
		{
			name:  "a malformed address",
			event: access.Event{Email: "jane@localhost", PaymentLink: "plink_1"},
			want:  access.Decision{Outcome: access.Skip, Reason: access.ReasonMalformed, Rule: -1, Sentence: malformed + "the domain has no dot."},
		},
		{
			name:  "the own domain, whatever the rules say",
			event: access.Event{Email: "jane@acme.com", PaymentLink: "plink_1"},
			want: access.Decision{
				Outcome: access.Skip, Reason: access.ReasonInternal, Rule: -1,
				Sentence: "acme.com is your own domain: this person would become an internal seat, not an external user.",
			},
		},
		{
			name:  "a denied domain",
			event: access.Event{Email: "jane@mail.spam.example", PaymentLink: "plink_1"},
			want:  access.Decision{Outcome: access.Skip, Reason: access.ReasonDenied, Rule: -1, Sentence: "mail.spam.example is on your list of denied domains."},
		},
		{
			name:  "the first rule that matches wins",
			event: access.Event{Email: "jane@example.com", PaymentLink: "plink_1", Country: "US", Customer: "cus_1"},
			want: access.Decision{
				Outcome: access.Invite, Reason: access.ReasonRule, Rule: 0,
				Sentence:   "Access rule 1 applies: this person is invited.",
				Groups:     []int64{3, 7},
				Attributes: map[string]string{"plan": "pro", "customer": "cus_1"},
			},
		},
		{
			name:  "a rule that skips gives no groups and works out no attributes",
			event: access.Event{Email: "jane@example.com", Country: "KP"},
			want:  access.Decision{Outcome: access.Skip, Reason: access.ReasonRule, Rule: 1, Sentence: "Access rule 2 applies: this person is not invited."},
		},
		{
			name:  "a rule that holds keeps its groups for the approval",
			event: access.Event{Email: "jane@example.com", Country: "US"},
			want: access.Decision{
				Outcome: access.Hold, Reason: access.ReasonRule, Rule: 2, Groups: []int64{5},
				Sentence: "Access rule 3 applies: a person must approve before the invitation is sent.",
			},
		},
		{
			name:  "no rule matches",
			event: access.Event{Email: "jane@example.com"},
			want: access.Decision{
				Outcome: access.Invite, Reason: access.ReasonExternal, Rule: -1,
				Sentence: "example.com is an outside domain, and no access rule says otherwise: this person is invited.",
			},
		},
		{
			name:  "a condition that cannot be worked out holds",
			event: access.Event{Email: "jane@example.com", Metadata: map[string]string{"score": "four-secret"}},
			want: access.Decision{
				Outcome: access.Hold, Reason: access.ReasonRuleError, Rule: 3,
				Sentence: "Access rule 4 could not be worked out for this event: it takes one kind of value for another, such as text for a number. A person must decide.",
			},
		},
		{
			name:  "an attribute that cannot be worked out holds",
			event: access.Event{Email: "jane@example.com", Mode: "setup"},
			want: access.Decision{
				Outcome: access.Hold, Reason: access.ReasonRuleError, Rule: 4, Groups: []int64{8},
				Sentence: "Access rule 5 could not be worked out for this event: attribute first: it reads past the end of a list or text. A person must decide.",
			},
		},
	}
	p := mustPolicy(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := p.Decide(tt.event)
			if strings.Contains(got.Sentence, "jane") || strings.Contains(got.Sentence, "secret") {
				t.Errorf("the sentence tells on the person: %s", got.Sentence)
			}
			wantAddress := tt.event.Email
			if tt.want.Reason == access.ReasonMalformed {
				wantAddress = ""
			}
			if got.Address.Full() != wantAddress {
				t.Errorf("the address of the decision is %q, want %q", got.Address.Full(), wantAddress)
			}
			got.Address = access.Address{}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestRuleWithoutConditionAlwaysMatches(t *testing.T) {
	p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{Outcome: access.Hold}}})
	if d := p.Decide(sale()); d.Outcome != access.Hold || d.Rule != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestRulesSeeTheAddressParsed(t *testing.T) {
	p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{
		{When: `event.email endsWith "@xn--bcher-kva.example"`, Outcome: access.Skip},
	}})
	if d := p.Decide(access.Event{Email: "Jane@BÜCHER.example"}); d.Outcome != access.Skip {
		t.Errorf("a rule was evaded by another spelling: %+v", d)
	}
}

func TestDecisionsShareNoMemory(t *testing.T) {
	p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{Groups: []int64{1, 2}}}})
	p.Decide(sale()).Groups[0] = 99
	if got := p.Decide(sale()).Groups; !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("a caller changed the policy: %v", got)
	}
}

func TestExpressionsReadEveryField(t *testing.T) {
	want := map[string]string{
		"source":       "stripe",
		"type":         "checkout.session.completed",
		"id":           "evt_1",
		"email":        "jane@example.com",
		"name":         "Jane Doe",
		"customer":     "cus_1",
		"country":      "US",
		"amount":       "123456789012",
		"currency":     "usd",
		"mode":         "subscription",
		"livemode":     "true",
		"payment_link": "plink_1",
		"prices":       "price_1,price_2",
		"metadata":     "pro",
		"attributes":   "gold",
		"tier":         "gold", // the event's own, which go along
	}
	sources := map[string]string{}
	for name := range want {
		sources[name] = "event." + name
	}
	delete(sources, "tier")
	sources["prices"] = `join(event.prices, ",")`
	sources["metadata"] = "event.metadata.plan"
	sources["attributes"] = "event.attributes.tier"
	p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{Attributes: sources}}})
	if got := p.Decide(sale()).Attributes; !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var mistake *access.ConfigError
	_, err := access.NewPolicy(access.PolicyConfig{Rules: []access.Rule{{When: "event.plink"}}})
	if !errors.As(err, &mistake) {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[access.Event]()
	for i := range fields.NumField() {
		name := fields.Field(i).Tag.Get("expr")
		if name == "-" { // not a rule's business, under whatever name
			for _, when := range []string{"event." + fields.Field(i).Name + ` == "x"`, `event["` + fields.Field(i).Name + `"] == "x"`, "event.email_from == nil"} {
				if _, err := access.NewPolicy(access.PolicyConfig{Rules: []access.Rule{{When: when}}}); err == nil {
					t.Errorf("a rule can read %s", when)
				}
			}
			continue
		}
		if _, ok := want[name]; !ok || !strings.Contains(mistake.Mend, name) {
			t.Errorf("field %q is not tested, or not named in %q", name, mistake.Mend)
		}
		if tag := fields.Field(i).Tag.Get("json"); strings.TrimSuffix(tag, ",omitempty") != name {
			t.Errorf("field %q is %q in the ledger", name, tag)
		}
	}
}

func TestAttributesOfTheEventGoAlong(t *testing.T) {
	e := sale()
	e.Attributes = map[string]string{"plan": "free", "tier": "gold"}
	for name, rules := range map[string][]access.Rule{
		"no rule":         nil,
		"a rule has more": {{Attributes: map[string]string{"plan": `"pro"`}}},
	} {
		got := mustPolicy(t, access.PolicyConfig{Rules: rules}).Decide(e).Attributes
		want := map[string]string{"plan": "free", "tier": "gold"}
		if rules != nil {
			want["plan"] = "pro"
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if e.Attributes["plan"] != "free" {
		t.Error("a rule changed the event")
	}
}

func TestAttributesAreWrittenPlainly(t *testing.T) {
	tests := []struct{ name, expression, want string }{
		{name: "money in major units", expression: "event.amount / 100", want: "1234567890.12"},
		{name: "a whole number from a division", expression: "event.amount / event.amount", want: "1"},
		{name: "a large number", expression: "1e21", want: "1000000000000000000000"},
		{name: "a small number", expression: "1e-7", want: "0.0000001"},
		{name: "a negative number", expression: "-event.amount", want: "-123456789012"},
		{name: "a truth", expression: `"price_2" in event.prices`, want: "true"},
		{name: "a metadata key that is not there", expression: "event.metadata.nope", want: ""},
		{name: "a choice", expression: `event.country == "US" ? "us" : nil`, want: "us"},
		{name: "a value from JSON", expression: `fromJSON("{\"n\": 20000000}").n`, want: "20000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{Attributes: map[string]string{"x": tt.expression}}}})
			d := p.Decide(sale())
			if got, ok := d.Attributes["x"]; !ok || got != tt.want {
				t.Errorf("%s = %q, want %q (%s)", tt.expression, got, tt.want, d.Sentence)
			}
		})
	}
}

func TestAttributeThatIsNilIsLeftOut(t *testing.T) {
	p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{Attributes: map[string]string{
		"nil":    "nil",
		"absent": `get(event.metadata, "nope")`,
		"branch": `event.country == "DE" ? "de" : nil`,
	}}}})
	// The one that is there is the event's own.
	if d := p.Decide(sale()); len(d.Attributes) != 1 || d.Outcome != access.Invite {
		t.Errorf("got %v: %s", d.Attributes, d.Sentence)
	}
}

// TestRuleErrorsKeepData runs expressions that fail on the event's own data:
// the event is held and nothing of the data is in the sentence.
func TestRuleErrorsKeepData(t *testing.T) {
	tests := []struct{ name, expression, want string }{
		{name: "no number", expression: "int(event.name)", want: "one kind of value"},
		{name: "no JSON", expression: "fromJSON(event.name)", want: "does not fit"},
		{name: "no pattern", expression: "event.name matches event.metadata.pattern", want: "does not fit"},
		{name: "no base64", expression: "fromBase64(event.name)", want: "does not fit"},
		{name: "past the end", expression: "event.prices[17]", want: "past the end"},
		{name: "division by zero", expression: "event.amount / 0", want: "finite"},
		{name: "remainder by zero", expression: "event.amount % 0", want: "divides by zero"},
		{name: "too long a list", expression: "len(1..event.amount)", want: "memory"},
		{name: "too long a text", expression: `repeat("secret", event.amount)`, want: "memory"},
		{name: "loops in loops", expression: "any(1..9999, any(1..9999, any(1..9999, false)))", want: "memory"},
		{name: "a field of nothing", expression: `fromJSON("{}").a.b`, want: "a field of something"},
		{name: "a list where a value is due", expression: `fromJSON("[1]")`, want: "a list or a map"},
		{name: "the whole environment", expression: "$env", want: "a list or a map"},
	}
	e := sale()
	e.Name = "secret["
	e.Metadata = map[string]string{"pattern": "(secret"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{Attributes: map[string]string{"x": tt.expression}}}})
			d := p.Decide(e)
			if d.Outcome != access.Hold || d.Reason != access.ReasonRuleError || d.Rule != 0 || d.Address.IsZero() {
				t.Errorf("got %+v", d)
			}
			if !strings.Contains(d.Sentence, "rule 1 ") || !strings.Contains(d.Sentence, tt.want) || strings.Contains(d.Sentence, "secret") {
				t.Errorf("the sentence is %q, want … %q …", d.Sentence, tt.want)
			}
		})
	}
}

func TestConditionMustBeTrueOrFalseAtRunTime(t *testing.T) {
	p := mustPolicy(t, access.PolicyConfig{Rules: []access.Rule{{When: "fromJSON(event.metadata.json)", Groups: []int64{1}}}})
	for json, want := range map[string]access.Outcome{"true": access.Invite, "false": access.Invite, "null": access.Invite, "1": access.Hold, "": access.Hold} {
		e := sale()
		e.Metadata = map[string]string{"json": json}
		if d := p.Decide(e); d.Outcome != want || (json == "true") != (len(d.Groups) == 1) {
			t.Errorf("a condition of %q: %+v", json, d)
		}
	}
}

func TestNewPolicyFindsEveryMistake(t *testing.T) {
	long := strings.Repeat("a", 101)
	_, err := access.NewPolicy(access.PolicyConfig{
		Internal: []string{"@acme.com"},
		Allow:    []string{"acme.com", "acme"},
		Deny:     []string{""},
		Rules: []access.Rule{
			{When: "event.livemode"},
			{When: "event.contry == \"US\"", Outcome: "approve", Groups: []int64{1, 0, -1}},
			{When: "event.name", Attributes: map[string]string{"": "1", long: "1", "list": "event.prices", "plan": "pro", "empty": ""}},
			{When: "now() > 1"},
			{When: "evnt.name == \"x\""},
			{When: "event.name ==\n  +"},
			{When: strings.Repeat("(", 5000)},
			{When: strings.Repeat("event.livemode || ", 200) + "true"},
			{When: "event.String() == \"\""},
		},
	})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v, want joined errors", err)
	}
	want := []string{
		`domains.internal[0]: a domain is written without the @ sign; write acme.com`,
		`domains.allow[1]: the domain has no dot; write the whole domain, like example.com`,
		`domains.deny[0]: the entry is blank; write the whole domain, like example.com`,
		`access[1].when: event has no field contry (line 1, column 7); an event has the fields `,
		`access[1].decision: there is no such decision; write invite, hold or skip`,
		`access[1].groups[1]: a group id is a positive number; `,
		`access[1].groups[2]: a group id is a positive number; `,
		`access[2].when: expected bool, but got string; an expression reads the event, like event.country == "US"`,
		`access[2].attributes.: the name is empty or too long; use a name of 1 to 100 bytes`,
		`access[2].attributes.` + long + `: the name is empty or too long; use a name of 1 to 100 bytes`,
		`access[2].attributes.empty: unexpected token EOF`,
		`access[2].attributes.list: this gives a list or a map, not a single value; `,
		`access[2].attributes.plan: unknown name pro (line 1, column 1); read the event, like event.customer, or give a fixed text its own quotes, like '"pro"'`,
		`access[3].when: unknown name now`,
		`access[4].when: unknown name evnt`,
		`access[5].when: unexpected token EOF (line 2, column 3)`,
		`access[6].when: the expression is longer than 4096 bytes`,
		`access[7].when: compilation failed: expression exceeds maximum allowed nodes`,
		`access[8].when: event has no method String`,
	}
	got := joined.Unwrap()
	for i, err := range got {
		var ce *access.ConfigError
		if !errors.As(err, &ce) || ce.Path == "" || ce.Problem == "" || ce.Mend == "" {
			t.Errorf("%#v is not a whole *ConfigError", err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is more than one line", err)
		}
		if i < len(want) && !strings.HasPrefix(err.Error(), want[i]) {
			t.Errorf("mistake %d is\n%s, want\n%s", i, err, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d mistakes found, want %d:\n%v", len(got), len(want), err)
	}
}

func TestEventSurvivesTheLedger(t *testing.T) {
	text, err := json.Marshal(sale())
	if err != nil {
		t.Fatal(err)
	}
	var got access.Event
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, sale()) {
		t.Errorf("%s came back as %#v, %v", text, got, err)
	}
}

func TestPolicyIsSafeForConcurrentUse(t *testing.T) {
	p := mustPolicy(t, salesPolicy())
	want := p.Decide(sale())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if got := p.Decide(sale()); !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestExpressionsAreDeterministic(t *testing.T) {
	for _, call := range []string{
		"now()", `date("2026-01-02")`, `timezone("Europe/Berlin")`, `duration("1h")`,
		"keys(event.metadata)", "values(event.metadata)", "toPairs(event.metadata)",
	} {
		_, err := access.NewPolicy(access.PolicyConfig{Rules: []access.Rule{{When: call + " == nil"}}})
		if err == nil || !strings.Contains(err.Error(), "unknown name") {
			t.Errorf("%s: %v, want an unknown name", call, err)
		}
	}
}

// FuzzRule compiles any expression and runs it: whatever an operator writes,
// nothing panics, and an event is decided.
func FuzzRule(f *testing.F) {
	for _, s := range []string{
		"", "event", "event.name matches event.name", "event.prices[0]", "event.prices[-1:99]", "event.metadata[event.name]", "$env", "let x = event; x",
		"filter(event.prices, # != nil)", "map(1..9, # ** #)", "event?.metadata?.x ?? nil", "fromJSON(toJSON(event)).a.b", "1/0", "9223372036854775807 + 1",
		"sort(event.prices, 'desc')", "groupBy(event.prices, #)", "{'a': [1, {}]}", "-(-1)", "not nil", "event.amount % 0", "int('x')", "'\\u0000'", "((((((((",
		"event.name[0:9] | upper() | split('') | join('-')", "sum(map(event.prices, len(#)))", "flatten([[1],[[2]]])", "if true { 1 } else { 2 }", "repeat('a', 999999)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, rule := range []access.Rule{{When: s}, {Attributes: map[string]string{"x": s}}} {
			p, err := access.NewPolicy(access.PolicyConfig{Rules: []access.Rule{rule}})
			if err != nil {
				continue
			}
			if d := p.Decide(sale()); d.Sentence == "" || (d.Outcome == access.Hold) != (d.Reason == access.ReasonRuleError) {
				t.Errorf("%q: %+v", s, d)
			}
		}
	})
}

func salesPolicy() access.PolicyConfig {
	return access.PolicyConfig{
		Internal: []string{"acme.com", "*.acme.com"},
		Deny:     []string{"*.spam.example"},
		Rules: []access.Rule{
			{When: `event.country in ["KP", "IR"]`, Outcome: access.Skip},
			{When: `event.source == "stripe" && event.amount > 100000000000000`, Outcome: access.Hold},
			{
				When:       `event.source == "stripe" && "price_2" in event.prices`,
				Groups:     []int64{1042},
				Attributes: map[string]string{"plan": `event.metadata.plan ?? "free"`, "stripe_customer": "event.customer", "paid": "event.amount / 100"},
			},
		},
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, config := range map[string]access.PolicyConfig{"no rules": {}, "three rules": salesPolicy()} {
		b.Run(name, func(b *testing.B) {
			p, e := mustPolicy(b, config), sale()
			b.ReportAllocs()
			for b.Loop() {
				if d := p.Decide(e); d.Outcome != access.Invite {
					b.Fatal(d.Sentence)
				}
			}
		})
	}
}
