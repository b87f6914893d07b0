package stream

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials/insecure"
)

// TestHandshakesAreBounded fills all turns: the next connection waits for one,
// and in the end is refused.
func TestHandshakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handshakes{insecure.NewCredentials(), make(chan struct{}, HandshakesMax)}
		for range HandshakesMax {
			h.slots <- struct{}{}
		}
		server, client := net.Pipe()
		defer server.Close()
		defer client.Close()
		began := time.Now()
		if _, _, err := h.Clone().(handshakes).ServerHandshake(server); err == nil || time.Since(began) != HandshakeTimeout {
			t.Errorf("with all turns taken: %v after %v", err, time.Since(began))
		}
		done := make(chan error, 1)
		go func() {
			_, _, err := h.ServerHandshake(server)
			done <- err
		}()
		synctest.Wait()
		<-h.slots
		if err := <-done; err != nil {
			t.Errorf("when a turn came: %v", err)
		}
		if len(h.slots) != HandshakesMax-1 {
			t.Errorf("%d turns are taken afterwards", len(h.slots))
		}
	})
}
