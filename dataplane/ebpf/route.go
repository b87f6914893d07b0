package ebpf

import (
	"errors"
	"fmt"
	"net/netip"

	"dove.network/dataplane"
	"dove.network/dove"
)

// local is an address of a port, as it is seen from a key's network.
func (s *Switch) local(id dataplane.PortID, k dataplane.PeerKey) dswitchDest {
	return s.portDest(s.ports[id], k)
}

func (s *Switch) portDest(p *port, k dataplane.PeerKey) dswitchDest {
	d := p.dest(k.Addr, s.networks[p.VNI])
	d.Vni = uint32(k.VNI)
	if p.Other.IsValid() {
		// Its VTEP is there before it is on standby, and after.
		d.Vtep, d.Hop = addrWords(p.Other), s.hopTo(p.Other)
		s.setOther(&d, p.Other)
	}
	return d
}

// setGateways replaces the gateways of a network.
func (s *Switch) setGateways(old []dataplane.Gateway, n dataplane.Network) error {
	var errs []error
	changed := map[dataplane.PeerKey]bool{}
	for _, g := range old {
		for _, a := range g.Addrs {
			key := dataplane.PeerKey{VNI: n.VNI, Addr: a}
			delete(s.routers, key)
			changed[key] = true
		}
		errs = append(errs, remove(s.maps.Gateways, gatewayKey(n.VNI, g.MAC)))
	}
	for _, g := range n.Gateways {
		for _, a := range g.Addrs {
			key := dataplane.PeerKey{VNI: n.VNI, Addr: a}
			s.routers[key] = g.MAC
			changed[key] = true
		}
		var v dswitchGateway
		if a := g.Addr(true); a.IsValid() {
			v.Addr4, v.Has = addrWords(a), gatewayV4
		}
		if a := g.Addr(false); a.IsValid() {
			v.Addr6, v.Has = addrWords(a), v.Has|gatewayV6
		}
		if err := update(s.maps.Gateways, gatewayKey(n.VNI, g.MAC), v); err != nil {
			errs = append(errs, fmt.Errorf("network %d: map gateways: %w", n.VNI, err))
		}
	}
	for key := range changed {
		errs = append(errs, s.put(key))
	}
	return errors.Join(errs...)
}

// GATEWAY_V4 and GATEWAY_V6.
const (
	gatewayV4 = 1
	gatewayV6 = 2
)

func gatewayKey(vni dove.VNI, mac dove.MAC) dswitchGatewayKey {
	return dswitchGatewayKey{Vni: uint32(vni), Mac: mac}
}

// follow has a peer of this host change with the port that has it.
func (s *Switch) follow(k dataplane.PeerKey) {
	for at := range s.leads(k) {
		if s.here[at] == nil {
			s.here[at] = map[dataplane.PeerKey]bool{}
		}
		s.here[at][k] = true
	}
}

func (s *Switch) unfollow(k dataplane.PeerKey) {
	for at := range s.leads(k) {
		delete(s.here[at], k)
		if len(s.here[at]) == 0 {
			delete(s.here, at)
		}
	}
}

// putAll puts an address of a port, and the peers that lead there.
func (s *Switch) putAll(k dataplane.PeerKey) error {
	err := s.put(k)
	for from := range s.here[k] {
		if from != k {
			err = errors.Join(err, s.put(from))
		}
	}
	return err
}

// peerAt reads back a peer behind a router, or one that leads to a port.
func (s *Switch) peerAt(d dswitchDest, r dswitchRoute) dataplane.Peer {
	p := peerOf(d)
	switch {
	case d.Kind == uint8(dswitchDestKindDEST_STANDBY) && d.Flags&destRouted == 0:
		p.Other = s.config.VTEP
	case d.Port != 0:
		p.VTEP, p.Other = s.config.VTEP, netip.Addr{}
	}
	if d.Flags&destRouted == 0 {
		return p
	}
	p.VNI, p.Gateway, p.Far, p.MTU = dove.VNI(r.Vni), r.Gateway, r.Far, r.Mtu
	return p
}

// adoptGateways reads the gateways back from what is left of them.
func (s *Switch) adoptGateways() error {
	var key dswitchGatewayKey
	var v dswitchGateway
	entries := s.maps.Gateways.Iterate()
	gateways := map[dataplane.PeerKey]bool{}
	for entries.Next(&key, &v) {
		n, ok := s.networks[dove.VNI(key.Vni)]
		if !ok {
			continue
		}
		g := dataplane.Gateway{MAC: key.Mac}
		if v.Has&gatewayV4 != 0 {
			g.Addrs = append(g.Addrs, mappedAddr(v.Addr4))
		}
		if v.Has&gatewayV6 != 0 {
			g.Addrs = append(g.Addrs, mappedAddr(v.Addr6))
		}
		for k, p := range s.places {
			if k.VNI == n.VNI && p.dest.Kind == uint8(dswitchDestKindDEST_ROUTER) && dove.MAC(p.dest.Mac) == g.MAC {
				s.routers[k] = g.MAC
				gateways[k] = true
				if k.Addr != g.Addr(k.Addr.Is4()) {
					g.Addrs = append(g.Addrs, k.Addr)
				}
			}
		}
		n.Gateways = append(n.Gateways, g)
		s.networks[n.VNI] = n
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map gateways: %w", err)
	}
	return nil
}
