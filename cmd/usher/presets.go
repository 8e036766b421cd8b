package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
and where its events carry the customer's address. "usher presets show NAME" prints one written out.`,
		Example: `  usher presets
  usher presets show typeform
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
	cmd.AddCommand(newPresetsShow())
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
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Print a preset written out, ready to paste into usher.yaml and change",
		Long: `Show prints the source that a preset stands for, with every field written out. It can be pasted into
usher.yaml and changed. Where the preset itself will do, "preset: NAME" and "secrets" are enough; a field beside
them replaces the preset's own.`,
		Example: `  usher presets show typeform
  usher presets show hmac-hex > usher.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("show wants the name of one preset\nsee: usher presets")}
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, p := range webhook.Presets() {
				names = append(names, cobra.CompletionWithDesc(p.Name, p.About.Title))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			preset, ok := webhook.FindPreset(args[0])
			if !ok || preset.Hidden {
				return usageError{fmt.Errorf("there is no preset %q: %susher presets lists them", args[0], config.DidYouMean(args[0], presetNames()))}
			}
			fmt.Fprint(cmd.OutOrStdout(), preset.Example())
			return nil
		},
	}
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

func listPresets() (listed []listedPreset, err error) {
	for _, p := range webhook.Presets() {
		address, err := addressOf(p)
		if err != nil {
			return nil, fmt.Errorf("preset %s: %w", p.Name, err)
		}
		listed = append(listed, listedPreset{
			Name: p.Name, Title: p.About.Title, Group: p.About.Group, Proof: proofOf(p.Row.Verify), Address: address, LookUp: p.Row.LookUp, Link: p.About.Link,
		})
	}
	return listed, nil
}

// proofOf says in a few words how a sender proves that a request is its own.
func proofOf(v webhook.Verify) string {
	algorithm := strings.ToUpper(v.Algorithm)
	if algorithm == "" {
		algorithm = "SHA256"
	}
	var also []string
	for _, part := range []struct{ placeholder, name string }{{"{url}", "address"}, {"{ts}", "time"}} {
		if strings.Contains(v.Signed, part.placeholder) {
			also = append(also, part.name)
		}
	}
	if v.Kind == "stripe" {
		also = []string{"time"}
	}
	signed := ""
	if len(also) > 0 {
		signed = ", " + strings.Join(also, " and ") + " signed"
	}
	prefix := strings.ToLower(strings.TrimSpace(v.Prefix))
	switch {
	case v.Kind == "token" && prefix == "bearer":
		return "bearer token"
	case v.Kind == "token" && prefix == "basic":
		return "basic authentication"
	case v.Kind == "token":
		return "token in " + v.Header
	case v.Kind == "path_token":
		return "token in the address"
	case v.Kind == "none":
		return "nothing"
	case v.Kind == "hash":
		return algorithm + " of secret and body" + signed
	default:
		return "HMAC-" + algorithm + signed
	}
}

// addressOf says where the customer's address is, by what comes out of the preset's samples.
func addressOf(p webhook.Preset) (string, error) {
	source, err := webhook.New(webhook.Config{
		Name: p.Name, Row: p.Row, Secrets: []string{webhooktest.Secret(p.Row.Verify)}, PublicURL: "https://usher.example.com", LookUp: p.Row.LookUp != "",
	})
	if err != nil {
		return "", err
	}
	samples := webhooktest.Samples(p.Name)
	isStripe := len(samples) == 0 // its usual events carry the address
	carried, main := isStripe, isStripe
	for i, sample := range samples {
		header, body := sample.Make(webhooktest.Fill{Email: "ada@lovelace.example"}.Complete())
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
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(listed)
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
	fmt.Fprintf(w, "\n%sThe columns: name, sender, its proof, where the customer's address is. usher presets show NAME writes one out.%s\n", c.dim, c.off)
	return nil
}
