package etcd

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestEndSilent ends the connections of a port over which nothing comes, at either end,
// and no others.
func TestEndSilent(t *testing.T) {
	connect := func(l net.Listener) (here, there net.Conn) {
		here, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if there, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { here.Close(); there.Close() })
		return here, there
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	peers, others := listen(), listen()
	quiet, _ := connect(peers)
	other, from := connect(others)
	const silence = time.Second
	time.Sleep(silence)
	talks, says := connect(peers)
	port := peers.Addr().(*net.TCPAddr).Port
	if n, err := endSilent([]int{port}, silence); n == 0 || err != nil { // its other end has heard of it by then
		t.Fatalf("it ended %d connections, want one: %v", n, err)
	}
	if _, err := quiet.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("who reads from what said nothing hears %v, want EOF", err)
	}
	for _, c := range [][2]net.Conn{{says, talks}, {from, other}} {
		if _, err := c[0].Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := c[1].Read(make([]byte, 1)); err != nil {
			t.Errorf("a connection that is none of theirs, or is new, is over: %v", err)
		}
	}
}
