package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
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
	NoSession  []dove.HostName `json:"noSession,omitempty" doc:"Those of unanswered that have no session with a DPC member in reach, and could not be asked."`
	Foreign    []dove.HostName `json:"foreign,omitempty" doc:"Hosts with endpoints of the tenant that run no dSwitch: of their flows those are in the list that others tell of."`
	Lost       uint64          `json:"lost,omitempty" doc:"How many flows were left out because they are too many."`
}

// FlowFilter chooses flows; what is missing does not matter.
type FlowFilter struct {
	Endpoint dove.EndpointID `query:"endpoint" maxLength:"63" doc:"Only those from or to this endpoint."`
	Rule     string          `query:"rule" maxLength:"600" doc:"Only those that this rule allows or denies."`
	Protocol string          `query:"protocol" maxLength:"8" doc:"Only those of this protocol: tcp, udp, sctp, icmp, icmpv6 or a number from 1 to 255."`
}

// FlowEvent is one line of a watch of flows. Event says which of the others are
// there: new, ended, denied and logged tell of a flow, host of Host and Answers, lost of Count.
type FlowEvent struct {
	Event string    `json:"event" enum:"new,ended,denied,logged,lost,host" doc:"new and ended: a flow, told by the host of the first sender if that answers. denied: a packet, told by the host that dropped it, at most about one a second for one flow. logged: a flow that a policy allows which wants it told. lost: events were left out. host: a host begins or stops to answer."`
	At    time.Time `json:"at" doc:"When the DPC heard of it."`
	FlowEnds
	Rule    string        `json:"rule,omitempty" doc:"What allows the flow, or denied the packet."`
	Reason  string        `json:"reason,omitempty" doc:"Why the packet was dropped; of a host that does not answer: no-session, if it has none with a DPC member in reach."`
	Packets uint64        `json:"packets,omitempty" doc:"Of the flow that ended."`
	Bytes   uint64        `json:"bytes,omitempty"`
	Host    dove.HostName `json:"host,omitempty" doc:"Who told it, or whose answers begin or stop."`
	Answers *bool         `json:"answers,omitempty" doc:"False: what happens on the host is not told from now on."`
	Count   uint64        `json:"count,omitempty" doc:"How many events were left out."`
}

func (s *server) flows() {
	const path = "/v1/tenants/{tenant}/flows"
	tags := []string{"flows"}
	registerTenant(s, huma.Operation{
		OperationID: "list-flows", Method: http.MethodGet, Path: path, Tags: tags,
		Summary:     "List the flows that switches carry now",
		Description: "Asks every host that has endpoints of the tenant. What a host tells is shown if one end of it is an endpoint that is bound to it; names are those of the DPC.",
	}, func(ctx context.Context, in *struct {
		TenantPath
		FlowFilter
		Page
	}) (*struct{ Body Flows }, error) {
		wanted, err := in.FlowFilter.wanted()
		if err != nil {
			return nil, err
		}
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		if err := in.named(w, in.Tenant); err != nil {
			return nil, err
		}
		all, err := s.Backend.Flows(ctx, in.Tenant)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all.Flows, func(a, b control.LiveFlow) int { return cmp.Compare(flowKey(a), flowKey(b)) })
		chosen := where(slices.Values(all.Flows), func(f control.LiveFlow) bool { return wanted(f.Tuple, f.From, f.To, f.Rule) })
		part := list(w, in.Page, chosen, flowKey, renderFlow).Body
		return &struct{ Body Flows }{Flows{
			Revision: all.Revision, Items: part.Items, Next: part.Next,
			Unanswered: append([]dove.HostName{}, all.Unanswered...), NoSession: s.absent(all.Unanswered), Lost: all.Lost,
			Foreign: foreignHosts(w, in.Tenant),
		}}, nil
	})
	event := s.schema(reflect.TypeFor[FlowEvent]())
	registerTenant(s, huma.Operation{
		OperationID: "watch-flows", Method: http.MethodGet, Path: path + "/watch", Tags: tags,
		Summary:     "Watch what happens to flows",
		Description: "From now on, until the client ends it. What was lost is said, and so is which host does not answer.",
		Responses:   linesResponse(event),
	}, func(ctx context.Context, in *struct {
		TenantPath
		FlowFilter
	}) (*huma.StreamResponse, error) {
		wanted, err := in.wanted()
		if err != nil {
			return nil, err
		}
		w, err := s.readTenant(ctx, in.Tenant, Freshness{})
		if err != nil {
			return nil, err
		}
		if err := in.named(w, in.Tenant); err != nil {
			return nil, err
		}
		ctx = s.whileGood(ctx)
		news, err := s.Backend.Observe(ctx, in.Tenant)
		if err != nil {
			return nil, err
		}
		ended := newProblem(http.StatusServiceUnavailable, dove.Unavailable, "the DPC member stops: watch again", nil)
		return lines(func(yield func(FlowEvent) bool) {
			for n := range news {
				if s.revoked(ctx) != nil {
					break
				}
				if n.Event != nil && !wanted(n.Event.Tuple, n.From, n.To, n.Event.Rule) {
					continue
				}
				event := renderNews(n)
				if silent := event.Answers != nil && !*event.Answers; silent && len(s.absent([]dove.HostName{n.Host})) > 0 {
					event.Reason = noSession
				}
				if !yield(event) {
					return
				}
			}
			if refused := s.revoked(ctx); refused != nil { // while it watched
				*ended = *refused
			}
		}, ended), nil
	})
}

// foreignHosts returns the hosts without dSwitch that a tenant has endpoints on, in order.
func foreignHosts(w *world.World, t dove.Tenant) []dove.HostName {
	return slices.DeleteFunc(hostsOf(w.Endpoints(t)), func(h dove.HostName) bool { return !foreign(w, h) })
}

// noSession says of a host that it cannot be asked.
const noSession = "no-session"

// absent returns those hosts that have no session with a member in reach.
func (s *server) absent(hosts []dove.HostName) []dove.HostName {
	here := byHost(s.Backend.SessionsOf(hosts...))
	return slices.Collect(where(slices.Values(hosts), func(h dove.HostName) bool { return here[h] == nil }))
}

// wanted returns the test that the filter makes.
func (f FlowFilter) wanted() (func(t control.Tuple, from, to dove.Endpoint, rule string) bool, error) {
	protocol := dove.ProtocolAny
	if f.Protocol != "" {
		var err error
		if protocol, err = dove.ParseProtocol(f.Protocol); err != nil || protocol == dove.ProtocolAny {
			return nil, &dove.Error{Kind: dove.Invalid, Message: "the filter is not valid", Faults: []dove.Fault{{
				Path: "query.protocol", Message: f.Protocol + " is no protocol of a flow", Hint: "write tcp, udp, sctp, icmp, icmpv6 or a number from 1 to 255",
			}}}
		}
	}
	return func(t control.Tuple, from, to dove.Endpoint, rule string) bool {
		return (f.Protocol == "" || t.Protocol == protocol) && (f.Rule == "" || rule == f.Rule) &&
			(f.Endpoint == "" || from.ID == f.Endpoint || to.ID == f.Endpoint)
	}, nil
}

// named refuses what names nothing.
func (f FlowFilter) named(w *world.World, t dove.Tenant) error {
	n := names{w: w, tenant: t}
	n.endpoint(f.Endpoint)
	n.rule(f.Rule)
	return n.err()
}

// flowKey names a flow for paging.
func flowKey(f control.LiveFlow) string {
	t := f.Tuple
	return fmt.Sprintf("%d-%d-%s.%d-%s.%d", t.VNI, t.Protocol, t.Src, t.SrcPort, t.Dst, t.DstPort)
}

func renderEnds(t control.Tuple, n dove.Network, from, to dove.Endpoint) FlowEnds {
	return FlowEnds{
		Network: n.Name, Protocol: t.Protocol.String(), Src: t.Src.String(), SrcPort: t.SrcPort,
		Dst: t.Dst.String(), DstPort: t.DstPort, From: from.ID, To: to.ID,
	}
}

func renderFlow(f control.LiveFlow) LiveFlow {
	return LiveFlow{
		FlowEnds: renderEnds(f.Tuple, f.Network, f.From, f.To), Rule: f.Rule, Idle: f.Idle,
		Packets: f.Packets, Bytes: f.Bytes, Hosts: f.Hosts,
	}
}

func renderNews(n control.FlowNews) FlowEvent {
	out := FlowEvent{At: n.At, Host: n.Host}
	switch e := n.Event; {
	case e != nil:
		out.Event, out.FlowEnds = e.What.String(), renderEnds(e.Tuple, n.Network, n.From, n.To)
		out.Rule, out.Reason, out.Packets, out.Bytes = e.Rule, e.Reason, e.Packets, e.Bytes
	case n.Host != "":
		out.Event, out.Answers = "host", new(n.Answers)
	default:
		out.Event, out.Count = "lost", n.Lost
	}
	return out
}
