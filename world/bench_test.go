package world_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"dove.network/dove"
	"dove.network/world"
)

// many makes n endpoints of one network on a thousand hosts.
func many(n int) []dove.Doc {
	docs := written(1, world.Tenant{Name: "acme"}, network, shop, class)
	for i := range n {
		docs = append(docs, written(1, numbered(i, i%1000))...)
	}
	return docs
}

func numbered(i, host int) world.Endpoint {
	e := endpoint(fmt.Sprintf("0b7f8c1e-0000-4000-8000-%012x", i), dove.HostName(fmt.Sprintf("host-%d", host)))
	var v4 [4]byte
	binary.BigEndian.PutUint32(v4[:], 0x0a000000+uint32(i))
	v6 := netip.MustParseAddr("fd00::").As16()
	binary.BigEndian.PutUint32(v6[12:], uint32(i))
	e.Addresses = []netip.Addr{netip.AddrFrom4(v4), netip.AddrFrom16(v6)}
	binary.BigEndian.PutUint32(e.MAC[2:], uint32(i))
	e.UID, e.Epoch = dove.UID(i), 1
	return e
}

// BenchmarkLoad builds a world of 100,000 endpoints and says how many bytes of
// memory each one keeps.
func BenchmarkLoad(b *testing.B) {
	const n = 100_000
	docs := many(n)
	var before, after runtime.MemStats
	var w *world.World
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		w, _ = apply(b, world.New(), 1, docs)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "kept-bytes/endpoint")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/endpoint")
	runtime.KeepAlive(w)
	runtime.KeepAlive(docs)
}

// BenchmarkMove moves one endpoint of 100,000 to another host.
func BenchmarkMove(b *testing.B) {
	w, _ := apply(b, world.New(), 1, many(100_000))
	rev := dove.Revision(1)
	for b.Loop() {
		rev++
		w, _ = apply(b, w, rev, written(rev, numbered(int(rev)*7919%100_000, int(rev)%1000)))
	}
}

// BenchmarkEndpointAt looks an address and its class up among 100,000 endpoints.
func BenchmarkEndpointAt(b *testing.B) {
	w, _ := apply(b, world.New(), 1, many(100_000))
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 100_000
		e, ok := w.EndpointAt(7, numbered6(i))
		if !ok || w.AddressClass(e, e.Addresses[0]) != 5 {
			b.Fatal("not there")
		}
	}
}

func numbered6(i int) netip.Addr {
	v6 := netip.AddrFrom16([16]byte{0xfd}).As16()
	binary.BigEndian.PutUint32(v6[12:], uint32(i))
	return netip.AddrFrom16(v6)
}

// BenchmarkFreeAddress searches a network of which 100,000 addresses are used.
func BenchmarkFreeAddress(b *testing.B) {
	w, _ := apply(b, world.New(), 1, many(100_000))
	for b.Loop() {
		if a, ok := w.FreeAddress(network.Full(), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.255.255.254")); !ok || a != netip.MustParseAddr("10.1.134.160") {
			b.Fatal(a)
		}
	}
}
