package people

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/usher-dev/usher/internal/access"
)

// What a column may mean.
const (
	meansEmail      = "email"
	meansGroups     = "groups"
	meansNote       = "note"
	meansAttributes = "attributes." // and a name
)

// usual are the names by which spreadsheets call a column, in lower case without spaces, hyphens and underscores.
// Those of the address stand in the order in which they count where a list has several.
var usual = []struct {
	means string
	names []string
}{
	{meansEmail, []string{"email", "emailaddress", "mail", "mailaddress", "customeremail", "useremail", "primaryemail", "address"}},
	{meansGroups, []string{"groups", "group", "groupids", "groupid", "retoolgroups"}},
	{meansNote, []string{"note", "notes", "comment"}},
}

var squeeze = strings.NewReplacer(" ", "", "-", "", "_", "")

// headerOf reads the first row as the names of columns; ok is false where it names none for the address, or lacks one
// whose meaning is told.
func headerOf(row []string, told map[string]string) (columns []Column, ok bool) {
	if slices.ContainsFunc(row, func(cell string) bool { return strings.Contains(cell, "@") }) {
		return nil, false
	}
	columns = make([]Column, len(row))
	taken, isTold := map[string]bool{}, map[string]bool{}
	for i, cell := range row {
		columns[i].Name = strings.TrimSpace(cell)
		if means, is := told[columns[i].Name]; is && !isTold[columns[i].Name] {
			columns[i].Means, taken[means], isTold[columns[i].Name] = means, true, true
		}
	}
	for i, c := range columns {
		if name, isAttribute := attribute(c.Name); isAttribute && !isTold[c.Name] && !taken[meansAttributes+name] {
			columns[i].Means = meansAttributes + name
		}
	}
	ok = taken[meansEmail]
	for _, kind := range usual {
		named := !taken[kind.means] && nameFirst(columns, isTold, kind.means, kind.names)
		ok = ok || named && kind.means == meansEmail
	}
	return columns, ok && len(isTold) == len(told)
}

// notThere says which column of those whose meaning is told a list does not have.
func notThere(row []string, told map[string]string) error {
	if slices.ContainsFunc(row, func(cell string) bool { return strings.Contains(cell, "@") }) {
		return &Unreadable{Detail: "the columns have no names", Mend: "write them into the first line"}
	}
	var has []string
	for _, cell := range row {
		has = append(has, strconv.Quote(strings.TrimSpace(cell)))
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !slices.Contains(has, strconv.Quote(name)) {
			return &Unreadable{Detail: fmt.Sprintf("the list has no column %q", name), Mend: "its first line must name the columns, and has " + strings.Join(has[:min(len(has), maxNamed)], ", ")}
		}
	}
	return &Unreadable{Detail: "no column holds the address", Mend: "say which does: one of " + strings.Join(has[:min(len(has), maxNamed)], ", ")}
}

// maxNamed is how many columns an error names.
const maxNamed = 20

// nameFirst gives a meaning to the column that has the first of these names, unless its meaning is told. Two columns never
// mean the same.
func nameFirst(columns []Column, told map[string]bool, means string, names []string) bool {
	for _, name := range names {
		for i, c := range columns {
			if c.Means == "" && !told[c.Name] && squeeze.Replace(strings.ToLower(c.Name)) == name {
				columns[i].Means = means
				return true
			}
		}
	}
	return false
}

// attribute is the name of the user attribute that a column is for, such as plan of attributes.plan. Any other column
// is left out: what a spreadsheet says beside an address is nobody's at Retool until somebody says so.
func attribute(column string) (name string, ok bool) {
	before, name, found := strings.Cut(column, ".")
	name = strings.TrimSpace(name)
	before = squeeze.Replace(strings.ToLower(before))
	return name, found && name != "" && (before == "attributes" || before == "attribute")
}

// isOneAddressAmong reports a row of a table without a header: one cell is an address, and the others are not.
func isOneAddressAmong(row []string) bool {
	n, others := 0, 0
	for _, cell := range row {
		switch {
		case strings.Contains(cell, "@"):
			n++
		case strings.TrimSpace(cell) != "":
			others++
		}
	}
	return n == 1 && others > 0 && !slices.ContainsFunc(row, func(cell string) bool { return strings.Contains(cell, "<") })
}

// unnamed are the columns of a table without a header: only the address counts.
func unnamed(row []string) []Column {
	columns := make([]Column, len(row))
	for i, cell := range row {
		columns[i].Name = strconv.Itoa(i + 1)
		if strings.Contains(cell, "@") {
			columns[i].Means = meansEmail
		}
	}
	return columns
}

// table reads rows that have columns.
func (r *reading) table(text string, separator byte, columns []Column, hasHeader bool) error {
	s := &scanner{text: text, separator: separator, line: 1}
	for s.next() {
		if s.isBlank() {
			continue
		}
		if hasHeader {
			hasHeader = false
			continue
		}
		if err := r.count(); err != nil {
			return err
		}
		if s.problem != "" {
			r.fault(s.start, "", s.problem, s.mend)
			continue
		}
		r.row(s.start, s.cells, columns)
	}
	return nil
}

// row reads one row; the first thing that is wrong with it is told.
func (r *reading) row(line int, cells []string, columns []Column) {
	p := Person{Line: line}
	if extra := len(cells) - len(columns); extra > 0 && strings.TrimSpace(strings.Join(cells[len(columns):], "")) != "" {
		r.fault(line, "", fmt.Sprintf("has %d cells more than the first line", extra), "put a text that contains the separator into quotation marks")
		return
	}
	for i, column := range columns {
		cell := ""
		if i < len(cells) {
			cell = strings.TrimSpace(cells[i])
		}
		if detail, mend := p.take(column.Means, cell); detail != "" {
			r.fault(line, column.Name, detail, mend)
			return
		}
	}
	r.add(p)
}

// take reads one cell.
func (p *Person) take(means, cell string) (detail, mend string) {
	switch {
	case means == meansEmail:
		return p.takeAddress(cell)
	case cell == "" || means == "":
		return "", ""
	case means == meansGroups:
		return p.takeGroups(cell)
	case means == meansNote:
		p.Note = cell
		if len(cell) > maxNote {
			return fmt.Sprintf("the note has %d bytes", len(cell)), fmt.Sprintf("at most %d", maxNote)
		}
		return "", ""
	}
	name := strings.TrimPrefix(means, meansAttributes)
	if p.Attributes == nil {
		p.Attributes = map[string]string{}
	}
	p.Attributes[name] = cell
	switch {
	case len(cell) > maxValue:
		return fmt.Sprintf("the attribute has %d bytes", len(cell)), fmt.Sprintf("at most %d", maxValue)
	case len(p.Attributes) > maxAttributes:
		return "there are too many attributes", fmt.Sprintf("at most %d", maxAttributes)
	}
	return "", ""
}

func (p *Person) takeAddress(cell string) (detail, mend string) {
	switch all := split(cell); {
	case len(all) == 1:
		cell = all[0]
	case len(all) > 1 && strings.Count(cell, "@") > 1:
		return "the address is more than one address", "give each person a line"
	}
	var err error
	if p.Address, err = access.ParseAddress(cell); err == nil {
		return "", ""
	}
	wrong, _ := err.(*access.AddressError) //nolint:errorlint // ParseAddress returns no other
	if wrong == nil {
		return "the address cannot be used", ""
	}
	return wrong.Error(), cmp.Or(wrong.Mend, "give one plain address, like jane@example.com")
}

// takeGroups reads Retool's group ids, between spaces, commas, semicolons or bars.
func (p *Person) takeGroups(cell string) (detail, mend string) {
	const want = "ids are positive whole numbers, such as 1042; several between spaces"
	for _, text := range strings.FieldsFunc(cell, func(c rune) bool { return strings.ContainsRune(" ,;|", c) }) {
		group, err := strconv.ParseInt(text, 10, 64)
		if err != nil || group <= 0 {
			return "one of the groups is no Retool group id", want
		}
		p.Groups = append(p.Groups, group)
	}
	if len(p.Groups) > maxGroups {
		return fmt.Sprintf("there are %d groups", len(p.Groups)), fmt.Sprintf("at most %d", maxGroups)
	}
	slices.Sort(p.Groups)
	p.Groups = slices.Compact(p.Groups)
	return "", ""
}
