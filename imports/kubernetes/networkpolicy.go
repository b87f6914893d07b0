package kubernetes

import (
	"fmt"
	"net/netip"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports"
)

// networkPolicy closes the directions that the policy is about for the pods that it
// selects, and then opens what each rule allows: one policy of one side for a rule.
func (t *translation) networkPolicy(p networkPolicy) {
	namespace, path := namespaceOf(p.Metadata), join("NetworkPolicy", p.Metadata, true)
	types := p.Spec.PolicyTypes
	if len(types) == 0 {
		types = []string{"Ingress"}
		if len(p.Spec.Egress) > 0 {
			types = append(types, "Egress")
		}
	}
	target := selected(t.tenant, t.podsIn(path+".spec", namespace, nil, &p.Spec.PodSelector))
	ref := []dove.Group{t.tenant.Ref(target)}
	for _, kind := range types {
		switch kind {
		case "Ingress":
			target.Ingress = blueprint.DefaultDeny
		case "Egress":
			target.Egress = blueprint.DefaultDeny
		default:
			t.Add(dove.Invalid, t.at.Line, path+".spec.policyTypes", "write Ingress, Egress or both", "%q is no policy type", kind)
		}
	}
	for i, r := range p.Spec.Ingress {
		at := fmt.Sprintf("%s.spec.ingress[%d]", path, i)
		from, allow := t.peers(at+".from", namespace, r.From), t.policyPorts(at+".ports", r.Ports)
		if slices.Contains(types, "Ingress") {
			t.tenant.Add(blueprint.Policy{Name: imports.Name(namespace, p.Metadata.Name, fmt.Sprintf("in-%d", i)),
				From: from, To: slices.Clone(ref), Allow: allow, Side: blueprint.Ingress})
		}
	}
	for i, r := range p.Spec.Egress {
		at := fmt.Sprintf("%s.spec.egress[%d]", path, i)
		to, allow := t.peers(at+".to", namespace, r.To), t.policyPorts(at+".ports", r.Ports)
		if slices.Contains(types, "Egress") {
			t.tenant.Add(blueprint.Policy{Name: imports.Name(namespace, p.Metadata.Name, fmt.Sprintf("out-%d", i)),
				From: slices.Clone(ref), To: to, Allow: allow, Side: blueprint.Egress})
		}
	}
}

// peers reads the other ends of a rule; no peers are every address.
func (t *translation) peers(path, namespace string, peers []networkPolicyPeer) []dove.Group {
	if len(peers) == 0 {
		return []dove.Group{blueprint.Any}
	}
	var all []dove.Group
	for i, p := range peers {
		at := fmt.Sprintf("%s[%d]", path, i)
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock != nil && selects:
			t.Add(dove.Invalid, t.at.Line, at, "write two peers", "a peer is an ipBlock or what selectors select, not both")
		case p.IPBlock != nil:
			all = append(all, t.outside(t.tenant, at+".ipBlock", []string{p.IPBlock.CIDR}, p.IPBlock.Except))
		case selects:
			all = append(all, t.tenant.Ref(selected(t.tenant, t.podsIn(at, namespace, p.NamespaceSelector, p.PodSelector))))
		default:
			t.Add(dove.Invalid, t.at.Line, at, "write podSelector, namespaceSelector or ipBlock", "a peer is empty")
		}
	}
	return all
}

// outside reads prefixes, and those that they are without.
func (t *translation) outside(draft *imports.Draft, path string, cidrs, excepts []string) dove.Group {
	read := func(list []string, within []netip.Prefix) []netip.Prefix {
		var all []netip.Prefix
		for _, s := range list {
			p, err := netip.ParsePrefix(s)
			switch {
			case err != nil || p.Addr().Is4In6():
				t.Add(dove.Invalid, t.at.Line, path, "write 192.0.2.0/24 or 2001:db8::/32", "%q is no prefix", s)
			case p != p.Masked():
				t.Add(dove.Invalid, t.at.Line, path, "write "+p.Masked().String(), "%q has bits set beyond its length", s)
			case within != nil && !slices.ContainsFunc(within, func(w netip.Prefix) bool { return w.Bits() < p.Bits() && w.Contains(p.Addr()) }):
				t.Add(dove.Invalid, t.at.Line, path, "except takes away parts of the cidr", "%q lies not within it", s)
			default:
				all = append(all, p)
			}
		}
		return all
	}
	prefixes := read(cidrs, nil)
	return draft.Outside(prefixes, read(excepts, append([]netip.Prefix{}, prefixes...)))
}

// policyPorts reads what a rule is about; no ports are everything.
func (t *translation) policyPorts(path string, ports []networkPolicyPort) []blueprint.Traffic {
	if len(ports) == 0 {
		return []blueprint.Traffic{everything}
	}
	var all []blueprint.Traffic
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", path, i)
		protocol, ok := t.protocol(at, p.Protocol)
		switch {
		case !ok:
		case p.Port == nil && p.EndPort != nil:
			t.Add(dove.Invalid, t.at.Line, at, "write port: and where the range begins", "an endPort without a port")
		case p.Port == nil:
			all = append(all, blueprint.Traffic{Protocol: protocol, Last: 65535})
		case p.Port.name != "" && p.EndPort != nil:
			t.Add(dove.Invalid, t.at.Line, at, "write its number", "a range cannot begin at port %q, which is a name", p.Port.name)
		case p.Port.name != "":
			all = append(all, t.namedPort(at, protocol, p.Port.name)...)
		case p.EndPort != nil:
			all = append(all, t.portRange(at, protocol, p.Port.number, *p.EndPort)...)
		default:
			all = append(all, t.portRange(at, protocol, p.Port.number, p.Port.number)...)
		}
	}
	return all
}

// everything is all traffic.
var everything = blueprint.Traffic{Protocol: dove.ProtocolAny, Last: 65535}

func (t *translation) portRange(path string, protocol dove.Protocol, first, last int) []blueprint.Traffic {
	switch {
	case first < 1 || last > 65535 || first > 65535 || last < 1:
		t.Add(dove.Invalid, t.at.Line, path, "ports are from 1 to 65535", "%d-%d are no ports", first, last)
	case first > last:
		t.Add(dove.Invalid, t.at.Line, path, fmt.Sprintf("write %d and %d", last, first), "the range %d-%d ends before it starts", first, last)
	default:
		return []blueprint.Traffic{{Protocol: protocol, First: uint16(first), Last: uint16(last)}}
	}
	return nil
}

func (t *translation) namedPort(path string, protocol dove.Protocol, name string) []blueprint.Traffic {
	if err := blueprint.CheckPortName(name); err != nil {
		t.Add(dove.Invalid, t.at.Line, path, "", "%v", err)
		return nil
	}
	return []blueprint.Traffic{{Protocol: protocol, Port: name}}
}
