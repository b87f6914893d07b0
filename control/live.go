package control

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"dove.network/dove"
)

// Limits of what a host is asked to tell of itself.
const (
	ObserversMax  = 16      // observations of one host at a time
	EventsMax     = 512     // events in one Report
	ShadowsMax    = 256     // rules in shadow in one Report
	ExamplesMax   = 4       // of one of them
	HostFlowsMax  = 1 << 14 // flows that one host lists
	IdleMax       = 1 << 40 // of a flow, ms
	ReportAtLeast = 5 * time.Second
	ReportAtMost  = 500 * time.Millisecond
)

// Tuple is what a flow is known by, in the direction of its first packet. For
// ICMP and ICMPv6, SrcPort is the identifier and DstPort type<<8|code of the
// request; protocols without ports have 0 and 0.
type Tuple struct {
	VNI      dove.VNI
	Src, Dst netip.Addr
	Protocol dove.Protocol
	SrcPort  uint16
	DstPort  uint16
}

// Compare orders tuples by network, protocol and ends.
func (t Tuple) Compare(o Tuple) int {
	return cmp.Or(
		cmp.Compare(t.VNI, o.VNI), cmp.Compare(t.Protocol, o.Protocol),
		t.Src.Compare(o.Src), cmp.Compare(t.SrcPort, o.SrcPort),
		t.Dst.Compare(o.Dst), cmp.Compare(t.DstPort, o.DstPort),
	)
}

// Inspect asks a dSwitch what it does now. Reports repeat ID. Exactly one of
// the others is set:
// Probe asks for one Finding (SrcPort 0: any);
// FlowsOf asks for the flows on the networks of a tenant, once;
// ShadowsOf asks what rules in shadow would say in a tenant's domains, once;
// Observe asks for their events from now on: a Report every ReportAtLeast,
// without events if there are none, until the session ends or Stop comes;
// Stop ends the observation ID.
type Inspect struct {
	ID      uint64
	Probe   *Tuple
	FlowsOf dove.Tenant
	Observe dove.Tenant
	Stop    bool

	ShadowsOf dove.Tenant
}

// Report answers Inspect, or goes on with an observation. Seen is the revision
// of the last message that the dSwitch took. More says that another Report of
// the ID continues Flows. Lost counts the flows or events that were left out,
// because they are too many. Refused says why there is no answer, and ends an
// observation.
type Report struct {
	ID      uint64
	Seen    dove.Revision
	Finding *Finding
	Flows   []FlowReport
	Events  []FlowEvent
	More    bool
	Lost    uint64
	Refused string
	Shadows []ShadowReport // in order of Rule
}

// ShadowReport counts, for a rule in shadow, what the switch of the initiator judged
// where it would decide, in the last Age: Allow was denied and would be allowed, Deny
// the other way round, and of Same it would say the same. Examples are the newest of
// the first two, in the initiator's direction: FlowBegun what was allowed, or FlowDenied,
// with the rule that said so.
type ShadowReport struct {
	Rule              string
	Age               time.Duration
	Allow, Deny, Same uint64
	Examples          []FlowEvent
}

// Finding is what a switch would do with the first packet of a flow, by what is
// in force in it.
type Finding struct {
	Standing    Standing
	Rule        string      // that allows or denies it
	Forth, Back Digest      // of the tables that are in force; zero where none is
	Flow        *FlowReport // the entry of such a flow, if there is one
	Detail      string      // what is under way or fails, for people
}

// Standing is what a switch would do with a packet.
type Standing uint8

// Standings.
const (
	StandingAllow      Standing = 1 // let it pass
	StandingDeny       Standing = 2 // drop it, by a rule
	StandingAsk        Standing = 3 // hold it and ask the DPC
	StandingNoEndpoint Standing = 4 // drop it: nobody has the other address
	StandingHidden     Standing = 5 // drop it: the other end's location is withheld
	StandingUnassigned Standing = 6 // neither address is assigned to the host
	StandingNotActive  Standing = 7 // the endpoint is assigned, its port is not open
)

var standingNames = [...]string{"", "allow", "deny", "would-ask", "no-endpoint", "hidden", "unassigned", "not-active"}

func (s Standing) String() string {
	if int(s) < len(standingNames) && s > 0 {
		return standingNames[s]
	}
	return fmt.Sprintf("standing %d", uint8(s))
}

// FlowReport is one entry of a switch's flow table.
type FlowReport struct {
	Tuple   Tuple
	Rule    string // what allows it
	Idle    time.Duration
	Packets uint64
	Bytes   uint64
}

// FlowEvent is something that happened in a switch. A begun flow has Rule, an
// ended one the counts of its life too. A denied packet has Reason, and Rule
// where that is "policy"; Tuple is in its own direction. Logged is a flow that a rule which
// allows it wants told, in its initiator's direction.
type FlowEvent struct {
	What    What
	Tuple   Tuple
	Rule    string
	Reason  string // as package dataplane names it
	Packets uint64
	Bytes   uint64
}

// What happened.
type What uint8

// What can happen.
const (
	FlowBegun  What = 1
	FlowEnded  What = 2
	FlowDenied What = 3
	FlowLogged What = 4
)

var whatNames = [...]string{"", "new", "ended", "denied", "logged"}

func (w What) String() string {
	if int(w) < len(whatNames) && w > 0 {
		return whatNames[w]
	}
	return fmt.Sprintf("what %d", uint8(w))
}

// FlowList is what hosts say of the flows of a tenant, in order of Tuple.
type FlowList struct {
	Revision   dove.Revision // of the world that gave the names
	Flows      []LiveFlow
	Unanswered []dove.HostName // that have endpoints of the tenant and did not answer
	Lost       uint64          // flows left out, because they are too many
}

// ShadowList is what hosts say of the rules in shadow of a tenant, in order of Rule.
type ShadowList struct {
	Revision   dove.Revision // of the world that gave the names
	Shadows    []LiveShadow
	Unanswered []dove.HostName
}

// LiveShadow is what all hosts say of one rule in shadow; Age is the greatest.
type LiveShadow struct {
	Rule              string
	Age               time.Duration
	Allow, Deny, Same uint64
	Examples          []FlowNews
}

// LiveFlow is a flow with the names that the world gives its ends. From or To
// is the zero Endpoint where nobody has the address any more.
type LiveFlow struct {
	FlowReport
	Network  dove.Network
	From, To dove.Endpoint
	Hosts    []dove.HostName // that told of it
}

// FlowNews is one thing that somebody who observes a tenant's flows hears.
// Exactly one of Event, Host (alone) and Lost is set: Event comes with the
// names that the world gives and the Host that told of it; Host alone says
// whether a host with endpoints of the tenant answers from now on; Lost counts
// events that were left out.
type FlowNews struct {
	At       time.Time // when the member heard of it
	Event    *FlowEvent
	Network  dove.Network
	From, To dove.Endpoint // zero where nobody has the address
	Host     dove.HostName
	Answers  bool
	Lost     uint64
}
