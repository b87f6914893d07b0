package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/store/memory"
	"dove.network/world"
)

// TestATrunkMovesOverAMember moves an endpoint with two sub-ports live by the API of a member that both
// hosts have sessions with: what they say of each port reaches who asks what the move waits for.
func TestATrunkMovesOverAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLive(t)
		h1, h2 := m.host("h1", "192.0.2.1"), m.host("h2", "192.0.2.2")
		m.ok(nil, "PUT /v1/tenants/acme", "")
		m.ok(nil, "PUT /v1/tenants/acme/blueprints/shop", shop)
		const at = "/v1/tenants/acme/endpoints/"
		var vm Endpoint
		m.ok(&vm, "PUT "+at+"vm", `{"groups":["shop/web"],"host":"h1"}`)
		m.ok(nil, "PUT "+at+"vm-db", `{"groups":[],"network":"`+vm.Network+`","parent":"vm","vlan":7}`)
		m.ok(nil, "PUT "+at+"vm-log", `{"groups":[],"network":"`+vm.Network+`","parent":"vm","vlan":8}`)
		is := func(step string, flows bool, waits ...string) {
			t.Helper()
			m.settle()
			for _, what := range []string{"GET " + at + "vm", "GET " + at + "?host=h2"} {
				var e Endpoint
				var page List[Endpoint]
				if what == "GET "+at+"vm" {
					m.ok(&e, what, "")
				} else {
					m.ok(&page, strings.Replace(what, "/?", "?", 1), "")
					e = page.Items[slices.IndexFunc(page.Items, func(e Endpoint) bool { return e.ID == "vm" })]
				}
				if e.Move == nil || e.Move.Step != step || e.Move.Carried != flows || !slices.Equal(e.Move.Waits, waits) {
					t.Fatalf("%s: %+v, want %s waiting for %q", what, e.Move, step, waits)
				}
			}
		}

		m.ok(nil, "PUT "+at+"vm/bindings/h2", "")
		m.settle()
		h1.says(control.EndpointActive, "", "vm", "vm-db", "vm-log")
		h2.says(control.EndpointActive, "", "vm")
		is("preparing", false, "its sub-port vm-db: host h2 does not say yet whether its port is open", "its sub-port vm-log: host h2 does not say yet whether its port is open")
		h2.says(control.EndpointWaiting, "there is no device vm", "vm-db")
		h2.says(control.EndpointFailed, "no room", "vm-log")
		is("preparing", false, "its sub-port vm-db: host h2: its port is waiting: there is no device vm (make it there)", "its sub-port vm-log: host h2: its port is failed: no room")
		if status, text := m.do("POST "+at+"vm/bindings/h2/activate", ""); status != http.StatusConflict || !strings.Contains(text, "its sub-port vm-log") {
			t.Errorf("activated: %d %s", status, text)
		}
		h2.says(control.EndpointActive, "", "vm-db")
		is("preparing", false, "its sub-port vm-log: host h2: its port is failed: no room")
		h2.says(control.EndpointActive, "", "vm-log")
		is("prepared", true)

		m.ok(nil, "POST "+at+"vm/bindings/h2/activate", "")
		m.settle()
		h1.says(control.EndpointActive, "", "vm", "vm-db", "vm-log")
		h2.says(control.EndpointActive, "", "vm", "vm-log")
		is("activating", false, "its sub-port vm-db: host h2 does not say yet whether its port is open")
		h2.says(control.EndpointActive, "", "vm-db")
		m.settle()
		time.Sleep(2 * control.CarryAgain) // what began at h1 until all knew is carried late
		is("confirmed", true)
		m.ok(nil, "DELETE "+at+"vm/bindings/h1", "")
		m.settle()
		if len(h1.ports) != 0 || len(h2.ports) != 3 {
			t.Errorf("h1 has %v, h2 %v", h1.ports, h2.ports)
		}
	})
}

// live is a member over a store in memory, with its API and with hosts, in a bubble of synctest.
type live struct {
	t       *testing.T
	member  *controller.Member
	handler http.Handler
	token   string
	hosts   []*liveHost
}

func newLive(t *testing.T) *live {
	t.Helper()
	docs, log := memory.New(), slog.New(slog.NewTextHandler(t.Output(), nil))
	m := &live{t: t, member: controller.NewMember("dpc1", docs, log)}
	ctx, stop := context.WithCancel(t.Context())
	go func() { _ = m.member.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := docs.Close(); err != nil {
			t.Error(err)
		}
	})
	admin, err := auth.NewToken(auth.AdminToken, auth.Pin{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.token = admin.Text()
	m.edit(func(w *world.World) (dove.Txn, error) { return edit.Initialize(w, world.Meta{Incarnation: 1}) })
	m.edit(func(w *world.World) (dove.Txn, error) {
		return edit.CreateAPIToken(w, world.APIToken{ID: admin.ID, Digest: admin.Digest()})
	})
	m.handler = New(Config{Backend: m.member, Store: &store{}, Member: "dpc1", Version: "test", Now: time.Now, Random: rand.Reader, Log: log})
	return m
}

func (m *live) edit(decide func(*world.World) (dove.Txn, error)) {
	m.t.Helper()
	if _, err := m.member.Edit(m.t.Context(), decide); err != nil {
		m.t.Fatal(err)
	}
}

func (m *live) do(what, body string) (status int, text string) {
	method, target, _ := strings.Cut(what, " ")
	request := httptest.NewRequestWithContext(m.t.Context(), method, "https://dpc1"+target, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+m.token)
	switch {
	case strings.HasPrefix(body, "{\""):
		request.Header.Set("Content-Type", "application/json")
	case body != "":
		request.Header.Set("Content-Type", "application/yaml")
	}
	answer := patient{httptest.NewRecorder()}
	m.handler.ServeHTTP(answer, request)
	return answer.Code, answer.Body.String()
}

func (m *live) ok(out any, what, body string) {
	m.t.Helper()
	status, text := m.do(what, body)
	if status != http.StatusOK {
		m.t.Fatalf("%s: %d %s", what, status, text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			m.t.Fatalf("%s: %v in %s", what, err, text)
		}
	}
}

// liveHost is a host's end of its session. It says of ports what a test has it say, acknowledges all
// that it is told, and carries its flows, of which there are none.
type liveHost struct {
	name  dove.HostName
	up    chan control.Up
	down  chan control.Down
	gone  context.Context
	leave func()
	ports map[dove.EndpointID]*control.Assign
}

// host makes a host that has joined and opens its session.
func (m *live) host(name dove.HostName, vtep string) *liveHost {
	m.t.Helper()
	id := control.Identity{Host: name, VTEP: netip.MustParseAddr(vtep), Serial: "01"}
	m.edit(func(*world.World) (dove.Txn, error) {
		return dove.Txn{Puts: []dove.Put{world.Put(world.Host{Name: id.Host, VTEP: id.VTEP, Serial: id.Serial})}}, nil
	})
	h := &liveHost{name: name, up: make(chan control.Up, 256), down: make(chan control.Down, 256), ports: map[dove.EndpointID]*control.Assign{}}
	h.gone, h.leave = context.WithCancel(m.t.Context())
	m.t.Cleanup(h.leave)
	m.hosts = append(m.hosts, h)
	h.up <- &control.Hello{Version: control.Version, Host: id.Host, VTEP: id.VTEP, Incarnation: 1}
	go func() { _ = m.member.Converse(h.gone, id, h) }()
	return h
}

func (h *liveHost) Send(messages ...control.Down) error {
	for _, m := range messages {
		h.down <- m
	}
	return h.gone.Err()
}

func (h *liveHost) TrySend(messages ...control.Down) (bool, error) { return true, h.Send(messages...) }

func (h *liveHost) Recv() (control.Up, error) {
	select {
	case m := <-h.up:
		return m, nil
	case <-h.gone.Done():
		return nil, h.gone.Err()
	}
}

func (h *liveHost) Waiting() bool { return len(h.up) > 0 }
func (h *liveHost) Stop()         { h.leave() }

// says has the host say how ports are.
func (h *liveHost) says(state control.EndpointState, detail string, ids ...dove.EndpointID) {
	for _, id := range ids {
		h.up <- h.is(id, state, detail)
	}
}

func (h *liveHost) is(id dove.EndpointID, state control.EndpointState, detail string) *control.EndpointUpdate {
	a := h.ports[id]
	return &control.EndpointUpdate{Endpoint: a.Endpoint, Epoch: a.Epoch, State: state, Detail: detail, Standby: a.Standby}
}

// settle goes on until nobody has anything to say.
func (m *live) settle() {
	m.t.Helper()
	for told := true; told; {
		told = false
		synctest.Wait()
		for _, h := range m.hosts {
			for len(h.down) > 0 {
				told = true
				h.take(m.t, <-h.down)
			}
		}
	}
}

func (h *liveHost) take(t *testing.T, m control.Down) {
	switch m := m.(type) {
	case *control.Refusal:
		t.Fatalf("%s is refused: %s", h.name, m.Message)
	case *control.Assign:
		h.ports[m.Endpoint.ID] = m
	case *control.Unassign:
		delete(h.ports, m.Endpoint.ID)
	case *control.CarryRequest:
		h.up <- &control.Carry{Endpoint: m.Endpoint, Epoch: m.Epoch}
	case *control.Carry:
		has := h.is(m.Endpoint.ID, control.EndpointActive, "")
		has.Carried = true
		h.up <- has
	case *control.Frontier:
		h.up <- &control.Ack{Revision: m.Revision}
	}
}
