package edit

import (
	"fmt"

	"dove.network/dove"
	"dove.network/world"
)

// SubPortsMax bounds the sub-ports of one endpoint: what binds it binds them all,
// in one transaction.
const SubPortsMax = 64

// trunk makes a new endpoint a sub-port, if one is asked for: it is bound where its
// parent is. What is one stays one for life.
func (s *seat) trunk() {
	r := s.request
	s.doc.Parent, s.doc.VLAN = s.old.Parent, s.old.VLAN
	switch {
	case r.Parent == "" && r.VLAN == 0:
		return
	case s.exists && (r.Parent != "" && r.Parent != s.old.Parent || r.VLAN != 0 && r.VLAN != s.old.VLAN):
		is := "no sub-port"
		if s.old.Parent != "" {
			is = fmt.Sprintf("the sub-port of %q under VLAN %d", s.old.Parent, s.old.VLAN)
		}
		s.problems.add(dove.Conflict, "parent", "delete it and make it again", "endpoint %q is %s for life", s.doc.Full(), is)
		return
	case s.exists:
		return
	case r.Parent == "":
		s.problems.add(dove.Invalid, "parent", "name the endpoint by whose device the frames come", "VLAN %d is of no parent's", r.VLAN)
		return
	}
	if r.VLAN < 1 || r.VLAN > dove.VLANMax {
		s.problems.add(dove.Invalid, "vlan", "", "VLAN %d is not one of 1 to %d", r.VLAN, dove.VLANMax)
	}
	parent, exists := s.w.Endpoint(dove.Endpoint{Tenant: r.Tenant, ID: r.Parent})
	switch {
	case !exists || r.Parent == r.ID:
		s.problems.add(dove.Invalid, "parent", "make it first", "unknown endpoint %q", r.Parent)
		return
	case parent.Parent != "":
		s.problems.add(dove.Invalid, "parent", fmt.Sprintf("name %q", parent.Parent), "endpoint %q is a sub-port itself", r.Parent)
		return
	case parent.Standby != "":
		s.problems.add(dove.Conflict, "parent", "finish the move first", "endpoint %q moves between hosts %q and %q", r.Parent, parent.Host, parent.Standby)
	}
	n := 0
	for other := range s.w.SubPorts(parent.Full()) {
		if n++; other.VLAN == r.VLAN {
			s.problems.add(dove.Conflict, "vlan", "choose another one", "VLAN %d of endpoint %q is that of its sub-port %q", r.VLAN, r.Parent, other.ID)
		}
	}
	if n >= SubPortsMax {
		s.problems.add(dove.TooLarge, "parent", "", "endpoint %q has %d sub-ports, and more are not possible", r.Parent, n)
	}
	s.doc.Parent, s.doc.VLAN = r.Parent, r.VLAN
	if s.doc.Host = parent.Host; s.doc.Host != "" {
		s.doc.Epoch = nextEpoch(s.w, s.old)
	}
	s.c.put(parent) // who binds or deletes it at the same time must know of this one
}

// bound refuses a binding, or a device, of a sub-port's own.
func (s *seat) bound() {
	if s.doc.Parent == "" {
		return
	}
	if s.doc.Host != s.request.Host && s.request.Host != "" {
		s.problems.add(dove.Conflict, "host", fmt.Sprintf("bind %q", s.doc.Parent), "it is a sub-port, and bound where endpoint %q is", s.doc.Parent)
	}
	if s.request.Device != "" {
		s.problems.add(dove.Conflict, "device", "leave it out", "it is a sub-port, and its frames come by the device of endpoint %q", s.doc.Parent)
	}
}

// along gives the sub-ports of an endpoint the bindings that it has got.
func (s *seat) along() {
	old, doc := s.old, s.doc
	if !s.exists || doc.Host == old.Host && doc.Standby == old.Standby && doc.Activated == old.Activated && doc.Epoch == old.Epoch {
		return
	}
	with := []world.Endpoint{doc}
	for sub := range s.w.SubPorts(doc.Full()) {
		was := sub
		sub.Host, sub.Standby, sub.Activated = doc.Host, doc.Standby, doc.Activated
		if doc.Epoch != old.Epoch {
			sub.Epoch = nextEpoch(s.w, was)
		}
		one := seat{w: s.w, old: was, doc: sub, with: with}
		one.settled()
		with = append(with, sub)
		for _, f := range one.problems.faults {
			s.problems.add(one.problems.kind, f.Path, f.Hint, "its sub-port %q: %s", sub.ID, f.Message)
		}
		s.c.put(sub)
	}
}

// trunkless refuses to delete an endpoint that has sub-ports.
func trunkless(w *world.World, e world.Endpoint) error {
	names, more := some(w.SubPorts(e.Full()), func(sub world.Endpoint) string { return string(sub.ID) })
	if names == "" {
		return nil
	}
	return dove.Errorf(dove.Conflict, "endpoint %q has the sub-ports %s%s: delete them first", e.Full(), names, more)
}

// ownBindings refuses to bind a sub-port.
func ownBindings(e world.Endpoint) error {
	if e.Parent == "" {
		return nil
	}
	return dove.Errorf(dove.Conflict, "endpoint %q is a sub-port of %q, and bound where that is: bind that", e.Full(), e.ParentOf())
}
