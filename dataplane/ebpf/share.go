package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/verdict"
)

// share is what the tables of a domain take of the map of rules. A table that
// several domains have counts for each.
type share struct {
	entries int
	uses    map[verdict.Digest]int // by pairs
}

// noRoom names the rule by which all packets of a pair are denied whose table
// did not fit.
const noRoom = "no-room-for-rules"

var closed = verdict.Product(verdict.Half{DefaultName: noRoom}, verdict.Half{DefaultName: noRoom})

// errNoRoom says that a table does not fit.
var errNoRoom = errors.New("no room for its rules")

// fits returns errNoRoom if a domain may not have a table of so many entries,
// beside what it has. One of a single entry, which says the same of every packet,
// always fits: there are but a few of those. spare is what is free besides.
func (s *Switch) fits(domain uint32, digest verdict.Digest, entries, spare int) error {
	var has share
	if held := s.shares[domain]; held != nil {
		has = *held
	}
	if has.uses[digest] > 0 || entries == 1 {
		return nil
	}
	free := int(s.maps.Rules.MaxEntries()) - s.rules + spare
	if s.tables[digest] == nil {
		free -= entries
	}
	if has.entries+entries <= dataplane.SharePart*free {
		return nil
	}
	return fmt.Errorf("%w: it takes %d entries beside the %d of its domain, and of %d all but %d are taken; all packets of the pair are denied: let rules name ranges of ports in place of many single ones",
		errNoRoom, entries, has.entries, s.maps.Rules.MaxEntries(), int(s.maps.Rules.MaxEntries())-s.rules)
}

// makeRoom does as fits, and erases first what no pair has any more, where the
// table would fit without that.
func (s *Switch) makeRoom(domain uint32, digest verdict.Digest, entries int) error {
	refused := s.fits(domain, digest, entries, 0)
	if refused == nil || s.fits(domain, digest, entries, s.spare()) != nil {
		return refused
	}
	if err := s.settle(); err != nil {
		return errors.Join(refused, err)
	}
	return s.fits(domain, digest, entries, 0)
}

// spare is how many entries are of tables that no pair has any more.
func (s *Switch) spare() (entries int) {
	seen := map[verdict.Digest]bool{}
	for _, digest := range s.unused {
		if held := s.tables[digest]; held != nil && held.refs == 0 && !seen[digest] {
			entries += held.entries()
		}
		seen[digest] = true
	}
	return entries
}

// use counts that a pair of a domain has a table, and drop that it no longer has.
func (s *Switch) use(domain uint32, digest verdict.Digest) {
	held := s.shares[domain]
	if held == nil {
		held = &share{uses: map[verdict.Digest]int{}}
		s.shares[domain] = held
	}
	if held.uses[digest]++; held.uses[digest] == 1 {
		held.entries += s.tables[digest].entries()
	}
}

func (s *Switch) drop(domain uint32, digest verdict.Digest) {
	held := s.shares[domain]
	if held.uses[digest]--; held.uses[digest] > 0 {
		return
	}
	delete(held.uses, digest)
	held.entries -= s.tables[digest].entries()
	if len(held.uses) == 0 {
		delete(s.shares, domain)
	}
}

// entries is how many a table has in the map of rules or in that of their names,
// which is as large, whichever is more.
func (t *table) entries() int { return max(len(t.keys), len(t.names)) }

// closePair has all packets of a pair denied whose table did not fit, for which
// it was refused. The agent tries it again.
func (s *Switch) closePair(k dataplane.PairKey, refused error) error {
	if err := s.setPair(k, closed); err != nil {
		return errors.Join(refused, err)
	}
	return &dataplane.OpError{Err: refused, Closed: true}
}

// recount has a domain's flows be those of its ports, after a network of it was
// another's. What begins or ends meanwhile makes it wrong by as many.
func (s *Switch) recount(domain uint32) error {
	var sum dswitchDomainState
	ports := 0
	for _, p := range s.ports {
		if s.networks[p.VNI].Domain != domain {
			continue
		}
		var state dswitchPortState
		if err := s.maps.PortStates.Lookup(uint32(p.ID), &state); err != nil {
			return fmt.Errorf("port %d: map port_states: %w", p.ID, err)
		}
		sum.Flows += state.Flows
		sum.Unconfirmed += state.Unconfirmed
		ports++
	}
	if ports == 0 {
		return remove(s.maps.DomainStates, domain)
	}
	if err := update(s.maps.DomainStates, domain, sum); err != nil {
		return fmt.Errorf("domain %d: map domain_states: %w", domain, err)
	}
	return nil
}

// adoptShares counts what the ports of each domain have, where a layout before
// did not; else the programs go on counting.
func (s *Switch) adoptShares() error {
	sums := map[uint32]dswitchDomainState{}
	var flows uint32
	for id, p := range s.ports {
		var state dswitchPortState
		if err := s.maps.PortStates.Lookup(uint32(id), &state); err != nil {
			return fmt.Errorf("port %d: map port_states: %w", id, err)
		}
		domain := s.networks[p.VNI].Domain
		if state.Domain != domain {
			state.Domain = domain
			if err := update(s.maps.PortStates, uint32(id), state); err != nil {
				return fmt.Errorf("port %d: map port_states: %w", id, err)
			}
		}
		sum := sums[domain]
		sum.Flows += state.Flows
		sum.Unconfirmed += state.Unconfirmed
		sums[domain] = sum
		flows += state.Flows
	}
	for domain, sum := range sums {
		if err := s.maps.DomainStates.Update(domain, sum, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("domain %d: map domain_states: %w", domain, err)
		}
	}
	var all dswitchPortState
	if err := s.maps.PortStates.Lookup(uint32(0), &all); err != nil {
		return fmt.Errorf("map port_states: %w", err)
	}
	if all.Flows > 0 || flows == 0 {
		return nil
	}
	all.Flows = flows
	if err := update(s.maps.PortStates, uint32(0), all); err != nil {
		return fmt.Errorf("map port_states: %w", err)
	}
	return nil
}
