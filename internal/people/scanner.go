package people

import "strings"

const (
	// A quotation mark that is never closed must not swallow the rows behind it: a cell may have so many lines and
	// bytes, and then it is the row's own fault.
	maxCellLines = 50
	maxCell      = 16 << 10
	maxCells     = 1000
)

// A scanner reads the rows of a table as spreadsheets write them (RFC 4180), one after the other. encoding/csv
// would do, but for one thing: where a quotation mark is not closed it reads on to the end, and all rows behind are
// lost.
type scanner struct {
	text      string // what is left
	separator byte
	line      int // of text's beginning

	start         int // the row's line
	cells         []string
	problem, mend string // of the row
}

// next reads a row, and reports whether there was one.
func (s *scanner) next() bool {
	s.start, s.cells, s.problem, s.mend = s.line, nil, "", ""
	if s.text == "" {
		return false
	}
	for s.cell() {
		if len(s.cells) > maxCells {
			s.fail("has more than 1000 cells", "check the separator of the list")
			break
		}
	}
	return true
}

// isBlank reports a row without anything, such as spreadsheets leave below a table.
func (s *scanner) isBlank() bool {
	return s.problem == "" && strings.TrimSpace(strings.Join(s.cells, "")) == ""
}

// cell reads one cell, and reports whether the row goes on behind it.
func (s *scanner) cell() (more bool) {
	if quoted := strings.TrimLeft(s.text, " "); strings.HasPrefix(quoted, `"`) {
		return s.quoted(quoted[1:])
	}
	end := strings.IndexAny(s.text, "\n"+s.stop())
	if end < 0 {
		s.cells, s.text = append(s.cells, s.text), ""
		return false
	}
	s.cells = append(s.cells, s.text[:end])
	return s.pass(s.text[end:])
}

// stop is the separator as a text, "" where there is none.
func (s *scanner) stop() string {
	if s.separator == 0 {
		return ""
	}
	return string(rune(s.separator))
}

// pass goes over what ends a cell.
func (s *scanner) pass(rest string) (more bool) {
	if rest == "" {
		s.text = ""
		return false
	}
	s.text = rest[1:]
	if rest[0] == '\n' {
		s.line++
		return false
	}
	if s.text == "" { // a last, empty cell
		s.cells = append(s.cells, "")
		return false
	}
	return true
}

// quoted reads a cell from behind its first quotation mark.
func (s *scanner) quoted(rest string) (more bool) {
	var cell strings.Builder
	for lines := 0; cell.Len() <= maxCell && lines <= maxCellLines; {
		end := strings.IndexByte(rest[:min(len(rest), maxCell)], '"')
		if end < 0 {
			break
		}
		cell.WriteString(rest[:end])
		lines += strings.Count(rest[:end], "\n")
		rest = rest[end+1:]
		if !strings.HasPrefix(rest, `"`) {
			return s.behind(cell.String(), rest, lines)
		}
		cell.WriteByte('"')
		rest = rest[1:]
	}
	s.fail("has a quotation mark that is not closed", `close it; inside a text in quotation marks, write each as ""`)
	return false
}

// behind takes a quoted cell, behind which nothing but spaces may stand.
func (s *scanner) behind(cell, rest string, lines int) (more bool) {
	rest = strings.TrimLeft(rest, " ")
	if rest != "" && rest[0] != '\n' && (s.separator == 0 || rest[0] != s.separator) {
		s.fail("has a text behind a closing quotation mark", `inside a text in quotation marks, write each as ""`)
		return false
	}
	s.cells = append(s.cells, cell)
	s.line += lines
	return s.pass(rest)
}

// fail gives the row up, and goes on with the line behind the one in which the cell in hand begins.
func (s *scanner) fail(problem, mend string) {
	s.problem, s.mend = problem, mend
	_, rest, _ := strings.Cut(s.text, "\n")
	s.text = rest
	s.line++
}
