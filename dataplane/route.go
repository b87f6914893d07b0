package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// Gateway is the interface of a router on a network. What it tells guests comes
// from the first address of the packet's family.
type Gateway struct {
	MAC   dove.MAC
	Addrs []netip.Addr
}

// Equal reports whether two gateways have the same content.
func (g Gateway) Equal(o Gateway) bool { return g.MAC == o.MAC && slices.Equal(g.Addrs, o.Addrs) }

// Addr is what the gateway speaks from in a family, the zero Addr if it cannot.
func (g Gateway) Addr(v4 bool) netip.Addr {
	for _, a := range g.Addrs {
		if a.Is4() == v4 {
			return a
		}
	}
	return netip.Addr{}
}

// Equal reports whether two networks have the same content.
func (n Network) Equal(o Network) bool {
	return n.VNI == o.VNI && n.Domain == o.Domain && n.MTU == o.MTU && slices.EqualFunc(n.Gateways, o.Gateways, Gateway.Equal)
}

// CheckGateways says what a network's gateways cannot be.
func (n Network) CheckGateways() error {
	var errs []error
	macs, addrs := map[dove.MAC]bool{}, map[netip.Addr]bool{}
	for _, g := range n.Gateways {
		if !g.MAC.IsUnicast() || macs[g.MAC] {
			errs = append(errs, fmt.Errorf("network %d has a gateway with MAC %v: a unicast MAC of its own is needed", n.VNI, g.MAC))
		}
		macs[g.MAC] = true
		for _, a := range g.Addrs {
			if !plain(a) || addrs[a] {
				errs = append(errs, fmt.Errorf("network %d has a gateway with address %v: a plain unicast address of its own is needed", n.VNI, a))
			}
			addrs[a] = true
		}
	}
	return errors.Join(errs...)
}

func plain(a netip.Addr) bool {
	return a.IsValid() && !a.IsMulticast() && !a.IsUnspecified() && !a.Is4In6() && a.Zone() == ""
}

// Way is a next hop of a static route.
type Way struct {
	UID   dove.UID
	MAC   dove.MAC
	Class dove.Class
	VTEP  netip.Addr // zero: withheld
	VNI   dove.VNI   // 0: that of the peer's key
	Far   dove.MAC   // the router's on VNI
}

// WaysMost is how many further ways a Peer may have.
const WaysMost = 7

// Equal reports whether two peers have the same content.
func (p Peer) Equal(o Peer) bool {
	return p.UID == o.UID && p.MAC == o.MAC && p.Class == o.Class && p.VTEP == o.VTEP && p.Other == o.Other &&
		p.VNI == o.VNI && p.Gateway == o.Gateway && p.Far == o.Far && p.MTU == o.MTU && slices.Equal(p.Ways, o.Ways)
}

// Network is where the peer of a key is: what a packet to it carries in its header.
func (p Peer) Network(k PeerKey) dove.VNI {
	if p.VNI == 0 {
		return k.VNI
	}
	return p.VNI
}

// Routed reports whether the peer is behind a router.
func (p Peer) Routed() bool { return p.Gateway != dove.MAC{} }

// CheckRoute says what a peer behind a router cannot be, and what one behind none
// cannot have.
func (p Peer) CheckRoute(k PeerKey) error {
	if !p.Routed() {
		if p.VNI != 0 && p.VNI != k.VNI || p.Far != (dove.MAC{}) || p.MTU != 0 || len(p.Ways) > 0 {
			return fmt.Errorf("peer %v on network %d is on network %d, without the gateway that leads there", k.Addr, k.VNI, p.VNI)
		}
		return nil
	}
	var errs []error
	if !p.Gateway.IsUnicast() || !p.Far.IsUnicast() || p.VNI > dove.VNIMax {
		errs = append(errs, fmt.Errorf("peer %v on network %d is behind router %v, on network %d %v: unicast MACs are needed, and a VNI has 24 bits", k.Addr, k.VNI, p.Gateway, p.VNI, p.Far))
	}
	if len(p.Ways) > WaysMost {
		errs = append(errs, fmt.Errorf("peer %v on network %d has %d further ways: at most %d", k.Addr, k.VNI, len(p.Ways), WaysMost))
	}
	for _, w := range p.Ways {
		if !w.MAC.IsUnicast() || !w.Far.IsUnicast() || w.VNI > dove.VNIMax {
			errs = append(errs, fmt.Errorf("peer %v on network %d has a way over %v, from %v, on network %d: unicast MACs are needed, and a VNI has 24 bits", k.Addr, k.VNI, w.MAC, w.Far, w.VNI))
		}
	}
	return errors.Join(errs...)
}

// Allowed is what a port may send from, and what is delivered to it, beside its
// own addresses. A single address that several ports are allowed is a virtual
// one: it is whose the DPC says, after somebody claimed it.
type Allowed struct {
	Prefix netip.Prefix
	MAC    dove.MAC // that it may use beside its own, zero: none
	Class  dove.Class
}

// CheckAllowed says what a port cannot be allowed.
func (p Port) CheckAllowed() error {
	var errs []error
	seen := map[netip.Prefix]bool{}
	for _, a := range p.Allowed {
		switch {
		case !a.Prefix.IsValid() || a.Prefix != a.Prefix.Masked() || a.Prefix.Addr().Is4In6() || a.Prefix.Addr().IsMulticast() || seen[a.Prefix]:
			errs = append(errs, fmt.Errorf("port %d is allowed %v: a plain prefix that it has once is needed", p.ID, a.Prefix))
		case a.MAC != dove.MAC{} && !a.MAC.IsUnicast():
			errs = append(errs, fmt.Errorf("port %d is allowed %v with MAC %v: a unicast MAC is needed", p.ID, a.Prefix, a.MAC))
		}
		seen[a.Prefix] = true
	}
	return errors.Join(errs...)
}

// Permits says by what the port is allowed an address beside its own: the longest
// prefix that covers it, or else that its port security is off. The MAC is there.
func (p Port) Permits(addr netip.Addr) (Allowed, bool) {
	best := Allowed{Prefix: netip.PrefixFrom(addr, 0).Masked(), Class: p.Class}
	ok := p.Open
	for _, a := range p.Allowed {
		if a.Prefix.Contains(addr) && (!ok || a.Prefix.Bits() >= best.Prefix.Bits()) {
			best, ok = a, true
		}
	}
	if best.MAC == (dove.MAC{}) {
		best.MAC = p.MAC
	}
	return best, ok
}

// Answers reports whether a port that is allowed anything has a MAC.
func (p Port) Answers(mac dove.MAC) bool {
	if !p.Open && len(p.Allowed) == 0 {
		return false
	}
	return p.MAC == mac || slices.ContainsFunc(p.Allowed, func(a Allowed) bool { return a.MAC == mac })
}

// Claims reports whether a port may say that it has an address which others may
// have too.
func (p Port) Claims(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Allowed, func(a Allowed) bool { return a.Prefix == netip.PrefixFrom(addr, addr.BitLen()) })
}

// Claim says that the guest of a port announced an address that it is allowed
// (gratuitous ARP, or an unsolicited neighbour advertisement).
type Claim struct {
	Port PortID
	Addr netip.Addr
}
