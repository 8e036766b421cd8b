package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// Trying rules on history: what would be decided differently, before anybody is invited.

const (
	// rehearseFor bounds one test of rules, by default: what it found until then is the answer.
	rehearseFor = 25 * time.Second
	// maxConfig bounds a configuration to try, bytes.
	maxConfig = 256 << 10
)

// A Rehearse tries sources and rules on what was told since a moment: those that run, or where changed is not nil
// those of a changed configuration in YAML, of which the error can be a *ConfigError. It also says which parts of the
// configuration the changed ones are. It writes nothing. Where ctx ends, what it found comes with the error.
type Rehearse func(ctx context.Context, since time.Time, changed []byte, report func(ledger.Difference) error) (found ledger.Rehearsal, parts []string, err error)

// A ConfigError is a changed configuration that cannot be tried.
type ConfigError struct{ Mistakes []ConfigMistake }

// A ConfigMistake is one mistake in it. It never holds a value.
type ConfigMistake struct {
	Line int    // 0 where it has none
	Path string // such as access[1].when
	What string
	Mend string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("the configuration has %s", plural(int64(len(e.Mistakes)), "mistake", "mistakes"))
}

func (e *ConfigError) problem() *problem {
	var errs []fieldError
	for _, m := range e.Mistakes {
		errs = append(errs, fieldError{Field: m.Path, Line: m.Line, Detail: m.What, Mend: m.Mend})
	}
	return &problem{Title: "The configuration is not valid", Status: http.StatusUnprocessableEntity, Detail: e.Error(), Errors: errs, cause: e}
}

// A RulesTest is what trying rules on history found, on the wire.
type RulesTest struct {
	Since       *time.Time       `json:"since"`   // null: all there is
	Changed     []string         `json:"changed"` // the parts of the configuration that are not those of the running one
	Complete    bool             `json:"complete"`
	Deliveries  int64            `json:"deliveries"`
	Events      int64            `json:"events"`
	FromDetails int64            `json:"from_details"`
	Waiting     int64            `json:"waiting"`
	SetAside    TestedSetAside   `json:"set_aside"`
	Lacking     []LackingSource  `json:"lacking_sources"`
	Different   int64            `json:"different"`
	Kinds       []KindCount      `json:"kinds"`
	Effects     []EffectCount    `json:"effects"`
	Differences []RuleDifference `json:"differences"`
	TookMS      int64            `json:"took_ms"`
}

// TestedSetAside counts the deliveries that could not be decided.
type TestedSetAside struct {
	WouldBeDecided int64 `json:"would_be_decided"`
	WouldStay      int64 `json:"would_stay"`
}

// A LackingSource is one that the tested configuration does not have.
type LackingSource struct {
	Source string `json:"source"`
	Events int64  `json:"events"`
}

// A KindCount is how many differences there are of a kind.
type KindCount struct {
	Today  access.Outcome  `json:"today"`
	Then   access.Outcome  `json:"then"`
	By     ledger.ChangeOf `json:"by"`
	Events int64           `json:"events"`
}

// An EffectCount is how many differences come to the same.
type EffectCount struct {
	Effect ledger.Effect `json:"effect"`
	Events int64         `json:"events"`
}

// rulesEffects are the effects of differences in words, what changes most first.
var rulesEffects = []struct {
	effect ledger.Effect
	words  string
}{
	{ledger.WouldInvite, "would be invited, and have no invitation today"},
	{ledger.WouldHold, "would wait for a person's approval"},
	{ledger.WouldRequeue, "failed or expired, and would be sent again"},
	{ledger.WouldAdd, "would get groups or attributes added"},
	{ledger.WouldLookUp, "the sender would be asked for the address"},
	{ledger.GoesOut, "queued, and goes out all the same: revoke to stop it"},
	{ledger.StaysHeld, "held, and stays so until a person decides"},
	{ledger.NothingIsTaken, "sent or accepted already: nothing is taken back or sent again"},
	{ledger.NoEffect, "nothing changes for anybody"},
}

// Words are the effect for people.
func (e EffectCount) Words() string {
	for _, known := range rulesEffects {
		if known.effect == e.Effect {
			return known.words
		}
	}
	return string(e.Effect)
}

// A RuleDifference is one event that would be decided differently.
type RuleDifference struct {
	Event      int64           `json:"event,omitempty"`
	Delivery   int64           `json:"delivery,omitempty"`
	SenderID   string          `json:"sender_id"`
	Source     string          `json:"source"`
	Type       string          `json:"type"`
	At         *time.Time      `json:"at"`
	Email      string          `json:"email"`
	Today      Outlook         `json:"today"`
	Then       Outlook         `json:"then"`
	By         ledger.ChangeOf `json:"by"`
	Groups     []int64         `json:"groups,omitempty"`     // that the invitation would get
	Attributes []string        `json:"attributes,omitempty"` // the names of those that would be others
	Effect     ledger.Effect   `json:"effect"`
	Means      string          `json:"means"`
	Invitation int64           `json:"invitation,omitempty"`
	State      ledger.State    `json:"state,omitempty"`
}

// An Outlook is a decision as it holds, or as it would be.
type Outlook struct {
	Outcome  access.Outcome `json:"outcome"`
	Reason   access.Reason  `json:"reason"`
	Sentence string         `json:"sentence"`
	Rule     *int           `json:"rule"`
}

// NewRuleDifference is a difference on the wire.
func NewRuleDifference(d ledger.Difference) RuleDifference {
	return RuleDifference{Event: d.Event, Delivery: d.Delivery, SenderID: d.SenderID, Source: d.Source, Type: d.Type, At: when(d.At), Email: d.Email,
		Today: newOutlook(d.Today), Then: newOutlook(d.Then), By: d.By, Groups: d.Groups, Attributes: d.Attributes, Effect: d.Effect, Means: d.Means, Invitation: d.Invitation, State: d.State}
}

func newOutlook(o ledger.Outlook) Outlook {
	wire := Outlook{Outcome: o.Outcome, Reason: o.Reason, Sentence: o.Sentence}
	if o.Rule >= 0 {
		wire.Rule = &o.Rule
	}
	return wire
}

// NewRulesTest is the whole answer, with the differences that are shown of all that there are.
func NewRulesTest(r ledger.Rehearsal, changed []string, shown []ledger.Difference, took time.Duration) RulesTest {
	t := RulesTest{Since: when(r.Since), Changed: append([]string{}, changed...), Complete: r.Complete, Deliveries: r.Deliveries, Events: r.Events,
		FromDetails: r.FromDetails, Waiting: r.Waiting, SetAside: TestedSetAside{WouldBeDecided: r.Mended, WouldStay: r.Stuck}, Different: r.Different,
		Lacking: []LackingSource{}, Kinds: []KindCount{}, Effects: []EffectCount{}, Differences: each(shown, NewRuleDifference), TookMS: took.Milliseconds()}
	for _, name := range slices.Sorted(maps.Keys(r.Lacking)) {
		t.Lacking = append(t.Lacking, LackingSource{name, r.Lacking[name]})
	}
	for kind, n := range r.Kinds {
		t.Kinds = append(t.Kinds, KindCount{kind.Today, kind.Then, kind.By, n})
	}
	slices.SortFunc(t.Kinds, func(a, b KindCount) int {
		return cmp.Or(cmp.Compare(weight(a.By), weight(b.By)), cmp.Compare(b.Events, a.Events), cmp.Compare(a.Today+a.Then, b.Today+b.Then))
	})
	for _, known := range rulesEffects {
		if n := r.Effects[known.effect]; n > 0 {
			t.Effects = append(t.Effects, EffectCount{known.effect, n})
		}
	}
	return t
}

// weight puts first what matters most.
func weight(by ledger.ChangeOf) int {
	return slices.Index([]ledger.ChangeOf{ledger.ChangeOfOutcome, ledger.ChangeOfAddress, ledger.ChangeOfGroups, ledger.ChangeOfAttributes, ledger.ChangeOfReason}, by)
}

// Weightiest keeps the differences that matter most, of any number of them: what only has another reason goes
// last. The newest of each kind come first, which is how they are found.
type Weightiest struct {
	Limit int
	by    map[int][]ledger.Difference
}

// Add takes one more.
func (w *Weightiest) Add(d ledger.Difference) error {
	if w.by == nil {
		w.by = map[int][]ledger.Difference{}
	}
	if of := weight(d.By); len(w.by[of]) < w.Limit {
		w.by[of] = append(w.by[of], d)
	}
	return nil
}

// List is what there is to show.
func (w *Weightiest) List() (all []ledger.Difference) {
	for _, of := range slices.Sorted(maps.Keys(w.by)) {
		all = append(all, w.by[of]...)
	}
	return all[:min(len(all), w.Limit)]
}

// testRules tries the rules that run, or those of the body.
func (s *Server) testRules(c echo.Context) error {
	if err := queryOnly(c, "since", "limit"); err != nil {
		return err
	}
	since, err := ParseSince(c.QueryParam("since"), s.Now())
	if err != nil {
		return invalid(fieldError{Field: "since", Detail: "is no time", Mend: sinceMend})
	}
	limit, err := queryNumber(c, "limit", 200, 1, 1000)
	if err != nil {
		return err
	}
	changed, err := readChanged(c)
	if err != nil {
		return err
	}
	found, err := s.rehearse(c.Request().Context(), since, changed, int(limit))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, found)
}

// readChanged reads the configuration that a POST brings; nil for a GET.
func readChanged(c echo.Context) ([]byte, error) {
	if c.Request().Method != http.MethodPost {
		return nil, nil
	}
	text, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxConfig))
	switch {
	case err != nil:
		return nil, readProblem(err)
	case len(strings.TrimSpace(string(text))) == 0:
		return nil, badBody("the body is empty", "send the access, domains and sources of a changed usher.yaml; a GET tries the rules that run")
	}
	return text, nil
}

// rehearse tries rules within a time, one test at a time: each reads much, and webhooks come first.
func (s *Server) rehearse(ctx context.Context, since time.Time, changed []byte, limit int) (RulesTest, error) {
	if len(changed) > maxConfig {
		return RulesTest{}, fmt.Errorf("%w of %d bytes", errTooLarge, maxConfig)
	}
	if s.Rehearse == nil {
		return RulesTest{}, &problem{Title: http.StatusText(http.StatusNotImplemented), Status: http.StatusNotImplemented, Detail: "this Usher cannot try rules on history"}
	}
	if !s.rehearsing.TryLock() {
		return RulesTest{}, &problem{Title: http.StatusText(http.StatusTooManyRequests), Status: http.StatusTooManyRequests, retryAfter: 5,
			Detail: "another test of rules is under way; try again in a moment"}
	}
	defer s.rehearsing.Unlock()
	begun := s.Now()
	within, cancel := context.WithTimeout(ctx, cmp.Or(s.RehearseFor, rehearseFor))
	defer cancel()
	shown := &Weightiest{Limit: limit}
	found, parts, err := s.Rehearse(within, since, changed, shown.Add)
	var wrong *ConfigError
	switch {
	case errors.As(err, &wrong):
		return RulesTest{}, wrong.problem()
	case err != nil && (ctx.Err() != nil || within.Err() == nil):
		return RulesTest{}, err
	}
	return NewRulesTest(found, parts, shown.List(), s.Now().Sub(begun)), nil
}

const sinceMend = "such as 30d, 12h, 2026-11-24 or 2026-11-24T01:35:00Z, in UTC"

// ParseSince reads a moment, a day, or how long ago: 30d, 12h. Empty is the beginning, the zero time.
func ParseSince(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if number, inDays := strings.CutSuffix(text, "d"); inDays {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			return now.UTC().Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.UTC().Add(-ago), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("it is no time: write one %s", sinceMend)
}
