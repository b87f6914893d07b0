package control

import (
	"net/netip"

	"dove.network/control/controlpb"
	"dove.network/dove"
	"dove.network/verdict"
)

func (d *door) hello(m *controlpb.Hello) *Hello {
	h := &Hello{
		Version:     d.version("version", m.GetVersion()),
		Number:      d.session("number", m.GetNumber()),
		Host:        dove.HostName(d.name("host", m.GetHost())),
		VTEP:        d.addr("vtep", m.GetVtep()),
		Software:    d.text("software", m.GetSoftware()),
		Incarnation: m.GetIncarnation(),
		Seen:        d.revision("seen", m.GetSeen()),
		Fleet:       d.digest(m.GetFleet()),
		More:        m.GetMore(),
	}
	h.Peers = list(d, "peers", m.GetPeers(), d.heldPeer)
	h.Pairs = list(d, "pairs", m.GetPairs(), d.heldPair)
	h.Attached = list(d, "attached", m.GetAttached(), d.endpointUpdate)
	d.within("hello")
	return h
}

func (d *door) heldPeer(h *controlpb.HeldPeer) HeldPeer {
	return HeldPeer{Key: d.key(h.GetKey()), Digest: d.digest(h.GetDigest())}
}

func (d *door) heldPair(h *controlpb.HeldPair) HeldPair {
	return HeldPair{Key: d.pairKeyIn(h.GetKey()), Digest: d.digest(h.GetDigest())}
}

func (d *door) peerKey(k *controlpb.PeerKey) PeerKey {
	return PeerKey{VNI: d.vni("vni", k.GetVni()), Addr: d.addr("addr", k.GetAddr())}
}

func (d *door) pairKey(k *controlpb.PairKey) PairKey {
	return PairKey{Domain: d.domain(k.GetDomain()), Src: d.class("src", k.GetSrc()), Dst: d.class("dst", k.GetDst())}
}

// key is a peer key in the field "key".
func (d *door) key(k *controlpb.PeerKey) PeerKey {
	if d.err != nil {
		return PeerKey{}
	}
	out := d.peerKey(k)
	d.within("key")
	return out
}

// pairKeyIn is a pair key in the field "key".
func (d *door) pairKeyIn(k *controlpb.PairKey) PairKey {
	if d.err != nil {
		return PairKey{}
	}
	out := d.pairKey(k)
	d.within("key")
	return out
}

func (d *door) question(q *controlpb.Question) Question {
	out := Question{
		VNI:      d.vni("vni", q.GetVni()),
		Local:    d.addr("local", q.GetLocal()),
		Peer:     d.addr("peer", q.GetPeer()),
		Outgoing: q.GetOutgoing(),
		Class:    d.class("class", q.GetClass()),
	}
	if out.Local.Is4() != out.Peer.Is4() {
		d.fail("peer", "%s and %s are not of one family", out.Local, out.Peer)
	}
	return out
}

func (d *door) endpointUpdate(u *controlpb.EndpointUpdate) EndpointUpdate {
	return EndpointUpdate{
		Endpoint: d.endpoint(u.GetEndpoint()),
		Epoch:    dove.Epoch(u.GetEpoch()),
		State:    EndpointState(d.number("state", uint32(u.GetState()), uint32(EndpointWaiting), uint32(EndpointFailed))),
		Device:   d.device("device", u.GetDevice()),
		Detail:   d.text("detail", u.GetDetail()),
		Standby:  u.GetStandby(),
		Carried:  u.GetCarried(),
		Flows:    u.GetFlows(),
	}
}

func (d *door) assign(a *controlpb.Assign) *Assign {
	out := &Assign{
		Revision: d.revision("revision", a.GetRevision()),
		Endpoint: d.endpoint(a.GetEndpoint()),
		UID:      dove.UID(a.GetUid()),
		Epoch:    dove.Epoch(a.GetEpoch()),
		VNI:      d.vni("vni", a.GetVni()),
		Network: dove.Network{
			Tenant: dove.Tenant(d.name("network_tenant", a.GetNetworkTenant())),
			Name:   d.name("network", a.GetNetwork()),
		},
		Domain: d.domain(a.GetDomain()),
		MTU:    uint16(d.number("mtu", a.GetMtu(), 68, 65535)),
		MAC:    d.mac(a.GetMac()),
		Device: d.device("device", a.GetDevice()),
	}
	out.Address = list(d, "addresses", a.GetAddresses(), func(x *controlpb.Address) Address {
		return Address{Addr: d.addr("addr", x.GetAddr()), Class: d.class("class", x.GetClass())}
	})
	out.Subnets = list(d, "subnets", a.GetSubnets(), d.prefix)
	out.Standby = a.GetStandby()
	if a.Other != nil && d.err == nil {
		out.Other = d.tunnel(a.Other)
		d.within("other")
	}
	out.Allowed = list(d, "allowed", a.GetAllowed(), func(x *controlpb.Allowed) Allowed {
		prefix := d.prefix(x.GetPrefix())
		d.within("prefix")
		out := Allowed{Prefix: prefix, Class: d.class("class", x.GetClass())}
		if len(x.GetMac()) > 0 {
			out.MAC = d.mac(x.GetMac())
		}
		return out
	})
	out.Open = a.GetOpen()
	out.Class = d.class("class", a.GetClass())
	if a.GetParent() != "" {
		out.Parent = dove.EndpointID(d.name("parent", a.GetParent()))
		out.VLAN = uint16(d.number("vlan", a.GetVlan(), 1, dove.VLANMax))
	}
	out.Gateways = list(d, "gateways", a.GetGateways(), func(g *controlpb.Gateway) Gateway {
		return Gateway{MAC: d.mac(g.GetMac()), Addrs: list(d, "addrs", g.GetAddrs(), func(b []byte) netip.Addr { return d.addr("addr", b) })}
	})
	return out
}

func (d *door) claim(c *controlpb.Claim) *Claim {
	return &Claim{Endpoint: d.endpoint(c.GetEndpoint()), Epoch: dove.Epoch(c.GetEpoch()), Addr: d.addr("addr", c.GetAddr())}
}

func (d *door) answer(a *controlpb.Answer) Answer {
	q := d.question(a.GetQuestion())
	if d.err != nil {
		d.within("question")
		return Answer{}
	}
	out := Answer{
		Question: q,
		Status:   Status(d.number("status", uint32(a.GetStatus()), uint32(Found), uint32(Retry))),
		Local:    d.class("local", a.GetLocal()),
		Peer:     d.class("peer", a.GetPeer()),
		Detail:   d.text("detail", a.GetDetail()),
		After:    d.delay("after_ms", a.GetAfterMs()),
	}
	if a.Domain != nil || out.Status == Found {
		out.Domain = d.domain(a.GetDomain())
	}
	return out
}

func (d *door) peer(p *controlpb.Peer) Peer {
	key := d.key(p.GetKey())
	if p.GetAbsent() {
		if p.Endpoint != nil || p.Domain != nil || p.Uid != 0 || len(p.Mac) > 0 || p.Class != 0 || p.Host != "" || len(p.Vtep) > 0 || len(p.Other) > 0 || len(p.Gateway) > 0 || len(p.Ways) > 0 {
			d.fail("absent", "a row about an absent peer says more than its key and ttl")
		}
		return Peer{Key: key, Absent: true, TTL: d.delay("ttl_ms", p.GetTtlMs()), NoRoute: p.GetNoRoute()}
	}
	out := Peer{
		Key:      key,
		Endpoint: d.endpoint(p.GetEndpoint()),
		UID:      dove.UID(p.GetUid()),
		MAC:      d.mac(p.GetMac()),
		Domain:   d.domain(p.GetDomain()),
		Class:    d.class("class", p.GetClass()),
	}
	if p.GetTtlMs() != 0 {
		d.fail("ttl_ms", "only a row about an absent peer has one")
	}
	if len(p.GetVtep()) > 0 || p.GetHost() != "" {
		out.Host = dove.HostName(d.name("host", p.GetHost()))
		out.VTEP = d.addr("vtep", p.GetVtep())
	}
	if len(p.GetOther()) > 0 {
		out.Other = d.addr("other", p.GetOther())
		if !out.VTEP.IsValid() {
			d.fail("other", "the row withholds where the peer is")
		}
	}
	if p.GetNoRoute() {
		d.fail("no_route", "only a row about an absent peer says so")
	}
	if len(p.GetGateway()) > 0 {
		out.Gateway = d.mac(p.GetGateway())
		out.VNI = d.vni("vni", p.GetVni())
		out.Far = d.mac(p.GetFar())
		out.MTU = uint16(d.number("mtu", p.GetMtu(), 68, 65535))
	} else if len(p.GetWays()) > 0 {
		d.fail("ways", "only a row behind a router has several")
	}
	if n := len(p.GetWays()); n > WaysMax {
		d.fail("ways", "%d further ways are more than %d", n, WaysMax)
	}
	out.Ways = list(d, "ways", p.GetWays(), d.way)
	return out
}

func (d *door) way(w *controlpb.Way) Way {
	out := Way{
		Endpoint: d.endpoint(w.GetEndpoint()),
		UID:      dove.UID(w.GetUid()),
		MAC:      d.mac(w.GetMac()),
		Class:    d.class("class", w.GetClass()),
		VNI:      d.vni("vni", w.GetVni()),
		Far:      d.mac(w.GetFar()),
	}
	if len(w.GetVtep()) > 0 || w.GetHost() != "" {
		out.Host = dove.HostName(d.name("host", w.GetHost()))
		out.VTEP = d.addr("vtep", w.GetVtep())
	}
	return out
}

func (d *door) pair(p *controlpb.Pair) Pair {
	out := Pair{Key: d.pairKeyIn(p.GetKey())}
	if len(p.GetTable()) == 0 || d.err != nil {
		return out
	}
	table, err := verdict.Decode(p.GetTable())
	if err != nil {
		d.fail("table", "%w", err)
	}
	out.Table = table
	return out
}

func (d *door) ack(m *controlpb.Ack) *Ack {
	if n := len(m.GetFailed()); n > FailuresMax {
		d.tooLarge("ack.failed", "%d, at most %d are allowed", n, FailuresMax)
		return nil
	}
	a := &Ack{
		Revision: d.revision("ack.revision", m.GetRevision()),
		Failed:   d.failures("ack.failed", m.GetFailed()),
	}
	return a
}

// failures are in order of their revisions.
func (d *door) failures(field string, in []*controlpb.Failure) []Failure {
	out := list(d, field, in, func(f *controlpb.Failure) Failure {
		return Failure{d.revision("revision", f.GetRevision()), d.text("text", f.GetText())}
	})
	for i := 1; i < len(out); i++ {
		if out[i-1].Revision >= out[i].Revision {
			d.fail(field, "revision %d comes after %d", out[i].Revision, out[i-1].Revision)
		}
	}
	return out
}
