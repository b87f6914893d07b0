// Command dpc is the controller: the API, the control conversation with the
// dSwitches and, unless an etcd cluster is named, an etcd member of its own, in
// one process.
//
// "dpc init" makes what an installation needs once: the authority, the first
// member's certificate and an administrator's token. "dpc join" makes a further
// member, "dpc run" runs one until it is told to stop. "dpc backup" and "dpc
// restore" keep all documents and the authority in one file. All that is decided is decided by the packages that
// this one wires together.
package main

//go:generate go run . manual ../../docs/commands/dpc.md

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"dove.network/manual"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := manual.Execute(ctx, command(), os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "dpc: %v\n", err)
	}
	os.Exit(code)
}

// command returns the command line.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "dpc",
		Short: "Control DOVE: keep what tenants want, and tell hosts",
		Long: `dpc is DOVE's controller. It takes blueprints and endpoints over a REST API,
keeps them in etcd, and answers the questions of the dSwitch on each host.

Start with two commands:

  dpc init --state /var/lib/dove/dpc --advertise dpc1.example:7443
  dpc run  --state /var/lib/dove/dpc

The first prints an administrator's token and writes admin.yaml into the state
folder, a configuration for dovectl. The API's documentation is at /docs of the
running member. dpc join adds further members.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(initCommand(), joinCommand(), runCommand(), backupCommand(), restoreCommand(), manual.Command())
	manual.Plain(root)
	return root
}
