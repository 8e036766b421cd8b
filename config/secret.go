package config

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"unique"
)

// mask is what a set secret looks like everywhere but behind Reveal.
const mask = "••••"

// Secret is a text that shows itself only through [Secret.Reveal]. Every verb
// of fmt, JSON, YAML, XML and slog see a mask, or nothing when the secret is
// unset. fmt cannot call methods through an unexported field; there the text
// stays hidden because the struct holds a handle to it and not the text.
// Secrets are comparable. The zero Secret is unset.
type Secret struct {
	text unique.Handle[string]
}

// Each way out that a library may take.
var (
	_ fmt.Formatter          = Secret{}
	_ fmt.Stringer           = Secret{}
	_ encoding.TextMarshaler = Secret{}
	_ slog.LogValuer         = Secret{}
	_ fmt.Formatter          = DatabaseURL{}
	_ fmt.Stringer           = DatabaseURL{}
	_ encoding.TextMarshaler = DatabaseURL{}
	_ slog.LogValuer         = DatabaseURL{}
)

// NewSecret hides a text. An empty text gives the unset Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: unique.Make(text)}
}

// Reveal returns the text. It is the only way to it.
func (s Secret) Reveal() string {
	if s == (Secret{}) {
		return ""
	}
	return s.text.Value()
}

// IsBlank reports whether the secret is unset or nothing but white space.
func (s Secret) IsBlank() bool { return strings.TrimSpace(s.Reveal()) == "" }

// String returns the mask, or "" when the secret is unset.
func (s Secret) String() string {
	if s == (Secret{}) {
		return ""
	}
	return mask
}

// Format masks under every verb and flag, those meant for other types included.
func (s Secret) Format(f fmt.State, verb rune) { format(f, verb, s.String()) }

// MarshalText masks in JSON, YAML, XML and whatever else encodes text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks in slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// DatabaseURL is the address of the database. A Postgres address holds a
// password, so it prints without user, password and query and is whole only
// through [DatabaseURL.Reveal].
type DatabaseURL struct {
	url Secret
}

// NewDatabaseURL hides the credentials of an address, which is not checked.
func NewDatabaseURL(address string) DatabaseURL { return DatabaseURL{url: NewSecret(address)} }

// Reveal returns the whole address. It is the only way to it.
func (d DatabaseURL) Reveal() string { return d.url.Reveal() }

// String returns the address without user, password and query, or the mask
// when the address cannot be taken apart.
func (d DatabaseURL) String() string {
	whole := d.Reveal()
	if file, ok := strings.CutPrefix(whole, "sqlite://"); ok {
		file, _, _ = strings.Cut(file, "?")
		return "sqlite://" + file
	}
	u, err := url.Parse(whole)
	if err != nil || u.Host == "" {
		return d.url.String()
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Format hides the credentials under every verb and flag.
func (d DatabaseURL) Format(f fmt.State, verb rune) { format(f, verb, d.String()) }

// MarshalText hides the credentials in JSON, YAML, XML and the like.
func (d DatabaseURL) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// LogValue hides the credentials in slog.
func (d DatabaseURL) LogValue() slog.Value { return slog.StringValue(d.String()) }

func format(f fmt.State, verb rune, shown string) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		shown = `"` + shown + `"`
	}
	_, _ = io.WriteString(f, shown)
}
