package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/scenario"
)

// Packets that are allowed at times.
const (
	gatePort    = 9050                   // allowed by every second edit
	shutPort    = 9052                   // never allowed
	gateEvery   = 20 * time.Millisecond  // between two datagrams from one guest to one port
	freshEvery  = 5                      // of them comes from a port of its own: a new flow
	gateHold    = time.Second            // of each edit, once it is in force
	gateGiveUp  = 6 * time.Second        // on an edit that is not in force by then
	receiptLook = 30 * time.Millisecond  // between two looks at a receipt
	closeEnough = 250 * time.Millisecond // for what is under way in the end
)

// gate edits a policy between guests, sends packets that it is about all the time,
// and knows what came.
type gate struct {
	members []*client.Client
	epoch   time.Time
	tenant  dove.Tenant
	name    string // of the blueprint
	from    []*Guest
	to      *Guest

	mu      sync.Mutex
	periods []*period
	came    []delivery
	sent    int
	faults  []string
}

// period is the time of one edit. Times are since the gate's epoch.
type period struct {
	number    int
	blueprint *blueprint.Blueprint
	began     time.Duration   // when it was sent for the first time
	current   []time.Duration // for each sender, when a receipt said that the host of it or of the receiver enforces the edit; 0: none did
}

// delivery is a packet that came.
type delivery struct {
	from       int
	port       uint16
	sent, came time.Duration
}

// text is the blueprint of an edit.
func (g *gate) text(number int) []byte {
	port := gatePort
	if number%2 == 1 {
		port = gatePort + 1
	}
	return fmt.Appendf(nil, `apiVersion: dove/v1
kind: Blueprint
name: %s
networks:
  gate: {subnets: [10.0.2.0/24]}
groups:
  outside: {network: gate}
  inside: {network: gate}
policies:
  - {name: pass, from: outside, to: inside, allow: [udp/%d]}
`, g.name, port)
}

// edit edits the policy again and again, until ctx is done.
func (g *gate) edit(ctx context.Context, r *rand.Rand) {
	for number := 1; ctx.Err() == nil; number++ {
		text := g.text(number)
		meant, err := blueprint.Parse(g.tenant, text)
		if err != nil {
			g.fault("%v", err)
			return
		}
		p := &period{number: number, blueprint: meant, began: time.Since(g.epoch), current: make([]time.Duration, len(g.from))}
		g.mu.Lock()
		g.periods = append(g.periods, p)
		g.mu.Unlock()
		rev := g.write(ctx, text, number, r)
		if rev == 0 {
			return
		}
		g.watch(ctx, rev, p, r)
		select {
		case <-ctx.Done():
		case <-time.After(gateHold):
		}
	}
}

// write sends an edit to one member after the other until it is answered.
func (g *gate) write(ctx context.Context, text []byte, number int, r *rand.Rand) dove.Revision {
	for at := r.IntN(len(g.members)); ctx.Err() == nil; at++ {
		within, cancel := context.WithTimeout(ctx, attemptWithin)
		b, err := g.members[at%len(g.members)].WithRequestID(fmt.Sprintf("gate-%d", number)).PutBlueprint(within, g.tenant, g.name, text, nil)
		cancel()
		if err == nil {
			return b.Revision
		}
		if !passing(err) {
			g.fault("edit %d: %v", number, err)
			return 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(historyPause):
		}
	}
	return 0
}

// watch asks members how far a revision is until one of the two hosts of each sender and
// the receiver enforces it.
func (g *gate) watch(ctx context.Context, rev dove.Revision, p *period, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, gateGiveUp)
	defer cancel()
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, attemptWithin)
		receipt, err := g.members[r.IntN(len(g.members))].Receipt(within, rev, 0)
		cancel()
		now, done := time.Since(g.epoch), true
		g.mu.Lock()
		for i, from := range g.from {
			if err == nil && p.current[i] == 0 && (enforces(receipt, from.Host) || enforces(receipt, g.to.Host)) {
				p.current[i] = now
			}
			done = done && p.current[i] > 0
		}
		g.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(receiptLook):
		}
	}
}

// enforces reports whether a receipt leaves no doubt that a host enforces its revision.
func enforces(r api.Receipt, host string) bool {
	h := dove.HostName(host)
	switch {
	case len(r.Members) > 0 || !r.Complete && r.Committed.IsZero(): // one may have its session; the member that answers may not know the revision
		return false
	case slices.Contains(r.Pending, h), slices.Contains(r.Unconfirmed, h):
		return false
	}
	return !slices.ContainsFunc(r.Failed, func(f api.HostFailure) bool { return f.Host == h }) &&
		!slices.ContainsFunc(r.Unknown, func(u api.UnknownHost) bool { return u.Host == h })
}

// receive notes what comes until the guest's socket is closed.
func (g *gate) receive(port uint16) (func(), *net.UDPConn, error) {
	var conn *net.UDPConn
	err := g.to.ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.to.Addr(false), port)))
		return err
	})
	return func() {
		for message := make([]byte, datagramSize); ; {
			n, from, err := conn.ReadFromUDPAddrPort(message)
			now := time.Since(g.epoch)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			i := slices.IndexFunc(g.from, func(f *Guest) bool { return f.Addr(false) == from.Addr().Unmap() })
			if err != nil || n != stampBytes || i < 0 {
				continue
			}
			g.mu.Lock()
			g.came = append(g.came, delivery{i, port, time.Duration(binary.BigEndian.Uint64(message[8:])), now})
			g.mu.Unlock()
		}
	}, conn, err
}

// send sends from one guest until ctx is done: by one flow all the time, and by new ones.
func (g *gate) send(ctx context.Context, from int, port uint16) {
	dial := func() (net.Conn, error) {
		return g.from[from].ns.DialContext(ctx, "udp4", netip.AddrPortFrom(g.to.Addr(false), port).String())
	}
	known, err := dial()
	if err != nil {
		g.fault("%v", err)
		return
	}
	defer known.Close()
	tick := time.NewTicker(gateEvery)
	defer tick.Stop()
	message := make([]byte, stampBytes)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		conn := known
		if n%freshEvery == 0 {
			if conn, err = dial(); err != nil {
				if ctx.Err() == nil {
					g.fault("%v", err)
				}
				return
			}
		}
		binary.BigEndian.PutUint64(message, uint64(n))
		binary.BigEndian.PutUint64(message[8:], uint64(time.Since(g.epoch)))
		_, _ = conn.Write(message) // where it is refused, it does not come
		if conn != known {
			conn.Close()
		}
		g.mu.Lock()
		g.sent++
		g.mu.Unlock()
	}
}

// run edits, sends and receives until ctx is done.
func (g *gate) run(ctx context.Context, r *rand.Rand) error {
	var receiving, sending sync.WaitGroup
	defer receiving.Wait() // once all sockets are closed
	for _, port := range []uint16{gatePort, gatePort + 1, shutPort} {
		read, conn, err := g.receive(port)
		if err != nil {
			return err
		}
		defer conn.Close()
		receiving.Go(read)
		for i := range g.from {
			sending.Go(func() { g.send(ctx, i, port) })
		}
	}
	sending.Go(func() { g.edit(ctx, r) })
	sending.Wait()
	time.Sleep(closeEnough) // for what is under way
	return nil
}

func (g *gate) fault(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.faults) < 20 {
		g.faults = append(g.faults, fmt.Sprintf(format, args...))
	}
}

// verdict is what became of the packets of a gate.
type verdict struct {
	sent, came int
	watched    time.Duration // of all senders and ports, the time in which nothing was to come
	edits      int
	inForce    int // edits, of each sender, that a receipt was seen of
}

// judge holds what came against the oracle. A packet is forbidden if the oracle denies
// it by the edit in whose time it was sent, one of the two hosts enforced that edit when
// it was sent, and the next edit had not begun when it came.
func (g *gate) judge(when func(time.Duration) string) verdict {
	g.mu.Lock()
	periods, came := g.periods, g.came
	v := verdict{sent: g.sent, came: len(came), edits: len(periods)}
	g.mu.Unlock()
	over := time.Since(g.epoch)
	for n, p := range periods {
		until := over
		if n+1 < len(periods) {
			until = periods[n+1].began
		}
		for i, from := range g.from {
			since := p.current[i]
			if since == 0 {
				continue
			}
			v.inForce++
			for _, port := range []uint16{gatePort, gatePort + 1, shutPort} {
				c := Check{From: from, To: g.to, Addr: g.to.Addr(false), Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: port}}
				if Meant(c, []*blueprint.Blueprint{p.blueprint}).Outcome == scenario.Allow {
					continue
				}
				v.watched += until - since
				for _, d := range came {
					if d.from == i && d.port == port && d.sent >= since && d.came <= until {
						g.fault("%s got a packet of %s to udp/%d that edit %d forbids: sent %.0f ms after a receipt said that one of their hosts enforces it, %s",
							g.to.Name(), from.Name(), port, p.number, ms(d.sent-since), when(d.sent))
						break // one of a period is enough
					}
				}
			}
		}
	}
	// What no edit has allowed is never delivered.
	for _, d := range came {
		if d.port == shutPort {
			g.fault("%s got a packet to udp/%d, which nothing allows, %s", g.to.Name(), d.port, when(d.sent))
			break
		}
	}
	return v
}
