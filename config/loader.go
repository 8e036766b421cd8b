package config

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// stripeSource is the source that the shorthands STRIPE_… speak of.
const stripeSource = "stripe"

// loader gathers one Config and all that is wrong with it.
type loader struct {
	env      environment
	doc      *document
	sources  []string // the names of the file, and stripe when the environment makes it
	settings map[string]value
	cfg      *Config
	problems Problems
}

// report adds a problem, once.
func (l *loader) report(ps ...Problem) {
	for _, p := range ps {
		if !slices.Contains(l.problems, p) {
			l.problems = append(l.problems, p)
		}
	}
}

// reported says whether there is a problem with any of the paths.
func (l *loader) reported(paths ...string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return slices.Contains(paths, p.Path) })
}

// merge lays each layer over those before it. The paths are opaque to koanf:
// the layers are flat, since a source may have any name while it is not checked.
func (l *loader) merge(layers ...map[string]value) {
	merged := koanf.New(".")
	for _, layer := range layers {
		flat := make(map[string]any, len(layer))
		for path, v := range layer {
			flat[path] = v
		}
		// Neither a confmap nor a merge that is not strict can fail.
		_ = merged.Load(confmap.Provider(flat, ""), nil)
	}
	l.settings = make(map[string]value, len(merged.Keys()))
	for path, v := range merged.All() {
		l.settings[path], _ = v.(value)
	}
}

// fill reads the merged settings into the Config.
func (l *loader) fill() {
	read(l, configKeys, "", l.cfg)
	for i := range l.doc.lists["tokens"] {
		var token Token
		read(l, tokenKeys, fmt.Sprintf("tokens[%d].", i), &token)
		l.cfg.Tokens = append(l.cfg.Tokens, token)
	}
	for i := range l.doc.lists["access"] {
		var rule Rule
		read(l, ruleKeys, fmt.Sprintf("access[%d].", i), &rule)
		l.cfg.Access = append(l.cfg.Access, rule)
	}
	for _, name := range l.sources {
		source := Source{RequireLivemode: l.cfg.Environment == Production}
		read(l, sourceKeys, "sources."+name+".", &source)
		l.cfg.Sources[name] = source
	}
}

// read fills in one T from the settings below prefix.
func read[T any](l *loader, keys []key[T], prefix string, into *T) {
	for _, k := range keys {
		path := prefix + k.path
		v, set := l.settings[path]
		if !set {
			continue
		}
		v = l.resolve(path, v)
		l.settings[path] = v
		l.mark(path, v)
		switch {
		case v.Shape == broken, k.need != "" && v.isBlank(), k.need == "" && k.def == "" && v.Shape == scalar && v.Text == "":
			continue
		}
		for _, f := range k.read(into, v) {
			l.report(l.cfg.Problem(path+f.at, f.what, f.mend))
		}
	}
	demand(l, keys, prefix, into)
}

// demand reports the required keys that are missing or blank, after all that
// are there have been read.
func demand[T any](l *loader, keys []key[T], prefix string, got *T) {
	for _, k := range keys {
		if k.need == "" || k.unless != nil && k.unless(got) {
			continue
		}
		path := prefix + k.path
		switch v, set := l.settings[path]; {
		case !set && !l.doc.broken && !l.doc.isUnread(path):
			l.report(l.cfg.Problem(path, "is missing", k.need))
		case set && v.isBlank():
			l.report(l.cfg.Problem(path, "is blank", cmp.Or(mendBlank(v), k.need)))
		}
	}
}

// resolve replaces the references in what the file holds.
func (l *loader) resolve(path string, v value) value {
	if v.From.Line == 0 {
		return v
	}
	if v.Shape == scalar {
		var wrong Problems
		v.Text, v.Vars, wrong = l.env.expand(v.Text)
		for _, p := range wrong {
			if p.File == "" {
				p.File, p.Line, p.Path = v.From.File, v.From.Line, path
			}
			l.report(p)
			v.Shape = broken
		}
	}
	for i := range v.Items {
		v.Items[i] = l.resolve(path+v.sub(i), v.Items[i])
	}
	return v
}

// mark notes where a value and its items were set, for [Config.Problem].
func (l *loader) mark(path string, v value) {
	if v.From != (place{}) {
		l.cfg.places[path] = v.From
	}
	for i, item := range v.Items {
		l.mark(path+v.sub(i), item)
	}
}

// sourceNames are those of the file, and stripe when the environment sets it
// up and the file has not already given that sender another name.
func (l *loader) sourceNames() []string {
	names := slices.Clone(l.doc.sources)
	for _, name := range names {
		if name == stripeSource || l.doc.settings["sources."+name+".preset"].Text == "stripe" {
			return names
		}
	}
	wanted := append(sourceEnv(stripeSource), "STRIPE_WEBHOOK_SECRET")
	if slices.ContainsFunc(wanted, l.env.has) {
		names = append(names, stripeSource)
	}
	return names
}

func sourceEnv(name string) []string {
	var all []string
	for _, k := range sourceKeys {
		if variable := k.env("sources." + name + "."); variable != "" {
			all = append(all, variable)
		}
	}
	return all
}

// take adds what a variable sets to a layer, if it sets anything.
func (l *loader) take(layer map[string]value, path, variable string) {
	if variable == "" {
		return
	}
	v, ok, wrong := l.env.lookup(variable)
	l.report(wrong...)
	if ok && (v.Shape == broken || v.Text != "") {
		layer[path] = v
	}
}

func (l *loader) defaults() map[string]value {
	layer := map[string]value{}
	for _, k := range configKeys {
		if k.def != "" {
			layer[k.path] = value{Text: k.def}
		}
	}
	for _, name := range l.sources {
		for _, k := range sourceKeys {
			if k.def != "" {
				layer["sources."+name+"."+k.path] = value{Text: k.def}
			}
		}
	}
	return layer
}

func (l *loader) shorthands() map[string]value {
	layer := map[string]value{}
	for _, k := range configKeys {
		l.take(layer, k.path, k.short)
	}
	if port, ok := layer["listen"]; ok {
		port.Text = ":" + port.Text
		layer["listen"] = port
	}
	if !slices.Contains(l.sources, stripeSource) {
		return layer
	}
	for _, k := range sourceKeys {
		l.take(layer, "sources."+stripeSource+"."+k.path, k.short)
	}
	if secrets, ok := layer["sources."+stripeSource+".secrets"]; ok {
		layer["sources."+stripeSource+".preset"] = value{Text: "stripe", From: secrets.From}
	}
	return layer
}

func (l *loader) overrides() map[string]value {
	layer := map[string]value{}
	for _, k := range configKeys {
		l.take(layer, k.path, k.env(""))
	}
	for _, name := range l.sources {
		for _, k := range sourceKeys {
			prefix := "sources." + name + "."
			l.take(layer, prefix+k.path, k.env(prefix))
		}
	}
	return layer
}

// check makes the checks that concern more than one key.
func (l *loader) check() {
	if len(l.sources) == 0 && !l.doc.broken && !l.doc.isUnread("sources") {
		l.report(l.cfg.Problem("sources", "names no source", "set STRIPE_WEBHOOK_SECRET, or add a source to usher.yaml"))
	}
	for _, name := range l.sources {
		l.checkSource("sources."+name, l.cfg.Sources[name])
		l.checkLookUp(name, l.cfg.Sources[name])
	}
	l.checkTokens()
	l.report(l.env.unknown(l.variables(), l.doc.text)...)
}

// checkTokens sees to it that a name in the audit trail is one token's, and that one token has one role.
func (l *loader) checkTokens() {
	names, hashes := map[string]int{}, map[Secret]int{}
	for i, token := range l.cfg.Tokens {
		path := fmt.Sprintf("tokens[%d]", i)
		if first, twice := names[token.Name]; twice && token.Name != "" {
			l.report(l.cfg.Problem(path+".name", fmt.Sprintf("is the name of tokens[%d] too", first), "give each token a name of its own"))
		} else {
			names[token.Name] = i
		}
		if first, twice := hashes[token.Hash]; twice && !token.Hash.IsBlank() {
			l.report(l.cfg.Problem(path+".hash", fmt.Sprintf("is the hash of tokens[%d] too", first), "make each user a token of their own"))
		} else {
			hashes[token.Hash] = i
		}
	}
}

// checkSource sees to it that something tells what sender it is, and that
// nobody takes unsigned requests by a slip.
func (l *loader) checkSource(path string, s Source) {
	isBare := s.Preset == "" && s.Verify.Kind == ""
	if isBare && !l.doc.broken && !l.doc.isUnread(path) && !l.reported(path+".preset", path+".verify", path+".verify.kind") {
		l.report(l.cfg.Problem(path+".preset", "is missing", "name one (usher presets lists them), or describe the sender by verify"))
	}
	if s.Verify.Kind == unsigned && !s.AllowUnsigned && !l.reported(path+".allow_unsigned") {
		l.report(l.cfg.Problem(path+".verify.kind", "would take anything that anybody sends",
			"set allow_unsigned: true if that is meant, or use kind: path_token"))
	}
}

// checkLookUp sees to it that what an event of Stripe leaves out can be looked
// up.
func (l *loader) checkLookUp(name string, s Source) {
	const bare = "customer.subscription.created"
	path := "sources." + name
	isStripe := s.Preset == "stripe" || s.Preset == "" && name == stripeSource
	i := slices.Index(s.Events, bare)
	if !isStripe || i < 0 || !s.APIKey.IsBlank() || l.reported(path+".api_key") {
		return
	}
	at := fmt.Sprintf("%s.events[%d]", path, i)
	if _, ok := l.cfg.places[at]; !ok {
		at = path + ".events"
	}
	l.report(l.cfg.Problem(at, "asks for "+bare+", which carries no address, and api_key is unset",
		"set "+path+".api_key to a restricted Stripe key that may read customers"))
}

// variables are all that set something and begin with USHER_.
func (l *loader) variables() []string {
	var all []string
	for _, k := range configKeys {
		all = append(all, k.env(""))
		if k.short != "" {
			all = append(all, k.short)
		}
	}
	for _, name := range l.sources {
		all = append(all, sourceEnv(name)...)
	}
	return all
}
