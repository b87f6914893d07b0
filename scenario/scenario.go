package scenario

import (
	"net/netip"

	"dove.network/dove"
)

// Scenario is one file.
type Scenario struct {
	Name    string
	Hosts   []dove.HostName
	Foreign []dove.HostName // that run no dSwitch, but a plain VXLAN device
	Steps   []Step
}

// Step is an action and the line where it stands.
type Step struct {
	Line   int
	Action Action
}

// Action is what a step does or expects. String prints it as it stands in a file.
type Action interface {
	String() string
	action()
}

// ApplyBlueprint gives a tenant's document or a new version of it. The names
// of blueprint and domain are in the text. At says what is applied.
type ApplyBlueprint struct {
	Tenant dove.Tenant
	Text   string
}

// DeleteBlueprint withdraws a document.
type DeleteBlueprint struct {
	Tenant dove.Tenant
	Name   string
}

// CreateEndpoint makes an endpoint. Network "" stands for the one default
// network of its groups. With a Host, it is bound there and plugged in. A sub-port of
// Parent has none: it is where that is, and shares its device under the tag VLAN.
type CreateEndpoint struct {
	Endpoint  dove.Endpoint
	Groups    []dove.Group
	Network   string
	Host      dove.HostName
	Parent    dove.EndpointID
	VLAN      uint16 // 1 to 4094, 0: it is no sub-port
	Addresses []netip.Addr
	Allowed   []netip.Prefix // what it may send from and gets beside its addresses
	Labels    map[string]string
	Ports     map[string]dove.Port
}

// SetGroups replaces an endpoint's groups.
type SetGroups struct {
	Endpoint dove.Endpoint
	Groups   []dove.Group
}

// Move binds an endpoint to a host and plugs it in there.
type Move struct {
	Endpoint dove.Endpoint
	Host     dove.HostName
}

// Prepare gives an endpoint that is bound and plugged in a second binding, on
// standby at a host, and a second device there.
type Prepare struct {
	Endpoint dove.Endpoint
	Host     dove.HostName
}

// Activate makes an endpoint's standby host the active one, and the other way
// round. Once that is confirmed, the workload goes on at the device there.
type Activate struct{ Endpoint dove.Endpoint }

// Finish takes the standby binding away, and the device there.
type Finish struct{ Endpoint dove.Endpoint }

// Unplug takes an endpoint's device away; its binding stays.
type Unplug struct{ Endpoint dove.Endpoint }

// Plug brings the device back.
type Plug struct{ Endpoint dove.Endpoint }

// DeleteEndpoint ends an endpoint; its addresses are free.
type DeleteEndpoint struct{ Endpoint dove.Endpoint }

// Announce has an endpoint that is plugged in tell its network that an address is
// its own, as one does that takes over from another: by a gratuitous ARP, or by an
// unsolicited neighbour advertisement. It is done when the DPC says so, too.
type Announce struct {
	Endpoint dove.Endpoint
	Address  netip.Addr
}

// Refuse expects that a change is refused with the kind, that the error's text
// has each fragment, and that nothing has changed. Action is one of
// ApplyBlueprint, DeleteBlueprint, CreateNetwork, CreateEndpoint, SetGroups, Move, Prepare,
// Activate, Finish and DeleteEndpoint.
type Refuse struct {
	Kind      dove.Kind
	Fragments []string
	Action    Action
}

// SizeMin and SizeMax bound the bytes that a packet is expected to carry: room for
// who sends it, and what IPv4 can carry.
const (
	SizeMin = 200
	SizeMax = 65000
)

// Family restricts a probe to IPv4 or IPv6.
type Family uint8

// The families. AnyFamily stands for each that both ends have.
const (
	AnyFamily Family = iota
	IPv4
	IPv6
)

// Outcome is what becomes of a probe.
type Outcome uint8

// Outcomes.
const (
	// Allow: the probe arrives and the intended endpoint answers, by its own name.
	Allow Outcome = iota
	// Deny: nobody answers, and the drop is counted under the rule.
	Deny
	// NoEndpoint: nobody has the address, and the drop is counted as such.
	NoEndpoint
	// NoAnswer: nobody answers, and no switch says that it is denied or that
	// nobody is there. It happens only while something is stopped or cut: the
	// packet was lost on its way, or it was held for what the DPC would say.
	NoAnswer
	// TooBig: the packet is larger than the network's MTU, and its sender lets nobody
	// cut it up. It is dropped, and the sender is told the MTU.
	TooBig
	// NoReply: the probe arrives, and what answers it is denied by an end that keeps
	// no state: the drop is counted under the rule.
	NoReply
)

// Tells is whether a rule wants a probe told that it decides about.
type Tells uint8

// What is expected of it. AnyTells is nothing.
const (
	AnyTells Tells = iota
	Logged
	Unlogged
)

// Would is what would become of a probe if policies in shadow counted.
type Would uint8

// What is expected of it. AnyWould is nothing; WouldNothing is that no policy in shadow
// would decide.
const (
	AnyWould Would = iota
	WouldNothing
	WouldAllow
	WouldDeny
)

// Expect sends a first packet from an endpoint to another, or to an address on
// the sender's network, and compares what becomes of it. Every pair of the two
// ends' addresses of one family is tried. To is zero if nobody should have Address;
// with both, it is To that should get what is sent to Address. Rule is the name that
// the verdict must cite, "" for any. Size is how many bytes the packet carries, 0 for
// a few; the sender's kernel cuts up what is larger than the MTU. Echo requests, UDP
// and TCP have one, which is what goes each way; TCP sends it in segments. By are
// the next hops of a static route to Address: of many flows each takes some, and no
// other endpoint gets any. Log is whether the probe is told of, Would what policies in
// shadow would have made of it, and Shadow the one that would, "" for any.
type Expect struct {
	From, To dove.Endpoint
	Address  netip.Addr
	Probe    Probe
	Over     Family
	Outcome  Outcome
	Rule     string
	Size     uint16
	By       []dove.Endpoint
	Log      Tells
	Would    Would
	Shadow   string
}

// ExpectMatrix sends each probe from every plugged endpoint to every address
// that any plugged endpoint of any tenant has, and compares each answer with
// the oracle. Tenants use equal addresses, so the answer must come from the
// endpoint that has the address on the sender's own network: if it may talk to
// the sender, it answers by its own name; if it may not, nobody does; and if
// there is none, nobody does, whoever has the address elsewhere.
type ExpectMatrix struct{ Probes []Probe }

// OpenFlow starts a conversation that lasts, one for each family that both
// ends have (or the one of Over).
type OpenFlow struct {
	Name     string
	From, To dove.Endpoint
	Probe    Probe
	Over     Family
}

// ExpectFlow expects that packets of an open flow pass now, in both
// directions, or that none does. A flow that was blocked may never pass again,
// even where a new one would: its ends may have given up. With Back the end that
// did not begin it sends first: then only what switches remember lets it through.
type ExpectFlow struct {
	Name   string
	Passes bool
	Back   bool
}

// Forge sends one packet of the probe with a lie in it. It must not arrive, and
// the drop must be counted under Reason (dataplane's word for it).
type Forge struct {
	Lie      Lie
	From, To dove.Endpoint
	Probe    Probe
	Reason   string
}

// Lie says what is false about a forged packet.
type Lie string

// The lies. The first two are told by the guest From, the others by somebody on
// the underlay who sends an overlay frame to the host of To.
const (
	SpoofedMAC     Lie = "spoofed-mac"     // another source MAC than the port's
	SpoofedAddress Lie = "spoofed-address" // a source address that the port does not have
	WrongVTEP      Lie = "wrong-vtep"      // true inside, but sent by a host that From is not on
	WrongClass     Lie = "wrong-class"     // from the right host, with the class of the receiver
	WrongNetwork   Lie = "wrong-network"   // with a VNI that the host of To does not own
	UnknownVTEP    Lie = "unknown-vtep"    // true inside, but from no member of the fleet
)

var lies = []Lie{SpoofedMAC, SpoofedAddress, WrongVTEP, WrongClass, WrongNetwork, UnknownVTEP}

// Reasons are why a switch drops a packet, in dataplane's words.
var Reasons = []string{
	"malformed", "no-port", "spoofed-mac", "spoofed-address", "not-unicast", "not-ip",
	"fragment", "extension-header", "too-big", "no-endpoint", "hidden", "policy", "unknown-vtep",
	"unknown-network", "not-here", "source-mismatch", "bad-overlay", "miss-limit", "hold-limit",
	"flow-table-full", "flow-budget", "bad-reply", "underlay", "encap-failed", "not-switched",
	"congested", "error-limit", "no-route", "ttl-expired", "to-router",
	"unknown-tag",
}

func (ApplyBlueprint) action()  {}
func (DeleteBlueprint) action() {}
func (CreateEndpoint) action()  {}
func (SetGroups) action()       {}
func (Move) action()            {}
func (Prepare) action()         {}
func (Activate) action()        {}
func (Finish) action()          {}
func (Unplug) action()          {}
func (Plug) action()            {}
func (Announce) action()        {}
func (DeleteEndpoint) action()  {}
func (Refuse) action()          {}
func (Expect) action()          {}
func (ExpectMatrix) action()    {}
func (OpenFlow) action()        {}
func (ExpectFlow) action()      {}
func (Forge) action()           {}
