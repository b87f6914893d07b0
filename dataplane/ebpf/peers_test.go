package ebpf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// foreigner is a namespace on a host's underlay that has no switch of ours, and
// a guest there.
type foreigner struct {
	*namespace
	vtep  netip.Addr
	guest *guest
}

// newForeigner joins a namespace to the underlay of a host, and a guest's device
// p to it.
func newForeigner(t *testing.T, h *host, number byte) *foreigner {
	t.Helper()
	prefix := netip.PrefixFrom(h.vtep, map[bool]int{true: 24, false: 64}[h.vtep.Is4()])
	f := &foreigner{namespace: newNamespace(t, "foreign"), vtep: numbered(prefix, 200)}
	f.ip(t, "link add under type veth peer name uf netns "+h.fabric.name)
	h.fabric.ip(t, "link set uf master fabric up")
	nodad := ""
	if f.vtep.Is6() {
		nodad = " nodad"
		f.allowIPv6(t, "under")
	}
	f.ip(t, fmt.Sprintf("addr add %v/%d dev under%s", f.vtep, prefix.Bits(), nodad))
	f.ip(t, "link set under up")
	f.guest = &guest{namespace: newNamespace(t, fmt.Sprint("g", number)), number: number}
	f.guest.ip(t, fmt.Sprintf("link add eth0 address %v type veth peer name p netns %s", guestMAC(number), f.name))
	f.ip(t, "link set p up")
	f.guest.allowIPv6(t, "eth0")
	f.guest.ip(t, fmt.Sprintf("link set eth0 mtu %d up", h.mtu))
	f.guest.ip(t, fmt.Sprintf("addr add %v/24 dev eth0", guestAddr4(number)))
	f.guest.ip(t, fmt.Sprintf("addr add %v/64 dev eth0 nodad", guestAddr6(number)))
	f.awaitUp(t, "under")
	return f
}

// bridge gives it the kernel's own VXLAN device, in a bridge with the guest: what
// the bridge does not know it sends to the host.
func (f *foreigner) bridge(t *testing.T, h *host, flags string) {
	t.Helper()
	f.ip(t, fmt.Sprintf("link add vx type vxlan id %d local %v dstport 4789 %s", testVNI, f.vtep, flags))
	f.ip(t, "link add name br0 type bridge")
	f.ip(t, "link set vx master br0 up")
	f.ip(t, "link set p master br0 up")
	f.ip(t, "link set br0 up")
	run(t, "bridge", "-n", f.name, "fdb", "append", "00:00:00:00:00:00", "dev", "vx", "dst", h.vtep.String())
}

// openVSwitch gives it Open vSwitch, switching in user space.
func (f *foreigner) openVSwitch(t *testing.T, h *host) {
	t.Helper()
	if _, err := exec.LookPath("ovs-vswitchd"); err != nil {
		t.Skipf("Open vSwitch is not installed, this peer is not tried: %v", err)
	}
	f.guest.ip(t, "link set eth0 mtu 1400")
	// It finishes no checksums and cuts no segments; the wire does neither.
	for _, d := range [][2]string{{f.guest.name, "eth0"}, {h.name, "under"}} {
		run(t, "nsenter", "--net=/run/netns/"+d[0], "ethtool", "-K", d[1], "tx", "off", "tso", "off", "gso", "off")
	}
	dir, err := os.MkdirTemp("", "ovs") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	db := filepath.Join(dir, "db.sock")
	env := append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir, "OVS_DBDIR="+dir)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=/run/netns/" + f.name}, args...)...)
		cmd.Env = env
		return cmd
	}
	must := func(args ...string) {
		t.Helper()
		if out, err := command(args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	daemon := func(args ...string) {
		t.Helper()
		cmd := command(args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	}
	must("ovsdb-tool", "create", filepath.Join(dir, "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	daemon("ovsdb-server", filepath.Join(dir, "conf.db"), "--remote=punix:"+db, "--unixctl="+filepath.Join(dir, "db.ctl"))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(db); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	vsctl := func(args string) {
		t.Helper()
		must(append([]string{"ovs-vsctl", "--timeout=20", "--db=unix:" + db}, strings.Fields(args)...)...)
	}
	vsctl("--no-wait init")
	daemon("ovs-vswitchd", "unix:"+db, "--unixctl="+filepath.Join(dir, "switch.ctl"))
	vsctl("add-br phy -- set bridge phy datapath_type=netdev -- add-port phy under")
	f.ip(t, fmt.Sprintf("addr del %v/24 dev under", f.vtep))
	f.ip(t, fmt.Sprintf("addr add %v/24 dev phy", f.vtep))
	f.ip(t, "link set phy up")
	vsctl(fmt.Sprintf("add-br int -- set bridge int datapath_type=netdev -- add-port int p -- add-port int vx -- set interface vx type=vxlan options:key=%d options:remote_ip=%v", testVNI, h.vtep))
}

// TestForeignPeer has a guest behind what is no switch of ours talk with guests
// behind one: by the policy, and only as itself.
func TestForeignPeer(t *testing.T) {
	for _, c := range []struct {
		name, underlay string
		plain          bool
		set            func(*foreigner, *testing.T, *host)
	}{
		{"kernel, plain", "IPv4", true, func(f *foreigner, t *testing.T, h *host) { f.bridge(t, h, "") }},
		{"kernel, group policy", "IPv4", false, func(f *foreigner, t *testing.T, h *host) { f.bridge(t, h, "gbp") }},
		{"kernel, plain over IPv6", "IPv6", true, func(f *foreigner, t *testing.T, h *host) { f.bridge(t, h, "udp6zerocsumrx udp6zerocsumtx") }},
		{"Open vSwitch", "IPv4", true, func(f *foreigner, t *testing.T, h *host) { f.openVSwitch(t, h) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostsOver(t, underlays[c.underlay], 1, Options{})[0]
			f := newForeigner(t, h, 2)
			c.set(f, t, h)
			foreignPeer(t, h, f, c.plain)
		})
	}
}

func foreignPeer(t *testing.T, h *host, f *foreigner, plain bool) {
	where := map[byte]netip.Addr{1: h.vtep, 2: f.vtep, 3: h.vtep, 5: numbered(netip.PrefixFrom(h.vtep, 0), 5)}
	h.answers = everyone(where, allowing(allowed("web", dove.ProtocolTCP, 80, 80), allowed("ping", dove.ProtocolICMP, 0x800, 0x800),
		allowed("ping6", dove.ProtocolICMPv6, 0x8000, 0x8000)))
	h.apply(t, dataplane.SetVTEP{Addr: f.vtep, Foreign: true, Plain: plain})
	guests := map[byte]*guest{1: h.plug(t, 1, dataplane.Veth), 2: f.guest, 3: h.plug(t, 3, dataplane.Tap)}
	for n, g := range guests {
		for _, a := range guestAddrs(n) {
			g.listen(t, netip.AddrPortFrom(a, 80))
			g.listen(t, netip.AddrPortFrom(a, 81))
		}
	}
	for _, pair := range [][2]byte{{2, 1}, {1, 2}, {3, 2}, {2, 3}} {
		from, to := guests[pair[0]], pair[1]
		for _, a := range guestAddrs(to) {
			c, err := from.dial(t, netip.AddrPortFrom(a, 80), 20*time.Second)
			if err != nil {
				counts, _ := h.sw.Counts()
				t.Fatalf("guest %d to %v: %v; dropped: %v", pair[0], a, err, counts)
			}
			exchange(t, c, 1<<18)
			if err := from.ping(a, 600); err != nil {
				t.Errorf("guest %d pings %v: %v", pair[0], a, err)
			}
			before := h.count(t, dataplane.Policy, verdict.DefaultDeny)
			if _, err := from.dial(t, netip.AddrPortFrom(a, 81), 300*time.Millisecond); err == nil {
				t.Errorf("guest %d opened a forbidden connection to %v", pair[0], a)
			}
			if h.count(t, dataplane.Policy, verdict.DefaultDeny) == before {
				t.Errorf("guest %d to %v: what is forbidden was not counted", pair[0], a)
			}
		}
	}
	// In the name of a guest that is elsewhere, and of one of the host's own.
	for _, n := range []byte{5, 3} {
		e := packet.Ends{SrcMAC: guestMAC(2), DstMAC: guestMAC(1), Src: guestAddr4(n), Dst: guestAddr4(1)}
		for _, frame := range [][]byte{packet.TCP(e, 1000, 80, packet.SYN, nil), packet.ARPRequest(guestMAC(2), guestAddr4(n), guestAddr4(1))} {
			before := h.count(t, dataplane.SourceMismatch, "")
			f.guest.sendRaw(t, "eth0", frame)
			if !h.counted(t, dataplane.SourceMismatch, "", before) {
				t.Errorf("a frame in the name of guest %d was not refused: %x", n, frame)
			}
		}
	}
}
