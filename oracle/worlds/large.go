package worlds

import (
	"fmt"
	"strings"
)

// LargeParts is how many blueprints the large domain has.
const LargeParts = 10

// Large writes one of the blueprints, "part0" and so on, of a domain "large" of so many groups: each may send
// to the ten after it in its blueprint (LargePeer). The network is "net". More is further policies, line by line.
func Large(part, groups int, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: dove/v1\nkind: Blueprint\nname: part%d\ndomain: large\n", part)
	if part == 0 {
		b.WriteString("networks: {net: {subnets: [10.0.0.0/8]}}\n")
	}
	b.WriteString("groups:\n")
	for g := part; g < groups; g += LargeParts {
		fmt.Fprintf(&b, "  g%d: {isolated: true}\n", g)
	}
	b.WriteString("policies:\n")
	for g := part; g < groups; g += LargeParts {
		for i := range LargePeers {
			fmt.Fprintf(&b, "  - {name: p%d-%d, from: g%d, to: g%d, allow: [tcp/%d, udp/%d]}\n", g, i, g, LargePeer(g, i+1, groups), 1000+i, 2000+i)
		}
	}
	return b.String() + more
}

// LargePeers is how many groups one of the large domain may send to.
const LargePeers = 10

// LargePeer is the number of the group that comes n after one in its blueprint, before it if n is negative.
func LargePeer(group, n, groups int) int { return (group + n*LargeParts + groups) % groups }

// LargeGroup names a group of the large domain.
func LargeGroup(g int) string { return fmt.Sprintf("part%d/g%d", g%LargeParts, g) }
