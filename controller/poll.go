package controller

import (
	"maps"
	"slices"

	"dove.network/control"
	"dove.network/dove"
)

// polled asks what members know of sessions. Who asks hears first which members it
// will hear of, then of each: its statuses, in one or several parts.
func (c *Core) polled(e Polled) {
	asked := map[string][]dove.HostName{}
	if len(e.Hosts) == 0 {
		for name := range c.fellows {
			asked[name] = nil
		}
	}
	for _, h := range e.Hosts {
		if member, _ := c.ledger.Away(h); member != "" && c.hosts[h] == nil {
			asked[member] = append(asked[member], h)
		}
	}
	members := slices.Sorted(maps.Keys(asked))
	c.effects = append(c.effects, Polls{e.Asker, members})
	for _, name := range members {
		c.live.last++
		c.live.polls[c.live.last] = poll{e.Asker, name}
		c.tellFellow(name, &control.StatusRequest{ID: c.live.last, Hosts: asked[name]})
	}
}

// poll is a StatusRequest that waits for its answer.
type poll struct {
	asker  uint64
	member string
}

func (c *Core) statusRequest(name string, m *control.StatusRequest) {
	all := c.Sessions()
	if len(m.Hosts) > 0 {
		all = c.SessionsOf(m.Hosts)
	}
	for _, part := range control.StatusReplies(m.ID, all) {
		c.tellFellow(name, part)
	}
}

func (c *Core) statusReply(name string, m *control.StatusReply) {
	p, ok := c.live.polls[m.ID]
	if !ok || p.member != name {
		return
	}
	if !m.More {
		delete(c.live.polls, m.ID)
	}
	c.effects = append(c.effects, Standing{p.asker, name, m.Sessions, m.More})
}

// pollsParted ends the polls that a member which is gone does not answer.
func (c *Core) pollsParted(name string) {
	for _, id := range slices.Sorted(maps.Keys(c.live.polls)) {
		if p := c.live.polls[id]; p.member == name {
			delete(c.live.polls, id)
			c.effects = append(c.effects, Standing{Asker: p.asker, Member: name})
		}
	}
}
