package agent

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// member is a small DPC: it knows which revision wrote each row, remembers what
// the session was told, and answers in order. The revision of a row's content is
// its UID, or in its rule's name.
type member struct {
	random      *rand.Rand
	incarnation uint64
	revision    dove.Revision
	peers       map[control.PeerKey]dove.Revision // negative where nobody has the address
	pairs       map[control.PairKey]dove.Revision
	assigned    map[dove.Endpoint]*control.Assign
	tunnels     []control.Tunnel
	session     *memberSession
	// Of this session: what each row was when the frontier of a revision was sent.
	frontiers map[dove.Revision]map[control.PeerKey]dove.Revision
	framed    map[dove.Revision]map[control.PairKey]dove.Revision
}

type memberSession struct {
	expected uint64 // number of the last Expect
	peerAt   map[control.PeerKey]uint64
	pairAt   map[control.PairKey]uint64

	queue []control.Down
	up    []control.Up // not handled yet
	peers map[control.PeerKey]control.Digest
	pairs map[control.PairKey]control.Digest
	hello bool
	acked dove.Revision
}

const testVNIs, testPeers, testClasses = 3, 12, 4

func (m *member) peer(key control.PeerKey) control.Peer {
	rev := m.peers[key]
	if rev <= 0 {
		return control.Peer{Key: key, Absent: true, TTL: 2 * time.Second}
	}
	row := peerRow(key.VNI, key.Addr.String(), 30+dove.Class(rev)%testClasses, dove.UID(rev))
	if key.Addr.As4()[3]%3 == 0 { // behind a router, over several next hops
		row.Gateway, row.VNI, row.Far = dove.MAC{2, 1}, key.VNI+1, dove.MAC{2, 2}
		for n := range rev % 3 {
			class := 30 + dove.Class(rev+n+1)%testClasses
			row.Ways = append(row.Ways, control.Way{UID: dove.UID(rev + n + 1), MAC: dove.MAC{2, 3, byte(n)}, Class: class, VNI: row.VNI, Far: row.Far})
		}
	}
	return row
}

func (m *member) pair(key control.PairKey) control.Pair {
	return pairRow(key.Src, key.Dst, fmt.Sprintf("r%d", m.pairs[key]))
}

func (m *member) put(d control.Down) { m.session.queue = append(m.session.queue, d) }

// change makes a revision and tells the session what it holds of it.
func (m *member) change(peers []control.PeerKey, pairs []control.PairKey) {
	m.revision++
	for _, k := range peers {
		m.peers[k] = m.revision
		if m.random.IntN(4) == 0 {
			m.peers[k] = -m.revision
		}
	}
	for _, k := range pairs {
		m.pairs[k] = m.revision
	}
	s := m.session
	if s == nil || !s.hello {
		return
	}
	u := &control.Update{Revision: m.revision}
	for _, k := range peers {
		if _, held := s.peers[k]; held {
			u.Peers = append(u.Peers, m.peer(k))
			s.peers[k] = m.peer(k).Digest()
		}
	}
	for _, k := range pairs {
		if _, held := s.pairs[k]; held {
			u.Pairs = append(u.Pairs, m.pair(k))
			s.pairs[k] = m.pair(k).Digest()
		}
	}
	if len(u.Peers)+len(u.Pairs) > 0 {
		m.put(u)
	}
	m.frontier()
}

// expect sends rows that nobody asked for.
func (m *member) expect(peers []control.PeerKey, pairs []control.PairKey) {
	s := m.session
	if s == nil || !s.hello {
		return
	}
	s.expected++
	e := &control.Expect{Revision: m.revision, Number: s.expected}
	for _, k := range peers {
		if row := m.peer(k); !row.Absent {
			e.Peers = append(e.Peers, row)
			s.peers[k], s.peerAt[k] = row.Digest(), e.Number
		}
	}
	for _, k := range pairs {
		row := m.pair(k)
		e.Pairs = append(e.Pairs, row)
		s.pairs[k], s.pairAt[k] = row.Digest(), e.Number
	}
	m.put(e)
}

func (m *member) frontier() {
	peers, pairs := map[control.PeerKey]dove.Revision{}, map[control.PairKey]dove.Revision{}
	for k := range m.session.peers {
		peers[k] = m.peers[k]
	}
	for k := range m.session.pairs {
		pairs[k] = m.pairs[k]
	}
	m.frontiers[m.revision], m.framed[m.revision] = peers, pairs
	m.put(&control.Frontier{Revision: m.revision})
}

// handle takes one message of the dSwitch.
func (m *member) handle(up control.Up) {
	s := m.session
	switch up := up.(type) {
	case *control.Hello:
		s.hello = true
		m.put(&control.Welcome{Member: "m", Incarnation: m.incarnation, Revision: m.revision})
		for _, e := range sortedKeys(m.assigned, compareEndpoints) {
			a := *m.assigned[e]
			m.put(&a)
		}
		m.put(&control.Tunnels{Full: true, Add: m.tunnels})
		u := &control.Update{Revision: m.revision}
		for _, h := range up.Peers {
			row := m.peer(h.Key)
			if s.peers[h.Key] = row.Digest(); row.Digest() != h.Digest {
				u.Peers = append(u.Peers, row)
			}
		}
		for _, h := range up.Pairs {
			row := m.pair(h.Key)
			if s.pairs[h.Key] = row.Digest(); row.Digest() != h.Digest {
				u.Pairs = append(u.Pairs, row)
			}
		}
		m.put(u)
		m.frontier()
	case *control.PolicyRequest:
		r := &control.PolicyReply{ID: up.ID, Revision: m.revision}
		for _, q := range up.Questions {
			m.answer(r, q)
			if m.random.IntN(3) == 0 { // in several messages
				m.put(r)
				r = &control.PolicyReply{ID: up.ID, Revision: m.revision}
			}
		}
		m.put(r)
	case *control.Release:
		for _, k := range up.Peers {
			if s.peerAt[k] <= up.Expected {
				delete(s.peers, k)
			}
		}
		for _, k := range up.Pairs {
			if s.pairAt[k] <= up.Expected {
				delete(s.pairs, k)
			}
		}
	case *control.Ack:
		s.acked = up.Revision
	}
}

func (m *member) answer(r *control.PolicyReply, q control.Question) {
	a := control.Answer{Question: q, Status: control.Refused}
	defer func() { r.Answers = append(r.Answers, a) }()
	var local dove.Class
	for _, e := range sortedKeys(m.assigned, compareEndpoints) {
		as := m.assigned[e]
		for _, x := range as.Address {
			if as.VNI == q.VNI && x.Addr == q.Local {
				local = x.Class
			}
		}
	}
	if local == 0 {
		return
	}
	if m.random.IntN(10) == 0 {
		a.Status = control.Retry
		return
	}
	key := control.PeerKey{VNI: q.VNI, Addr: q.Peer}
	row := m.peer(key)
	r.Peers = append(r.Peers, row)
	m.session.peers[key] = row.Digest()
	if a.Status = control.NoEndpoint; row.Absent {
		return
	}
	a.Status = control.Found
	for _, far := range row.Classes() {
		for _, k := range []control.PairKey{{Domain: shop, Src: local, Dst: far}, {Domain: shop, Src: far, Dst: local}} {
			p := m.pair(k)
			if m.session.pairs[k] != p.Digest() {
				m.session.pairs[k] = p.Digest()
				r.Pairs = append(r.Pairs, p)
			}
		}
	}
}

// TestRandomEvents walks through any interleaving of messages, devices, misses,
// disconnections, failures of the switch and restarts, with sub-ports among the ports. After each step the rig
// checks what must always hold, and at the end both ends and the switch agree.
func TestRandomEvents(t *testing.T) {
	seeds := []uint64{rand.Uint64(), 1, 2, 3, 4, 5, 6, 7}
	steps := 1500
	if s := os.Getenv("SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWalk(t, seed)
			for range steps {
				w.step()
			}
			w.heal()
		})
	}
}

// walk is one random walk.
type walk struct {
	*rig
	*member
	test    *testing.T
	ifindex int
}

func newWalk(t *testing.T, seed uint64) *walk {
	random := rand.New(rand.NewPCG(seed, 1))
	w := &walk{rig: newRig(t), test: t, member: &member{random: random, incarnation: 1, revision: 1,
		peers: map[control.PeerKey]dove.Revision{}, pairs: map[control.PairKey]dove.Revision{},
		assigned: map[dove.Endpoint]*control.Assign{}}}
	w.manual = true
	w.core.config.Rows = 60
	w.onSend = func(up control.Up) {
		if s := w.session; s != nil {
			s.up = append(s.up, up)
		}
		if a, ok := up.(*control.Ack); ok {
			w.checkAck(a)
		}
	}
	return w
}

// checkAck compares what the switch holds with what the frontier closed: each
// row that is still held must be of its revision, or newer, or said to have failed:
// under the revision that asked, or under an earlier one that is still in force.
func (w *walk) checkAck(a *control.Ack) {
	w.test.Helper()
	r := a.Revision
	failed := func(want dove.Revision) bool {
		return slices.ContainsFunc(a.Failed, func(f control.Failure) bool {
			return f.Revision == want || f.Revision == 0 || strings.Contains(f.Text, "what was before may still be in force")
		})
	}
	frame, ok := w.frontiers[r]
	if !ok {
		w.test.Fatalf("Ack %d of no frontier", r)
	}
	for k, want := range frame {
		op, held := w.has[target{kind: kindPeer, vni: k.VNI, addr: k.Addr}]
		if !held {
			continue
		}
		if got := dove.Revision(op.(dataplane.SetPeer).Peer.UID); got < max(want, -want) && !failed(max(want, -want)) {
			w.test.Fatalf("Ack %d while the switch has %v of revision %d, not %d", r, k, got, want)
		}
	}
	for k, want := range w.framed[r] {
		d := w.core.domains[k.Domain]
		if d == nil {
			continue
		}
		op, held := w.has[target{kind: kindPair, pair: dataplane.PairKey{Domain: d.handle, Src: k.Src, Dst: k.Dst}}]
		if !held {
			continue
		}
		name := op.(dataplane.SetPair).Table.Names[0]
		if got, _ := strconv.Atoi(name[1:]); dove.Revision(got) < want && !failed(want) {
			w.test.Fatalf("Ack %d while the switch has %v of revision %d, not %d", r, k, got, want)
		}
	}
}

func (w *walk) key() control.PeerKey {
	return control.PeerKey{VNI: dove.VNI(1 + w.random.IntN(testVNIs)),
		Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + w.random.IntN(testPeers))})}
}

func (w *walk) pairKey() control.PairKey {
	a, b := 20+dove.Class(w.random.IntN(testClasses)), 30+dove.Class(w.random.IntN(testClasses))
	if w.random.IntN(2) == 0 {
		a, b = b, a
	}
	return control.PairKey{Domain: shop, Src: a, Dst: b}
}

func (w *walk) step() {
	w.sleep(time.Duration(w.random.IntN(200)) * time.Millisecond)
	id := w.random.IntN(5)
	name := fmt.Sprintf("e%d", id)
	endpoint := dove.Endpoint{Tenant: "red", ID: dove.EndpointID(name)}
	dev := []string{"tap", "dv"}[w.random.IntN(2)] + name
	switch w.random.IntN(27) {
	case 0:
		w.revision++
		a := assignOf(name, dove.VNI(1+w.random.IntN(testVNIs)), fmt.Sprintf("10.0.0.%d", 1+id), 20+dove.Class(w.random.IntN(testClasses)))
		a.Revision, a.Epoch, a.UID = w.revision, dove.Epoch(w.revision), dove.UID(1+w.random.IntN(3))
		if id > 2 && a.UID > 1 { // in these lives it is a sub-port, and may find its VLAN taken
			a.Parent, a.VLAN = "e0", []uint16{7, 7 + uint16(id)}[a.UID-2]
		}
		w.assigned[endpoint] = a
		if w.session != nil && w.session.hello {
			w.put(new(*a))
			w.frontier()
		}
	case 1:
		if a := w.assigned[endpoint]; a != nil && w.random.IntN(2) == 0 {
			w.revision++
			delete(w.assigned, endpoint)
			if w.session != nil && w.session.hello {
				w.put(&control.Unassign{Revision: w.revision, Endpoint: endpoint, Epoch: a.Epoch})
				w.frontier()
			}
		}
	case 2, 3:
		w.ifindex++
		w.rig.step(deviceOf(dev, w.ifindex))
	case 4:
		w.rig.step(DeviceGone{dev})
	case 5:
		w.rig.step(Plug{endpoint, []string{"", "eth0", dev}[w.random.IntN(3)]})
	case 6:
		if w.random.IntN(3) == 0 {
			w.rig.step(Unplug{endpoint})
		}
	case 7, 8:
		w.change([]control.PeerKey{w.key()}, []control.PairKey{w.pairKey()})
	case 24, 25:
		w.expect([]control.PeerKey{w.key()}, []control.PairKey{w.pairKey(), w.pairKey()})
	case 26:
		for _, port := range slices.Sorted(maps.Keys(w.core.ports)) {
			if w.random.IntN(2) == 0 {
				w.rig.step(Hinted{dataplane.Hint{Port: port, Tuple: dataplane.Tuple{Src: w.key().Addr, Dst: w.core.ports[port].Address[0].Addr}}})
				break
			}
		}
	case 9:
		if w.session == nil {
			w.connect()
		} else if w.random.IntN(6) == 0 {
			w.session = nil
			w.rig.step(Disconnected{})
		}
	case 10:
		if w.fail = nil; w.random.IntN(3) == 0 {
			w.fail = func(dataplane.Op) error {
				if w.random.IntN(3) == 0 {
					return errors.New("the switch would not")
				}
				return nil
			}
		}
	case 11:
		if w.random.IntN(30) == 0 {
			w.reboot()
		}
	case 12, 13, 14:
		w.rig.step(Tick{})
	case 15, 16:
		if w.pending != nil {
			w.rig.step(*w.carryOut())
		}
	case 17, 18:
		w.deliver()
	default:
		w.missSome()
	}
}

func (w *walk) connect() {
	w.session = &memberSession{peers: map[control.PeerKey]control.Digest{}, pairs: map[control.PairKey]control.Digest{},
		peerAt: map[control.PeerKey]uint64{}, pairAt: map[control.PairKey]uint64{}}
	w.frontiers, w.framed = map[dove.Revision]map[control.PeerKey]dove.Revision{}, map[dove.Revision]map[control.PairKey]dove.Revision{}
	w.rig.step(Connected{})
}

// reboot kills the agent, with or without its last Apply in force.
func (w *walk) reboot() {
	if w.pending != nil && w.random.IntN(2) == 0 {
		w.carryOut()
	}
	w.session = nil
	w.restart()
	if w.random.IntN(2) == 0 {
		w.rig.step(DevicesListed{})
	}
}

// deliver moves some messages, in order, either way.
func (w *walk) deliver() {
	s := w.session
	if s == nil {
		return
	}
	for range 1 + w.random.IntN(5) {
		if len(s.up) > 0 && w.random.IntN(2) == 0 {
			up := s.up[0]
			s.up = s.up[1:]
			w.handle(up)
		}
		if len(s.queue) > 0 {
			down := s.queue[0]
			s.queue = s.queue[1:]
			w.rig.step(Received{down})
		}
	}
}

func (w *walk) missSome() {
	for range 1 + w.random.IntN(4) {
		port, local, peer := dataplane.PortID(1+w.random.IntN(3)), "10.0.0.1", w.key().Addr.String()
		if ids := slices.Sorted(maps.Keys(w.core.ports)); len(ids) > 0 {
			port = ids[w.random.IntN(len(ids))]
			if w.random.IntN(8) > 0 {
				local = w.core.ports[port].Address[0].Addr.String()
			}
		}
		if w.random.IntN(6) == 0 {
			peer = fmt.Sprintf("10.0.0.%d", 1+w.random.IntN(5)) // perhaps a neighbour on this host
		}
		m := w.miss(port, []dataplane.Want{dataplane.WantPeer, dataplane.WantPair, dataplane.WantConfirm, dataplane.WantTurn}[w.random.IntN(4)], local, peer)
		m.Miss.Direction = dataplane.Direction(w.random.IntN(2))
		w.rig.step(m)
	}
}

// heal ends all faults and requires that everyone then agrees.
func (w *walk) heal() {
	t := w.test
	w.fail = nil
	if w.session == nil {
		w.connect()
	}
	w.finish()
	w.rig.step(DevicesListed{})
	w.change(nil, nil)
	if !w.session.hello { // the Hello is still under way, and brings its own frontier
		w.revision++
	}
	w.flush()
	s := w.session
	if len(w.waiting) > 0 || len(w.core.questions) > 0 {
		t.Errorf("%d packets and %d questions wait", len(w.waiting), len(w.core.questions))
	}
	if s.acked != w.revision {
		t.Errorf("acknowledged %d of %d, failed %v", s.acked, w.revision, w.core.tracker.failed)
	}
	if len(s.peers) != 0 || len(s.pairs) != 0 {
		hello := w.core.hello()
		for _, h := range hello.Peers {
			if s.peers[h.Key] != h.Digest || w.peer(h.Key).Digest() != h.Digest {
				t.Errorf("peer %v differs between the ends", h.Key)
			}
		}
		for _, h := range hello.Pairs {
			if s.pairs[h.Key] != h.Digest || w.pair(h.Key).Digest() != h.Digest {
				t.Errorf("pair %v differs between the ends", h.Key)
			}
		}
		if len(hello.Peers) != len(s.peers) || len(hello.Pairs) != len(s.pairs) {
			t.Errorf("the host holds %d peers and %d pairs, the member thinks %d and %d", len(hello.Peers), len(hello.Pairs), len(s.peers), len(s.pairs))
		}
	}
	w.agree()
}

// flush delivers everything, and lets time pass for what waits.
func (w *walk) flush() {
	for range 400 {
		w.sleep(100 * time.Millisecond)
		w.rig.step(Tick{})
		w.finish()
		for w.session != nil && len(w.session.up)+len(w.session.queue) > 0 {
			w.deliver()
			w.finish()
		}
	}
}

// agree requires that the switch holds what assignments, devices and rows say.
func (w *walk) agree() {
	t, c := w.test, w.core
	for key := range c.tracker.want {
		if !c.tracker.inForce(key) || !sameOp(c.tracker.want[key], w.has[key]) && key.kind != kindAbsent {
			t.Errorf("%+v is not in force", key)
		}
	}
	if len(w.has) != len(c.tracker.want) {
		t.Errorf("the switch holds %d things, %d are wanted", len(w.has), len(c.tracker.want))
	}
	if len(c.assignments) != len(w.assigned) {
		t.Errorf("%d assignments of %d", len(c.assignments), len(w.assigned))
	}
	for _, a := range c.assignments {
		u, ok := c.state(a)
		dev, problem := c.deviceFor(a)
		if !ok || (u.State == control.EndpointActive) != (dev != Device{} && problem == "") {
			t.Errorf("%s is %s (%s) with device %q", a.Endpoint, stateNames[u.State], u.Detail, dev.Name)
		}
		if u != a.told {
			t.Errorf("%s: told %+v, is %+v", a.Endpoint, a.told, u)
		}
	}
}
