package resolver

import (
	"iter"
	"maps"
	"slices"

	"dove.network/dove"
	"dove.network/world"
)

// presence is what a host has endpoints on: the classes of their addresses.
type presence struct {
	networks map[dove.VNI][]dove.Class // ascending
	domains  map[dove.Domain]map[dove.Class]bool
	reaches  map[classAt]bool // what View.reaches found

	// counts say of how many addresses it is so, as long as none of the host's classes,
	// networks and domains changes but by its endpoints; nil afterwards.
	counts map[stand]int
}

// stand is a class on a network, or with VNI 0 anywhere in the domain.
type stand struct {
	domain dove.Domain
	vni    dove.VNI
	class  dove.Class
}

func newPresence() *presence {
	return &presence{map[dove.VNI][]dove.Class{}, map[dove.Domain]map[dove.Class]bool{}, map[classAt]bool{}, map[stand]int{}}
}

// add notes that there are n more of a stand, or fewer, and reports whether that
// is another presence.
func (p *presence) add(s stand, n int) bool {
	before := p.counts[s]
	p.counts[s] += n
	if p.counts[s] == 0 {
		delete(p.counts, s)
	}
	if (before > 0) == (p.counts[s] > 0) {
		return false
	}
	clear(p.reaches)
	switch {
	case s.vni == 0 && before == 0:
		if p.domains[s.domain] == nil {
			p.domains[s.domain] = map[dove.Class]bool{}
		}
		p.domains[s.domain][s.class] = true
	case s.vni == 0:
		if delete(p.domains[s.domain], s.class); len(p.domains[s.domain]) == 0 {
			delete(p.domains, s.domain)
		}
	case before == 0:
		p.networks[s.vni] = with(p.networks[s.vni], s.class)
	default:
		drop(p.networks, s.vni, s.class)
	}
	return true
}

// lacks reports whether there are fewer of a stand than are to be taken away.
func (p *presence) lacks(changes map[stand]int) bool {
	for s, n := range changes {
		if p.counts[s]+n < 0 {
			return true
		}
	}
	return false
}

func (p *presence) equal(o *presence) bool {
	return maps.EqualFunc(p.networks, o.networks, slices.Equal) &&
		maps.EqualFunc(p.domains, o.domains, maps.Equal)
}

// stands yields what an endpoint adds to the presence of its hosts.
func (v *View) stands(w *world.World, e *world.Endpoint) iter.Seq[stand] {
	return func(yield func(stand) bool) {
		n, ok := w.Network(e.NetworkOf())
		if !ok {
			return
		}
		domain := n.DomainOf()
		for class := range v.classesOf(domain, e) {
			if !yield(stand{domain, n.VNI, class}) || !yield(stand{domain, 0, class}) {
				return
			}
		}
	}
}

// of returns what a host has endpoints on.
func (v *View) of(host dove.HostName) *presence {
	if v.present != nil && v.asker == host {
		return v.present
	}
	p := v.presence[host]
	if p == nil {
		p = v.found(host)
	}
	v.asker, v.present = host, p
	return p
}

// found looks what a host has endpoints on.
func (v *View) found(host dove.HostName) *presence {
	p := newPresence()
	for e := range v.world.EndpointsOn(host) {
		for s := range v.stands(v.world, &e) {
			p.add(s, 1)
		}
	}
	v.presence[host] = p
	return p
}

// leave forgets what a host has endpoints on.
func (v *View) leave(host dove.HostName) {
	delete(v.presence, host)
	v.present = nil
}

// shifted are the changes of stands by host, of those whose counts can follow them: all
// endpoints that changed have the classes that their documents say, before and after.
func (v *View) shifted(d world.Delta) map[dove.HostName]map[stand]int {
	all := map[dove.HostName]map[stand]int{}
	note := func(e *world.Endpoint, n int) {
		if e == nil {
			return
		}
		for _, h := range e.Bindings() {
			p := v.presence[h]
			if p == nil || p.counts == nil {
				continue
			}
			if all[h] == nil {
				all[h] = map[stand]int{}
			}
			for s := range v.stands(v.world, e) {
				all[h][s] += n
			}
		}
	}
	for _, c := range d.Endpoints {
		note(c.Old, -1)
		note(c.New, 1)
	}
	return all
}
