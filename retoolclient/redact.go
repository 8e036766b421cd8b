package retoolclient

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxMessage    = 500 // bytes of Retool's words that an Error or Result keeps
	redactedToken = "retool_…"
)

// tokenShape is how Retool's API tokens look: the prefix and some 26 lower-case letters and digits.
var tokenShape = regexp.MustCompile(`retool_[a-z0-9]{10,}`)

// redact replaces the token, and whatever looks like one of Retool's, in s.
func redact(token, s string) string {
	if token != "" {
		s = strings.ReplaceAll(s, token, redactedToken)
	}
	return tokenShape.ReplaceAllString(s, redactedToken)
}

// redactError returns err itself, or a copy of its text where that shows a token. The copy wraps nothing: whoever
// unwrapped it would find the token again.
func redactError(token string, err error) error {
	text := err.Error()
	if clean := redact(token, text); clean != text {
		return errors.New(clean)
	}
	return err
}

// clean makes a stranger's words fit for a log or a page: one line, without control and invisible characters, without
// tokens, and short. The order matters: a token must be whole to be found.
func (c *Client) clean(s string) string {
	s = redact(*c.token, oneLine(s))
	if len(s) <= maxMessage {
		return s
	}
	s = s[:maxMessage-len("…")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// oneLine joins the words of s by single spaces and drops what cannot be seen.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}
