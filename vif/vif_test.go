package vif

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/privtest"
)

// namespaces gives the test's thread a namespace of its own, and returns it with
// another one for guests. The thread ends with the test.
func namespaces(t *testing.T) (host, guest netns.NsHandle) {
	privtest.Require(t)
	runtime.LockOSThread()
	var err error
	if guest, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	if host, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.Close(); host.Close() })
	return host, guest
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func veth(name, peer string) *netlink.Veth {
	return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}
}

func index(t *testing.T, name string) int {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l.Attrs().Index
}

func TestWatch(t *testing.T) {
	_, guest := namespaces(t)
	before := veth("dvold", "pold")
	before.PeerNamespace = netlink.NsFd(guest)
	must(t, netlink.LinkAdd(before))
	old := Device{"dvold", index(t, "dvold"), dataplane.Veth}

	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	events, err := Watch(ctx, log)
	must(t, err)
	expect := func(want ...Event) {
		t.Helper()
		for _, w := range want {
			select {
			case got := <-events:
				if d := cmp.Diff(w, got); d != "" {
					t.Fatalf("(-want +got):\n%s", d)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no event %+v", w)
			}
		}
	}
	expect(Event{Up, old}, Event{Change: Listed})

	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})) // is no port
	must(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tapa"}, Mode: netlink.TUNTAP_MODE_TAP, NonPersist: false}))
	tap := Device{"tapa", index(t, "tapa"), dataplane.Tap}
	expect(Event{Up, tap})

	link, err := netlink.LinkByName("tapa")
	must(t, err)
	must(t, netlink.LinkSetName(link, "tapb"))
	renamed := Device{"tapb", tap.Ifindex, dataplane.Tap}
	expect(Event{Gone, tap}, Event{Up, renamed})

	// To become a bridge's port and to be none any more is no change.
	bridge, err := netlink.LinkByName("br0")
	must(t, err)
	must(t, netlink.LinkSetMaster(link, bridge))
	must(t, netlink.LinkSetNoMaster(link))

	// A veth made with both ends here becomes good when its other end moves.
	must(t, netlink.LinkAdd(veth("dvnew", "pnew")))
	two := map[string]Device{"pnew": {"pnew", index(t, "pnew"), dataplane.Veth}, "dvnew": {"dvnew", index(t, "dvnew"), dataplane.Veth}}
	for range 2 {
		got := <-events
		if d := cmp.Diff(Event{Up, two[got.Device.Name]}, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
	peer, err := netlink.LinkByName("pnew")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, int(guest)))
	moved := map[Event]bool{{Gone, two["pnew"]}: true, {Up, two["dvnew"]}: true}
	for range 2 {
		if got := <-events; !moved[got] {
			t.Fatalf("event %+v", got)
		}
	}

	must(t, netlink.LinkDel(before))
	expect(Event{Gone, old})
	cancel()
	for range events { // ends
	}
}

func TestPrepare(t *testing.T) {
	_, guest := namespaces(t)
	must(t, netlink.LinkAdd(veth("dva", "pa")))
	d := Device{"dva", index(t, "dva"), dataplane.Veth}
	if err := Prepare(d); err == nil || !strings.Contains(err.Error(), "own namespace") {
		t.Fatalf("a veth with both ends here: %v", err)
	}
	peer, err := netlink.LinkByName("pa")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, int(guest)))
	must(t, Prepare(d))
	must(t, Prepare(d))
	link, err := netlink.LinkByName("dva")
	must(t, err)
	text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	must(t, err)
	if a := link.Attrs(); a.RawFlags&0x1 == 0 || a.RawFlags&0x80 == 0 || strings.Contains(string(text), "dva") {
		t.Fatalf("flags %#x (IFF_UP 1, IFF_NOARP 0x80), IPv6 addresses:\n%s", a.RawFlags, text)
	}
	if err := Prepare(Device{"dvb", d.Ifindex, dataplane.Veth}); err == nil {
		t.Fatal("a device of another name was prepared")
	}
}

func TestUnderlay(t *testing.T) {
	namespaces(t)
	must(t, netlink.LinkAdd(veth("u0", "u1")))
	link, err := netlink.LinkByName("u0")
	must(t, err)
	for _, text := range []string{"192.0.2.1/24", "fd00::1/64"} {
		a, err := netlink.ParseAddr(text)
		must(t, err)
		must(t, netlink.AddrAdd(link, a))
		got, err := Underlay(netip.MustParsePrefix(text).Addr())
		if d := cmp.Diff(UnderlayDevice{"u0", link.Attrs().Index, 1500}, got); d != "" || err != nil {
			t.Fatalf("(-want +got):\n%s%v", d, err)
		}
	}
	if _, err := Underlay(netip.MustParseAddr("192.0.2.9")); dove.KindOf(err) != dove.NotFound {
		t.Fatalf("an address that nobody has: %v", err)
	}
}
