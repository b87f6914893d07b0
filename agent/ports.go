package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// assignment is an endpoint of this host, and its port once it has a device.
type assignment struct {
	control.Assign
	confirmed bool // said in this session
	outlived  bool // from an earlier incarnation of the store: any epoch replaces it
	recalled  bool // only written down by an earlier run: opens no port before the DPC says it again

	id      dataplane.PortID // 0 while it has no port
	device  Device           // of the port
	failure failure          // why the port could not be opened last
	held    int              // packets held for the port
	pieces  int              // fragments held for it beside
	vain    time.Time        // until when what it asked for in vain counts
	claims  time.Time        // until when what its guest announced counts
	told    control.EndpointUpdate
	adopted adoption
	touched bool
	kept    uint64 // number of the Save that has it as it is
}

// device is a device that exists, or one that a saved port had and that has not
// been seen yet.
type device struct {
	Device
	assumed bool
}

// local is an address of a port of this host.
type local struct {
	endpoint dove.Endpoint
	class    dove.Class
}

// class returns the class of an address that the assignment has, is allowed, or
// with port security off may use; false if it may not.
func (a *assignment) class(addr netip.Addr) (dove.Class, bool) {
	for _, x := range a.Address {
		if x.Addr == addr {
			return x.Class, true
		}
	}
	class, longest := a.Assign.Class, -1
	for _, x := range a.Allowed {
		if x.Prefix.Contains(addr) && x.Prefix.Bits() > longest {
			class, longest = x.Class, x.Prefix.Bits()
		}
	}
	return class, longest >= 0 || a.Open
}

// own reports whether an address is one of the assignment's, not just allowed.
func (a *assignment) own(addr netip.Addr) bool {
	return slices.ContainsFunc(a.Address, func(x control.Address) bool { return x.Addr == addr })
}

// speaks returns the address that a question about a packet is asked from: with
// port security off, a packet's may be known to nobody, and an own one stands for it.
func (a *assignment) speaks(addr netip.Addr) netip.Addr {
	if a.own(addr) || slices.ContainsFunc(a.Allowed, func(x control.Allowed) bool { return x.Prefix.Contains(addr) }) {
		return addr
	}
	for _, x := range a.Address {
		if x.Addr.Is4() == addr.Is4() {
			return x.Addr
		}
	}
	return addr
}

func (c *Core) assign(m *control.Assign) {
	a := c.assignments[m.Endpoint]
	switch {
	case a == nil:
		a = &assignment{Assign: *m, confirmed: true}
		c.assignments[m.Endpoint] = a
		c.joinTrunk(a)
	case !a.outlived && m.Epoch < a.Epoch:
		return
	default:
		a.confirmed, a.outlived = true, false
		old := a.Assign
		if old.Revision = m.Revision; !a.recalled && reflect.DeepEqual(old, *m) {
			a.Revision = m.Revision
			return
		}
		if a.recalled {
			a.recalled, c.tracker.cause = false, unknown
		}
		if a.id != 0 && (a.UID != m.UID || a.VNI != m.VNI || a.Domain != m.Domain) {
			c.closePort(a)             // another life, or another place: its flows must not go on
			defer c.reconcileWaiting() // its device or VLAN may be free
		}
		c.forgetLocals(a)
		if a.Epoch != m.Epoch {
			c.forgetMove(a)
		}
		c.leaveTrunk(a)
		a.Assign = *m
		c.joinTrunk(a)
	}
	a.failure = failure{}
	c.keep(a)
	c.reconcile(a)
	c.missAgain(a)
}

func (c *Core) unassign(m *control.Unassign) {
	if a := c.assignments[m.Endpoint]; a != nil && (a.outlived || m.Epoch >= a.Epoch) {
		c.forgetAssignment(a)
	}
}

func (c *Core) forgetAssignment(a *assignment) {
	if a.id != 0 {
		c.closePort(a)
	}
	c.forgetMove(a)
	c.leaveTrunk(a)
	delete(c.assignments, a.Endpoint)
	c.unsaved = true
	c.reconcileWaiting()
}

// reconcile brings the assignment's port to what assignment and devices say.
func (c *Core) reconcile(a *assignment) {
	dev, problem := c.deviceFor(a)
	if a.id != 0 && dev != a.device {
		c.closePort(a)
		if a.Parent == "" { // else it was its parent's device, and is of nobody else
			defer c.reconcileWaiting()
		}
	}
	switch {
	case problem != "":
		a.failure = failure{text: problem, retry: c.now.Add(retryMax)}
	case dev == Device{} || a.recalled && a.id == 0:
		a.failure = failure{}
	case a.failure.text != "" && c.now.Before(a.failure.retry):
	default:
		if a.id == 0 {
			c.openPort(a, dev)
		}
		c.refreshNetwork(a)
		c.openLocals(a)
		c.tracker.set(dataplane.SetPort{Port: a.port()})
		c.reconcileSubPorts(a)
	}
	c.touch(a)
}

// reconcileWaiting looks again at those without a port: a device may be free.
func (c *Core) reconcileWaiting() {
	for _, a := range c.sortedAssignments() {
		if a.id == 0 {
			c.reconcile(a)
		}
	}
}

func (a *assignment) port() dataplane.Port {
	p := dataplane.Port{
		ID: a.id, Endpoint: a.Endpoint, UID: a.UID, VNI: a.VNI, MAC: a.MAC,
		Device: a.device.Name, Ifindex: a.device.Ifindex, Kind: a.device.Kind,
		Other: a.Other.VTEP, Standby: a.Standby, VLAN: a.VLAN,
	}
	for _, x := range a.Address {
		p.Addresses = append(p.Addresses, dataplane.Address(x))
	}
	for _, x := range a.Allowed {
		p.Allowed = append(p.Allowed, dataplane.Allowed(x))
	}
	p.Open, p.Class = a.Open, a.Assign.Class
	return p
}

// DefaultDevices are the names that the device of an endpoint may have when
// nobody named one: "tap" or "dv" and the first eleven characters of its id.
func DefaultDevices(id dove.EndpointID) [2]string {
	s := string(id)[:min(len(id), 11)]
	return [2]string{"tap" + s, "dv" + s}
}

// deviceFor finds the device that the assignment should have now; the zero
// Device if it is not there. The problem says why it cannot have one.
func (c *Core) deviceFor(a *assignment) (Device, string) {
	if c.config.MTU > 0 && int(a.MTU) > c.config.MTU {
		return Device{}, fmt.Sprintf("network %s has MTU %d, the underlay of this host carries %d: raise the MTU of the underlay device and restart the dswitch", a.Network, a.MTU, c.config.MTU)
	}
	if a.Standby && !a.Other.VTEP.IsValid() {
		return Device{}, "the host on which it is active cannot be reached: let that join the fleet"
	}
	if a.Parent != "" {
		return c.parentDevice(a), ""
	}
	names := DefaultDevices(a.Endpoint.ID)
	candidates := names[:]
	if a.Device != "" {
		candidates = []string{a.Device}
	}
	if name, plugged := c.plugs[a.Endpoint]; plugged {
		candidates = []string{name}
	}
	if slices.Contains(candidates, a.device.Name) && !slices.Contains(c.config.Own, a.device.Name) && c.devices[a.device.Name].Device == a.device {
		return a.device, ""
	}
	problem := ""
	for _, name := range candidates {
		if slices.Contains(c.config.Own, name) {
			problem = ownDevice(name)
			continue
		}
		d, ok := c.devices[name]
		if !ok {
			continue
		}
		if user := c.users[name]; user != nil && user != a {
			problem = fmt.Sprintf("device %s is the port of endpoint %s; name another device with dswitch plug", name, user.Endpoint)
			continue
		}
		return d.Device, ""
	}
	return Device{}, problem
}

func ownDevice(name string) string {
	return fmt.Sprintf("device %s is the host's own and no guest's: name the device of the endpoint", name)
}

func (c *Core) openPort(a *assignment, d Device) {
	a.id, a.device = c.freePort(), d
	c.ports[a.id] = a
	c.use(a)
	c.keep(a)
	c.joinNetwork(a)
}

// freePort chooses the next id that neither a port nor the switch uses.
func (c *Core) freePort() dataplane.PortID {
	for range 65535 {
		c.lastPort = c.lastPort%65535 + 1
		key := target{kind: kindPort, port: c.lastPort}
		_, have := c.tracker.have[key]
		_, flying := c.tracker.flight[key]
		if c.ports[c.lastPort] == nil && !have && !flying && !c.tracker.dirty[key] {
			return c.lastPort
		}
	}
	panic("agent: 65535 ports are open")
}

// openLocals knows the port's addresses as this host's own; what was held of them
// while they were elsewhere goes, unless they are only on standby here.
func (c *Core) openLocals(a *assignment) {
	n := c.networks[a.VNI]
	for _, x := range a.Address {
		key := control.PeerKey{VNI: a.VNI, Addr: x.Addr}
		c.locals[key] = local{a.Endpoint, x.Class}
		if n.peers[x.Addr] != nil && !a.Standby {
			c.dropPeer(n, x.Addr)
			c.freed.Peers = append(c.freed.Peers, key)
		}
	}
}

func (c *Core) forgetLocals(a *assignment) {
	for _, x := range a.Address {
		key := control.PeerKey{VNI: a.VNI, Addr: x.Addr}
		if c.locals[key].endpoint == a.Endpoint {
			delete(c.locals, key)
		}
	}
}

// closePort closes the assignment's port; its held packets are discarded, and
// if it was the last of its network, so is what was held for that.
func (c *Core) closePort(a *assignment) {
	c.tracker.remove(target{kind: kindPort, port: a.id})
	a.adopted = adoption{} // went with the port
	c.forgetLocals(a)
	c.dropHeld(a)
	delete(c.ports, a.id)
	if c.users[a.device.Name] == a {
		delete(c.users, a.device.Name)
	}
	a.id, a.device = 0, Device{}
	c.keep(a)
	c.leaveNetwork(a)
	c.reconcileSubPorts(a)
}

// portFailed closes a port that the switch could not open, and tries later: a
// port in an unknown state is never left open.
func (c *Core) portFailed(a *assignment, fault string) {
	tries := a.failure.tries + 1
	c.closePort(a)
	a.failure = failure{text: fault, tries: tries, retry: c.now.Add(retryAfter(tries))}
}

func (c *Core) retryPorts() {
	due := func(a *assignment) bool {
		return a.id == 0 && a.failure.text != "" && !c.now.Before(a.failure.retry)
	}
	for _, a := range c.assignments {
		if due(a) {
			for _, a := range c.sortedAssignments() {
				if due(a) {
					c.reconcile(a)
				}
			}
			return
		}
	}
}

func (c *Core) deviceUp(d Device) {
	old, known := c.devices[d.Name]
	c.devices[d.Name] = device{Device: d}
	if known && old.Device == d {
		// The same again: something else about it changed, which may have cured it.
		for _, a := range c.sortedAssignments() {
			if a.id == 0 && a.failure.text != "" {
				a.failure.retry = c.now
				c.reconcile(a)
			}
		}
		return
	}
	if user := c.users[d.Name]; user != nil {
		user.failure = failure{}
		c.reconcile(user)
	}
	c.reconcileWaiting()
}

func (c *Core) deviceGone(name string) {
	delete(c.devices, name)
	if a := c.users[name]; a != nil {
		a.failure = failure{}
		c.reconcile(a)
	}
}

func (c *Core) devicesListed() {
	for _, name := range slices.Sorted(maps.Keys(c.devices)) {
		if c.devices[name].assumed {
			c.deviceGone(name)
		}
	}
}

// CheckPlug reports why an endpoint cannot be plugged to a device; a device or
// an assignment that is not there yet is no reason.
func (c *Core) CheckPlug(e dove.Endpoint, name string) error {
	switch {
	case len(name) > 15 || strings.ContainsAny(name, "/ \t\n:"):
		return dove.Errorf(dove.Invalid, "device name %q: a Linux device has at most 15 characters without spaces, slashes and colons", name)
	case c.plugs[e] == "" && len(c.plugs) >= PlugsMax:
		return dove.Errorf(dove.TooLarge, "%d endpoints are plugged by name already; unplug one", PlugsMax)
	}
	if name == "" {
		return nil
	}
	if slices.Contains(c.config.Own, name) {
		return dove.Errorf(dove.Invalid, "%s", ownDevice(name))
	}
	if a := c.assignments[e]; a != nil && a.Parent != "" {
		return dove.Errorf(dove.Conflict, "endpoint %s is a sub-port of %s, and has its device: plug that", e, a.parent())
	}
	if user := c.users[name]; user != nil && user.Endpoint != e {
		return dove.Errorf(dove.Conflict, "device %s is the port of endpoint %s; unplug that first", name, user.Endpoint)
	}
	return nil
}

func (c *Core) plug(p Plug) {
	if c.CheckPlug(p.Endpoint, p.Device) != nil {
		return
	}
	if p.Device == "" {
		delete(c.plugs, p.Endpoint)
	} else {
		c.plugs[p.Endpoint] = p.Device
	}
	c.replug(p.Endpoint)
}

func (c *Core) unplug(e dove.Endpoint) {
	if c.assignments[e] == nil {
		delete(c.plugs, e)
	} else if len(c.plugs) < PlugsMax {
		c.plugs[e] = ""
	}
	c.replug(e)
}

func (c *Core) replug(e dove.Endpoint) {
	c.unsaved = true
	if a := c.assignments[e]; a != nil {
		c.keep(a)
		a.failure = failure{}
		c.reconcile(a)
	}
}

// state says what became of an assignment; ok is false while its port is being
// opened or changed.
func (c *Core) state(a *assignment) (u control.EndpointUpdate, ok bool) {
	u = control.EndpointUpdate{Endpoint: a.Endpoint, Epoch: a.Epoch, Device: a.device.Name}
	switch {
	case a.id != 0 && c.tracker.inForce(target{kind: kindPort, port: a.id}):
		u.State = control.EndpointActive
	case a.id != 0:
		return u, false
	case a.failure.text != "":
		u.State, u.Detail = control.EndpointFailed, a.failure.text
	default:
		u.State, u.Detail = control.EndpointWaiting, c.lacks(a)
	}
	return u, c.addMove(a, &u)
}

// tellable is state, of what is written down.
func (c *Core) tellable(a *assignment) (u control.EndpointUpdate, ok bool) {
	u, ok = c.state(a)
	return u, ok && a.kept <= c.written
}

// lacks says which device an assignment waits for, "" if it is there.
func (c *Core) lacks(a *assignment) string {
	name, plugged := c.plugs[a.Endpoint]
	switch {
	case a.device.Name != "":
		return ""
	case a.recalled:
		return "the DPC has not assigned it again since this agent started"
	case a.Parent != "":
		return fmt.Sprintf("endpoint %s, whose sub-port it is, has no port", a.parent())
	case plugged && name == "":
		return "unplugged"
	case !plugged:
		name = a.Device
	}
	if name == "" {
		names := DefaultDevices(a.Endpoint.ID)
		name = names[0] + " or " + names[1]
	}
	return "there is no device " + name
}

// keep has an assignment, or the device that it should have, written down, which has changed.
func (c *Core) keep(a *assignment) {
	c.unsaved = true
	a.kept = c.keeping()
}

func (c *Core) touch(a *assignment) {
	if !a.touched {
		a.touched = true
		c.touched = append(c.touched, a)
	}
}

// announce tells the DPC the states that changed.
func (c *Core) announce() {
	later := c.touched[:0]
	for _, a := range c.touched {
		u, ok := c.tellable(a)
		switch {
		case c.assignments[a.Endpoint] != a || !c.session.open:
			a.touched = false
		case !ok:
			later = append(later, a)
		default:
			a.touched = false
			if u != a.told {
				a.told = u
				c.send(&u)
			}
		}
	}
	clear(c.touched[len(later):])
	c.touched = later
}

func (c *Core) sortedAssignments() []*assignment {
	return slices.SortedFunc(maps.Values(c.assignments), func(a, b *assignment) int {
		return compareEndpoints(a.Endpoint, b.Endpoint)
	})
}
