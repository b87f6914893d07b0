package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// tracker holds what the switch should hold and what it was last seen to hold,
// each thing under its target, and finds the ops between the two.
type tracker struct {
	want   map[target]dataplane.Op // Set ops
	have   map[target]dataplane.Op // Set ops that succeeded; a zero content is unknown
	dirty  map[target]bool         // want changed since the last next
	flight map[target]dataplane.Op // ops whose outcome is not known yet
	failed map[target]failure      // ops that failed and have not succeeded since

	cause  cause            // of what is set or removed now
	causes map[target]cause // of what is not in force yet
	later  map[target]cause // those of them that came while an op was in flight
}

// cause are the revisions that asked for a change, ascending; nil: none did. A 0
// among them stands for earlier ones, of which nobody here knows which they are.
type cause []dove.Revision

// unknown is the cause of what is told again. answered is that of an answer that
// replaces what is still in the switch: no revision asked for it, but while the old
// may be in force, it is as good as told again.
var unknown, answered = cause{0}, cause{-1}

// with adds the revisions of another cause.
func (c cause) with(o cause) cause {
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(c, o))))
	if n := len(all) - control.FailuresMax; n > 0 {
		all = all[n:]
		all[0] = 0
	}
	return all
}

// failure is an op that the switch refused.
type failure struct {
	text   string
	closed bool // meanwhile nothing passes by what it was to change
	tries  int
	retry  time.Time
}

// Bounds of the time after which a failed op is tried again.
const (
	retryFirst = 500 * time.Millisecond
	retryMax   = 30 * time.Second
)

func retryAfter(tries int) time.Duration {
	return min(retryFirst<<min(tries-1, 10), retryMax)
}

func newTracker() tracker {
	return tracker{
		want:   map[target]dataplane.Op{},
		have:   map[target]dataplane.Op{},
		dirty:  map[target]bool{},
		flight: map[target]dataplane.Op{},
		failed: map[target]failure{},
		causes: map[target]cause{},
		later:  map[target]cause{},
	}
}

// target names one thing that a switch can hold.
type target struct {
	kind kind
	vni  dove.VNI
	addr netip.Addr
	pair dataplane.PairKey
	port dataplane.PortID
}

// kind orders things by dependency: what is set first comes first. Pairs come
// before the addresses whose classes they are of, so that no packet meets a class
// without its pairs.
type kind uint8

const (
	kindNetwork kind = iota
	kindVTEP
	kindPair
	kindPeer
	kindAbsent
	kindPort
)

// targetOf names what an op sets or removes, and says whether it sets it.
func targetOf(op dataplane.Op) (t target, sets bool) {
	switch op := op.(type) {
	case dataplane.SetNetwork:
		return target{kind: kindNetwork, vni: op.Network.VNI}, true
	case dataplane.DelNetwork:
		return target{kind: kindNetwork, vni: op.VNI}, false
	case dataplane.SetVTEP:
		return target{kind: kindVTEP, addr: op.Addr}, true
	case dataplane.DelVTEP:
		return target{kind: kindVTEP, addr: op.Addr}, false
	case dataplane.SetPort:
		return target{kind: kindPort, port: op.Port.ID}, true
	case dataplane.DelPort:
		return target{kind: kindPort, port: op.ID}, false
	case dataplane.SetPair:
		return target{kind: kindPair, pair: op.Key}, true
	case dataplane.DelPair:
		return target{kind: kindPair, pair: op.Key}, false
	case dataplane.SetPeer:
		return target{kind: kindPeer, vni: op.Key.VNI, addr: op.Key.Addr}, true
	case dataplane.DelPeer:
		return target{kind: kindPeer, vni: op.Key.VNI, addr: op.Key.Addr}, false
	case dataplane.SetAbsent:
		return target{kind: kindAbsent, vni: op.Key.VNI, addr: op.Key.Addr}, true
	case dataplane.DelAbsent:
		return target{kind: kindAbsent, vni: op.Key.VNI, addr: op.Key.Addr}, false
	}
	panic("agent: an op of no known kind")
}

func (t target) removal() dataplane.Op {
	key := dataplane.PeerKey{VNI: t.vni, Addr: t.addr}
	switch t.kind {
	case kindNetwork:
		return dataplane.DelNetwork{VNI: t.vni}
	case kindVTEP:
		return dataplane.DelVTEP{Addr: t.addr}
	case kindPort:
		return dataplane.DelPort{ID: t.port}
	case kindPair:
		return dataplane.DelPair{Key: t.pair}
	case kindPeer:
		return dataplane.DelPeer{Key: key}
	default:
		return dataplane.DelAbsent{Key: key}
	}
}

func (t target) compare(o target) int {
	return cmp.Or(
		cmp.Compare(t.kind, o.kind),
		cmp.Compare(t.vni, o.vni),
		t.addr.Compare(o.addr),
		cmp.Compare(t.pair.Domain, o.pair.Domain),
		cmp.Compare(t.pair.Src, o.pair.Src),
		cmp.Compare(t.pair.Dst, o.pair.Dst),
		cmp.Compare(t.port, o.port),
	)
}

// sameOp reports whether two Set ops of one target have equal content. A
// SetAbsent always counts as new: it starts its TTL again.
func sameOp(a, b dataplane.Op) bool {
	switch a := a.(type) {
	case dataplane.SetPort:
		b := b.(dataplane.SetPort)
		addresses := slices.Equal(a.Port.Addresses, b.Port.Addresses)
		allowed := slices.Equal(a.Port.Allowed, b.Port.Allowed) && a.Port.Open == b.Port.Open && a.Port.Class == b.Port.Class
		return addresses && allowed && portHead(a.Port) == portHead(b.Port)
	case dataplane.SetPair:
		return a.Table.Equal(b.(dataplane.SetPair).Table)
	case dataplane.SetPeer:
		return a.Peer.Equal(b.(dataplane.SetPeer).Peer)
	case dataplane.SetNetwork:
		return a.Network.Equal(b.(dataplane.SetNetwork).Network)
	case dataplane.SetVTEP:
		return a == b.(dataplane.SetVTEP)
	default:
		return false
	}
}

// head is what can be compared of a port.
type head struct {
	endpoint dove.Endpoint
	uid      dove.UID
	vni      dove.VNI
	mac      dove.MAC
	device   Device
	other    netip.Addr
	standby  bool
	vlan     uint16
}

func portHead(p dataplane.Port) head {
	return head{p.Endpoint, p.UID, p.VNI, p.MAC, Device{p.Device, p.Ifindex, p.Kind}, p.Other, p.Standby, p.VLAN}
}

// set wants a Set op in force.
func (t *tracker) set(op dataplane.Op) {
	key, _ := targetOf(op)
	t.want[key] = op
	t.dirty[key] = true
	t.blame(key, t.cause)
}

// setAgain wants a Set op in force whose content is forgotten here and perhaps no
// other than it was: it is of no revision that this host has heard of since.
func (t *tracker) setAgain(op dataplane.Op) {
	was := t.cause
	if was != nil {
		t.cause = unknown
	}
	t.set(op)
	t.cause = was
}

// remove wants a thing gone.
func (t *tracker) remove(key target) {
	delete(t.want, key)
	t.dirty[key] = true
	t.blame(key, t.cause)
}

// blame notes what asked for a change. It counts until the change is in force.
func (t *tracker) blame(key target, c cause) {
	_, stale := t.have[key]
	_, flying := t.flight[key] // and may be stale in a moment
	if c == nil && (stale || flying) {
		c = answered
	}
	if c == nil {
		return
	}
	t.causes[key] = t.causes[key].with(c)
	if flying {
		t.later[key] = t.later[key].with(c)
	}
}

// unname forgets which revisions asked for what is not in force yet: what they were
// numbers of is no more.
func (t *tracker) unname() {
	for _, causes := range []map[target]cause{t.causes, t.later} {
		for key, c := range causes {
			if c[len(c)-1] > 0 {
				causes[key] = unknown
			}
		}
	}
}

// inForce reports whether the switch holds what is wanted of a target, and
// something is.
func (t *tracker) inForce(key target) bool {
	want, wanted := t.want[key]
	have, held := t.have[key]
	_, flying := t.flight[key]
	_, failed := t.failed[key]
	return wanted && held && !flying && !failed && sameOp(want, have)
}

// Phases of what next returns. Whoever has an address now is set before who had
// it goes, because a port wins over a peer and a peer over an absent mark: so the
// peer that takes over from a port is there when that goes, and packets find one or
// the other. A pair that was there is changed once addresses have left its classes
// for others.
const (
	phaseSet  = iota
	phaseFree // ports go: another may want their device or address
	phasePort
	phaseChange
	phaseRemove
)

// next returns the ops from what the switch holds to what it should hold, in
// the order that they depend on each other, and takes them for in flight.
// Nothing may be in flight.
func (t *tracker) next() []dataplane.Op {
	if len(t.flight) > 0 {
		panic("agent: ops are in flight already")
	}
	type step struct {
		phase int
		target
	}
	steps := make([]step, 0, len(t.dirty))
	for key := range t.dirty {
		want, wanted := t.want[key]
		have, held := t.have[key]
		_, failed := t.failed[key]
		switch {
		case wanted && !failed && held && sameOp(want, have), !wanted && !held && !failed:
			delete(t.causes, key)
			continue
		case wanted:
			t.flight[key] = want
			phase := phaseSet
			switch {
			case key.kind == kindPort:
				phase = phasePort
			case key.kind == kindPair && held:
				phase = phaseChange
			}
			steps = append(steps, step{phase, key})
		default:
			t.flight[key] = key.removal()
			phase := phaseRemove
			if key.kind == kindPort {
				phase = phaseFree
			}
			steps = append(steps, step{phase, key})
		}
	}
	clear(t.dirty)
	slices.SortFunc(steps, func(a, b step) int {
		if c := cmp.Compare(a.phase, b.phase); c != 0 {
			return c
		}
		if a.phase == phaseSet {
			return a.compare(b.target)
		}
		return b.compare(a.target)
	})
	ops := make([]dataplane.Op, len(steps))
	for i, s := range steps {
		ops[i] = t.flight[s.target]
	}
	return ops
}

// applied takes the outcome of what was in flight and returns the targets that
// settled, in order, with a text for those that failed.
func (t *tracker) applied(now time.Time, err error) []outcome {
	faults, all := map[target]fault{}, false
	if err != nil {
		collectFaults(err, faults)
		all = len(faults) == 0
	}
	outcomes := make([]outcome, 0, len(t.flight))
	for key, op := range t.flight {
		f, bad := faults[key]
		if all {
			f, bad = fault{text: err.Error()}, true
		}
		switch _, sets := targetOf(op); {
		case bad:
			tries := t.failed[key].tries + 1
			t.failed[key] = failure{f.text, f.closed, tries, now.Add(retryAfter(tries))}
		case sets:
			delete(t.failed, key)
			t.have[key] = op
		default:
			delete(t.failed, key)
			delete(t.have, key)
		}
		if late := t.later[key]; !bad && late != nil {
			t.causes[key] = late // none of these is in force
		} else if !bad {
			delete(t.causes, key)
		}
		outcomes = append(outcomes, outcome{key, f.text})
	}
	clear(t.flight)
	clear(t.later)
	slices.SortFunc(outcomes, func(a, b outcome) int { return a.compare(b.target) })
	return outcomes
}

// outcome is what became of one op; fault is empty if it succeeded.
type outcome struct {
	target
	fault string
}

// retry marks what failed long enough ago for another try.
func (t *tracker) retry(now time.Time) {
	for key, f := range t.failed {
		if !now.Before(f.retry) {
			t.dirty[key] = true
		}
	}
}

// fault is why an op failed.
type fault struct {
	text   string
	closed bool
}

func collectFaults(err error, into map[target]fault) {
	switch e := err.(type) {
	case *dataplane.OpError:
		key, _ := targetOf(e.Op)
		into[key] = fault{e.Error(), e.Closed}
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			collectFaults(e, into)
		}
	case interface{ Unwrap() error }:
		collectFaults(e.Unwrap(), into)
	}
}
