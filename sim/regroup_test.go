package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
)

// regrouped has three groups beside the one that may talk.
const regrouped = `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {net: {subnets: [10.0.0.0/24]}},
groups: {all: {network: net, isolated: true}, x: {network: net}, y: {network: net}, z: {network: net, isolated: true}},
policies: [{name: talk, from: all, to: all, allow: [udp/9000]}, {name: more, from: x, to: y, allow: [tcp/1-100]}]}`

// TestNewGroupsHoldNoPacketUp changes the groups of endpoints, of one by itself and of
// many by a selector, while flows go on that policy allows before and after. Whichever hosts have heard of the change,
// and however much of it is in their switches, each packet arrives and is
// answered at once.
func TestNewGroupsHoldNoPacketUp(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for n := range uint64(*count) {
		r := rand.New(rand.NewPCG(*seed+n, 2))
		s := New(*seed + n)
		s.Jitter = jitter
		x := newShop(t, s, regrouped, "h1", "h2", "h3")
		put := func(i int, host dove.HostName) dove.Revision {
			request := edit.EndpointRequest{ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Groups: []string{"shop/all"},
				Addresses: []string{fmt.Sprintf("10.0.0.%d", 11+i)}, Host: host, Labels: map[string]string{"k": fmt.Sprint(r.IntN(3))}}
			for _, g := range []string{"shop/x", "shop/y", "shop/z"} {
				if r.IntN(2) == 0 {
					request.Groups = append(request.Groups, g)
				}
			}
			return x.edit(x.has(request))
		}
		// selects puts any of the endpoints into other classes by one write.
		selects := func() dove.Revision {
			text := regrouped
			for _, g := range []string{"x", "y", "z"} {
				text = strings.Replace(text, g+": {network: net", fmt.Sprintf("%s: {network: net, selector: {matchLabels: {k: %q}}", g, fmt.Sprint(r.IntN(4))), 1)
			}
			return x.edit(x.means(text))
		}
		hosts := []dove.HostName{"h1", "h2", "h3"}
		const endpoints = 6
		name := func(i int) dove.Endpoint {
			return dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i))}
		}
		address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}) }
		home := map[int]dove.HostName{}
		for i := range endpoints {
			home[i] = hosts[r.IntN(len(hosts))]
			x.enforced(put(i, home[i]))
			x.plug(name(i).ID)
		}
		var flows []opened
		for i := range endpoints {
			for j := range endpoints {
				if i == j {
					continue
				}
				c, _, err := simulated{s}.open(Packet{From: name(i), Src: address(i), Dst: address(j), Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 9000}})
				x.must(err)
				flows = append(flows, c.(opened))
			}
		}
		for range 8 {
			var revision dove.Revision
			if r.IntN(2) == 0 {
				revision = selects()
			} else {
				revision = put(r.IntN(endpoints), "")
			}
			if _, err := s.goOnAmid(r, flows); err != nil {
				t.Fatalf("world %d, revision %d: %v", n, revision, err)
			}
			x.enforced(revision)
			// What is new is in force, too.
			for range 4 {
				i, j := r.IntN(endpoints), r.IntN(endpoints)
				p := Packet{From: name(i), Src: address(i), Dst: address(j), Probe: scenario.Probe{Protocol: dove.ProtocolTCP, Port: 50}}
				_, _, err := simulated{s}.open(p)
				if meant := judge(s.World(), byOracle, s.Plugged, p); i != j && (err == nil) != allowed(meant) {
					t.Fatalf("world %d, revision %d: %s, the oracle says %s: %v", n, revision, p, meant, err)
				}
			}
		}
	}
}
