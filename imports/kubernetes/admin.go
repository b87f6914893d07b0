package kubernetes

import (
	"fmt"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports"
)

// Bounds of the kind itself. The rules of a policy are one after the other, so
// each has a priority of its own: rulesMax of them for each of the policy's.
const (
	priorityMax = 1000
	rulesMax    = 100
)

// adminPolicy gives each rule a policy of one side, in the order of the rules.
func (t *translation) adminPolicy(p adminNetworkPolicy, admin bool) {
	kind, draft, first := "BaselineAdminNetworkPolicy", t.baseline, 0
	if admin {
		kind, draft = "AdminNetworkPolicy", t.provider
	}
	path := join(kind, p.Metadata, false)
	switch {
	case !admin && p.Metadata.Name != "default":
		t.Add(dove.Invalid, t.at.Line, path, `there is one, and its name is "default"`, "a cluster has no such baseline policy")
	case !admin && p.Spec.Priority != nil:
		t.Add(dove.Invalid, t.at.Line, path+".spec", "leave it out", "unknown field \"priority\" in a baseline policy")
	case admin && (p.Spec.Priority == nil || *p.Spec.Priority < 0 || *p.Spec.Priority > priorityMax):
		t.Add(dove.Invalid, t.at.Line, path+".spec.priority", fmt.Sprintf("write priority: 0 to %d", priorityMax), "the policy has no valid priority")
	case admin:
		first = *p.Spec.Priority * rulesMax
	}
	if len(p.Spec.Ingress) > rulesMax || len(p.Spec.Egress) > rulesMax {
		t.Add(dove.TooLarge, t.at.Line, path+".spec", "", "a direction has more than %d rules", rulesMax)
	}
	subject := t.subject(draft, path+".spec.subject", p.Spec.Subject.Namespaces, p.Spec.Subject.Pods)
	for _, side := range []blueprint.Side{blueprint.Ingress, blueprint.Egress} {
		rules := p.Spec.Ingress
		if side == blueprint.Egress {
			rules = p.Spec.Egress
		}
		for i, r := range rules {
			at := fmt.Sprintf("%s.spec.%s[%d]", path, side, i)
			policy := blueprint.Policy{Side: side, Priority: uint32(first + i)}
			own, other := []dove.Group{subject}, r.From
			wrong := r.To
			if side == blueprint.Ingress {
				policy.Name = imports.Name(p.Metadata.Name, fmt.Sprintf("in-%d", i))
			} else {
				policy.Name = imports.Name(p.Metadata.Name, fmt.Sprintf("out-%d", i))
				other, wrong = r.To, r.From
			}
			if len(wrong) > 0 || len(other) == 0 {
				t.Add(dove.Invalid, t.at.Line, at, "ingress rules have from, egress rules have to", "the rule does not say whom it is about")
				continue
			}
			peers := t.adminPeers(draft, at, other)
			if policy.From, policy.To = own, peers; side == blueprint.Ingress {
				policy.From, policy.To = peers, own
			}
			traffic := t.adminPorts(at+".ports", r.Ports)
			switch {
			case r.Action == "Allow":
				policy.Allow = traffic
			case r.Action == "Deny":
				policy.Deny = traffic
			case r.Action == "Pass" && admin:
				policy.Pass = traffic
			default:
				t.Add(dove.Invalid, t.at.Line, at+".action", "write Allow, Deny or, unless it is a baseline policy, Pass", "%q is no action here", r.Action)
			}
			draft.Add(policy)
		}
	}
}

func (t *translation) subject(draft *imports.Draft, path string, namespaces *labelSelector, pods *namespacedPod) dove.Group {
	switch {
	case (namespaces == nil) == (pods == nil):
		t.Add(dove.Invalid, t.at.Line, path, "write namespaces or pods", "it selects by exactly one of the two")
		return dove.Group{}
	case pods != nil:
		return draft.Ref(selected(draft, t.podsIn(path, "", &pods.NamespaceSelector, &pods.PodSelector)))
	}
	return draft.Ref(selected(draft, t.podsIn(path, "", namespaces, nil)))
}

func (t *translation) adminPeers(draft *imports.Draft, path string, peers []adminPeer) []dove.Group {
	var all []dove.Group
	for i, p := range peers {
		at := fmt.Sprintf("%s.peers[%d]", path, i)
		given := slices.DeleteFunc([]bool{p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, len(p.Networks) > 0, len(p.DomainNames) > 0}, func(b bool) bool { return !b })
		switch {
		case p.Nodes != nil:
			t.Add(dove.Unsupported, t.at.Line, at, "name their addresses as networks", "nodes are not among what blueprints can name")
		case len(p.DomainNames) > 0:
			t.Add(dove.Unsupported, t.at.Line, at, "name their addresses as networks", "domain names are not among what blueprints can name")
		case len(given) != 1:
			t.Add(dove.Invalid, t.at.Line, at, "write namespaces, pods or networks", "a peer is exactly one of them")
		case len(p.Networks) > 0:
			all = append(all, t.outside(draft, at+".networks", p.Networks, nil))
		default:
			all = append(all, t.subject(draft, at, p.Namespaces, p.Pods))
		}
	}
	return all
}

func (t *translation) adminPorts(path string, ports []adminPort) []blueprint.Traffic {
	if len(ports) == 0 {
		return []blueprint.Traffic{everything}
	}
	var all []blueprint.Traffic
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case p.PortNumber != nil && p.NamedPort == nil && p.PortRange == nil:
			if protocol, ok := t.protocol(at, p.PortNumber.Protocol); ok {
				all = append(all, t.portRange(at, protocol, p.PortNumber.Port, p.PortNumber.Port)...)
			}
		case p.PortRange != nil && p.NamedPort == nil && p.PortNumber == nil:
			if protocol, ok := t.protocol(at, p.PortRange.Protocol); ok {
				all = append(all, t.portRange(at, protocol, p.PortRange.Start, p.PortRange.End)...)
			}
		case p.NamedPort != nil && p.PortNumber == nil && p.PortRange == nil: // of whatever protocol the name is
			if all = append(all, t.namedPort(at, dove.ProtocolTCP, *p.NamedPort)...); blueprint.CheckPortName(*p.NamedPort) == nil {
				all = append(all, blueprint.Traffic{Protocol: dove.ProtocolUDP, Port: *p.NamedPort}, blueprint.Traffic{Protocol: dove.ProtocolSCTP, Port: *p.NamedPort})
			}
		default:
			t.Add(dove.Invalid, t.at.Line, at, "write portNumber, portRange or namedPort", "a port is exactly one of them")
		}
	}
	return all
}
