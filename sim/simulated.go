package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/packet"
	"dove.network/scenario"
	"dove.network/world"
)

// simulated is the level whose packets are sent through switches in memory.
type simulated struct{ *Sim }

func (l simulated) addHost(name dove.HostName) error    { return l.AddHost(name) }
func (l simulated) addForeign(name dove.HostName) error { return l.AddForeign(name) }

func (l simulated) settle(revision dove.Revision) (string, error) {
	if err := l.Wait(revision); err != nil {
		return "", err
	}
	err := l.Settle()
	says := l.tellTold()
	clear(l.told)
	return says, err
}

func (l simulated) plug(e world.Endpoint) (string, error) {
	l.Plug(e)
	if err := l.Settle(); err != nil {
		return "", err
	}
	g := l.guests[e.Full()]
	switch why := l.outage.Adrift(e.Host); {
	case g.host.bridge != nil:
		return fmt.Sprintf("it is on %s, where no dSwitch runs", e.Host), nil
	case g.host.holds.opened(e.Full()):
		return fmt.Sprintf("its port on %s is open", e.Host), nil
	case why != "":
		return fmt.Sprintf("its port on %s stays shut: %s", e.Host, why), nil
	}
	return "", fmt.Errorf("%s is plugged in on %s, and its port is not open", e.Full(), e.Host)
}

// moved checks that a step of a move is complete, and has the guest go on where
// it is active now.
func (l simulated) moved(e world.Endpoint) (string, error) {
	if e.Standby == "" {
		return fmt.Sprintf("it is on %s alone", e.Host), nil
	}
	if why := l.TakenOver(e); why != "" {
		return "", fmt.Errorf("%s", why)
	}
	if !e.Activated {
		return fmt.Sprintf("it stays active on %s; %s has its flows and stands by", e.Host, e.Standby), nil
	}
	l.GoOn(e)
	return fmt.Sprintf("%s has its flows, and it goes on there; %s hands on what still arrives", e.Host, e.Standby), l.Settle()
}

// disturb kills, stops, cuts or mends, and goes on until who is back has caught up.
func (l simulated) disturb(a scenario.Action) (string, error) {
	clear(l.told)
	held := l.tellHeld(a)
	if err := l.Disturb(a); err != nil {
		return "", err
	}
	if !l.running() {
		return "nobody asks, answers or tells: every host goes on with what it holds", l.Settle()
	}
	says, err := l.settle(l.World().Revision())
	return l.tellDisturbed(a, held, says), err
}

func (l simulated) unplug(e dove.Endpoint) (string, error) {
	says := ""
	if g := l.plugged(e); g != nil {
		says = fmt.Sprintf("its device on %s is gone, and its port with it", g.at())
		if g.host.stopped() {
			says = fmt.Sprintf("its device on %s is gone, and no dswitch runs there to notice", g.at())
		}
	}
	l.Unplug(e)
	return says, l.Settle()
}

func (l simulated) ask(p Packet) (Finding, string, error) {
	seen, x, err := l.Sim.ask(p)
	return seen, l.tell(p, seen, x), err
}

func (l simulated) sport() uint16 { return l.port }

// flowsSpread is how many flows are sent to see by which next hops they go: that
// one of eight gets none of so many by chance is not to be seen.
const flowsSpread = 200

// spread sends flows of a packet, and says whom they reached.
func (l simulated) spread(p Packet) (reached []dove.Endpoint, seen Finding, says string, err error) {
	for range flowsSpread {
		now, x, err := l.Sim.ask(p)
		if says == "" || now.Outcome != scenario.Allow || now.Instead != "" {
			seen, says = now, l.tell(p, now, x)
		}
		if err != nil || seen.Instead != "" || seen.Outcome != scenario.Allow {
			return reached, seen, says, err
		}
		if by := x.reached[0].endpoint; !slices.Contains(reached, by) {
			reached = append(reached, by)
		}
	}
	slices.SortFunc(reached, func(a, b dove.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	ids := make([]dove.EndpointID, len(reached))
	for i, e := range reached {
		ids[i] = e.ID
	}
	return reached, seen, fmt.Sprintf("%d flows went by %s: %s allows it", flowsSpread, listed(ids), seen.Rule), nil
}

// opened is a conversation between two guests.
type opened struct {
	sim *Sim
	Packet
	from, to *guest
	port     uint16 // or echo identifier, of the initiator
}

func (l simulated) open(p Packet) (conversation, string, error) {
	c := opened{sim: l.Sim, Packet: p, from: l.plugged(p.From), port: l.freePort()}
	if c.from == nil {
		return nil, "", fmt.Errorf("%s: the sender is not plugged in", p)
	}
	x, err := l.exchange(c.from, p.Src, p.Dst, false, request(p.Probe, false, c.port))
	if err != nil {
		return nil, "", err
	}
	seen := l.found(p, x, true)
	if seen.Instead != "" || seen.Outcome != scenario.Allow {
		return nil, "", fmt.Errorf("%s: %s, meant: allow", p, seen)
	}
	c.to = x.reached[0]
	return c, l.tell(p, seen, x), nil
}

// passes sends a packet that goes on with the conversation. If it is not
// answered, the other end tries, too. With back, only that does.
func (c opened) passes(back bool) (passes bool, says string, err error) {
	if back {
		x, err := c.sim.answer(c.to, c.from, c.Dst, c.Src, reply(c.Probe, c.port))
		switch {
		case err != nil:
			return false, "", err
		case slices.Equal(x.reached, []*guest{c.from}) && len(x.drops) == 0:
			return true, fmt.Sprintf("%s on %s sends first, and reaches %s on %s", c.to.endpoint, c.to.at(), c.From, c.from.at()), nil
		case len(x.drops) == 0 && len(x.lost) == 0:
			return false, "", fmt.Errorf("%s: a packet of the flow back was lost without a word", c.Packet)
		}
		return false, x.end(), nil
	}
	if c.from.host != nil {
		x, err := c.sim.exchange(c.from, c.Src, c.Dst, false, request(c.Probe, true, c.port))
		switch {
		case err != nil:
			return false, "", err
		case slices.Equal(x.reached, []*guest{c.to}) && slices.Equal(x.answered, []uint64{c.to.serial}) && len(x.drops) == 0:
			return true, fmt.Sprintf("goes both ways between %s on %s and %s on %s", c.From, c.from.at(), c.to.endpoint, c.to.at()), nil
		case len(x.reached) == 1 && len(x.answered) == 0 && len(x.drops) == 1 && x.drops[0].answer:
			return false, "it arrives, and the answer is " + x.end(), nil
		case len(x.reached) > 0:
			return false, "", fmt.Errorf("%s: a packet of the flow reached %s, %d answers came back: %v", c.Packet, x.reached[0].endpoint, len(x.answered), x.drops)
		case len(x.drops) == 0 && len(x.lost) == 0:
			return false, "", fmt.Errorf("%s: a packet of the flow was lost without a word", c.Packet)
		}
		says = x.end()
	}
	if c.to.host != nil {
		x, err := c.sim.answer(c.to, c.from, c.Dst, c.Src, reply(c.Probe, c.port))
		switch {
		case err != nil:
			return false, "", err
		case len(x.reached) > 0:
			return false, "", fmt.Errorf("%s: the flow passes backwards only", c.Packet)
		case len(x.drops) == 0 && len(x.lost) == 0:
			return false, "", fmt.Errorf("%s: a packet of the flow back was lost without a word", c.Packet)
		}
		if back := x.end(); back != says {
			says = strings.TrimPrefix(says+"; the answer's way: "+back, "; ")
		}
	}
	return false, says, nil
}

// end says where the packets of an exchange that nobody answered ended.
func (x *exchange) end() string {
	if len(x.drops) > 0 {
		return x.drops[0].String()
	}
	return "lost " + x.lost[0]
}

// reply makes a packet of the responder of a probe's flow.
func reply(p scenario.Probe, sport uint16) func(packet.Ends, []byte) []byte {
	return func(e packet.Ends, b []byte) []byte {
		asked, fault := packet.Parse(request(p, true, sport)(e.Reverse(), b))
		answer := answerTo(asked)
		if fault != packet.OK || answer == nil {
			panic(fmt.Sprintf("sim: %s is no flow", p))
		}
		return answer(e, b)
	}
}

// forge sends one packet with a lie in it, from a guest or from somewhere on the
// underlay, and checks that it is dropped for the reason, once.
func (l simulated) forge(f scenario.Forge) (says string, err error) {
	from, to := l.plugged(f.From), l.plugged(f.To)
	if from == nil || to == nil {
		return "", fmt.Errorf("%s or %s is not plugged in", f.From, f.To)
	}
	tried := 0
	for _, src := range from.addresses {
		i := slices.IndexFunc(to.addresses, func(dst netip.Addr) bool {
			_, _, exists := f.Probe.Over(dst)
			return exists && src.Is4() == dst.Is4()
		})
		if i < 0 {
			continue
		}
		send, err := l.lie(f, from, to, src, to.addresses[i])
		if err != nil {
			return "", err
		}
		tried++
		x, done := l.watch(nil, true)
		send(mark{l.talk, from.serial}.bytes())
		err = done()
		switch {
		case err != nil:
			return "", err
		case len(x.reached) > 0:
			return "", fmt.Errorf("the forged packet from %s reached %s", src, x.reached[0].endpoint)
		case len(x.drops) != 1 || x.drops[0].reason.String() != f.Reason:
			return "", fmt.Errorf("the forged packet from %s was %v, meant: dropped as %s", src, x.drops, f.Reason)
		}
		says = x.end()
	}
	if tried == 0 {
		return "", fmt.Errorf("%s and %s share no family for %s", f.From, f.To, f.Probe)
	}
	return says, nil
}

// lie returns what sends the forged packet with a payload.
func (l simulated) lie(f scenario.Forge, from, to *guest, src, dst netip.Addr) (send func(payload []byte), err error) {
	ends := packet.Ends{SrcMAC: from.mac, DstMAC: to.mac, Src: src, Dst: dst}
	frame := request(f.Probe, false, l.freePort())
	byGuest := func(payload []byte) { from.emit(frame(ends, payload)) }

	sender, ok := l.World().Endpoint(f.From)
	network, known := l.World().Network(sender.NetworkOf())
	if !ok || !known {
		return nil, fmt.Errorf("there is no endpoint %s", f.From)
	}
	outer := packet.Outer{
		Src: from.host.identity.VTEP, Dst: to.host.identity.VTEP, SrcPort: 0xc000,
		VNI: network.VNI, Class: l.World().AddressClass(sender, src),
	}
	byStranger := func(payload []byte) {
		l.soon(func() { to.host.fromWire(outer.Encap(frame(ends, payload))) })
	}

	switch f.Lie {
	case scenario.SpoofedMAC:
		ends.SrcMAC[5] ^= 0x55
		return byGuest, nil
	case scenario.SpoofedAddress:
		for ends.Src == dst || slices.Contains(from.addresses, ends.Src) {
			ends.Src = ends.Src.Next()
		}
		return byGuest, nil
	case scenario.WrongVTEP:
		i := slices.IndexFunc(l.hosts, func(h *host) bool { return h != from.host && h != to.host })
		if i < 0 {
			return nil, fmt.Errorf("every host has %s or %s: %w", f.From, f.To, scenario.ErrCannot)
		}
		outer.Src = l.hosts[i].identity.VTEP
	case scenario.WrongClass:
		receiver, ok := l.World().Endpoint(f.To)
		if truth := outer.Class; ok {
			outer.Class = l.World().AddressClass(receiver, dst)
			ok = outer.Class != truth
		}
		if !ok {
			return nil, fmt.Errorf("%s and %s are of one class: %w", f.From, f.To, scenario.ErrCannot)
		}
	case scenario.WrongNetwork:
		for outer.VNI = dove.VNIMax; to.host.holds.networks[outer.VNI].VNI != 0; outer.VNI-- {
		}
	case scenario.UnknownVTEP:
		outer.Src = netip.AddrFrom4([4]byte{203, 0, 113, 9}) // RFC 5737, TEST-NET-3
	default:
		return nil, fmt.Errorf("the lie %s is unknown to this program: %w", f.Lie, scenario.ErrCannot)
	}
	if from.host == to.host {
		return nil, fmt.Errorf("%s and %s are on one host, between them no frame is on the underlay: %w", f.From, f.To, scenario.ErrCannot)
	}
	return byStranger, nil
}
