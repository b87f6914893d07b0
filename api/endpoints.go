package api

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Endpoint is one interface of a workload.
type Endpoint struct {
	Tenant    dove.Tenant       `json:"tenant"`
	ID        dove.EndpointID   `json:"id"`
	UID       string            `json:"uid" doc:"Tells one life of the endpoint from the next; hexadecimal."`
	Network   string            `json:"network"`
	MAC       string            `json:"mac"`
	Addresses []string          `json:"addresses" nullable:"false"`
	Groups    []string          `json:"groups" nullable:"false" doc:"Each as BLUEPRINT/GROUP."`
	Host      dove.HostName     `json:"host,omitempty" doc:"The host that it is bound to, and active on."`
	Standby   dove.HostName     `json:"standby,omitempty" doc:"The host of its other binding, while it moves."`
	Move      *Move             `json:"move,omitempty" doc:"How far it is, while it moves. Missing in a watch."`
	Epoch     dove.Epoch        `json:"epoch,omitempty" doc:"Grows with each change of its bindings."`
	Device    string            `json:"device,omitempty" doc:"Missing: tap or dv and the first eleven characters of the id."`
	Parent    dove.EndpointID   `json:"parent,omitempty" doc:"Of a sub-port: the endpoint by whose device its frames come, and with whose bindings."`
	VLAN      uint16            `json:"vlan,omitempty" doc:"Of a sub-port: the tag of its frames there."`
	SubPorts  []SubPort         `json:"subPorts,omitempty" doc:"Those that have it as parent."`
	Allowed   []AllowedPrefix   `json:"allowed,omitempty" doc:"What it may send from, and gets, beside its addresses."`
	Claimed   []string          `json:"claimed,omitempty" doc:"Addresses that others are allowed too, and that are this endpoint's since it announced them last."`
	Labels    map[string]string `json:"labels,omitempty" doc:"By which groups select it."`
	Ports     map[string]string `json:"ports,omitempty" doc:"Its ports under the names that policies use."`
	// PortSecurity is false where the endpoint may send from any address and MAC.
	PortSecurity bool          `json:"portSecurity" doc:"false: it may send from any address and MAC, and its end of every policy allows everything."`
	State        string        `json:"state,omitempty" enum:"unbound,unknown,foreign,waiting,active,failed" doc:"On its host: unknown without a session with a DPC member in reach, foreign where no dSwitch runs, waiting for its device, active once the switch enforces for it. Missing in a watch."`
	Detail       string        `json:"detail,omitempty" doc:"Why it failed, or what it waits for."`
	Revision     dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// EndpointSpec is what an endpoint is made of. Of an existing one, what is
// missing stays, except groups.
type EndpointSpec struct {
	Groups       []string          `json:"groups" nullable:"false" doc:"Each as BLUEPRINT/GROUP. An endpoint in no group reaches nothing, but for what policies say of any address or of an outside."`
	Network      string            `json:"network,omitempty" maxLength:"63" doc:"Missing: the one default of its groups. For life."`
	Addresses    []string          `json:"addresses,omitempty" doc:"Missing: the lowest free one of each address family."`
	MAC          string            `json:"mac,omitempty" maxLength:"17" doc:"Missing: made up."`
	Host         dove.HostName     `json:"host,omitempty" maxLength:"63" doc:"Missing: bound to none, or where it is."`
	Allowed      []AllowedPrefix   `json:"allowed,omitempty" maxItems:"16" doc:"What it may send from, and gets, beside its addresses. An address that several endpoints of a network are allowed is the one's that announced it last. Missing: as it is, or none; an empty list takes all away."`
	PortSecurity *bool             `json:"portSecurity,omitempty" doc:"false: it may send from any address and MAC, and its end of every policy allows everything. Missing: as it is, or true."`
	Labels       map[string]string `json:"labels,omitempty" doc:"By which groups select it; keys and values as Kubernetes has them, at most 64. Missing: as they are, or none; an empty object takes all away."`
	Ports        map[string]string `json:"ports,omitempty" doc:"Its ports under the names that policies use, as tcp/80, at most 16. Missing: as they are, or none; an empty object takes all away."`
	Device       string            `json:"device,omitempty" maxLength:"15" doc:"The name of its device on the host. Missing: tap or dv and the first eleven characters of the id."`
	Parent       dove.EndpointID   `json:"parent,omitempty" maxLength:"63" doc:"Makes it a sub-port: its frames come by the device of that endpoint of the tenant, under the tag vlan, and it is bound where that is. For life."`
	VLAN         uint16            `json:"vlan,omitempty" maximum:"4094" doc:"The tag of a sub-port, 1 to 4094. For life."`
}

// SubPort is an endpoint whose frames come by another one's device, under a VLAN tag.
type SubPort struct {
	ID   dove.EndpointID `json:"id"`
	VLAN uint16          `json:"vlan"`
}

// AllowedPrefix is what an endpoint may send from beside its addresses.
type AllowedPrefix struct {
	Prefix string `json:"prefix" maxLength:"64" doc:"An address or a prefix."`
	MAC    string `json:"mac,omitempty" maxLength:"17" doc:"The MAC that it may use with it. Missing: its own."`
}

// Binding says where an endpoint is.
type Binding struct {
	Host dove.HostName `json:"host" maxLength:"63"`
}

// EndpointPath names an endpoint in a request.
type EndpointPath struct {
	Tenant   dove.Tenant     `path:"tenant" maxLength:"63"`
	Endpoint dove.EndpointID `path:"endpoint" maxLength:"63"`
}

func (in EndpointPath) name() dove.Endpoint {
	return dove.Endpoint{Tenant: in.Tenant, ID: in.Endpoint}
}
func (in EndpointPath) key() string { return world.EndpointKey(in.name()) }

// renderEndpoint looks the endpoints' states up among the sessions once. Without
// receipts it tells nothing of moves.
func renderEndpoint(w *world.World, sessions []control.SessionStatus, receipt func(dove.Revision) control.Receipt) func(world.Endpoint, dove.Revision) Endpoint {
	type place struct {
		endpoint dove.Endpoint
		host     dove.HostName
	}
	states, late := map[place]control.EndpointUpdate{}, map[dove.Endpoint]bool{}
	for _, session := range sessions {
		for _, name := range session.Late {
			late[name] = true
		}
		for _, u := range session.Endpoints {
			states[place{u.Endpoint, session.Host}] = u
		}
	}
	return func(e world.Endpoint, since dove.Revision) Endpoint {
		out := Endpoint{
			Tenant: e.Tenant, ID: e.ID, UID: fmt.Sprintf("%016x", uint64(e.UID)), Network: e.Network, MAC: e.MAC.String(),
			Addresses: []string{}, Groups: []string{}, Host: e.Host, Standby: e.Standby, Epoch: e.Epoch, Device: e.Device,
			State: "unbound", Revision: since,
		}
		for _, a := range e.Addresses {
			out.Addresses = append(out.Addresses, a.String())
		}
		for _, x := range e.Allowed {
			allowed := AllowedPrefix{Prefix: x.Prefix.String()}
			if x.Prefix.IsSingleIP() {
				allowed.Prefix = x.Prefix.Addr().String()
				if claim, ok := w.Claim(e.NetworkOf(), x.Prefix.Addr()); ok && claim.Endpoint == e.ID && claim.UID == e.UID {
					out.Claimed = append(out.Claimed, allowed.Prefix)
				}
			}
			if x.MAC != (dove.MAC{}) {
				allowed.MAC = x.MAC.String()
			}
			out.Allowed = append(out.Allowed, allowed)
		}
		out.PortSecurity, out.Parent, out.VLAN, out.Labels = !e.Open, e.Parent, e.VLAN, e.Labels
		for name, p := range e.Ports {
			if out.Ports == nil {
				out.Ports = map[string]string{}
			}
			out.Ports[name] = p.String()
		}
		for sub := range w.SubPorts(e.Full()) {
			out.SubPorts = append(out.SubPorts, SubPort{sub.ID, sub.VLAN})
		}
		for _, g := range e.Groups {
			out.Groups = append(out.Groups, g.Blueprint+"/"+g.Name)
		}
		said := func(e world.Endpoint) func(dove.HostName) (control.EndpointUpdate, bool) {
			return func(h dove.HostName) (control.EndpointUpdate, bool) {
				u, ok := states[place{e.Full(), h}]
				return u, ok && u.Epoch == e.Epoch
			}
		}
		state := said(e)
		if e.Host != "" {
			out.State = "unknown"
			if foreign(w, e.Host) {
				out.State = "foreign"
			}
			if u, ok := state(e.Host); ok {
				out.State, out.Detail = stateNames[u.State], u.Detail
			}
		}
		if receipt != nil {
			out.Move = moveOf(w, e, state, receipt)
		}
		behind := func(m *Move, e world.Endpoint) {
			if late[e.Full()] && m != nil && m.Step == "confirmed" {
				m.Waits = append(m.Waits, fmt.Sprintf("host %s has not handed over yet what began there during the activation", e.Standby))
			}
		}
		behind(out.Move, e)
		if out.Move != nil {
			for sub := range w.SubPorts(e.Full()) {
				m := moveOf(w, sub, said(sub), receipt)
				behind(m, sub)
				out.Move.along(sub.ID, m)
			}
		}
		return out
	}
}

func (s *server) endpoints() {
	const path = "/v1/tenants/{tenant}/endpoints"
	tags := []string{"endpoints"}
	registerTenant(s, huma.Operation{
		OperationID: "list-endpoints", Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "List a tenant's endpoints",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Page
		EndpointFilter
	}) (*listAnswer[Endpoint], error) {
		address, err := in.address()
		if err != nil {
			return nil, err
		}
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		if err := in.named(w, in.Tenant); err != nil {
			return nil, err
		}
		render := asOf(w, renderEndpoint(w, s.Backend.SessionsOf(hostsOf(in.candidates(w, in.Tenant))...), s.Backend.Receipt))
		chosen := where(in.candidates(w, in.Tenant), in.wants, func(e world.Endpoint) bool {
			return (!address.IsValid() || slices.Contains(e.Addresses, address)) && (in.State == "" || render(e).State == in.State)
		})
		return list(w, in.Page, chosen, func(e world.Endpoint) string { return string(e.ID) }, render), nil
	})
	registerTenant(s, huma.Operation{
		OperationID: "get-endpoint", Method: http.MethodGet, Path: path + "/{endpoint}", Tags: tags,
		Summary: "Read an endpoint",
	}, func(ctx context.Context, in *struct {
		EndpointPath
		Freshness
	}) (*Answer[Endpoint], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		e, ok := w.Endpoint(in.name())
		return one(w, "endpoint", in.name(), e, ok, renderEndpoint(w, s.portsOf(w, e), s.Backend.Receipt))
	})
	register(s, huma.Operation{
		OperationID: "put-endpoint", Method: http.MethodPut, Path: path + "/{endpoint}", Tags: tags,
		Summary: "Make an endpoint, or change it",
	}, func(ctx context.Context, in *struct {
		EndpointPath
		Conditions
		Body EndpointSpec
	}) (*Written[Endpoint], error) {
		request := in.Body.request(in.name())
		chance, err := s.chance()
		if err != nil {
			return nil, err
		}
		return s.writeEndpoint(ctx, in.EndpointPath, in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
			return edit.PutEndpoint(w, request, chance, ifMatch)
		})
	})
	register(s, huma.Operation{
		OperationID: "put-endpoints", Method: http.MethodPost, Path: path, Tags: tags, MaxBodyBytes: TextMax,
		Summary: "Make endpoints, or change them",
		Description: "Each as its own operation would, one after the other: some hundred make one revision. If one of them is refused, " +
			"nothing happens. Where others write meanwhile, it may be refused in between: then it says which have been done. It can be repeated.",
	}, s.putEndpoints)
	register(s, huma.Operation{
		OperationID: "delete-endpoint", Method: http.MethodDelete, Path: path + "/{endpoint}", Tags: tags,
		Summary: "Delete an endpoint",
	}, func(ctx context.Context, in *struct {
		EndpointPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, in.key(), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteEndpoint(w, in.name(), ifMatch)
		})
	})
	register(s, huma.Operation{
		OperationID: "bind-endpoint", Method: http.MethodPut, Path: path + "/{endpoint}/binding", Tags: tags,
		Summary:     "Bind an endpoint to a host",
		Description: "The binding gets a new epoch: what the previous host still says of the endpoint counts no more. It moves at once, and its flows are judged anew; a prepared move is given up. Where it is active already nothing changes, and a move goes on. Without loss it moves by the operations on its bindings.",
	}, func(ctx context.Context, in *struct {
		EndpointPath
		Conditions
		Body Binding
	}) (*Written[Endpoint], error) {
		return s.writeEndpoint(ctx, in.EndpointPath, in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
			return edit.BindEndpoint(w, in.name(), in.Body.Host, ifMatch)
		})
	})
	register(s, huma.Operation{
		OperationID: "unbind-endpoint", Method: http.MethodDelete, Path: path + "/{endpoint}/binding", Tags: tags,
		Summary: "Take an endpoint from its host",
	}, func(ctx context.Context, in *struct {
		EndpointPath
		Conditions
	}) (*Written[Endpoint], error) {
		return s.writeEndpoint(ctx, in.EndpointPath, in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
			return edit.UnbindEndpoint(w, in.name(), ifMatch)
		})
	})
}

func (s *server) writeEndpoint(ctx context.Context, in EndpointPath, c Conditions, decide func(*world.World, *dove.Revision) (dove.Txn, world.Endpoint, error)) (*Written[Endpoint], error) {
	return write(ctx, s, in.key(), c, decide, func(e world.Endpoint, since dove.Revision) Endpoint {
		w := s.Backend.World()
		return renderEndpoint(w, s.portsOf(w, e), s.Backend.Receipt)(e, since)
	})
}

// portsOf returns the sessions of the hosts that an endpoint is bound to, with what they say of it
// and of its sub-ports.
func (s *server) portsOf(w *world.World, e world.Endpoint) []control.SessionStatus {
	names := []dove.Endpoint{e.Full()}
	for sub := range w.SubPorts(e.Full()) {
		names = append(names, sub.Full())
	}
	return s.Backend.PortsOf(names, e.Bindings()...)
}

// hostsOf returns the hosts that endpoints are bound to, in order.
func hostsOf(all iter.Seq[world.Endpoint]) []dove.HostName {
	hosts := map[dove.HostName]bool{}
	for e := range all {
		for _, h := range e.Bindings() {
			hosts[h] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// EndpointFilter chooses among a tenant's endpoints; what is "" does not matter.
type EndpointFilter struct {
	Network string        `query:"network" maxLength:"63" doc:"Only those on this network."`
	Group   string        `query:"group" maxLength:"127" doc:"Only those in this group, BLUEPRINT/GROUP."`
	Host    dove.HostName `query:"host" maxLength:"63" doc:"Only those bound to this host, on standby too."`
	Address string        `query:"address" maxLength:"45" example:"10.0.1.2" doc:"Only those with this address."`
	State   string        `query:"state" enum:"unbound,unknown,foreign,waiting,active,failed" doc:"Only those in this state on their hosts."`
}

// address returns the zero Addr if none is wanted.
func (f EndpointFilter) address() (netip.Addr, error) {
	if f.Address == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(f.Address)
	if err != nil {
		var n names
		n.fault("address", "write 10.0.1.2 or fd00::2", "%q is no address", f.Address)
		return addr, n.err()
	}
	return addr.Unmap(), nil
}

// named refuses what names nothing.
func (f EndpointFilter) named(w *world.World, t dove.Tenant) error {
	n := names{w: w, tenant: t}
	n.network(f.Network)
	n.group(f.Group)
	n.host(f.Host)
	return n.err()
}

// candidates yields the fewest endpoints that are easily found to hold all
// that are wanted, in order of their ids.
func (f EndpointFilter) candidates(w *world.World, t dove.Tenant) iter.Seq[world.Endpoint] {
	blueprint, group, _ := strings.Cut(f.Group, "/")
	switch {
	case f.Host != "":
		return where(w.EndpointsOn(f.Host), func(e world.Endpoint) bool { return e.Tenant == t })
	case f.Group != "":
		return w.EndpointsOf(dove.Group{Tenant: t, Blueprint: blueprint, Name: group})
	case f.Network != "":
		return w.EndpointsIn(dove.Network{Tenant: t, Name: f.Network})
	}
	return w.Endpoints(t)
}

// wants reports whether an endpoint's document is as wanted.
func (f EndpointFilter) wants(e world.Endpoint) bool {
	return (f.Network == "" || e.Network == f.Network) && (f.Host == "" || e.BoundTo(f.Host)) &&
		(f.Group == "" || slices.ContainsFunc(e.Groups, func(g dove.Group) bool { return g.Blueprint+"/"+g.Name == f.Group }))
}
