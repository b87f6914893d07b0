package stream

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/lobby"
)

// counted is what a door refused.
type counted struct {
	mu  sync.Mutex
	all map[Reason]int
}

func (c *counted) add(r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[Reason]int{}
	}
	c.all[r]++
}

func (c *counted) of(r Reason) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[r]
}

// Who connects and says nothing has no turn to compute, and is cut off in time.
func TestSilentHandshakes(t *testing.T) {
	ca := newCA(t)
	certificate, err := ca.IssueServer("dpc1", nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server, host := auth.ControlTLS(certificate, ca.Certificate()), hostTLS(t, ca, "h1", time.Now())
	synctest.Test(t, func(t *testing.T) {
		// In the bubble time begins in 2000, when no certificate was valid.
		now := func() time.Time { return certificate.Leaf.NotBefore.Add(time.Hour) }
		server.Time, host.Time = now, now
		d := newDoor(server, hostProtocol, nil, nil)
		d.turns = lobby.NewTurns(1)
		began := time.Now()
		const silent = 100
		fars := make([]net.Conn, silent)
		for i := range fars {
			var near net.Conn
			near, fars[i] = net.Pipe()
			go func() {
				if _, err := d.handshake(t.Context(), near, d.lobby.Enter(lobby.SourceOf(near.RemoteAddr()), near)); err == nil || time.Since(began) != HandshakeTimeout {
					t.Errorf("who says nothing: %v after %v", err, time.Since(began))
				}
			}()
		}
		synctest.Wait()
		if d.lobby.Count() != silent {
			t.Errorf("%d wait", d.lobby.Count())
		}
		near, far := net.Pipe()
		done := make(chan error, 1)
		go func() {
			w, err := d.handshake(t.Context(), near, d.lobby.Enter(lobby.SourceOf(near.RemoteAddr()), near))
			if err == nil {
				defer w.socket.Close()
			}
			done <- err
		}()
		w, err := shake(t.Context(), far, host, hostProtocol, tls.Client, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("beside them: %v after %v", err, time.Since(began))
		}
		w.socket.Close()
		time.Sleep(HandshakeTimeout)
		synctest.Wait()
		if d.lobby.Count() != 0 {
			t.Errorf("%d wait in the end", d.lobby.Count())
		}
		for _, far := range fars {
			if _, err := far.Read(make([]byte, 1)); err == nil {
				t.Error("who said nothing is not cut off")
			}
		}
	})
}

// One address opens more connections than there are places, which never finish: hosts
// from another one get in at once, and all others are counted.
func TestCrowd(t *testing.T) {
	var refused counted
	r := serveRefusing(t, anybody, greet, refused.add)
	const crowd = HandshakesMax + 200
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for range crowd {
		c, err := dialer.DialContext(t.Context(), "tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	const hosts = 20
	for range hosts {
		began := time.Now()
		conn, err := Dial(t.Context(), []string{r.addr}, hostTLS(t, r.ca, "h1", time.Now()))
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if err := conn.Send(&control.Ack{Revision: 3}); err != nil {
			t.Fatal(err)
		}
		if m, err := conn.Recv(); err != nil {
			t.Fatalf("%v, %v", m, err)
		}
		go conn.Recv()
		conn.Close()
	}
	if n := refused.of(Crowded); n < crowd-HandshakesMax {
		t.Errorf("%d were refused as %s", n, Crowded)
	}
}
