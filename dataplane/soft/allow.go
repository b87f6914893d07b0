package soft

import (
	"net/netip"

	"dove.network/dataplane"
	"dove.network/dove"
)

// end is what a port is as the one that has an address.
func (p *port) end(mac dove.MAC, class dove.Class) end {
	e := end{where: local, uid: p.UID, mac: mac, class: class, port: p.ID, other: p.Other, vni: p.VNI}
	if p.Standby {
		e.where, e.vtep = standby, p.Other
	}
	return e
}

// permits returns what the port is as one that is allowed an address which is none
// of its own: by the longest prefix that covers it, else by having no port security.
func (p *port) permits(addr netip.Addr) (end, bool) {
	a, ok := p.Permits(addr)
	if !ok {
		return end{}, false
	}
	e := p.end(a.MAC, a.Class)
	e.lent = true
	return e, true
}

// source returns who a guest's packet is from: nobody but its port may have the address.
func (s *Switch) source(t *transit) (end, bool) {
	claim := t.Announces && t.port.Claims(t.Src) // whoever has it now
	if e, ok := s.find(t.port.VNI, t.Src); ok && !claim && !s.returns(t, e) {
		return e, e.plugged() && !e.routed && e.port == t.port.ID
	}
	return t.port.permits(t.Src)
}

// spoofsMAC reports whether a guest's frame says that it is from a MAC which its
// sender may not use.
func (t *transit) spoofsMAC(src end, known bool) bool {
	if t.port.Open || t.SrcMAC == t.port.MAC && t.Sender == t.port.MAC {
		return false
	}
	return !known || t.SrcMAC != src.mac || t.Sender != src.mac
}

// byUID returns the port that has a peer of this host by what it is allowed.
func (s *Switch) byUID(e end, addr netip.Addr) (end, bool) {
	var first *port
	for _, p := range s.ports {
		if p.UID == e.uid && p.VNI == e.vni && (first == nil || p.ID < first.ID) {
			if _, ok := p.permits(addr); ok {
				first = p
			}
		}
	}
	if first == nil {
		return end{}, false
	}
	return first.permits(addr)
}

// byMAC returns the port that an overlay packet is for by the MAC that it is sent to,
// if one port alone has that MAC and is allowed something.
func (s *Switch) byMAC(vni dove.VNI, mac dove.MAC, addr netip.Addr) (end, bool) {
	var found *port
	for _, p := range s.ports {
		if p.VNI != vni || !p.Answers(mac) {
			continue
		}
		if found != nil {
			return end{}, false
		}
		found = p
	}
	if found == nil {
		return end{}, false
	}
	return found.permits(addr)
}

// claim tells of an address that a guest announces, if it is one that others may
// have too. Nothing changes until the DPC says so.
func (s *Switch) claim(t *transit) (dataplane.Outcome, []byte) {
	if !t.port.Claims(t.Src) {
		return s.drop(t, dataplane.NotUnicast, "")
	}
	if !t.port.bucket.take(s.clock(), s.limits) {
		return s.drop(t, dataplane.MissLimit, "")
	}
	s.claims = append(s.claims, dataplane.Claim{Port: t.port.ID, Addr: t.Src})
	return dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantClaim}, nil
}
