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
)

// The bounds of a body, beside its size. Senders nest a dozen levels; a form tool may have some hundred fields.
const (
	maxDepth  = 64
	maxFields = 1000
	maxEvents = 1000 // of one request; HubSpot sends 100
)

var (
	errDepth  = fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	errFields = fmt.Errorf("it has more than %d fields", maxFields)
	errRest   = errors.New("there is more behind the end of the JSON")
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
	case kind == "multipart/form-data":
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
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, errors.New("it is not a form: an escape is broken")
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
	for range maxFields {
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
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, errors.New(shape(err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errRest
	}
	return plain(value), nil
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

// plain turns numbers into Go's own, and texts into what every store takes.
func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			v[name] = plain(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = plain(inner)
		}
	case json.Number:
		return number(string(v))
	case string:
		return clean(v)
	}
	return value
}

func number(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return int(n)
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(text, 64) // beyond the range: infinite, which no value is made of
	return f
}
