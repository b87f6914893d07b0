package ebpf

import (
	"maps"
	"net/netip"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// twinGateway is the interface that the world's router has on a network: its
// addresses are those of number 250.
func twinGateway(vni dove.VNI) dataplane.Gateway {
	return dataplane.Gateway{MAC: dove.MAC{2, 0xee, 0, 0, 0, byte(vni)}, Addrs: []netip.Addr{
		netip.AddrFrom4([4]byte{10, 0, 0, 250}), netip.AddrFrom16([16]byte{0: 0xfd, 15: 250}),
	}}
}

func (w *twins) network(vni dove.VNI, domain uint32, mtu uint16) dataplane.Network {
	n := dataplane.Network{VNI: vni, Domain: domain, MTU: mtu}
	if w.chance(90) {
		g := twinGateway(vni)
		g.Addrs = g.Addrs[:1+w.r.IntN(2)]
		n.Gateways = append(n.Gateways, g)
	}
	return n
}

// route puts a peer behind the router, mostly on the other network, and often at
// this host, where a port may have it.
func (w *twins) route(k dataplane.PeerKey, p *dataplane.Peer) {
	p.VNI = one(w.r, 0, twinVNIs[0], twinVNIs[1])
	if w.chance(70) {
		p.VNI = twinVNIs[0] + twinVNIs[1] - k.VNI
	}
	p.Gateway, p.Far = twinGateway(k.VNI).MAC, twinGateway(p.Network(k)).MAC
	p.MTU = one[uint16](w.r, 0, 0, 1450, 60, 90)
	if w.chance(60) {
		p.VTEP, p.Other = w.vteps[0], netip.Addr{}
	}
	if !w.chance(40) && !w.split {
		return
	}
	for n := range w.r.IntN(4) + w.r.IntN(5) { // a UID that is another way's is refused, now and then
		vni := one(w.r, twinVNIs...)
		p.Ways = append(p.Ways, dataplane.Way{
			UID: one(w.r, dove.UID(1), dove.UID(2), dove.UID(3+n), dove.UID(3+n), dove.UID(3+n)), MAC: twinMAC(1 + w.r.IntN(6)), Class: w.class(),
			VTEP: one(w.r, w.vteps[0], w.vteps[0], w.vteps[1], w.vteps[2], w.vteps[2], w.vteps[3], netip.Addr{}), VNI: vni, Far: twinGateway(vni).MAC,
		})
	}
}

// canBe reports whether each row's ways would lead to lives of their own after an op. The
// DPC never says otherwise: nobody is a next hop to an address that its network has an
// endpoint with, and which of two ways to one life a flow takes is nowhere said.
func (w *twins) canBe(op dataplane.Op) bool {
	ports, peers := maps.Clone(w.ports), maps.Clone(w.peers)
	switch op := op.(type) {
	case dataplane.SetPort:
		ports[op.Port.ID] = op.Port
	case dataplane.SetPeer:
		if (dataplane.Config{VTEP: w.vteps[0]}).CheckPeer(op.Key, op.Peer) != nil {
			return true // nothing changes by it
		}
		peers[op.Key] = op.Peer
	}
	owners := map[dataplane.PeerKey]dove.UID{}
	for _, p := range ports {
		for _, a := range p.Addresses {
			owners[dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr}] = p.UID
		}
	}
	for k, p := range peers {
		lives := map[dove.UID]bool{}
		for way := range waysOf(p) {
			life := way.UID
			if own, ok := owners[dataplane.PeerKey{VNI: way.Network(k), Addr: k.Addr}]; ok && way.VTEP == w.vteps[0] {
				life = own
			}
			if lives[life] {
				return false
			}
			lives[life] = true
		}
	}
	return true
}

// number is one of the six that ports and peers are made of, or one that is but
// allowed.
func (w *twins) number() int {
	if w.chance(12) {
		return 20
	}
	return 1 + w.r.IntN(6)
}

var twinPrefixes = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.4/30"), netip.MustParsePrefix("0.0.0.0/0"),
	netip.MustParsePrefix("10.0.0.20/32"), netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("10.0.0.6/32"),
	netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("fd00::/125"), netip.MustParsePrefix("::/0"),
	netip.MustParsePrefix("fd00::14/128"), netip.MustParsePrefix("fd00::5/128"),
}

// allow lets a port have more than its own addresses, now and then.
func (w *twins) allow(p *dataplane.Port) {
	if w.chance(15) {
		p.Open, p.Class = true, w.class()
	}
	if !w.chance(40) {
		return
	}
	for _, i := range w.r.Perm(len(twinPrefixes))[:1+w.r.IntN(4)] {
		a := dataplane.Allowed{Prefix: twinPrefixes[i], Class: w.class()}
		if w.chance(40) {
			a.MAC = twinMAC(1 + w.r.IntN(6))
		}
		p.Allowed = append(p.Allowed, a)
	}
}

// other makes a guest's packet one that only what it is allowed lets it send.
func (w *twins) other(p dataplane.Port, mac dove.MAC, src netip.Addr) (dove.MAC, netip.Addr) {
	if len(p.Allowed) == 0 && !p.Open || w.chance(60) {
		return mac, src
	}
	src = w.address(w.number())
	if a, ok := p.Permits(src); ok && w.chance(40) {
		mac = a.MAC
	} else if w.chance(15) {
		mac = twinMAC(1 + w.r.IntN(6))
	}
	return mac, src
}

// announcement says that an address is at a MAC, unasked.
func announcement(mac dove.MAC, addr netip.Addr, reply bool) []byte {
	e := packet.Ends{SrcMAC: mac, DstMAC: dove.MAC{255, 255, 255, 255, 255, 255}, Src: addr, Dst: addr}
	if addr.Is6() {
		e.DstMAC, e.Dst = dove.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1")
		return packet.Advertisement(e, addr)
	}
	if reply {
		return packet.ARPReply(e)
	}
	return packet.ARPRequest(mac, addr, addr)
}
