package sim

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"dove.network/agent"
	"dove.network/controller"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/world"
)

// RestartMember ends the member and starts it again: it knows what the store
// holds, and nothing of its sessions. Hosts that had one open another.
func (s *Sim) RestartMember() error {
	var had []dove.HostName
	for _, h := range s.hosts {
		if h.session != 0 {
			had = append(had, h.name)
			s.Cut(h.name)
		}
	}
	w := world.New()
	revision, err := s.store.Load(context.Background(), world.Prefix, func(docs []dove.Doc) (err error) {
		w, _, err = w.Apply(0, docs)
		return err
	})
	if err == nil {
		w, _, err = w.Apply(revision, nil)
	}
	if err != nil {
		return err
	}
	s.core = controller.NewCore("sim", w)
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
		session := h.session
		h.session = 0
		s.member(controller.Closed{Session: session})
	}
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
