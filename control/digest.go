package control

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"net/netip"
	"strconv"

	"dove.network/dove"
)

// Digest names a row by its content: equal digests, equal content. The zero
// Digest names no content at all.
type Digest [16]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Digest names the row's content. A row that takes itself back (Absent, with
// TTL 0) has the zero Digest.
func (p Peer) Digest() Digest {
	if p.Absent && p.TTL == 0 {
		return Digest{}
	}
	b := make([]byte, 0, 512)
	switch {
	case p.NoRoute:
		b = append(b, 2)
	case p.Absent:
		b = append(b, 1)
	default:
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(p.Key.VNI))
	b = binary.BigEndian.AppendUint64(b, uint64(p.TTL))
	b = binary.BigEndian.AppendUint64(b, uint64(p.UID))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Class))
	b = append(b, p.MAC[:]...)
	b = appendString(b, string(p.Key.Addr.AsSlice()))
	b = appendString(b, string(p.VTEP.AsSlice()))
	b = appendString(b, string(p.Endpoint.Tenant))
	b = appendString(b, string(p.Endpoint.ID))
	b = appendString(b, string(p.Domain.Tenant))
	b = appendString(b, p.Domain.Name)
	b = appendString(b, string(p.Host))
	b = appendString(b, string(p.Other.AsSlice()))
	if p.Gateway != (dove.MAC{}) {
		b = append(b, p.Gateway[:]...)
		b = append(b, p.Far[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(p.VNI))
		b = binary.BigEndian.AppendUint16(b, p.MTU)
		for _, w := range p.Ways {
			b = binary.BigEndian.AppendUint64(b, uint64(w.UID))
			b = binary.BigEndian.AppendUint16(b, uint16(w.Class))
			b = binary.BigEndian.AppendUint32(b, uint32(w.VNI))
			b = append(b, w.MAC[:]...)
			b = append(b, w.Far[:]...)
			b = appendString(b, string(w.VTEP.AsSlice()))
			b = appendString(b, string(w.Endpoint.Tenant))
			b = appendString(b, string(w.Endpoint.ID))
			b = appendString(b, string(w.Host))
		}
	}
	sum := sha256.Sum256(b)
	return Digest(sum[:16])
}

// FleetDigest names a set of tunnels by its content, in whatever order they come. It is
// zero if not all of one is known, as after a restart of the dSwitch.
func FleetDigest(tunnels iter.Seq[Tunnel]) (all Digest) {
	var b []byte
	for t := range tunnels {
		if t.Host == "" {
			return Digest{}
		}
		b = appendString(b[:0], string(t.Host))
		b = appendString(b, string(t.VTEP.AsSlice()))
		b = strconv.AppendBool(b, t.Foreign)
		b = strconv.AppendBool(b, t.Plain)
		for i, x := range sha256.Sum256(b) {
			all[i%len(all)] ^= x
		}
	}
	return all
}

// Digest names the row's content, which is its table's. A pair that is gone has
// the zero Digest.
func (p Pair) Digest() Digest {
	if p.Table == nil {
		return Digest{}
	}
	return Digest(p.Table.Digest())
}

// Digest names the content of an assignment, whatever its revision.
func (a *Assign) Digest() Digest {
	b := make([]byte, 0, 512)
	prefix := func(p netip.Prefix) {
		b = appendString(b, string(p.Addr().AsSlice()))
		b = binary.AppendVarint(b, int64(p.Bits()))
	}
	flags := byte(0)
	for i, f := range []bool{a.Standby, a.Open, a.Other.Foreign, a.Other.Plain} {
		if f {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	for _, s := range []string{
		string(a.Endpoint.Tenant), string(a.Endpoint.ID), string(a.Network.Tenant), a.Network.Name, string(a.Domain.Tenant), a.Domain.Name,
		a.Device, string(a.Parent), string(a.Other.Host), string(a.Other.VTEP.AsSlice()), string(a.MAC[:]),
	} {
		b = appendString(b, s)
	}
	for _, n := range []uint64{uint64(a.UID), uint64(a.Epoch), uint64(a.VNI), uint64(a.MTU), uint64(a.Class), uint64(a.VLAN), uint64(len(a.Address)), uint64(len(a.Subnets)), uint64(len(a.Gateways)), uint64(len(a.Allowed))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, x := range a.Address {
		b = appendString(b, string(x.Addr.AsSlice()))
		b = binary.AppendUvarint(b, uint64(x.Class))
	}
	for _, p := range a.Subnets {
		prefix(p)
	}
	for _, g := range a.Gateways {
		b = append(b, g.MAC[:]...)
		b = binary.AppendUvarint(b, uint64(len(g.Addrs)))
		for _, addr := range g.Addrs {
			b = appendString(b, string(addr.AsSlice()))
		}
	}
	for _, x := range a.Allowed {
		prefix(x.Prefix)
		b = append(b, x.MAC[:]...)
		b = binary.AppendUvarint(b, uint64(x.Class))
	}
	sum := sha256.Sum256(b)
	return Digest(sum[:16])
}

// appendString makes the fields of a digest self-delimiting.
func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
