package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/dove"
)

// Carried implements dataplane.Switch. Other calls come in between its parts.
func (s *Switch) Carried(id dataplane.PortID) ([]dataplane.FlowState, error) {
	held, err := s.portOf(id)
	if err != nil {
		return nil, err
	}
	var flows []dataplane.FlowState
	now := uint32(monotonic() / tick)
	err = s.eachOf(func(f *dswitchFlow, vni uint32, lo, hi netip.AddrPort, protocol uint8) {
		if dove.VNI(vni) != held.VNI || !held.Speaks(lo.Addr(), dove.UID(f.Uid[0])) && !held.Speaks(hi.Addr(), dove.UID(f.Uid[1])) {
			return
		}
		c := dataplane.FlowState{State: dataplane.FlowBits(f.State & flowCarried), UIDs: [2]dove.UID{dove.UID(f.Uid[0]), dove.UID(f.Uid[1])}}
		if f.Initiator == 1 {
			lo, hi = hi, lo
			c.UIDs[0], c.UIDs[1] = c.UIDs[1], c.UIDs[0]
		}
		c.Tuple = tupleBetween(dove.VNI(vni), lo, hi, protocol)
		c.Idle = time.Duration(max(int32(now-f.Last), 0)) * tick
		if c.Idle <= c.TimeOut() {
			flows = append(flows, c)
		}
	})
	return flows, err
}

// flowCarried are the bits of a flow's state that are carried: all up to FLOW_CONFIRMED.
const flowCarried = 2*uint32(dataplane.FlowConfirmed) - 1

func (s *Switch) portOf(id dataplane.PortID) (dataplane.Port, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.ports[id]; p != nil {
		return p.Port, nil
	}
	return dataplane.Port{}, fmt.Errorf("port %d: %w", id, dataplane.ErrNoPort)
}

func tupleBetween(vni dove.VNI, src, dst netip.AddrPort, protocol uint8) dataplane.Tuple {
	return dataplane.Tuple{
		VNI: vni, Protocol: dove.Protocol(protocol),
		Src: src.Addr(), SrcPort: src.Port(), Dst: dst.Addr(), DstPort: dst.Port(),
	}
}

// Adopt implements dataplane.Switch.
func (s *Switch) Adopt(id dataplane.PortID, flows []dataplane.FlowState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.ports[id]
	if held == nil {
		return fmt.Errorf("port %d: %w", id, dataplane.ErrNoPort)
	}
	var errs []error
	refused := map[dataplane.Reason]int{}
	for i, c := range flows {
		if err := c.Check(held.Port); err != nil {
			errs = append(errs, err)
			continue
		}
		full, err := s.adoptFlow(id, c)
		if err != nil {
			return errors.Join(append(errs, &dataplane.FlowsError{Flows: len(flows) - i, Err: err})...)
		}
		refused[full]++
	}
	for _, full := range []dataplane.Reason{dataplane.FlowBudget, dataplane.FlowTableFull} {
		if n := refused[full]; n > 0 {
			errs = append(errs, &dataplane.FlowsError{Flows: n, Err: fmt.Errorf("port %d: no room for %d of %d carried flows: %v", id, n, len(flows), full)})
		}
	}
	return errors.Join(errs...)
}

// adoptFlow has a program enter one flow, which competes with those that packets
// begin meanwhile. It returns why there is no room for it.
func (s *Switch) adoptFlow(id dataplane.PortID, c dataplane.FlowState) (dataplane.Reason, error) {
	args := dswitchAdoptArgs{
		Vni: uint32(c.Tuple.VNI), Src: addrWords(c.Tuple.Src), Dst: addrWords(c.Tuple.Dst),
		SrcPort: c.Tuple.SrcPort, DstPort: c.Tuple.DstPort, Port: uint32(id), Idle: uint32(min(c.Idle, 24*time.Hour) / tick), // it is over long before
		Proto: uint8(c.Tuple.Protocol), State: uint8(c.State), Uid: [2]uint64{uint64(c.UIDs[0]), uint64(c.UIDs[1])},
	}
	if c.Tuple.Src.Is6() {
		args.V6 = 1
	}
	full, err := s.adoptRaw(args)
	if err != nil {
		return 0, fmt.Errorf("adopt flow %+v: %w", c.Tuple, err)
	}
	return full, nil
}

func (s *Switch) adoptRaw(args dswitchAdoptArgs) (dataplane.Reason, error) {
	out := make([]byte, binary.Size(args))
	if _, err := s.programs.Adopt.Run(&ebpf.RunOptions{Context: args, ContextOut: out}); err != nil {
		return 0, err
	}
	if _, err := binary.Decode(out, binary.NativeEndian, &args); err != nil {
		return 0, err
	}
	return dataplane.Reason(args.Reason), nil
}
