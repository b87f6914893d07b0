package control

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// ReadUp is DecodeUp of bytes. What dSwitches say most is read as protobuf writes it and not as a
// controlpb value first; all else is, whatever it is, and so is all that is at fault.
func ReadUp(b []byte) (Up, error) {
	if up := plainUp(b); up != nil {
		return up, nil
	}
	var e controlpb.Envelope
	if err := proto.Unmarshal(b, &e); err != nil {
		return nil, dove.Errorf(dove.Invalid, "what came is no message: %v", err)
	}
	return DecodeUp(&e)
}

// plainUp reads questions, what became of ports, and acknowledgements of what did not fail. It
// is nil for all else.
func plainUp(b []byte) (up Up) {
	d := &door{}
	p := plain{rest: b}
	if len(b) > MessageMax {
		return nil
	}
	if in, ok := p.message(3); ok {
		up = in.request(d)
		p.bad = p.bad || in.over()
	} else if in, ok := p.message(4); ok {
		up = in.update(d)
		p.bad = p.bad || in.over()
	} else if in, ok := p.message(5); ok {
		up = &Ack{Revision: d.revision("revision", int64(in.number(1)))}
		p.bad = p.bad || in.over()
	}
	if d.err != nil || p.over() {
		return nil
	}
	return up
}

// plain reads the fields of a message in ascending order, each at most once.
type plain struct {
	rest []byte
	bad  bool // it is not plain
}

// over reports whether something is left, or was not plain.
func (p *plain) over() bool { return p.bad || len(p.rest) > 0 }

// has reads the tag of a field, of the first 15, if it comes next.
func (p *plain) has(field protowire.Number, as protowire.Type) bool {
	if len(p.rest) == 0 || p.rest[0] != byte(protowire.EncodeTag(field, as)) {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *plain) number(field protowire.Number) uint64 {
	if !p.has(field, protowire.VarintType) {
		return 0
	}
	n, size := protowire.ConsumeVarint(p.rest)
	if size < 0 {
		p.bad = true
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

// small reads a number of at most 32 bits.
func (p *plain) small(field protowire.Number) uint32 {
	n := p.number(field)
	p.bad = p.bad || n > math.MaxUint32
	return uint32(n)
}

func (p *plain) bool(field protowire.Number) bool {
	n := p.number(field)
	p.bad = p.bad || n > 1
	return n == 1
}

// bytes are good for as long as what is read.
func (p *plain) bytes(field protowire.Number) (b []byte, ok bool) {
	if !p.has(field, protowire.BytesType) {
		return nil, false
	}
	b, size := protowire.ConsumeBytes(p.rest)
	if size < 0 {
		p.bad = true
		return nil, false
	}
	p.rest = p.rest[size:]
	return b, true
}

func (p *plain) text(field protowire.Number) string {
	b, _ := p.bytes(field)
	return string(b)
}

func (p *plain) message(field protowire.Number) (in plain, ok bool) {
	b, ok := p.bytes(field)
	return plain{rest: b}, ok
}

func (p *plain) request(d *door) *PolicyRequest {
	r := &PolicyRequest{ID: p.number(1)}
	count := 0
	for ahead := *p; ; count++ {
		if _, more := ahead.bytes(2); !more {
			break
		}
	}
	if count > RowsMax {
		p.bad = true
		return nil
	}
	if count > 0 {
		r.Questions = make([]Question, count)
	}
	for i := range r.Questions {
		in, _ := p.message(2)
		vni := in.small(1)
		local, _ := in.bytes(2)
		peer, _ := in.bytes(3)
		q := Question{VNI: d.vni("vni", vni), Local: d.addr("local", local), Peer: d.addr("peer", peer), Outgoing: in.bool(4), Class: d.class("class", in.small(5))}
		r.Questions[i] = q
		p.bad = p.bad || in.over() || q.Local.Is4() != q.Peer.Is4()
	}
	return r
}

func (p *plain) update(d *door) *EndpointUpdate {
	of, _ := p.message(1)
	u := &EndpointUpdate{Endpoint: dove.Endpoint{Tenant: dove.Tenant(d.name("tenant", of.text(1))), ID: dove.EndpointID(d.name("id", of.text(2)))}}
	u.Epoch = dove.Epoch(p.number(2))
	u.State = EndpointState(d.number("state", p.small(3), uint32(EndpointWaiting), uint32(EndpointFailed)))
	u.Device = d.device("device", p.text(4))
	u.Detail = d.text("detail", p.text(5))
	u.Standby, u.Carried, u.Flows = p.bool(6), p.bool(7), p.small(8)
	p.bad = p.bad || of.over()
	return u
}
