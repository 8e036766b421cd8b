package webhook

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/usher-dev/usher/internal/access"
)

// What the fields of a Verify may say.
const (
	kindHMAC      = "hmac"
	kindHash      = "hash"
	kindToken     = "token"
	kindPathToken = "path_token"
	kindNone      = "none"
	kindStripe    = "stripe"

	formatSingle = "single"
	formatKV     = "kv"
	formatList   = "list"

	unitSeconds      = "s"
	unitMilliseconds = "ms"
	unitRFC3339      = "rfc3339"

	codingRaw    = "raw"
	codingBase64 = "base64"
	codingHex    = "hex"

	firstArrayElement = "first_array_element"
	decodeHubSpot     = "hubspot"
)

// mistakes collects what is wrong with a source, by the path below sources.NAME.
type mistakes struct{ all []error }

func (m *mistakes) add(path, problem, mend string) {
	m.all = append(m.all, &access.ConfigError{Path: path, Problem: problem, Mend: mend})
}

// forgive forgets the mistakes at these paths and inside them.
func (m *mistakes) forgive(paths ...string) {
	m.all = slices.DeleteFunc(m.all, func(err error) bool {
		var wrong *access.ConfigError
		return errors.As(err, &wrong) && slices.ContainsFunc(paths, func(path string) bool {
			return wrong.Path == path || strings.HasPrefix(wrong.Path, path+"[")
		})
	})
}

// oneOf returns the value or its default, and reports one that is not allowed.
func (m *mistakes) oneOf(path, value string, allowed ...string) string {
	if value != "" && !slices.Contains(allowed, value) {
		m.add(path, "is not one of: "+strings.TrimPrefix(strings.Join(allowed, ", "), ", "), "write one of them, or remove it")
		return allowed[0]
	}
	return cmp.Or(value, allowed[0])
}

// newScheme checks a Verify and makes it ready.
func newScheme(name string, v Verify, c Config, m *mistakes) *scheme {
	s := &scheme{
		name: name, header: v.Header, prefix: v.Prefix, sigKey: v.SigKey, tsKey: v.TSKey, tsHeader: v.TSHeader, tolerance: v.Tolerance,
		publicURL: c.PublicURL,
		kind:      m.oneOf("verify.kind", v.Kind, kindHMAC, kindHash, kindToken, kindPathToken, kindNone),
		format:    m.oneOf("verify.format", v.Format, formatSingle, formatKV, formatList),
		tsUnit:    m.oneOf("verify.ts_unit", v.TSUnit, unitSeconds, unitMilliseconds, unitRFC3339),
		newHash:   algorithms[m.oneOf("verify.algorithm", v.Algorithm, "sha256", "sha1", "sha512")],
		decode:    encodings[m.oneOf("verify.encoding", v.Encoding, "hex", "base64", "base64url")],
		firstOnly: v.BodySelect != "" && m.oneOf("verify.body_select", v.BodySelect, firstArrayElement) != "",
		decodeURL: v.URLDecode != "" && m.oneOf("verify.url_decode", v.URLDecode, decodeHubSpot) != "",
	}
	s.pairSep = cmp.Or(v.PairSep, map[string]string{formatKV: ",", formatList: " "}[s.format])
	if s.format == formatList {
		s.sigKey = cmp.Or(s.sigKey, "v1")
	}
	switch s.kind {
	case kindHMAC, kindHash:
		s.checkSignature(v, m)
	case kindToken:
		if s.header == "" {
			m.add("verify.header", "is missing", "name the header that carries the token, such as Authorization")
		}
	case kindNone:
		if !c.AllowUnsigned {
			m.add("verify.kind", "none takes anything that anybody sends", "set allow_unsigned: true if that is meant, or use kind: path_token")
		}
		return s
	}
	s.keys = newKeys(s, v, c.Secrets, m)
	return s
}

// checkSignature checks what a signature needs to be one.
func (s *scheme) checkSignature(v Verify, m *mistakes) {
	if s.header == "" {
		m.add("verify.header", "is missing", "name the header that carries the signature")
	}
	if s.format == formatKV && s.sigKey == "" {
		m.add("verify.sig_key", "is missing, which kv needs", "name the key of the signature, such as v1")
	}
	if s.tsKey != "" && s.format != formatKV {
		m.add("verify.ts_key", "is only for the format kv", "name the header of the time by ts_header")
	}
	if s.tsKey != "" && s.tsHeader != "" {
		m.add("verify.ts_header", "is set beside ts_key", "keep the one that is signed")
	}
	s.template = parseTemplate(v.Signed, m)
	has := func(kind placeholder) bool {
		return slices.ContainsFunc(s.template, func(p part) bool { return p.kind == kind })
	}
	hasTime := s.tsKey != "" || s.tsHeader != ""
	for _, check := range []struct {
		wrong               bool
		path, problem, mend string
	}{
		{v.Signed == "", "verify.signed", "is missing", `say what is signed, such as "{ts}.{body}"`},
		{v.Signed != "" && !has(isBody), "verify.signed", "does not contain {body}: anybody could change the body", "add {body} where the sender puts it"},
		{touches(s.template), "verify.signed", "has a {header:Name} without a separator: bytes could move from one part into the other",
			"write it with what the sender puts between, such as \"{header:Webhook-Id}.{body}\""},
		{s.kind == kindHash && v.Signed != "" && !has(isSecret), "verify.signed",
			"is hashed without {secret}: anybody could make the hash", "add {secret}, or use kind: hmac"},
		{has(isTime) && !hasTime, "verify.signed", "contains {ts}, and nothing says where the time stands", "set ts_header, or ts_key with format: kv"},
		{!has(isTime) && hasTime && v.Signed != "", "verify.signed", "does not contain {ts}: anybody could change the time", "add {ts}, or remove ts_header and ts_key"},
		{has(isTime) && s.tolerance <= 0, "verify.tolerance", "is missing, which {ts} needs", "set it, such as 5m: how far the signed time may be from our clock"},
		{has(isURL) && strings.ContainsAny(s.publicURL, "?#"), "public_url", "has a query", "leave it out: that of each request is signed"},
		{has(isURL) && s.publicURL == "", "public_url", "is missing, which this sender's signature contains", "set public_url to the address that the sender calls"},
	} {
		if check.wrong {
			m.add(check.path, check.problem, check.mend)
		}
	}
}

// touches reports a header that stands next to another placeholder.
func touches(template []part) bool {
	for i := 1; i < len(template); i++ {
		before, after := template[i-1].kind, template[i].kind
		if before != isLiteral && after != isLiteral && (before == isHeader || after == isHeader) {
			return true
		}
	}
	return false
}

var placeholders = map[string]placeholder{"body": isBody, "ts": isTime, "method": isMethod, "url": isURL, "secret": isSecret}

// parseTemplate takes a template apart, so that it is expanded in one pass.
func parseTemplate(template string, m *mistakes) (parts []part) {
	for template != "" {
		literal, rest, found := strings.Cut(template, "{")
		if literal != "" {
			if n := len(parts); n > 0 && parts[n-1].kind == isHeader {
				parts[n-1].until = literal
			}
			parts = append(parts, part{literal: literal})
		}
		if !found {
			return parts
		}
		name, rest, closed := strings.Cut(rest, "}")
		header, isHeaderName := strings.CutPrefix(name, "header:")
		kind, known := placeholders[name]
		switch {
		case closed && known:
			parts = append(parts, part{kind: kind})
		case closed && isHeaderName && headerName.MatchString(header):
			parts = append(parts, part{kind: isHeader, header: header})
		default:
			m.add("verify.signed", "has a placeholder that is none",
				"known are {body} {ts} {method} {url} {secret} {header:Name}")
			return parts
		}
		template = rest
	}
	return parts
}

// headerName is a token of RFC 9110.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// pathToken is what a path segment may be without escapes, and long enough not to be guessed.
var pathToken = regexp.MustCompile(`^[A-Za-z0-9._~-]{24,256}$`)

// newKeys reads the secrets. A blank one is refused, as with an empty key anybody could sign.
func newKeys(s *scheme, v Verify, secrets []string, m *mistakes) (keys []schemeKey) {
	if len(secrets) == 0 {
		m.add("secrets", "is missing: anybody could send events", "add the secret of this sender")
	}
	codings := v.KeyCoding
	if len(codings) == 0 || s.kind == kindToken || s.kind == kindPathToken {
		codings = []string{codingRaw}
	}
	for i, coding := range codings {
		m.oneOf(fmt.Sprintf("verify.key_coding[%d]", i), coding, codingRaw, codingBase64, codingHex)
	}
	for i, secret := range secrets {
		path := fmt.Sprintf("secrets[%d]", i)
		switch {
		case isBlank(secret, v.KeyPrefix):
			m.add(path, "is blank: anybody could sign with it", "set it, or remove it")
			continue
		case s.kind == kindPathToken && !pathToken.MatchString(secret):
			m.add(path, "is not a path segment that nobody guesses", "use 24 or more of A-Z a-z 0-9 - . _ ~: openssl rand -hex 24")
			continue
		}
		read := s.readSecret(i, secret, codings, v.KeyPrefix)
		if len(read) == 0 {
			m.add(path, "cannot be decoded as "+strings.Join(codings, " or "), "copy it again from the sender, whole")
		}
		keys = append(keys, read...)
	}
	return keys
}

// isBlank reports a secret that is none, such as the prefix alone. NULs are none either: HMAC fills a short key
// up with zeros, so that one of zeros alone is the empty key.
func isBlank(secret, prefix string) bool {
	secret = strings.TrimFunc(secret, func(r rune) bool { return r == 0 || unicode.IsSpace(r) })
	return secret == "" || secret == prefix
}

// readSecret returns the keys that a secret can stand for, none of them empty.
func (s *scheme) readSecret(place int, secret string, codings []string, prefix string) (keys []schemeKey) {
	for _, coding := range codings {
		key, err := decodeKey(coding, secret, prefix)
		if err != nil || len(bytes.Trim(key, "\x00")) == 0 { // see isBlank
			continue
		}
		keys = append(keys, schemeKey{place: place, bytes: key, digest: sha256.Sum256(key), macs: newMACs(s.kind, s.newHash, key)})
	}
	return keys
}

func decodeKey(coding, secret, prefix string) ([]byte, error) {
	rest := strings.TrimPrefix(secret, prefix)
	switch coding {
	case codingRaw:
		return []byte(secret), nil
	case codingBase64:
		if key, err := base64.StdEncoding.DecodeString(rest); err == nil {
			return key, nil
		}
		return decodeBase64URL(rest)
	case codingHex:
		return hex.DecodeString(rest)
	default:
		return nil, fmt.Errorf("there is no key coding %q", coding)
	}
}
