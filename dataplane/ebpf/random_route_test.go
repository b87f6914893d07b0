package ebpf

import (
	"net/netip"

	"dove.network/dataplane"
	"dove.network/dove"
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
}
