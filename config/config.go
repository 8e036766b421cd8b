// Package config turns usher.yaml and the environment into one checked
// [Config]. Every mistake is reported at once, each with its place, the key,
// what is wrong and how to mend it; no report ever shows a value.
//
// Four layers make a setting, the later over the earlier: its default, its
// shorthand variable (RETOOL_URL), the file, and the variable made of USHER_
// and its path (USHER_RETOOL_URL). Every variable NAME may come as NAME_FILE
// instead, which names a file that holds the value; an empty variable counts as
// unset. In the file, ${NAME} stands for a variable and $${ for a plain ${.
package config

import (
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// What [Config.Environment] can be.
const (
	Production  = "production"
	Development = "development"
)

// What [Rule.Decision] and [Source.NoPaymentRequired] can be.
const (
	Invite = "invite"
	Hold   = "hold"
	Skip   = "skip"
)

// What [Token.Role] can be.
const (
	RoleRead   = "read"
	RoleInvite = "invite"
	RoleAdmin  = "admin"
)

// unsigned is the [Verify.Kind] under which nothing is proved.
const unsigned = "none"

// Config is everything an operator can set. See [Keys] for the meaning of
// each key.
type Config struct {
	Environment     string            `yaml:"environment"` // Production or Development
	Listen          string            `yaml:"listen"`
	PublicURL       string            `yaml:"public_url"` // without a slash at its end; "" when unset
	AdminToken      Secret            `yaml:"admin_token"`
	Database        DatabaseURL       `yaml:"database"`
	Log             Log               `yaml:"log"`
	MaxBody         int64             `yaml:"max_body"` // bytes
	ShutdownTimeout time.Duration     `yaml:"shutdown_timeout"`
	Retention       Retention         `yaml:"retention"`
	Retool          Retool            `yaml:"retool"`
	API             API               `yaml:"api"`
	Tokens          []Token           `yaml:"tokens"`
	Seats           Seats             `yaml:"seats"`
	Domains         Domains           `yaml:"domains"`
	Access          []Rule            `yaml:"access"`
	Sources         map[string]Source `yaml:"sources"` // by name, the NAME in /webhooks/NAME

	file   string
	places map[string]place // where each key was set, by path
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json or text; "" leaves it to the terminal
}

// Retention says for how long what is done is kept; 0 is for ever.
type Retention struct {
	Bodies time.Duration `yaml:"bodies"`
	Events time.Duration `yaml:"events"`
}

// Retool is the organisation that customers are invited to.
type Retool struct {
	URL               string        `yaml:"url"` // without a slash at its end
	Token             Secret        `yaml:"token"`
	API               string        `yaml:"api"` // auto, v2 or bulk
	RequestsPerMinute int           `yaml:"requests_per_minute"`
	Timeout           time.Duration `yaml:"timeout"`
	MaxTries          int           `yaml:"max_tries"`
	FirstWait         time.Duration `yaml:"first_wait"`
	ResendExpired     int           `yaml:"resend_expired"`
	PresentPhrases    []string      `yaml:"present_phrases"`
	BulkBody          string        `yaml:"bulk_body"`
}

// API is how the /v1 API may be used.
type API struct {
	RequestsPerMinute int `yaml:"requests_per_minute"` // of one token; 0 is no limit
}

// Token is one that opens the API and the pages, besides Config.AdminToken.
type Token struct {
	Name    string    `yaml:"name"`
	Hash    Secret    `yaml:"hash"` // SHA-256 in small hex digits, without the word before it
	Role    string    `yaml:"role"` // RoleRead, RoleInvite or RoleAdmin
	Expires time.Time `yaml:"expires,omitempty"`
}

// Seats is what people cost at Retool, for an estimate.
type Seats struct {
	Price    string `yaml:"price"` // a decimal number; "" when unset
	Currency string `yaml:"currency"`
	Included int    `yaml:"included"`
}

// Domains is the domain rule as written. The entries are trimmed and not
// blank; whether they are domains is for package access to say.
type Domains struct {
	Internal []string `yaml:"internal"`
	Allow    []string `yaml:"allow"`
	Deny     []string `yaml:"deny"`
}

// Rule is one access rule as written, its expressions not compiled.
type Rule struct {
	When       string            `yaml:"when"`     // "" matches every event
	Decision   string            `yaml:"decision"` // Invite, Hold, Skip, or "" for Invite
	Groups     []int64           `yaml:"groups"`
	Attributes map[string]string `yaml:"attributes"` // expressions by name
}

// Source is one configured sender. The fields from Verify on describe it, its
// expressions not compiled; the zero value of each leaves it to the preset.
// What they mean, and whether they make sense together, is for package webhook
// to say.
type Source struct {
	Preset            string   `yaml:"preset"`     // the look of a name; "" when Verify tells all
	Secrets           []Secret `yaml:"secrets"`    // none is blank
	PublicURL         string   `yaml:"public_url"` // exactly as written; "" when unset
	RequireLivemode   bool     `yaml:"require_livemode"`
	NoPaymentRequired string   `yaml:"no_payment_required"` // Invite, Hold or Skip
	Events            []string `yaml:"events"`
	APIKey            Secret   `yaml:"api_key"`
	APIURL            string   `yaml:"api_url"` // without a slash at its end; "" when unset
	AllowUnsigned     bool     `yaml:"allow_unsigned"`
	AllowLegacy       bool     `yaml:"allow_legacy"`
	MaxBody           int64    `yaml:"max_body,omitempty"` // bytes; 0 is Config.MaxBody

	Verify     Verify            `yaml:"verify,omitempty"`
	Handshake  string            `yaml:"handshake,omitempty"`
	BodyField  string            `yaml:"body_field,omitempty"`
	Each       string            `yaml:"each,omitempty"`
	Ignore     string            `yaml:"ignore,omitempty"`
	When       string            `yaml:"when,omitempty"`
	Email      []string          `yaml:"email,omitempty"`
	EventID    string            `yaml:"event_id,omitempty"`
	Type       string            `yaml:"type,omitempty"`
	Name       string            `yaml:"name,omitempty"`
	Customer   string            `yaml:"customer,omitempty"`
	OccurredAt string            `yaml:"occurred_at,omitempty"`
	Livemode   string            `yaml:"livemode,omitempty"`
	Accepted   string            `yaml:"accepted,omitempty"`
	Attributes map[string]string `yaml:"attributes,omitempty"` // expressions by name
	LookUp     string            `yaml:"look_up,omitempty"`
}

// Verify is how a sender proves that a request is its own.
type Verify struct {
	Kind       string        `yaml:"kind,omitempty"`
	Header     string        `yaml:"header,omitempty"`
	Algorithm  string        `yaml:"algorithm,omitempty"`
	Encoding   string        `yaml:"encoding,omitempty"`
	Prefix     string        `yaml:"prefix,omitempty"` // exactly as written
	Format     string        `yaml:"format,omitempty"`
	PairSep    string        `yaml:"pair_sep,omitempty"` // exactly as written
	SigKey     string        `yaml:"sig_key,omitempty"`
	TSKey      string        `yaml:"ts_key,omitempty"`
	KeyCoding  []string      `yaml:"key_coding,omitempty"`
	KeyPrefix  string        `yaml:"key_prefix,omitempty"` // exactly as written
	Signed     string        `yaml:"signed,omitempty"`     // exactly as written
	TSHeader   string        `yaml:"ts_header,omitempty"`
	TSUnit     string        `yaml:"ts_unit,omitempty"`
	Tolerance  time.Duration `yaml:"tolerance,omitempty"`
	URLDecode  string        `yaml:"url_decode,omitempty"`
	BodySelect string        `yaml:"body_select,omitempty"`
}

// Options say where the configuration comes from.
type Options struct {
	// File is the configuration file; "" is none.
	File string
	// Env is the environment, as os.Environ gives it.
	Env []string
	// ReadFile reads File and the files that NAME_FILE variables name;
	// os.ReadFile by default.
	ReadFile func(name string) ([]byte, error)
}

// Load reads and checks the configuration. The Config is never nil and holds
// whatever could be understood, so that a caller can make further checks and
// report them in the same run (see [Config.Problem]). It may be used only when
// there are no problems. When the file cannot be read or is not YAML, nothing
// is called missing.
func Load(o Options) (*Config, Problems) {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	doc := readDocument(o.File, o.ReadFile)
	l := &loader{
		env:      newEnvironment(o.Env, o.ReadFile),
		doc:      doc,
		problems: doc.problems,
		cfg:      &Config{file: o.File, places: doc.places, Sources: map[string]Source{}},
	}
	l.sources = l.sourceNames()
	l.merge(l.defaults(), l.shorthands(), doc.settings, l.overrides())
	l.fill()
	l.check()
	return l.cfg, l.problems.Sorted()
}

// Problem makes a problem with the key at path, for checks made elsewhere. It
// stands where the key, or else the nearest thing around it, was set.
func (c *Config) Problem(path, what, mend string) Problem {
	at := place{File: c.file}
	for around := path; around != ""; around = around[:max(0, strings.LastIndexAny(around, ".["))] {
		if found, ok := c.places[around]; ok {
			at = found
			break
		}
	}
	return Problem{File: at.File, Line: at.Line, Path: path, What: what, Mend: mend}
}

// IsSet reports whether the key at path was set, by the file or a variable,
// and not left to its default.
func (c *Config) IsSet(path string) bool {
	_, ok := c.places[path]
	return ok
}

// Warnings are settings that are allowed and probably not meant.
func (c *Config) Warnings() []Problem {
	var found []Problem
	if len(c.Domains.Internal) == 0 {
		found = append(found, c.Problem("domains.internal",
			"is empty: people on your own domains would be invited, and become internal seats", "set domains.internal or USHER_INTERNAL_DOMAINS"))
	}
	if c.AdminToken.IsBlank() && len(c.Tokens) == 0 {
		found = append(found, c.Problem("admin_token",
			"is unset: the /v1 API and the pages are off", "set USHER_ADMIN_TOKEN"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		found = append(found, c.sourceWarnings("sources."+name, c.Sources[name])...)
	}
	return Problems(found).Sorted()
}

func (c *Config) sourceWarnings(path string, s Source) []Problem {
	const longTolerance = time.Hour
	var found []Problem
	if c.Environment == Production && !s.RequireLivemode {
		found = append(found, c.Problem(path+".require_livemode",
			"is false in production: test payments would invite people", "remove it"))
	}
	if s.Verify.Kind == unsigned {
		found = append(found, c.Problem(path+".verify.kind",
			"accepts anything that anybody sends", "use verify: {kind: path_token}, or a token header"))
	}
	if s.AllowLegacy {
		found = append(found, c.Problem(path+".allow_legacy",
			"accepts signatures without a time, which can be replayed for ever", "remove it once the sender signs with v3"))
	}
	if s.Verify.Tolerance > longTolerance {
		found = append(found, c.Problem(path+".verify.tolerance",
			"lets a captured request be replayed for that long", "5m is usual"))
	}
	return found
}

// Redacted returns the configuration in force as YAML, with the secrets masked.
func (c *Config) Redacted() string {
	text, err := yaml.Marshal(c)
	if err != nil {
		return "# " + err.Error() + "\n"
	}
	return string(text)
}
