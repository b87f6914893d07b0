package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dove.network/agent"
	"dove.network/api"
	"dove.network/dove"
	"dove.network/scenario"
)

// Who is measured.
const (
	dove1    = "dove"
	bare     = "bare"
	bridged  = "bridge-vxlan"
	filtered = "bridge-vxlan-filter"
	ovs      = "ovs-userspace"
)

// shape is how the guests of all subjects lie.
type shape struct {
	name   string // of --shape
	suffix string // of its metrics
	title  string
	mtu    int  // of the underlay, bytes
	local  bool // both guests on one host
	taps   bool // guests behind taps, as virtual machines are
	flows  int  // at once; 0: as few as may be
	loads  []load
}

func (f shape) guestMTU() int { return f.mtu - outerBytes }

const (
	outerBytes = 50 // of the overlay's headers: guests have so much less than the underlay
	guestBits  = 16 // of the guests' subnet
)

// benchNet is what the two hosts of a subject have between them, a veth, and
// benchGuests the first addresses of its guests.
var (
	benchNet    = [2]netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")}
	benchGuests = [2]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
)

// subject is two guests and what joins them.
type subject struct {
	name string
	shape
	relays []*relay // behind taps
	lent   []*relay // the same, which others close
	procs  []*process
	guests [2]*Namespace // the first sends
	others []*Namespace
	addrs  [2][]netip.Addr // that guests have beside their first
	cold   int             // addresses used up

	// entitle lets guests have addresses and no others; nil where nobody asks.
	entitle func(ctx context.Context, addrs [2][]netip.Addr) error
	// held says how many addresses of the other host's guest each host knows; nil
	// where none does.
	held func(context.Context) ([2]int, error)
	// answers says how long the DPC's last answers to the first host took; nil
	// where nobody asks one.
	answers func(context.Context) (agent.AnswerTimes, error)
}

func (s *subject) close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, r := range s.relays {
		errs = append(errs, r.close())
	}
	for _, p := range s.procs {
		errs = append(errs, p.stop())
	}
	for _, n := range s.others {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

// subject builds a subject within the lab.
func (l *Lab) subject(ctx context.Context, name string, f shape) (*subject, error) {
	s := &subject{name: name, shape: f}
	var err error
	switch name {
	case dove1:
		err = l.doveSubject(ctx, s)
	case bare:
		err = l.bareSubject(s)
	case ovs:
		err = l.ovsSubject(ctx, s)
	default:
		err = l.bridgeSubject(s)
	}
	return s, err
}

// own makes a namespace of the subject in which IPv6 is quiet.
func (l *Lab) own(s *subject, role string) (*Namespace, error) {
	ns, err := l.namespace(s.name + "-" + role)
	if err != nil {
		return nil, err
	}
	s.others = append(s.others, ns)
	return ns, ns.Sysctl("net/ipv6/conf/all/disable_ipv6=1", "net/ipv6/conf/default/disable_ipv6=1")
}

func guestMAC(i int) string { return fmt.Sprintf("02:00:00:00:00:%02x", i+1) }

// bareSubject joins two guests by a veth, or by two taps and a relay: the limit
// of what a switch can reach.
func (l *Lab) bareSubject(s *subject) (err error) {
	for i, role := range []string{"g1", "g2"} {
		if s.guests[i], err = l.own(s, role); err != nil {
			return err
		}
	}
	if err := s.join(0, s.guests[1], "eth0"); err != nil {
		return err
	}
	return errors.Join(s.guests[1].IP("link set eth0 address "+guestMAC(1)), s.address())
}

// join makes the eth0 of a guest, with its other end elsewhere.
func (s *subject) join(i int, end *Namespace, device string) error {
	r, err := join(s.guests[i], "eth0", guestMAC(i), end, device, s.guestMTU(), s.taps)
	if r != nil {
		s.relays = append(s.relays, r)
	}
	return err
}

// address gives the guests their first addresses.
func (s *subject) address() error {
	var errs []error
	for i, g := range s.guests {
		errs = append(errs, g.IP(fmt.Sprintf("addr add %s/%d dev eth0", benchGuests[i], guestBits), "link set eth0 up"))
	}
	return errors.Join(errs...)
}

// wire joins two hosts by a veth with the underlay's addresses.
func wire(hosts [2]*Namespace, mtu int) error {
	err := ipBatch("", fmt.Sprintf("link add w0 mtu %d netns %s type veth peer name w0 mtu %d netns %s", mtu, hosts[0].Name, mtu, hosts[1].Name))
	for i, h := range hosts {
		err = errors.Join(err, h.IP(fmt.Sprintf("addr add %s/24 dev w0", benchNet[i]), "link set w0 up"))
	}
	return err
}

// guarded is a stateful filter as a host has it for its guests: members may
// begin anything with members, and what began may go on.
const guarded = `table ip guard {
	set members {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/16 }
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		ct state invalid drop
		ip saddr @members ip daddr @members jump begin
	}
	chain begin {
		tcp dport 1-65535 accept
		udp dport 1-65535 accept
		ip protocol icmp accept
	}
}
`

// hosts makes the subject's guests and the hosts that they are on: two, joined by
// a wire, or the same twice.
func (l *Lab) hostsOf(s *subject) (hosts [2]*Namespace, err error) {
	for i := range 2 {
		if i == 1 && s.local {
			hosts[1] = hosts[0]
		} else if hosts[i], err = l.own(s, fmt.Sprintf("h%d", i+1)); err != nil {
			return hosts, err
		}
		if s.guests[i], err = l.own(s, fmt.Sprintf("g%d", i+1)); err != nil {
			return hosts, err
		}
	}
	if s.local {
		return hosts, nil
	}
	return hosts, wire(hosts, s.mtu)
}

// bridgeSubject is hosts with a bridge each that has the guest and a VXLAN device
// in it, filtered or not. On one host the bridge has both guests.
func (l *Lab) bridgeSubject(s *subject) error {
	hosts, err := l.hostsOf(s)
	if err != nil {
		return err
	}
	for i, h := range hosts {
		port := fmt.Sprintf("p%d", i)
		if err := s.join(i, h, port); err != nil {
			return err
		}
		var lines []string
		if i == 0 || !s.local {
			lines = append(lines, fmt.Sprintf("link add br0 mtu %d type bridge forward_delay 0", s.guestMTU()), "link set br0 up")
		}
		if !s.local {
			lines = append(lines, fmt.Sprintf("link add vx0 mtu %d type vxlan id 100 local %s dstport 4789", s.guestMTU(), benchNet[i]),
				"link set vx0 master br0 up")
		}
		if err := h.IP(append(lines, "link set "+port+" master br0 up")...); err != nil {
			return err
		}
		if !s.local {
			if err := run("bridge", "-n", h.Name, "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", benchNet[1-i].String()); err != nil {
				return err
			}
		}
		if s.name != filtered || i == 1 && s.local {
			continue
		}
		if err := h.Sysctl("net/bridge/bridge-nf-call-iptables=1"); err != nil {
			return err
		}
		nft := h.Command(context.Background(), "nft", "-f", "-")
		nft.Stdin = strings.NewReader(guarded)
		if err := runCmd(nft); err != nil {
			return err
		}
	}
	return s.address()
}

// benched is the blueprint of the measured guests: it allows what the filter does.
const benched = `apiVersion: dove/v1
kind: Blueprint
name: bench
groups:
  asks: {network: net}
  answers: {network: net}
policies:
  - {name: begin, from: asks, to: answers, allow: [tcp/1-65535, udp/1-65535, icmp]}
`

// benchHosts makes the lab's hosts for a subject. They speak with the DPC over
// the lab's fabric, and with each other over a veth as the others do.
func (l *Lab) benchHosts(ctx context.Context, s *subject) error {
	names := []string{"h1", "h2"}
	if s.local {
		names = names[:1]
	}
	var namespaces [2]*Namespace
	for i, name := range names {
		h := &Host{Name: name, VTEP: benchNet[i], dir: filepath.Join(l.dir, name), sock: agent.NewClient(filepath.Join(l.dir, name, "dswitch.sock"))}
		if err := os.MkdirAll(h.dir, 0o700); err != nil {
			return err
		}
		if s.flows > 0 { // of one guest; the tables have room for half as many more
			h.options = []string{"--flows", strconv.Itoa(s.flows * 3 / 2), "--flows-per-port", strconv.Itoa(s.flows * 3 / 2)}
		}
		var err error
		if h.ns, err = l.namespace(name); err != nil {
			return err
		}
		l.hosts = append(l.hosts, h)
		if err := l.connect(h.ns, name, l.opt.addr(byte(i+1))); err != nil {
			return err
		}
		namespaces[i] = h.ns
	}
	if s.local {
		// The underlay is there, and nobody at its other end.
		err := namespaces[0].IP(fmt.Sprintf("link add w0 mtu %d type veth peer name w1", s.mtu),
			fmt.Sprintf("addr add %s/24 dev w0", benchNet[0]), "link set w0 up", "link set w1 up")
		if err != nil {
			return err
		}
	} else if err := wire(namespaces, s.mtu); err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := l.startSwitch(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// doveSubject is hosts with a dswitch each, and two endpoints.
func (l *Lab) doveSubject(ctx context.Context, s *subject) error {
	if err := l.benchHosts(ctx, s); err != nil {
		return err
	}
	hosts := l.hosts
	if s.local {
		hosts = append(hosts, hosts[0])
	}
	st, err := NewStage(ctx, l, &scenario.Scenario{})
	if err != nil {
		return err
	}
	if _, err := l.api.PutTenant(ctx, "bench", nil); err != nil {
		return err
	}
	net := dove.Network{Tenant: "bench", Name: "net"}
	_, err = l.api.PutNetwork(ctx, net,
		api.NetworkSpec{Domain: "bench", Subnets: []string{"10.0.0.0/16"}, MTU: uint16(s.guestMTU())}, nil)
	if err != nil {
		return err
	}
	if _, err := st.Do(ctx, scenario.ApplyBlueprint{Tenant: "bench", Text: benched}); err != nil {
		return err
	}
	st.taps = s.taps
	for i, group := range []string{"asks", "answers"} {
		e := dove.Endpoint{Tenant: "bench", ID: dove.EndpointID(group)}
		_, err := st.Do(ctx, scenario.CreateEndpoint{Endpoint: e, Groups: []dove.Group{{Tenant: "bench", Blueprint: "bench", Name: group}},
			Host: dove.HostName(hosts[i].Name), Addresses: []netip.Addr{benchGuests[i]}})
		if err != nil {
			return err
		}
		s.guests[i] = l.guests[i].ns
		if r := l.guests[i].relay; r != nil {
			s.lent = append(s.lent, r)
		}
		if err := s.guests[i].Sysctl("net/ipv6/conf/all/disable_ipv6=1"); err != nil {
			return err
		}
	}
	s.entitle = func(ctx context.Context, addrs [2][]netip.Addr) error { return st.entitle(ctx, addrs) }
	s.answers = func(ctx context.Context) (agent.AnswerTimes, error) {
		status, err := hosts[0].Status(ctx)
		return status.Answers, err
	}
	s.held = func(ctx context.Context) (n [2]int, err error) {
		for i, h := range hosts {
			status, err := h.Status(ctx)
			if err != nil {
				return n, err
			}
			n[i] = status.Held.Peers
		}
		return n, nil
	}
	return nil
}

// entitle gives the endpoints of a bench other addresses beside their first,
// and waits until every host knows.
func (st *Stage) entitle(ctx context.Context, addrs [2][]netip.Addr) error {
	var last dove.Revision
	for i, g := range st.Lab.guests {
		e, err := st.Lab.api.PutEndpoint(ctx, g.Endpoint, api.EndpointSpec{Groups: groupsOf(g.Groups),
			Addresses: texts(append([]netip.Addr{benchGuests[i]}, addrs[i]...)), Host: dove.HostName(g.Host), Device: g.Device}, nil)
		if err != nil {
			return err
		}
		last = max(last, e.Revision)
	}
	_, err := st.Lab.WaitReceipt(ctx, last)
	return err
}
