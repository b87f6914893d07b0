package plan

import (
	"cmp"
	"maps"
	"slices"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/verdict"
)

// What is looked at, at most, to say what hosts may need: pairs of classes, and ranges of ports that
// rules name of them, which is what a table costs.
const (
	roomPairsMax  = 1 << 14
	roomRangesMax = 1 << 21
)

// Tight is a host that would not have room for all rules of a domain, if its endpoints
// talked with everybody that they may talk with.
type Tight struct {
	Host    dove.HostName
	Domain  dove.Domain
	Entries int // that the rules take then, of dataplane.EntriesAlone
}

// tight returns the hosts that may be short of room once the change is made, in order of names, and how
// many others may be so too, because they have many rules and to look at them would take too long.
func (d *domain) tight() (found []Tight, unknown int) {
	local := map[dove.HostName]map[int]bool{} // signatures
	for _, c := range d.classes {
		for _, m := range c.members {
			for _, h := range d.endpoints[m.endpoint].hosts {
				if local[h] == nil {
					local[h] = map[int]bool{}
				}
				local[h][c.after] = true
			}
		}
	}
	used := map[int]bool{}
	for _, here := range local {
		maps.Copy(used, here)
	}
	all := slices.Sorted(maps.Keys(used))
	signatures := make([]policy.Signature, len(all))
	for i, n := range all {
		signatures[i] = d.signatures[n]
	}
	ranges := map[int]int{} // of a signature
	for i, n := range d.after.Ranges(signatures) {
		ranges[all[i]] = n
	}
	type candidate struct {
		host dove.HostName
		here []int
		most int
	}
	var candidates []candidate
	for _, h := range slices.Sorted(maps.Keys(local)) {
		c := candidate{host: h, here: slices.Sorted(maps.Keys(local[h]))}
		for _, n := range c.here {
			c.most += dataplane.EntriesOf(ranges[n])
		}
		if c.most > dataplane.EntriesAlone {
			candidates = append(candidates, c)
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.most, a.most) })
	pairs, left, rangesLeft := policy.NewPairs(d.after), roomPairsMax, roomRangesMax
	entries, looked := map[*verdict.Table]int{}, map[int]bool{}
	for _, c := range candidates {
		cost, rangesCost := 0, 0
		for _, n := range c.here {
			if !looked[n] {
				cost += 2 * len(all)
				rangesCost += ranges[n]
			}
		}
		if cost > left || rangesCost > rangesLeft {
			unknown++
			continue
		}
		left, rangesLeft = left-cost, rangesLeft-rangesCost
		needs := map[*verdict.Table]bool{}
		for _, n := range c.here {
			looked[n] = true
			for _, peer := range all {
				needs[pairs.Table(d.signatures[n], d.signatures[peer])] = true
				needs[pairs.Table(d.signatures[peer], d.signatures[n])] = true
			}
		}
		sum := 0
		for t := range needs {
			if entries[t] == 0 {
				entries[t] = dataplane.Entries(t)
			}
			sum += entries[t]
		}
		if sum > dataplane.EntriesAlone {
			found = append(found, Tight{c.host, d.name, sum})
		}
	}
	slices.SortFunc(found, func(a, b Tight) int { return cmp.Compare(a.Host, b.Host) })
	return found, unknown
}
