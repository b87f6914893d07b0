package edit

import (
	"fmt"

	"dove.network/dove"
	"dove.network/world"
)

// bind gives the endpoint to a host alone, under a new epoch, unless it is active there.
func (s *seat) bind(host dove.HostName) {
	if host == "" || host == s.doc.Host {
		return
	}
	there, exists := s.w.Host(host)
	if !exists {
		s.problems.add(dove.Invalid, "host", "make it with dovectl host create, or let it join", "unknown host %q", host)
		return
	}
	s.c.occupy(there)
	s.doc.Host, s.doc.Standby, s.doc.Activated = host, "", false
	s.doc.Epoch = nextEpoch(s.w, s.old)
}

// nextEpoch is greater than any epoch under the endpoint's name, also in
// earlier lives: each was decided on an earlier revision.
func nextEpoch(w *world.World, old world.Endpoint) dove.Epoch {
	return max(old.Epoch, dove.Epoch(w.Revision())) + 1
}

// BindEndpoint gives an endpoint to a host, under a new epoch, and ends a move that
// is under way. Nothing is changed if it is active there: a move goes on then, so
// that whoever says once more what is so loses no packets; FinishEndpoint ends it.
func BindEndpoint(w *world.World, name dove.Endpoint, host dove.HostName, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
	if host == "" {
		return dove.Txn{}, world.Endpoint{}, dove.Errorf(dove.Invalid, "binding endpoint %q: no host is named", name)
	}
	return rebind(w, name, ifMatch, func(s *seat) { s.bind(host) })
}

// UnbindEndpoint takes an endpoint from its host, if it has one, and from that
// of a standby.
func UnbindEndpoint(w *world.World, name dove.Endpoint, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
	return rebind(w, name, ifMatch, func(s *seat) { s.doc.Host, s.doc.Standby, s.doc.Activated = "", "", false })
}

func rebind(w *world.World, name dove.Endpoint, ifMatch *dove.Revision, change func(*seat)) (dove.Txn, world.Endpoint, error) {
	old, err := existing(w, name, ifMatch)
	if err != nil {
		return dove.Txn{}, world.Endpoint{}, err
	}
	if err := ownBindings(old); err != nil {
		return dove.Txn{}, world.Endpoint{}, err
	}
	s := seat{w: w, old: old, doc: old, exists: true, c: begin(w)}
	change(&s)
	s.settled()
	s.along()
	if err := s.problems.err(fmt.Sprintf("binding endpoint %q", name)); err != nil {
		return dove.Txn{}, world.Endpoint{}, err
	}
	if same(s.doc, old) {
		return dove.Txn{}, old, nil
	}
	s.c.put(s.doc)
	txn, err := s.c.done()
	return txn, s.doc, err
}

// DeleteEndpoint removes an endpoint. Its addresses are free at once; a class
// that nobody has any more is freed by Sweep.
func DeleteEndpoint(w *world.World, name dove.Endpoint, ifMatch *dove.Revision) (dove.Txn, error) {
	old, err := existing(w, name, ifMatch)
	if err == nil {
		err = trunkless(w, old)
	}
	if err != nil {
		return dove.Txn{}, err
	}
	c := begin(w)
	if parent, ok := w.Endpoint(old.ParentOf()); ok {
		c.put(parent)
	}
	c.delete(world.EndpointKey(name))
	return c.done()
}

func existing(w *world.World, name dove.Endpoint, ifMatch *dove.Revision) (world.Endpoint, error) {
	if err := match(w, fmt.Sprintf("endpoint %q", name), world.EndpointKey(name), ifMatch); err != nil {
		return world.Endpoint{}, err
	}
	e, exists := w.Endpoint(name)
	if !exists {
		return world.Endpoint{}, dove.Errorf(dove.NotFound, "there is no endpoint %q", name)
	}
	return e, nil
}
