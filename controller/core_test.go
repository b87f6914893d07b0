package controller

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/resolver"
	"dove.network/world"
)

// expect compares what dSwitches were told since the last time.
func expect(t *testing.T, what string, d *dswitch, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, d.hear()); diff != "" {
		t.Errorf("%s: host %s heard (- want, + got)\n%s", what, d.identity.Host, diff)
	}
}

func TestASessionOpensWithAllThatIsTheHosts(t *testing.T) {
	r, _, _, _ := newShop(t)
	again := r.open(control.Identity{Host: "h1", VTEP: r.switches[1].identity.VTEP, Serial: "01"})
	expect(t, "a new session", again, "*control.Welcome", "assign web-1", "assign web-1", "tunnels +2 -0", "frontier")
	r.check()
	if refusal := r.refused[1]; refusal.Kind != dove.Conflict {
		t.Errorf("the session before ended with %+v", refusal)
	}
}

func TestAQuestionIsAnsweredOnceForBothDirections(t *testing.T) {
	r, h1, _, _ := newShop(t)
	acme, bolt := r.vni("acme"), r.vni("bolt")
	answer := r.ask(h1, acme, "10.0.0.11", "10.0.0.12")
	if answer.Status != control.Found || answer.Local == answer.Peer {
		t.Errorf("web asks for app: %+v", answer)
	}
	w, a := answer.Local, answer.Peer
	expect(t, "web asks for app", h1, "peer 10.0.0.12 at h2",
		fmt.Sprintf("pair %d-%d allows", w, a), fmt.Sprintf("pair %d-%d denies", a, w))

	// The peer's row is repeated for whoever asks again, the tables are not.
	r.ask(h1, acme, "10.0.0.11", "10.0.0.12")
	expect(t, "web asks again", h1, "peer 10.0.0.12 at h2")

	// A peer that web may not talk with is named, but not located.
	answer = r.ask(h1, acme, "10.0.0.11", "10.0.0.13")
	expect(t, "web asks for db", h1, "peer 10.0.0.13 withheld",
		fmt.Sprintf("pair %d-%d denies", answer.Local, answer.Peer), fmt.Sprintf("pair %d-%d denies", answer.Peer, answer.Local))

	// The other tenant's equal addresses are others.
	if answer = r.ask(h1, bolt, "10.0.0.11", "10.0.0.12"); answer.Domain.Tenant != "bolt" {
		t.Errorf("on bolt's network: %+v", answer)
	}
	for key, row := range h1.peers {
		if n, _ := r.core.World().NetworkByVNI(key.VNI); n.Tenant != row.Endpoint.Tenant {
			t.Errorf("the row of %v is of %s", key, row.Endpoint)
		}
	}
	r.check()
}

func TestOnlyHostsOfANetworkMayAsk(t *testing.T) {
	r, h1, h2, _ := newShop(t)
	vni := r.vni("acme")
	for _, q := range []struct {
		who         *dswitch
		vni         dove.VNI
		local, peer string
	}{
		{h2, vni, "10.0.0.11", "10.0.0.13"}, // bound to h1
		{h1, vni, "10.0.0.99", "10.0.0.12"}, // nobody's
		{h1, 77, "10.0.0.11", "10.0.0.12"},  // no network
	} {
		if answer := r.ask(q.who, q.vni, q.local, q.peer); answer.Status != control.Refused || answer.Detail == "" {
			t.Errorf("%+v: %+v", q, answer)
		}
		expect(t, "a refused question", q.who)
	}
	// Nor does a Hello get it rows.
	hello := h1.hello(1, 0)
	hello.Fleet = control.Digest{1}
	r.bind("acme", "web-1", "")
	key := control.PeerKey{VNI: vni, Addr: h2.assigned[dove.Endpoint{Tenant: "acme", ID: "app-1"}].Address[0].Addr}
	hello.Peers = []control.HeldPeer{{Key: key}}
	hello.Pairs = []control.HeldPair{{Key: control.PairKey{Domain: dove.Domain{Tenant: "acme", Name: "shop"}, Src: 2, Dst: 3}}}
	d := r.resume(h1.identity, hello, nil)
	expect(t, "a Hello from nowhere", d, "*control.Welcome", "unassign web-1", "assign web-1", "tunnels +2 -0",
		"peer 10.0.0.12 taken back", "pair 2-3 gone", "frontier")
}

func TestAnAppearanceReachesWhoWasToldOfAbsence(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	vni := r.vni("acme")
	if answer := r.ask(h1, vni, "10.0.0.11", "10.0.0.40"); answer.Status != control.NoEndpoint {
		t.Fatalf("%+v", answer)
	}
	expect(t, "an address of nobody", h1, "peer 10.0.0.40 absent")
	r.endpoint("acme", "app-2", "", "10.0.0.40", "app")
	expect(t, "an endpoint without a host", h1)
	rev := r.bind("acme", "app-2", "h2")
	expect(t, "its binding", h1, "peer 10.0.0.40 at h2", "frontier")
	expect(t, "its binding", h2, "assign app-2", "frontier")
	expect(t, "its binding", h3)
	if got := r.core.Receipt(rev); got.Told != 2 || got.Complete {
		t.Errorf("receipt %+v", got)
	}
	r.bind("acme", "app-2", "h3")
	expect(t, "a move", h1, "peer 10.0.0.40 at h3", "frontier")
	expect(t, "a move", h2, "unassign app-2", "frontier")
	expect(t, "a move", h3, "assign app-2", "frontier")
	r.bind("acme", "app-2", "")
	expect(t, "unbinding", h1, "peer 10.0.0.40 absent", "frontier")
	r.check()
}

func TestAScannerIsToldOfEveryAppearance(t *testing.T) {
	r, h1, _, _ := newShop(t)
	vni := r.vni("acme")
	ask := func(n int) {
		r.ask(h1, vni, "10.0.0.11", fmt.Sprintf("10.0.%d.%d", 1+n/256, n%256))
	}
	for n := range resolver.AbsentMax {
		ask(n)
	}
	h1.hear()
	r.endpoint("acme", "app-2", "h2", "10.0.0.50", "app")
	expect(t, "an appearance below the cap", h1)
	for n := range 10 {
		ask(resolver.AbsentMax + n)
	}
	r.ask(h1, vni, "10.0.0.11", "10.0.0.51")
	h1.hear()
	r.endpoint("acme", "app-3", "h2", "10.0.0.51", "app")
	expect(t, "an appearance above the cap", h1, "peer 10.0.0.51 taken back", "frontier")
	if _, absent, _ := r.core.interest.Held(h1.id); absent != resolver.AbsentMax {
		t.Errorf("%d negative answers are remembered", absent)
	}
	r.check()
}

func TestAPolicyEditReachesItsHoldersAlone(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	vni := r.vni("acme")
	web := r.ask(h1, vni, "10.0.0.11", "10.0.0.12")
	db := r.ask(h1, vni, "10.0.0.11", "10.0.0.13")
	r.ask(h1, r.vni("bolt"), "10.0.0.11", "10.0.0.13")
	r.ask(h3, vni, "10.0.0.13", "10.0.0.12")
	for _, d := range []*dswitch{h1, h2, h3} {
		d.hear()
	}
	// h1 holds what changes; h3 holds rows that do not, and so does h2, which was
	// told to expect h1's.
	rev := r.blueprint("acme", fmt.Sprintf(shop, webApp+", "+appDB+", "+webDB))
	expect(t, "web may talk to db", h1, "peer 10.0.0.13 at h3", fmt.Sprintf("pair %d-%d allows", db.Local, db.Peer), "frontier")
	expect(t, "web may talk to db", h2)
	expect(t, "web may talk to db", h3)
	if got := r.core.Receipt(rev); got.Told != 1 || got.Complete || len(got.Pending) != 1 || got.Pending[0] != "h1" {
		t.Errorf("receipt %+v", got)
	}
	r.now = r.now.Add(20 * time.Millisecond)
	r.ack(h1)
	if got := r.core.Receipt(rev); !got.Complete || got.Took != 20*time.Millisecond {
		t.Errorf("receipt %+v", got)
	}
	r.blueprint("acme", fmt.Sprintf(shop, appDB))
	expect(t, "web may talk to nobody", h1, "peer 10.0.0.12 withheld", "peer 10.0.0.13 withheld",
		fmt.Sprintf("pair %d-%d denies", web.Local, web.Peer), fmt.Sprintf("pair %d-%d denies", db.Local, db.Peer), "frontier")
	expect(t, "web may talk to nobody", h2, "peer 10.0.0.11 withheld", fmt.Sprintf("pair %d-%d denies", web.Local, web.Peer), "frontier")
	r.ack(h1, h2)

	// A change that nobody holds tells nobody.
	r.blueprint("acme", fmt.Sprintf(shop, appDB+", {name: app-web, from: app, to: web, allow: [udp/53]}"))
	for _, d := range []*dswitch{h1, h2} {
		d.hear() // they hold app to web
		r.ack(d)
	}
	rev = r.blueprint("acme", fmt.Sprintf(shop, appDB+", {name: db-db, from: db, to: db, allow: [tcp/7000]}, {name: app-web, from: app, to: web, allow: [udp/53]}"))
	for _, d := range []*dswitch{h1, h2, h3} {
		expect(t, "a policy that nobody holds", d)
	}
	if got := r.core.Receipt(rev); got.Told != 0 || !got.Complete {
		t.Errorf("receipt %+v", got)
	}
	r.check()
}

func TestRowsOfAClassThatIsGone(t *testing.T) {
	r, h1, _, _ := newShop(t)
	answer := r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	h1.hear()
	txn, err := edit.DeleteEndpoint(r.core.World(), dove.Endpoint{Tenant: "acme", ID: "app-1"}, nil)
	r.edit(txn, err)
	expect(t, "the peer is deleted", h1, "peer 10.0.0.12 absent", "frontier")
	domain := dove.Domain{Tenant: "acme", Name: "shop"}
	for a := range r.core.World().Classes(domain) {
		if a.Class == answer.Peer {
			r.edit(dove.Txn{Deletes: []string{a.Key()}}, nil)
		}
	}
	expect(t, "its class is gone", h1, fmt.Sprintf("pair %d-%d gone", answer.Local, answer.Peer),
		fmt.Sprintf("pair %d-%d gone", answer.Peer, answer.Local), "frontier")
	if peers, absent, pairs := r.core.interest.Held(h1.id); peers != 1 || absent != 1 || pairs != 0 {
		t.Errorf("%d peers, %d absent, %d pairs are left", peers, absent, pairs)
	}
	r.check()
}

func TestAHostThatLeavesANetworkForgetsIt(t *testing.T) {
	r, h1, _, _ := newShop(t)
	vni := r.vni("acme")
	r.ask(h1, vni, "10.0.0.11", "10.0.0.12")
	r.ask(h1, vni, "10.0.0.11", "10.0.0.77")
	r.ask(h1, r.vni("bolt"), "10.0.0.11", "10.0.0.12")
	h1.hear()
	r.bind("acme", "web-1", "h2")
	if len(h1.peers) != 1 || len(h1.pairs) != 2 {
		t.Errorf("it still holds %v, %v", h1.peers, h1.pairs)
	}
	r.check()
}

func TestResumeByContent(t *testing.T) {
	r, h1, _, _ := newShop(t)
	vni := r.vni("acme")
	answer := r.ask(h1, vni, "10.0.0.11", "10.0.0.12")
	r.ask(h1, vni, "10.0.0.11", "10.0.0.13")
	same := r.resume(h1.identity, h1.hello(1, h1.frontier), h1)
	expect(t, "equal digests", same, "*control.Welcome", "assign web-1", "assign web-1", "frontier")

	r.step(Closed{same.id})
	delete(r.switches, same.id)
	r.blueprint("acme", fmt.Sprintf(shop, appDB))
	behind := r.resume(h1.identity, same.hello(1, same.frontier), same)
	expect(t, "what changed meanwhile", behind, "*control.Welcome", "assign web-1", "assign web-1",
		"peer 10.0.0.12 withheld", fmt.Sprintf("pair %d-%d denies", answer.Local, answer.Peer), "frontier")
	r.check()

	r.step(Closed{behind.id})
	delete(r.switches, behind.id)
	r.host(4)
	behind = r.resume(h1.identity, behind.hello(1, behind.frontier), behind)
	expect(t, "a host that came meanwhile", behind, "*control.Welcome", "assign web-1", "assign web-1", "tunnels +3 -0", "frontier")
	r.check()

	other := r.resume(h1.identity, behind.hello(2, 0), behind)
	if n := len(other.hear()); n != 5+2+4 {
		t.Errorf("another incarnation gets all rows anew, not %d messages", n)
	}
	if got := r.resume(h1.identity, behind.hello(1, r.core.World().Revision()+1), nil); r.refused[got.id].Kind != dove.Unavailable {
		t.Errorf("a dSwitch that has seen more: %+v", r.refused[got.id])
	}
}

func TestSessionsThatMustNotOpen(t *testing.T) {
	r, h1, _, _ := newShop(t)
	good := h1.identity
	hello := func(change func(*control.Hello)) *control.Hello {
		h := &control.Hello{Version: control.Version, Host: good.Host, VTEP: good.VTEP}
		change(h)
		return h
	}
	same := func(*control.Hello) {}
	tests := []struct {
		what  string
		id    control.Identity
		hello *control.Hello
		kind  dove.Kind
	}{
		{"another version", good, hello(func(h *control.Hello) { h.Version++ }), dove.Unsupported},
		{"another host's name", good, hello(func(h *control.Hello) { h.Host = "h2" }), dove.Forbidden},
		{"another host's address", good, hello(func(h *control.Hello) { h.VTEP = h.VTEP.Next() }), dove.Forbidden},
		{"an old certificate", control.Identity{Host: "h1", VTEP: good.VTEP, Serial: "00"}, hello(same), dove.Forbidden},
		{"no such host", control.Identity{Host: "h9", VTEP: good.VTEP, Serial: "01"}, hello(func(h *control.Hello) { h.Host = "h9" }), dove.Forbidden},
	}
	for _, test := range tests {
		d := r.resume(test.id, test.hello, nil)
		if refusal := r.refused[d.id]; refusal.Kind != test.kind || refusal.Message == "" {
			t.Errorf("%s: %+v", test.what, refusal)
		}
	}
	if len(r.core.sessions) != 3 {
		t.Errorf("%d sessions are open", len(r.core.sessions))
	}
	// A host that joins anew, or is deleted, loses its session.
	r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Host{Name: "h1", VTEP: good.VTEP, Serial: "ff"})}}, nil)
	if r.refused[h1.id].Kind != dove.Forbidden {
		t.Errorf("after joining anew: %+v", r.refused[h1.id])
	}
}

func TestClaims(t *testing.T) {
	r, h1, h2, _ := newShop(t)
	web := dove.Endpoint{Tenant: "acme", ID: "web-1"}
	claim := func(d *dswitch, e dove.Endpoint, epoch dove.Epoch) int {
		r.denied = nil
		r.say(d, &control.EndpointUpdate{Endpoint: e, Epoch: epoch, State: control.EndpointActive, Device: "tap0"})
		return len(r.denied)
	}
	epoch := h1.assigned[web].Epoch
	if claim(h1, web, epoch) != 0 {
		t.Error("the host's own endpoint is denied")
	}
	expect(t, "a claim that holds", h1)
	if got := r.core.Sessions()[0].Endpoints; len(got) != 1 || got[0].State != control.EndpointActive {
		t.Errorf("status %+v", got)
	}
	if claim(h2, web, epoch) != 1 {
		t.Error("another host's endpoint is not denied")
	}
	expect(t, "another host's endpoint", h2, "unassign web-1")

	// It goes away and comes back: a message of the first time does not count.
	r.bind("acme", "web-1", "h2")
	r.bind("acme", "web-1", "h1")
	r.ack(h1)
	h1.hear()
	if claim(h1, web, epoch) != 1 {
		t.Error("an old epoch is not denied")
	}
	expect(t, "an old epoch", h1, "assign web-1")
	if got := r.core.Sessions()[0].Endpoints; len(got) != 0 {
		t.Errorf("status %+v", got)
	}
	r.check()
}

func TestWhatDoesNotBelongInASessionEndsIt(t *testing.T) {
	for _, m := range []control.Up{&control.Hello{}, &control.Held{}, &control.Ack{Revision: 1 << 40}} {
		r, h1, h2, _ := newShop(t)
		r.say(h1, m)
		if r.refused[h1.id].Kind != dove.Invalid {
			t.Errorf("%T: %+v", m, r.refused[h1.id])
		}
		r.say(h1, m) // what is still under way is ignored
		r.ask(h2, r.vni("acme"), "10.0.0.12", "10.0.0.13")
	}
}

func TestReleasedRowsAreNotToldOf(t *testing.T) {
	r, h1, _, _ := newShop(t)
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	release := &control.Release{Expected: h1.expected}
	for key := range h1.peers {
		release.Peers = append(release.Peers, key)
	}
	for key := range h1.pairs {
		release.Pairs = append(release.Pairs, key)
	}
	r.say(h1, release)
	h1.hear()
	r.blueprint("acme", fmt.Sprintf(shop, appDB))
	r.bind("acme", "app-1", "h3")
	expect(t, "after Release", h1)
}

func TestReceiptsNameWhoIsAway(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	rev := r.blueprint("acme", fmt.Sprintf(shop, appDB))
	r.ack(h2) // it was told whom to expect
	r.step(Closed{h1.id})
	delete(r.switches, h1.id)
	got := r.core.Receipt(rev)
	if got.Complete || fmt.Sprint(got.Pending, got.Unconfirmed) != "[h1] [h1]" {
		t.Errorf("the told host is away: %+v", got)
	}
	rev2 := r.blueprint("bolt", fmt.Sprintf(shop, appDB))
	if got := r.core.Receipt(rev2); !got.Complete || fmt.Sprint(got.Unconfirmed) != "[h1]" {
		t.Errorf("it was not told of the next: %+v", got)
	}
	back := r.resume(h1.identity, h1.hello(1, 0), h1)
	r.ack(back)
	if got := r.core.Receipt(rev); !got.Complete || len(got.Unconfirmed) > 0 {
		t.Errorf("it is back: %+v", got)
	}
	_ = h3
}

// A host that is away keeps its ports open: what it was to give up meanwhile is
// not done, also when it was the host's last endpoint.
func TestReceiptsWaitForWhatAnAbsentHostShouldGiveUp(t *testing.T) {
	r, h1, _, _ := newShop(t)
	r.step(Closed{h1.id})
	delete(r.switches, h1.id)
	var rev dove.Revision
	for e := range r.core.World().EndpointsOn("h1") {
		rev = r.bind(e.Tenant, e.ID, "h2")
	}
	r.ack(slices.Collect(maps.Values(r.switches))...)
	if got := r.core.Receipt(rev); got.Complete || fmt.Sprint(got.Pending, got.Unconfirmed) != "[h1] [h1]" {
		t.Errorf("h1 is away with open ports: %+v", got)
	}
	back := r.resume(h1.identity, h1.hello(1, 0), h1)
	r.ack(back)
	if got := r.core.Receipt(rev); !got.Complete || len(got.Unconfirmed) > 0 {
		t.Errorf("it is back: %+v", got)
	}
}

func TestHostsComeAndGo(t *testing.T) {
	r, h1, h2, _ := newShop(t)
	r.host(4)
	expect(t, "a host joins", h1, "tunnels +1 -0", "frontier")
	r.edit(dove.Txn{Deletes: []string{world.HostKey("h4")}}, nil)
	expect(t, "a host is deleted", h1, "tunnels +0 -1", "frontier")
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	h1.hear()
	// h2 loses its certificate: its endpoints are nowhere until it joins again.
	r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Host{Name: "h2", VTEP: h2.identity.VTEP})}}, nil)
	expect(t, "a host is no member", h1, "tunnels +0 -1", "peer 10.0.0.12 absent", "frontier")
	r.host(2)
	expect(t, "a host is a member again", h1, "tunnels +1 -0", "peer 10.0.0.12 at h2", "frontier")
	r.check()
}

func TestAnotherStoreEndsAllSessions(t *testing.T) {
	r, h1, _, _ := newShop(t)
	r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Meta{Incarnation: 2, CreatedAt: start})}}, nil)
	if len(r.switches) != 0 || r.refused[h1.id].Kind != dove.Unavailable {
		t.Errorf("sessions %v, %+v", r.switches, r.refused)
	}
	r.resume(h1.identity, h1.hello(1, 1000), h1)
	r.check()
}

func TestQuietSessionsHearAHeartbeat(t *testing.T) {
	r, h1, _, _ := newShop(t)
	r.step(Tick{})
	expect(t, "at once", h1)
	r.now = r.now.Add(HeartbeatEvery)
	r.step(Tick{})
	expect(t, "later", h1, "*control.Heartbeat")
	r.say(h1, &control.Heartbeat{})
}

func TestUnreadableDocumentsAreFinal(t *testing.T) {
	r, _, _, _ := newShop(t)
	before := r.core.World()
	_, err := r.core.Step(r.now, Changed{before.Revision() + 1, []dove.Doc{{Key: world.TenantKey("x"), Value: []byte("{"), Revision: before.Revision() + 1}}})
	if err == nil || r.core.World() != before {
		t.Errorf("error %v", err)
	}
}
