package world

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"dove.network/dove"
)

// place is an address on a network as numbers, so that to find it among a million nothing
// else has to be looked at.
type place struct {
	network   uint32 // its number in this World
	six       bool
	high, low uint64
}

func (p place) compare(o place) int {
	switch {
	case p.network != o.network:
		return cmp.Compare(p.network, o.network)
	case p.six != o.six:
		if o.six {
			return -1
		}
		return 1
	case p.high != o.high:
		return cmp.Compare(p.high, o.high)
	}
	return cmp.Compare(p.low, o.low)
}

func (p place) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], p.high)
	binary.BigEndian.PutUint64(b[8:], p.low)
	if p.six {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[12:]))
}

// placeOf returns an address on the network with a number.
func placeOf(network uint32, addr netip.Addr) place {
	b := addr.As16()
	return place{network, !addr.Is4(), binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// located is an endpoint under one of its addresses.
type located struct {
	place
	endpoint *packed
}

func byPlace(a, b located) int {
	if c := a.compare(b.place); c != 0 {
		return c
	}
	return byEndpoint(a.endpoint, b.endpoint)
}

// numbered is a network that an endpoint was ever on, with its number, from 1. Numbers
// differ from World to World that is not made of the other; none is used again.
type numbered struct {
	network dove.Network
	number  uint32
}

func byNumbered(a, b numbered) int { return compareNetwork(a.network, b.network) }

// number returns that of a network, 0 if no endpoint was ever on it.
func (w *World) number(n dove.Network) uint32 {
	found, _ := w.numbers.find(func(x numbered) int { return compareNetwork(x.network, n) })
	return found.number
}

// number gives a network its number.
func (d *draft) number(n dove.Network) uint32 {
	if is := d.World.number(n); is != 0 {
		return is
	}
	d.numbers.put(numbered{n, uint32(d.numbers.len() + 1)})
	return uint32(d.numbers.len())
}
