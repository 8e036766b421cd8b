package access

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// The limits of RFC 1035, section 2.3.4, in bytes.
const (
	maxDomain = 253
	maxLabel  = 63
)

// lookup is UTS #46 for looking a name up: case and width are mapped, and the
// joiner, hyphen and bidi rules hold.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false))

const mendDomain = "write the whole domain, like example.com"

// parseDomain returns s in lower-case ASCII, with non-ASCII labels in their
// xn-- form. The error is an *AddressError.
func parseDomain(s string) (string, error) {
	if problem := checkDots(s); problem != "" {
		return "", &AddressError{partDomain, problem, mendDomain}
	}
	domain, problem := toASCII(s)
	if problem == "" {
		problem = checkLabels(domain)
	}
	if problem != "" {
		return "", &AddressError{partDomain, problem, mendDomain}
	}
	return domain, nil
}

// checkDots finds what can be said before the labels are looked at.
func checkDots(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxDomain:
		return "is longer than 253 bytes"
	case strings.HasPrefix(s, "["):
		return "is an IP address"
	case strings.Contains(s, " "):
		return "has a space"
	case strings.HasPrefix(s, "."):
		return "starts with a dot"
	case strings.HasSuffix(s, "."):
		return "ends with a dot"
	case strings.Contains(s, ".."):
		return "has two dots in a row"
	case !strings.Contains(s, "."):
		return "has no dot"
	}
	return ""
}

// toASCII maps s label by label. IDNA is asked only where there is something
// for it to do: its hyphen rule would refuse old plain names like ab--cd.com.
func toASCII(s string) (domain, problem string) {
	lower := strings.ToLower(s)
	if isASCII(s) && !strings.HasPrefix(lower, "xn--") && !strings.Contains(lower, ".xn--") {
		return lower, ""
	}
	domain, err := lookup.ToASCII(s)
	if err != nil || !isStable(domain) {
		return "", "is not a valid international name"
	}
	if hasLookAlike(s, domain) {
		return "", "has a character that only looks like an ASCII one"
	}
	return domain, ""
}

// isStable reports whether IDNA takes its own answer back unchanged. It does not
// always: x/net v0.62.0 looks at the direction of U+2135 ALEF SYMBOL before it
// maps it to the Hebrew letter, and then refuses the xn-- form it made.
func isStable(ascii string) bool {
	again, err := lookup.ToASCII(ascii)
	return err == nil && again == ascii
}

// hasLookAlike reports whether mapping made plain ASCII of a label that was
// none, or a label separator of a character that is none (U+3002).
func hasLookAlike(before, after string) bool {
	from, to := strings.Split(before, "."), strings.Split(after, ".")
	if len(from) != len(to) {
		return true
	}
	for i := range from {
		if !isASCII(from[i]) && !strings.HasPrefix(to[i], "xn--") {
			return true
		}
	}
	return false
}

// checkLabels holds a lower-case ASCII domain against the host name rules of
// RFC 1123, section 2.1: letters, digits and inner hyphens, and a last label
// that cannot be taken for the end of an IP address.
func checkLabels(domain string) string {
	if len(domain) > maxDomain {
		return "is longer than 253 bytes"
	}
	label := ""
	for label = range strings.SplitSeq(domain, ".") {
		switch {
		case label == "": // xn-- with nothing behind it
			return "has an empty part"
		case len(label) > maxLabel:
			return "has a part longer than 63 bytes"
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			return "has a character that no domain has"
		case label[0] == '-', label[len(label)-1] == '-':
			return "has a part that starts or ends with a hyphen"
		}
	}
	if strings.Trim(label, "0123456789") == "" {
		return "ends in a number"
	}
	return ""
}

// domainList is one of the lists internal, allow and deny.
type domainList struct {
	exact map[string]bool // acme.com
	under map[string]bool // acme.com for "*.acme.com": all below it, but not itself
}

func (l domainList) empty() bool { return len(l.exact)+len(l.under) == 0 }

// has compares whole labels, never a textual suffix, which would take
// evil-acme.com for acme.com. Domain is as [Address.Domain] returns it.
func (l domainList) has(domain string) bool {
	if l.exact[domain] {
		return true
	}
	for {
		_, parent, ok := strings.Cut(domain, ".")
		if !ok {
			return false
		}
		if l.under[parent] {
			return true
		}
		domain = parent
	}
}

// add takes one entry of the configuration: a domain, or "*." and a domain or
// top-level domain.
func (l domainList) add(entry string) error {
	set, name, filler := l.exact, entry, ""
	if parent, wild := strings.CutPrefix(entry, "*."); wild {
		set, name, filler = l.under, "x."+parent, "x." // so that *.edu has its two labels
	}
	domain, err := parseDomain(name)
	if err != nil {
		return err
	}
	set[strings.TrimPrefix(domain, filler)] = true
	return nil
}

// newDomainList returns every mistake in entries, each a *ConfigError below path.
func newDomainList(path string, entries []string) (domainList, []error) {
	l := domainList{exact: map[string]bool{}, under: map[string]bool{}}
	var mistakes []error
	for i, entry := range entries {
		entry = strings.Trim(entry, asciiSpace)
		if err := l.add(entry); err != nil {
			mistakes = append(mistakes, entryError(fmt.Sprintf("%s[%d]", path, i), entry, err))
		}
	}
	return l, mistakes
}

// entryError explains a list entry by the mistake people make, and shows the
// entry as it should be where that can be guessed.
func entryError(path, entry string, cause error) *ConfigError {
	e := &ConfigError{Path: path, Problem: cause.Error(), Mend: mendDomain}
	switch {
	case entry == "":
		e.Problem = "the entry is blank"
	case strings.Contains(entry, "://"):
		e.Problem = "this is a web address, not a domain"
	case strings.HasPrefix(entry, "@"):
		e.Problem = "a domain is written without the @ sign"
	case strings.Contains(entry, "@"):
		e.Problem = "this is an e-mail address, not a domain"
	case strings.Contains(strings.TrimPrefix(entry, "*."), "*"):
		e.Problem = "a star stands only at the start, followed by a dot"
	}
	if mended := mendEntry(entry); mended != "" {
		e.Mend = "write " + mended
	}
	return e
}

// mendEntry guesses the entry that was meant, or returns "".
func mendEntry(entry string) string {
	if _, after, ok := strings.Cut(entry, "://"); ok {
		entry = after
	}
	entry, _, _ = strings.Cut(entry, "/")
	entry, _, _ = strings.Cut(entry, ":")
	entry = entry[strings.LastIndexByte(entry, '@')+1:]
	domain, err := parseDomain(strings.Trim(entry, "*."))
	switch {
	case err != nil:
		return ""
	case strings.HasPrefix(entry, "*"), strings.HasPrefix(entry, "."):
		return "*." + domain
	}
	return domain
}
