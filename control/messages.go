package control

import (
	"net/netip"
	"slices"
	"time"

	"dove.network/dove"
	"dove.network/verdict"
)

// Version is the protocol's version; both ends name theirs in the first message.
//
//	1: 2026-11-22: the first.
//	2: 2026-11-23: Inspect and Report.
//	3: 2026-11-23: Expect; two bindings of an endpoint, CarryRequest and Carry; rows behind routers;
//	   failures in Ack; foreign tunnels; what endpoints are allowed, Claim.
//	4: 2026-11-23: sub-ports; tables of format 2, which say what shadow, log and replies are.
//	5: 2026-11-23: Hello has a number; Members and Elsewhere; what members say to each other;
//	   what a rule wants told, ShadowReport; the class in a Question; Hello names the tunnels held;
//	   how long a session was paused.
const Version = 5

// Limits of one message. What is longer is split by Parts and Split.
const (
	MessageMax = 8 << 20 // encoded bytes
	RowsMax    = 4096    // rows, questions or keys in each list
	TextMax    = 1024    // bytes of a text for people
	HeldMax    = 1 << 17 // rows that one dSwitch may hold
	DelayMax   = time.Hour
)

// Up is a message from a dSwitch: *Hello, *Held, *PolicyRequest,
// *EndpointUpdate, *Ack, *Release, *Claim, *Report, *Carry or *Heartbeat.
type Up interface{ up() }

// Down is a message from a DPC member: *Welcome, *Assign, *Unassign, *Tunnels,
// *PolicyReply, *Update, *Expect, *Frontier, *Inspect, *CarryRequest, *Carry,
// *Members, *Elsewhere, *Refusal or *Heartbeat.
type Down interface{ down() }

// Hello opens a session. Incarnation and Seen say what the dSwitch knew last (0
// if nothing). Peers and Pairs list what it holds, by digest; a zero digest
// means "held, content forgotten". Attached lists the endpoints whose ports are open.
// Number, at most NumberMax, ascends with each session of the host, with whichever member: the latest counts.
// More says that Held messages continue the lists; SendHello and ReceiveHello
// split and join them.
type Hello struct {
	Version     int
	Number      uint64
	Host        dove.HostName
	VTEP        netip.Addr
	Software    string // "dswitch 0.1.0"
	Incarnation uint64
	Seen        dove.Revision
	Fleet       Digest // of the tunnels that it holds (FleetDigest)
	Peers       []HeldPeer
	Pairs       []HeldPair
	Attached    []EndpointUpdate
	More        bool
}

// Held continues the lists of a Hello. The last has no More.
type Held struct {
	Peers    []HeldPeer
	Pairs    []HeldPair
	Attached []EndpointUpdate
	More     bool
}

// HeldPeer is a peer row that a dSwitch holds.
type HeldPeer struct {
	Key    PeerKey
	Digest Digest
}

// HeldPair is a class pair that a dSwitch holds.
type HeldPair struct {
	Key    PairKey
	Digest Digest
}

// PolicyRequest asks; the reply repeats ID. Who asks counts as not holding the
// peer rows of the questions, whatever was sent before.
type PolicyRequest struct {
	ID        uint64
	Questions []Question
}

// Question is "may Local, an address bound to me on the network, talk with Peer,
// and where is it?". Outgoing says which of the two sent the first packet. It only orders the work: an answer holds both directions.
// Class is that of Local as the host was told: of several endpoints there that are allowed
// the address, one that has it is meant. 0: the first by name.
type Question struct {
	VNI      dove.VNI
	Local    netip.Addr
	Peer     netip.Addr
	Outgoing bool
	Class    dove.Class
}

// EndpointUpdate says what became of an assignment on the host. Standby repeats
// the assignment's once it is in force. Carried says that the flows which the
// other host carried for this epoch are in the switch, Flows of them, and that
// the rows which they need are too.
type EndpointUpdate struct {
	Endpoint dove.Endpoint
	Epoch    dove.Epoch
	State    EndpointState
	Device   string
	Detail   string // why, where State is not EndpointActive; else what was lost of the flows
	Standby  bool
	Carried  bool
	Flows    uint32
}

// EndpointState is the state of an assigned endpoint on its host.
type EndpointState uint8

// States of an endpoint.
const (
	EndpointWaiting EndpointState = 1 // assigned; its device is not there
	EndpointActive  EndpointState = 2 // assignment, spoof filter and port are in the switch
	EndpointFailed  EndpointState = 3 // the switch could not open the port
)

// Ack says that everything up to the frontier is enforced in the kernel, but for
// what failed, which the host tries again. It is said anew whenever what failed
// changes, with all that does then.
type Ack struct {
	Revision dove.Revision
	Failed   []Failure // ascending revisions, at most FailuresMax
}

// Failure is what a host could not do of a revision. Under revision 0 it is of
// earlier ones that the host does not name: because they are too many, or because
// it has started since. Those that it named before count as failed until it says
// nothing under 0.
type Failure struct {
	Revision dove.Revision
	Text     string // at most TextMax bytes
}

// FailuresMax bounds the failures of an Ack.
const FailuresMax = 64

// Release says that the dSwitch no longer holds these. It has seen the Expect
// messages up to the one with number Expected: what later ones bring is not meant.
type Release struct {
	Expected uint64
	Peers    []PeerKey
	Pairs    []PairKey
}

// Heartbeat keeps a quiet session alive, either way.
type Heartbeat struct{}

// Welcome answers Hello. Until the next Frontier follow the pairs of classes that
// changed meanwhile (Expect), all of the host's assignments, the full list of tunnels, and the held rows that differ; an
// assignment that is not among them is gone.
type Welcome struct {
	Version     int
	Member      string
	Incarnation uint64
	Revision    dove.Revision
}

// Assign gives the host one of its own endpoints. It replaces an assignment of
// the same endpoint with an older epoch or other content. Other is the host of
// the endpoint's other binding, zero if there is none or it cannot be reached;
// with Standby, the endpoint is active there.
type Assign struct {
	Revision dove.Revision
	Endpoint dove.Endpoint
	UID      dove.UID
	Epoch    dove.Epoch
	VNI      dove.VNI
	Network  dove.Network
	Domain   dove.Domain
	MTU      uint16
	MAC      dove.MAC
	Device   string // "" = either default name
	Address  []Address
	Subnets  []netip.Prefix
	Standby  bool
	Other    Tunnel
	Gateways []Gateway // interfaces of routers on the network
	Allowed  []Allowed
	Open     bool       // port security is off
	Class    dove.Class // with Open: of what it sends from addresses that are not told here

	// Parent is of a sub-port: its frames come by the device of that endpoint of the
	// same tenant, under the tag VLAN. "" and 0: it has a device of its own.
	Parent dove.EndpointID
	VLAN   uint16
}

// Allowed is what the endpoint may send from and gets beside its own addresses.
type Allowed struct {
	Prefix netip.Prefix
	MAC    dove.MAC // that it may use with it, zero: its own
	Class  dove.Class
}

// Claim says that the guest of an assignment announced an address that it is
// allowed. If that is a virtual address, it is the endpoint's from then on.
type Claim struct {
	Endpoint dove.Endpoint
	Epoch    dove.Epoch
	Addr     netip.Addr
}

// Gateway is a router's interface on a network.
type Gateway struct {
	MAC   dove.MAC
	Addrs []netip.Addr
}

// Address is an address and its class in the network's domain.
type Address struct {
	Addr  netip.Addr
	Class dove.Class
}

// Unassign takes an endpoint away: its port closes.
type Unassign struct {
	Revision dove.Revision
	Endpoint dove.Endpoint
	Epoch    dove.Epoch
}

// Tunnels lists the fleet's underlay addresses, that of the host too. Full means that
// what is not in Add is gone.
type Tunnels struct {
	Revision dove.Revision
	Full     bool
	Add      []Tunnel // at most TunnelsMax
	Del      []netip.Addr

	encoded []byte // once for all that it is sent to; nil: not yet
}

// TunnelsMax is how many hosts one fleet can have.
const TunnelsMax = 1 << 16

// Tunnel is a host and its underlay address. Foreign ones have no dSwitch, and
// Plain ones are sent no group policy id.
type Tunnel struct {
	Host           dove.HostName
	VTEP           netip.Addr
	Foreign, Plain bool
}

// PolicyReply answers the questions of one request, in their order, with the
// rows they need. Peers holds each answered peer's row; Pairs holds only what
// this session does not hold with equal content. Long replies come in several
// messages of one ID; each answers some of the questions, with all that these need.
// A dSwitch that lacks a pair after Found (it released it meanwhile) asks again.
type PolicyReply struct {
	ID       uint64
	Revision dove.Revision
	Answers  []Answer
	Peers    []Peer
	Pairs    []Pair
}

// Answer is what became of one question.
type Answer struct {
	Question Question
	Status   Status
	// Local and Peer are the classes of the two addresses where Status is Found.
	Local, Peer dove.Class
	Domain      dove.Domain
	Detail      string        // why, where Status is Refused or Retry
	After       time.Duration // ask again after, where Status is Retry; at most DelayMax
}

// Status of an answer.
type Status uint8

// Statuses.
const (
	Found      Status = 1 // the rows hold the answer
	NoEndpoint Status = 2 // nobody has the address: a negative row is held
	Refused    Status = 3 // Local is not bound to the asking host
	Retry      Status = 4 // the member cannot say yet
)

// Update says what changed of what the session holds. A dSwitch ignores rows
// that it does not hold: it released them meanwhile.
type Update struct {
	Revision dove.Revision
	Peers    []Peer
	Pairs    []Pair
}

// Expect brings rows that the dSwitch will need in a moment and has not asked
// for: a peer that is about to send, the pairs of a class that one of its rows
// is about to have. It holds them from now on, or says by Release that it does
// not. Number counts the messages of this kind in a session, from 1.
type Expect struct {
	Revision dove.Revision
	Number   uint64
	Peers    []Peer
	Pairs    []Pair
}

// NumberMax bounds the numbers of Hellos: hosts begin at nanoseconds since 1970 by their clock.
const NumberMax = 1 << 62

// Frontier says that all that concerned this session up to Revision was sent.
type Frontier struct{ Revision dove.Revision }

// Refusal is the last message of a session that the member ends: why, and
// whether asking again can help. Later is the number of a later session of the host, 0 if
// that is not why: the next Hello has a later one, whatever the host's clock says.
type Refusal struct {
	Kind    dove.Kind
	Message string
	Later   uint64
}

// Members lists where DPC members can be reached, "host:port" each, the sender
// too. It comes with Welcome and whenever that changes.
type Members struct{ Addresses []string }

// MembersMax bounds the list of Members.
const MembersMax = 64

// Elsewhere sends a session to another member, one of the addresses if there
// are any. In place of Welcome it is the last message. In an open session the dSwitch
// leaves once After is over, and may go on until then; it keeps all that it
// holds, and resumes by digest where it comes to. Both ends may close at any time.
type Elsewhere struct {
	Addresses []string
	Reason    string
	After     time.Duration // at most DelayMax
}

// PeerKey asks for an address as seen from a network.
type PeerKey struct {
	VNI  dove.VNI
	Addr netip.Addr
}

// PairKey is an ordered pair of classes of a domain.
type PairKey struct {
	Domain   dove.Domain
	Src, Dst dove.Class
}

// Peer is a row: what and where an address is. Absent rows are negative answers
// and have only Key, TTL and NoRoute. A TTL of 0, only in an Update, takes the row back:
// the dSwitch no longer holds anything of that key and asks when it needs to.
// Host is "" and VTEP the zero Addr where the location is withheld. Other is
// the VTEP of the host of its other binding, the zero Addr if there is none or
// the location is withheld.
//
// With a Gateway the address is behind a router, on another network or at the
// end of a static route, which may have several Ways of equal worth.
type Peer struct {
	Key      PeerKey
	Absent   bool
	TTL      time.Duration // of a negative answer, at most DelayMax
	NoRoute  bool          // of a negative answer: nothing leads to the address, whoever may have it
	Endpoint dove.Endpoint
	UID      dove.UID
	MAC      dove.MAC
	Domain   dove.Domain
	Class    dove.Class
	Host     dove.HostName
	VTEP     netip.Addr
	Other    netip.Addr

	Gateway dove.MAC // the router's on Key's network; zero: no router is between
	VNI     dove.VNI // behind a router: the network of the endpoint
	Far     dove.MAC // and the router's MAC there
	MTU     uint16   // and its MTU
	Ways    []Way    // further next hops of a static route, at most WaysMax
}

// WaysMax is how many further ways a row may have.
const WaysMax = 7

// Way is a further way to an address behind a router: what Peer says of the first.
type Way struct {
	Endpoint dove.Endpoint
	UID      dove.UID
	MAC      dove.MAC
	Class    dove.Class
	Host     dove.HostName
	VTEP     netip.Addr
	VNI      dove.VNI
	Far      dove.MAC
}

// Classes lists the class of the row, and those of its further ways.
func (p Peer) Classes() []dove.Class {
	all := []dove.Class{p.Class}
	for _, w := range p.Ways {
		all = append(all, w.Class)
	}
	return all
}

// FirstOf reports whether a further way is the first that has its class.
func (p *Peer) FirstOf(way int) bool {
	class := p.Ways[way].Class
	return class != p.Class && !slices.ContainsFunc(p.Ways[:way], func(w Way) bool { return w.Class == class })
}

// Equal reports whether two rows say the same.
func (p *Peer) Equal(o *Peer) bool {
	return p.Key == o.Key && p.Absent == o.Absent && p.TTL == o.TTL && p.NoRoute == o.NoRoute &&
		p.UID == o.UID && p.Class == o.Class && p.MAC == o.MAC && p.VTEP == o.VTEP && p.Other == o.Other &&
		p.Host == o.Host && p.Endpoint == o.Endpoint && p.Domain == o.Domain &&
		p.Gateway == o.Gateway && p.VNI == o.VNI && p.Far == o.Far && p.MTU == o.MTU && slices.Equal(p.Ways, o.Ways)
}

// Pair is a row: the table of an ordered pair of classes. A nil Table says that
// the pair no longer exists (a class is gone).
type Pair struct {
	Key   PairKey
	Table *verdict.Table
}

func (*Hello) up()          {}
func (*Held) up()           {}
func (*PolicyRequest) up()  {}
func (*EndpointUpdate) up() {}
func (*Ack) up()            {}
func (*Release) up()        {}
func (*Report) up()         {}
func (*Carry) up()          {}
func (*Claim) up()          {}
func (*Heartbeat) up()      {}

func (*Welcome) down()      {}
func (*Assign) down()       {}
func (*Unassign) down()     {}
func (*Tunnels) down()      {}
func (*PolicyReply) down()  {}
func (*Update) down()       {}
func (*Expect) down()       {}
func (*Frontier) down()     {}
func (*Inspect) down()      {}
func (*CarryRequest) down() {}
func (*Carry) down()        {}
func (*Members) down()      {}
func (*Elsewhere) down()    {}
func (*Refusal) down()      {}
func (*Heartbeat) down()    {}
