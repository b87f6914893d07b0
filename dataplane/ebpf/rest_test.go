package ebpf

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
)

// TestFirstPacketsWait sends first packets while no switch runs, and some that were held
// when it stopped: the next one, which gets the tap's descriptor, has them
// delivered, in order and without anybody sending again.
func TestFirstPacketsWait(t *testing.T) {
	hosts := newHosts(t, 2)
	where := map[byte]netip.Addr{1: hosts[0].vtep, 2: hosts[1].vtep}
	for _, h := range hosts {
		h.answers = everyone(where, allowing(allowed("dns", dove.ProtocolUDP, 53, 53)))
	}
	h := hosts[0]
	client, server := h.plug(t, 1, dataplane.Veth), hosts[1].plug(t, 2, dataplane.Veth)
	again := func() {
		t.Helper()
		if err := h.do(h.sw.Close); err != nil {
			t.Fatal(err)
		}
		<-h.ended
	}
	again()
	h.keeps, h.held = true, make(chan dataplane.Miss, 8)
	h.open(t)
	stale := duplicate(t, h.tap)

	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(guestAddr4(2), 53))
	from, to := client.datagrams(t, at, nil), server.datagrams(t, nil, at)
	client.ip(t, fmt.Sprintf("neigh replace %v lladdr %v dev eth0", guestAddr4(2), guestMAC(2)))
	send := func(text string) {
		t.Helper()
		if _, err := from.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}

	// The agent holds two as it stops, and gives them back to be judged anew, while
	// one that came after them waits to be read.
	send("1")
	send("2")
	first, second := <-h.held, <-h.held
	if err := h.sw.Rest(); err != nil {
		t.Fatal(err)
	}
	send("3") // nobody reads any more
	for _, m := range []dataplane.Miss{first, second} {
		m.Want = dataplane.WantTurn
		if err := h.sw.Inject(m); err != nil {
			t.Fatal(err)
		}
	}
	send("4")
	again()
	send("5")
	if n := len(h.held); n != 0 {
		t.Errorf("%d were read", n)
	}
	h.held = nil
	h.open(t)
	to.SetReadDeadline(time.Now().Add(10 * time.Second))
	for _, want := range []string{"1", "2", "3", "4", "5"} {
		b := make([]byte, 8)
		n, err := to.Read(b)
		if err != nil {
			t.Fatalf("%s did not come: %v", want, err)
		}
		if got := string(b[:n]); got != want {
			t.Errorf("%q came, not %q", got, want)
		}
	}
	if h.tap != nil {
		t.Error("another descriptor was made though the kept one fits")
	}

	// One that fits no more is closed, and another one made.
	again()
	h.tap = stale
	h.ip(t, "link del dsw-up")
	h.open(t)
	if h.tap == nil || h.tap == stale {
		t.Error("the descriptor of a device that is gone was taken")
	}
	h.tap.Close()
}
