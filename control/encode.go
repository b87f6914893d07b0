package control

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// EncodeUp turns a message from a dSwitch into its wire form. Messages are
// ours and trusted: one that Decode would refuse makes the peer end the session.
func EncodeUp(m Up) *controlpb.Envelope {
	switch m := m.(type) {
	case *Hello:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Hello{Hello: &controlpb.Hello{
			Version:     uint32(m.Version),
			Number:      m.Number,
			Host:        string(m.Host),
			Vtep:        m.VTEP.AsSlice(),
			Software:    printable(m.Software),
			Incarnation: m.Incarnation,
			Seen:        int64(m.Seen),
			Fleet:       encodeDigest(m.Fleet),
			Peers:       each(m.Peers, encodeHeldPeer),
			Pairs:       each(m.Pairs, encodeHeldPair),
			Attached:    each(m.Attached, encodeEndpointUpdate),
			More:        m.More,
		}}}
	case *Held:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Held{Held: &controlpb.Held{
			Peers:    each(m.Peers, encodeHeldPeer),
			Pairs:    each(m.Pairs, encodeHeldPair),
			Attached: each(m.Attached, encodeEndpointUpdate),
			More:     m.More,
		}}}
	case *PolicyRequest:
		return &controlpb.Envelope{Message: &controlpb.Envelope_PolicyRequest{PolicyRequest: &controlpb.PolicyRequest{
			Id:        m.ID,
			Questions: each(m.Questions, encodeQuestion),
		}}}
	case *EndpointUpdate:
		return &controlpb.Envelope{Message: &controlpb.Envelope_EndpointUpdate{EndpointUpdate: encodeEndpointUpdate(*m)}}
	case *Ack:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Ack{Ack: &controlpb.Ack{
			Revision: int64(m.Revision),
			Failed:   each(m.Failed, encodeFailure),
		}}}
	case *Release:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Release{Release: &controlpb.Release{
			Expected: m.Expected,
			Peers:    each(m.Peers, encodePeerKey),
			Pairs:    each(m.Pairs, encodePairKey),
		}}}
	case *Claim:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Claim{Claim: &controlpb.Claim{
			Endpoint: encodeEndpoint(m.Endpoint), Epoch: uint64(m.Epoch), Addr: m.Addr.AsSlice(),
		}}}
	case *Report:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Report{Report: encodeReport(m)}}
	case *Carry:
		return encodeCarry(m)
	case *Heartbeat:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Heartbeat{Heartbeat: &controlpb.Heartbeat{}}}
	}
	panic(fmt.Sprintf("control: no wire form for %T", m))
}

// EncodeDown turns a message from a DPC member into its wire form.
func EncodeDown(m Down) *controlpb.Envelope {
	switch m := m.(type) {
	case *Welcome:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Welcome{Welcome: &controlpb.Welcome{
			Version:     uint32(m.Version),
			Member:      printable(m.Member),
			Incarnation: m.Incarnation,
			Revision:    int64(m.Revision),
		}}}
	case *Assign:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Assign{Assign: encodeAssign(m)}}
	case *Unassign:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Unassign{Unassign: &controlpb.Unassign{
			Revision: int64(m.Revision),
			Endpoint: encodeEndpoint(m.Endpoint),
			Epoch:    uint64(m.Epoch),
		}}}
	case *Tunnels:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Tunnels{Tunnels: &controlpb.Tunnels{
			Revision: int64(m.Revision),
			Full:     m.Full,
			Add:      each(m.Add, encodeTunnel),
			Del:      each(m.Del, netip.Addr.AsSlice),
		}}}
	case *PolicyReply, *Update, *Expect:
		return encodeRows(m)
	case *Frontier:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Frontier{Frontier: &controlpb.Frontier{Revision: int64(m.Revision)}}}
	case *Inspect:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Inspect{Inspect: encodeInspect(m)}}
	case *CarryRequest:
		return encodeCarryRequest(m)
	case *Carry:
		return encodeCarry(m)
	case *Members:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Members{Members: &controlpb.Members{Addresses: m.Addresses}}}
	case *Elsewhere:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Elsewhere{Elsewhere: &controlpb.Elsewhere{
			Addresses: m.Addresses, Reason: printable(m.Reason), AfterMs: milliseconds(m.After),
		}}}
	case *Refusal:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Refusal{Refusal: &controlpb.Refusal{
			Kind:    uint32(m.Kind),
			Message: printable(m.Message),
			Later:   m.Later,
		}}}
	case *Heartbeat:
		return &controlpb.Envelope{Message: &controlpb.Envelope_Heartbeat{Heartbeat: &controlpb.Heartbeat{}}}
	}
	panic(fmt.Sprintf("control: no wire form for %T", m))
}

// each maps a list; an empty one becomes nil.
func each[A, B any](list []A, f func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

func encodeFailure(f Failure) *controlpb.Failure {
	return &controlpb.Failure{Revision: int64(f.Revision), Text: printable(f.Text)}
}

// Encode has the message encoded once for all that it is sent to, at whatever revision. Nobody
// may change it from then on, but for its revision.
func (m *Tunnels) Encode() error {
	var err error
	m.encoded, err = proto.Marshal(EncodeDown(&Tunnels{Full: m.Full, Add: m.Add, Del: m.Del}))
	return err
}

// At is the same at another revision.
func (m *Tunnels) At(revision dove.Revision) *Tunnels {
	at := *m
	at.Revision = revision
	return &at
}

func encodeTunnel(t Tunnel) *controlpb.Tunnel {
	return &controlpb.Tunnel{Host: string(t.Host), Vtep: t.VTEP.AsSlice(), Foreign: t.Foreign, Plain: t.Plain}
}

func encodeEndpoint(e dove.Endpoint) *controlpb.Endpoint {
	return &controlpb.Endpoint{Tenant: string(e.Tenant), Id: string(e.ID)}
}

func encodeDomain(d dove.Domain) *controlpb.Domain {
	if d == (dove.Domain{}) {
		return nil
	}
	return &controlpb.Domain{Tenant: string(d.Tenant), Name: d.Name}
}

func encodePeerKey(k PeerKey) *controlpb.PeerKey {
	return &controlpb.PeerKey{Vni: uint32(k.VNI), Addr: k.Addr.AsSlice()}
}

func encodePairKey(k PairKey) *controlpb.PairKey {
	return &controlpb.PairKey{Domain: encodeDomain(k.Domain), Src: uint32(k.Src), Dst: uint32(k.Dst)}
}

func encodeDigest(d Digest) []byte {
	if d == (Digest{}) {
		return nil
	}
	return d[:]
}

func encodeHeldPeer(h HeldPeer) *controlpb.HeldPeer {
	return &controlpb.HeldPeer{Key: encodePeerKey(h.Key), Digest: encodeDigest(h.Digest)}
}

func encodeHeldPair(h HeldPair) *controlpb.HeldPair {
	return &controlpb.HeldPair{Key: encodePairKey(h.Key), Digest: encodeDigest(h.Digest)}
}

func encodeQuestion(q Question) *controlpb.Question {
	return &controlpb.Question{Vni: uint32(q.VNI), Local: q.Local.AsSlice(), Peer: q.Peer.AsSlice(), Outgoing: q.Outgoing, Class: uint32(q.Class)}
}

func encodeEndpointUpdate(u EndpointUpdate) *controlpb.EndpointUpdate {
	return &controlpb.EndpointUpdate{
		Endpoint: encodeEndpoint(u.Endpoint),
		Epoch:    uint64(u.Epoch),
		State:    controlpb.EndpointUpdate_State(u.State),
		Device:   u.Device,
		Detail:   printable(u.Detail),
		Standby:  u.Standby,
		Carried:  u.Carried,
		Flows:    u.Flows,
	}
}

func encodeAssign(a *Assign) *controlpb.Assign {
	out := &controlpb.Assign{
		Revision:      int64(a.Revision),
		Endpoint:      encodeEndpoint(a.Endpoint),
		Uid:           uint64(a.UID),
		Epoch:         uint64(a.Epoch),
		Vni:           uint32(a.VNI),
		Network:       a.Network.Name,
		NetworkTenant: string(a.Network.Tenant),
		Domain:        encodeDomain(a.Domain),
		Mtu:           uint32(a.MTU),
		Mac:           a.MAC[:],
		Device:        a.Device,
		Addresses: each(a.Address, func(x Address) *controlpb.Address {
			return &controlpb.Address{Addr: x.Addr.AsSlice(), Class: uint32(x.Class)}
		}),
		Subnets: each(a.Subnets, func(p netip.Prefix) *controlpb.Prefix {
			return &controlpb.Prefix{Addr: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
		}),
		Standby: a.Standby,
		Allowed: each(a.Allowed, func(x Allowed) *controlpb.Allowed {
			out := &controlpb.Allowed{Prefix: &controlpb.Prefix{Addr: x.Prefix.Addr().AsSlice(), Bits: uint32(x.Prefix.Bits())}, Class: uint32(x.Class)}
			if x.MAC != (dove.MAC{}) {
				out.Mac = x.MAC[:]
			}
			return out
		}),
		Open:   a.Open,
		Class:  uint32(a.Class),
		Parent: string(a.Parent),
		Vlan:   uint32(a.VLAN),
		Gateways: each(a.Gateways, func(g Gateway) *controlpb.Gateway {
			return &controlpb.Gateway{Mac: g.MAC[:], Addrs: each(g.Addrs, netip.Addr.AsSlice)}
		}),
	}
	if a.Other != (Tunnel{}) {
		out.Other = encodeTunnel(a.Other)
	}
	return out
}

// printable makes a text for people fit to be sent: errors of others may hold
// line ends and be long.
func printable(s string) string {
	fit := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	for len(fit) > TextMax {
		_, n := utf8.DecodeLastRuneInString(fit)
		fit = fit[:len(fit)-n]
	}
	return fit
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d, 0), DelayMax) / time.Millisecond)
}
