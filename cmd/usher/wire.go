package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/onboarding"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/retoolclient"
)

// parts are what the configuration describes, made and checked; nothing is opened yet.
type parts struct {
	config  *config.Config
	policy  *access.Policy
	sources map[string]*webhook.Source
	lookUps map[string]onboarding.LookUp
	retool  *retoolclient.Client
	log     *slog.Logger
	env     []string // that the configuration was read with

	readOnly bool   // they decide what is in the ledger, and receive and send nothing
	beside   *parts // those that run, if these are others
}

// configOptions finds the configuration file: the flag, else USHER_CONFIG, else usher.yaml where there is one.
func configOptions(cmd *cobra.Command) config.Options {
	file, _ := cmd.Flags().GetString("config")
	if current := cmd.Flags().Lookup("current"); current != nil { // there, config is another one, to be tried
		file = current.Value.String()
	}
	if file == "" {
		file = os.Getenv("USHER_CONFIG")
	}
	if file == "" {
		if _, err := os.Stat("usher.yaml"); err == nil {
			file = "usher.yaml"
		}
	}
	return config.Options{File: file, Env: os.Environ()}
}

// load reads the configuration and makes its parts. Every mistake of both is reported at once.
func load(o config.Options, logTo io.Writer) (*parts, config.Problems) {
	cfg, problems := config.Load(o)
	p := newParts(cfg, logTo)
	p.env = o.Env
	incomplete := len(problems) > 0
	problems = append(problems, p.makeSources(problems)...)
	problems = append(problems, p.makePolicy()...)
	if !incomplete {
		problems = append(problems, p.makeRetool()...)
	}
	return p, problems.Sorted()
}

func newParts(cfg *config.Config, logTo io.Writer) *parts {
	return &parts{config: cfg, log: newLogger(logTo, cfg.Log), lookUps: map[string]onboarding.LookUp{}, sources: map[string]*webhook.Source{}}
}

func (p *parts) makePolicy() (problems config.Problems) {
	policy := access.PolicyConfig{Internal: p.config.Domains.Internal, Allow: p.config.Domains.Allow, Deny: p.config.Domains.Deny}
	for _, r := range p.config.Access {
		policy.Rules = append(policy.Rules, access.Rule{When: r.When, Outcome: access.Outcome(r.Decision), Groups: r.Groups, Attributes: r.Attributes})
	}
	var err error
	p.policy, err = access.NewPolicy(policy)
	for _, one := range split(err) {
		var wrong *access.ConfigError
		if errors.As(one, &wrong) {
			problems = append(problems, p.config.Problem(wrong.Path, wrong.Problem, wrong.Mend))
		} else {
			problems = append(problems, p.config.Problem("access", one.Error(), ""))
		}
	}
	return problems
}

func (p *parts) makeRetool() (problems config.Problems) {
	r := p.config.Retool
	var err error
	p.retool, err = retoolclient.New(retoolclient.Options{
		BaseURL: r.URL, Token: r.Token.Reveal(), API: retoolclient.API(r.API), BulkBody: r.BulkBody, Timeout: r.Timeout,
		PresentPhrases: r.PresentPhrases, UserAgent: "usher/" + version(),
		OnFallback: func(reason string) {
			p.log.Warn("Retool refuses the documented API; inviting by its bulk call from now on", "reason", onboarding.Masked(reason))
		},
	})
	for _, one := range split(err) {
		problems = append(problems, p.config.Problem("retool", one.Error(), ""))
	}
	return problems
}

// split takes apart what errors.Join joined.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // errors.Join's own type, at the top
		return joined.Unwrap()
	}
	return []error{err}
}

// mustLoad is load for commands that cannot go on with mistakes: it prints them all.
func mustLoad(cmd *cobra.Command) (*parts, error) {
	p, problems := load(configOptions(cmd), cmd.ErrOrStderr())
	if len(problems) > 0 {
		printProblems(cmd.ErrOrStderr(), problems)
		return nil, quietError(exitUsage)
	}
	for _, warning := range p.warnings() {
		p.log.Warn("configuration: " + warning.String())
	}
	return p, nil
}

func printProblems(w io.Writer, problems config.Problems) {
	c := coloursFor(w)
	mistakes := "mistakes"
	if len(problems) == 1 {
		mistakes = "mistake"
	}
	fmt.Fprintf(w, "%susher: the configuration has %d %s:%s\n", c.red, len(problems), mistakes, c.off)
	for _, p := range problems {
		fmt.Fprintln(w, "  "+p.String())
	}
	fmt.Fprintln(w, "Nothing was started. The settings are described in README.md.")
}

// newLogger writes text to a terminal and JSON elsewhere, unless told otherwise.
func newLogger(w io.Writer, cfg config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // checked by config; info while it is wrong
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
		}
		return a
	}}
	if cfg.Format == "json" || (cfg.Format == "" && !isTerminal(w)) {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
