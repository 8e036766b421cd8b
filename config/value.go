package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// shape is the form a value was written in.
type shape int

const (
	scalar shape = iota
	null
	list
	group
	broken // already reported: nothing more is said about it
)

// value is what a key was set to, before it is understood, and where. Its
// fields are exported because koanf's deep copy loses the others.
type value struct {
	Shape shape
	Text  string   // of a scalar
	Items []value  // of a list, or of a group in the order of Names
	Names []string // of a group
	Vars  []string // the variables whose text became part of Text
	// Split says that commas may part the Text into a list. It is so for
	// environment variables, which have no other way to hold one.
	Split bool
	From  place
}

// place is where a value stands; the fields mean what they mean in [Problem].
type place struct {
	File string
	Line int
}

// sub names the path of item i below the value's own.
func (v value) sub(i int) string {
	if v.Shape == group {
		return "." + v.Names[i]
	}
	return "[" + strconv.Itoa(i) + "]"
}

// isBlank reports whether a value is there but says nothing.
func (v value) isBlank() bool {
	if v.Shape == scalar && v.Split {
		v = split(v)
	}
	return v.Shape == list && len(v.Items) == 0 || v.Shape == scalar && strings.TrimSpace(v.Text) == ""
}

// describe tells the shape and keeps the value to itself.
func (v value) describe() string {
	_, notNumber := strconv.ParseFloat(v.Text, 64)
	switch {
	case v.Shape == list:
		return "is a list"
	case v.Shape == group:
		return "is a group of keys"
	case v.Shape == null || v.Text == "":
		return "is empty"
	case strings.TrimSpace(v.Text) == "":
		return "is blank"
	case notNumber == nil:
		return "is a number"
	}
	return "is text"
}

// fault is what a parser found wrong, at a path below the key it parsed.
type fault struct{ at, what, mend string }

func faulty(what, mend string) []fault { return []fault{{what: what, mend: mend}} }

// wants is the fault of a value whose shape is told against what was wanted.
func wants(v value, wanted string) []fault {
	return faulty(v.describe()+", wants "+wanted, "")
}

// parser understands a value as a V or says what is wrong with it.
type parser[V any] func(value) (V, []fault)

func text(v value) (string, []fault) {
	if v.Shape != scalar {
		return "", wants(v, "text")
	}
	return strings.TrimSpace(v.Text), nil
}

// rawText keeps white space: a separator may be a space.
func rawText(v value) (string, []fault) {
	switch v.Shape {
	case scalar:
		return v.Text, nil
	case group:
		return "", faulty(v.describe()+", wants text", "put quotes around a text that begins with {")
	}
	return "", wants(v, "text")
}

func filledText(v value) (string, []fault) {
	got, faults := text(v)
	if faults == nil && got == "" {
		return "", wants(v, "text")
	}
	return got, faults
}

// secret drops the white space around its text, which comes from a slip in
// copying and would break a header or a signature.
func secret(v value) (Secret, []fault) {
	got, faults := text(v)
	if faults == nil && got == "" {
		return Secret{}, faulty("is blank", cmp.Or(mendBlank(v), "give it a value, or remove it"))
	}
	return NewSecret(got), faults
}

// mendBlank names the variables that left a value blank, if any did.
func mendBlank(v value) string {
	if len(v.Vars) == 0 {
		return ""
	}
	return "set " + strings.Join(v.Vars, " and ")
}

// presetName understands the name of a preset. Which ones there are is for
// package webhook to say.
func presetName(v value) (string, []fault) {
	got, faults := text(v)
	if faults == nil && !sourceName.MatchString(got) {
		return "", faulty("is not the name of a preset", "usher presets lists them")
	}
	return got, faults
}

// longSecret refuses a secret that could be guessed.
func longSecret(least int) parser[Secret] {
	return func(v value) (Secret, []fault) {
		got, faults := secret(v)
		if faults == nil && utf8.RuneCountInString(got.Reveal()) < least {
			what := fmt.Sprintf("is shorter than %d characters", least)
			return Secret{}, faulty(what, "make one with: openssl rand -hex 24")
		}
		return got, faults
	}
}

var (
	hashForm     = regexp.MustCompile(`^sha256:[0-9a-fA-F]{64}$`)
	decimalForm  = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,4})?$`)
	currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)
	nameForm     = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
)

// tokenHash understands the hash of a token. A token itself, which somebody put there by a slip, is not shown.
func tokenHash(v value) (Secret, []fault) {
	got, faults := text(v)
	if faults == nil && !hashForm.MatchString(got) {
		return Secret{}, faulty("is not sha256: and 64 hex digits", "print the digits with: printf %s TOKEN | sha256sum")
	}
	return NewSecret(strings.ToLower(strings.TrimPrefix(got, "sha256:"))), faults
}

// IsTokenName reports whether a token can have this name.
func IsTokenName(name string) bool { return nameForm.MatchString(name) }

func tokenName(v value) (string, []fault) {
	return matching(nameForm, "is not a name for a token", "use a-z, 0-9, - and _, at most 64, and no - or _ first")(v)
}

// decimal understands an amount of money, which no binary fraction can hold.
func decimal(v value) (string, []fault) {
	return matching(decimalForm, "is not an amount of money", "write it as 12.50, without the currency")(v)
}

func currency(v value) (string, []fault) {
	return matching(currencyForm, "is not the code of a currency", "write it as USD or EUR")(v)
}

// matching understands a text of one form.
func matching(form *regexp.Regexp, what, mend string) parser[string] {
	return func(v value) (string, []fault) {
		got, faults := text(v)
		if faults == nil && !form.MatchString(got) {
			return "", faulty(what, mend)
		}
		return got, faults
	}
}

// dayOrTime understands a moment, or the day at whose start it is meant, in UTC.
func dayOrTime(v value) (time.Time, []fault) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, strings.TrimSpace(v.Text)); v.Shape == scalar && err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, wants(v, "a day or a time, such as 2027-01-31 or 2027-01-31T12:00:00Z")
}

func choice(allowed ...string) parser[string] {
	return func(v value) (string, []fault) {
		got, faults := text(v)
		if faults == nil && !slices.Contains(allowed, got) {
			what := "is not one of: " + strings.Join(allowed, ", ")
			return "", faulty(what, strings.TrimSpace(DidYouMean(got, allowed)))
		}
		return got, faults
	}
}

func whole(least, most int) parser[int] {
	return func(v value) (int, []fault) {
		n, err := strconv.Atoi(strings.TrimSpace(v.Text))
		wanted := fmt.Sprintf("wants a whole number from %d to %d", least, most)
		switch {
		case v.Shape != scalar || err != nil:
			return 0, faulty(v.describe()+", "+wanted, "")
		case n < least || n > most:
			return 0, faulty("is out of range, "+wanted, "")
		}
		return n, nil
	}
}

// id understands a number that Retool gave to something.
func id(v value) (int64, []fault) {
	n, err := strconv.ParseInt(strings.TrimSpace(v.Text), 10, 64)
	if v.Shape != scalar || err != nil || n < 1 {
		return 0, wants(v, "an id: a whole number above 0")
	}
	return n, nil
}

func truth(v value) (bool, []fault) {
	switch strings.ToLower(strings.TrimSpace(v.Text)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, wants(v, "true or false")
}

func duration(least, most time.Duration) parser[time.Duration] {
	return func(v value) (time.Duration, []fault) {
		d, err := time.ParseDuration(strings.TrimSpace(v.Text))
		if v.Shape != scalar || err != nil || d < least || d > most {
			return 0, wants(v, fmt.Sprintf("a time with its unit, such as 30s, from %v to %s", least, inWords(most)))
		}
		return d, nil
	}
}

// keepFor understands for how long something is kept: as a time, or in days, which Go does not know; 0 is for ever.
func keepFor(v value) (time.Duration, []fault) {
	written := strings.TrimSpace(v.Text)
	if number, inDays := strings.CutSuffix(written, "d"); inDays {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && n <= uint64(century/day) {
			written = time.Duration(n * uint64(day)).String()
		}
	}
	d, err := time.ParseDuration(written)
	if v.Shape != scalar || err != nil || d != 0 && d < time.Hour || d > century {
		return 0, wants(v, "a time such as 90d or 36h, from 1h to 100 years, or 0 for ever")
	}
	return d, nil
}

const (
	day     = 24 * time.Hour
	century = 876000 * time.Hour
)

// inWords writes a time as people do where Go would count its hours.
func inWords(d time.Duration) string {
	if d == century {
		return "100 years"
	}
	return d.String()
}

// tolerance understands a time that is not zero, which people write to switch
// a check off.
func tolerance(v value) (time.Duration, []fault) {
	if d, err := time.ParseDuration(strings.TrimSpace(v.Text)); v.Shape == scalar && err == nil && d == 0 {
		return 0, faulty("is zero, which would not switch the check off but refuse everything", "remove it, or write a time such as 5m")
	}
	return duration(time.Second, century)(v)
}

// size understands a count of bytes: 1048576, 512KiB, 1MiB.
func size(least, most int64) parser[int64] {
	return func(v value) (int64, []fault) {
		number, unit := strings.TrimSpace(v.Text), int64(1)
		if n, ok := strings.CutSuffix(number, "KiB"); ok {
			number, unit = strings.TrimSpace(n), 1<<10
		} else if n, ok := strings.CutSuffix(number, "MiB"); ok {
			number, unit = strings.TrimSpace(n), 1<<20
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if v.Shape != scalar || err != nil || n < 0 || n > most/unit || n*unit < least {
			return 0, wants(v, fmt.Sprintf("a size such as 512KiB, 1MiB or 1048576, from %d to %d bytes", least, most))
		}
		return n * unit, nil
	}
}

// sizeOrZero is a size that may also be 0, for the one that holds elsewhere.
func sizeOrZero(least, most int64) parser[int64] {
	return func(v value) (int64, []fault) {
		if v.Shape == scalar && strings.TrimSpace(v.Text) == "0" {
			return 0, nil
		}
		return size(least, most)(v)
	}
}

// listOf understands a list whose every item suits one parser.
func listOf[V any](item parser[V]) parser[[]V] {
	return func(v value) ([]V, []fault) {
		if v.Shape == scalar && v.Split {
			v = split(v)
		}
		if v.Shape != list {
			return nil, wants(v, "a list, such as [a, b]")
		}
		got, faults := []V(nil), []fault(nil)
		for i, each := range v.Items {
			if each.Shape == broken {
				continue
			}
			one, wrong := item(each)
			got = append(got, one)
			faults = append(faults, below(v.sub(i), wrong)...)
		}
		return got, faults
	}
}

// oneOrMore understands a list with something in it, and takes a scalar whole
// as a list of one: an expression may hold commas, in a variable too.
func oneOrMore[V any](item parser[V]) parser[[]V] {
	return func(v value) ([]V, []fault) {
		switch {
		case v.Shape == scalar:
			one, wrong := item(v)
			return []V{one}, wrong
		case v.Shape != list:
			return nil, wants(v, "text, or a list such as [a, b]")
		case len(v.Items) == 0:
			return nil, faulty("is an empty list", "name at least one, or remove it")
		}
		return listOf(item)(v)
	}
}

// oneOrMoreWords is oneOrMore for words, which hold no commas: in a variable
// commas part them.
func oneOrMoreWords(item parser[string]) parser[[]string] {
	return func(v value) ([]string, []fault) {
		if v.Shape == scalar && v.Split {
			v = split(v)
		}
		return oneOrMore(item)(v)
	}
}

// split parts a comma-separated text; blank parts are dropped.
func split(v value) value {
	parts := value{Shape: list, From: v.From}
	for part := range strings.SplitSeq(v.Text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts.Items = append(parts.Items, value{Text: part, From: v.From})
		}
	}
	return parts
}

// texts understands a group of free names, each with a filled text.
func texts(v value) (map[string]string, []fault) {
	if v.Shape != group {
		return nil, wants(v, "a group of names, each with a text")
	}
	got, faults := make(map[string]string, len(v.Items)), []fault(nil)
	for i, each := range v.Items {
		if each.Shape == broken {
			continue
		}
		one, wrong := filledText(each)
		got[v.Names[i]] = one
		faults = append(faults, below(v.sub(i), wrong)...)
	}
	return got, faults
}

func below(at string, faults []fault) []fault {
	for i := range faults {
		faults[i].at = at + faults[i].at
	}
	return faults
}

// listen understands an address to listen on, such as ":8080".
func listen(v value) (string, []fault) {
	got, faults := text(v)
	if faults != nil {
		return "", faults
	}
	_, port, err := net.SplitHostPort(got)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 && port != "0" {
		return "", faulty("is not an address to listen on", `write it as ":8080" or "127.0.0.1:8080"`)
	}
	return got, nil
}

// base understands the address that paths are added to, and drops the slash
// at its end.
func base(v value) (string, []fault) {
	got, faults := address(v)
	return strings.TrimRight(got, "/"), faults
}

// safeBase is a base that is sent credentials: https, unless it is this machine.
func safeBase(v value) (string, []fault) {
	got, faults := base(v)
	if faults != nil {
		return "", faults
	}
	u, err := url.Parse(got)
	if err != nil || u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return "", faulty("is http, which would show the credentials to the network", "use https; only localhost may do without")
	}
	return got, nil
}

// address understands an http or https URL without query, fragment or user.
func address(v value) (string, []fault) {
	got, faults := text(v)
	if faults != nil {
		return "", faults
	}
	u, err := url.Parse(got)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return "", faulty("is not a web address", "write it whole, such as https://example.com")
	case u.User != nil:
		return "", faulty("holds a user name or password", "remove what stands before the @")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(got, "#"):
		return "", faulty("has a query or a fragment", "remove the ? or # and what follows")
	}
	return got, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func database(v value) (DatabaseURL, []fault) {
	got, faults := text(v)
	if faults != nil {
		return DatabaseURL{}, faults
	}
	scheme, rest, _ := strings.Cut(got, "://")
	switch {
	case scheme == "sqlite" && rest != "":
	case scheme == "postgres" || scheme == "postgresql":
		if u, err := url.Parse(got); err != nil || cmp.Or(u.Host, u.RawQuery) == "" {
			return DatabaseURL{}, faulty("is not a valid Postgres address", "write postgres://user:password@host/name, with special characters percent-encoded")
		}
	default:
		return DatabaseURL{}, faulty("is not a database address", "write sqlite://usher.db or postgres://user:password@host/name")
	}
	return NewDatabaseURL(got), nil
}
