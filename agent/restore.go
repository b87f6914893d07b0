package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// Restored is what a host starts with: what the agent wrote down last, and what
// its switch goes on holding from an earlier run.
type Restored struct {
	Saved  Saved
	Switch Contents
}

// Contents lists what a switch holds, by key.
type Contents struct {
	Networks []dove.VNI
	VTEPs    []netip.Addr
	Ports    []dataplane.PortID
	Peers    []dataplane.PeerKey
	Absent   []dataplane.PeerKey
	Pairs    []dataplane.PairKey
}

// Saved is what an agent must remember to go on with a switch that outlived it.
type Saved struct {
	Incarnation uint64            `json:"incarnation"`
	Seen        dove.Revision     `json:"seen"`
	Domains     []SavedDomain     `json:"domains"`
	Assignments []SavedAssignment `json:"assignments"`
	Plugs       []Plug            `json:"plugs"`             // with "" as device: unplugged
	Members     []string          `json:"members,omitempty"` // addresses of DPC members, as one said last
}

// SavedDomain is the number that stands for a domain in the switch.
type SavedDomain struct {
	Domain dove.Domain `json:"domain"`
	Handle uint32      `json:"handle"`
}

// SavedAssignment is an assignment and its port, 0 if it had none.
type SavedAssignment struct {
	Assign control.Assign   `json:"assign"`
	Port   dataplane.PortID `json:"port"`
	Device Device           `json:"device"`
}

func (c *Core) saved() Saved {
	s := Saved{Incarnation: c.incarnation, Seen: c.seen, Members: c.members}
	for _, d := range c.sortedDomains() {
		s.Domains = append(s.Domains, SavedDomain{d.name, d.handle})
	}
	for _, a := range c.sortedAssignments() {
		s.Assignments = append(s.Assignments, SavedAssignment{a.Assign, a.id, a.device})
	}
	for _, e := range slices.SortedFunc(maps.Keys(c.plugs), compareEndpoints) {
		s.Plugs = append(s.Plugs, Plug{e, c.plugs[e]})
	}
	return s
}

func compareEndpoints(a, b dove.Endpoint) int {
	return cmp.Or(strings.Compare(string(a.Tenant), string(b.Tenant)), strings.Compare(string(a.ID), string(b.ID)))
}

// restore takes over what the switch holds. Rows come back without their
// content: Hello says so, and the DPC tells it. What nothing accounts for goes.
func (c *Core) restore(r Restored) {
	c.incarnation, c.seen, c.members = r.Saved.Incarnation, r.Saved.Seen, r.Saved.Members
	for _, d := range r.Saved.Domains {
		c.openDomain(d.Domain, d.Handle)
	}
	for _, p := range r.Saved.Plugs {
		c.plugs[p.Endpoint] = p.Device
	}
	for _, s := range r.Saved.Assignments {
		a := &assignment{Assign: s.Assign, recalled: true}
		c.assignments[a.Endpoint] = a
		c.joinTrunk(a)
		if s.Port != 0 && c.ports[s.Port] == nil && slices.Contains(r.Switch.Ports, s.Port) {
			c.restorePort(a, s.Port, s.Device)
		}
	}
	for _, d := range c.domains {
		if d.networks == 0 {
			c.closeDomain(d)
		}
	}
	c.restoreRows(r.Switch)
	// What was written down may be newer than what the switch was told: networks
	// and ports are set once more.
	for _, vni := range r.Switch.Networks {
		c.tracker.adopt(dataplane.SetNetwork{Network: dataplane.Network{VNI: vni}}, c.networks[vni] != nil)
	}
	for _, vtep := range r.Switch.VTEPs {
		c.tunnels[vtep] = control.Tunnel{}
		c.tracker.adopt(dataplane.SetVTEP{Addr: vtep}, true)
		c.tracker.have[target{kind: kindVTEP, addr: vtep}] = dataplane.SetVTEP{} // like none: what runs there may be another by now
	}
	for _, id := range r.Switch.Ports {
		c.tracker.adopt(dataplane.SetPort{Port: dataplane.Port{ID: id}}, c.ports[id] != nil)
	}
	c.unsaved = false
}

func (c *Core) restorePort(a *assignment, id dataplane.PortID, d Device) {
	a.id, a.device = id, d
	c.ports[id] = a
	c.lastPort = max(c.lastPort, id)
	c.use(a)
	c.devices[d.Name] = device{d, true}
	c.joinNetwork(a)
	c.refreshNetwork(a)
	c.openLocals(a)
	c.tracker.set(dataplane.SetPort{Port: a.port()})
}

func (c *Core) restoreRows(s Contents) {
	for _, key := range s.Peers {
		n := c.networks[key.VNI]
		if n != nil {
			n.peers[key.Addr] = &peer{row: control.Peer{Key: control.PeerKey(key)}}
			c.rows++
		}
		c.tracker.adopt(dataplane.SetPeer{Key: key}, n != nil)
	}
	for _, key := range s.Absent {
		c.tracker.adopt(dataplane.SetAbsent{Key: key}, false)
	}
	for _, key := range s.Pairs {
		d := c.byHandle[key.Domain]
		if d != nil {
			d.pairs[classes{key.Src, key.Dst}] = &pair{}
			c.rows++
		}
		c.tracker.adopt(dataplane.SetPair{Key: key}, d != nil)
		c.lastHandle = max(c.lastHandle, key.Domain)
	}
}

// adopt takes a thing that the switch holds already, with unknown content, to
// keep it or to remove it.
func (t *tracker) adopt(op dataplane.Op, keep bool) {
	key, _ := targetOf(op)
	t.have[key] = op
	if !keep {
		t.dirty[key] = true
	} else if t.want[key] == nil {
		t.want[key] = op
	}
	if t.dirty[key] {
		t.blame(key, nil)
	}
}
