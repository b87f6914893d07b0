package agent

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Bounds of the time between two attempts to open a session. A host that is
// refused for what it is waits longer.
const (
	backoffFirst   = 100 * time.Millisecond
	backoffMax     = 3 * time.Second // and half of it more
	backoffRefused = 30 * time.Second
	aside          = 20 * time.Millisecond // before the next member is tried, at most
)

// Route says which DPC member a host tries next, and when. Each host has an order
// of its own, by its name and the addresses, so that hosts spread over
// members, and those of a lost member over the others. It has one owner.
type Route struct {
	host     dove.HostName
	given    []string // by who configured the host
	members  []string // as a member said last
	left     []string // of this round
	failures int      // rounds in vain
	chance   func(time.Duration) time.Duration
}

// NewRoute makes the route of a host by the addresses that it was given and those
// that it heard last. Chance draws a duration below another.
func NewRoute(host dove.HostName, given, heard []string, chance func(time.Duration) time.Duration) *Route {
	return &Route{host: host, given: given, members: heard, chance: chance}
}

// Learn replaces the addresses that members told.
func (r *Route) Learn(members []string) { r.members = members }

// Next returns the address to try now. "" if no address is known.
func (r *Route) Next() string {
	if len(r.left) == 0 {
		r.left = r.order(nil, "")
	}
	if len(r.left) == 0 {
		return ""
	}
	return r.left[0]
}

// Failed says how long to wait after an attempt at Next that was in vain, of which
// kind is the error, and goes on to the address after it.
func (r *Route) Failed(kind dove.Kind) time.Duration {
	if len(r.left) > 1 {
		r.left = r.left[1:]
		return r.chance(aside)
	}
	r.left = nil
	limit := backoffMax
	if kind == dove.Unauthorized || kind == dove.Forbidden || kind == dove.Invalid {
		limit = backoffRefused
	}
	d := min(backoffFirst<<min(r.failures, 16), limit)
	r.failures++
	return d/2 + r.chance(d)
}

// At says that the member at an address, of those that Next returned, admits a session.
func (r *Route) At(address string) {
	rest := slices.DeleteFunc(r.left, func(a string) bool { return a == address })
	r.left = append([]string{address}, rest...)
}

// Ended says how long to wait after a session with the member at Next that had got
// as far as a Welcome. The others come first then.
func (r *Route) Ended() time.Duration {
	r.failures = 0
	r.left = r.order(nil, r.Next())
	return backoffFirst/2 + r.chance(backoffFirst)
}

// Sent obeys an Elsewhere of the member at Next: the addresses that it names come
// first, and it comes last. It says how long to wait.
func (r *Route) Sent(m *control.Elsewhere) time.Duration {
	last := r.Next()
	first := slices.DeleteFunc(slices.Clone(m.Addresses), func(a string) bool { return a == last })
	if len(first) == 0 {
		return r.Failed(dove.Unavailable)
	}
	r.left = r.order(first, last)
	return r.chance(aside)
}

// order lists all addresses, those of first before the others, and last last.
func (r *Route) order(first []string, last string) []string {
	all := slices.Concat(first, r.given, r.members)
	slices.Sort(all)
	all = slices.Compact(all)
	rank := func(a string) int {
		switch {
		case a == last:
			return 2
		case slices.Contains(first, a):
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(r.weight(a), r.weight(b)), cmp.Compare(a, b))
	})
	return all
}

// weight is where an address is in the host's own order.
func (r *Route) weight(address string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(address))
	h.Write([]byte{0})
	h.Write([]byte(r.host))
	return mixed(h.Sum64())
}

// mixed spreads every bit over all, which the last bytes of an FNV hash do not.
func mixed(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
