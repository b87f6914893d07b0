package ebpf

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
)

// TestOrder sends the first datagrams of flows faster than their destination is
// known: all arrive, and in the order in which they were sent, and so do the answers.
func TestOrder(t *testing.T) {
	privtest.Require(t)
	const trials, seed = 150, 7
	r := rand.New(rand.NewPCG(seed, 0))
	hosts := newHosts(t, 2)
	known := everyone(map[byte]netip.Addr{1: hosts[0].vtep, 2: hosts[1].vtep}, allowing(allowed("any", dove.ProtocolUDP, 0, 65535)))
	var thinks [2]atomic.Int64 // ns before the first answer of a trial
	for i, h := range hosts {
		h.answers = func(m dataplane.Miss) []dataplane.Op {
			time.Sleep(time.Duration(thinks[i].Swap(0))) // the way to the DPC and back
			return known(m)
		}
		var c dswitchSettings
		if err := h.sw.maps.Config.Lookup(uint32(0), &c); err != nil {
			t.Fatal(err)
		}
		c.MissInterval = 0
		if err := h.sw.maps.Config.Put(uint32(0), c); err != nil {
			t.Fatal(err)
		}
	}
	from, to := hosts[0].plug(t, 1, dataplane.Veth), hosts[1].plug(t, 2, dataplane.Veth)
	peers := []dataplane.PeerKey{{VNI: testVNI, Addr: guestAddr4(2)}, {VNI: testVNI, Addr: guestAddr4(1)}}
	server := to.datagrams(t, nil, &net.UDPAddr{IP: guestAddr4(2).AsSlice(), Port: 9})
	// The guests know each other's MAC first: what a guest's kernel keeps until its
	// ARP is answered can be overtaken there.
	first := from.datagrams(t, &net.UDPAddr{IP: guestAddr4(2).AsSlice(), Port: 9}, nil)
	first.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 64)
	if _, err := first.Write([]byte("there?")); err != nil {
		t.Fatal(err)
	}
	_, addr, err := server.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.WriteToUDPAddrPort([]byte("yes"), addr); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(b); err != nil {
		t.Fatal(err)
	}
	for trial := range trials {
		far := r.IntN(3) == 0
		thinks[0].Store(int64(r.IntN(3_000_000)))
		hosts[0].apply(t, dataplane.DelPeer{Key: peers[0]})
		if far {
			thinks[1].Store(int64(r.IntN(1_000_000)))
			hosts[1].apply(t, dataplane.DelPeer{Key: peers[1]})
		}
		c := from.datagrams(t, &net.UDPAddr{IP: guestAddr4(2).AsSlice(), Port: 9}, nil)
		n, gap := 20+r.IntN(180), time.Duration(20+r.IntN(80))*time.Microsecond
		go func() { // answers each
			b := make([]byte, 64)
			for range n {
				size, addr, err := server.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				server.WriteToUDPAddrPort(b[:size], addr)
			}
		}()
		sent := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b := make([]byte, 8)
			binary.BigEndian.PutUint32(b, uint32(trial))
			for i, next := uint32(0), time.Now(); i < uint32(n); i, next = i+1, next.Add(gap) {
				for time.Now().Before(next) {
				}
				binary.BigEndian.PutUint32(b[4:], i)
				if _, err := c.Write(b); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		b := make([]byte, 64)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		for want := range uint32(n) {
			if _, err := c.Read(b); err != nil {
				t.Fatalf("trial %d of seed %d: %d of %d datagrams came: %v", trial, seed, want, n, err)
			}
			if is := binary.BigEndian.Uint32(b[4:]); binary.BigEndian.Uint32(b) != uint32(trial) || is != want {
				t.Fatalf("trial %d of seed %d: %d %d came in place of %d", trial, seed, binary.BigEndian.Uint32(b), is, want)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for i, h := range hosts {
		t.Logf("host %d was asked %d times", i, h.answered.Load())
	}
}

// datagrams opens a UDP socket in a guest, to one address or at its own.
func (g *guest) datagrams(t *testing.T, to, at *net.UDPAddr) (c *net.UDPConn) {
	t.Helper()
	err := g.do(func() (err error) {
		if to != nil {
			c, err = net.DialUDP("udp4", nil, to)
		} else {
			c, err = net.ListenUDP("udp4", at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadBuffer(1 << 20)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTurns(t *testing.T) { turns(t, Options{}) }

// turns has a packet of one of two flows miss. Its flow waits behind it, the other
// one goes on, and so does all once nobody can have it any more.
func turns(t testing.TB, o Options) {
	s := newLone(t, o)
	peer := dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(2)}, Peer: s.peers[dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(2)}]}
	apply := func(ops ...dataplane.Op) {
		t.Helper()
		if err := s.Apply(ops); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(frame []byte, action dataplane.Action, want dataplane.Want) {
		t.Helper()
		if o := sends(t, s, frame); o.Action != action || o.Want != want {
			t.Errorf("%+v, meant: %v, want %d", o, action, want)
		}
	}
	first, second, third := packet.UDP(out, 1, 53, nil), packet.UDP(out, 2, 53, nil), packet.UDP(out, 3, 53, nil)
	reply := packet.UDP(back, 53, 1, nil)
	expect(first, dataplane.Tunneled, 0)
	expect(second, dataplane.Tunneled, 0)
	expect(reply, dataplane.Delivered, 0)
	apply(dataplane.DelPeer{Key: peer.Key})
	expect(first, dataplane.Missed, dataplane.WantPeer)
	apply(peer)
	expect(first, dataplane.Missed, dataplane.WantTurn)
	expect(third, dataplane.Missed, dataplane.WantTurn)
	expect(second, dataplane.Tunneled, 0)
	expect(reply, dataplane.Delivered, 0)
	expect(first, dataplane.Missed, dataplane.WantTurn)

	// The agent has forgotten them.
	var c dswitchSettings
	if err := s.maps.Config.Lookup(uint32(0), &c); err != nil {
		t.Fatal(err)
	}
	c.TurnTicks = turnTicks
	if err := s.maps.Config.Put(uint32(0), c); err != nil {
		t.Fatal(err)
	}
	expect(first, dataplane.Missed, dataplane.WantTurn)
	var key dswitchTurnKey
	var turn dswitchTurn
	if err := s.maps.Turns.NextKey(nil, &key); err != nil {
		t.Fatal(err)
	}
	if err := s.maps.Turns.Lookup(key, &turn); err != nil {
		t.Fatal(err)
	}
	turn.Since += 2 // another CPU's clock was ahead
	if err := s.maps.Turns.Put(key, turn); err != nil {
		t.Fatal(err)
	}
	expect(first, dataplane.Missed, dataplane.WantTurn)
	turn.Since -= turnTicks + 3
	if err := s.maps.Turns.Put(key, turn); err != nil {
		t.Fatal(err)
	}
	expect(first, dataplane.Tunneled, 0)
	expect(third, dataplane.Tunneled, 0)
}
