package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// importRows are rows of a list, whose lines begin at 2.
func importRows(t *testing.T, from int, outcome access.Outcome, emails ...string) (rows []ledger.ImportRow) {
	t.Helper()
	for i, email := range emails {
		v := verdict(t, fmt.Sprintf("list-%d", from+i), email, outcome)
		v.By, v.Event.Source, v.Note = by, "api", "from a list"
		rows = append(rows, ledger.ImportRow{Line: from + i + 2, Verdict: v})
	}
	return rows
}

func testImports(t *testing.T, open opener) {
	l, c := opened(t, open)
	found := func() ledger.Import { return must[ledger.Import](t)(l.Import(t.Context(), "list")) }
	sent := put(t, l, invited(t, l, "sent@example.com"), ledger.Sent)
	failed := put(t, l, invited(t, l, "failed@example.com"), ledger.Failed)
	_, err := l.Import(t.Context(), "list")
	isError(t, err, ledger.ErrNotFound)

	check(t, l.DraftImport(t.Context(), ledger.Import{ID: "list", Actor: "somebody", Total: 5}, "all of it"))
	same(t, "a draft", found(), ledger.Import{ID: "list", At: start, Actor: "somebody", Total: 5})
	equal(t, "drafts among the sent", len(must[[]ledger.Import](t)(l.Imports(t.Context(), 9))), 0)
	isError(t, l.RecordImport(t.Context(), "list", 0, importRows(t, 0, access.Invite, "a@example.com")), ledger.ErrConflict)

	c.step(time.Minute)
	must[ledger.Import](t)(l.StartImport(t.Context(), by, "list"))
	c.step(time.Minute)
	again := must[ledger.Import](t)(l.StartImport(t.Context(), "another", "list"))
	same(t, "started twice", again, ledger.Import{ID: "list", At: start, Actor: by, Total: 5, StartedAt: start.Add(time.Minute)})
	equal(t, "unfinished", len(must[[]ledger.Import](t)(l.UnfinishedImports(t.Context()))), 1)
	_, err = l.StartImport(t.Context(), by, "none")
	isError(t, err, ledger.ErrNotFound)

	first := importRows(t, 0, access.Invite, "new@example.com", "sent@example.com", "failed@example.com")
	check(t, l.RecordImport(t.Context(), "list", 0, first))
	isError(t, l.RecordImport(t.Context(), "list", 0, first), ledger.ErrConflict) // whoever comes second repeats nothing
	equal(t, "recorded", found().Recorded, 3)
	equal(t, "the list", must[string](t)(l.ImportList(t.Context(), "list")), "all of it")
	check(t, l.RecordImport(t.Context(), "list", 3, importRows(t, 3, access.Hold, "held@example.com")))
	check(t, l.RecordImport(t.Context(), "list", 4, importRows(t, 4, access.Skip, "no@example.com")))
	equal(t, "recorded to its end", found().IsRecorded(), true)
	equal(t, "the list, once it is recorded", must[string](t)(l.ImportList(t.Context(), "list")), "")
	equal(t, "unfinished", len(must[[]ledger.Import](t)(l.UnfinishedImports(t.Context()))), 0)
	equal(t, "sent lists", len(must[[]ledger.Import](t)(l.Imports(t.Context(), 9))), 1)

	p := must[ledger.ImportProgress](t)(l.ImportProgress(t.Context(), "list"))
	same(t, "progress", p, ledger.ImportProgress{States: map[ledger.State]int{ledger.Queued: 2, ledger.Sent: 1, ledger.Held: 1}, Refused: 1})
	equal(t, "what was sent stays so", invitation(t, l, sent.ID).Run, sent.Run)
	equal(t, "what failed runs again", invitation(t, l, failed.ID).Run, failed.Run+1)
	equal(t, "jobs", len(jobs(t, l, "invite")), 4)
	equal(t, "note", invitation(t, l, sent.ID).Note, "from a list")

	rows := func(f ledger.ImportedFilter) (lines []string) {
		for _, r := range must[[]ledger.ImportedRow](t)(l.Imported(t.Context(), "list", f)) {
			lines = append(lines, fmt.Sprintf("%d %d %s %s %s", r.Place, r.Line, r.Email, r.State, r.Reason))
		}
		return lines
	}
	same(t, "rows", rows(ledger.ImportedFilter{}), []string{"0 2 new@example.com queued ", "1 3 sent@example.com sent put there", "2 4 failed@example.com queued ",
		"3 5 held@example.com held because of hold", "4 6 no@example.com  because of skip"})
	same(t, "those refused", rows(ledger.ImportedFilter{Refused: true}), []string{"4 6 no@example.com  because of skip"})
	same(t, "those queued, from a place on", rows(ledger.ImportedFilter{State: ledger.Queued, From: 1, Limit: 1}), []string{"2 4 failed@example.com queued "})

	var trail []string
	for _, e := range must[[]ledger.Entry](t)(l.Audit(t.Context(), ledger.AuditFilter{})) {
		trail = append(trail, fmt.Sprintf("%s %s %s %q %q", e.Actor, e.What, e.Subject, e.Before, e.After))
	}
	same(t, "trail, newest first", trail, []string{`a test invite list list "" "not invited: external"`, `a test invite list list "" "held"`,
		`a test invite list list "failed" "queued"`, `a test invite list list "sent" "sent"`, `a test invite list list "" "queued"`, `a test import list list "" "5 people"`})
}

func testDrafts(t *testing.T, open opener) {
	l, c := opened(t, open)
	check(t, l.DraftImport(t.Context(), ledger.Import{ID: "sent", Actor: by, Total: 1}, "x"))
	check(t, l.DraftImport(t.Context(), ledger.Import{ID: "old", Actor: by, Total: 1}, "x"))
	must[ledger.Import](t)(l.StartImport(t.Context(), by, "sent"))
	c.step(24 * time.Hour)
	check(t, l.DraftImport(t.Context(), ledger.Import{ID: "new", Actor: by, Total: 1}, "x"))
	c.step(time.Minute)
	_, _, err := l.Tidy(t.Context(), ledger.Retention{})
	check(t, err)
	for id, want := range map[string]error{"sent": nil, "old": ledger.ErrNotFound, "new": nil} {
		_, err := l.Import(t.Context(), id)
		isError(t, err, want)
	}
	equal(t, "the list of the old one", must[string](t)(l.ImportList(t.Context(), "old")), "")
	equal(t, "the list of the one that was sent", must[string](t)(l.ImportList(t.Context(), "sent")), "x")
}

func testSecrets(t *testing.T, open opener) {
	l, c := opened(t, open)
	note := func(stripe string) ledger.KnownSecret {
		t.Helper()
		check(t, l.NoteSecrets(t.Context(), map[string]string{"stripe": stripe, "form": "1234"}))
		return must[map[string]ledger.KnownSecret](t)(l.KnownSecrets(t.Context()))["stripe"]
	}
	same(t, "seen first", note("abcd"), ledger.KnownSecret{Since: start})
	c.step(time.Hour)
	same(t, "the same", note("abcd"), ledger.KnownSecret{Since: start})
	same(t, "another", note("ef01"), ledger.KnownSecret{Since: start, ChangedAt: start.Add(time.Hour)})
	c.step(time.Hour)
	same(t, "the other still", note("ef01"), ledger.KnownSecret{Since: start, ChangedAt: start.Add(time.Hour)})
	equal(t, "sources", len(must[map[string]ledger.KnownSecret](t)(l.KnownSecrets(t.Context()))), 2)
}
