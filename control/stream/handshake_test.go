package stream

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/auth"
)

// TestHandshakesAreBounded fills all turns: the next connection waits for one,
// and in the end is refused.
func TestHandshakesAreBounded(t *testing.T) {
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
		turns := make(chan struct{}, HandshakesMax)
		for range HandshakesMax {
			turns <- struct{}{}
		}
		near, far := net.Pipe()
		began := time.Now()
		if _, err := handshake(t.Context(), near, server, hostProtocol, turns); err == nil || time.Since(began) != HandshakeTimeout {
			t.Errorf("with all turns taken: %v after %v", err, time.Since(began))
		}
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Error("who waited in vain is not cut off")
		}

		near, far = net.Pipe()
		done := make(chan error, 2)
		go func() {
			w, err := handshake(t.Context(), near, server, hostProtocol, turns)
			if err == nil {
				defer w.socket.Close()
			}
			done <- err
		}()
		go func() {
			_, err := shake(t.Context(), far, host, hostProtocol, tls.Client)
			done <- err
		}()
		synctest.Wait()
		<-turns
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("when a turn came: %v", err)
			}
		}
		if len(turns) != HandshakesMax-1 {
			t.Errorf("%d turns are taken afterwards", len(turns))
		}
		far.Close()
	})
}
