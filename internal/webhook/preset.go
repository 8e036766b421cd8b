package webhook

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed presets.yaml
var presetFile []byte

// A Preset is the row of a well-known sender, with what people should know of it.
type Preset struct {
	Name   string `yaml:"name"`
	Hidden bool   `yaml:"hidden"` // only another preset's legacy
	About  About  `yaml:"about"`
	Row    Row    `yaml:"row"`
	Source string `yaml:"-"` // the row as it is written
}

// Presets lists the presets that a source may name, in the order of presets.yaml.
func Presets() []Preset {
	return slices.DeleteFunc(slices.Clone(allPresets()), func(p Preset) bool { return p.Hidden })
}

// FindPreset returns a preset, also a hidden one.
func FindPreset(name string) (Preset, bool) {
	all := allPresets()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return all[i], true
}

// allPresets reads the file once. It is part of the program: a test reads it, so that it cannot fail here.
var allPresets = sync.OnceValue(func() []Preset {
	var presets []Preset
	decoder := yaml.NewDecoder(bytes.NewReader(presetFile))
	decoder.KnownFields(true)
	if err := decoder.Decode(&presets); err != nil {
		panic("webhook: presets.yaml: " + err.Error())
	}
	var rows []struct {
		Row yaml.Node `yaml:"row"`
	}
	if err := yaml.Unmarshal(presetFile, &rows); err != nil {
		panic("webhook: presets.yaml: " + err.Error())
	}
	for i := range presets {
		presets[i].Source = written(rows[i].Row)
	}
	return presets
})

// written is the text of a mapping in presets.yaml, without its indent.
func written(mapping yaml.Node) string {
	lines := strings.Split(string(presetFile), "\n")[mapping.Line-1:]
	indent := strings.Repeat(" ", mapping.Column-1)
	end := slices.IndexFunc(lines, func(line string) bool { return line != "" && !strings.HasPrefix(line, indent) })
	if end < 0 {
		end = len(lines)
	}
	text := strings.ReplaceAll("\n"+strings.Join(lines[:end], "\n"), "\n"+indent, "\n")
	return strings.TrimSpace(text) + "\n"
}

// Over lays a row over another, field by field: what is set in the upper wins. Another kind of verification
// replaces the lower one's whole.
func (r Row) Over(lower Row) Row {
	merged := lower
	merged.Verify = r.Verify.over(lower.Verify)
	if r.Verify.Kind != "" && r.Verify.Kind != lower.Verify.Kind {
		merged.Legacy = nil
	}
	for _, field := range []struct{ to, from *string }{
		{&merged.Handshake, &r.Handshake}, {&merged.BodyField, &r.BodyField}, {&merged.Each, &r.Each}, {&merged.Ignore, &r.Ignore},
		{&merged.When, &r.When}, {&merged.EventID, &r.EventID}, {&merged.Type, &r.Type}, {&merged.Name, &r.Name},
		{&merged.Customer, &r.Customer}, {&merged.OccurredAt, &r.OccurredAt}, {&merged.Livemode, &r.Livemode},
		{&merged.Accepted, &r.Accepted}, {&merged.LookUp, &r.LookUp},
	} {
		overlay(field.to, *field.from)
	}
	if len(r.Email) > 0 {
		merged.Email = r.Email
	}
	if len(r.Attributes) > 0 {
		merged.Attributes = maps.Clone(lower.Attributes)
		if merged.Attributes == nil {
			merged.Attributes = map[string]string{}
		}
		maps.Copy(merged.Attributes, r.Attributes)
	}
	return merged
}

func (v Verify) over(lower Verify) Verify {
	if v.Kind != "" && v.Kind != lower.Kind {
		return v
	}
	merged := lower
	for _, field := range []struct{ to, from *string }{
		{&merged.Kind, &v.Kind}, {&merged.Header, &v.Header}, {&merged.Algorithm, &v.Algorithm}, {&merged.Encoding, &v.Encoding},
		{&merged.Prefix, &v.Prefix}, {&merged.Format, &v.Format}, {&merged.PairSep, &v.PairSep}, {&merged.SigKey, &v.SigKey},
		{&merged.TSKey, &v.TSKey}, {&merged.KeyPrefix, &v.KeyPrefix}, {&merged.Signed, &v.Signed}, {&merged.TSHeader, &v.TSHeader},
		{&merged.TSUnit, &v.TSUnit}, {&merged.URLDecode, &v.URLDecode}, {&merged.BodySelect, &v.BodySelect},
	} {
		overlay(field.to, *field.from)
	}
	overlay(&merged.Tolerance, v.Tolerance)
	if len(v.KeyCoding) > 0 {
		merged.KeyCoding = v.KeyCoding
	}
	return merged
}

// overlay sets a field where something is set over it.
func overlay[T comparable](to *T, from T) {
	var unset T
	if from != unset {
		*to = from
	}
}

// Example is the source as an operator would write it without the preset, ready to paste and change.
func (p Preset) Example() string {
	var b strings.Builder
	comment(&b, "", p.About.Title+": "+p.About.Link)
	comment(&b, "", "This is the preset "+p.Name+", written out to be changed. Left as it is, preset: "+p.Name+" with secrets does the same.")
	if len(p.Row.Legacy) > 0 {
		comment(&b, "", "Not written out are the older signatures ("+strings.Join(p.Row.Legacy, ", ")+
			"). allow_legacy takes them too, and needs the line preset: "+p.Name+".")
	}
	fmt.Fprintf(&b, "sources:\n  %s:\n", p.Name)
	comment(&b, "    ", p.About.Secret)
	fmt.Fprintf(&b, "    secrets: [\"${%s}\"]\n", p.About.Env)
	if strings.Contains(p.Row.Verify.Signed, "{url}") {
		comment(&b, "    ", "The address is part of what is signed. Unset: the general public_url, with /webhooks/ and the source's name.")
		fmt.Fprintf(&b, "    # public_url: https://usher.example.com/webhooks/%s\n", p.Name)
	}
	if p.Row.LookUp != "" {
		comment(&b, "    ", "The key with which Usher asks for an address that an event leaves out.")
		fmt.Fprintf(&b, "    # api_key: ${%s_API_KEY}\n", strings.ToUpper(p.Row.LookUp))
	}
	for line := range strings.Lines(p.Source) {
		if !strings.HasPrefix(line, "legacy:") { // known to the preset only
			b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
	}
	return b.String()
}

// comment writes a text as a comment of lines that are not too long.
func comment(b *strings.Builder, indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > 110 {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
