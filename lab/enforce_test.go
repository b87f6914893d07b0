package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/oracle/worlds"
)

// BenchmarkEnforce edits one policy of a domain of 10,000 over 1,000 groups, for all whom the guests of four hosts
// have talked to: from the request until all hosts have it in their kernels and have said so.
func BenchmarkEnforce(b *testing.B) {
	const groups, hosts, guests = 1000, 4, 16
	l := newLab(b, "enforce")
	ctx := b.Context()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	_, err := l.api.PutTenant(ctx, "acme", nil)
	must(err)
	for part := range worlds.LargeParts {
		_, err := l.api.PutBlueprint(ctx, "acme", fmt.Sprintf("part%d", part), []byte(worlds.Large(part, groups, "")), nil)
		must(err)
	}
	for h := range hosts {
		_, err := l.AddHost(ctx, fmt.Sprintf("h%d", h+1))
		must(err)
	}
	var all []*Guest
	for n := range guests {
		g, _, err := l.AddGuest(ctx, dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", n))},
			api.EndpointSpec{Network: "net", Host: dove.HostName(fmt.Sprintf("h%d", n%hosts+1)), Groups: []string{worlds.LargeGroup(n * worlds.LargeParts)}}, Ports{TCP: []uint16{1000}})
		must(err)
		all = append(all, g)
	}
	for from, g := range all {
		var asking sync.WaitGroup
		for to, peer := range all {
			if from != to {
				asking.Go(func() {
					within, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
					defer cancel()
					g.AskTCP(within, netip.AddrPortFrom(peer.Addr(false), 1000)) // most is denied, but all is asked about
				})
			}
		}
		asking.Wait()
	}
	pairs := 0
	for _, h := range l.hosts {
		s, err := h.Status(ctx)
		must(err)
		pairs += s.Held.Pairs
	}
	if pairs < hosts*guests {
		b.Fatalf("the hosts hold %d pairs", pairs)
	}
	var took []time.Duration
	for b.Loop() {
		text := []byte(worlds.Large(0, groups, fmt.Sprintf("  - {name: more, from: g0, to: any, allow: [tcp/%d]}\n", 5000+len(took)%1000)))
		begun := time.Now()
		doc, err := l.api.PutBlueprint(ctx, "acme", "part0", text, nil)
		must(err)
		_, err = l.WaitReceipt(ctx, doc.Revision)
		must(err)
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(pairs), "pairs-held")
}
