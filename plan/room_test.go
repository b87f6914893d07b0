package plan_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/plan"
	"dove.network/verdict"
	"dove.network/world"
)

// crowd has a group on each of some hosts, and on one of them four, and each may talk to each on ranges of ports of its own.
func crowd(t *testing.T, groups int) (*store, func(ranges int) string) {
	t.Helper()
	text := func(ranges int) string {
		var b strings.Builder
		b.WriteString("apiVersion: dove/v1\nkind: Blueprint\nname: shop\nnetworks: {net: {subnets: [10.0.0.0/16]}}\ngroups:\n")
		for g := range groups {
			fmt.Fprintf(&b, "  g%d: {}\n", g)
		}
		if ranges == 0 {
			return b.String()
		}
		b.WriteString("policies:\n")
		for g := range groups {
			for to := range groups {
				fmt.Fprintf(&b, "  - {name: p%d-%d, from: g%d, to: g%d, allow: [", g, to, g, to)
				for p := range ranges {
					first := p/3*234 + g*groups + to + 1
					fmt.Fprintf(&b, "%s/%d-%d, ", [...]string{"tcp", "udp", "sctp"}[p%3], first, first+163)
				}
				b.WriteString("icmp]}\n")
			}
		}
		return b.String()
	}
	s := &store{t, world.New()}
	txn, _, err := edit.PutTenant(s.w, "acme", nil)
	s.apply(txn, err)
	txn, _, err = edit.PutBlueprint(s.w, "acme", "", []byte(text(0)), now, nil)
	s.apply(txn, err)
	for g := range groups {
		txn, _, err := edit.PutHost(s.w, dove.HostName(fmt.Sprintf("h%02d", g)), netip.AddrFrom4([4]byte{192, 0, 2, byte(g + 1)}), nil)
		s.apply(txn, err)
	}
	for n := range groups + 3 {
		g, host := n, n
		if n >= groups {
			g, host = n-groups+2, 1
		}
		txn, _, err := edit.PutEndpoint(s.w, edit.EndpointRequest{
			Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d-%d", g, host)), Network: "net", Host: dove.HostName(fmt.Sprintf("h%02d", host)), Groups: []string{fmt.Sprintf("shop/g%d", g)},
		}, edit.Chance{UID: dove.UID(100*host + g + 1), Now: now}, nil)
		s.apply(txn, err)
	}
	return s, text
}

// TestTight: a plan names the host that could not hold all rules of those that its endpoints may talk with,
// and says how many they would be.
func TestTight(t *testing.T) {
	const groups = 8
	s, text := crowd(t, groups)
	planned, err := edit.Plan(s.w, "acme", []byte(text(99)), now)
	if err != nil {
		t.Fatal(err)
	}
	if d := planned.Reach; d.TightCount != 0 || d.TightUnknown != 0 {
		t.Errorf("99 ranges: %v and %d unknown", d.Tight, d.TightUnknown)
	}
	// What each host needs, the obvious way.
	const ranges = 840
	planned, err = edit.Plan(s.w, "acme", []byte(text(ranges)), now)
	if err != nil {
		t.Fatal(err)
	}
	txn, _, err := edit.PutBlueprint(s.w, "acme", "", []byte(text(ranges)), now, nil)
	s.apply(txn, err)
	domain := dove.Domain{Tenant: "acme", Name: "shop"}
	intent := s.w.Domain(domain)
	var want []plan.Tight
	for h := range s.w.Hosts() {
		tables := map[verdict.Digest]int{}
		for here := range s.w.EndpointsOn(h.Name) {
			for peer := range s.w.Endpoints("acme") {
				a, b := intent.Signature(here.Member(), here.Addresses[0]), intent.Signature(peer.Member(), peer.Addresses[0])
				for _, table := range []*verdict.Table{intent.Table(a, b), intent.Table(b, a)} {
					tables[table.Digest()] = dataplane.Entries(table)
				}
			}
		}
		sum := 0
		for _, n := range tables {
			sum += n
		}
		t.Logf("%s: %d", h.Name, sum)
		if sum > dataplane.EntriesAlone {
			want = append(want, plan.Tight{Host: h.Name, Domain: domain, Entries: sum})
		}
	}
	if len(want) != 1 || fmt.Sprint(planned.Reach.Tight) != fmt.Sprint(want) || planned.Reach.TightCount != 1 {
		t.Errorf("tight are %v (%d), want %v", planned.Reach.Tight, planned.Reach.TightCount, want)
	}
}

// TestRoomIsBounded: few classes with very many ranges are not looked at, however small a plan is.
func TestRoomIsBounded(t *testing.T) {
	s := &store{t, world.New()}
	txn, _, err := edit.PutTenant(s.w, "acme", nil)
	s.apply(txn, err)
	const groups, ports = 30, 1500
	var b strings.Builder
	b.WriteString("apiVersion: dove/v1\nkind: Blueprint\nname: shop\nnetworks: {net: {subnets: [10.0.0.0/16]}}\ngroups:\n")
	for g := range groups {
		fmt.Fprintf(&b, "  g%d: {}\n", g)
	}
	b.WriteString("policies:\n  - {name: p, from: any, to: any, allow: [icmp")
	for p := range ports {
		fmt.Fprintf(&b, ", tcp/%d", 2*p+1)
	}
	b.WriteString("]}\n")
	txn, _, err = edit.PutBlueprint(s.w, "acme", "", []byte(b.String()), now, nil)
	s.apply(txn, err)
	txn, _, err = edit.PutHost(s.w, "h1", netip.AddrFrom4([4]byte{192, 0, 2, 1}), nil)
	s.apply(txn, err)
	for g := range groups {
		txn, _, err := edit.PutEndpoint(s.w, edit.EndpointRequest{
			Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", g)), Network: "net", Host: "h1", Groups: []string{fmt.Sprintf("shop/g%d", g)},
		}, edit.Chance{UID: dove.UID(g + 1), Now: now}, nil)
		s.apply(txn, err)
	}
	planned, err := edit.Plan(s.w, "acme", []byte(b.String()+"  - {name: q, from: g0, to: g1, allow: [udp/7]}\n"), now)
	if err != nil {
		t.Fatal(err)
	}
	if d := planned.Reach; d.TightCount != 0 || d.TightUnknown != 1 {
		t.Errorf("%v are tight and %d unknown, want one unknown", d.Tight, d.TightUnknown)
	}
}
