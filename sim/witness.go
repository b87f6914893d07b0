package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/packet"
	"dove.network/world"
)

// era is a revision of the world, and whose it changed.
type era struct {
	world   *world.World
	tenants []dove.Tenant
	all     bool // everybody's
}

// erasMax is how many revisions are remembered. What a host does that is further
// behind is not judged.
const erasMax = 1 << 12

// begin remembers a revision.
func (s *Sim) begin(w *world.World, delta world.Delta) {
	e := era{world: w, all: delta.Meta || len(delta.Hosts) > 0} // members come and go without anybody's flows
	add := func(t dove.Tenant) {
		if !slices.Contains(e.tenants, t) {
			e.tenants = append(e.tenants, t)
		}
	}
	for _, c := range delta.Blueprints {
		add(cmp.Or(c.New, c.Old).Tenant)
	}
	for _, c := range delta.Networks {
		add(cmp.Or(c.New, c.Old).Tenant)
	}
	for _, c := range delta.Routers {
		add(cmp.Or(c.New, c.Old).Tenant)
	}
	for _, c := range delta.Endpoints {
		add(cmp.Or(c.New, c.Old).Tenant)
	}
	for _, c := range delta.Claims {
		add(cmp.Or(c.New, c.Old).Tenant)
	}
	for _, d := range delta.Domains {
		add(d.Tenant)
	}
	if s.eras = append(s.eras, e); len(s.eras) > 2*erasMax {
		s.eras = slices.Delete(s.eras, 0, erasMax)
	}
	if e.all {
		s.joined = joinedIn(w)
	}
	for _, h := range s.hosts {
		h.unsure = h.unsure || e.all || slices.ContainsFunc(e.tenants, h.serves)
	}
}

// touches reports whether a revision changed something of a tenant.
func (e era) touches(t dove.Tenant) bool { return e.all || slices.Contains(e.tenants, t) }

// serves reports whether the switch of a host holds anything of a tenant.
func (h *host) serves(t dove.Tenant) bool {
	for vni := range h.holds.networks {
		if n, ok := h.sim.World().NetworkByVNI(vni); !ok || n.Tenant == t {
			return true
		}
	}
	for _, p := range h.holds.ports {
		if p.Endpoint.Tenant == t {
			return true
		}
	}
	return false
}

// floor is the latest revision up to which the host is known to enforce all that
// concerns it: its member has applied that, and the host has acknowledged what it was told.
func (h *host) floor() dove.Revision {
	if !h.live() || h.at().dead {
		return h.enforced
	}
	for _, status := range h.at().core.SessionsOf([]dove.HostName{h.name}) {
		switch {
		case status.Session != h.session:
		case status.Acked == status.Told:
			h.enforced = max(h.enforced, h.at().core.World().Revision())
		default:
			h.enforced = max(h.enforced, status.Acked)
		}
	}
	return h.enforced
}

// standing says how far a host is.
func (h *host) standing() string {
	switch w := h.sim.wires[h.session]; {
	case w == nil:
		return fmt.Sprintf("%s enforces revision %d, without a session", h.name, h.floor())
	default:
		return fmt.Sprintf("%s enforces revision %d, in session %d with member %s, which is at %d", h.name, h.floor(), w.id, w.member.name, w.member.core.World().Revision())
	}
}

// sight is a packet that a switch lets pass, as whoever watches sees it.
type sight struct {
	from, to  *guest // of the first packet of the flow; to is nil if it is not known
	src, dst  netip.Addr
	protocol  dove.Protocol
	port      uint16
	back      bool   // it answers
	own       uint16 // port that an answer goes to
	near, far *host  // of the sender and of the receiver of this packet; nil where that is not known
	here      *guest // the one whose host is judged: of the other that knows address and host only
}

func (p sight) String() string {
	what := "a packet"
	if p.back {
		what = "an answer to what"
	}
	return fmt.Sprintf("%s from %s at %s to %s, %s %d", what, p.from.endpoint, p.src, p.dst, p.protocol, p.port)
}

// see makes a sight of a frame that an exchange sent; false if it is none.
func (s *Sim) see(frame []byte) (p sight, x *exchange, ok bool) {
	m, marked := markOf(frame)
	x = s.talks[m.talk]
	if !marked || x == nil || x.from == nil {
		return p, nil, false
	}
	inner, fault := packet.Parse(frame)
	if fault != packet.OK || inner.Kind != packet.IP || inner.Piece != packet.Whole || toldMTU(frame, inner) > 0 {
		return p, nil, false
	}
	p = sight{from: x.from, src: inner.Src, dst: inner.Dst, protocol: inner.Protocol, port: inner.DstPort}
	if inner.Protocol == dove.ProtocolICMP || inner.Protocol == dove.ProtocolICMPv6 {
		p.port = inner.TypeCode // of an echo reply that nobody asked for, DstPort is its identifier
	}
	switch {
	case m.sender == x.from.serial && x.begun == nil:
		return p, x, true
	case m.sender == x.from.serial:
		p.from, p.to = x.begun, x.from
	default:
		i := slices.IndexFunc(x.reached, func(g *guest) bool { return g.serial == m.sender })
		if i < 0 || x.begun != nil {
			return p, nil, false
		}
		p.to = x.reached[i]
	}
	p.back, p.src, p.dst, p.port, p.own = true, inner.Dst, inner.Src, inner.SrcPort, inner.DstPort
	return p, x, true
}

// leaving looks at a frame that a switch lets out to another host.
func (s *Sim) leaving(h, to *host, frame []byte) {
	p, x, ok := s.see(frame)
	if !ok {
		return
	}
	sender := p.from
	if p.back {
		sender = p.to
	}
	p.far = to
	if h.devices[sender.slot()] == sender { // else it hands on what is for a guest that moved
		p.near, p.here = h, sender
		x.via[p.way()] = h
	}
	s.jot("%s lets out to %s %s", h.name, to.name, p)
	s.hold(h, p, "lets out")
}

// arriving looks at a frame that a switch delivers to a guest.
func (s *Sim) arriving(h *host, g *guest, frame []byte) {
	p, x, ok := s.see(frame)
	if !ok {
		return
	}
	if !p.back {
		p.to = g
	} else if g != p.from {
		if !s.mistaken(x.via[p.way()], p, g) {
			s.fault("%s delivers to %s what is for %s: %s", h.name, g.endpoint, p.from.endpoint, p)
			return
		}
		p.from = g
	}
	p.far, p.here = h, g
	if via := x.via[p.way()]; via != nil && via != h {
		p.near = via
	}
	s.jot("%s delivers %s", h.name, p)
	s.hold(h, p, "delivers")
}

// mistaken reports whether the host that let an answer out is cut off, and g is a next hop to the
// address as good as the one that the answer is for: that host may not have heard of the
// latter, and takes what comes from there for what the former sends.
func (s *Sim) mistaken(from *host, p sight, g *guest) bool {
	if from == nil || from.current() {
		return false
	}
	to, ok := s.World().Endpoint(p.to.endpoint)
	return ok && slices.ContainsFunc(owners(s.World(), to, p.src), func(e world.Endpoint) bool { return e.Full() == g.endpoint && e.UID == g.uid })
}

func (p sight) way() int {
	if p.back {
		return 1
	}
	return 0
}

// hold holds what a switch lets pass against the oracle: it must be allowed by the
// world of the latest revision, or of one that the host need not have left behind.
func (s *Sim) hold(h *host, p sight, does string) {
	t, floor := p.from.endpoint.Tenant, h.floor()
	for i := len(s.eras) - 1; ; i-- {
		e := s.eras[i]
		if (i == len(s.eras)-1 || s.eras[i+1].touches(t)) && p.rightIn(e.world) {
			return
		}
		if e.world.Revision() <= floor {
			break
		}
		if i == 0 {
			return // it is further behind than is remembered
		}
	}
	s.fault("%s %s %s; the oracle says that nothing allows it since revision %d, of %d: %s; %s", h.name, does, p, floor, s.World().Revision(), p.wrongIn(s.World()), p.ends())
}

// rightIn reports whether a packet is what a world allows.
func (p sight) rightIn(w *world.World) bool { return p.wrongIn(w) == "" }

// wrongIn says why a world does not allow a packet, "" if it does. The end that is not
// here is whoever has its address: a host that is cut off sends for an endpoint that
// is no more, and nobody else can tell it from the next one of that address there. Nor
// need the host of a next hop know over whom a route leads: another one has followed it.
func (p sight) wrongIn(w *world.World) string {
	from, ok := w.Endpoint(p.from.endpoint)
	same := ok && from.UID == p.from.uid
	if p.here != p.from && !same {
		from, same = w.EndpointOn(p.from.on, p.src)
	}
	near, far := p.near, p.far
	if p.back {
		near, far = far, near
	}
	switch {
	case !same:
		return fmt.Sprintf("%s is not there", p.from.endpoint)
	case near != nil && !from.BoundTo(near.name):
		return fmt.Sprintf("%s is on %s, not on %s", p.from.endpoint, from.Host, near.name)
	case !from.Has(p.src):
		return fmt.Sprintf("%s has not the address %s", p.from.endpoint, p.src)
	}
	why, all := fmt.Sprintf("nobody has %s", p.dst), owners(w, from, p.dst)
	if p.to != nil && p.here == p.to && near != nil && near != far {
		if to, ok := w.Endpoint(p.to.endpoint); ok && to.Has(p.dst) {
			all = append(all, to)
		}
	}
	for _, to := range all {
		switch {
		case p.to != nil && p.here == p.to && (to.Full() != p.to.endpoint || to.UID != p.to.uid):
			why = fmt.Sprintf("%s has %s", to.Full(), p.dst)
		case far != nil && !to.BoundTo(far.name):
			why = fmt.Sprintf("%s is on %q, not on %s", to.Full(), to.Host, far.name)
		default:
			a := byOracle(w, Packet{Src: p.src, Dst: p.dst}, from, to, p.protocol, p.port)
			if a.Allow || p.back && (a.Stateless || byOracle(w, Packet{Src: p.dst, Dst: p.src}, to, from, p.protocol, p.own).Allow) {
				return "" // an answer may pass by a rule of its own
			}
			why = a.Rule + " denies it"
		}
	}
	return why
}

// ends says how far the hosts of both ends are.
func (p sight) ends() string {
	var said strings.Builder
	for _, h := range []*host{p.near, p.far} {
		if h != nil {
			said.WriteString(h.standing() + "; ")
		}
	}
	return said.String()
}
