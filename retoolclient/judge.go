package retoolclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// What a person can do, by case.
const (
	adviceToken    = "Retool does not accept the API token: check it, or make a new one in Retool's settings."
	adviceScope    = "The API token may not do this: give it the permission that Retool names, or make a new token that has it."
	advicePlan     = "Retool's Business plan does not include this call: that is the plan's limit, not a mistake of yours."
	adviceNotAPI   = "This address does not answer as Retool's API does: check the base URL (retool.url) and that the plan includes the API."
	adviceOtherOrg = "This address belongs to another Retool organisation: ask the customer for another address."
	adviceBulkBody = "Retool does not take the body of the bulk call: check its template (retool.bulk_body)."
	advicePage     = "Retool redirects this call to another page: check the base URL (retool.url) and that the plan includes the API."
)

// Retool documents no wording and no error codes, so these match several. They are tried on lower-case text that has
// lost its addresses: what a customer calls himself must not decide.
var (
	address = regexp.MustCompile(`\S+@\S+`)

	planWords = regexp.MustCompile(
		`\b(only|available|requires?|upgrade|limited)\b.*\benterprise\b|\benterprise (plan|customers|feature|licen[cs]e)\b`)

	otherOrgWords = regexp.MustCompile(`\b(another|other|different) (retool )?(organi[sz]ation|org|space|instance)s?\b`)

	presentWords = regexp.MustCompile(
		`\balready (been |was |is |are |has been )?(invited|exists?|accepted|claimed|an? (existing )?(member|user)|members?\b|` +
			`(a )?part of (this|the|your)|(in|belongs to|on|registered (in|with|for)) (this|the|your) (org|team|space))` +
			`|\balready (has|have) (an? )?(pending |open |active )?(invite|invitation|account in (this|the|your) org)` +
			`|\b(has|have) (an? )?(pending|open|outstanding) (invite|invitation)\b` +
			`|\b(duplicate|existing) (user )?(invite|invitation|member)\b`)

	// Words that look like presentWords and mean something else: a negation, or another thing that exists.
	absentWords = regexp.MustCompile(
		`(\b(not|never|no)|n't) (yet )?already\b|\bno (existing|pending|open|outstanding)\b|\bnot (an? )?existing\b|` +
			`\bnot have (an? )?(pending|open|outstanding)\b|` +
			`\b(attributes?|groups?|roles?|metadata|keys?)( \S+){0,2} already\b`)

	tokenWords   = regexp.MustCompile(`\b(token|scopes?|permissions?|unauthori[sz]ed|unauthenticated|forbidden|access denied)\b`)
	shapeWords   = regexp.MustCompile(`\b(required|missing|expected|unexpected|must be|schema|undefined|unknown field)\b`)
	requestWords = regexp.MustCompile(`\b(e-?mails?|address(es)?|domain|groups?|metadata|attributes?)\b`)
)

// reply is what an answer's body says, whatever its status.
type reply struct {
	json    bool // a JSON value
	html    bool
	refused bool // JSON with "success": false
	message string
	words   string // the message as the patterns above want it
}

func readReply(a answer) reply {
	r := reply{html: isHTML(a)}
	if r.html {
		return r
	}
	var body struct {
		Success *bool           `json:"success"`
		Message json.RawMessage `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	r.json = json.Valid(a.body)
	_ = json.Unmarshal(a.body, &body) // an array, say, has no message, and what of an object fits is kept
	r.refused = body.Success != nil && !*body.Success
	r.message = firstText(body.Message, body.Error)
	if r.message == "" && (a.status >= 300 || r.refused) {
		r.message = string(a.body)
	}
	r.words = address.ReplaceAllString(strings.ToLower(oneLine(r.message)), "it")
	return r
}

// firstText returns the first of the values that is a JSON string with something in it.
func firstText(values ...json.RawMessage) string {
	for _, v := range values {
		var s string
		if json.Unmarshal(v, &s) == nil && strings.TrimSpace(s) != "" {
			return s
		}
	}
	return ""
}

// isHTML reports whether the answer is a web page, by its type or, since proxies lie about that, by its start.
func isHTML(a answer) bool {
	return strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html") ||
		bytes.HasPrefix(bytes.TrimLeft(a.body, "\xef\xbb\xbf \t\r\n"), []byte("<"))
}

// judge turns an answer into an error, or nil when Retool did what it was asked to. Status comes before words, except
// for the plan's refusal, whose status is not documented. (A 429 may praise a bigger plan; it is not refused by this one.)
func (c *Client) judge(k call, a answer) *Error {
	r := readReply(a)
	if a.status/100 == 2 && !r.html && !r.refused && (r.json || k.emptyOK && len(bytes.TrimSpace(a.body)) == 0) {
		return nil
	}
	e := &Error{Kind: Stop, Op: k.op, Status: a.status, Transport: k.api, Message: c.clean(r.message)}
	switch {
	case a.status/100 == 3:
		c.redirected(e, a)
	case a.status != http.StatusTooManyRequests && planWords.MatchString(r.words):
		e.Err, e.Advice = ErrPlan, advicePlan
	case isLater(a.status):
		c.later(e, k, a)
	case a.status == http.StatusUnauthorized:
		e.Advice = adviceToken
	case r.html:
		e.Err, e.Advice = ErrNoEndpoint, adviceNotAPI
	case a.status == http.StatusNotFound:
		notFound(e, k, r)
	case a.status/100 == 2 && !r.refused:
		e.Err, e.Advice, e.Ambiguous = ErrNoEndpoint, adviceNotAPI, k.writes()
	default:
		c.refused(e, k, r)
	}
	return e
}

func isLater(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// later fills in an error of the passing kind. A server's error may come after the work was done; a refusal to take
// the request now (408, 425, 429, 503) may not.
func (c *Client) later(e *Error, k call, a answer) {
	e.Kind = Later
	e.RetryAfter, _ = retryAfter(a.header.Get("Retry-After"), c.now())
	e.RateLimited = a.status == http.StatusTooManyRequests
	e.Ambiguous = k.writes() && a.status >= 500 && a.status != http.StatusServiceUnavailable
}

// redirected fills in the error of a redirect, which is not followed: the token is for one host only.
func (c *Client) redirected(e *Error, a answer) {
	e.Message, e.Advice, e.Err = "", advicePage, errors.New("a redirect, not followed")
	base, _ := url.Parse(c.base)
	to, err := url.Parse(a.header.Get("Location"))
	if err == nil && to.Host != "" && !strings.EqualFold(to.Host, base.Host) {
		e.Advice = "The address of Retool redirects to " + c.clean(to.Host) + ": set retool.url (the base URL) to it."
	}
}

func notFound(e *Error, k call, r reply) {
	if k.byID && r.json {
		e.Kind, e.Err = Never, ErrNotFound
		return
	}
	e.Err, e.Advice = ErrNoEndpoint, adviceNotAPI
}

// refused fills in an error by Retool's words, for the statuses that do not say it all. Only Retool's own JSON may bury
// a request: a proxy in between knows nothing about it. And a bulk call is refused for its guessed body sooner than for
// its addresses: unless the words are about those, it stops, and no customer is given up for a wrong template.
func (c *Client) refused(e *Error, k call, r reply) {
	switch {
	case k.invites && otherOrgWords.MatchString(r.words):
		e.Kind, e.Advice = Never, adviceOtherOrg
	case k.invites && (e.Status == http.StatusConflict || c.saysPresent(r.words)):
		e.Kind = Present
	case e.Status == http.StatusForbidden:
		e.Advice = adviceScope
	case e.Status/100 == 2:
		refusedWith2xx(e, r)
	case !r.json:
		e.Err, e.Advice = ErrNoEndpoint, adviceNotAPI
	case k.api == APIBulk && (!requestWords.MatchString(r.words) || shapeWords.MatchString(r.words)):
		e.Advice = adviceBulkBody
	case e.Status == http.StatusBadRequest, e.Status == http.StatusUnprocessableEntity, e.Status == http.StatusConflict:
		e.Kind = Never
	}
}

// refusedWith2xx judges a "success": false that came with a 2xx, which Retool does not document. Words about the token
// stop everything, words about this request bury it, and anything else is tried again: of the three, that is the
// mistake that costs least.
func refusedWith2xx(e *Error, r reply) {
	switch {
	case tokenWords.MatchString(r.words):
		e.Kind, e.Advice = Stop, adviceScope
	case requestWords.MatchString(r.words):
		e.Kind = Never
	default:
		e.Kind = Later
	}
}

// saysPresent reports whether Retool's words mean that the address is invited or a member already.
func (c *Client) saysPresent(words string) bool {
	for _, p := range c.present {
		if strings.Contains(words, p) {
			return true
		}
	}
	return presentWords.MatchString(words) && !absentWords.MatchString(words)
}
