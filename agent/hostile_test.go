package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// absent has the DPC answer that nobody has an address.
func (r *rig) absent(t *testing.T, peer string) {
	t.Helper()
	sent := r.take()
	request, ok := sent[len(sent)-1].(*control.PolicyRequest)
	if !ok {
		t.Fatalf("about %s: sent %v", peer, sent)
	}
	r.step(Received{&control.PolicyReply{ID: request.ID,
		Answers: []control.Answer{{Question: query(peer), Status: control.NoEndpoint}},
		Peers:   []control.Peer{{Key: control.PeerKey{VNI: 5, Addr: addr(peer)}, Absent: true, TTL: 30 * time.Second}}}})
}

// A guest that speaks to addresses that nobody has fills neither the switch nor
// the agent: what is not held is asked again.
func TestAbsentAddressesAreBounded(t *testing.T) {
	r := web1(t)
	const most = 2 * NegativesPerNetwork
	for i := range most {
		peer := fmt.Sprintf("10.1.%d.%d", i>>8, i&255)
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", peer))
		r.absent(t, peer)
		r.sleep(vainEvery)
	}
	if n := len(r.core.negatives); n > NegativesPerNetwork {
		t.Fatalf("%d addresses that nobody has are held", n)
	}
	if len(r.waiting) != 0 || r.dropped[dataplane.NoEndpoint] == 0 || r.dropped[dataplane.MissLimit] != 0 {
		t.Fatalf("%d packets wait, dropped %v", len(r.waiting), r.dropped)
	}
	// Who is there is found as ever, and so is who was not.
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	sent := r.take()
	id := sent[len(sent)-1].(*control.PolicyRequest).ID
	r.step(Received{found(id, query("10.0.0.7"), 20, 30)})
	if r.core.networks[5].peers[addr("10.0.0.7")] == nil {
		t.Fatal("a peer is not held because many addresses are not there")
	}
	r.sleep(negativeMax)
	r.step(Tick{})
	if len(r.core.negatives) != 0 || r.core.networks[5].absent != 0 {
		t.Fatalf("%d negatives are left, counted %d", len(r.core.negatives), r.core.networks[5].absent)
	}
}

// A guest that scans its network costs the DPC little: most of that ends on its host.
func TestAScanStaysOnItsHost(t *testing.T) {
	r := web1(t)
	asked, begun := 0, r.now
	const tries = 2000
	for i := range tries {
		peer := fmt.Sprintf("10.1.%d.%d", i>>8, i&255)
		dropped := r.dropped[dataplane.MissLimit]
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", peer))
		if r.dropped[dataplane.MissLimit] == dropped {
			asked++
			r.absent(t, peer)
		}
	}
	if most := VainPerPort + int(r.now.Sub(begun)/vainEvery) + 2; asked < VainPerPort || asked > most {
		t.Errorf("of %d questions %d were asked, at most %d should", tries, asked, most)
	}
	r.sleep(time.Second)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	sent := r.take()
	if _, asks := sent[len(sent)-1].(*control.PolicyRequest); !asks {
		t.Errorf("a second later it may not ask: %v", sent)
	}
}

// A document that names the underlay's device as an endpoint's would cut off
// the host.
func TestOwnDevicesAreNoPorts(t *testing.T) {
	r := newRig(t)
	r.core.config.Own = []string{"u0", "dsw-up"}
	r.open()
	a := assignOf("web-1", 5, "10.0.0.1", 20)
	a.Device = "u0"
	r.step(deviceOf("u0", 3), deviceOf("dsw-up", 4), Received{a})
	want := []string{"red/web-1 1 failed device u0 is the host's own and no guest's: name the device of the endpoint"}
	if d := cmp.Diff(want, r.states()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if err := r.core.CheckPlug(a.Endpoint, "dsw-up"); dove.KindOf(err) != dove.Invalid {
		t.Fatalf("plug: %v", err)
	}
	r.step(Plug{a.Endpoint, "dsw-up"}, Tick{})
	if len(r.core.ports) != 0 || len(r.has) != 0 {
		t.Fatalf("the switch holds %v", r.has)
	}
}
