package dataplane

import (
	"net/netip"
	"time"

	"dove.network/dove"
)

// Reason says why a packet was dropped. The numbers are shared with the eBPF
// programs and with metrics: never renumber, only append.
type Reason uint8

// Reasons.
const (
	NotDropped      Reason = iota
	Malformed              // headers cut short or contradictory
	NoPort                 // the device has no assignment
	SpoofedMAC             // source MAC is not the port's
	SpoofedAddress         // source address is not one of the port's (ARP and ND included)
	NotUnicast             // broadcast or multicast that the switch does not answer
	NotIP                  // neither IPv4, IPv6 nor ARP
	Fragment               // a later fragment whose first has not passed in the last second and did not come, or one over its transport header
	ExtensionHeader        // IPv6 extension headers that are not carried: too many, too long, or of an old kind
	TooBig                 // longer than the network's MTU
	NoEndpoint             // nobody has the destination (or source) address
	Hidden                 // the peer's location is withheld: nothing here may talk to it
	Policy                 // a table said deny; the drop names the rule
	UnknownVTEP            // outer source is no member of the fleet
	UnknownNetwork         // the VNI has no port on this host
	NotHere                // inner destination is not a port of this host
	SourceMismatch         // outer source or class is not what the DPC says of the inner source
	BadOverlay             // VXLAN header without group policy, or with reserved bits
	MissLimit              // too many misses from this port
	HoldLimit              // held too long or too many held; no answer came
	FlowTableFull          // no room for another flow
	FlowBudget             // the port has as many flows as it may
	BadReply               // a reply that its flow cannot have (direction of ICMP echo)
	Underlay               // a guest sent to an address of the fleet itself
	EncapFailed            // the kernel could not encapsulate or decapsulate
	NotSwitched            // the host's own stack tried to send into a guest port
	Congested              // the underlay marked congestion, which its sender does not understand (RFC 6040)
	ErrorLimit             // too many ICMP errors about one flow
	NoRoute                // no router of the network leads to the destination
	TTLExpired             // it may not go further than to the router
	ToRouter               // to a router's own address, which answers nothing but echo
	UnknownTag             // a VLAN tag that no port of the device has, or two
	reasonEnd
)

var reasonNames = [reasonEnd]string{
	"not-dropped", "malformed", "no-port", "spoofed-mac", "spoofed-address", "not-unicast", "not-ip",
	"fragment", "extension-header", "too-big", "no-endpoint", "hidden", "policy", "unknown-vtep",
	"unknown-network", "not-here", "source-mismatch", "bad-overlay", "miss-limit", "hold-limit",
	"flow-table-full", "flow-budget", "bad-reply", "underlay", "encap-failed", "not-switched",
	"congested", "error-limit", "no-route", "ttl-expired", "to-router",
	"unknown-tag",
}

func (r Reason) String() string {
	if r < reasonEnd {
		return reasonNames[r]
	}
	return "unknown"
}

// Reasons counts the reasons that exist.
const Reasons = int(reasonEnd)

// Direction says which way a packet goes, as this host sees it.
type Direction uint8

// Directions.
const (
	FromGuest   Direction = 0 // a local port sent it
	FromOverlay Direction = 1 // it came through the tunnel
)

func (d Direction) String() string {
	if d == FromOverlay {
		return "from-overlay"
	}
	return "from-guest"
}

// Tuple is what identifies a packet's flow, in the packet's own direction.
// For ICMP echo, one port is the identifier and the other type<<8|code of the
// request: a request has SrcPort = id and DstPort = type<<8|code, a reply the
// reverse. Other ICMP has SrcPort 0 and DstPort = type<<8|code. Protocols
// without ports have 0 and 0.
type Tuple struct {
	VNI      dove.VNI // of the local port
	Src, Dst netip.Addr
	Protocol dove.Protocol
	SrcPort  uint16
	DstPort  uint16
}

// Want says what a missing packet lacks.
type Want uint8

// Wants.
const (
	WantPeer    Want = iota // the remote address is not known
	WantPair                // the class pair, or its table, is not known
	WantConfirm             // the overlay header contradicts what is known of the source
	WantFirst               // it is a later fragment, and its first one has not passed yet
	WantClaim               // nothing: it announces an address that others may have too, and is told as a Claim
	WantTurn                // nothing: an earlier one between the same addresses has missed, and it may not overtake it
	WantDenial              // to be asked for: a table denies what another host has let out, and nobody has asked about that table
)

// TurnFor is how long a packet that missed holds up those behind it, from when the
// first of them missed: longer than an answer takes, and short enough for an agent
// that is slow, or gone, not to hold up flows that go on.
const TurnFor = 300 * time.Millisecond

// Miss is a packet that the switch cannot judge yet. Local is the address of
// the local port that sends or receives it, Peer the other one. An ARP request
// or neighbour solicitation is a miss with Protocol 0.
type Miss struct {
	Port      PortID
	Direction Direction
	Want      Want
	Tuple     Tuple // zero Protocol and ports for ARP and ND
	Local     netip.Addr
	Peer      netip.Addr
	Frame     []byte // as Inject needs it back; opaque to the agent
}

// Queues reports whether later packets between the same addresses that no flow
// speaks for may not overtake the packet, until Inject or Discard is done with it.
// One that does not come from where its sender is holds up nobody's, and of
// fragments that are early another one is first.
func (m Miss) Queues() bool {
	return m.Tuple.Protocol != 0 && m.Want != WantConfirm && m.Want != WantFirst && m.Want != WantClaim
}

// Drop is a refused packet, sampled: at most about one a second for one tuple
// and reason. Rule is set where Reason is Policy. Log says that a rule wants it told:
// such drops have a share of their own of what a port may have told.
type Drop struct {
	At        time.Time
	Port      PortID // 0 where none is known
	Direction Direction
	Reason    Reason
	Rule      string
	Log       bool
	Tuple     Tuple
}

// Note is a flow that was judged by a verdict which wants that told: when it begins,
// or when what is told of it is another than before; of what is denied, and of what
// begins no flow, each packet. It comes from the switch that has the initiator, or,
// where that is behind a foreign VTEP, from the one that has the responder, and is
// sampled as drops are. What is denied and logged is a Drop.
type Note struct {
	At         time.Time
	Port       PortID
	Tuple      Tuple // in the initiator's direction
	Allow      bool
	Rule       string // what allows or denies it
	Log        bool   // a rule wants it told, and it is allowed
	Would      string // what would decide if rules in shadow counted; "": none of these
	WouldAllow bool
}

// Shadow counts, for a rule in shadow that tables in a domain have, what was judged
// where it would decide, as Note has it but of each: since the first of these tables
// was set, or the switch started.
type Shadow struct {
	Domain uint32
	Rule   string
	Since  time.Time
	Allow  uint64 // was denied, and would be allowed
	Deny   uint64 // was allowed, and would be denied
	Same   uint64 // the rule would say the same
}

// Count adds so many that were judged, and would be.
func (s *Shadow) Count(allow, would bool, n uint64) {
	switch {
	case allow == would:
		s.Same += n
	case would:
		s.Allow += n
	default:
		s.Deny += n
	}
}

// Hint is a packet from the overlay whose group id is not the class that this
// host holds of its source: one of the two hosts is behind. The packet was judged by
// what this host holds. Hints are sampled as drops are.
type Hint struct {
	Port  PortID // of the receiver
	Tuple Tuple
}

// Count is how many packets a reason, and where a table refused them a rule,
// has dropped at a port since the switch started. Port 0 counts what no port
// could be found for.
type Count struct {
	Port    PortID
	Reason  Reason
	Rule    string
	Packets uint64
	Bytes   uint64
}

// Flow is one entry of the flow table. Tuple is in the initiator's direction.
type Flow struct {
	Tuple   Tuple
	Rule    string // what allowed it
	Idle    time.Duration
	Packets uint64
	Bytes   uint64
}

// Action is what a switch did with one packet.
type Action uint8

// Actions.
const (
	Dropped   Action = iota
	Delivered        // to a local port
	Tunneled         // to another host
	Answered         // ARP or ND answered to the port it came from
	Missed           // to the agent
	Passed           // not ours: left to the host's stack
)

var actionNames = [...]string{"dropped", "delivered", "tunneled", "answered", "missed", "passed"}

func (a Action) String() string { return actionNames[a] }

// Outcome is what a switch did with one packet and why. Fields beyond Action
// are set where they mean something: Reason for Dropped; Rule for Dropped by
// Policy and for a new flow's Delivered or Tunneled; Port for Delivered and
// Answered; VTEP, VNI and Class for Tunneled; Want for Missed. Hinted says that
// the packet was (also) a Hint, sampled or not; Log, Would and WouldAllow that it was
// told as Note says, or, denied, as a Drop.
type Outcome struct {
	Action Action
	Reason Reason
	Rule   string
	Port   PortID
	VTEP   netip.Addr
	VNI    dove.VNI
	Class  dove.Class
	Want   Want
	Hinted bool

	Log        bool
	Would      string
	WouldAllow bool
}

// Sizes says how much a switch holds.
type Sizes struct {
	Ports, Peers, Absent, Pairs, Tables, VTEPs, Flows int
}
