package control

import (
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// AppendDown adds the bytes of a message from a DPC member, an encoded Envelope. Messages of
// rows, of which there are most, are written at once and not as a controlpb value first.
func AppendDown(b []byte, m Down) ([]byte, error) {
	at := 0
	switch m := m.(type) {
	case *PolicyReply:
		b, at = begin(b, 20)
		b = appendNumber(b, 1, m.ID)
		b = appendNumber(b, 2, uint64(m.Revision))
		for i := range m.Answers {
			b = appendAnswer(b, 3, &m.Answers[i])
		}
		b = appendRows(b, 4, m.Peers, m.Pairs)
	case *Update:
		b, at = begin(b, 21)
		b = appendNumber(b, 1, uint64(m.Revision))
		b = appendRows(b, 2, m.Peers, m.Pairs)
	case *Expect:
		b, at = begin(b, 25)
		b = appendNumber(b, 1, uint64(m.Revision))
		b = appendNumber(b, 2, m.Number)
		b = appendRows(b, 3, m.Peers, m.Pairs)
	case *Tunnels:
		if m.encoded != nil {
			// Parts of one message that follow each other are one.
			return proto.MarshalOptions{}.MarshalAppend(append(b, m.encoded...), EncodeDown(&Tunnels{Revision: m.Revision}))
		}
		return proto.MarshalOptions{}.MarshalAppend(b, EncodeDown(m))
	default:
		return proto.MarshalOptions{}.MarshalAppend(b, EncodeDown(m))
	}
	return end(b, at), nil
}

// encodeRows is a message of rows as the value of what AppendDown makes.
func encodeRows(m Down) *controlpb.Envelope {
	e := &controlpb.Envelope{}
	b, err := AppendDown(nil, m)
	if err == nil {
		err = proto.Unmarshal(b, e)
	}
	if err != nil {
		panic(fmt.Sprintf("control: %T is encoded wrongly: %v", m, err))
	}
	return e
}

// begin adds the head of a field that is a message; what is added until end is in it.
func begin(b []byte, field protowire.Number) ([]byte, int) {
	b = append(protowire.AppendTag(b, field, protowire.BytesType), 0) // room for the length of most
	return b, len(b)
}

// end sets the length of the message that began there.
func end(b []byte, at int) []byte {
	size := uint64(len(b) - at)
	if more := protowire.SizeVarint(size) - 1; more > 0 {
		b = append(b, make([]byte, more)...)
		copy(b[at+more:], b[at:])
	}
	protowire.AppendVarint(b[:at-1], size)
	return b
}

// Fields that have their zero value are left out, as everywhere in protobuf.

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func appendBool(b []byte, field protowire.Number, is bool) []byte {
	return appendNumber(b, field, protowire.EncodeBool(is))
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendBytes(b []byte, field protowire.Number, bytes []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), bytes)
}

func appendAddr(b []byte, field protowire.Number, a netip.Addr) []byte {
	switch {
	case a.Is4():
		as := a.As4()
		return appendBytes(b, field, as[:])
	case a.IsValid():
		as := a.As16()
		return appendBytes(b, field, as[:])
	}
	return b
}

func appendDomain(b []byte, field protowire.Number, d dove.Domain) []byte {
	if d == (dove.Domain{}) {
		return b
	}
	b, at := begin(b, field)
	b = appendText(b, 1, string(d.Tenant))
	return end(appendText(b, 2, d.Name), at)
}

func appendEndpoint(b []byte, field protowire.Number, e dove.Endpoint) []byte {
	b, at := begin(b, field)
	b = appendText(b, 1, string(e.Tenant))
	return end(appendText(b, 2, string(e.ID)), at)
}

func appendAnswer(b []byte, field protowire.Number, a *Answer) []byte {
	b, at := begin(b, field)
	b, in := begin(b, 1)
	q := &a.Question
	b = appendNumber(b, 1, uint64(q.VNI))
	b = appendAddr(b, 2, q.Local)
	b = appendAddr(b, 3, q.Peer)
	b = appendBool(b, 4, q.Outgoing)
	b = end(appendNumber(b, 5, uint64(q.Class)), in)
	b = appendNumber(b, 2, uint64(a.Status))
	b = appendNumber(b, 3, uint64(a.Local))
	b = appendNumber(b, 4, uint64(a.Peer))
	b = appendDomain(b, 5, a.Domain)
	if a.Detail != "" {
		b = appendText(b, 6, printable(a.Detail))
	}
	return end(appendNumber(b, 7, uint64(milliseconds(a.After))), at)
}

// appendRows adds peers in a field, and pairs in the one after it.
func appendRows(b []byte, field protowire.Number, peers []Peer, pairs []Pair) []byte {
	for i := range peers {
		b = appendPeer(b, field, &peers[i])
	}
	for i := range pairs {
		p := &pairs[i]
		var at, in int
		b, at = begin(b, field+1)
		b, in = begin(b, 1)
		b = appendDomain(b, 1, p.Key.Domain)
		b = appendNumber(b, 2, uint64(p.Key.Src))
		b = end(appendNumber(b, 3, uint64(p.Key.Dst)), in)
		if p.Table != nil {
			b = appendBytes(b, 2, p.Table.Encode())
		}
		b = end(b, at)
	}
	return b
}

func appendPeer(b []byte, field protowire.Number, p *Peer) []byte {
	b, at := begin(b, field)
	b, in := begin(b, 1)
	b = appendNumber(b, 1, uint64(p.Key.VNI))
	b = end(appendAddr(b, 2, p.Key.Addr), in)
	if p.Absent {
		b = appendBool(b, 2, true)
		b = appendNumber(b, 3, uint64(milliseconds(p.TTL)))
		return end(appendBool(b, 12, p.NoRoute), at)
	}
	b = appendEndpoint(b, 4, p.Endpoint)
	b = appendNumber(b, 5, uint64(p.UID))
	b = appendBytes(b, 6, p.MAC[:])
	b = appendDomain(b, 7, p.Domain)
	b = appendNumber(b, 8, uint64(p.Class))
	b = appendText(b, 9, string(p.Host))
	b = appendAddr(b, 10, p.VTEP)
	b = appendAddr(b, 11, p.Other)
	if p.Gateway != (dove.MAC{}) {
		b = appendBytes(b, 13, p.Gateway[:])
		b = appendNumber(b, 14, uint64(p.VNI))
		b = appendBytes(b, 15, p.Far[:])
		b = appendNumber(b, 16, uint64(p.MTU))
		for i := range p.Ways {
			w := &p.Ways[i]
			b, in = begin(b, 17)
			b = appendEndpoint(b, 1, w.Endpoint)
			b = appendNumber(b, 2, uint64(w.UID))
			b = appendBytes(b, 3, w.MAC[:])
			b = appendNumber(b, 4, uint64(w.Class))
			b = appendText(b, 5, string(w.Host))
			b = appendAddr(b, 6, w.VTEP)
			b = appendNumber(b, 7, uint64(w.VNI))
			b = end(appendBytes(b, 8, w.Far[:]), in)
		}
	}
	return end(b, at)
}
