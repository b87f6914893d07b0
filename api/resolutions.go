package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/explain"
	"dove.network/resolver"
	"dove.network/verdict"
	"dove.network/world"
)

// Resolution is what the DPC would answer if the dSwitch of From asked now.
type Resolution struct {
	Revision dove.Revision `json:"revision" doc:"The revision that it is answered at."`
	Status   string        `json:"status" enum:"found,no-endpoint,no-route,refused" doc:"no-endpoint: nobody has the address. no-route: nothing leads to it."`
	Detail   string        `json:"detail,omitempty" doc:"Why, unless found."`
	From     ResolutionEnd `json:"from"`
	Address  string        `json:"address" doc:"The address that is asked about, on the network of from."`
	Peer     *ResolvedPeer `json:"peer,omitempty" doc:"Who has the address; only if found."`
	Forth    *ResolvedPair `json:"forth,omitempty" doc:"From there to the peer; only if found."`
	Back     *ResolvedPair `json:"back,omitempty" doc:"From the peer to there; only if found."`
}

// ResolutionEnd is who would ask.
type ResolutionEnd struct {
	Endpoint dove.EndpointID `json:"endpoint"`
	Address  string          `json:"address"`
	Network  string          `json:"network"`
	VNI      dove.VNI        `json:"vni"`
	Class    dove.Class      `json:"class" doc:"The number for addresses alike in policy; 0: none."`
	Host     dove.HostName   `json:"host,omitempty" doc:"Whose dSwitch would ask."`
}

// ResolvedPeer is the row of a peer.
type ResolvedPeer struct {
	Endpoint dove.EndpointID `json:"endpoint"`
	UID      string          `json:"uid" doc:"Tells one life of the endpoint from the next; hexadecimal."`
	MAC      string          `json:"mac"`
	Class    dove.Class      `json:"class"`
	Domain   string          `json:"domain"`
	Router   string          `json:"router,omitempty" doc:"The router between; missing if none is."`
	Network  string          `json:"network,omitempty" doc:"Behind a router: where the endpoint is."`
	Route    string          `json:"route,omitempty" doc:"The static route that leads there."`
	Ways     []ResolvedWay   `json:"ways,omitempty" doc:"Further next hops of the route: each flow takes one."`
	Host     dove.HostName   `json:"host,omitempty"`
	VTEP     string          `json:"vtep,omitempty"`
	Withheld bool            `json:"withheld,omitempty" doc:"The host is not told where the peer is."`
	Why      string          `json:"why,omitempty" doc:"Why the place is withheld."`
}

// ResolvedWay is a further next hop of a static route.
type ResolvedWay struct {
	Endpoint dove.EndpointID `json:"endpoint"`
	Class    dove.Class      `json:"class"`
	Host     dove.HostName   `json:"host,omitempty" doc:"Missing if it is withheld."`
}

// ResolvedPair is the table from one class to another.
type ResolvedPair struct {
	From    dove.Class `json:"from"`
	To      dove.Class `json:"to"`
	Digest  string     `json:"digest" doc:"Names the table by its content, as switches hold it."`
	Default string     `json:"default" doc:"What holds for all that no range names: allow or deny, and the rule."`
	Ranges  []string   `json:"ranges" nullable:"false" doc:"tcp/443-443 allow BLUEPRINT/POLICY; of icmp and icmpv6 type*256+code."`
}

// Resolving says who asks about whom.
type Resolving struct {
	From string `query:"from" required:"true" maxLength:"128" example:"web-1" doc:"Who would send: an endpoint, ENDPOINT/ADDRESS, NETWORK/ADDRESS, or an address."`
	To   string `query:"to" required:"true" maxLength:"128" example:"db-1" doc:"To whom, written likewise; also an address that nobody has."`
}

func (s *server) resolutions() {
	register(s, huma.Operation{
		OperationID: "resolve", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/resolutions", Tags: []string{"endpoints"},
		Summary:     "Ask what the DPC answers a dSwitch",
		Description: "As if the dSwitch of one endpoint asked about another now. Answered, as to dSwitches, from what this DPC member knows, without asking the store.",
	}, func(_ context.Context, in *struct {
		TenantPath
		Resolving
	}) (*struct{ Body Resolution }, error) {
		w := s.Backend.World()
		if _, ok := w.Tenant(in.Tenant); !ok {
			return nil, missing("tenant", string(in.Tenant))
		}
		out, err := resolve(w, in.Tenant, in.Resolving)
		if err != nil {
			return nil, err
		}
		return &struct{ Body Resolution }{out}, nil
	})
}

func resolve(w *world.World, t dove.Tenant, in Resolving) (Resolution, error) {
	from, err := explain.Find(w, t, in.From)
	if err != nil {
		return Resolution{}, err
	}
	local, _ := w.Endpoint(from.Endpoint)
	peers, err := addressesOf(w, local.NetworkOf(), in.To)
	if err != nil {
		return Resolution{}, err
	}
	q, ok := question(local, from.Addr, peers)
	if !ok {
		return Resolution{}, dove.Errorf(dove.Invalid, "%s and %s have no address family in common: ask about addresses that both have", in.From, in.To)
	}
	network, _ := w.Network(local.NetworkOf())
	q.VNI = network.VNI
	out := Resolution{
		Revision: w.Revision(), Address: q.Peer.String(),
		From: ResolutionEnd{local.ID, q.Local.String(), network.Name, q.VNI, w.AddressClass(local, q.Local), local.Host},
	}
	if _, ok := resolver.Location(w, local); !ok {
		out.Status = "refused"
		out.Detail = cmp.Or(nowhere(w, local), "nobody asks for it")
		return out, nil
	}
	answered := resolver.Resolve(w, local.Host, q)
	switch answered.Answer.Status {
	case control.Found:
		out.Status = "found"
	case control.NoEndpoint:
		out.Status = "no-endpoint"
		reach := w.Reach(network, q.Peer)
		if reach.NoRoute {
			out.Status = "no-route"
		}
		switch gateway := explain.Gateway(w, network, q.Peer); {
		case gateway != "":
			out.Detail = gateway
		case len(reach.Ways) > 0:
			out.Detail = nowhere(w, reach.Ways[0].Endpoint)
		case reach.Route.IsValid():
			out.Detail = fmt.Sprintf("no next hop of the route to %s of router %s is the address of an endpoint that is allowed %s", reach.Route, reach.Router, q.Peer)
		case reach.Router != "":
			out.Detail = fmt.Sprintf("nobody has %s behind router %s", q.Peer, reach.Router)
		case reach.NoRoute && !router(w, network):
			out.Detail = fmt.Sprintf("nobody has %s on network %s, and no router is on it", q.Peer, network.Full())
		case reach.NoRoute:
			out.Detail = fmt.Sprintf("no router of network %s leads to %s", network.Full(), q.Peer)
		default:
			out.Detail = fmt.Sprintf("nobody has %s on network %s", q.Peer, network.Full())
		}
		return out, nil
	default:
		out.Status, out.Detail = "refused", answered.Answer.Detail
		return out, nil
	}
	out.Peer = renderPeer(local.Host, answered.Peers[0])
	if reach := w.Reach(network, q.Peer); reach.Router != "" {
		out.Peer.Router = reach.Router
		far, _ := w.NetworkByVNI(answered.Peers[0].VNI)
		out.Peer.Network = far.Name
		if reach.Route.IsValid() {
			out.Peer.Route = reach.Route.String()
		}
		for _, way := range answered.Peers[0].Ways {
			out.Peer.Ways = append(out.Peer.Ways, ResolvedWay{way.Endpoint.ID, way.Class, way.Host})
		}
	}
	forth := answered.Pairs[0]
	back := forth
	if forth.Key.Src != forth.Key.Dst {
		back = answered.Pairs[1]
	}
	out.Forth, out.Back = renderPair(forth), renderPair(back)
	return out, nil
}

// router reports whether any is on a network.
func router(w *world.World, n world.Network) bool {
	for range w.RoutersOn(n.Full()) {
		return true
	}
	return false
}

// nowhere says why an endpoint is at no host that has joined, "" if it is.
func nowhere(w *world.World, e world.Endpoint) string {
	if e.Host == "" {
		return fmt.Sprintf("endpoint %s is bound to no host", e.Full())
	}
	if _, ok := resolver.Location(w, e); !ok {
		return fmt.Sprintf("host %s of endpoint %s has not joined", e.Host, e.Full())
	}
	return ""
}

// addressesOf returns the addresses that text names: one, or all of an
// endpoint. A dSwitch asks about addresses on its network, whether or not
// somebody has them.
func addressesOf(w *world.World, on dove.Network, text string) ([]netip.Addr, error) {
	end, err := explain.Find(w, on.Tenant, text)
	if err != nil {
		addr, bad := netip.ParseAddr(strings.TrimPrefix(text, on.Name+"/"))
		if kind := dove.KindOf(err); bad != nil || addr.Zone() != "" || kind != dove.NotFound && kind != dove.Conflict {
			return nil, err
		}
		return []netip.Addr{addr.Unmap()}, nil
	}
	if end.Addr.IsValid() {
		return []netip.Addr{end.Addr}, nil
	}
	e, _ := w.Endpoint(end.Endpoint)
	return e.Addresses, nil
}

// question chooses the first addresses that are of one family.
func question(local world.Endpoint, given netip.Addr, peers []netip.Addr) (control.Question, bool) {
	own := local.Addresses
	if given.IsValid() {
		own = []netip.Addr{given}
	}
	for _, a := range own {
		for _, b := range peers {
			if a.Is4() == b.Is4() {
				return control.Question{Local: a, Peer: b, Outgoing: true}, true
			}
		}
	}
	return control.Question{}, false
}

func renderPeer(asking dove.HostName, p control.Peer) *ResolvedPeer {
	out := &ResolvedPeer{
		Endpoint: p.Endpoint.ID, UID: fmt.Sprintf("%016x", uint64(p.UID)), MAC: p.MAC.String(),
		Class: p.Class, Domain: p.Domain.Name, Host: p.Host,
	}
	if p.VTEP.IsValid() {
		out.VTEP = p.VTEP.String()
		return out
	}
	out.Withheld = true
	out.Why = fmt.Sprintf("no endpoint of host %s on this network may talk with it, in either direction", asking)
	return out
}

func renderPair(p control.Pair) *ResolvedPair {
	out := &ResolvedPair{From: p.Key.Src, To: p.Key.Dst, Ranges: []string{}}
	if p.Table == nil {
		out.Default = "deny " + verdict.DefaultDeny
		return out
	}
	says := func(v verdict.Verdict) string {
		if v.Allow {
			return "allow " + p.Table.Name(v)
		}
		return "deny " + p.Table.Name(v)
	}
	out.Digest, out.Default = p.Table.Digest().String(), says(p.Table.Default)
	for _, section := range p.Table.Sections {
		for _, i := range section.Intervals {
			out.Ranges = append(out.Ranges, fmt.Sprintf("%s/%d-%d %s", section.Protocol, i.First, i.Last, says(i.Verdict)))
		}
	}
	return out
}
