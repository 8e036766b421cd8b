package webhook_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/usher-dev/usher/internal/webhook"
)

func TestNumbersKeepTheirDigits(t *testing.T) {
	for text, want := range map[string]any{
		"9007199254740993":      9007199254740993, // 2^53 + 1, which a float64 cannot hold
		"-9223372036854775808":  -9223372036854775808,
		"9223372036854775808":   uint64(9223372036854775808),
		"18446744073709551615":  uint64(18446744073709551615),
		"18446744073709551616":  18446744073709551616.0,
		"49.90":                 49.9,
		"1e3":                   1000.0,
		"0":                     0,
		`"9007199254740993"`:    "9007199254740993",
		"\xEF\xBB\xBFnot a BOM": nil,
	} {
		got, err := webhook.DecodeJSON([]byte(text))
		if (err != nil) != (want == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %T %v, %v", text, got, got, err)
		}
	}
}

func TestJSONIsBounded(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if _, err := webhook.DecodeJSON(deep(64)); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	for _, text := range [][]byte{deep(65), deep(1 << 20), []byte(strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65))} {
		if _, err := webhook.DecodeJSON(text); err == nil || !strings.Contains(err.Error(), "64 levels") {
			t.Errorf("%d bytes of nesting: %v", len(text), err)
		}
	}
	if _, err := webhook.DecodeJSON([]byte(`"` + strings.Repeat("[", 100) + `\"["`)); err != nil {
		t.Errorf("brackets in a text are no nesting: %v", err)
	}
}

// FuzzDecodeJSON holds DecodeJSON to encoding/json: what the one takes the other takes, and reads as the same.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"a":2}`, `[1,2.5,-0,1e5,1E+2]`, `"\ud800"`, `"\u0000\n"`, `{"\ud83d\u0ed0":"\ud83d"}`, "\"\xff\"", `{"a":{"b":[null,true,false]}}`, ` [ ] `, `1 2`, `{}x`,
		`01`, `-`, `.5`, `+1`, `nul`, `"a` + "\n" + `"`, `{"\ud83d\ude00":"\ud83d\ude00"}`, `{"a":18446744073709551616}`, `[,]`, `{"a"}`, "\x00", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := webhook.DecodeJSON(text)
		if err != nil {
			if json.Valid(text) && !strings.Contains(err.Error(), "levels deep") {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil || !json.Valid(text) {
			t.Fatalf("taken, and encoding/json says %v", err)
		}
		if !same(got, want) {
			t.Errorf("%q: got %#v, encoding/json has %#v", text, got, want)
		}
	})
}

// same compares what DecodeJSON gives with what encoding/json gives.
func same(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) > len(want) {
			return false
		}
		byName := map[string]any{}
		for name, inner := range object {
			byName[storable(name)] = inner
		}
		for name, inner := range want {
			value, ok := byName[storable(name)]
			// Names that differ only in what cannot be stored become one.
			if !ok || len(byName) == len(want) && !same(value, inner) {
				return false
			}
		}
		return true
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return false
		}
		for i := range want {
			if !same(list[i], want[i]) {
				return false
			}
		}
		return true
	case string:
		text, ok := got.(string)
		return ok && storable(text) == storable(want) && utf8.ValidString(text) && !strings.Contains(text, "\x00")
	case json.Number:
		text, _ := json.Marshal(got)
		f, _ := want.Float64()
		g, ok := got.(float64)
		return string(text) == want.String() || ok && g == f || want.String() == "-0"
	default:
		return got == want
	}
}

// storable brings a text to one form: one replacement character for a run of what cannot be stored, where
// encoding/json has one for each byte.
func storable(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	for strings.Contains(text, "\uFFFD\uFFFD") {
		text = strings.ReplaceAll(text, "\uFFFD\uFFFD", "\uFFFD")
	}
	return text
}
