package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) planCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plan FILE", ValidArgsFunction: blueprintFiles, Short: "show what applying a blueprint would change", Args: cobra.ExactArgs(1),
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
		Use: "apply FILE", ValidArgsFunction: blueprintFiles, Short: "apply a blueprint",
		Long: `Shows what a blueprint (YAML or JSON; - is standard input) would change, and
applies it as a whole, or not at all. On a terminal it asks first. What was
shown is what is applied: if somebody else changed the blueprint meanwhile,
nothing happens. (With --request-id that needs --if-match.)`,
		Example: `  dovectl apply shop.yaml
  dovectl apply -f shop.yaml --yes
  dovectl apply shop.yaml --wait --timeout 30s
  dovectl apply shop.yaml --if-match 41 -o json`,
	}
	var file string
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the blueprint, if it is no argument")
	if err := cmd.MarkFlagFilename("file", "yaml", "yml", "json"); err != nil {
		panic("dovectl: " + err.Error())
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if file != "" {
			args = append(args, file)
		}
		if len(args) != 1 {
			return fmt.Errorf("apply takes one blueprint, not %d: dovectl apply FILE", len(args))
		}
		return nil
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	write := writeFlags(cmd)
	wait := a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		file := append(args, file)[0]
		text, err := a.document(file)
		if err != nil {
			return err
		}
		plan, err := c.Plan(ctx, t, text)
		if err != nil {
			return blame(file, err)
		}
		a.printPlan(a.err, a.colourErr, t, plan)
		nothing := len(plan.Changes)+len(plan.Networks) == 0
		if a.asks && !*yes && !nothing && file != "-" {
			if ok, err := a.agreed(ctx); err != nil || !ok {
				return errors.Join(errors.New("nothing was changed"), err)
			}
		}
		b, err := write.on(c).PutBlueprint(ctx, t, plan.Blueprint, text, write.conditionOr(plan.Current))
		if err != nil {
			return blame(file, err)
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
