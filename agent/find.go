package agent

import (
	"net/netip"
	"strings"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// find says what the switch would do with the first packet of a flow, by what
// it was last seen to hold. What is under way or fails is in Detail.
func (c *Core) find(t control.Tuple) *control.Finding {
	f := &control.Finding{}
	ours := false
	for _, addr := range [...]netip.Addr{t.Src, t.Dst} {
		a := c.assignedTo(t.VNI, addr)
		if a == nil {
			continue
		}
		ours = true
		if _, open := c.portInForce(a, addr); !open {
			f.Standing, f.Detail = control.StandingNotActive, c.closedBecause(a)
			return f
		}
	}
	if !ours {
		f.Standing = control.StandingUnassigned
		return f
	}
	src, dst := c.end(f, t.VNI, t.Src), c.end(f, t.VNI, t.Dst)
	switch {
	case src.absent || dst.absent:
		f.Standing = control.StandingNoEndpoint
		return f
	case !src.known || !dst.known:
		f.Standing = control.StandingAsk
		return f
	}
	forth := c.pairInForce(f, t.VNI, src.class, dst.class)
	back := c.pairInForce(f, t.VNI, dst.class, src.class)
	if back != nil {
		f.Back = control.Digest(back.Digest())
	}
	if forth == nil {
		f.Standing = control.StandingAsk
		return f
	}
	f.Forth = control.Digest(forth.Digest())
	v := forth.Lookup(t.Protocol, t.DstPort)
	switch {
	case !v.Allow:
		f.Standing, f.Rule = control.StandingDeny, forth.Name(v)
	case src.hidden || dst.hidden:
		f.Standing = control.StandingHidden
	default:
		f.Standing, f.Rule = control.StandingAllow, forth.Name(v)
	}
	return f
}

// assignedTo returns the assignment that has an address, nil if none has.
func (c *Core) assignedTo(vni dove.VNI, addr netip.Addr) *assignment {
	if l, open := c.locals[control.PeerKey{VNI: vni, Addr: addr}]; open {
		return c.assignments[l.endpoint]
	}
	for _, a := range c.assignments {
		if a.VNI == vni && a.own(addr) {
			return a
		}
	}
	return nil
}

// portInForce returns the class of a port's address as the switch holds it;
// open is false if it holds no port with that address.
func (c *Core) portInForce(a *assignment, addr netip.Addr) (class dove.Class, open bool) {
	op, _ := c.tracker.have[target{kind: kindPort, port: a.id}].(dataplane.SetPort)
	for _, x := range op.Port.Addresses {
		if x.Addr == addr && op.Port.VNI == a.VNI && a.id != 0 {
			return x.Class, true
		}
	}
	return 0, false
}

func (c *Core) closedBecause(a *assignment) string {
	if detail := c.portStatus(a).Detail; detail != "" {
		return detail
	}
	return "the port is being opened"
}

// end is what the switch knows of an address.
type end struct {
	class                 dove.Class
	known, absent, hidden bool
}

func (c *Core) end(f *control.Finding, vni dove.VNI, addr netip.Addr) end {
	if a := c.assignedTo(vni, addr); a != nil {
		c.remark(f, target{kind: kindPort, port: a.id}, "port of "+a.Endpoint.String())
		class, _ := c.portInForce(a, addr)
		return end{class: class, known: true}
	}
	key := target{kind: kindPeer, vni: vni, addr: addr}
	c.remark(f, key, "answer about "+addr.String())
	switch op, held := c.tracker.have[key].(dataplane.SetPeer); {
	case held && op.Peer.MAC == dove.MAC{}:
		f.Detail = note(f.Detail, "what is held about "+addr.String()+" since before the restart is not known yet")
		return end{}
	case held:
		return end{class: op.Peer.Class, known: true, hidden: !op.Peer.VTEP.IsValid()}
	}
	_, absent := c.tracker.have[target{kind: kindAbsent, vni: vni, addr: addr}]
	return end{absent: absent}
}

// pairInForce returns the table that the switch holds, nil if none is known.
func (c *Core) pairInForce(f *control.Finding, vni dove.VNI, src, dst dove.Class) *verdict.Table {
	n := c.networks[vni]
	if n == nil {
		return nil
	}
	key := target{kind: kindPair, pair: dataplane.PairKey{Domain: n.domain.handle, Src: src, Dst: dst}}
	c.remark(f, key, "table")
	op, held := c.tracker.have[key].(dataplane.SetPair)
	if held && op.Table == nil {
		f.Detail = note(f.Detail, "what is held of a table since before the restart is not known yet")
	}
	return op.Table
}

// remark says what is wrong with a part of what a finding rests on.
func (c *Core) remark(f *control.Finding, key target, what string) {
	_, flying := c.tracker.flight[key]
	switch failure, failed := c.tracker.failed[key]; {
	case failed:
		f.Detail = note(f.Detail, "the switch refused the "+what+", which will be tried again: "+failure.text)
	case flying || c.tracker.dirty[key]:
		f.Detail = note(f.Detail, "a change of the "+what+" is under way")
	}
}

// note adds to a text what is not in it yet.
func note(text, more string) string {
	switch {
	case text == "":
		return more
	case strings.Contains(text, more):
		return text
	}
	return text + "; " + more
}
