package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// table is a verdict.Table in the kernel, shared by all pairs that have it.
type table struct {
	id    uint32
	refs  int
	names []string
	keys  []dswitchRuleKey // its entries of the rules map
	alone bool             // a half keeps no state
	shade []string         // the rules in shadow that would decide about some packet
}

// acquire finds the table of a digest or writes it, for a pair of a domain. Its
// rules are in the kernel before any pair can point at it.
func (s *Switch) acquire(t *verdict.Table, domain uint32) (*table, verdict.Digest, error) {
	digest := t.Digest()
	held := s.tables[digest]
	if held != nil {
		if err := s.makeRoom(domain, digest, held.entries()); err != nil {
			return nil, digest, err
		}
		held = s.tables[digest] // nil if no pair had it
	}
	if held != nil {
		s.describe(digest, held, t)
		held.refs++
		s.use(domain, digest)
		return held, digest, nil
	}
	held = &table{id: s.lastTable + 1, refs: 1}
	s.describe(digest, held, t)
	rules := held.rules(t)
	if err := s.makeRoom(domain, digest, max(len(rules), len(t.Names))); err != nil {
		return nil, digest, err
	}
	s.lastTable++
	err := s.writeTable(held, rules, digest)
	if err != nil {
		return nil, digest, errors.Join(fmt.Errorf("write table %v: %w", digest, err), s.eraseTable(held))
	}
	s.tables[digest] = held
	s.rules += held.entries()
	s.use(domain, digest)
	return held, digest, nil
}

// release takes one use of a table by a domain away. Unused tables are erased at
// the end of Apply.
func (s *Switch) release(digest verdict.Digest, domain uint32) {
	held := s.tables[digest]
	if held == nil || held.refs == 0 {
		panic(fmt.Sprintf("ebpf: table %v released once too often", digest))
	}
	s.drop(domain, digest)
	held.refs--
	if held.refs == 0 {
		s.unused = append(s.unused, digest)
	}
}

// entry is one of the rules map.
type entry struct {
	key  dswitchRuleKey
	rule dswitchRule
}

// rules are the entries that say what a table says.
func (held *table) rules(t *verdict.Table) (entries []entry) {
	put := func(k dswitchRuleKey, v verdict.Verdict) {
		entries = append(entries, entry{k, ruleOf(t, v)})
	}
	put(ruleKey(held.id, 0, 0, 0), t.Default)
	for _, section := range t.Sections {
		// The verdict that covers most ports stands for the protocol; longer
		// prefixes stand for what differs.
		widest := dataplane.Widest(section)
		put(ruleKey(held.id, 8, section.Protocol, 0), widest.Verdict)
		for _, iv := range section.Intervals {
			if iv.Verdict == widest.Verdict {
				continue
			}
			for port, bits := range verdict.Prefixes(iv.First, iv.Last) {
				put(ruleKey(held.id, 8+bits, section.Protocol, port), iv.Verdict)
			}
		}
	}
	return entries
}

// What a rule says beside its verdict, as RULE_*.
const (
	ruleLog = 1 << iota
	ruleWould
	ruleWouldAllow
	ruleNoReply
)

func ruleOf(t *verdict.Table, v verdict.Verdict) dswitchRule {
	rule := dswitchRule{Id: v.Rule}
	if v.Allow {
		rule.Allow = 1
	}
	if v.Log {
		rule.Says |= ruleLog
	}
	if v.Would > 0 {
		rule.Says |= ruleWould
		rule.Would = v.Would - 1
	}
	if v.WouldAllow {
		rule.Says |= ruleWouldAllow
	}
	if rule.Says != 0 {
		h := fnv.New32a()
		fmt.Fprintf(h, "%d %d %s\n%s", rule.Allow, rule.Says, t.Name(v), t.WouldName(v))
		rule.Mark = max(h.Sum32(), 1)
	}
	if v.NoReply {
		rule.Says |= ruleNoReply
	}
	return rule
}

func (s *Switch) writeTable(held *table, rules []entry, digest verdict.Digest) error {
	for _, r := range rules {
		if err := update(s.maps.Rules, r.key, r.rule); err != nil {
			return fmt.Errorf("map rules, after %d entries of this table: %w", len(held.keys), err)
		}
		held.keys = append(held.keys, r.key)
	}
	for i, name := range held.names {
		v := dswitchRuleName{Len: uint16(len(name))}
		copy(v.Text[:], name)
		if err := update(s.maps.RuleNames, dswitchNameKey{Table: held.id, Rule: uint32(i)}, v); err != nil {
			return fmt.Errorf("map rule_names: %w", err)
		}
	}
	return update(s.maps.Tables, held.id, dswitchTable{Digest: digest})
}

// ruleKey is a prefix of (table, protocol, port): bits of them count after the table.
func ruleKey(id uint32, bits int, p dove.Protocol, port uint16) dswitchRuleKey {
	return dswitchRuleKey{
		Prefixlen: uint32(32 + bits),
		Table:     networkOrder(id),
		Proto:     uint8(p),
		Port:      [2]uint8{uint8(port >> 8), uint8(port)},
	}
}

// networkOrder is n as its big-endian bytes read in this machine's order.
func networkOrder(n uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return binary.NativeEndian.Uint32(b[:])
}

func (s *Switch) eraseTable(held *table) error {
	var errs []error
	remove := func(m *ebpf.Map, key any) {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	for _, k := range held.keys {
		remove(s.maps.Rules, k)
	}
	for i := range held.names {
		remove(s.maps.RuleNames, dswitchNameKey{Table: held.id, Rule: uint32(i)})
	}
	remove(s.maps.Tables, held.id)
	return errors.Join(errs...)
}

// erasedMax is of how many erased tables the names are remembered.
const erasedMax = 4096

// retire erases the tables that no pair has had since before the last grace
// period. What they counted is kept under their rules' names.
func (s *Switch) retire() error {
	var errs []error
	for _, digest := range s.unused {
		held := s.tables[digest]
		if held == nil || held.refs > 0 {
			continue
		}
		errs = append(errs, s.keepCounts(held.id), s.eraseTable(held))
		delete(s.tables, digest)
		s.rules -= held.entries()
		s.erased = append(s.erased, held.id)
	}
	// Flows that it judged may wait yet to be judged again, and are named by it.
	for len(s.erased) > erasedMax {
		delete(s.tableNames, s.erased[0])
		s.erased = s.erased[1:]
	}
	s.unused = s.unused[:0]
	if s.stale {
		s.stale = false
		errs = append(errs, s.forgetShadows(false))
	}
	return errors.Join(errs...)
}

// ruleName names a rule of a table that is or was held.
func (s *Switch) ruleName(id uint32, rule uint16) string {
	if id == 0 {
		return verdict.DefaultDeny
	}
	if names := s.tableNames[id]; int(rule) < len(names) {
		return names[rule]
	}
	var v dswitchRuleName
	if err := s.maps.RuleNames.Lookup(dswitchNameKey{Table: id, Rule: uint32(rule)}, &v); err == nil {
		return string(bytes.TrimRight(v.Text[:], "\x00"))
	}
	return ""
}
