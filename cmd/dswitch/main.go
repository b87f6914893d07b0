// Command dswitch is the switch of one host: it attaches eBPF programs to the
// guests' devices, asks the DPC on first need, and keeps the answers.
//
// It wires packages and knows nothing itself: agent decides, dataplane/ebpf
// switches, vif finds devices, control/stream carries the conversation, auth
// holds the host's credentials.
package main

//go:generate go run . manual ../../docs/commands/dswitch.md

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dove.network/config"
	"dove.network/manual"
)

var version = "unknown" // set by the build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := manual.Execute(ctx, command(), os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dswitch:", err)
	}
	os.Exit(code)
}

func command() *cobra.Command {
	root := settingsCommand("dswitch", "The switch of one host", (*settings).checkRun, run)
	root.Long = `dswitch switches the packets of this host's guests as the DPC says: it waits for
the devices of the endpoints that are bound to the host, attaches eBPF programs
to them, asks the DPC about each new peer and keeps the answers.

It needs root, Linux 6.6 or newer, and a BPF file system at the folder above
--pins. When it stops, the programs stay and packets of known peers go on; the
next start takes over. With --remove-on-exit, or by dswitch remove, they go.`
	root.Example = `  dswitch join TOKEN --host h1 --underlay 192.0.2.1 --api dpc.example:7443
  dswitch run --dpc dpc.example:7444
  dswitch run --config /etc/dove/dswitch.yaml --check
  dswitch status
  dswitch plug red/web-1 tap7`
	root.Version = version
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("dswitch {{.Version}}\n")
	runs := settingsCommand("run", "Switch until stopped (what dswitch without a command does, too)", (*settings).checkRun, run)
	runs.Example = "  dswitch run --dpc dpc1.example:7444\n  dswitch run --config /etc/dove/dswitch.yaml --check"
	join := settingsCommand("join [TOKEN]", "Get this host's certificate with a join token, and exit", (*settings).checkJoin, joinOnly)
	join.Long = `join makes a key, has the DPC sign a certificate that names this host and its
underlay address, and keeps both in the state folder. The token ("dovectl host
token" makes one) is used up; - reads it from standard input. A host that joins
again gets a new certificate, and its old one is worth nothing from then on.`
	join.Example = `  dswitch join TOKEN --host h1 --underlay 192.0.2.1 --api dpc1.example:7443
  dswitch join - --underlay 192.0.2.1 --api dpc1.example:7443 < h1.token`
	takeToken(join)
	only(join, "host", "underlay", "dpc", "state", "netns", "join", "api")
	remove := settingsCommand("remove", "Take down everything that dswitch left running on this host", (*settings).checkRemove, remove)
	remove.Long = `remove detaches the programs, and deletes the maps, the devices and what a restart
would need. Guests lose their network. The host's certificate stays.`
	only(remove, "underlay", "state", "pins", "netns", "up-device", "vxlan-device")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runs, join, remove, manual.Command())
	root.AddCommand(askCommands()...)
	manual.Plain(root)
	return root
}

// settingsCommand makes a command that takes all settings, from flags and file.
func settingsCommand(use, short string, check func(*settings) error, act func(context.Context, *settings, *slog.Logger) error) *cobra.Command {
	s := defaults()
	cmd := &cobra.Command{Use: use, Short: short, SilenceUsage: true, SilenceErrors: true}
	s.flags(cmd.Flags())
	config.Program(cmd, func() error { return check(s) }, func(ctx context.Context, log *slog.Logger) error {
		if os.Getuid() != 0 {
			return errors.New("it needs root, to attach programs to devices and to keep the host's key: run it with sudo")
		}
		if err := enter(s.NetNS); err != nil {
			return err
		}
		return act(ctx, s, log)
	})
	return cmd
}

// only leaves of the settings those in a command's help that it uses. It takes
// the others too, so that one file serves all commands.
func only(cmd *cobra.Command, used ...string) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	defaults().flags(own)
	own.VisitAll(func(f *pflag.Flag) { cmd.Flags().Lookup(f.Name).Hidden = !slices.Contains(used, f.Name) })
}

// takeToken lets the token be given as the argument.
func takeToken(cmd *cobra.Command) {
	act := cmd.RunE
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, token := range args {
			if err := cmd.Flags().Set("join", token); err != nil {
				return err
			}
		}
		return act(cmd, nil)
	}
}
