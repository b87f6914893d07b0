package api

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/explain"
	"dove.network/verdict"
)

// Why says what would become of a flow, and why.
type Why struct {
	Revision  dove.Revision `json:"revision" doc:"The revision that it is judged at."`
	Reaches   bool          `json:"reaches" doc:"Allowed, and nothing else is in the way."`
	Allowed   bool          `json:"allowed" doc:"The verdict of policy."`
	Rule      string        `json:"rule" doc:"What gave the verdict: BLUEPRINT/POLICY, BLUEPRINT/GROUP/members, BLUEPRINT/GROUP/default, port-security-off, or default-deny."`
	Nearest   string        `json:"nearest,omitempty" doc:"Denied and no policy says so: the rule that came nearest to allowing it."`
	Failed    string        `json:"failed,omitempty" doc:"The terms of that rule that it failed, such as: to, port."`
	Because   []WhyFailed   `json:"because,omitempty" doc:"What each of those terms is."`
	Shadow    *WhyShadow    `json:"shadow,omitempty" doc:"What a policy in shadow would say; missing if none would decide."`
	NoReply   []WhyNoReply  `json:"noReply,omitempty" doc:"Allowed, but an end keeps no state and denies what answers: where."`
	Obstacles []string      `json:"obstacles" nullable:"false" doc:"What besides policy keeps packets from arriving."`
	Protocol  string        `json:"protocol"`
	Port      uint16        `json:"port" doc:"Destination port; for icmp and icmpv6 type*256+code; 0 for protocols without."`
	Domain    string        `json:"domain,omitempty" doc:"Of both; missing if they are not of one."`
	Router    string        `json:"router,omitempty" doc:"The router that joins their networks; missing if they are on one, or none does."`
	Forth     string        `json:"forth,omitempty" doc:"Names the table from one to the other by its content, as switches hold it."`
	Back      string        `json:"back,omitempty" doc:"Names the table of the other direction."`
	From      WhyPlace      `json:"from"`
	To        WhyPlace      `json:"to"`
	Live      []WhyLive     `json:"live,omitempty" doc:"What the switches of both ends do at this moment, the sender's first. Missing if nobody asked for it."`
}

// WhyShadow is what would be said if policies in shadow counted.
type WhyShadow struct {
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule"`
}

// WhyNoReply is ports of the sender at which it gets no answer.
type WhyNoReply struct {
	Ports string `json:"ports" example:"1-1023" doc:"A port or a range; any for all, and for protocols without ports."`
	Rule  string `json:"rule" doc:"What denies the answer."`
}

// WhyFailed is a term of a rule that a packet fails.
type WhyFailed struct {
	Term string `json:"term" enum:"from,to,protocol,port,family,priority,default,side,until,shadow,isolated"`
	Says string `json:"says" doc:"What the rule wants, in words."`
}

// WhyPlace is what and where one end is.
type WhyPlace struct {
	Tenant   dove.Tenant     `json:"tenant"`
	Endpoint dove.EndpointID `json:"endpoint,omitempty" doc:"Missing: nobody has the address."`
	Address  string          `json:"address"`
	Network  string          `json:"network,omitempty" doc:"Missing: nobody has the address, and it is in no subnet that can be reached."`
	VNI      dove.VNI        `json:"vni,omitempty"`
	Groups   []string        `json:"groups" nullable:"false" doc:"Each as BLUEPRINT/GROUP."`
	Class    dove.Class      `json:"class" doc:"The number for addresses alike in policy; 0: none."`
	Host     dove.HostName   `json:"host,omitempty"`
	VTEP     string          `json:"vtep,omitempty" doc:"The host's underlay address; missing unless it has joined, and for a tenant's token."`
	Foreign  bool            `json:"foreign,omitempty" doc:"The host runs no dSwitch."`
}

// Flow says which flow is asked about.
type Flow struct {
	From  string `query:"from" required:"true" maxLength:"128" example:"web-1" doc:"Who sends first: an endpoint, ENDPOINT/ADDRESS, NETWORK/ADDRESS, or an address."`
	To    string `query:"to" required:"true" maxLength:"128" example:"db-1" doc:"To whom, written likewise. One of both may be an address that nobody has."`
	Proto string `query:"proto" required:"true" maxLength:"8" example:"tcp" doc:"tcp, udp, sctp, icmp, icmpv6 or a number from 1 to 255."`
	Port  string `query:"port" maxLength:"5" pattern:"^[0-9]+$" example:"5432" doc:"The destination port; for icmp and icmpv6 type*256+code (missing: echo request)."`
}

func (s *server) why() {
	registerTenant(s, huma.Operation{
		OperationID: "why", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/why", Tags: []string{"endpoints"},
		Summary:     "Ask why one endpoint reaches another, or an address, or not",
		Description: "Judged by what was intended at the present revision; live says what the switches of both ends do at this moment.",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Flow
		Live bool `query:"live" default:"true" doc:"false: do not ask the switches."`
		Freshness
	}) (*struct{ Body Why }, error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		q, err := in.question()
		if err != nil {
			return nil, err
		}
		ends, err := explain.Ends(w, in.Tenant, in.From, in.To)
		if err != nil {
			return nil, err
		}
		q.From, q.To = ends.From, ends.To
		a, err := explain.Why(w, q)
		if err == nil && a.Protocol == dove.ProtocolICMPv6 && in.Port == "" {
			q.Port = echoRequest6
			a, err = explain.Why(w, q)
		}
		if err != nil {
			return nil, err
		}
		out := renderWhy(a)
		out.From.Tenant, out.To.Tenant = in.Tenant, in.Tenant
		if actsForTenant(ctx) { // where hosts are is the administrators' matter
			out.From.VTEP, out.To.VTEP = "", ""
		}
		if in.Live {
			out.Live = s.live(ctx, a)
		}
		return &struct{ Body Why }{out}, nil
	})
}

// Type and code of a ping.
const (
	echoRequest4 = 8 << 8
	echoRequest6 = 128 << 8
)

// question checks all but the ends.
func (f Flow) question() (explain.Question, error) {
	var q explain.Question
	var faults []dove.Fault
	port, err := strconv.ParseUint(cmp.Or(f.Port, "0"), 10, 16)
	if err != nil {
		faults = append(faults, dove.Fault{Path: "query.port", Message: "port " + f.Port + " is not a number from 0 to 65535"})
	}
	q.Port = uint16(port)
	protocol, err := dove.ParseProtocol(f.Proto)
	q.Protocol = protocol
	switch {
	case err != nil:
		faults = append(faults, dove.Fault{Path: "query.proto", Message: err.Error()})
	case protocol == dove.ProtocolAny:
		faults = append(faults, dove.Fault{Path: "query.proto", Message: "a packet is of one protocol, not of any", Hint: "write tcp, udp or icmp"})
	case protocol.HasPorts() && port == 0:
		faults = append(faults, dove.Fault{Path: "query.port", Message: protocol.String() + " needs a destination port from 1 to 65535", Hint: "add port=443"})
	case !protocol.HasPorts() && !protocol.IsICMP() && port != 0:
		faults = append(faults, dove.Fault{Path: "query.port", Message: "protocol " + protocol.String() + " has no ports", Hint: "leave port out"})
	case protocol.IsICMP() && f.Port == "":
		q.Port = echoRequest4
	}
	if len(faults) > 0 {
		return q, &dove.Error{Kind: dove.Invalid, Message: "the question is not valid", Faults: faults}
	}
	return q, nil
}

func renderWhy(a explain.Answer) Why {
	out := Why{
		Revision: a.Revision, Reaches: a.Reaches(), Allowed: a.Allowed, Rule: a.Rule, Nearest: a.Near.Rule, Failed: a.Near.Terms(),
		Obstacles: append([]string{}, a.Obstacles...), Protocol: a.Protocol.String(), Port: a.Port, Domain: a.Domain.Name, Router: a.Router,
		From: renderPlace(a.From), To: renderPlace(a.To),
	}
	if a.Would != "" {
		out.Shadow = &WhyShadow{a.WouldAllow, a.Would}
	}
	for _, n := range a.NoReply {
		ports := blueprint.Traffic{Protocol: a.Protocol, First: max(n.First, 1), Last: n.Last}.String()
		if _, ports, _ = strings.Cut(ports, "/"); n.First <= 1 && n.Last == 65535 {
			ports = "any"
		}
		out.NoReply = append(out.NoReply, WhyNoReply{ports, n.Rule})
	}
	for _, f := range a.Near.Failed {
		out.Because = append(out.Because, WhyFailed{f.Term, f.Words})
	}
	if a.Forth != (verdict.Digest{}) {
		out.Forth, out.Back = a.Forth.String(), a.Back.String()
	}
	return out
}

func renderPlace(p explain.Place) WhyPlace {
	out := WhyPlace{
		Tenant: p.Endpoint.Tenant, Endpoint: p.Endpoint.ID, Address: p.Addr.String(), Network: p.Network.Name,
		VNI: p.VNI, Groups: []string{}, Class: p.Class, Host: p.Host, Foreign: p.Foreign,
	}
	for _, g := range p.Groups {
		out.Groups = append(out.Groups, strings.TrimPrefix(g.String(), string(g.Tenant)+"/"))
	}
	if p.VTEP.IsValid() {
		out.VTEP = p.VTEP.String()
	}
	return out
}
