package fleet

import (
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/sim"
	"dove.network/world"
)

// leftOpen is the script of what random runs come to too seldom: h1 leaves a member without its knowledge, then
// another one before it has given up what a policy no longer allows. The former is not reached by the latter, and goes on
// to say that it has the host and that all with it have come so far; the third member hears both, and must not believe
// that the receipt is complete.
func leftOpen(t *testing.T) error {
	s := sim.NewFleet(1, 3)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do := func(decide func(w *world.World) (dove.Txn, error)) {
		t.Helper()
		_, err := s.Edit(decide)
		must(err)
	}
	apply := func(policies string) {
		t.Helper()
		do(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutBlueprint(w, "acme", "", []byte("apiVersion: dove/v1\nkind: Blueprint\nname: shop\nnetworks: {net: {subnets: [10.0.0.0/24]}}\n"+
				"groups: {web: {network: net}, db: {network: net}}\npolicies: ["+policies+"]\n"), s.Now(), nil)
			return txn, err
		})
	}
	must(s.AddHosts("h1", "h2"))
	do(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutTenant(w, "acme", nil)
		return txn, err
	})
	apply("{name: talk, from: web, to: db, allow: [udp/53]}")
	var ends []world.Endpoint
	for _, r := range []edit.EndpointRequest{
		{ID: "web", Groups: []string{"shop/web"}, Host: "h1", Device: "d1"}, {ID: "db", Groups: []string{"shop/db"}, Host: "h2", Device: "d2"},
	} {
		r.Tenant = "acme"
		chance := s.Chance()
		do(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, r, chance, nil)
			return txn, err
		})
		e, _ := s.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: r.ID})
		s.Plug(e)
		ends = append(ends, e)
	}
	must(s.Settle())

	number := map[string]int{"dpc-1": 0, "dpc-2": 1, "dpc-3": 2}
	former := number[s.Homes()["h1"]]
	latter, third := (former+1)%3, (former+2)%3
	for n := range 3 { // in the end
		defer func() {
			s.Mend("h1", n)
			s.HealMembers(n, (n+1)%3)
		}()
	}
	s.CutMembers(former, latter)
	s.CutMembers(latter, former)
	s.Pass(6 * time.Second) // they know
	s.Sever("h1", third)
	s.Silence("h1", former, true, false)
	s.RestartAgent("h1")
	s.Pass(12 * time.Second) // it gives up to dial the other two
	if home := number[s.Homes()["h1"]]; home != latter {
		t.Fatalf("h1 is with member %d, not %d: %v", home, latter, s.Homes())
	}
	talk := s.Begin(sim.Packet{From: ends[0].Full(), Src: ends[0].Addresses[0], Dst: ends[1].Addresses[0], Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}})
	s.Pass(time.Second)
	if !talk.Answered() {
		t.Fatalf("the packet that h1 asks about: %s", talk.Became())
	}
	talk.End()
	must(s.Faults())
	s.Silence("h1", latter, false, true)
	apply("") // h1 does not hear of it
	s.Pass(100 * time.Millisecond)
	s.Sever("h1", latter)
	s.Pass(100 * time.Millisecond)
	return s.Faults()
}

// TestLeftOpen holds that the third member waits for what h1 left open with the latter.
func TestLeftOpen(t *testing.T) {
	if err := leftOpen(t); err != nil {
		t.Error(err)
	}
}
