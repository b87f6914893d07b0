package controller

import (
	"cmp"
	"maps"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// assignAll gives a session that opens all endpoints of its host, and takes
// away those that it has attached and that are not its own.
func (c *Core) assignAll(s *session, attached []control.EndpointUpdate) []control.Down {
	var taken, given []control.Down
	for e := range c.world.EndpointsOn(s.identity.Host) {
		if a := assignment(c.world, e, s.identity.Host); a != nil {
			s.ports[a.Endpoint] = &port{given: givenOf(a)}
			given = append(given, a)
		}
	}
	for _, u := range attached {
		switch p := s.ports[u.Endpoint]; {
		case p == nil:
			taken = append(taken, &control.Unassign{Revision: c.world.Revision(), Endpoint: u.Endpoint, Epoch: u.Epoch})
			s.take(u.Endpoint, u.Epoch, c.world.Revision())
		case p.epoch == u.Epoch:
			p.says(u)
		default:
			s.take(u.Endpoint, u.Epoch, c.world.Revision())
		}
	}
	return append(taken, given...)
}

// reassign tells the hosts of changed endpoints.
func (c *Core) reassign(delta world.Delta, news map[control.SessionID][]control.Down) {
	names := map[dove.Endpoint]bool{}
	hosts := map[dove.Endpoint][]dove.HostName{}
	concern := func(e *world.Endpoint) {
		if e == nil {
			return
		}
		for _, h := range e.Bindings() {
			if c.hosts[h] != nil {
				names[e.Full()] = true
				hosts[e.Full()] = append(hosts[e.Full()], h)
			}
		}
	}
	for _, change := range delta.Endpoints {
		concern(change.Old)
		concern(change.New)
	}
	for _, change := range delta.Networks {
		for e := range c.world.EndpointsIn(cmp.Or(change.New, change.Old).Full()) {
			concern(&e)
		}
	}
	for _, change := range delta.Hosts {
		if tunnel(change.Old) == tunnel(change.New) {
			continue
		}
		for e := range c.world.EndpointsOn(cmp.Or(change.New, change.Old).Name) {
			if e.Standby != "" {
				concern(&e) // it is the other host of the other one's assignment
			}
		}
	}
	for _, change := range delta.Routers {
		for _, r := range []*world.Router{change.Old, change.New} {
			for _, f := range interfaces(r) {
				for e := range c.world.EndpointsIn(r.NetworkOf(f)) {
					concern(&e)
				}
			}
		}
	}
	given := map[control.SessionID][]control.Down{}
	for _, name := range sortedEndpoints(names) {
		slices.Sort(hosts[name])
		for _, host := range slices.Compact(hosts[name]) {
			s := c.hosts[host]
			p := s.ports[name]
			var is *control.Assign
			if e, ok := c.world.Endpoint(name); ok && e.BoundTo(host) {
				is = assignment(c.world, e, host)
			}
			switch {
			case is == nil && p != nil:
				delete(s.ports, name) // what it was asked to carry may be on its way
				news[s.id] = append(news[s.id], &control.Unassign{Revision: c.world.Revision(), Endpoint: name, Epoch: p.epoch})
				s.take(name, p.epoch, c.world.Revision())
			case is != nil && (p == nil || p.given != givenOf(is)):
				switch {
				case p == nil:
					p = &port{}
					s.ports[name] = p
				case p.epoch != is.Epoch:
					s.take(name, p.epoch, c.world.Revision())
					*p = port{}
					delete(s.carries, name)
				}
				p.given = givenOf(is)
				given[s.id] = append(given[s.id], is)
			}
		}
	}
	for id, list := range given {
		news[id] = append(news[id], list...)
	}
}

// interfaces are those of a router, none of nil.
func interfaces(r *world.Router) []world.Interface {
	if r == nil {
		return nil
	}
	return r.Interfaces
}

func sortedEndpoints[V any](set map[dove.Endpoint]V) []dove.Endpoint {
	return slices.SortedFunc(maps.Keys(set), func(a, b dove.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
	})
}
