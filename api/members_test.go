package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/auth"
	"dove.network/backup"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// member makes the documents of a DPC member that is there.
func (r *rig) member(name string, uid dove.UID) {
	r.t.Helper()
	if _, err := r.backend.Edit(r.t.Context(), func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutMember(w, world.Member{Name: name, UID: uid, API: name + ".example:7443", Etcd: name + ".example:7448", Serial: "ab"}, true)
		return txn, err
	}); err != nil {
		r.t.Fatal(err)
	}
}

// TestMemberJoins admits a member by a token, and refuses what does not fit it.
func TestMemberJoins(t *testing.T) {
	r := newRig(t)
	r.member("dpc1", 1)
	r.store.nodes = []string{"dpc1.example:7448"}
	var token MemberToken
	r.ok(&token, "POST /v1/members/dpc2/token", "")
	r.refused(http.StatusConflict, "POST /v1/members/dpc1/token", "")
	parsed, err := auth.ParseToken(auth.MemberToken, token.Token)
	if err != nil {
		t.Fatal(err)
	}
	ask := auth.MemberJoinRequest{Name: "dpc2", UID: "2", API: "127.0.0.1:7443", Etcd: "127.0.0.1:7448"}
	for name, test := range map[string]struct {
		change func(*auth.Token, *auth.MemberJoinRequest)
		kind   dove.Kind
		want   string
	}{
		"secret":  {func(t *auth.Token, _ *auth.MemberJoinRequest) { t.Secret = strings.Repeat("0", len(t.Secret)) }, dove.Unauthorized, "not valid or was used"},
		"name":    {func(_ *auth.Token, m *auth.MemberJoinRequest) { m.Name = "dpc3" }, dove.Forbidden, `for member "dpc2"`},
		"UID":     {func(_ *auth.Token, m *auth.MemberJoinRequest) { m.UID = "0" }, dove.Invalid, "UID"},
		"form":    {func(_ *auth.Token, m *auth.MemberJoinRequest) { m.Control = "nowhere" }, dove.Invalid, "host:port"},
		"address": {func(_ *auth.Token, m *auth.MemberJoinRequest) { m.Etcd = "dpc1.example:7448" }, dove.Conflict, `member "dpc1"`},
		"store": {func(*auth.Token, *auth.MemberJoinRequest) {
			r.store.broken = dove.Errorf(dove.Conflict, "too few are in reach")
		}, dove.Conflict, "too few"},
	} {
		with, m := parsed, ask
		test.change(&with, &m)
		_, err := auth.JoinMember(t.Context(), r.server.Listener.Addr().String(), with, m, nil)
		if dove.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		r.store.broken = nil
	}
	if len(r.store.nodes) != 1 {
		t.Errorf("refusals left etcd members: %v", r.store.nodes)
	}
	// Somebody writes the same in between: the place in the cluster is given back.
	r.backend.meanwhile = func() { r.member("dpc2", 9) }
	if _, err := auth.JoinMember(t.Context(), r.server.Listener.Addr().String(), parsed, ask, nil); dove.KindOf(err) != dove.Exists || len(r.store.nodes) != 1 {
		t.Errorf("two at once: %v, etcd members %v", err, r.store.nodes)
	}
	r.store.nodes = append(r.store.nodes, "dpc2.example:7448")
	r.ok(nil, "DELETE /v1/members/dpc2", "")
	if len(r.store.nodes) != 1 {
		t.Errorf("etcd members %v", r.store.nodes)
	}
	// Who shows a token twice at once does not take the place from who was first.
	r.ok(&token, "POST /v1/members/dpc2/token", "")
	if parsed, err = auth.ParseToken(auth.MemberToken, token.Token); err != nil {
		t.Fatal(err)
	}
	r.backend.meanwhile = func() {
		if _, err := r.backend.Edit(r.t.Context(), func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutMember(w, world.Member{Name: "dpc2", UID: 9, Serial: "ab", Etcd: ask.Etcd}, true)
			return txn, err
		}); err != nil {
			t.Error(err)
		}
	}
	if _, err := auth.JoinMember(t.Context(), r.server.Listener.Addr().String(), parsed, ask, nil); dove.KindOf(err) != dove.Exists || len(r.store.nodes) != 2 {
		t.Errorf("the same at once: %v, etcd members %v", err, r.store.nodes)
	}
	r.ok(nil, "DELETE /v1/members/dpc2", "")
	if len(r.store.nodes) != 1 {
		t.Errorf("etcd members %v", r.store.nodes)
	}

	r.ok(&token, "POST /v1/members/dpc2/token", `{"seconds": 60}`)
	if parsed, err = auth.ParseToken(auth.MemberToken, token.Token); err != nil {
		t.Fatal(err)
	}
	joined, err := auth.JoinMember(t.Context(), r.server.Listener.Addr().String(), parsed, ask, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if joined.Authority.Pin() != r.ca.Pin() || len(joined.Etcd) != 1 || len(r.store.nodes) != 2 {
		t.Errorf("joined with %v, etcd members %v", joined.Etcd, r.store.nodes)
	}
	name, serial, err := auth.MemberIdentity(joined.Server.Leaf)
	if m, _ := r.backend.World().Member("dpc2"); err != nil || name != "dpc2" || m.Serial != serial || m.Etcd != ask.Etcd {
		t.Errorf("the certificate is of %s, %s; the document says %+v (%v)", name, serial, m, err)
	}
	if _, err := auth.JoinMember(t.Context(), r.server.Listener.Addr().String(), parsed, ask, nil); dove.KindOf(err) != dove.Unauthorized {
		t.Errorf("once more: %v", err)
	}

	// With documents elsewhere there is no etcd member to know of.
	r.store.nodes = nil
	r.ok(&token, "POST /v1/members/dpc3/token", "")
	if parsed, err = auth.ParseToken(auth.MemberToken, token.Token); err != nil {
		t.Fatal(err)
	}
	ask.Name, ask.UID, ask.API, ask.Etcd = "dpc3", "3", "127.0.0.3:7443", "127.0.0.3:7448"
	if joined, err = auth.JoinMember(t.Context(), r.server.Listener.Addr().String(), parsed, ask, nil); err != nil || len(joined.Etcd) != 0 {
		t.Fatalf("joined with %+v, %v", joined, err)
	}
	if m, _ := r.backend.World().Member("dpc3"); m.Etcd != "" {
		t.Errorf("the document says %+v", m)
	}

	var members List[Member]
	r.ok(&members, "GET /v1/members", "")
	if len(members.Items) != 3 || !members.Items[0].Answers || members.Items[1].Answers {
		t.Errorf("members %+v", members)
	}
	var m Member
	if r.ok(&m, "PUT /v1/members/dpc2/drain", ""); !m.Draining {
		t.Errorf("drained: %+v", m)
	}
	var again Member
	if r.ok(&again, "DELETE /v1/members/dpc2/drain", ""); again.Draining {
		t.Errorf("undrained: %+v", again)
	}
	r.refused(http.StatusConflict, "DELETE /v1/members/dpc1", "")
	r.refused(http.StatusNotFound, "DELETE /v1/members/dpc9", "")
	r.store.broken = dove.Errorf(dove.Conflict, "too few are in reach")
	r.refused(http.StatusConflict, "DELETE /v1/members/dpc2", "")
	r.store.broken = nil
	var status Status
	if r.ok(&status, "GET /v1/status", ""); len(status.Members) != 3 || status.Store.Full != 50 {
		t.Errorf("status %+v", status)
	}
}

// TestFullStore takes what frees room and what moves, and nothing else of tenants.
// TestMembersAreTold: of each member its documents and how far it is, as the one that answers knows.
func TestMembersAreTold(t *testing.T) {
	r := newRig(t)
	r.member("dpc1", 1)
	r.member("dpc2", 2)
	r.member("dpc3", 3)
	r.backend.members = []control.MemberStatus{{Member: "dpc1", Reached: true, Applied: 7, Sessions: 3}, {Member: "dpc2", Applied: 6, Sessions: 2}}
	var all struct{ Items []Member }
	r.ok(&all, "GET /v1/members", "")
	var said []string
	for _, m := range all.Items {
		said = append(said, fmt.Sprint(m.Name, " ", m.Reached, m.Applied, m.Sessions))
	}
	if want := []string{"dpc1 true 7 3", "dpc2 false 6 2", "dpc3 false 0 0"}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
}

func TestFullStore(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	r.ok(nil, "PUT /v1/tenants/acme/blueprints/shop", shop, "Content-Type: application/yaml")
	r.ok(nil, "PUT /v1/hosts/h1", `{"vtep": "192.0.2.1"}`)
	r.ok(nil, "PUT /v1/tenants/acme/endpoints/web-1", `{"groups": ["shop/web"]}`)
	r.store.full = dove.Errorf(dove.Unavailable, "the store is full to 90 %%")
	r.refused(http.StatusServiceUnavailable, "PUT /v1/tenants/new", "")
	r.refused(http.StatusServiceUnavailable, "PUT /v1/tenants/acme/endpoints/web-2", `{"groups": ["shop/web"]}`)
	r.refused(http.StatusServiceUnavailable, "PUT /v1/tenants/acme/blueprints/shop", shop+"\n", "Content-Type: application/yaml")
	r.ok(nil, "PUT /v1/tenants/acme/endpoints/web-1/binding", `{"host": "h1"}`)
	r.ok(nil, "DELETE /v1/tenants/acme/endpoints/web-1", "")
}

// TestRefusedBeforeItsFirstStep refuses what takes several transactions before the first of them.
func TestRefusedBeforeItsFirstStep(t *testing.T) {
	const yaml, endpoints, put = "Content-Type: application/yaml", 101, "PUT /v1/tenants/acme/blueprints/apart"
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	r.ok(nil, "PUT /v1/tenants/acme/networks/wide", `{"domain": "shop", "subnets": ["10.8.0.0/24"]}`)
	var items, outside, to []string
	for i := range endpoints {
		items = append(items, fmt.Sprintf(`{"id": "e%d", "groups": [], "network": "wide", "addresses": ["10.8.0.%d"]}`, i, i+2))
		outside, to = append(outside, fmt.Sprintf("o%d: {prefixes: [10.8.0.%d/32]}", i, i+2)), append(to, fmt.Sprintf("o%d", i))
	}
	r.ok(nil, "POST /v1/tenants/acme/endpoints", `{"items": [`+strings.Join(items, ", ")+"]}")
	text := func(tier string) string {
		return fmt.Sprintf("{apiVersion: dove/v1, kind: Blueprint, name: apart, domain: shop, tier: %s, outside: {%s}, policies: [{name: p, from: any, to: [%s], deny: any%s}]}",
			tier, strings.Join(outside, ", "), strings.Join(to, ", "), map[bool]string{true: ", priority: 1"}[tier != "tenant"])
	}
	acme := r.tokenOf("acme")
	before := r.backend.World().Revision()
	r.refused(http.StatusForbidden, put, text("provider"), yaml, acme)
	r.refused(http.StatusForbidden, "POST /v1/tenants/acme/blueprints", text("provider"), yaml, acme)
	r.store.full = dove.Errorf(dove.Unavailable, "the store is full to 90 %%")
	r.refused(http.StatusServiceUnavailable, put, text("tenant"), yaml)
	if now := r.backend.World().Revision(); now != before {
		t.Errorf("what was refused moved the world from %d to %d", before, now)
	}
	r.store.full = nil
	r.ok(nil, put, text("tenant"), yaml, acme)
	if now := r.backend.World().Revision(); now < before+2 {
		t.Errorf("it took %d revisions: this tests nothing", now-before)
	}
}

// TestBackup takes one, and none of a store that fails meanwhile.
func TestBackup(t *testing.T) {
	r := newRig(t)
	r.store.docs = []dove.Doc{{Key: "/dove/v1/meta", Value: []byte(`{}`), Revision: 1}}
	get := func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+"/v1/backup", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.token)
		a, err := r.client.Do(q)
		if err != nil {
			return nil, err
		}
		defer a.Body.Close()
		return io.ReadAll(a.Body)
	}
	text, err := get()
	if err != nil {
		t.Fatal(err)
	}
	s, err := backup.Read(bytes.NewReader(text), func(backup.Header, []dove.Doc) error { return nil })
	if err != nil || s.Documents != 1 || s.Revision != 7 || s.Member != "dpc1" {
		t.Errorf("backup %+v, %v", s, err)
	}
	if a, err := auth.NewAuthorityFrom([]byte(s.Certificate), []byte(s.Key)); err != nil || a.Pin() != r.ca.Pin() {
		t.Errorf("the authority: %v", err)
	}
	r.store.broken = dove.Errorf(dove.Unavailable, "the store is gone")
	if text, err := get(); err == nil {
		if _, err := backup.Read(bytes.NewReader(text), func(backup.Header, []dove.Doc) error { return nil }); err == nil {
			t.Error("half a backup looks whole")
		}
	}
}
