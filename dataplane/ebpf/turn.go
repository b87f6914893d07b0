package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
)

// yield tells the programs that a missed packet has gone its way, or nowhere:
// those between the same addresses that were sent after it need not wait behind it
// any more (turn.h).
func (s *Switch) yield(m dataplane.Miss) error {
	if !m.Queues() {
		return nil
	}
	t := m.Tuple
	args := dswitchYieldArgs{Vni: uint32(t.VNI), Src: addrWords(t.Src), Dst: addrWords(t.Dst), SrcPort: t.SrcPort, DstPort: t.DstPort}
	if t.Src.Is6() {
		args.V6 = 1
	}
	s.yielding.RLock()
	defer s.yielding.RUnlock()
	if _, err := s.programs.Yield.Run(&ebpf.RunOptions{Context: args}); err != nil {
		return fmt.Errorf("end the wait of a missed packet: %w", err)
	}
	return nil
}

// forgetTurns forgets what waited for an agent that has gone.
func (s *Switch) forgetTurns() error {
	var keys []dswitchTurnKey
	var key dswitchTurnKey
	var turn dswitchTurn
	entries := s.maps.Turns.Iterate()
	for entries.Next(&key, &turn) {
		keys = append(keys, key)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map turns: %w", err)
	}
	for _, key := range keys {
		if err := remove(s.maps.Turns, key); err != nil {
			return fmt.Errorf("map turns: %w", err)
		}
	}
	return nil
}

// turnTicks is how long a missed packet may keep its place.
const turnTicks = uint32(dataplane.TurnFor / tick)
