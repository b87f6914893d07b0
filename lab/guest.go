package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"dove.network/dove"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Guest is a workload in its own namespace. Its servers answer whoever asks
// with the guest's name, so that an answer tells which guest gave it.
type Guest struct {
	Endpoint dove.Endpoint
	Groups   []dove.Group
	Labels   map[string]string
	Ports    map[string]dove.Port
	Network  string
	Host     string
	Device   string // the host's end of its link
	MAC      dove.MAC
	Addrs    []netip.Addr
	Allowed  []netip.Prefix // what it takes for its own beside them
	Subnets  []netip.Prefix // of its network
	Joined   []string       // networks that a router joins with its own
	VNI      dove.VNI
	MTU      int
	Tap      bool // its device is a tap, as a virtual machine's; else a veth

	routes  map[netip.Prefix]netip.Addr
	foreign bool // its host's own bridge and kernel find its neighbours

	ns    *Namespace
	nic   string // the device that it sends from
	relay *relay // where Tap
	twin  *twin  // while it moves

	parent *Guest // of a sub-port: whose card it is on, under a tag
	vlan   uint16
	tagged *tagged

	mu      sync.Mutex
	askers  map[string]int // who reached it, by name
	closers []io.Closer
	wg      sync.WaitGroup
}

// Name is how the guest answers.
func (g *Guest) Name() string { return g.Endpoint.String() }

// Addr returns the guest's first address of the family, or the zero Addr.
func (g *Guest) Addr(v6 bool) netip.Addr {
	i := slices.IndexFunc(g.Addrs, func(a netip.Addr) bool { return a.Is6() == v6 })
	if i < 0 {
		return netip.Addr{}
	}
	return g.Addrs[i]
}

// Askers returns who reached the guest so far, and how often.
func (g *Guest) Askers() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]int, len(g.askers))
	maps.Copy(out, g.askers)
	return out
}

func (g *Guest) asked(by string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.askers[by]++
}

// Ports are those that a guest listens on.
type Ports struct{ TCP, UDP, SCTP []uint16 }

// Serve opens servers on the ports and an echo responder that adds the guest's
// name; the kernel's own responder is turned off.
func (g *Guest) Serve(ports Ports) error {
	g.askers = map[string]int{}
	if err := g.ns.Sysctl("net/ipv4/icmp_echo_ignore_all=1", "net/ipv6/icmp/echo_ignore_all=1"); err != nil {
		return err
	}
	return g.ns.Do(func() error {
		for _, port := range ports.TCP {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			g.serve(l, func() { g.acceptTCP(l) })
		}
		for _, addr := range g.Addrs { // one socket each, so that the asked address answers
			for _, port := range ports.UDP {
				c, err := net.ListenPacket("udp", netip.AddrPortFrom(addr, port).String())
				if err != nil {
					return err
				}
				g.serve(c, func() { g.answerUDP(c) })
			}
			c, err := listenICMP(addr)
			if err != nil {
				return err
			}
			g.serve(c, func() { g.answerEcho(c, addr.Is6()) })
			if len(ports.SCTP) == 0 {
				continue
			}
			init, err := listenSCTP(addr)
			if err != nil {
				return err
			}
			g.serve(init, func() { g.answerSCTP(init, addr, ports.SCTP) })
		}
		return nil
	})
}

func (g *Guest) serve(c io.Closer, loop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closers = append(g.closers, c)
	g.wg.Go(loop)
}

// Close ends the guest's servers and their connections.
func (g *Guest) Close() error {
	g.mu.Lock()
	var errs []error
	for _, c := range g.closers {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	g.closers = nil
	g.mu.Unlock()
	g.wg.Wait()
	errs = append(errs, g.relay.close(), g.tagged.close())
	g.relay, g.tagged = nil, nil
	if g.twin != nil && g.twin.relay != nil {
		errs = append(errs, g.twin.relay.close())
	}
	return errors.Join(errs...)
}

func (g *Guest) acceptTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		g.serve(c, func() {
			defer c.Close()
			r := bufio.NewReader(c)
			who, err := r.ReadString('\n')
			if err != nil {
				return
			}
			g.asked(strings.TrimSpace(who))
			if _, err := io.WriteString(c, g.Name()+"\n"); err == nil {
				_, _ = io.Copy(c, r) // from then on, an echo
			}
		})
	}
}

func (g *Guest) answerUDP(c net.PacketConn) {
	buf := make([]byte, datagramMax)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		who, rest, _ := strings.Cut(string(buf[:n]), " ")
		g.asked(who)
		_, _ = c.WriteTo([]byte(g.Name()+" "+rest), from)
	}
}

func listenICMP(addr netip.Addr) (*icmp.PacketConn, error) {
	if addr.Is6() {
		return icmp.ListenPacket("ip6:ipv6-icmp", addr.String())
	}
	return icmp.ListenPacket("ip4:icmp", addr.String())
}

// echoTypes gives the request and reply types of a family and its protocol number.
func echoTypes(v6 bool) (request, reply icmp.Type, protocol int) {
	if v6 {
		return ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	return ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, 1
}

func (g *Guest) answerEcho(c *icmp.PacketConn, v6 bool) {
	request, reply, protocol := echoTypes(v6)
	buf := make([]byte, datagramMax)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || m.Type != request {
			continue
		}
		echo := m.Body.(*icmp.Echo)
		// Who asks otherwise than Ping, such as ping(8), gets its own bytes back.
		if who, rest, _ := strings.Cut(string(echo.Data), " "); isName(who) {
			g.asked(who)
			echo.Data = []byte(g.Name() + " " + rest)
		}
		out, err := (&icmp.Message{Type: reply, Body: echo}).Marshal(nil)
		if err == nil {
			_, _ = c.WriteTo(out, from)
		}
	}
}

// isName reports whether a guest could have this name.
func isName(s string) bool {
	tenant, id, ok := strings.Cut(s, "/")
	return ok && dove.CheckName(tenant) == nil && dove.CheckName(id) == nil
}

// Reply is what a probe saw.
type Reply struct {
	From        string // who answered; "" if nobody did
	Err         error  // why nobody did
	Retransmits int    // TCP segments that the asker had to send again
	Took        time.Duration
}

// AskTCP opens a connection, says who asks and reads who answers.
func (g *Guest) AskTCP(ctx context.Context, to netip.AddrPort) Reply { return g.askTCP(ctx, to, 0) }

// askTCP is AskTCP, and then size bytes go there and back.
func (g *Guest) askTCP(ctx context.Context, to netip.AddrPort, size uint16) Reply {
	start := time.Now()
	conn, who, err := g.ConnectTCP(ctx, to)
	r := Reply{From: who, Err: err, Took: time.Since(start)}
	if conn != nil {
		r.Retransmits, err = retransmits(conn)
		r.Err = errors.Join(r.Err, echoed(ctx, conn, size))
		r.Err = errors.Join(r.Err, err, conn.Close())
	}
	return r
}

// echoed sends size bytes over a connection and reads them again.
func echoed(ctx context.Context, conn *net.TCPConn, size uint16) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(make([]byte, size)); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, size))
	return err
}

// ConnectTCP opens a connection that echoes from then on, and says who answered.
func (g *Guest) ConnectTCP(ctx context.Context, to netip.AddrPort) (*net.TCPConn, string, error) {
	conn, err := g.ns.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, g.Name()+"\n"); err != nil {
		return nil, "", errors.Join(err, conn.Close())
	}
	var name []byte
	for b := make([]byte, 1); ; {
		if _, err := conn.Read(b); err != nil {
			return nil, "", errors.Join(err, conn.Close())
		}
		if b[0] == '\n' {
			return conn.(*net.TCPConn), string(name), nil
		}
		name = append(name, b[0])
	}
}

// datagramMax is more than a guest receives at once.
const datagramMax = 1 << 16

// padded is who asks and zeros, in at least size bytes.
func (g *Guest) padded(size uint16) string {
	s := g.Name() + " 0"
	return s + strings.Repeat("0", max(int(size)-len(s), 0))
}

// AskUDP sends one datagram of at least size bytes and waits for its answer, which
// is as long.
func (g *Guest) AskUDP(ctx context.Context, to netip.AddrPort, size uint16) Reply {
	start := time.Now()
	conn, err := g.ns.DialContext(ctx, "udp", to.String())
	if err != nil {
		return Reply{Err: err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, g.padded(size)); err != nil {
		return Reply{Err: err}
	}
	buf := make([]byte, datagramMax)
	n, err := conn.Read(buf)
	who, rest, _ := strings.Cut(string(buf[:n]), " ")
	if err == nil && len(rest) < int(size)-len(g.Name())-1 {
		err = fmt.Errorf("%s answers %d bytes with %d", who, size, n)
	}
	return Reply{From: who, Err: err, Took: time.Since(start)}
}

// Ping sends one echo request of at least size bytes and waits for its reply, which
// is as long; id tells it from others.
func (g *Guest) Ping(ctx context.Context, to netip.Addr, id, size uint16) Reply {
	start := time.Now()
	request, reply, protocol := echoTypes(to.Is6())
	var c *icmp.PacketConn
	err := g.ns.Do(func() (err error) {
		c, err = listenICMP(g.Addr(to.Is6()))
		return err
	})
	if err != nil {
		return Reply{Err: err}
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	out, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: int(id), Data: []byte(g.padded(size))}}).Marshal(nil)
	if err != nil {
		return Reply{Err: err}
	}
	if _, err := c.WriteTo(out, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return Reply{Err: err}
	}
	for buf := make([]byte, datagramMax); ; {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return Reply{Err: err, Took: time.Since(start)}
		}
		source, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		m, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || m.Type != reply || source.Unmap() != to {
			continue
		}
		if echo := m.Body.(*icmp.Echo); echo.ID == int(id) {
			who, rest, _ := strings.Cut(string(echo.Data), " ")
			if len(rest) < int(size)-len(g.Name())-1 {
				err = fmt.Errorf("%s answers %d bytes with %d", who, size, len(echo.Data))
			}
			return Reply{From: who, Err: err, Took: time.Since(start)}
		}
	}
}
