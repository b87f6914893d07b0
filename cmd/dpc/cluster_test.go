package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
)

// local returns settings of a member on this machine, all of whose listeners
// others reach under "localhost".
func local(t *testing.T) settings {
	t.Helper()
	return settings{State: filepath.Join(t.TempDir(), "dpc"), Listen: addresses{
		API: daemontest.FreeAddress(t), Control: daemontest.FreeAddress(t), Peer: daemontest.FreeAddress(t), Etcd: daemontest.FreeAddress(t),
	}}
}

// joinAs joins a member with a token, whose listeners are those of s.
func joinAs(t *testing.T, s settings, name, server, token string) error {
	t.Helper()
	j := joining{State: s.State, Name: name, Server: server, Advertise: s.Listen, token: "-"}
	if err := j.check(); err != nil {
		return err
	}
	return j.join(t.Context(), strings.NewReader(token+"\n"), io.Discard)
}

// TestCluster grows an installation to three members, loses the one that leads,
// goes on, and replaces one.
func TestCluster(t *testing.T) {
	one := local(t)
	if err := (&initial{State: one.State, Name: "dpc-1", Advertise: []string{one.Listen.API}}).init(io.Discard); err != nil {
		t.Fatal(err)
	}
	c, stopOne := start(t, one)
	must[api.Tenant](t)(c.PutTenant(t.Context(), "acme", nil))
	admin := must[client.Config](t)(client.Load(filepath.Join(one.State, adminFile)))
	at := func(s settings) client.Config {
		a := admin
		a.Server = s.Listen.API
		return a
	}
	token := func(name string) string {
		t.Helper()
		return must[api.MemberToken](t)(c.CreateMemberToken(t.Context(), name, time.Minute)).Token
	}

	members := map[string]settings{"dpc-1": one}
	clients := map[string]*client.Client{"dpc-1": c}
	stops := map[string]func() error{"dpc-1": func() error { stopOne(); return nil }}
	for _, name := range []string{"dpc-2", "dpc-3"} {
		s := local(t)
		if err := joinAs(t, s, name, one.Listen.API, token(name)); err != nil {
			t.Fatal(err)
		}
		members[name] = s
		clients[name], stops[name] = startAs(t, s, at(s))
		if tenants := must[[]api.Tenant](t)(clients[name].Tenants(t.Context(), api.TenantFilter{})); len(tenants) != 1 {
			t.Errorf("%s knows %+v", name, tenants)
		}
	}
	must[api.Tenant](t)(clients["dpc-3"].PutTenant(t.Context(), "bolt", nil))
	if tenants := must[[]api.Tenant](t)(c.Tenants(t.Context(), api.TenantFilter{})); len(tenants) != 2 {
		t.Errorf("what another wrote: %+v", tenants)
	}
	// A host of one member is told what another one wrote, and the third knows that it was.
	vtep := netip.MustParseAddr("192.0.2.1")
	host := joinHost(t, clients["dpc-2"], members["dpc-2"].Listen.API, vtep)
	conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{members["dpc-2"].Listen.Control}, host.TLS()))
	if err := conn.Send(&control.Hello{Version: control.Version, Number: 1, Host: "h1", VTEP: vtep}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			m, err := conn.Recv()
			if err != nil {
				return
			}
			if f, ok := m.(*control.Frontier); ok {
				conn.Send(&control.Ack{Revision: f.Revision})
			}
		}
	}()
	must[api.Blueprint](t)(clients["dpc-1"].PutBlueprint(t.Context(), "acme", "shop", []byte(shop), nil))
	endpoint := must[api.Endpoint](t)(clients["dpc-3"].PutEndpoint(t.Context(), dove.Endpoint{Tenant: "acme", ID: "web-1"}, api.EndpointSpec{Groups: []string{"shop/web"}, Host: "h1"}, nil))
	for name, c := range clients {
		receipt := must[api.Receipt](t)(c.Receipt(t.Context(), endpoint.Revision, 20*time.Second))
		if !receipt.Complete || len(receipt.Unconfirmed) != 0 {
			t.Errorf("at %s the receipt of %d says %+v", name, endpoint.Revision, receipt)
		}
	}
	conn.Close()
	all := must[[]api.Member](t)(clients["dpc-2"].Members(t.Context()))
	if len(all) != 3 || !all[1].Answers || all[2].Etcd != members["dpc-3"].Listen.Etcd || all[2].Control != members["dpc-3"].Listen.Control {
		t.Errorf("members %+v", all)
	}

	// The one that leads is gone, and the others go on.
	leader := must[api.Status](t)(c.Status(t.Context())).Store.Leader
	if err := stops[leader](); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, m := range all {
		if m.Name != leader {
			left = append(left, m.Name)
		}
	}
	must[api.Tenant](t)(clients[left[0]].PutTenant(t.Context(), "core", nil))
	if tenants := must[[]api.Tenant](t)(clients[left[1]].Tenants(t.Context(), api.TenantFilter{})); len(tenants) != 3 {
		t.Errorf("without %s: %+v", leader, tenants)
	}
	// To take another one out would leave one of two: nobody could write.
	if _, err := clients[left[0]].RemoveMember(t.Context(), left[1], nil); dove.KindOf(err) != dove.Conflict || !strings.Contains(err.Error(), "too few") {
		t.Errorf("removing one of two that run, of three: %v", err)
	}
	must[dove.Revision](t)(clients[left[0]].RemoveMember(t.Context(), leader, nil))
	if err := members[leader].again(t); err == nil {
		t.Error("a member that was removed runs again")
	}
	c = clients[left[0]]
	s := local(t)
	if err := joinAs(t, s, leader, members[left[1]].Listen.API, token(leader)); err != nil { // under the name of the lost one
		t.Fatal(err)
	}
	clients[leader], stops[leader] = startAs(t, s, at(s))
	must[api.Tenant](t)(clients[leader].PutTenant(t.Context(), "dent", nil))

	// A member that runs ends when it is removed, and one that comes back has what was written meanwhile.
	if err := stops[left[0]](); err != nil {
		t.Fatal(err)
	}
	must[api.Tenant](t)(clients[leader].PutTenant(t.Context(), "edge", nil))
	clients[left[0]], stops[left[0]] = startAs(t, members[left[0]], at(members[left[0]]))
	if tenants := must[[]api.Tenant](t)(clients[left[0]].Tenants(t.Context(), api.TenantFilter{})); len(tenants) != 5 {
		t.Errorf("after a restart %s knows %+v", left[0], tenants)
	}
	must[dove.Revision](t)(clients[leader].RemoveMember(t.Context(), left[1], nil))
	removed := make(chan error, 1)
	go func() { removed <- stops[left[1]]() }()
	if err := <-removed; err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("a removed member ends with %v", err)
	}
	must[api.Tenant](t)(clients[leader].PutTenant(t.Context(), "fort", nil))
}

// again runs a member and returns how it ended.
func (s settings) again(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.run(ctx, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// TestJoinRefused tries to join in every wrong way: it is said what is wrong, and
// nothing is lost.
func TestJoinRefused(t *testing.T) {
	one, other := local(t), local(t)
	for _, s := range []settings{one, other} {
		if err := (&initial{State: s.State, Name: "dpc-1", Advertise: []string{s.Listen.API}}).init(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	c, stop := start(t, one)
	defer stop()
	foreign, stopForeign := start(t, other)
	defer stopForeign()
	tokenOf := func(c *client.Client) string {
		t.Helper()
		return must[api.MemberToken](t)(c.CreateMemberToken(t.Context(), "dpc-2", time.Minute)).Token
	}
	good := tokenOf(c)
	fresh := local(t)
	moved := func(change func(*addresses)) settings {
		s := fresh
		change(&s.Listen)
		return s
	}
	for name, test := range map[string]struct {
		settings settings
		member   string
		server   string
		token    string
		says     string
	}{
		"no token":          {fresh, "dpc-2", one.Listen.API, "x", "no dove-member token"},
		"a host's token":    {fresh, "dpc-2", one.Listen.API, must[api.JoinToken](t)(c.CreateJoinToken(t.Context(), "h1", time.Minute)).Token, "no dove-member token"},
		"another cluster's": {fresh, "dpc-2", one.Listen.API, tokenOf(foreign), "not from the authority that the join token names"},
		"to another":        {fresh, "dpc-2", other.Listen.API, good, "not from the authority that the join token names"},
		"another name":      {fresh, "dpc-3", one.Listen.API, good, `for member "dpc-2"`},
		"its own folder":    {one, "dpc-2", one.Listen.API, good, "holds an authority already"},
		"an address taken":  {moved(func(a *addresses) { a.Etcd = one.Listen.Etcd }), "dpc-2", one.Listen.API, good, `address of member "dpc-1"`},
		"no such name":      {moved(func(a *addresses) { a.Control = "dpc-2.invalid:7444" }), "dpc-2", one.Listen.API, good, "dpc-2.invalid has no address"},
		"nobody there":      {fresh, "dpc-2", daemontest.FreeAddress(t), good, "is this the API of a DPC member"},
		"wrong port":        {fresh, "dpc-2", one.Listen.Control, good, "join"},
	} {
		if err := joinAs(t, test.settings, test.member, test.server, test.token); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.CreateMemberToken(t.Context(), "dpc-1", time.Minute); dove.KindOf(err) != dove.Exists {
		t.Errorf("a name that is taken: %v", err)
	}
	if members := must[[]api.Member](t)(c.Members(t.Context())); len(members) != 1 {
		t.Errorf("members %+v", members)
	}

	// The token is still good, until it is used. A member whose address another
	// process has says so.
	if err := joinAs(t, fresh, "dpc-2", one.Listen.API, good); err != nil {
		t.Fatal(err)
	}
	if err := joinAs(t, local(t), "dpc-2", one.Listen.API, good); err == nil || !strings.Contains(err.Error(), "was used") {
		t.Errorf("the same token again: %v", err)
	}
	if err := joinAs(t, local(t), "dpc-3", one.Listen.API, must[api.MemberToken](t)(c.CreateMemberToken(t.Context(), "dpc-3", time.Minute)).Token); err == nil || !strings.Contains(err.Error(), "not up to date yet") {
		t.Errorf("a third one before the second is up: %v", err)
	}
	taken := must[net.Listener](t)(net.Listen("tcp", fresh.Listen.Etcd))
	if err := fresh.again(t); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address in use: %v", err)
	}
	taken.Close()

	if err := (&settings{State: local(t).State}).again(t); err == nil || !strings.Contains(err.Error(), "run dpc init") {
		t.Errorf("no state: %v", err)
	}
	admin := must[client.Config](t)(client.Load(filepath.Join(one.State, adminFile)))
	admin.Server = fresh.Listen.API
	second, stopSecond := startAs(t, fresh, admin)
	must[api.Tenant](t)(second.PutTenant(t.Context(), "acme", nil))
	if err := stopSecond(); err != nil {
		t.Error(err)
	}
}
