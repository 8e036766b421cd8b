package config_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-dev/usher/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// canary stands for every secret; it may never be seen.
const canary = "canary_0123456789_0123456789"

// enough is an environment that needs no file.
var enough = []string{
	"STRIPE_WEBHOOK_SECRET=whsec_" + canary,
	"RETOOL_URL=https://acme.retool.com",
	"RETOOL_API_TOKEN=retool_" + canary,
}

// files is a file system for Options.ReadFile.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// load reads a file of this text, if there is any, beside enough and env.
func load(t *testing.T, text string, env ...string) (*config.Config, config.Problems) {
	t.Helper()
	return loadFiles(t, files{"usher.yaml": text}, env...)
}

func loadFiles(t *testing.T, f files, env ...string) (*config.Config, config.Problems) {
	t.Helper()
	o := config.Options{Env: slices.Concat(enough, env), ReadFile: f.read}
	if f["usher.yaml"] != "" {
		o.File = "usher.yaml"
	}
	cfg, problems := config.Load(o)
	if cfg == nil {
		t.Fatal("the config is nil")
	}
	if strings.Contains(problems.Error(), canary) {
		t.Errorf("the problems show a secret:\n%v", problems)
	}
	return cfg, problems
}

func mustLoad(t *testing.T, text string, env ...string) *config.Config {
	t.Helper()
	cfg, problems := load(t, text, env...)
	if err := problems.Err(); err != nil {
		t.Fatalf("problems:\n%v", err)
	}
	return cfg
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	const golden = "testdata/mistakes.golden"
	_, problems := config.Load(config.Options{
		File: "testdata/mistakes.yaml",
		Env: []string{
			"EMPTY=", "STRIPE_WEBHOOK_SECRET=whsec_" + canary, "STRIPE_WEBHOOK_SECRET_FILE=/run/secrets/stripe",
			"USHER_RETOOL_TIMEOUT=" + canary, "USHER_RETOOL_REQUEST_PER_MINUTE=90", "RETOOL_URL_FILE=/" + canary,
		},
	})
	got := problems.Error() + "\n"
	if strings.Contains(got, canary) {
		t.Error("the problems show a secret")
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestEnvironmentAloneIsEnough(t *testing.T) {
	cfg := mustLoad(t, "", "USHER_INTERNAL_DOMAINS=acme.com, acme.org", "USHER_ADMIN_TOKEN="+canary,
		"DATABASE_URL=postgres://u:"+canary+"@db/usher", "PORT=9000", "STRIPE_API_KEY=rk_"+canary)
	stripe := cfg.Sources["stripe"]
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{what: "environment", got: cfg.Environment, want: config.Production},
		{what: "listen", got: cfg.Listen, want: ":9000"},
		{what: "admin token", got: cfg.AdminToken.Reveal(), want: canary},
		{what: "database", got: cfg.Database.Reveal(), want: "postgres://u:" + canary + "@db/usher"},
		{what: "log", got: cfg.Log, want: config.Log{Level: "info"}},
		{what: "max_body", got: cfg.MaxBody, want: int64(1 << 20)},
		{what: "retention.bodies", got: cfg.Retention.Bodies, want: 90 * 24 * time.Hour},
		{what: "retention.events", got: cfg.Retention.Events, want: 400 * 24 * time.Hour},
		{what: "shutdown_timeout", got: cfg.ShutdownTimeout, want: 8 * time.Second},
		{what: "retool", got: cfg.Retool, want: config.Retool{
			URL: "https://acme.retool.com", Token: config.NewSecret("retool_" + canary), API: "auto",
			RequestsPerMinute: 45, Timeout: 30 * time.Second, MaxTries: 20, FirstWait: 30 * time.Second,
		}},
		{what: "internal domains", got: cfg.Domains.Internal, want: []string{"acme.com", "acme.org"}},
		{what: "source", got: stripe, want: config.Source{
			Preset: "stripe", Secrets: []config.Secret{config.NewSecret("whsec_" + canary)}, RequireLivemode: true,
			NoPaymentRequired: config.Invite, APIKey: config.NewSecret("rk_" + canary),
		}},
		{what: "warnings", got: len(cfg.Warnings()), want: 0},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s: got %v, want %v", check.what, check.got, check.want)
		}
	}
}

func TestTheDesignsExampleLoads(t *testing.T) {
	text, err := os.ReadFile("testdata/design.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, string(text), "USHER_ADMIN_TOKEN="+canary, "TYPEFORM_SECRET=form_"+canary, "BILLING_SECRET=billing_"+canary)
	want := []config.Rule{
		{
			When: `event.source == "stripe" && event.payment_link == "plink_1"`, Groups: []int64{1042},
			Attributes: map[string]string{"plan": `"pro"`, "stripe_customer": "event.customer"},
		},
		{When: `event.country == "US"`, Decision: config.Hold},
	}
	if !reflect.DeepEqual(cfg.Access, want) {
		t.Errorf("access: got %+v, want %+v", cfg.Access, want)
	}
	if got := cfg.Sources["stripe"].Secrets[0].Reveal(); got != "whsec_"+canary {
		t.Errorf("the secret is not the variable's")
	}
	for name, want := range map[string]config.Source{
		"signup-form": {
			Preset: "typeform", Secrets: []config.Secret{config.NewSecret("form_" + canary)},
			RequireLivemode: true, NoPaymentRequired: config.Invite,
		},
		"billing": {
			Secrets: []config.Secret{config.NewSecret("billing_" + canary)}, RequireLivemode: true, NoPaymentRequired: config.Invite,
			Verify: config.Verify{
				Kind: "hmac", Header: "X-Sig", Format: "kv", TSKey: "t", SigKey: "v1", Signed: "{ts}.{body}", Tolerance: 5 * time.Minute,
			},
			When: `body.type == "payment.succeeded"`, Each: "body.items",
			Email: []string{"body.customer?.email ?? body.email"}, EventID: "body.id",
		},
	} {
		if got := cfg.Sources[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if shown := cfg.Redacted(); strings.Contains(shown, canary) || !strings.Contains(shown, "signed: '{ts}.{body}'") {
		t.Errorf("redacted:\n%s", shown)
	}
}

func TestEveryKeyOfASourceIsTakenIn(t *testing.T) {
	cfg := mustLoad(t, `
sources:
  all:
    preset: hubspot
    secrets: [s]
    public_url: https://usher.example.com/webhooks/all
    require_livemode: true
    no_payment_required: hold
    events: [contact.creation]
    api_key: key
    api_url: https://api.example.com/
    allow_unsigned: true
    allow_legacy: true
    max_body: 2MiB
    verify:
      kind: hmac
      header: X-Sig
      algorithm: sha512
      encoding: base64url
      prefix: "sha512= "
      format: list
      pair_sep: " "
      sig_key: v1
      ts_key: t
      key_coding: [base64, raw]
      key_prefix: " whsec_"
      signed: "{ts}\n{body}\n"
      ts_header: X-Time
      ts_unit: rfc3339
      tolerance: 876000h
      url_decode: hubspot
      body_select: first_array_element
    handshake: webhook_id
    body_field: data
    each: body.items
    ignore: body.test
    when: true
    email: [body.email, "first(body.a, body.b)"]
    event_id: 5
    type: body.type
    name: body.name
    customer: body.customer
    occurred_at: body.at
    livemode: false
    accepted: body.type == "user.joined"
    attributes: {plan: body.plan, "is.trial": true, seats: 5}
    look_up: paddle
`)
	want := config.Source{
		Preset: "hubspot", Secrets: []config.Secret{config.NewSecret("s")}, PublicURL: "https://usher.example.com/webhooks/all",
		RequireLivemode: true, NoPaymentRequired: config.Hold, Events: []string{"contact.creation"},
		APIKey: config.NewSecret("key"), APIURL: "https://api.example.com",
		AllowUnsigned: true, AllowLegacy: true, MaxBody: 2 << 20,
		Verify: config.Verify{
			Kind: "hmac", Header: "X-Sig", Algorithm: "sha512", Encoding: "base64url", Prefix: "sha512= ", Format: "list", PairSep: " ",
			SigKey: "v1", TSKey: "t", KeyCoding: []string{"base64", "raw"}, KeyPrefix: " whsec_", Signed: "{ts}\n{body}\n",
			TSHeader: "X-Time", TSUnit: "rfc3339", Tolerance: 876000 * time.Hour, URLDecode: "hubspot",
			BodySelect: "first_array_element",
		},
		Handshake: "webhook_id", BodyField: "data", Each: "body.items", Ignore: "body.test", When: "true",
		Email: []string{"body.email", "first(body.a, body.b)"}, EventID: "5", Type: "body.type", Name: "body.name",
		Customer: "body.customer", OccurredAt: "body.at", Livemode: "false", Accepted: `body.type == "user.joined"`,
		Attributes: map[string]string{"plan": "body.plan", "is.trial": "true", "seats": "5"}, LookUp: "paddle",
	}
	got := cfg.Sources["all"]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	for _, s := range []reflect.Value{reflect.ValueOf(got), reflect.ValueOf(got.Verify)} {
		for field, v := range s.Fields() {
			if v.IsZero() {
				t.Errorf("this test leaves out %s", field.Name)
			}
		}
	}
}

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name string
		file files
		env  []string
		want []string // the beginning of each problem, in order
	}{
		{
			name: "a preset has the look of a name",
			file: files{"usher.yaml": "sources:\n  form:\n    preset: Type Form\n    secrets: [s]\n"},
			want: []string{"usher.yaml:3: sources.form.preset: is not the name of a preset; usher presets lists them"},
		}, {
			name: "a source needs a preset and a secret",
			file: files{"usher.yaml": "sources:\n  form: {}\n"},
			want: []string{
				"usher.yaml:2: sources.form.secrets: is missing; add the signing secret: an empty one would let anyone in",
				"usher.yaml:2: sources.form.preset: is missing; name one (usher presets lists them), or describe the sender by verify",
			},
		}, {
			name: "a source made by variables needs a preset too",
			env:  []string{"STRIPE_WEBHOOK_SECRET=", "USHER_SOURCES_STRIPE_SECRETS=s"},
			want: []string{"sources.stripe.preset: is missing; name one"},
		}, {
			name: "a preset that refers to nothing is not also missing",
			file: files{"usher.yaml": "sources:\n  form:\n    preset: ${NOWHERE}\n    secrets: [s]\n"},
			want: []string{"usher.yaml:3: sources.form.preset: refers to NOWHERE"},
		}, {
			name: "a description without a kind does not stand for a preset",
			file: files{"usher.yaml": "sources:\n  form:\n    secrets: [s]\n    verify: {header: X-Sig}\n"},
			want: []string{"usher.yaml:2: sources.form.preset: is missing"},
		}, {
			name: "a kind that is none makes no other problem",
			file: files{"usher.yaml": "sources:\n  form:\n    secrets: [s]\n    verify:\n      kind: hmca\n"},
			want: []string{"usher.yaml:5: sources.form.verify.kind: is not one of: hmac, hash, token, path_token, none, stripe; did you mean hmac?"},
		}, {
			name: "unsigned requests are taken only on purpose",
			file: files{"usher.yaml": "sources:\n  form:\n    verify:\n      kind: none\n"},
			want: []string{"usher.yaml:4: sources.form.verify.kind: would take anything that anybody sends; set allow_unsigned: true if that is meant, or use kind: path_token"},
		}, {
			name: "an unreadable purpose is told once",
			file: files{"usher.yaml": "sources:\n  form:\n    allow_unsigned: perhaps\n    verify: {kind: none}\n"},
			want: []string{"usher.yaml:3: sources.form.allow_unsigned: is text, wants true or false"},
		}, {
			name: "allow_unsigned alone does not do away with secrets",
			file: files{"usher.yaml": "sources:\n  form:\n    allow_unsigned: true\n    verify: {kind: token}\n    secrets: []\n"},
			want: []string{"usher.yaml:5: sources.form.secrets: is blank; add the signing secret"},
		}, {
			name: "no tolerance would refuse everything",
			file: files{"usher.yaml": "sources:\n  a:\n    preset: x\n    secrets: [s]\n    verify:\n      tolerance: 0\n" +
				"  b:\n    preset: x\n    secrets: [s]\n    verify:\n      tolerance: 0s\n"},
			want: []string{
				"usher.yaml:6: sources.a.verify.tolerance: is zero, which would not switch the check off but refuse everything; remove it, or write a time such as 5m",
				"usher.yaml:11: sources.b.verify.tolerance: is zero",
			},
		}, {
			name: "what is kept for a while is kept for an hour or more",
			file: files{"usher.yaml": "retention:\n  bodies: 90\n  events: 59m\n"},
			env:  []string{"USHER_RETENTION_EVENTS=90 d"},
			want: []string{
				"usher.yaml:2: retention.bodies: is a number, wants a time such as 90d or 36h, from 1h to 100 years, or 0 for ever",
				"env USHER_RETENTION_EVENTS: retention.events: is text, wants a time such as 90d",
			},
		}, {
			name: "a tolerance has its bounds",
			file: files{"usher.yaml": "sources:\n  form:\n    preset: x\n    secrets: [s]\n    verify:\n      tolerance: 999ms\n"},
			env:  []string{"USHER_SOURCES_STRIPE_VERIFY_TOLERANCE=876001h"},
			want: []string{
				"usher.yaml:6: sources.form.verify.tolerance: is text, wants a time with its unit, such as 30s, from 1s to 100 years",
				"env USHER_SOURCES_STRIPE_VERIFY_TOLERANCE: sources.stripe.verify.tolerance: is text, wants a time",
			},
		}, {
			name: "a template without quotes is a group to YAML",
			file: files{"usher.yaml": "sources:\n  form:\n    preset: x\n    secrets: [s]\n    verify:\n      signed: {body}\n"},
			want: []string{"usher.yaml:6: sources.form.verify.signed: is a group of keys, wants text; put quotes around a text that begins with {"},
		}, {
			name: "attributes come from the file alone",
			env:  []string{"USHER_SOURCES_STRIPE_ATTRIBUTES=plan"},
			want: []string{"env USHER_SOURCES_STRIPE_ATTRIBUTES: sets no key of usher.yaml"},
		}, {
			name: "the other senders look up nothing of Stripe's",
			file: files{"usher.yaml": "sources:\n  a: {preset: chargebee, secrets: [s], events: [customer.subscription.created]}\n" +
				"  b: {preset: stripe, secrets: [s], events: [customer.subscription.created]}\n"},
			want: []string{"usher.yaml:3: sources.b.events[0]: asks for customer.subscription.created"},
		}, {
			name: "the source stripe looks up as Stripe, whatever its preset would be",
			file: files{"usher.yaml": "sources:\n  stripe: {secrets: [s], verify: {kind: hmac}, events: [customer.subscription.created]}\n"},
			env:  []string{"STRIPE_WEBHOOK_SECRET="},
			want: []string{"usher.yaml:2: sources.stripe.events[0]: asks for customer.subscription.created"},
		}, {
			name: "a blank secret is told even where none is needed",
			file: files{"usher.yaml": "sources:\n  form: {preset: x, secrets: [\" \"], verify: {kind: none}, allow_unsigned: true}\n"},
			want: []string{"usher.yaml:2: sources.form.secrets[0]: is blank"},
		}, {
			name: "a blank variable is no secret",
			env:  []string{"STRIPE_WEBHOOK_SECRET= , "},
			want: []string{"env STRIPE_WEBHOOK_SECRET: sources.stripe.secrets: is blank"},
		}, {
			name: "no source at all",
			env:  []string{"STRIPE_WEBHOOK_SECRET="},
			want: []string{"sources: names no source; set STRIPE_WEBHOOK_SECRET, or add a source to usher.yaml"},
		}, {
			name: "subscriptions cannot be looked up without a key",
			file: files{"usher.yaml": "sources:\n  stripe:\n    events:\n      - customer.subscription.created\n"},
			want: []string{"usher.yaml:4: sources.stripe.events[0]: asks for customer.subscription.created"},
		}, {
			name: "a short admin token could be guessed",
			env:  []string{"USHER_ADMIN_TOKEN=   hunter2                    "},
			want: []string{"env USHER_ADMIN_TOKEN: admin_token: is shorter than 24 characters; make one with: openssl rand -hex 24"},
		}, {
			name: "a syntax error is reported alone",
			file: files{"usher.yaml": "listen: \":1\"\nretool: [\n"},
			env:  []string{"RETOOL_URL=", "STRIPE_WEBHOOK_SECRET="},
			want: []string{"usher.yaml:2: is not YAML: did not find expected node content"},
		}, {
			name: "a plain value with an asterisk is not shown",
			file: files{"usher.yaml": "listen: \":1\"\nadmin_token: *" + canary + "\n"},
			want: []string{"usher.yaml:2: refers to a YAML anchor that is not defined; put quotes"},
		}, {
			name: "a list where the file should be a group",
			file: files{"usher.yaml": "- listen\n"},
			want: []string{"usher.yaml:1: is a list, wants the keys access, admin_token,"},
		}, {
			name: "two documents",
			file: files{"usher.yaml": "listen: \":1\"\n---\nlisten: \":2\"\n"},
			want: []string{"usher.yaml:2: holds more than one YAML document"},
		}, {
			name: "sources that are no group are not also missing",
			file: files{"usher.yaml": "sources: [stripe]\n"},
			env:  []string{"STRIPE_WEBHOOK_SECRET="},
			want: []string{"usher.yaml:1: sources: is a list, wants a name for each source"},
		}, {
			name: "a value and its file are both set",
			env:  []string{"RETOOL_API_TOKEN_FILE=/token"},
			file: files{"/token": canary},
			want: []string{"env RETOOL_API_TOKEN: is set, and so is RETOOL_API_TOKEN_FILE; unset one of the two"},
		}, {
			name: "a secret in place of its file's name is not shown",
			env:  []string{"STRIPE_API_KEY_FILE=" + canary},
			want: []string{"env STRIPE_API_KEY_FILE: no such file; set it to the path of a file"},
		}, {
			name: "an unknown variable",
			env:  []string{"USHER_LOG_LEVLE=debug", "USHER_SOURCES_STRIP_PRESET=stripe"},
			want: []string{
				"env USHER_LOG_LEVLE: sets no key of usher.yaml; did you mean USHER_LOG_LEVEL?",
				"env USHER_SOURCES_STRIP_PRESET: sets no key of usher.yaml; did you mean USHER_SOURCES_STRIPE_PRESET?",
			},
		}, {
			name: "a variable alone makes no source",
			file: files{"usher.yaml": "sources:\n  named:\n"},
			env: []string{
				"STRIPE_WEBHOOK_SECRET=", "USHER_SOURCES_NAMED_PRESET=typeform", "USHER_SOURCES_NAMED_SECRETS=s",
				"USHER_SOURCES_FOO_PRESET=typeform", "USHER_SOURCES_MY_SHOP_EVENT_ID=body.id", "USHER_SOURCES_X_SECRETS_FILE=/secret",
				"USHER_SOURCES__PRESET=x", "USHER_SOURCES_NONSENSE=x",
			},
			want: []string{
				"env USHER_SOURCES_FOO_PRESET: sets no key of usher.yaml; the file must name the source first: write foo: below sources, then its keys can be variables",
				"env USHER_SOURCES_MY_SHOP_EVENT_ID: sets no key of usher.yaml; the file must name the source first: write my-shop: below sources",
				"env USHER_SOURCES_NONSENSE: sets no key of usher.yaml; if it is not meant for Usher",
				"env USHER_SOURCES_X_SECRETS_FILE: sets no key of usher.yaml; the file must name the source first: write x: below sources",
				"env USHER_SOURCES__PRESET: sets no key of usher.yaml; if it is not meant for Usher",
			},
		}, {
			name: "a source that is no group lacks nothing that could be known",
			file: files{"usher.yaml": "sources:\n  a: typeform\n  b: [preset, typeform]\n"},
			want: []string{
				"usher.yaml:2: sources.a: is text, wants the keys accepted, ",
				"usher.yaml:3: sources.b: is a list, wants the keys accepted, ",
			},
		}, {
			name: "a group that is none lacks nothing that could be known",
			file: files{"usher.yaml": "retool: https://acme.retool.com\n"},
			env:  []string{"RETOOL_URL=", "RETOOL_API_TOKEN="},
			want: []string{"usher.yaml:1: retool: is text, wants the keys api, "},
		}, {
			name: "a file that is no group lacks nothing that could be known",
			file: files{"usher.yaml": "usher\n"},
			env:  []string{"RETOOL_URL=", "RETOOL_API_TOKEN=", "STRIPE_WEBHOOK_SECRET="},
			want: []string{"usher.yaml:1: is text, wants the keys access, "},
		}, {
			name: "a port that is none",
			env:  []string{"PORT=http"},
			want: []string{"env PORT: listen: is not an address to listen on"},
		}, {
			name: "an address with a password",
			env:  []string{"USHER_RETOOL_URL=https://me:" + canary + "@acme.retool.com"},
			want: []string{"env USHER_RETOOL_URL: retool.url: holds a user name or password"},
		}, {
			name: "a malformed Postgres address keeps its password",
			env:  []string{"DATABASE_URL=postgres://u:" + canary + "%zz@db/usher"},
			want: []string{"env DATABASE_URL: database: is not a valid Postgres address"},
		}, {
			name: "a group in place of a value",
			file: files{"usher.yaml": "listen: {port: 1}\nlog: debug\n"},
			want: []string{
				"usher.yaml:1: listen: is a group of keys, wants text",
				"usher.yaml:2: log: is text, wants the keys format, level",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, problems := loadFiles(t, test.file, test.env...)
			compare(t, problems, test.want)
		})
	}
}

func TestAMissingFileIsReportedButNothingElseAsMissing(t *testing.T) {
	_, problems := config.Load(config.Options{File: "usher.yaml", Env: []string{"USHER_LOG_LEVEL=loud"}, ReadFile: files{}.read})
	compare(t, problems, []string{
		"env USHER_LOG_LEVEL: log.level: is not one of",
		"usher.yaml: no such file; check the path",
	})
}

func compare(t *testing.T, problems config.Problems, want []string) {
	t.Helper()
	if len(problems) != len(want) {
		t.Fatalf("got %d problems, want %d:\n%v", len(problems), len(want), problems)
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.String(), want[i]) {
			t.Errorf("got  %v\nwant %v", p, want[i])
		}
	}
}

func TestLoads(t *testing.T) {
	for _, test := range []struct {
		name string
		file files
		env  []string
		get  func(*config.Config) any
		want any
	}{
		{
			name: "the file wins over a shorthand",
			file: files{"usher.yaml": "listen: \":1\"\n"},
			env:  []string{"PORT=2"},
			get:  func(c *config.Config) any { return c.Listen },
			want: ":1",
		}, {
			name: "a variable named after the path wins over the file",
			file: files{"usher.yaml": "listen: \":1\"\nretool: {requests_per_minute: fast}\n"},
			env:  []string{"USHER_LISTEN=:3", "PORT=2", "USHER_RETOOL_REQUESTS_PER_MINUTE=90"},
			get:  func(c *config.Config) any { return fmt.Sprint(c.Listen, " ", c.Retool.RequestsPerMinute) },
			want: ":3 90",
		}, {
			name: "an overridden reference need not be set",
			file: files{"usher.yaml": "retool: {token: \"${NOWHERE}\"}\n"},
			env:  []string{"USHER_RETOOL_TOKEN=t"},
			get:  func(c *config.Config) any { return c.Retool.Token.Reveal() },
			want: "t",
		}, {
			name: "a key without a value keeps its default",
			file: files{"usher.yaml": "log:\n  level:\nretool:\n"},
			get:  func(c *config.Config) any { return c.Log.Level },
			want: "info",
		}, {
			name: "a reference is replaced once, and its text never parsed",
			file: files{"usher.yaml": "retool: {bulk_body: \"<${A}> $${A}\"}\n"},
			env:  []string{"A=\"}: ${B} #", "B=b"},
			get:  func(c *config.Config) any { return c.Retool.BulkBody },
			want: "<\"}: ${B} #> ${A}",
		}, {
			name: "a reference reads the twin's file without its last newline",
			file: files{"usher.yaml": "admin_token: ${ADMIN}\n", "/admin": canary + "\r\n"},
			env:  []string{"ADMIN_FILE=/admin"},
			get:  func(c *config.Config) any { return c.AdminToken.Reveal() },
			want: canary,
		}, {
			name: "shorthands have twins",
			file: files{"/secrets": "a,b\n"},
			env:  []string{"STRIPE_WEBHOOK_SECRET=", "STRIPE_WEBHOOK_SECRET_FILE=/secrets"},
			get:  func(c *config.Config) any { return c.Sources["stripe"].Secrets },
			want: []config.Secret{config.NewSecret("a"), config.NewSecret("b")},
		}, {
			name: "variables named after the path have twins",
			file: files{"/secrets": "a\n"},
			env:  []string{"USHER_SOURCES_STRIPE_SECRETS_FILE=/secrets"},
			get:  func(c *config.Config) any { return c.Sources["stripe"].Secrets },
			want: []config.Secret{config.NewSecret("a")},
		}, {
			name: "variables reach a source of the file by its name",
			file: files{"usher.yaml": "sources: {stripe-eu: {preset: stripe, secrets: [s]}}\n"},
			env:  []string{"USHER_SOURCES_STRIPE_EU_REQUIRE_LIVEMODE=false"},
			get:  func(c *config.Config) any { return c.Sources["stripe-eu"].RequireLivemode },
			want: false,
		}, {
			name: "a sender that the file names otherwise is not made again",
			file: files{"usher.yaml": "sources: {stripe-eu: {preset: stripe, secrets: [s]}}\n"},
			get:  func(c *config.Config) any { return len(c.Sources) },
			want: 1,
		}, {
			name: "development takes test events",
			env:  []string{"USHER_ENVIRONMENT=development"},
			get:  func(c *config.Config) any { return c.Sources["stripe"].RequireLivemode },
			want: false,
		}, {
			name: "only a source that takes unsigned requests does without secrets",
			file: files{"usher.yaml": "sources:\n  form: {verify: {kind: none}, allow_unsigned: true}\n  list: {verify: {kind: none}, allow_unsigned: true, secrets: []}\n"},
			get:  func(c *config.Config) any { return len(c.Sources["form"].Secrets) + len(c.Sources["list"].Secrets) },
			want: 0,
		}, {
			name: "the secret of the environment implies the preset of a source of the file",
			file: files{"usher.yaml": "sources: {stripe: {verify: {tolerance: 10m}}}\n"},
			get: func(c *config.Config) any {
				return fmt.Sprint(c.Sources["stripe"].Preset, " ", c.Sources["stripe"].Verify.Tolerance)
			},
			want: "stripe 10m0s",
		}, {
			name: "an expression in a variable is not parted at its commas",
			env:  []string{"USHER_SOURCES_STRIPE_EMAIL= get(body, \"email\") "},
			get:  func(c *config.Config) any { return c.Sources["stripe"].Email },
			want: []string{`get(body, "email")`},
		}, {
			name: "words in a variable are parted at their commas",
			env:  []string{"USHER_SOURCES_STRIPE_VERIFY_KEY_CODING=base64, raw"},
			get:  func(c *config.Config) any { return c.Sources["stripe"].Verify.KeyCoding },
			want: []string{"base64", "raw"},
		}, {
			name: "one word is a list of one",
			file: files{"usher.yaml": "sources: {form: {preset: x, secrets: [s], verify: {key_coding: hex}}}\n"},
			get:  func(c *config.Config) any { return c.Sources["form"].Verify.KeyCoding },
			want: []string{"hex"},
		}, {
			name: "a separator in a variable may be a space",
			env:  []string{"USHER_SOURCES_STRIPE_VERIFY_PAIR_SEP= "},
			get:  func(c *config.Config) any { return c.Sources["stripe"].Verify.PairSep },
			want: " ",
		}, {
			name: "a source may leave the size to the general one",
			file: files{"usher.yaml": "sources: {form: {preset: x, secrets: [s], max_body: 0}}\n"},
			get:  func(c *config.Config) any { return c.Sources["form"].MaxBody },
			want: int64(0),
		}, {
			name: "groups without a value say nothing",
			file: files{"usher.yaml": "sources: {form: {preset: x, secrets: [s], verify: , attributes: , email: }}\n"},
			get:  func(c *config.Config) any { return len(c.Sources["form"].Attributes) + len(c.Sources["form"].Email) },
			want: 0,
		}, {
			name: "sizes have units",
			file: files{"usher.yaml": "max_body: 512KiB\n"},
			get:  func(c *config.Config) any { return c.MaxBody },
			want: int64(512 << 10),
		}, {
			name: "http is allowed to this machine, and the last slash dropped",
			env:  []string{"RETOOL_URL=http://127.0.0.1:3000/"},
			get:  func(c *config.Config) any { return c.Retool.URL },
			want: "http://127.0.0.1:3000",
		}, {
			name: "anchors work",
			file: files{"usher.yaml": "domains:\n  internal: &own [acme.com]\n  deny: *own\n"},
			get:  func(c *config.Config) any { return c.Domains.Deny },
			want: []string{"acme.com"},
		}, {
			name: "Kubernetes may put its own variables beside",
			env:  []string{"USHER_SERVICE_HOST=10.0.0.1", "USHER_SERVICE_PORT_HTTP=80", "USHER_PORT_80_TCP=tcp://10.0.0.1:80", "USHER_PORT=tcp://10.0.0.1:80"},
			get:  func(c *config.Config) any { return c.Listen },
			want: ":8080",
		}, {
			name: "the command line's variables and the file's own are left alone",
			file: files{"usher.yaml": "domains: {internal: [\"${USHER_OWN}\"]}\n"},
			env:  []string{"USHER_URL=https://x", "USHER_TOKEN_FILE=/x", "USHER_CONFIG=y", "USHER_OWN=acme.com"},
			get:  func(c *config.Config) any { return c.Domains.Internal },
			want: []string{"acme.com"},
		}, {
			name: "an empty file is no file",
			file: files{"usher.yaml": "# nothing yet\n"},
			get:  func(c *config.Config) any { return c.Retool.MaxTries },
			want: 20,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, problems := loadFiles(t, test.file, test.env...)
			if err := problems.Err(); err != nil {
				t.Fatalf("problems:\n%v", err)
			}
			if got := test.get(cfg); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestProblemFindsThePlace(t *testing.T) {
	cfg := mustLoad(t, "domains:\n  internal:\n    - acme.com\n    - bad domain\naccess:\n  - groups: [1]\n    attributes:\n      plan: event.\n",
		"USHER_DOMAINS_DENY=x y")
	for path, want := range map[string]string{
		"domains.internal[1]":       "usher.yaml:4: domains.internal[1]: is wrong; mend it",
		"access[0].attributes.plan": "usher.yaml:8: access[0].attributes.plan: is wrong; mend it",
		"access[0].when":            "usher.yaml:6: access[0].when: is wrong; mend it",
		"domains.deny[0]":           "env USHER_DOMAINS_DENY: domains.deny[0]: is wrong; mend it",
		"public_url":                "usher.yaml: public_url: is wrong; mend it",
	} {
		if got := cfg.Problem(path, "is wrong", "mend it").String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProblemFindsThePlaceInASource(t *testing.T) {
	cfg := mustLoad(t, `sources:
  billing:
    secrets: [s]
    verify:
      kind: hmac
      signed: "{body}"
      key_coding:
        - raw
        - hex
    attributes:
      plan: body.plan
      "a.b": body.b
  form:
    preset: x
    secrets: [s]
    email:
      - body.email
      - body.mail
  one: {preset: x, secrets: [s], email: body.email}
`, "USHER_SOURCES_FORM_VERIFY_HEADER=X-Sig")
	for path, want := range map[string]string{
		"sources.billing.verify.signed":        "usher.yaml:6",
		"sources.billing.verify.key_coding[1]": "usher.yaml:9",
		"sources.billing.verify.header":        "usher.yaml:4",
		"sources.billing.attributes.plan":      "usher.yaml:11",
		"sources.billing.attributes.a.b":       "usher.yaml:12",
		"sources.billing.attributes.none":      "usher.yaml:10",
		"sources.billing.email":                "usher.yaml:2",
		"sources.form.email[1]":                "usher.yaml:18",
		"sources.form.email[2]":                "usher.yaml:16",
		"sources.form.verify.header":           "env USHER_SOURCES_FORM_VERIFY_HEADER",
		"sources.form.verify.signed":           "usher.yaml:13",
		"sources.one.email[0]":                 "usher.yaml:19",
		"sources.none.verify.kind":             "usher.yaml:1",
	} {
		want += ": " + path + ": is wrong; mend it"
		if got := cfg.Problem(path, "is wrong", "mend it").String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestIsSet(t *testing.T) {
	cfg := mustLoad(t, "sources:\n  stripe:\n    no_payment_required: invite\n", "USHER_SOURCES_STRIPE_EVENTS=a", "USHER_SOURCES_STRIPE_API_URL=")
	for path, want := range map[string]bool{
		"sources.stripe.no_payment_required": true, "sources.stripe.events": true, "sources.stripe.api_url": false, "log.level": false,
		"sources.stripe.require_livemode": false, "sources.other.events": false,
	} {
		if got := cfg.IsSet(path); got != want {
			t.Errorf("%s: got %t, want %t", path, got, want)
		}
	}
}

func TestWarningsOfSources(t *testing.T) {
	cfg := mustLoad(t, `sources:
  open:
    verify:
      kind: none
    allow_unsigned: true
  crm:
    preset: hubspot
    secrets: [s]
    allow_legacy: true
    verify:
      tolerance: 61m
  fine: {preset: hubspot, secrets: [s], allow_legacy: false, allow_unsigned: true, verify: {tolerance: 1h}}
domains: {internal: [acme.com]}
`, "USHER_ADMIN_TOKEN="+canary)
	compare(t, cfg.Warnings(), []string{
		"usher.yaml:4: sources.open.verify.kind: accepts anything that anybody sends; use verify: {kind: path_token}, or a token header",
		"usher.yaml:9: sources.crm.allow_legacy: accepts signatures without a time, which can be replayed for ever; remove it once the sender signs with v3",
		"usher.yaml:11: sources.crm.verify.tolerance: lets a captured request be replayed for that long; 5m is usual",
	})
}

func TestWarnings(t *testing.T) {
	cfg := mustLoad(t, "sources:\n  stripe:\n    require_livemode: false\n")
	compare(t, cfg.Warnings(), []string{
		"usher.yaml:3: sources.stripe.require_livemode: is false in production",
		"usher.yaml: admin_token: is unset: the /v1 API and the pages are off",
		"usher.yaml: domains.internal: is empty: people on your own domains",
	})
}

func TestTokensAndSeats(t *testing.T) {
	const digits = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"
	cfg := mustLoad(t, `tokens:
  - name: zapier
    hash: sha256:`+digits+`
    role: invite
    expires: 2027-01-31
  - {name: ops, hash: "${OPS}", role: admin, expires: "2027-01-31T10:00:00+02:00"}
  - {name: dashboard, hash: sha256:`+strings.Repeat("a", 64)+`, role: read}
seats: {price: 12.50, included: 10}
`, "OPS=sha256:"+strings.Repeat("b", 64), "STRIPE_WEBHOOK_SECRET=whsec_x", "USHER_API_REQUESTS_PER_MINUTE=0", "USHER_SEATS_CURRENCY=EUR")
	want := []config.Token{
		{Name: "zapier", Hash: config.NewSecret(strings.ToLower(digits)), Role: config.RoleInvite, Expires: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)},
		{Name: "ops", Hash: config.NewSecret(strings.Repeat("b", 64)), Role: config.RoleAdmin, Expires: time.Date(2027, 1, 31, 8, 0, 0, 0, time.UTC)},
		{Name: "dashboard", Hash: config.NewSecret(strings.Repeat("a", 64)), Role: config.RoleRead},
	}
	if !slices.Equal(cfg.Tokens, want) {
		t.Errorf("got %+v", cfg.Tokens)
	}
	if got := (config.Seats{Price: "12.50", Currency: "EUR", Included: 10}); cfg.Seats != got || cfg.API.RequestsPerMinute != 0 {
		t.Errorf("got %+v, %+v", cfg.Seats, cfg.API)
	}
	shown := cfg.Redacted()
	for _, absent := range []string{strings.ToLower(digits), "aaaa", "bbbb"} {
		if strings.Contains(shown, absent) {
			t.Errorf("the configuration shows a hash:\n%s", shown)
		}
	}
	if !strings.Contains(shown, "name: zapier") {
		t.Errorf("the configuration shows no tokens:\n%s", shown)
	}
	compare(t, cfg.Warnings(), []string{"usher.yaml: domains.internal: is empty: people on your own domains"}) // no admin token is needed
}

func TestKeysAreTheFieldsOfConfig(t *testing.T) {
	var got []string
	for _, key := range config.Keys() {
		got = append(got, key.Path)
		if key.Doc == "" {
			t.Errorf("%s is not documented", key.Path)
		}
	}
	want := paths(reflect.TypeFor[config.Config](), "")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("keys:\n%v\nfields:\n%v", got, want)
	}
}

// paths lists the YAML paths of a struct's fields as Keys writes them.
func paths(t reflect.Type, prefix string) []string {
	var all []string
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		tag := prefix + name
		switch inner := field.Type; {
		case !field.IsExported():
		case inner == reflect.TypeFor[[]config.Rule](), inner == reflect.TypeFor[[]config.Token]():
			all = append(all, paths(inner.Elem(), tag+"[].")...)
		case inner == reflect.TypeFor[map[string]config.Source]():
			all = append(all, paths(inner.Elem(), tag+".NAME.")...)
		case inner.Kind() == reflect.Struct && inner.Field(0).IsExported():
			all = append(all, paths(inner, tag+".")...)
		default:
			all = append(all, tag)
		}
	}
	return all
}

func TestProblemsWithoutAnyAreNoError(t *testing.T) {
	if err := config.Problems(nil).Err(); err != nil {
		t.Errorf("got %v", err)
	}
	var got config.Problems
	if err := (config.Problems{{What: "x"}}).Err(); !errors.As(err, &got) || len(got) != 1 {
		t.Errorf("got %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/design.yaml", "testdata/mistakes.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "USHER_LOG_LEVEL", "")
	}
	for _, text := range []string{
		"admin_token: *${SECRET}", "a: &a [*a, *a]\ndomains: *a\naccess: *a", "sources: &s {x: *s, s: *s}",
		"access: [&r {attributes: {a: *r}}, *r]", "? [a]\n: b\n? {c: d}\n: e", "domains: {internal: !!int ${SECRET}, deny: !!binary x}",
		"listen: $${${SECRET}}${${SECRET}}\nlog: ${SECRET}", "<<: [{listen: ${SECRET}}]", "database: postgres://${SECRET}:x@[", "\xff\xfe",
		"sources: {\"\": {secrets: [~, [], {}]}, a.b: {preset: ${SECRET}}}", "---\n---\n", "max_body: 9223372036854775807MiB", "%YAML 9.9\n---\n",
		"sources: {a: {verify: {kind: ${SECRET}, signed: {body}, tolerance: ${SECRET}, key_coding: [[${SECRET}], *x]}}}",
		"sources: {a: &a {verify: *a, email: [*a, ~, ${SECRET}], attributes: {\"${SECRET}\": *a, \"\": }}, b: {verify: &v {kind: none, prefix: *v}}}",
		"environment: ${SECRET}\nmax_body: ${SECRET}\nretool: {url: \"https://${SECRET}%zz\", timeout: ${SECRET}, api: ${SECRET}}",
	} {
		f.Add(text, "USHER_SOURCES_STRIPE_EVENTS", "x")
	}
	f.Fuzz(func(t *testing.T, text, name, extra string) {
		cfg, problems := config.Load(config.Options{
			File:     "usher.yaml",
			Env:      []string{"SECRET=" + canary, "SECRET_TWO=" + extra, name + "=" + extra + canary},
			ReadFile: files{"usher.yaml": text}.read,
		})
		shown := problems.Error()
		for _, p := range problems {
			shown += cfg.Problem(p.Path, p.What, p.Mend).String()
		}
		if !strings.Contains(text+name, canary) && strings.Contains(shown, canary) {
			t.Errorf("a problem shows the secret: %s", shown)
		}
		_, _ = cfg.Redacted(), cfg.Warnings()
	})
}
