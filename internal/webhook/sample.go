package webhook

import (
	"cmp"
	"embed"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"crypto/rand"

	"go.yaml.in/yaml/v3"
)

//go:embed samples.yaml samples
var sampleFiles embed.FS

// A Sample is a realistic request of a preset, with gaps: see Fill.
type Sample struct {
	File        string            `yaml:"file"`
	ContentType string            `yaml:"content_type"`
	Headers     map[string]string `yaml:"headers"` // beside the signature and the time
}

// Variant is the sample's word beside the preset's name: "ping" of woocommerce.ping.form, else the kind of file
// where the main one is of another, "form" of github.form. The main sample's is never asked for.
func (s Sample) Variant(preset string) string {
	extension := path.Ext(s.File)
	word := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(s.File, extension), preset), ".")
	return cmp.Or(word, strings.TrimPrefix(extension, "."))
}

// Samples returns those of a preset, the main one first, none for stripe (see StripeSample).
func Samples(preset string) []Sample { return allSamples()[preset] }

// allSamples reads the list once. It is part of the program: a test reads it, so that it cannot fail here.
var allSamples = sync.OnceValue(func() map[string][]Sample {
	var samples map[string][]Sample
	text, err := sampleFiles.ReadFile("samples.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &samples)
	}
	if err != nil {
		panic("webhook: samples.yaml: " + err.Error())
	}
	return samples
})

// A Fill is what goes into the gaps of a sample. What is left empty but Email is made up.
type Fill struct {
	Email  string // empty: the event has no address
	Name   string
	ID     string // 24 lower-case hex characters
	Number string // up to 10 digits
	Now    time.Time
}

// Complete makes up what is not set.
func (f Fill) Complete() Fill {
	if f.Name == "" {
		f.Name = "Test Customer"
	}
	if f.ID == "" {
		var id [12]byte
		_, _ = rand.Read(id[:]) // never fails
		f.ID = hex.EncodeToString(id[:])
	}
	if f.Number == "" {
		id, _ := new(big.Int).SetString(f.ID, 16) // one event, one number
		if id == nil {
			id = new(big.Int).SetBytes([]byte(f.ID))
		}
		f.Number = new(big.Int).Add(new(big.Int).Mod(id, big.NewInt(8_000_000_000)), big.NewInt(1_000_000_000)).String()
	}
	if f.Now.IsZero() {
		f.Now = time.Now()
	}
	return f
}

// text is the file with its gaps.
func (s Sample) text() string {
	text, err := sampleFiles.ReadFile("samples/" + s.File)
	if err != nil {
		panic("webhook: " + err.Error()) // a test reads them all
	}
	return string(text)
}

// TakesEmail reports whether the event has a place for the customer's address.
func (s Sample) TakesEmail() bool { return strings.Contains(s.text(), "{{email}}") }

// Make returns the request's headers, without the signature, and its body. The Fill must be complete.
func (s Sample) Make(f Fill) (http.Header, []byte) {
	escape := func(v string) string { // as part of a JSON text
		quoted, _ := json.Marshal(v) // a text always has a form in JSON
		return string(quoted[1 : len(quoted)-1])
	}
	if strings.HasSuffix(s.File, ".form") {
		escape = url.QueryEscape
	}
	gaps := func(escape func(string) string) *strings.Replacer {
		return strings.NewReplacer("{{email}}", escape(f.Email), "{{name}}", escape(f.Name), "{{id}}", f.ID, "{{number}}", f.Number,
			"{{now}}", escape(f.Now.UTC().Format(time.RFC3339)), "{{now_s}}", strconv.FormatInt(f.Now.Unix(), 10), "{{now_ms}}", strconv.FormatInt(f.Now.UnixMilli(), 10))
	}
	header := http.Header{}
	header.Set("Content-Type", s.ContentType)
	for name, value := range s.Headers {
		header.Set(name, gaps(func(v string) string { return v }).Replace(value))
	}
	return header, []byte(gaps(escape).Replace(s.text()))
}
