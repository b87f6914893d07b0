package world

import (
	"bytes"
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"unique"

	"dove.network/dove"
	"dove.network/policy"
)

// packed is an endpoint's document as a World keeps it, of which there are millions: what
// many have alike lies elsewhere once, and so does what most do not have.
type packed struct {
	alike    *alike
	rare     *rare // nil: nothing of it
	id       dove.EndpointID
	host     unique.Handle[dove.HostName] // zero: none
	uid      dove.UID
	epoch    dove.Epoch
	revision dove.Revision
	addr     [1]netip.Addr // the address if there is just one, which is valid
	mac      dove.MAC
}

// alike is what endpoints of one kind on one network have the same. All that a World has
// of a kind at any address share one, most of the time.
type alike struct {
	tenant  dove.Tenant
	network string
	kind    string // text of the rest: Endpoint.kind
	groups  []dove.Group
	open    bool
	labels  map[string]string
	ports   map[string]dove.Port
}

// rare is what most endpoints do not have.
type rare struct {
	addresses []netip.Addr // all, if they are not one
	standby   dove.HostName
	activated bool
	device    string
	allowed   []Allowed
	parent    dove.EndpointID
	vlan      uint16
}

// newAlike returns what the endpoint shares with others.
func newAlike(e *Endpoint, kind string) *alike {
	a := &alike{
		tenant: unique.Make(e.Tenant).Value(), network: unique.Make(e.Network).Value(), kind: kind,
		open: e.Open, labels: e.Labels, ports: e.Ports,
	}
	for _, g := range e.Groups {
		a.groups = append(a.groups, unique.Make(g).Value())
	}
	a.groups = slices.Clip(a.groups)
	return a
}

func (a *alike) member() policy.Member {
	return policy.Member{Groups: a.groups, Labels: a.labels, Ports: a.ports, Open: a.open}
}

// pack returns an endpoint in the form in which it is kept.
func pack(e *Endpoint, a *alike, revision dove.Revision) *packed {
	p := &packed{alike: a, id: e.ID, uid: e.UID, epoch: e.Epoch, revision: revision, mac: e.MAC}
	if e.Host != "" {
		p.host = unique.Make(e.Host)
	}
	one := len(e.Addresses) == 1 && e.Addresses[0].IsValid()
	if one {
		p.addr[0] = e.Addresses[0]
	}
	if !one || e.Standby != "" || e.Activated || e.Device != "" || len(e.Allowed) > 0 || e.Parent != "" || e.VLAN != 0 {
		p.rare = &rare{
			standby: unique.Make(e.Standby).Value(), activated: e.Activated, device: e.Device, allowed: slices.Clip(e.Allowed),
			parent: unique.Make(e.Parent).Value(), vlan: e.VLAN,
		}
		if !one {
			p.rare.addresses = slices.Clip(e.Addresses)
		}
	}
	return p
}

// doc returns the endpoint as its document says. What it points to belongs to the World.
func (p *packed) doc() Endpoint {
	e := Endpoint{
		Tenant: p.alike.tenant, ID: p.id, UID: p.uid, Network: p.alike.network, MAC: p.mac,
		Addresses: p.addresses(), Groups: p.alike.groups, Epoch: p.epoch,
		Open: p.alike.open, Labels: p.alike.labels, Ports: p.alike.ports,
	}
	if p.host != noHost {
		e.Host = p.host.Value()
	}
	if r := p.rare; r != nil {
		e.Standby, e.Activated, e.Device, e.Allowed, e.Parent, e.VLAN = r.standby, r.activated, r.device, r.allowed, r.parent, r.vlan
	}
	return e
}

func (p *packed) addresses() []netip.Addr {
	if p.addr[0].IsValid() {
		return p.addr[:]
	}
	return p.rare.addresses
}

func (p *packed) full() dove.Endpoint { return dove.Endpoint{Tenant: p.alike.tenant, ID: p.id} }
func (p *packed) networkOf() dove.Network {
	return dove.Network{Tenant: p.alike.tenant, Name: p.alike.network}
}

// allowed returns the endpoint's, none of most.
func (p *packed) allowed() []Allowed {
	if p.rare == nil {
		return nil
	}
	return p.rare.allowed
}

// on orders by network.
func (p *packed) on(n dove.Network) int {
	return pair(p.alike.tenant, p.alike.network, n.Tenant, n.Name)
}

// under orders sub-ports by tenant and parent.
func (p *packed) under(parent dove.Endpoint) int {
	return cmp.Or(cmp.Compare(p.alike.tenant, parent.Tenant), cmp.Compare(p.rare.parent, parent.ID))
}

// Orders of endpoints, as in order.go.

func byEndpoint(a, b *packed) int { return pair(a.alike.tenant, a.id, b.alike.tenant, b.id) }

func byNetwork(a, b *packed) int {
	if a.alike != b.alike {
		if c := a.on(b.networkOf()); c != 0 {
			return c
		}
	}
	return byEndpoint(a, b)
}

func byMAC(a, b *packed) int {
	if a.alike != b.alike {
		if c := a.on(b.networkOf()); c != 0 {
			return c
		}
	}
	if c := bytes.Compare(a.mac[:], b.mac[:]); c != 0 {
		return c
	}
	return byEndpoint(a, b)
}

// at orders by network and MAC.
func (p *packed) at(n dove.Network, mac dove.MAC) int {
	if c := p.on(n); c != 0 {
		return c
	}
	return bytes.Compare(p.mac[:], mac[:])
}

func endpointAt(e dove.Endpoint) func(*packed) int {
	return func(p *packed) int { return pair(p.alike.tenant, p.id, e.Tenant, e.ID) }
}

func endpointOf(p *packed, ok bool) (Endpoint, bool) {
	if !ok {
		return Endpoint{}, false
	}
	return p.doc(), true
}

func endpointsOf(all iter.Seq[*packed]) iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		for p := range all {
			if !yield(p.doc()) {
				return
			}
		}
	}
}

func (d *draft) applyEndpoint(doc dove.Doc, name dove.Endpoint) error {
	old, _ := d.endpoints.find(endpointAt(name))
	e, err := readEndpoint(doc)
	if err != nil || e == nil && old == nil {
		return err
	}
	c := Change[Endpoint]{New: e}
	if old != nil && !d.quiet {
		c.Old = new(old.doc())
	}
	var is *packed
	if e != nil {
		is = pack(e, d.alikeOf(e), doc.Revision)
		*e = is.doc() // with what it shares
	}
	if !d.quiet {
		d.delta.Endpoints = append(d.delta.Endpoints, c)
	}
	d.place(old, is)
	return nil
}

// place puts an endpoint in the place of what it was, in all trees.
func (d *draft) place(old, is *packed) {
	swap(&d.endpoints, old, is, (*packed).once, (*packed).itself)
	swap(&d.byNetwork, old, is, (*packed).once, (*packed).itself)
	swap(&d.byMAC, old, is, (*packed).once, (*packed).itself)
	swap(&d.byKind, old, is, (*packed).spans, (*packed).spot)
	swap(&d.byParent, old, is, (*packed).parents, (*packed).itself)
	swap(&d.byHost, old, is, (*packed).bindings, (*packed).binding)
	swap(&d.byAddress, old, is, (*packed).locations, d.location)
	swap(&d.byAllowed, old, is, (*packed).permissions, (*packed).permission)
	swap(&d.byGroup, old, is, (*packed).memberships, (*packed).membership)
}

// swap puts all that an endpoint is found by in the place of what it was found by before.
// Mostly it has the same place, and is put there.
func swap[T any](t *tree[T], old, is *packed, count func(*packed) int, item func(*packed, int) T) {
	was, will := 0, 0
	if old != nil {
		was = count(old)
	}
	if is != nil {
		will = count(is)
	}
	same := was == will
	for i := 0; same && i < was; i++ {
		same = t.order(item(old, i), item(is, i)) == 0
	}
	for i := 0; !same && i < was; i++ {
		t.remove(item(old, i))
	}
	for i := range will {
		t.put(item(is, i))
	}
}

// How often an endpoint is in each tree, and as what.

func (p *packed) once() int          { return 1 }
func (p *packed) itself(int) *packed { return p }

// parents counts the one that a sub-port has.
func (p *packed) parents() int {
	if p.rare == nil || p.rare.parent == "" {
		return 0
	}
	return 1
}

var noHost unique.Handle[dove.HostName]

// bindings counts as Endpoint.Bindings does.
func (p *packed) bindings() int {
	switch {
	case p.host == noHost:
		return 0
	case p.rare == nil || p.rare.standby == "":
		return 1
	}
	return 2
}

func (p *packed) binding(i int) bound {
	if i == 0 {
		return bound{p.host, p}
	}
	return bound{unique.Make(p.rare.standby), p}
}

func (p *packed) locations() int { return len(p.addresses()) }

func (d *draft) location(p *packed, i int) located {
	return located{placeOf(d.number(p.networkOf()), p.addresses()[i]), p}
}

func (p *packed) permissions() int            { return len(p.allowed()) }
func (p *packed) permission(i int) permitted  { return permitted{p, i} }
func (p *packed) memberships() int            { return len(p.alike.groups) }
func (p *packed) membership(i int) membership { return membership{p, i} }
