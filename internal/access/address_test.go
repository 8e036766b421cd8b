package access_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/access"
)

func mustParse(t testing.TB, s string) access.Address {
	t.Helper()
	a, err := access.ParseAddress(s)
	if err != nil {
		t.Fatalf("ParseAddress(%q): %v", s, err)
	}
	return a
}

func TestParseAddressAccepts(t *testing.T) {
	long := strings.Repeat("l", 64)
	tests := []struct {
		name, in, want, domain string
	}{
		{name: "a plain address", in: "jane@example.com", want: "jane@example.com", domain: "example.com"},
		{name: "white space around it", in: " \t\r\njane@example.com\v\f ", want: "jane@example.com", domain: "example.com"},
		{name: "upper case on both sides", in: "Jane.DOE@Example.COM", want: "jane.doe@example.com", domain: "example.com"},
		{name: "a tag stays", in: "jane+usher@example.com", want: "jane+usher@example.com", domain: "example.com"},
		{name: "every character of an atom", in: "!#$%&'*+-/=?^_`{|}~@example.com", want: "!#$%&'*+-/=?^_`{|}~@example.com", domain: "example.com"},
		{name: "a local part of 64 bytes", in: long + "@example.com", want: long + "@example.com", domain: "example.com"},
		{name: "a subdomain of digits", in: "a@1.2.example.com", want: "a@1.2.example.com", domain: "1.2.example.com"},
		{name: "hyphens in the third and fourth place", in: "a@ab--cd.com", want: "a@ab--cd.com", domain: "ab--cd.com"},
		{name: "a domain in Unicode", in: "a@bücher.example", want: "a@xn--bcher-kva.example", domain: "xn--bcher-kva.example"},
		{name: "a domain in upper-case Unicode", in: "a@BÜCHER.example", want: "a@xn--bcher-kva.example", domain: "xn--bcher-kva.example"},
		{name: "a domain in decomposed Unicode", in: "a@bu\u0308cher.example", want: "a@xn--bcher-kva.example", domain: "xn--bcher-kva.example"},
		{name: "a domain in upper-case punycode", in: "a@XN--BCHER-KVA.example", want: "a@xn--bcher-kva.example", domain: "xn--bcher-kva.example"},
		{name: "sharp s is not ss", in: "a@straße.example", want: "a@xn--strae-oqa.example", domain: "xn--strae-oqa.example"},
		{name: "a right-to-left domain", in: "a@אבג.com", want: "a@xn--4dbcd.com", domain: "xn--4dbcd.com"},
		{name: "a Cyrillic look-alike is another domain", in: "a@\u0430cme.com", want: "a@xn--cme-5cd.com", domain: "xn--cme-5cd.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mustParse(t, tt.in)
			if got.Full() != tt.want || got.Domain() != tt.domain {
				t.Errorf("ParseAddress(%q) = %q at %q, want %q at %q", tt.in, got.Full(), got.Domain(), tt.want, tt.domain)
			}
			if got.IsZero() || got != mustParse(t, tt.want) {
				t.Errorf("ParseAddress(%q) is not the same address as %q", tt.in, tt.want)
			}
		})
	}
}

func TestParseAddressRefuses(t *testing.T) {
	tests := []struct {
		name, in, wantPart, wantProblem string
	}{
		{name: "nothing", in: "", wantPart: "address", wantProblem: "is empty"},
		{name: "only white space", in: " \t\n", wantPart: "address", wantProblem: "is empty"},
		{name: "no-break space round it is not trimmed", in: "\u00a0jane@example.com", wantPart: "local part", wantProblem: "outside ASCII"},
		{name: "too long", in: "a@" + strings.Repeat("b.", 130) + "com", wantPart: "address", wantProblem: "longer than 254"},
		{name: "too long once in ASCII", in: strings.Repeat("a", 60) + "@" + strings.Repeat("ü.", 40) + "com", wantPart: "domain", wantProblem: "longer than 253"},
		{name: "too long once both parts meet", in: strings.Repeat("a", 64) + "@" + strings.Repeat("ü.", 24) + "com", wantPart: "address", wantProblem: "longer than 254"},
		{name: "invalid UTF-8", in: "jane\xff@example.com", wantPart: "address", wantProblem: "UTF-8"},
		{name: "a NUL byte", in: "jane\x00@example.com", wantPart: "address", wantProblem: "control"},
		{name: "a NUL byte in the domain", in: "jane@acme.com\x00.evil.com", wantPart: "address", wantProblem: "control"},
		{name: "a header smuggled in", in: "jane@example.com\r\nBcc: all@example.com", wantPart: "address", wantProblem: "control"},
		{name: "a C1 control character", in: "jane@exam\u0085ple.com", wantPart: "address", wantProblem: "control"},
		{name: "mailto", in: "MailTo:jane@example.com", wantPart: "address", wantProblem: "mailto"},
		{name: "a display name", in: "Jane <jane@example.com>", wantPart: "address", wantProblem: "display name"},
		{name: "no at sign", in: "jane.example.com", wantPart: "address", wantProblem: "no @"},
		{name: "a fullwidth at sign", in: "jane＠example.com", wantPart: "address", wantProblem: "look-alike"},
		{name: "two addresses with a comma", in: "a@x.com,b@y.com", wantPart: "address", wantProblem: "more than one address"},
		{name: "two addresses with a semicolon", in: "a@x.com; b@y.com", wantPart: "address", wantProblem: "more than one address"},
		{name: "two at signs", in: "a@x.com@y.com", wantPart: "address", wantProblem: "more than one @"},
		{name: "a group", in: "team:jane@example.com;", wantPart: "domain", wantProblem: "character"},
		{name: "a group with its colon in front", in: "team:jane@example.com", wantPart: "local part", wantProblem: "character"},
		{name: "an empty local part", in: "@example.com", wantPart: "local part", wantProblem: "is empty"},
		{name: "a local part of 65 bytes", in: strings.Repeat("l", 65) + "@example.com", wantPart: "local part", wantProblem: "64"},
		{name: "a local part outside ASCII", in: "jané@example.com", wantPart: "local part", wantProblem: "ASCII"},
		{name: "a kelvin sign before the at", in: "\u212aay@example.com", wantPart: "local part", wantProblem: "ASCII"},
		{name: "a right-to-left override", in: "\u202ejane@example.com", wantPart: "local part", wantProblem: "ASCII"},
		{name: "a quoted address inside", in: `"a@evil.com"@example.com`, wantPart: "local part", wantProblem: "quotation"},
		{name: "plain quotes", in: `"jane"@example.com`, wantPart: "local part", wantProblem: "quotation"},
		{name: "a backslash", in: `ja\ne@example.com`, wantPart: "local part", wantProblem: "backslash"},
		{name: "a comment", in: "jane(work)@example.com", wantPart: "local part", wantProblem: "comment"},
		{name: "a comment in the domain", in: "jane@example.com(work)", wantPart: "domain", wantProblem: "character"},
		{name: "a space", in: "jane doe@example.com", wantPart: "local part", wantProblem: "space"},
		{name: "two dots before the at", in: "jane..doe@example.com", wantPart: "local part", wantProblem: "dot"},
		{name: "a dot right before the at", in: "jane.@example.com", wantPart: "local part", wantProblem: "dot"},
		{name: "a comma before the at", in: "jane,doe@example.com", wantPart: "local part", wantProblem: "character"},
		{name: "an empty domain", in: "jane@", wantPart: "domain", wantProblem: "is empty"},
		{name: "no dot", in: "jane@localhost", wantPart: "domain", wantProblem: "no dot"},
		{name: "an IP literal", in: "jane@[192.0.2.1]", wantPart: "domain", wantProblem: "IP"},
		{name: "a bare IP address", in: "jane@192.0.2.1", wantPart: "domain", wantProblem: "number"},
		{name: "a trailing dot", in: "jane@example.com.", wantPart: "domain", wantProblem: "ends with a dot"},
		{name: "a leading dot", in: "jane@.example.com", wantPart: "domain", wantProblem: "starts with a dot"},
		{name: "two dots", in: "jane@example..com", wantPart: "domain", wantProblem: "two dots"},
		{name: "a space in the domain", in: "jane@exam ple.com", wantPart: "domain", wantProblem: "space"},
		{name: "an underscore", in: "jane@ex_ample.com", wantPart: "domain", wantProblem: "character"},
		{name: "a hyphen at the start of a label", in: "jane@-example.com", wantPart: "domain", wantProblem: "hyphen"},
		{name: "a hyphen at the end of a label", in: "jane@example-.com", wantPart: "domain", wantProblem: "hyphen"},
		{name: "a label of 64 bytes", in: "jane@" + strings.Repeat("l", 64) + ".com", wantPart: "domain", wantProblem: "63"},
		{name: "a port", in: "jane@example.com:25", wantPart: "domain", wantProblem: "character"},
		{name: "a kelvin sign for a k", in: "jane@\u212aayak.com", wantPart: "domain", wantProblem: "looks like"},
		{name: "a long s for an s", in: "jane@\u017ftripe.com", wantPart: "domain", wantProblem: "looks like"},
		{name: "fullwidth letters", in: "jane@ａｃｍｅ.com", wantPart: "domain", wantProblem: "looks like"},
		{name: "a soft hyphen that vanishes", in: "jane@ac\u00adme.com", wantPart: "domain", wantProblem: "looks like"},
		{name: "an ideographic dot", in: "jane@mail.acme\u3002com", wantPart: "domain", wantProblem: "looks like"},
		{name: "an ideographic dot behind a label that stays non-ASCII", in: "jane@bücher\u3002acme.com", wantPart: "domain", wantProblem: "looks like"},
		{name: "both directions in one label", in: "jane@אa.com", wantPart: "domain", wantProblem: "international"},
		{name: "an alef symbol, whose xn-- form would be refused", in: "jane@\u2135A.A", wantPart: "domain", wantProblem: "international"},
		{name: "a right-to-left override in the domain", in: "jane@acme\u202e.com", wantPart: "domain", wantProblem: "international"},
		{name: "a zero-width joiner out of place", in: "jane@a\u200dcme.com", wantPart: "domain", wantProblem: "international"},
		{name: "punycode of plain ASCII", in: "jane@xn--acme-.com", wantPart: "domain", wantProblem: "international"},
		{name: "punycode of nothing", in: "jane@xn--.com", wantPart: "domain", wantProblem: "empty part"},
		{name: "punycode that does not decode", in: "jane@xn--a.com", wantPart: "domain", wantProblem: "international"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := access.ParseAddress(tt.in)
			var ae *access.AddressError
			if !errors.As(err, &ae) {
				t.Fatalf("ParseAddress(%q) = %q, %v, want an *AddressError", tt.in, got.Full(), err)
			}
			if ae.Part != tt.wantPart || !strings.Contains(ae.Problem, tt.wantProblem) {
				t.Errorf("ParseAddress(%q): %q %q, want %q … %q …", tt.in, ae.Part, ae.Problem, tt.wantPart, tt.wantProblem)
			}
			if ae.Mend == "" {
				t.Error("the error says nothing about how to mend it")
			}
			if !got.IsZero() {
				t.Errorf("ParseAddress(%q) gave %q beside its error", tt.in, got.Full())
			}
			if strings.Contains(err.Error(), "jane") || strings.Contains(err.Error(), "evil") {
				t.Errorf("the error quotes the address: %v", err)
			}
		})
	}
}

func TestZeroAddress(t *testing.T) {
	var a access.Address
	if !a.IsZero() || a.Full() != "" || a.Domain() != "" || a.String() != "" {
		t.Errorf("the zero Address is %q", a.Full())
	}
	if text, err := json.Marshal(a); string(text) != `""` || err != nil {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

func TestAddressCannotBeReadBack(t *testing.T) {
	var a access.Address
	if err := json.Unmarshal([]byte(`"j…@example.com"`), &a); err == nil {
		t.Errorf("a masked address became %q", a.Full())
	}
}

// TestAddressMasksItself prints an address every way that logs, errors and
// answers do, also where fmt cannot call its methods.
func TestAddressMasksItself(t *testing.T) {
	a := mustParse(t, "jane.doe@example.com")
	type exported struct {
		Name string
		To   access.Address
		Next *access.Address
		Many []access.Address
		ByTo map[access.Address]int
	}
	type unexported struct {
		to   access.Address
		many []access.Address
		next *access.Address
	}
	values := map[string]any{
		"the address":          a,
		"a pointer":            &a,
		"a slice":              []access.Address{a},
		"exported fields":      exported{To: a, Next: &a, Many: []access.Address{a}, ByTo: map[access.Address]int{a: 1}},
		"unexported fields":    unexported{to: a, many: []access.Address{a}, next: &a},
		"a pointer to a field": &unexported{to: a},
		"a decision":           access.Decision{Address: a},
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10.3v"} {
				assertMasked(t, verb, fmt.Sprintf(verb, v))
			}
			assertMasked(t, "an error", fmt.Errorf("invite %v: refused", v).Error())
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("invited", "to", v)
			slog.New(slog.NewJSONHandler(&log, nil)).Info("invited", "to", v)
			assertMasked(t, "slog", log.String())
		})
	}
	for _, v := range []any{a, &a, exported{To: a, Next: &a, ByTo: map[access.Address]int{a: 1}}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		assertMasked(t, "json", string(text))
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, a); got != "j…@example.com" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if got := fmt.Sprintf("%+v", exported{To: a}); !strings.Contains(got, "To:j…@example.com") {
		t.Errorf("as an exported field it prints %q", got)
	}
}

func TestEventPrintsNothingPersonal(t *testing.T) {
	e := access.Event{Source: "stripe", Type: "checkout", ID: "evt_1", Email: "jane.doe@example.com", Name: "Jane Doe"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got, want := fmt.Sprintf(verb, e), "event evt_1 of stripe (checkout)"; got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("decided", "event", e)
	assertMasked(t, "slog", log.String())
	if !strings.Contains(log.String(), "event.id=evt_1") {
		t.Errorf("the log does not name the event: %s", log.String())
	}
}

func assertMasked(t *testing.T, how, printed string) {
	t.Helper()
	hex := fmt.Sprintf("%x", "jane")
	if strings.Contains(printed, "jane") || strings.Contains(printed, "doe") || strings.Contains(printed, hex) {
		t.Errorf("%s reveals the address: %s", how, printed)
	}
}

func TestMask(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{name: "nothing", in: "", want: ""},
		{name: "a plain address", in: "jane@example.com", want: "j…@example.com"},
		{name: "one character before the at", in: "j@example.com", want: "…@example.com"},
		{name: "upper case", in: "Jane@Example.com", want: "j…@example.com"},
		{name: "no at sign", in: "jane.doe", want: "…"},
		{name: "a domain that is none", in: "jane@doe", want: "j…@…"},
		{name: "more behind the domain", in: "jane@x.com, jane.doe", want: "j…@…"},
		{name: "a display name", in: "jane.doe <jane@example.com>", want: "j…@…"},
		{name: "two at signs", in: "jane@doe@example.com", want: "j…@example.com"},
		{name: "a local part outside ASCII", in: "édith@example.com", want: "…@example.com"},
		{name: "a control character in front", in: "\x1b[31mjane@example.com", want: "…@example.com"},
		{name: "an international domain", in: "jane@bücher.example", want: "j…@xn--bcher-kva.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := access.Mask(tt.in); got != tt.want {
				t.Errorf("Mask(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

// hostile are the addresses that have got through somebody's parser.
var hostile = []string{
	"", "@", "a@b.co", "Jane.DOE+tag@Example.COM",
	"\u212a@\u212aayak.com", "jane@\u212aayak.com", "jane@b\u00fc\u212a.com", "jane@\u017ftripe.com",
	`"a@evil.com"@example.com`, `"a\"b"@example.com`, `a\@b@example.com`, `""@example.com`,
	"jane(a)@example.com", "jane@(a)example.com", "jane@example.com(a@evil.com)",
	"Jane <jane@example.com>", "<jane@example.com>", "team:jane@example.com;", "team:;",
	"jane＠example.com", "jane﹫example.com", "a＠b@example.com", "a@x.com,b@y.com", "a@x.com b@y.com", "mailto:jane@example.com",
	"jane\x00@example.com", "jane@acme.com\x00.evil.com", "jane@example.com\r\nBcc: x@y.z", "jane\xff@example.com",
	"jane@example.com.", "jane@.example.com", "jane@example..com", ".jane@example.com", "jane.@example.com",
	"jane@" + "l123456789012345678901234567890123456789012345678901234567890123.com",
	"jane@xn--bcher-kva.example", "jane@XN--80AK6AA92E.com", "jane@xn--a.com", "jane@xn--.com", "jane@xn--xn---epa.com", "jane@xn--acme-.com",
	"jane@אבג.com", "jane@1אבג.com", "jane@\u202eacme.com", "\u202ejane@acme.com", "jane@ac\u00adme.com", "jane@a\u200dcme.com", "jane@acme\u3002com", "jane@bücher\u3002acme.com", "jane@\u2135A.A",
	"jane@ａｃｍｅ.com", "jane@[192.0.2.1]", "jane@[IPv6:::1]", "jane@192.0.2.1", "jane@0x7f.1", "jane@ab--cd.com", "jane@-acme.com", "jane@ex_ample.com",
	"=?utf-8?q?jane?=@example.com", "jane%evil.com@example.com", "jane!evil.com@example.com", "jane@☃.example", "jane@ẞ.example", "jane@faß.de",
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		masked := access.Mask(s)
		assertHidesLocal(t, s, masked)
		a, err := access.ParseAddress(s)
		if err != nil {
			var ae *access.AddressError
			if !errors.As(err, &ae) || !a.IsZero() {
				t.Fatalf("ParseAddress(%q) = %q, %#v", s, a.Full(), err)
			}
			return
		}
		full := a.Full()
		for i := range len(full) {
			if full[i] <= ' ' || full[i] >= 0x7f || 'A' <= full[i] && full[i] <= 'Z' {
				t.Fatalf("%q gave %q, which is not lower-case printable ASCII", s, full)
			}
		}
		if m, err := mail.ParseAddress(full); err != nil || m.Address != full || m.Name != "" {
			t.Fatalf("net/mail reads %q as %v, %v", full, m, err)
		}
		if again, err := access.ParseAddress(full); err != nil || again != a {
			t.Fatalf("%q read again is %q, %v", full, again.Full(), err)
		}
		if upper, err := access.ParseAddress(strings.ToUpper(full)); err != nil || upper != a {
			t.Fatalf("%q in upper case is %q, %v", full, upper.Full(), err)
		}
		if strings.Count(full, "@") != 1 || !strings.HasSuffix(full, "@"+a.Domain()) {
			t.Fatalf("%q is not a local part and %q", full, a.Domain())
		}
		if masked != a.String() {
			t.Fatalf("Mask gives %q, String %q", masked, a.String())
		}
	})
}

// assertHidesLocal looks for what stands before the last @ anywhere but in the
// domain, which may happen to hold the same letters.
func assertHidesLocal(t *testing.T, s, masked string) {
	t.Helper()
	local := strings.TrimLeft(s, " \t\r\n\v\f")
	if i := strings.LastIndexByte(local, '@'); i >= 0 {
		local = local[:i]
	}
	shown := masked
	if i := strings.IndexByte(masked[min(1, len(masked)):], '@'); i >= 0 {
		shown = masked[:i+1]
	}
	if len(local) > 3 && local != "…" && strings.Contains(shown, local) {
		t.Fatalf("Mask(%q) = %q reveals %q", s, masked, local)
	}
}
