package world

import "iter"

// Keys yields the keys of all documents, those of each kind in order.
func (w *World) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		if w.meta.revision != 0 && !yield(MetaKey) || w.vniNext.revision != 0 && !yield(VNINextKey) {
			return
		}
		_ = keysOf(w.tenants, yield) && keysOf(w.blueprints, yield) && keysOf(w.networks, yield) && keysOf(w.routers, yield) &&
			keysOf(w.claims, yield) && endpointKeys(w.endpoints, yield) && keysOf(w.hosts, yield) && keysOf(w.joinTokens, yield) &&
			keysOf(w.apiTokens, yield) && keysOf(w.members, yield) && keysOf(w.memberTokens, yield) && keysOf(w.requests, yield) &&
			keysOf(w.classes, yield) && keysOf(w.classNext, yield) && keysOf(w.edges, yield) && keysOf(w.vnis, yield) && keysOf(w.ledgers, yield) && keysOf(w.vteps, yield)
	}
}

func keysOf[D Document](t tree[*held[D]], yield func(string) bool) bool {
	for h := range t.all() {
		if !yield(h.doc.Key()) {
			return false
		}
	}
	return true
}

func endpointKeys(t tree[*packed], yield func(string) bool) bool {
	for p := range t.all() {
		if !yield(EndpointKey(p.full())) {
			return false
		}
	}
	return true
}
