package world

import (
	"cmp"
	"iter"
	"net/netip"
	"time"
	"unique"

	"dove.network/blueprint"
	"dove.network/dove"
)

// World is everything that the store holds, at one revision. It never changes:
// Apply gives the next one, which shares with it all that did not change.
//
// Lookups return documents by value; their slices and what pointers point to
// belong to the World and must not be written to. Sequences are in ascending
// order of the names that the lookup does not fix.
type World struct {
	revision   dove.Revision
	generation uint64

	memo         *memo
	meta         held[Meta]    // revision 0: there is none
	vniNext      held[VNINext] // likewise
	tenants      tree[*held[Tenant]]
	blueprints   tree[*held[Blueprint]]
	parsed       tree[*blueprint.Blueprint] // one for each of blueprints
	intents      tree[*intent]              // one for each domain that a blueprint names
	networks     tree[*held[Network]]
	byVNI        tree[*held[Network]]
	routers      tree[*held[Router]]
	byInterface  tree[joint]
	claims       tree[*held[Claim]]
	byAllowed    tree[permitted]
	endpoints    tree[*packed]
	byNetwork    tree[*packed]
	byKind       tree[spot]
	byHost       tree[bound]
	byAddress    tree[located]
	numbers      tree[numbered]
	byMAC        tree[*packed]
	byGroup      tree[membership]
	byParent     tree[*packed] // sub-ports
	hosts        tree[*held[Host]]
	byVTEP       tree[*held[Host]]
	joinTokens   tree[*held[JoinToken]]
	apiTokens    tree[*held[APIToken]]
	members      tree[*held[Member]]
	memberTokens tree[*held[MemberToken]]
	requests     tree[*held[Request]]
	byExpiry     tree[*held[Request]]
	classes      tree[*held[ClassAlloc]] // by digest of the signature
	byClass      tree[classified]
	classNext    tree[*held[ClassNext]]
	edges        tree[*held[Edge]]
	vnis         tree[*held[VNIAlloc]]
	ledgers      tree[*held[Ledger]]
	vteps        tree[*held[VTEPAlloc]]
}

// held is a document with the revision that wrote it.
type held[D any] struct {
	doc      D
	revision dove.Revision
	digest   string // of the signature, only in class ids: their key has it
}

// bound is an endpoint under a host of one of its bindings.
type bound struct {
	host     unique.Handle[dove.HostName]
	endpoint *packed
}

// at orders by host.
func (b bound) at(h dove.HostName) int { return cmp.Compare(b.host.Value(), h) }

// membership is an endpoint under one of its groups, by index.
type membership struct {
	endpoint *packed
	group    int
}

// New returns the world of an empty store.
func New() *World {
	return &World{
		memo:       &memo{},
		tenants:    newTree(byTenant),
		blueprints: newTree(byBlueprint),
		parsed: newTree(func(a, b *blueprint.Blueprint) int {
			return pair(a.Tenant, a.Name, b.Tenant, b.Name)
		}),
		intents:  newTree(func(a, b *intent) int { return compareDomain(a.domain, b.domain) }),
		networks: newTree(byNetworkName),
		byVNI:    newTree(ordered(func(a, b *Network) int { return cmp.Compare(a.VNI, b.VNI) }, byNetworkName)),
		routers:  newTree(byRouter),
		byInterface: newTree(func(a, b joint) int {
			if c := a.at(b.network()); c != 0 {
				return c
			}
			return byRouter(a.router, b.router)
		}),
		claims: newTree(byClaim),
		byAllowed: newTree(func(a, b permitted) int {
			if c := a.at(b.endpoint.networkOf(), b.prefix()); c != 0 {
				return c
			}
			return cmp.Or(byEndpoint(a.endpoint, b.endpoint), cmp.Compare(a.i, b.i))
		}),
		endpoints: newTree(byEndpoint),
		byNetwork: newTree(byNetwork),
		byKind:    newTree(bySpot),
		byHost: newTree(func(a, b bound) int {
			if a.host != b.host {
				return a.at(b.host.Value())
			}
			return byEndpoint(a.endpoint, b.endpoint)
		}),
		byMAC:     newTree(byMAC),
		byAddress: newTree(byPlace),
		numbers:   newTree(byNumbered),
		byGroup: newTree(func(a, b membership) int {
			if c := a.name().Compare(b.name()); c != 0 {
				return c
			}
			return byEndpoint(a.endpoint, b.endpoint)
		}),
		byParent:     newTree(bySubPort),
		hosts:        newTree(byHostName),
		byVTEP:       newTree(ordered(func(a, b *Host) int { return a.VTEP.Compare(b.VTEP) }, byHostName)),
		joinTokens:   newTree(byJoinToken),
		apiTokens:    newTree(byAPIToken),
		members:      newTree(byMember),
		memberTokens: newTree(byMemberToken),
		requests:     newTree(byRequest),
		byExpiry:     newTree(ordered(func(a, b *Request) int { return a.Expires.Compare(b.Expires) }, byRequest)),
		classes:      newTree(byDigest),
		byClass:      newTree(byClass),
		classNext:    newTree(byClassNext),
		edges:        newTree(func(a, b *held[Edge]) int { return compareDomain(a.doc.DomainOf(), b.doc.DomainOf()) }),
		vnis:         newTree(byVNIAlloc),
		ledgers:      newTree(func(a, b *held[Ledger]) int { return cmp.Compare(a.doc.Tenant, b.doc.Tenant) }),
		vteps:        newTree(func(a, b *held[VTEPAlloc]) int { return a.doc.VTEP.Compare(b.doc.VTEP) }),
	}
}

func (m membership) name() dove.Group { return m.endpoint.alike.groups[m.group] }

// Revision returns the revision of the last Apply; 0 for an empty store.
func (w *World) Revision() dove.Revision { return w.revision }

// Incarnation returns the store's incarnation, 0 before it has one.
func (w *World) Incarnation() uint64 { return w.meta.doc.Incarnation }

// Tenant returns a tenant's document.
func (w *World) Tenant(t dove.Tenant) (Tenant, bool) {
	return docOf(w.tenants.find(tenantAt(t)))
}

// Tenants yields all tenants.
func (w *World) Tenants() iter.Seq[Tenant] { return docs(w.tenants.all()) }

// Blueprint returns a blueprint's document.
func (w *World) Blueprint(t dove.Tenant, name string) (Blueprint, bool) {
	return docOf(w.blueprints.find(blueprintAt(t, name)))
}

// Blueprints yields a tenant's blueprints.
func (w *World) Blueprints(t dove.Tenant) iter.Seq[Blueprint] {
	return docs(w.blueprints.within(func(h *held[Blueprint]) int { return cmp.Compare(h.doc.Tenant, t) }))
}

// Parsed returns a blueprint as the value that its text says, nil if there is none.
func (w *World) Parsed(t dove.Tenant, name string) *blueprint.Blueprint {
	b, _ := w.parsed.find(func(b *blueprint.Blueprint) int { return pair(b.Tenant, b.Name, t, name) })
	return b
}

// ParsedOf yields all blueprints of a tenant as values.
func (w *World) ParsedOf(t dove.Tenant) iter.Seq[*blueprint.Blueprint] {
	return w.parsed.within(func(b *blueprint.Blueprint) int { return cmp.Compare(b.Tenant, t) })
}

// Network returns a network's document.
func (w *World) Network(n dove.Network) (Network, bool) {
	return docOf(w.networks.find(networkAt(n)))
}

// Networks yields a tenant's networks.
func (w *World) Networks(t dove.Tenant) iter.Seq[Network] {
	return docs(w.networks.within(func(h *held[Network]) int { return cmp.Compare(h.doc.Tenant, t) }))
}

// NetworkByVNI returns the network with a VNI.
func (w *World) NetworkByVNI(v dove.VNI) (Network, bool) {
	return docOf(w.byVNI.find(func(h *held[Network]) int { return cmp.Compare(h.doc.VNI, v) }))
}

// Endpoint returns an endpoint's document.
func (w *World) Endpoint(e dove.Endpoint) (Endpoint, bool) {
	return endpointOf(w.endpoints.find(endpointAt(e)))
}

// Endpoints yields a tenant's endpoints.
func (w *World) Endpoints(t dove.Tenant) iter.Seq[Endpoint] {
	return endpointsOf(w.endpoints.within(func(p *packed) int { return cmp.Compare(p.alike.tenant, t) }))
}

// EndpointAt returns the endpoint that has an address on the network with the VNI.
func (w *World) EndpointAt(v dove.VNI, addr netip.Addr) (Endpoint, bool) {
	h, ok := w.byVNI.find(func(h *held[Network]) int { return cmp.Compare(h.doc.VNI, v) })
	if !ok {
		return Endpoint{}, false
	}
	return w.EndpointOn(h.doc.Full(), addr)
}

// EndpointOn returns the endpoint that has an address on a network.
func (w *World) EndpointOn(n dove.Network, addr netip.Addr) (Endpoint, bool) {
	at := placeOf(w.number(n), addr)
	l, ok := w.byAddress.find(func(l located) int { return l.compare(at) })
	if !ok {
		return Endpoint{}, false
	}
	return l.endpoint.doc(), true
}

// EndpointByMAC returns the endpoint that has a MAC on a network.
func (w *World) EndpointByMAC(n dove.Network, mac dove.MAC) (Endpoint, bool) {
	return endpointOf(w.byMAC.find(func(p *packed) int { return p.at(n, mac) }))
}

// EndpointsOn yields the endpoints that are bound to a host, those of which it
// is the standby too.
func (w *World) EndpointsOn(h dove.HostName) iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		for b := range w.byHost.within(func(b bound) int { return b.at(h) }) {
			if !yield(b.endpoint.doc()) {
				return
			}
		}
	}
}

// CountOn counts what EndpointsOn yields without looking at each.
func (w *World) CountOn(h dove.HostName) int {
	at := func(b bound) int { return b.at(h) }
	return w.byHost.before(func(b bound) int { return cmp.Or(at(b), -1) }) - w.byHost.before(at)
}

// EndpointsIn yields the endpoints of a network.
func (w *World) EndpointsIn(n dove.Network) iter.Seq[Endpoint] {
	return endpointsOf(w.byNetwork.within(func(p *packed) int { return p.on(n) }))
}

// EndpointsOf yields the endpoints that are members of a group.
func (w *World) EndpointsOf(g dove.Group) iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		for m := range w.byGroup.within(func(m membership) int { return m.name().Compare(g) }) {
			if !yield(m.endpoint.doc()) {
				return
			}
		}
	}
}

// GroupsInUse yields the groups of one of a tenant's blueprints that have
// members, declared or not.
func (w *World) GroupsInUse(t dove.Tenant, blueprint string) iter.Seq[dove.Group] {
	return func(yield func(dove.Group) bool) {
		last := dove.Group{}
		for {
			m, ok := w.byGroup.find(func(m membership) int {
				g := m.name()
				if c := pair(g.Tenant, g.Blueprint, t, blueprint); c != 0 {
					return c
				}
				if g.Name <= last.Name {
					return -1
				}
				return 0
			})
			if !ok {
				return
			}
			if last = m.name(); !yield(last) {
				return
			}
		}
	}
}

// Counts says how many of each there are.
type Counts struct{ Tenants, Blueprints, Networks, Routers, Endpoints, Hosts int }

// Counts counts without looking at each.
func (w *World) Counts() Counts {
	return Counts{w.tenants.len(), w.blueprints.len(), w.networks.len(), w.routers.len(), w.endpoints.len(), w.hosts.len()}
}

// Host returns a host's document.
func (w *World) Host(h dove.HostName) (Host, bool) {
	return docOf(w.hosts.find(hostAt(h)))
}

// Hosts yields all hosts.
func (w *World) Hosts() iter.Seq[Host] { return docs(w.hosts.all()) }

// HostByVTEP returns the host with an underlay address.
func (w *World) HostByVTEP(addr netip.Addr) (Host, bool) {
	return docOf(w.byVTEP.find(func(h *held[Host]) int { return h.doc.VTEP.Compare(addr) }))
}

// JoinToken returns a join token's document. Expiry is the reader's concern.
func (w *World) JoinToken(id string) (JoinToken, bool) {
	return docOf(w.joinTokens.find(joinTokenAt(id)))
}

// JoinTokens yields all join tokens.
func (w *World) JoinTokens() iter.Seq[JoinToken] { return docs(w.joinTokens.all()) }

// APIToken returns an API token's document.
func (w *World) APIToken(id string) (APIToken, bool) {
	return docOf(w.apiTokens.find(apiTokenAt(id)))
}

// APITokens yields all API tokens.
func (w *World) APITokens() iter.Seq[APIToken] { return docs(w.apiTokens.all()) }

// Request returns what is kept of a write that a client gave an id; ID is the
// digest. Expiry is the reader's concern.
func (w *World) Request(token, id string) (Request, bool) {
	return docOf(w.requests.find(requestAt(token, id)))
}

// RequestsOf counts what is kept of an API token's writes, without looking at each.
func (w *World) RequestsOf(token string) int {
	before := w.requests.before(func(h *held[Request]) int { return cmp.Compare(h.doc.Token, token) })
	return w.requests.before(func(h *held[Request]) int { return cmp.Or(cmp.Compare(h.doc.Token, token), -1) }) - before
}

// RequestsUntil yields the kept writes that expire no later than a time, in
// order of expiry.
func (w *World) RequestsUntil(now time.Time) iter.Seq[Request] {
	return docs(w.byExpiry.within(func(h *held[Request]) int { return max(0, h.doc.Expires.Compare(now)) }))
}

// VNI returns who owns a VNI.
func (w *World) VNI(v dove.VNI) (VNIAlloc, bool) {
	return docOf(w.vnis.find(vniAt(v)))
}

// VNIs yields the VNIs from first on that have or had an owner.
func (w *World) VNIs(first dove.VNI) iter.Seq[VNIAlloc] {
	return docs(w.vnis.within(func(h *held[VNIAlloc]) int { return min(0, cmp.Compare(h.doc.VNI, first)) }))
}

// VNINext returns where the next search for a VNI begins.
func (w *World) VNINext() VNINext { return w.vniNext.doc }

func docOf[D any](h *held[D], ok bool) (D, bool) {
	if !ok {
		var none D
		return none, false
	}
	return h.doc, true
}

func docs[D any](all iter.Seq[*held[D]]) iter.Seq[D] {
	return func(yield func(D) bool) {
		for h := range all {
			if !yield(h.doc) {
				return
			}
		}
	}
}
