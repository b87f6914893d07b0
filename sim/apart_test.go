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
	"dove.network/world"
)

// TestManyNewClassesHoldNoPacketUp puts 200 endpoints into a class each by one
// edit, while flows of some of them go on: each packet arrives and is answered at once, before,
// between and after the steps of the edit, however much of it is in the switches.
func TestManyNewClassesHoldNoPacketUp(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	r := rand.New(rand.NewPCG(*seed, 3))
	s := New(*seed)
	s.Jitter = jitter
	const endpoints, talkers = 200, 6
	text := func(more string) string {
		return "{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/16]}}, groups: {all: {isolated: true}" + more +
			"}, policies: [{name: talk, from: all, to: all, allow: [udp/9000]}]}"
	}
	hosts := []dove.HostName{"h1", "h2", "h3"}
	x := newShop(t, s, text(""), hosts...)
	apart := func(w *world.World) (dove.Txn, error) {
		var groups strings.Builder
		for i := range endpoints {
			fmt.Fprintf(&groups, ", g%d: {selector: {matchLabels: {n: \"%d\"}}}", i, i)
		}
		return x.means(text(groups.String()))(w)
	}
	name := func(i int) dove.Endpoint {
		return dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i))}
	}
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i / 200), byte(11 + i%200)}) }
	for i := range endpoints {
		request := edit.EndpointRequest{ID: name(i).ID, Network: "net", Groups: []string{"shop/all"}, Addresses: []string{address(i).String()}, Labels: map[string]string{"n": fmt.Sprint(i)}}
		if i < talkers {
			request.Host = hosts[i%len(hosts)]
		}
		if i < talkers {
			x.endpoint(request)
		} else {
			x.edit(x.has(request))
		}
	}
	var flows []opened
	for i := range talkers {
		for j := range talkers {
			if i != j {
				c, _, err := simulated{s}.open(Packet{From: name(i), Src: address(i), Dst: address(j), Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 9000}})
				x.must(err)
				flows = append(flows, c.(opened))
			}
		}
	}
	transactions, packets := 0, 0
	for steps, last := edit.InSteps(apart), false; !last; transactions++ {
		revision := x.edit(func(w *world.World) (txn dove.Txn, err error) {
			txn, last, err = steps.Next(w)
			return txn, err
		})
		sent, err := s.goOnAmid(r, flows)
		if packets += sent; err != nil {
			t.Fatalf("transaction %d, packet %d: %v", transactions, packets, err)
		}
		x.enforced(revision)
	}
	domain := dove.Domain{Tenant: "acme", Name: "shop"}
	if n := s.World().ClassCount(domain); transactions != 3 || n != endpoints+1 {
		t.Errorf("%d classes after %d transactions", n, transactions)
	}
	t.Logf("%d transactions, %d packets", transactions, packets)
}

// goOnAmid has conversations go on, none of them held up, while a change is on its way,
// and says how many packets that were.
func (s *Sim) goOnAmid(r *rand.Rand, flows []opened) (packets int, err error) {
	for more := true; more; packets++ {
		f := flows[r.IntN(len(flows))]
		before := s.now
		passes, says, err := f.passes(false)
		if took := s.now.Sub(before); err != nil || !passes || took != pace {
			return packets, fmt.Errorf("%s: %v, %s, %v, after %s", f.Packet, passes, says, err, took)
		}
		for range r.IntN(3) {
			more = s.step()
		}
	}
	return packets, nil
}
