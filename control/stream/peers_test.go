package stream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
)

// memberTLS makes a member's certificate.
func memberTLS(t *testing.T, ca *auth.Authority, name string) (*tls.Config, control.PeerIdentity) {
	t.Helper()
	cert, err := ca.IssueServer(name, nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peerIdentity(cert.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	return auth.PeerTLS(cert, ca.Certificate()), id
}

func TestStreamsOfMembers(t *testing.T) {
	ca := newCA(t)
	own, id := memberTLS(t, ca, "dpc-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended, served := make(chan error, 10), make(chan error, 1)
	s := &PeerServer{
		TLS: own, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Admit: func(_ context.Context, id control.PeerIdentity) error {
			if id.Member == "removed" {
				return dove.Errorf(dove.Forbidden, "member removed was removed")
			}
			return nil
		},
		Converse: func(_ context.Context, id control.PeerIdentity, conn control.PeerConn) error {
			for {
				m, err := conn.Recv()
				if err == io.EOF {
					ended <- nil
					return nil
				}
				if err != nil {
					return err
				}
				if err := conn.Send(m, &control.Greeting{Version: 1, Member: id.Member}); err != nil {
					return err
				}
			}
		},
	}
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	second, _ := memberTLS(t, ca, "dpc-2")
	conn, err := DialPeer(t.Context(), l.Addr().String(), id, second)
	if err != nil {
		t.Fatal(err)
	}
	sent := &control.Present{First: true, Hosts: []control.Presence{{Host: "h1", Session: 7, Phase: control.PhaseLive}}}
	if err := conn.Send(sent); err != nil {
		t.Fatal(err)
	}
	for _, want := range []control.Across{sent, &control.Greeting{Version: 1, Member: "dpc-2"}} {
		got, err := conn.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	go conn.Recv()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}

	removed, _ := memberTLS(t, ca, "removed")
	other, _ := memberTLS(t, newCA(t), "dpc-2")
	for name, c := range map[string]struct {
		id     control.PeerIdentity
		config *tls.Config
		kind   dove.Kind
	}{
		"another member answers":       {control.PeerIdentity{Member: "dpc-3", Serial: id.Serial}, second, dove.Forbidden},
		"with another certificate":     {control.PeerIdentity{Member: "dpc-1", Serial: "0a"}, second, dove.Forbidden},
		"removed":                      {id, removed, dove.Forbidden},
		"of another installation":      {id, other, dove.Unavailable},
		"a host, with a session's key": {id, hostTLS(t, ca, "h1", time.Now()), dove.Unavailable},
	} {
		if conn, err := DialPeer(t.Context(), l.Addr().String(), c.id, c.config); err == nil {
			conn.Close()
			t.Errorf("%s: admitted", name)
		} else if dove.KindOf(err) != c.kind {
			t.Errorf("%s: %s error %v", name, dove.KindOf(err), err)
		}
	}
	// Who speaks the hosts' protocol, or opens a session there, is not let in.
	if _, err := Dial(t.Context(), []string{l.Addr().String()}, hostTLS(t, ca, "h1", time.Now())); err == nil {
		t.Error("a host's session is admitted where members speak")
	}
}
