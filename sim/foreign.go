package sim

import (
	"net/netip"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/packet"
	"dove.network/world"
)

// bridge is what a host has that runs no dSwitch: its guests are joined with each
// other and with all hosts by a plain VXLAN device that floods what it does not
// know, and learns which MAC is where from what comes.
type bridge struct {
	learned map[station]netip.Addr
}

// station is a MAC on a network.
type station struct {
	vni dove.VNI
	mac dove.MAC
}

// AddForeign declares a host that runs no dSwitch and knows no group policy ids.
func (s *Sim) AddForeign(name dove.HostName) error {
	id, err := declare(s, name, len(s.hosts)+len(s.foreign)+1)
	if err != nil {
		return err
	}
	h := &host{sim: s, name: name, identity: id, devices: map[slot]*guest{}, bridge: &bridge{map[station]netip.Addr{}}}
	s.foreign = append(s.foreign, h)
	s.byName[name], s.byVTEP[id.VTEP] = h, h
	return s.Settle()
}

// declare makes host number n a foreign one.
func declare(e editor, name dove.HostName, n int) (control.Identity, error) {
	id := control.Identity{Host: name, VTEP: vtepOf(n)}
	_, err := e.Edit(func(w *world.World) (dove.Txn, error) {
		return first(edit.PutForeign(w, name, id.VTEP, true, nil))
	})
	return id, err
}

// forward takes a frame of a guest on a foreign host to whom it is for: to all, if
// that is not known.
func (h *host) forward(from *guest, frame []byte) {
	vni := from.network().VNI
	p, _ := packet.Parse(frame)
	for _, g := range h.guests(vni) {
		switch asks := p.Kind == packet.ARP || p.Kind == packet.Solicit; {
		case asks && g.takes(p.Dst):
			h.sim.soon(func() { from.receive(packet.Answer(p, g.mac)) })
			return
		case !asks && g.mac == p.DstMAC:
			h.sim.soon(func() { g.receive(frame) })
			return
		}
	}
	outer := packet.Outer{Src: h.identity.VTEP, SrcPort: p.SourcePort(), VNI: vni, Class: packet.NoClass}
	at, known := h.bridge.learned[station{vni, p.DstMAC}]
	for _, to := range h.sim.hosts {
		if known && to.identity.VTEP != at {
			continue
		}
		outer.Dst = to.identity.VTEP
		flooded := outer.Encap(frame)
		h.sim.soon(func() {
			h.sim.flooding = !known
			to.fromWire(flooded)
			h.sim.flooding = false
		})
	}
}

// admit takes a frame from the underlay on a foreign host.
func (h *host) admit(frame []byte) {
	outer, inner, fault := packet.Decap(frame)
	switch {
	case fault != packet.OK:
		h.sim.fault("%s is sent what is no VXLAN: %s", h.name, fault)
		return
	case outer.Class != packet.NoClass:
		h.sim.fault("%s is sent group policy id %d, which it does not know", h.name, outer.Class)
		return
	}
	p, _ := packet.Parse(inner)
	h.bridge.learned[station{outer.VNI, p.SrcMAC}] = outer.Src
	for _, g := range h.guests(outer.VNI) {
		if g.mac == p.DstMAC {
			h.sim.soon(func() { g.receive(inner) })
		}
	}
}

// guests returns those on a network.
func (h *host) guests(vni dove.VNI) (all []*guest) {
	for _, g := range h.devices {
		if g.network().VNI == vni {
			all = append(all, g)
		}
	}
	return all
}
