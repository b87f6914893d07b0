package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/scenario"
	"dove.network/world"
)

// exchange is one packet and its answer, watched from end to end.
type exchange struct {
	from     *guest
	silent   bool     // whoever it reaches does not answer
	size     uint16   // bytes that the packet and its answer carry, 0 for a few
	reached  []*guest // whom the packet reached
	answered []uint64 // serials of those whose answer came back
	rules    []string // that let the packet pass, one for each switch that said so
	told     []Told   // of the packet, by switches
	drops    []drop   // while it was under way
	lost     []string // where its packets ended without a drop
	asked    []dove.HostName
	ended    []drop   // its own packets
	via      [2]*host // that packets of the flow left, and answers, if they did
	begun    *guest   // who began the flow, if not from
	at       [2]stand // where its ends were when the packet was sent, and when it arrived first
}

// drop is a refused packet.
type drop struct {
	host   dove.HostName
	reason dataplane.Reason
	rule   string
	from   dataplane.Direction
	flood  bool // it was sent to all hosts, since nobody knew which one has the address
	answer bool // policy denied what answers a packet
}

func (d drop) String() string {
	s := fmt.Sprintf("dropped on %s as %s", d.host, d.reason)
	if d.rule != "" {
		s += " by rule " + d.rule
	}
	return s
}

// Finding is what became of a first packet. Its end is one of the
// outcomes, unless Instead says what was seen instead. Rule is what let it pass
// or refused it, or its answer.
type Finding struct {
	Outcome scenario.Outcome
	Rule    string
	Told
	Instead string
}

func (f Finding) String() string {
	switch {
	case f.Instead != "":
		return f.Instead
	case f.Rule == "" || f.Outcome == scenario.NoEndpoint || f.Outcome == scenario.NoAnswer || f.Outcome == scenario.TooBig:
		return f.Outcome.String()
	}
	return fmt.Sprintf("%s (%s)%s", f.Outcome, f.Rule, f.Told)
}

// Told is what switches tell of a packet as rules want it: that it is logged, and
// the rule that would decide if those in shadow counted, "" if it is none of these.
type Told struct {
	Log    bool
	Shadow string
	Would  bool // what it would say: allow
}

// String says it behind what became of the packet.
func (t Told) String() string {
	says := ""
	if t.Log {
		says = ", and it is logged"
	}
	switch {
	case t.Shadow != "" && t.Would:
		says += fmt.Sprintf("; in shadow %s would allow it", t.Shadow)
	case t.Shadow != "":
		says += fmt.Sprintf("; in shadow %s would deny it", t.Shadow)
	}
	return says
}

// Packet is a first packet: who sends it, from which of its addresses, to which
// address.
type Packet struct {
	From     dove.Endpoint
	Src, Dst netip.Addr
	Probe    scenario.Probe
	Size     uint16 // bytes that it carries, 0 for a few
	Whole    bool   // nobody may cut it up
}

func (p Packet) String() string {
	return fmt.Sprintf("%s (%s) -> %s %s", p.From, p.Src, p.Dst, p.Probe)
}

// contradicts says what a step expects to be told, "" if that was.
func (t Told) contradicts(a scenario.Expect) string {
	switch {
	case a.Log == scenario.Logged && !t.Log:
		return "it is logged"
	case a.Log == scenario.Unlogged && t.Log:
		return "it is not logged"
	case a.Would == scenario.WouldNothing && t.Shadow != "":
		return "nothing in shadow would decide"
	case a.Would == scenario.WouldAllow && (t.Shadow == "" || !t.Would):
		return "what is in shadow would allow it"
	case a.Would == scenario.WouldDeny && (t.Shadow == "" || t.Would):
		return "what is in shadow would deny it"
	case a.Shadow != "" && t.Shadow != a.Shadow:
		return a.Shadow + " in shadow would decide"
	}
	return ""
}

// pace is how long an exchange takes: it keeps a port's misses below their limit.
const pace = 5 * time.Millisecond

// idle is longer than any flow without ports or handshake lives.
const idle = 121 * time.Second

// Ask sends a first packet from a plugged guest, and tells what became of it:
// whether it reached the guest that has the address on the sender's network and
// the answer came back, or who dropped it. The error is about the switches' own
// counts: they must have counted what was dropped, and nothing else.
func (s *Sim) Ask(p Packet) (Finding, error) {
	f, _, err := s.ask(p)
	return f, err
}

func (s *Sim) ask(p Packet) (Finding, *exchange, error) {
	g := s.plugged(p.From)
	if g == nil {
		return Finding{Instead: p.From.String() + " is not plugged in"}, &exchange{}, nil
	}
	protocol, port, _ := p.Probe.Over(p.Dst)
	if !protocol.HasPorts() && !protocol.IsICMP() {
		s.Sleep(idle) // what has no ports has one flow for each pair of addresses
	}
	sport := s.freePort()
	size := p.Size
	if protocol == dove.ProtocolTCP {
		size = 0
	}
	g.whole, g.mtu = p.Whole, 0
	x, err := s.exchangeSized(g, p.Src, p.Dst, !answerable(protocol, port), size, request(p.Probe, false, sport))
	g.whole = false
	if protocol == dove.ProtocolTCP && err == nil && len(x.answered) > 0 && p.Size > 0 {
		if why, err := s.segments(g, p, sport); why != "" || err != nil {
			return Finding{Instead: why}, x, err
		}
	}
	if protocol == dove.ProtocolTCP && len(x.answered) > 0 {
		g.send(p.Src, p.Dst, func(e packet.Ends) []byte { return packet.TCP(e, sport, port, packet.RST, make([]byte, markSize)) })
		s.drain()
	}
	return s.found(p, x, answerable(protocol, port)), x, err
}

// segments sends what a connection carries, each segment as large as a packet on
// the sender's network may be, and says where that ends.
func (s *Sim) segments(g *guest, p Packet, sport uint16) (why string, err error) {
	room := s.pathMTU(p) - ip6 - tcp
	for left := int(p.Size); left > 0; left -= int(room) {
		x, err := s.exchangeSized(g, p.Src, p.Dst, false, room/markSize*markSize, request(p.Probe, true, sport))
		if err != nil {
			return "", err
		}
		if len(x.reached) != 1 || len(x.answered) != 1 || len(x.drops) > 0 {
			return fmt.Sprintf("a segment with %d bytes to go: %s", left, x.end()), nil
		}
	}
	return "", nil
}

// pathMTU is what the networks of both ends of a packet carry.
func (s *Sim) pathMTU(p Packet) uint16 {
	mtu := s.guests[p.From].network().MTU
	if to, ok := s.owner(p); ok {
		if n, ok := s.World().Network(to.NetworkOf()); ok {
			mtu = min(mtu, n.MTU)
		}
	}
	return mtu
}

// found says what an exchange came to.
func (s *Sim) found(p Packet, x *exchange, answerable bool) Finding {
	f := s.end(p, x, answerable)
	switch {
	case f.Instead == "" && len(x.told) > 1:
		return Finding{Instead: fmt.Sprintf("told %d times: %v", len(x.told), x.told)}
	case f.Instead == "" && len(x.told) == 1:
		f.Told = x.told[0]
	}
	return f
}

// end is found without what was told.
func (s *Sim) end(p Packet, x *exchange, answerable bool) Finding {
	rules := slices.Compact(slices.Clone(x.rules))
	drops := x.drops
	if p.Size > 0 && len(drops) > 0 { // the later pieces of what was refused are dropped, too
		drops = slices.DeleteFunc(slices.Clone(drops[1:]), func(d drop) bool { return d.reason == dataplane.Fragment })
		drops = append([]drop{x.drops[0]}, drops...)
	}
	switch {
	case len(x.reached) > 1:
		return Finding{Instead: fmt.Sprintf("arrived %d times, first at %s", len(x.reached), x.reached[0].endpoint)}
	case len(x.reached) == 1 && !s.meant(p, x.reached[0]):
		return Finding{Instead: "went astray to " + x.reached[0].endpoint.String()}
	case len(x.reached) == 1 && len(drops) == 1 && len(x.answered) == 0 && drops[0].answer:
		return Finding{Outcome: scenario.NoReply, Rule: drops[0].rule}
	case len(x.reached) == 1 && len(drops) > 0:
		return Finding{Instead: "reached " + x.reached[0].endpoint.String() + ", but " + drops[0].String()}
	case len(x.reached) == 1 && answerable && !slices.Equal(x.answered, []uint64{x.reached[0].serial}):
		return Finding{Instead: fmt.Sprintf("reached %s, and %d answers came back", x.reached[0].endpoint, len(x.answered))}
	case len(x.reached) == 1 && len(rules) != 1:
		return Finding{Instead: "allowed by rules " + strings.Join(rules, ", ")}
	case len(x.reached) == 1:
		return Finding{Outcome: scenario.Allow, Rule: rules[0]}
	case len(drops) == 0 && len(x.lost) > 0:
		return Finding{Outcome: scenario.NoAnswer}
	case len(drops) == 0:
		return Finding{Instead: "lost without a word"}
	case len(drops) > 1:
		return Finding{Instead: fmt.Sprintf("dropped %d times, last %s", len(drops), drops[len(drops)-1])}
	}
	switch d := drops[0]; d.reason {
	case dataplane.Policy:
		return Finding{Outcome: scenario.Deny, Rule: d.rule}
	case dataplane.NoEndpoint, dataplane.NoRoute:
		return Finding{Outcome: scenario.NoEndpoint}
	case dataplane.TooBig:
		if told := s.guests[p.From].mtu; p.Whole && told == int(s.pathMTU(p)) {
			return Finding{Outcome: scenario.TooBig}
		} else if told > 0 {
			return Finding{Instead: fmt.Sprintf("dropped as too-big, and its sender was told that %d bytes may be sent", told)}
		}
		return Finding{Instead: "dropped as too-big, and its sender was not told"}
	case dataplane.HoldLimit:
		if s.outage.Any() != "" {
			return Finding{Outcome: scenario.NoAnswer}
		}
		return Finding{Instead: d.String()}
	case dataplane.NotHere, dataplane.UnknownNetwork:
		from, _ := s.World().Endpoint(p.From)
		for _, to := range owners(s.World(), from, p.Dst) {
			if x.misses(to) && !s.Plugged(to.Full()) {
				return Finding{Instead: to.Full().String() + " is not plugged in"}
			}
		}
		fallthrough
	default:
		return Finding{Instead: "dropped as " + d.reason.String()}
	}
}

// misses reports whether the packet of an exchange was dropped where an endpoint is bound, for
// want of a port.
func (x *exchange) misses(e world.Endpoint) bool {
	return len(x.drops) == 1 && (x.drops[0].reason == dataplane.NotHere || x.drops[0].reason == dataplane.UnknownNetwork) && e.BoundTo(x.drops[0].host)
}

// meant reports whether a guest is one who has the address as the sender sees it.
func (s *Sim) meant(p Packet, g *guest) bool {
	from, ok := s.World().Endpoint(p.From)
	return ok && slices.ContainsFunc(owners(s.World(), from, p.Dst), func(to world.Endpoint) bool {
		return to.Full() == g.endpoint && to.UID == g.uid
	})
}

// owner returns who has the address as the sender sees it.
func (s *Sim) owner(p Packet) (world.Endpoint, bool) {
	from, ok := s.World().Endpoint(p.From)
	if !ok {
		return world.Endpoint{}, false
	}
	return whose(s.World(), from, p.Dst)
}

// firstPort is where source ports begin, below which are those of services.
const firstPort = 1024

// freePort returns a source port or echo identifier that no living flow has.
func (s *Sim) freePort() uint16 {
	s.port++
	switch {
	case s.port == 0: // all were used: let time pass until established TCP flows are forgotten, too
		s.Sleep(3 * time.Hour)
		s.port = firstPort
	case s.port < firstPort:
		s.port = firstPort
	}
	return s.port
}

// exchange sends a packet and goes on until its answer came back, it was
// dropped, or nothing is under way. With silent, nobody answers.
func (s *Sim) exchange(g *guest, src, dst netip.Addr, silent bool, make func(packet.Ends, []byte) []byte) (*exchange, error) {
	return s.exchangeSized(g, src, dst, silent, 0, make)
}

// answer sends a packet of a flow that another guest began.
func (s *Sim) answer(g, begun *guest, src, dst netip.Addr, make func(packet.Ends, []byte) []byte) (*exchange, error) {
	x, done := s.watch(g, true)
	x.begun = begun
	m := mark{s.talk, g.serial}
	g.send(src, dst, func(e packet.Ends) []byte { return make(e, m.bytes()) })
	return x, done()
}

// exchangeSized is exchange of a packet and an answer that carry size bytes.
func (s *Sim) exchangeSized(g *guest, src, dst netip.Addr, silent bool, size uint16, make func(packet.Ends, []byte) []byte) (*exchange, error) {
	x, done := s.watch(g, silent)
	x.size = size
	m := mark{s.talk, g.serial}
	g.send(src, dst, func(e packet.Ends) []byte { return make(e, m.fill(size)) })
	return x, done()
}

// watch begins an exchange. Done goes on until it is over, and holds what was
// seen against what the switches counted.
func (s *Sim) watch(g *guest, silent bool) (x *exchange, done func() error) {
	s.now = s.now.Add(pace)
	s.talk++
	id := s.talk
	x = &exchange{from: g, silent: silent}
	s.talks[id] = x
	s.dropped, s.lost, s.asked = nil, nil, nil
	before := s.counts()
	return x, func() error {
		for len(x.answered) == 0 && len(s.dropped) == 0 && s.step() {
			if silent && len(x.reached) > 0 {
				break
			}
		}
		s.drain() // a second copy, or an answer in spite of a drop
		if len(x.answered) == 0 && len(s.dropped) == 0 {
			s.expire()
		}
		if x.size > 0 && len(s.dropped) > 0 {
			s.Sleep(patience) // later pieces are held for a first one
		}
		delete(s.talks, id)
		if g != nil {
			clear(g.waiting)
		}
		x.drops, x.lost, x.asked = s.dropped, s.lost, s.asked
		s.dropped, s.lost, s.asked = nil, nil, nil
		err := compareCounts(before, s.counts(), x.drops)
		x.drops = slices.DeleteFunc(x.drops, func(d drop) bool { return d.flood && d.reason != dataplane.Policy }) // of all but one
		return err
	}
}

// judged notes the rule by which a switch let the packet of an exchange pass.
func (s *Sim) judged(inner []byte, rule string) {
	if x, asks := s.ofAsker(inner); asks && rule != "" {
		x.rules = append(x.rules, rule)
	}
}

// noted notes what a switch tells of the packet of an exchange.
func (s *Sim) noted(frame []byte, out dataplane.Outcome) {
	t := Told{out.Log, out.Would, out.WouldAllow}
	if x, asks := s.ofAsker(frame); asks && t != (Told{}) {
		x.told = append(x.told, t)
	}
}

// ofAsker returns the exchange that a frame is of, nil if nobody watches it, and whether
// it is of who asks in it.
func (s *Sim) ofAsker(frame []byte) (x *exchange, asks bool) {
	m, ok := markOf(frame)
	if x = s.talks[m.talk]; !ok || x == nil {
		return nil, false
	}
	return x, x.from == nil || x.from.serial == m.sender
}

// tally is what one switch has counted.
type tally struct {
	host   dove.HostName
	reason dataplane.Reason
	rule   string
}

// counts reads what all switches have counted.
func (s *Sim) counts() map[tally]uint64 {
	all := map[tally]uint64{}
	for _, h := range s.hosts {
		counts, err := h.sw.Counts()
		if err != nil {
			s.fault("the counts of %s cannot be read: %w", h.name, err)
		}
		for _, c := range counts {
			all[tally{h.name, c.Reason, c.Rule}] += c.Packets
		}
	}
	return all
}

// compareCounts checks that the switches counted just the drops that were seen.
func compareCounts(before, after map[tally]uint64, drops []drop) error {
	for _, d := range drops {
		before[tally{d.host, d.reason, d.rule}]++
	}
	for t, n := range after {
		if n != before[t] {
			return fmt.Errorf("%s counts %d packets as %s %s, and %d were seen", t.host, n, t.reason, t.rule, before[t])
		}
		delete(before, t)
	}
	for t, n := range before {
		return fmt.Errorf("%s counts no packet as %s %s, and %d were seen", t.host, t.reason, t.rule, n)
	}
	return nil
}
