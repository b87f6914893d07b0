package ebpf

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
	"dove.network/verdict"
)

// BenchmarkKnownFlow runs the programs on a packet of a known flow: what each
// packet but the first costs before the kernel's own encapsulation and redirect.
func BenchmarkKnownFlow(b *testing.B) {
	privtest.Require(b)
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	o := Options{Config: dataplane.Config{VTEP: here}}
	o.fill()
	s := newSwitch(o)
	s.testing = true
	if err := s.load(false); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.configure(1, 1, 1); err != nil {
		b.Fatal(err)
	}
	table := allowing(allowed("all", dove.ProtocolTCP, 0, 65535))
	port := func(n byte) dataplane.Port {
		return dataplane.Port{
			ID: dataplane.PortID(n), UID: dove.UID(n), VNI: testVNI, MAC: guestMAC(n), Kind: dataplane.Veth,
			Addresses: []dataplane.Address{{Addr: guestAddr4(n), Class: guestClass(n)}},
		}
	}
	ops := []dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: 1450}},
		dataplane.SetVTEP{Addr: there},
		dataplane.SetPort{Port: port(1)},
		dataplane.SetPort{Port: port(2)},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(3)}, Peer: dataplane.Peer{UID: 3, MAC: guestMAC(3), Class: guestClass(3), VTEP: there}},
	}
	for _, n := range []byte{2, 3} {
		for _, k := range []dataplane.PairKey{
			{Domain: testDomain, Src: guestClass(1), Dst: guestClass(n)}, {Domain: testDomain, Src: guestClass(n), Dst: guestClass(1)},
		} {
			ops = append(ops, dataplane.SetPair{Key: k, Table: table})
		}
	}
	if err := s.Apply(ops); err != nil {
		b.Fatal(err)
	}
	// A packet that is run has come in by the loopback device.
	var v dswitchPort
	if err := s.maps.Ports.Lookup(dswitchPortKey{Ifindex: uint32(testIfindex(1))}, &v); err != nil {
		b.Fatal(err)
	}
	if err := s.maps.Ports.Update(dswitchPortKey{Ifindex: 1}, v, ebpf.UpdateAny); err != nil {
		b.Fatal(err)
	}
	frame := func(from, to byte) []byte {
		e := packet.Ends{SrcMAC: guestMAC(from), DstMAC: guestMAC(to), Src: guestAddr4(from), Dst: guestAddr4(to)}
		return packet.TCP(e, 1000, 80, packet.ACK, nil)
	}
	for _, c := range []struct {
		name    string
		program *ebpf.Program
		frame   []byte
	}{
		{"to a neighbour", s.programs.GuestIn, frame(1, 2)},
		{"from an unknown VTEP", s.programs.WireIn, packet.Outer{Src: here, Dst: here, SrcPort: 1, VNI: 1}.Encap(frame(3, 1))},
		{"not ours", s.programs.WireIn, frame(1, 2)},
		{"denied", s.programs.GuestIn, packet.UDP(packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(3), Src: guestAddr4(1), Dst: guestAddr4(3)}, 1, 2, nil)},
	} {
		b.Run(c.name, func(b *testing.B) {
			const rounds = 1 << 16
			for b.Loop() {
				_, d, err := c.program.Benchmark(c.frame, rounds, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(d.Nanoseconds()), "ns/packet")
			}
		})
	}
}

// BenchmarkFlip changes a pair's table and waits until it is in force.
func BenchmarkFlip(b *testing.B) {
	privtest.Require(b)
	s, err := OpenForTests(Options{Config: dataplane.Config{VTEP: netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	tables := []*verdict.Table{allowing(allowed("a", dove.ProtocolTCP, 80, 443)), allowing(allowed("b", dove.ProtocolTCP, 81, 443))}
	for i := 0; b.Loop(); i++ {
		key := dataplane.PairKey{Domain: testDomain, Src: 10, Dst: 11}
		if err := s.Apply([]dataplane.Op{dataplane.SetPair{Key: key, Table: tables[i%2]}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExpire looks for what has expired among a million flows that have not.
func BenchmarkExpire(b *testing.B) {
	privtest.Require(b)
	const flows = 1_000_000
	s, err := OpenForTests(Options{Config: dataplane.Config{VTEP: netip.MustParseAddr("192.0.2.1")}, Flows: flows})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		b.Fatal(err)
	}
	const batch = 4096
	const confirmed = 32 // FLOW_CONFIRMED
	keys, values := make([]dswitchFlow4Key, batch), make([]dswitchFlow, batch)
	for n := 0; n < flows; n += batch {
		for i := range batch {
			keys[i] = dswitchFlow4Key{Vni: 1, Lo: uint32(n + i), Hi: ^uint32(0), Proto: 17}
			values[i] = dswitchFlow{Last: uint32(now.Nano() / tick), Proto: 17, State: confirmed}
		}
		size := min(batch, flows-n)
		if _, err := s.maps.Flows4.BatchUpdate(keys[:size], values[:size], nil); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Expire(); err != nil {
			b.Fatal(err)
		}
	}
}
