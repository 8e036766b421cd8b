package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

func testAnswers(t *testing.T, open opener) {
	l, c := opened(t, open)
	begin := func(key, request string) (ledger.Call, *ledger.Answer) {
		t.Helper()
		call, answered, err := l.BeginCall(t.Context(), key, request)
		check(t, err)
		return call, answered
	}
	refused := func(key, request string, want error) {
		t.Helper()
		if _, _, err := l.BeginCall(t.Context(), key, request); !errors.Is(err, want) {
			t.Errorf("%s, %s: got %v, want %v", key, request, err, want)
		}
	}
	answer := ledger.Answer{Status: 202, Location: "/v1/invitations/1", Body: `{"id": 1}`}

	// Begun, under way, answered.
	call, answered := begin("one", "invite ada")
	equal(t, "answered", answered, nil)
	refused("one", "invite ada", ledger.ErrUnderWay)
	refused("one", "invite bob", ledger.ErrKeyUsed)
	check(t, l.EndCall(t.Context(), call, answer))
	_, answered = begin("one", "invite ada")
	same(t, "answer", *answered, answer)
	refused("one", "invite bob", ledger.ErrKeyUsed)

	// Forgotten: it can be made again at once.
	call, _ = begin("two", "invite ada")
	check(t, l.ForgetCall(t.Context(), call))
	_, answered = begin("two", "invite bob")
	equal(t, "answered", answered, nil)

	// Nobody finished it within a minute: taken over. The one that comes too late changes nothing.
	late, _ := begin("three", "invite ada")
	c.step(time.Minute - time.Millisecond)
	refused("three", "invite ada", ledger.ErrUnderWay)
	c.step(time.Millisecond)
	refused("three", "invite bob", ledger.ErrKeyUsed)
	call, answered = begin("three", "invite ada")
	equal(t, "answered", answered, nil)
	check(t, l.EndCall(t.Context(), late, ledger.Answer{Status: 500}))
	check(t, l.ForgetCall(t.Context(), late))
	refused("three", "invite ada", ledger.ErrUnderWay)
	check(t, l.EndCall(t.Context(), call, answer))
	_, answered = begin("three", "invite ada")
	same(t, "answer", *answered, answer)

	// A day later the key is new, tidied or not.
	c.step(24*time.Hour - time.Millisecond)
	_, answered = begin("three", "invite ada")
	same(t, "answer", *answered, answer)
	_, answered = begin("one", "invite bob")
	equal(t, "answered", answered, nil)
	c.step(time.Minute)
	_, _, err := l.Tidy(t.Context(), ledger.Retention{})
	check(t, err)
	refused("one", "invite bob x", ledger.ErrKeyUsed) // begun a minute ago: it stays
	_, answered = begin("three", "invite eve")
	equal(t, "answered", answered, nil)
}

// What a person asked for under one identity happens once, whatever became of it.
func testAskedAgain(t *testing.T, open opener) {
	l, _ := opened(t, open)
	v := verdict(t, "call-0", "ada@example.com", access.Invite)
	v.By = "token zapier"
	id := must[int64](t)(l.Record(t.Context(), v))
	must[ledger.Invitation](t)(l.Revoke(t.Context(), "admin_token", id))
	equal(t, "the invitation", must[int64](t)(l.Record(t.Context(), v)), id)
	equal(t, "its state", must[ledger.Invitation](t)(l.Invitation(t.Context(), id)).State, ledger.Revoked)
	equal(t, "lines of the trail", len(must[[]ledger.Entry](t)(l.Audit(t.Context(), ledger.AuditFilter{}))), 2)
	equal(t, "events", len(must[[]ledger.Event](t)(l.Events(t.Context(), ledger.EventFilter{}))), 1)

	// What a rule refused then and lets in today is not the same.
	v = verdict(t, "call-1", "bob@example.com", access.Skip)
	v.By = "token zapier"
	equal(t, "the invitation", must[int64](t)(l.Record(t.Context(), v)), 0)
	v.Decision.Outcome = access.Invite
	equal(t, "the invitation", must[int64](t)(l.Record(t.Context(), v)) != 0, true)
}

func testTokens(t *testing.T, open opener) {
	l, c := opened(t, open)
	token, made, err := l.MakeToken(t.Context(), "admin_token", "zapier", "invite", start.Add(time.Hour))
	check(t, err)
	same(t, "made", made, ledger.Token{Name: "zapier", Hash: ledger.HashToken(token), Role: "invite", CreatedAt: start, CreatedBy: "admin_token", ExpiresAt: start.Add(time.Hour)})
	same(t, "by its hash", must[ledger.Token](t)(l.TokenByHash(t.Context(), made.Hash)), made)
	_, err = l.TokenByHash(t.Context(), token)
	equal(t, "found by the token itself", errors.Is(err, ledger.ErrNotFound), true)
	_, _, err = l.MakeToken(t.Context(), "admin_token", "zapier", "read", time.Time{})
	equal(t, "twice", errors.Is(err, ledger.ErrConflict), true)
	equal(t, "over", made.Over(c.step(time.Hour)), "expired on 2026-03-01")

	// Once it is over, its name is free, and the old one opens nothing.
	again, made, err := l.MakeToken(t.Context(), "admin_token", "zapier", "read", time.Time{})
	check(t, err)
	equal(t, "another token", again != token, true)
	_, err = l.TokenByHash(t.Context(), ledger.HashToken(token))
	equal(t, "found by the old one", errors.Is(err, ledger.ErrNotFound), true)
	check(t, l.RevokeToken(t.Context(), "token ops", "zapier"))
	equal(t, "revoked again", errors.Is(l.RevokeToken(t.Context(), "token ops", "zapier"), ledger.ErrConflict), true)
	equal(t, "none revoked", errors.Is(l.RevokeToken(t.Context(), "token ops", "nobody"), ledger.ErrNotFound), true)
	made.RevokedAt = c.Now()
	same(t, "all", must[[]ledger.Token](t)(l.Tokens(t.Context())), []ledger.Token{made})
	equal(t, "over", made.Over(c.Now()), "was revoked on 2026-03-01")
	trail := must[[]ledger.Entry](t)(l.Audit(t.Context(), ledger.AuditFilter{}))
	equal(t, "lines of the trail", len(trail), 3)
	same(t, "the newest", trail[0], ledger.Entry{ID: 3, At: c.Now(), Actor: "token ops", What: ledger.DidRevokeToken, Subject: "token zapier", Before: "read", After: "revoked"})
}

func testInvitationsOf(t *testing.T, open opener) {
	l, _ := opened(t, open)
	var all []access.Address
	for i := range 150 { // more than one statement takes
		v := verdict(t, "evt_"+string(rune('a'+i%26))+time.Duration(i).String(), "user"+time.Duration(i).String()+"@example.com", access.Invite)
		must[int64](t)(l.Record(t.Context(), v))
		all = append(all, v.Decision.Address)
	}
	none := verdict(t, "x", "none@example.com", access.Invite).Decision.Address
	found := must[map[access.Address]ledger.Invitation](t)(l.InvitationsOf(t.Context(), append(all, none, all[0])))
	equal(t, "found", len(found), len(all))
	for i, address := range all {
		equal(t, "of "+address.String(), found[address].ID, int64(i+1))
	}
	equal(t, "of nobody", len(must[map[access.Address]ledger.Invitation](t)(l.InvitationsOf(t.Context(), nil))), 0)
}
