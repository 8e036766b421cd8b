package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckTellsAWrongConfigurationByItsStatus(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       quietError
		wantOut    string
	}{
		{name: "a mistake in the configuration", text: "log: {level: loud}\n", want: exitUsage, wantOut: "✗ configuration"},
		{name: "a mistake that only making the source shows", text: "sources: {form: {preset: typefrom, secrets: [s]}}\n", want: exitUsage, wantOut: "✗ configuration"},
		{name: "a Retool that does not answer", want: exitFailure, wantOut: "✗ Retool's health"},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			file := filepath.Join(folder, "usher.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{
				"STRIPE_WEBHOOK_SECRET": storySecret, "RETOOL_URL": "http://127.0.0.1:1", "RETOOL_API_TOKEN": storyToken,
				"DATABASE_URL": "sqlite://" + filepath.Join(folder, "usher.db"),
			} {
				t.Setenv(name, value)
			}
			var out bytes.Buffer
			root := newRoot()
			root.SetArgs([]string{"check", "--config", file})
			root.SetOut(&out)
			var got quietError
			if err := root.ExecuteContext(t.Context()); !errors.As(err, &got) || got != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !strings.Contains(out.String(), test.wantOut) {
				t.Errorf("no %q in\n%s", test.wantOut, &out)
			}
		})
	}
}
