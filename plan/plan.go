package plan

import (
	"net/netip"
	"slices"

	"dove.network/dove"
	"dove.network/world"
)

// Limits of a Difference.
const (
	PairsMax = 1 << 17 // pairs of classes that are compared; more are counted
	LinesMax = 1000    // lines; more are counted
	NamesMax = 20      // endpoints and hosts that one line names, and hosts that are short of room; all are counted
)

// Op says what becomes of traffic.
type Op uint8

// What can become of it.
const (
	Removed Op = iota // it passed, and will not
	Added             // it did not pass, and will
)

func (o Op) String() string { return [...]string{"removed", "added"}[o] }

// Unrouted stands in a Line for a policy where no router joins the networks of
// both ends, so that policy has no say.
const Unrouted = "no-router"

// Line is traffic that is added or removed between any of From and any of To
// that have an address family in common.
//
// Ends are written as tenants write them: "shop/web" is the group's members,
// "only shop/app+shop/web" those that are in just these groups, "no group" those in none,
// "any endpoint" all of the domain; " on front", " in 10.0.1.0/24" or " that was only shop/db" makes one narrower,
// and "outside 203.0.113.0/24" is its addresses that are no endpoint's and in no smaller
// prefix that policies mention. Of those a Line says what policy lets pass, whether or not something leads there.
type Line struct {
	Op       Op
	Domain   dove.Domain
	From, To []string
	Traffic  []Traffic
	Before   string // what gives the verdict now: a rule's name, verdict.DefaultDeny or Unrouted
	After    string // what will give it

	Endpoints []dove.Endpoint // at either end, the first NamesMax in order
	Hosts     []dove.HostName // of them, the first NamesMax in order
	// How many there are of both, named or not.
	EndpointCount, HostCount int

	sources, targets []int // classes, ascending
}

// Difference is what a change does to reachability.
type Difference struct {
	Lines []Line // by domain, what is removed first, then by ends and traffic
	More  int    // lines beyond LinesMax
	// Uncompared is how many pairs of classes may differ and were not compared
	// because they are more than PairsMax. The Lines are not all, then.
	Uncompared int
	// Tight are hosts that may be short of room for rules afterwards, the first NamesMax by domain and name, of
	// TightCount. Of TightUnknown others nobody knows, because they are too many.
	Tight                    []Tight
	TightCount, TightUnknown int

	domains []*domain
	found   map[*domain][]int // its lines
}

// Compare says what differs in reachability between two Worlds, the second made
// of the first by a change of the intent of some domains. Endpoints are
// those that both have.
func Compare(before, after *world.World, domains ...dove.Domain) *Difference {
	out := &Difference{found: map[*domain][]int{}}
	left := PairsMax
	for _, name := range domains {
		d := gather(before, after, name)
		uncompared := d.compare(left)
		left -= d.compared
		out.Uncompared += uncompared
		out.domains = append(out.domains, d)
		tight, unknown := d.tight()
		out.Tight = append(out.Tight, tight[:min(len(tight), NamesMax-len(out.Tight))]...)
		out.TightCount, out.TightUnknown = out.TightCount+len(tight), out.TightUnknown+unknown
		for _, l := range d.lines() {
			if len(out.Lines) == LinesMax {
				out.More++
				continue
			}
			out.found[d] = append(out.found[d], len(out.Lines))
			out.Lines = append(out.Lines, l)
		}
	}
	return out
}

// Find returns the indices of the lines that are about the first packet of a
// flow from an address of one endpoint to one of another; the port is as in verdict.Table.Lookup.
func (d *Difference) Find(from world.Endpoint, src netip.Addr, to world.Endpoint, dst netip.Addr, protocol dove.Protocol, port uint16) []int {
	if src.Is4() != dst.Is4() {
		return nil
	}
	var found []int
	for _, part := range d.domains {
		i, ok := part.at(from, src)
		j, known := part.at(to, dst)
		if !ok || !known {
			continue
		}
		for _, n := range d.found[part] {
			l := &d.Lines[n]
			if has(l.sources, i) && has(l.targets, j) && slices.ContainsFunc(l.Traffic, func(t Traffic) bool { return t.Has(protocol, port) }) {
				found = append(found, n)
			}
		}
	}
	return found
}

func has(sorted []int, n int) bool {
	_, found := slices.BinarySearch(sorted, n)
	return found
}
