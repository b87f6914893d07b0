package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"dove.network/control/controlpb"
	"dove.network/dove"
	"dove.network/verdict"
)

var sameContent = cmp.Options{
	cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Tunnels{}),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b *verdict.Table) bool { return a.Equal(b) }),
}

var (
	anyName = rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`)
	anyText = rapid.StringMatching(`[ -~äß]{0,40}`)
	anyAddr = rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		b[0] |= 1 // not IPv4 in IPv6
		return netip.AddrFrom16(b)
	})
	anyMAC = rapid.Custom(func(t *rapid.T) dove.MAC {
		m := dove.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		m[0] = m[0]&^1 | 2
		return m
	})
	anyVNI      = rapid.Map(rapid.Uint32Range(1, uint32(dove.VNIMax)), func(n uint32) dove.VNI { return dove.VNI(n) })
	anyClass    = rapid.Map(rapid.Uint16Range(0, 65534), func(n uint16) dove.Class { return dove.Class(n) })
	anyRevision = rapid.Map(rapid.Int64Min(0), func(n int64) dove.Revision { return dove.Revision(n) })
	anyDigest   = rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) Digest { return Digest(b) })
	anyDelay    = rapid.Map(rapid.IntRange(0, int(DelayMax/time.Millisecond)), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
	anyEndpoint = rapid.Custom(func(t *rapid.T) dove.Endpoint {
		return dove.Endpoint{Tenant: dove.Tenant(anyName.Draw(t, "tenant")), ID: dove.EndpointID(anyName.Draw(t, "id"))}
	})
	anyDomain = rapid.Custom(func(t *rapid.T) dove.Domain {
		return dove.Domain{Tenant: dove.Tenant(anyName.Draw(t, "tenant")), Name: anyName.Draw(t, "name")}
	})
	anyPeerKey = rapid.Custom(func(t *rapid.T) PeerKey {
		return PeerKey{anyVNI.Draw(t, "vni"), anyAddr.Draw(t, "addr")}
	})
	anyPairKey = rapid.Custom(func(t *rapid.T) PairKey {
		return PairKey{anyDomain.Draw(t, "domain"), anyClass.Draw(t, "src"), anyClass.Draw(t, "dst")}
	})
	anyTable = rapid.Custom(func(t *rapid.T) *verdict.Table {
		half := verdict.Half{DefaultName: verdict.DefaultDeny, Stateful: rapid.Bool().Draw(t, "stateful")}
		for range rapid.IntRange(0, 5).Draw(t, "rules") {
			first := rapid.Uint16().Draw(t, "first")
			half.Rules = append(half.Rules, verdict.Rule{
				Match:  verdict.Match{Protocol: dove.ProtocolTCP, First: first, Last: rapid.Uint16Range(first, 65535).Draw(t, "last")},
				Action: verdict.Action(rapid.IntRange(0, 1).Draw(t, "action")), Tier: verdict.Tier(rapid.IntRange(0, 3).Draw(t, "tier")),
				Log: rapid.Bool().Draw(t, "log"), Shadow: rapid.Bool().Draw(t, "shadow"),
				Name: anyName.Draw(t, "rule"),
			})
		}
		return verdict.Product(half, verdict.Half{Default: true, DefaultName: "open"})
	})
	anyPeer = rapid.Custom(func(t *rapid.T) Peer {
		p := Peer{Key: anyPeerKey.Draw(t, "key")}
		if rapid.Bool().Draw(t, "absent") {
			p.Absent, p.TTL, p.NoRoute = true, anyDelay.Draw(t, "ttl"), rapid.Bool().Draw(t, "no route")
			return p
		}
		p.Endpoint, p.UID, p.MAC = anyEndpoint.Draw(t, "endpoint"), dove.UID(rapid.Uint64().Draw(t, "uid")), anyMAC.Draw(t, "mac")
		p.Domain, p.Class = anyDomain.Draw(t, "domain"), anyClass.Draw(t, "class")
		if rapid.Bool().Draw(t, "located") {
			p.Host, p.VTEP = dove.HostName(anyName.Draw(t, "host")), anyAddr.Draw(t, "vtep")
			if rapid.Bool().Draw(t, "moving") {
				p.Other = anyAddr.Draw(t, "other")
			}
		}
		if rapid.Bool().Draw(t, "routed") {
			p.Gateway, p.VNI, p.Far, p.MTU = anyMAC.Draw(t, "gateway"), anyVNI.Draw(t, "far network"), anyMAC.Draw(t, "far"), rapid.Uint16Range(68, 65535).Draw(t, "mtu")
			p.Ways = some(t, anyWay, "ways")
		}
		return p
	})
	anyWay = rapid.Custom(func(t *rapid.T) Way {
		w := Way{
			Endpoint: anyEndpoint.Draw(t, "endpoint"), UID: dove.UID(rapid.Uint64().Draw(t, "uid")), MAC: anyMAC.Draw(t, "mac"),
			Class: anyClass.Draw(t, "class"), VNI: anyVNI.Draw(t, "vni"), Far: anyMAC.Draw(t, "far"),
		}
		if rapid.Bool().Draw(t, "located") {
			w.Host, w.VTEP = dove.HostName(anyName.Draw(t, "host")), anyAddr.Draw(t, "vtep")
		}
		return w
	})
	anyGateway = rapid.Custom(func(t *rapid.T) Gateway {
		return Gateway{anyMAC.Draw(t, "mac"), some(t, anyAddr, "addrs")}
	})
	anyPair = rapid.Custom(func(t *rapid.T) Pair {
		p := Pair{Key: anyPairKey.Draw(t, "key")}
		if rapid.Bool().Draw(t, "there") {
			p.Table = anyTable.Draw(t, "table")
		}
		return p
	})
	anyQuestion = rapid.Custom(func(t *rapid.T) Question {
		q := Question{anyVNI.Draw(t, "vni"), anyAddr.Draw(t, "local"), netip.Addr{}, rapid.Bool().Draw(t, "outgoing"), anyClass.Draw(t, "class")}
		q.Peer = q.Local.Next()
		if !q.Peer.IsValid() {
			q.Peer = q.Local
		}
		return q
	})
	anyUpdate = rapid.Custom(func(t *rapid.T) EndpointUpdate {
		return EndpointUpdate{
			anyEndpoint.Draw(t, "endpoint"), dove.Epoch(rapid.Uint64().Draw(t, "epoch")),
			EndpointState(rapid.IntRange(1, 3).Draw(t, "state")),
			rapid.StringMatching(`[a-z0-9.-]{3,15}`).Draw(t, "device"), anyText.Draw(t, "detail"),
			rapid.Bool().Draw(t, "standby"), rapid.Bool().Draw(t, "carried"), rapid.Uint32().Draw(t, "flows"),
		}
	})
	anyCarry = rapid.Custom(func(t *rapid.T) Carry {
		c := Carry{
			Endpoint: anyEndpoint.Draw(t, "endpoint"), Epoch: dove.Epoch(rapid.Uint64().Draw(t, "epoch")),
			Lost: rapid.Uint64().Draw(t, "lost"), More: rapid.Bool().Draw(t, "more"),
		}
		for range rapid.IntRange(0, 4).Draw(t, "flows") {
			c.Flows = append(c.Flows, FlowState{
				anyTuple.Draw(t, "tuple"), rapid.Uint8().Draw(t, "state"), anyDelay.Draw(t, "idle"),
				[2]dove.UID{dove.UID(rapid.Uint64().Draw(t, "initiator")), dove.UID(rapid.Uint64().Draw(t, "responder"))},
			})
		}
		return c
	})
	anyTuple = rapid.Custom(func(t *rapid.T) Tuple {
		q := anyQuestion.Draw(t, "ends")
		return Tuple{q.VNI, q.Local, q.Peer, dove.Protocol(rapid.Uint8().Draw(t, "protocol")), rapid.Uint16().Draw(t, "src"), rapid.Uint16().Draw(t, "dst")}
	})
	anyFlowReport = rapid.Custom(func(t *rapid.T) FlowReport {
		return FlowReport{anyTuple.Draw(t, "tuple"), anyText.Draw(t, "rule"), anyDelay.Draw(t, "idle"), rapid.Uint64().Draw(t, "packets"), rapid.Uint64().Draw(t, "bytes")}
	})
	anyFlowEvent = rapid.Custom(func(t *rapid.T) FlowEvent {
		return FlowEvent{
			What(rapid.IntRange(1, 4).Draw(t, "what")), anyTuple.Draw(t, "tuple"), anyText.Draw(t, "rule"),
			anyName.Draw(t, "reason"), rapid.Uint64().Draw(t, "packets"), rapid.Uint64().Draw(t, "bytes"),
		}
	})
	anyShadowReport = rapid.Custom(func(t *rapid.T) ShadowReport {
		return ShadowReport{
			Rule: anyText.Draw(t, "rule"), Age: anyDelay.Draw(t, "age"), Allow: rapid.Uint64().Draw(t, "allow"),
			Deny: rapid.Uint64().Draw(t, "deny"), Same: rapid.Uint64().Draw(t, "same"), Examples: some(t, anyFlowEvent, "examples"),
		}
	})
	anyReport = rapid.Custom(func(t *rapid.T) Report {
		r := Report{
			ID: rapid.Uint64().Draw(t, "id"), Seen: anyRevision.Draw(t, "seen"), Flows: some(t, anyFlowReport, "flows"),
			Events: some(t, anyFlowEvent, "events"), More: rapid.Bool().Draw(t, "more"), Lost: rapid.Uint64().Draw(t, "lost"), Refused: anyText.Draw(t, "refused"),
		}
		if rapid.Bool().Draw(t, "found") {
			r.Finding = &Finding{
				Standing: Standing(rapid.IntRange(1, 7).Draw(t, "standing")), Rule: anyText.Draw(t, "rule"),
				Forth: anyDigest.Draw(t, "forth"), Back: anyDigest.Draw(t, "back"), Detail: anyText.Draw(t, "detail"),
			}
			if rapid.Bool().Draw(t, "flow") {
				r.Finding.Flow = new(anyFlowReport.Draw(t, "entry"))
			}
		}
		r.Shadows = some(t, anyShadowReport, "shadows")
		return r
	})
	anyInspect = rapid.Custom(func(t *rapid.T) Inspect {
		m := Inspect{ID: rapid.Uint64().Draw(t, "id")}
		switch rapid.IntRange(0, 4).Draw(t, "ask") {
		case 0:
			m.Probe = new(anyTuple.Draw(t, "probe"))
		case 1:
			m.FlowsOf = dove.Tenant(anyName.Draw(t, "tenant"))
		case 2:
			m.Observe = dove.Tenant(anyName.Draw(t, "tenant"))
		case 3:
			m.ShadowsOf = dove.Tenant(anyName.Draw(t, "tenant"))
		default:
			m.Stop = true
		}
		return m
	})
	anyAddress  = rapid.StringMatching(`[a-z]{1,9}\.example:[1-9][0-9]{0,3}`)
	anyHeldPeer = rapid.Custom(func(t *rapid.T) HeldPeer { return HeldPeer{anyPeerKey.Draw(t, "key"), anyDigest.Draw(t, "digest")} })
	anyHeldPair = rapid.Custom(func(t *rapid.T) HeldPair { return HeldPair{anyPairKey.Draw(t, "key"), anyDigest.Draw(t, "digest")} })
)

func some[T any](t *rapid.T, g *rapid.Generator[T], label string) []T {
	return rapid.SliceOfN(g, 0, 4).Draw(t, label)
}

func anyUp(t *rapid.T) Up {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return &Hello{
			rapid.IntRange(1, 9).Draw(t, "version"), rapid.Uint64Max(NumberMax).Draw(t, "number"), dove.HostName(anyName.Draw(t, "host")), anyAddr.Draw(t, "vtep"),
			anyText.Draw(t, "software"), rapid.Uint64().Draw(t, "incarnation"), anyRevision.Draw(t, "seen"), anyDigest.Draw(t, "fleet"),
			some(t, anyHeldPeer, "peers"), some(t, anyHeldPair, "pairs"), some(t, anyUpdate, "attached"), rapid.Bool().Draw(t, "more"),
		}
	case 1:
		return &Held{some(t, anyHeldPeer, "peers"), some(t, anyHeldPair, "pairs"), some(t, anyUpdate, "attached"), rapid.Bool().Draw(t, "more")}
	case 2:
		return &PolicyRequest{rapid.Uint64().Draw(t, "id"), some(t, anyQuestion, "questions")}
	case 3:
		return new(anyUpdate.Draw(t, "update"))
	case 4:
		return &Ack{anyRevision.Draw(t, "revision"), anyFailures(t)}
	case 5:
		return &Release{rapid.Uint64().Draw(t, "expected"), some(t, anyPeerKey, "peers"), some(t, anyPairKey, "pairs")}
	case 6:
		return new(anyReport.Draw(t, "report"))
	case 7:
		return new(anyCarry.Draw(t, "carry"))
	case 8:
		return &Claim{anyEndpoint.Draw(t, "endpoint"), dove.Epoch(rapid.Uint64().Draw(t, "epoch")), anyAddr.Draw(t, "addr")}
	default:
		return &Heartbeat{}
	}
}

func anyDown(t *rapid.T) Down {
	rev := anyRevision.Draw(t, "revision")
	switch rapid.IntRange(0, 14).Draw(t, "kind") {
	case 0:
		return &Welcome{rapid.IntRange(1, 9).Draw(t, "version"), anyText.Draw(t, "member"), rapid.Uint64().Draw(t, "incarnation"), rev}
	case 1:
		a := &Assign{
			Revision: rev, Endpoint: anyEndpoint.Draw(t, "endpoint"), UID: dove.UID(rapid.Uint64().Draw(t, "uid")),
			Epoch: dove.Epoch(rapid.Uint64().Draw(t, "epoch")), VNI: anyVNI.Draw(t, "vni"),
			Network: dove.Network{Tenant: dove.Tenant(anyName.Draw(t, "owner")), Name: anyName.Draw(t, "network")},
			Domain:  anyDomain.Draw(t, "domain"), MTU: rapid.Uint16Range(68, 65535).Draw(t, "mtu"), MAC: anyMAC.Draw(t, "mac"),
			Device: rapid.StringMatching(`|tap[a-z0-9]{1,11}`).Draw(t, "device"), Standby: rapid.Bool().Draw(t, "standby"),
		}
		if rapid.Bool().Draw(t, "moving") {
			a.Other = Tunnel{Host: dove.HostName(anyName.Draw(t, "other")), VTEP: anyAddr.Draw(t, "vtep")}
		}
		for _, addr := range some(t, anyAddr, "addresses") {
			a.Address = append(a.Address, Address{addr, anyClass.Draw(t, "class")})
			p, _ := addr.Prefix(rapid.IntRange(0, addr.BitLen()).Draw(t, "bits"))
			a.Subnets = append(a.Subnets, p)
		}
		a.Gateways = some(t, anyGateway, "gateways")
		for _, p := range a.Subnets {
			x := Allowed{Prefix: p, Class: anyClass.Draw(t, "class")}
			if rapid.Bool().Draw(t, "with MAC") {
				x.MAC = anyMAC.Draw(t, "mac")
			}
			a.Allowed = append(a.Allowed, x)
		}
		a.Open, a.Class = rapid.Bool().Draw(t, "open"), anyClass.Draw(t, "class")
		if rapid.Bool().Draw(t, "sub-port") {
			a.Parent, a.VLAN = dove.EndpointID(anyName.Draw(t, "parent")), rapid.Uint16Range(1, dove.VLANMax).Draw(t, "vlan")
		}
		return a
	case 2:
		return &Unassign{rev, anyEndpoint.Draw(t, "endpoint"), dove.Epoch(rapid.Uint64().Draw(t, "epoch"))}
	case 3:
		m := &Tunnels{Revision: rev, Full: rapid.Bool().Draw(t, "full"), Del: some(t, anyAddr, "del")}
		for _, addr := range some(t, anyAddr, "add") {
			m.Add = append(m.Add, Tunnel{Host: dove.HostName(anyName.Draw(t, "host")), VTEP: addr, Foreign: rapid.Bool().Draw(t, "foreign"), Plain: rapid.Bool().Draw(t, "plain")})
		}
		return m
	case 4:
		m := &PolicyReply{ID: rapid.Uint64().Draw(t, "id"), Revision: rev, Peers: some(t, anyPeer, "peers"), Pairs: some(t, anyPair, "pairs")}
		for _, q := range some(t, anyQuestion, "questions") {
			a := Answer{Question: q, Status: Status(rapid.IntRange(1, 4).Draw(t, "status")), Detail: anyText.Draw(t, "detail"), After: anyDelay.Draw(t, "after")}
			if a.Status == Found {
				a.Local, a.Peer, a.Domain = anyClass.Draw(t, "local"), anyClass.Draw(t, "peer"), anyDomain.Draw(t, "domain")
			}
			m.Answers = append(m.Answers, a)
		}
		return m
	case 5:
		return &Update{rev, some(t, anyPeer, "peers"), some(t, anyPair, "pairs")}
	case 6:
		return &Frontier{rev}
	case 7:
		return new(anyInspect.Draw(t, "inspect"))
	case 8:
		return &Refusal{dove.Kind(rapid.IntRange(0, int(dove.Unavailable)).Draw(t, "kind")), anyText.Draw(t, "message"), rapid.Uint64Max(NumberMax).Draw(t, "later")}
	case 9:
		return &Expect{rev, rapid.Uint64().Draw(t, "number"), some(t, anyPeer, "peers"), some(t, anyPair, "pairs")}
	case 10:
		return &CarryRequest{anyEndpoint.Draw(t, "endpoint"), dove.Epoch(rapid.Uint64().Draw(t, "epoch"))}
	case 11:
		return new(anyCarry.Draw(t, "carry"))
	case 12:
		return &Members{some(t, anyAddress, "addresses")}
	case 13:
		return &Elsewhere{some(t, anyAddress, "addresses"), anyText.Draw(t, "reason"), anyDelay.Draw(t, "after")}
	default:
		return &Heartbeat{}
	}
}

// wire carries an envelope as bytes.
func wire(t interface{ Fatal(...any) }, e *controlpb.Envelope) *controlpb.Envelope {
	b, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	out := new(controlpb.Envelope)
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMessagesSurviveTheWire(t *testing.T) {
	t.Run("up", rapid.MakeCheck(func(t *rapid.T) {
		sent := anyUp(t)
		got, err := DecodeUp(wire(t, EncodeUp(sent)))
		if err != nil {
			t.Fatalf("%+v: %v", sent, err)
		}
		if diff := cmp.Diff(sent, got, sameContent); diff != "" {
			t.Fatal(diff)
		}
		b, err := proto.Marshal(EncodeUp(sent))
		if err != nil {
			t.Fatal(err)
		}
		if got, err = ReadUp(b); err != nil {
			t.Fatalf("%+v: %v", sent, err)
		}
		if diff := cmp.Diff(sent, got, sameContent); diff != "" {
			t.Fatal(diff)
		}
		plain := false
		switch m := sent.(type) {
		case *PolicyRequest, *EndpointUpdate:
			plain = true
		case *Ack:
			plain = len(m.Failed) == 0
		}
		if (plainUp(b) != nil) != plain {
			t.Fatalf("%T is read by way of protobuf: %v", sent, plain)
		}
	}))
	t.Run("down", rapid.MakeCheck(func(t *rapid.T) {
		sent := anyDown(t)
		got, err := DecodeDown(wire(t, EncodeDown(sent)))
		if err != nil {
			t.Fatalf("%+v: %v", sent, err)
		}
		if diff := cmp.Diff(sent, got, sameContent); diff != "" {
			t.Fatal(diff)
		}
	}))
}

func TestDecodeNamesTheFieldAtFault(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	key := PeerKey{7, addr}
	domain := dove.Domain{Tenant: "t", Name: "d"}
	question := Question{7, addr, addr.Next(), true, 3}
	tuple := Tuple{VNI: 7, Src: addr, Dst: addr.Next(), Protocol: dove.ProtocolTCP, SrcPort: 1, DstPort: 2}
	peer := Peer{Key: key, Endpoint: dove.Endpoint{Tenant: "t", ID: "e"}, MAC: dove.MAC{2}, Domain: domain, Host: "h", VTEP: addr}
	update := EndpointUpdate{Endpoint: peer.Endpoint, State: EndpointActive}
	assign := Assign{
		Endpoint: peer.Endpoint, VNI: 7, Network: dove.Network{Tenant: "t", Name: "n"}, Domain: domain, MTU: 1450,
		MAC: peer.MAC, Address: []Address{{addr, 2}}, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
	}
	tests := []struct {
		field string
		up    *controlpb.Envelope
		down  *controlpb.Envelope
	}{
		{field: "message", up: &controlpb.Envelope{}},
		{field: "message", up: EncodeDown(&Frontier{})},
		{field: "message", down: EncodeUp(&Ack{})},
		{field: "message", down: &controlpb.Envelope{Message: &controlpb.Envelope_Refusal{Refusal: &controlpb.Refusal{Message: strings.Repeat("x", MessageMax)}}}},
		{field: "hello.version", up: EncodeUp(&Hello{Host: "h", VTEP: addr})},
		{field: "hello.host", up: EncodeUp(&Hello{Version: 1, Host: "H", VTEP: addr})},
		{field: "hello.vtep", up: EncodeUp(&Hello{Version: 1, Host: "h"})},
		{field: "hello.software", up: &controlpb.Envelope{Message: &controlpb.Envelope_Hello{Hello: &controlpb.Hello{Version: 1, Host: "h", Vtep: addr.AsSlice(), Software: "a\nb"}}}},
		{field: "hello.seen", up: EncodeUp(&Hello{Version: 1, Host: "h", VTEP: addr, Seen: -1})},
		{field: "hello.peers[1].key.vni", up: EncodeUp(&Hello{Version: 1, Host: "h", VTEP: addr, Peers: []HeldPeer{{Key: key}, {Key: PeerKey{1 << 24, addr}}}})},
		{field: "hello.pairs[0].key.domain.name", up: EncodeUp(&Hello{Version: 1, Host: "h", VTEP: addr, Pairs: []HeldPair{{Key: PairKey{Domain: dove.Domain{Tenant: "t"}}}}})},
		{field: "held.peers", up: EncodeUp(&Held{Peers: make([]HeldPeer, RowsMax+1)})},
		{field: "policy_request.questions[0].local", up: EncodeUp(&PolicyRequest{Questions: []Question{{VNI: 1, Peer: addr}}})},
		{field: "policy_request.questions[0].peer", up: EncodeUp(&PolicyRequest{Questions: []Question{{VNI: 1, Local: addr, Peer: netip.MustParseAddr("fd00::1")}}})},
		{field: "policy_request.questions[0].peer", up: EncodeUp(&PolicyRequest{Questions: []Question{{VNI: 1, Local: addr, Peer: netip.MustParseAddr("::ffff:10.0.0.1")}}})},
		{field: "endpoint_update.endpoint.tenant", up: EncodeUp(&EndpointUpdate{State: 1})},
		{field: "endpoint_update.state", up: EncodeUp(&EndpointUpdate{Endpoint: update.Endpoint, State: 4})},
		{field: "endpoint_update.device", up: EncodeUp(&EndpointUpdate{Endpoint: update.Endpoint, State: 1, Device: "a/b"})},
		{field: "ack.revision", up: EncodeUp(&Ack{Revision: -1})},
		{field: "ack.failed", up: EncodeUp(&Ack{Failed: make([]Failure, FailuresMax+1)})},
		{field: "ack.failed", up: EncodeUp(&Ack{Failed: []Failure{{Revision: 2}, {Revision: 2}}})},
		{field: "ack.failed[0].text", up: &controlpb.Envelope{Message: &controlpb.Envelope_Ack{Ack: &controlpb.Ack{Failed: []*controlpb.Failure{{Text: "a\nb"}}}}}},
		{field: "release.pairs[0].dst", up: EncodeUp(&Release{Pairs: []PairKey{{Domain: domain, Dst: dove.ClassReserved}}})},
		{field: "assign.mtu", down: EncodeDown(new(with(assign, func(a *Assign) { a.MTU = 0 })))},
		{field: "assign.mac", down: EncodeDown(new(with(assign, func(a *Assign) { a.MAC = dove.MAC{1} })))},
		{field: "assign.subnets[0].addr", down: EncodeDown(new(with(assign, func(a *Assign) { a.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")} })))},
		{field: "unassign.endpoint.id", down: EncodeDown(&Unassign{Endpoint: dove.Endpoint{Tenant: "t"}})},
		{field: "tunnels.add[0].vtep", down: EncodeDown(&Tunnels{Add: []Tunnel{{Host: "h"}}})},
		{field: "policy_reply.answers[0].status", down: EncodeDown(&PolicyReply{Answers: []Answer{{Question: question}}})},
		{field: "policy_reply.answers[0].question.vni", down: EncodeDown(&PolicyReply{Answers: []Answer{{Status: Retry}}})},
		{field: "update.peers[0].mac", down: EncodeDown(&Update{Peers: []Peer{with(peer, func(p *Peer) { p.MAC = dove.MAC{} })}})},
		{field: "update.peers[0].ways", down: EncodeDown(&Update{Peers: []Peer{with(peer, func(p *Peer) {
			p.Gateway, p.VNI, p.Far, p.MTU = p.MAC, 7, p.MAC, 1450
			p.Ways = make([]Way, WaysMax+1)
		})}})},
		{field: "update.peers[0].mtu", down: EncodeDown(&Update{Peers: []Peer{with(peer, func(p *Peer) { p.Gateway, p.VNI, p.Far = p.MAC, 7, p.MAC })}})},
		{field: "update.peers[0].host", down: EncodeDown(&Update{Peers: []Peer{with(peer, func(p *Peer) { p.Host = "" })}})},
		{field: "update.pairs[0].table", down: &controlpb.Envelope{Message: &controlpb.Envelope_Update{Update: &controlpb.Update{
			Pairs: []*controlpb.Pair{{Key: encodePairKey(PairKey{Domain: domain, Src: 2, Dst: 3}), Table: []byte{1}}},
		}}}},
		{field: "inspect.ask", down: EncodeDown(&Inspect{ID: 1})},
		{field: "inspect.stop", down: &controlpb.Envelope{Message: &controlpb.Envelope_Inspect{Inspect: &controlpb.Inspect{Ask: &controlpb.Inspect_Stop{}}}}},
		{field: "inspect.probe.vni", down: EncodeDown(&Inspect{Probe: &Tuple{Src: addr, Dst: addr}})},
		{field: "inspect.probe.dst", down: EncodeDown(&Inspect{Probe: &Tuple{VNI: 7, Src: addr, Dst: netip.MustParseAddr("fd00::1")}})},
		{field: "inspect.probe.vni", down: &controlpb.Envelope{Message: &controlpb.Envelope_Inspect{Inspect: &controlpb.Inspect{Ask: &controlpb.Inspect_Probe{}}}}},
		{field: "inspect.flows_of", down: EncodeDown(&Inspect{FlowsOf: "Acme"})},
		{field: "inspect.observe", down: EncodeDown(&Inspect{Observe: "../acme"})},
		{field: "update.peers[0].other", down: EncodeDown(&Update{Peers: []Peer{with(peer, func(p *Peer) { p.Host, p.VTEP, p.Other = "", netip.Addr{}, addr })}})},
		{field: "update.peers[0].absent", down: &controlpb.Envelope{Message: &controlpb.Envelope_Update{Update: &controlpb.Update{
			Peers: []*controlpb.Peer{{Key: encodePeerKey(key), Absent: true, Other: addr.AsSlice()}},
		}}}},
		{field: "assign.other.vtep", down: EncodeDown(with(&assign, func(a **Assign) { b := **a; b.Other = Tunnel{Host: "h"}; *a = &b }))},
		{field: "carry_request.endpoint.tenant", down: EncodeDown(&CarryRequest{})},
		{field: "carry.endpoint.tenant", up: EncodeUp(&Carry{})},
		{field: "carry.flows", up: EncodeUp(&Carry{Endpoint: update.Endpoint, Flows: make([]FlowState, CarryBatch+1)})},
		{field: "carry.flows[1].tuple.vni", down: EncodeDown(&Carry{Endpoint: update.Endpoint, Flows: []FlowState{{Tuple: tuple}, {}}})},
		{field: "carry.flows[0].state", up: &controlpb.Envelope{Message: &controlpb.Envelope_Carry{Carry: &controlpb.Carry{
			Endpoint: encodeEndpoint(update.Endpoint), Flows: []*controlpb.FlowState{{Tuple: encodeTuple(tuple), State: 256}},
		}}}},
		{field: "carry.flows[0].idle_ms", up: &controlpb.Envelope{Message: &controlpb.Envelope_Carry{Carry: &controlpb.Carry{
			Endpoint: encodeEndpoint(update.Endpoint), Flows: []*controlpb.FlowState{{Tuple: encodeTuple(tuple), IdleMs: IdleMax + 1}},
		}}}},
		{field: "report.seen", up: EncodeUp(&Report{Seen: -1})},
		{field: "report.finding.standing", up: EncodeUp(&Report{Finding: &Finding{}})},
		{field: "report.finding.digest", up: &controlpb.Envelope{Message: &controlpb.Envelope_Report{Report: &controlpb.Report{
			Finding: &controlpb.Finding{Standing: controlpb.Finding_ALLOW, Forth: []byte{1}},
		}}}},
		{field: "report.finding.flow.tuple.src", up: EncodeUp(&Report{Finding: &Finding{Standing: StandingAllow, Flow: &FlowReport{Tuple: Tuple{VNI: 1, Dst: addr}}}})},
		{field: "report.flows", up: EncodeUp(&Report{Flows: make([]FlowReport, RowsMax+1)})},
		{field: "report.flows[1].tuple.vni", up: EncodeUp(&Report{Flows: []FlowReport{{Tuple: tuple}, {}}})},
		{field: "report.flows[0].idle_ms", up: &controlpb.Envelope{Message: &controlpb.Envelope_Report{Report: &controlpb.Report{
			Flows: []*controlpb.FlowReport{{Tuple: encodeTuple(tuple), IdleMs: IdleMax + 1}},
		}}}},
		{field: "report.events", up: EncodeUp(&Report{Events: make([]FlowEvent, EventsMax+1)})},
		{field: "report.events[0].what", up: EncodeUp(&Report{Events: []FlowEvent{{Tuple: tuple}}})},
		{field: "report.events[0].reason", up: EncodeUp(&Report{Events: []FlowEvent{{What: FlowDenied, Tuple: tuple}}})},
		{field: "report.events[0].rule", up: &controlpb.Envelope{Message: &controlpb.Envelope_Report{Report: &controlpb.Report{
			Events: []*controlpb.FlowEvent{{What: controlpb.FlowEvent_BEGUN, Tuple: encodeTuple(tuple), Rule: "a\x1b[2J"}},
		}}}},
		{field: "report.refused", up: &controlpb.Envelope{Message: &controlpb.Envelope_Report{Report: &controlpb.Report{Refused: strings.Repeat("x", TextMax+1)}}}},
		{field: "refusal.kind", down: EncodeDown(&Refusal{Kind: 99})},
	}
	for _, test := range tests {
		var err error
		if test.up != nil {
			_, err = DecodeUp(test.up)
		} else {
			_, err = DecodeDown(test.down)
		}
		e, ok := err.(*dove.Error)
		if !ok || len(e.Faults) != 1 || e.Faults[0].Path != test.field || (e.Kind != dove.Invalid && e.Kind != dove.TooLarge) {
			t.Errorf("%s: got %v", test.field, err)
		}
	}
}

func TestTextsBecomePrintable(t *testing.T) {
	down, err := DecodeDown(EncodeDown(&Refusal{Kind: dove.Conflict, Message: "two\nlines \x00\xff" + strings.Repeat("é", TextMax)}))
	if err != nil {
		t.Fatal(err)
	}
	want := "two lines   " + strings.Repeat("é", (TextMax-12)/2)
	if got := down.(*Refusal).Message; got != want {
		t.Errorf("got %q", got)
	}
}

// with returns a changed copy of a value.
func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func FuzzDecode(f *testing.F) {
	addr := netip.MustParseAddr("10.0.0.1")
	tuple := Tuple{VNI: 7, Src: addr, Dst: addr.Next(), Protocol: dove.ProtocolTCP, SrcPort: 1, DstPort: 2}
	for _, e := range []*controlpb.Envelope{
		EncodeUp(&Hello{Version: 1, Host: "h", VTEP: addr, Peers: []HeldPeer{{Key: PeerKey{7, addr}}}}),
		EncodeUp(&PolicyRequest{ID: 1, Questions: []Question{{7, addr, addr.Next(), true, 3}}}),
		EncodeUp(&EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "t", ID: "e"}, Epoch: 4, State: EndpointActive, Device: "tap0", Detail: "late", Carried: true, Flows: 3}),
		EncodeUp(&Ack{Revision: 9}),
		EncodeUp(&Report{
			ID: 1, Seen: 2, Finding: &Finding{Standing: StandingDeny, Rule: "shop/x", Forth: Digest{1}, Flow: &FlowReport{Tuple: tuple}},
			Flows: []FlowReport{{Tuple: tuple, Rule: "shop/x", Idle: time.Second}}, Events: []FlowEvent{{What: FlowDenied, Tuple: tuple, Reason: "policy"}},
		}),
		EncodeUp(&Carry{Endpoint: dove.Endpoint{Tenant: "t", ID: "e"}, Epoch: 4, Flows: []FlowState{{Tuple: tuple, State: 3, Idle: time.Second, UIDs: [2]dove.UID{1, 2}}}, More: true}),
		EncodeDown(&CarryRequest{Endpoint: dove.Endpoint{Tenant: "t", ID: "e"}, Epoch: 4}),
		EncodeDown(&Inspect{ID: 1, Probe: &tuple}),
		EncodeDown(&Inspect{ID: 2, Observe: "acme"}),
		EncodeDown(&Inspect{ID: 2, Stop: true}),
		EncodeDown(&Update{Revision: 3, Peers: []Peer{{Key: PeerKey{7, addr}, Absent: true, TTL: time.Second}}}),
		EncodeDown(&Expect{Revision: 3, Number: 1, Peers: []Peer{{Key: PeerKey{7, addr}, Absent: true, TTL: time.Second}}}),
	} {
		b, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e := new(controlpb.Envelope)
		failed := proto.Unmarshal(b, e)
		if plain := plainUp(b); plain != nil {
			up, err := DecodeUp(e)
			if diff := cmp.Diff(plain, up, sameContent); failed != nil || err != nil || diff != "" {
				t.Fatalf("%v %v\n%s", failed, err, diff)
			}
		}
		if failed != nil {
			return
		}
		if up, err := DecodeUp(e); err == nil {
			again, err := DecodeUp(wire(t, EncodeUp(up)))
			if diff := cmp.Diff(up, again, sameContent); err != nil || diff != "" {
				t.Fatalf("%v\n%s", err, diff)
			}
		}
		if down, err := DecodeDown(e); err == nil {
			again, err := DecodeDown(wire(t, EncodeDown(down)))
			if diff := cmp.Diff(down, again, sameContent); err != nil || diff != "" {
				t.Fatalf("%v\n%s", err, diff)
			}
		}
	})
}

// anyFailures are failures of ascending revisions.
func anyFailures(t *rapid.T) (failed []Failure) {
	last := dove.Revision(0)
	for range rapid.IntRange(0, 3).Draw(t, "failures") {
		last += dove.Revision(rapid.IntRange(1, 9).Draw(t, "later"))
		failed = append(failed, Failure{last, anyText.Draw(t, "failure")})
	}
	return failed
}
