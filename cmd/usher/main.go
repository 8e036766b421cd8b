// Command usher receives signed webhooks of customers who paid and invites the customers to a Retool app.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// The exit statuses, for scripts.
const (
	exitOK      = 0
	exitFailure = 1 // it ran, and something is not as it should be
	exitUsage   = 2 // the command line or the configuration is wrong
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main with its status returned, so that the stories in testdata can run it as a command.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var quiet quietError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return int(quiet)
	case errors.As(err, new(usageError)), strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "if any flags in the group"):
		fmt.Fprintln(os.Stderr, "usher:", err)
		return exitUsage
	default:
		fmt.Fprintln(os.Stderr, "usher:", err)
		return exitFailure
	}
}

// A usageError is a mistake on the command line or in the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// A quietError is an exit status whose reason was printed already.
type quietError int

func (e quietError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "usher",
		Short: "Invite paying customers to your Retool app, once each, and prove it",
		Long: `Usher receives signed webhooks (of Stripe, forms, shops, CRMs, and whatever else can sign), finds the
customer's address, applies the domain rule, and invites the customer to your Retool app through a
client that retries.

Exit status: 0 done, 1 something is not as it should be, 2 wrong command line or configuration.`,
		Example: `  usher demo                       # see it work, with a sandbox Retool
  usher serve                      # receive webhooks and send invitations
  usher check                      # try configuration, ledger and Retool`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nsee: %s --help", err, cmd.CommandPath())}
	})
	root.PersistentFlags().StringP("config", "c", "", "configuration file (default: $USHER_CONFIG, else usher.yaml where there is one)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // the flag is there
	addGroup(root, "To run it:", newServe(), newCheck(), newMigrate(), newBackup())
	addGroup(root, "By hand:", newInvite(), newImport(), newList(), newShow(), newExplain(), newApprove(), newRetry(), newRevoke(), newCorrect(), newExport(), newAudit(), newToken())
	addGroup(root, "To try it:", newDemo(), newSandbox(), newPresets(), newTry(), newRules(), newSend())
	for _, cmd := range root.Commands() {
		refuseArguments(cmd)
	}
	return root
}

// addGroup adds commands under a title of their own in the help.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// refuseArguments makes a stray argument a usage error with a hint.
func refuseArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseArguments(sub)
	}
	if cmd.HasSubCommands() || cmd.Args != nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("%s takes no argument %q\nsee: %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
		}
		return nil
	}
}

// buildVersion is set by the linker in a release.
var buildVersion string

func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// colours are the ANSI sequences of a terminal, all empty elsewhere.
type colours struct{ bold, dim, red, green, yellow, blue, off string }

// coloursFor leaves colours off when the output is no terminal or NO_COLOR is set (https://no-color.org).
func coloursFor(w io.Writer) colours {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" {
		return colours{}
	}
	return colours{bold: "\x1b[1m", dim: "\x1b[2m", red: "\x1b[31m", green: "\x1b[32m", yellow: "\x1b[33m", blue: "\x1b[36m", off: "\x1b[0m"}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
