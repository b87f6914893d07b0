package scenario

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"dove.network/dove"
)

// CreateNetwork makes a network that no blueprint makes, in the domain of those
// that are to hold on it.
type CreateNetwork struct {
	Network dove.Network
	Domain  string
	Subnets []netip.Prefix
	MTU     uint16 // 0: what the underlay carries
}

func (CreateNetwork) action() {}

func (a CreateNetwork) String() string {
	subnets := make([]string, len(a.Subnets))
	for i, p := range a.Subnets {
		subnets[i] = p.String()
	}
	s := fmt.Sprintf("network %s domain=%s subnets=%s", a.Network, a.Domain, strings.Join(subnets, ","))
	if a.MTU != 0 {
		s += fmt.Sprintf(" mtu=%d", a.MTU)
	}
	return s
}

func (l *line) createNetwork() Action {
	o := l.options("domain", "subnets", "mtu")
	name := l.endpoint("network") // the same form
	a := CreateNetwork{Network: dove.Network{Tenant: name.Tenant, Name: string(name.ID)}, Domain: o["domain"].text}
	domain, subnets := o["domain"], o["subnets"]
	if err := dove.CheckName(domain.text); err != nil {
		l.fault(word{column: max(domain.column, 1)}, "write domain=shop", "domain: %v", err)
	}
	for s := range strings.SplitSeq(subnets.text, ",") {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Addr().Is4In6() {
			l.fault(word{column: max(subnets.column, 1)}, "write subnets=10.0.1.0/24,fd00::/64", "%s is no prefix", shorten(s))
		}
		a.Subnets = append(a.Subnets, p)
	}
	if mtu, given := o["mtu"]; given {
		n, err := strconv.ParseUint(mtu.text, 10, 16)
		if err != nil || n == 0 {
			l.fault(mtu, "write mtu=1300", "%s is no MTU", shorten(mtu.text))
		}
		a.MTU = uint16(n)
	}
	return a
}
