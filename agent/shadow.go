package agent

import (
	"errors"
	"maps"
	"slices"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// shadesMax is of how many rules in shadow of one tenant examples are remembered.
const shadesMax = 64

// ReadFlowsOf reads what ReadFlows wants.
func ReadFlowsOf(s dataplane.Switch) FlowsRead {
	flows, err := s.Flows()
	shadows, failed := s.Shadows()
	return FlowsRead{flows, shadows, errors.Join(err, failed)}
}

// noted tells observers of a flow that a rule wants told, and remembers one of which
// rules in shadow would say another thing.
func (c *Core) noted(n dataplane.Note) {
	t := control.Tuple(n.Tuple)
	network := c.networks[t.VNI]
	if network == nil || !t.Src.IsValid() || !t.Dst.IsValid() || t.Src.Is4() != t.Dst.Is4() {
		return
	}
	if n.Log && n.Allow {
		for _, o := range c.live.observers {
			if c.owns(o.tenant, t.VNI) {
				o.add(control.FlowEvent{What: control.FlowLogged, Tuple: t, Rule: n.Rule})
			}
		}
	}
	if n.Would == "" || n.Allow == n.WouldAllow {
		return
	}
	e := control.FlowEvent{What: control.FlowBegun, Tuple: t, Rule: n.Rule}
	if !n.Allow {
		e.What, e.Reason = control.FlowDenied, dataplane.Policy.String()
	}
	c.exemplify(network.domain.name.Tenant, n.Would, e)
}

func (c *Core) exemplify(tenant dove.Tenant, rule string, e control.FlowEvent) {
	if c.live.examples == nil {
		c.live.examples = map[dove.Tenant]map[string][]control.FlowEvent{}
	}
	of := c.live.examples[tenant]
	if of == nil || of[rule] == nil && len(of) >= shadesMax {
		of = map[string][]control.FlowEvent{}
		c.live.examples[tenant] = of
	}
	all := slices.DeleteFunc(of[rule], func(o control.FlowEvent) bool { return o.Tuple == e.Tuple })
	all = append(all, e)
	of[rule] = all[max(0, len(all)-control.ExamplesMax):]
}

// forgetExamples forgets those of a tenant that has nothing here any more.
func (c *Core) forgetExamples(t dove.Tenant) {
	for name := range c.domains {
		if name.Tenant == t {
			return
		}
	}
	delete(c.live.examples, t)
}

// listShadows tells what rules in shadow would say in a tenant's domains. Of those that
// are no more nothing is remembered.
func (c *Core) listShadows(m *control.Inspect, shadows []dataplane.Shadow) {
	tenants := map[uint32]dove.Tenant{}
	for name, d := range c.domains {
		tenants[d.handle] = name.Tenant
	}
	byRule := map[string]control.ShadowReport{}
	for _, s := range shadows {
		if tenants[s.Domain] != m.ShadowsOf {
			continue
		}
		sum := byRule[s.Rule]
		sum.Rule, sum.Age = s.Rule, max(sum.Age, c.now.Sub(s.Since), 0)
		sum.Allow, sum.Deny, sum.Same = sum.Allow+s.Allow, sum.Deny+s.Deny, sum.Same+s.Same
		sum.Examples = c.live.examples[m.ShadowsOf][s.Rule]
		byRule[s.Rule] = sum
	}
	maps.DeleteFunc(c.live.examples[m.ShadowsOf], func(rule string, _ []control.FlowEvent) bool {
		_, there := byRule[rule]
		return !there
	})
	out := &control.Report{ID: m.ID, Seen: c.seen}
	for _, rule := range slices.Sorted(maps.Keys(byRule)) {
		s := byRule[rule]
		s.Examples = slices.Clone(s.Examples)
		if len(out.Shadows) == control.ShadowsMax {
			out.Lost++
			continue
		}
		out.Shadows = append(out.Shadows, s)
	}
	c.send(out)
}
