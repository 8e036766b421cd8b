package onboarding_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
)

// contactPrefix begins the object id of each contact, so that logs can be searched for them.
const contactPrefix = "770077008"

func contact(n int) string { return fmt.Sprintf("%s%03d", contactPrefix, n) }

// contacts is HubSpot's answer with some contacts, each with an address of its own.
func contacts(ids ...string) string {
	var results []string
	for _, id := range ids {
		results = append(results, contactJSON(id, id+"@customer.example", ""))
	}
	return `{"status": "COMPLETE", "results": [` + strings.Join(results, ",") + `]}`
}

func contactJSON(id, email, more string) string {
	return fmt.Sprintf(`{"id": %q, "archived": false, "properties": {"email": %q, "firstname": "Jane", "lastname": "Doe", "hs_object_id": %q%s}}`, id, email, id, more)
}

// hubSpot answers batch reads; it has every contact unless a test says otherwise.
type hubSpot struct {
	t      *testing.T
	answer func(call int, ids []string) (status int, body string) // call from 1
	header http.Header

	mu    sync.Mutex
	calls [][]string
}

func (h *hubSpot) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/behind/crm/v3/objects/contacts/batch/read" {
		h.t.Errorf("HubSpot was asked for %s %s", r.Method, r.URL.Path)
	}
	if r.Header.Get("Authorization") != "Bearer "+apiKey || r.Header.Get("Content-Type") != "application/json" {
		h.t.Error("HubSpot was asked without the token or the type of the body")
	}
	var question struct {
		Properties []string              `json:"properties"`
		Inputs     []struct{ ID string } `json:"inputs"`
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
		h.t.Errorf("read the question: %v", err)
	}
	if want := []string{"email", "firstname", "lastname", "hs_merged_object_ids", "hs_calculated_merged_vids"}; !slices.Equal(question.Properties, want) {
		h.t.Errorf("properties %v, want %v", question.Properties, want)
	}
	var ids []string
	for _, input := range question.Inputs {
		ids = append(ids, input.ID)
	}
	h.mu.Lock()
	h.calls = append(h.calls, ids)
	call := len(h.calls)
	h.mu.Unlock()
	status, body := http.StatusOK, contacts(ids...)
	if h.answer != nil {
		status, body = h.answer(call, ids)
	}
	maps.Copy(rw.Header(), h.header)
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(body))
}

func (h *hubSpot) asked() [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// lookUps are those of one source, "crm". The base URL has a path, which must be kept.
func (h *hubSpot) lookUps() map[string]onboarding.LookUp {
	server := httptest.NewServer(h)
	h.t.Cleanup(server.Close)
	return map[string]onboarding.LookUp{"crm": onboarding.HubSpotContact(apiKey, server.URL+"/behind/")}
}

func eventsOf(customers ...string) (events []access.Event) {
	for _, c := range customers {
		events = append(events, access.Event{ID: "evt_" + c, Customer: c})
	}
	return events
}

// findings are "yes address", "not yet" or "alone" of each answer.
func findings(answers []onboarding.Answer) (words []string) {
	for _, a := range answers {
		words = append(words, map[onboarding.Finding]string{onboarding.NotYet: "not yet", onboarding.AskAlone: "alone",
			onboarding.Settled: "yes " + a.Event.Email}[a.Finding])
	}
	return words
}

func TestHubSpotContact(t *testing.T) {
	one, two, other := contact(1), contact(2), contact(9)
	named := func(id string) string { return "yes " + id + "@customer.example" }
	of := func(results ...string) string { return `{"results": [` + strings.Join(results, ",") + `]}` }
	const htmlPage = "<!doctype html><title>Sign in as jane.doe@customer.example</title>"
	tests := []struct {
		name      string
		customers []string
		status    int
		header    http.Header
		body      string
		want      []string
		message   string // of the last answer
		after     time.Duration
	}{
		{name: "all are there", customers: []string{one, two}, status: 200, body: contacts(two, one), want: []string{named(one), named(two)}, message: "HubSpot named the customer's address"},
		{name: "one is not there", customers: []string{one, two}, status: 207, want: []string{named(one), "not yet"}, message: "HubSpot does not know this contact, or not yet",
			body: `{"results": [` + contactJSON(one, one+"@customer.example", "") + `], "numErrors": 1, "errors": [{"category": "OBJECT_NOT_FOUND", "context": {"ids": ["` + two + `"]}}]}`},
		{name: "the same contact twice", customers: []string{one, "0" + one}, status: 200, body: contacts(one), want: []string{named(one), named(one)}},
		{name: "merged, by the list of ids", customers: []string{one, two}, status: 200, want: []string{named(other), named(two)},
			body: of(contactJSON(other, other+"@customer.example", `, "hs_merged_object_ids": "5;`+one+`"`), contactJSON(two, two+"@customer.example", ""))},
		{name: "merged, by the list of ids with times", customers: []string{one, two}, status: 200, want: []string{named(other), named(two)},
			body: of(contactJSON(other, other+"@customer.example", `, "hs_merged_object_ids": null, "hs_calculated_merged_vids": "5:1700000000000;`+one+`:1700000000001"`), contactJSON(two, two+"@customer.example", ""))},
		{name: "merged into one that was asked for too", customers: []string{one, two}, status: 200, want: []string{named(two), named(two)},
			body: of(contactJSON(two, two+"@customer.example", `, "hs_merged_object_ids": "`+one+`"`))},
		{name: "merged, which HubSpot does not tell", customers: []string{one, two}, status: 200, want: []string{"alone", named(two)}, body: contacts(other, two)},
		{name: "merged, asked for alone", customers: []string{one}, status: 200, want: []string{named(other)}, body: contacts(other)},
		{name: "no address", customers: []string{one}, status: 200, body: of(contactJSON(one, "", "")), want: []string{"yes "}, message: "the customer has no address at HubSpot"},
		{name: "null for an address", customers: []string{one}, status: 200, body: of(`{"id": "` + one + `", "properties": {"email": null}}`), want: []string{"yes "}},
		{name: "an id that is none", customers: []string{one, "12x", "-1", "99999999999999999999"}, status: 200, body: contacts(one), want: []string{named(one), "yes ", "yes ", "yes "}, message: "the event names no contact of HubSpot"},
		{name: "one id spoils the batch", customers: []string{one, two}, status: 400, body: `{"category": "VALIDATION_ERROR"}`, want: []string{"alone", "alone"}, message: "HubSpot answered 400"},
		{name: "a wrong token", customers: []string{one}, status: 401, body: `{"message": "token ` + apiKey + `"}`, want: []string{"not yet"},
			message: "HubSpot refused the key with 401: give api_key a private app token with the scope crm.objects.contacts.read"},
		{name: "a missing scope", customers: []string{one}, status: 403, body: `{"category": "MISSING_SCOPES"}`, want: []string{"not yet"},
			message: "HubSpot refused the key with 403: give api_key a private app token with the scope crm.objects.contacts.read"},
		{name: "too fast, with a wait", customers: []string{one, two}, status: 429, header: http.Header{"Retry-After": {"11"}}, want: []string{"not yet", "not yet"},
			message: "HubSpot asks to slow down (429)", after: 11 * time.Second},
		{name: "too fast, with a window", customers: []string{one}, status: 429, header: http.Header{"X-Hubspot-Ratelimit-Interval-Milliseconds": {"10000"}}, want: []string{"not yet"}, after: 10 * time.Second},
		{name: "a fault", customers: []string{one}, status: 502, body: htmlPage, want: []string{"not yet"}, message: "HubSpot answered 502"},
		{name: "a page", customers: []string{one}, status: 200, body: htmlPage, want: []string{"not yet"}, message: "HubSpot answered 200 with something else than was asked for"},
		{name: "half an answer", customers: []string{one}, status: 200, body: contacts(one)[:40], want: []string{"not yet"}},
		{name: "another answer", customers: []string{one}, status: 200, body: `{"status": "ok"}`, want: []string{"not yet"}, message: "HubSpot answered without a list of contacts"},
		{name: "an endless answer", customers: []string{one}, status: 200, body: contacts(one) + strings.Repeat(" ", 5<<20), want: []string{"not yet"}, message: "the answer of HubSpot is too long"},
		{name: "a redirect", customers: []string{one}, status: 307, header: http.Header{"Location": {"http://127.0.0.1:1/"}}, want: []string{"not yet"}, message: "HubSpot answered 307"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api := &hubSpot{t: t, header: tt.header, answer: func(int, []string) (int, string) { return tt.status, tt.body }}
			answers := api.lookUps()["crm"].Ask(t.Context(), eventsOf(tt.customers...))
			if got := findings(answers); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			last := answers[len(answers)-1]
			if tt.message != "" && last.Message != tt.message {
				t.Errorf("says %q, want %q", last.Message, tt.message)
			}
			if last.After != tt.after {
				t.Errorf("wait for %s, want %s", last.After, tt.after)
			}
			if calls := api.asked(); len(calls) != 1 {
				t.Errorf("%d calls, want one", len(calls))
			}
			for i, a := range answers {
				if a.Event.ID != "evt_"+tt.customers[i] {
					t.Errorf("answer %d is of event %q", i, a.Event.ID)
				}
			}
		})
	}

	t.Run("nothing to ask for", func(t *testing.T) {
		api := &hubSpot{t: t}
		answers := api.lookUps()["crm"].Ask(t.Context(), eventsOf("x"))
		if len(api.asked()) != 0 || answers[0].Finding != onboarding.Settled {
			t.Errorf("%d calls and %+v", len(api.asked()), answers)
		}
	})

	t.Run("keeps the name of the event", func(t *testing.T) {
		events := eventsOf(one, two)
		events[0].Name = "J. Doe"
		answers := (&hubSpot{t: t}).lookUps()["crm"].Ask(t.Context(), events)
		if answers[0].Event.Name != "J. Doe" || answers[1].Event.Name != "Jane Doe" {
			t.Errorf("names %q and %q", answers[0].Event.Name, answers[1].Event.Name)
		}
	})

	t.Run("nobody there", func(t *testing.T) {
		answers := onboarding.HubSpotContact(apiKey, "http://127.0.0.1:1").Ask(t.Context(), eventsOf(one))
		if a := answers[0]; a.Finding != onboarding.NotYet || a.Status != 0 || a.Message != "HubSpot could not be reached" {
			t.Errorf("got %+v", a)
		}
	})
}

func TestHubSpotMergedContactIsAskedAlone(t *testing.T) {
	t.Parallel()
	api := &hubSpot{t: t, answer: func(_ int, ids []string) (int, string) {
		switch {
		case len(ids) == 3:
			return 207, contacts(ids[0], contact(900)) // which of the others is it?
		case ids[0] == contact(2):
			return 200, contacts(contact(900))
		default:
			return 207, contacts()
		}
	}}
	w := newWorld(t, setting{lookUps: api.lookUps(), options: onboarding.Options{MaxTries: 1}})
	w.ask("crm", contact(1), contact(2), contact(3))
	w.run()
	w.equal("merged", w.decided("evt_"+contact(2), 1).Email, contact(900)+"@customer.example")
	w.equal("absent", w.decided("evt_"+contact(3), 1).Reason, onboarding.ReasonLookUpFailed)
	w.equal("calls", fmt.Sprint(api.asked()), fmt.Sprint([][]string{{contact(1), contact(2), contact(3)}, {contact(2)}, {contact(3)}}))
	w.equal("look-ups of the merged one", w.lookUps("evt_"+contact(2)), "found")
	w.equal("look-ups of the absent one", w.lookUps("evt_"+contact(3)), "never")
}
