package control

import (
	"fmt"
	"net"
	"net/netip"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// DecodeUp checks what came from a dSwitch and turns it into plain values.
// Errors are dove.Invalid or dove.TooLarge and name the field at fault.
func DecodeUp(e *controlpb.Envelope) (Up, error) {
	d := &door{}
	if n := proto.Size(e); n > MessageMax {
		d.tooLarge("message", "%d bytes, at most %d are allowed", n, MessageMax)
		return nil, d.refusal()
	}
	var up Up
	switch m := e.GetMessage().(type) {
	case *controlpb.Envelope_Hello:
		up = d.hello(m.Hello)
	case *controlpb.Envelope_Held:
		up = &Held{
			Peers:    list(d, "held.peers", m.Held.GetPeers(), d.heldPeer),
			Pairs:    list(d, "held.pairs", m.Held.GetPairs(), d.heldPair),
			Attached: list(d, "held.attached", m.Held.GetAttached(), d.endpointUpdate),
			More:     m.Held.GetMore(),
		}
	case *controlpb.Envelope_PolicyRequest:
		up = &PolicyRequest{
			ID:        m.PolicyRequest.GetId(),
			Questions: list(d, "policy_request.questions", m.PolicyRequest.GetQuestions(), d.question),
		}
	case *controlpb.Envelope_EndpointUpdate:
		u := d.endpointUpdate(m.EndpointUpdate)
		d.within("endpoint_update")
		up = &u
	case *controlpb.Envelope_Ack:
		up = d.ack(m.Ack)
	case *controlpb.Envelope_Release:
		up = &Release{
			Expected: m.Release.GetExpected(),
			Peers:    list(d, "release.peers", m.Release.GetPeers(), d.peerKey),
			Pairs:    list(d, "release.pairs", m.Release.GetPairs(), d.pairKey),
		}
	case *controlpb.Envelope_Claim:
		up = d.claim(m.Claim)
	case *controlpb.Envelope_Report:
		up = d.report(m.Report)
		d.within("report")
	case *controlpb.Envelope_Carry:
		up = d.carry(m.Carry)
		d.within("carry")
	case *controlpb.Envelope_Heartbeat:
		up = &Heartbeat{}
	default:
		d.fail("message", "a dSwitch does not say %T", m)
	}
	if d.err != nil {
		return nil, d.refusal()
	}
	return up, nil
}

// DecodeDown checks what came from a DPC member and turns it into plain
// values. Errors are as DecodeUp's.
func DecodeDown(e *controlpb.Envelope) (Down, error) {
	d := &door{}
	if n := proto.Size(e); n > MessageMax {
		d.tooLarge("message", "%d bytes, at most %d are allowed", n, MessageMax)
		return nil, d.refusal()
	}
	var down Down
	switch m := e.GetMessage().(type) {
	case *controlpb.Envelope_Welcome:
		down = &Welcome{
			Version:     d.version("welcome.version", m.Welcome.GetVersion()),
			Member:      d.text("welcome.member", m.Welcome.GetMember()),
			Incarnation: m.Welcome.GetIncarnation(),
			Revision:    d.revision("welcome.revision", m.Welcome.GetRevision()),
		}
	case *controlpb.Envelope_Assign:
		down = d.assign(m.Assign)
		d.within("assign")
	case *controlpb.Envelope_Unassign:
		down = &Unassign{
			Revision: d.revision("revision", m.Unassign.GetRevision()),
			Endpoint: d.endpoint(m.Unassign.GetEndpoint()),
			Epoch:    dove.Epoch(m.Unassign.GetEpoch()),
		}
		d.within("unassign")
	case *controlpb.Envelope_Tunnels:
		down = &Tunnels{
			Revision: d.revision("tunnels.revision", m.Tunnels.GetRevision()),
			Full:     m.Tunnels.GetFull(),
			Add:      listOf(d, "tunnels.add", TunnelsMax, m.Tunnels.GetAdd(), d.tunnel),
			Del:      list(d, "tunnels.del", m.Tunnels.GetDel(), func(b []byte) netip.Addr { return d.addr("addr", b) }),
		}
	case *controlpb.Envelope_PolicyReply:
		down = &PolicyReply{
			ID:       m.PolicyReply.GetId(),
			Revision: d.revision("policy_reply.revision", m.PolicyReply.GetRevision()),
			Answers:  list(d, "policy_reply.answers", m.PolicyReply.GetAnswers(), d.answer),
			Peers:    list(d, "policy_reply.peers", m.PolicyReply.GetPeers(), d.peer),
			Pairs:    list(d, "policy_reply.pairs", m.PolicyReply.GetPairs(), d.pair),
		}
	case *controlpb.Envelope_Update:
		down = &Update{
			Revision: d.revision("update.revision", m.Update.GetRevision()),
			Peers:    list(d, "update.peers", m.Update.GetPeers(), d.peer),
			Pairs:    list(d, "update.pairs", m.Update.GetPairs(), d.pair),
		}
	case *controlpb.Envelope_Expect:
		down = &Expect{
			Revision: d.revision("expect.revision", m.Expect.GetRevision()),
			Number:   m.Expect.GetNumber(),
			Peers:    list(d, "expect.peers", m.Expect.GetPeers(), d.peer),
			Pairs:    list(d, "expect.pairs", m.Expect.GetPairs(), d.pair),
		}
	case *controlpb.Envelope_Frontier:
		down = &Frontier{Revision: d.revision("frontier.revision", m.Frontier.GetRevision())}
	case *controlpb.Envelope_Inspect:
		down = d.inspect(m.Inspect)
		d.within("inspect")
	case *controlpb.Envelope_CarryRequest:
		down = &CarryRequest{Endpoint: d.endpoint(m.CarryRequest.GetEndpoint()), Epoch: dove.Epoch(m.CarryRequest.GetEpoch())}
		d.within("carry_request")
	case *controlpb.Envelope_Carry:
		down = d.carry(m.Carry)
		d.within("carry")
	case *controlpb.Envelope_Members:
		down = &Members{Addresses: d.addresses("members.addresses", m.Members.GetAddresses())}
	case *controlpb.Envelope_Elsewhere:
		down = &Elsewhere{
			Addresses: d.addresses("elsewhere.addresses", m.Elsewhere.GetAddresses()),
			Reason:    d.text("elsewhere.reason", m.Elsewhere.GetReason()),
			After:     d.delay("elsewhere.after_ms", m.Elsewhere.GetAfterMs()),
		}
	case *controlpb.Envelope_Refusal:
		down = &Refusal{
			Kind:    dove.Kind(d.number("refusal.kind", m.Refusal.GetKind(), uint32(dove.Internal), uint32(dove.Unavailable))),
			Message: d.text("refusal.message", m.Refusal.GetMessage()),
			Later:   d.session("refusal.later", m.Refusal.GetLater()),
		}
	case *controlpb.Envelope_Heartbeat:
		down = &Heartbeat{}
	default:
		d.fail("message", "a DPC member does not say %T", m)
	}
	if d.err != nil {
		return nil, d.refusal()
	}
	return down, nil
}

// door checks values as they enter. It keeps the first fault; what it returns
// afterwards means nothing.
type door struct {
	kind  dove.Kind
	field string
	err   error
}

func (d *door) fail(field, text string, args ...any) {
	if d.err == nil {
		d.kind, d.field, d.err = dove.Invalid, field, fmt.Errorf(text, args...)
	}
}

func (d *door) tooLarge(field, text string, args ...any) {
	if d.err == nil {
		d.fail(field, text, args...)
		d.kind = dove.TooLarge
	}
}

// within says that the fields since the last fault-free point lie in this one.
func (d *door) within(field string) {
	if d.err != nil {
		d.field = field + "." + d.field
	}
}

func (d *door) refusal() error {
	return &dove.Error{
		Kind:    d.kind,
		Message: "the peer sent a malformed message: both ends must run compatible versions of DOVE",
		Faults:  []dove.Fault{{Path: d.field, Message: d.err.Error()}},
	}
}

// list checks a list's length and then each element, until the first fault.
func list[A, B any](d *door, field string, in []A, f func(A) B) []B {
	return listOf(d, field, RowsMax, in, f)
}

// listOf is list for one of more elements than most may have.
func listOf[A, B any](d *door, field string, most int, in []A, f func(A) B) []B {
	if len(in) > most {
		d.tooLarge(field, "%d elements, at most %d are allowed", len(in), most)
	}
	if d.err != nil || len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
		if d.err != nil {
			d.within(fmt.Sprintf("%s[%d]", field, i))
			return nil
		}
	}
	return out
}

func (d *door) number(field string, n, least, most uint32) uint32 {
	if n < least || n > most {
		d.fail(field, "%d is not between %d and %d", n, least, most)
	}
	return n
}

func (d *door) version(field string, n uint32) int { return int(d.number(field, n, 1, 1<<16)) }

// session reads the number of a Hello: numbers that later ones cannot exceed are none.
func (d *door) session(field string, n uint64) uint64 {
	if n > NumberMax {
		d.fail(field, "%d, at most %d is possible", n, uint64(NumberMax))
	}
	return n
}

func (d *door) revision(field string, n int64) dove.Revision {
	if n < 0 {
		d.fail(field, "revision %d is negative", n)
	}
	return dove.Revision(n)
}

func (d *door) name(field, s string) string {
	if err := dove.CheckName(s); err != nil {
		d.fail(field, "%w", err)
	}
	return s
}

// text is for people: they see it in logs and terminals.
func (d *door) text(field, s string) string {
	if len(s) > TextMax {
		d.fail(field, "%d bytes, at most %d are allowed", len(s), TextMax)
	}
	if !utf8.ValidString(s) {
		d.fail(field, "not UTF-8")
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			d.fail(field, "holds what cannot be printed")
			break
		}
	}
	return s
}

// device checks a name as the kernel does, or "" for none.
func (d *door) device(field, s string) string {
	if len(s) > 15 || s == "." || s == ".." {
		d.fail(field, "%.32q cannot name a device", s)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '/' || c == ':' {
			d.fail(field, "%q cannot name a device", s)
		}
	}
	return s
}

func (d *door) addr(field string, b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	switch {
	case !ok:
		d.fail(field, "an address has 4 or 16 bytes, not %d", len(b))
	case a.Is4In6():
		d.fail(field, "%s is IPv4 in IPv6: send 4 bytes", a)
	}
	return a
}

func (d *door) prefix(p *controlpb.Prefix) netip.Prefix {
	a := d.addr("addr", p.GetAddr())
	bits := d.number("bits", p.GetBits(), 0, uint32(a.BitLen()))
	out := netip.PrefixFrom(a, int(bits))
	if d.err == nil && out != out.Masked() {
		d.fail("addr", "%s has bits beyond the prefix", out)
	}
	return out
}

func (d *door) vni(field string, n uint32) dove.VNI {
	return dove.VNI(d.number(field, n, 1, uint32(dove.VNIMax)))
}

// addresses are "host:port" each, of members.
func (d *door) addresses(field string, in []string) []string {
	if len(in) > MembersMax {
		d.tooLarge(field, "%d elements, at most %d are allowed", len(in), MembersMax)
	}
	return list(d, field, in, func(s string) string {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" || len(s) > 300 {
			d.fail("address", "%.64q is no HOST:PORT", s)
		}
		return d.text("address", s)
	})
}

func (d *door) class(field string, n uint32) dove.Class {
	return dove.Class(d.number(field, n, 0, uint32(dove.ClassReserved)-1))
}

func (d *door) mac(b []byte) dove.MAC {
	if len(b) != 6 {
		d.fail("mac", "a MAC address has 6 bytes, not %d", len(b))
		return dove.MAC{}
	}
	m := dove.MAC(b)
	if !m.IsUnicast() {
		d.fail("mac", "%s is no unicast address", m)
	}
	return m
}

func (d *door) digest(b []byte) Digest {
	switch len(b) {
	case 0:
		return Digest{}
	case len(Digest{}):
		return Digest(b)
	}
	d.fail("digest", "a digest has %d bytes or none, not %d", len(Digest{}), len(b))
	return Digest{}
}

func (d *door) delay(field string, ms uint32) time.Duration {
	return time.Duration(d.number(field, ms, 0, uint32(DelayMax/time.Millisecond))) * time.Millisecond
}

func (d *door) tunnel(t *controlpb.Tunnel) Tunnel {
	return Tunnel{Host: dove.HostName(d.name("host", t.GetHost())), VTEP: d.addr("vtep", t.GetVtep()), Foreign: t.GetForeign(), Plain: t.GetPlain()}
}

func (d *door) endpoint(e *controlpb.Endpoint) dove.Endpoint {
	return dove.Endpoint{
		Tenant: dove.Tenant(d.name("endpoint.tenant", e.GetTenant())),
		ID:     dove.EndpointID(d.name("endpoint.id", e.GetId())),
	}
}

func (d *door) domain(m *controlpb.Domain) dove.Domain {
	return dove.Domain{
		Tenant: dove.Tenant(d.name("domain.tenant", m.GetTenant())),
		Name:   d.name("domain.name", m.GetName()),
	}
}
