package people

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decode brings a file to UTF-8. Excel's "Unicode text" is UTF-16, and what it saves as plain CSV is in the code page
// of the machine.
func decode(raw []byte) (text, remark string, err error) {
	switch {
	case bytes.HasPrefix(raw, []byte("PK\x03\x04")), bytes.HasPrefix(raw, []byte("\xD0\xCF\x11\xE0")):
		return "", "", &Unreadable{Detail: "this is a workbook, not a text", Mend: `save it in the spreadsheet program as "CSV UTF-8"`}
	case bytes.HasPrefix(raw, []byte{0xFF, 0xFE}):
		return wide(raw[2:], binary.LittleEndian), "", nil
	case bytes.HasPrefix(raw, []byte{0xFE, 0xFF}):
		return wide(raw[2:], binary.BigEndian), "", nil
	case bytes.IndexByte(raw, 0) >= 0:
		return "", "", &Unreadable{Detail: "this is not a text: it has NUL bytes", Mend: `save it in the spreadsheet program as "CSV UTF-8"`}
	}
	raw = bytes.TrimPrefix(raw, []byte("\xEF\xBB\xBF"))
	if utf8.Valid(raw) {
		return lines(string(raw)), "", nil
	}
	var b strings.Builder
	for _, c := range raw {
		b.WriteRune(western(c))
	}
	return lines(b.String()), "The list is not in UTF-8: it was read as Windows text. Look whether accents in it are right.", nil
}

func wide(raw []byte, order binary.ByteOrder) string {
	units := make([]uint16, 0, len(raw)/2)
	for ; len(raw) >= 2; raw = raw[2:] {
		units = append(units, order.Uint16(raw))
	}
	return lines(strings.ReplaceAll(string(utf16.Decode(units)), "\x00", "\uFFFD"))
}

// lines gives every line the same end, also those of old Macintoshes.
func lines(text string) string {
	if !strings.Contains(text, "\r") {
		return text
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

// western is a byte of Windows-1252. Five of them mean nothing.
func western(c byte) rune {
	if c < 0x80 || c >= 0xA0 {
		return rune(c)
	}
	return []rune("€\uFFFD‚ƒ„…†‡ˆ‰Š‹Œ\uFFFDŽ\uFFFD\uFFFD‘’“”•–—˜™š›œ\uFFFDžŸ")[c-0x80]
}

// declared takes Excel's own first line "sep=;" off.
func declared(text string) (separator byte, rest string) {
	first, rest, _ := strings.Cut(text, "\n")
	if len(first) == len("sep=;") && strings.EqualFold(first[:4], "sep=") && strings.Contains(separators, first[4:]) {
		return first[4], "\n" + rest // so that lines keep their numbers
	}
	return 0, text
}

const separators = ",;\t"

// guess finds the separator of a line: the one that stands there most often, 0 where there is none.
func guess(line string) (separator byte) {
	most := 0
	for i := range len(separators) {
		if n := len(fields(line, separators[i])); n > max(most, 1) {
			most, separator = n, separators[i]
		}
	}
	return separator
}

// firstLine is the first line that is not blank.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			return strings.TrimRight(line, "\n")
		}
	}
	return ""
}

// fields takes one line apart.
func fields(line string, separator byte) []string {
	s := &scanner{text: line, separator: separator, line: 1}
	s.next()
	return s.cells
}
