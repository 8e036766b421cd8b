// Package people reads lists of people who are to be invited: a CSV file as a spreadsheet saves it, or addresses
// pasted as a mail program shows them. The pages and the command line share it. It decides nothing.
//
// Whatever the text, a row that cannot be used costs itself and no other: it is named by its line, with what is
// wrong and the mend.
package people

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/usher-dev/usher/internal/access"
)

// The bounds of a list.
const (
	MaxBytes = 8 << 20
	MaxRows  = 50_000

	maxNote       = 1000 // bytes, as the API takes
	maxGroups     = 100  // of one person
	maxAttributes = 50
	maxValue      = 1000 // bytes of one attribute
)

// A Person is one row of a list that can be asked for.
type Person struct {
	Line       int // of the list, counted from 1
	Address    access.Address
	Groups     []int64
	Attributes map[string]string
	Note       string
}

// A Fault is why a row cannot be used. It holds nothing of the row, but for the names of columns.
type Fault struct {
	Line   int
	Column string // as the list calls it, "" where it has no columns
	Detail string // what is wrong, such as "the domain has no dot"
	Mend   string
}

// String is the fault in one line.
func (f Fault) String() string {
	where := fmt.Sprintf("line %d", f.Line)
	if f.Column != "" {
		where += ", column " + f.Column
	}
	return strings.TrimSuffix(where+": "+f.Detail+"; "+f.Mend, "; ")
}

// A Double is a row whose address stands above already: it is left out.
type Double struct {
	Line  int
	First int // the line that counts
	// Differs means that it wants other groups, attributes or another note than that line: somebody should look.
	Differs bool
}

// A Column is how one column was understood.
type Column struct {
	Name  string // as the list calls it
	Means string // "email", "groups", "note", "attributes.NAME"; "" for one that is left out
}

// A List is what was read.
type List struct {
	People  []Person
	Faults  []Fault
	Doubles []Double
	Columns []Column // none where the list is of bare addresses
	// Remarks are what people should know of the whole list, such as in which encoding it was read.
	Remarks []string
}

// An Unreadable is why a list cannot be read at all.
type Unreadable struct {
	Detail string
	Mend   string
}

func (u *Unreadable) Error() string { return u.Detail + "; " + u.Mend }

// Read reads a list. The error is an *Unreadable: then not one row of it can be told.
func Read(text []byte) (List, error) { return ReadMapped(text, nil) }

// ReadMapped reads a list of which somebody says what columns mean, by their names: "email", "groups", "note",
// "attributes.NAME", or "" for one to be left out. The others mean what they usually do, where that is not taken.
func ReadMapped(text []byte, means map[string]string) (List, error) {
	if len(text) > MaxBytes {
		return List{}, tooLong(fmt.Sprintf("the list is over %d MiB", MaxBytes>>20))
	}
	plain, remark, err := decode(text)
	if err != nil {
		return List{}, err
	}
	r := &reading{seen: map[access.Address]int{}, means: means}
	if remark != "" {
		r.list.Remarks = append(r.list.Remarks, remark)
	}
	if err := r.read(plain); err != nil {
		return List{}, err
	}
	return r.list, nil
}

func tooLong(detail string) error {
	return &Unreadable{Detail: detail, Mend: "divide it, and send the parts one after the other"}
}

// A reading is a list on its way.
type reading struct {
	list  List
	means map[string]string      // of columns, as somebody says
	seen  map[access.Address]int // the index in People
	rows  int
}

func (r *reading) read(text string) error {
	separator, text := declared(text)
	first := firstLine(text)
	if strings.TrimSpace(text) == "" {
		return &Unreadable{Detail: "the list is empty", Mend: "paste addresses, one a line, or choose a CSV file"}
	}
	if separator == 0 {
		separator = guess(first)
	}
	head := fields(first, separator)
	columns, isHeader := headerOf(head, r.means)
	switch {
	case len(r.means) > 0 && !isHeader:
		return notThere(head, r.means)
	case isHeader:
		r.list.Columns = columns
		return r.table(text, separator, columns, true)
	case separator != 0 && isOneAddressAmong(head):
		columns = unnamed(head)
		r.list.Columns = columns
		return r.table(text, separator, columns, false)
	case separator != 0 && !strings.Contains(first, "@"):
		return &Unreadable{Detail: "no column of the first line is called email", Mend: `name the columns in the first line, such as "email,groups,note"`}
	default:
		return r.addresses(text)
	}
}

// count bounds the rows.
func (r *reading) count() error {
	if r.rows++; r.rows > MaxRows {
		return tooLong(fmt.Sprintf("the list has more than %d rows", MaxRows))
	}
	return nil
}

// add takes one person, unless the address is there already.
func (r *reading) add(p Person) {
	at, double := r.seen[p.Address]
	if !double {
		r.seen[p.Address] = len(r.list.People)
		r.list.People = append(r.list.People, p)
		return
	}
	first := r.list.People[at]
	same := slices.Equal(first.Groups, p.Groups) && first.Note == p.Note && sameMap(first.Attributes, p.Attributes)
	r.list.Doubles = append(r.list.Doubles, Double{Line: p.Line, First: first.Line, Differs: !same})
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		if other, ok := b[name]; !ok || other != value {
			return false
		}
	}
	return true
}

func (r *reading) fault(line int, column, detail, mend string) {
	r.list.Faults = append(r.list.Faults, Fault{Line: line, Column: column, Detail: detail, Mend: mend})
}

// addressFault says which part of an address is wrong.
func (r *reading) addressFault(line int, column string, err error) {
	wrong, _ := err.(*access.AddressError) //nolint:errorlint // ParseAddress returns no other
	if wrong == nil {
		wrong = &access.AddressError{Part: "address", Problem: "cannot be used"}
	}
	r.fault(line, column, wrong.Error(), cmp.Or(wrong.Mend, "give one plain address, like jane@example.com"))
}

// addresses reads a list that has no columns: addresses between commas, semicolons, spaces or line ends, or as mail
// programs write them, Jane <jane@example.com>.
func (r *reading) addresses(text string) error {
	line := 0
	for row := range strings.Lines(text) {
		line++
		row = strings.TrimSpace(row)
		if row == "" {
			continue
		}
		for _, one := range split(row) {
			if err := r.count(); err != nil {
				return err
			}
			address, err := access.ParseAddress(one)
			if err != nil {
				r.addressFault(line, "", err)
				continue
			}
			r.add(Person{Line: line, Address: address})
		}
	}
	return nil
}

// split takes the addresses out of a line. What stands before an address in angle brackets is a name, in which commas
// are common. Nothing that may be an address is passed over.
func split(row string) (all []string) {
	rest, bracketed := row, false
	for {
		before, after, opened := strings.Cut(rest, "<")
		inside, behind, closed := strings.Cut(after, ">")
		if !opened || !closed {
			break
		}
		parts := strings.FieldsFunc(before, isBetween)
		for _, part := range parts[:max(0, len(parts)-1)] { // the last is this one's name
			all = append(all, within(part)...)
		}
		all, rest, bracketed = append(all, inside), behind, true
	}
	for _, part := range strings.FieldsFunc(rest, isBetween) {
		switch found := within(part); {
		case len(found) > 0:
			all = append(all, found...)
		case !bracketed && strings.TrimSpace(part) != "":
			all = append(all, part) // a fault, however many words it has
		}
	}
	return all
}

func isBetween(c rune) bool { return c == ',' || c == ';' || c == '\t' }

// within are the words of a text that may be addresses.
func within(part string) []string {
	return slices.DeleteFunc(strings.Fields(part), func(word string) bool { return !strings.Contains(word, "@") })
}
