package dataplane

import (
	"fmt"
	"net/netip"
	"time"

	"dove.network/dove"
	"dove.network/verdict"
)

// Config is what does not change while a switch runs.
type Config struct {
	VTEP     netip.Addr // this host's underlay address
	Underlay string     // name of the device that carries it
	DSCP     DSCP       // of outer headers
}

// CheckVTEP checks that an address can be another VTEP's: of the family of this
// host's own, or neither reaches the other.
func (c Config) CheckVTEP(a netip.Addr) error {
	if !a.IsValid() || a.Is4() != c.VTEP.Is4() || a.Is4In6() || a.Zone() != "" {
		return fmt.Errorf("VTEP %v: the underlay of this host has addresses like %v, and others do not reach it", a, c.VTEP)
	}
	return nil
}

// DSCP says how the outer header's is chosen. The zero value copies the inner
// packet's.
type DSCP struct {
	Fixed bool
	Value uint8 // if Fixed, 0 to 63
}

// TOS is the outer header's TOS for an inner one's. The sender's ECN is always
// copied, so that the underlay can mark it (RFC 6040).
func (d DSCP) TOS(inner uint8) uint8 {
	if !d.Fixed {
		return inner
	}
	return d.Value<<2 | inner&3
}

// PortID is the agent's handle of a local port, 1 to 65535.
type PortID uint32

// DeviceKind says how a port's device is delivered to.
type DeviceKind uint8

// Kinds of device.
const (
	Veth DeviceKind = 1 // the peer end is in another network namespace
	Tap  DeviceKind = 2
)

// Network is a segment that has a port on this host.
type Network struct {
	VNI    dove.VNI
	Domain uint32 // the agent's handle of the class space (dove.Domain), not 0
	MTU    uint16 // largest IP packet of a guest, bytes

	// Gateways are the interfaces of routers on it. The switch answers ARP,
	// neighbour discovery and echo for them; their addresses are nobody else's.
	Gateways []Gateway
}

// Address is one address of a port or peer, and its class in the domain.
type Address struct {
	Addr  netip.Addr
	Class dove.Class
}

// Port is a local endpoint with its device.
type Port struct {
	ID        PortID
	Endpoint  dove.Endpoint
	UID       dove.UID
	VNI       dove.VNI
	MAC       dove.MAC
	Addresses []Address
	Device    string // name in the switch's namespace
	Ifindex   int
	Kind      DeviceKind
	Other     netip.Addr // VTEP of the host of the endpoint's other binding; zero: none
	Allowed   []Allowed  // what it may send from and receive beside its addresses
	Open      bool       // port security is off: it may send from, and receives, what nobody else has
	Class     dove.Class // of an open port, for what it sends from addresses of neither list
	VLAN      uint16     // the tag of its frames on the device, 1 to 4094; 0: untagged. Ports that share a device differ in it
	Standby   bool       // it is active at Other: what arrives for it goes there; what it sends is carried as of any port
}

// PeerKey asks for an address as seen from a local network.
type PeerKey struct {
	VNI  dove.VNI
	Addr netip.Addr
}

// Peer is where and what an address is, as the DPC says. VTEP is the zero
// netip.Addr when the location is withheld because nothing here may talk to it,
// and then so is Other.
//
// With a Gateway the address is behind a router: a packet to it loses one of its
// TTL or hop limit, and what comes from it is delivered from the Gateway. If the VTEP
// is the switch's own, it leads to the port that has the address on network VNI.
type Peer struct {
	UID   dove.UID
	MAC   dove.MAC
	Class dove.Class
	VTEP  netip.Addr
	Other netip.Addr // VTEP of the host of its other binding: its packets may come from there too; zero: none

	VNI     dove.VNI // the network that it is on, 0: that of its key
	Gateway dove.MAC // zero: on the key's network itself; else the router's there
	Far     dove.MAC // the router's on VNI: source of what is sent to it
	MTU     uint16   // of VNI if it has a Gateway, 0: no less than that of the key's
	Ways    []Way    // further next hops as good as this one, of a static route
}

// PairKey is an ordered pair of classes in a domain.
type PairKey struct {
	Domain   uint32
	Src, Dst dove.Class
}

// Op is one change to what a switch holds: SetNetwork, DelNetwork, SetVTEP,
// DelVTEP, SetPort, DelPort, SetPeer, DelPeer, SetAbsent, DelAbsent, SetPair or DelPair.
type Op interface{ op() }

type (
	// SetNetwork adds or changes a network. It precedes its ports and peers.
	SetNetwork struct{ Network Network }
	// DelNetwork forgets a network that has no port and no peer left.
	DelNetwork struct{ VNI dove.VNI }
	// SetVTEP admits an underlay address as a member of the fleet. Foreign has no
	// switch of ours behind it: it may leave out the group policy id or send any,
	// and ask for local addresses by ARP and ND. Plain is sent VXLAN without group
	// policy id.
	SetVTEP struct {
		Addr           netip.Addr
		Foreign, Plain bool
	}
	// DelVTEP no longer accepts what comes from Addr.
	DelVTEP struct{ Addr netip.Addr }
	// SetPort attaches the switch's programs to the port's device and opens it.
	SetPort struct{ Port Port }
	// DelPort closes a port, forgets its flows and detaches.
	DelPort struct{ ID PortID }
	// SetPeer adds or changes a remote address. A changed UID ends its flows'
	// state; a changed Class has its flows judged again.
	SetPeer struct {
		Key  PeerKey
		Peer Peer
	}
	// DelPeer forgets a remote address: its next packet misses.
	DelPeer struct{ Key PeerKey }
	// SetAbsent says that nobody has the address; packets to or from it are
	// dropped as NoEndpoint for TTL, after which they miss again. With NoRoute
	// nobody could have it: it is of no subnet of the network and of none behind
	// its routers, and they are dropped as NoRoute.
	SetAbsent struct {
		Key     PeerKey
		TTL     time.Duration
		NoRoute bool
	}
	// DelAbsent takes a SetAbsent back.
	DelAbsent struct{ Key PeerKey }
	// SetPair sets the table of an ordered pair; its flows are judged again.
	SetPair struct {
		Key   PairKey
		Table *verdict.Table
	}
	// DelPair forgets a pair: its next packet, also of a known flow, misses.
	DelPair struct{ Key PairKey }
)

func (SetNetwork) op() {}
func (DelNetwork) op() {}
func (SetVTEP) op()    {}
func (DelVTEP) op()    {}
func (SetPort) op()    {}
func (DelPort) op()    {}
func (SetPeer) op()    {}
func (DelPeer) op()    {}
func (SetAbsent) op()  {}
func (DelAbsent) op()  {}
func (SetPair) op()    {}
func (DelPair) op()    {}
