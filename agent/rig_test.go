package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// rig drives a Core, plays its switch, and checks after each step what must
// always hold.
type rig struct {
	t interface {
		Helper()
		Fatalf(string, ...any)
	}
	core *Core
	now  time.Time

	has       map[target]dataplane.Op // what the switch holds
	pending   *Apply                  // not carried out yet
	lastSeq   uint64
	fail      func(dataplane.Op) error // nil: nothing fails
	manual    bool                     // Applied comes only from finish
	saved     Saved
	slowDisk  bool  // Written comes only from write
	unwritten *Save // as long as it does not

	flows      []dataplane.Flow      // of the switch
	carried    []dataplane.FlowState // of any port
	adopts     []Adopt
	refuses    error // of Adopt
	shadows    []dataplane.Shadow
	unreadable error // they are
	reading    bool  // they are being read

	sent     []control.Up // since the last take
	frames   uint64
	waiting  map[uint64]dataplane.Miss // missed packets that neither came back nor were discarded
	dropped  map[dataplane.Reason]int  // discarded so far
	injected int
	leaves   int            // how often a session was given up
	last     dataplane.Miss // that was injected
	onSend   func(control.Up)
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.Unix(1000, 0), has: map[target]dataplane.Op{},
		waiting: map[uint64]dataplane.Miss{}, dropped: map[dataplane.Reason]int{}}
	r.core = NewCore(Config{Host: "h1", VTEP: addr("192.0.2.1"), Software: "test"}, Restored{})
	return r
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// step feeds events at the present time and carries out the effects.
func (r *rig) step(events ...Event) {
	r.t.Helper()
	for len(events) > 0 {
		effects := r.core.Step(r.now, events...)
		events = nil
		for _, e := range effects {
			if done := r.act(e); done != nil {
				events = append(events, done)
			}
		}
		r.check()
	}
}

func (r *rig) act(e Effect) Event {
	r.t.Helper()
	switch e := e.(type) {
	case Send:
		if !r.core.session.open {
			r.t.Fatalf("%T is sent without a session", e.Message)
		}
		r.sent = append(r.sent, e.Message)
		r.checkSent(e.Message)
		if r.onSend != nil {
			r.onSend(e.Message)
		}
	case Save:
		if r.unwritten = &e; !r.slowDisk {
			return r.write()
		}
	case Inject:
		r.settled(e.Miss)
		r.inTurn(e.Miss)
		r.injected++
		r.last = e.Miss
	case Leave:
		r.leaves++
	case Discard:
		r.settled(e.Miss)
		r.dropped[e.Reason]++
	case Apply:
		if r.pending != nil || e.Seq <= r.lastSeq || len(e.Ops) == 0 {
			r.t.Fatalf("Apply %d with %d ops after %d, pending %v", e.Seq, len(e.Ops), r.lastSeq, r.pending)
		}
		r.pending, r.lastSeq = &e, e.Seq
		if !r.manual {
			return *r.carryOut()
		}
	case ReadCarried:
		return CarriedRead{e, slices.Clone(r.carried), r.unreadable}
	case Adopt:
		r.adopts = append(r.adopts, e)
		return Adopted{e, r.refuses}
	case ReadFlows:
		if r.reading {
			r.t.Fatalf("the flow table is read while it is being read")
		}
		if r.reading = r.manual; !r.manual {
			return r.read()
		}
	}
	return nil
}

// write makes what is to be saved durable.
func (r *rig) write() Event {
	e := r.unwritten
	r.saved, r.unwritten = e.Saved, nil
	return Written{e.Seq}
}

// read says what is in the flow table.
func (r *rig) read() FlowsRead {
	r.reading = false
	return FlowsRead{Flows: slices.Clone(r.flows), Shadows: r.shadows, Err: r.unreadable}
}

func (r *rig) settled(m dataplane.Miss) {
	r.t.Helper()
	id := binary.BigEndian.Uint64(m.Frame)
	if _, out := r.waiting[id]; !out {
		r.t.Fatalf("packet %d left twice", id)
	}
	delete(r.waiting, id)
}

// inTurn checks that a packet which goes back overtakes none of those that the
// switch lets none overtake.
func (r *rig) inTurn(m dataplane.Miss) {
	r.t.Helper()
	id := binary.BigEndian.Uint64(m.Frame)
	for other, o := range r.waiting {
		if other < id && o.Queues() && m.Queues() && o.Port == m.Port && o.Local == m.Local && o.Peer == m.Peer {
			r.t.Fatalf("packet %d (want %d) overtakes %d (want %d) between %v and %v", id, m.Want, other, o.Want, m.Local, m.Peer)
		}
	}
}

// carryOut applies what is pending, as a strict switch would.
func (r *rig) carryOut() *Applied {
	r.t.Helper()
	var errs []error
	for _, op := range r.pending.Ops {
		if r.fail != nil {
			if err := r.fail(op); err != nil {
				failed, ok := err.(*dataplane.OpError)
				if !ok {
					failed = &dataplane.OpError{Op: op, Err: err}
				}
				errs = append(errs, failed)
				continue
			}
		}
		key, sets := targetOf(op)
		if !sets {
			if key.kind == kindNetwork {
				for k, o := range r.has {
					if k.kind == kindPeer && k.vni == key.vni || k.kind == kindPort && o.(dataplane.SetPort).Port.VNI == key.vni {
						if _, failing := r.core.tracker.failed[k]; !failing && errs == nil {
							r.t.Fatalf("network %d is removed before %+v", key.vni, o)
						}
					}
				}
			}
			delete(r.has, key)
			continue
		}
		vni := key.vni
		if port, ok := op.(dataplane.SetPort); ok {
			vni = port.Port.VNI
			for k, o := range r.has {
				if k.kind != kindPort || k == key {
					continue
				}
				if o := o.(dataplane.SetPort).Port; o.Ifindex == port.Port.Ifindex && o.VLAN == port.Port.VLAN {
					errs = append(errs, &dataplane.OpError{Op: op, Err: errors.New("device in use")})
				}
			}
		}
		if key.kind == kindPort || key.kind == kindPeer || key.kind == kindAbsent {
			if r.has[target{kind: kindNetwork, vni: vni}] == nil {
				errs = append(errs, &dataplane.OpError{Op: op, Err: fmt.Errorf("network %d is not there", vni)})
				if _, failed := r.core.tracker.failed[target{kind: kindNetwork, vni: vni}]; r.fail == nil && !failed {
					r.t.Fatalf("%+v before its network", op)
				}
				continue
			}
		}
		r.has[key] = op
	}
	done := &Applied{Seq: r.pending.Seq, Err: errors.Join(errs...)}
	r.pending = nil
	return done
}

// finish carries out what is pending and tells Core, until nothing is.
func (r *rig) finish() {
	r.t.Helper()
	for r.pending != nil {
		r.step(*r.carryOut())
	}
}

func (r *rig) checkSent(m control.Up) {
	r.t.Helper()
	request, ok := m.(*control.PolicyRequest)
	if !ok {
		return
	}
	if r.core.session.member == "" || len(request.Questions) == 0 || len(request.Questions) > QuestionsBatch {
		r.t.Fatalf("request with %d questions, member %q", len(request.Questions), r.core.session.member)
	}
	for _, q := range request.Questions {
		if l, ok := r.core.locals[control.PeerKey{VNI: q.VNI, Addr: q.Local}]; !ok || r.core.assignments[l.endpoint].id == 0 {
			r.t.Fatalf("question %+v from no port", q)
		}
	}
}

// check holds after every step.
func (r *rig) check() {
	r.t.Helper()
	c := r.core
	byPort, byPeer, held := map[*assignment]int{}, map[control.PeerKey]int{}, 0
	for _, p := range c.holds {
		if !p.gone {
			held++
			byPort[p.port]++
			byPeer[p.question.key.peerKey()]++
			if c.questions[p.question.key] != p.question || c.ports[p.miss.Port] != p.port {
				r.t.Fatalf("packet held for no question or no port")
			}
		}
	}
	pieces := map[*assignment]int{}
	for _, p := range c.pieces {
		pieces[p.port]++
		if pieces[p.port] > PiecesPerPort || c.ports[p.miss.Port] != p.port {
			r.t.Fatalf("%d fragments held for port %d", pieces[p.port], p.miss.Port)
		}
	}
	if held+len(c.ready)+len(c.pieces) != len(r.waiting) {
		r.t.Fatalf("%d packets held, %d fragments and %d ready, %d did not leave", held, len(c.pieces), len(c.ready), len(r.waiting))
	}
	for a, n := range byPort {
		if n > HeldPerPort || a.held != n {
			r.t.Fatalf("%d packets held for %s, counted %d", n, a.Endpoint, a.held)
		}
	}
	for k, n := range byPeer {
		if n > HeldPerPeer || len(c.heldFor[k]) != n {
			r.t.Fatalf("%d packets held for %v, counted %d", n, k, len(c.heldFor[k]))
		}
	}
	asked := map[control.PeerKey]int{}
	for k, q := range c.questions {
		if c.networks[k.vni] == nil {
			r.t.Fatalf("question %+v for a network without a port", k)
		}
		if q.sent {
			asked[k.peerKey()]++
		} else if len(q.held) == 0 {
			r.t.Fatalf("question %+v is to be asked for nobody", k)
		}
	}
	if len(asked) != len(c.askedFor) || len(c.heldFor) != len(byPeer) {
		r.t.Fatalf("counts: asked %v, %v; held %v, %v", asked, c.askedFor, byPeer, c.heldFor)
	}
	rows := 0
	for _, n := range c.networks {
		rows += len(n.peers)
	}
	for _, d := range c.domains {
		rows += len(d.pairs)
	}
	if rows != c.rows || rows > c.config.Rows {
		r.t.Fatalf("%d rows, counted %d", rows, c.rows)
	}
}

// miss makes a missed packet of a port.
func (r *rig) miss(port dataplane.PortID, want dataplane.Want, local, peer string) Missed {
	r.frames++
	m := dataplane.Miss{Port: port, Want: want, Local: addr(local), Peer: addr(peer),
		Tuple: dataplane.Tuple{Protocol: dove.ProtocolUDP}, Frame: binary.BigEndian.AppendUint64(nil, r.frames)}
	r.waiting[r.frames] = m
	return Missed{m}
}

// take returns what was sent since the last take, without EndpointUpdates.
func (r *rig) take() []control.Up {
	var out []control.Up
	for _, m := range r.sent {
		if _, ok := m.(*control.EndpointUpdate); !ok {
			out = append(out, m)
		}
	}
	r.sent = nil
	return out
}

// states returns the EndpointUpdates among what was sent, and forgets all.
func (r *rig) states() []string {
	var out []string
	for _, m := range r.sent {
		if u, ok := m.(*control.EndpointUpdate); ok {
			out = append(out, fmt.Sprintf("%s %d %s %s%s", u.Endpoint, u.Epoch, stateNames[u.State], u.Device, u.Detail))
		}
	}
	r.sent = nil
	return out
}

func (r *rig) sleep(d time.Duration) { r.now = r.now.Add(d) }

// open opens a session and welcomes it.
func (r *rig) open() {
	r.t.Helper()
	r.step(Connected{})
	r.step(Received{&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 7, Revision: 1}})
}

var shop = dove.Domain{Tenant: "red", Name: "shop"}

func assignOf(id string, vni dove.VNI, address string, class dove.Class) *control.Assign {
	return &control.Assign{
		Revision: 1, Endpoint: dove.Endpoint{Tenant: "red", ID: dove.EndpointID(id)}, UID: 1, Epoch: 1, VNI: vni,
		Network: dove.Network{Tenant: "red", Name: fmt.Sprintf("net%d", vni)}, Domain: shop, MTU: 1450,
		MAC: dove.MAC{2, 0, 0, 0, 0, 1}, Address: []control.Address{{Addr: addr(address), Class: class}},
	}
}

func deviceOf(name string, ifindex int) DeviceUp {
	return DeviceUp{Device{Name: name, Ifindex: ifindex, Kind: dataplane.Veth}}
}

func peerRow(vni dove.VNI, address string, class dove.Class, uid dove.UID) control.Peer {
	return control.Peer{Key: control.PeerKey{VNI: vni, Addr: addr(address)}, UID: uid, Class: class, Domain: shop,
		Endpoint: dove.Endpoint{Tenant: "red", ID: dove.EndpointID("p" + fmt.Sprint(uid))},
		MAC:      dove.MAC{2, 0, 0, 0, 1, 1}, Host: "h2", VTEP: addr("192.0.2.2")}
}

func pairRow(src, dst dove.Class, rule string) control.Pair {
	half := verdict.Half{Default: true, DefaultName: rule, Stateful: true}
	return control.Pair{Key: control.PairKey{Domain: shop, Src: src, Dst: dst}, Table: verdict.Product(half, half)}
}

// found answers a request with a peer and both directions of its pair.
func found(id uint64, q control.Question, local, class dove.Class) *control.PolicyReply {
	return &control.PolicyReply{ID: id, Revision: 2,
		Answers: []control.Answer{{Question: q, Status: control.Found, Local: local, Peer: class, Domain: shop}},
		Peers:   []control.Peer{peerRow(q.VNI, q.Peer.String(), class, 9)},
		Pairs:   []control.Pair{pairRow(local, class, "out"), pairRow(class, local, "in")}}
}

// restart makes a new Core from what the old one saved and the switch holds.
func (r *rig) restart() {
	r.t.Helper()
	r.step(Stopping{})
	var s Contents
	for _, k := range slices.SortedFunc(maps.Keys(r.has), target.compare) {
		switch k.kind {
		case kindNetwork:
			s.Networks = append(s.Networks, k.vni)
		case kindVTEP:
			s.VTEPs = append(s.VTEPs, k.addr)
		case kindPort:
			s.Ports = append(s.Ports, k.port)
		case kindPair:
			s.Pairs = append(s.Pairs, k.pair)
		case kindPeer:
			s.Peers = append(s.Peers, dataplane.PeerKey{VNI: k.vni, Addr: k.addr})
		case kindAbsent:
			s.Absent = append(s.Absent, dataplane.PeerKey{VNI: k.vni, Addr: k.addr})
		}
	}
	config := r.core.config
	r.pending, r.lastSeq, r.sent = nil, 0, nil
	r.core = NewCore(config, Restored{Saved: r.saved, Switch: s})
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}

// denial is a table that denies everything by one rule.
func denial(rule string) *verdict.Table {
	half := verdict.Half{DefaultName: rule, Stateful: true}
	return verdict.Product(half, half)
}
