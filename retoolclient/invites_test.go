package retoolclient_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/retoolclient"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

func TestInvitesReadsAllPages(t *testing.T) {
	retool := retooltest.New(retooltest.Options{})
	c := start(t, retool, nil)
	for i := range 201 {
		if _, err := c.Invite(t.Context(), retoolclient.Invitation{Email: fmt.Sprintf("p%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.Invites(t.Context())
	if err != nil || len(all) != 201 || retool.TotalRequests() != 204 {
		t.Errorf("got %d invites, %v, %d requests", len(all), err, retool.TotalRequests())
	}
}

func TestInvitesEnds(t *testing.T) {
	tests := []struct {
		name         string
		page         string
		wantRequests int
		wantErr      error
	}{
		{name: "a server that knows no token", page: `{"data":[{"id":1},{"id":2}],"next_token":"x","has_more":true}`, wantRequests: 2},
		{name: "more, and no token", page: `{"data":[{"id":1},{"id":2}],"next_token":null,"has_more":true}`, wantRequests: 1},
		{name: "a token, and no more", page: `{"data":[{"id":1},{"id":2}],"next_token":"x","has_more":false}`, wantRequests: 1},
		{name: "another shape", page: `{"invites":[]}`, wantRequests: 1, wantErr: retoolclient.ErrNoEndpoint},
		{name: "a list", page: `[]`, wantRequests: 1, wantErr: retoolclient.ErrNoEndpoint},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			c := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if requests++; requests == 2 && r.URL.RawQuery != "next_token=x" {
					t.Errorf("the second request has the query %q", r.URL.RawQuery)
				}
				says(200, js, tt.page)(w, r)
			}), nil)
			all, err := c.Invites(t.Context())
			if !errors.Is(err, tt.wantErr) || tt.wantErr == nil && len(all) != 2 || requests != tt.wantRequests {
				t.Errorf("got %d invites, %v, %d requests; want %v, %d", len(all), err, requests, tt.wantErr, tt.wantRequests)
			}
		})
	}
}

func TestAListMayBeLongerThanOtherAnswers(t *testing.T) {
	page := `{"data":[{"id":1,"invited_by":"` + strings.Repeat("x", 20_000) + `"}],"has_more":false}`
	c := start(t, says(200, js, page), func(o *retoolclient.Options) { o.MaxBody = 1000 })
	if all, err := c.Invites(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("got %d invites, %v", len(all), err)
	}
}

func TestInvitesOnAPlanWithoutThem(t *testing.T) {
	c := start(t, retooltest.New(retooltest.Options{Plan: retooltest.BulkOnly}), nil)
	_, err := c.Invites(t.Context())
	if e := asError(t, err); e.Kind != retoolclient.Stop || !errors.Is(err, retoolclient.ErrPlan) || e.Op != "list invites" {
		t.Errorf("got %v", err)
	}
}

func TestFindInvitePrefersTheNewestUsable(t *testing.T) {
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z") }
	invite := func(id int, email string, created, expires time.Duration, claimed string) string {
		return fmt.Sprintf(`{"id":%d,"invited_email":%q,"created_at":%q,"expires_at":%q,"claimed_at":%s}`,
			id, email, at(created), at(expires), claimed)
	}
	const hour = time.Hour
	tests := []struct {
		name    string
		invites []string
		want    int64 // 0: none
		expired int64 // what NewestInvite finds then
	}{
		{name: "nothing"},
		{name: "another address", invites: []string{invite(1, "bob@example.com", -hour, hour, "null")}},
		{name: "an address that only ends alike", invites: []string{invite(1, "xada@example.com", -hour, hour, "null")}},
		{name: "a look-alike with the Kelvin sign", invites: []string{invite(1, "frank@example.com", -hour, hour, "null")}},
		{name: "another case", invites: []string{invite(1, "ADA@Example.COM", -hour, hour, "null")}, want: 1},
		{name: "an expired one", invites: []string{invite(1, "ada@example.com", -2*hour, -hour, "null")}, expired: 1},
		{
			name: "the newest of two that have expired",
			invites: []string{
				invite(1, "ada@example.com", -2*hour, -time.Minute, "null"),
				invite(2, "ada@example.com", -hour, -time.Minute, "null"),
			},
			expired: 2,
		},
		{name: "a claimed one that has expired", invites: []string{invite(1, "ada@example.com", -2*hour, -hour, `"`+at(-hour)+`"`)}, want: 1},
		{
			name: "the newest of three, not the last",
			invites: []string{
				invite(1, "ada@example.com", -3*hour, hour, "null"),
				invite(2, "ada@example.com", -hour, hour, "null"),
				invite(3, "ada@example.com", -2*hour, hour, "null"),
			},
			want: 2,
		},
		{
			name: "an older one when the newest has expired",
			invites: []string{
				invite(1, "ada@example.com", -3*hour, hour, "null"),
				invite(2, "ada@example.com", -hour, -time.Minute, "null"),
			},
			want: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, says(200, js, `{"success":true,"data":[`+strings.Join(tt.invites, ",")+`],"has_more":false}`), nil)
			email := "ada@example.com"
			if strings.Contains(tt.name, "Kelvin") {
				email = "fran\u212a@example.com"
			}
			got, err := c.FindInvite(t.Context(), email)
			if err != nil {
				t.Fatal(err)
			}
			if (got != nil) != (tt.want != 0) || got != nil && got.ID != tt.want {
				t.Errorf("got %+v, want %d", got, tt.want)
			}
			newest, err := c.NewestInvite(t.Context(), email)
			if want := max(tt.want, tt.expired); err != nil || (newest != nil) != (want != 0) || newest != nil && newest.ID != want {
				t.Errorf("the newest of all: got %+v and %v, want %d", newest, err, want)
			}
		})
	}
}

func TestOneInvite(t *testing.T) {
	retool := retooltest.New(retooltest.Options{FirstID: 9007199254740993})
	c := start(t, retool, nil)
	res, err := c.Invite(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	id, pro := res.Invite.ID, "pro"
	if err := c.SetInviteAttribute(t.Context(), id, "plan", &pro); err != nil {
		t.Fatal(err)
	}
	if inv, err := c.InviteByID(t.Context(), id); err != nil || inv.ID != id || inv.Metadata["plan"] != "pro" {
		t.Errorf("after setting: got %+v, %v", inv, err)
	}
	if err := c.SetInviteAttribute(t.Context(), id, "plan", nil); err != nil {
		t.Fatal(err)
	}
	if inv, err := c.InviteByID(t.Context(), id); err != nil || len(inv.Metadata) != 0 {
		t.Errorf("after deleting: got %+v, %v", inv, err)
	}
	retool.Claim(ada.Email)
	if inv, err := c.InviteByID(t.Context(), id); err != nil || !inv.Claimed() || *inv.UserType != "external" {
		t.Errorf("after claiming: got %+v, %v", inv, err)
	}
	if e := asError(t, c.DeleteInvite(t.Context(), id)); e.Kind != retoolclient.Never || errors.Is(e, retoolclient.ErrNotFound) {
		t.Errorf("deleting what was claimed: got %v: %v", e.Kind, e)
	}
	if res, err = c.Invite(t.Context(), retoolclient.Invitation{Email: "bob@example.com"}); err != nil {
		t.Fatal(err)
	}
	id = res.Invite.ID
	if err := c.DeleteInvite(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, getErr := c.InviteByID(t.Context(), id)
	for _, err := range []error{getErr, c.DeleteInvite(t.Context(), id), c.SetInviteAttribute(t.Context(), id, "plan", nil)} {
		if e := asError(t, err); e.Kind != retoolclient.Never || !errors.Is(err, retoolclient.ErrNotFound) {
			t.Errorf("after all: got %v: %v", e.Kind, err)
		}
	}
}

func TestDeleteInviteAnswers(t *testing.T) {
	tests := []struct {
		name        string
		status      int
		contentType string
		body        string
		wantErr     bool
		wantKind    retoolclient.Kind
	}{
		{name: "no content", status: 204},
		{name: "a body", status: 200, contentType: js, body: `{"success":true}`},
		{name: "an empty body", status: 200},
		{name: "a page", status: 200, contentType: html, body: homepage, wantErr: true, wantKind: retoolclient.Stop},
		{name: "a 404 page", status: 404, contentType: html, body: homepage, wantErr: true, wantKind: retoolclient.Stop},
		{name: "a 404 of the API", status: 404, contentType: js, body: `{"success":false,"message":"x"}`, wantErr: true, wantKind: retoolclient.Never},
		{name: "a conflict", status: 409, contentType: js, body: `{"success":false,"message":"already claimed"}`, wantErr: true, wantKind: retoolclient.Never},
		{name: "a refusal", status: 200, contentType: js, body: `{"success":false,"message":"x"}`, wantErr: true, wantKind: retoolclient.Later},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := start(t, says(tt.status, tt.contentType, tt.body), nil).DeleteInvite(t.Context(), 1)
			if !tt.wantErr {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := asError(t, err); e.Kind != tt.wantKind {
				t.Errorf("got %v: %v", e.Kind, err)
			}
		})
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	body := `{"success":true,"data":{"id":9223372036854775807,"legacy_id":9007199254740993,"metadata":{"account":9007199254740993},` +
		`"groups":[{"id":9007199254740995,"legacy_id":1,"name":"g"}]}}`
	inv, err := start(t, says(200, js, body), nil).InviteByID(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if inv.ID != 9223372036854775807 || inv.LegacyID != 9007199254740993 || inv.Groups[0].ID != 9007199254740995 ||
		inv.Metadata["account"] != json.Number("9007199254740993") {
		t.Errorf("got %+v", inv)
	}
}
