package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
)

// listMax is how long a file with endpoints may be, in bytes.
const listMax = 256 << 20

func (a *app) endpointLoadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "load FILE", ValidArgsFunction: blueprintFiles, Short: "make many endpoints, or change them", Args: cobra.ExactArgs(1),
		Long: fmt.Sprintf(`Makes the endpoints of a file (YAML or JSON; - is standard input), or changes
them, in their order: a list of what "endpoint create" is told of each, in the
words of the API. If one of %d is refused, none of these is made, nor any
after them; all that is wrong with them is named. It can be repeated.`, api.PageMax),
		Example: `  dovectl endpoint load web.yaml --wait

  - {id: web-1, groups: [shop/web], host: h1}
  - {id: web-2, groups: [shop/web], host: h2, addresses: [10.0.1.9]}`,
	}
	wait := a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		all, err := a.endpointList(args[0])
		if err != nil {
			return err
		}
		made := api.Endpoints{}
		for part := range slices.Chunk(all, api.PageMax) {
			done, err := c.PutEndpoints(ctx, t, part)
			if err != nil {
				if len(made.Items) > 0 {
					fmt.Fprintf(a.err, "the first %d of %d endpoints are made, at revision %d\n", len(made.Items), len(all), made.Revision)
				}
				return blame(args[0], err)
			}
			made.Revision = done.Revision
			made.Items = append(made.Items, done.Items...)
		}
		if err := a.emit(made, func(w io.Writer) {
			fmt.Fprintf(w, "%d endpoints: revision %d\n", len(made.Items), made.Revision)
		}); err != nil {
			return err
		}
		return wait(ctx, c, made.Revision)
	})
	return cmd
}

// endpointList reads a list of endpoints.
func (a *app) endpointList(file string) ([]api.NamedEndpointSpec, error) {
	text, err := a.read(file, listMax)
	if err != nil {
		return nil, err
	}
	if len(text) > listMax {
		return nil, coded{exitRefused, fmt.Errorf("%s is longer than %d bytes: split it", file, listMax)}
	}
	var tree any
	err = yaml.Load(text, &tree)
	if err == nil {
		text, err = json.Marshal(tree)
	}
	var all []api.NamedEndpointSpec
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		err = strict.Decode(&all)
	}
	if err == nil && len(all) == 0 {
		err = errors.New("it holds none")
	}
	if err != nil {
		return nil, coded{exitRefused, fmt.Errorf("%s is no list of endpoints, such as [{id: web-1, groups: [shop/web], host: h1}]: %w", file, err)}
	}
	return all, nil
}
