package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

func newPresets() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "presets",
		Short: "List the senders that Usher knows",
		Long: `Presets lists the senders that a source may name as its preset: how each proves that a request is its own,
and where its events carry the customer's address. "usher presets show NAME" prints one written out, and
"usher presets sample NAME" the body of an event.`,
		Example: `  usher presets
  usher presets show typeform
  usher presets sample typeform
  usher presets --json`,
		Args: refuseUnknown,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listed, err := listPresets()
			if err != nil {
				return err
			}
			return printPresets(cmd.OutOrStdout(), listed, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	cmd.AddCommand(newPresetsShow(), newPresetsSample())
	return cmd
}

// refuseUnknown makes a word that is no command of this one a usage error.
func refuseUnknown(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s has no command %q\nto see one preset: usher presets show %s", cmd.CommandPath(), args[0], args[0])}
	}
	return nil
}

func newPresetsShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a preset written out, ready to paste into usher.yaml and change",
		Long: `Show prints the source that a preset stands for, with every field written out. It can be pasted into
usher.yaml and changed. Where the preset itself will do, "preset: NAME" and "secrets" are enough; a field beside
them replaces the preset's own.

Exit status 2 when there is no such preset.`,
		Example: `  usher presets show typeform
  usher presets show hmac-hex > usher.yaml`,
		Args:              onePreset,
		ValidArgsFunction: completePreset,
		RunE: func(cmd *cobra.Command, args []string) error {
			preset, err := findPreset(args[0])
			if err != nil {
				return usageError{err}
			}
			if !asJSON {
				fmt.Fprint(cmd.OutOrStdout(), preset.Example())
				return nil
			}
			shown, err := showPreset(preset)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), shown)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the preset, and what is known of its sender, as JSON")
	return cmd
}

func newPresetsSample() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "sample NAME",
		Short: "Print the whole body of an event as the sender sends it",
		Long: `Sample prints the body of an event of this sender, whole and unsigned: what "usher send" sends. Without --email
the event has no address. Headers that matter beside it are told on standard error, as flags of "usher try".

Exit status 2 when there is no such preset or variant.`,
		Example: `  usher presets sample typeform | usher try signup-form --body - --unsigned
  usher presets sample hubspot --email ada@example.com
  usher presets sample woocommerce --variant ping`,
		Args:              onePreset,
		ValidArgsFunction: completePreset,
		RunE: func(cmd *cobra.Command, args []string) error {
			preset, err := findPreset(args[0])
			if err != nil {
				return usageError{err}
			}
			m, err := sampleMessage(preset.Name, f)
			if err != nil {
				return usageError{err}
			}
			if flags := headerFlags(preset, m.header); flags != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "Usher reads headers beside this body; for usher try:"+flags)
			}
			_, err = cmd.OutOrStdout().Write(m.body)
			return err
		},
	}
	cmd.Flags().StringVar(&f.variant, "variant", "", "another event of the sender, such as ping; an unknown one lists them")
	cmd.Flags().StringVar(&f.email, "email", "", "the customer's address (default: none)")
	return cmd
}

// sampleMessage is the event that "usher send" sends.
func sampleMessage(preset string, f sendFlags) (message, error) {
	if preset == "stripe" {
		if f.variant != "" && !slices.Contains(stripeVariants, f.variant) {
			return message{}, fmt.Errorf("stripe has no variant %q; %sthere are: %s", f.variant, near(f.variant, stripeVariants), strings.Join(stripeVariants, ", "))
		}
		f.eventType, f.status, f.name = cmp.Or(f.variant, webhook.CheckoutCompleted), "paid", "Test Customer"
	}
	all, err := (&target{name: preset, preset: preset}).candidates(f, nil)
	if err != nil {
		return message{}, err
	}
	return all[0], nil
}

// stripeVariants are the types of event, beside the usual one, that look different.
var stripeVariants = []string{webhook.InvoicePaid, webhook.SubscriptionCreated}

// headerFlags are the headers that say how a body is read, and those that the preset reads, as flags of "usher try".
func headerFlags(p webhook.Preset, header http.Header) (flags string) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		value := header.Get(name)
		isForm := name == "Content-Type" && !strings.HasPrefix(value, "application/json")
		if isForm || strings.Contains(strings.ToLower(p.Source), `"`+strings.ToLower(name)+`"`) {
			flags += fmt.Sprintf(" --header %q", name+": "+value)
		}
	}
	return flags
}

// onePreset wants one name.
func onePreset(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("%s wants the name of one preset\nsee: usher presets", cmd.Name())}
	}
	return nil
}

func completePreset(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	for _, p := range webhook.Presets() {
		if len(args) == 0 {
			names = append(names, cobra.CompletionWithDesc(p.Name, p.About.Title))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// findPreset finds a preset that a source may name.
func findPreset(name string) (webhook.Preset, error) {
	preset, ok := webhook.FindPreset(name)
	if !ok || preset.Hidden {
		return preset, fmt.Errorf("there is no preset %q: %susher presets lists them", name, near(name, presetNames()))
	}
	return preset, nil
}

// near suggests the names that a word is a part of, or that are a part of it, else the one that looks alike.
func near(word string, names []string) string {
	var found []string
	for _, name := range names {
		isPart := len(word) > 2 && strings.Contains(name, strings.ToLower(word)) || strings.HasPrefix(word, name+"-")
		if isPart && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	if len(found) == 0 || len(found) > 3 {
		return config.DidYouMean(word, names)
	}
	return "did you mean " + strings.Join(found, " or ") + "? "
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// A listedPreset is one line of "usher presets".
type listedPreset struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Group   string `json:"group"`
	Proof   string `json:"proof"`
	Address string `json:"address"`
	LookUp  string `json:"look_up,omitempty"` // who is asked for an address
	Link    string `json:"link"`
}

func listPresets() (all []listedPreset, err error) {
	for _, p := range webhook.Presets() {
		one, err := listed(p)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func listed(p webhook.Preset) (listedPreset, error) {
	address, err := addressOf(p)
	if err != nil {
		return listedPreset{}, fmt.Errorf("preset %s: %w", p.Name, err)
	}
	return listedPreset{
		Name: p.Name, Title: p.About.Title, Group: p.About.Group, Proof: p.Row.Verify.Proof(), Address: address, LookUp: p.Row.LookUp, Link: p.About.Link,
	}, nil
}

// A shownPreset is all that is known of a sender.
type shownPreset struct {
	listedPreset
	Secret    string         `json:"secret"`
	Env       string         `json:"env"`
	Setup     []string       `json:"setup"`
	Events    string         `json:"events"`
	Answer    string         `json:"answer"`
	OnFailure string         `json:"on_failure"`
	Notes     []string       `json:"notes,omitempty"`
	Code      string         `json:"code,omitempty"`
	Variants  []string       `json:"variants,omitempty"` // of its sample, beside the usual one
	Source    map[string]any `json:"source"`             // its fields in usher.yaml
}

func showPreset(p webhook.Preset) (shownPreset, error) {
	one, err := listed(p)
	a := p.About
	shown := shownPreset{listedPreset: one, Secret: a.Secret, Env: a.Env, Setup: a.Setup, Events: a.Events, Answer: a.Answer, OnFailure: a.OnFailure,
		Notes: a.Notes, Code: a.Code, Variants: variantsOf(p.Name)}
	if p.Name == "stripe" {
		shown.Variants = stripeVariants
	}
	if err == nil {
		err = yaml.Unmarshal([]byte(p.Source), &shown.Source)
	}
	delete(shown.Source, "legacy") // known to the preset only
	return shown, err
}

// addressOf says where the customer's address is, by what comes out of the preset's samples.
func addressOf(p webhook.Preset) (string, error) {
	source, err := webhook.New(webhook.Config{
		Name: p.Name, Row: p.Row, Secrets: []string{webhooktest.Secret(p.Row.Verify)}, PublicURL: "https://usher.example.com", LookUp: p.Row.LookUp != "",
	})
	if err != nil {
		return "", err
	}
	samples := webhook.Samples(p.Name)
	isStripe := len(samples) == 0 // its usual events carry the address
	carried, main := isStripe, isStripe
	for i, sample := range samples {
		header, body := sample.Make(webhook.Fill{Email: "ada@lovelace.example"}.Complete())
		events := source.Events(source.Unsigned(time.Now(), webhook.Request{Method: http.MethodPost, Header: header, Body: body}))
		if slices.ContainsFunc(events, func(e webhook.Event) bool { return e.Email != "" && (e.Accepted || e.Preliminary.Reason == "") }) {
			carried, main = true, main || i == 0
		}
	}
	switch {
	case carried && p.Row.LookUp != "":
		return "in the event, else looked up", nil
	case p.Row.LookUp != "":
		return "looked up", nil
	case main:
		return "in the event", nil
	case carried:
		return "in some events", nil
	default:
		return "not in the event", nil
	}
}

// presetGroups are the groups in the order in which they are shown, with what they are called.
var presetGroups = []struct{ name, title string }{
	{"billing", "Billing"}, {"shops", "Shops"}, {"crm", "CRM"}, {"forms", "Forms and bookings"}, {"relays", "Relays"},
	{"identity", "Identity"}, {"messaging", "Messaging"}, {"generic", "Any sender"},
}

func printPresets(w io.Writer, listed []listedPreset, asJSON bool) error {
	if asJSON {
		return printJSON(w, listed)
	}
	c := coloursFor(w)
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for i, group := range presetGroups {
		if i > 0 {
			fmt.Fprintln(columns, "\t\t\t") // a line of the same table, so that all groups are aligned
		}
		fmt.Fprintf(columns, "%s\t\t\t\n", group.title)
		for _, p := range listed {
			if p.Group == group.name {
				fmt.Fprintf(columns, "  %s\t%s\t%s\t%s\n", p.Name, p.Title, p.Proof, p.Address)
			}
		}
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(table.String()) {
		line = strings.TrimRight(line, " \n")
		if line != "" && line[0] != ' ' {
			line = c.bold + line + c.off
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "\n%sThe columns: name, sender, its proof, where the customer's address is. usher presets show NAME writes one out, usher presets sample NAME an event.%s\n", c.dim, c.off)
	return nil
}
