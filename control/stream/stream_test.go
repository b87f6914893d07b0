package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
)

var vtep = netip.MustParseAddr("192.0.2.1")

// rig is a member that serves on loopback.
type rig struct {
	ca     *auth.Authority
	addr   string
	stop   context.CancelFunc
	served chan error
}

func serve(t *testing.T, admit func(context.Context, control.Identity) error, converse func(context.Context, control.Identity, control.MemberConn) error) *rig {
	t.Helper()
	ca := newCA(t)
	server, err := ca.IssueServer("dpc1", nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &rig{ca, l.Addr().String(), stop, make(chan error, 1)}
	s := &Server{
		TLS:      auth.ControlTLS(server, ca.Certificate()),
		Admit:    admit,
		Converse: converse,
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	go func() { r.served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-r.served; err != nil {
			t.Error(err)
		}
	})
	return r
}

func anybody(context.Context, control.Identity) error { return nil }

func newCA(t *testing.T) *auth.Authority {
	t.Helper()
	ca, err := auth.NewAuthority("test", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func hostTLS(t *testing.T, ca *auth.Authority, host dove.HostName, now time.Time) *tls.Config {
	t.Helper()
	key, request, err := auth.NewHostKey(host, vtep)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := ca.SignHost(request, host, vtep, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, err := auth.NewHostCredentials(key, cert, ca.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c.TLS()
}

// greet answers each Hello with a Welcome and each Ack with a Frontier, until
// the host ends the session.
func greet(_ context.Context, id control.Identity, conn control.MemberConn) error {
	for {
		up, err := conn.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var down control.Down
		switch up := up.(type) {
		case *control.Hello:
			down = &control.Welcome{Version: control.Version, Member: "for-" + string(id.Host), Incarnation: 7, Revision: up.Seen}
		case *control.Ack:
			down = &control.Frontier{Revision: up.Revision}
		default:
			down = &control.Heartbeat{}
		}
		if err := conn.Send(down); err != nil {
			return err
		}
	}
}

func hello(host dove.HostName) *control.Hello {
	return &control.Hello{Version: control.Version, Host: host, VTEP: vtep, Software: "test 0", Seen: 5}
}

func TestConversation(t *testing.T) {
	ended := make(chan error, 1)
	r := serve(t, anybody, func(ctx context.Context, id control.Identity, conn control.MemberConn) error {
		err := greet(ctx, id, conn)
		ended <- err
		return err
	})
	// The first two addresses do not answer as a member.
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	conn, err := Dial(t.Context(), []string{dead.Addr().String(), r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	say := func(up control.Up, want control.Down) {
		t.Helper()
		if err := conn.Send(up); err != nil {
			t.Fatal(err)
		}
		got, err := conn.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	say(hello("h1"), &control.Welcome{Version: control.Version, Member: "for-h1", Incarnation: 7, Revision: 5})
	for i := range dove.Revision(100) {
		say(&control.Ack{Revision: i + 6}, &control.Frontier{Revision: i + 6})
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		if m, err := conn.Recv(); err != io.EOF {
			t.Errorf("after Close Recv gives %v, %v", m, err)
		}
	})
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	reader.Wait()
	if err := <-ended; err != nil {
		t.Errorf("the member saw no orderly end: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	r := serve(t, func(_ context.Context, id control.Identity) error {
		if id.Host == "revoked" {
			return dove.Errorf(dove.Unauthorized, "host revoked has another certificate: join again")
		}
		return nil
	}, greet)
	other := newCA(t)
	foreign := hostTLS(t, other, "h1", time.Now())
	foreign.RootCAs = hostTLS(t, r.ca, "h1", time.Now()).RootCAs
	server, err := r.ca.IssueServer("dpc2", nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	noHost := auth.ClientTLS(r.ca.Certificate())
	noHost.Certificates = []tls.Certificate{server}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()

	for name, c := range map[string]struct {
		ctx    context.Context
		addrs  []string
		config *tls.Config
		kind   dove.Kind
		says   string
	}{
		"no certificate":        {t.Context(), []string{r.addr}, auth.ClientTLS(r.ca.Certificate()), dove.Unavailable, ""},
		"another authority":     {t.Context(), []string{r.addr}, foreign, dove.Unavailable, ""},
		"expired":               {t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now().Add(-auth.HostLifetime-time.Hour)), dove.Unavailable, ""},
		"not a host":            {t.Context(), []string{r.addr}, noHost, dove.Unavailable, ""},
		"member is not trusted": {t.Context(), []string{r.addr}, hostTLS(t, other, "h1", time.Now()), dove.Unavailable, "unknown authority"},
		"revoked":               {t.Context(), []string{r.addr}, hostTLS(t, r.ca, "revoked", time.Now()), dove.Unauthorized, "join again"},
		"no address":            {t.Context(), nil, hostTLS(t, r.ca, "h1", time.Now()), dove.Invalid, "no address"},
		"silent member":         {short, []string{silent.Addr().String()}, hostTLS(t, r.ca, "h1", time.Now()), dove.Unavailable, ""},
	} {
		conn, err := Dial(c.ctx, c.addrs, c.config)
		if err == nil {
			conn.Close()
			t.Errorf("%s: admitted", name)
		} else if dove.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %s error %v", name, dove.KindOf(err), err)
		}
	}
}

func TestHelloMustBeTheCertificates(t *testing.T) {
	r := serve(t, anybody, greet)
	wrongVTEP := hello("h1")
	wrongVTEP.VTEP = netip.MustParseAddr("192.0.2.2")
	for name, m := range map[string]*control.Hello{"host": hello("h2"), "underlay address": wrongVTEP} {
		conn, err := Dial(t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Send(m); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Recv(); dove.KindOf(err) != dove.Forbidden {
			t.Errorf("another %s: %v", name, err)
		}
		conn.Close()
	}
}

func TestStopEndsSessions(t *testing.T) {
	opened := make(chan struct{})
	r := serve(t, anybody, func(ctx context.Context, _ control.Identity, _ control.MemberConn) error {
		close(opened)
		<-ctx.Done()
		return ctx.Err()
	})
	conn, err := Dial(t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	<-opened
	r.stop()
	if _, err := conn.Recv(); dove.KindOf(err) != dove.Unavailable || !strings.Contains(err.Error(), "another one") {
		t.Errorf("the host reads %v", err)
	}
	conn.Close()
}

// TestGarbage sends, as a host with a good certificate, what no dSwitch sends.
func TestGarbage(t *testing.T) {
	r := serve(t, anybody, greet)
	frame := func(compressed byte, length uint32, body []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{compressed}, length), body...)
	}
	noise := make([]byte, 4096)
	rand.Read(noise)
	for name, c := range map[string]struct {
		body []byte
		code string // grpc-status
	}{
		"not protobuf":          {frame(0, 4, []byte{0xff, 0xff, 0xff, 0xff}), "13"},
		"noise":                 {frame(0, 4096, noise), "13"},
		"empty envelope":        {frame(0, 0, nil), "3"},
		"what a member says":    {frame(0, 4, []byte{0xb2, 0x01, 0x00, 0x00}), ""},
		"hello of nobody":       {frame(0, 2, []byte{0x0a, 0x00}), "3"},
		"unknown compression":   {frame(1, 2, []byte{0x0a, 0x00}), ""},
		"larger than the limit": {frame(0, MessageMax+1, nil), "8"},
		"cut in the middle":     {frame(0, 100, []byte{0x0a}), ""},
	} {
		transport := &http.Transport{TLSClientConfig: hostTLS(t, r.ca, "h1", time.Now()), ForceAttemptHTTP2: true}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.addr+"/dove.control.v1.Control/Conversation", bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("TE", "trailers")
		answer, err := transport.RoundTrip(request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		code := answer.Trailer.Get("grpc-status") + answer.Header.Get("grpc-status")
		if code == "0" || code == "" || c.code != "" && code != c.code {
			t.Errorf("%s: status %q, want %q: %s", name, code, c.code, answer.Trailer.Get("grpc-message"))
		}
		transport.CloseIdleConnections()
	}
	// The member lives on.
	conn, err := Dial(t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	go conn.Recv()
	conn.Close()
}
