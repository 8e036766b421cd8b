package onboarding

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// hubSpotContacts is HubSpot's batch read of contacts: up to 100 in one call.
// https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/batch/post-crm-v3-objects-contacts-batch-read
type hubSpotContacts struct{ api api }

// HubSpotContact looks up the address of the contact that an event names by its object id, with the token of
// a private app that may read contacts. baseURL is HubSpot's own when empty.
func HubSpotContact(token, baseURL string) LookUp {
	return hubSpotContacts{newAPI("HubSpot", cmp.Or(baseURL, "https://api.hubapi.com"), token,
		"give api_key a private app token with the scope crm.objects.contacts.read")}
}

// Provider is "hubspot".
func (hubSpotContacts) Provider() string { return "hubspot" }

// Limit keeps to the 100 calls in ten seconds of HubSpot's smallest accounts.
// https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
func (hubSpotContacts) Limit() (int, time.Duration) { return 100, 100 * time.Millisecond }

// Ask reads the contacts of up to 100 events.
func (h hubSpotContacts) Ask(ctx context.Context, events []access.Event) []Answer {
	answers, ids := make([]Answer, len(events)), make([]string, len(events))
	var question hubSpotQuestion
	asked := map[string]bool{}
	for i, e := range events {
		if ids[i] = hubSpotID(e.Customer); ids[i] == "" {
			// HubSpot would refuse the whole batch.
			answers[i] = nothingToAsk(e, "the event names no contact of HubSpot")
		} else if !asked[ids[i]] {
			asked[ids[i]] = true
			question.Inputs = append(question.Inputs, hubSpotInput{ids[i]})
		}
	}
	if len(asked) == 0 {
		return answers
	}
	question.Properties = []string{"email", "firstname", "lastname", "hs_merged_object_ids", "hs_calculated_merged_vids"}
	var got hubSpotAnswer // of a 200, or of a 207 when some contacts are not there
	general, ok := h.api.call(ctx, http.MethodPost, "/crm/v3/objects/contacts/batch/read", question, &got)
	switch {
	case ok && got.Results == nil:
		general.Message = "HubSpot answered without a list of contacts"
	case ok:
		general = Answer{Status: general.Status, Message: "HubSpot does not know this contact, or not yet"}
	case general.Status == http.StatusBadRequest, general.Status/100 == 2 && len(asked) > 1:
		general.Finding = AskAlone // one of the contacts may have spoilt it for the others
	}
	contacts, unclaimed := got.match(asked)
	for i, e := range events {
		contact, matched := contacts[ids[i]]
		switch {
		case ids[i] == "":
		case matched:
			answers[i] = contact.answer(e, general.Status)
		default:
			answers[i] = general
			answers[i].Event = e
			if unclaimed {
				answers[i].Finding = AskAlone
			}
		}
	}
	return answers
}

// hubSpotID is an object id as HubSpot writes it, "" when it is none.
func hubSpotID(customer string) string {
	n, err := strconv.ParseInt(customer, 10, 64)
	if err != nil || n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

type hubSpotQuestion struct {
	Properties []string       `json:"properties"`
	Inputs     []hubSpotInput `json:"inputs"`
}

type hubSpotInput struct {
	ID string `json:"id"`
}

type hubSpotAnswer struct {
	Results []hubSpotContact `json:"results"`
}

type hubSpotContact struct {
	ID         string `json:"id"`
	Properties struct {
		Email      string `json:"email"`
		FirstName  string `json:"firstname"`
		LastName   string `json:"lastname"`
		MergedIDs  string `json:"hs_merged_object_ids"`      // "1;2"
		MergedVIDs string `json:"hs_calculated_merged_vids"` // "1:1700000000000;2:1700000000000"
	} `json:"properties"`
}

// match finds the contact of each id that was asked for. A contact that was merged into another comes back
// as the other, under the other's id, with its own among the merged ones; unclaimed means that a contact
// came which says of no id that it was merged into it. Asked for alone, that contact is the one.
func (a hubSpotAnswer) match(asked map[string]bool) (contacts map[string]hubSpotContact, unclaimed bool) {
	contacts = map[string]hubSpotContact{}
	for _, c := range a.Results {
		if asked[c.ID] {
			contacts[c.ID] = c
		}
	}
	for _, c := range a.Results {
		claimed := asked[c.ID]
		for _, id := range c.merged() {
			if !asked[id] {
				continue
			}
			claimed = true
			if _, direct := contacts[id]; !direct {
				contacts[id] = c
			}
		}
		if !claimed && len(asked) == 1 && len(a.Results) == 1 {
			for id := range asked {
				contacts[id] = c
			}
			claimed = true
		}
		unclaimed = unclaimed || !claimed
	}
	return contacts, unclaimed
}

// merged are the ids of the contacts that were merged into this one.
func (c hubSpotContact) merged() (ids []string) {
	for entry := range strings.SplitSeq(c.Properties.MergedIDs+";"+c.Properties.MergedVIDs, ";") {
		id, _, _ := strings.Cut(entry, ":")
		ids = append(ids, strings.TrimSpace(id))
	}
	return ids
}

func (c hubSpotContact) answer(e access.Event, status int) Answer {
	e.Email = c.Properties.Email
	e.Name = cmp.Or(e.Name, strings.TrimSpace(c.Properties.FirstName+" "+c.Properties.LastName))
	return found(e, status, "HubSpot")
}
