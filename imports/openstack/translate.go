package openstack

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports"
)

// translation is a text on its way into a blueprint.
type translation struct {
	imports.Faults
	draft     *imports.Draft
	groups    map[string]securityGroup // by id
	addresses map[string]addressGroup
	rules     []securityGroupRule
}

// Translate reads what the API prints. The error is a *dove.Error with every fault.
func Translate(o imports.Options, text []byte) (imports.Translation, error) {
	if err := o.Check(); err != nil {
		return imports.Translation{}, err
	}
	t := &translation{draft: imports.NewDraft(o, "", blueprint.Tenant), groups: map[string]securityGroup{}, addresses: map[string]addressGroup{}}
	var ports []neutronPort
	for _, s := range imports.Sources(text, &t.Faults) {
		var b body
		if !s.Decode(&b, true, &t.Faults) {
			continue
		}
		t.read(s.Line, b)
		var p portsBody
		if s.Decode(&p, false, &t.Faults) {
			ports = append(ports, list(p.Ports, p.Port)...)
		}
	}
	seen := map[string]bool{}
	for _, r := range t.rules {
		if r.ID != "" && seen[r.ID] {
			t.Add(dove.Invalid, 0, "security group rule "+r.ID, "leave one out", "it is there twice")
			continue
		}
		seen[r.ID] = true
		t.rule(r)
	}
	var out imports.Translation
	for _, p := range ports {
		e := imports.Endpoint{Name: p.ID, Open: p.PortSecurityEnabled != nil && !*p.PortSecurityEnabled}
		if p.ID == "" {
			t.Add(dove.Invalid, 0, "port", "", "it has no id")
		}
		for _, id := range p.SecurityGroups {
			if g, ok := t.groups[id]; ok {
				e.Groups = append(e.Groups, t.draft.Ref(t.group(g)))
			} else {
				t.Add(dove.Invalid, 0, "port "+p.ID, "add it to the text", "security group %s is not in the text", id)
			}
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	if err := t.Err("the text"); err != nil {
		return imports.Translation{}, err
	}
	d, err := t.draft.Document()
	if err != nil {
		return imports.Translation{}, err
	}
	out.Documents = []imports.Document{d}
	return out, nil
}

func list[T any](many []T, one *T) []T {
	if one != nil {
		many = append(many, *one)
	}
	return many
}

// read takes note of what a document has.
func (t *translation) read(line int, b body) {
	for _, g := range list(b.SecurityGroups, b.SecurityGroup) {
		_, twice := t.groups[g.ID]
		switch {
		case g.ID == "":
			t.Add(dove.Invalid, line, fmt.Sprintf("security group %q", g.Name), "", "it has no id")
		case twice:
			t.Add(dove.Invalid, line, "security group "+g.ID, "leave one out", "it is there twice")
		default:
			t.groups[g.ID] = g
			t.group(g)
		}
		for _, r := range g.Rules {
			if r.SecurityGroupID == "" {
				r.SecurityGroupID = g.ID
			}
			t.rules = append(t.rules, r)
		}
	}
	for _, g := range list(b.AddressGroups, b.AddressGroup) {
		switch _, twice := t.addresses[g.ID]; {
		case g.ID == "":
			t.Add(dove.Invalid, line, fmt.Sprintf("address group %q", g.Name), "", "it has no id")
		case twice:
			t.Add(dove.Invalid, line, "address group "+g.ID, "leave one out", "it is there twice")
		}
		t.addresses[g.ID] = g
	}
	t.rules = append(t.rules, list(b.SecurityGroupRules, b.SecurityGroupRule)...)
}

// group is the blueprint's group of a security group.
func (t *translation) group(g securityGroup) *blueprint.Group {
	out := t.draft.Group(t.draft.Digest(g.Name, g.ID))
	out.Stateless = g.Stateful != nil && !*g.Stateful
	return out
}

// rule adds the policy of a rule.
func (t *translation) rule(r securityGroupRule) {
	path := "security group rule " + r.ID
	own, ok := t.groups[r.SecurityGroupID]
	ingress := r.Direction == "ingress"
	family := cmp.Or(r.EtherType, "IPv4")
	switch {
	case r.ID == "":
		t.Add(dove.Invalid, 0, fmt.Sprintf("a rule of security group %s", r.SecurityGroupID), "", "it has no id")
		return
	case !ok:
		t.Add(dove.Invalid, 0, path, "add it to the text", "security group %q is not in the text", r.SecurityGroupID)
		return
	case !ingress && r.Direction != "egress":
		t.Add(dove.Invalid, 0, path, "write ingress or egress", "%q is no direction", r.Direction)
		return
	case family != "IPv4" && family != "IPv6":
		t.Add(dove.Invalid, 0, path, "write IPv4 or IPv6", "%q is no ethertype", r.EtherType)
		return
	}
	v6 := family == "IPv6"
	traffic := t.traffic(path, r, v6)
	remote, some := t.remote(path, r, v6)
	if !some || len(traffic) == 0 {
		return
	}
	side, words := "in", []string{own.Name}
	p := blueprint.Policy{Side: blueprint.Ingress, Allow: traffic, From: []dove.Group{remote}, To: []dove.Group{t.draft.Ref(t.group(own))}}
	if !ingress {
		side, p.Side, p.From, p.To = "out", blueprint.Egress, p.To, p.From
	}
	switch {
	case r.RemoteIPPrefix != "" || r.RemoteAddressGroupID != "": // the addresses are of the family
	case v6:
		p.Family = blueprint.IPv6
	default:
		p.Family = blueprint.IPv4
	}
	p.Name = imports.Digested(strings.Join(append(words, side, traffic[0].String()), "-"), r.ID)
	t.draft.Add(p)
}

// remote is the other end of a rule. It is none if the rule names addresses, and
// none of its family.
func (t *translation) remote(path string, r securityGroupRule, v6 bool) (end dove.Group, some bool) {
	given := slices.DeleteFunc([]string{r.RemoteIPPrefix, r.RemoteGroupID, r.RemoteAddressGroupID}, func(s string) bool { return s == "" })
	switch {
	case len(given) > 1:
		t.Add(dove.Invalid, 0, path, "leave one out", "a rule has one remote, not %d", len(given))
	case r.RemoteGroupID != "":
		g, ok := t.groups[r.RemoteGroupID]
		if !ok {
			t.Add(dove.Invalid, 0, path, "add it to the text", "remote security group %s is not in the text", r.RemoteGroupID)
			return end, false
		}
		return t.draft.Ref(t.group(g)), true
	case r.RemoteAddressGroupID != "":
		g, ok := t.addresses[r.RemoteAddressGroupID]
		if !ok {
			t.Add(dove.Invalid, 0, path, "add it to the text", "remote address group %s is not in the text", r.RemoteAddressGroupID)
			return end, false
		}
		return t.nets("address group "+g.ID, g.Addresses, v6, false)
	case r.RemoteIPPrefix != "":
		return t.nets(path, []string{r.RemoteIPPrefix}, v6, true)
	}
	return blueprint.Any, true
}

// nets reads prefixes, of which those of the family count; all must be, where
// they are the rule's own. Bits beyond a prefix's length do not count, as Neutron
// has it.
func (t *translation) nets(path string, texts []string, v6, own bool) (dove.Group, bool) {
	var all []netip.Prefix
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if a, bad := netip.ParseAddr(s); bad == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil || p.Addr().Is4In6():
			t.Add(dove.Invalid, 0, path, "write 192.0.2.0/24 or 2001:db8::/32", "%q is no prefix", s)
		case p.Addr().Is6() == v6:
			all = append(all, p.Masked())
		case own:
			t.Add(dove.Invalid, 0, path, "write the ethertype of the prefix", "%q is not of the rule's ethertype", s)
		}
	}
	if len(all) == 0 {
		return dove.Group{}, false
	}
	return t.draft.Outside(all, nil), true
}
