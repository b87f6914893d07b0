package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/blueprint"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

// document reads a blueprint's text; "-" is standard input.
func (a *app) document(file string) ([]byte, error) {
	// One byte more than allowed is enough for the DPC to say so.
	text, err := a.read(file, blueprint.MaxBytes)
	if err == nil && len(text) == 0 {
		err = coded{exitRefused, fmt.Errorf("%s is empty: a blueprint starts with apiVersion: %s", file, blueprint.APIVersion)}
	}
	return text, err
}

// read reads a file, or standard input, up to one byte more than most.
func (a *app) read(file string, most int64) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, coded{exitRefused, err}
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
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

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "print the JSON Schema of blueprints", Args: cobra.NoArgs,
		Long: `Prints the JSON Schema of blueprints, with which editors check and complete one
while it is written. "dovectl validate" sees more: references and overlaps,
too. Every DPC member serves it, at /schemas/blueprint/v1.`,
		Example: "  dovectl schema > blueprint.schema.json",
		RunE: func(*cobra.Command, []string) error {
			if a.form == "yaml" {
				return a.emit(json.RawMessage(blueprint.Schema()), nil)
			}
			_, err := a.out.Write(blueprint.Schema())
			return err
		},
	}
}

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", ValidArgsFunction: blueprintFiles, Short: "check a blueprint without applying it", Args: cobra.ExactArgs(1),
		Long: `Checks a blueprint, or several in one file, (YAML or JSON; - is standard input)
exactly as applying it would, together with the tenant's other blueprints,
networks and endpoints. All faults are printed, one a line:
FILE:LINE:COLUMN: MESSAGE (HINT).`,
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
				for _, d := range valid.Documents {
					fmt.Fprintf(w, "blueprint %s/%s (domain %s) is valid\n", t, d.Blueprint, d.Domain)
				}
			})
		}),
	}
}

func (a *app) blueprintCommand() *cobra.Command {
	return folder(&cobra.Command{Use: "blueprint", Short: "show and delete blueprints (apply makes them)"},
		listed(a.blueprintsCommand()),
		&cobra.Command{
			Use: "get NAME", ValidArgsFunction: a.completed(blueprintNames), Short: "print a blueprint's text as it was given", Args: cobra.ExactArgs(1),
			Long: `Prints a blueprint's text as it was given. With -o json or yaml: its revision
and domain too.`,
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
		a.deleteCommand(a.asTenant, "blueprint", "delete a blueprint and the networks that it makes", `Deletes a blueprint and the networks that it makes. It is refused while
endpoints or other blueprints need its groups or networks.`, blueprintNames, func(ctx context.Context, c *client.Client, t dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error) {
			return c.DeleteBlueprint(ctx, t, name, ifMatch)
		}))
}

func (a *app) blueprintsCommand() *cobra.Command {
	var filter api.BlueprintFilter
	cmd := &cobra.Command{
		Use: "blueprints", Short: "list the tenant's blueprints", Args: cobra.NoArgs,
		RunE: listing(a, a.asTenant, func(ctx context.Context, c *client.Client, t dove.Tenant) ([]api.Blueprint, error) {
			return c.Blueprints(ctx, t, filter)
		}, func(w io.Writer, all ...api.Blueprint) {
			row(w, "NAME", "DOMAIN", "REVISION")
			for _, b := range all {
				row(w, b.Name, b.Domain, b.Revision)
			}
		}),
	}
	cmd.Flags().StringVar(&filter.Domain, "domain", "", "only those of domain `NAME`")
	return cmd
}

func blueprintNames(ctx context.Context, c *client.Client, t dove.Tenant, _ string) ([]string, error) {
	all, err := c.Blueprints(ctx, t, api.BlueprintFilter{})
	return namesOf(all, err, func(b api.Blueprint) string { return b.Name })
}
