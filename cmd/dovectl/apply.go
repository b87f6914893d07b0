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
		Use: "apply FILE", ValidArgsFunction: blueprintFiles, Short: "apply a blueprint, or several as one",
		Long: `Shows what a blueprint (YAML or JSON; - is standard input) would change, and
applies it as a whole, or not at all. On a terminal it asks first. What was
shown is what is applied: if somebody else changed the blueprint meanwhile,
nothing happens. (With --request-id that needs --if-match.)

Several blueprints in one file, with lines of --- between them, become so in
one revision, or none of them: each may need what others bring.

With --plan it applies what "dovectl plan --save" kept, and asks nobody. If
anything that the plan relied on changed since, nothing happens, and that is
named.`,
		Example: `  dovectl apply shop.yaml
  dovectl apply -f shop.yaml --yes
  dovectl apply shop.yaml --wait --timeout 30s
  dovectl apply shop.yaml --if-match 41 -o json
  dovectl apply --plan shop.plan`,
	}
	var file, saved string
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the blueprint, if it is no argument")
	cmd.Flags().StringVar(&saved, "plan", "", "`FILE` that dovectl plan --save wrote")
	if err := errors.Join(cmd.MarkFlagFilename("file", "yaml", "yml", "json"), cmd.MarkFlagFilename("plan")); err != nil {
		panic("dovectl: " + err.Error())
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if file != "" {
			args = append(args, file)
		}
		switch {
		case saved != "" && len(args) > 0:
			return errors.New("a plan has its blueprint: leave out the file, or --plan")
		case saved == "" && len(args) != 1:
			return fmt.Errorf("apply takes one blueprint, not %d: dovectl apply FILE", len(args))
		}
		return nil
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	write := writeFlags(cmd)
	wait := a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		name, apply := saved, a.applySaved
		if saved == "" {
			name, apply = append(args, file)[0], a.applyShown
		}
		applied, err := apply(ctx, c, t, name, *yes, write)
		if err != nil {
			return blame(name, err)
		}
		return a.emitApplied(ctx, c, applied, wait)
	})
	return cmd
}

// emitApplied tells which blueprints were applied, and waits if it is to.
func (a *app) emitApplied(ctx context.Context, c *client.Client, applied api.Blueprints, wait func(context.Context, *client.Client, dove.Revision) error) error {
	var out any = applied
	if len(applied.Items) == 1 {
		out = applied.Items[0]
	}
	err := a.emit(out, func(w io.Writer) {
		for _, b := range applied.Items {
			fmt.Fprintf(w, "blueprint %s: revision %d\n", b.Name, b.Revision)
		}
	})
	if err != nil {
		return err
	}
	return wait(ctx, c, applied.Revision)
}

// applySaved applies a plan that was kept.
func (a *app) applySaved(ctx context.Context, c *client.Client, t dove.Tenant, file string, _ bool, write *write) (api.Blueprints, error) {
	kept, err := loadPlan(file)
	if err != nil {
		return api.Blueprints{}, err
	}
	if t != kept.Tenant {
		return api.Blueprints{}, coded{exitRefused, fmt.Errorf("the plan in %s is of tenant %s: add --tenant %s", file, kept.Tenant, kept.Tenant)}
	}
	return put(ctx, c, t, []byte(kept.Text), kept.Plan, true, write.condition(), write)
}

// applyShown shows what a file's text would change, and applies it.
func (a *app) applyShown(ctx context.Context, c *client.Client, t dove.Tenant, file string, yes bool, write *write) (api.Blueprints, error) {
	text, err := a.document(file)
	if err != nil {
		return api.Blueprints{}, err
	}
	return a.applyText(ctx, c, t, text, yes || file == "-", false, write)
}

// applyText shows what a text would change, asks if somebody is there, and applies it.
// Who was asked agreed to all that was shown, and so it is with several documents and
// if it is bound; else only the blueprint itself must be as it was.
func (a *app) applyText(ctx context.Context, c *client.Client, t dove.Tenant, text []byte, yes, bound bool, write *write) (api.Blueprints, error) {
	plan, err := c.Plan(ctx, t, text)
	if err != nil {
		return api.Blueprints{}, err
	}
	a.printPlan(a.err, a.colourErr, t, plan)
	bound = bound || len(plan.Documents) > 1
	if a.asks && !yes && changes(plan) {
		if ok, err := a.agreed(ctx); err != nil || !ok {
			return api.Blueprints{}, errors.Join(errors.New("nothing was changed"), err)
		}
		bound = true
	}
	bound = bound && write.id == "" // of a repetition the plan is another one
	return put(ctx, c, t, text, plan, bound, write.conditionOr(plan.Documents[0].Current), write)
}

// put applies the text of a plan, bound to it or not.
func put(ctx context.Context, c *client.Client, t dove.Tenant, text []byte, plan api.Plan, bound bool, ifMatch *dove.Revision, write *write) (api.Blueprints, error) {
	if len(plan.Documents) > 1 {
		if write.ifMatch >= 0 {
			return api.Blueprints{}, coded{exitRefused, fmt.Errorf("--if-match is of one blueprint, and there are %d: plan --save and apply --plan hold all that was read", len(plan.Documents))}
		}
		token := ""
		if bound {
			token = plan.Token
		}
		return write.on(c).PutBlueprints(ctx, t, text, token)
	}
	var b api.Blueprint
	var err error
	if bound {
		b, err = write.on(c).PutPlanned(ctx, t, plan, text, ifMatch)
	} else {
		b, err = write.on(c).PutBlueprint(ctx, t, plan.Documents[0].Blueprint, text, ifMatch)
	}
	b.Text = "" // the caller has it
	return api.Blueprints{Revision: b.Revision, Items: []api.Blueprint{b}}, err
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
