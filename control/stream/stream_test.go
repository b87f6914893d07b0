package stream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"google.golang.org/protobuf/proto"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/controlpb"
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
	return serveRefusing(t, admit, converse, nil)
}

func serveRefusing(t *testing.T, admit func(context.Context, control.Identity) error, converse func(context.Context, control.Identity, control.MemberConn) error, refused func(Reason)) *rig {
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
		Refused:  refused,
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
	r := serve(t, anybody, func(ctx context.Context, _ control.Identity, conn control.MemberConn) error {
		close(opened)
		if err := conn.Send(); err != nil {
			return err
		}
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
	frame := func(kind byte, length uint32, body []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(kind)<<24|length), body...)
	}
	noise := make([]byte, 4096)
	rand.Read(noise)
	noise[0], noise[1] = 0xff, 0xff
	for name, c := range map[string]struct {
		sent []byte
		kind dove.Kind
	}{
		"not protobuf":          {frame(frameMessage, 4, []byte{0xff, 0xff, 0xff, 0xff}), dove.Invalid},
		"noise":                 {noise, dove.TooLarge},
		"noise in a frame":      {frame(frameMessage, 4096, noise), dove.Invalid},
		"empty envelope":        {frame(frameMessage, 0, nil), dove.Invalid},
		"what a member says":    {frame(frameMessage, 3, []byte{0xb2, 0x01, 0x00}), dove.Invalid},
		"hello of nobody":       {frame(frameMessage, 2, []byte{0x0a, 0x00}), dove.Invalid},
		"unknown frame":         {frame(77, 0, nil), dove.Invalid},
		"admits the member":     {frame(frameAdmitted, 0, nil), dove.Invalid},
		"larger than the limit": {frame(frameMessage, control.MessageMax+1, nil), dove.TooLarge},
		"ends for no reason":    {frame(frameEnd, 2, []byte{0x08, 0x7f}), dove.Invalid},
		"refuses the member":    {frame(frameEnd, 2, []byte{0x08, byte(dove.Forbidden)}), dove.Forbidden},
		"cut in the middle":     {frame(frameMessage, 100, []byte{0x0a}), dove.Unavailable},
		"cut in a large one":    {frame(frameMessage, control.MessageMax, noise), dove.Unavailable},
		"cut in the header":     {[]byte{0, 0}, dove.Unavailable},
		"says nothing":          {nil, dove.Unavailable},
	} {
		w, err := dial(t.Context(), r.addr, hostTLS(t, r.ca, "h1", time.Now()), hostProtocol, AdmitTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.tls.Write(c.sent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.tls.CloseWrite(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.recv(&controlpb.Envelope{}); dove.KindOf(err) != c.kind {
			t.Errorf("%s: the member says %s %v, want %s", name, dove.KindOf(err), err, c.kind)
		}
		w.socket.Close()
	}
	// The member lives on.
	conn, err := Dial(t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	go conn.Recv()
	conn.Close()
}

// TestWhatAnswersIsNoMember dials servers with a good certificate that do something else.
func TestWhatAnswersIsNoMember(t *testing.T) {
	ca := newCA(t)
	certificate, err := ca.IssueServer("dpc1", nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, protocols := range map[string][]string{"says no protocol": nil, "speaks another one": {"h2"}, "hangs up": {hostProtocol}} {
		config := auth.ControlTLS(certificate, ca.Certificate())
		config.NextProtos = protocols
		l, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_ = c.(*tls.Conn).Handshake()
				c.Close()
			}
		}()
		if _, err := Dial(t.Context(), []string{l.Addr().String()}, hostTLS(t, ca, "h1", time.Now())); dove.KindOf(err) != dove.Unavailable {
			t.Errorf("a server that %s: %v", name, err)
		}
		l.Close()
	}
}

// refusalOf is a message of some size.
func appendEnvelope(b []byte, e *controlpb.Envelope) ([]byte, error) { return appendProto(b, e) }

func refusalOf(size int) *controlpb.Envelope {
	return &controlpb.Envelope{Message: &controlpb.Envelope_Refusal{Refusal: &controlpb.Refusal{Message: strings.Repeat("x", size)}}}
}

// TestSlowReader sends to a host that reads nothing: what has to wait says so, and
// all arrives in order once the host reads.
func TestSlowReader(t *testing.T) {
	const most = 4096
	told := make(chan int, 1)
	r := serve(t, anybody, func(_ context.Context, _ control.Identity, conn control.MemberConn) error {
		if err := conn.Send(); err != nil { // it is open from now on
			return err
		}
		w := conn.(*memberConn).wire
		for n := range most {
			sent, err := trySend(w, appendEnvelope, refusalOf(n), refusalOf(32<<10))
			if err != nil {
				return err
			}
			if !sent {
				told <- n
				return send(w, appendEnvelope, refusalOf(n), refusalOf(control.MessageMax-100), refusalOf(7))
			}
		}
		return dove.Errorf(dove.Internal, "all of it went out")
	})
	w, err := dial(t.Context(), r.addr, hostTLS(t, r.ca, "h1", time.Now()), hostProtocol, AdmitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end(nil)
	last := <-told
	if last == 0 {
		t.Error("nothing went out at once")
	}
	hear := func(size int) {
		t.Helper()
		var m controlpb.Envelope
		if err := w.recv(&m); err != nil {
			t.Fatal(err)
		}
		if got := len(m.GetRefusal().GetMessage()); got != size {
			t.Fatalf("a message of %d bytes, want %d", got, size)
		}
	}
	for n := range last {
		hear(n)
		hear(32 << 10)
	}
	hear(last)
	hear(control.MessageMax - 100)
	hear(7)
	if err := w.recv(&controlpb.Envelope{}); err != io.EOF {
		t.Errorf("the session ends with %v", err)
	}
}

// TestTooLarge refuses to send what nobody may, and goes on.
func TestTooLarge(t *testing.T) {
	r := serve(t, anybody, greet)
	w, err := dial(t.Context(), r.addr, hostTLS(t, r.ca, "h1", time.Now()), hostProtocol, AdmitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end(nil)
	if err := send(w, appendEnvelope, refusalOf(control.MessageMax)); dove.KindOf(err) != dove.TooLarge {
		t.Errorf("sent: %v", err)
	}
	if sent, err := trySend(w, appendEnvelope, refusalOf(chunkSize)); sent || err != nil {
		t.Errorf("what is more than can be kept: %t, %v", sent, err)
	}
	if sent, err := trySend(w, appendUp, control.Up(&control.Ack{Revision: 3})); !sent || err != nil {
		t.Errorf("a small one: %t, %v", sent, err)
	}
	var m controlpb.Envelope
	if err := w.recv(&m); err != nil || m.GetFrontier().GetRevision() != 3 {
		t.Errorf("%v, %v", &m, err)
	}
}

// TestWaiting tells what is there whole from what is not.
func TestWaiting(t *testing.T) {
	r := serve(t, anybody, func(_ context.Context, _ control.Identity, conn control.MemberConn) error {
		if err := conn.Send(); err != nil { // it is open from now on
			return err
		}
		w := conn.(*memberConn).wire
		if err := send(w, appendEnvelope, refusalOf(1), refusalOf(2), refusalOf(readBuffer)); err != nil {
			return err
		}
		_, err := conn.Recv()
		return err
	})
	w, err := dial(t.Context(), r.addr, hostTLS(t, r.ca, "h1", time.Now()), hostProtocol, AdmitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end(nil)
	if w.Waiting() {
		t.Error("a message waits before one came")
	}
	for n, want := range []bool{true, false, false} { // the last is larger than what is looked at
		if err := w.recv(&controlpb.Envelope{}); err != nil || w.Waiting() != want {
			t.Errorf("after message %d another one waits: %t, %v", n, !want, err)
		}
	}
}

// TestDeafHostHoldsNobodyUp ends a session with a host that reads nothing: the
// member waits no longer than it says.
func TestDeafHostHoldsNobodyUp(t *testing.T) {
	sending := make(chan error, 1)
	r := serve(t, anybody, func(_ context.Context, _ control.Identity, conn control.MemberConn) error {
		if err := conn.Send(); err != nil { // it is open from now on
			return err
		}
		go func() {
			for {
				if err := send(conn.(*memberConn).wire, appendEnvelope, refusalOf(1<<20)); err != nil {
					sending <- err
					return
				}
			}
		}()
		return dove.Errorf(dove.Conflict, "enough")
	})
	conn, err := Dial(t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sending; dove.KindOf(err) != dove.Unavailable {
		t.Errorf("sending ends with %v", err)
	}
	conn.Close()
}

// TestSilence lets each end in turn say nothing for too long.
func TestSilence(t *testing.T) {
	ca := newCA(t)
	certificate, err := ca.IssueServer("dpc1", nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server, host := auth.ControlTLS(certificate, ca.Certificate()), hostTLS(t, ca, "h1", time.Now())
	synctest.Test(t, func(t *testing.T) {
		server.Time = func() time.Time { return certificate.Leaf.NotBefore.Add(time.Hour) }
		host.Time = server.Time
		near, far := net.Pipe()
		wires := make(chan *wire, 2)
		for c, config := range map[net.Conn]*tls.Config{near: server, far: host} {
			side := tls.Client
			if c == near {
				side = tls.Server
			}
			go func() {
				w, err := shake(t.Context(), c, config, hostProtocol, side, nil)
				if err != nil {
					t.Error(err)
				}
				wires <- w
			}()
		}
		one, other := <-wires, <-wires
		began := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- one.recv(&controlpb.Envelope{}) }()
		go func() { // one that reads what it is sent, and says nothing
			for other.recv(&controlpb.Envelope{}) == nil {
			}
		}()
		if err := <-ended; dove.KindOf(err) != dove.Unavailable || time.Since(began) != SilenceMax {
			t.Errorf("the end came after %v: %v", time.Since(began), err)
		}
		one.end(nil)
		other.end(nil)
	})
}

// watched is a context that counts who waits for its end.
type watched struct {
	context.Context
	waiting atomic.Int64
}

// Value hides the context within, which would not ask this one.
func (w *watched) Value(any) any { return nil }

func (w *watched) AfterFunc(f func()) func() bool {
	w.waiting.Add(1)
	stop := context.AfterFunc(w.Context, f)
	return func() bool {
		stopped := stop()
		if stopped {
			w.waiting.Add(-1)
		}
		return stopped
	}
}

// A session that is over leaves nothing with the context that it could have lived in,
// whichever end ended it.
func TestEndedSessionsAreForgotten(t *testing.T) {
	r := serve(t, anybody, greet)
	ctx := &watched{Context: t.Context()}
	for _, speaksFor := range []dove.HostName{"h1", "h2"} { // the member ends the session of who lies
		conn, err := Dial(ctx, []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if ctx.waiting.Load() != 1 {
			t.Errorf("of an open session %d wait for the end of its context", ctx.waiting.Load())
		}
		if err := conn.Send(hello(speaksFor)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Recv(); (err != nil) != (speaksFor != "h1") {
			t.Error(err)
		}
		go conn.Recv()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if n := ctx.waiting.Load(); n != 0 {
			t.Errorf("%d wait for the end of a context whose sessions are over", n)
		}
	}
}

// The reason for an end is cut where it is too long for a log, and of a peer that does not
// cut its own nothing is told.
func TestReasonsAreBounded(t *testing.T) {
	long := strings.Repeat("\u00e4", reasonMax)
	told, ended := make(chan error, 1), make(chan error, 1)
	r := serve(t, anybody, func(_ context.Context, _ control.Identity, conn control.MemberConn) error {
		_, err := conn.Recv()
		told <- err
		return dove.Errorf(dove.Conflict, "-%s", long)
	})
	w, err := dial(t.Context(), r.addr, hostTLS(t, r.ca, "h1", time.Now()), hostProtocol, AdmitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end(nil)
	go func() { ended <- w.recv(&controlpb.Envelope{}) }()
	frame, err := appendFrame(nil, frameEnd, appendProto, proto.Message(&controlpb.Refusal{Kind: uint32(dove.Forbidden), Message: long}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.tls.Write(frame); err != nil {
		t.Fatal(err)
	}
	if err := <-told; dove.KindOf(err) != dove.Invalid || len(err.Error()) > reasonMax {
		t.Errorf("a reason of %d bytes is told: %s, %d bytes", len(long), dove.KindOf(err), len(err.Error()))
	}
	if err := <-ended; dove.KindOf(err) != dove.Conflict || len(err.Error()) > reasonMax+100 || !strings.HasPrefix(long, strings.TrimPrefix(err.Error(), "-")) {
		t.Errorf("the session ended with %s, %d bytes", dove.KindOf(err), len(err.Error()))
	}
}
