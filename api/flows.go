package api

import (
	"time"

	"dove.network/dove"
)

// FlowEnds is what a flow is known by, in the direction of its first packet.
type FlowEnds struct {
	Network  string          `json:"network,omitempty"`
	Protocol string          `json:"protocol,omitempty"`
	Src      string          `json:"src,omitempty" doc:"The address that sent first."`
	SrcPort  uint16          `json:"srcPort,omitempty" doc:"For icmp and icmpv6 the identifier."`
	Dst      string          `json:"dst,omitempty"`
	DstPort  uint16          `json:"dstPort,omitempty" doc:"For icmp and icmpv6 type*256+code."`
	From     dove.EndpointID `json:"from,omitempty" doc:"The endpoint that has src; missing if none has it any more."`
	To       dove.EndpointID `json:"to,omitempty" doc:"The endpoint that has dst."`
}

// LiveFlow is a flow as switches carry it now.
type LiveFlow struct {
	FlowEnds
	Rule    string          `json:"rule,omitempty" doc:"What allows it."`
	Idle    time.Duration   `json:"idle" doc:"Since its last packet, in nanoseconds."`
	Packets uint64          `json:"packets" doc:"Of both directions, as the host of the first sender counts them if it is among hosts."`
	Bytes   uint64          `json:"bytes"`
	Hosts   []dove.HostName `json:"hosts" nullable:"false" doc:"The hosts that told of it: both, if it crosses the underlay."`
}

// Flows is a part of the flows of a tenant, in an order of their own.
type Flows struct {
	Revision   dove.Revision   `json:"revision" doc:"The revision of the names."`
	Items      []LiveFlow      `json:"items" nullable:"false"`
	Next       string          `json:"next,omitempty" doc:"Where the next part starts: give it as after. Missing at the end. Each part is asked of the hosts anew."`
	Unanswered []dove.HostName `json:"unanswered" nullable:"false" doc:"Hosts with endpoints of the tenant that did not answer: what flows there is not in the list."`
	Lost       uint64          `json:"lost,omitempty" doc:"How many flows were left out because they are too many."`
}

// FlowFilter chooses flows; what is missing does not matter.
type FlowFilter struct {
	Endpoint dove.EndpointID `query:"endpoint" maxLength:"63" doc:"Only those from or to this endpoint."`
	Rule     string          `query:"rule" maxLength:"600" doc:"Only those that this rule allows or denies."`
	Protocol string          `query:"protocol" maxLength:"8" doc:"Only those of this protocol: tcp, udp, sctp, icmp, icmpv6 or a number from 1 to 255."`
}

// FlowEvent is one line of a watch of flows. Event says which of the others are
// there: new, ended and denied tell of a flow, host of Host and Answers, lost of Count.
type FlowEvent struct {
	Event string    `json:"event" enum:"new,ended,denied,lost,host" doc:"new and ended: a flow, told by the host of the first sender if that answers. denied: a packet, told by the host that dropped it, at most about one a second for one flow. lost: events were left out. host: a host begins or stops to answer."`
	At    time.Time `json:"at" doc:"When the DPC heard of it."`
	FlowEnds
	Rule    string        `json:"rule,omitempty" doc:"What allows the flow, or denied the packet."`
	Reason  string        `json:"reason,omitempty" doc:"Why the packet was dropped."`
	Packets uint64        `json:"packets,omitempty" doc:"Of the flow that ended."`
	Bytes   uint64        `json:"bytes,omitempty"`
	Host    dove.HostName `json:"host,omitempty" doc:"Who told it, or whose answers begin or stop."`
	Answers *bool         `json:"answers,omitempty" doc:"False: what happens on the host is not told from now on."`
	Count   uint64        `json:"count,omitempty" doc:"How many events were left out."`
}
