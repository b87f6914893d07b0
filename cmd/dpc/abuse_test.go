package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
)

const besiegedShop = `apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  front: {subnets: [10.0.0.0/16]}
groups:
  web: {network: front}
  app: {network: front}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/443]}
`

// besieged is a member with two hosts: one that asks all the time, and one that is hostile.
type besieged struct {
	*testing.T
	settings
	client      *client.Client
	authority   *auth.Authority
	good, evil  *auth.HostCredentials
	vni         dove.VNI
	web, app    netip.Addr // of an endpoint on the good one, and on the other
	webEndpoint dove.Endpoint

	mu     sync.Mutex
	took   []time.Duration // of questions of the good one, since the last look
	failed error
}

var (
	goodVTEP = netip.MustParseAddr("192.0.2.1")
	evilVTEP = netip.MustParseAddr("192.0.2.2")
)

func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{T: t}
	b.settings = settings{State: filepath.Join(t.TempDir(), "dpc"), Listen: addresses{API: daemontest.FreeAddress(t), Control: daemontest.FreeAddress(t)}, Metrics: daemontest.FreeAddress(t)}
	if err := (&initial{State: b.State, Name: "dpc-1", Advertise: []string{b.Listen.API}}).init(io.Discard); err != nil {
		t.Fatal(err)
	}
	b.authority = must[*auth.Authority](t)(auth.LoadAuthority(b.State))
	var stop func()
	b.client, stop = start(t, b.settings)
	t.Cleanup(stop)
	must[api.Tenant](t)(b.client.PutTenant(t.Context(), "acme", nil))
	must[api.Blueprint](t)(b.client.PutBlueprint(t.Context(), "acme", "shop", []byte(besiegedShop), nil))
	b.vni = must[api.Network](t)(b.client.Network(t.Context(), dove.Network{Tenant: "acme", Name: "front"})).VNI
	b.good, b.evil = b.join("good", goodVTEP), b.join("evil", evilVTEP)
	put := func(id dove.EndpointID, group string, host dove.HostName) netip.Addr {
		e := must[api.Endpoint](t)(b.client.PutEndpoint(t.Context(), dove.Endpoint{Tenant: "acme", ID: id}, api.EndpointSpec{Groups: []string{"shop/" + group}, Host: host}, nil))
		return netip.MustParseAddr(e.Addresses[0])
	}
	b.webEndpoint = dove.Endpoint{Tenant: "acme", ID: "web-1"}
	b.web, b.app = put("web-1", "web", "good"), put("app-1", "app", "evil")
	b.ask()
	return b
}

func (b *besieged) join(host dove.HostName, vtep netip.Addr) *auth.HostCredentials {
	b.Helper()
	token := must[api.JoinToken](b.T)(b.client.CreateJoinToken(b.Context(), host, time.Minute))
	parsed := must[auth.Token](b.T)(auth.ParseToken(auth.JoinToken, token.Token))
	return must[*auth.HostCredentials](b.T)(auth.Join(b.Context(), b.Listen.API, parsed, host, vtep))
}

// ask has the good host ask one question after the other, until the test ends.
func (b *besieged) ask() {
	conn := must[control.HostConn](b.T)(stream.Dial(context.Background(), []string{b.Listen.Control}, b.good.TLS()))
	if err := conn.Send(&control.Hello{Version: control.Version, Number: 1, Host: "good", VTEP: goodVTEP}); err != nil {
		b.Fatal(err)
	}
	question := []control.Question{{VNI: b.vni, Local: b.web, Peer: b.app, Outgoing: true}}
	var over sync.WaitGroup
	ending := make(chan struct{})
	over.Go(func() {
		var asked time.Time
		var id uint64
		for err := error(nil); ; {
			var m control.Down
			if err == nil {
				m, err = conn.Recv()
			}
			if err != nil {
				select {
				case <-ending:
				default:
					b.mu.Lock()
					b.failed = err
					b.mu.Unlock()
				}
				return
			}
			switch m := m.(type) {
			case *control.Frontier:
				err = conn.Send(&control.Ack{Revision: m.Revision})
				if id == 0 {
					id, asked = 1, time.Now()
					err = errors.Join(err, conn.Send(&control.PolicyRequest{ID: id, Questions: question}))
				}
			case *control.PolicyReply:
				a := m.Answers[0]
				if a.Status == control.Retry && strings.Contains(a.Detail, "lost touch with its store") {
					// All of this process stood still for too long. As a dSwitch it asks again; the time goes on.
					time.Sleep(a.After)
					id++
					err = conn.Send(&control.PolicyRequest{ID: id, Questions: question})
					continue
				}
				b.mu.Lock()
				b.took = append(b.took, time.Since(asked))
				b.mu.Unlock()
				if a.Status != control.Found {
					err = fmt.Errorf("the answer is %d: %s", a.Status, a.Detail)
					continue
				}
				time.Sleep(time.Millisecond)
				id, asked = id+1, time.Now()
				err = conn.Send(&control.PolicyRequest{ID: id, Questions: question})
			case *control.Refusal:
				err = dove.Errorf(m.Kind, "%s", m.Message)
			}
		}
	})
	b.Cleanup(func() {
		close(ending)
		conn.Close()
		over.Wait()
	})
}

// questionsAtLeast is how many questions the good host asks during each abuse.
const questionsAtLeast = 200

// during does something hostile, and looks what the good host had of it: all its answers,
// each while a packet would still wait for it.
func (b *besieged) during(what string, abuse func()) {
	b.Helper()
	look := func() []time.Duration {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.failed != nil {
			b.Fatalf("%s: the good host has lost its session: %v", what, b.failed)
		}
		return b.took
	}
	b.mu.Lock()
	b.took = nil
	b.mu.Unlock()
	abuse()
	deadline := time.Now().Add(30 * time.Second)
	for len(look()) < questionsAtLeast && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	took := slices.Clone(look())
	if len(took) < questionsAtLeast {
		b.Fatalf("%s: %d questions were answered", what, len(took))
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	b.Logf("%-24s %6d questions, p50 %v, p99 %v, worst %v", what, len(took), p50, p99, took[len(took)-1])
	if p99 > time.Second {
		b.Errorf("%s: answers take %v", what, p99)
	}
}

// raw opens a session as TLS has it, and returns it once the member admits it.
func (b *besieged) raw(config *tls.Config) net.Conn {
	b.Helper()
	config = config.Clone()
	config.NextProtos = []string{"dove-host/1"}
	c, err := (&tls.Dialer{Config: config}).DialContext(b.Context(), "tcp", b.Listen.Control)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		b.Fatal(err)
	}
	return c
}

// frame is a message as it travels.
func (b *besieged) frame(m control.Up) []byte {
	body, err := proto.Marshal(control.EncodeUp(m))
	if err != nil {
		b.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func (b *besieged) evilHello() *control.Hello {
	return &control.Hello{Version: control.Version, Number: uint64(time.Now().UnixNano()), Host: "evil", VTEP: evilVTEP}
}

// counted says how much counters grew, at least.
func (b *besieged) counted(before daemontest.Values, least map[string]float64) {
	b.Helper()
	now := b.scrape()
	for name, n := range least {
		if grew := now[name] - before[name]; grew < n {
			b.Errorf("%s grew by %v, not %v", name, grew, n)
		}
	}
}

func (b *besieged) scrape() daemontest.Values {
	return daemontest.Scrape(b.T, http.DefaultClient, b.Metrics, "dove_")
}

func (b *besieged) refused(what string, config *tls.Config, says string) {
	b.Helper()
	conn, err := stream.Dial(b.Context(), []string{b.Listen.Control}, config)
	if err == nil {
		conn.Close()
		b.Errorf("%s is let in", what)
	} else if !strings.Contains(err.Error(), says) {
		b.Errorf("%s: %v", what, err)
	}
}

// TestAbuse does to a member what it must bear. Nothing of it harms a host that asks
// meanwhile, all of it is refused, and counted by reason.
func TestAbuse(t *testing.T) {
	b := besiege(t)
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 1))
	const connections = "dove_dpc_connections_refused_total{port=control,reason=%s}"
	const unopened = "dove_dpc_sessions_not_opened_total{reason=%s}"
	const ended = "dove_dpc_sessions_ended_total{reason=%s}"
	of := func(format, reason string) string { return fmt.Sprintf(format, reason) }

	b.during("nothing", func() {})
	b.during("certificates", func() {
		before := b.scrape()
		other := must[*auth.Authority](t)(auth.NewAuthority("other", time.Now(), rand.Reader))
		signed := func(by *auth.Authority, host dove.HostName, at netip.Addr, when time.Time) *tls.Config {
			key, request, err := auth.NewHostKey(host, at)
			if err != nil {
				t.Fatal(err)
			}
			cert, _, err := by.SignHost(request, host, at, when, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			// It trusts the member, whoever signed its own certificate.
			config := must[*auth.HostCredentials](t)(auth.NewHostCredentials(key, cert, by.CertificatePEM())).TLS()
			config.RootCAs = b.evil.TLS().RootCAs
			return config
		}
		b.refused("no certificate", auth.ClientTLS(b.authority.Certificate()), "certificate required")
		b.refused("another CA's", signed(other, "good", goodVTEP, time.Now()), "")
		b.refused("an expired one", signed(b.authority, "good", goodVTEP, time.Now().Add(-auth.HostLifetime-time.Hour)), "")
		b.refused("one of before it joined again", signed(b.authority, "good", goodVTEP, time.Now()), "join again")
		b.refused("one of a host that is none", signed(b.authority, "nobody", goodVTEP, time.Now()), "there is no host")
		member := auth.ClientTLS(b.authority.Certificate())
		member.Certificates = []tls.Certificate{must[tls.Certificate](t)(b.authority.IssueServer("dpc-9", nil, time.Now(), rand.Reader))}
		b.refused("a member's", member, "")
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, b.evil.TLS()))
		if err := conn.Send(&control.Hello{Version: control.Version, Number: 1 << 62, Host: "good", VTEP: goodVTEP}); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := conn.Recv(); dove.KindOf(err) == dove.Forbidden {
				break
			} else if err != nil {
				t.Fatalf("in another's name: %v", err)
			}
		}
		conn.Close()
		b.counted(before, map[string]float64{of(connections, "handshake"): 4, of(connections, "certificate"): 2, of(unopened, "hello"): 1})
	})
	b.during("claims", func() {
		before := b.scrape()
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, b.evil.TLS()))
		defer conn.Close()
		if err := conn.Send(b.evilHello()); err != nil {
			t.Fatal(err)
		}
		var mine *control.Assign
		for mine == nil {
			mine, _ = must[control.Down](t)(conn.Recv()).(*control.Assign)
		}
		const claims = 2000
		go func() {
			for range claims {
				_ = conn.Send( // what comes of it is heard below
					&control.EndpointUpdate{Endpoint: b.webEndpoint, Epoch: 1, State: control.EndpointActive},
					&control.EndpointUpdate{Endpoint: mine.Endpoint, Epoch: mine.Epoch + 1, State: control.EndpointActive},
					&control.Claim{Endpoint: b.webEndpoint, Epoch: 1, Addr: b.web},
				)
			}
		}()
		for told := 0; told < claims; {
			switch m := must[control.Down](t)(conn.Recv()).(type) {
			case *control.Unassign:
				if m.Endpoint != b.webEndpoint {
					t.Fatalf("%+v", m)
				}
				told++
			case *control.Assign:
				if m.Endpoint != mine.Endpoint || m.Epoch != mine.Epoch {
					t.Fatalf("%+v", m)
				}
			}
		}
		b.counted(before, map[string]float64{"dove_dpc_claims_denied_total": 2 * claims})
		if e := must[api.Endpoint](t)(b.client.Endpoint(t.Context(), b.webEndpoint)); e.Host != "good" {
			t.Errorf("the endpoint is on %s", e.Host)
		}
	})
	b.during("others' networks", func() {
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, b.evil.TLS()))
		defer conn.Close()
		r := &control.PolicyRequest{ID: 1}
		for i := range control.RowsMax {
			q := control.Question{VNI: b.vni + dove.VNI(i%7), Local: netip.AddrFrom4([4]byte{10, 0, 77, byte(i)}), Peer: b.web}
			r.Questions = append(r.Questions, q)
		}
		if err := errors.Join(conn.Send(b.evilHello()), conn.Send(r)); err != nil {
			t.Fatal(err)
		}
		for answers := 0; answers < len(r.Questions); {
			if reply, ok := must[control.Down](t)(conn.Recv()).(*control.PolicyReply); ok {
				answers += len(reply.Answers)
				if len(reply.Peers)+len(reply.Pairs) > 0 {
					t.Fatalf("a host that has nothing there hears of %d peers", len(reply.Peers))
				}
				for _, a := range reply.Answers {
					if a.Status != control.Refused && a.Status != control.Retry || a.Detail == "" {
						t.Fatalf("%+v", a)
					}
				}
			}
		}
	})
	b.during("fuzzed messages", func() {
		before := b.scrape()
		good := []control.Up{
			&control.PolicyRequest{ID: 9, Questions: []control.Question{{VNI: b.vni, Local: b.app, Peer: b.web}}},
			&control.EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "acme", ID: "app-1"}, Epoch: 1, State: control.EndpointActive, Device: "d"},
			&control.Ack{Revision: 1, Failed: []control.Failure{{Revision: 1, Text: "x"}}},
			&control.Release{Peers: []control.PeerKey{{VNI: b.vni, Addr: b.web}}},
			&control.Claim{Endpoint: b.webEndpoint, Epoch: 1, Addr: b.web},
			&control.Report{ID: 1, Refused: "no"},
			&control.Held{More: true},
			b.evilHello(),
		}
		for range 40 {
			c := b.raw(b.evil.TLS())
			_, err := c.Write(b.frame(b.evilHello()))
			go io.Copy(io.Discard, c)
			for range 500 {
				f := slices.Clone(b.frame(good[random.IntN(len(good))]))
				for range 1 + random.IntN(3) {
					f[4+random.IntN(len(f)-4)] ^= 1 << random.IntN(8)
				}
				if err == nil {
					_, err = c.Write(f)
				}
			}
			c.Close()
		}
		b.counted(before, map[string]float64{of(ended, "invalid"): 20})
	})
	b.during("an endless Hello", func() {
		before := b.scrape()
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, b.evil.TLS()))
		defer conn.Close()
		rows := &control.Held{More: true}
		for i := range control.RowsMax {
			rows.Peers = append(rows.Peers, control.HeldPeer{Key: control.PeerKey{VNI: b.vni, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}})
		}
		hello := b.evilHello()
		hello.More = true
		err := conn.Send(hello)
		for range 1000 { // four million rows
			if err == nil {
				err = conn.Send(rows)
			}
		}
		if err == nil {
			t.Error("four million rows are received")
		}
		for err = nil; err == nil; {
			_, err = conn.Recv()
		}
		if dove.KindOf(err) != dove.TooLarge && dove.KindOf(err) != dove.Unavailable {
			t.Errorf("the session ends with %v", err)
		}
		b.counted(before, map[string]float64{of(unopened, "hello"): 1})
	})
	b.during("the longest Hello", func() {
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, b.evil.TLS()))
		hello := b.evilHello()
		for i := range control.HeldMax {
			hello.Peers = append(hello.Peers, control.HeldPeer{Key: control.PeerKey{VNI: b.vni, Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}, Digest: control.Digest{1}})
		}
		if err := control.SendHello(conn, *hello); err != nil {
			t.Fatal(err)
		}
		for {
			if _, done := must[control.Down](t)(conn.Recv()).(*control.Frontier); done {
				break
			}
		}
		conn.Close()
	})
	b.during("too many sessions", func() {
		before := b.scrape()
		refused := 0
		for range 200 {
			c := b.raw(b.evil.TLS())
			_, _ = c.Write(b.frame(b.evilHello())) // it may be sent away already
			said, _ := io.ReadAll(io.LimitReader(c, 64))
			if bytes.Contains(said, []byte("too often")) {
				refused++
			}
			c.Close()
		}
		if refused == 0 {
			t.Error("nothing was refused")
		}
		b.counted(before, map[string]float64{of(unopened, "often"): float64(refused)})
	})
	b.during("a host that reads nothing", func() {
		b.mayOpen()
		c := b.raw(b.evil.TLS())
		_, err := c.Write(b.frame(b.evilHello()))
		r := &control.PolicyRequest{}
		for i := range 512 {
			r.Questions = append(r.Questions, control.Question{VNI: b.vni, Local: b.app, Peer: netip.AddrFrom4([4]byte{10, 0, 9, byte(i)})})
		}
		over := time.Now().Add(20 * time.Second)
		for id := uint64(1); err == nil && time.Now().Before(over); id++ {
			r.ID = id
			_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
			_, err = c.Write(b.frame(r))
		}
		if err == nil {
			t.Error("it is served for ever")
		}
		c.Close()
	})
}

// TestCrowds has ten thousand connections that never finish a handshake, and requests
// that never end.
func TestCrowds(t *testing.T) {
	b := besiege(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	count := 10_000
	if int(limit.Cur) < count+5000 {
		count = max(3000, int(limit.Cur)-5000) // those of the member are in this process, too
	}
	// They come from another address of this machine than the good host does.
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	crowd := func(address string, beginning []byte, then func()) {
		var all []net.Conn
		defer func() {
			for _, c := range all {
				c.Close()
			}
		}()
		for range count {
			c, err := dialer.DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
			_, _ = c.Write(beginning) // it may be closed already
		}
		then()
	}
	record := []byte{22, 3, 1, 2, 0, 1} // the beginning of a ClientHello
	// A place is free again after ten seconds: on a machine that has much else to do more of them come in.
	crowded := func(port string, places int, before daemontest.Values, began time.Time) {
		b.Helper()
		left := count - places*(1+int(time.Since(began)/stream.HandshakeTimeout))
		b.counted(before, map[string]float64{"dove_dpc_connections_refused_total{port=" + port + ",reason=crowded}": float64(left)})
	}
	b.during("handshakes", func() {
		before, began := b.scrape(), time.Now()
		crowd(b.Listen.Control, record, func() {
			conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, b.evil.TLS()))
			conn.Close()
		})
		crowded("control", stream.HandshakesMax, before, began)
	})
	b.during("handshakes with the API", func() {
		before, began := b.scrape(), time.Now()
		crowd(b.Listen.API, record, func() {
			anew := must[client.Config](t)(client.Load(filepath.Join(b.State, adminFile)))
			c := must[*client.Client](t)(client.New(anew))
			defer c.Close()
			must[api.Status](t)(c.Status(t.Context()))
		})
		crowded("api", idleMax+100, before, began)
	})
	b.during("endless headers", func() {
		pin := b.authority.Pin()
		for range 200 {
			c, err := tls.DialWithDialer(dialer, "tcp", b.Listen.API, auth.PinnedTLS(pin))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "GET /v1/tenants HTTP/1.1\r\nHost: x\r\nX-%d: ", len("x"))
		}
		must[api.Status](t)(b.client.Status(t.Context()))
	})
	b.during("a body of 1 GiB", func() {
		admin := must[client.Config](t)(client.Load(filepath.Join(b.State, adminFile)))
		for what, token := range map[string]string{"nobody": "dove-admin.0000.0000", "an administrator": admin.Token} {
			for _, path := range []string{"/v1/tenants/acme/blueprints/huge", "/v1/tenants/acme/endpoints"} {
				method := http.MethodPut
				if strings.HasSuffix(path, "endpoints") {
					method = http.MethodPost
				}
				sent := &counter{rest: 1 << 30}
				r, err := http.NewRequestWithContext(t.Context(), method, "https://"+b.Listen.API+path, sent)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Content-Type", "application/yaml")
				transport := &http.Transport{TLSClientConfig: auth.PinnedTLS(b.authority.Pin())}
				answer, err := (&http.Client{Transport: transport}).Do(r)
				if err == nil {
					answer.Body.Close()
					if answer.StatusCode < 400 {
						t.Errorf("%s: %s", what, answer.Status)
					}
				}
				if n := sent.sent.Load(); n > 64<<20 {
					t.Errorf("%s sent %d bytes: %v", what, n, err)
				}
				transport.CloseIdleConnections()
			}
		}
	})
}

// counter is a body of so many zeros.
type counter struct {
	rest int64
	sent atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n := int(min(int64(len(p)), c.rest))
	if n == 0 {
		return 0, io.EOF
	}
	copy(p, bytes.Repeat([]byte{'#'}, n))
	c.rest -= int64(n)
	c.sent.Add(int64(n))
	return n, nil
}

// mayOpen waits until the hostile host may open a session again.
func (b *besieged) mayOpen() {
	b.Helper()
	for range 100 {
		conn := must[control.HostConn](b.T)(stream.Dial(b.Context(), []string{b.Listen.Control}, b.evil.TLS()))
		err := conn.Send(b.evilHello())
		var m control.Down
		if err == nil {
			m, err = conn.Recv()
		}
		conn.Close()
		if _, welcome := m.(*control.Welcome); welcome && err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Fatal("it may never again")
}

// TestScan has a tenant ask from many hosts about all of its network, as fast as it is
// answered: a host of another tenant is answered beside it.
func TestScan(t *testing.T) {
	b := besiege(t)
	b.during("nothing", func() { time.Sleep(time.Second) })
	must[api.Tenant](t)(b.client.PutTenant(t.Context(), "scan", nil))
	must[api.Blueprint](t)(b.client.PutBlueprint(t.Context(), "scan", "shop", []byte(besiegedShop), nil))
	vni := must[api.Network](t)(b.client.Network(t.Context(), dove.Network{Tenant: "scan", Name: "front"})).VNI
	const scanners = 16
	var asked atomic.Int64
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready := make(chan struct{}, scanners)
	for i := range scanners {
		name, vtep := dove.HostName(fmt.Sprintf("scan-%d", i)), netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)})
		host := b.join(name, vtep)
		e := must[api.Endpoint](t)(b.client.PutEndpoint(t.Context(), dove.Endpoint{Tenant: "scan", ID: dove.EndpointID(name)}, api.EndpointSpec{Groups: []string{"shop/web"}, Host: name}, nil))
		local := netip.MustParseAddr(e.Addresses[0])
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{b.Listen.Control}, host.TLS()))
		all.Go(func() {
			defer conn.Close()
			var at uint16
			var id uint64
			ask := func() error {
				id++
				r := &control.PolicyRequest{ID: id}
				for range 64 {
					at++
					r.Questions = append(r.Questions, control.Question{VNI: vni, Local: local, Peer: netip.AddrFrom4([4]byte{10, 0, byte(at >> 8), byte(at)}), Outgoing: true})
				}
				return conn.Send(r)
			}
			err := conn.Send(&control.Hello{Version: control.Version, Number: 1, Host: name, VTEP: vtep})
			for missing := 0; err == nil && ctx.Err() == nil; {
				var m control.Down
				if m, err = conn.Recv(); err != nil {
					break
				}
				switch m := m.(type) {
				case *control.Frontier:
					err = conn.Send(&control.Ack{Revision: m.Revision})
					if id == 0 {
						ready <- struct{}{}
						missing, err = 64, errors.Join(err, ask())
					}
				case *control.PolicyReply:
					asked.Add(int64(len(m.Answers)))
					if missing -= len(m.Answers); missing == 0 {
						missing, err = 64, ask()
					}
				}
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for range scanners {
		<-ready
	}
	b.during("a scan", func() {
		before := asked.Load()
		time.Sleep(3 * time.Second)
		n := asked.Load() - before
		t.Logf("%d questions of the scan were answered meanwhile", n)
		if n < 1000 {
			t.Error("nobody scans")
		}
	})
	stop()
	all.Wait()
}
