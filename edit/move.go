package edit

import (
	"dove.network/dove"
	"dove.network/world"
)

// PrepareEndpoint gives an endpoint that is active on a host a second binding,
// on standby, to another one. Nothing is changed if it has that binding.
func PrepareEndpoint(w *world.World, name dove.Endpoint, host dove.HostName, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
	return rebind(w, name, ifMatch, func(s *seat) {
		there, exists := w.Host(host)
		here, _ := w.Host(s.doc.Host)
		switch e := s.doc; {
		case host == e.Standby && host != "":
		case !exists:
			s.problems.add(dove.Invalid, "host", "make it with dovectl host create, or let it join", "unknown host %q", host)
		case there.Foreign || here.Foreign:
			s.problems.add(dove.Conflict, "host", "bind it to the other host instead, which ends its flows", "a foreign host runs no dSwitch that a move could be agreed with")
		case e.Host == "":
			s.problems.add(dove.Conflict, "host", "bind it first", "it is on no host that it could move from")
		case e.Host == host:
			s.problems.add(dove.Conflict, "host", "prepare it on another one", "it is active on host %q already", host)
		case e.Standby != "":
			s.problems.add(dove.Conflict, "host", "finish that move first", "it moves between hosts %q and %q", e.Host, e.Standby)
		default:
			s.c.read(here.Key()) // it is not foreign
			s.c.occupy(there)
			s.doc.Standby, s.doc.Activated, s.doc.Epoch = host, false, nextEpoch(w, e)
		}
	})
}

// ActivateEndpoint makes the standby binding to a host the active one, and the
// active one the standby. Nothing is changed if the endpoint is active there.
func ActivateEndpoint(w *world.World, name dove.Endpoint, host dove.HostName, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
	return rebind(w, name, ifMatch, func(s *seat) {
		switch e := s.doc; {
		case host == e.Host && host != "":
		case host == "" || host != e.Standby:
			s.problems.add(dove.Conflict, "host", "prepare it there first", "it is not on standby on host %q", host)
		default:
			s.doc.Host, s.doc.Standby, s.doc.Activated, s.doc.Epoch = host, e.Host, true, nextEpoch(w, e)
		}
	})
}

// FinishEndpoint takes the standby binding to a host away: what moved stays
// where it is active. The error is dove.NotFound if there is no such binding.
func FinishEndpoint(w *world.World, name dove.Endpoint, host dove.HostName, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
	return rebind(w, name, ifMatch, func(s *seat) {
		switch e := s.doc; {
		case host != "" && host == e.Host:
			s.problems.add(dove.Conflict, "host", "activate it elsewhere first, or take it from all hosts by unbinding it", "it is active on host %q", host)
		case host == "" || host != e.Standby:
			s.problems.add(dove.NotFound, "host", "read the endpoint again", "it has no binding to host %q", host)
		default:
			s.doc.Standby, s.doc.Activated, s.doc.Epoch = "", false, nextEpoch(w, e)
		}
	})
}
