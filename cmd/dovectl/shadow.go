package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) shadowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "shadow [BLUEPRINT[/POLICY]]", ValidArgsFunction: a.completed(blueprintNames), Short: "say what policies in shadow would change", Args: cobra.MaximumNArgs(1),
		Long: `Asks the switches of all hosts that the tenant has endpoints on what policies
with "shadow: true" would have changed, of all blueprints, of one, or of one
policy. ALLOW is how much was denied and would be allowed, DENY how much was
allowed and would be denied, and of SAME the policy would decide what was
decided. A flow counts when it begins, and again when what is said of it
changes; of what is denied each packet counts.

SINCE is when the first switch heard of the policy, or started. The counts go on
when a policy changes and stays in shadow. Nothing of it is kept: when a policy
leaves the shadow, its counts are gone. Some of the newest flows of ALLOW and
DENY follow. Hosts that do not answer are named on standard error.`,
		Example: "  dovectl shadow\n  dovectl shadow shop\n  dovectl shadow shop/no-ssh -o json",
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			var filter api.ShadowFilter
			if len(args) > 0 {
				filter.Blueprint, filter.Policy, _ = strings.Cut(args[0], "/")
			}
			all, err := c.Shadows(ctx, t, filter)
			if err != nil {
				return err
			}
			a.warnUnanswered(all.Unanswered, all.NoSession, "what only it has judged is not counted")
			return a.emit(all, func(w io.Writer) { shadowRows(w, all.Items) })
		}),
	}
}

func shadowRows(w io.Writer, all []api.Shadow) {
	row(w, "POLICY", "SINCE", "ALLOW", "DENY", "SAME")
	for _, s := range all {
		since := "-"
		if s.Since != nil {
			since = s.Since.Format(time.RFC3339)
		}
		row(w, s.Policy, since, s.Allow, s.Deny, s.Same)
	}
	if !slices.ContainsFunc(all, func(s api.Shadow) bool { return len(s.Examples) > 0 }) {
		return
	}
	fmt.Fprintln(w)
	row(w, "POLICY", "WOULD", "FROM", "TO", "TRAFFIC", "NOW")
	for _, s := range all {
		for _, e := range s.Examples {
			would, now := "allow", "denied by "+e.Rule
			if e.Allowed {
				would, now = "deny", "allowed by "+e.Rule
			}
			row(w, s.Policy, would, end(e.From, e.Src), end(e.To, e.Dst), traffic(e.Protocol, e.DstPort), now)
		}
	}
}
