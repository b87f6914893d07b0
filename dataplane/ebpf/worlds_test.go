package ebpf

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/oracle"
	"dove.network/oracle/worlds"
	"dove.network/packet"
	"dove.network/privtest"
	"dove.network/verdict"
)

var worldsPackets = flag.Int("packets", 0, "how many packets TestWorlds sends at least, in the worlds of one seed after the other, instead of those of the same few")

// TestWorlds asks the oracle, the tables and two switches in the kernel the same
// questions: what becomes of each packet is compared with what the oracle says. SEED=n
// walks one seed's worlds again, or is the first of so many that -packets are sent.
func TestWorlds(t *testing.T) {
	privtest.Require(t)
	seed, seeds := uint64(4), uint64(3) // even ones over IPv6
	if *worldsPackets > 0 {
		seed = rand.Uint64()
	}
	if s := os.Getenv("SEED"); s != "" {
		given, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed, seeds = given, 1
	}
	first, begun := seed, time.Now()
	told := begun
	var all trip
	more := func() bool {
		if *worldsPackets > 0 {
			return all.packets < *worldsPackets
		}
		return seed-first < seeds
	}
	for ; more() && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			f := newFabric(t, seed, Options{})
			f.walk(3)
			all.add(f.trip)
		})
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			t.Logf("%d of %d packets compared, in %d worlds, after %.0f s", all.packets, *worldsPackets, all.worlds, time.Since(begun).Seconds())
		}
	}
	t.Logf("seeds %d to %d: %d packets compared, of %d questions, in %d worlds, in %.1f s: %+v", first, seed-1, all.packets, all.questions, all.worlds, time.Since(begun).Seconds(), all)
	if seed-first > 1 && (all.allowed == 0 || all.denied == 0 || all.kept == 0 || all.revoked == 0 || all.restored == 0 || all.misses == 0 ||
		*worldsPackets == 0 && (all.told == 0 || all.silenced == 0 || all.turned == 0)) {
		t.Errorf("the worlds are dull: %+v", all)
	}
}

// trip counts what a walk has met.
type trip struct {
	worlds, questions, packets      int
	allowed, denied                 int // questions without a live flow
	kept, revoked, restored, misses int // live flows after an edit; misses answered
	told                            int // outcomes by which a rule wants something told
	silenced, turned                int // replies: dropped, or passed, by the word of their own direction
}

func (t *trip) add(o trip) {
	t.worlds, t.questions, t.packets = t.worlds+o.worlds, t.questions+o.questions, t.packets+o.packets
	t.allowed, t.denied = t.allowed+o.allowed, t.denied+o.denied
	t.kept, t.revoked, t.restored, t.misses = t.kept+o.kept, t.revoked+o.revoked, t.restored+o.restored, t.misses+o.misses
	t.told, t.silenced, t.turned = t.told+o.told, t.silenced+o.silenced, t.turned+o.turned
}

// question is one that all deciders must answer alike.
type question struct {
	from, to int // members: near and far
	probe    worlds.Probe
	v6       bool
}

// flow begins a state: all but the ICMP that is judged message by message.
func (q question) flows() bool {
	request := uint16(8)
	if q.v6 {
		request = 128
	}
	return !q.probe.Protocol.IsICMP() || q.probe.Port>>8 == request
}

// answersTo is what an answer of the far end asks for by itself.
func (q question) answersTo(t *talk) uint16 {
	switch {
	case q.probe.Protocol.HasPorts():
		return t.port
	case q.probe.Protocol == dove.ProtocolICMP: // a reply
		return q.probe.Port & 0xff
	case q.probe.Protocol == dove.ProtocolICMPv6:
		return 129<<8 | q.probe.Port&0xff
	}
	return 0
}

// lives is how long a flow is sure to live without a packet.
func (q question) lives() time.Duration {
	return 25 * time.Second
}

// talk is a flow that was let through once.
type talk struct {
	port   uint16 // the near end's, or its echo's identifier
	denied bool   // when it was last asked for
	passed time.Time
	far    bool          // the far end is its initiator: it passed by its own word
	told   oracle.Answer // what was told of it, or zero

	forth, back oracle.Answer // to a packet of the near end, and to one of the far end, by itself
}

// judgement is what becomes of one packet, and of what it is told where.
type judgement struct {
	oracle.Answer      // that decides
	known         bool // it passes by its flow
	own           bool // it does not begin the flow, but its own direction decides
	near          bool // the switch of the near end tells, for that has the initiator
	told          bool
}

// judge says what is to become of a packet that a host's member sends: that of a
// flow is judged in the direction of the flow's initiator, and, where an end keeps
// no state, by its own direction too if it answers.
func (f *fabric) judge(q question, t *talk, h *site, live bool) judgement {
	own, other := t.forth, t.back
	if h == f.far {
		own, other = other, own
	}
	j := judgement{Answer: own, near: h == f.near}
	if live && t.far != (h == f.far) { // it answers
		if other.Stateless && (own.NoReply || own.Allow && !other.Allow) {
			j.own = true
		} else {
			j.Answer, j.near = other, !j.near
		}
	}
	j.known = live && j.Allow && !j.own
	j.told = toldOf(j.Answer) != oracle.Answer{} && !(j.known && toldOf(j.Answer) == t.told)
	return j
}

// passed takes a packet that passed into its flow.
func (f *fabric) passed(q question, t *talk, j judgement) {
	switch {
	case !q.flows() || j.own && q.probe.Protocol.IsICMP(): // an echo reply begins no flow
		return
	case j.own: // it began another in its place
		t.far = !j.near
	}
	t.told, t.passed = toldOf(j.Answer), time.Now()
}

// toldOf is what of an answer is told, zero if no rule wants that.
func toldOf(a oracle.Answer) oracle.Answer {
	if !a.Log && a.Shadow == "" {
		return oracle.Answer{}
	}
	a.NoReply, a.Stateless = false, false
	return a
}

// walk goes through worlds. Each is edited twice while its flows are alive, and
// then the edits are taken back.
func (f *fabric) walk(worlds int) {
	for range worlds {
		f.enter()
		f.askAll()
		before := clone(f.world)
		for range 2 {
			f.edit()
			f.askAll()
		}
		f.edits++
		f.world = before
		f.tell()
		f.askAll()
		f.counted(f.near)
		f.counted(f.far)
	}
}

// askAll asks for all ordered pairs of members and all probes, of old flows too.
// After an edit, it asks for all live flows and for a part of the rest.
func (f *fabric) askAll() {
	f.probes = append(f.probes, worlds.Probes(f.world.Blueprints)...)
	slices.SortFunc(f.probes, func(a, b worlds.Probe) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	f.probes = slices.Compact(f.probes)
	for from := range f.members() {
		for to := range f.members() {
			var tables [2][2]*verdict.Table // forth and back, of each family
			for i := range tables {
				k := f.pair(from, to, i == 1)
				tables[i] = [2]*verdict.Table{f.domain.Table(f.means[k.Src], f.means[k.Dst]), f.domain.Table(f.means[k.Dst], f.means[k.Src])}
			}
			for _, p := range f.probes {
				q := question{from, to, p, f.r.IntN(2) == 0}
				if p.Protocol.IsICMP() {
					q.v6 = p.Protocol == dove.ProtocolICMPv6
				}
				if f.edits == 0 || f.flows[q] != nil || f.r.IntN(3) == 0 {
					both := tables[0]
					if q.v6 {
						both = tables[1]
					}
					f.ask(q, both[0], both[1])
				}
			}
		}
	}
	for _, h := range []*site{f.near, f.far} {
		f.shadowed(h)
	}
}

// word is what the oracle says to a packet of the near end, or of the far one; its
// table must say the same.
func (f *fabric) word(q question, far bool, port uint16, table *verdict.Table) oracle.Answer {
	src, dst := f.world.Members[q.from].End(f.near.address(q.from, q.v6)), f.world.Members[q.to].End(f.far.address(q.to, q.v6))
	if far {
		src, dst = dst, src
	}
	meant := oracle.Decide(f.world.Blueprints, f.world.Edge, oracle.Packet{Src: src, Dst: dst, Protocol: q.probe.Protocol, Port: port})
	v := table.Lookup(q.probe.Protocol, port)
	is := oracle.Answer{
		Allow: v.Allow, Rule: table.Name(v), Log: v.Log, Shadow: table.WouldName(v), Would: v.WouldAllow,
		NoReply: v.NoReply, Stateless: !table.Stateful(),
	}
	if is != meant {
		f.fail("%+v, to port %d, from the far end %t: the oracle says %+v, the table %+v", q, port, far, meant, is)
	}
	return meant
}

// ask puts one question to all: as the first packet of a flow, or as the next
// one if the flow is alive.
func (f *fabric) ask(q question, forth, back *verdict.Table) {
	t := f.flows[q]
	live := t != nil
	switch {
	case !live:
		t = &talk{port: uint16(0x9000 + f.r.IntN(0x6000))}
		if q.probe.Protocol.IsICMP() && q.flows() && f.r.IntN(4) == 0 {
			t.port = q.probe.Port // so that a request can go against the flow
		}
	case time.Since(t.passed) > q.lives():
		return // who knows if it is alive
	}
	f.questions++
	f.asking = t
	t.forth, t.back = f.word(q, false, q.probe.Port, forth), f.word(q, true, q.answersTo(t), back)
	j := f.judge(q, t, f.near, live)
	allow := j.Allow
	f.remember(q, t, live, allow)
	f.carry(q, t, f.near, live, j)
	if live && !allow || allow && q.flows() && f.r.IntN(2) == 0 {
		j := f.judge(q, t, f.far, true)
		f.carry(q, t, f.far, true, j)
		if j.own && j.Allow {
			f.turned++
		} else if j.own && allow {
			f.silenced++
		}
	}
	if allow && q.flows() && f.r.IntN(8) == 0 {
		f.forge(q, t)
	}
}

func (f *fabric) remember(q question, t *talk, live, allow bool) {
	count := &f.denied
	switch {
	case !live && allow:
		count = &f.allowed
	case live && !allow:
		count = &f.revoked
	case live && t.denied:
		count = &f.restored
	case live:
		count = &f.kept
	}
	*count++
	if allow && q.flows() {
		t.passed, f.flows[q] = time.Now(), t
	}
	t.denied = !allow
}

// carry sends a packet of one host's member to the other's: first to the
// sender's switch, and then what that sends, or what a host without a
// conscience would have sent, to the receiver's.
func (f *fabric) carry(q question, t *talk, h *site, live bool, j judgement) {
	allow := j.Allow
	g := f.other(h)
	from, to := q.from, q.to
	if h == f.far {
		from, to = to, from
	}
	size := 0
	if f.r.IntN(8) == 0 {
		size = worldMTU
	}
	frame := f.frame(q, t, h, live, size)
	inner := bytes.Clone(frame)
	copyMAC(inner, g.mac(to))
	outer := packet.Outer{Src: h.vtep, Dst: g.vtep, SrcPort: 0xc000, VNI: f.vni, Class: f.class(h, from, q.v6)}
	wire := outer.Encap(inner)

	refused := dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.Policy}
	sent := dataplane.Outcome{Action: dataplane.Tunneled, VTEP: g.vtep, VNI: f.vni, Class: outer.Class}
	received := dataplane.Outcome{Action: dataplane.Delivered, Port: dataplane.PortID(to + 1)}
	if !allow {
		sent, received = refused, refused
	}
	for host, o := range map[*site]*dataplane.Outcome{h: &sent, g: &received} {
		if !j.known {
			o.Rule = j.Rule
		}
		if j.told && (host == f.near) == j.near {
			o.Log, o.Would, o.WouldAllow = j.Log, j.Shadow, j.Would
		}
	}
	refused = received // also of what lies
	out := f.give(q, h, from, frame, sent)
	if allow {
		o, carried, fault := packet.Decap(out)
		o.SrcMAC, o.DstMAC, o.SrcPort = dove.MAC{}, dove.MAC{}, outer.SrcPort
		if fault != packet.OK || o != outer || !bytes.Equal(carried, inner) || h.vtep.Is4() && checksum(out[14:34]) != 0 {
			f.fail("%+v: the %s host sends (%v)\n%x\nmeant:\n%x", q, h.name, fault, out, wire)
		}
		wire = out
	}
	out = f.give(q, g, -1, wire, received)
	if allow && !bytes.Equal(out, inner) {
		f.fail("%+v: the %s host delivers\n%x\nmeant:\n%x", q, g.name, out, inner)
	}
	if allow {
		f.passed(q, t, j)
	} else { // nor does it pass as another's
		lie := outer
		lie.Class = f.class(h, f.r.IntN(f.members()), q.v6)
		refused.Hinted = lie.Class != outer.Class
		f.give(q, g, -1, lie.Encap(inner), refused)
	}
}

// give runs a frame of a member, or of the wire (-1), and holds what becomes of
// it against what is meant. What the switch asks for on the way it is told.
func (f *fabric) give(q question, h *site, member int, frame []byte, meant dataplane.Outcome) []byte {
	f.packets++
	var o dataplane.Outcome
	var out []byte
	var err error
	if member < 0 {
		o, out, err = h.sw.FromWire(bytes.Clone(frame))
	} else {
		o, out, err = h.sw.FromGuest(dataplane.PortID(member+1), bytes.Clone(frame))
	}
	for err == nil && o.Action == dataplane.Missed && o != meant {
		m, ok := h.sw.MissOf(out)
		if !ok {
			f.fail("%+v: the %s host's miss %x cannot be read", q, h.name, out)
		}
		f.answer(q, h, m)
		o, out, err = h.sw.ReInject(m)
	}
	switch {
	case err != nil:
		f.fail("%+v: the %s host: %v", q, h.name, err)
	case o != meant:
		f.fail("%+v: the %s host judges %+v\nmeant: %+v\nframe: %x", q, h.name, o, meant, frame)
	case o.Action == dataplane.Dropped:
		h.dropped[fmt.Sprint(o.Reason, " ", o.Rule)]++
	}
	if o.Log || o.Would != "" {
		f.told++
	}
	if o.Would != "" {
		sum := h.shadows[o.Would]
		sum.Count(o.Action != dataplane.Dropped, o.WouldAllow, 1)
		h.shadows[o.Would] = sum
	}
	return out
}

// answer tells a switch what it has asked for, once.
func (f *fabric) answer(q question, h *site, m dataplane.Miss) {
	f.misses++
	k := f.pair(q.from, q.to, q.v6)
	peer := f.other(h).address(q.from, q.v6)
	if h == f.near {
		peer = f.other(h).address(q.to, q.v6)
	}
	switch {
	case m.Peer != peer || m.Tuple.VNI != f.vni:
		f.fail("%+v: the %s host asks for %v on network %d, meant: %v on %d", q, h.name, m.Peer, m.Tuple.VNI, peer, f.vni)
	case m.Want == dataplane.WantPeer && !h.peers[peer]:
		h.peers[peer] = true
		f.apply(h, []dataplane.Op{f.setPeer(h, peer)})
	case m.Want == dataplane.WantDenial: // it is as the table says
	case m.Want == dataplane.WantPair && !h.pairs[k] && !f.asking.far:
		h.pairs[k] = true
		f.apply(h, []dataplane.Op{f.setPair(k)})
	case m.Want == dataplane.WantPair && !h.pairs[backwards(k)] && (f.asking.forth.Stateless || f.asking.far):
		for _, k := range []dataplane.PairKey{k, backwards(k)} { // one may be lacking still, and asked for no more
			h.pairs[k] = true
			f.apply(h, []dataplane.Op{f.setPair(k)})
		}
	case m.Want == dataplane.WantPair && !h.pairs[k]: // it answers the far end
		h.pairs[k] = true
		f.apply(h, []dataplane.Op{f.setPair(k)})
	default:
		f.fail("%+v: the %s host asks for what it was told: %+v", q, h.name, m)
	}
}

// forge sends what no honest guest or host would, in the name of a live flow.
func (f *fabric) forge(q question, t *talk) {
	drop := func(r dataplane.Reason) dataplane.Outcome {
		return dataplane.Outcome{Action: dataplane.Dropped, Reason: r}
	}
	frame, large := f.frame(q, t, f.near, true, 0), f.frame(q, t, f.near, true, worldMTU+1)
	another := (q.from + 1) % f.members()
	f.give(q, f.near, another, frame, drop(dataplane.SpoofedMAC))
	stolen := bytes.Clone(frame)
	copyMAC(stolen[6:], f.near.mac(another))
	f.give(q, f.near, another, stolen, drop(dataplane.SpoofedAddress))
	f.give(q, f.near, q.from, stolen, drop(dataplane.SpoofedMAC))
	f.give(q, f.near, q.from, large, drop(dataplane.TooBig))
	if !q.v6 {
		later := bytes.Clone(frame)
		later[20], later[21] = 0, 16 // a fragment, and nobody has seen its first
		out := f.give(q, f.near, q.from, later, dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantFirst})
		m, ok := f.near.sw.MissOf(out)
		if !ok {
			f.fail("%+v: the near host's miss %x cannot be read", q, out)
		}
		o, _, err := f.near.sw.ReInject(m)
		if err != nil || o != drop(dataplane.Fragment) {
			f.fail("%+v: the near host judges %+v (%v) of a fragment alone", q, o, err)
		}
		f.near.dropped[fmt.Sprint(o.Reason, " ")]++
	}
	group := bytes.Clone(frame)
	group[0] |= 1
	f.give(q, f.near, q.from, group, drop(dataplane.NotUnicast))
	f.askNeighbor(q, another)
	if q.probe.Protocol.IsICMP() && t.port == q.probe.Port {
		e := packet.Ends{SrcMAC: f.far.mac(q.to), Src: f.far.address(q.to, q.v6), Dst: f.near.address(q.from, q.v6)}
		request := packet.ICMP(e, uint8(t.port>>8), uint8(t.port), uint32(t.port)<<16, nil)
		f.give(q, f.far, q.to, request, drop(dataplane.BadReply))
	}

	honest := packet.Outer{Src: f.near.vtep, Dst: f.far.vtep, SrcPort: 0xc000, VNI: f.vni, Class: f.class(f.near, q.from, q.v6)}
	wire := func(inner []byte, change func(*packet.Outer)) []byte { o := honest; change(&o); return o.Encap(inner) }
	f.give(q, f.far, -1, wire(large, func(*packet.Outer) {}), drop(dataplane.TooBig))
	f.give(q, f.far, -1, wire(frame, func(o *packet.Outer) { o.Src = f.stranger }), drop(dataplane.UnknownVTEP))
	f.give(q, f.far, -1, wire(frame, func(o *packet.Outer) { o.VNI ^= 1 << 23 }), drop(dataplane.UnknownNetwork))
	f.give(q, f.far, -1, wire(frame, func(o *packet.Outer) { o.Class ^= 1 }),
		dataplane.Outcome{Action: dataplane.Delivered, Port: dataplane.PortID(q.to + 1), Hinted: true})
	confirm := dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantConfirm}
	out := f.give(q, f.far, -1, wire(frame, func(o *packet.Outer) { o.Src = f.third }), confirm)
	m, ok := f.far.sw.MissOf(out)
	if !ok {
		f.fail("%+v: the far host's miss %x cannot be read", q, out)
	}
	o, _, err := f.far.sw.ReInject(m)
	if err != nil || o != drop(dataplane.SourceMismatch) {
		f.fail("%+v: the far host judges %+v (%v) of a sender that is not confirmed", q, o, err)
	}
	f.far.dropped[fmt.Sprint(o.Reason, " ")]++
}

// askNeighbor has the near member ask for the far one's MAC, and another member
// do so in its name.
func (f *fabric) askNeighbor(q question, another int) {
	request := packet.ARPRequest
	if q.v6 {
		request = packet.Solicitation
	}
	src, dst := f.near.address(q.from, q.v6), f.far.address(q.to, q.v6)
	f.give(q, f.near, q.from, request(f.near.mac(q.from), src, dst), dataplane.Outcome{Action: dataplane.Answered, Port: dataplane.PortID(q.from + 1)})
	f.give(q, f.near, another, request(f.near.mac(another), src, dst), dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.SpoofedAddress})
}

// shadows are what a switch has counted of rules in shadow, by these.
func (f *fabric) shadows(h *site) map[string]dataplane.Shadow {
	counts, err := h.sw.Shadows()
	if err != nil {
		f.fail("%s host: %v", h.name, err)
	}
	is := map[string]dataplane.Shadow{}
	for _, c := range counts {
		if c.Domain != worldDomain {
			f.fail("the %s host counts in another domain: %+v", h.name, c)
		}
		if c.Allow+c.Deny+c.Same > 0 {
			is[c.Rule] = dataplane.Shadow{Allow: c.Allow, Deny: c.Deny, Same: c.Same}
		}
	}
	return is
}

// shadowed holds what a switch has counted of rules in shadow since it was told of
// the world against what it was seen to tell.
func (f *fabric) shadowed(h *site) {
	if diff := gocmp.Diff(h.shadows, f.shadows(h)); diff != "" {
		f.fail("the %s host counts of rules in shadow (-told +counted)\n%s", h.name, diff)
	}
}

// counted holds what a switch has counted against what it was seen to drop.
func (f *fabric) counted(h *site) {
	counts, err := h.sw.Counts()
	if err != nil {
		f.fail("%s host: %v", h.name, err)
	}
	is := map[string]uint64{}
	for _, c := range counts {
		is[fmt.Sprint(c.Reason, " ", c.Rule)] += c.Packets
	}
	if diff := gocmp.Diff(h.dropped, is); diff != "" {
		f.fail("the %s host counts (-dropped +counted)\n%s", h.name, diff)
	}
}
