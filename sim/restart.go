package sim

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"dove.network/agent"
	"dove.network/dataplane"
	"dove.network/dove"
)

// RestartMember ends all members and starts them again: they know what the store
// holds, and nothing of their sessions. Hosts that had one open another.
func (s *Sim) RestartMember() error {
	var had []dove.HostName
	for _, h := range s.hosts {
		if h.session != 0 {
			had = append(had, h.name)
			s.Cut(h.name)
		}
	}
	for _, m := range s.members {
		s.dropPeerings(m)
		if err := m.start(); err != nil {
			return err
		}
	}
	for _, p := range s.peerings {
		s.greet(p)
	}
	for _, name := range had {
		s.Connect(name)
	}
	return nil
}

// RestartAgent kills the agent of a host and starts it again, with what it wrote
// down last. Its switch goes on meanwhile; what the agent had not told it yet,
// and the packets that it held, are lost. It opens a session.
func (s *Sim) RestartAgent(name dove.HostName) {
	h := s.host(name)
	if h.session != 0 {
		s.abandon(h)
	}
	if !s.sole() {
		h.seen = h.saved.Seen // what it heard of since is forgotten
	}
	h.route = s.newRoute(h)
	h.applying = false
	h.core = agent.NewCore(h.config(), agent.Restored{Saved: h.saved, Switch: h.holds.keys()})
	for _, at := range slices.SortedFunc(maps.Keys(h.devices), func(a, b slot) int { return strings.Compare(a.device, b.device) }) {
		if at.vlan == 0 {
			h.react(agent.DeviceUp{Device: h.devices[at].link(h)})
		}
	}
	h.react(agent.DevicesListed{})
	s.Connect(name)
}

// keys lists what the switch holds, as the agent finds it.
func (c contents) keys() agent.Contents {
	return agent.Contents{
		Networks: slices.Sorted(maps.Keys(c.networks)),
		VTEPs:    slices.SortedFunc(maps.Keys(c.vteps), netip.Addr.Compare),
		Ports:    slices.Sorted(maps.Keys(c.ports)),
		Peers:    slices.SortedFunc(maps.Keys(c.peers), comparePeerKeys),
		Absent:   slices.SortedFunc(maps.Keys(c.absent), comparePeerKeys),
		Pairs:    slices.SortedFunc(maps.Keys(c.pairs), comparePairKeys),
	}
}

// link is the guest's device as a host sees it.
func (g *guest) link(h *host) agent.Device {
	return agent.Device{Name: g.device, Ifindex: g.ifindexes[h], Kind: dataplane.Veth}
}
