package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Intercom and Segment sign with HMAC-SHA1, which is unbroken as a MAC
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxSignatureHeader bounds what a stranger can make us parse: 16 signatures of SHA-512 in hex have 2.1 KB.
	maxSignatureHeader = 4096
	// maxSignatures bounds how many of one header are tried against each secret.
	maxSignatures = 16
)

// A scheme is a Verify made ready: one way to tell whether a request is authentic.
type scheme struct {
	name       string // of the row it is from, for the log; "" for the source's own
	kind       string
	header     string
	prefix     string
	format     string
	pairSep    string
	sigKey     string
	tsKey      string
	tsHeader   string
	tsUnit     string
	tolerance  time.Duration
	decode     func(string) ([]byte, error)
	newHash    func() hash.Hash
	template   []part
	keys       []schemeKey
	publicURL  string
	decodeURL  bool
	firstOnly  bool // of an array body, only the first element is signed
	onlyHeader string
	onlyValue  string
}

// A schemeKey is one way to read one secret.
type schemeKey struct {
	place  int // in the configuration's list
	bytes  []byte
	digest [sha256.Size]byte // of a token, for a comparison that takes the same time for all lengths
	macs   *sync.Pool        // of hash.Hash
}

// A part of a template is a literal or what a placeholder stands for.
type part struct {
	literal string
	kind    placeholder
	header  string
	// until is the literal that follows a header: a value that holds it could be read in two ways.
	until string
}

type placeholder int

const (
	isLiteral placeholder = iota
	isBody
	isTime
	isMethod
	isURL
	isSecret
	isHeader
)

// isSpoken reports whether a request has the header of this scheme.
func (s *scheme) isSpoken(r Request) bool {
	return s.header != "" && len(r.Header.Values(s.header)) > 0
}

// applies reports whether a request is to be verified by this scheme, if it is an older one.
func (s *scheme) applies(r Request) bool {
	return s.isSpoken(r) && (s.onlyHeader == "" || r.Header.Get(s.onlyHeader) == s.onlyValue)
}

// verify returns which secret matched and the part of the body that it vouches for. The error is a *Rejection.
func (s *scheme) verify(now time.Time, r Request) (by string, body []byte, err error) {
	switch s.kind {
	case kindNone:
		return "nothing: unsigned requests are allowed", r.Body, nil
	case kindPathToken:
		by, err = s.matchToken(r.Token, "the last segment of the path")
		return by, r.Body, err
	case kindToken:
		value, err := one(r.Header, s.header)
		if err != nil {
			return "", nil, err
		}
		by, err = s.verifyToken(value)
		return by, r.Body, err
	default:
		return s.verifySignature(now, r)
	}
}

func (s *scheme) verifyToken(value string) (string, error) {
	// "Bearer" and "Basic" are case-insensitive: RFC 9110, section 11.1.
	if len(value) < len(s.prefix) || !strings.EqualFold(value[:len(s.prefix)], s.prefix) {
		return "", &Rejection{"bad_header", s.header + " does not begin with its prefix"}
	}
	return s.matchToken(value[len(s.prefix):], s.header)
}

// matchToken compares digests, so that neither the place of a difference nor a length shows in the time.
func (s *scheme) matchToken(token, where string) (by string, err error) {
	if strings.TrimSpace(token) == "" {
		return "", &Rejection{"no_signature", where + " is missing or blank"}
	}
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	for _, key := range s.keys {
		if subtle.ConstantTimeCompare(digest[:], key.digest[:]) == 1 {
			by = fmt.Sprintf("secrets[%d]", key.place)
		}
	}
	if by == "" {
		return "", &Rejection{"no_match", fmt.Sprintf("the token in %s is not a configured one (%d)", where, len(s.keys))}
	}
	return by, nil
}

// verifySignature tries every secret against every signature, then checks the time that was signed.
func (s *scheme) verifySignature(now time.Time, r Request) (by string, body []byte, err error) {
	value, err := one(r.Header, s.header)
	if err != nil {
		return "", nil, err
	}
	// Who knows the plain hash of a text can work out the hash of a longer one that begins with it, without the
	// secret at its start. Between the two stand NULs, which no sender's body has.
	if s.kind == kindHash && (bytes.IndexByte(r.Body, 0) >= 0 || strings.ContainsRune(r.Query, 0)) {
		return "", nil, &Rejection{"bad_body", "the body has a NUL, as one has that was made longer than what was signed"}
	}
	if len(value) > maxSignatureHeader {
		return "", nil, &Rejection{"bad_header", fmt.Sprintf("%s has %d bytes", s.header, len(value))}
	}
	c, err := s.read(value, r)
	if err != nil {
		return "", nil, err
	}
	var sum [sha512.Size]byte
	matched := -1
	for _, key := range s.keys {
		mine := s.sign(key, c, r, sum[:0])
		for _, theirs := range c.signatures {
			if hmac.Equal(mine, theirs) && matched < 0 {
				matched = key.place
			}
		}
	}
	if matched < 0 {
		return "", nil, &Rejection{"no_match", fmt.Sprintf("no signature in %s was made with a configured secret (%d)", s.header, len(s.keys))}
	}
	if err := s.timely(now, c.at); err != nil {
		return "", nil, err
	}
	by = fmt.Sprintf("secrets[%d]", matched)
	if s.name != "" {
		by += " by " + s.name
	}
	return by, c.body, nil
}

// A claim is what a request says about itself, to be compared with what its sender signed.
type claim struct {
	signatures [][]byte
	ts         string // as received: the very text that was signed
	at         time.Time
	body       []byte
	url        string
}

func (s *scheme) read(value string, r Request) (c claim, err error) {
	if c.signatures, c.ts, err = s.signatures(value); err != nil {
		return c, err
	}
	if s.tsHeader != "" {
		if c.ts, err = one(r.Header, s.tsHeader); err != nil {
			return c, err
		}
	}
	if s.tsHeader != "" || s.tsKey != "" {
		if c.at, err = s.moment(c.ts); err != nil {
			return c, err
		}
	}
	if c.body, err = s.signedBody(r.Body); err != nil {
		return c, err
	}
	c.url = s.url(r.Query)
	for _, p := range s.template {
		if p.kind != isHeader {
			continue
		}
		signed, err := one(r.Header, p.header)
		if err != nil {
			return c, err
		}
		if p.until != "" && strings.Contains(signed, p.until) {
			return c, &Rejection{"bad_header", fmt.Sprintf("%s contains %q, which ends it in what is signed", p.header, p.until)}
		}
	}
	return c, nil
}

// signatures takes the signatures, and the time of kv, out of the header.
func (s *scheme) signatures(value string) (found [][]byte, ts string, err error) {
	switch s.format {
	case formatKV:
		return s.pairs(value)
	case formatList:
		found, err = s.list(value)
		return found, "", err
	default:
		value = strings.TrimSpace(value)
		if !strings.HasPrefix(value, s.prefix) {
			return nil, "", &Rejection{"bad_header", s.header + " does not begin with its prefix"}
		}
		signature, err := s.decode(value[len(s.prefix):])
		if err != nil || len(signature) == 0 {
			return nil, "", &Rejection{"bad_header", "the signature in " + s.header + " cannot be decoded"}
		}
		return [][]byte{signature}, "", nil
	}
}

// pairs reads t=…,v1=…,v1=…: spaces round a pair are dropped (WorkOS sends some), unknown keys are ignored
// (Stripe's v0), undecodable signatures too.
func (s *scheme) pairs(value string) (found [][]byte, ts string, err error) {
	times := 0
	for pair := range strings.SplitSeq(value, s.pairSep) {
		key, content, _ := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case s.tsKey != "" && key == s.tsKey:
			ts = content
			times++
		case key == s.sigKey:
			if found, err = s.add(found, content); err != nil {
				return nil, "", err
			}
		}
	}
	if s.tsKey != "" && times != 1 {
		return nil, "", &Rejection{"bad_header", fmt.Sprintf("%s has %d times, wants one", s.header, times)}
	}
	return found, ts, s.some(found)
}

// list reads "v1,… v1,… v1a,…", as Standard Webhooks has it.
func (s *scheme) list(value string) (found [][]byte, err error) {
	for entry := range strings.SplitSeq(value, s.pairSep) {
		if version, content, _ := strings.Cut(strings.TrimSpace(entry), ","); version == s.sigKey {
			if found, err = s.add(found, content); err != nil {
				return nil, err
			}
		}
	}
	return found, s.some(found)
}

func (s *scheme) add(found [][]byte, content string) ([][]byte, error) {
	if len(found) == maxSignatures {
		return nil, &Rejection{"bad_header", fmt.Sprintf("%s has more than %d signatures", s.header, maxSignatures)}
	}
	content, ok := strings.CutPrefix(content, s.prefix)
	if signature, err := s.decode(content); ok && err == nil && len(signature) > 0 {
		found = append(found, signature)
	}
	return found, nil
}

func (s *scheme) some(found [][]byte) error {
	if len(found) == 0 {
		return &Rejection{"bad_header", fmt.Sprintf("%s has no readable signature of the kind %s", s.header, s.sigKey)}
	}
	return nil
}

// moment reads the time that was signed.
func (s *scheme) moment(text string) (time.Time, error) {
	if s.tsUnit == unitRFC3339 {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return at, &Rejection{"bad_time", "the time of " + s.header + " is not RFC 3339"}
		}
		return at, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || text[0] == '+' {
		return time.Time{}, &Rejection{"bad_time", "the time of " + s.header + " is not a number"}
	}
	if s.tsUnit == unitMilliseconds {
		return time.UnixMilli(n), nil
	}
	return time.Unix(min(n, 1<<40), 0), nil // beyond, time.Time's arithmetic would wrap round
}

// timely refuses a signed time that is too far from now, either way.
func (s *scheme) timely(now, at time.Time) error {
	if s.tsHeader == "" && s.tsKey == "" {
		return nil
	}
	return within(now, at, s.tolerance)
}

// signedBody is what the signature vouches for: of a batch of Segment's, only the first element.
func (s *scheme) signedBody(body []byte) ([]byte, error) {
	if !s.firstOnly {
		return body, nil
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '[' {
		return body, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	var first json.RawMessage
	if _, err := decoder.Token(); err != nil || !decoder.More() || decoder.Decode(&first) != nil {
		return nil, &Rejection{"bad_body", "the body is an array without a readable first element"}
	}
	return first, nil
}

// url is the address as the sender knows it, with the query of the request: never made from Host or
// X-Forwarded headers, which a stranger can choose.
func (s *scheme) url(query string) string {
	url := s.publicURL
	if query != "" {
		url += "?" + query
	}
	if s.decodeURL {
		url = hubspotEscapes.Replace(url)
	}
	return url
}

// hubspotEscapes are the only escapes that HubSpot decodes before it signs.
// https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
var hubspotEscapes = strings.NewReplacer(
	"%3A", ":", "%3a", ":", "%2F", "/", "%2f", "/", "%3F", "?", "%3f", "?", "%40", "@", "%21", "!", "%24", "$", "%27", "'",
	"%28", "(", "%29", ")", "%2A", "*", "%2a", "*", "%2C", ",", "%2c", ",", "%3B", ";", "%3b", ";",
)

// sign expands the template in one pass into the hash: what a body contains is never expanded again.
func (s *scheme) sign(key schemeKey, c claim, r Request, into []byte) []byte {
	mac, _ := key.macs.Get().(hash.Hash)
	defer key.macs.Put(mac)
	mac.Reset()
	for _, p := range s.template {
		switch p.kind {
		case isLiteral:
			writeText(mac, p.literal)
		case isBody:
			_, _ = mac.Write(c.body) // a hash's Write never fails
		case isTime:
			writeText(mac, c.ts)
		case isMethod:
			writeText(mac, r.Method)
		case isURL:
			writeText(mac, c.url)
		case isSecret:
			_, _ = mac.Write(key.bytes)
		case isHeader:
			writeText(mac, r.Header.Get(p.header))
		}
	}
	return mac.Sum(into)
}

func writeText(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// newMACs is a pool of HMACs with one key, or of plain hashes for the kind hash.
func newMACs(kind string, newHash func() hash.Hash, key []byte) *sync.Pool {
	return &sync.Pool{New: func() any {
		if kind == kindHash {
			return newHash()
		}
		return hmac.New(newHash, key)
	}}
}

var algorithms = map[string]func() hash.Hash{"sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}

var encodings = map[string]func(string) ([]byte, error){
	"hex":       hex.DecodeString,
	"base64":    base64.StdEncoding.DecodeString,
	"base64url": decodeBase64URL,
}

// decodeBase64URL takes the padding or leaves it.
func decodeBase64URL(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

// one returns a header that must stand in the request exactly once.
func one(header http.Header, name string) (string, error) {
	switch values := header.Values(name); {
	case len(values) == 0 || strings.TrimSpace(values[0]) == "":
		return "", &Rejection{Rule: "no_signature", Detail: "the header " + name + " is missing or blank"}
	case len(values) > 1:
		return "", &Rejection{Rule: "repeated_header", Detail: fmt.Sprintf("the header %s stands %d times", name, len(values))}
	default:
		return values[0], nil
	}
}

// within refuses a signed time that is further from now than the tolerance, either way.
func within(now, signed time.Time, tolerance time.Duration) error {
	switch off := now.Sub(signed); {
	case off > tolerance:
		return &Rejection{Rule: "too_old", Detail: fmt.Sprintf("signed more than %s ago", tolerance)}
	case off < -tolerance:
		return &Rejection{Rule: "in_the_future", Detail: fmt.Sprintf("signed more than %s ahead of our clock", tolerance)}
	default:
		return nil
	}
}
