package blueprint

import (
	"net/netip"

	"dove.network/dove"
)

// APIVersion and Kind head every document.
const (
	APIVersion = "dove/v1"
	Kind       = "Blueprint"
)

// Blueprint is one document in canonical order: networks, routers, groups and policies
// sorted by name, references sorted and without repetition.
type Blueprint struct {
	Tenant   dove.Tenant // whose it is; not part of the text
	Name     string
	Domain   string // default: Name
	Networks []Network
	Routers  []Router
	Groups   []Group
	Policies []Policy

	places map[item]place // where Parse read each part; nil if made by hand, no part of the value
}

// Network is a segment that the blueprint makes.
type Network struct {
	Name    string
	Subnets []netip.Prefix
}

// Group is a set of endpoints. Network is the default network of endpoints
// made in it ("" if none). Members of one group may talk unless Isolated.
type Group struct {
	Name     string
	Network  string
	Isolated bool
}

// Policy says what may pass from any of From to any of To. Deny beats allow.
type Policy struct {
	Name     string
	From, To []dove.Group // resolved: Blueprint is always set
	Allow    []Traffic
	Deny     []Traffic
}

// Traffic is a protocol and a range of destination ports, both inclusive; for
// ICMP and ICMPv6 the range is over type<<8|code. "icmp" in the text stands for
// both ICMP and ICMPv6 and parses into two. ProtocolAny and protocols without
// ports have 0 and 65535.
type Traffic struct {
	Protocol    dove.Protocol
	First, Last uint16
}

// DomainOf returns the domain whose intent the blueprint is part of.
func (b *Blueprint) DomainOf() dove.Domain { return dove.Domain{Tenant: b.Tenant, Name: b.Domain} }

// GroupOf returns the full name of a group of this blueprint.
func (b *Blueprint) GroupOf(name string) dove.Group {
	return dove.Group{Tenant: b.Tenant, Blueprint: b.Name, Name: name}
}
