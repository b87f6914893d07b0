package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"dove.network/api/client"
	"dove.network/dove"
	"dove.network/manual"
	"github.com/spf13/cobra"
)

// app is one run of dovectl.
type app struct {
	in                   io.Reader
	out, err             io.Writer
	asks                 bool // somebody is there to answer
	colourOut, colourErr bool
	width                int    // columns of the terminal that results go to; 0: unknown
	file                 string // which DPC, and who asks
	server               string // "" as the file says
	tenant               string
	form                 string         // of results: table, json or yaml
	waits                bool           // for what a write did
	started              bool           // the command line was understood
	cmd                  *cobra.Command // that runs, once started
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if !a.started {
		err = coded{exitRefused, manual.Misuse(root, args, err)}
	}
	if c, ok := errors.AsType[coded](err); !ok || c.error != nil {
		a.complain(err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "dovectl",
		Short: "describe tenants' networks, and see that hosts enforce them",
		Long: `dovectl describes tenants' networks to the DPC, and sees that hosts enforce
them.

A tenant writes a blueprint (groups, and who may talk to whom), applies it,
makes endpoints in its groups and puts them on hosts. Every change answers
with a revision; "dovectl wait" says when every host enforces it.

The configuration file says which DPC to ask and with whose token. "dpc init"
writes one (admin.yaml). It is looked for in --config, then $DOVE_CONFIG, then
dove/config.yaml in the user's configuration folder (~/.config).

Exit codes:
  0  done
  1  failed: no answer, no such thing, the world changed meanwhile
  2  refused: the command line or the document is at fault, and stays so
  3  wait: not every host enforces the revision yet
  4  why: the packet would not arrive
  5  why: a switch does not do what is intended, or not yet`,
		Example: `  dovectl tenant create acme
  export DOVE_TENANT=acme
  dovectl apply shop.yaml --wait
  dovectl endpoint create web-1 --group shop/web --host h1
  dovectl why web-1 db-1 tcp/5432`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			switch a.form {
			case "table", "json", "yaml":
			default:
				return fmt.Errorf("--output %q is not known: use table, json or yaml", a.form)
			}
			a.started, a.cmd = true, cmd
			return nil
		},
	}
	folder(root)
	root.SetUsageFunc(usage)
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&a.file, "config", a.file, "`FILE` that says which DPC to ask and with whose token; default is $DOVE_CONFIG, then ~/.config/dove/config.yaml")
	f.Lookup("config").DefValue = "" // said above
	f.StringVar(&a.server, "server", "", "`ADDRESS` of another DPC member than the file says, https://host:port")
	f.StringVarP(&a.tenant, "tenant", "t", a.tenant, "`NAME` of the tenant; default is $DOVE_TENANT")
	f.StringVarP(&a.form, "output", "o", "table", "`FORM` of the result: table, json or yaml")
	choices(root, "output", "table", "json", "yaml")
	a.completedFlag(root, "tenant", tenantNames)
	root.AddGroup(
		&cobra.Group{ID: "intent", Title: "What a tenant means:"},
		&cobra.Group{ID: "place", Title: "Where it is:"},
		&cobra.Group{ID: "ask", Title: "Whether it is so:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("intent", a.tenantCommand(), a.tenantsCommand(), a.schemaCommand(), a.validateCommand(), a.planCommand(), a.applyCommand(), a.importCommand(),
		a.blueprintCommand(), a.blueprintsCommand(), a.networkCommand(), a.networksCommand(), a.routerCommand(), a.routersCommand())
	add("place", a.endpointCommand(), a.endpointsCommand(), a.hostCommand(), a.hostsCommand(), a.tokenCommand(), a.tokensCommand(), a.memberCommand(), a.membersCommand())
	add("ask", a.waitCommand(), a.receiptCommand(), a.whyCommand(), a.resolveCommand(), a.flowsCommand(), a.shadowCommand(), a.watchCommand(), a.statusCommand(), a.versionCommand())
	root.SetHelpCommandGroupID("ask")
	root.SetCompletionCommandGroupID("ask")
	root.AddCommand(manual.Command())
	manual.Plain(root)
	lowerCobra(root)
	return root
}

// folder is a command that only holds others.
func folder(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return manual.NoCommand(cmd, args[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return coded{exitRefused, fmt.Errorf("%s needs a command: %s --help lists them", cmd.CommandPath(), cmd.CommandPath())}
	}
	cmd.Use, cmd.DisableFlagsInUseLine = cmd.Use+" COMMAND", true
	cmd.AddCommand(children...)
	return cmd
}

// listed is a command that lists, under its folder, too: "tenant list" for those
// who would write it so.
func listed(cmd *cobra.Command) *cobra.Command {
	cmd.Use, cmd.Hidden = "list", true
	return cmd
}

// asking makes the body of a command that asks the DPC.
func (a *app) asking(do func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd.Context(), c, args)
	}
}

func (a *app) connect() (*client.Client, error) {
	if _, err := os.Stat(a.file); errors.Is(err, fs.ErrNotExist) {
		return nil, coded{exitRefused, fmt.Errorf("no configuration: give --config FILE; dpc init writes one, admin.yaml (%w)", err)}
	}
	conf, err := client.Load(a.file)
	if err != nil {
		return nil, fileError{a.file, err}
	}
	if a.server != "" {
		conf.Server = a.server
	}
	return client.New(conf)
}

// asTenant makes the body of a command that asks for one tenant.
func (a *app) asTenant(do func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.tenant == "" {
			return coded{exitRefused, fmt.Errorf("%s needs a tenant: give --tenant NAME or set DOVE_TENANT", cmd.CommandPath())}
		}
		return a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			return do(ctx, c, dove.Tenant(a.tenant), args)
		})(cmd, args)
	}
}

// write is how the caller wants a change made.
type write struct {
	ifMatch revisionFlag // revision that the resource must be at; less than 0: any
	id      string       // of the request; "": none
}

func writeFlags(cmd *cobra.Command) *write {
	w := &write{ifMatch: -1}
	f := cmd.Flags()
	f.Var(&w.ifMatch, "if-match", "only if the resource is still at this `REVISION`; 0: only if it does not exist")
	f.Lookup("if-match").DefValue = "0" // so that help shows none
	f.Func("request-id", "`ID` of this change: repeated with the same one, within a day, it is done once and answered alike", func(s string) error {
		if s == "" {
			return errors.New("it has at least one character")
		}
		w.id = s
		return nil
	})
	return w
}

// revisionFlag is a revision that a flag gives.
type revisionFlag int64

func (r *revisionFlag) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return errors.New("it is no revision: use the number that a change answered")
	}
	*r = revisionFlag(n)
	return nil
}

func (r *revisionFlag) String() string { return strconv.FormatInt(int64(*r), 10) }

// Type is for pflag.
func (r *revisionFlag) Type() string { return "int" }

// on returns the client to write with.
func (w *write) on(c *client.Client) *client.Client {
	if w.id == "" {
		return c
	}
	return c.WithRequestID(w.id)
}

func (w *write) condition() *dove.Revision {
	if w.ifMatch < 0 {
		return nil
	}
	return new(dove.Revision(w.ifMatch))
}

// conditionOr is the revision that a command read itself, unless the caller gave
// one. With an id it is none: a repetition would read another one, and be another
// request.
func (w *write) conditionOr(read dove.Revision) *dove.Revision {
	if c := w.condition(); c != nil || w.id != "" {
		return c
	}
	return &read
}

// waitFlags let the caller wait for what a write did.
func (a *app) waitFlags(cmd *cobra.Command) func(context.Context, *client.Client, dove.Revision) error {
	cmd.Flags().BoolVar(&a.waits, "wait", false, "wait until every host enforces it")
	timeout := cmd.Flags().Duration("timeout", waitTimeout, "how long to wait at most")
	return func(ctx context.Context, c *client.Client, rev dove.Revision) error {
		if !a.waits {
			return nil
		}
		return a.await(ctx, c, rev, *timeout, a.err)
	}
}

// waitTimeout is how long commands wait for a receipt unless told.
const waitTimeout = time.Minute
