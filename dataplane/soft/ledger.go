package soft

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"dove.network/dataplane"
)

// dropsHeld is how many sampled drops wait for TakeDrops; later ones are only counted.
const dropsHeld = 4096

// ledger counts drops, and samples them and hints: one a second for a tuple and reason.
type ledger struct {
	counts  map[countKey]*dataplane.Count
	sampled map[sampleKey]time.Time
	drops   []dataplane.Drop
	hints   []dataplane.Hint
	notes   []dataplane.Note
}

type countKey struct {
	port   dataplane.PortID
	reason dataplane.Reason
	rule   string
}

type sampleKey struct {
	port   dataplane.PortID
	reason dataplane.Reason
	tuple  dataplane.Tuple
	said   bool
}

func newLedger() ledger {
	return ledger{counts: map[countKey]*dataplane.Count{}, sampled: map[sampleKey]time.Time{}}
}

func (l *ledger) enter(d dataplane.Drop, size int) {
	key := countKey{d.Port, d.Reason, d.Rule}
	c := l.counts[key]
	if c == nil {
		c = &dataplane.Count{Port: d.Port, Reason: d.Reason, Rule: d.Rule}
		l.counts[key] = c
	}
	c.Packets++
	c.Bytes += uint64(size)

	if len(l.drops) < dropsHeld && l.sample(sampleKey{d.Port, d.Reason, d.Tuple, d.Log}, d.At) {
		l.drops = append(l.drops, d)
	}
}

func (l *ledger) hint(h dataplane.Hint, at time.Time) {
	if len(l.hints) < dropsHeld && l.sample(sampleKey{h.Port, dataplane.NotDropped, h.Tuple, false}, at) {
		l.hints = append(l.hints, h)
	}
}

func (l *ledger) note(n dataplane.Note) {
	if !n.Log && n.Would == "" {
		return // what is denied and logged is told as a drop
	}
	if len(l.notes) < dropsHeld && l.sample(sampleKey{n.Port, dataplane.NotDropped, n.Tuple, true}, n.At) {
		l.notes = append(l.notes, n)
	}
}

// sample reports whether it is time to tell of a key again.
func (l *ledger) sample(key sampleKey, now time.Time) bool {
	if last, ok := l.sampled[key]; ok && now.Sub(last) < time.Second {
		return false
	}
	l.sampled[key] = now
	return true
}

func (l *ledger) expire(now time.Time) {
	maps.DeleteFunc(l.sampled, func(_ sampleKey, last time.Time) bool { return now.Sub(last) >= time.Second })
}

// drop refuses a packet and counts it.
func (s *Switch) drop(t *transit, reason dataplane.Reason, rule string) (dataplane.Outcome, []byte) {
	d := dataplane.Drop{At: s.clock(), Direction: t.direction, Reason: reason, Rule: rule, Tuple: t.tuple}
	o := dataplane.Outcome{Action: dataplane.Dropped, Reason: reason, Rule: rule}
	if reason == dataplane.Policy {
		s.tell(t, &o)
		d.Log = o.Log
	}
	if t.port != nil {
		d.Port = t.port.ID
	}
	s.ledger.enter(d, len(t.frame))
	return o, nil
}

// Discard implements dataplane.Switch.
func (s *Switch) Discard(m dataplane.Miss, r dataplane.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.enter(dataplane.Drop{
		At: s.clock(), Port: m.Port, Direction: m.Direction, Reason: r, Tuple: m.Tuple,
	}, len(m.Frame))
	s.yield(m)
}

// TakeDrops returns the sampled drops since the last call, oldest first.
func (s *Switch) TakeDrops() []dataplane.Drop {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.ledger.drops
	s.ledger.drops = nil
	return taken
}

// Counts implements dataplane.Switch, in order of port, reason and rule.
func (s *Switch) Counts() ([]dataplane.Count, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make([]dataplane.Count, 0, len(s.ledger.counts))
	for _, c := range s.ledger.counts {
		counts = append(counts, *c)
	}
	slices.SortFunc(counts, func(a, b dataplane.Count) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule))
	})
	return counts, nil
}

// Flows implements dataplane.Switch: the flows that are not expired, in order of
// network, protocol and sides.
func (s *Switch) Flows() ([]dataplane.Flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	var flows []dataplane.Flow
	for key, f := range s.flows {
		if f.expired(key.protocol, now) {
			continue
		}
		flows = append(flows, dataplane.Flow{
			Tuple: f.tuple(key),
			Rule:  f.rule, Idle: now.Sub(f.last), Packets: f.packets, Bytes: f.bytes,
		})
	}
	slices.SortFunc(flows, func(a, b dataplane.Flow) int { return compareTuples(a.Tuple, b.Tuple) })
	return flows, nil
}

// bucket holds the misses that a port may still have; the zero value is full.
type bucket struct {
	spent float64
	last  time.Time
}

func (b *bucket) take(now time.Time, l Limits) bool {
	refilled := now.Sub(b.last).Seconds() * float64(l.MissRate)
	b.last = now
	b.spent = max(0, b.spent-refilled)
	if b.spent+1 > float64(l.MissBurst) {
		return false
	}
	b.spent++
	return true
}
