package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"dove.network/dataplane"
	"dove.network/dove"
)

// OpenForTests loads the programs without devices and pins: ports need no
// device, Misses and Drops stay silent, and packets are given to FromGuest,
// FromWire and ReInject. No misses are refused for their number.
func OpenForTests(o Options) (*Switch, error) {
	o.fill()
	s := newSwitch(o)
	s.testing = true
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	if err := s.load(true); err != nil {
		return nil, err
	}
	settings := dswitchSettings{Vtep: addrWords(o.Config.VTEP), Underlay: 1, Up: 1, Vxlan: 1, Dscp: dscp(o.Config.DSCP)}
	if err := update(s.maps.Config, uint32(0), settings); err != nil {
		return nil, fmt.Errorf("map config: %w", err)
	}
	if err := s.limitFlows(); err != nil {
		return nil, err
	}
	return s, nil
}

// testIfindex stands for a port's device where there is none.
func testIfindex(id dataplane.PortID) int { return 1<<20 + int(id) }

// skbContext is the beginning of the kernel's struct __sk_buff.
type skbContext struct {
	Len, PktType, Mark, QueueMapping uint32
}

// FromGuest runs a frame as if a port's guest had sent it, in a switch of
// OpenForTests. Of several ports with one Ifindex its tag says whose it is. It returns what became of it and the frame that leaves; of a dropped
// one that is what the guest is told, or nil.
func (s *Switch) FromGuest(id dataplane.PortID, frame []byte) (dataplane.Outcome, []byte, error) {
	device := testIfindex(id)
	if p := s.ports[id]; p != nil {
		device = p.Ifindex
	}
	o, out, err := s.run(s.programs.GuestIn, device, frame)
	return s.outcomeOf(o), out, err
}

// FromWire runs a frame as if the underlay's device had received it, in a
// switch of OpenForTests.
func (s *Switch) FromWire(frame []byte) (dataplane.Outcome, []byte, error) {
	o, out, err := s.run(s.programs.WireIn, 0, frame)
	result := s.outcomeOf(o)
	if err == nil && result.Action == dataplane.Missed {
		out, err = s.overlayFrame(out, dataplane.PortID(o.Port), result.Want)
	}
	return result, out, err
}

// MissOf makes the Miss of a frame that FromGuest or FromWire returned with Missed.
func (s *Switch) MissOf(frame []byte) (dataplane.Miss, bool) {
	return s.missOf(append(make([]byte, vnetSize), frame...))
}

// ReInject is Inject with its outcome, in a switch of OpenForTests.
func (s *Switch) ReInject(m dataplane.Miss) (dataplane.Outcome, []byte, error) {
	o, out, err := s.run(s.programs.UpIn, 0, m.Frame[vnetSize:])
	return s.outcomeOf(o), out, errors.Join(err, s.yield(m))
}

const shot = 2 // SHOT

func (s *Switch) run(p *ebpf.Program, mark int, frame []byte) (dswitchOutcome, []byte, error) {
	if !s.testing {
		panic("ebpf: packets are run in a switch of OpenForTests only")
	}
	const unset = 255
	o := dswitchOutcome{Action: unset}
	if err := update(s.maps.LastOutcome, uint32(0), o); err != nil {
		return o, nil, fmt.Errorf("map last_outcome: %w", err)
	}
	out := make([]byte, len(frame)+256)
	options := &ebpf.RunOptions{Data: frame, DataOut: out, Context: skbContext{Mark: uint32(mark)}}
	action, err := p.Run(options)
	if err != nil {
		return o, nil, fmt.Errorf("run a frame of %d bytes: %w", len(frame), err)
	}
	if err := s.maps.LastOutcome.Lookup(uint32(0), &o); err != nil {
		return o, nil, fmt.Errorf("map last_outcome: %w", err)
	}
	if o.Action == unset {
		return o, nil, fmt.Errorf("the program says nothing of a frame of %d bytes", len(frame))
	}
	if action == shot {
		return o, nil, nil
	}
	return o, options.DataOut, nil
}

func (s *Switch) outcomeOf(o dswitchOutcome) dataplane.Outcome {
	result := dataplane.Outcome{Action: dataplane.Action(o.Action), Hinted: o.Hinted == 1}
	rule := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ruleName(o.Table, o.Rule)
	}
	switch result.Action {
	case dataplane.Dropped:
		result.Reason = dataplane.Reason(o.Reason)
		if result.Reason == dataplane.Policy {
			result.Rule = rule()
		}
	case dataplane.Delivered, dataplane.Answered:
		result.Port = dataplane.PortID(o.Port)
	case dataplane.Tunneled:
		result.VTEP, result.VNI, result.Class = mappedAddr(o.Vtep), dove.VNI(o.Vni), dove.Class(o.Class)
	case dataplane.Missed:
		result.Want = dataplane.Want(o.Want)
	}
	if o.Judged == 1 && (result.Action == dataplane.Delivered || result.Action == dataplane.Tunneled) {
		result.Rule = rule()
	}
	result.Log = o.Said&ruleLog != 0
	if o.Said&ruleWould != 0 {
		s.mu.Lock()
		result.Would, result.WouldAllow = s.ruleName(o.Table, o.Would), o.Said&ruleWouldAllow != 0
		s.mu.Unlock()
	}
	return result
}
