package edit

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// MTUs of a network in bytes.
const (
	MTUMin = 1280 // IPv6's least
	MTUMax = 9166 // a jumbo frame of 9216 less 50
)

// DefaultMTU is what an underlay of 1500 carries: VXLAN takes 50 bytes of it over
// IPv4, and 70 over IPv6. A fleet without hosts is taken for one of IPv4.
func DefaultMTU(w *world.World) uint16 {
	for h := range w.Hosts() {
		if h.VTEP.Is6() {
			return 1430
		}
	}
	return 1450
}

// NetworkRequest asks for a network that no blueprint makes.
type NetworkRequest struct {
	Tenant  dove.Tenant
	Name    string
	Domain  string // "": as it is; needed for a new one
	Subnets []string
	MTU     uint16 // 0: as it is, or DefaultMTU
}

// PutNetwork makes a network, with a VNI of its own, or changes its subnets and MTU.
func PutNetwork(w *world.World, r NetworkRequest, now time.Time, ifMatch *dove.Revision) (dove.Txn, world.Network, error) {
	if _, exists := w.Tenant(r.Tenant); !exists {
		return dove.Txn{}, world.Network{}, missingTenant(r.Tenant)
	}
	name := dove.Network{Tenant: r.Tenant, Name: r.Name}
	if err := match(w, fmt.Sprintf("network %q", name), world.NetworkKey(name), ifMatch); err != nil {
		return dove.Txn{}, world.Network{}, err
	}
	old, exists := w.Network(name)
	if exists && old.Blueprint != "" {
		return dove.Txn{}, old, dove.Errorf(dove.Conflict, "network %q is made by blueprint %q: change it there", name, old.Blueprint)
	}
	doc := world.Network{Tenant: r.Tenant, Name: r.Name, Domain: r.Domain, MTU: r.MTU, VNI: old.VNI}
	var p problems
	checkName(&p, "name", r.Name)
	switch {
	case r.Domain == "" && exists:
		doc.Domain = old.Domain
	case r.Domain == "":
		p.add(dove.Invalid, "domain", "name the domain of the blueprints that are to hold on it", "the network has no domain")
	case exists && r.Domain != old.Domain:
		p.add(dove.Conflict, "domain", "make another network", "network %q is of domain %q, which is fixed", name, old.Domain)
	default:
		checkName(&p, "domain", r.Domain)
	}
	switch {
	case r.MTU == 0 && exists:
		doc.MTU = old.MTU
	case r.MTU == 0:
		doc.MTU = DefaultMTU(w)
	case r.MTU < MTUMin || r.MTU > MTUMax:
		p.add(dove.Invalid, "mtu", "", "an MTU of %d is not between %d and %d", r.MTU, MTUMin, MTUMax)
	}
	doc.Subnets = checkSubnets(&p, r.Subnets)
	narrowed := exists && len(p.faults) == 0 && checkStranded(&p, w, old, doc.Subnets)
	joined := exists && len(p.faults) == 0 && checkJoined(&p, w, doc)
	if err := p.err(fmt.Sprintf("network %q", name)); err != nil {
		return dove.Txn{}, doc, err
	}
	if exists && same(old, doc) {
		return dove.Txn{}, old, nil
	}
	c := begin(w)
	c.read(world.TenantKey(r.Tenant))
	c.put(world.Ledger{Tenant: r.Tenant})
	if joined {
		c.put(w.ClassNext(doc.DomainOf()))
	}
	if narrowed {
		c.read(w.ClassNext(doc.DomainOf()).Key())
	}
	if err := c.putNetworks(now, &doc); err != nil {
		return dove.Txn{}, doc, err
	}
	txn, err := c.done()
	return txn, doc, err
}

// checkJoined refuses subnets that do not fit with what routers join the
// network with. It reports whether any router does.
func checkJoined(p *problems, w *world.World, n world.Network) bool {
	joined := false
	for r := range w.RoutersOn(n.Full()) {
		joined = true
		f, _ := r.On(n.Name)
		checkGateways(p, w, r, f, n, "subnets")
	}
	if joined {
		ctx := contextOf(w, n.DomainOf())
		ctx.Networks[n.Name] = blueprint.ExistingNetwork{Blueprint: n.Blueprint, Domain: n.Domain, Subnets: n.Subnets}
		p.join(refusal(blueprint.CheckRouters(n.DomainOf(), ctx)))
	}
	return joined
}

// DeleteNetwork removes a network that nothing needs. Its VNI rests.
func DeleteNetwork(w *world.World, name dove.Network, now time.Time, ifMatch *dove.Revision) (dove.Txn, error) {
	if err := match(w, fmt.Sprintf("network %q", name), world.NetworkKey(name), ifMatch); err != nil {
		return dove.Txn{}, err
	}
	n, exists := w.Network(name)
	if !exists {
		return dove.Txn{}, missingNetwork(name)
	}
	var p problems
	if n.Blueprint != "" {
		p.add(dove.Conflict, "", "take it out there", "network %q is made by blueprint %q", name, n.Blueprint)
	}
	checkEmpty(&p, w, n)
	if names, more := some(w.RoutersOn(name), func(r world.Router) string { return r.Name }); names != "" {
		p.add(dove.Conflict, "", "take it out of them first", "network %q is joined by routers %s%s", name, names, more)
	}
	for b := range w.ParsedOf(name.Tenant) {
		for _, g := range b.Groups {
			if g.Network == name.Name && b.Name != n.Blueprint {
				p.add(dove.Conflict, "", "change that group first", "group %s/%s is on network %q", b.Name, g.Name, name)
			}
		}
	}
	if err := p.err(fmt.Sprintf("deleting network %q", name)); err != nil {
		return dove.Txn{}, err
	}
	c := begin(w)
	c.put(world.Ledger{Tenant: name.Tenant})
	c.read(w.ClassNext(n.DomainOf()).Key())
	c.deleteNetwork(n, now)
	return c.done()
}

func (p *problems) unknownNetwork(w *world.World, t dove.Tenant, path, name string) {
	hint := "there are none"
	if names, more := some(w.Networks(t), func(n world.Network) string { return n.Name }); names != "" {
		hint = "there are " + names + more
	}
	p.add(dove.Invalid, path, hint, "unknown network %q", name)
}

func missingNetwork(n dove.Network) error {
	return dove.Errorf(dove.NotFound, "there is no network %q", n)
}

// checkSubnets reads subnets as a blueprint does, which has the rules.
func checkSubnets(p *problems, subnets []string) []netip.Prefix {
	type network struct {
		Subnets []string `json:"subnets"`
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": blueprint.APIVersion, "kind": blueprint.Kind, "name": "n",
		"networks": map[string]network{"n": {Subnets: append([]string{}, subnets...)}},
	})
	if err != nil {
		panic(fmt.Sprintf("edit: subnets %q do not encode: %v", subnets, err))
	}
	b, err := blueprint.Parse("", text)
	if err != nil {
		for _, f := range faultsOf(err) {
			p.add(dove.Invalid, strings.TrimPrefix(f.Path, "networks.n."), f.Hint, "%s", f.Message)
		}
		return nil
	}
	return b.Networks[0].Subnets
}

// checkEmpty refuses to take a network away that endpoints are on.
func checkEmpty(p *problems, w *world.World, n world.Network) {
	if names, more := some(w.EndpointsIn(n.Full()), endpointName); names != "" {
		p.add(dove.Conflict, "networks."+n.Name, "delete them first", "network %q has endpoints %s%s", n.Full(), names, more)
	}
}

func endpointName(e world.Endpoint) string { return string(e.ID) }

// checkStranded refuses subnets that leave out addresses in use. It reports
// whether the answer relied on where endpoints are.
func checkStranded(p *problems, w *world.World, old world.Network, subnets []netip.Prefix) bool {
	narrowed := false
	for _, s := range old.Subnets {
		if slices.ContainsFunc(subnets, func(o netip.Prefix) bool { return o.Bits() <= s.Bits() && o.Contains(s.Addr()) }) {
			continue
		}
		narrowed = true
		stranded := func(yield func(string) bool) {
			for addr, e := range w.AddressesIn(old.Full(), s) {
				if !slices.ContainsFunc(subnets, func(o netip.Prefix) bool { return o.Contains(addr) }) {
					if !yield(fmt.Sprintf("%s (%s)", e, addr)) {
						return
					}
				}
			}
		}
		if names, more := some(stranded, func(s string) string { return s }); names != "" {
			p.add(dove.Conflict, "networks."+old.Name+".subnets", "keep the subnet, or delete them first",
				"subnet %s of network %q would go, which has endpoints %s%s", s, old.Full(), names, more)
		}
	}
	return narrowed
}

// putNetworks writes networks of one tenant and gives those without one a VNI.
func (c *change) putNetworks(now time.Time, networks ...*world.Network) error {
	next := c.w.VNINext().Next
	chose := false
	for _, n := range networks {
		if n.VNI == 0 {
			vni, ok := freeVNI(c.w, next, now)
			if !ok {
				return dove.Errorf(dove.TooLarge, "no VNI is free: delete networks; freed VNIs rest %v", Rest)
			}
			n.VNI, next, chose = vni, vni+1, true
			c.put(world.VNIAlloc{VNI: vni, Network: n.Full().String()})
		}
		c.put(*n)
	}
	if chose {
		c.put(world.VNINext{Next: next})
	}
	return nil
}

// deleteNetwork removes a network and lets its VNI rest.
func (c *change) deleteNetwork(n world.Network, now time.Time) {
	c.delete(n.Key())
	c.put(world.VNIAlloc{VNI: n.VNI, Network: n.Full().String(), FreedAt: new(now.UTC())})
}

// vniMin keeps below it what operators like to give by hand.
const vniMin dove.VNI = 4096

// freeVNI returns the first VNI from next on, or else from the start, that has
// no owner or rested enough.
func freeVNI(w *world.World, next dove.VNI, now time.Time) (dove.VNI, bool) {
	for _, v := range []dove.VNI{max(next, vniMin), vniMin} {
		for a := range w.VNIs(v) {
			if a.VNI > v || rested(a.FreedAt, now) {
				break
			}
			v++
		}
		if v <= dove.VNIMax {
			return v, true
		}
	}
	return 0, false
}

func rested(freed *time.Time, now time.Time) bool {
	return freed != nil && now.Sub(*freed) >= Rest
}

// faultsOf returns the faults of a refused document.
func faultsOf(err error) []dove.Fault {
	e := refusal(err)
	if len(e.Faults) == 0 {
		return []dove.Fault{{Message: e.Message}}
	}
	return e.Faults
}
