package main

import (
	"context"
	"fmt"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) watchCommand() *cobra.Command {
	var after revisionFlag
	cmd := &cobra.Command{
		Use: "watch", Short: "follow what changes, revision by revision", Args: cobra.NoArgs,
		Long: `Tells every change of tenants, blueprints, networks, routers, endpoints and
hosts as it happens, until it is interrupted. With a tenant (--tenant or
$DOVE_TENANT): only its own. With --after it begins with the change that came
after that revision; the DPC keeps the last 4096. With -o json each revision is
one line, with the resources as they are now; lines without changes say where
one is, to go on from there.`,
		Example: "  dovectl watch\n  dovectl watch --tenant acme --after 28 -o json",
	}
	cmd.Flags().Var(&after, "after", "begin after this `REVISION`; default is now")
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
		ctx, stop := whileRead(ctx, a.out)
		defer stop()
		started := false
		for line, err := range c.Watch(ctx, dove.Tenant(a.tenant), dove.Revision(after)) {
			if ctx.Err() != nil {
				return nil // whoever asked has seen enough
			}
			if err != nil {
				return err
			}
			if !started && a.form == "table" && len(line.Changes) == 0 {
				fmt.Fprintf(a.err, "at revision %d\n", line.Revision)
			}
			started = true
			if err := a.emitLine(line, a.watchLine(line)); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

// watchLine tells the changes of one revision, one a line.
func (a *app) watchLine(l api.WatchLine) string {
	var b strings.Builder
	for _, c := range l.Changes {
		op := paint(a.colourOut, green, "put   ")
		if c.Op == "delete" {
			op = paint(a.colourOut, red, "delete")
		}
		name := c.Name
		if c.Tenant != "" && c.Kind != "tenant" {
			name = string(c.Tenant) + "/" + name
		}
		fmt.Fprintf(&b, "%-6d  %s  %-9s  %s%s\n", l.Revision, op, c.Kind, name, gist(c))
	}
	return b.String()
}

// gist says what is worth to know of a resource at a glance.
func gist(c api.WatchChange) string {
	fields, ok := c.Resource.(map[string]any)
	if !ok {
		return ""
	}
	var parts []string
	for _, f := range gists[c.Kind] {
		switch v := fields[f.field].(type) {
		case string:
			parts = append(parts, f.word+v)
		case []any:
			var all []string
			for _, x := range v {
				all = append(all, fmt.Sprint(x))
			}
			parts = append(parts, f.word+strings.Join(all, ","))
		case nil:
			if f.without != "" {
				parts = append(parts, f.without)
			}
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, ", ")
}

// gists are the fields of each kind that a line tells, and the word before.
var gists = map[string][]struct{ field, word, without string }{
	"blueprint": {{"domain", "domain ", ""}},
	"network":   {{"subnets", "", ""}},
	"router":    {{"domain", "domain ", ""}},
	"endpoint":  {{"groups", "", ""}, {"host", "on ", "on no host"}},
	"host":      {{"vtep", "at ", ""}},
}
