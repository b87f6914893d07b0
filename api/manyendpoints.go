package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// EndpointsSpec is several endpoints.
type EndpointsSpec struct {
	Items []NamedEndpointSpec `json:"items" minItems:"1" maxItems:"1000"`
}

// NamedEndpointSpec is what the endpoint with the id is made of.
type NamedEndpointSpec struct {
	ID dove.EndpointID `json:"id" maxLength:"63"`
	EndpointSpec
}

// Endpoints are several, as they are since a revision.
type Endpoints struct {
	Revision dove.Revision `json:"revision" doc:"The last of the revisions that made it true: its receipt is that of all."`
	Items    []Endpoint    `json:"items" nullable:"false" doc:"In the order of the request, without states."`
}

// putEndpoints writes as many of the endpoints as one transaction carries, until all
// are written.
func (s *server) putEndpoints(ctx context.Context, in *struct {
	TenantPath
	Body EndpointsSpec
}) (*struct{ Body Endpoints }, error) {
	requests := make([]edit.EndpointRequest, len(in.Body.Items))
	chances := make([]edit.Chance, len(requests))
	for i, item := range in.Body.Items {
		requests[i] = item.request(dove.Endpoint{Tenant: in.Tenant, ID: item.ID})
		var err error
		if chances[i], err = s.chance(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, editTimeout)
	defer cancel()
	out := Endpoints{Items: make([]Endpoint, 0, len(requests))}
	for len(out.Items) < len(requests) {
		done := len(out.Items)
		until := len(requests) // all are checked before the first is written
		if done > 0 {
			until = min(until, done+dove.TxnOperationsMax)
		}
		var docs []world.Endpoint
		revision, err := s.edit(ctx, func(w *world.World) (txn dove.Txn, err error) {
			txn, docs, err = edit.PutEndpoints(w, requests[done:until], chances[done:until], done)
			return txn, err
		})
		if err != nil {
			if e, ok := errors.AsType[*dove.Error](err); ok && done > 0 {
				err = &dove.Error{Kind: e.Kind, Message: fmt.Sprintf("the first %d of %d are done, at revision %d: %s", done, len(requests), out.Revision, e.Message), Faults: e.Faults}
			}
			return nil, err
		}
		out.Revision = revision
		w := s.Backend.World()
		render := asOf(w, renderEndpoint(w, nil, nil))
		for _, e := range docs {
			item := render(e)
			item.State = ""
			out.Items = append(out.Items, item)
		}
	}
	return &struct{ Body Endpoints }{out}, nil
}

// request asks for the endpoint with a name as a specification has it.
func (e EndpointSpec) request(name dove.Endpoint) edit.EndpointRequest {
	r := edit.EndpointRequest{
		Tenant: name.Tenant, ID: name.ID, Network: e.Network, Groups: e.Groups,
		Addresses: e.Addresses, MAC: e.MAC, Host: e.Host, Device: e.Device,
		PortSecurity: e.PortSecurity, Parent: e.Parent, VLAN: e.VLAN, Labels: e.Labels, Ports: e.Ports,
	}
	if e.Allowed != nil {
		r.Allowed = []edit.AllowedRequest{}
	}
	for _, x := range e.Allowed {
		r.Allowed = append(r.Allowed, edit.AllowedRequest(x))
	}
	return r
}

// chance draws what making an endpoint needs.
func (s *server) chance() (edit.Chance, error) {
	var uid [8]byte
	if _, err := io.ReadFull(s.Random, uid[:]); err != nil {
		return edit.Chance{}, fmt.Errorf("draw a UID: %w", err)
	}
	return edit.Chance{UID: dove.UID(binary.BigEndian.Uint64(uid[:])), Now: s.Now()}, nil
}
