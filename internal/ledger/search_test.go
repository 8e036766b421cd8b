package ledger_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// crowd makes invitations of many addresses, in every state and from several sources.
func crowd(t *testing.T, l *ledger.Ledger, n int) []ledger.Invitation {
	t.Helper()
	chance := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[chance.IntN(len(of))] }
	states := ledger.States()
	var verdicts []ledger.Verdict
	for i := range n {
		v := verdict(t, "evt_"+itoa(i), fmt.Sprintf("%s%s%d@%s", pick("a", "ada", "adam", "bob", "example"), pick("", ".", "_", "%", "+"), i,
			pick("example.com", "example.com", "example.org", "ada.example", "b.example", "xn--mller-kva.example")), access.Invite)
		v.Event.Source = pick("stripe", "stripe", "stripe", "form", "api")
		verdicts = append(verdicts, v)
	}
	ids := must[[]int64](t)(l.RecordMany(t.Context(), verdicts))
	all := []ledger.Invitation{}
	for i, id := range ids {
		inv := invitation(t, l, id)
		if state := states[i*i%23%len(states)]; state != ledger.Queued {
			inv = put(t, l, inv, state)
		}
		all = append(all, inv)
	}
	return all
}

// looked is what a search finds, in its order, by looking at every invitation.
func looked(all []ledger.Invitation, s ledger.Search) []int64 {
	text := strings.ToLower(strings.TrimSpace(s.Text))
	atDomain, hasAt := strings.CutPrefix(text, "@")
	lane := func(inv ledger.Invitation) int {
		switch email, domain := inv.Email.Full(), inv.Email.Domain(); {
		case !hasAt && strings.HasPrefix(email, text):
			return 1
		case hasAt && strings.HasPrefix(domain, atDomain), !strings.Contains(text, "@") && strings.HasPrefix(domain, text):
			return 2
		default:
			return 0
		}
	}
	found := []ledger.Invitation{}
	for _, inv := range all {
		if lane(inv) > 0 && (s.State == "" || inv.State == s.State) && (s.Source == "" || inv.Source == s.Source) {
			found = append(found, inv)
		}
	}
	slices.SortFunc(found, func(a, b ledger.Invitation) int {
		switch {
		case text == "":
			return cmp.Compare(b.ID, a.ID)
		case lane(a) == 1 && lane(b) == 1:
			return strings.Compare(a.Email.Full(), b.Email.Full())
		default:
			return cmp.Or(cmp.Compare(lane(a), lane(b)), strings.Compare(b.Email.Domain(), a.Email.Domain()), cmp.Compare(b.ID, a.ID))
		}
	})
	return ids(found)
}

// onwards reads a search from its first page to its last, and comes back by Previous; both ways give the same.
func onwards(t *testing.T, l *ledger.Ledger, s ledger.Search) (found []int64) {
	t.Helper()
	found = []int64{}
	pages := 0
	var last ledger.Page
	for s.From = ""; ; s.From = last.Next {
		last = must[ledger.Page](t)(l.Search(t.Context(), s))
		if pages++; pages > 1000 {
			t.Fatalf("%+v never ends", s)
		}
		if n := len(last.Invitations); n > s.Limit || n < s.Limit && last.Next != "" && !last.Stopped {
			t.Fatalf("%+v: a page of %d goes on", s, n)
		}
		if pages == 1 && last.Previous != "" {
			t.Errorf("%+v: there is something before the first page", s)
		}
		found = append(found, ids(last.Invitations)...)
		if last.Next == "" {
			break
		}
	}
	back := ids(last.Invitations)
	for last.Previous != "" {
		s.From = last.Previous
		last = must[ledger.Page](t)(l.Search(t.Context(), s))
		if pages--; pages < -1000 {
			t.Fatalf("%+v never ends going back", s)
		}
		some := ids(last.Invitations)
		if last.Previous == "" { // the first page is whole: some of it was there already
			some = slices.DeleteFunc(some, func(id int64) bool { return slices.Contains(back, id) })
		}
		back = append(some, back...)
	}
	same(t, fmt.Sprintf("going back through %q", s.Text), back, found)
	return found
}

func testSearch(t *testing.T, open opener) {
	l, _ := opened(t, open)
	all := crowd(t, l, 130)
	texts := []string{"", "a", "ada", "ADA ", "ada.1", "adam_", "ada%", "b", "e", "example", "example.c", "@", "@example", "@example.com", "@ADA.example",
		"ada@", "nobody", "@nowhere.example", all[7].Email.Full(), all[7].Email.Full()[:12], "xn--"}
	for _, text := range texts {
		for _, state := range []ledger.State{"", ledger.Failed, ledger.Held} {
			for _, source := range []string{"", "form", "stripe", "none"} {
				for _, limit := range []int{2, 9, 300} {
					s := ledger.Search{Text: text, State: state, Source: source, Limit: limit}
					want := looked(all, s)
					for _, reach := range []int{3, 5000} {
						l.SetSearchReach(reach)
						same(t, fmt.Sprintf("%+v with a reach of %d", s, reach), onwards(t, l, s), want)
					}
				}
			}
		}
	}

	t.Run("a text is data, whatever it is", func(t *testing.T) {
		for _, text := range []string{"%", "_", "'", `"`, "' or 1=1 --", "\\", "*", "?", "$1", "ada\x00", "a\xff", strings.Repeat("a", 10_000), "@" + strings.Repeat("%", 10_000),
			"a b", "\u212Aate", "аda", "@\u212Aate.example", "<", "<>", "@@", "a@b@c", "<script>", "\u202eada"} {
			page := must[ledger.Page](t)(l.Search(t.Context(), ledger.Search{Text: text, Limit: 300}))
			if text == "<" || text == "<>" { // nothing is left of them
				continue
			}
			if len(page.Invitations) > 0 {
				t.Errorf("%.20q found %s", text, page.Invitations[0].Email)
			}
		}
	})

	t.Run("an address is found however it was pasted", func(t *testing.T) {
		want := []int64{all[7].ID}
		for _, text := range []string{"Ada Lovelace <" + all[7].Email.Full() + ">", " " + strings.ToUpper(all[7].Email.Full()) + "\r\n"} {
			same(t, text, ids(must[ledger.Page](t)(l.Search(t.Context(), ledger.Search{Text: text, Limit: 9})).Invitations), want)
		}
		page := must[ledger.Page](t)(l.Search(t.Context(), ledger.Search{Text: "@Müller.example", Limit: 300}))
		same(t, "a domain in its own letters", ids(page.Invitations), looked(all, ledger.Search{Text: "@xn--mller-kva.example"}))
	})

	t.Run("a cursor of another list is refused", func(t *testing.T) {
		next := must[ledger.Page](t)(l.Search(t.Context(), ledger.Search{Text: "ada", Limit: 1})).Next
		for _, cursor := range []ledger.Cursor{"x", "====", "PG4x", ledger.Cursor(strings.Repeat("A", 10_000)), "PGFhYQ", next} {
			_, err := l.Search(t.Context(), ledger.Search{Text: "bob", From: cursor, Limit: 1})
			isError(t, err, ledger.ErrCursor)
		}
	})

	t.Run("what comes meanwhile shifts no page", func(t *testing.T) {
		first := must[ledger.Page](t)(l.Search(t.Context(), ledger.Search{Limit: 5}))
		invited(t, l, "newcomer@example.com")
		second := must[ledger.Page](t)(l.Search(t.Context(), ledger.Search{From: first.Next, Limit: 5}))
		same(t, "the second page", ids(second.Invitations), looked(all, ledger.Search{})[5:10])
	})
}
