package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"dove.network/dove"
)

// FlowBits says how far a flow's conversation got.
type FlowBits uint8

// The numbers are shared with the eBPF programs and with other hosts: never
// renumber, only append.
const (
	FlowReplied      FlowBits = 1 << iota // the responder has sent a packet
	FlowFinInitiator                      // TCP FIN sent
	FlowFinResponder
	FlowReset     // TCP RST sent
	FlowSYN       // it began with the first packet of a TCP connection
	FlowConfirmed // replied, and after FlowSYN the initiator went on
	flowBitsEnd
)

// FlowState is what is carried of a flow when its endpoint moves. Not carried is
// what policy said of it: whoever adopts it asks again.
type FlowState struct {
	Tuple Tuple // in the initiator's direction, of the port's network
	State FlowBits
	Idle  time.Duration // since its last packet
	UIDs  [2]dove.UID   // the initiator's and the responder's
}

// TimeOut is how long the flow lives without a packet.
func (f FlowState) TimeOut() time.Duration { return f.State.TimeOut(f.Tuple.Protocol) }

// TimeOut is how long a flow of a protocol lives without a packet.
func (b FlowBits) TimeOut(p dove.Protocol) time.Duration {
	const closed = FlowFinInitiator | FlowFinResponder
	tcp := p == dove.ProtocolTCP
	switch {
	case p.IsICMP():
		return 30 * time.Second
	case tcp && (b&FlowReset != 0 || b&closed == closed):
		return 10 * time.Second
	case b&FlowConfirmed == 0:
		return 30 * time.Second
	case !tcp || b&closed != 0:
		return 120 * time.Second
	}
	return 2 * time.Hour
}

// Check says what a flow cannot be, of a port on a network and with these
// addresses.
func (f FlowState) Check(p Port) error {
	t := f.Tuple
	switch {
	case !t.Src.IsValid() || !t.Dst.IsValid() || t.Src.Is4() != t.Dst.Is4() || t.Src.Is4In6() || t.Dst.Is4In6() || t.Src == t.Dst:
		return fmt.Errorf("flow %+v: two different addresses of one family are needed", t)
	case t.VNI != p.VNI:
		return fmt.Errorf("flow %+v: port %d is on network %d", t, p.ID, p.VNI)
	case !p.Speaks(t.Src, f.UIDs[0]) && !p.Speaks(t.Dst, f.UIDs[1]):
		return fmt.Errorf("flow %+v between endpoints %v: neither end is port %d, of endpoint %d", t, f.UIDs, p.ID, p.UID)
	case f.State >= flowBitsEnd || f.Idle < 0 || t.Protocol != dove.ProtocolTCP && f.State&^(FlowReplied|FlowConfirmed) != 0:
		return fmt.Errorf("flow %+v: state %#x and %v of idleness cannot be", t, uint8(f.State), f.Idle)
	}
	return nil
}

// Speaks reports whether an end of a flow, an address and the life of who had it, is
// the port's: its own address, or one that it is allowed.
func (p Port) Speaks(addr netip.Addr, life dove.UID) bool {
	if life != p.UID {
		return false
	}
	if slices.ContainsFunc(p.Addresses, func(a Address) bool { return a.Addr == addr }) {
		return true
	}
	_, allowed := p.Permits(addr)
	return allowed
}

// ErrNoPort is what Carried and Adopt say of a port that is not there.
var ErrNoPort = errors.New("the switch has no such port")
