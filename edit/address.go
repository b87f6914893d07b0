package edit

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
)

// addresses checks the given ones, or keeps the old ones, or takes free ones.
func (s *seat) addresses() {
	switch given := s.request.Addresses; {
	case given == nil && s.exists:
		s.doc.Addresses = s.old.Addresses
	case given == nil:
		s.allocate()
	case len(given) == 0:
		s.problems.add(dove.Invalid, "addresses", "leave them out to get free ones", "an endpoint needs an address")
	case len(given) > AddressesMax:
		s.problems.add(dove.Invalid, "addresses", "", "%d addresses are more than an endpoint may have, %d", len(given), AddressesMax)
	default:
		for i, text := range given {
			s.address(fmt.Sprintf("addresses[%d]", i), text)
		}
		slices.SortFunc(s.doc.Addresses, netip.Addr.Compare)
	}
}

// address checks one address that the request names.
func (s *seat) address(path, text string) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		s.problems.add(dove.Invalid, path, "write 10.0.1.5 or fd00:0:0:1::5", "%q is no address", text)
		return
	}
	i := slices.IndexFunc(s.on.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) })
	if i < 0 {
		s.problems.add(dove.Invalid, path, "its subnets are "+prefixes(s.on.Subnets), "address %s is in no subnet of network %q", addr, s.on.Name)
		return
	}
	if subnet := s.on.Subnets[i]; addr == subnet.Addr() || addr.Is4() && addr == blueprint.LastOf(subnet) {
		s.problems.add(dove.Invalid, path, "", "address %s is the first or last of subnet %s, which no endpoint can have", addr, subnet)
		return
	}
	if slices.Contains(s.doc.Addresses, addr) {
		s.problems.add(dove.Invalid, path, "", "address %s is given twice", addr)
		return
	}
	if other, taken := s.w.EndpointOn(s.on.Full(), addr); taken && other.ID != s.doc.ID {
		s.problems.add(dove.Conflict, path, "leave addresses out to get a free one", "address %s is that of endpoint %q", addr, other.ID)
		return
	}
	if router := gatewayOf(s.w, s.on, addr); router != "" {
		s.problems.add(dove.Conflict, path, "leave addresses out to get a free one", "address %s is that of router %q", addr, router)
		return
	}
	s.doc.Addresses = append(s.doc.Addresses, addr)
}

// allocate takes the lowest free address of each family: never a subnet's
// first, which names it, the second, which is left to a gateway, a router's, one
// that somebody is allowed, or IPv4's last.
func (s *seat) allocate() {
	found, full := map[bool]bool{}, map[bool][]netip.Prefix{}
	for _, p := range s.on.Subnets {
		v4 := p.Addr().Is4()
		if found[v4] {
			continue
		}
		last := blueprint.LastOf(p)
		if v4 {
			last = last.Prev()
		}
		addr, ok := s.w.FreeAddress(s.on.Full(), blueprint.Gateway(p).Next(), last)
		for ok && (gatewayOf(s.w, s.on, addr) != "" || s.promised(addr)) {
			addr, ok = s.w.FreeAddress(s.on.Full(), addr.Next(), last)
		}
		if !ok {
			full[v4] = append(full[v4], p)
			continue
		}
		found[v4] = true
		s.doc.Addresses = append(s.doc.Addresses, addr)
	}
	for _, v4 := range []bool{true, false} {
		if len(full[v4]) > 0 && !found[v4] {
			s.problems.add(dove.Conflict, "addresses", "add a subnet to the network, or delete endpoints", "no address is free in %s of network %q", prefixes(full[v4]), s.on.Name)
		}
	}
	slices.SortFunc(s.doc.Addresses, netip.Addr.Compare)
}

// mac checks the given one, or keeps the old one, or makes one of the UID.
func (s *seat) mac() {
	switch {
	case s.request.MAC != "":
		mac, err := dove.ParseMAC(s.request.MAC)
		if err != nil {
			s.problems.add(dove.Invalid, "mac", "", "%v", err)
			return
		}
		if !mac.IsUnicast() {
			s.problems.add(dove.Invalid, "mac", "the first byte must be even", "MAC %s is no unicast address", mac)
			return
		}
		if other, taken := s.w.EndpointByMAC(s.on.Full(), mac); taken && other.ID != s.doc.ID {
			s.problems.add(dove.Conflict, "mac", "leave it out to get one", "MAC %s is that of endpoint %q", mac, other.ID)
			return
		}
		if router := routerByMAC(s.w, s.on.Full(), mac); router != "" {
			s.problems.add(dove.Conflict, "mac", "leave it out to get one", "MAC %s is that of router %q", mac, router)
			return
		}
		s.doc.MAC = mac
	case !s.exists:
		for n := uint64(s.doc.UID); ; n++ {
			s.doc.MAC = madeMAC(n)
			if _, taken := s.w.EndpointByMAC(s.on.Full(), s.doc.MAC); !taken && routerByMAC(s.w, s.on.Full(), s.doc.MAC) == "" {
				return
			}
		}
	}
}

// madeMAC returns a locally administered address that ends in n's low 40 bits.
func madeMAC(n uint64) dove.MAC {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return dove.MAC{0x02, b[3], b[4], b[5], b[6], b[7]}
}

func prefixes(all []netip.Prefix) string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}
