package soft

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// There and back between alice's port 1000 and rita's port 80.
func out(flags packet.TCPFlags) []byte { return packet.TCP(v4(alice, rita), 1000, 80, flags, nil) }
func back(flags packet.TCPFlags) []byte {
	return packet.TCP(v4(rita, alice), 80, 1000, flags, nil)
}

var (
	first = tunneled(there, "web") // of a flow
	known = tunneled(there, "")
	reply = delivered(alice, "")
)

// TestReplies shows that a reply passes by its flow alone.
func TestReplies(t *testing.T) {
	for _, tt := range []struct {
		name      string
		out, back []byte
	}{
		{"tcp", out(syn), back(syn | ack)},
		{"tcp6", packet.TCP(v6(alice, rita), 1, 80, syn, nil), packet.TCP(v6(rita, alice), 80, 1, syn|ack, nil)},
		{"udp", packet.UDP(v4(alice, rita), 1, 53, nil), packet.UDP(v4(rita, alice), 53, 1, nil)},
		{"sctp", packet.SCTP(v6(alice, rita), 1, 9, nil), packet.SCTP(v6(rita, alice), 9, 1, nil)},
		{"esp", packet.Other(v4(alice, rita), 50, nil), packet.Other(v4(rita, alice), 50, nil)},
		{"ping", packet.EchoRequest(v4(alice, rita), 1, 1, nil), packet.EchoReply(v4(rita, alice), 1, 1, nil)},
		{"ping6", packet.EchoRequest(v6(alice, rita), 1, 1, nil), packet.EchoReply(v6(rita, alice), 1, 1, nil)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.wire(there, 20, tt.back, denied("default-deny"))
			if got, _ := w.FromGuest(alice, tt.out); got.Action != dataplane.Tunneled || got.Rule == "" {
				t.Errorf("first packet: %+v", got)
			}
			w.wire(there, 20, tt.back, reply)
			w.guest(alice, tt.out, known)
			w.flows(1)
			w.pass(31 * time.Second)
			if p := w.TakeMisses(); len(p) != 0 {
				t.Errorf("missed %+v", p)
			}
		})
	}
}

func TestRepliesBetweenNeighbours(t *testing.T) {
	w := newWorld(t)
	w.guest(alice, packet.UDP(v4(alice, bob), 1, 53, nil), delivered(bob, "dns"))
	w.guest(bob, packet.UDP(v4(bob, alice), 53, 1, nil), delivered(alice, ""))
	w.guest(bob, packet.UDP(v4(bob, alice), 54, 1, nil), denied("default-deny"))
	w.flows(1)
}

func TestEcho(t *testing.T) {
	w := newWorld(t)
	w.guest(alice, packet.EchoReply(v4(alice, rita), 5, 1, nil), denied("default-deny"))
	w.guest(alice, packet.EchoRequest(v4(alice, rita), 5, 1, nil), tunneled(there, "ping"))
	w.wire(there, 20, packet.EchoReply(v4(rita, alice), 6, 1, nil), denied("default-deny")) // other identifier
	w.wire(there, 20, packet.EchoReply(v4(rita, alice), 5, 2, nil), reply)
	w.flows(1)
	w.pass(31 * time.Second)
	w.wire(there, 20, packet.EchoReply(v4(rita, alice), 5, 3, nil), denied("default-deny"))

	// With identifier 0x0800 a request and its reply are alike but for direction.
	w.guest(alice, packet.EchoRequest(v4(alice, rita), 0x0800, 1, nil), tunneled(there, "ping"))
	w.wire(there, 20, packet.EchoRequest(v4(rita, alice), 0x0800, 1, nil), dropped(dataplane.BadReply))
	w.guest(alice, packet.EchoReply(v4(alice, rita), 0x0800, 1, nil), dropped(dataplane.BadReply))
	w.wire(there, 20, packet.EchoReply(v4(rita, alice), 0x0800, 1, nil), reply)

	// A reply without a flow passes where a rule names its type, and makes none.
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: allow(rule("pong", dove.ProtocolICMP, 0, 0))})
	w.wire(there, 20, packet.EchoReply(v4(rita, alice), 7, 1, nil), delivered(alice, "pong"))
	w.guest(alice, packet.ICMP(v4(alice, rita), 3, 1, 0, nil), tunneled(there, "unreachable"))
	w.flows(1)
}

// TestTimeOuts idles after some packets and looks whether a reply still passes.
func TestTimeOuts(t *testing.T) {
	udp := func(flags packet.TCPFlags) []byte { return packet.UDP(v4(alice, rita), 1, 53, nil) }
	tests := []struct {
		name  string
		walk  func(w *world)
		reply []byte
		limit time.Duration
	}{
		{"tcp opening", func(w *world) { w.guest(alice, out(syn), first) }, back(syn | ack), 30 * time.Second},
		{"tcp opening, said again", func(w *world) {
			w.guest(alice, out(syn), first)
			w.pass(29 * time.Second)
			w.guest(alice, out(syn), known)
		}, back(syn | ack), 30 * time.Second},
		{"tcp answered", func(w *world) {
			w.guest(alice, out(syn), first)
			w.wire(there, 20, back(syn|ack), reply)
			w.guest(alice, out(syn), known)
		}, back(ack), 30 * time.Second},
		{"tcp established", func(w *world) {
			w.guest(alice, out(syn), first)
			w.wire(there, 20, back(syn|ack), reply)
			w.guest(alice, out(ack), known)
		}, back(ack), 2 * time.Hour},
		{"tcp in its midst", func(w *world) {
			w.guest(alice, out(ack), first)
			w.wire(there, 20, back(ack), reply)
		}, back(ack), 2 * time.Hour},
		{"tcp with one FIN", func(w *world) {
			w.guest(alice, out(syn), first)
			w.wire(there, 20, back(syn|ack), reply)
			w.guest(alice, out(fin|ack), known)
		}, back(ack), 2 * time.Minute},
		{"tcp with the other FIN", func(w *world) {
			w.guest(alice, out(syn), first)
			w.wire(there, 20, back(fin|ack), reply)
		}, back(ack), 30 * time.Second},
		{"tcp with both FIN", func(w *world) {
			w.guest(alice, out(syn), first)
			w.wire(there, 20, back(fin|ack), reply)
			w.guest(alice, out(fin|ack), known)
		}, back(ack), 10 * time.Second},
		{"tcp reset", func(w *world) {
			w.guest(alice, out(syn), first)
			w.wire(there, 20, back(rst|ack), reply)
		}, back(ack), 10 * time.Second},
		{"udp", func(w *world) { w.guest(alice, udp(0), tunneled(there, "dns")) }, packet.UDP(v4(rita, alice), 53, 1, nil), 30 * time.Second},
		{"udp answered", func(w *world) {
			w.guest(alice, udp(0), tunneled(there, "dns"))
			w.wire(there, 20, packet.UDP(v4(rita, alice), 53, 1, nil), reply)
		}, packet.UDP(v4(rita, alice), 53, 1, nil), 2 * time.Minute},
		{"sctp", func(w *world) {
			w.guest(alice, packet.SCTP(v4(alice, rita), 1, 2, nil), tunneled(there, "sctp"))
		}, packet.SCTP(v4(rita, alice), 2, 1, nil), 30 * time.Second},
		{"ping", func(w *world) {
			w.guest(alice, packet.EchoRequest(v4(alice, rita), 1, 1, nil), tunneled(there, "ping"))
		}, packet.EchoReply(v4(rita, alice), 1, 1, nil), 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.walk(w)
			w.pass(tt.limit + time.Second)
			w.flows(0)
			w.wire(there, 20, tt.reply, denied("default-deny"))
			if n, _ := w.Sizes(); n.Flows != 1 {
				t.Errorf("%d entries before Expire, want 1", n.Flows)
			}
			w.Expire()
			if n, _ := w.Sizes(); n.Flows != 0 {
				t.Errorf("%d entries after Expire", n.Flows)
			}

			w = newWorld(t)
			tt.walk(w)
			w.pass(tt.limit - time.Second)
			w.Expire()
			w.flows(1)
			w.wire(there, 20, tt.reply, reply)
		})
	}
}

// TestOpening shows when a TCP SYN begins another flow of the same tuple.
func TestOpening(t *testing.T) {
	w := newWorld(t)
	w.guest(alice, out(syn), first)
	w.wire(there, 20, back(syn|ack), reply)
	w.wire(there, 20, back(syn), denied("default-deny")) // the responder may not begin
	w.wire(there, 20, back(ack), reply)                  // and has harmed nothing
	w.guest(alice, out(syn), known)

	w.guest(alice, out(rst), known)
	w.wire(there, 20, back(ack), reply)
	w.guest(alice, out(syn), first) // the flow was closed: a new one
	w.pass(20 * time.Second)
	w.flows(1) // opening again, not closed

	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: allow(rule("back", dove.ProtocolTCP, 1000, 1000))})
	w.wire(there, 20, back(syn), delivered(alice, "back"))
	flows, _ := w.Flows()
	want := []dataplane.Flow{{
		Tuple: dataplane.Tuple{VNI: vni, Src: addr4(rita), Dst: addr4(alice), Protocol: dove.ProtocolTCP, SrcPort: 80, DstPort: 1000},
		Rule:  "back", Packets: 1, Bytes: uint64(len(back(syn))),
	}}
	if d := cmp.Diff(want, flows, compareAddrs); d != "" {
		t.Errorf("flows, want -, got +:\n%s", d)
	}
	w.guest(alice, out(syn|ack), known)
}

// established is a world where alice talks to rita.
func established(t *testing.T) *world {
	w := newWorld(t)
	w.guest(alice, out(syn), first)
	w.wire(there, 20, back(syn|ack), reply)
	w.guest(alice, out(ack), known)
	return w
}

// TestChanges shows what becomes of an established flow when what it was judged
// by changes.
func TestChanges(t *testing.T) {
	t.Run("revoked and allowed again", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetPair{Key: pair(10, 20), Table: nothing()})
		w.guest(alice, out(ack), denied("default-deny"))
		w.wire(there, 20, back(ack), denied("default-deny"))
		w.pass(time.Hour)
		w.wire(there, 20, back(ack), denied("default-deny"))
		w.apply(dataplane.SetPair{Key: pair(10, 20), Table: web()})
		w.wire(there, 20, back(ack), reply)
	})
	t.Run("revoked, not opened by its replies", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetPair{Key: pair(10, 20), Table: nothing()},
			dataplane.SetPair{Key: pair(20, 10), Table: allow(rule("all", 0, 0, 65535))})
		w.wire(there, 20, back(ack), denied("default-deny"))
		w.guest(alice, out(ack), denied("default-deny"))
		w.wire(there, 20, back(syn), delivered(alice, "all")) // but the other side may begin anew
		w.guest(alice, out(syn|ack), known)
	})
	t.Run("another rule allows it", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetPair{Key: pair(10, 20), Table: allow(rule("all", 0, 0, 65535))})
		w.wire(there, 20, back(ack), reply)
		if flows, _ := w.Flows(); len(flows) != 1 || flows[0].Rule != "all" || flows[0].Packets != 4 {
			t.Errorf("flows %+v", flows)
		}
	})
	t.Run("pair forgotten", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.DelPair{Key: pair(10, 20)})
		w.wire(there, 20, back(ack), missed(dataplane.WantPair))
		m := w.take()
		w.inject(m, denied(verdict.DefaultDeny))
		w.apply(dataplane.SetPair{Key: pair(10, 20), Table: web()})
		w.inject(m, reply)
		w.guest(alice, out(ack), known)
	})
	t.Run("other pair forgotten", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.DelPair{Key: pair(20, 10)})
		w.wire(there, 20, back(ack), reply)
		w.wire(there, 20, packet.UDP(v4(rita, alice), 1, 2, nil), missed(dataplane.WantPair))
	})
	t.Run("peer moves", func(t *testing.T) {
		w := established(t)
		w.apply(peerOf(rita, 1003, 20, third)...)
		w.guest(alice, out(ack), tunneled(third, ""))
		w.wire(there, 20, back(ack), missed(dataplane.WantConfirm))
		w.inject(w.take(), dropped(dataplane.SourceMismatch))
		w.wire(third, 20, back(ack), reply)
	})
	t.Run("peer's class changes", func(t *testing.T) {
		w := established(t)
		w.apply(peerOf(rita, 1003, 21, there)...)
		w.wire(there, 20, back(ack), hinted(missed(dataplane.WantPair)))
		w.wire(there, 21, back(ack), missed(dataplane.WantTurn))
		w.guest(alice, out(ack), missed(dataplane.WantPair))
		w.discard()
		w.apply(dataplane.SetPair{Key: pair(10, 21), Table: web()})
		w.guest(alice, out(ack), known)
		w.wire(there, 20, back(ack), hinted(reply)) // its host is behind
		w.wire(there, 21, back(ack), reply)
		if hints := w.TakeHints(); len(hints) != 1 || hints[0].Port != alice || hints[0].Tuple.Src != addr4(rita) {
			t.Errorf("hints %+v", hints)
		}
		w.pass(time.Second)
		w.wire(there, 20, back(ack), hinted(reply))
		if hints := w.TakeHints(); len(hints) != 1 {
			t.Errorf("a second later, hints %+v", hints)
		}
	})
	t.Run("port's class changes", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetPort{Port: portOf(alice, 1001, 11)}, dataplane.SetPair{Key: pair(11, 20), Table: nothing()})
		w.wire(there, 20, back(ack), denied("default-deny"))
		w.guest(alice, out(ack), denied("default-deny"))
	})
	t.Run("peer lives anew", func(t *testing.T) {
		w := established(t)
		w.apply(peerOf(rita, 2003, 20, there)...)
		w.wire(there, 20, back(ack), denied("default-deny")) // in its own direction
		w.flows(0)
		w.guest(alice, out(ack), first)
	})
	t.Run("port lives anew", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetPort{Port: portOf(alice, 2001, 10)})
		w.guest(alice, out(ack), first)
		w.wire(there, 20, back(ack), reply)
	})
	t.Run("peer forgotten", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.DelPeer{Key: key(addr4(rita))})
		w.guest(alice, out(ack), missed(dataplane.WantPeer))
		w.wire(there, 20, back(ack), missed(dataplane.WantPeer))
		w.discard()
		w.apply(peerOf(rita, 1003, 20, there)...)
		w.wire(there, 20, back(ack), reply)
	})
	t.Run("peer gone", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.DelPeer{Key: key(addr4(rita))}, dataplane.SetAbsent{Key: key(addr4(rita)), TTL: time.Second})
		w.guest(alice, out(ack), dropped(dataplane.NoEndpoint))
		w.wire(there, 20, back(ack), dropped(dataplane.NoEndpoint))
		w.pass(time.Second)
		w.guest(alice, out(ack), missed(dataplane.WantPeer))
	})
	t.Run("peer hidden", func(t *testing.T) {
		w := established(t)
		w.apply(peerOf(rita, 1003, 20, netip.Addr{})...)
		w.guest(alice, out(ack), dropped(dataplane.Hidden))
		w.wire(there, 20, back(ack), dropped(dataplane.Hidden))
		w.apply(dataplane.SetPair{Key: pair(10, 20), Table: nothing()})
		w.wire(there, 20, back(ack), denied("default-deny"))
	})
	t.Run("VTEP leaves the fleet", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.DelVTEP{Addr: there})
		w.wire(there, 20, back(ack), dropped(dataplane.UnknownVTEP))
	})
	t.Run("peer comes to this host", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetPort{Port: portOf(rita, 1003, 20)})
		w.guest(alice, out(ack), delivered(rita, ""))
		w.guest(rita, back(ack), reply)
		w.wire(there, 20, back(ack), missed(dataplane.WantConfirm))
		w.apply(dataplane.DelPort{ID: rita}) // the peer that was set shows again
		w.flows(0)
		w.guest(alice, out(ack), first)
	})
	t.Run("port closed", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.DelPort{ID: alice})
		w.flows(0)
		w.guest(alice, out(ack), dropped(dataplane.NoPort))
		w.wire(there, 20, back(ack), dropped(dataplane.NotHere))
		w.apply(dataplane.SetPort{Port: portOf(alice, 1001, 10)})
		w.wire(there, 20, back(ack), denied("default-deny"))
	})
	t.Run("port loses an address", func(t *testing.T) {
		w := established(t)
		p := portOf(alice, 1001, 10)
		p.Addresses = p.Addresses[1:]
		w.apply(dataplane.SetPort{Port: p})
		w.guest(alice, out(ack), dropped(dataplane.SpoofedAddress))
		w.wire(there, 20, back(ack), dropped(dataplane.NotHere))
	})
	t.Run("port on another network", func(t *testing.T) {
		w := established(t)
		p := portOf(alice, 1001, 10)
		p.VNI = 101
		w.apply(dataplane.SetNetwork{Network: dataplane.Network{VNI: 101, Domain: 2, MTU: 1450}}, dataplane.SetPort{Port: p})
		w.flows(0)
		w.guest(alice, out(ack), missed(dataplane.WantPeer))
	})
	t.Run("set again", func(t *testing.T) {
		w := established(t)
		w.apply(peerOf(rita, 1003, 20, there)...)
		w.apply(dataplane.SetPort{Port: portOf(alice, 1001, 10)}, dataplane.SetPair{Key: pair(10, 20), Table: web()},
			dataplane.SetVTEP{Addr: there}, dataplane.SetNetwork{Network: dataplane.Network{VNI: vni, Domain: domain, MTU: 1450}})
		w.guest(alice, out(ack), known)
		w.wire(there, 20, back(ack), reply)
	})
	t.Run("smaller MTU", func(t *testing.T) {
		w := established(t)
		w.apply(dataplane.SetNetwork{Network: dataplane.Network{VNI: vni, Domain: domain, MTU: 39}})
		w.guest(alice, out(ack), dropped(dataplane.TooBig))
	})
}

// TestRandom changes a world at random between random packets and checks, with
// its own plain memory, that whatever passes is allowed at that moment: its own
// direction, or the other one of a packet that passed before.
func TestRandom(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %#x", seed), func(t *testing.T) { random(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func random(t *testing.T, r *rand.Rand) {
	w := newWorld(t)
	one := allow(rule("one", dove.ProtocolUDP, 1, 1))
	tables := []*verdict.Table{nothing(), one, allow(rule("all", 0, 0, 65535))}
	classes := map[netip.Addr]dove.Class{addr4(alice): 10, addr4(bob): 20, addr4(rita): 20}
	uids := map[netip.Addr]dove.UID{addr4(alice): 1001, addr4(bob): 1002, addr4(rita): 1003}
	current := map[dataplane.PairKey]*verdict.Table{pair(10, 20): web(), pair(20, 10): nothing()}
	type talk struct {
		tuple    dataplane.Tuple
		src, dst dove.UID
	}
	passed := map[talk]bool{}
	var passes int

	for range 3000 {
		switch n := r.IntN(20); n {
		case 0:
			k := pair([]dove.Class{10, 20}[r.IntN(2)], []dove.Class{10, 20}[r.IntN(2)])
			current[k] = tables[r.IntN(len(tables))]
			w.apply(dataplane.SetPair{Key: k, Table: current[k]})
		case 1:
			k := pair(10, 20)
			delete(current, k)
			w.apply(dataplane.DelPair{Key: k})
		case 2:
			a := addr4(rita)
			classes[a], uids[a] = []dove.Class{10, 20}[r.IntN(2)], dove.UID(3000+r.IntN(2))
			w.apply(peerOf(rita, uids[a], classes[a], there)...)
		case 3:
			a := addr4(alice)
			uids[a] = dove.UID(1000 + r.IntN(2))
			w.apply(dataplane.SetPort{Port: portOf(alice, uids[a], 10)})
		case 4:
			w.pass(time.Duration(r.IntN(100)) * time.Second)
			w.Expire()
		default:
			ends := v4(1+r.IntN(3), 1+r.IntN(3))
			if ends.Src == ends.Dst || ends.Src == addr4(rita) && ends.Dst == addr4(rita) {
				continue
			}
			src, dst := uint16(1+r.IntN(2)), uint16(1+r.IntN(2))
			frame := packet.UDP(ends, src, dst, nil)
			var got dataplane.Outcome
			if ends.Src == addr4(rita) {
				got, _ = w.FromWire(overlay(there, classes[ends.Src], frame))
			} else {
				got, _ = w.FromGuest(dataplane.PortID(ends.Src.As4()[3]), frame)
			}
			if got.Action != dataplane.Delivered && got.Action != dataplane.Tunneled {
				continue
			}
			passes++
			tuple := dataplane.Tuple{VNI: vni, Src: ends.Src, Dst: ends.Dst, Protocol: 17, SrcPort: src, DstPort: dst}
			reverse := dataplane.Tuple{VNI: vni, Src: ends.Dst, Dst: ends.Src, Protocol: 17, SrcPort: dst, DstPort: src}
			allowed := func(tp dataplane.Tuple) bool {
				table := current[pair(classes[tp.Src], classes[tp.Dst])]
				return table != nil && table.Lookup(tp.Protocol, tp.DstPort).Allow
			}
			before := passed[talk{reverse, uids[reverse.Src], uids[reverse.Dst]}]
			if !allowed(tuple) && !(before && allowed(reverse)) {
				t.Fatalf("%+v passed as %+v, but nothing allows it", tuple, got)
			}
			passed[talk{tuple, uids[tuple.Src], uids[tuple.Dst]}] = true
		}
	}
	if passes < 300 {
		t.Errorf("only %d of 3000 steps were packets that passed: the test shows little", passes)
	}
}

// TestDenials has what another host let out asked about once for each table that
// denies it.
func TestDenials(t *testing.T) {
	w := newWorld(t)
	in, asks := packet.UDP(v4(rita, alice), 1, 53, nil), missed(dataplane.WantDenial)
	frame := overlay(there, 20, in)
	from := func(want dataplane.Outcome) {
		t.Helper()
		got, _ := w.FromWire(frame)
		w.same(got, want)
	}
	from(asks)
	from(missed(dataplane.WantTurn))
	misses := w.TakeMisses()
	w.inject(misses[0], denied("default-deny"))
	w.inject(misses[1], denied("default-deny"))
	from(denied("default-deny"))
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: nothing()})
	from(denied("default-deny")) // nothing else than it was

	// The answer may be that the sender's host was right.
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: allow(rule("web", dove.ProtocolTCP, 80, 80))})
	from(asks)
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: web()})
	w.inject(w.take(), delivered(alice, "dns"))

	// What a guest here sends is nobody else's to judge, and a foreign host judges nothing.
	w.guest(bob, packet.UDP(v4(bob, alice), 1, 99, nil), denied("default-deny"))
	w.apply(dataplane.SetVTEP{Addr: there, Foreign: true}, dataplane.SetPair{Key: pair(20, 10), Table: nothing()})
	w.pass(time.Hour)
	from(denied("default-deny"))
}
