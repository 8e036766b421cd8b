package onboarding

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxLookUpAnswer bounds what is read of an answer; a hundred contacts take some 100 KiB.
	maxLookUpAnswer = 4 << 20
	// maxAfter bounds how long a provider can silence us. The longest wait that is meant is until midnight,
	// when HubSpot's daily limit ends.
	maxAfter = 24 * time.Hour
)

// lookUpClient is for providers' APIs. These redirect nobody, and a redirect could lead the key to another host.
func lookUpClient() *http.Client {
	return &http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An api is a provider's JSON API, which takes a bearer token.
type api struct {
	name   string // as people know it
	base   string // URL, without a slash at its end
	token  string
	advice string // what to do about a token that is refused
	client *http.Client
}

func newAPI(name, base, token, advice string) api {
	return api{name: name, base: strings.TrimRight(base, "/"), token: token, advice: advice, client: lookUpClient()}
}

// call makes one call and reads its JSON. It reports false where there is none to read; the Answer, without
// an event, then says why.
func (a api) call(ctx context.Context, method, path string, question, into any) (Answer, bool) {
	var body io.Reader
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return Answer{Message: "the question cannot be put in JSON"}, false
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return Answer{Message: "the base URL of " + a.name + " cannot be used"}, false
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "application/json")
	if question != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return Answer{Message: a.name + " could not be reached"}, false // the error names the customer's URL
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxLookUpAnswer+1))
	answer := Answer{Status: resp.StatusCode}
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		answer.Message, answer.After = refusal(a.name, resp.StatusCode, a.advice), askedToWait(resp, time.Now())
	case err != nil:
		answer.Message = "the answer of " + a.name + " broke off"
	case len(text) > maxLookUpAnswer:
		answer.Message = "the answer of " + a.name + " is too long"
	case json.Unmarshal(text, into) != nil:
		answer.Message = fmt.Sprintf("%s answered %d with something else than was asked for", a.name, resp.StatusCode)
	default:
		return answer, true
	}
	return answer, false
}

// refusal says in our own words what a status means: the other side's may repeat what it was asked.
func refusal(provider string, status int, advice string) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("%s refused the key with %d: %s", provider, status, advice)
	case http.StatusTooManyRequests:
		return provider + " asks to slow down (429)"
	default:
		return fmt.Sprintf("%s answered %d", provider, status)
	}
}

// askedToWait is how long a refusal asks everybody to wait: seconds or a date, HubSpot's window of its
// limit, or a while after a 429 that does not say.
// https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func askedToWait(resp *http.Response, now time.Time) (wait time.Duration) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	after := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if date, err := http.ParseTime(after); err == nil {
		wait = date.Sub(now)
	} else {
		wait = number(after, time.Second)
	}
	if wait <= 0 && resp.StatusCode == http.StatusTooManyRequests {
		wait = cmp.Or(number(resp.Header.Get("X-HubSpot-RateLimit-Interval-Milliseconds"), time.Millisecond), rateLimitWait)
	}
	return max(0, min(wait, maxAfter))
}

// number reads a count of units, 0 when it is none.
func number(text string, unit time.Duration) time.Duration {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*unit, maxAfter)
}
