package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/blueprint"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) planCommand() *cobra.Command {
	var save string
	var intended bool
	cmd := &cobra.Command{
		Use: "plan FILE", ValidArgsFunction: blueprintFiles, Short: "show what applying a blueprint would change", Args: cobra.ExactArgs(1),
		Long: `Shows what applying a blueprint, or several in one file, would change: of the
documents, and of who reaches whom. Of each line of traffic that would begin (+)
or stop (-) to pass it tells the policies that say so now and then, and how many
endpoints, hosts and live flows it touches: flows of a line that goes would end.

An end is a group's members (shop/web), those that are in just some groups
(only shop/app+shop/web), in none (no group), or any endpoint of the domain.

What --save keeps can be applied with "dovectl apply --plan", as long as nothing
that the plan relied on has changed.`,
		Example: `  dovectl plan shop.yaml
  dovectl plan shop.yaml -o json
  dovectl plan shop.yaml --save shop.plan`,
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			text, err := a.document(args[0])
			if err != nil {
				return err
			}
			ask := c.PlanLive
			if intended {
				ask = c.Plan
			}
			plan, err := ask(ctx, t, text)
			if err != nil {
				return blame(args[0], err)
			}
			if save != "" {
				if err := savePlan(save, savedPlan{t, string(text), plan}); err != nil {
					return err
				}
			}
			return a.emit(plan, func(w io.Writer) { a.printPlan(w, a.colourOut, t, plan) })
		}),
	}
	cmd.Flags().StringVar(&save, "save", "", "keep the plan in `FILE`, for dovectl apply --plan")
	cmd.Flags().BoolVar(&intended, "intended", false, "say what is intended, and ask no host for its flows")
	return cmd
}

// savedPlan is a plan with the text that it is of.
type savedPlan struct {
	Tenant dove.Tenant `json:"tenant"`
	Text   string      `json:"text"`
	Plan   api.Plan    `json:"plan"`
}

func savePlan(file string, p savedPlan) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the plan: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep the plan: %w", err)
	}
	return nil
}

// planMax bounds a file with a plan: a blueprint as a JSON string, and the lines.
const planMax = 8 * blueprint.MaxBytes

func loadPlan(file string) (savedPlan, error) {
	var p savedPlan
	f, err := os.Open(file)
	if err != nil {
		return p, coded{exitRefused, err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, planMax))
	if err != nil {
		return p, fmt.Errorf("read the plan: %w", err)
	}
	if err := json.Unmarshal(text, &p); err != nil || p.Plan.Token == "" || p.Text == "" || len(p.Plan.Documents) == 0 {
		return p, coded{exitRefused, fmt.Errorf("%s is no plan: give what dovectl plan --save wrote", file)}
	}
	return p, nil
}

// printPlan shows a plan. A network that a document makes is listed with the
// document's changes, so of Networks only what they do not say is left.
func (a *app) printPlan(w io.Writer, colour bool, t dove.Tenant, plan api.Plan) {
	for _, d := range plan.Documents {
		fmt.Fprintf(w, "blueprint %s/%s (domain %s), planned at revision %d:\n", t, d.Blueprint, d.Domain, plan.Base)
		said := map[string]bool{}
		for _, c := range d.Changes {
			fmt.Fprintln(w, changeLine(colour, c))
			if c.Part == "network" {
				said[c.Name] = true
			}
		}
		for _, c := range d.Networks {
			if !said[c.Name] {
				fmt.Fprintln(w, changeLine(colour, c))
			}
		}
		if len(d.Changes)+len(d.Networks) == 0 {
			fmt.Fprintln(w, "  nothing changes")
		}
	}
	if plan.Classes > 0 {
		fmt.Fprintf(w, "classes of endpoints: %d new, for policies that tell them apart\n", plan.Classes)
	}
	if changes(plan) {
		printReach(w, colour, plan.Reach)
	}
	printRoom(w, colour, plan.Room)
}

// changes reports whether a plan changes anything.
func changes(plan api.Plan) bool {
	return slices.ContainsFunc(plan.Documents, func(d api.PlannedDocument) bool { return len(d.Changes)+len(d.Networks) > 0 })
}

// printReach shows who will reach whom that does not now, and the reverse.
func printReach(w io.Writer, colour bool, r api.Reach) {
	if len(r.Lines) == 0 && r.Uncompared == 0 {
		fmt.Fprintln(w, "every endpoint reaches the same as before")
		return
	}
	fmt.Fprintln(w, "reachability:")
	for _, l := range r.Lines {
		sign, tint, why := "+", green, fmt.Sprintf("by %s, so far %s", l.After, l.Before)
		if l.Op == "removed" {
			sign, tint, why = "-", red, fmt.Sprintf("by %s, so far %s", l.After, l.Before)
		}
		touches := fmt.Sprintf("%s on %s", counted(l.EndpointN, "endpoint"), counted(l.HostN, "host"))
		if l.Flows != nil {
			touches += ", " + counted(*l.Flows, "live flow")
		}
		fmt.Fprintln(w, paint(colour, tint, fmt.Sprintf("  %s %s -> %s: %s", sign, strings.Join(l.From, ", "), strings.Join(l.To, ", "), strings.Join(l.Traffic, ", "))))
		fmt.Fprintf(w, "      %s; %s\n", why, touches)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "  and %s\n", counted(r.More, "more line"))
	}
	if r.Uncompared > 0 {
		fmt.Fprintf(w, "  and perhaps more: %s of classes of endpoints were not compared, they are too many\n", counted(r.Uncompared, "pair"))
	}
	if len(r.Unanswered) > 0 {
		fmt.Fprintf(w, "  without the flows of hosts that did not answer: %s\n", several(r.Unanswered))
	}
}

// printRoom warns of hosts that might not hold what a plan makes.
func printRoom(w io.Writer, colour bool, r api.Room) {
	for _, h := range r.Tight {
		fmt.Fprintln(w, paint(colour, red, fmt.Sprintf("host %s may have no room for all rules of domain %s: %d entries if all talk that may, and %d fit; what does not is denied (no-room-for-rules). Name ranges of ports in place of many single ones, or spread its endpoints",
			h.Host, h.Domain, h.Entries, h.Max)))
	}
	if n := r.TightN - len(r.Tight); n > 0 {
		fmt.Fprintln(w, paint(colour, red, fmt.Sprintf("so may %s", counted(n, "more host"))))
	}
	if r.Unknown > 0 {
		fmt.Fprintf(w, "whether the rules fit was not worked out for %s: there are too many of them\n", counted(r.Unknown, "host"))
	}
}

// counted is a number of things.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
