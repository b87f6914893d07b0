package edit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// allowed reads what the endpoint may send from beside its own addresses, or
// keeps it.
func (s *seat) allowed() {
	if s.request.Allowed == nil {
		s.doc.Allowed = s.old.Allowed
		return
	}
	if n := len(s.request.Allowed); n > AllowedMax {
		s.problems.add(dove.Invalid, "allowed", "use wider prefixes", "%d prefixes are more than an endpoint may be allowed, %d", n, AllowedMax)
		return
	}
	for i, r := range s.request.Allowed {
		path := fmt.Sprintf("allowed[%d]", i)
		prefix, ok := s.prefix(path, r.Prefix)
		mac := s.pairMAC(path, r.MAC)
		switch {
		case !ok:
		case slices.ContainsFunc(s.doc.Allowed, func(a world.Allowed) bool { return a.Prefix == prefix }):
			s.problems.add(dove.Invalid, path, "", "%s is given twice", prefix)
		default:
			s.doc.Allowed = append(s.doc.Allowed, world.Allowed{Prefix: prefix, MAC: mac})
		}
	}
	slices.SortFunc(s.doc.Allowed, func(a, b world.Allowed) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
}

// settled refuses a binding to a host whose switch has no room, and one to a foreign host of an endpoint
// that may send from more than its own addresses: no dSwitch is there that would check the rest.
func (s *seat) settled() {
	s.room()
	if len(s.doc.Allowed) == 0 && !s.doc.Open {
		return
	}
	what := "it is allowed more than its own addresses"
	if s.doc.Open {
		what = "its port security is off"
	}
	if h, _ := s.w.Host(s.doc.Host); h.Foreign {
		s.problems.add(dove.Conflict, "host", "bind it to a host that runs one", "%s, and no dSwitch checks that on foreign host %q", what, h.Name)
	}
}

// prefix reads a prefix or an address that workloads can have.
func (s *seat) prefix(path, text string) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(text)
	if addr, one := netip.ParseAddr(text); one == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch special := blueprint.Special(prefix); {
	case err != nil || prefix.Addr().Is4In6():
		s.problems.add(dove.Invalid, path, "write 10.0.1.100, 10.9.0.0/16 or fd00::/64", "%q is no address or prefix", text)
	case prefix != prefix.Masked():
		s.problems.add(dove.Invalid, path, "write "+prefix.Masked().String(), "%q has bits set beyond its length", text)
	case special != "":
		s.problems.add(dove.Invalid, path, "use addresses that workloads can have", "%q lies in %s", text, special)
	case prefix.IsSingleIP() && slices.Contains(s.doc.Addresses, prefix.Addr()):
		s.problems.add(dove.Invalid, path, "leave it out", "%s is the endpoint's own address", prefix.Addr())
	case prefix.IsSingleIP() && gatewayOf(s.w, s.on, prefix.Addr()) != "":
		s.problems.add(dove.Conflict, path, "", "address %s is that of router %q", prefix.Addr(), gatewayOf(s.w, s.on, prefix.Addr()))
	default:
		if prefix.IsSingleIP() {
			if other, taken := s.w.EndpointOn(s.on.Full(), prefix.Addr()); taken && other.ID != s.doc.ID {
				s.problems.add(dove.Conflict, path, "take it from that endpoint first", "address %s is that of endpoint %q", prefix.Addr(), other.ID)
				return prefix, false
			}
		}
		return prefix, true
	}
	return prefix, false
}

// pairMAC reads the MAC that comes with an allowed prefix. Several endpoints may
// share one, as routers that stand in for each other do; nobody's own is given away.
func (s *seat) pairMAC(path, text string) dove.MAC {
	if text == "" {
		return dove.MAC{}
	}
	mac, err := dove.ParseMAC(text)
	if err != nil {
		s.problems.add(dove.Invalid, path, "", "%v", err)
		return mac
	}
	if !mac.IsUnicast() {
		s.problems.add(dove.Invalid, path, "the first byte must be even", "MAC %s is no unicast address", mac)
	}
	if other, taken := s.w.EndpointByMAC(s.on.Full(), mac); taken && other.ID != s.doc.ID {
		s.problems.add(dove.Conflict, path, "", "MAC %s is that of endpoint %q", mac, other.ID)
	}
	if router := routerByMAC(s.w, s.on.Full(), mac); router != "" {
		s.problems.add(dove.Conflict, path, "", "MAC %s is that of router %q", mac, router)
	}
	return mac
}

// promised reports whether somebody is allowed just this address.
func (s *seat) promised(addr netip.Addr) bool {
	for range s.w.AllowedOn(s.on.Full(), netip.PrefixFrom(addr, addr.BitLen())) {
		return true
	}
	return false
}

// ClaimRequest says that an endpoint announced an address.
type ClaimRequest struct {
	Endpoint dove.Endpoint
	Epoch    dove.Epoch // of the binding that it announced it from
	Addr     netip.Addr
}

// ClaimAddress gives a virtual address to an endpoint that announced it. It
// changes nothing if that has it already, or is not what it was.
func ClaimAddress(w *world.World, r ClaimRequest) (dove.Txn, error) {
	e, ok := w.Endpoint(r.Endpoint)
	if !ok || e.Epoch != r.Epoch || !Claimable(w, e, r.Addr) {
		return dove.Txn{}, nil
	}
	old, _ := w.Claim(e.NetworkOf(), r.Addr)
	c := begin(w)
	c.read(e.Key())
	c.put(world.Claim{Tenant: e.Tenant, Network: e.Network, Addr: r.Addr, Endpoint: e.ID, UID: e.UID, Epoch: old.Epoch + 1})
	return c.done()
}

// Claimable reports whether a claim to an address by an endpoint would change
// anything: it is allowed just it, as others are, nobody has it for its own, and
// it is not the endpoint's by claim.
func Claimable(w *world.World, e world.Endpoint, addr netip.Addr) bool {
	n := e.NetworkOf()
	if _, own := w.EndpointOn(n, addr); own || !allows(e, addr) || !w.Virtual(n, addr) {
		return false
	}
	claim, ok := w.Claim(n, addr)
	return !ok || claim.Endpoint != e.ID || claim.UID != e.UID
}

// claimant reports whether a claim is of an endpoint that still may have it.
func claimant(w *world.World, c world.Claim) bool {
	e, ok := w.Endpoint(dove.Endpoint{Tenant: c.Tenant, ID: c.Endpoint})
	return ok && e.UID == c.UID && e.Network == c.Network && allows(e, c.Addr)
}

// allows reports whether an endpoint is allowed just an address.
func allows(e world.Endpoint, addr netip.Addr) bool {
	return slices.ContainsFunc(e.Allowed, func(a world.Allowed) bool { return a.Prefix == netip.PrefixFrom(addr, addr.BitLen()) })
}
