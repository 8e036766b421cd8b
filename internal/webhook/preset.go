package webhook

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed presets.yaml
var presetFile []byte

// A Preset is the row of a well-known sender, with what people should know of it.
type Preset struct {
	Name   string    `yaml:"name"`
	Hidden bool      `yaml:"hidden"` // only another preset's legacy
	About  About     `yaml:"about"`
	Row    Row       `yaml:"row"`
	Source yaml.Node `yaml:"-"` // the row as it is written
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
	var written []struct {
		Row yaml.Node `yaml:"row"`
	}
	if err := yaml.Unmarshal(presetFile, &written); err != nil {
		panic("webhook: presets.yaml: " + err.Error())
	}
	for i := range presets {
		presets[i].Source = written[i].Row
	}
	return presets
})

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
		{&merged.TSUnit, &v.TSUnit}, {&merged.URLDecode, &v.URLDecode}, {&merged.BodySelect, &v.BodySelect}, {&merged.OnlyIf, &v.OnlyIf},
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
func (p Preset) Example() (string, error) {
	row := p.Source
	row.Content = slices.Clone(row.Content)
	for i := 0; i+1 < len(row.Content); i += 2 {
		if row.Content[i].Value == "legacy" { // known to the preset only
			row.Content = slices.Delete(row.Content, i, i+2)
			break
		}
	}
	secrets := yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: "${" + p.About.Env + "}"},
	}}
	row.Content = append([]*yaml.Node{{Kind: yaml.ScalarNode, Value: "secrets"}, &secrets}, row.Content...)
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	err := encoder.Encode(map[string]map[string]*yaml.Node{"sources": {p.Name: &row}})
	if err != nil {
		return "", fmt.Errorf("write the preset %s: %w", p.Name, err)
	}
	return text.String(), nil
}
