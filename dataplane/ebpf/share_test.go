package ebpf

import (
	"errors"
	"fmt"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// wide is a table of many single ports, each another's rule, from one on: as
// large as one can be.
func wide(first uint16) *verdict.Table {
	var rules []verdict.Rule
	for port := range uint16(8000) {
		rules = append(rules, verdict.Rule{Match: verdict.Match{Protocol: dove.ProtocolTCP, First: first + 2*port, Last: first + 2*port},
			Action: verdict.Allow, Name: "many"})
	}
	return allowing(rules...)
}

// TestOneTenantLeavesRoomForRules: whatever the policies of one tenant, those of
// another fit; what does not is denied, says so, and is in force when there is room.
func TestOneTenantLeavesRoomForRules(t *testing.T) {
	s := newLone(t, Options{})
	pairOf := func(domain uint32, n int) dataplane.PairKey {
		return dataplane.PairKey{Domain: domain, Src: 2000, Dst: dove.Class(3000 + n)}
	}
	set := func(k dataplane.PairKey, table *verdict.Table) *dataplane.OpError {
		t.Helper()
		err := s.Apply([]dataplane.Op{dataplane.SetPair{Key: k, Table: table}})
		if err == nil {
			return nil
		}
		failed, ok := errors.AsType[*dataplane.OpError](err)
		if !ok || !failed.Closed || !errors.Is(err, errNoRoom) {
			t.Fatalf("%v: %v", k, err)
		}
		return failed
	}
	const greedy, modest = 77, 78
	fitted, refused := 0, 0
	for n := range 60 {
		if set(pairOf(greedy, n), wide(uint16(n))) == nil {
			fitted++
		} else {
			refused++
		}
	}
	most := int(s.maps.Rules.MaxEntries())
	if s.shares[greedy].entries > dataplane.EntriesAlone || fitted < 10 || refused == 0 {
		t.Fatalf("%d tables with %d of %d entries fit, %d do not", fitted, s.shares[greedy].entries, most, refused)
	}
	for n := range 3 {
		if failed := set(pairOf(modest, n), wide(uint16(1000+n))); failed != nil {
			t.Fatalf("another tenant's table %d: %v", n, failed)
		}
	}
	// What does not fit denies, and what was there before does not stay.
	known := dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}
	frame := packet.UDP(out, 1, 53, nil)
	if o := sends(t, s, frame); o.Action != dataplane.Tunneled {
		t.Fatalf("%+v", o)
	}
	old := s.pairs[known].digest
	s.shares[testDomain].entries += most // as if it had so many
	if set(known, wide(5000)) == nil {
		t.Fatal("it fits")
	}
	if o := sends(t, s, frame); o.Action != dataplane.Dropped || o.Reason != dataplane.Policy || o.Rule != noRoom {
		t.Errorf("a pair without room for its rules: %+v", o)
	}
	s.shares[testDomain].entries -= most
	if failed := set(known, allowing(allowed("dns", dove.ProtocolUDP, 53, 53))); failed != nil {
		t.Fatal(failed)
	}
	if o := sends(t, s, packet.UDP(out, 2, 53, nil)); o.Action != dataplane.Tunneled {
		t.Errorf("once there is room: %+v", o)
	}
	if s.tables[old] != nil && s.tables[old].refs == 0 {
		t.Error("the table that was in force before is still there")
	}
	// All of it can be given back.
	for n := range 60 {
		if err := s.Apply([]dataplane.Op{dataplane.DelPair{Key: pairOf(greedy, n)}, dataplane.DelPair{Key: pairOf(modest, n)}}); err != nil {
			t.Fatal(err)
		}
	}
	entries := 0
	for _, held := range s.tables {
		entries += held.entries()
	}
	if s.shares[greedy] != nil || s.shares[modest] != nil || s.rules != entries || entries > 100 {
		t.Errorf("%d entries are counted and %d there; shares: %v", s.rules, entries, fmt.Sprint(s.shares))
	}
}

// TestAnEditOfWhatFits replaces tables that fit by others that fit: all are in
// force when Apply returns, whether or not both fit at once.
func TestAnEditOfWhatFits(t *testing.T) {
	for name, c := range map[string]struct {
		tables int
		after  []dataplane.Op
	}{
		"with room for most of both":    {16, nil},
		"as many as one domain may":     {26, nil},
		"what goes is named at the end": {26, []dataplane.Op{dataplane.DelPair{Key: dataplane.PairKey{Domain: 77, Src: 2000, Dst: 3025}}}},
	} {
		s := newLone(t, Options{})
		var edit []dataplane.Op
		for n := range c.tables {
			key := dataplane.PairKey{Domain: 77, Src: 2000, Dst: dove.Class(3000 + n)}
			if err := s.Apply([]dataplane.Op{dataplane.SetPair{Key: key, Table: wide(uint16(n))}}); err != nil {
				t.Fatalf("%s: table %d: %v", name, n, err)
			}
			edit = append(edit, dataplane.SetPair{Key: key, Table: wide(uint16(100 + n))})
		}
		if err := s.Apply(append(edit, c.after...)); err != nil {
			t.Errorf("%s: %d tables of %d entries: %.300v", name, c.tables, s.maps.Rules.MaxEntries(), err)
		}
		entries := 0
		for key, held := range s.pairs {
			if held.digest == closed.Digest() {
				t.Errorf("%s: pair %v is closed", name, key)
			}
		}
		for _, held := range s.tables {
			entries += held.entries()
		}
		if s.rules != entries {
			t.Errorf("%s: %d entries are counted and %d there", name, s.rules, entries)
		}
	}
}
