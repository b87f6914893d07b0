package ebpf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/dataplane"
	"dove.network/dataplane/soft"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
	"dove.network/verdict"
)

// TestAgree gives the same ops and the same packets to the kernel's switch and
// to the one in memory. SEED=n runs one world again.
func TestAgree(t *testing.T) {
	privtest.Require(t)
	seeds := []uint64{rand.Uint64(), rand.Uint64(), 1, 2}
	if s := os.Getenv("SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { newTwins(t, seed, Options{}).walk(4000) })
		t.Run(fmt.Sprintf("ways, seed %d", seed), func(t *testing.T) { splitTwins(t, seed, Options{}).walk(2000) })
	}
}

// twins are two switches that must not differ, in a small world: two networks,
// six numbers that ports and peers are made of, three hosts.
type twins struct {
	testing.TB
	r         *rand.Rand
	vteps     []netip.Addr
	kernel    *Switch
	soft      *soft.Switch
	ports     map[dataplane.PortID]dataplane.Port
	peers     map[dataplane.PeerKey]dataplane.Peer
	networkOf map[dataplane.PortID]dove.VNI // of ports that are gone, too
	tables    []*verdict.Table
	misses    []twinMiss
	passed    []conversation // what was let through, to go on with
	carried   []dataplane.FlowState
	ops       int
	kinds     map[dataplane.Action]int
	why       map[dataplane.Reason]int
	told      map[dataplane.Action]int // of these, by a rule that wants it told
	split     bool                     // nearly all peers are behind several next hops
	near      dove.VNI                 // the network of who sent or receives the packet
}

// conversation is a packet that passed on a network.
type conversation struct {
	vni   dove.VNI
	inner []byte
}

type twinMiss struct{ kernel, soft dataplane.Miss }

var (
	twinVTEPs = []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), // the switches' own
		netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("192.0.2.4"),
	}
	twinVTEPs6 = []netip.Addr{ // on another underlay, of even seeds
		netip.MustParseAddr("2001:db8::1"),
		netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::1:0:2"), netip.MustParseAddr("2001:db8:0:1::2"),
	}
	twinVNIs = []dove.VNI{7, 0xabcdef}
)

func newTwins(t testing.TB, seed uint64, o Options) *twins {
	vteps := twinVTEPs
	if seed%2 == 0 {
		vteps = twinVTEPs6
	}
	config := dataplane.Config{VTEP: vteps[0]}
	o.Config, o.FlowsPerPort = config, 40
	kernel, err := OpenForTests(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := kernel.Close(); err != nil {
			t.Error(err)
		}
	})
	start := time.Now()
	w := &twins{
		TB: t, r: rand.New(rand.NewPCG(seed, 0)), vteps: vteps, kernel: kernel,
		soft:  soft.New(config, func() time.Time { return start }),
		ports: map[dataplane.PortID]dataplane.Port{}, peers: map[dataplane.PeerKey]dataplane.Peer{}, networkOf: map[dataplane.PortID]dove.VNI{},
		kinds: map[dataplane.Action]int{}, why: map[dataplane.Reason]int{}, told: map[dataplane.Action]int{},
	}
	w.soft.SetLimits(soft.Limits{Flows: 1 << 20, FlowsPerPort: 40, MissBurst: 1 << 20, MissRate: 1 << 20, FlowErrors: 1 << 20})
	for range 6 {
		w.tables = append(w.tables, verdict.Product(w.half(), w.half()))
	}
	return w
}

// splitTwins are twins nearly all of whose peers are behind several next hops.
func splitTwins(t testing.TB, seed uint64, o Options) *twins {
	w := newTwins(t, seed, o)
	w.split = true
	return w
}

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (w *twins) chance(percent int) bool { return w.r.IntN(100) < percent }

func (w *twins) pick() (from, to int, src, dst netip.Addr) {
	from, to = 1+w.r.IntN(6), 1+w.r.IntN(6)
	switch n := w.r.IntN(25); {
	case n == 0:
		to = 250 // the router
	case n < 3:
		to = 20
	case n < 5:
		from = 20
	}
	src, dst = w.address(from), w.address(to)
	for src.Is4() != dst.Is4() {
		dst = w.address(to)
	}
	return from, to, src, dst
}

// fromGuest runs a frame of a port, mostly one that it may send.
func (w *twins) fromGuest() {
	id := dataplane.PortID(1 + w.r.IntN(4))
	from, to, src, dst := w.pick()
	if w.chance(90) {
		from = int(id)
		if p, ok := w.ports[id]; ok && len(p.Addresses) > 0 {
			src = one(w.r, p.Addresses...).Addr
		}
		for src.Is4() != dst.Is4() {
			dst = w.address(to)
		}
	}
	mac := twinMAC(from)
	if p, ok := w.ports[id]; ok {
		mac, src = w.other(p, mac, src)
		for src.Is4() != dst.Is4() {
			dst = w.address(to)
		}
	}
	for _, piece := range w.pieces(w.inner(from, to, mac, src, dst)) {
		w.guest(id, piece)
	}
}

func (w *twins) guest(id dataplane.PortID, frame []byte) {
	frame = w.tagged(w.ports[id], frame)
	w.near = w.whose(id, frame).VNI
	kernelOutcome, kernelFrame, err := w.kernel.FromGuest(id, bytes.Clone(frame))
	if err != nil {
		w.Fatal(err)
	}
	softOutcome, softFrame := w.soft.FromGuest(id, frame)
	w.compare(fmt.Sprintf("port %d sends %x", id, frame), kernelOutcome, softOutcome, kernelFrame, softFrame)
}

// fromWire runs an overlay packet, mostly of a peer whose host and class are right.
func (w *twins) fromWire() {
	from, to, src, dst := w.pick()
	o := packet.Outer{
		SrcMAC: twinMAC(201), DstMAC: twinMAC(200), Src: one(w.r, w.vteps...), Dst: w.vteps[0], SrcPort: 0xc000,
		VNI: one(w.r, twinVNIs...), Class: w.class(), TOS: one[uint8](w.r, 0, 0, 1, 2, 3, 0xb8),
	}
	if p, ok := w.ports[dataplane.PortID(1+w.r.IntN(4))]; ok && w.chance(95) {
		o.VNI, dst = p.VNI, one(w.r, p.Addresses...).Addr
		for src.Is4() != dst.Is4() {
			src = w.address(from)
		}
	}
	if p, ok := w.peers[dataplane.PeerKey{VNI: o.VNI, Addr: src}]; ok {
		if w.chance(85) {
			o.Class = p.Class
		}
		if p.VTEP.IsValid() && w.chance(92) {
			o.Src = p.VTEP
		}
		if len(p.Ways) > 0 && w.chance(60) {
			by := one(w.r, p.Ways...)
			o.Src, o.Class, from = by.VTEP, by.Class, int(by.MAC[5])
			if !by.VTEP.IsValid() {
				o.Src = w.vteps[1]
			}
		}
		if p.Other.IsValid() && w.chance(40) {
			o.Src = p.Other
		}
	}
	w.byOther(&o, src, dst)
	if w.chance(10) && !o.Applied {
		o.Class = packet.NoClass
	}
	if w.chance(3) {
		o.Dst = w.vteps[1]
	}
	pieces := w.pieces(w.inner(from, to, twinMAC(from), src, dst))
	if len(pieces) > 1 || len(pieces[0]) > 80 && w.chance(50) {
		for _, piece := range pieces {
			w.wire(o.Encap(piece))
		}
		return
	}
	frame := o.Encap(pieces[0])
	vxlan := packet.OverlaySize(o.Dst) - 8
	if w.chance(5) {
		frame[vxlan+w.r.IntN(8)] ^= 1 << w.r.IntN(8)
	}
	if w.chance(3) {
		at := 12 + w.r.IntN(vxlan-12)
		if at != 14 { // options go to the kernel, as semantics.md says
			frame[at] ^= 1 << w.r.IntN(8)
		}
	}
	if w.chance(2) {
		frame = frame[:vxlan-8+w.r.IntN(len(frame)-vxlan+8)]
	}
	w.wire(frame)
}

func (w *twins) wire(frame []byte) {
	o, _, _ := packet.Decap(frame)
	w.near = o.VNI
	kernelOutcome, kernelFrame, err := w.kernel.FromWire(bytes.Clone(frame))
	if err != nil {
		w.Fatal(err)
	}
	softOutcome, softFrame := w.soft.FromWire(frame)
	w.compare(fmt.Sprintf("the wire brings %x", frame), kernelOutcome, softOutcome, kernelFrame, softFrame)
}

// goOn repeats or answers a packet that passed before, by the same ways.
func (w *twins) goOn() {
	if len(w.passed) == 0 {
		return
	}
	c := one(w.r, w.passed...)
	frame := bytes.Clone(c.inner)
	switch {
	case w.chance(20):
		frame = w.complaint(frame)
	case w.chance(60):
		turn(frame)
	}
	if at := transportAt(frame); len(frame) > at+13 && w.chance(30) {
		frame[at+13] = byte(one(w.r, packet.SYN, packet.ACK, packet.FIN|packet.ACK, packet.RST, packet.SYN|packet.ACK)) // if it is TCP
	}
	frame = w.broken(frame)
	p, _ := packet.Parse(frame)
	for id := range dataplane.PortID(5) {
		port := w.ports[id]
		if port.VNI == c.vni && w.chance(90) {
			copy(frame[6:12], port.MAC[:]) // a router has written another one
		}
		if port.VNI == c.vni && slices.ContainsFunc(port.Addresses, func(a dataplane.Address) bool { return a.Addr == p.Src }) {
			if port.Other.IsValid() && w.chance(30) {
				w.wire(packet.Outer{Src: port.Other, Dst: w.vteps[0], SrcPort: 0xc000, VNI: c.vni, Class: port.Addresses[0].Class, Applied: w.chance(30)}.Encap(frame))
			} else {
				w.guest(id, frame)
			}
			return
		}
	}
	peer, ok := w.peers[dataplane.PeerKey{VNI: c.vni, Addr: p.Src}]
	if !ok || !peer.VTEP.IsValid() {
		return
	}
	class := peer.Class
	if w.chance(10) {
		class = one(w.r, w.class(), packet.NoClass)
	}
	from := peer.VTEP
	if len(peer.Ways) > 0 && w.chance(50) {
		if by := one(w.r, peer.Ways...); by.VTEP.IsValid() {
			from, class = by.VTEP, by.Class
		}
	}
	if peer.Other.IsValid() && w.chance(30) {
		from = peer.Other
	}
	w.wire(packet.Outer{Src: from, Dst: w.vteps[0], SrcPort: 0xc000, VNI: c.vni, Class: class, TOS: one[uint8](w.r, 0, 2, 3)}.Encap(frame))
}

func (w *twins) inject() {
	if len(w.misses) == 0 {
		return
	}
	i := w.r.IntN(len(w.misses))
	m := w.misses[i]
	w.near = m.soft.Tuple.VNI
	w.misses = slices.Delete(w.misses, i, i+1)
	kernelOutcome, kernelFrame, err := w.kernel.ReInject(m.kernel)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.soft.Inject(m.soft); err != nil {
		w.Fatal(err)
	}
	sent := w.soft.TakeInjected()[0]
	w.compare(fmt.Sprintf("again: %+v", m.soft), kernelOutcome, sent.Outcome, kernelFrame, sent.Frame)
}

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func (w *twins) compare(what string, kernel, memory dataplane.Outcome, kernelFrame, softFrame []byte) {
	w.Helper()
	w.kinds[memory.Action]++
	w.why[memory.Reason]++
	if memory.Log || memory.Would != "" {
		w.told[memory.Action]++
	}
	if diff := gocmp.Diff(memory, kernel, compareAddrs); diff != "" {
		w.Fatalf("after %d ops, %s:\n(-in memory +in the kernel)\n%s", w.ops, what, diff)
	}
	if inner := softFrame; memory.Action == dataplane.Delivered || memory.Action == dataplane.Tunneled {
		vni := w.near
		if memory.Action == dataplane.Tunneled {
			_, inner, _ = packet.Decap(softFrame)
		} else {
			vni = w.ports[memory.Port].VNI
			_, inner, _ = packet.Untag(softFrame)
		}
		if p, _ := packet.Parse(inner); p.Piece == packet.Whole { // pieces have their second
			w.passed = append(w.passed, conversation{vni, inner})
		}
		w.passed = w.passed[max(0, len(w.passed)-30):]
	}
	switch memory.Action {
	case dataplane.Tunneled:
		k, kernelInner, kernelFault := packet.Decap(kernelFrame)
		if label := binary.BigEndian.Uint32(kernelFrame[14:]) & 0xfffff; k.Dst.Is6() && !k.Applied && label != uint32(k.SrcPort) {
			w.Fatalf("%s: the flow label is %x, the source port %x", what, label, k.SrcPort)
		}
		s, softInner, softFault := packet.Decap(softFrame)
		k.SrcMAC, k.DstMAC, k.SrcPort = s.SrcMAC, s.DstMAC, s.SrcPort
		if k != s || kernelFault != softFault || !bytes.Equal(kernelInner, softInner) {
			w.Fatalf("after %d ops, %s:\nin memory  %x\nin the kernel %x", w.ops, what, softFrame, kernelFrame)
		}
		if sum := checksum(kernelFrame[14:34]); k.Dst.Is4() && sum != 0 {
			w.Fatalf("%s: the outer header's checksum is wrong: %x", what, kernelFrame[14:34])
		}
	case dataplane.Dropped:
		if !bytes.Equal(kernelFrame, softFrame) {
			w.Fatalf("after %d ops, %s: told to the sender:\nin memory  %x\nin the kernel %x", w.ops, what, softFrame, kernelFrame)
		}
	case dataplane.Delivered, dataplane.Answered:
		if _, inner, fault := packet.Decap(softFrame); memory.Action == dataplane.Answered && fault == packet.OK {
			softFrame = inner // the kernel's encapsulation comes after the programs
		}
		if memory.Action == dataplane.Answered && len(kernelFrame) > len(softFrame) {
			kernelFrame = kernelFrame[:len(softFrame)] // made in the request's place, padding and all
		}
		if !bytes.Equal(kernelFrame, softFrame) {
			w.Fatalf("after %d ops, %s:\nin memory  %x\nin the kernel %x", w.ops, what, softFrame, kernelFrame)
		}
	case dataplane.Missed:
		m, ok := w.kernel.MissOf(kernelFrame)
		if memory.Want == dataplane.WantClaim {
			if c := w.soft.TakeClaims()[0]; !ok || m.Want != dataplane.WantClaim || c != (dataplane.Claim{Port: m.Port, Addr: m.Local}) {
				w.Fatalf("after %d ops, %s: in memory %+v, in the kernel %+v", w.ops, what, c, m)
			}
			return
		}
		s := w.soft.TakeMisses()[0]
		if !ok {
			w.Fatalf("after %d ops, %s: the kernel's miss %x cannot be read", w.ops, what, kernelFrame)
		}
		if diff := gocmp.Diff(s, m, compareAddrs, cmpopts.IgnoreFields(dataplane.Miss{}, "Frame")); diff != "" {
			w.Fatalf("after %d ops, %s: the misses differ:\n%s", w.ops, what, diff)
		}
		w.misses = append(w.misses, twinMiss{m, s})
		for len(w.misses) > 8 { // those behind them miss, too
			w.kernel.Discard(w.misses[0].kernel, dataplane.HoldLimit)
			w.soft.Discard(w.misses[0].soft, dataplane.HoldLimit)
			w.misses = w.misses[1:]
		}
	}
}

func (w *twins) give(op dataplane.Op) {
	w.ops++
	kernel, memory := w.kernel.Apply([]dataplane.Op{op}), w.soft.Apply([]dataplane.Op{op})
	if (kernel == nil) != (memory == nil) {
		w.Fatalf("op %d, %+v: in memory %v, in the kernel %v", w.ops, op, memory, kernel)
	}
	if kernel != nil {
		return
	}
	switch op := op.(type) {
	case dataplane.SetPort:
		if w.networkOf[op.Port.ID] != op.Port.VNI {
			// What missed when the port was on this network before is too old for
			// the kernel, and not for the other.
			w.misses = slices.DeleteFunc(w.misses, func(m twinMiss) bool {
				return m.soft.Port == op.Port.ID && m.soft.Tuple.VNI == op.Port.VNI
			})
		}
		w.ports[op.Port.ID], w.networkOf[op.Port.ID] = op.Port, op.Port.VNI
	case dataplane.DelPort:
		delete(w.ports, op.ID)
	case dataplane.SetPeer:
		w.peers[op.Key] = op.Peer
	case dataplane.DelPeer:
		delete(w.peers, op.Key)
	}
}

func (w *twins) walk(steps int) {
	for _, vni := range twinVNIs {
		w.give(dataplane.SetNetwork{Network: w.network(vni, 1, 1450)})
	}
	for _, a := range w.vteps[1:] {
		w.give(dataplane.SetVTEP{Addr: a})
	}
	for id := range dataplane.PortID(4) {
		w.give(dataplane.SetPort{Port: w.port(id + 1)})
	}
	for _, src := range []dove.Class{10, 11, 12} {
		for _, dst := range []dove.Class{10, 11, 12} {
			w.give(dataplane.SetPair{Key: dataplane.PairKey{Domain: 1, Src: src, Dst: dst}, Table: one(w.r, w.tables...)})
		}
	}
	for range 60 {
		w.give(w.op())
	}
	began := time.Now()
	for range steps {
		if time.Since(began) > 2*time.Second { // for the switch in memory no time passes
			age(w, w.kernel, 0)
			began = time.Now()
		}
		switch n := w.r.IntN(20); {
		case n == 0 && w.chance(50):
			w.give(w.op())
		case n < 8:
			w.fromGuest()
		case n < 12:
			w.fromWire()
		case n < 19:
			w.goOn()
		case n == 19 && w.chance(30):
			w.carry()
		default:
			w.inject()
		}
	}
	w.settled()
	w.Logf("%v %v, told of %v", w.kinds, w.why, w.told)
}

// settled compares what both hold and have counted.
func (w *twins) settled() {
	kernelCounts, err := w.kernel.Counts()
	if err != nil {
		w.Fatal(err)
	}
	softCounts, _ := w.soft.Counts()
	if diff := gocmp.Diff(softCounts, kernelCounts); diff != "" {
		w.Errorf("the counts differ:\n%s", diff)
	}
	kernelShadows, err := w.kernel.Shadows()
	if err != nil {
		w.Fatal(err)
	}
	softShadows, _ := w.soft.Shadows()
	for _, shadows := range [][]dataplane.Shadow{kernelShadows, softShadows} {
		for i := range shadows {
			shadows[i].Since = time.Time{}
		}
	}
	if diff := gocmp.Diff(softShadows, kernelShadows); diff != "" {
		w.Errorf("the counts of rules in shadow differ:\n%s", diff)
	}
	kernelFlows, err := w.kernel.Flows()
	if err != nil {
		w.Fatal(err)
	}
	softFlows, _ := w.soft.Flows()
	for _, flows := range [][]dataplane.Flow{kernelFlows, softFlows} {
		for i := range flows {
			flows[i].Idle = 0
		}
		slices.SortFunc(flows, func(a, b dataplane.Flow) int {
			return cmp.Compare(fmt.Sprint(a.Tuple), fmt.Sprint(b.Tuple))
		})
	}
	if diff := gocmp.Diff(softFlows, kernelFlows, compareAddrs); diff != "" {
		w.Errorf("the flows differ:\n%s", diff)
	}
	kernelSizes, err := w.kernel.Sizes()
	if err != nil {
		w.Fatal(err)
	}
	softSizes, _ := w.soft.Sizes()
	if softSizes != kernelSizes {
		w.Errorf("the sizes differ: in memory %+v, in the kernel %+v", softSizes, kernelSizes)
	}
}
