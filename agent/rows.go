package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// network is a network with an open port, and what is held of its addresses.
type network struct {
	vni    dove.VNI
	name   dove.Network
	domain *domain
	mtu    uint16
	gates  []control.Gateway
	ports  int
	absent int // rows of peers that are negative
	peers  map[netip.Addr]*peer
}

// peer is a held row, negative ones included.
type peer struct {
	row       control.Peer
	digest    control.Digest // zero: held, content forgotten
	confirmed time.Time      // when it was last asked about because of WantConfirm
	hinted    time.Time      // when it was last asked about because of a Hint
}

// domain is a class space with an open network.
type domain struct {
	name     dove.Domain
	handle   uint32
	networks int
	pairs    map[classes]*pair
}

type classes struct{ src, dst dove.Class }

type pair struct {
	table  *verdict.Table
	digest control.Digest // zero: held, content forgotten
}

// Bounds of a negative answer's life.
const (
	negativeMin = time.Second
	negativeMax = 30 * time.Second
)

// joinNetwork counts one more open port on the assignment's network.
func (c *Core) joinNetwork(a *assignment) {
	n := c.networks[a.VNI]
	if n == nil {
		d := c.domains[a.Domain]
		if d == nil {
			d = c.openDomain(a.Domain, c.lastHandle+1)
			c.unsaved = true
		}
		d.networks++
		n = &network{vni: a.VNI, domain: d, peers: map[netip.Addr]*peer{}}
		c.networks[a.VNI] = n
	}
	n.ports++
}

// openDomain opens a domain under the number that stands for it in the switch for as long as a
// network of it is open. When it is opened again it has another one: the switch may have
// failed to let a pair go meanwhile, of which the DPC says nothing any more and by which
// nothing may pass between two ports here.
func (c *Core) openDomain(name dove.Domain, handle uint32) *domain {
	d := &domain{name: name, handle: handle, pairs: map[classes]*pair{}}
	c.domains[name], c.byHandle[handle] = d, d
	c.lastHandle = max(c.lastHandle, handle)
	return d
}

func (c *Core) closeDomain(d *domain) {
	delete(c.domains, d.name)
	delete(c.byHandle, d.handle)
}

// refreshNetwork has the switch know the network as the assignment says it.
func (c *Core) refreshNetwork(a *assignment) {
	n := c.networks[a.VNI]
	if n.name == a.Network && n.mtu == a.MTU && reflect.DeepEqual(n.gates, a.Gateways) {
		return
	}
	n.name, n.mtu, n.gates = a.Network, a.MTU, a.Gateways
	known := dataplane.Network{VNI: n.vni, Domain: n.domain.handle, MTU: n.mtu}
	for _, g := range a.Gateways {
		known.Gateways = append(known.Gateways, dataplane.Gateway(g))
	}
	c.tracker.set(dataplane.SetNetwork{Network: known})
}

// leaveNetwork counts one port less; after the last one, nothing of the network
// is held any more.
func (c *Core) leaveNetwork(a *assignment) {
	n := c.networks[a.VNI]
	if n.ports--; n.ports > 0 {
		return
	}
	for _, addr := range slices.SortedFunc(maps.Keys(n.peers), netip.Addr.Compare) {
		c.dropPeer(n, addr)
		c.freed.Peers = append(c.freed.Peers, control.PeerKey{VNI: n.vni, Addr: addr})
	}
	c.dropQuestions(n.vni)
	c.tracker.remove(target{kind: kindNetwork, vni: n.vni})
	delete(c.networks, n.vni)
	d := n.domain
	if d.networks--; d.networks > 0 {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(d.pairs), classes.compare) {
		c.dropPair(d, k)
		c.freed.Pairs = append(c.freed.Pairs, control.PairKey{Domain: d.name, Src: k.src, Dst: k.dst})
	}
	c.closeDomain(d)
	c.unsaved = true
	c.forgetExamples(d.name.Tenant)
}

func (k classes) compare(o classes) int {
	return cmp.Or(cmp.Compare(k.src, o.src), cmp.Compare(k.dst, o.dst))
}

// expect takes rows that nothing here has asked for, as far as most of the room
// is left for what guests of this host ask about.
func (c *Core) expect(m *control.Expect) {
	c.session.expected = m.Number
	for _, row := range m.Pairs {
		d := c.domains[row.Key.Domain]
		c.takePair(row, d != nil && c.expects(len(d.pairs)))
		if d == nil || d.pairs[classes{row.Key.Src, row.Key.Dst}] == nil {
			c.freed.Pairs = append(c.freed.Pairs, row.Key)
		}
	}
	for _, row := range m.Peers {
		n := c.networks[row.Key.VNI]
		c.takePeer(row, n != nil && c.expects(len(n.peers)))
		if n == nil || n.peers[row.Key.Addr] == nil {
			c.freed.Peers = append(c.freed.Peers, row.Key)
		}
	}
	for _, row := range m.Peers {
		c.foreseen(row.Key)
	}
}

// expects reports whether a network or domain that holds so many rows may hold
// one more that nobody here asked about: it leaves some of the room to others.
func (c *Core) expects(held int) bool {
	return held < ExpectedShare*(c.config.Rows/ExpectedPart-c.rows)
}

// takePeer changes a row that is held, or holds one that is awaited. It ignores
// any other: it was released meanwhile, or is of an address of this host, of which
// the assignment says all.
func (c *Core) takePeer(row control.Peer, awaited bool) {
	n := c.networks[row.Key.VNI]
	var held *peer
	if n != nil {
		held = n.peers[row.Key.Addr]
	}
	if row.Absent && row.TTL <= 0 {
		if held != nil {
			c.dropPeer(n, row.Key.Addr)
		}
		return
	}
	own, ours := c.locals[row.Key]
	if a := c.assignments[own.endpoint]; ours && a != nil && a.Standby {
		ours = false // active elsewhere: it is needed when the port here closes
	}
	if n == nil || held == nil && (!awaited || ours || c.rows >= c.config.Rows) {
		return
	}
	fresh := row.Absent && (held == nil || !held.row.Absent)
	if fresh && (n.absent >= NegativesPerNetwork || len(c.negatives) >= NegativesMax) {
		// A guest can ask about any number of addresses. It is asked again about
		// this one, as fast as the switch lets it.
		if held != nil {
			c.dropPeer(n, row.Key.Addr)
			c.freed.Peers = append(c.freed.Peers, row.Key)
		}
		return
	}
	digest, set := row.Digest(), c.setRow(held != nil && held.digest == (control.Digest{}))
	if held == nil {
		held = &peer{}
		n.peers[row.Key.Addr] = held
		c.rows++
	} else if held.digest == digest && !row.Absent {
		return
	}
	key := dataplane.PeerKey(row.Key)
	if row.Absent {
		c.tracker.remove(target{kind: kindPeer, vni: key.VNI, addr: key.Addr})
		ttl := min(max(row.TTL, negativeMin), negativeMax)
		if fresh {
			n.absent++
		}
		c.tracker.set(dataplane.SetAbsent{Key: key, TTL: ttl, NoRoute: row.NoRoute})
		c.negatives[row.Key] = c.now.Add(ttl)
	} else {
		if _, negative := c.negatives[row.Key]; negative {
			delete(c.negatives, row.Key)
			n.absent--
			c.tracker.remove(target{kind: kindAbsent, vni: key.VNI, addr: key.Addr})
		}
		set(dataplane.SetPeer{Key: key, Peer: PeerOf(row)})
	}
	held.row, held.digest = row, digest
}

// setRow is how the tracker is told of a row, whose content may be forgotten.
func (c *Core) setRow(forgotten bool) func(dataplane.Op) {
	if forgotten {
		return c.tracker.setAgain
	}
	return c.tracker.set
}

// PeerOf is a row that is not negative as a switch has it.
func PeerOf(row control.Peer) dataplane.Peer {
	p := dataplane.Peer{UID: row.UID, MAC: row.MAC, Class: row.Class, VTEP: row.VTEP, Other: row.Other}
	if row.Gateway != (dove.MAC{}) {
		p.Gateway, p.VNI, p.Far, p.MTU = row.Gateway, row.VNI, row.Far, row.MTU
		for _, w := range row.Ways {
			p.Ways = append(p.Ways, dataplane.Way{UID: w.UID, MAC: w.MAC, Class: w.Class, VTEP: w.VTEP, VNI: w.VNI, Far: w.Far})
		}
	}
	return p
}

// dropPeer no longer holds a row of an address, negative or not.
func (c *Core) dropPeer(n *network, addr netip.Addr) {
	key := control.PeerKey{VNI: n.vni, Addr: addr}
	c.tracker.remove(target{kind: kindPeer, vni: n.vni, addr: addr})
	if _, negative := c.negatives[key]; negative {
		delete(c.negatives, key)
		n.absent--
		c.tracker.remove(target{kind: kindAbsent, vni: n.vni, addr: addr})
	}
	delete(n.peers, addr)
	c.rows--
}

// takePair changes a pair that is held, or holds one that was sent to be held (a
// reply, an Expect). It ignores any other.
func (c *Core) takePair(row control.Pair, replied bool) {
	d := c.domains[row.Key.Domain]
	k := classes{row.Key.Src, row.Key.Dst}
	var held *pair
	if d != nil {
		held = d.pairs[k]
	}
	if row.Table == nil {
		if held != nil {
			c.dropPair(d, k)
		}
		return
	}
	if d == nil || held == nil && (!replied || c.rows >= c.config.Rows) {
		if replied {
			c.freed.Pairs = append(c.freed.Pairs, row.Key)
		}
		return
	}
	digest, set := row.Digest(), c.setRow(held != nil && held.digest == (control.Digest{}))
	if held == nil {
		held = &pair{}
		d.pairs[k] = held
		c.rows++
	} else if held.digest == digest {
		return
	}
	held.table, held.digest = row.Table, digest
	set(dataplane.SetPair{Key: dataplane.PairKey{Domain: d.handle, Src: k.src, Dst: k.dst}, Table: row.Table})
}

func (c *Core) dropPair(d *domain, k classes) {
	c.tracker.remove(target{kind: kindPair, pair: dataplane.PairKey{Domain: d.handle, Src: k.src, Dst: k.dst}})
	delete(d.pairs, k)
	c.rows--
}

// expireNegatives forgets negative answers whose time is over, as the switch does.
func (c *Core) expireNegatives() {
	var over []control.PeerKey
	for key, at := range c.negatives {
		if !c.now.Before(at) {
			over = append(over, key)
		}
	}
	slices.SortFunc(over, comparePeerKeys)
	for _, key := range over {
		c.dropPeer(c.networks[key.VNI], key.Addr)
	}
	c.freed.Peers = append(c.freed.Peers, over...)
}

func comparePeerKeys(a, b control.PeerKey) int {
	return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.Addr.Compare(b.Addr))
}

// sendFreed tells the DPC what is no longer held. While an answer about an
// address is under way, its release waits: the DPC would take it for a release
// of what that answer brings.
func (c *Core) sendFreed() {
	freed := c.freed
	c.freed = control.Release{}
	if !c.session.open {
		return
	}
	var out control.Release
	for _, key := range freed.Peers {
		if n := c.networks[key.VNI]; n != nil && n.peers[key.Addr] != nil {
			continue
		}
		if c.awaits(key) {
			c.freed.Peers = append(c.freed.Peers, key)
		} else {
			out.Peers = append(out.Peers, key)
		}
	}
	for _, key := range freed.Pairs {
		if d := c.domains[key.Domain]; d == nil || d.pairs[classes{key.Src, key.Dst}] == nil {
			out.Pairs = append(out.Pairs, key)
		}
	}
	for len(out.Peers)+len(out.Pairs) > 0 {
		peers, pairs := min(len(out.Peers), control.RowsMax), min(len(out.Pairs), control.RowsMax)
		c.send(&control.Release{Expected: c.session.expected, Peers: out.Peers[:peers], Pairs: out.Pairs[:pairs]})
		out.Peers, out.Pairs = out.Peers[peers:], out.Pairs[pairs:]
	}
}

// setTunnels changes the fleet. The host's own address is not in the switch:
// nobody else may send from it.
func (c *Core) setTunnels(m *control.Tunnels) {
	gone := slices.Clone(m.Del)
	if m.Full {
		stay := map[netip.Addr]bool{}
		for _, t := range m.Add {
			stay[t.VTEP] = true
		}
		for _, vtep := range slices.SortedFunc(maps.Keys(c.tunnels), netip.Addr.Compare) {
			if !stay[vtep] {
				gone = append(gone, vtep)
			}
		}
	}
	for _, vtep := range gone {
		delete(c.tunnels, vtep)
		c.tracker.remove(target{kind: kindVTEP, addr: vtep})
	}
	for _, t := range m.Add {
		held, known := c.tunnels[t.VTEP]
		c.tunnels[t.VTEP] = t
		if (!known || held.Foreign != t.Foreign || held.Plain != t.Plain || held.Host == "") && t.VTEP != c.config.VTEP {
			c.tracker.set(dataplane.SetVTEP{Addr: t.VTEP, Foreign: t.Foreign, Plain: t.Plain})
		}
	}
}
