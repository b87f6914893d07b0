package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
)

// Ends reads both ends of a question, the second as the first sees it. One of them
// may be an address that nobody has. Errors are those of Find.
func Ends(w *world.World, t dove.Tenant, from, to string) (q Question, err error) {
	if q.From, err = Find(w, t, from); err == nil {
		q.To, err = orNobody(w, t, to)(FindSeen(w, q.From, to))
		return q, err
	}
	if q.From, err = orNobody(w, t, from)(q.From, err); err == nil {
		q.To, err = Find(w, t, to)
	}
	return q, err
}

// orNobody takes over an end that was found, or makes one of an address that nobody has.
func orNobody(w *world.World, t dove.Tenant, text string) func(End, error) (End, error) {
	return func(end End, err error) (End, error) {
		if dove.KindOf(err) != dove.NotFound {
			return end, err
		}
		name, after, two := strings.Cut(text, "/")
		addr, bad := netip.ParseAddr(cmp.Or(after, text))
		if bad != nil {
			return end, err
		}
		if !two {
			return End{Addr: addr.Unmap()}, nil
		}
		_, isEndpoint := w.Endpoint(dove.Endpoint{Tenant: t, ID: dove.EndpointID(name)})
		n, isNetwork := w.Network(dove.Network{Tenant: t, Name: name})
		if isEndpoint || !isNetwork {
			return end, err
		}
		return End{Addr: addr.Unmap(), Network: n.Full()}, nil
	}
}

// nobodys reports whether nobody has the end.
func (e End) nobodys() bool { return e.Endpoint == dove.Endpoint{} && e.Addr.IsValid() }

// whyNobody answers a question of which nobody has one end: what policy says of the
// address, as of any that is outside, and where packets for it end.
func whyNobody(w *world.World, q Question) (Answer, error) {
	known, addr, on := q.From, q.To.Addr, q.To.Network
	if q.From.nobodys() {
		known, addr, on = q.To, q.From.Addr, q.From.Network
	}
	if known.nobodys() {
		return Answer{}, dove.Errorf(dove.Invalid, "nobody has either end: one must be an endpoint")
	}
	e, ok := w.Endpoint(known.Endpoint)
	if !ok {
		return Answer{}, missing(known.Endpoint)
	}
	own, ok := ofFamily(e, known.Addr, addr)
	if !ok {
		return Answer{}, dove.Errorf(dove.Invalid, "endpoint %s has no address of the family of %s: ask about one that it has", e.Full(), addr)
	}
	a := Answer{Revision: w.Revision(), Protocol: protocolOver(q.Protocol, addr), Port: q.Port}
	there, domain, signature := place(w, e, own)
	n, _ := w.Network(e.NetworkOf())
	nowhere, says := lead(w, n, on, addr)
	a.Domain = domain
	if r, ok := w.Between(n.Full(), nowhere.Network); ok {
		a.Router = r.Name
	}
	intent := w.Domain(domain)
	stranger := intent.Signature(policy.Member{Open: true}, addr)
	if q.From.nobodys() {
		a.From, a.To = nowhere, there
		says = fmt.Sprintf("nobody has address %s, and switches let no endpoint send from what it does not have: %s", addr, says)
		a.judge(intent, stranger, signature)
	} else {
		a.From, a.To = there, nowhere
		a.judge(intent, signature, stranger)
	}
	// What nobody has allows everything: that is no word of a rule.
	a.Rule = strings.TrimSuffix(strings.TrimPrefix(a.Rule, policy.OpenRule+" & "), " & "+policy.OpenRule)
	a.Obstacles = append(a.Obstacles, says)
	if why := unreachable(there, ""); why != "" {
		a.Obstacles = append(a.Obstacles, why)
	}
	return a, nil
}

// ofFamily chooses an endpoint's address of another's family: the given one, or the first.
func ofFamily(e world.Endpoint, given, other netip.Addr) (netip.Addr, bool) {
	for _, a := range e.Addresses {
		if !given.IsValid() && a.Is4() == other.Is4() {
			return a, true
		}
	}
	return given, given.IsValid() && e.Has(given) && given.Is4() == other.Is4()
}

// lead says where packets from a network to an address that nobody has would go, and
// why they do not arrive. On is the network that was asked about, zero for any.
func lead(w *world.World, n world.Network, on dove.Network, addr netip.Addr) (Place, string) {
	in := func(n world.Network) bool {
		if on != (dove.Network{}) {
			return n.Full() == on
		}
		for _, s := range n.Subnets {
			if s.Contains(addr) {
				return true
			}
		}
		return false
	}
	at := func(n world.Network) (Place, string) {
		p := Place{Addr: addr, Network: n.Full(), VNI: n.VNI}
		if says := Gateway(w, n, addr); says != "" {
			return p, says
		}
		return p, fmt.Sprintf("no endpoint has address %s on network %s%s", addr, n.Full(), waiting(w, n, addr))
	}
	if in(n) {
		return at(n)
	}
	for other := range w.Beside(n.Full()) {
		if in(other) {
			return at(other)
		}
	}
	if other, ok := w.Network(on); ok {
		p, says := at(other)
		return p, says + fmt.Sprintf(", and no router joins that with network %s", n.Full())
	}
	var route world.Route
	router := ""
	for r := range w.RoutersOn(n.Full()) {
		for _, x := range r.Routes {
			if x.To.Contains(addr) && (router == "" || x.To.Bits() > route.To.Bits()) {
				route, router = x, r.Name
			}
		}
	}
	if router != "" {
		return Place{Addr: addr}, fmt.Sprintf("router %s has a route to %s by %s, and none of these is an endpoint that is bound to a host and allowed address %s", router, route.To, listed(route.Via), addr)
	}
	return Place{Addr: addr}, fmt.Sprintf("address %s is in no subnet of network %s nor of one that a router joins with it, and no static route leads to it: there is no gateway to other addresses", addr, n.Full())
}

// waiting names the endpoints of a network that are allowed an address which none of
// them has announced.
func waiting(w *world.World, n world.Network, addr netip.Addr) string {
	var names []string
	for e := range w.EndpointsIn(n.Full()) {
		for _, p := range e.Allowed {
			if p.Prefix.Contains(addr) && len(names) < 3 {
				names = append(names, string(e.ID))
				break
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(": %s may, and nobody announced it", strings.Join(names, ", "))
}

func listed(all []netip.Addr) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}
