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
	cfg := mustLoad(t, string(text), "USHER_ADMIN_TOKEN="+canary)
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
}

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name string
		file files
		env  []string
		want []string // the beginning of each problem, in order
	}{
		{
			name: "an unknown preset lists the known ones",
			file: files{"usher.yaml": "sources:\n  form:\n    preset: typeform\n    secrets: [s]\n"},
			want: []string{"usher.yaml:3: sources.form.preset: is not one of: stripe"},
		}, {
			name: "a source needs a preset and a secret",
			file: files{"usher.yaml": "sources:\n  form: {}\n"},
			want: []string{
				"usher.yaml:2: sources.form.preset: is missing; write one of: stripe",
				"usher.yaml:2: sources.form.secrets: is missing; add the signing secret: an empty one would let anyone in",
			},
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

func TestWarnings(t *testing.T) {
	cfg := mustLoad(t, "sources:\n  stripe:\n    require_livemode: false\n")
	compare(t, cfg.Warnings(), []string{
		"usher.yaml:3: sources.stripe.require_livemode: is false in production",
		"usher.yaml: admin_token: is unset: the /v1 API is off",
		"usher.yaml: domains.internal: is empty: people on your own domains",
	})
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
		tag := prefix + field.Tag.Get("yaml")
		switch inner := field.Type; {
		case !field.IsExported():
		case inner == reflect.TypeFor[[]config.Rule]():
			all = append(all, paths(inner.Elem(), tag+"[].")...)
		case inner == reflect.TypeFor[map[string]config.Source]():
			all = append(all, paths(inner.Elem(), tag+".NAME.")...)
		case inner.Kind() == reflect.Struct && inner.NumField() > 1:
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
