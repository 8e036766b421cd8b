package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// The bounds of a body, beside its size. Senders nest a dozen levels; a form tool may have some hundred fields.
const (
	maxDepth  = 64
	maxFields = 1000
	maxEvents = 20_000 // of one request, which takes about two seconds to decide; HubSpot sends 100
)

var (
	errDepth  = fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	errFields = fmt.Errorf("it has more than %d fields", maxFields)
)

// decodeBody reads what a sender sent, by what it is rather than by what it calls itself: JSON also comes as
// text/plain. A form is a map of its fields' texts, in which the field jsonField, where there is one, holds
// the event as JSON. Nothing at all is nil.
func decodeBody(contentType string, body []byte, jsonField string) (decoded any, form map[string]any, err error) {
	kind, params, _ := mime.ParseMediaType(contentType)
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xEF\xBB\xBF")), " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return nil, nil, nil
	case kind == "multipart/form-data" && trimmed[0] == '-': // the type is not signed: it must not make fields of what is within JSON
		form, err = readMultipart(body, params["boundary"])
	case trimmed[0] != '{' && trimmed[0] != '[' && kind == "application/x-www-form-urlencoded":
		form, err = readForm(string(trimmed))
	default:
		decoded, err = DecodeJSON(trimmed)
		return decoded, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	if text, ok := form[jsonField].(string); ok && jsonField != "" {
		decoded, err = DecodeJSON([]byte(text))
		return decoded, form, err
	}
	return form, form, nil
}

func readForm(text string) (map[string]any, error) {
	if strings.Count(text, "&") >= maxFields {
		return nil, errFields
	}
	// A field that is not escaped as it should be ("10%") costs itself and not the customer.
	values, err := url.ParseQuery(text)
	if err != nil && len(values) == 0 {
		return nil, errors.New("it is not a form: no field of it is escaped as it should be")
	}
	return first(values), nil
}

// first keeps the first of each field's values.
func first(values url.Values) map[string]any {
	form := make(map[string]any, len(values))
	for name, all := range values {
		form[clean(name)] = clean(all[0])
	}
	return form
}

func readMultipart(body []byte, boundary string) (map[string]any, error) {
	if boundary == "" {
		return nil, errors.New("it is multipart without a boundary")
	}
	form := map[string]any{}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxFields + 1 {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil {
			return nil, errors.New("it is not whole multipart")
		}
		content, err := io.ReadAll(part) // no longer than the body, which is bounded
		if err != nil {
			return nil, errors.New("it is not whole multipart")
		}
		name := clean(part.FormName())
		if _, twice := form[name]; name != "" && part.FileName() == "" && !twice {
			form[name] = clean(string(content))
		}
	}
	return nil, errFields
}

// DecodeJSON reads one JSON value that is the whole text. Whole numbers keep their digits up to 64 bits; of
// keys that stand twice the last holds; depth is bounded.
func DecodeJSON(text []byte) (any, error) {
	if err := shallow(text); err != nil {
		return nil, err
	}
	if !gjson.ValidBytes(text) {
		return nil, errors.New(shape(json.Unmarshal(text, new(any)))) // which says where
	}
	return plain(gjson.ParseBytes(text)), nil
}

// shallow refuses deep nesting before anything is built of it.
func shallow(text []byte) error {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// plain builds Go's own values, with texts that every store takes.
func plain(value gjson.Result) any {
	switch value.Type {
	case gjson.String:
		return text(value)
	case gjson.Number:
		return number(value.Raw)
	case gjson.True, gjson.False:
		return value.Bool()
	case gjson.JSON:
		if value.IsArray() {
			list := []any{}
			value.ForEach(func(_, one gjson.Result) bool {
				list = append(list, plain(one))
				return true
			})
			return list
		}
		object := map[string]any{}
		value.ForEach(func(name, one gjson.Result) bool {
			object[text(name)] = plain(one)
			return true
		})
		return object
	default:
		return nil
	}
}

// text is a JSON text. gjson drops a character behind half of a surrogate pair, so that such texts are left
// to encoding/json.
func text(value gjson.Result) string {
	decoded := value.Str
	if strings.Contains(value.Raw, `\u`) {
		_ = json.Unmarshal([]byte(value.Raw), &decoded) // it was checked to be valid
	}
	return clean(decoded)
}

func number(text string) any {
	if !strings.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return int(n)
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return n
		}
	}
	f, _ := strconv.ParseFloat(text, 64) // beyond the range: infinite, which no text is made of
	return f
}
