package expression_test

import (
	"strings"
	"testing"

	"github.com/usher-dev/usher/internal/expression"
)

type environment struct {
	expression.Steps
	Body any `expr:"body"`
}

func run(t *testing.T, source string, body any) (any, error) {
	t.Helper()
	e, err := expression.Compile(source, environment{})
	if err != nil {
		t.Fatal(err)
	}
	var m expression.Machine
	return m.Run(e, environment{expression.NewSteps(0), body})
}

func TestLoopsOverWhatCameEnd(t *testing.T) {
	long := make([]any, 100_000)
	if v, err := run(t, "any(body, false)", long); err != nil || v != false {
		t.Errorf("one loop: %v, %v", v, err)
	}
	for _, source := range []string{
		"any(body, any(body, false))",
		"count(body, count(body, false) > 0)",
		"len(filter(body, none(body, false)))",
		"sum(map(body, len(filter(body, true))))",
		"reduce(body, #acc + count(body, true), 0)",
	} {
		_, err := run(t, source, long)
		if err == nil || !strings.Contains(err.Error(), "too many steps") && !strings.Contains(err.Error(), "too much memory") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestAMistakeIsToldWithItsPlace(t *testing.T) {
	for source, want := range map[string]string{
		"body.":                         "(line 1, column",
		"nobody.email":                  "unknown name nobody",
		"now()":                         "unknown name now",
		strings.Repeat("x", 4097):       "longer than 4096 bytes",
		strings.Repeat("1+", 501) + "1": "exceeds maximum allowed nodes",
	} {
		if _, err := expression.Compile(source, environment{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20s: %v, want … %s …", source, err, want)
		}
	}
}

func TestErrorsKeepWhatCame(t *testing.T) {
	for _, source := range []string{"int(body)", "body.x.y", "fromJSON(body)", "body + 1", "body matches body"} {
		if _, err := run(t, source, "canary["); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", source, err)
		}
	}
}
