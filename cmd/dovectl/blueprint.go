package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/blueprint"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

// document reads a blueprint's text; "-" is standard input.
func (a *app) document(file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, coded{exitRefused, err}
		}
		defer f.Close()
		in = f
	}
	// One byte more than allowed is enough for the DPC to say so.
	text, err := io.ReadAll(io.LimitReader(in, blueprint.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the blueprint: %w", err)
	}
	if len(text) == 0 {
		return nil, coded{exitRefused, fmt.Errorf("%s is empty: a blueprint starts with apiVersion: %s", file, blueprint.APIVersion)}
	}
	return text, nil
}

// blame gives the faults of a document their file. Other errors stay.
func blame(file string, err error) error {
	if e, ok := errors.AsType[*dove.Error](err); !ok || len(e.Faults) == 0 {
		return err
	}
	if file == "-" {
		file = "stdin"
	}
	return fileError{file, err}
}

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", Short: "check a blueprint without applying it", Args: cobra.ExactArgs(1),
		Long: `Checks a blueprint (YAML or JSON; - is standard input) exactly as applying it would,
together with the tenant's other blueprints, networks and endpoints. All faults
are printed, one a line: FILE:LINE:COLUMN: MESSAGE (HINT).`,
		Example: "  dovectl validate shop.yaml\n  cat shop.yaml | dovectl validate -",
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			text, err := a.document(args[0])
			if err != nil {
				return err
			}
			valid, err := c.Validate(ctx, t, text)
			if err != nil {
				return blame(args[0], err)
			}
			return a.emit(valid, func(w io.Writer) {
				fmt.Fprintf(w, "blueprint %s/%s (domain %s) is valid\n", t, valid.Blueprint, valid.Domain)
			})
		}),
	}
}

func (a *app) planCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plan FILE", Short: "show what applying a blueprint would change", Args: cobra.ExactArgs(1),
		Example: "  dovectl plan shop.yaml",
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			text, err := a.document(args[0])
			if err != nil {
				return err
			}
			plan, err := c.Plan(ctx, t, text)
			if err != nil {
				return blame(args[0], err)
			}
			return a.emit(plan, func(w io.Writer) { a.printPlan(w, a.colourOut, t, plan) })
		}),
	}
}

// printPlan shows a plan. A network that the document makes is listed with the
// document's changes, so of Networks only what they do not say is left.
func (a *app) printPlan(w io.Writer, colour bool, t dove.Tenant, plan api.Plan) {
	fmt.Fprintf(w, "blueprint %s/%s (domain %s), planned at revision %d:\n", t, plan.Blueprint, plan.Domain, plan.Base)
	said := map[string]bool{}
	for _, c := range plan.Changes {
		fmt.Fprintln(w, changeLine(colour, c))
		if c.Part == "network" {
			said[c.Name] = true
		}
	}
	for _, c := range plan.Networks {
		if !said[c.Name] {
			fmt.Fprintln(w, changeLine(colour, c))
		}
	}
	if len(plan.Changes)+len(plan.Networks) == 0 {
		fmt.Fprintln(w, "  nothing changes")
	}
}

func changeLine(colour bool, c api.PlannedChange) string {
	title := strings.TrimSpace(c.Part + " " + c.Name)
	switch c.Op {
	case "added":
		return paint(colour, green, fmt.Sprintf("  + %s: %s", title, c.After))
	case "removed":
		return paint(colour, red, fmt.Sprintf("  - %s: %s", title, c.Before))
	}
	return paint(colour, yellow, fmt.Sprintf("  ~ %s: %s", title, c.Before)) + "\n" +
		paint(colour, yellow, fmt.Sprintf("    %s  %s", strings.Repeat(" ", len(title)-1)+"->", c.After))
}

func (a *app) applyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "apply a blueprint", Args: cobra.ExactArgs(1),
		Long: `Shows what a blueprint (YAML or JSON; - is standard input) would change, and applies
it as a whole, or not at all. On a terminal it asks first. What was shown is what
is applied: if somebody else changed the blueprint meanwhile, nothing happens.`,
		Example: `  dovectl apply shop.yaml
  dovectl apply shop.yaml --wait --timeout 30s
  dovectl apply shop.yaml --if-match 41 -o json`,
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	ifMatch := ifMatchFlag(cmd)
	wait := a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		text, err := a.document(args[0])
		if err != nil {
			return err
		}
		plan, err := c.Plan(ctx, t, text)
		if err != nil {
			return blame(args[0], err)
		}
		a.printPlan(a.err, a.colourErr, t, plan)
		nothing := len(plan.Changes)+len(plan.Networks) == 0
		if a.asks && !*yes && !nothing && args[0] != "-" {
			if ok, err := a.agreed(ctx); err != nil || !ok {
				return errors.Join(errors.New("nothing was changed"), err)
			}
		}
		condition := ifMatch()
		if condition == nil {
			condition = &plan.Current
		}
		b, err := c.PutBlueprint(ctx, t, plan.Blueprint, text, condition)
		if err != nil {
			return blame(args[0], err)
		}
		b.Text = "" // the caller has it
		if err := a.emit(b, func(w io.Writer) { fmt.Fprintf(w, "blueprint %s: revision %d\n", b.Name, b.Revision) }); err != nil {
			return err
		}
		return wait(ctx, c, b.Revision)
	})
	return cmd
}

// agreed asks whether to go on.
func (a *app) agreed(ctx context.Context) (bool, error) {
	fmt.Fprint(a.err, "Apply this? [y/N] ")
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	// A terminal's read cannot be cancelled; the program ends then anyway.
	go func() {
		line, err := bufio.NewReader(a.in).ReadString('\n')
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case r := <-got:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return false, fmt.Errorf("read the answer: %w", r.err)
		}
		said := strings.ToLower(strings.TrimSpace(r.text))
		return said == "y" || said == "yes", nil
	}
}

func (a *app) blueprintCommand() *cobra.Command {
	remove := &cobra.Command{
		Use: "delete NAME", Short: "delete a blueprint and the networks that it makes", Args: cobra.ExactArgs(1),
		Long: "Deletes a blueprint and the networks that it makes. It is refused while endpoints or other blueprints need its groups or networks.",
	}
	ifMatch := ifMatchFlag(remove)
	wait := a.waitFlags(remove)
	remove.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		rev, err := c.DeleteBlueprint(ctx, t, args[0], ifMatch())
		if err := a.deleted("blueprint "+args[0], rev, err); err != nil {
			return err
		}
		return wait(ctx, c, rev)
	})
	return folder(&cobra.Command{Use: "blueprint", Short: "list, show and delete blueprints (apply makes them)"},
		&cobra.Command{
			Use: "list", Short: "list the tenant's blueprints", Args: cobra.NoArgs,
			RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, _ []string) error {
				all, err := c.Blueprints(ctx, t)
				if err != nil {
					return err
				}
				return a.emit(all, func(w io.Writer) {
					row(w, "NAME", "DOMAIN", "REVISION")
					for _, b := range all {
						row(w, b.Name, b.Domain, b.Revision)
					}
				})
			}),
		},
		&cobra.Command{
			Use: "get NAME", Short: "print a blueprint's text as it was given", Args: cobra.ExactArgs(1),
			Long:    "Prints a blueprint's text as it was given. With -o json or yaml: its revision and domain too.",
			Example: "  dovectl blueprint get shop > shop.yaml",
			RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
				b, err := c.Blueprint(ctx, t, args[0])
				if err != nil {
					return err
				}
				if a.form == "table" {
					_, err := io.WriteString(a.out, b.Text)
					return err
				}
				return a.emit(b, nil)
			}),
		},
		remove)
}
