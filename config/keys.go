package config

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Key describes one setting, for documentation.
type Key struct {
	// Path is where it stands in the file. NAME stands for the name of a
	// source, [] for each rule or token.
	Path string
	// Env is the variable that wins over the file, or "" when there is none.
	Env string
	// Short is the variable that serves when the file does not set the key,
	// or "" when there is none.
	Short string
	// Default is what holds when nothing is set; "" is nothing.
	Default string
	// Required says that there is no doing without it.
	Required bool
	// Doc is one sentence or two.
	Doc string
}

// key is a row of the schema: a setting of a T. Everything that is known about
// a setting is in its row.
type key[T any] struct {
	path  string // below the T
	short string
	def   string
	need  string // the mend when it is missing; "" for an optional key
	// unless says of what was read that the key is not needed after all.
	unless func(*T) bool
	// file says that no variable could hold it.
	file bool
	doc  string
	read func(*T, value) []fault
}

// env is the variable that wins over the file for the key below prefix, or ""
// when there is none.
func (k key[T]) env(prefix string) string {
	if k.file {
		return ""
	}
	return "USHER_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(prefix+k.path))
}

// to makes a reader that parses a value into a field, and leaves the field
// alone when something is wrong.
func to[T, V any](field func(*T) *V, parse parser[V]) func(*T, value) []fault {
	return func(t *T, v value) []fault {
		got, faults := parse(v)
		if len(faults) == 0 {
			*field(t) = got
		}
		return faults
	}
}

var sourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

var configKeys = []key[Config]{
	{
		path: "environment", def: Production,
		doc:  "`production` or `development`.",
		read: to(func(c *Config) *string { return &c.Environment }, choice(Production, Development)),
	}, {
		path: "listen", short: "PORT", def: ":8080",
		doc:  "Address to listen on. `PORT` is the port alone.",
		read: to(func(c *Config) *string { return &c.Listen }, listen),
	}, {
		path: "public_url",
		doc:  "Usher's own address as the world sees it, for links and for senders that sign the URL.",
		read: to(func(c *Config) *string { return &c.PublicURL }, base),
	}, {
		path: "admin_token",
		doc:  "Token of the `/v1` API and of the pages, at least 24 characters, with the role `admin`. Without any token both are off.",
		read: to(func(c *Config) *Secret { return &c.AdminToken }, longSecret(24)),
	}, {
		path: "database", short: "DATABASE_URL", def: "sqlite://usher.db",
		doc:  "`sqlite://FILE`, or `postgres://USER:PASSWORD@HOST/NAME`, which any number of instances share.",
		read: to(func(c *Config) *DatabaseURL { return &c.Database }, database),
	}, {
		path: "log.level", def: "info",
		doc:  "`debug`, `info`, `warn` or `error`.",
		read: to(func(c *Config) *string { return &c.Log.Level }, choice("debug", "info", "warn", "error")),
	}, {
		path: "log.format",
		doc:  "`json` or `text`. Unset: text on a terminal, else JSON.",
		read: to(func(c *Config) *string { return &c.Log.Format }, choice("json", "text")),
	}, {
		path: "max_body", def: "1MiB",
		doc:  "Largest webhook taken, in bytes, `KiB` or `MiB`. A larger one is answered 413.",
		read: to(func(c *Config) *int64 { return &c.MaxBody }, size(1<<10, 64<<20)),
	}, {
		path: "shutdown_timeout", def: "8s",
		doc:  "Time that running work gets to finish when Usher is told to stop.",
		read: to(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, duration(0, 10*time.Minute)),
	}, {
		path: "retention.bodies", def: "90d",
		doc:  "How long the raw bodies of decided webhooks are kept, such as `90d` or `36h`; `0` is for ever.",
		read: to(func(c *Config) *time.Duration { return &c.Retention.Bodies }, keepFor),
	}, {
		path: "retention.events", def: "400d",
		doc:  "How long events that were skipped are kept; `0` is for ever. Those that spoke for an invitation are kept in any case.",
		read: to(func(c *Config) *time.Duration { return &c.Retention.Events }, keepFor),
	}, {
		path: "retool.url", short: "RETOOL_URL", need: "set RETOOL_URL, or retool.url in usher.yaml",
		doc:  "Address of the Retool organisation, such as `https://acme.retool.com`.",
		read: to(func(c *Config) *string { return &c.Retool.URL }, safeBase),
	}, {
		path: "retool.token", short: "RETOOL_API_TOKEN", need: "set RETOOL_API_TOKEN, or retool.token in usher.yaml",
		doc:  "Retool API token that may read and write users.",
		read: to(func(c *Config) *Secret { return &c.Retool.Token }, secret),
	}, {
		path: "retool.api", def: "auto",
		doc:  "`v2`, `bulk`, or `auto`: v2, and bulk where the plan refuses it.",
		read: to(func(c *Config) *string { return &c.Retool.API }, choice("auto", "v2", "bulk")),
	}, {
		path: "retool.requests_per_minute", def: "45",
		doc:  "Pace of the calls to Retool, 1 to 6000: Retool's limit is the organisation's. 0 is no pace, for a sandbox.",
		read: to(func(c *Config) *int { return &c.Retool.RequestsPerMinute }, whole(0, 6000)),
	}, {
		path: "retool.timeout", def: "30s",
		doc:  "Time that one call to Retool may take.",
		read: to(func(c *Config) *time.Duration { return &c.Retool.Timeout }, duration(time.Second, 10*time.Minute)),
	}, {
		path: "retool.max_tries", def: "20",
		doc:  "Attempts before an invitation counts as failed, 1 to 100.",
		read: to(func(c *Config) *int { return &c.Retool.MaxTries }, whole(1, 100)),
	}, {
		path: "retool.first_wait", def: "30s",
		doc:  "Pause after an invitation's first failed attempt; it doubles from there, up to 6 hours.",
		read: to(func(c *Config) *time.Duration { return &c.Retool.FirstWait }, duration(10*time.Millisecond, time.Hour)),
	}, {
		path: "retool.resend_expired", def: "0",
		doc:  "How often an invitation is sent again by itself when its link died unused, 0 to 10. With 0 that is left to a person.",
		read: to(func(c *Config) *int { return &c.Retool.ResendExpired }, whole(0, 10)),
	}, {
		path: "retool.present_phrases",
		doc:  "Further phrases by which Retool says that the user is already there.",
		read: to(func(c *Config) *[]string { return &c.Retool.PresentPhrases }, listOf(filledText)),
	}, {
		path: "retool.bulk_body",
		doc:  "Body of the bulk call, where it must differ from the built-in one.",
		read: to(func(c *Config) *string { return &c.Retool.BulkBody }, text),
	}, {
		path: "api.requests_per_minute", def: "600",
		doc:  "How many calls of the `/v1` API one token may make; more are answered 429. 0 is no limit.",
		read: to(func(c *Config) *int { return &c.API.RequestsPerMinute }, whole(0, 1_000_000)),
	}, {
		path: "seats.price",
		doc:  "What one external user costs you a month, such as `12.50`, for the estimate in the summary. Unset: no estimate.",
		read: to(func(c *Config) *string { return &c.Seats.Price }, decimal),
	}, {
		path: "seats.currency", def: "USD",
		doc:  "Currency of `seats.price`.",
		read: to(func(c *Config) *string { return &c.Seats.Currency }, currency),
	}, {
		path: "seats.included", def: "0",
		doc:  "How many external users your plan includes at no further cost.",
		read: to(func(c *Config) *int { return &c.Seats.Included }, whole(0, 100_000_000)),
	}, {
		path: "domains.internal", short: "USHER_INTERNAL_DOMAINS",
		doc:  "Domains of your own organisation, which are never invited as external.",
		read: to(func(c *Config) *[]string { return &c.Domains.Internal }, listOf(filledText)),
	}, {
		path: "domains.allow",
		doc:  "When set, only these domains are invited.",
		read: to(func(c *Config) *[]string { return &c.Domains.Allow }, listOf(filledText)),
	}, {
		path: "domains.deny",
		doc:  "Domains that are never invited; `*.example.com` takes subdomains.",
		read: to(func(c *Config) *[]string { return &c.Domains.Deny }, listOf(filledText)),
	},
}

var tokenKeys = []key[Token]{
	{
		path: "name", need: "name who has the token: it goes into the audit trail",
		doc:  "Further tokens, each for one user of the API or the pages: its name in the audit trail.",
		read: to(func(t *Token) *string { return &t.Name }, tokenName),
	}, {
		path: "hash", need: "give sha256: and what this prints: printf %s TOKEN | sha256sum",
		doc:  "`sha256:` and the SHA-256 of the token in hex.",
		read: to(func(t *Token) *Secret { return &t.Hash }, tokenHash),
	}, {
		path: "role", need: "set it to read, invite or admin",
		doc:  "`read` sees everything but tokens and the audit trail; `invite` decides about invitations too; `admin` may do all.",
		read: to(func(t *Token) *string { return &t.Role }, choice(RoleRead, RoleInvite, RoleAdmin)),
	}, {
		path: "expires",
		doc:  "From when on the token opens nothing any more: a day or a time in UTC. Unset: never.",
		read: to(func(t *Token) *time.Time { return &t.Expires }, dayOrTime),
	},
}

var ruleKeys = []key[Rule]{
	{
		path: "when",
		doc:  "Expression over `event`; the first rule that matches wins. Unset matches every event.",
		read: to(func(r *Rule) *string { return &r.When }, text),
	}, {
		path: "decision",
		doc:  "`invite`, `hold` (a person must approve) or `skip`. Unset is `invite`.",
		read: to(func(r *Rule) *string { return &r.Decision }, choice(Invite, Hold, Skip)),
	}, {
		path: "groups",
		doc:  "Ids of the Retool groups that the customer joins.",
		read: to(func(r *Rule) *[]int64 { return &r.Groups }, listOf(id)),
	}, {
		path: "attributes",
		doc:  "Names of user attributes, each with the expression that gives its value.",
		read: to(func(r *Rule) *map[string]string { return &r.Attributes }, texts),
	},
}

var sourceKeys = []key[Source]{
	{
		path: "preset",
		doc:  "The kind of sender, as `usher presets` lists them; without one, `verify` and what follows describe it. `STRIPE_WEBHOOK_SECRET` implies `stripe` for the source `stripe`.",
		read: to(func(s *Source) *string { return &s.Preset }, presetName),
	}, {
		path: "secrets", short: "STRIPE_WEBHOOK_SECRET", need: "add the signing secret: an empty one would let anyone in",
		unless: func(s *Source) bool { return s.Verify.Kind == unsigned },
		doc:    "Signing secrets, at least one unless `verify.kind` is `none`; any may match, for rotation.",
		read:   to(func(s *Source) *[]Secret { return &s.Secrets }, listOf(secret)),
	}, {
		path: "public_url",
		doc:  "The source's whole address as its sender knows it, without the query.",
		read: to(func(s *Source) *string { return &s.PublicURL }, address),
	}, {
		path: "require_livemode",
		doc:  "Whether test-mode events are skipped. Unset: true in production, else false.",
		read: to(func(s *Source) *bool { return &s.RequireLivemode }, truth),
	}, {
		path: "no_payment_required", def: Invite,
		doc:  "What becomes of a checkout that cost nothing: `invite`, `hold` or `skip`.",
		read: to(func(s *Source) *string { return &s.NoPaymentRequired }, choice(Invite, Hold, Skip)),
	}, {
		path: "events",
		doc:  "Event types that invite besides the preset's own, such as `customer.subscription.created`.",
		read: to(func(s *Source) *[]string { return &s.Events }, listOf(filledText)),
	}, {
		path: "api_key", short: "STRIPE_API_KEY",
		doc:  "Key for asking the sender (Stripe, a HubSpot private app, Paddle) for an address that the event leaves out.",
		read: to(func(s *Source) *Secret { return &s.APIKey }, secret),
	}, {
		path: "api_url",
		doc:  "Base address of the API that `api_key` is for, where it is not the usual one.",
		read: to(func(s *Source) *string { return &s.APIURL }, safeBase),
	}, {
		path: "allow_unsigned",
		doc:  "Whether `verify.kind: none` is meant: anybody could then invite anybody.",
		read: to(func(s *Source) *bool { return &s.AllowUnsigned }, truth),
	}, {
		path: "allow_legacy",
		doc:  "Whether the preset's older signatures, which carry no time, are taken too.",
		read: to(func(s *Source) *bool { return &s.AllowLegacy }, truth),
	}, {
		path: "max_body",
		doc:  "Largest webhook taken from this source. Unset or 0: the general `max_body`.",
		read: to(func(s *Source) *int64 { return &s.MaxBody }, sizeOrZero(1<<10, 64<<20)),
	}, {
		path: "verify.kind",
		doc:  "How the sender proves itself: `hmac`, `hash`, `token`, `path_token`, `none`, or `stripe`, as its preset has it. What is unset below `verify` is the preset's.",
		read: to(func(s *Source) *string { return &s.Verify.Kind }, choice("hmac", "hash", "token", "path_token", unsigned, "stripe")),
	}, {
		path: "verify.header",
		doc:  "Header that carries the signature or the token.",
		read: to(func(s *Source) *string { return &s.Verify.Header }, text),
	}, {
		path: "verify.algorithm",
		doc:  "Hash of the signature: `sha256` (usual), `sha1` or `sha512`.",
		read: to(func(s *Source) *string { return &s.Verify.Algorithm }, choice("sha256", "sha1", "sha512")),
	}, {
		path: "verify.encoding",
		doc:  "How the signature is written: `hex` (usual), `base64` or `base64url`.",
		read: to(func(s *Source) *string { return &s.Verify.Encoding }, choice("hex", "base64", "base64url")),
	}, {
		path: "verify.prefix",
		doc:  "What must stand before the signature or the token, such as `sha256=`. White space counts.",
		read: to(func(s *Source) *string { return &s.Verify.Prefix }, rawText),
	}, {
		path: "verify.format",
		doc:  "What the header holds: `single` (usual), the signature alone; `kv`, `t=…,v1=…`; `list`, `v1,… v1,…` as in Standard Webhooks.",
		read: to(func(s *Source) *string { return &s.Verify.Format }, choice("single", "kv", "list")),
	}, {
		path: "verify.pair_sep",
		doc:  "What parts the pairs of `kv` (usually a comma) or the entries of `list` (a space).",
		read: to(func(s *Source) *string { return &s.Verify.PairSep }, rawText),
	}, {
		path: "verify.sig_key",
		doc:  "Key of the signatures in `kv`, version of those in `list`.",
		read: to(func(s *Source) *string { return &s.Verify.SigKey }, text),
	}, {
		path: "verify.ts_key",
		doc:  "Key of the time in `kv`.",
		read: to(func(s *Source) *string { return &s.Verify.TSKey }, text),
	}, {
		path: "verify.key_coding",
		doc:  "How a secret becomes the key: `raw` (usual), `base64` or `hex`; one, or several that are tried in order.",
		read: to(func(s *Source) *[]string { return &s.Verify.KeyCoding }, oneOrMoreWords(choice("raw", "base64", "hex"))),
	}, {
		path: "verify.key_prefix",
		doc:  "What is taken off a secret before `base64` and `hex`, such as `whsec_`.",
		read: to(func(s *Source) *string { return &s.Verify.KeyPrefix }, rawText),
	}, {
		path: "verify.signed",
		doc:  "What was signed, of `{body}`, `{ts}`, `{method}`, `{url}`, `{secret}` and `{header:Name}`, such as `{ts}.{body}`. White space counts.",
		read: to(func(s *Source) *string { return &s.Verify.Signed }, rawText),
	}, {
		path: "verify.ts_header",
		doc:  "Header that carries the time.",
		read: to(func(s *Source) *string { return &s.Verify.TSHeader }, text),
	}, {
		path: "verify.ts_unit",
		doc:  "How the time is written: `s` (usual) or `ms` since 1970, or `rfc3339`.",
		read: to(func(s *Source) *string { return &s.Verify.TSUnit }, choice("s", "ms", "rfc3339")),
	}, {
		path: "verify.tolerance",
		doc:  "How far the signed time may be from ours, either way, from 1s on. Usually 5m.",
		read: to(func(s *Source) *time.Duration { return &s.Verify.Tolerance }, tolerance),
	}, {
		path: "verify.url_decode",
		doc:  "`hubspot` decodes the escapes in the URL that HubSpot decodes before it signs.",
		read: to(func(s *Source) *string { return &s.Verify.URLDecode }, choice("hubspot")),
	}, {
		path: "verify.body_select",
		doc:  "`first_array_element` where only the first of a batch is signed: the rest is dropped.",
		read: to(func(s *Source) *string { return &s.Verify.BodySelect }, choice("first_array_element")),
	}, {
		path: "handshake",
		doc:  "How the sender tries the address before it sends events: `url_verification`, `challenge` or `webhook_id`.",
		read: to(func(s *Source) *string { return &s.Handshake }, choice("url_verification", "challenge", "webhook_id")),
	}, {
		path: "body_field",
		doc:  "Form field that holds the event as JSON.",
		read: to(func(s *Source) *string { return &s.BodyField }, text),
	}, {
		path: "each",
		doc:  "Expression for the list of events in one request, each of them `item`. Unset: the request is one event.",
		read: to(func(s *Source) *string { return &s.Each }, text),
	}, {
		path: "ignore",
		doc:  "Expression that is true for a sender's test or ping.",
		read: to(func(s *Source) *string { return &s.Ignore }, text),
	}, {
		path: "when",
		doc:  "Expression that is true if a customer came. Unset: always.",
		read: to(func(s *Source) *string { return &s.When }, text),
	}, {
		path: "email",
		doc:  "Expression for the address, or a list of them: the first that gives a usable one wins. A variable holds one.",
		read: to(func(s *Source) *[]string { return &s.Email }, oneOrMore(filledText)),
	}, {
		path: "event_id",
		doc:  "Expression for the sender's identity of the event.",
		read: to(func(s *Source) *string { return &s.EventID }, text),
	}, {
		path: "type",
		doc:  "Expression for the sender's word for what happened.",
		read: to(func(s *Source) *string { return &s.Type }, text),
	}, {
		path: "name",
		doc:  "Expression for the person's name.",
		read: to(func(s *Source) *string { return &s.Name }, text),
	}, {
		path: "customer",
		doc:  "Expression for the sender's id of the customer.",
		read: to(func(s *Source) *string { return &s.Customer }, text),
	}, {
		path: "occurred_at",
		doc:  "Expression for when it happened: seconds or milliseconds since 1970, or RFC 3339.",
		read: to(func(s *Source) *string { return &s.OccurredAt }, text),
	}, {
		path: "livemode",
		doc:  "Expression that is false for test data. Unset: all is live.",
		read: to(func(s *Source) *string { return &s.Livemode }, text),
	}, {
		path: "accepted",
		doc:  "Expression that is true if the event says that an invited person came in.",
		read: to(func(s *Source) *string { return &s.Accepted }, text),
	}, {
		path: "attributes", file: true,
		doc:  "Names of Retool user attributes, each with the expression that gives its value.",
		read: to(func(s *Source) *map[string]string { return &s.Attributes }, texts),
	}, {
		path: "look_up",
		doc:  "Whom to ask, with `api_key`, for the address of `customer` when the event carries none: `hubspot`, `paddle` or `stripe`.",
		read: to(func(s *Source) *string { return &s.LookUp }, choice("hubspot", "paddle", "stripe")),
	},
}

// Keys lists every setting, in the order that suits a reader.
func Keys() []Key {
	return slices.Concat(
		describe(configKeys, "", true),
		describe(tokenKeys, "tokens[].", false),
		describe(ruleKeys, "access[].", false),
		describe(sourceKeys, "sources.NAME.", true),
	)
}

func describe[T any](keys []key[T], prefix string, inEnv bool) []Key {
	all := make([]Key, len(keys))
	for i, k := range keys {
		all[i] = Key{Path: prefix + k.path, Short: k.short, Default: k.def, Required: k.need != "", Doc: k.doc}
		if inEnv {
			all[i].Env = k.env(prefix)
		}
	}
	return all
}
