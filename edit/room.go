package edit

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
)

// permits says how many prefixes a switch keeps of what an endpoint may send from beside its
// own addresses: each part of it that policies mention.
func permits(intent *policy.Domain, e world.Endpoint) int {
	parts := map[netip.Prefix]bool{}
	for _, span := range e.Spans()[len(e.Addresses):] {
		for _, p := range intent.Parts(span) {
			parts[p] = true
		}
	}
	return len(parts)
}

// permitsEnough is where permitsOn ceases to count: it is far too many.
const permitsEnough = 4 * dataplane.PermitsMax

// permitsOn adds that up over what is bound to a host, but for one endpoint; more than permitsEnough is
// not all. Intents stand for those of the world.
func permitsOn(w *world.World, host dove.HostName, but dove.Endpoint, intents map[dove.Domain]*policy.Domain) (n int) {
	for e := range w.EndpointsOn(host) {
		if len(e.Allowed) == 0 && !e.Open || e.Full() == but {
			continue
		}
		on, _ := w.Network(e.NetworkOf())
		intent := intents[on.DomainOf()]
		if intent == nil {
			intent = w.Domain(on.DomainOf())
		}
		if n += permits(intent, e); n > permitsEnough {
			break
		}
	}
	return n
}

// enough is what permitsOn counted, in words.
func enough(n int) string {
	if n > permitsEnough {
		return "more than " + strconv.Itoa(permitsEnough)
	}
	return strconv.Itoa(n)
}

// room refuses a host whose switch could not hold the endpoint beside what is there.
func (s *seat) room() {
	wide := len(s.doc.Allowed) > 0 || s.doc.Open
	for _, name := range s.doc.Bindings() {
		if h, _ := s.w.Host(name); h.Foreign {
			continue
		}
		var with []world.Endpoint // that come there too, and the world does not know of
		if !s.old.BoundTo(name) {
			with = s.with
		}
		if n := s.w.CountOn(name) + len(with); n >= dataplane.PortsMax && !s.old.BoundTo(name) {
			s.problems.add(dove.Conflict, "host", "bind it to another host", "host %q has %d endpoints, and its switch no more than %d ports", name, n, dataplane.PortsMax)
		}
		if !wide {
			continue
		}
		on, _ := s.w.Network(s.doc.NetworkOf())
		own := permits(s.w.Domain(on.DomainOf()), s.doc)
		n := permitsOn(s.w, name, s.doc.Full(), nil)
		for _, e := range with {
			on, _ := s.w.Network(e.NetworkOf())
			n += permits(s.w.Domain(on.DomainOf()), e)
		}
		if n+own > dataplane.PermitsMax {
			s.problems.add(dove.TooLarge, "allowed", "bind it to another host, or let policies mention fewer prefixes",
				"what it may send from has %d parts that policies mention, beside %d of other endpoints on host %q, whose switch holds %d", own, n, name, dataplane.PermitsMax)
		}
	}
}

// holds refuses an intent by which what endpoints of a domain may send from, beside their own addresses, has
// more parts than the switch of a host holds, if it is not so already.
func (c *change) holds(domain dove.Domain, intent *policy.Domain) error {
	hosts := map[dove.HostName]bool{}
	for e := range c.w.Wide(domain) {
		for _, h := range e.Bindings() {
			hosts[h] = true
		}
	}
	var p problems
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		n := permitsOn(c.w, name, dove.Endpoint{}, map[dove.Domain]*policy.Domain{domain: intent})
		if n > dataplane.PermitsMax && n > permitsOn(c.w, name, dove.Endpoint{}, nil) {
			p.add(dove.TooLarge, "outside", "mention fewer prefixes, or move endpoints without port security to other hosts",
				"what endpoints on host %q may send from would have %s parts that policies mention, and its switch holds %d", name, enough(n), dataplane.PermitsMax)
		}
	}
	return p.err("what policies of domain " + domain.Name + " mention")
}
