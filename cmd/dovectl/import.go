package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"dove.network/imports"
	"github.com/spf13/cobra"
)

func (a *app) importCommand() *cobra.Command {
	return folder(&cobra.Command{Use: "import", Short: "translate other people's policies into blueprints"},
		a.importing("kubernetes", `Translates NetworkPolicy (networking.k8s.io/v1), AdminNetworkPolicy and
BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1) into blueprints,
one of each tier. Namespaces and pods among the objects say what the endpoints
of pods must carry: the pod's labels, those of its namespace as namespace/KEY,
and its named ports.`, "  kubectl get netpol,ns,pods -Ao yaml | dovectl import kubernetes -\n  dovectl import kubernetes policies.yaml --domain cluster --apply"),
		a.importing("openstack", `Translates security groups, address groups and ports, as Neutron's API prints
them (JSON), into a blueprint. Each security group is a group, each rule a
policy of one side.`, "  dovectl import openstack groups.json ports.json --apply --wait"))
}

func (a *app) importing(language, long, example string) *cobra.Command {
	cmd := &cobra.Command{
		Use: language + " FILE...", Short: "translate policies of " + language, Args: cobra.MinimumNArgs(1), Example: example,
		Long: long + `

Without --apply it prints the blueprints, and on standard error what endpoints
must carry. With it, it shows what they would change, and applies them in
one revision, just that; on a terminal it asks first. - is standard input.`,
		ValidArgsFunction: filesOf("yaml", "yml", "json"),
	}
	var names api.ImportNames
	cmd.Flags().StringVar(&names.Name, "name", language, "`NAME` of the blueprint; of several, their names begin with it")
	cmd.Flags().StringVar(&names.Domain, "domain", "", "`NAME` of the domain; default is the blueprint's")
	apply := cmd.Flags().Bool("apply", false, "apply the blueprints")
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	wait := a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, files []string) error {
		text, err := a.sources(files)
		if err != nil {
			return err
		}
		found, err := c.Import(ctx, t, language, names, text.all)
		if err != nil {
			return text.blame(err)
		}
		if !*apply {
			if a.form == "table" {
				a.printEndpoints(found.Endpoints)
			}
			return a.emit(found, func(w io.Writer) { w.Write(together(found)) })
		}
		a.printEndpoints(found.Endpoints)
		applied, err := a.applyText(ctx, c, t, together(found), *yes || slices.Contains(files, "-"), true, &write{ifMatch: -1})
		if err != nil {
			return err
		}
		return a.emitApplied(ctx, c, applied, wait)
	})
	return cmd
}

// together is the text of all blueprints of an import.
func together(found api.Import) []byte {
	texts := make([]string, len(found.Blueprints))
	for i, b := range found.Blueprints {
		texts[i] = b.Text
	}
	return []byte(strings.Join(texts, "---\n"))
}

// printEndpoints says what the endpoints of workloads must carry.
func (a *app) printEndpoints(all []api.ImportedEndpoint) {
	var b strings.Builder
	pairs := func(m map[string]string) (out []string) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			out = append(out, k+"="+m[k])
		}
		return out
	}
	for i, e := range all {
		if i == 0 {
			row(&b, "ENDPOINT OF", "GROUPS", "PORTS", "LABELS")
		}
		groups := several(e.Groups)
		if !e.PortSecurity {
			groups = "(without port security)"
		}
		row(&b, e.Workload, groups, several(pairs(e.Ports)), several(pairs(e.Labels)))
	}
	if b.Len() > 0 {
		fmt.Fprint(a.err, layout(b.String(), 0))
	}
}

// sources are files, one after the other.
type sources struct {
	files []string
	first []int // line of each in all
	all   []byte
}

func (a *app) sources(files []string) (sources, error) {
	s := sources{files: files}
	for _, file := range files {
		in := a.in
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return s, coded{exitRefused, err}
			}
			defer f.Close()
			in = f
		}
		text, err := io.ReadAll(io.LimitReader(in, imports.MaxBytes+1)) // one more is enough for the DPC to say so
		if err != nil {
			return s, fmt.Errorf("read %s: %w", file, err)
		}
		if len(text) == 0 {
			return s, coded{exitRefused, fmt.Errorf("%s is empty: there is nothing to translate", file)}
		}
		if len(s.all) > 0 {
			if !bytes.HasSuffix(s.all, []byte("\n")) {
				s.all = append(s.all, '\n')
			}
			s.all = append(s.all, "---\n"...)
		}
		s.first = append(s.first, 1+bytes.Count(s.all, []byte("\n")))
		s.all = append(s.all, text...)
	}
	return s, nil
}

// blame gives faults their file.
func (s sources) blame(err error) error {
	e, ok := errors.AsType[*dove.Error](err)
	if !ok || len(s.files) == 1 {
		return blame(s.files[0], err)
	}
	faults := slices.Clone(e.Faults)
	for i, f := range faults {
		if f.Line > 0 {
			at, found := slices.BinarySearch(s.first, f.Line)
			if !found {
				at--
			}
			faults[i].Path, faults[i].Line = fmt.Sprintf("%s:%d", s.files[at], f.Line-s.first[at]+1), 0
		}
	}
	return &dove.Error{Kind: e.Kind, Message: e.Message, Faults: faults}
}
