package openstack

import (
	"fmt"
	"strconv"

	"dove.network/blueprint"
	"dove.network/dove"
)

// names are Neutron's, beside those that blueprints have.
var names = map[string]dove.Protocol{
	"icmp": dove.ProtocolICMP, "icmpv6": dove.ProtocolICMPv6, "ipv6-icmp": dove.ProtocolICMPv6,
	"tcp": dove.ProtocolTCP, "udp": dove.ProtocolUDP, "sctp": dove.ProtocolSCTP,
	"igmp": 2, "ipip": 4, "egp": 8, "dccp": 33, "ipv6-encap": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
	"ipv6-nonxt": 59, "ipv6-opts": 60, "ospf": 89, "vrrp": 112, "pgm": 113, "udplite": 136,
}

// traffic reads what a rule is about. Of IPv6, "icmp" is ICMPv6, as Neutron has it.
func (t *translation) traffic(path string, r securityGroupRule, v6 bool) []blueprint.Traffic {
	if r.Protocol == "" || r.Protocol == "any" || r.Protocol == "0" {
		if r.PortRangeMin != nil || r.PortRangeMax != nil {
			t.Add(dove.Invalid, 0, path, "write a protocol", "ports without a protocol")
			return nil
		}
		return []blueprint.Traffic{{Protocol: dove.ProtocolAny, Last: 65535}}
	}
	protocol, known := names[string(r.Protocol)]
	if n, err := strconv.ParseUint(string(r.Protocol), 10, 8); err == nil {
		protocol, known = dove.Protocol(n), true
	}
	if !known {
		t.Add(dove.Invalid, 0, path, "write its number", "%q is no protocol", r.Protocol)
		return nil
	}
	if v6 && protocol == dove.ProtocolICMP {
		protocol = dove.ProtocolICMPv6
	}
	switch {
	case !v6 && protocol == dove.ProtocolICMPv6:
		t.Add(dove.Invalid, 0, path, "write ethertype IPv6", "ICMPv6 is not carried by IPv4")
		return nil
	case r.PortRangeMin == nil && r.PortRangeMax == nil:
		return []blueprint.Traffic{{Protocol: protocol, Last: 65535}}
	case protocol.IsICMP():
		return t.icmp(path, r, protocol)
	case !protocol.HasPorts():
		t.Add(dove.Unsupported, 0, path, "leave the ports out, and all of it is allowed", "ports of protocol %s are not among what switches look at", r.Protocol)
		return nil
	case r.PortRangeMin == nil || r.PortRangeMax == nil:
		t.Add(dove.Invalid, 0, path, "write both", "a range of ports has one end only")
		return nil
	case *r.PortRangeMin < 1 || *r.PortRangeMax > 65535 || *r.PortRangeMin > *r.PortRangeMax:
		t.Add(dove.Invalid, 0, path, "ports are from 1 to 65535", "%d-%d is no range of ports", *r.PortRangeMin, *r.PortRangeMax)
		return nil
	}
	return []blueprint.Traffic{{Protocol: protocol, First: uint16(*r.PortRangeMin), Last: uint16(*r.PortRangeMax)}}
}

// icmp reads a type, which is where ports begin, and a code, where they end.
func (t *translation) icmp(path string, r securityGroupRule, protocol dove.Protocol) []blueprint.Traffic {
	if r.PortRangeMin == nil {
		t.Add(dove.Invalid, 0, path, "write the type, too", "an ICMP code without a type")
		return nil
	}
	first, last := *r.PortRangeMin<<8, *r.PortRangeMin<<8|255
	if r.PortRangeMax != nil {
		first |= *r.PortRangeMax
		last = first
	}
	if bad := func(n *int) bool { return n != nil && (*n < 0 || *n > 255) }; bad(r.PortRangeMin) || bad(r.PortRangeMax) {
		t.Add(dove.Invalid, 0, path, "both are from 0 to 255", "%s is no type and code of ICMP", fmt.Sprint(*r.PortRangeMin, "/", value(r.PortRangeMax)))
		return nil
	}
	return []blueprint.Traffic{{Protocol: protocol, First: uint16(first), Last: uint16(last)}}
}

func value(n *int) string {
	if n == nil {
		return "any"
	}
	return strconv.Itoa(*n)
}
