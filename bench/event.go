package main

import (
	"crypto/hmac"
	"crypto/sha256"
	_ "embed" // the event
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"regexp"
	"strconv"
	"time"
)

// checkout is a checkout.session.completed with the fields that Stripe sends, and <holes> where two events differ: a
// store that compresses bodies must not be flattered by filler.
//
//go:embed checkout.json
var checkout string

// The alphabets of the holes. The size of each is a power of two, so that random bits are symbols.
const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789Qz"
	hexadecimal  = "0123456789abcdef"
	digits       = "1234567891234567" // none begins with 0
)

var alphabets = map[string]string{"id": alphanumeric, "hex": hexadecimal, "num": digits}

var words = map[string][]string{
	"first":    {"Ada", "Amara", "Chen", "Diego", "Elif", "Fatima", "Grace", "Hiro", "Ines", "Jonas", "Kofi", "Lena", "Mateo", "Noor", "Olga", "Priya"},
	"last":     {"Abe", "Becker", "Costa", "Dubois", "Eriksen", "Fofana", "Garcia", "Haddad", "Ito", "Jensen", "Kowalski", "Lopez", "Moreau", "Novak", "Okafor", "Patel"},
	"lower":    {"ada", "amara", "chen", "diego", "elif", "fatima", "grace", "hiro", "ines", "jonas", "kofi", "lena", "mateo", "noor", "olga", "priya"},
	"city":     {"Accra", "Berlin", "Bogota", "Cairo", "Dublin", "Hanoi", "Lagos", "Lisbon", "Lyon", "Oslo", "Porto", "Quito", "Riga", "Seoul", "Turin", "Vienna"},
	"country":  {"AT", "BR", "CA", "DE", "ES", "FR", "GB", "IE", "IT", "JP", "KR", "NL", "NO", "PL", "SE", "US"},
	"domain":   {"example.com", "example.net", "example.org", "mail.example", "post.example", "works.example", "studio.example", "labs.example"},
	"currency": {"usd", "eur", "gbp", "jpy"},
	"plan":     {"starter", "team", "pro", "scale"},
}

// A part is some text of the event, then what fills the hole behind it.
type part struct {
	text string
	fill func(*maker, time.Time)
}

var hole = regexp.MustCompile(`<(\w+)(?::(\d+))?>`)

var parts = cut(checkout)

func cut(template string) (parts []part) {
	at := 0
	for _, m := range hole.FindAllStringSubmatchIndex(template, -1) {
		name, length := template[m[2]:m[3]], 0
		if m[4] >= 0 {
			length, _ = strconv.Atoi(template[m[4]:m[5]]) // digits, by the expression
		}
		parts = append(parts, part{text: template[at:m[0]], fill: filler(name, length)})
		at = m[1]
	}
	return append(parts, part{text: template[at:], fill: func(*maker, time.Time) {}})
}

func filler(name string, length int) func(*maker, time.Time) {
	if alphabet := alphabets[name]; alphabet != "" {
		return func(m *maker, _ time.Time) { m.symbols(alphabet, length) }
	}
	if list := words[name]; list != nil {
		return func(m *maker, _ time.Time) { m.body = append(m.body, list[m.random.Uint64()%uint64(len(list))]...) }
	}
	switch name {
	case "now":
		return func(m *maker, now time.Time) { m.body = strconv.AppendInt(m.body, now.Unix(), 10) }
	case "later":
		return func(m *maker, now time.Time) { m.body = strconv.AppendInt(m.body, now.Unix()+86400, 10) }
	default:
		panic("checkout.json has a hole of an unknown kind: " + name)
	}
}

// A maker makes signed requests, each with an identity and an address of its own. It reuses its memory: what it returns
// is good until the next call. One goroutine may use it.
type maker struct {
	random  *rand.PCG
	mac     hash.Hash
	scheme  scheme
	body    []byte
	request []byte
	sum     []byte
}

// A scheme is how a sender signs: what stands before and behind the signature's hex digits, and what is signed.
type scheme struct {
	path, header string
	timed        bool // the time is part of it, as Stripe has it; else only the body is signed
}

var schemes = map[string]scheme{
	"stripe": {path: "/webhooks/stripe", header: "Stripe-Signature: ", timed: true},
	"hub":    {path: "/hooks/bench", header: "X-Hub-Signature-256: sha256="},
}

func newMaker(scheme scheme) *maker {
	return &maker{random: rand.NewPCG(rand.Uint64(), rand.Uint64()), mac: hmac.New(sha256.New, []byte(secret)), scheme: scheme}
}

// symbols appends random ones of an alphabet.
func (m *maker) symbols(alphabet string, n int) {
	mask := uint64(len(alphabet) - 1)
	var bits uint64
	for i := range n {
		if i%10 == 0 {
			bits = m.random.Uint64()
		}
		m.body = append(m.body, alphabet[bits&mask])
		bits >>= 6
	}
}

// event makes the body of another event.
func (m *maker) event(now time.Time) []byte {
	m.body = m.body[:0]
	for _, p := range parts {
		m.body = append(m.body, p.text...)
		p.fill(m, now)
	}
	return m.body
}

// sign appends the signature header of the body made last.
func (m *maker) sign(b []byte, now time.Time) []byte {
	m.mac.Reset()
	if m.scheme.timed {
		b = strconv.AppendInt(append(b, "t="...), now.Unix(), 10)
		b = append(b, ",v1="...)
		m.sum = append(strconv.AppendInt(m.sum[:0], now.Unix(), 10), '.')
		m.mac.Write(m.sum)
	}
	m.mac.Write(m.body)
	m.sum = m.mac.Sum(m.sum[:0])
	return hex.AppendEncode(b, m.sum)
}

// next makes a whole request, as it goes over the wire.
func (m *maker) next(now time.Time) []byte {
	m.event(now)
	r := append(m.request[:0], "POST "+m.scheme.path+" HTTP/1.1\r\nHost: localhost\r\nCache-Control: no-cache\r\nContent-Type: application/json; charset=utf-8\r\n"+
		"Accept: */*; q=0.5, application/xml\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\nContent-Length: "...)
	r = strconv.AppendInt(r, int64(len(m.body)), 10)
	r = append(r, "\r\n"+m.scheme.header...)
	r = m.sign(r, now)
	r = append(r, "\r\n\r\n"...)
	m.request = append(r, m.body...)
	return m.request
}
