package retoolclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

func ExampleClient_Invite() {
	srv := httptest.NewServer(retooltest.New(retooltest.Options{})) // in real life https://acme.retool.com
	defer srv.Close()

	client, err := retoolclient.New(retoolclient.Options{BaseURL: srv.URL, Token: "retool_0123456789"})
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := client.Invite(context.Background(), retoolclient.Invitation{
		Email:    "ada@example.com",
		GroupIDs: []int64{1042},
		Metadata: map[string]string{"plan": "pro"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Transport, *res.Invite.UserType, res.Invite.ExpiresAt.Sub(res.Invite.CreatedAt))
	// Output: v2 external 168h0m0s
}

// The kind of an error says what to do about it.
func ExampleError() {
	retool := retooltest.New(retooltest.Options{Members: []string{"ada@example.com"}})
	retool.Inject(retooltest.Fault{Kind: "429", RetryAfter: "30"}, retooltest.Fault{Kind: "500"})
	srv := httptest.NewServer(retool)
	defer srv.Close()
	client, err := retoolclient.New(retoolclient.Options{BaseURL: srv.URL, Token: "retool_0123456789"})
	if err != nil {
		fmt.Println(err)
		return
	}

	for range 3 {
		_, err := client.Invite(context.Background(), retoolclient.Invitation{Email: "ada@example.com"})
		var e *retoolclient.Error
		if !errors.As(err, &e) {
			continue
		}
		switch e.Kind {
		case retoolclient.Later:
			fmt.Printf("again in %v, look first: %v\n", max(e.RetryAfter, time.Second), e.Ambiguous)
		case retoolclient.Present:
			fmt.Println("nothing to do:", e.Message)
		case retoolclient.Never, retoolclient.Stop:
			fmt.Println("a person must look:", e, e.Advice)
		}
	}
	// Output:
	// again in 30s, look first: false
	// again in 1s, look first: true
	// nothing to do: This user is already a member of this organization
}

// After an unclear answer, look before you send again.
func ExampleClient_FindInvite() {
	retool := retooltest.New(retooltest.Options{})
	retool.Inject(retooltest.Fault{Kind: "reset-after-work"})
	srv := httptest.NewServer(retool)
	defer srv.Close()
	client, err := retoolclient.New(retoolclient.Options{BaseURL: srv.URL, Token: "retool_0123456789"})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	_, err = client.Invite(ctx, retoolclient.Invitation{Email: "ada@example.com"})
	var e *retoolclient.Error
	if errors.As(err, &e) && e.Ambiguous {
		invite, err := client.FindInvite(ctx, "ada@example.com")
		fmt.Println(invite.ID, err)
	}
	// Output: 1 <nil>
}

// Where the plan has no API v2, invitations go the other way, and the client says so once.
func ExampleOptions_onFallback() {
	srv := httptest.NewServer(retooltest.New(retooltest.Options{Plan: retooltest.BulkOnly}))
	defer srv.Close()
	client, err := retoolclient.New(retoolclient.Options{
		BaseURL:    srv.URL,
		Token:      "retool_0123456789",
		OnFallback: func(reason string) { fmt.Println("falling back to bulk:", reason) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, email := range []string{"ada@example.com", "bob@example.com"} {
		res, err := client.Invite(context.Background(), retoolclient.Invitation{Email: email})
		fmt.Println(res.Transport, err)
	}
	// Output:
	// falling back to bulk: invite: Retool answered 403: API access is only available for enterprise customers
	// bulk <nil>
	// bulk <nil>
}
