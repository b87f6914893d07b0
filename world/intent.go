package world

import (
	"cmp"
	"iter"
	"net/netip"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
)

// intent is what the blueprints of one domain say, compiled.
type intent struct {
	domain   dove.Domain
	compiled *policy.Domain
}

// noIntent is that of a domain without blueprints: nothing is allowed.
var noIntent = policy.Compile(nil, time.Time{})

// classified is a class id with its signature as a value.
type classified struct {
	alloc     *held[ClassAlloc]
	signature policy.Signature
}

func byClass(a, b classified) int {
	if c := compareDomain(a.alloc.doc.DomainOf(), b.alloc.doc.DomainOf()); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.alloc.doc.Class, b.alloc.doc.Class), cmp.Compare(a.alloc.digest, b.alloc.digest))
}

// compile makes anew the intents of the domains whose blueprints or edges changed.
func (d *draft) compile() {
	for name := range d.changed {
		d.delta.Domains = append(d.delta.Domains, name)
		var all []*blueprint.Blueprint
		for b := range d.ParsedOf(name.Tenant) {
			if b.Domain == name.Name {
				all = append(all, b)
			}
		}
		before := d.Domain(name)
		if len(all) == 0 {
			d.intents.remove(&intent{domain: name})
		} else {
			d.intents.put(&intent{name, d.Compile(all, d.Edge(name))})
		}
		if after := d.Domain(name); !d.quiet && !after.Classifies(before) {
			d.reclass(name, before, after)
		}
	}
}

// applyClass puts the decision about one class id in its place.
func (d *draft) applyClass(doc dove.Doc, domain dove.Domain, digest string) error {
	old, _ := d.classes.find(classAt(domain, digest))
	new, err := read[ClassAlloc](doc)
	if err != nil {
		return err
	}
	if old != nil {
		d.byClass.remove(classified{alloc: old})
	}
	if new != nil {
		new.digest = digest
		signature, err := policy.ParseSignature(new.doc.Signature)
		if err != nil {
			return dove.Errorf(dove.Internal, "document %s at revision %d: %v", doc.Key, doc.Revision, err)
		}
		d.byClass.put(classified{new, signature})
	}
	record(&d.delta.Classes, old, new)
	exchange(old, new, &d.classes)
	return nil
}

// Edge returns the moment up to which policies of a domain have ended.
func (w *World) Edge(d dove.Domain) time.Time {
	h, ok := w.edges.find(edgeAt(d))
	if !ok {
		return time.Time{}
	}
	return h.doc.At
}

// EdgeDomains yields the domains that have an edge.
func (w *World) EdgeDomains() iter.Seq[dove.Domain] {
	return func(yield func(dove.Domain) bool) {
		for h := range w.edges.all() {
			if !yield(h.doc.DomainOf()) {
				return
			}
		}
	}
}

// Domain returns what the blueprints of a domain say at this revision. It is
// the same pointer as long as none of them is written and none of their policies
// ends; never nil.
func (w *World) Domain(d dove.Domain) *policy.Domain {
	i, ok := w.intents.find(func(i *intent) int { return compareDomain(i.domain, d) })
	if !ok {
		return noIntent
	}
	return i.compiled
}

// Domains yields the domains that a blueprint names.
func (w *World) Domains() iter.Seq[dove.Domain] {
	return func(yield func(dove.Domain) bool) {
		for i := range w.intents.all() {
			if !yield(i.domain) {
				return
			}
		}
	}
}

// ClassOf returns the class id of a signature in a domain.
func (w *World) ClassOf(d dove.Domain, s policy.Signature) (dove.Class, bool) {
	a, ok := w.ClassAlloc(d, s.Key())
	return a.Class, ok
}

// ClassAlloc returns the decision about a signature's key in a domain.
func (w *World) ClassAlloc(d dove.Domain, signature string) (ClassAlloc, bool) {
	return docOf(w.classes.find(classAt(d, classDigest(signature))))
}

// SignatureOf returns the signature that a class id stands for in a domain.
func (w *World) SignatureOf(d dove.Domain, c dove.Class) (policy.Signature, bool) {
	found, ok := w.byClass.find(func(x classified) int {
		if order := compareDomain(x.alloc.doc.DomainOf(), d); order != 0 {
			return order
		}
		return cmp.Compare(x.alloc.doc.Class, c)
	})
	return found.signature, ok
}

// Classes yields the class ids of a domain, resting ones too.
func (w *World) Classes(d dove.Domain) iter.Seq[ClassAlloc] {
	return func(yield func(ClassAlloc) bool) {
		for x := range w.byClass.within(func(x classified) int { return compareDomain(x.alloc.doc.DomainOf(), d) }) {
			if !yield(x.alloc.doc) {
				return
			}
		}
	}
}

// ClassCount counts the class ids of a domain, resting ones too, without looking at each.
func (w *World) ClassCount(d dove.Domain) int {
	at := func(x classified) int { return compareDomain(x.alloc.doc.DomainOf(), d) }
	return w.byClass.before(func(x classified) int { return cmp.Or(at(x), -1) }) - w.byClass.before(at)
}

// ClassNext returns where the next search for a class id of a domain begins.
func (w *World) ClassNext(d dove.Domain) ClassNext {
	n, ok := docOf(w.classNext.find(classNextAt(d)))
	if !ok {
		return ClassNext{Tenant: d.Tenant, Domain: d.Name}
	}
	return n
}

// ClassDomains yields the domains in which class ids were chosen.
func (w *World) ClassDomains() iter.Seq[dove.Domain] {
	return func(yield func(dove.Domain) bool) {
		for n := range w.classNext.all() {
			if !yield(n.doc.DomainOf()) {
				return
			}
		}
	}
}

// SignatureFor returns the signature of an address that an endpoint has, is
// allowed, or, with port security off, sends from. It is false if it has no such, or its network does not exist.
func (w *World) SignatureFor(e Endpoint, addr netip.Addr) (dove.Domain, policy.Signature, bool) {
	n, ok := w.networks.find(networkAt(e.NetworkOf()))
	if !ok || !e.Has(addr) {
		return dove.Domain{}, policy.Signature{}, false
	}
	domain := n.doc.DomainOf()
	return domain, w.Domain(domain).Signature(e.Member(), addr), true
}

// Member returns what the endpoint brings to policy.
func (e Endpoint) Member() policy.Member {
	return policy.Member{Groups: e.Groups, Labels: e.Labels, Ports: e.Ports, Open: e.Open}
}

// Spans returns what the endpoint may send from, as prefixes of which policy
// may see parts (policy.Domain.Parts): its addresses, those that it is allowed, and
// with port security off everything.
func (e Endpoint) Spans() []netip.Prefix {
	var all []netip.Prefix
	for _, a := range e.Addresses {
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, a := range e.Allowed {
		all = append(all, a.Prefix)
	}
	if e.Open {
		all = append(all, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return all
}

// Signatures returns the signatures of all that an endpoint may send from, by
// key, in a domain's words.
func (e Endpoint) Signatures(intent *policy.Domain) map[string]policy.Signature {
	all, member := map[string]policy.Signature{}, e.Member()
	for _, span := range e.Spans() {
		for _, part := range intent.Parts(span) {
			s := intent.SignatureIn(member, part)
			all[s.Key()] = s
		}
	}
	return all
}

// AddressClass returns the class of an endpoint's address in the domain of its
// network, or ClassNone where it has none.
func (w *World) AddressClass(e Endpoint, addr netip.Addr) dove.Class {
	domain, signature, ok := w.SignatureFor(e, addr)
	if !ok {
		return dove.ClassNone
	}
	c, _ := w.ClassOf(domain, signature)
	return c
}
