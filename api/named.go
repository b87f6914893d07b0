package api

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/verdict"
	"dove.network/world"
)

// hintMax is how many names a hint tells.
const hintMax = 8

// names checks that what the filters of a request name exists: nothing would be
// found of what does not, and nobody would see why.
type names struct {
	w      *world.World
	tenant dove.Tenant
	faults []dove.Fault
}

func (n *names) fault(path, hint, format string, args ...any) {
	n.faults = append(n.faults, dove.Fault{Path: "query." + path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// err returns all faults as one refusal.
func (n *names) err() error {
	if len(n.faults) == 0 {
		return nil
	}
	return dove.Refusal(dove.Invalid, "the request is refused", n.faults, 0)
}

// existing lists names for a hint.
func existing(all iter.Seq[string]) string {
	var some []string
	for name := range all {
		if len(some) == hintMax {
			return "there are " + strings.Join(some, ", ") + " and more"
		}
		some = append(some, fmt.Sprintf("%q", name))
	}
	switch len(some) {
	case 0:
		return "there are none"
	case 1:
		return "there is " + some[0]
	}
	return "there are " + strings.Join(some, ", ")
}

// each yields one thing of each item.
func each[A, B any](all iter.Seq[A], of func(A) B) iter.Seq[B] {
	return func(yield func(B) bool) {
		for a := range all {
			if !yield(of(a)) {
				return
			}
		}
	}
}

func (n *names) network(name string) {
	if name == "" {
		return
	}
	if _, ok := n.w.Network(dove.Network{Tenant: n.tenant, Name: name}); !ok {
		n.fault("network", existing(each(n.w.Networks(n.tenant), func(x world.Network) string { return x.Name })), "unknown network %q", name)
	}
}

func (n *names) host(name dove.HostName) {
	if name == "" {
		return
	}
	if _, ok := n.w.Host(name); !ok {
		n.fault("host", existing(each(n.w.Hosts(), func(x world.Host) string { return string(x.Name) })), "unknown host %q", name)
	}
}

func (n *names) endpoint(id dove.EndpointID) {
	if id == "" {
		return
	}
	if _, ok := n.w.Endpoint(dove.Endpoint{Tenant: n.tenant, ID: id}); !ok {
		n.fault("endpoint", existing(each(n.w.Endpoints(n.tenant), func(x world.Endpoint) string { return string(x.ID) })), "unknown endpoint %q", id)
	}
}

// domain exists as long as a network or a blueprint is of it.
func (n *names) domain(name string) {
	if name == "" {
		return
	}
	known := map[string]bool{}
	for x := range n.w.Networks(n.tenant) {
		known[x.Domain] = true
	}
	for x := range n.w.Blueprints(n.tenant) {
		known[x.Domain] = true
	}
	if !known[name] {
		var all []string
		for d := range known {
			all = append(all, d)
		}
		slices.Sort(all)
		n.fault("domain", existing(slices.Values(all)), "unknown domain %q", name)
	}
}

// blueprint returns nil and finds fault if there is none of that name.
func (n *names) blueprint(path, name string) *blueprint.Blueprint {
	b := n.w.Parsed(n.tenant, name)
	if b == nil {
		n.fault(path, existing(each(n.w.Blueprints(n.tenant), func(x world.Blueprint) string { return x.Name })), "unknown blueprint %q", name)
	}
	return b
}

// group is named BLUEPRINT/GROUP.
func (n *names) group(text string) {
	if text == "" {
		return
	}
	of, name, ok := strings.Cut(text, "/")
	if !ok {
		n.fault("group", "write blueprint/group", "group %q does not say of which blueprint", text)
		return
	}
	if b := n.blueprint("group", of); b != nil && !hasGroup(b, name) {
		n.fault("group", existing(groupsOf(b)), "unknown group %q in blueprint %q", name, of)
	}
}

func groupsOf(b *blueprint.Blueprint) iter.Seq[string] {
	return each(slices.Values(b.Groups), func(g blueprint.Group) string { return g.Name })
}

func hasGroup(b *blueprint.Blueprint, name string) bool {
	return slices.ContainsFunc(b.Groups, func(g blueprint.Group) bool { return g.Name == name })
}

// rule is BLUEPRINT/POLICY, or one that needs no policy: BLUEPRINT/GROUP/members
// and default-deny.
func (n *names) rule(text string) {
	if text == "" || text == verdict.DefaultDeny {
		return
	}
	of, name, ok := strings.Cut(text, "/")
	if !ok {
		n.fault("rule", "write blueprint/policy, blueprint/group/members or "+verdict.DefaultDeny, "%q names no rule", text)
		return
	}
	b := n.blueprint("rule", of)
	if b == nil {
		return
	}
	if group, builtIn := strings.CutSuffix(name, "/members"); builtIn {
		if !hasGroup(b, group) {
			n.fault("rule", existing(groupsOf(b)), "unknown group %q in blueprint %q", group, of)
		}
		return
	}
	if !slices.ContainsFunc(b.Policies, func(p blueprint.Policy) bool { return p.Name == name }) {
		n.fault("rule", existing(each(slices.Values(b.Policies), func(p blueprint.Policy) string { return p.Name })), "unknown policy %q in blueprint %q", name, of)
	}
}
