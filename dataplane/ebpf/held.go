package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"dove.network/dataplane"
	"dove.network/dove"
)

// Held lists by key what a switch holds, sorted. Setting it again with the same content
// changes nothing.
type Held struct {
	Networks []dove.VNI
	VTEPs    []netip.Addr
	Ports    []dataplane.PortID
	Peers    []dataplane.PeerKey
	Absent   []dataplane.PeerKey
	Pairs    []dataplane.PairKey
}

// Held says what the switch holds: after Open, what an earlier run left.
func (s *Switch) Held() Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Held{
		Networks: sortedKeys(s.networks, compareOrdered),
		VTEPs:    sortedKeys(s.vteps, netip.Addr.Compare),
		Ports:    sortedKeys(s.ports, compareOrdered),
		Peers:    sortedKeys(s.peers, comparePeerKeys),
		Absent:   sortedKeys(s.absent, comparePeerKeys),
		Pairs:    sortedKeys(s.pairs, comparePairKeys),
	}
}

// adopt reads back from the maps what an earlier run wrote.
func (s *Switch) adopt() error {
	s.closed = int(s.maps.Counters.MaxEntries()) // nobody knows how many
	return errors.Join(s.adoptNetworks(), s.adoptTables(), s.adoptPairs(), s.adoptAddresses(), s.adoptShares(), s.forgetTurns())
}

func (s *Switch) adoptNetworks() error {
	var vni uint32
	var n dswitchNetwork
	entries := s.maps.Networks.Iterate()
	for entries.Next(&vni, &n) {
		s.networks[dove.VNI(vni)] = dataplane.Network{VNI: dove.VNI(vni), Domain: n.Domain, MTU: uint16(n.Mtu)}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map networks: %w", err)
	}
	var addr dswitchVtepKey
	var v dswitchVtep
	entries = s.maps.Vteps.Iterate()
	for entries.Next(&addr, &v) {
		a := mappedAddr(addr.Addr)
		s.vteps[a] = dataplane.SetVTEP{Addr: a, Foreign: v.Flags&vtepForeign != 0, Plain: v.Flags&vtepPlain != 0}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map vteps: %w", err)
	}
	var number uint32
	entries = s.maps.VtepAddrs.Iterate()
	for entries.Next(&number, &addr) && addr != (dswitchVtepKey{}) {
		s.vtepNumbers[mappedAddr(addr.Addr)] = number
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map vtep_addrs: %w", err)
	}
	var key dswitchEndpointKey
	var end dswitchAbsence
	entries = s.maps.Absent.Iterate()
	for entries.Next(&key, &end) {
		s.absent[peerKey(key)] = end.End
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map absent: %w", err)
	}
	return nil
}

func peerKey(k dswitchEndpointKey) dataplane.PeerKey {
	return dataplane.PeerKey{VNI: dove.VNI(k.Vni), Addr: mappedAddr(k.Addr)}
}

// mappedAddr reads an address of the maps, IPv4 mapped into IPv6.
func mappedAddr(a [4]uint32) netip.Addr {
	var b [16]byte
	for i, w := range a {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

// addr4 reads an IPv4 address of the maps.
func addr4(a uint32) netip.Addr {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], a)
	return netip.AddrFrom4(b)
}

func (s *Switch) adoptTables() error {
	var id uint32
	var v dswitchTable
	byID := map[uint32]*table{}
	defer func() {
		for _, t := range byID {
			s.rules += t.entries()
		}
	}()
	entries := s.maps.Tables.Iterate()
	for entries.Next(&id, &v) {
		t := &table{id: id}
		byID[id], s.tables[v.Digest] = t, t
		s.lastTable = max(s.lastTable, id)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map tables: %w", err)
	}
	// Entries of no table are left from a table whose writing was cut short.
	var key dswitchRuleKey
	var rule dswitchRule
	var lost []dswitchRuleKey
	would := map[uint32][]uint16{} // names of rules in shadow, by table
	entries = s.maps.Rules.Iterate()
	for entries.Next(&key, &rule) {
		id := networkOrder(key.Table)
		s.lastTable = max(s.lastTable, id)
		if t := byID[id]; t != nil {
			t.keys = append(t.keys, key)
			if rule.Says&ruleWould != 0 && !slices.Contains(would[id], rule.Would) {
				would[id] = append(would[id], rule.Would)
			}
		} else {
			lost = append(lost, key)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map rules: %w", err)
	}
	for _, key := range lost {
		if err := remove(s.maps.Rules, key); err != nil {
			return err
		}
	}
	var nameKey dswitchNameKey
	var name dswitchRuleName
	entries = s.maps.RuleNames.Iterate()
	for entries.Next(&nameKey, &name) {
		t := byID[nameKey.Table]
		if t == nil {
			continue
		}
		for len(t.names) <= int(nameKey.Rule) {
			t.names = append(t.names, "")
		}
		t.names[nameKey.Rule] = string(name.Text[:min(int(name.Len), len(name.Text))])
		s.tableNames[t.id] = t.names
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map rule_names: %w", err)
	}
	for id, rules := range would {
		for _, rule := range rules {
			byID[id].shade = append(byID[id].shade, s.ruleName(id, rule))
		}
		slices.Sort(byID[id].shade)
	}
	return s.forgetShadows(true)
}

func (s *Switch) adoptPairs() error {
	digests := map[uint32]int{} // table id to its uses
	names := map[uint32][16]byte{}
	for digest, t := range s.tables {
		names[t.id] = digest
	}
	used, err := adoptSlots(s.pairSlots, s.maps.PairSlots, func(v *dswitchPairSlot) uint32 { return v.Gen })
	if err != nil {
		return err
	}
	var key dswitchPairKey
	var slot uint32
	taken := map[uint32]bool{}
	entries := s.maps.Pairs.Iterate()
	for entries.Next(&key, &slot) {
		v := used[slot]
		digest, ok := names[v.Table]
		if !ok {
			return fmt.Errorf("pair %d to %d of domain %d has table %d, which is not there", key.Src, key.Dst, key.Domain, v.Table)
		}
		k := dataplane.PairKey{Domain: key.Domain, Src: dove.Class(key.Src), Dst: dove.Class(key.Dst)}
		s.pairs[k] = &pair{slot, digest}
		s.tables[digest].alone = v.Flags&pairAlone != 0
		s.shade(k.Domain, s.tables[digest])
		digests[v.Table]++
		s.use(k.Domain, digest)
		taken[slot] = true
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map pairs: %w", err)
	}
	s.pairSlots.adopted(taken)
	for digest, t := range s.tables {
		if t.refs = digests[t.id]; t.refs == 0 {
			s.unused, s.changed = append(s.unused, digest), true
		}
	}
	return nil
}

// adoptSlots reads the generations of an array map, up to the last slot that
// was ever used, and returns what is in them.
func adoptSlots[V any](s *slots, m *ebpf.Map, gen func(*V) uint32) (map[uint32]V, error) {
	contents := map[uint32]V{}
	keys, values := make([]uint32, 4096), make([]V, 4096)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			if g := gen(&values[i]); g != 0 {
				contents[keys[i]] = values[i]
				s.adopt(keys[i], g)
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return contents, nil
		}
		if err != nil {
			return nil, fmt.Errorf("map %v: %w", m, err)
		}
	}
}

func (s *Switch) adoptAddresses() error {
	contents, err := adoptSlots(s.dests, s.maps.Dests, func(d *dswitchDest) uint32 { return d.Gen })
	if err != nil {
		return err
	}
	var portKey dswitchPortKey
	var p dswitchPort
	entries := s.maps.Ports.Iterate()
	for entries.Next(&portKey, &p) {
		id := dataplane.PortID(p.Id)
		s.ports[id] = &port{Port: dataplane.Port{
			ID: id, VNI: dove.VNI(p.Vni), MAC: p.Mac, Ifindex: int(portKey.Ifindex), VLAN: portKey.Vlan, Kind: dataplane.DeviceKind(p.Kind), Open: p.Flags&portOpen != 0,
		}}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map ports: %w", err)
	}
	var key dswitchEndpointKey
	var slot uint32
	taken := map[uint32]bool{}
	entries = s.maps.Endpoints.Iterate()
	for entries.Next(&key, &slot) {
		d, k := contents[slot], peerKey(key)
		taken[slot] = true
		held := &place{slot: slot, dest: d}
		s.places[k] = held
		if d.Flags&destRouted != 0 {
			if err := s.maps.Routes.Lookup(slot, &held.route); err != nil {
				return fmt.Errorf("map routes: %w", err)
			}
		}
		if d.Kind == uint8(dswitchDestKindDEST_ROUTER) {
			continue
		}
		if d.Flags&(destRouted|destPeer) != 0 {
			p := s.peerAt(d, held.route)
			if err := s.adoptWays(held, contents, taken, &p); err != nil {
				return err
			}
			s.peers[k] = p
			s.follow(k)
			continue
		}
		if p := s.ports[dataplane.PortID(d.Port)]; d.Port != 0 && p != nil {
			p.UID = dove.UID(d.Uid)
			if d.Other != [4]uint32{} {
				p.Other, p.Standby = mappedAddr(d.Other), d.Kind == uint8(dswitchDestKindDEST_STANDBY)
			}
			p.Addresses = append(p.Addresses, dataplane.Address{Addr: k.Addr, Class: dove.Class(d.Class)})
			s.owners[k] = p.ID
		} else if d.Port == 0 {
			s.peers[k] = peerOf(d)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("map endpoints: %w", err)
	}
	if err := s.adoptAllowed(contents, taken); err != nil {
		return err
	}
	s.dests.adopted(taken)
	for _, p := range s.ports {
		slices.SortFunc(p.Addresses, func(a, b dataplane.Address) int { return a.Addr.Compare(b.Addr) })
	}
	if err := s.adoptGateways(); err != nil {
		return err
	}
	// What a run that was cut short left between two maps is put right.
	var errs []error
	for k := range s.places {
		errs = append(errs, s.put(k))
	}
	return errors.Join(errs...)
}

func peerOf(d dswitchDest) dataplane.Peer {
	p := dataplane.Peer{UID: dove.UID(d.Uid), MAC: d.Mac, Class: dove.Class(d.Class)}
	if d.Vtep != [4]uint32{} {
		p.VTEP = mappedAddr(d.Vtep)
	}
	if d.Other != [4]uint32{} {
		p.Other = mappedAddr(d.Other)
	}
	return p
}

// adoptPorts swaps the programs of the ports that an earlier run left, and
// closes those whose device is gone meanwhile.
func (s *Switch) adoptPorts() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range sortedKeys(s.ports, compareOrdered) {
		p := s.ports[id]
		l, err := netlink.LinkByIndex(p.Ifindex)
		if err != nil {
			if err := s.delPort(id); err != nil {
				return err
			}
			continue
		}
		p.Device = l.Attrs().Name
		if err := s.attachPort(p); err != nil {
			return fmt.Errorf("port %d: %w", id, err)
		}
	}
	return s.settle()
}
