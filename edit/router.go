package edit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// RouterRequest asks for a router that no blueprint makes, as it should be.
type RouterRequest struct {
	Tenant    dove.Tenant
	Name      string
	Domain    string // "": as it is, or that of its networks
	Networks  []string
	Addresses map[string][]string // by network; where there are none, each subnet's first
	Routes    []RouteRequest
}

// RouteRequest asks for a static route.
type RouteRequest struct {
	To  string   `json:"to"`
	Via []string `json:"via"`
}

// PutRouter makes a router or changes it as a whole.
func PutRouter(w *world.World, r RouterRequest, ifMatch *dove.Revision) (dove.Txn, world.Router, error) {
	none := func(err error) (dove.Txn, world.Router, error) { return dove.Txn{}, world.Router{}, err }
	if _, exists := w.Tenant(r.Tenant); !exists {
		return none(missingTenant(r.Tenant))
	}
	name := dove.Router{Tenant: r.Tenant, Name: r.Name}
	if err := match(w, fmt.Sprintf("router %q", name), world.RouterKey(name), ifMatch); err != nil {
		return none(err)
	}
	old, exists := w.Router(name)
	if exists && old.Blueprint != "" {
		return none(dove.Errorf(dove.Conflict, "router %q is made by blueprint %q: change it there", name, old.Blueprint))
	}
	var p problems
	checkName(&p, "name", r.Name)
	says := readRouter(&p, r)
	domain := routerDomain(&p, w, r, old, says)
	if err := p.err(fmt.Sprintf("router %q", name)); err != nil {
		return none(err)
	}
	if exists && old.Domain == domain && old.Says().Equal(says) {
		return dove.Txn{}, old, nil
	}
	doc := routerDoc(w, r.Tenant, domain, "", says)
	ctx := contextOf(w, doc.DomainOf())
	ctx.Routers[r.Name] = blueprint.ExistingRouter{Domain: domain, Router: says}
	p.join(refusal(blueprint.CheckRouters(doc.DomainOf(), ctx)))
	for _, i := range doc.Interfaces {
		if n, ok := w.Network(doc.NetworkOf(i)); ok {
			checkGateways(&p, w, doc, i, n, "addresses")
		}
	}
	if err := p.err(fmt.Sprintf("router %q", name)); err != nil {
		return none(err)
	}
	c := begin(w)
	c.read(world.TenantKey(r.Tenant))
	c.put(world.Ledger{Tenant: r.Tenant}, w.ClassNext(doc.DomainOf()), doc)
	txn, err := c.done()
	return txn, doc, err
}

// DeleteRouter removes a router that no policy needs.
func DeleteRouter(w *world.World, name dove.Router, ifMatch *dove.Revision) (dove.Txn, error) {
	if err := match(w, fmt.Sprintf("router %q", name), world.RouterKey(name), ifMatch); err != nil {
		return dove.Txn{}, err
	}
	old, exists := w.Router(name)
	if !exists {
		return dove.Txn{}, dove.Errorf(dove.NotFound, "there is no router %q", name)
	}
	var p problems
	if old.Blueprint != "" {
		p.add(dove.Conflict, "", "take it out there", "router %q is made by blueprint %q", name, old.Blueprint)
	}
	ctx := contextOf(w, old.DomainOf())
	delete(ctx.Routers, name.Name)
	p.join(refusal(blueprint.CheckRouters(old.DomainOf(), ctx)))
	if err := p.err(fmt.Sprintf("deleting router %q", name)); err != nil {
		return dove.Txn{}, err
	}
	c := begin(w)
	c.put(world.Ledger{Tenant: name.Tenant})
	c.delete(old.Key())
	return c.done()
}

// readRouter reads a router as a blueprint does, which has the rules.
func readRouter(p *problems, r RouterRequest) blueprint.Router {
	type router struct {
		Networks  []string            `json:"networks"`
		Addresses map[string][]string `json:"addresses,omitempty"`
		Routes    []RouteRequest      `json:"routes,omitempty"`
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": blueprint.APIVersion, "kind": blueprint.Kind, "name": "r",
		"routers": map[string]router{"r": {append([]string{}, r.Networks...), r.Addresses, r.Routes}},
	})
	if err != nil {
		panic(fmt.Sprintf("edit: router %q does not encode: %v", r.Name, err))
	}
	b, err := blueprint.Parse(r.Tenant, text)
	if err != nil {
		for _, f := range faultsOf(err) {
			p.add(dove.Invalid, strings.TrimPrefix(f.Path, "routers.r."), f.Hint, "%s", f.Message)
		}
		return blueprint.Router{}
	}
	says := b.Routers[0]
	says.Name = r.Name
	return says
}

// routerDomain finds the domain of a router: that of all its networks.
func routerDomain(p *problems, w *world.World, r RouterRequest, old world.Router, says blueprint.Router) string {
	domain := r.Domain
	first := ""
	for i, name := range says.Networks() {
		path := fmt.Sprintf("networks[%d]", i)
		n, exists := w.Network(dove.Network{Tenant: r.Tenant, Name: name})
		switch {
		case !exists:
			p.unknownNetwork(w, r.Tenant, path, name)
		case domain == "":
			domain, first = n.Domain, name
		case n.Domain != domain && first != "":
			p.add(dove.Conflict, path, "a router joins networks of one domain", "network %q is of domain %q, network %q of %q", name, n.Domain, first, domain)
		case n.Domain != domain:
			p.add(dove.Conflict, path, "a router joins networks of one domain", "network %q is of domain %q, the router of %q", name, n.Domain, domain)
		}
	}
	if old.Domain != "" && domain != "" && old.Domain != domain {
		p.add(dove.Conflict, "domain", "make another router", "router %q is of domain %q, which is fixed", old.Full(), old.Domain)
	}
	return domain
}

// routerDoc makes the document of a router. An interface that is there keeps its MAC.
func routerDoc(w *world.World, t dove.Tenant, domain, of string, says blueprint.Router) world.Router {
	doc := world.Router{Tenant: t, Name: says.Name, Domain: domain, Blueprint: of}
	old, _ := w.Router(doc.Full())
	for _, i := range says.Interfaces {
		f := world.Interface{Network: i.Network, Addresses: i.Addresses}
		if was, exists := old.On(i.Network); exists {
			f.MAC = was.MAC
		} else {
			f.MAC = routerMAC(w, doc.Full(), doc.NetworkOf(f))
		}
		doc.Interfaces = append(doc.Interfaces, f)
	}
	for _, t := range says.Routes {
		doc.Routes = append(doc.Routes, world.Route(t))
	}
	return doc
}

// routerMAC makes an interface's MAC of its names, so that a router that is
// made again is the one that guests remember.
func routerMAC(w *world.World, r dove.Router, n dove.Network) dove.MAC {
	sum := sha256.Sum256([]byte(r.String() + " " + n.Name))
	for i := binary.BigEndian.Uint64(sum[:]); ; i++ {
		mac := madeMAC(i)
		if _, taken := w.EndpointByMAC(n, mac); !taken && routerByMAC(w, n, mac) == "" {
			return mac
		}
	}
}

// routerByMAC names the router that has a MAC on a network, "" if none.
func routerByMAC(w *world.World, n dove.Network, mac dove.MAC) string {
	for r := range w.RoutersOn(n) {
		if f, ok := r.On(n.Name); ok && f.MAC == mac {
			return r.Name
		}
	}
	return ""
}

// checkGateways refuses addresses of a router that endpoints have.
func checkGateways(p *problems, w *world.World, r world.Router, f world.Interface, n world.Network, path string) {
	for _, a := range f.Gateways(n) {
		if e, taken := w.EndpointOn(n.Full(), a); taken {
			p.add(dove.Conflict, path, "give the router another with addresses, or move the endpoint", "address %s of router %q on network %q is that of endpoint %q", a, r.Name, n.Name, e.ID)
		}
		for e := range w.AllowedOn(n.Full(), netip.PrefixFrom(a, a.BitLen())) {
			p.add(dove.Conflict, path, "give the router another with addresses, or take it from the endpoint", "address %s of router %q on network %q is allowed to endpoint %q", a, r.Name, n.Name, e.ID)
		}
	}
}

// routers judges what a blueprint does to routers, in place of an old version:
// made gets those that are new or changed, gone those that are not there any
// more. Networks of the tenant that change are in changed.
func (f *footprint) judgeRouters(p *problems, w *world.World, changed map[string]world.Network) {
	b := f.blueprint
	wanted := map[string]bool{}
	check := func(r world.Router, i world.Interface) {
		n, ok := changed[i.Network]
		if !ok {
			n, ok = w.Network(r.NetworkOf(i))
		}
		if ok {
			checkGateways(p, w, r, i, n, "routers."+r.Name)
		}
	}
	for _, says := range b.Routers {
		wanted[says.Name] = true
		is, exists := w.Router(dove.Router{Tenant: b.Tenant, Name: says.Name})
		if exists && is.Blueprint != b.Name {
			continue // Check refused it
		}
		doc := routerDoc(w, b.Tenant, b.Domain, b.Name, says)
		for _, i := range doc.Interfaces {
			check(doc, i)
		}
		if !exists || is.Domain != b.Domain || !is.Says().Equal(says) {
			f.routers = append(f.routers, doc)
		}
	}
	for r := range w.Routers(b.Tenant) {
		switch {
		case r.Blueprint == b.Name && !wanted[r.Name]:
			f.closed = append(f.closed, r)
		case r.Blueprint != b.Name:
			for _, i := range r.Interfaces {
				if _, touched := changed[i.Network]; touched {
					check(r, i)
				}
			}
		}
	}
}

// gatewayOf names the router that has an address on a network, "" if none.
func gatewayOf(w *world.World, n world.Network, a netip.Addr) string {
	r, _, _ := w.GatewayOn(n, a)
	return r.Name
}

// routed reports whether a router joins one of the networks.
func routed(w *world.World, networks []*world.Network) bool {
	return slices.ContainsFunc(networks, func(n *world.Network) bool {
		for range w.RoutersOn(n.Full()) {
			return true
		}
		return false
	})
}
