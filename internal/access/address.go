package access

import (
	"log/slog"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
	"unique"
)

// The limits of RFC 5321, section 4.5.3.1, in bytes. A path is at most 256
// with its angle brackets, which leaves 254 for the address.
const (
	maxAddress = 254
	maxLocal   = 64
)

const (
	asciiSpace = " \t\r\n\v\f"
	ellipsis   = "…"
)

// Address is one e-mail address that passed [ParseAddress]. The zero Address
// is no address.
//
// Addresses are comparable with ==, and equal when they would be one
// invitation. Printing, logging or marshalling one gives the masked form; the
// text sits behind a pointer, so that fmt cannot reach it even through an
// unexported field, where it calls no methods. [Address.Full] is the one door.
type Address struct {
	text unique.Handle[string] // local@domain, lower-case ASCII
}

// ParseAddress reads one plain address, such as jane@example.com.
//
// It is strict, because what it accepts is sent to Retool as it is, and every
// looser reading has let someone in: no display name, angle bracket, quotation
// mark, comment, group, control character or IP literal; at most 254 bytes,
// 64 of them before the @; a domain of two labels or more without a trailing
// dot. Only ASCII white space around the address is forgiven.
//
// The domain is brought to its ASCII form by IDNA (UTS #46, non-transitional).
// Non-ASCII that would turn into plain ASCII is refused as a look-alike:
// U+212A KELVIN SIGN must not become the k of somebody's domain. Before the @
// only ASCII is accepted, since how Retool compares anything else is not known.
//
// The whole address is lower-cased. RFC 5321 lets a host tell Jane@ from
// jane@, but no known provider does, and one person must not receive two
// invitations. Tags are kept: a+b@example.com is not a@example.com.
//
// The error is an [*AddressError], which never contains the address.
func ParseAddress(s string) (Address, error) {
	s = strings.Trim(s, asciiSpace)
	if err := checkWhole(s); err != nil {
		return Address{}, err
	}
	local, host := cutLast(s)
	if err := checkLocal(local); err != nil {
		return Address{}, err
	}
	domain, err := parseDomain(host)
	if err != nil {
		return Address{}, err
	}
	full := strings.ToLower(local) + "@" + domain
	if len(full) > maxAddress {
		return Address{}, errTooLong
	}
	if !isPlain(full) {
		return Address{}, &AddressError{
			Part:    partLocal,
			Problem: "has a character that no plain address has",
			Mend:    mendPlain,
		}
	}
	return Address{unique.Make(full)}, nil
}

// Full returns the whole address in lower-case ASCII, "" for the zero Address.
// It is for sending and storing; everything meant for eyes uses String.
func (a Address) Full() string {
	if a.IsZero() {
		return ""
	}
	return a.text.Value()
}

// Domain returns the part after the @ in lower-case ASCII (xn-- form), ""
// for the zero Address.
func (a Address) Domain() string {
	_, domain := cutLast(a.Full())
	return domain
}

// IsZero reports whether a is no address.
func (a Address) IsZero() bool { return a == Address{} }

// String returns the masked form, j…@example.com.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	local, domain := cutLast(a.Full())
	return maskLocal(local) + "@" + domain
}

// GoString is String, so that %#v masks too.
func (a Address) GoString() string { return a.String() }

// LogValue logs the masked form.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalText returns the masked form. encoding/json uses it for values and
// for map keys alike. There is no way back: an Address is read by ParseAddress.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Mask hides the person in any text that should be an address and may be
// none, for logs and errors: j…@example.com. A domain is shown only when it
// is a real one; of a text without an @ nothing is shown.
func Mask(s string) string {
	s = strings.Trim(s, asciiSpace)
	if s == "" {
		return ""
	}
	if !strings.Contains(s, "@") {
		return ellipsis
	}
	local, host := cutLast(s)
	domain, err := parseDomain(host)
	if err != nil {
		domain = ellipsis
	}
	return maskLocal(local) + "@" + domain
}

// maskLocal keeps the first character where it is printable ASCII and not all
// there is.
func maskLocal(local string) string {
	if len(local) > 1 && '!' <= local[0] && local[0] <= '~' {
		return strings.ToLower(local[:1]) + ellipsis
	}
	return ellipsis
}

// AddressError says what is wrong with an address by its shape. It holds
// nothing of the address itself, so it may be logged and shown.
type AddressError struct {
	Part    string // "address", "local part" or "domain"
	Problem string // what is wrong with the part, such as "has no dot"
	Mend    string // what to do, such as "write the whole domain, like example.com"
}

// The values of AddressError.Part.
const (
	partAddress = "address"
	partLocal   = "local part"
	partDomain  = "domain"
)

// Error returns the part and its problem, such as "the domain has no dot".
func (e *AddressError) Error() string { return "the " + e.Part + " " + e.Problem }

const mendPlain = "give one plain address, like jane@example.com"

var errTooLong = &AddressError{partAddress, "is longer than 254 bytes", "check that nothing but the address was sent"}

// checkWhole finds what is wrong before the address can be taken apart at its
// @. The error type is the interface, as a nil pointer in it would not be nil.
func checkWhole(s string) error {
	lower := strings.ToLower(s)
	ats := strings.Count(s, "@")
	switch {
	case s == "":
		return &AddressError{partAddress, "is empty", mendPlain}
	case len(s) > maxAddress:
		return errTooLong
	case !utf8.ValidString(s):
		return &AddressError{partAddress, "is not valid UTF-8", "send the address as UTF-8"}
	case strings.ContainsFunc(s, unicode.IsControl):
		return &AddressError{partAddress, "has a control character", "remove line breaks, tabs and NUL bytes"}
	case strings.HasPrefix(lower, "mailto:"):
		return &AddressError{partAddress, "starts with mailto:", "leave out mailto:"}
	case strings.ContainsAny(s, "<>"):
		return &AddressError{partAddress, "has angle brackets or a display name", "give only what stands between < and >"}
	case ats == 0 && strings.ContainsAny(s, "＠﹫"):
		return &AddressError{partAddress, "has a look-alike of the @ sign", "use the @ of an ASCII keyboard"}
	case ats == 0:
		return &AddressError{partAddress, "has no @ sign", mendPlain}
	case ats > 1 && !strings.Contains(s, `"`) && strings.ContainsAny(s, ",; "):
		return &AddressError{partAddress, "is more than one address", "send one event for each person"}
	case ats > 1 && !strings.Contains(s, `"`):
		return &AddressError{partAddress, "has more than one @ sign", mendPlain}
	}
	return nil
}

// checkLocal names the common mistakes before the @; isPlain finds the rest.
func checkLocal(local string) error {
	var problem string
	switch {
	case local == "":
		problem = "is empty"
	case len(local) > maxLocal:
		problem = "is longer than 64 bytes"
	case !isASCII(local):
		problem = "has a character outside ASCII"
	case strings.ContainsAny(local, `"\`):
		problem = "has a quotation mark or a backslash"
	case strings.ContainsAny(local, "()"):
		problem = "has a comment in brackets"
	case strings.Contains(local, " "):
		problem = "has a space"
	case strings.HasPrefix(local, "."), strings.HasSuffix(local, "."), strings.Contains(local, ".."):
		problem = "has a dot at its start, at its end, or next to another"
	default:
		return nil
	}
	return &AddressError{partLocal, problem, mendPlain}
}

// isPlain reports whether net/mail reads s as one address and returns it
// unchanged. net/mail alone is too kind: it unquotes "a@evil.com"@example.com.
func isPlain(s string) bool {
	got, err := mail.ParseAddress(s)
	return err == nil && got.Name == "" && got.Address == s
}

// cutLast splits s round its last @.
func cutLast(s string) (local, domain string) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
