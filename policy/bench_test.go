package policy_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
)

// sized is a blueprint of so many policies over so many groups: each has one group at either end.
func sized(policies, groups int) *blueprint.Blueprint {
	b := &blueprint.Blueprint{Tenant: "acme", Name: "big", Domain: "big"}
	for g := range groups {
		b.Groups = append(b.Groups, blueprint.Group{Name: fmt.Sprintf("g%d", g)})
	}
	for i := range policies {
		port := uint16(1000 + i%1000)
		p := blueprint.Policy{Name: fmt.Sprintf("p%d", i), Allow: []blueprint.Traffic{{Protocol: dove.ProtocolTCP, First: port, Last: port}}}
		p.From, p.To = []dove.Group{sizedGroup(i, groups)}, []dove.Group{sizedGroup(i/groups+i, groups)}
		b.Policies = append(b.Policies, p)
	}
	return b
}

func sizedGroup(i, groups int) dove.Group {
	return dove.Group{Tenant: "acme", Blueprint: "big", Name: fmt.Sprintf("g%d", i%groups)}
}

// BenchmarkCompile compiles a domain of so many policies and groups, and says how much memory it keeps
// beside the blueprint, and then makes the table of a pair of classes of it.
func BenchmarkCompile(b *testing.B) {
	for _, size := range []struct{ policies, groups int }{
		{100, 1000}, {1000, 1000}, {10_000, 1000}, {100_000, 1000}, {1_000_000, 1000},
		{10_000, 100}, {10_000, 10_000}, {10_000, 100_000}, {10_000, 1_000_000},
	} {
		all := []*blueprint.Blueprint{sized(size.policies, size.groups)}
		var d *policy.Domain
		b.Run(fmt.Sprintf("domain/policies=%d/groups=%d", size.policies, size.groups), func(b *testing.B) {
			b.ReportAllocs()
			var before, after runtime.MemStats
			d = nil
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				d = policy.Compile(all, time.Time{})
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "kept-MiB")
		})
		b.Run(fmt.Sprintf("pair/policies=%d/groups=%d", size.policies, size.groups), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				d.Table(policy.Signature{Groups: []dove.Group{sizedGroup(n, size.groups)}}, policy.Signature{Groups: []dove.Group{sizedGroup(n, size.groups)}})
			}
		})
		runtime.KeepAlive(all)
	}
}
