package explain

import (
	"fmt"
	"net/netip"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/resolver"
	"dove.network/verdict"
	"dove.network/world"
)

// Question is "may From open this flow to To?". Port is the destination's, or
// type<<8|code for ICMP and ICMPv6, or 0 for protocols without ports.
type Question struct {
	From, To End
	Protocol dove.Protocol
	Port     uint16
}

// End is an endpoint, by one of its addresses or, if Addr is the zero Addr, by
// whichever is of the other end's family. Without an Endpoint it is an address that
// nobody has, on the Network or, if that is zero, wherever it leads to.
type End struct {
	Endpoint dove.Endpoint
	Addr     netip.Addr
	Network  dove.Network
}

// Place is what and where one end is. Endpoint is zero if nobody has Addr, and Network if
// that is on none either. Class is 0 if it has none. Host is "" if
// the endpoint is bound to none, VTEP the zero Addr unless that host has joined.
// A Foreign host runs no dSwitch.
type Place struct {
	Endpoint dove.Endpoint
	UID      dove.UID
	Addr     netip.Addr
	Network  dove.Network
	VNI      dove.VNI
	Groups   []dove.Group
	Class    dove.Class
	Host     dove.HostName
	VTEP     netip.Addr
	Foreign  bool
}

// Answer is what a World says of a Question.
type Answer struct {
	Revision dove.Revision
	From, To Place
	Protocol dove.Protocol // ICMP or ICMPv6 as the addresses want it
	Port     uint16
	Domain   dove.Domain // of both; zero if they are not of one
	Router   string      // joins their networks; "" if they are on one, or none does

	// Allowed is the verdict of policy and Rule what gave it. Where it is denied
	// and no policy says so, Near is the rule that came nearest to allowing it.
	Allowed bool
	Rule    string
	Near    policy.Near
	// Would is what would give the verdict, WouldAllow, if policies in shadow counted; ""
	// if it is none of these.
	Would      string
	WouldAllow bool
	// NoReply is set where it is allowed, and an end that keeps no state denies what
	// answers it.
	NoReply []NoReply
	// Forth and Back name the tables of both directions, as switches hold them.
	Forth, Back verdict.Digest
	// Obstacles say what besides policy keeps packets from arriving.
	Obstacles []string
}

// NoReply is ports of the sender, from 1 on, at which it gets no answer, and the rule that denies
// that. They are all (0 to 65535) for protocols without ports.
type NoReply struct {
	First, Last uint16
	Rule        string
}

// Silenced names the rule that denies the answer to a packet from a port, "" if none does.
func (a Answer) Silenced(port uint16) string {
	for _, n := range a.NoReply {
		if n.First <= port && port <= n.Last {
			return n.Rule
		}
	}
	return ""
}

// Reaches reports whether a packet arrives, as far as the World knows.
func (a Answer) Reaches() bool { return a.Allowed && len(a.Obstacles) == 0 }

// Why answers a question. Errors, dove.NotFound and dove.Invalid, are about
// ends that do not exist or have no address family in common.
func Why(w *world.World, q Question) (Answer, error) {
	if q.From.nobodys() || q.To.nobodys() {
		return whyNobody(w, q)
	}
	from, ok := w.Endpoint(q.From.Endpoint)
	if !ok {
		return Answer{}, missing(q.From.Endpoint)
	}
	to, ok := w.Endpoint(q.To.Endpoint)
	if !ok {
		return Answer{}, missing(q.To.Endpoint)
	}
	src, dst, ok := addresses(q, from, to)
	if !ok {
		return Answer{}, dove.Errorf(dove.Invalid, "endpoints %s and %s have no address family in common: ask about addresses that both have", from.Full(), to.Full())
	}
	a := Answer{Revision: w.Revision(), Protocol: protocolOver(q.Protocol, dst), Port: q.Port}
	var srcSignature, dstSignature policy.Signature
	var srcDomain, dstDomain dove.Domain
	a.From, srcDomain, srcSignature = place(w, from, src)
	a.To, dstDomain, dstSignature = place(w, to, dst)
	if r, ok := w.Between(a.From.Network, a.To.Network); ok {
		a.Router = r.Name
	}
	if srcDomain == dstDomain {
		a.Domain = srcDomain
	}
	a.Obstacles = obstacles(a)
	if a.Domain == (dove.Domain{}) {
		a.Rule = verdict.DefaultDeny
		return a, nil
	}
	a.judge(w.Domain(a.Domain), srcSignature, dstSignature)
	return a, nil
}

// judge asks what policy says.
func (a *Answer) judge(intent *policy.Domain, src, dst policy.Signature) {
	forth, back := intent.Table(src, dst), intent.Table(dst, src)
	a.Forth, a.Back = forth.Digest(), back.Digest()
	v := forth.Lookup(a.Protocol, a.Port)
	a.Allowed, a.Rule = v.Allow, forth.Name(v)
	a.Would, a.WouldAllow = forth.WouldName(v), v.WouldAllow
	a.Near = intent.Nearest(src, dst, a.Protocol, a.Port)
	if a.Allowed && !back.Stateful() {
		a.NoReply = noReply(back, a.Protocol, a.Port)
	}
}

// noReply lists where the table of the way back denies what answers a packet.
func noReply(back *verdict.Table, p dove.Protocol, port uint16) []NoReply {
	if !p.HasPorts() {
		switch {
		case p == dove.ProtocolICMP && port == 8<<8:
			port = 0
		case p == dove.ProtocolICMPv6 && port == 128<<8:
			port = 129 << 8
		case p.IsICMP():
			return nil // nobody answers it
		}
		if v := back.Lookup(p, port); v.NoReply {
			return []NoReply{{0, 65535, back.Name(v)}}
		}
		return nil
	}
	intervals := []verdict.Interval{{Last: 65535, Verdict: back.Default}}
	for _, s := range back.Sections {
		if s.Protocol == p {
			intervals = s.Intervals
		}
	}
	var all []NoReply
	first := uint16(0)
	for _, i := range intervals {
		switch n := len(all); {
		case !i.Verdict.NoReply || i.Last == 0: // nobody sends from port 0
		case n > 0 && all[n-1].Last+1 == first && all[n-1].Rule == back.Name(i.Verdict):
			all[n-1].Last = i.Last
		default:
			all = append(all, NoReply{first, i.Last, back.Name(i.Verdict)})
		}
		first = i.Last + 1
	}
	return all
}

// protocolOver is ICMP or ICMPv6 as an address wants it, or the protocol.
func protocolOver(p dove.Protocol, addr netip.Addr) dove.Protocol {
	switch {
	case !p.IsICMP():
		return p
	case addr.Is6():
		return dove.ProtocolICMPv6
	}
	return dove.ProtocolICMP
}

func missing(e dove.Endpoint) error {
	return dove.Errorf(dove.NotFound, "there is no endpoint %s", e)
}

// addresses chooses the addresses of both ends that are asked about: those
// that were given, and otherwise the first ones of one family.
func addresses(q Question, from, to world.Endpoint) (src, dst netip.Addr, ok bool) {
	choose := func(e world.Endpoint, given netip.Addr) []netip.Addr {
		switch {
		case !given.IsValid():
			return e.Addresses
		case e.Has(given):
			return []netip.Addr{given}
		}
		return nil
	}
	for _, src := range choose(from, q.From.Addr) {
		for _, dst := range choose(to, q.To.Addr) {
			if src.Is4() == dst.Is4() {
				return src, dst, true
			}
		}
	}
	return netip.Addr{}, netip.Addr{}, false
}

// place says what and where an endpoint's address is. The domain is zero if
// the network does not exist.
func place(w *world.World, e world.Endpoint, addr netip.Addr) (Place, dove.Domain, policy.Signature) {
	p := Place{
		Endpoint: e.Full(), UID: e.UID, Addr: addr, Network: e.NetworkOf(),
		Groups: e.Groups, Class: w.AddressClass(e, addr), Host: e.Host,
	}
	if n, ok := w.Network(p.Network); ok {
		p.VNI = n.VNI
	}
	if h, ok := resolver.Location(w, e); ok {
		p.VTEP, p.Foreign = h.VTEP, h.Foreign
	}
	domain, signature, _ := w.SignatureFor(e, addr)
	return p, domain, signature
}

// obstacles says what policy has no part in.
func obstacles(a Answer) []string {
	var all []string
	from, to := a.From, a.To
	switch {
	case a.Domain == (dove.Domain{}):
		all = append(all, fmt.Sprintf("networks %s and %s are not of one domain: nothing passes between domains, also over no router; put both endpoints on networks of one domain", from.Network, to.Network))
	case from.Network != to.Network && a.Router == "":
		all = append(all, fmt.Sprintf("no router joins networks %s and %s: make one that does, or put both endpoints on one network", from.Network, to.Network))
	}
	ends := []Place{from, to}
	if from.Endpoint == to.Endpoint {
		ends = ends[:1]
	}
	for _, p := range ends {
		if why := unreachable(p, a.Router); why != "" {
			all = append(all, why)
		}
	}
	return all
}

// unreachable says why packets do not get to or from where an endpoint is, "" if they do.
func unreachable(p Place, router string) string {
	switch {
	case p.Host == "":
		return fmt.Sprintf("endpoint %s is bound to no host", p.Endpoint)
	case !p.VTEP.IsValid():
		return fmt.Sprintf("host %s of endpoint %s has not joined", p.Host, p.Endpoint)
	case p.Foreign && router != "":
		return fmt.Sprintf("host %s of endpoint %s is foreign: nobody answers there for router %s, so what is on it reaches its own network only; put both endpoints on one network", p.Host, p.Endpoint, router)
	}
	return ""
}
