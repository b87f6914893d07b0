package world

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"
	"sort"

	"dove.network/dove"
)

// FreeAddress returns the lowest address from first to last, both included and
// of one family, that no endpoint has on a network. It costs the square of the
// logarithm of what is used.
func (w *World) FreeAddress(n dove.Network, first, last netip.Addr) (netip.Addr, bool) {
	if first.Compare(last) > 0 {
		return netip.Addr{}, false
	}
	number := w.number(n)
	count := func(below int, addr netip.Addr) int { // of addresses before addr, and addr itself if below is -1
		at := placeOf(number, addr)
		return w.byAddress.before(func(l located) int { return cmp.Or(l.compare(at), below) })
	}
	base := count(0, first)
	used := count(-1, last) - base
	// The first d+1 addresses are all used as long as there are d+1 used ones
	// among them; beyond all used ones that cannot be.
	d := sort.Search(used, func(d int) bool { return count(-1, plus(first, d))-base <= d })
	free := plus(first, d)
	return free, free.Compare(last) <= 0
}

// plus returns the address d after a. The sum must be in a's family.
func plus(a netip.Addr, d int) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(d))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	low := binary.BigEndian.Uint64(b[8:])
	sum := low + uint64(d)
	if sum < low {
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+1)
	}
	binary.BigEndian.PutUint64(b[8:], sum)
	return netip.AddrFrom16(b)
}

// AddressesIn yields in order the addresses in a prefix that endpoints have on
// a network, with the endpoint.
func (w *World) AddressesIn(n dove.Network, within netip.Prefix) iter.Seq2[netip.Addr, dove.Endpoint] {
	return func(yield func(netip.Addr, dove.Endpoint) bool) {
		number := w.number(n)
		first := placeOf(number, within.Masked().Addr())
		for l := range w.byAddress.within(func(l located) int {
			if l.network == number && within.Contains(l.addr()) {
				return 0
			}
			return l.compare(first)
		}) {
			if !yield(l.addr(), l.endpoint.full()) {
				return
			}
		}
	}
}
