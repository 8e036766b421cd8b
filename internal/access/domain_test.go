package access_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/access"
	"golang.org/x/net/idna"
)

func TestDomainRule(t *testing.T) {
	tests := []struct {
		name                  string
		internal, allow, deny []string
		email                 string
		want                  access.Reason
	}{
		{name: "nothing set", email: "a@acme.com", want: access.ReasonExternal},
		{name: "the own domain", internal: []string{"acme.com"}, email: "a@acme.com", want: access.ReasonInternal},
		{name: "the own domain in capitals", internal: []string{"acme.com"}, email: "a@ACME.Com", want: access.ReasonInternal},
		{name: "the entry in capitals and with spaces", internal: []string{" Acme.COM "}, email: "a@acme.com", want: access.ReasonInternal},
		{name: "a subdomain is not the domain", internal: []string{"acme.com"}, email: "a@mail.acme.com", want: access.ReasonExternal},
		{name: "a star takes a subdomain", internal: []string{"*.acme.com"}, email: "a@mail.acme.com", want: access.ReasonInternal},
		{name: "a star takes a deep subdomain", internal: []string{"*.acme.com"}, email: "a@a.b.c.acme.com", want: access.ReasonInternal},
		{name: "a star does not take the domain itself", internal: []string{"*.acme.com"}, email: "a@acme.com", want: access.ReasonExternal},
		{name: "both entries take both", internal: []string{"acme.com", "*.acme.com"}, email: "a@acme.com", want: access.ReasonInternal},
		{name: "a suffix is not a subdomain", internal: []string{"acme.com", "*.acme.com"}, email: "a@evil-acme.com", want: access.ReasonExternal},
		{name: "a prefix is not the domain", internal: []string{"acme.com", "*.acme.com"}, email: "a@acme.com.evil.com", want: access.ReasonExternal},
		{name: "Unicode entry, punycode address", internal: []string{"bücher.example"}, email: "a@xn--bcher-kva.example", want: access.ReasonInternal},
		{name: "punycode entry, Unicode address", internal: []string{"XN--bcher-kva.example"}, email: "a@BÜCHER.example", want: access.ReasonInternal},
		{name: "a star before a Unicode entry", internal: []string{"*.bücher.example"}, email: "a@x.xn--bcher-kva.example", want: access.ReasonInternal},
		{name: "denied", deny: []string{"spam.example"}, email: "a@spam.example", want: access.ReasonDenied},
		{name: "a whole top-level domain denied", deny: []string{"*.example"}, email: "a@spam.example", want: access.ReasonDenied},
		{name: "allowed", allow: []string{"good.example"}, email: "a@good.example", want: access.ReasonExternal},
		{name: "not allowed", allow: []string{"good.example"}, email: "a@other.example", want: access.ReasonNotAllowed},
		{name: "own before denied and allowed", internal: []string{"acme.com"}, allow: []string{"acme.com"}, deny: []string{"acme.com"}, email: "a@acme.com", want: access.ReasonInternal},
		{name: "denied before allowed", allow: []string{"*.acme.com"}, deny: []string{"x.acme.com"}, email: "a@x.acme.com", want: access.ReasonDenied},
		{name: "the same entry twice", internal: []string{"acme.com", "acme.com"}, email: "a@acme.com", want: access.ReasonInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := access.NewPolicy(access.PolicyConfig{Internal: tt.internal, Allow: tt.allow, Deny: tt.deny})
			if err != nil {
				t.Fatal(err)
			}
			if d := p.Decide(access.Event{Email: tt.email}); d.Reason != tt.want {
				t.Errorf("Decide(%q): %s, want %s", tt.email, d.Reason, tt.want)
			}
		})
	}
}

func TestDomainEntriesThatAreNone(t *testing.T) {
	tests := []struct {
		name, entry, wantProblem, wantMend string
	}{
		{name: "blank", entry: " ", wantProblem: "blank", wantMend: "example.com"},
		{name: "with an at sign", entry: "@acme.com", wantProblem: "@", wantMend: "write acme.com"},
		{name: "an e-mail address", entry: "jane@acme.com", wantProblem: "e-mail", wantMend: "write acme.com"},
		{name: "a web address", entry: "https://acme.com:8443/login?x=1", wantProblem: "web address", wantMend: "write acme.com"},
		{name: "one label", entry: "acme", wantProblem: "no dot", wantMend: "example.com"},
		{name: "a star without a dot", entry: "*acme.com", wantProblem: "star", wantMend: "write *.acme.com"},
		{name: "a star in the middle", entry: "mail.*.com", wantProblem: "star", wantMend: "example.com"},
		{name: "a star alone", entry: "*", wantProblem: "star", wantMend: "example.com"},
		{name: "a star and a dot alone", entry: "*.", wantProblem: "dot", wantMend: "example.com"},
		{name: "a dot in front", entry: ".acme.com", wantProblem: "starts with a dot", wantMend: "write *.acme.com"},
		{name: "a dot behind", entry: "acme.com.", wantProblem: "ends with a dot", wantMend: "write acme.com"},
		{name: "a path", entry: "acme.com/login", wantProblem: "character", wantMend: "write acme.com"},
		{name: "a look-alike", entry: "\u212aayak.com", wantProblem: "looks like", wantMend: "example.com"},
		{name: "too long", entry: strings.Repeat("a.", 130) + "com", wantProblem: "longer than 253", wantMend: "example.com"},
		{name: "an IP address", entry: "192.0.2.1", wantProblem: "number", wantMend: "example.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := access.NewPolicy(access.PolicyConfig{Deny: []string{"fine.example", tt.entry}})
			var ce *access.ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("%q: %v, want a *ConfigError", tt.entry, err)
			}
			if ce.Path != "domains.deny[1]" || !strings.Contains(ce.Problem, tt.wantProblem) || !strings.HasSuffix(ce.Mend, tt.wantMend) {
				t.Errorf("%q: %v, want … %q … %q", tt.entry, ce, tt.wantProblem, tt.wantMend)
			}
			if strings.Contains(err.Error(), "jane") {
				t.Errorf("the mistake quotes an address: %v", err)
			}
		})
	}
}

// under is the domain rule written a second time, label by label from the
// right, to grade the first. Entry and domain are lower-case ASCII.
func under(entry, domain string) bool {
	e, d := strings.Split(entry, "."), strings.Split(domain, ".")
	slices.Reverse(e)
	slices.Reverse(d)
	for i, label := range e {
		if label == "*" {
			return len(d) > i
		}
		if i >= len(d) || d[i] != label {
			return false
		}
	}
	return len(d) == len(e)
}

func FuzzDomainRule(f *testing.F) {
	entries := []string{"acme.com", "*.acme.com", "ACME.com", "bücher.example", "*.xn--bcher-kva.example", "*.com", "kayak.com", "אבג.com", "@acme.com", "*acme.com", ""}
	domains := []string{
		"acme.com", "mail.acme.com", "evil-acme.com", "acme.com.evil.com", "acme.com.", "a.b.acme.com", "ACME.COM", "com", "x.com",
		"xn--bcher-kva.example", "XN--BCHER-KVA.example", "BÜCHER.example", "x.bu\u0308cher.example", "\u212aayak.com", "KAYAK.com",
		"ａｃｍｅ.com", "acme\u3002com", "ac\u00adme.com", "acme.com\x00", "אבג.com", "x.אבג.com", "\u202eacme.com", "*.acme.com",
	}
	for _, e := range entries {
		for _, d := range domains {
			f.Add(e, d)
		}
	}
	f.Fuzz(func(t *testing.T, entry, domain string) {
		internal, err := access.NewPolicy(access.PolicyConfig{Internal: []string{entry}})
		if err != nil {
			return
		}
		d := internal.Decide(access.Event{Email: "jane@" + domain})
		if d.Reason == access.ReasonMalformed {
			return
		}
		want := under(canonical(t, entry), d.Address.Domain())
		if got := d.Reason == access.ReasonInternal; got != want || got != (d.Outcome == access.Skip) {
			t.Fatalf("internal %q, domain %q: %s for %s, want a match: %t", entry, domain, d.Outcome, d.Reason, want)
		}
		allow, _ := access.NewPolicy(access.PolicyConfig{Allow: []string{entry}})
		deny, _ := access.NewPolicy(access.PolicyConfig{Deny: []string{entry}})
		for _, same := range variants(d.Address.Domain()) {
			e := access.Event{Email: "jane@" + same}
			if got := internal.Decide(e).Outcome != access.Invite; got != want {
				t.Errorf("internal %q: %q differs from %q", entry, same, domain)
			}
			if got := deny.Decide(e).Outcome != access.Invite; got != want {
				t.Errorf("deny %q: %q differs from %q", entry, same, domain)
			}
			if got := allow.Decide(e).Outcome == access.Invite; got != want {
				t.Errorf("allow %q: %q differs from %q", entry, same, domain)
			}
		}
	})
}

// canonical brings a valid entry to ASCII with x/net/idna alone.
func canonical(t *testing.T, entry string) string {
	t.Helper()
	entry = strings.Trim(entry, " \t\r\n\v\f")
	rest, wild := strings.CutPrefix(entry, "*.")
	ascii, err := idna.New(idna.MapForLookup(), idna.CheckHyphens(false)).ToASCII(rest)
	if err != nil {
		t.Fatalf("NewPolicy accepts %q, idna says %v", entry, err)
	}
	if wild {
		return "*." + ascii
	}
	return ascii
}

// variants are other ways to write an ASCII domain.
func variants(domain string) []string {
	all := []string{domain, strings.ToUpper(domain)}
	if unicode, err := idna.Lookup.ToUnicode(domain); err == nil {
		all = append(all, unicode)
	}
	return all
}
