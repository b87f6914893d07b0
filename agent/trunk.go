package agent

import (
	"slices"

	"dove.network/dove"
)

// A sub-port has a port while its parent has one, on the same device.

// parent is the endpoint whose sub-port the assignment is.
func (a *assignment) parent() dove.Endpoint {
	return dove.Endpoint{Tenant: a.Endpoint.Tenant, ID: a.Parent}
}

// use has a device be the assignment's; a sub-port only shares its parent's.
func (c *Core) use(a *assignment) {
	if a.Parent == "" {
		c.users[a.device.Name] = a
	}
}

// parentDevice is the device that a sub-port should have now: none while its parent
// has no port, or another one has its VLAN still.
func (c *Core) parentDevice(a *assignment) Device {
	parent := c.assignments[a.parent()]
	if parent == nil || parent.id == 0 {
		return Device{}
	}
	for _, other := range c.trunks[parent.Endpoint] {
		if other != a && other.VLAN == a.VLAN && other.id != 0 {
			return Device{}
		}
	}
	return parent.device
}

// joinTrunk and leaveTrunk note whose sub-port an assignment is, if it is one.
func (c *Core) joinTrunk(a *assignment) {
	if a.Parent != "" {
		subs := append(c.trunks[a.parent()], a)
		slices.SortFunc(subs, func(a, b *assignment) int { return compareEndpoints(a.Endpoint, b.Endpoint) })
		c.trunks[a.parent()] = subs
	}
}

func (c *Core) leaveTrunk(a *assignment) {
	if a.Parent == "" {
		return
	}
	subs := slices.DeleteFunc(c.trunks[a.parent()], func(x *assignment) bool { return x == a })
	if c.trunks[a.parent()] = subs; len(subs) == 0 {
		delete(c.trunks, a.parent())
	}
}

// reconcileSubPorts looks again at the sub-ports of one whose port may have changed.
func (c *Core) reconcileSubPorts(parent *assignment) {
	for _, a := range slices.Clone(c.trunks[parent.Endpoint]) {
		if c.parentDevice(a) != a.device {
			c.reconcile(a)
		}
	}
}
