package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"dove.network/agent"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
	"dove.network/privtest"
	"dove.network/verdict"
)

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("DSWITCH_TEST_PROGRAM") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":       {nil, "dpc: no DPC member is named"},
		"many":          {[]string{"--dpc=x", "--underlay=::1", "--state=here", "--rows=1"}, "dpc: \"x\" is not of the form host:port"},
		"family":        {[]string{"--dpc=x:1", "--underlay=fe80::1"}, "not an address of one host that others reach"},
		"token":         {[]string{"--dpc=x:1", "--join=abc"}, "join: this is no dove-join token"},
		"join, no more": {[]string{"join"}, "join: the join token is missing"},
		"plug":          {[]string{"plug", "web-1", "dvx"}, "is not of the form tenant/id"},
		"unknown":       {[]string{"frobnicate"}, "unknown command"},
	} {
		cmd := command()
		cmd.SetArgs(c.args)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cmd := command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"run", "--check", "--dpc=192.0.2.254:7444", "--underlay=192.0.2.1"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "underlay: 192.0.2.1\n") {
		t.Errorf("--check: %v\n%s", err, out.String())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// space is a network namespace.
type space struct{ netns.NsHandle }

func newSpace(t *testing.T) space {
	t.Helper()
	var s space
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the function
		var err error
		s.NsHandle, err = netns.New()
		done <- err
	}()
	must(t, <-done)
	t.Cleanup(func() { s.Close() })
	s.do(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return s
}

// do runs f inside the namespace.
func (s space) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.NsHandle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	must(t, <-done)
}

// path is how the program finds the namespace.
func (s space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.NsHandle)) }

// link joins two namespaces by a veth pair; either end may get an address.
func link(t *testing.T, a space, nameA, addrA string, b space, nameB, addrB string, mac dove.MAC, mtu int) {
	t.Helper()
	a.do(t, func() error {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: mtu}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.NsHandle)}
		if mac != (dove.MAC{}) {
			v.PeerHardwareAddr = mac[:]
		}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		return up(nameA, addrA)
	})
	b.do(t, func() error { return up(nameB, addrB) })
}

func up(name, address string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if address != "" {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// dpc is a DPC member that knows two endpoints.
type dpc struct {
	authority *auth.Authority
	mu        sync.Mutex
	sessions  map[dove.HostName]control.MemberConn
	states    map[string]control.EndpointState
	acked     map[dove.HostName]dove.Revision
	rule      string
	allow     bool
	revision  dove.Revision
}

var testDomain = dove.Domain{Tenant: "red", Name: "shop"}

// guests[i] lives on host h(i+1), whose VTEP is 192.0.2.(i+1).
var guests = []control.Peer{guest(1), guest(2)}

func guest(n byte) control.Peer {
	return control.Peer{
		Key: control.PeerKey{VNI: 700, Addr: netip.AddrFrom4([4]byte{10, 0, 0, n})}, UID: dove.UID(n), Domain: testDomain,
		Endpoint: dove.Endpoint{Tenant: "red", ID: dove.EndpointID(fmt.Sprintf("g%d", n))},
		MAC:      dove.MAC{2, 0, 0, 0, 0, n}, Class: 20 + dove.Class(n),
		Host: dove.HostName(fmt.Sprintf("h%d", n)), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, n}),
	}
}

func (d *dpc) pair(src, dst dove.Class) control.Pair {
	half := verdict.Half{Default: d.allow, DefaultName: d.rule, Stateful: true}
	return control.Pair{Key: control.PairKey{Domain: testDomain, Src: src, Dst: dst}, Table: verdict.Product(half, half)}
}

func (d *dpc) converse(_ context.Context, id control.Identity, conn control.MemberConn) error {
	if _, err := control.ReceiveHello(conn); err != nil {
		return err
	}
	i := slices.IndexFunc(guests, func(g control.Peer) bool { return g.Host == id.Host })
	g := guests[i]
	d.mu.Lock()
	opening := []control.Down{
		&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 1, Revision: d.revision},
		&control.Assign{Revision: d.revision, Endpoint: g.Endpoint, UID: g.UID, Epoch: 1, VNI: g.Key.VNI,
			Network: dove.Network{Tenant: "red", Name: "front"}, Domain: g.Domain, MTU: 1450, MAC: g.MAC,
			Address: []control.Address{{Addr: g.Key.Addr, Class: g.Class}}},
		&control.Tunnels{Revision: d.revision, Full: true, Add: []control.Tunnel{{Host: "h1", VTEP: guests[0].VTEP}, {Host: "h2", VTEP: guests[1].VTEP}}},
		&control.Update{Revision: d.revision, Peers: guests, Pairs: []control.Pair{d.pair(21, 22), d.pair(22, 21)}}, // a restarted agent forgot them
		&control.Frontier{Revision: d.revision},
	}
	for _, m := range opening {
		if err := conn.Send(m); err != nil {
			d.mu.Unlock()
			return err
		}
	}
	d.sessions[id.Host] = conn
	d.mu.Unlock()
	for {
		m, err := conn.Recv()
		if err != nil {
			return nil
		}
		d.hear(id.Host, g, conn, m)
	}
}

func (d *dpc) hear(host dove.HostName, local control.Peer, conn control.MemberConn, m control.Up) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := m.(type) {
	case *control.EndpointUpdate:
		d.states[m.Endpoint.String()] = m.State
	case *control.Ack:
		d.acked[host] = m.Revision
	case *control.PolicyRequest:
		r := &control.PolicyReply{ID: m.ID, Revision: d.revision}
		for _, q := range m.Questions {
			a := control.Answer{Question: q, Status: control.NoEndpoint}
			row := control.Peer{Key: control.PeerKey{VNI: q.VNI, Addr: q.Peer}, Absent: true, TTL: time.Second}
			for _, g := range guests {
				if g.Key.Addr == q.Peer {
					a, row = control.Answer{Question: q, Status: control.Found, Local: local.Class, Peer: g.Class, Domain: testDomain}, g
					r.Pairs = append(r.Pairs, d.pair(local.Class, g.Class), d.pair(g.Class, local.Class))
				}
			}
			r.Answers, r.Peers = append(r.Answers, a), append(r.Peers, row)
		}
		_ = conn.Send(r) // a session that is gone is told on Recv
	}
}

// deny makes a revision that forbids everything.
func (d *dpc) deny(t *testing.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revision++
	d.rule, d.allow = "shop/none", false
	for _, conn := range d.sessions {
		must(t, conn.Send(&control.Update{Revision: d.revision, Pairs: []control.Pair{d.pair(21, 22), d.pair(22, 21)}}))
		must(t, conn.Send(&control.Frontier{Revision: d.revision}))
	}
}

// serve offers joining and the conversation inside the namespace of the fabric.
func (d *dpc) serve(t *testing.T, fabric space) {
	var err error
	d.authority, err = auth.NewAuthority("test", time.Now(), rand.Reader)
	must(t, err)
	server, err := d.authority.IssueServer("m1", []string{"192.0.2.254"}, time.Now(), rand.Reader)
	must(t, err)
	var api, talk net.Listener
	fabric.do(t, func() (err error) {
		if api, err = net.Listen("tcp", "192.0.2.254:7443"); err == nil {
			talk, err = net.Listen("tcp", "192.0.2.254:7444")
		}
		return err
	})
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+auth.JoinPath, func(w http.ResponseWriter, r *http.Request) {
		var q auth.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		cert, _, err := d.authority.SignHost([]byte(q.Request), dove.HostName(q.Host), q.VTEP, time.Now(), rand.Reader)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(auth.JoinReply{Certificate: string(cert), Authority: string(d.authority.CertificatePEM()), Revision: 1})
	})
	web := &http.Server{Handler: mux, TLSConfig: auth.APITLS(server)}
	go func() { _ = web.ServeTLS(api, "", "") }()
	conversation := &stream.Server{
		TLS:      auth.ControlTLS(server, d.authority.Certificate()),
		Admit:    func(context.Context, control.Identity) error { return nil },
		Converse: d.converse,
		Log:      slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- conversation.Serve(ctx, talk) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		web.Close()
	})
}

// machine is a host with its program.
type machine struct {
	t      *testing.T
	space  space
	args   []string
	client *agent.Client
	cmd    *exec.Cmd
	keeper *manager
}

func (m *machine) program(args ...string) *exec.Cmd {
	self, err := os.Executable()
	must(m.t, err)
	cmd := exec.Command(self, append(args, m.args...)...)
	cmd.Env = append(os.Environ(), "DSWITCH_TEST_PROGRAM=1", "WATCHDOG_USEC=60000000")
	cmd.Stdout, cmd.Stderr = m.t.Output(), m.t.Output()
	return cmd
}

func (m *machine) start() {
	m.t.Helper()
	m.cmd = m.program("run")
	must(m.t, m.keeper.Start(m.cmd))
}

func (m *machine) stop() {
	m.t.Helper()
	must(m.t, m.cmd.Process.Signal(unix.SIGTERM))
	must(m.t, m.cmd.Wait())
	m.cmd = nil
}

func (m *machine) ready() error {
	s, err := m.client.Status(m.t.Context())
	if err == nil && (s.Session != "open" || len(s.Ports) != 1 || s.Ports[0].State != "active") {
		err = fmt.Errorf("status %+v", s)
	}
	return err
}

// eventually tries until f has no complaint.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if err = f(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
}

// TestTwoHosts runs the program on two hosts: they join, plug a guest each, carry
// a connection over the overlay and over a restart, end it when the policy says
// so, and leave nothing behind.
func TestTwoHosts(t *testing.T) {
	privtest.Require(t)
	bpf := t.TempDir()
	must(t, unix.Mount("bpf", bpf, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(bpf, unix.MNT_DETACH)) })
	fabric := newSpace(t)
	fabric.do(t, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}); err != nil {
			return err
		}
		return up("br", "192.0.2.254/24")
	})
	d := &dpc{sessions: map[dove.HostName]control.MemberConn{}, states: map[string]control.EndpointState{},
		acked: map[dove.HostName]dove.Revision{}, rule: "shop/all", allow: true, revision: 1}
	d.serve(t, fabric)

	var machines []*machine
	var inside []space
	for i, g := range guests {
		m := &machine{t: t, space: newSpace(t), keeper: newManager(t)}
		link(t, fabric, fmt.Sprintf("p%d", i), "", m.space, "u0", g.VTEP.String()+"/24", dove.MAC{}, 1500)
		fabric.do(t, func() error {
			p, err := netlink.LinkByName(fmt.Sprintf("p%d", i))
			if err != nil {
				return err
			}
			br, err := netlink.LinkByName("br")
			if err != nil {
				return err
			}
			return netlink.LinkSetMaster(p, br)
		})
		token, err := auth.NewToken(auth.JoinToken, d.authority.Pin(), rand.Reader)
		must(t, err)
		state := t.TempDir()
		m.args = []string{"--netns", m.space.path(), "--state", state, "--pins", filepath.Join(bpf, string(g.Host)),
			"--host", string(g.Host), "--underlay", g.VTEP.String(), "--dpc", "192.0.2.254:7444", "--metrics", metricsAddress}
		if i == 0 { // by a command of its own; the other joins when it first runs
			must(t, m.program("join", token.Text()).Run())
		} else {
			m.args = append(m.args, "--join", token.Text())
		}
		m.client = agent.NewClient(filepath.Join(state, socketName))
		t.Cleanup(m.client.Close)
		m.start()
		t.Cleanup(func() {
			if m.cmd != nil {
				_ = m.cmd.Process.Kill()
				_ = m.cmd.Wait()
			}
		})
		in := newSpace(t)
		link(t, m.space, "dv"+string(g.Endpoint.ID), "", in, "eth0", g.Key.Addr.String()+"/24", g.MAC, 1450)
		machines, inside = append(machines, m), append(inside, in)
	}
	for i, m := range machines {
		m.keeper.hears(t, "READY=1")
		m.keeper.hears(t, fmt.Sprintf("STATUS=host h%d at 192.0.2.%d", i+1, i+1))
		eventually(t, m.ready)
	}

	var listener net.Listener
	inside[1].do(t, func() (err error) { listener, err = net.Listen("tcp", "10.0.0.2:80"); return err })
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	dial := func() (conn net.Conn) {
		inside[0].do(t, func() (err error) {
			conn, err = net.DialTimeout("tcp", "10.0.0.2:80", 5*time.Second)
			return err
		})
		return conn
	}
	echo := func(conn net.Conn, within time.Duration) error {
		must(t, conn.SetDeadline(time.Now().Add(within)))
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 5))
		return err
	}
	conn := dial()
	defer conn.Close()
	must(t, echo(conn, 5*time.Second))
	for _, m := range machines {
		s, err := m.client.Status(t.Context())
		if err != nil || s.Held.Peers != 1 || s.Held.Pairs != 2 {
			t.Fatalf("status %+v, %v", s, err)
		}
	}
	machines[0].metrics().Want(t, daemontest.Values{
		"dove_dswitch_session_open": 1, "dove_dswitch_held_rows{kind=peer}": 1, "dove_dswitch_ports{state=active}": 1,
		"dove_dswitch_flows": 1, "dove_dswitch_dropped_packets_total{reason=policy}": 0, "dove_dswitch_vteps": 2,
	})

	// Without the agent, known flows and new ones to known peers pass.
	machines[0].stop()
	machines[0].keeper.hears(t, "STOPPING=1")
	must(t, echo(conn, 5*time.Second))
	second := dial()
	must(t, echo(second, 5*time.Second))
	second.Close()
	machines[0].start()
	eventually(t, machines[0].ready)
	must(t, echo(conn, 5*time.Second))
	eventually(t, func() error { // the peer has its name once its row was told anew
		flows, err := machines[0].client.Flows(t.Context())
		if err == nil && !slices.ContainsFunc(flows, func(f agent.FlowRecord) bool {
			return f.From == "red/g1" && f.To == "red/g2" && f.DstPort == 80
		}) {
			err = fmt.Errorf("flows %+v", flows)
		}
		return err
	})

	d.deny(t)
	eventually(t, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.acked["h1"] != d.revision || d.acked["h2"] != d.revision {
			return fmt.Errorf("acknowledged %v of %d", d.acked, d.revision)
		}
		return nil
	})
	if err := echo(conn, 500*time.Millisecond); err == nil {
		t.Fatal("a connection outlives what allowed it")
	}
	eventually(t, func() error {
		drops, err := machines[0].client.Drops(t.Context(), 0, false)
		for _, x := range drops.Drops {
			if x.Reason == "policy" && x.Rule == "shop/none" && x.From == "red/g1" && x.To == "red/g2" && x.Protocol == "tcp" {
				return err
			}
		}
		return fmt.Errorf("drops %+v, %w", drops, err)
	})

	machines[0].metrics().Documented(t, "dove_dswitch_", "../../docs/operations.md", "dove_dswitch_closed_pairs")
	if v := machines[0].metrics(); v["dove_dswitch_dropped_packets_total{reason=policy}"] < 1 || v["dove_dswitch_certificate_expiry_timestamp_seconds"] <= 0 {
		t.Errorf("metrics say of drops %v and of the certificate %v", v["dove_dswitch_dropped_packets_total{reason=policy}"], v["dove_dswitch_certificate_expiry_timestamp_seconds"])
	}

	for i, m := range machines {
		m.stop()
		if m.program("remove").Run() == nil {
			t.Error("it is removed while the service manager may start it again")
		}
		must(t, m.keeper.Forget())
		must(t, m.program("remove").Run())
		if _, err := os.Stat(filepath.Join(bpf, string(guests[i].Host))); !os.IsNotExist(err) {
			t.Errorf("the pins are left: %v", err)
		}
		m.space.do(t, func() error {
			if _, err := netlink.LinkByName("dsw-up"); err == nil {
				t.Error("dsw-up is left")
			}
			return nil
		})
	}
}
