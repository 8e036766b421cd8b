package ledger

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Cursor is a place in the list of one search, and whether to go on or back from there.
type Cursor string

// A place is where an invitation stands in the list of a search.
type place struct {
	order order
	key   string // of the lane's order; empty for the newest
	id    int64
}

// A placed is an invitation and its place.
type placed struct {
	Invitation
	place
}

// compare says which of two places of one lane comes first.
func (p place) compare(other place) int {
	if p.order == byAddress {
		return strings.Compare(p.key, other.key)
	}
	return cmp.Or(strings.Compare(other.key, p.key), cmp.Compare(other.id, p.id))
}

// behind is a place right behind this one: nothing stands between them, nor in the place itself.
func (p place) behind() place {
	if p.order == byAddress {
		p.key += " " // less than all that an address is made of
	}
	p.id--
	return p
}

// before is a place right before this one.
func (p place) before() place {
	if last := len(p.key) - 1; p.order == byAddress && last >= 0 {
		p.key = p.key[:last] + string(p.key[last]-1) + behind
	}
	p.id++
	return p
}

// cursor is what is behind the place or, back, before it.
func (p place) cursor(back bool) Cursor {
	direction := '>'
	if back {
		direction = '<'
	}
	return Cursor(base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%c%c%d %s", direction, p.order, p.id, p.key)))
}

// read takes a cursor apart. It comes from an address that anybody may have typed.
func (c Cursor) read(lanes []lane) (p place, back bool, err error) {
	text, err := base64.RawURLEncoding.DecodeString(string(c))
	if err != nil || len(text) < 2 || text[0] != '<' && text[0] != '>' {
		return p, false, ErrCursor
	}
	p.order = order(text[1])
	id, key, _ := strings.Cut(string(text[2:]), " ")
	p.key = key
	p.id, err = strconv.ParseInt(id, 10, 64)
	if err != nil || !slices.ContainsFunc(lanes, func(l lane) bool { return l.order == p.order && l.has(key) }) {
		return p, false, ErrCursor
	}
	return p, text[0] == '<', nil
}

// has says whether a key is one of the lane's.
func (l lane) has(key string) bool {
	return l.order == newestFirst && key == "" || l.order != newestFirst && l.low <= key && key < l.high
}
