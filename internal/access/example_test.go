package access_test

import (
	"fmt"

	"github.com/usher-dev/usher/internal/access"
)

func ExampleAddress() {
	a, err := access.ParseAddress("Jane@Example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("for the log:", a)
	fmt.Println("for Retool: ", a.Full())
	// Output:
	// for the log: j…@example.com
	// for Retool:  jane@example.com
}

func ExamplePolicy_Decide() {
	p, err := access.NewPolicy(access.PolicyConfig{
		Internal: []string{"acme.com"},
		Rules: []access.Rule{
			{When: `event.payment_link == "plink_1"`, Groups: []int64{1042}, Attributes: map[string]string{"plan": `"pro"`}},
			{When: `event.country == "US"`, Outcome: access.Hold},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range []access.Event{
		{Email: "jane@example.com", PaymentLink: "plink_1"},
		{Email: "joe@example.com", Country: "US"},
		{Email: "boss@acme.com"},
		{Email: "kim@localhost"},
	} {
		d := p.Decide(e)
		fmt.Println(d.Outcome, d.Groups, d.Sentence)
	}
	// Output:
	// invite [1042] Access rule 1 applies: this person is invited.
	// hold [] Access rule 2 applies: a person must approve before the invitation is sent.
	// skip [] acme.com is your own domain: this person would become an internal seat, not an external user.
	// skip [] The address in this event cannot be used: the domain has no dot.
}
