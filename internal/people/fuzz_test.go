package people

import (
	"encoding/csv"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/usher-dev/usher/internal/access"
)

// hostile are lists made to break a reader of them.
var hostile = []string{
	"", "\n", "\r", "\"", "\"\"", "\"\"\"", ",", ";;;;", "\t", "@", "@,@", "<", ">", "<>", "<@>", "<<@>>", "a@b.c<", "a@b.c>,<", "sep=", "sep=;", "sep=;\n", "sep=,\n\"", "SEP=\t\na@b.c\tx",
	"\xEF\xBB\xBF", "\xFF\xFE", "\xFE\xFF", "\xFF\xFEa", "\xFF\xFEa\x00\x00\xD8", "\xFE\xFF\x00\x00", "a\x00@b.c", "\x80\x81\x8d\x90\x9d@b.c", "PK\x03\x04", "\xD0\xCF\x11\xE0",
	"email", "email\n\"", "email\n\"a@b.c", "email\n\"a@b.c\"\"", "email\n \"a@b.c\" ,", "email,email\na@b.c,d@e.f", "email;note\n\"a@b.c\";\"\n\n\n\"\n", "email,note\na@b.c,\"\"\"\n",
	"attributes.\n", "attributes.a,attributes.a,email\n1,2,a@b.c", "email,attributes.x\na@b.c,\xff", "=cmd|' /C calc'!A0,email\n=1+1,a@b.c", "email,groups\na@b.c,1;2|3 4", "email\n" + strings.Repeat(",", 2000),
	strings.Repeat("\"\n", 200), strings.Repeat("\"\"", 9000), "email\n" + strings.Repeat("\"a\n", 300), "email,note\na@b.c,\"" + strings.Repeat("\"\"", 9000) + "\"", strings.Repeat("<", 3000), strings.Repeat("<>", 3000), strings.Repeat("a@b.c,", 300),
	"Doe, Jane <jane@example.com>, bob@example.com", "mailto:a@b.c", "a@b.c\u2028d@e.f", "\u0130@example.com", "a@\u212Aelvin.example",
}

func FuzzRead(f *testing.F) {
	for _, text := range hostile {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Read(text)
		if err != nil {
			if unreadable := (*Unreadable)(nil); !errors.As(err, &unreadable) {
				t.Fatalf("the error %v is no *Unreadable", err)
			}
			return
		}
		last := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
		seen := map[access.Address]bool{}
		for _, p := range list.People {
			if p.Address.IsZero() || seen[p.Address] || p.Line < 1 || p.Line > last {
				t.Fatalf("the person of line %d of %d is none, or there twice", p.Line, last)
			}
			seen[p.Address] = true
			for _, said := range append([]string{p.Note}, values(p.Attributes)...) {
				if !utf8.ValidString(said) || strings.ContainsRune(said, 0) {
					t.Fatalf("%q cannot be stored as text", said)
				}
			}
		}
		for _, fault := range list.Faults {
			if fault.Line < 1 || fault.Line > last || fault.Detail == "" {
				t.Fatalf("the fault %q is of no line of %d", fault, last)
			}
		}
		for _, d := range list.Doubles {
			if d.First > d.Line || d.First < 1 {
				t.Fatalf("line %d is a double of line %d", d.Line, d.First)
			}
		}
	})
}

func values(m map[string]string) (all []string) {
	for name, value := range m {
		all = append(all, name, value)
	}
	return all
}

// FuzzScanner compares with encoding/csv wherever that takes a text.
func FuzzScanner(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxCell/2 || strings.ContainsAny(text, "\r\x00") || strings.Count(text, ",") > maxCells/2 || strings.Count(text, "\n") > maxCellLines {
			return
		}
		reader := csv.NewReader(strings.NewReader(text))
		reader.FieldsPerRecord = -1
		want, err := reader.ReadAll()
		if err != nil {
			return
		}
		var got [][]string
		for s := (&scanner{text: text, separator: ',', line: 1}); s.next(); {
			if s.problem != "" {
				t.Fatalf("line %d of %q %s", s.start, text, s.problem)
			}
			if !reflect.DeepEqual(s.cells, []string{""}) || strings.HasPrefix(text, `""`) { // encoding/csv passes over blank lines
				got = append(got, s.cells)
			}
		}
		if !strings.Contains(text, `""`) && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %q, and to encoding/csv %q", text, got, want)
		}
	})
}
