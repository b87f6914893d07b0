package controller

import (
	"cmp"
	"fmt"
	"slices"

	"dove.network/control"
	"dove.network/resolver"
	"dove.network/world"
)

// tunnels is the fleet as every session is told it that opens: encoded once, until it changes.
type tunnels struct {
	all    []control.Tunnel
	digest control.Digest
	parts  []*control.Tunnels // nil: not yet
}

// list returns what is known of the fleet.
func (c *Core) list() *tunnels {
	if c.listed == nil {
		l := &tunnels{}
		for h := range c.world.Hosts() {
			if t := tunnel(&h); t.VTEP.IsValid() {
				l.all = append(l.all, t)
			}
		}
		l.digest = control.FleetDigest(slices.Values(l.all))
		c.listed = l
	}
	return c.listed
}

func (c *Core) fleetDigest() control.Digest { return c.list().digest }

// tunnels lists the fleet.
func (c *Core) tunnels() []control.Down {
	l := c.list()
	if l.parts == nil {
		for rest, full := l.all, true; full || len(rest) > 0; full = false {
			n := min(len(rest), control.TunnelsMax)
			part := &control.Tunnels{Full: full, Add: rest[:n]}
			if err := part.Encode(); err != nil {
				panic(fmt.Sprintf("controller: tunnels do not encode: %v", err))
			}
			l.parts = append(l.parts, part)
			rest = rest[n:]
		}
	}
	var all []control.Down
	for _, part := range l.parts {
		all = append(all, part.At(c.world.Revision()))
	}
	return all
}

// retunnel tells every session who came to the fleet and who left it.
func (c *Core) retunnel(delta world.Delta, news map[control.SessionID][]control.Down) {
	for _, change := range delta.Hosts {
		was, is := tunnel(change.Old), tunnel(change.New)
		if was == is {
			continue
		}
		c.listed = nil
		t := &control.Tunnels{Revision: c.world.Revision()}
		if was.VTEP.IsValid() && was.VTEP != is.VTEP {
			if other, taken := c.world.HostByVTEP(was.VTEP); !taken || !resolver.Joined(other) {
				t.Del = append(t.Del, was.VTEP)
			}
		}
		if is.VTEP.IsValid() {
			t.Add = append(t.Add, is)
		}
		for id, s := range c.sessions {
			if s.identity.Host != cmp.Or(change.New, change.Old).Name {
				news[id] = append(news[id], t)
			}
		}
	}
}

// tunnel is a host as others reach it, zero if they cannot.
func tunnel(h *world.Host) control.Tunnel {
	if h == nil || !resolver.Joined(*h) {
		return control.Tunnel{}
	}
	return control.Tunnel{Host: h.Name, VTEP: h.VTEP, Foreign: h.Foreign, Plain: h.Plain}
}
