package people_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/usher-dev/usher/internal/people"
)

// shown is a list as text, one row a line: what is wanted is read at a glance.
func shown(l people.List) (lines []string) {
	for _, p := range l.People {
		line := fmt.Sprintf("%d %s", p.Line, p.Address.Full())
		if len(p.Groups) > 0 {
			line += fmt.Sprint(" groups ", p.Groups)
		}
		if len(p.Attributes) > 0 {
			line += fmt.Sprint(" ", p.Attributes)
		}
		if p.Note != "" {
			line += fmt.Sprintf(" note %q", p.Note)
		}
		lines = append(lines, line)
	}
	for _, f := range l.Faults {
		lines = append(lines, "fault: "+f.String())
	}
	for _, d := range l.Doubles {
		lines = append(lines, fmt.Sprintf("double: line %d as %d, differs %t", d.Line, d.First, d.Differs))
	}
	for _, c := range l.Columns {
		if c.Means == "" {
			lines = append(lines, "left out: "+c.Name)
		}
	}
	for _, r := range l.Remarks {
		lines = append(lines, "remark: "+r)
	}
	return lines
}

func utf16Of(text string, order binary.AppendByteOrder) string {
	raw := order.AppendUint16(nil, 0xFEFF)
	for _, unit := range utf16.Encode([]rune(text)) {
		raw = order.AppendUint16(raw, unit)
	}
	return string(raw)
}

func TestRead(t *testing.T) {
	tests := []struct {
		name string
		text string
		want []string
	}{
		{name: "one address", text: "ada@example.com", want: []string{"1 ada@example.com"}},
		{name: "one a line, blank lines between", text: "ada@example.com\n\n  bob@example.com \n", want: []string{"1 ada@example.com", "3 bob@example.com"}},
		{name: "Windows line ends and a mark at the start", text: "\xEF\xBB\xBFemail\r\nada@example.com\r\n", want: []string{"2 ada@example.com"}},
		{name: "line ends of old Macintoshes", text: "email\rada@example.com\rbob@example.com", want: []string{"2 ada@example.com", "3 bob@example.com"}},
		{name: "as a mail program writes them", text: "Ada <ada@example.com>, \"Doe, Jane\" <jane@example.com>; bob@example.com\nLovelace, Ada <ada2@example.com>",
			want: []string{"1 ada@example.com", "1 jane@example.com", "1 bob@example.com", "2 ada2@example.com"}},
		{name: "an address before one in angle brackets is not lost", text: "bob@example.com, Jane <jane@example.com>", want: []string{"1 bob@example.com", "1 jane@example.com"}},
		{name: "an address as its own name is one", text: "jane@example.com <jane@example.com>", want: []string{"1 jane@example.com"}},
		{name: "a name before the address", text: "Jane Doe jane@example.com", want: []string{"1 jane@example.com"}},
		{name: "between spaces", text: "a@example.com b@example.com", want: []string{"1 a@example.com", "1 b@example.com"}},
		{name: "faults say the line, the part and the mend", text: "ada@example.com\njane.example.com\nbob@example\n@example.com\nJane <jane@example.com",
			want: []string{"1 ada@example.com", "fault: line 2: the address has no @ sign; give one plain address, like jane@example.com",
				"fault: line 3: the domain has no dot; write the whole domain, like example.com", "fault: line 4: the local part is empty; give one plain address, like jane@example.com",
				"fault: line 5: the address has angle brackets or a display name; give only what stands between < and >"}},
		{name: "a title above the addresses is a fault", text: "Our customers\nada@example.com", want: []string{"2 ada@example.com", "fault: line 1: the address has no @ sign; give one plain address, like jane@example.com"}},

		{name: "columns", text: "email,groups,note,attributes.plan\nada@example.com,1042 7|7,\"paid by bank, twice\",pro\nbob@example.com,,,\n",
			want: []string{`2 ada@example.com groups [7 1042] map[plan:pro] note "paid by bank, twice"`, "3 bob@example.com"}},
		{name: "columns as spreadsheets call them, in any order", text: "Name;E-Mail Address;Retool groups;Attributes.seat\nAda;Ada@Example.com;5;a1",
			want: []string{"2 ada@example.com groups [5] map[seat:a1]", "left out: Name"}},
		{name: "email counts before address", text: "Address,Email\n1 Main St,ada@example.com", want: []string{"2 ada@example.com", "left out: Address"}},
		{name: "address alone is the address", text: "address\nada@example.com", want: []string{"2 ada@example.com"}},
		{name: "tabs, as copied from a spreadsheet", text: "Mail\tNotes\nada@example.com\thello", want: []string{`2 ada@example.com note "hello"`}},
		{name: "without a header, the address is found", text: "Ada,ada@example.com,pro\nBob,bob@example.com,free", want: []string{"1 ada@example.com", "2 bob@example.com", "left out: 1", "left out: 3"}},
		{name: "the separator that Excel declares", text: "sep=;\nemail;note\nada@example.com;a,b,c,d", want: []string{`3 ada@example.com note "a,b,c,d"`}},
		{name: "a name and an address in one cell", text: "email,note\nAda <ada@example.com>,x", want: []string{`2 ada@example.com note "x"`}},
		{name: "two in one cell", text: "email,note\n\"a@example.com, b@example.com\",x", want: []string{"fault: line 2, column email: the address is more than one address; give each person a line"}},
		{name: "a note over two lines, and the lines behind it keep their numbers", text: "email,note\nada@example.com,\"one\ntwo \"\"2\"\"\"\nbob@example", want: []string{"2 ada@example.com note \"one\\ntwo \\\"2\\\"\"", "fault: line 4, column email: the domain has no dot; write the whole domain, like example.com"}},
		{name: "a quotation mark that is never closed costs its own row", text: "email,note\nada@example.com,\"oops\nbob@example.com,fine\n",
			want: []string{"3 bob@example.com note \"fine\"", `fault: line 2: has a quotation mark that is not closed; close it; inside a text in quotation marks, write each as ""`}},
		{name: "a text behind a quotation mark", text: "email,note\nada@example.com,\"a\"b\nbob@example.com,5\" screen",
			want: []string{"3 bob@example.com note \"5\\\" screen\"", `fault: line 2: has a text behind a closing quotation mark; inside a text in quotation marks, write each as ""`}},
		{name: "more cells than columns", text: "email,note\nada@example.com,a,b\nbob@example.com,a,,", want: []string{"3 bob@example.com note \"a\"", "fault: line 2: has 1 cells more than the first line; put a text that contains the separator into quotation marks"}},
		{name: "no address in a row", text: "email,note\n,x\n,\nbob@example.com", want: []string{"4 bob@example.com", "fault: line 2, column email: the address is empty; give one plain address, like jane@example.com"}},
		{name: "groups that are none", text: "email,groups\na@example.com,pro\nb@example.com,-1\nc@example.com,99999999999999999999", want: []string{
			"fault: line 2, column groups: one of the groups is no Retool group id; ids are positive whole numbers, such as 1042; several between spaces",
			"fault: line 3, column groups: one of the groups is no Retool group id; ids are positive whole numbers, such as 1042; several between spaces",
			"fault: line 4, column groups: one of the groups is no Retool group id; ids are positive whole numbers, such as 1042; several between spaces"}},
		{name: "a long note", text: "email,note\na@example.com," + strings.Repeat("x", 1001), want: []string{"fault: line 2, column note: the note has 1001 bytes; at most 1000"}},
		{name: "doubles, the same in other letters", text: "email,groups\nada@example.com,1\nbob@example.com,\nADA@example.com,1\nada@EXAMPLE.com,2", want: []string{"2 ada@example.com groups [1]", "3 bob@example.com",
			"double: line 4 as 2, differs false", "double: line 5 as 2, differs true"}},
		{name: "UTF-16 from Excel", text: utf16Of("Email\tNote\r\nada@example.com\tGrüße\r\n", binary.LittleEndian), want: []string{`2 ada@example.com note "Grüße"`}},
		{name: "UTF-16 the other way round", text: utf16Of("ada@example.com", binary.BigEndian), want: []string{"1 ada@example.com"}},
		{name: "Windows text", text: "email;note\nada@example.com;Gr\xFC\xDFe \x80", want: []string{`2 ada@example.com note "Grüße €"`, "remark: The list is not in UTF-8: it was read as Windows text. Look whether accents in it are right."}},
		{name: "a header alone", text: "email,note\n", want: nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := people.Read([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := shown(list); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("read\n%s\nwants\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct {
		name string
		text string
		want people.Unreadable
	}{
		{name: "nothing", text: " \n\r\n", want: people.Unreadable{Detail: "the list is empty", Mend: "paste addresses, one a line, or choose a CSV file"}},
		{name: "a workbook", text: "PK\x03\x04…", want: people.Unreadable{Detail: "this is a workbook, not a text", Mend: `save it in the spreadsheet program as "CSV UTF-8"`}},
		{name: "UTF-16 without a mark", text: "a\x00d\x00a\x00", want: people.Unreadable{Detail: "this is not a text: it has NUL bytes", Mend: `save it in the spreadsheet program as "CSV UTF-8"`}},
		{name: "columns without an address", text: "name,phone\nAda,1", want: people.Unreadable{Detail: "no column of the first line is called email", Mend: `name the columns in the first line, such as "email,groups,note"`}},
		{name: "columns with a note and no address", text: "name,note\nAda,hello", want: people.Unreadable{Detail: "no column of the first line is called email", Mend: `name the columns in the first line, such as "email,groups,note"`}},
		{name: "too many bytes", text: strings.Repeat("x", people.MaxBytes+1), want: people.Unreadable{Detail: "the list is over 8 MiB", Mend: "divide it, and send the parts one after the other"}},
		{name: "too many rows, the bad ones count too", text: "email\n" + strings.Repeat("x\n", people.MaxRows+1), want: people.Unreadable{Detail: "the list has more than 50000 rows", Mend: "divide it, and send the parts one after the other"}},
		{name: "too many addresses", text: strings.Repeat("x@y,", people.MaxRows+1), want: people.Unreadable{Detail: "the list has more than 50000 rows", Mend: "divide it, and send the parts one after the other"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := people.Read([]byte(tt.text))
			var got *people.Unreadable
			if !errors.As(err, &got) || *got != tt.want {
				t.Errorf("the error is %v, wants %v", err, &tt.want)
			}
		})
	}
}

func TestReadMapped(t *testing.T) {
	tests := []struct {
		name    string
		text    string
		means   map[string]string
		want    []string
		wantErr string
	}{
		{name: "columns of other names", text: "Kunde,Stufe\nada@example.com,pro\n", means: map[string]string{"Kunde": "email", "Stufe": "attributes.plan"},
			want: []string{"2 ada@example.com map[plan:pro]"}},
		{name: "one column", text: "Kunde\nada@example.com\n", means: map[string]string{"Kunde": "email"}, want: []string{"2 ada@example.com"}},
		{name: "another than the usual one", text: "email;billing\nold@example.com;ada@example.com\n", means: map[string]string{"billing": "email"},
			want: []string{"2 ada@example.com", "left out: email"}},
		{name: "what nobody speaks of means what it usually does", text: "Kunde,note,groups\nada@example.com,hello,7\n", means: map[string]string{"Kunde": "email"},
			want: []string{"2 ada@example.com groups [7] note \"hello\""}},
		{name: "one to be left out", text: "email,note\nada@example.com,private\n", means: map[string]string{"note": ""}, want: []string{"2 ada@example.com", "left out: note"}},
		{name: "a name that is there twice", text: "a,a\nada@example.com,bob@example.com\n", means: map[string]string{"a": "email"}, want: []string{"2 ada@example.com", "left out: a"}},
		{name: "no such column", text: "Kunde,Stufe\nada@example.com,pro\n", means: map[string]string{"Mail": "email"}, wantErr: `no column "Mail"; its first line must name the columns, and has "Kunde", "Stufe"`},
		{name: "none for the address", text: "Kunde,Stufe\nada@example.com,pro\n", means: map[string]string{"Stufe": "note"}, wantErr: `no column holds the address; say which does: one of "Kunde", "Stufe"`},
		{name: "no names at all", text: "ada@example.com,pro\n", means: map[string]string{"Mail": "email"}, wantErr: "the columns have no names"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := people.ReadMapped([]byte(tt.text), tt.means)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "ada") {
					t.Fatalf("the error is %v, wants %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := shown(list); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
