package plan_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle/worlds"
	"dove.network/world"
)

// large is a domain of many groups, ten policies each, with some endpoints in
// each group, on as many hosts as there are hundreds of endpoints.
func large(tb testing.TB, groups, endpoints int) *store {
	tb.Helper()
	s := &store{tb, world.New()}
	txn, _, err := edit.PutTenant(s.w, "acme", nil)
	s.apply(txn, err)
	for part := range worlds.LargeParts {
		txn, _, err := edit.PutBlueprint(s.w, "acme", "", []byte(worlds.Large(part, groups, "")), now, nil)
		s.apply(txn, err)
	}
	for i := range (endpoints + 99) / 100 {
		txn, _, err := edit.PutHost(s.w, dove.HostName(fmt.Sprintf("h%d", i)), netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), nil)
		s.apply(txn, err)
	}
	for i := range endpoints {
		g, n := i%groups, i+256
		txn, _, err := edit.PutEndpoint(s.w, edit.EndpointRequest{
			Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Network: "net", Host: dove.HostName(fmt.Sprintf("h%d", i/100)),
			Groups:    []string{worlds.LargeGroup(g)},
			Addresses: []string{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()},
		}, edit.Chance{UID: dove.UID(i + 1), Now: now}, nil)
		s.apply(txn, err)
	}
	return s
}

// BenchmarkPlan plans a small edit of 10,000 policies over 1,000 groups.
func BenchmarkPlan(b *testing.B) {
	for _, endpoints := range []int{1000, 10000} {
		s := large(b, 1000, endpoints)
		for name, edited := range map[string]string{
			"one": "  - {name: more, from: g0, to: g500, allow: [tcp/443]}\n",
			"all": "  - {name: more, from: g0, to: [" + allGroups(1000) + "], allow: [tcp/443]}\n",
		} {
			text := []byte(worlds.Large(0, 1000, edited))
			b.Run(fmt.Sprintf("policies=10000/groups=1000/endpoints=%d/%s", endpoints, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					planned, err := edit.Plan(s.w, "acme", text, now)
					if err != nil || len(planned.Reach.Lines) == 0 {
						b.Fatal(planned.Reach, err)
					}
				}
			})
		}
	}
}

func allGroups(n int) string {
	list := make([]string, n)
	for g := range list {
		list[g] = worlds.LargeGroup(g)
	}
	return strings.Join(list, ", ")
}
