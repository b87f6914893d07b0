package blueprint

import (
	"net/netip"
	"time"

	"dove.network/dove"
)

// APIVersion and Kind head every document.
const (
	APIVersion = "dove/v1"
	Kind       = "Blueprint"
)

// Blueprint is one document in canonical order: networks, routers, outsides, groups
// and policies sorted by name, references sorted and without repetition.
type Blueprint struct {
	Tenant   dove.Tenant // whose it is; not part of the text
	Name     string
	Domain   string // default: Name
	Tier     Tier
	Networks []Network
	Routers  []Router
	Outside  []Outside
	Groups   []Group
	Policies []Policy

	places map[item]place // where Parse read each part; nil if made by hand, no part of the value
}

// Network is a segment that the blueprint makes.
type Network struct {
	Name    string
	Subnets []netip.Prefix
}

// Tier says whose word the policies of a document are. Provider policies come
// before those of tenants, baseline policies after them.
type Tier uint8

// The tiers. Policies of Provider and Baseline have a priority.
const (
	Tenant Tier = iota
	Provider
	Baseline
)

func (t Tier) String() string { return [...]string{"tenant", "provider", "baseline"}[t] }

// Outside is a set of addresses, whoever has them, that policies name as they
// name groups: those in Prefixes and not in Except. Both are sorted; each of
// Except lies within one of Prefixes and is smaller.
type Outside struct {
	Name             string
	Prefixes, Except []netip.Prefix
}

// Group is a set of endpoints: those that name it, and those that Selector
// selects among the endpoints on the domain's networks. Network is the default
// network of endpoints made in it ("" if none). Members of one group may talk
// unless Isolated. Egress and Ingress say what becomes of what no policy
// decides about members; the halves of members of a Stateless group let
// replies pass only as they let any packet pass.
type Group struct {
	Name            string
	Network         string
	Isolated        bool
	Stateless       bool
	Selector        *Selector // nil: only those that name the group
	Egress, Ingress Default
}

// Default is what becomes of packets that no policy decides about.
type Default uint8

// What a group may say of its members' packets. DefaultDeny comes before
// policies of the baseline tier, DefaultAllow after them.
const (
	DefaultNone Default = iota // nothing: other groups decide, else it is denied
	DefaultAllow
	DefaultDeny
)

func (d Default) String() string { return [...]string{"", "allow", "deny"}[d] }

// Any stands in From and To of a policy for every address.
var Any = dove.Group{Name: "any"}

// PriorityMax is the last priority of a policy; the lowest comes first.
const PriorityMax = 1_000_000

// Policy says what may pass from any of From to any of To. Deny beats allow,
// and allow beats pass, which leaves the decision to the tenant's policies.
type Policy struct {
	Name     string
	From, To []dove.Group // resolved: groups and outsides with their blueprint, or Any
	Allow    []Traffic
	Deny     []Traffic
	Pass     []Traffic // only in tier Provider
	Side     Side
	Family   Family
	Priority uint32    // 0 in tier Tenant, which has none
	Log      bool      // tell of packets that it decides about
	Shadow   bool      // say what it would do, and do nothing
	Until    time.Time // in UTC; zero: for ever
}

// Side says at which ends a policy counts.
type Side uint8

// The sides: a policy opens the source's half, the target's, or both.
const (
	BothSides Side = iota
	Egress
	Ingress
)

func (s Side) String() string { return [...]string{"", "egress", "ingress"}[s] }

// Family says over which version of IP a policy counts.
type Family uint8

// The families: packets of one, or of both.
const (
	BothFamilies Family = iota
	IPv4
	IPv6
)

func (f Family) String() string { return [...]string{"", "ipv4", "ipv6"}[f] }

// Traffic is a protocol and a range of destination ports, both inclusive; for
// ICMP and ICMPv6 the range is over type<<8|code. "icmp" in the text stands for
// both ICMP and ICMPv6 and parses into two. ProtocolAny and protocols without
// ports have 0 and 65535. Port is a name that the target endpoint gives to a port
// of the protocol, "" if First and Last say which; then they are 0.
type Traffic struct {
	Protocol    dove.Protocol
	First, Last uint16
	Port        string
}

// DomainOf returns the domain whose intent the blueprint is part of.
func (b *Blueprint) DomainOf() dove.Domain { return dove.Domain{Tenant: b.Tenant, Name: b.Domain} }

// GroupOf returns the full name of a group of this blueprint.
func (b *Blueprint) GroupOf(name string) dove.Group {
	return dove.Group{Tenant: b.Tenant, Blueprint: b.Name, Name: name}
}
