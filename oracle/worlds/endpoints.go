package worlds

import (
	"fmt"
	"maps"
	"net/netip"
)

// Pool is how many addresses of each family the endpoints of a tenant may share.
const Pool = 10

// Address4 and Address6 are the i-th address of a pool, within prefixes that rich worlds
// tell apart.
func Address4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(3 + i)}) }

// Address6 is the other family's Address4.
func Address6(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00:0:0:1::%x", 3+i)) }

// Said is the member as a request says it: empty, rather than nothing, where it has nothing.
func (m Member) Said() (groups []string, labels, ports map[string]string) {
	groups, labels, ports = []string{}, map[string]string{}, map[string]string{}
	for _, g := range m.Groups {
		groups = append(groups, g.Blueprint+"/"+g.Name)
	}
	maps.Copy(labels, m.Labels)
	for name, p := range m.Ports {
		ports[name] = p.String()
	}
	return groups, labels, ports
}
