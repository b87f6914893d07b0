package ebpf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/dove"
)

const tick = 1 << 27 // ns, TICK_SHIFT

type countKey struct {
	port   dataplane.PortID
	reason dataplane.Reason
	rule   string
}

type sampleKey struct {
	tuple  dataplane.Tuple
	reason dataplane.Reason
}

// tally counts what the programs do not: packets that the agent gave up, and
// what erased tables had counted.
type tally struct {
	mu     sync.Mutex
	counts map[countKey]dataplane.Count
	told   map[sampleKey]time.Time
}

func newTally() *tally {
	return &tally{counts: map[countKey]dataplane.Count{}, told: map[sampleKey]time.Time{}}
}

func (t *tally) add(c dataplane.Count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	addCount(t.counts, c)
}

func addCount(counts map[countKey]dataplane.Count, c dataplane.Count) {
	key := countKey{c.Port, c.Reason, c.Rule}
	sum := counts[key]
	c.Packets += sum.Packets
	c.Bytes += sum.Bytes
	counts[key] = c
}

// toldMax bounds what is remembered of drops that were reported.
const toldMax = 4096

// discard counts a packet and reports whether to tell of it too.
func (t *tally) discard(d dataplane.Drop, size int) bool {
	t.add(dataplane.Count{Port: d.Port, Reason: d.Reason, Packets: 1, Bytes: uint64(max(size, 0))})
	t.mu.Lock()
	defer t.mu.Unlock()
	key := sampleKey{d.Tuple, d.Reason}
	if d.At.Sub(t.told[key]) < time.Second {
		return false
	}
	if len(t.told) >= toldMax {
		maps.DeleteFunc(t.told, func(_ sampleKey, at time.Time) bool { return d.At.Sub(at) >= time.Second })
	}
	if len(t.told) < toldMax {
		t.told[key] = d.At
	}
	return true
}

// report passes a drop on, unless nobody keeps up with them: they are a sample.
func (s *Switch) report(d dataplane.Drop) {
	select {
	case s.drops <- d:
	default:
	}
}

// hint passes a hint on, unless nobody keeps up with them.
func (s *Switch) hint(h dataplane.Hint) {
	select {
	case s.hints <- h:
	default:
	}
}

// readDrops reads events: drops and hints.
func (s *Switch) readDrops() {
	for {
		record, err := s.ring.Read()
		if err != nil {
			return // closed
		}
		var e dswitchEvent
		if err := binary.Read(bytes.NewReader(record.RawSample), binary.NativeEndian, &e); err != nil {
			continue // shorter than an event: not ours
		}
		d := dataplane.Drop{
			At: time.Now(), Port: dataplane.PortID(e.Port), Direction: dataplane.Direction(e.Direction),
			Reason: dataplane.Reason(e.Reason), Tuple: tupleOf(&e), Log: e.Said&ruleLog != 0,
		}
		if e.Said != 0 {
			s.note(&e, d)
		}
		if d.Reason == dataplane.NotDropped && e.Said == 0 {
			s.hint(dataplane.Hint{Port: d.Port, Tuple: d.Tuple})
		}
		if d.Reason == dataplane.NotDropped {
			continue
		}
		if d.Reason == dataplane.Policy {
			s.mu.Lock()
			d.Rule = s.ruleName(e.Table, e.Rule)
			s.mu.Unlock()
		}
		s.report(d)
	}
}

// Counts implements dataplane.Switch. The counts are sorted.
func (s *Switch) Counts() ([]dataplane.Count, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := map[countKey]dataplane.Count{}
	err := s.eachCounter(func(k dswitchCounterKey, c dataplane.Count) error {
		if k.Would == 0 {
			addCount(sums, c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.tally.mu.Lock()
	for _, c := range s.tally.counts {
		addCount(sums, c)
	}
	s.tally.mu.Unlock()
	return slices.SortedFunc(maps.Values(sums), func(a, b dataplane.Count) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule))
	}), nil
}

// eachCounter yields the programs' counters, summed over CPUs. Where the key has Would,
// its Port is a domain, and Rule the one in shadow.
func (s *Switch) eachCounter(yield func(dswitchCounterKey, dataplane.Count) error) error {
	var key dswitchCounterKey
	var values []dswitchCounter
	entries := s.maps.Counters.Iterate()
	for entries.Next(&key, &values) {
		c := dataplane.Count{Port: dataplane.PortID(key.Port), Reason: dataplane.Reason(key.Reason)}
		if c.Reason == dataplane.Policy || key.Would != 0 {
			c.Rule = s.ruleName(key.Table, key.Rule)
		}
		for _, v := range values {
			c.Packets += v.Packets
			c.Bytes += v.Bytes
		}
		if err := yield(key, c); err != nil {
			return err
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map counters: %w", err)
	}
	return nil
}

// keepCounts moves the counters of a table that will be erased to the tally.
func (s *Switch) keepCounts(id uint32) error {
	return s.keepWhere(func(k dswitchCounterKey) bool { return k.Table == id })
}

// closedPart is of how many counters one port may have been closed, until those of ports that
// are closed are moved to the tally: each has a few, and there is no end of ports.
const closedPart = 64

// keepClosed moves the counters of closed ports to the tally, once there may be many.
func (s *Switch) keepClosed() error {
	if s.closed < int(s.maps.Counters.MaxEntries())/closedPart {
		return nil
	}
	s.closed = 0
	return s.keepWhere(func(k dswitchCounterKey) bool {
		return k.Would == 0 && k.Port != 0 && s.ports[dataplane.PortID(k.Port)] == nil
	})
}

// keepWhere moves counters to where they take no room in the kernel.
func (s *Switch) keepWhere(is func(dswitchCounterKey) bool) error {
	var gone []dswitchCounterKey
	err := s.eachCounter(func(k dswitchCounterKey, c dataplane.Count) error {
		if !is(k) {
			return nil
		}
		if k.Would != 0 {
			s.keepShadow(k, c)
		} else {
			s.tally.add(c)
		}
		gone = append(gone, k)
		return nil
	})
	for _, k := range gone {
		err = errors.Join(err, remove(s.maps.Counters, k))
	}
	return err
}

// Flows implements dataplane.Switch. Other calls come in between its parts: a
// full table takes a while to read.
func (s *Switch) Flows() ([]dataplane.Flow, error) {
	var flows []dataplane.Flow
	now := uint32(monotonic() / tick)
	err := s.eachOf(func(f *dswitchFlow, vni uint32, lo, hi netip.AddrPort, protocol uint8) {
		if f.Initiator == 1 {
			lo, hi = hi, lo
		}
		rule := ""
		if f.Table != 0 { // adopted, and not judged yet
			rule = s.ruleName(f.Table, f.Rule)
		}
		flows = append(flows, dataplane.Flow{
			Tuple:   tupleBetween(dove.VNI(vni), lo, hi, protocol),
			Rule:    rule,
			Idle:    time.Duration(max(int32(now-f.Last), 0)) * tick,
			Packets: f.Packets[0] + f.Packets[1],
			Bytes:   f.Bytes[0] + f.Bytes[1],
		})
	})
	return flows, err
}

// eachOf yields all flows, with their two sides.
func (s *Switch) eachOf(yield func(f *dswitchFlow, vni uint32, lo, hi netip.AddrPort, protocol uint8)) error {
	if err := eachFlow(s, s.maps.Flows4, func(k *dswitchFlow4Key, f *dswitchFlow) {
		yield(f, k.Vni, netip.AddrPortFrom(addr4(k.Lo), k.LoPort), netip.AddrPortFrom(addr4(k.Hi), k.HiPort), k.Proto)
	}); err != nil {
		return fmt.Errorf("map flows4: %w", err)
	}
	if err := eachFlow(s, s.maps.Flows6, func(k *dswitchFlow6Key, f *dswitchFlow) {
		yield(f, k.Vni, netip.AddrPortFrom(mappedAddr(k.Lo), k.LoPort), netip.AddrPortFrom(mappedAddr(k.Hi), k.HiPort), k.Proto)
	}); err != nil {
		return fmt.Errorf("map flows6: %w", err)
	}
	return nil
}

// eachFlow reads a flow table in parts. The lock, under which a flow and the name of
// its rule belong together, is free between them.
func eachFlow[K any](s *Switch, m *ebpf.Map, each func(*K, *dswitchFlow)) error {
	piece := s.maps.Named.MaxEntries()
	keys, flows := make([]K, piece), make([]dswitchFlow, piece)
	return inPieces(&s.mu, m, keys, flows, func(n int) error {
		for i := range n {
			each(&keys[i], &flows[i])
		}
		return nil
	})
}

// Sizes implements dataplane.Switch.
func (s *Switch) Sizes() (dataplane.Sizes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes := dataplane.Sizes{
		Ports: len(s.ports), Peers: len(s.peers), Absent: len(s.absent), Pairs: len(s.pairs),
		Tables: len(s.tables), VTEPs: len(s.vteps),
	}
	for id := range s.ports {
		var state dswitchPortState
		if err := s.maps.PortStates.Lookup(uint32(id), &state); err != nil {
			return sizes, fmt.Errorf("map port_states: %w", err)
		}
		sizes.Flows += int(state.Flows)
	}
	return sizes, nil
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}

func compareOrdered[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

func comparePeerKeys(a, b dataplane.PeerKey) int {
	return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.Addr.Compare(b.Addr))
}

func comparePairKeys(a, b dataplane.PairKey) int {
	return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Src, b.Src), cmp.Compare(a.Dst, b.Dst))
}
