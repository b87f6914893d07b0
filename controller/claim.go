package controller

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// ClaimEvery is how often a virtual address may change its holder. What is
// claimed earlier waits, and the last claim counts.
const ClaimEvery = time.Second

// virtual names an address that several endpoints are allowed.
type virtual struct {
	network dove.Network
	addr    netip.Addr
}

// claiming is when a virtual address was claimed last, with whichever member, and who waits for it here.
type claiming struct {
	at   time.Time
	next *edit.ClaimRequest
}

// announced takes a host's word that one of its guests announced an address.
func (c *Core) announced(s *session, m *control.Claim) {
	a, here := s.ports[m.Endpoint]
	e, ok := c.world.Endpoint(m.Endpoint)
	switch {
	case s.crossed(m.Endpoint, m.Epoch):
		return
	case !here || !ok || e.Host != s.identity.Host:
		c.effects = append(c.effects, Denied{Session: s.id, Host: s.identity.Host, Endpoint: m.Endpoint, Detail: "it claims " + m.Addr.String() + " for an endpoint that is not active there"})
		return
	case a.epoch != m.Epoch || !edit.Claimable(c.world, e, m.Addr):
		return // it is so already, or was overtaken
	}
	name := virtual{e.NetworkOf(), m.Addr}
	of := c.claims[name]
	if of == nil {
		of = &claiming{}
		c.claims[name] = of
	}
	of.next = &edit.ClaimRequest{Endpoint: m.Endpoint, Epoch: m.Epoch, Addr: m.Addr}
	c.claimNext(name)
}

// claimNext has a claim written whose time has come.
func (c *Core) claimNext(name virtual) {
	of := c.claims[name]
	if of.next == nil || c.now.Sub(of.at) < ClaimEvery {
		return
	}
	c.effects = append(c.effects, Claimed{*of.next})
	of.at, of.next = c.now, nil
}

// moved notes which virtual addresses have changed holders, whichever member had that
// written: the next change is a while later, here too.
func (c *Core) moved(delta world.Delta) {
	for _, change := range delta.Claims {
		is := change.New
		if is == nil {
			continue
		}
		name := virtual{dove.Network{Tenant: is.Tenant, Name: is.Network}, is.Addr}
		if c.claims[name] == nil {
			c.claims[name] = &claiming{}
		}
		c.claims[name].at = c.now
	}
}

// claimTick goes on with the claims that wait, and forgets those that are over.
func (c *Core) claimTick() {
	for _, name := range slices.SortedFunc(maps.Keys(c.claims), func(a, b virtual) int {
		return cmp.Or(cmp.Compare(a.network.Tenant, b.network.Tenant), cmp.Compare(a.network.Name, b.network.Name), a.addr.Compare(b.addr))
	}) {
		c.claimNext(name)
		if of := c.claims[name]; of.next == nil && c.now.Sub(of.at) >= ClaimEvery {
			delete(c.claims, name)
		}
	}
}
