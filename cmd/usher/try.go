package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/ledger"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
)

// tryFlags are what "usher try" was asked for.
type tryFlags struct {
	body, query, method, token, at string
	headers                        []string
	unsigned, asJSON               bool
}

func newTry() *cobra.Command {
	var f tryFlags
	cmd := &cobra.Command{
		Use:   "try SOURCE",
		Short: "Run one payload through a source's verification, expressions and rules",
		Long: `Try shows what Usher would make of a request, step by step, and changes nothing: whether its signature
verifies, what every expression of the source gives, and what the domain rule and the access rules decide.
Retool and the ledger are not needed.

The values are printed as they are: they may hold what a customer wrote.

Exit status 1 when the request does not verify.`,
		Example: `  usher try signup-form --body payload.json --unsigned
  usher try billing --body event.json --header "X-Sig: t=1700000000,v1=5257a8…" --at 2023-11-14T22:13:20Z
  curl -s https://example.com/sample.json | usher try billing --body - --unsigned --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("try wants the name of one source of usher.yaml\nsee: usher try --help")}
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			cfg, _ := config.Load(configOptions(cmd))
			var names []string
			for name := range cfg.Sources {
				names = append(names, name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return try(cmd, args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.body, "body", "", "the file with the body, as it was sent; - is the standard input")
	flags.StringArrayVar(&f.headers, "header", nil, `a header of the request, "Name: value"; can be repeated. Without a Content-Type it is guessed from the body`)
	flags.StringVar(&f.query, "query", "", "the query of the address, without the question mark")
	flags.StringVar(&f.method, "method", http.MethodPost, "the request's method")
	flags.StringVar(&f.token, "token", "", "the last segment of the path, for path_token")
	flags.StringVar(&f.at, "at", "", "when the request came, such as 2023-11-14T22:13:20Z (default: now)")
	flags.BoolVar(&f.unsigned, "unsigned", false, "leave the verification out")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// A tried request is what came of it.
type tried struct {
	Source   string `json:"source"`
	Verified string `json:"verified,omitempty"` // by which secret
	Refused  string `json:"refused,omitempty"`
	// Handshake is the answer to a request that only tries the address.
	Handshake string       `json:"handshake,omitempty"`
	Events    []triedEvent `json:"events"`
}

type triedEvent struct {
	Steps    []triedStep `json:"steps"`
	ID       string      `json:"id"`
	Outcome  string      `json:"outcome"` // or "look_up"
	Reason   string      `json:"reason"`
	Sentence string      `json:"sentence"`
	Email    string      `json:"email,omitempty"`
	Groups   []int64     `json:"groups,omitempty"`

	Attributes map[string]string `json:"attributes,omitempty"`
}

type triedStep struct {
	Field      string `json:"field"`
	Expression string `json:"expression"`
	Value      any    `json:"value"`
	Error      string `json:"error,omitempty"`
}

func try(cmd *cobra.Command, name string, f tryFlags) error {
	request, now, err := f.request(cmd.InOrStdin())
	if err != nil {
		return usageError{err}
	}
	p, err := loadFor(cmd, name)
	if err != nil {
		return err
	}
	result, err := p.try(p.sources[name], now, request, f.unsigned)
	printTried(cmd.OutOrStdout(), result, f)
	if err != nil {
		return quietError(exitFailure)
	}
	return nil
}

// try does what the receiver and the decide stage do, without the ledger. The error is why the request is refused.
func (p *parts) try(source *webhook.Source, now time.Time, r webhook.Request, unsigned bool) (result tried, err error) {
	result = tried{Source: source.Name(), Events: []triedEvent{}}
	if answer, ok := source.Greeting(r); ok {
		result.Handshake = string(answer.Body)
		return result, nil
	}
	verified := source.Unsigned(now, r)
	if !unsigned {
		if verified, err = source.Verify(now, r); err != nil {
			result.Refused = err.Error()
			return result, err
		}
		result.Verified = verified.By()
	}
	if answer, ok := source.Handshake(verified); ok {
		result.Handshake = string(answer.Body)
		return result, nil
	}
	result.Events = p.explain(source, verified)
	return result, nil
}

// looksLike is the content type that a body seems to have. Whoever tries a saved body has often not saved its
// headers.
func looksLike(body []byte) string {
	switch firstLine, _, _ := strings.Cut(string(body), "\n"); {
	case strings.HasPrefix(firstLine, "--"):
		return "multipart/form-data; boundary=" + strings.TrimSpace(firstLine)[2:]
	case formBody.MatchString(strings.TrimSpace(string(body))):
		return "application/x-www-form-urlencoded"
	default:
		return "application/json"
	}
}

var formBody = regexp.MustCompile(`^[^\s={}\[\]"&]+=[^\s]*$`)

// request is what the flags describe.
func (f tryFlags) request(in io.Reader) (r webhook.Request, now time.Time, err error) {
	now = time.Now()
	if f.at != "" {
		if now, err = time.Parse(time.RFC3339, f.at); err != nil {
			return r, now, errors.New("--at wants a time such as 2023-11-14T22:13:20Z")
		}
	}
	r = webhook.Request{Method: f.method, Query: f.query, Token: f.token, Header: http.Header{}}
	for _, header := range f.headers {
		key, value, ok := strings.Cut(header, ":")
		if !ok {
			return r, now, errors.New(`--header wants "Name: value"`)
		}
		r.Header.Add(strings.TrimSpace(key), strings.TrimSpace(value))
	}
	switch f.body {
	case "":
		return r, now, errors.New("--body is missing: name the file with the payload, or - for the standard input")
	case "-":
		r.Body, err = io.ReadAll(in)
	default:
		r.Body, err = os.ReadFile(f.body)
	}
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", looksLike(r.Body))
	}
	return r, now, err
}

// loadFor loads what one source and the rules need; the rest of the configuration may be incomplete.
func loadFor(cmd *cobra.Command, name string) (*parts, error) {
	p, problems := load(configOptions(cmd), io.Discard)
	at := "sources." + name
	var concern config.Problems
	for _, problem := range problems {
		top, _, _ := strings.Cut(problem.Path, ".")
		top, _, _ = strings.Cut(top, "[")
		if problem.Path == "" || top == "access" || top == "domains" || problem.Path == at || strings.HasPrefix(problem.Path, at+".") {
			concern = append(concern, problem)
		}
	}
	if len(concern) > 0 {
		printProblems(cmd.ErrOrStderr(), concern)
		return nil, quietError(exitUsage)
	}
	if p.sources[name] == nil {
		var names []string
		for known := range p.config.Sources {
			names = append(names, known)
		}
		return nil, usageError{fmt.Errorf("there is no source %q; %sthe configuration has: %s", name, config.DidYouMean(name, names), strings.Join(slices.Sorted(slices.Values(names)), ", "))}
	}
	return p, nil
}

// explain reads the events and decides them, noting every step.
func (p *parts) explain(source *webhook.Source, v webhook.Verified) []triedEvent {
	steps := map[int][]triedStep{}
	events := source.Explain(v, func(s webhook.Step) {
		step := triedStep{Field: s.Field, Expression: s.Expression, Value: s.Value}
		if s.Err != nil {
			step.Error = s.Err.Error()
		}
		steps[max(s.Item, 0)] = append(steps[max(s.Item, 0)], step)
	})
	all := make([]triedEvent, 0, len(events))
	for i, e := range events {
		v := onboarding.Verdict(p.policy, e)
		one := triedEvent{Steps: steps[i], ID: e.ID, Outcome: string(v.Decision.Outcome), Reason: string(v.Decision.Reason), Sentence: v.Decision.Sentence,
			Email: v.Decision.Address.Full(), Groups: v.Decision.Groups, Attributes: v.Decision.Attributes}
		if v.LookUp {
			one.Outcome, one.Sentence = lookUpOutcome(v)
		}
		all = append(all, one)
	}
	return all
}

func lookUpOutcome(v ledger.Verdict) (outcome, sentence string) {
	sentence = "The event carries no address: Usher would ask the sender for the customer's, then decide."
	if v.Decision.Sentence != "" {
		sentence += " " + v.Decision.Sentence
	}
	return "look_up", sentence
}

func printTried(w io.Writer, r tried, f tryFlags) {
	if f.asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(r)
		return
	}
	c := coloursFor(w)
	switch {
	case r.Refused != "":
		fmt.Fprintf(w, "%s✗ verify%s  %s\n", c.red, c.off, r.Refused)
		fmt.Fprintf(w, "Usher would answer 401. To try the expressions all the same: --unsigned; for a request of another time: --at.\n")
	case r.Handshake != "":
		fmt.Fprintf(w, "%s✓ handshake%s  this only tries the address: Usher answers 200 with %s and records nothing\n", c.green, c.off, r.Handshake)
	case f.unsigned:
		fmt.Fprintf(w, "%s– verify%s  left out\n", c.dim, c.off)
	default:
		fmt.Fprintf(w, "%s✓ verify%s  by %s\n", c.green, c.off, r.Verified)
	}
	for i, e := range r.Events {
		fmt.Fprintf(w, "\n%sevent %d of %d%s\n", c.bold, i+1, len(r.Events), c.off)
		for _, s := range e.Steps {
			value := shown(s.Value)
			if s.Error != "" {
				value = c.red + "error: " + s.Error + c.off
			}
			fmt.Fprintf(w, "  %-16s %s\n  %16s %s→ %s%s\n", s.Field, s.Expression, "", c.dim, c.off, value)
		}
		colour := map[string]string{"invite": c.green, "hold": c.yellow, "look_up": c.yellow}[e.Outcome]
		fmt.Fprintf(w, "  %-16s %s\n", "identity", e.ID)
		fmt.Fprintf(w, "  %-16s %s%s%s %s\n  %16s %s\n", "decision", colour, e.Outcome, c.off, e.Reason, "", e.Sentence)
		if e.Email != "" {
			fmt.Fprintf(w, "  %-16s %s\n", "address", e.Email)
		}
		if len(e.Groups) > 0 {
			fmt.Fprintf(w, "  %-16s %v\n", "groups", e.Groups)
		}
		if len(e.Attributes) > 0 {
			fmt.Fprintf(w, "  %-16s %s\n", "attributes", shown(e.Attributes))
		}
	}
}

// shown is a value as JSON, cut to a line.
func shown(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return fmt.Sprintf("a %T", value)
	}
	runes := []rune(strings.TrimSpace(text.String()))
	if len(runes) > 160 {
		return string(runes[:160]) + fmt.Sprintf("… (%d characters)", len(runes))
	}
	return string(runes)
}
