package ebpf

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/dataplane"
	"dove.network/packet"
)

// byOther has a packet come from the host of an endpoint's other binding: of its
// sender, if that has a port here, or of its receiver, which has judged it.
func (w *twins) byOther(o *packet.Outer, src, dst netip.Addr) {
	of := func(a netip.Addr) netip.Addr {
		for _, p := range w.ports {
			if p.VNI == o.VNI && slices.ContainsFunc(p.Addresses, func(own dataplane.Address) bool { return own.Addr == a }) {
				return p.Other
			}
		}
		return netip.Addr{}
	}
	if other := of(src); other.IsValid() && w.chance(80) {
		o.Src = other
	}
	if other := of(dst); w.chance(10) || other.IsValid() && w.chance(30) {
		o.Applied = true
		if other.IsValid() && w.chance(80) {
			o.Src = other
		}
	}
}

// carry compares what the flows of a port are, and has it adopt some that it or
// another one had before, changed or not.
func (w *twins) carry() {
	id := dataplane.PortID(1 + w.r.IntN(5))
	kernel, err := w.kernel.Carried(id)
	memory, softErr := w.soft.Carried(id)
	if (err == nil) != (softErr == nil) {
		w.Fatalf("after %d ops, carried of port %d: in memory %v, in the kernel %v", w.ops, id, softErr, err)
	}
	byTuple := cmpopts.SortSlices(func(a, b dataplane.FlowState) bool { return fmt.Sprint(a.Tuple) < fmt.Sprint(b.Tuple) })
	if diff := gocmp.Diff(memory, kernel, compareAddrs, byTuple, cmpopts.IgnoreFields(dataplane.FlowState{}, "Idle"), cmpopts.EquateEmpty()); diff != "" {
		w.Fatalf("after %d ops, carried of port %d (-in memory +in the kernel):\n%s", w.ops, id, diff)
	}
	w.carried = append(w.carried, memory...)
	w.carried = w.carried[max(0, len(w.carried)-60):]

	var flows []dataplane.FlowState
	for range w.r.IntN(10) {
		if len(w.carried) == 0 {
			break
		}
		f := one(w.r, w.carried...)
		if w.chance(30) {
			f.Tuple.SrcPort = one[uint16](w.r, 80, 81, 1000, 1001, f.Tuple.SrcPort)
		}
		if w.chance(20) {
			f.State ^= 1 << w.r.IntN(7)
		}
		if w.chance(10) {
			f.UIDs[w.r.IntN(2)] = w.uid()
		}
		f.Idle = one(w.r, 0, 0, 0, time.Hour, 3*time.Hour, -1)
		flows = append(flows, f)
	}
	kernelErr, softErr := w.kernel.Adopt(id, flows), w.soft.Adopt(id, flows)
	if diff := gocmp.Diff(fmt.Sprint(softErr), fmt.Sprint(kernelErr)); diff != "" {
		w.Fatalf("after %d ops, port %d adopts %+v: (-in memory +in the kernel)\n%s", w.ops, id, flows, diff)
	}
}
