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
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change := func(decide func(*world.World) (dove.Txn, error)) dove.Revision {
		t.Helper()
		revision, err := s.Edit(decide)
		must(err)
		return revision
	}
	const endpoints, talkers = 200, 6
	text := func(more string) []byte {
		return []byte("{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/16]}}, groups: {all: {isolated: true}" + more +
			"}, policies: [{name: talk, from: all, to: all, allow: [udp/9000]}]}")
	}
	apart := func(w *world.World) (dove.Txn, error) {
		var groups strings.Builder
		for i := range endpoints {
			fmt.Fprintf(&groups, ", g%d: {selector: {matchLabels: {n: \"%d\"}}}", i, i)
		}
		txn, _, err := edit.PutBlueprint(w, "acme", "", text(groups.String()), s.now, nil)
		return txn, err
	}
	hosts := []dove.HostName{"h1", "h2", "h3"}
	for _, h := range hosts {
		must(s.AddHost(h))
	}
	change(func(w *world.World) (dove.Txn, error) { txn, _, err := edit.PutTenant(w, "acme", nil); return txn, err })
	change(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, "acme", "", text(""), s.now, nil)
		return txn, err
	})
	name := func(i int) dove.Endpoint {
		return dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i))}
	}
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i / 200), byte(11 + i%200)}) }
	for i := range endpoints {
		request := edit.EndpointRequest{Tenant: "acme", ID: name(i).ID, Network: "net", Groups: []string{"shop/all"}, Addresses: []string{address(i).String()}, Labels: map[string]string{"n": fmt.Sprint(i)}}
		if i < talkers {
			request.Host = hosts[i%len(hosts)]
		}
		revision := change(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, request, s.chance(), nil)
			return txn, err
		})
		if i < talkers {
			must(s.Wait(revision))
			e, _ := s.World().Endpoint(name(i))
			s.Plug(e)
			must(s.Settle())
		}
	}
	var flows []opened
	for i := range talkers {
		for j := range talkers {
			if i != j {
				c, _, err := simulated{s}.open(Packet{From: name(i), Src: address(i), Dst: address(j), Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 9000}})
				must(err)
				flows = append(flows, c.(opened))
			}
		}
	}
	transactions, packets := 0, 0
	for steps, last := edit.InSteps(apart), false; !last; transactions++ {
		revision := change(func(w *world.World) (txn dove.Txn, err error) {
			txn, last, err = steps.Next(w)
			return txn, err
		})
		sent, err := s.goOnAmid(r, flows)
		if packets += sent; err != nil {
			t.Fatalf("transaction %d, packet %d: %v", transactions, packets, err)
		}
		must(s.Wait(revision))
		must(s.Settle())
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
