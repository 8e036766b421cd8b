package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
)

// address is an address as a command shows it: masked, unless whole ones were asked for.
func (f clientFlags) address(email string) string {
	if f.full {
		return plain(email)
	}
	return access.Mask(email)
}

// words are a text as a command shows it.
func (f clientFlags) words(text string) string {
	if !f.full {
		text = onboarding.Masked(text)
	}
	return plain(text)
}

// plain takes from a text what a terminal would obey: senders, customers and Retool wrote it.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return utf8.RuneError
		default:
			return r
		}
	}, text)
}

// clock is a moment as people read it: in their own time zone, to the minute.
func clock(at time.Time) string {
	if at.IsZero() {
		return "–"
	}
	return at.Local().Format("2006-01-02 15:04")
}

// jsonLine prints what the API said as one line, its fields in their order.
func (f clientFlags) jsonLine(w io.Writer, raw json.RawMessage) error {
	var line bytes.Buffer
	if f.full {
		if err := json.Compact(&line, raw); err != nil {
			return err
		}
	} else if err := maskJSON(&line, json.NewDecoder(bytes.NewReader(raw)), ""); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}

// maskJSON copies one value, with the addresses in its texts masked.
func maskJSON(to *bytes.Buffer, from *json.Decoder, key string) error {
	from.UseNumber()
	token, err := from.Token()
	if err != nil {
		return err
	}
	switch value := token.(type) {
	case json.Delim:
		return maskInside(to, from, value)
	case string:
		if key == "email" {
			value = access.Mask(value)
		}
		return writeJSON(to, onboarding.Masked(value))
	default:
		return writeJSON(to, value)
	}
}

// maskInside copies what a list or an object holds.
func maskInside(to *bytes.Buffer, from *json.Decoder, open json.Delim) error {
	to.WriteRune(rune(open))
	for first := true; from.More(); first = false {
		if !first {
			to.WriteByte(',')
		}
		key := ""
		if open == '{' {
			token, err := from.Token()
			if err != nil {
				return err
			}
			key = fmt.Sprint(token)
			if err := writeJSON(to, onboarding.Masked(key)); err != nil {
				return err
			}
			to.WriteByte(':')
		}
		if err := maskJSON(to, from, key); err != nil {
			return err
		}
	}
	end, err := from.Token()
	if err == nil {
		fmt.Fprint(to, end)
	}
	return err
}

func writeJSON(to *bytes.Buffer, value any) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	to.Truncate(len(bytes.TrimRight(to.Bytes(), "\n")))
	return err
}

// A cell is one field of a table.
type cell struct{ text, colour string }

// A table is printed piece by piece: the first piece settles how wide its columns are.
type table struct {
	w      io.Writer
	c      colours
	limit  int // columns of the terminal, 0: none
	head   []string
	rows   [][]cell
	widths []int
}

func newTable(w io.Writer, head ...string) *table {
	return &table{w: w, c: coloursFor(w), limit: terminalWidth(w), head: head}
}

// terminalWidth is how many characters fit on a line, 0 where there is no terminal.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// flush prints the rows that were added; with the first of them the head.
func (t *table) flush() {
	if t.widths == nil {
		t.begin()
	}
	for _, row := range t.rows {
		t.line(row)
	}
	t.rows = nil
}

// begin prints the head, as wide as the rows that were added need it.
func (t *table) begin() {
	t.measure()
	var head []cell
	for _, title := range t.head {
		head = append(head, cell{title, t.c.bold})
	}
	t.line(head)
}

const (
	gap       = 2
	leastWide = 6
)

// measure gives each column what it needs; on a terminal that is too narrow the widest give way.
func (t *table) measure() {
	t.widths = make([]int, len(t.head))
	for i, title := range t.head {
		t.widths[i] = utf8.RuneCountInString(title)
		for _, row := range t.rows {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	for t.limit > 0 {
		total, widest := gap*(len(t.widths)-1), 0
		for i, width := range t.widths {
			total += width
			if width > t.widths[widest] {
				widest = i
			}
		}
		if total <= t.limit || t.widths[widest] <= leastWide {
			return
		}
		t.widths[widest]--
	}
}

func (t *table) line(cells []cell) {
	var line strings.Builder
	for i, one := range cells {
		text := one.text
		if t.limit > 0 {
			text = shorten(text, t.widths[i])
		}
		pad := strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(text))+gap)
		if i == len(cells)-1 {
			pad = ""
		}
		if one.colour != "" {
			text = one.colour + text + t.c.off
		}
		line.WriteString(text + pad)
	}
	fmt.Fprintln(t.w, strings.TrimRight(line.String(), " "))
}

// shorten cuts a text to a width, and says so by an ellipsis.
func shorten(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}
