package world

import (
	"bytes"
	"strconv"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
)

// Apply returns the world in which docs were written and deleted at rev, and
// what that changed. Documents may come in any order, also before those that
// they refer to; of several with one key the last stands. The cost is that of docs, not of the
// world, plus that of compiling the domains whose blueprints are among them.
//
// The error is a *dove.Error of kind Internal that names the document that is not readable; then
// nothing was applied. A revision below the world's is an error too.
func (w *World) Apply(rev dove.Revision, docs []dove.Doc) (*World, Delta, error) {
	if rev < w.revision {
		return nil, Delta{}, dove.Errorf(dove.Internal, "revision %d comes after %d", rev, w.revision)
	}
	d := w.draft(rev)
	for _, doc := range docs {
		if err := d.apply(doc); err != nil {
			return nil, Delta{}, err
		}
	}
	d.compile()
	d.delta.settle()
	next := d.World // alone: who holds it does not hold what changed
	return &next, d.delta, nil
}

// DocRevision returns the revision that wrote the document with the key, 0 if
// there is none. It is the document's ETag.
func (w *World) DocRevision(key string) dove.Revision {
	kind, parts := splitKey(key)
	switch {
	case kind == "meta" && len(parts) == 0:
		return w.meta.revision
	case kind == "tenants" && len(parts) == 1:
		return revisionOf(w.tenants.find(tenantAt(dove.Tenant(parts[0]))))
	case kind == "blueprints" && len(parts) == 2:
		return revisionOf(w.blueprints.find(blueprintAt(dove.Tenant(parts[0]), parts[1])))
	case kind == "networks" && len(parts) == 2:
		return revisionOf(w.networks.find(networkAt(dove.Network{Tenant: dove.Tenant(parts[0]), Name: parts[1]})))
	case kind == "routers" && len(parts) == 2:
		return revisionOf(w.routers.find(routerAt(dove.Router{Tenant: dove.Tenant(parts[0]), Name: parts[1]})))
	case kind == "endpoints" && len(parts) == 2:
		if p, ok := w.endpoints.find(endpointAt(dove.Endpoint{Tenant: dove.Tenant(parts[0]), ID: dove.EndpointID(parts[1])})); ok {
			return p.revision
		}
		return 0
	case kind == "claims" && len(parts) == 3:
		return revisionOf(w.claims.find(claimAt(dove.Network{Tenant: dove.Tenant(parts[0]), Name: parts[1]}, parts[2])))
	case kind == "hosts" && len(parts) == 1:
		return revisionOf(w.hosts.find(hostAt(dove.HostName(parts[0]))))
	case kind == "join-tokens" && len(parts) == 1:
		return revisionOf(w.joinTokens.find(joinTokenAt(parts[0])))
	case kind == "api-tokens" && len(parts) == 1:
		return revisionOf(w.apiTokens.find(apiTokenAt(parts[0])))
	case kind == "members" && len(parts) == 1:
		return revisionOf(w.members.find(memberAt(parts[0])))
	case kind == "member-tokens" && len(parts) == 1:
		return revisionOf(w.memberTokens.find(memberTokenAt(parts[0])))
	case kind == "requests" && len(parts) == 2:
		return revisionOf(w.requests.find(requestAt(parts[0], parts[1])))
	case kind == "alloc/class" && len(parts) == 3:
		return revisionOf(w.classes.find(classAt(domainOf(parts), parts[2])))
	case kind == "alloc/class-next" && len(parts) == 2:
		return revisionOf(w.classNext.find(classNextAt(domainOf(parts))))
	case kind == "alloc/edge" && len(parts) == 2:
		return revisionOf(w.edges.find(edgeAt(domainOf(parts))))
	case kind == "alloc/vni" && len(parts) == 1:
		return revisionOf(w.vnis.find(vniAt(parseVNI(parts[0]))))
	case kind == "alloc/vni-next" && len(parts) == 0:
		return w.vniNext.revision
	case kind == "alloc/ledger" && len(parts) == 1:
		return revisionOf(w.ledgers.find(ledgerAt(dove.Tenant(parts[0]))))
	case kind == "alloc/vtep" && len(parts) == 1:
		return revisionOf(w.vteps.find(vtepAt(parts[0])))
	}
	return 0
}

// splitKey returns the folder that says what kind of document a key has, and
// the names in it; "" for what is no key of ours.
func splitKey(key string) (kind string, parts []string) {
	rest, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return "", nil
	}
	parts = strings.Split(rest, "/")
	if parts[0] == "alloc" && len(parts) > 1 {
		return parts[0] + "/" + parts[1], parts[2:]
	}
	return parts[0], parts[1:]
}

func domainOf(parts []string) dove.Domain {
	return dove.Domain{Tenant: dove.Tenant(parts[0]), Name: parts[1]}
}

// parseVNI returns 0, which is no VNI, for what is not a number.
func parseVNI(s string) dove.VNI {
	n, err := strconv.ParseUint(s, 10, 24)
	if err != nil {
		return 0
	}
	return dove.VNI(n)
}

func revisionOf[D any](h *held[D], ok bool) dove.Revision {
	if !ok {
		return 0
	}
	return h.revision
}

// draft is a World in the making.
type draft struct {
	World
	delta   Delta
	quiet   bool                 // nobody asks what changed
	changed map[dove.Domain]bool // whose intent must be compiled
}

// draft copies the world with every tree ready to change.
func (w *World) draft(rev dove.Revision) *draft {
	n := *w
	n.revision = rev
	n.generation++
	g := n.generation // no node has it yet: see tree
	n.tenants, n.blueprints, n.parsed, n.intents = n.tenants.edit(g), n.blueprints.edit(g), n.parsed.edit(g), n.intents.edit(g)
	n.networks, n.byVNI = n.networks.edit(g), n.byVNI.edit(g)
	n.claims, n.byAllowed = n.claims.edit(g), n.byAllowed.edit(g)
	n.routers, n.byInterface = n.routers.edit(g), n.byInterface.edit(g)
	n.endpoints, n.byNetwork, n.byKind, n.byHost = n.endpoints.edit(g), n.byNetwork.edit(g), n.byKind.edit(g), n.byHost.edit(g)
	n.byAddress, n.numbers, n.byMAC, n.byGroup = n.byAddress.edit(g), n.numbers.edit(g), n.byMAC.edit(g), n.byGroup.edit(g)
	n.byParent = n.byParent.edit(g)
	n.hosts, n.byVTEP = n.hosts.edit(g), n.byVTEP.edit(g)
	n.joinTokens, n.apiTokens = n.joinTokens.edit(g), n.apiTokens.edit(g)
	n.members, n.memberTokens = n.members.edit(g), n.memberTokens.edit(g)
	n.requests, n.byExpiry = n.requests.edit(g), n.byExpiry.edit(g)
	n.classes, n.byClass, n.classNext, n.edges, n.vnis = n.classes.edit(g), n.byClass.edit(g), n.classNext.edit(g), n.edges.edit(g), n.vnis.edit(g)
	n.ledgers, n.vteps = n.ledgers.edit(g), n.vteps.edit(g)
	return &draft{World: n, delta: Delta{Revision: rev}, changed: map[dove.Domain]bool{}}
}

// apply puts one document in its place.
func (d *draft) apply(doc dove.Doc) error {
	kind, parts := splitKey(doc.Key)
	switch {
	case kind == "meta" && len(parts) == 0:
		return d.applyMeta(doc)
	case kind == "tenants" && len(parts) == 1:
		old, _ := d.tenants.find(tenantAt(dove.Tenant(parts[0])))
		return replace(doc, old, &d.delta.Tenants, &d.tenants)
	case kind == "blueprints" && len(parts) == 2:
		return d.applyBlueprint(doc, dove.Tenant(parts[0]), parts[1])
	case kind == "networks" && len(parts) == 2:
		old, _ := d.networks.find(networkAt(dove.Network{Tenant: dove.Tenant(parts[0]), Name: parts[1]}))
		return replace(doc, old, &d.delta.Networks, &d.networks, &d.byVNI)
	case kind == "routers" && len(parts) == 2:
		return d.applyRouter(doc, dove.Router{Tenant: dove.Tenant(parts[0]), Name: parts[1]})
	case kind == "endpoints" && len(parts) == 2:
		return d.applyEndpoint(doc, dove.Endpoint{Tenant: dove.Tenant(parts[0]), ID: dove.EndpointID(parts[1])})
	case kind == "claims" && len(parts) == 3:
		old, _ := d.claims.find(claimAt(dove.Network{Tenant: dove.Tenant(parts[0]), Name: parts[1]}, parts[2]))
		return replace(doc, old, &d.delta.Claims, &d.claims)
	case kind == "hosts" && len(parts) == 1:
		old, _ := d.hosts.find(hostAt(dove.HostName(parts[0])))
		return replace(doc, old, &d.delta.Hosts, &d.hosts, &d.byVTEP)
	case kind == "join-tokens" && len(parts) == 1:
		old, _ := d.joinTokens.find(joinTokenAt(parts[0]))
		return replace(doc, old, &d.delta.JoinTokens, &d.joinTokens)
	case kind == "api-tokens" && len(parts) == 1:
		old, _ := d.apiTokens.find(apiTokenAt(parts[0]))
		return replace(doc, old, &d.delta.APITokens, &d.apiTokens)
	case kind == "members" && len(parts) == 1:
		old, _ := d.members.find(memberAt(parts[0]))
		return replace(doc, old, &d.delta.Members, &d.members)
	case kind == "member-tokens" && len(parts) == 1:
		old, _ := d.memberTokens.find(memberTokenAt(parts[0]))
		return replace(doc, old, nil, &d.memberTokens)
	case kind == "requests" && len(parts) == 2:
		old, _ := d.requests.find(requestAt(parts[0], parts[1]))
		return replace(doc, old, nil, &d.requests, &d.byExpiry)
	case kind == "alloc/class" && len(parts) == 3:
		return d.applyClass(doc, domainOf(parts), parts[2])
	case kind == "alloc/class-next" && len(parts) == 2:
		old, _ := d.classNext.find(classNextAt(domainOf(parts)))
		return replace(doc, old, nil, &d.classNext)
	case kind == "alloc/edge" && len(parts) == 2:
		old, _ := d.edges.find(edgeAt(domainOf(parts)))
		d.changed[domainOf(parts)] = true
		return replace(doc, old, nil, &d.edges)
	case kind == "alloc/vni" && len(parts) == 1:
		old, _ := d.vnis.find(vniAt(parseVNI(parts[0])))
		return replace(doc, old, &d.delta.VNIs, &d.vnis)
	case kind == "alloc/ledger" && len(parts) == 1:
		old, _ := d.ledgers.find(ledgerAt(dove.Tenant(parts[0])))
		return replace(doc, old, nil, &d.ledgers)
	case kind == "alloc/vtep" && len(parts) == 1:
		old, _ := d.vteps.find(vtepAt(parts[0]))
		return replace(doc, old, nil, &d.vteps)
	case kind == "alloc/vni-next" && len(parts) == 0:
		next, err := read[VNINext](doc)
		if err != nil {
			return err
		}
		d.vniNext = held[VNINext]{}
		if next != nil {
			d.vniNext = *next
		}
		return nil
	}
	return dove.Errorf(dove.Internal, "document %s at revision %d is of no kind known here: a newer controller may have written it", doc.Key, doc.Revision)
}

// read decodes a written document; nil for a deleted one.
func read[D Document](doc dove.Doc) (*held[D], error) {
	if doc.Value == nil {
		return nil, nil
	}
	h := &held[D]{revision: doc.Revision}
	if err := decode(doc, &h.doc); err != nil {
		return nil, err
	}
	return h, nil
}

// reread is read of a document that was there before. Many are written only so that writers
// collide, and say what they said.
func reread[D Document](doc dove.Doc, old *held[D]) (*held[D], error) {
	if old == nil || doc.Value == nil || !bytes.Equal(doc.Value, Put(old.doc).Value) {
		return read[D](doc)
	}
	same := *old
	same.revision = doc.Revision
	return &same, nil
}

// replace puts a document in the place of its old version, in all trees.
func replace[D Document](doc dove.Doc, old *held[D], changes *[]Change[D], trees ...*tree[*held[D]]) error {
	new, err := reread(doc, old)
	if err != nil {
		return err
	}
	if changes != nil {
		record(changes, old, new)
	}
	exchange(old, new, trees...)
	return nil
}

func exchange[D any](old, new *held[D], trees ...*tree[*held[D]]) {
	for _, t := range trees {
		if old != nil {
			t.remove(old)
		}
		if new != nil {
			t.put(new)
		}
	}
}

func (d *draft) applyMeta(doc dove.Doc) error {
	new, err := read[Meta](doc)
	if err != nil {
		return err
	}
	if new == nil {
		new = &held[Meta]{}
	}
	d.delta.Meta = d.delta.Meta || new.doc.Incarnation != d.meta.doc.Incarnation
	d.meta = *new
	return nil
}

func (d *draft) applyBlueprint(doc dove.Doc, tenant dove.Tenant, name string) error {
	old, _ := d.blueprints.find(blueprintAt(tenant, name))
	new, err := read[Blueprint](doc)
	if err != nil {
		return err
	}
	var parsed *blueprint.Blueprint
	if new != nil {
		parsed, err = d.World.stored(new.doc.Tenant, new.doc.Text)
		if err != nil {
			return dove.Errorf(dove.Internal, "document %s at revision %d is not a blueprint: %v (a newer controller may have written it)", doc.Key, doc.Revision, err)
		}
		if parsed.Name != name || parsed.Domain != new.doc.Domain {
			return dove.Errorf(dove.Internal, "document %s at revision %d says that it is blueprint %s of domain %s", doc.Key, doc.Revision, parsed.Name, parsed.Domain)
		}
		d.changed[new.doc.DomainOf()] = true
	}
	if old != nil {
		d.changed[old.doc.DomainOf()] = true
		d.parsed.remove(&blueprint.Blueprint{Tenant: tenant, Name: name})
	}
	if parsed != nil {
		d.parsed.put(parsed)
	}
	record(&d.delta.Blueprints, old, new)
	exchange(old, new, &d.blueprints)
	return nil
}
