package ebpf

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"dove.network/blueprint"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/oracle/worlds"
	"dove.network/packet"
	"dove.network/policy"
)

// fabric is two hosts with a switch each, and a world's members twice: near
// ones, which begin every flow, on one host, and far ones on the other.
type fabric struct {
	testing.TB
	trip
	r         *rand.Rand
	near, far *site
	third     netip.Addr // the VTEP of another host of the fleet
	stranger  netip.Addr // of none
	world     *worlds.World
	domain    *policy.Domain
	vni       dove.VNI
	lives     dove.UID                        // given so far
	uids      []dove.UID                      // of near members, then far ones
	classes   map[string]dove.Class           // by signature
	means     map[dove.Class]policy.Signature // the reverse
	eager     bool                            // switches are told all at once, rather than when they ask
	probes    []worlds.Probe                  // of this world, before its edits too
	flows     map[question]*talk
	asking    *talk // of the question that is put
	edits     int
}

// site is one host.
type site struct {
	name    string
	number  byte // in its members' addresses
	vtep    netip.Addr
	sw      *Switch
	peers   map[netip.Addr]bool // that the switch was told of
	pairs   map[dataplane.PairKey]bool
	dropped map[string]uint64           // what the switch should have counted
	shadows map[string]dataplane.Shadow // the same of rules in shadow, by these
}

const (
	worldMTU    = 600
	worldDomain = 3
)

func newFabric(t testing.TB, seed uint64, o Options) *fabric {
	r := rand.New(rand.NewPCG(seed, 0))
	open := func(name string, number byte) *site {
		h := &site{
			name: name, number: number, vtep: siteVTEP(seed, number, byte(r.IntN(256))),
			peers: map[netip.Addr]bool{}, pairs: map[dataplane.PairKey]bool{}, dropped: map[string]uint64{},
		}
		o.Config = dataplane.Config{VTEP: h.vtep}
		var err error
		if h.sw, err = OpenForTests(o); err != nil {
			t.Fatalf("%+v", err)
		}
		t.Cleanup(func() {
			if err := h.sw.Close(); err != nil {
				t.Error(err)
			}
		})
		return h
	}
	return &fabric{TB: t, r: r, near: open("near", 1), far: open("far", 2), third: siteVTEP(seed, 3, 0), stranger: siteVTEP(seed, 99, 0)}
}

// siteVTEP is a host's address on an underlay of IPv6 if the seed is even.
func siteVTEP(seed uint64, number, last byte) netip.Addr {
	if seed%2 == 0 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 7: number, 15: last})
	}
	return netip.AddrFrom4([4]byte{172, 16, number, last})
}

// fail says what was wrong, and of which world.
func (f *fabric) fail(format string, args ...any) {
	f.Helper()
	f.Fatalf("world %d, %d edits: %s\n%s", f.worlds, f.edits, fmt.Sprintf(format, args...), f.world)
}

func (f *fabric) apply(h *site, ops []dataplane.Op) {
	f.Helper()
	if err := h.sw.Apply(ops); err != nil {
		f.fail("%s host: %v", h.name, err)
	}
}

// enter replaces the world by another one, in which everybody is new.
func (f *fabric) enter() {
	for _, h := range []*site{f.near, f.far} {
		var ops []dataplane.Op
		for i := range f.members() {
			ops = append(ops, dataplane.DelPort{ID: dataplane.PortID(i + 1)})
		}
		for _, a := range sortedKeys(h.peers, netip.Addr.Compare) {
			ops = append(ops, dataplane.DelPeer{Key: dataplane.PeerKey{VNI: f.vni, Addr: a}})
		}
		for _, k := range sortedKeys(h.pairs, comparePairKeys) {
			ops = append(ops, dataplane.DelPair{Key: k})
		}
		if f.world != nil {
			ops = append(ops, dataplane.DelNetwork{VNI: f.vni})
		}
		f.apply(h, ops)
		clear(h.peers)
		clear(h.pairs)
	}
	f.worlds++
	f.edits = 0
	f.world = f.draw()
	f.vni, f.eager = dove.VNI(1+f.r.IntN(1<<24-1)), f.r.IntN(2) == 0
	f.classes, f.means, f.flows = map[string]dove.Class{}, map[dove.Class]policy.Signature{}, map[question]*talk{}
	f.probes, f.uids = nil, nil
	for range 2 * f.members() {
		f.lives++
		f.uids = append(f.uids, f.lives)
	}
	for _, h := range []*site{f.near, f.far} {
		f.apply(h, []dataplane.Op{
			dataplane.SetNetwork{Network: dataplane.Network{VNI: f.vni, Domain: worldDomain, MTU: worldMTU}},
			dataplane.SetVTEP{Addr: f.other(h).vtep}, dataplane.SetVTEP{Addr: f.third},
		})
	}
	f.tell()
}

// draw draws a plain world first, and then those that have all of the language
// that can be applied.
func (f *fabric) draw() *worlds.World {
	if f.worlds%3 == 1 {
		return worlds.Random(f.r, "acme")
	}
	w := worlds.Rich(f.r, "acme")
	w.Settle()
	return w
}

func (f *fabric) members() int {
	if f.world == nil {
		return 0
	}
	return len(f.world.Members)
}

func (f *fabric) other(h *site) *site {
	if h == f.near {
		return f.far
	}
	return f.near
}

// address is one of a member's two, which prefixes of rich worlds tell apart.
func (h *site) address(member int, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 7: 1, 14: h.number - 1, 15: byte(member + 1)})
	}
	return netip.AddrFrom4([4]byte{10, 0, h.number - 1, byte(member + 1)})
}

func copyMAC(b []byte, m dove.MAC) { copy(b, m[:]) }

func (h *site) mac(member int) dove.MAC { return dove.MAC{2, 0, 0, 0, h.number, byte(member + 1)} }

func (f *fabric) uid(h *site, member int) dove.UID {
	return f.uids[member+int(h.number-1)*f.members()]
}

// class numbers the signature of a member's address on a host.
func (f *fabric) class(h *site, member int, v6 bool) dove.Class {
	s := f.domain.Signature(policy.Member(f.world.Members[member]), h.address(member, v6))
	c, ok := f.classes[s.Key()]
	for !ok {
		c = dove.Class(1 + f.r.IntN(65000))
		_, used := f.means[c]
		ok = !used
	}
	f.classes[s.Key()], f.means[c] = c, s
	return c
}

// tell brings both switches to what the world says now. Those that ask are told
// only what they have asked for.
func (f *fabric) tell() {
	f.domain = policy.Compile(f.world.Blueprints, f.world.Edge)
	for _, h := range []*site{f.near, f.far} {
		if f.eager {
			f.tellUnasked(h)
		}
		var ops []dataplane.Op
		for i := range f.members() {
			ops = append(ops, dataplane.SetPort{Port: dataplane.Port{
				ID: dataplane.PortID(i + 1), UID: f.uid(h, i), VNI: f.vni, MAC: h.mac(i), Kind: dataplane.DeviceKind(1 + i%2),
				Addresses: []dataplane.Address{{Addr: h.address(i, false), Class: f.class(h, i, false)}, {Addr: h.address(i, true), Class: f.class(h, i, true)}},
			}})
		}
		for _, a := range sortedKeys(h.peers, netip.Addr.Compare) {
			ops = append(ops, f.setPeer(h, a))
		}
		for _, k := range sortedKeys(h.pairs, comparePairKeys) {
			ops = append(ops, f.setPair(k))
		}
		f.r.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
		f.apply(h, ops)
		h.shadows = f.shadows(h)
	}
}

// tellUnasked has a switch told of all others and all pairs.
func (f *fabric) tellUnasked(h *site) {
	for i := range f.members() {
		h.peers[f.other(h).address(i, false)], h.peers[f.other(h).address(i, true)] = true, true
		for j := range f.members() {
			for _, k := range []dataplane.PairKey{f.pair(i, j, false), f.pair(i, j, true)} {
				h.pairs[k], h.pairs[backwards(k)] = true, true
			}
		}
	}
}

// pair is that of a near member and a far one.
func (f *fabric) pair(from, to int, v6 bool) dataplane.PairKey {
	return dataplane.PairKey{Domain: worldDomain, Src: f.class(f.near, from, v6), Dst: f.class(f.far, to, v6)}
}

func backwards(k dataplane.PairKey) dataplane.PairKey {
	return dataplane.PairKey{Domain: k.Domain, Src: k.Dst, Dst: k.Src}
}

func (f *fabric) setPair(k dataplane.PairKey) dataplane.Op {
	return dataplane.SetPair{Key: k, Table: f.domain.Table(f.means[k.Src], f.means[k.Dst])}
}

func memberOf(a netip.Addr) int { return int(a.As16()[15]) - 1 }

func (f *fabric) setPeer(h *site, a netip.Addr) dataplane.Op {
	there, i := f.other(h), memberOf(a)
	return dataplane.SetPeer{Key: dataplane.PeerKey{VNI: f.vni, Addr: a}, Peer: dataplane.Peer{
		UID: f.uid(there, i), MAC: there.mac(i), Class: f.class(there, i, a.Is6()), VTEP: there.vtep,
	}}
}

func clone(w *worlds.World) *worlds.World {
	c := &worlds.World{Members: slices.Clone(w.Members), Edge: w.Edge}
	for _, b := range w.Blueprints {
		c.Blueprints = append(c.Blueprints, new(*b))
	}
	return c
}

// edit changes the intent a little, as an operator would with flows alive, or
// lets time pass.
func (f *fabric) edit() {
	f.edits++
	from := f.draw()
	for range 1 + f.r.IntN(4) {
		b := one(f.r, f.world.Blueprints...)
		b.Policies, b.Groups, b.Outside = slices.Clone(b.Policies), slices.Clone(b.Groups), slices.Clone(b.Outside)
		at := f.r.IntN(len(b.Policies) + 1)
		switch what := f.r.IntN(6); {
		case what == 0 && len(b.Groups) > 0:
			g := &b.Groups[f.r.IntN(len(b.Groups))]
			g.Isolated = !g.Isolated
			g.Egress, g.Ingress = g.Ingress, g.Egress
		case what == 1:
			m := one(f.r, from.Members...)
			m.Groups = slices.DeleteFunc(m.Groups, f.undeclared)
			f.world.Members[f.r.IntN(f.members())] = m
		case what == 2:
			o := one(f.r, from.Blueprints...)
			if len(o.Policies) > 0 && o.Tier == b.Tier {
				p := one(f.r, o.Policies...)
				if slices.ContainsFunc(slices.Concat(p.From, p.To), f.undeclared) {
					break
				}
				b.Policies = append(slices.DeleteFunc(b.Policies, func(o blueprint.Policy) bool { return o.Name == p.Name }), p)
			}
		case at == len(b.Policies):
			f.reclass(b, from)
		case what == 3:
			b.Policies = slices.Delete(b.Policies, at, at+1)
		default:
			p := &b.Policies[at]
			if b.Tier == blueprint.Provider {
				p.Allow, p.Deny, p.Pass = p.Deny, p.Pass, p.Allow
			} else {
				p.Allow, p.Deny = p.Deny, p.Allow
			}
		}
	}
	f.tell()
}

// undeclared reports whether no blueprint says what a name is.
func (f *fabric) undeclared(name dove.Group) bool {
	for _, b := range f.world.Blueprints {
		if slices.ContainsFunc(b.Groups, func(g blueprint.Group) bool { return b.GroupOf(g.Name) == name }) ||
			slices.ContainsFunc(b.Outside, func(o blueprint.Outside) bool { return b.GroupOf(o.Name) == name }) {
			return false
		}
	}
	return name != blueprint.Any
}

// reclass has groups of a rich world select others, keep state or keep none, and
// outsides be elsewhere, as in another world, and policies end.
func (f *fabric) reclass(b *blueprint.Blueprint, from *worlds.World) {
	if f.world.Edge.Before(from.Edge) {
		f.world.Edge = from.Edge
	}
	for _, o := range from.Blueprints {
		for i := range b.Groups {
			if at := slices.IndexFunc(o.Groups, func(g blueprint.Group) bool { return g.Name == b.Groups[i].Name }); at >= 0 {
				b.Groups[i].Selector, b.Groups[i].Stateless = o.Groups[at].Selector, o.Groups[at].Stateless
			}
		}
		for i := range b.Outside {
			if at := slices.IndexFunc(o.Outside, func(x blueprint.Outside) bool { return x.Name == b.Outside[i].Name }); at >= 0 {
				b.Outside[i] = o.Outside[at]
			}
		}
	}
}

// frame is a packet of a question's flow, sent from a host, now and then with
// IPv4 options. IP headers and all that follows are size bytes, or a few more
// than needed if size is 0.
func (f *fabric) frame(q question, t *talk, h *site, live bool, size int) []byte {
	gateway := dove.MAC{2, 9, 9, 9, 9, 9} // the switch knows better
	e := packet.Ends{SrcMAC: f.near.mac(q.from), DstMAC: gateway, Src: f.near.address(q.from, q.v6), Dst: f.far.address(q.to, q.v6)}
	flags := packet.SYN
	if live {
		flags = packet.ACK
	}
	if h == f.far {
		e.SrcMAC, e.Src, e.Dst = f.far.mac(q.to), e.Dst, e.Src
	}
	options := !q.v6 && f.r.IntN(8) == 0
	build := func(payload []byte) []byte {
		b := f.build(q, t, e, flags, h == f.far, payload)
		if options {
			b[14]++ // one word more
			binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14+4))
			b = slices.Insert(b, 34, 1, 1, 1, 1)
		}
		return b
	}
	if size == 0 {
		return build(make([]byte, f.r.IntN(8)))
	}
	return build(make([]byte, size-(len(build(nil))-14)))
}

// build is a packet of a question's flow, or an answer to one.
func (f *fabric) build(q question, t *talk, e packet.Ends, flags packet.TCPFlags, answer bool, payload []byte) []byte {
	here, there, kind := t.port, q.probe.Port, uint8(q.probe.Port>>8)
	if answer {
		here, there = there, here
	}
	switch q.probe.Protocol {
	case dove.ProtocolTCP:
		return packet.TCP(e, here, there, flags, payload)
	case dove.ProtocolUDP:
		return packet.UDP(e, here, there, payload)
	case dove.ProtocolSCTP:
		return packet.SCTP(e, here, there, payload)
	case dove.ProtocolICMP:
		if answer {
			kind = 0
		}
		return packet.ICMP(e, kind, uint8(q.probe.Port), uint32(t.port)<<16, payload)
	case dove.ProtocolICMPv6:
		if answer {
			kind = 129
		}
		return packet.ICMP(e, kind, uint8(q.probe.Port), uint32(t.port)<<16, payload)
	}
	return packet.Other(e, q.probe.Protocol, payload)
}
