package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/handlers"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
)

// rehearse tries rules as cmd wires it, but that a changed configuration is one denied domain.
func rehearse(w *world) handlers.Rehearse {
	return func(ctx context.Context, since time.Time, changed []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
		policy, parts := w.policy, []string(nil)
		if changed != nil {
			var err error
			if policy, err = access.NewPolicy(access.PolicyConfig{Deny: []string{string(changed)}}); err != nil {
				return ledger.Rehearsal{}, nil, &handlers.ConfigError{Mistakes: []handlers.ConfigMistake{{Line: 3, Path: "domains.deny[0]", What: "is no domain", Mend: "write one"}}}
			}
			parts = []string{"domains"}
		}
		r := &onboarding.Rehearser{Ledger: w.ledger, Sources: handlers.Options{}.Sources, Policy: policy}
		found, err := r.Rehearse(ctx, since, report)
		return found, parts, err
	}
}

func TestRulesAreTriedOverTheAPI(t *testing.T) {
	var w *world
	w = newWorld(t, func(o *handlers.Options) {
		o.Rehearse = func(ctx context.Context, since time.Time, changed []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
			return rehearse(w)(ctx, since, changed, report)
		}
	})
	w.record(t, "evt_1", "ada@example.com")
	w.record(t, "evt_2", "boss@acme.com")
	run(t, w, []scenario{
		{name: "the rules that run find nothing to say", path: "/v1/rules/test", wantStatus: 200,
			wantBody: []string{`"since":null`, `"changed":[]`, `"complete":true`, `"events":2`, `"from_details":2`, `"different":0`, `"differences":[]`, `"kinds":[]`, `"lacking_sources":[]`}},
		{name: "others do", path: "/v1/rules/test", body: "example.com", wantStatus: 200,
			wantBody: []string{`"changed":["domains"]`, `"different":2`, `{"today":"invite","then":"skip","by":"outcome","events":1}`, `{"today":"skip","then":"invite","by":"outcome","events":1}`,
				`"sender_id":"evt_1","source":"stripe"`, `"email":"ada@example.com"`, `"then":{"outcome":"skip","reason":"denied_domain","sentence":"example.com is on your list of denied domains.","rule":null}`,
				`"effect":"goes_out","means":"Is queued, and goes out all the same: revoke it to stop it.","invitation":1,"state":"queued"`}},
		{name: "fewer are shown than there are", path: "/v1/rules/test?limit=1", body: "example.com", wantStatus: 200, wantBody: []string{`"different":2`}, after: func(t *testing.T, _ *world, body string) {
			var answer handlers.RulesTest
			if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Differences) != 1 {
				t.Errorf("%d are shown (%v)", len(answer.Differences), err)
			}
		}},
		{name: "of what came since a time", path: "/v1/rules/test?since=2999-01-01", body: "example.com", wantStatus: 200, wantBody: []string{`"since":"2999-01-01T00:00:00Z"`, `"events":0`, `"different":0`}},
		{name: "of the last hour", path: "/v1/rules/test?since=1h", body: "example.com", wantStatus: 200, wantBody: []string{`"different":2`}},
		{name: "a time that is none", path: "/v1/rules/test?since=yesterday", wantStatus: 422, wantBody: []string{`"field":"since"`, "such as 30d"}},
		{name: "a parameter that is none", path: "/v1/rules/test?sinc=1h", wantStatus: 422, wantBody: []string{`"field":"sinc"`}},
		{name: "a configuration with a mistake", path: "/v1/rules/test", body: "no domain", wantStatus: 422,
			wantBody: []string{`"title":"The configuration is not valid"`, `"field":"domains.deny[0]","line":3,"detail":"is no domain","mend":"write one"`}},
		{name: "no configuration", method: http.MethodPost, path: "/v1/rules/test", wantStatus: 400, wantBody: []string{"the body is empty", "a GET tries the rules that run"}},
		{name: "too long a configuration", path: "/v1/rules/test", body: strings.Repeat("x", 256<<10+1), wantStatus: 413},
		{name: "without a token", path: "/v1/rules/test", anonymous: true, wantStatus: 401},
	})
	if n := len(must(t, w.ledger.Invitations, ledger.Filter{})); n != 1 {
		t.Errorf("there are %d invitations, and there was one", n)
	}
}

// must asks the ledger.
func must[A, V any](t *testing.T, ask func(context.Context, A) (V, error), about A) V {
	t.Helper()
	v, err := ask(t.Context(), about)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRulesAreTriedOneTestAtATime(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(o *handlers.Options) {
		o.Rehearse = func(context.Context, time.Time, []byte, func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
			close(begun)
			<-end
			return ledger.Rehearsal{Complete: true}, nil, nil
		}
	})
	first := make(chan string)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/v1/rules/test", nil)
		if err != nil {
			first <- err.Error()
			return
		}
		r.Header.Set("Authorization", "Bearer "+adminToken)
		answer, err := w.server.Client().Do(r)
		if err == nil {
			err = answer.Body.Close()
		}
		first <- fmt.Sprintf("%v %d", err, answer.StatusCode)
	}()
	<-begun
	run(t, w, []scenario{{name: "a second one meanwhile", path: "/v1/rules/test", wantStatus: 429, wantBody: []string{"another test of rules is under way"}, wantHeader: map[string]string{"Retry-After": "5"}}})
	close(end)
	if got := <-first; got != "<nil> 200" {
		t.Errorf("the first ended with %s", got)
	}
}

func TestRulesAreTriedForALimitedTime(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		want   int
		answer string
	}{
		{name: "what was found until then is told", err: context.DeadlineExceeded, want: 200, answer: `"complete":false`},
		{name: "a ledger that cannot be read", err: errors.New("the disk is on fire"), want: 500, answer: "something is wrong with Usher"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(o *handlers.Options) {
				if errors.Is(tt.err, context.DeadlineExceeded) {
					o.RehearseFor = time.Millisecond
				}
				o.Rehearse = func(ctx context.Context, _ time.Time, _ []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
					if errors.Is(tt.err, context.DeadlineExceeded) {
						<-ctx.Done()
					}
					return ledger.Rehearsal{Different: 1}, nil, errors.Join(tt.err, report(ledger.Difference{Email: "ada@example.com", By: ledger.ChangeOfOutcome, Effect: ledger.WouldInvite,
						Today: ledger.Outlook{Outcome: access.Skip}, Then: ledger.Outlook{Outcome: access.Invite}}))
				}
			})
			run(t, w, []scenario{{name: "asked", path: "/v1/rules/test", wantStatus: tt.want, wantBody: []string{tt.answer}}})
		})
	}
	w := newWorld(t, nil)
	run(t, w, []scenario{{name: "without a way to try rules", path: "/v1/rules/test", wantStatus: 501}})
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tests := []struct{ text, want string }{
		{text: "", want: "0001-01-01T00:00:00Z"},
		{text: "30d", want: "2026-10-25T12:00:00Z"},
		{text: " 12h ", want: "2026-11-24T00:00:00Z"},
		{text: "2026-11-01", want: "2026-11-01T00:00:00Z"},
		{text: "2026-11-01T10:00:00+01:00", want: "2026-11-01T10:00:00+01:00"},
		{text: "-1h"}, {text: "99999d"}, {text: "1.5d"}, {text: "soon"}, {text: "30"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			at, err := handlers.ParseSince(tt.text, now)
			if got := at.Format(time.RFC3339); (err == nil) != (tt.want != "") || err == nil && got != tt.want {
				t.Errorf("got %s (%v), wants %s", got, err, tt.want)
			}
		})
	}
}

func TestRulesAreTriedOnThePage(t *testing.T) {
	var w *world
	var broken error
	w = newWorld(t, func(o *handlers.Options) {
		o.Rehearse = func(ctx context.Context, since time.Time, changed []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
			if broken != nil {
				return ledger.Rehearsal{}, nil, broken
			}
			return rehearse(w)(ctx, since, changed, report)
		}
	})
	b := newBrowser(t, w).signIn(t, "")
	see := func(t *testing.T, form url.Values, status int, want []string, absent ...string) {
		t.Helper()
		answer, body := b.get(t, "/admin/rules")
		if form != nil {
			answer, body = b.post(t, "/admin/rules", form)
		}
		if answer.StatusCode != status {
			t.Fatalf("%d %s", answer.StatusCode, body)
		}
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("the page has no %s:\n%s", text, body)
			}
		}
		for _, text := range absent {
			if strings.Contains(body, text) {
				t.Errorf("the page has %s:\n%s", text, body)
			}
		}
	}
	see(t, nil, 200, []string{"Try rules on what came", `aria-current="page">Rules`, "A change to begin with", `value="30d"`})
	see(t, url.Values{}, 200, []string{"There is nothing to try rules on", "No event came in that time", "the configuration that runs"}, "A change to begin with")

	w.record(t, "evt_1", "ada@example.com")
	w.record(t, "evt_2", "boss@acme.com")
	w.record(t, `<script>alert("id")</script>`, "eve@example.com")
	see(t, url.Values{"since": {"1h"}}, 200, []string{"Nothing would be decided differently", "3 events"}, "<table")
	see(t, url.Values{"since": {""}, "config": {"example.com"}}, 200, []string{
		"3 events would be decided differently", "changed domains", "the beginning", "<td role=\"cell\" data-label=\"Today\">invite</td><td role=\"cell\" data-label=\"Then\">skip</td>",
		"queued, and goes out all the same: revoke to stop it: 2 events", "All differences", `<a class="mono" href="/admin/events/1">evt_1</a>`, `<a href="/admin/invitations/1">ada@example.com</a>`,
		"example.com is on your list of denied domains.", "Would be invited: has no invitation today.", "&lt;script&gt;alert", ">example.com</textarea>",
	}, "<script>alert")
	see(t, url.Values{"since": {"soon"}, "config": {"kept.example"}}, 422, []string{"This is no time. Write one such as 30d", `aria-invalid="true"`, ">kept.example</textarea>"})
	see(t, url.Values{"config": {"no domain <b>"}}, 422, []string{"Nothing was tried", "Line 3:", "domains.deny[0]", "is no domain", "To mend it: write one", ">no domain &lt;b&gt;</textarea>"})
	see(t, url.Values{"config": {strings.Repeat("x", 256<<10+1)}}, 413, []string{"over the size limit"})
	broken = errors.New("the disk is on fire")
	see(t, url.Values{}, 500, []string{"Something went wrong"}, "on fire")
}

func TestRulesAreTriedFromAFile(t *testing.T) {
	var w *world
	w = newWorld(t, func(o *handlers.Options) {
		o.Rehearse = func(ctx context.Context, since time.Time, changed []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
			return rehearse(w)(ctx, since, changed, report)
		}
	})
	w.record(t, "evt_1", "ada@example.com")
	b := newBrowser(t, w).signIn(t, "")
	b.get(t, "/admin/rules")
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "usher.yaml")
	if err == nil {
		_, err = file.Write([]byte("example.com"))
	}
	err = errors.Join(err, form.WriteField("csrf", b.csrf), form.Close())
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/admin/rules", &body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(text), "1 event would be decided differently") || !strings.Contains(string(text), ">example.com</textarea>") {
		t.Errorf("%d %v %s", answer.StatusCode, err, text)
	}
}

// Whatever a difference can say is in openapi.yaml, against which every answer is held.
func TestEveryWordOfADifferenceIsDocumented(t *testing.T) {
	outcomes := []access.Outcome{access.Invite, access.Hold, access.Skip, ledger.IsNoEvent, ledger.IsSetAside, ledger.IsLookingUp}
	changes := []ledger.ChangeOf{ledger.ChangeOfOutcome, ledger.ChangeOfAddress, ledger.ChangeOfGroups, ledger.ChangeOfAttributes, ledger.ChangeOfReason}
	effects := []ledger.Effect{ledger.WouldInvite, ledger.WouldHold, ledger.WouldRequeue, ledger.WouldAdd, ledger.WouldLookUp, ledger.StaysHeld, ledger.GoesOut, ledger.NothingIsTaken, ledger.NoEffect}
	w := newWorld(t, func(o *handlers.Options) {
		o.Rehearse = func(_ context.Context, since time.Time, _ []byte, report func(ledger.Difference) error) (ledger.Rehearsal, []string, error) {
			found := ledger.Rehearsal{Since: since, Complete: true, Lacking: map[string]int64{"gone": 3}, Mended: 1, Stuck: 2, Kinds: map[ledger.Kind]int64{}, Effects: map[ledger.Effect]int64{}}
			var errs []error
			for i := range effects {
				today, then, by := outcomes[i%len(outcomes)], outcomes[(i+1)%len(outcomes)], changes[i%len(changes)]
				found.Different++
				found.Kinds[ledger.Kind{Today: today, Then: then, By: by}]++
				found.Effects[effects[i]]++
				errs = append(errs, report(ledger.Difference{Event: 1, Delivery: 1, SenderID: "evt_1", Source: "stripe", At: time.Now(), Email: "ada@example.com", By: by, Effect: effects[i], Means: "x",
					Today: ledger.Outlook{Outcome: today, Rule: -1}, Then: ledger.Outlook{Outcome: then, Rule: 1}, Groups: []int64{7}, Attributes: []string{"plan"}, Invitation: 1, State: ledger.Sent}))
			}
			return found, []string{"access"}, errors.Join(errs...)
		}
	})
	run(t, w, []scenario{{name: "all of them", path: "/v1/rules/test", wantStatus: 200, after: func(t *testing.T, _ *world, body string) {
		var answer handlers.RulesTest
		if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Differences) != len(effects) || len(answer.Effects) != len(effects) {
			t.Fatalf("%v %s", err, body)
		}
		for _, e := range answer.Effects {
			if e.Words() == string(e.Effect) {
				t.Errorf("the effect %s has no words", e.Effect)
			}
		}
		for i, d := range answer.Differences[1:] {
			if before := answer.Differences[i]; slices.Index(changes, before.By) > slices.Index(changes, d.By) {
				t.Errorf("%s comes before %s", before.By, d.By)
			}
		}
	}}})
}
