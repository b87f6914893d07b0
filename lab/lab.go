package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"dove.network/agent"
	"dove.network/api/client"
	"dove.network/daemon"
	"dove.network/dove"
	"golang.org/x/sys/unix"
)

// Root is where labs keep their state, one folder each.
const Root = "/run/dovelab"

// Options say what a lab is made of.
type Options struct {
	Name string // of namespaces and the state folder: letters, digits, hyphens
	Bin  string // folder with dpc, dswitch and dovectl
	MTU  int    // of the underlay, bytes; 0 = 1500
	IPv6 bool   // of the underlay
	DPCs int    // members of the DPC; 0 = 1
	Log  *slog.Logger

	// What members have that are to be put to the test.
	Relays  bool // by which they are joined to the underlay, and which can be made slow
	DiskMiB int  // for the state of each; 0: what this machine has
}

// Lab is a set of hosts, their underlay, one DPC and guests.
type Lab struct {
	opt     Options
	dir     string
	lock    *os.File
	fabric  *Namespace
	hosts   []*Host
	foreign []*Foreign
	guests  []*Guest
	members []*Member // of the DPC; the first makes it
	desk    *Namespace
	deaf    map[[2]string]int // how often what one node sends to another is cut
	api     *client.Client
	ports   int // devices made so far
	pings   atomic.Uint32
}

// Host is a machine of the lab.
type Host struct {
	Name string
	VTEP netip.Addr

	ns   *Namespace
	dir  string
	sw   *process
	sock *agent.Client
	args []string // how its dswitch is run

	keeper  *daemon.Keeper // of what its dswitch leaves to the next
	options []string       // of these, what the lab alone does not say
}

// The lab's underlay network is for documentation (RFC 5737, RFC 3849): the
// last byte of host i is i, of foreign host i foreignNumber+i, that of the DPC's
// first member dpcNumber, and of the others less.
var (
	underlay4 = netip.MustParsePrefix("192.0.2.0/24")
	underlay6 = netip.MustParsePrefix("2001:db8::/64")
)

const (
	foreignNumber = 210
	dpcNumber     = 254
)

func (o Options) underlay() netip.Prefix {
	if o.IPv6 {
		return underlay6
	}
	return underlay4
}

func (o Options) addr(last byte) netip.Addr {
	a := o.underlay().Addr().AsSlice()
	a[len(a)-1] = last
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

// New sweeps what dead labs left, then makes the fabric and starts a DPC.
func New(ctx context.Context, opt Options) (_ *Lab, err error) {
	if err := dove.CheckName(opt.Name); err != nil || len(opt.Name) > 20 {
		return nil, fmt.Errorf("lab name %q: use at most 20 lower-case letters, digits and inner hyphens", opt.Name)
	}
	if opt.MTU == 0 {
		opt.MTU = 1500
	}
	if err := Sweep(); err != nil {
		return nil, err
	}
	l := &Lab{opt: opt, dir: filepath.Join(Root, opt.Name), deaf: map[[2]string]int{}}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	if l.lock, err = tryLock(l.dir); err != nil {
		return nil, fmt.Errorf("lab %q is running already: stop it with: dovelab down --name %s", opt.Name, opt.Name)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := remove(opt.Name, l.dir); err != nil { // of an earlier lab with this name
		return nil, err
	}
	if err := os.MkdirAll(l.bpf(), 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("bpf", l.bpf(), "bpf", 0, ""); err != nil {
		return nil, fmt.Errorf("mount a BPF file system on %s: %w", l.bpf(), err)
	}
	if l.fabric, err = l.namespace("fab"); err != nil {
		return nil, err
	}
	if err := l.fabric.IP("link add fab0 type bridge forward_delay 0", fmt.Sprintf("link set fab0 mtu %d up", opt.MTU)); err != nil {
		return nil, err
	}
	for range max(opt.DPCs, 1) {
		if _, err := l.AddMember(ctx); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *Lab) bpf() string { return filepath.Join(l.dir, "bpf") }

// prefix heads the names of a lab's namespaces.
func prefix(name string) string { return "dove-" + name + "-" }

func (l *Lab) namespace(name string) (*Namespace, error) {
	return NewNamespace(prefix(l.opt.Name) + name)
}

// connect gives a namespace an underlay device u0 with an address.
func (l *Lab) connect(ns *Namespace, port string, addr netip.Addr) error {
	err := ipBatch("",
		fmt.Sprintf("link add u0 mtu %d netns %s type veth peer name %s mtu %d netns %s",
			l.opt.MTU, ns.Name, port, l.opt.MTU, l.fabric.Name))
	if err != nil {
		return err
	}
	return l.attune(ns, port, addr)
}

// connectBy is connect by a relay.
func (l *Lab) connectBy(ns *Namespace, port string, addr netip.Addr) (*relay, error) {
	r, err := newRelay(ns, "u0", l.fabric, port)
	if err != nil {
		return nil, err
	}
	return r, errors.Join(ns.IP(fmt.Sprintf("link set u0 mtu %d", l.opt.MTU)), l.fabric.IP(fmt.Sprintf("link set %s mtu %d", port, l.opt.MTU)),
		l.attune(ns, port, addr))
}

// attune brings both ends of an underlay device up.
func (l *Lab) attune(ns *Namespace, port string, addr netip.Addr) error {
	if err := l.fabric.IP(fmt.Sprintf("link set %s master fab0 up", port)); err != nil {
		return err
	}
	// For Cut, which must not do it under traffic: it stops the device for a moment.
	if err := runCmd(exec.Command("tc", "-n", l.fabric.Name, "qdisc", "add", "dev", port, "clsact")); err != nil {
		return err
	}
	nodad := ""
	if addr.Is6() {
		nodad = " nodad"
		if err := ns.Sysctl("net/ipv6/conf/u0/disable_ipv6=0", "net/ipv6/conf/u0/accept_ra=0"); err != nil {
			return err
		}
	}
	return ns.IP(fmt.Sprintf("addr add %s/%d dev u0%s", addr, l.opt.underlay().Bits(), nodad), "link set u0 up")
}

// AddHost makes a host, lets it join and starts its dswitch.
func (l *Lab) AddHost(ctx context.Context, name string) (*Host, error) {
	h := &Host{Name: name, VTEP: l.opt.addr(byte(len(l.hosts) + 1)), dir: filepath.Join(l.dir, name)}
	if len(l.hosts) >= 200 {
		return nil, errors.New("a lab has at most 200 hosts")
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if h.ns, err = l.namespace(name); err != nil {
		return nil, err
	}
	l.hosts = append(l.hosts, h)
	if err := l.connect(h.ns, name, h.VTEP); err != nil {
		return nil, err
	}
	h.sock = agent.NewClient(filepath.Join(h.dir, "dswitch.sock"))
	return h, l.startSwitch(ctx, h)
}

// Hosts, Guests and Guest return what was added.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Guests returns the guests in the order they were added.
func (l *Lab) Guests() []*Guest { return l.guests }

// Host returns the host of that name.
func (l *Lab) Host(name string) (*Host, bool) {
	i := slices.IndexFunc(l.hosts, func(h *Host) bool { return h.Name == name })
	if i < 0 {
		return nil, false
	}
	return l.hosts[i], true
}

// Guest returns the guest of that endpoint.
func (l *Lab) Guest(e dove.Endpoint) (*Guest, bool) {
	i := slices.IndexFunc(l.guests, func(g *Guest) bool { return g.Endpoint == e })
	if i < 0 {
		return nil, false
	}
	return l.guests[i], true
}

// Plug makes the guest's namespace and its device on the host; addresses, MAC
// and MTU are the endpoint's.
func (l *Lab) Plug(g *Guest) error {
	if _, _, err := l.machine(g.Host); err != nil {
		return fmt.Errorf("guest %s: %w", g.Name(), err)
	}
	if err := l.house(g); err != nil {
		return err
	}
	if err := l.link(g); err != nil {
		return err
	}
	l.guests = append(l.guests, g)
	if g.parent != nil {
		return l.follow(g.parent)
	}
	return nil
}

// house makes a guest's namespace.
func (l *Lab) house(g *Guest) (err error) {
	if g.ns, err = l.namespace(guestNS(g.Name())); err != nil {
		return err
	}
	return g.ns.Sysctl("net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/default/rp_filter=0", // it may have two devices
		"net/ipv6/conf/default/accept_dad=0", "net/ipv6/conf/default/accept_ra=0",
		"net/ipv6/conf/default/router_solicitations=0")
}

// guestNS names a guest's namespace within its lab.
func guestNS(name string) string { return "g-" + strings.ReplaceAll(name, "/", "-") }

// link joins a guest's namespace to its host.
func (l *Lab) link(g *Guest) error {
	ns, foreign, err := l.machine(g.Host)
	if err != nil {
		return err
	}
	g.nic = "eth0"
	if g.parent != nil {
		return errors.Join(l.tag(g), g.address())
	}
	if g.relay, err = join(g.ns, g.nic, g.MAC.String(), ns, g.Device, g.MTU, g.Tap); err != nil {
		return err
	}
	if g.foreign = foreign != nil; g.foreign {
		if err := l.attach(g, foreign); err != nil {
			return err
		}
	}
	return errors.Join(g.address(), l.follow(g))
}

// address gives a guest's device its addresses and brings it up. The guest takes
// every address to be on its link, so that it asks for each.
func (g *Guest) address() error {
	lines := []string{"link set eth0 up"}
	for _, p := range g.Allowed { // its servers answer from there too
		lines = append(lines, fmt.Sprintf("route replace local %s dev lo", p))
	}
	for _, a := range g.Addrs {
		line := fmt.Sprintf("addr add %s/%d dev eth0", a, g.bits(a))
		if a.Is6() {
			line += " nodad"
		}
		lines = append(lines, line)
		if a.Is6() {
			lines = append(lines, "route replace ::/0 dev eth0")
		} else {
			lines = append(lines, "route replace 0.0.0.0/0 dev eth0")
		}
	}
	return g.ns.IP(lines...)
}

// join makes a guest's device and the host's end of it: a veth pair, or two taps
// with a relay.
func join(guest *Namespace, nic, mac string, host *Namespace, device string, mtu int, taps bool) (*relay, error) {
	if !taps {
		return nil, ipBatch("", fmt.Sprintf("link add %s mtu %d netns %s type veth peer name %s address %s mtu %d netns %s",
			device, mtu, host.Name, nic, mac, mtu, guest.Name))
	}
	r, err := newRelay(guest, nic, host, device)
	if err != nil {
		return nil, err
	}
	return r, errors.Join(guest.IP(fmt.Sprintf("link set %s address %s mtu %d", nic, mac, mtu)),
		host.IP(fmt.Sprintf("link set %s mtu %d", device, mtu)))
}

// unlink takes the host's end of a guest's link away, and the guest's with it.
func (l *Lab) unlink(g *Guest) error {
	if g.tagged != nil {
		err := g.tagged.close()
		g.tagged = nil
		return err
	}
	ns, _, err := l.machine(g.Host)
	if err != nil {
		return err
	}
	if g.relay == nil {
		return ns.IP("link del " + g.Device)
	}
	err = g.relay.close()
	g.relay = nil
	return err
}

// Unplug removes a guest's namespace and with it its device.
func (l *Lab) Unplug(g *Guest) error {
	l.guests = slices.DeleteFunc(l.guests, func(o *Guest) bool { return o == g })
	err := errors.Join(l.unlink(g), l.Untwin(g), g.Close())
	return errors.Join(err, g.ns.Close(), run("ip", "netns", "del", g.ns.Name))
}

// Move takes a guest's device to another host; its namespace, servers and
// connections stay.
func (l *Lab) Move(g *Guest, host string) error {
	if _, _, err := l.machine(host); err != nil {
		return fmt.Errorf("move %s: %w", g.Name(), err)
	}
	if err := l.unlink(g); err != nil {
		return err
	}
	g.Host = host
	return l.link(g)
}

// NextDevice returns a device name that the lab has not used yet.
func (l *Lab) NextDevice() string {
	l.ports++
	return fmt.Sprintf("dv%d", l.ports)
}

// Close stops the programs and removes every trace of the lab.
func (l *Lab) Close() error {
	var errs []error
	for _, g := range l.guests {
		errs = append(errs, g.Close(), g.ns.Close())
	}
	for _, h := range l.hosts {
		errs = append(errs, h.sw.stop(), h.keeper.Close())
		if h.ns != nil {
			errs = append(errs, h.ns.Close())
		}
	}
	for _, f := range l.foreign {
		errs = append(errs, f.ns.Close())
	}
	for i, m := range l.members {
		switch {
		case !m.runs():
		case i == 0:
			errs = append(errs, m.dpc.stop())
		default: // the last of several would wait for the others
			errs = append(errs, m.dpc.kill())
		}
		errs = append(errs, m.cable.close())
		if m.ns != nil {
			errs = append(errs, m.ns.Close())
		}
	}
	for _, ns := range []*Namespace{l.desk, l.fabric} {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	errs = append(errs, remove(l.opt.Name, l.dir), os.RemoveAll(l.dir), l.lock.Close())
	return errors.Join(errs...)
}

// Sweep removes every lab whose owner is gone.
func Sweep() error {
	dirs, err := os.ReadDir(Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, d := range dirs {
		dir := filepath.Join(Root, d.Name())
		lock, err := tryLock(dir)
		if err != nil {
			continue // alive
		}
		errs = append(errs, remove(d.Name(), dir), os.RemoveAll(dir), lock.Close())
	}
	return errors.Join(errs...)
}

// tryLock takes the lock that a lab's owner holds while it lives.
func tryLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// remove kills what runs in a lab's namespaces and deletes them, unmounts its file
// systems and empties its folder but for the lock.
func remove(name, dir string) error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix(name)) {
			continue
		}
		errs = append(errs, killAll(e.Name()), run("ip", "netns", "del", e.Name()))
	}
	files, err := os.ReadDir(dir)
	errs = append(errs, err)
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		if f.Name() == "lock" {
			continue
		}
		if err := unix.Unmount(name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); f.IsDir() && err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, err)
		}
		errs = append(errs, os.RemoveAll(name))
	}
	return errors.Join(errs...)
}
