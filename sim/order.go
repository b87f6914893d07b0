package sim

import (
	"slices"

	"dove.network/agent"
	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// checkOrder checks that a host never hears of less than it has heard of: not
// of an earlier revision, of no change after all of its revision was told, and of no flows
// under other bindings than those that it was assigned last; nor that what it denies is so by an
// earlier revision than the store had when it asked.
func (h *host) checkOrder(m control.Down) {
	revision := revisionOf(m)
	if revision > 0 && revision < h.seen {
		h.sim.fault("%s has seen revision %d, and is sent %T of revision %d", h.name, h.seen, m, revision)
	}
	switch m := m.(type) {
	case *control.Welcome: // nothing of its revision is told yet
		return
	case *control.Frontier:
		h.frontier = m.Revision
	case *control.Update:
		if m.Revision <= h.frontier {
			h.sim.fault("%s was told all of revision %d, and is sent an Update of revision %d", h.name, h.frontier, m.Revision)
		}
	case *control.Assign:
		h.bindings[m.Endpoint] = m.Epoch
	case *control.Unassign:
		delete(h.bindings, m.Endpoint)
	case *control.Carry:
		if epoch := h.bindings[m.Endpoint]; m.Epoch != epoch {
			h.sim.fault("%s is assigned %s under epoch %d, and is sent flows of epoch %d", h.name, m.Endpoint, epoch, m.Epoch)
		}
	case *control.PolicyReply:
		if d, ok := h.doubts[m.ID]; ok && m.Revision < d.revision && slices.ContainsFunc(m.Answers, d.answered) {
			h.sim.fault("%s asked whether to deny what another host let out, when the store was at revision %d, and is answered of revision %d", h.name, d.revision, m.Revision)
		}
	}
	h.seen = max(h.seen, revision)
}

func (d doubted) answered(a control.Answer) bool {
	return a.Question == d.question && a.Status == control.Found
}

// revisionOf returns the revision that a message is of, 0 if it is of none.
func revisionOf(m control.Down) dove.Revision {
	switch m := m.(type) {
	case *control.Welcome:
		return m.Revision
	case *control.Assign:
		return m.Revision
	case *control.Unassign:
		return m.Revision
	case *control.Tunnels:
		return m.Revision
	case *control.PolicyReply:
		return m.Revision
	case *control.Update:
		return m.Revision
	case *control.Expect:
		return m.Revision
	case *control.Frontier:
		return m.Revision
	}
	return 0
}

// doubted is a question about what a host denies, and what the store had when it was asked.
type doubted struct {
	question control.Question
	revision dove.Revision
}

// miss has the agent ask about a packet, or give it back.
func (h *host) miss(m dataplane.Miss) {
	if m.Want == dataplane.WantDenial {
		h.denies = control.PeerKey{VNI: h.holds.ports[m.Port].VNI, Addr: m.Peer}
	}
	h.react(agent.Missed{Miss: m})
	h.denies = control.PeerKey{}
}

// doubt notes a request about what is denied.
func (h *host) doubt(r *control.PolicyRequest) {
	for _, q := range r.Questions {
		if !q.Outgoing && h.denies == (control.PeerKey{VNI: q.VNI, Addr: q.Peer}) {
			h.doubts[r.ID] = doubted{q, h.sim.World().Revision()}
		}
	}
}
