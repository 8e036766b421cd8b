package config_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/usher-dev/usher/config"
	"go.yaml.in/yaml/v3"
)

// hidden holds secrets where fmt cannot call their methods.
type hidden struct {
	secret   config.Secret
	list     []config.Secret
	byName   map[string]config.Secret
	database config.DatabaseURL
	deeper   *struct{ secret config.Secret }
}

func TestSecretsStayMaskedHoweverPrinted(t *testing.T) {
	secret, database := config.NewSecret(canary), config.NewDatabaseURL("postgres://u:"+canary+"@db/usher?password="+canary)
	nested := hidden{
		secret: secret, list: []config.Secret{secret}, byName: map[string]config.Secret{"a": secret},
		database: database, deeper: &struct{ secret config.Secret }{secret: secret},
	}
	cfg := mustLoad(t, "", "USHER_ADMIN_TOKEN="+canary, "STRIPE_API_KEY="+canary, "DATABASE_URL="+database.Reveal())
	for name, v := range map[string]any{
		"a secret": secret, "a pointer": &secret, "a list": []config.Secret{secret}, "a map": map[string]config.Secret{"a": secret},
		"unexported fields": nested, "a pointer to them": &nested, "deeper": *nested.deeper,
		"a database": database, "a config": cfg, "the config's value": *cfg,
	} {
		for way, shown := range everyWay(t, v) {
			if strings.Contains(shown, canary) || strings.Contains(shown, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s shows under %s", name, way)
			}
		}
	}
}

// everyWay prints a value in each way a program might.
func everyWay(t *testing.T, v any) map[string]string {
	t.Helper()
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.50s", "%#q", "%p"} {
		shown[verb] = fmt.Sprintf(verb, v)
	}
	shown["error"] = fmt.Errorf("wrong: %v", v).Error()
	asJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	shown["JSON"] = string(asJSON)
	asYAML, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	shown["YAML"] = string(asYAML)
	asXML, _ := xml.Marshal(v) // maps have no XML
	shown["XML"] = string(asXML)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "v", v)
	shown["slog"] = log.String()
	return shown
}

func TestSecret(t *testing.T) {
	for _, test := range []struct {
		name, text, v, sharp, q, json string
		blank                         bool
	}{
		{name: "set", text: "x", v: "••••", sharp: `"••••"`, q: `"••••"`, json: `"••••"`},
		{name: "unset", text: "", v: "", sharp: `""`, q: `""`, json: `""`, blank: true},
		{name: "blank", text: " \n", v: "••••", sharp: `"••••"`, q: `"••••"`, json: `"••••"`, blank: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := config.NewSecret(test.text)
			asJSON, _ := json.Marshal(s)
			got := []any{s.Reveal(), fmt.Sprintf("%v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%q", s), string(asJSON), s.IsBlank(), s.String()}
			want := []any{test.text, test.v, test.sharp, test.q, test.json, test.blank, test.v}
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("%d: got %v, want %v", i, got[i], want[i])
				}
			}
		})
	}
}

func TestDatabaseURLShowsNoCredentials(t *testing.T) {
	for whole, want := range map[string]string{
		"sqlite://usher.db":             "sqlite://usher.db",
		"sqlite:///data/a b.db?_key=x":  "sqlite:///data/a b.db",
		"postgres://u:p@db:5432/usher":  "postgres://db:5432/usher",
		"postgresql:///usher?host=/run": "••••",
		"postgres://u:p%zz@db/usher":    "••••",
		"":                              "",
	} {
		if got := config.NewDatabaseURL(whole).String(); got != want {
			t.Errorf("%s: got %q, want %q", whole, got, want)
		}
	}
}

func TestRedacted(t *testing.T) {
	cfg := mustLoad(t, "", "USHER_ADMIN_TOKEN="+canary, "DATABASE_URL=postgres://u:"+canary+"@db/usher")
	got := cfg.Redacted()
	if strings.Contains(got, canary) {
		t.Errorf("it shows a secret:\n%s", got)
	}
	for _, want := range []string{"admin_token: ••••\n", "database: postgres://db/usher\n", "timeout: 30s\n", "requests_per_minute: 45\n", "- ••••\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
}
