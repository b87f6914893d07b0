package oracle

import (
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// DefaultDeny names the rule where no policy says anything.
const DefaultDeny = "default-deny"

// Decide says whether an endpoint in the groups src may open a flow to one in
// the groups dst, and which rule says so. The blueprints are all those of one
// domain. The port is the destination's, or type<<8|code for ICMP and ICMPv6,
// or 0 for protocols without ports.
//
// A policy that denies decides first, then one that allows, then common
// membership in a group that is not isolated counts as one that allows. Where
// several say the same, the least name is given.
func Decide(blueprints []*blueprint.Blueprint, src, dst []dove.Group, protocol dove.Protocol, port uint16) (allow bool, rule string) {
	var denying, allowing []string
	for _, b := range blueprints {
		for _, p := range b.Policies {
			if !common(p.From, src) || !common(p.To, dst) {
				continue
			}
			if covers(p.Deny, protocol, port) {
				denying = append(denying, b.Name+"/"+p.Name)
			}
			if covers(p.Allow, protocol, port) {
				allowing = append(allowing, b.Name+"/"+p.Name)
			}
		}
		for _, g := range b.Groups {
			full := dove.Group{Tenant: b.Tenant, Blueprint: b.Name, Name: g.Name}
			if !g.Isolated && slices.Contains(src, full) && slices.Contains(dst, full) {
				allowing = append(allowing, b.Name+"/"+g.Name+"/members")
			}
		}
	}
	switch {
	case len(denying) > 0:
		return false, slices.Min(denying)
	case len(allowing) > 0:
		return true, slices.Min(allowing)
	default:
		return false, DefaultDeny
	}
}

func common(a, b []dove.Group) bool {
	for _, g := range a {
		if slices.Contains(b, g) {
			return true
		}
	}
	return false
}

func covers(list []blueprint.Traffic, protocol dove.Protocol, port uint16) bool {
	for _, t := range list {
		if t.Protocol == dove.ProtocolAny || t.Protocol == protocol && t.First <= port && port <= t.Last {
			return true
		}
	}
	return false
}
