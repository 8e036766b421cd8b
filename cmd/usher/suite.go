package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

// What a case of the suite can come to.
const (
	casePass = "pass"
	caseFail = "fail"
	caseNone = "not applicable"
)

// A suiteCase is one line of "usher send --suite".
type suiteCase struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail"` // what was answered, or why it does not apply
}

// A suiteReport is the suite as JSON.
type suiteReport struct {
	OK            bool        `json:"ok"`
	URL           string      `json:"url"`
	Source        string      `json:"source"`
	Preset        string      `json:"preset,omitempty"`
	Sample        string      `json:"sample,omitempty"` // whose event is sent
	Address       string      `json:"address"`          // masked; "" where nobody can be invited
	Passed        int         `json:"passed"`
	Failed        int         `json:"failed"`
	NotApplicable int         `json:"not_applicable"`
	Stopped       bool        `json:"stopped,omitempty"` // after the first case: that is no source of Usher's
	Cases         []suiteCase `json:"cases"`
}

// A suite is what its cases share: the event, and what earlier cases left behind.
type suite struct {
	*target
	m        message
	valid    outgoing // the event, well signed
	first    *recordedEvent
	unknown  error    // why first is nil
	refusals [][]byte // the bodies of all answers 401
	last     answer
}

// A suiteStep is a case to be played. Each sends the one event in another form.
type suiteStep struct {
	name string
	play func(*suite, context.Context) suiteCase
}

var suiteSteps = []suiteStep{
	{"valid", (*suite).playValid},
	{"duplicate", (*suite).playDuplicate},
	{"tampered: one byte more", func(s *suite, ctx context.Context) suiteCase { return s.playTampered(ctx, false) }},
	{"tampered: one bit flipped", func(s *suite, ctx context.Context) suiteCase { return s.playTampered(ctx, true) }},
	{"stale", func(s *suite, ctx context.Context) suiteCase { return s.playTime(ctx, false) }},
	{"from the future", func(s *suite, ctx context.Context) suiteCase { return s.playTime(ctx, true) }},
	{"wrong secret", func(s *suite, ctx context.Context) suiteCase {
		return s.playForged(ctx, webhooktest.Secret(s.row.Verify))
	}},
	{"empty secret", (*suite).playEmptySecret},
	{"no signature", (*suite).playUnsigned},
	{"signature twice", (*suite).playTwice},
	{"rotated secret", (*suite).playRotated},
	{"empty body, signed", (*suite).playEmpty},
	{"empty body, unsigned", (*suite).playEmptyUnsigned},
	{"oversized", (*suite).playOversized},
	{"compressed", (*suite).playCompressed},
	{"refusals look the same", (*suite).playAlike},
}

// runSuite plays the cases in their order and prints each as it is done.
func runSuite(ctx context.Context, w io.Writer, t *target, m message, asJSON bool) error {
	s := &suite{target: t, m: m}
	var err error
	if s.valid, err = t.prove(m); err != nil {
		return err
	}
	if _, err := s.ask(ctx, "/livez", nil); err != nil { // told at once, instead of by every case
		return fmt.Errorf("%w\nis usher running there? give its address with --url", err)
	}
	c := coloursFor(w)
	report := suiteReport{URL: t.shown(t.url), Source: t.name, Preset: t.preset, Sample: m.sample, Address: t.shown(m.address)}
	if !asJSON {
		fmt.Fprintf(w, "%sPlaying %d cases against %s%s (source %s%s; %s)\n%s%s\n\n", c.bold, len(suiteSteps), report.URL, c.off, t.name, ofPreset(t.preset), t.proof(), m.instead(), m.whoIsInvited(report.Address, t.mayAsk))
	}
	for _, step := range suiteSteps {
		one := step.play(s, ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		one.Name, one.Detail = t.caseName(step.name), t.shown(one.Detail)
		report.add(one)
		if !asJSON {
			printCase(w, c, one)
		}
		if report.Stopped = len(report.Cases) == 1 && one.Result == caseFail && t.notUsher(s.last) != ""; report.Stopped {
			break
		}
	}
	report.OK = report.Failed == 0
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(report)
	} else {
		if report.Stopped {
			fmt.Fprintln(w, "\nStopped: the other cases would say nothing about Usher.")
		}
		fmt.Fprintf(w, "\n%d passed, %d failed, %d not applicable\n", report.Passed, report.Failed, report.NotApplicable)
	}
	if !report.OK {
		return quietError(exitFailure)
	}
	return nil
}

// caseName says "token" where that is what proves a request.
func (t *target) caseName(name string) string {
	switch {
	case t.isToken():
		return strings.NewReplacer(", signed", ", with the token", ", unsigned", ", no token", "no signature", "no token", "signature twice", "token twice").Replace(name)
	case t.row.Verify.Kind == "none":
		return strings.TrimSuffix(name, ", signed")
	default:
		return name
	}
}

func ofPreset(preset string) string {
	if preset == "" {
		return ", no preset"
	}
	return ", preset " + preset
}

func (r *suiteReport) add(one suiteCase) {
	r.Cases = append(r.Cases, one)
	switch one.Result {
	case casePass:
		r.Passed++
	case caseFail:
		r.Failed++
	default:
		r.NotApplicable++
	}
}

func printCase(w io.Writer, c colours, one suiteCase) {
	mark := map[string]string{casePass: c.green + "✓" + c.off, caseFail: c.red + "✗" + c.off, caseNone: c.dim + "–" + c.off}[one.Result]
	fmt.Fprintf(w, "%s %-26s %s\n", mark, one.Name, one.Detail)
}

func notApplicable(why string, args ...any) suiteCase {
	return suiteCase{Result: caseNone, Detail: fmt.Sprintf(why, args...)}
}

func failed(what string, args ...any) suiteCase {
	return suiteCase{Result: caseFail, Detail: fmt.Sprintf(what, args...)}
}

// expect sends a request and compares the status.
func (s *suite) expect(ctx context.Context, want int, out outgoing) suiteCase {
	a, err := s.post(ctx, out)
	s.last = a
	if err != nil {
		return failed("no answer: %v", err)
	}
	if a.status == http.StatusUnauthorized {
		s.refusals = append(s.refusals, a.body)
	}
	if a.status == want {
		return suiteCase{Result: casePass, Detail: fmt.Sprintf("%d in %d ms", a.status, a.took.Milliseconds())}
	}
	return failed("%s", strings.TrimSuffix(fmt.Sprintf("answered %d, expected %d: %s", a.status, want, s.hint(a, want)), ": "))
}

// expectSigned signs a body of the event as of a moment and sends it.
func (s *suite) expectSigned(ctx context.Context, want int, body []byte, at time.Time, secrets ...string) suiteCase {
	out, err := s.sign(s.m, body, secrets, at)
	if err != nil {
		return failed("%v", err)
	}
	return s.expect(ctx, want, out)
}

// note adds to what passed.
func (c suiteCase) note(more string, args ...any) suiteCase {
	c.Detail += "; " + fmt.Sprintf(more, args...)
	return c
}

// playValid also asks whether the event was recorded, where the API can be asked.
func (s *suite) playValid(ctx context.Context) suiteCase {
	one := s.expect(ctx, http.StatusOK, s.valid)
	if one.Result != casePass {
		return one
	}
	if other := s.notUsher(s.last); other != "" {
		return failed("answered 200, and %s", other)
	}
	e, err := s.await(ctx, s.m.id, func(recordedEvent) bool { return true })
	s.unknown = err
	switch {
	case errors.Is(err, errNotAsked):
		return one
	case err != nil:
		return failed("answered 200, and the event is not recorded: %v", err)
	}
	s.first = &e
	return one.note("recorded: %s", e.decided())
}

// playDuplicate sends the very same request again: it must be taken, and must not count as another event.
func (s *suite) playDuplicate(ctx context.Context) suiteCase {
	one := s.expect(ctx, http.StatusOK, s.valid)
	if one.Result != casePass {
		return one
	}
	if s.first == nil {
		return one.note("whether it counts once is unknown: %v", s.unknown)
	}
	e, err := s.await(ctx, s.m.id, func(e recordedEvent) bool { return e.ID != s.first.ID || e.Resends > s.first.Resends })
	switch {
	case err != nil:
		return failed("answered 200, and it is not counted as a resend: %v", err)
	case e.ID != s.first.ID:
		return failed("answered 200, and it became a second event: %d beside %d", e.ID, s.first.ID)
	default:
		return one.note("counted as a resend, no second event")
	}
}

func (s *suite) playTampered(ctx context.Context, flip bool) suiteCase {
	if !s.signsBody() {
		return notApplicable("%s: the body is not signed", s.proof())
	}
	out := s.valid
	out.body = s.tampered(s.m.body, flip)
	if flip && len(out.body) != len(s.m.body) {
		return notApplicable("the body is empty")
	}
	return s.expect(ctx, http.StatusUnauthorized, out)
}

// playTime signs as of a minute beyond the tolerance, before or after now.
func (s *suite) playTime(ctx context.Context, ahead bool) suiteCase {
	if !s.signsTime() {
		return notApplicable("no time is signed")
	}
	off := s.tolerance() + time.Minute
	at := time.Now().Add(-off)
	if ahead {
		at = time.Now().Add(off)
	}
	one := s.expectSigned(ctx, http.StatusUnauthorized, s.m.body, at, s.own()...)
	if one.Result == casePass {
		return one.note("signed %s off", off)
	}
	return one
}

// playForged sends the event of somebody who does not know the secret.
func (s *suite) playForged(ctx context.Context, secret string) suiteCase {
	if s.row.Verify.Kind == "none" {
		return notApplicable("%s", s.proof())
	}
	return s.expectSigned(ctx, http.StatusUnauthorized, s.m.body, time.Now(), secret)
}

func (s *suite) playEmptySecret(ctx context.Context) suiteCase {
	if s.row.Verify.Kind == "path_token" {
		return notApplicable("the same as no token")
	}
	return s.playForged(ctx, "")
}

func (s *suite) playUnsigned(ctx context.Context) suiteCase {
	if s.row.Verify.Kind == "none" {
		return notApplicable("%s", s.proof())
	}
	return s.expect(ctx, http.StatusUnauthorized, s.unsigned(s.m, s.m.body))
}

// playTwice sends the right header two times: which of two counts must never be a question.
func (s *suite) playTwice(ctx context.Context) suiteCase {
	name := textproto.CanonicalMIMEHeaderKey(s.row.Verify.Header)
	if s.row.Verify.Kind == "stripe" {
		name = "Stripe-Signature"
	}
	if s.row.Verify.Kind == "none" || s.row.Verify.Kind == "path_token" {
		return notApplicable("%s, not a header", s.proof())
	}
	out := s.valid
	out.header = out.header.Clone()
	out.header[name] = append(out.header[name], out.header[name]...)
	return s.expect(ctx, http.StatusUnauthorized, out)
}

// playRotated proves the event by each secret, and by one header with a wrong signature before the right one.
func (s *suite) playRotated(ctx context.Context) suiteCase {
	several := webhook.TakesSeveral(s.row.Verify)
	switch {
	case s.row.Verify.Kind == "none":
		return notApplicable("%s", s.proof())
	case len(s.secrets) == 1 && !several:
		return notApplicable("there is one secret, and one header takes one signature")
	}
	for i, secret := range s.secrets {
		if one := s.expectSigned(ctx, http.StatusOK, s.m.body, time.Now(), secret); one.Result != casePass {
			one.Detail = fmt.Sprintf("by secrets[%d]: %s", i, one.Detail)
			return one
		}
	}
	detail := fmt.Sprintf("200 by each of %d secrets", len(s.secrets))
	if len(s.secrets) == 1 {
		detail = "200 by the one secret"
	}
	if several {
		if one := s.expectSigned(ctx, http.StatusOK, s.m.body, time.Now(), webhooktest.Secret(s.row.Verify), s.secrets[0]); one.Result != casePass {
			one.Detail = "with a wrong signature before the right one: " + one.Detail
			return one
		}
		detail += ", and with a wrong signature before the right one"
	}
	return suiteCase{Result: casePass, Detail: detail}
}

// playEmpty sends nothing, well signed: it is recorded, and invites nobody.
func (s *suite) playEmpty(ctx context.Context) suiteCase {
	one := s.expectSigned(ctx, http.StatusOK, nil, time.Now(), s.own()...)
	if one.Result != casePass {
		return one
	}
	empty := s.m
	empty.id, empty.body = "", nil
	s.foresee(&empty, false)
	if empty.id == s.m.id || empty.byBody { // Usher may count it as a resend, of this event or of an earlier run's
		return one
	}
	e, err := s.await(ctx, empty.id, func(recordedEvent) bool { return true })
	switch {
	case errors.Is(err, errNotAsked):
		return one
	case err != nil:
		return failed("answered 200, and it is not recorded: %v", err)
	case e.Decision != nil && e.Decision.Outcome == "invite":
		return failed("an empty body invites somebody: see /v1/events/%d", e.ID)
	default:
		return one.note("recorded: %s", e.decided())
	}
}

func (s *suite) playEmptyUnsigned(ctx context.Context) suiteCase {
	if s.row.Verify.Kind == "none" {
		return notApplicable("%s", s.proof())
	}
	return s.expect(ctx, http.StatusUnauthorized, s.unsigned(s.m, nil))
}

// playOversized announces one byte too many. It waits for the go-ahead before the body, which never comes:
// otherwise an answer that is sent before the body was taken could be lost.
func (s *suite) playOversized(ctx context.Context) suiteCase {
	out := s.unsigned(s.m, bytes.Repeat([]byte("x"), int(s.maxBody)+1))
	out.header.Set("Expect", "100-continue")
	one := s.expect(ctx, http.StatusRequestEntityTooLarge, out)
	if one.Result == casePass {
		return one.note("%d bytes", len(out.body))
	}
	return one
}

func (s *suite) playCompressed(ctx context.Context) suiteCase {
	var body bytes.Buffer
	writer := gzip.NewWriter(&body)
	_, _ = writer.Write(s.m.body) // to memory
	_ = writer.Close()
	out, err := s.sign(s.m, body.Bytes(), s.own(), time.Now())
	if err != nil {
		return failed("%v", err)
	}
	out.header.Set("Content-Encoding", "gzip")
	return s.expect(ctx, http.StatusUnsupportedMediaType, out)
}

// playAlike compares what the refused were told: whoever forges must not learn what was wrong.
func (s *suite) playAlike(context.Context) suiteCase {
	if len(s.refusals) < 2 {
		return notApplicable("there are no refusals to compare")
	}
	for _, body := range s.refusals[1:] {
		if !bytes.Equal(body, s.refusals[0]) {
			return failed("the bodies of %d answers 401 differ: they tell a forger what was wrong", len(s.refusals))
		}
	}
	return suiteCase{Result: casePass, Detail: fmt.Sprintf("%d answers 401 are byte for byte the same", len(s.refusals))}
}
