package agent

import (
	"fmt"
	"net/netip"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// Limits.
const (
	HeldPerPeer    = 32 // packets held for one destination (network and address): 3 ms at 10,000 a second
	HeldPerPort    = 64 // packets held for one port
	HoldFor        = time.Second
	QuestionsMax   = 4096    // questions without an answer
	QuestionsBatch = 64      // questions in one PolicyRequest
	RowsMax        = 1 << 15 // beside the addresses of ports, half of what the switch has room for
	PlugsMax       = 4096
	ExpectedPart   = 2           // of Rows: above one of so many parts no row is held that nobody here asked about
	ExpectedShare  = 4           // times what is free of that part, a network's peers or a domain's pairs may be before one more is expected
	confirmEvery   = time.Second // a peer is confirmed at most this often
	PiecesPerPort  = 16          // fragments held for one port that overtook their first
	PieceFor       = 50 * time.Millisecond
	askAgainAfter  = 2 * time.Second
	heartbeatEvery = 10 * time.Second
	// A member is left that has not said anything since it was asked something, or at all.
	speechlessAfter = 2 * time.Second
	silentAfter     = 12 * time.Second // more than two of its heartbeats
)

// Limits of what addresses cost that nobody has, of which guests name as many as they like.
const (
	NegativesPerNetwork = 1024
	NegativesMax        = 1 << 14
	VainPerPort         = 256                   // a guest may ask for at once
	vainEvery           = 10 * time.Millisecond // until it may for one more
)

// Config says who the host is.
type Config struct {
	Host     dove.HostName
	VTEP     netip.Addr
	Software string   // as Hello says it, for example "dswitch 0.1.0"
	Rows     int      // rows held at most; 0 means RowsMax
	MTU      int      // largest IP packet of a guest that the underlay carries, bytes; 0: any
	Own      []string // devices that are no guest's, whatever a document says: the underlay's and the switch's
}

// Core decides for one host. It is not safe for concurrent use. What it returns
// depends only on the events so far and their times.
type Core struct {
	config Config
	now    time.Time
	out    []Effect

	// What is held.
	tracker     tracker
	assignments map[dove.Endpoint]*assignment
	trunks      map[dove.Endpoint][]*assignment // sub-ports, by parent
	ports       map[dataplane.PortID]*assignment
	devices     map[string]device
	users       map[string]*assignment // by device
	plugs       map[dove.Endpoint]string
	networks    map[dove.VNI]*network
	domains     map[dove.Domain]*domain
	locals      map[control.PeerKey]local
	tunnels     map[netip.Addr]control.Tunnel
	negatives   map[control.PeerKey]time.Time // when they expire
	rows        int                           // peers, negatives and pairs
	lastPort    dataplane.PortID
	byHandle    map[uint32]*domain // the same domains
	lastHandle  uint32
	unsaved     bool
	saves       uint64        // number of the last Save
	written     uint64        // and of the last that is Written
	touched     []*assignment // whose state may be news to the DPC

	// The session.
	session     session
	number      uint64   // of the last Hello
	members     []string // addresses of DPC members, as one said last
	incarnation uint64
	seen        dove.Revision

	live         live                           // what the DPC wants to know of the host
	flowRequests map[dove.Endpoint]*flowRequest // whose flows it wants for another host
	reading      bool                           // the flows of one of these

	adopts   []Adopt // that are not given to the switch yet
	adopting bool    // one is

	// What is under way.
	seq, done uint64 // of the last Apply, and of the last that is Applied
	flying    bool
	questions map[questionKey]*question
	asked     map[asked]*question     // that wait for their answer
	askedFor  map[control.PeerKey]int // how many of them, by peer
	unasked   []*question
	holds     []*heldPacket // in order of their deadlines
	heldFor   map[control.PeerKey][]*heldPacket
	ready     []release
	pieces    []latePiece // in order of their time
	freed     control.Release
	lastID    uint64
}

// release is a missed packet that goes back once the Apply of seq is done.
type release struct {
	miss dataplane.Miss
	seq  uint64
}

// NewCore makes a Core for a host that starts with what restored says.
func NewCore(config Config, restored Restored) *Core {
	if config.Rows == 0 {
		config.Rows = RowsMax
	}
	c := &Core{
		config:       config,
		tracker:      newTracker(),
		assignments:  map[dove.Endpoint]*assignment{},
		trunks:       map[dove.Endpoint][]*assignment{},
		ports:        map[dataplane.PortID]*assignment{},
		devices:      map[string]device{},
		users:        map[string]*assignment{},
		plugs:        map[dove.Endpoint]string{},
		networks:     map[dove.VNI]*network{},
		domains:      map[dove.Domain]*domain{},
		byHandle:     map[uint32]*domain{},
		locals:       map[control.PeerKey]local{},
		tunnels:      map[netip.Addr]control.Tunnel{},
		negatives:    map[control.PeerKey]time.Time{},
		questions:    map[questionKey]*question{},
		asked:        map[asked]*question{},
		askedFor:     map[control.PeerKey]int{},
		flowRequests: map[dove.Endpoint]*flowRequest{},
		heldFor:      map[control.PeerKey][]*heldPacket{},
	}
	c.restore(restored)
	return c
}

// Step takes events that happened until now, which never goes back, and returns
// what to do about them, in order.
func (c *Core) Step(now time.Time, events ...Event) []Effect {
	c.now = now
	for _, e := range events {
		switch e := e.(type) {
		case Connected:
			c.connected()
		case Received:
			c.received(e.Message)
		case Disconnected:
			c.disconnected()
		case DeviceUp:
			c.deviceUp(e.Device)
		case DeviceGone:
			c.deviceGone(e.Name)
		case DevicesListed:
			c.devicesListed()
		case Missed:
			c.missed(e.Miss)
		case Claimed:
			c.claimed(e.Claim)
		case Hinted:
			c.hinted(e.Hint)
		case Applied:
			c.applied(e)
		case Written:
			c.written = e.Seq
		case Plug:
			c.plug(e)
		case Unplug:
			c.unplug(e.Endpoint)
		case FlowsRead:
			c.flowsRead(e)
		case CarriedRead:
			c.carriedRead(e)
		case Adopted:
			c.adopted(e)
		case Dropped:
			c.dropped(e.Drop)
		case Noted:
			c.noted(e.Note)
		case Tick:
			c.tick()
		case Stopping:
			c.stopping(e.Kept)
		default:
			panic(fmt.Sprintf("agent: event %T is not known", e))
		}
	}
	c.settle()
	out := c.out
	c.out = nil
	return out
}

func (c *Core) emit(e Effect) { c.out = append(c.out, e) }

func (c *Core) send(m control.Up) {
	if c.session.open {
		c.session.quiet = c.now
		c.emit(Send{m})
	}
}

// settle turns what the events changed into effects: words first, because the
// answer takes longest, then packets, then the switch.
func (c *Core) settle() {
	if !c.flying && len(c.tracker.dirty) > 0 {
		// What comes out may be nothing: then the switch is there already.
		ops := c.tracker.next()
		c.seq++
		if c.flying = len(ops) > 0; c.flying {
			defer c.apply(ops)
		} else {
			c.done = c.seq
		}
	}
	c.announce()
	c.sendFreed()
	c.ask()
	c.inject()
	c.acknowledge()
	c.readFlows()
	c.readCarried()
	c.adopt()
	c.report()
	if c.unsaved && !c.Saving() {
		c.unsaved = false
		c.saves++
		c.emit(Save{c.saves, c.saved()})
	}
}

// Saving reports whether the last Save is not Written.
func (c *Core) Saving() bool { return c.written < c.saves }

// keeping is the number of the Save after which all that is to be remembered now is written.
func (c *Core) keeping() uint64 {
	if c.unsaved {
		return c.saves + 1
	}
	return c.saves
}

func (c *Core) apply(ops []dataplane.Op) { c.emit(Apply{c.seq, ops}) }

// covering is the number of the Apply after which all that is wanted now was
// tried.
func (c *Core) covering() uint64 {
	if len(c.tracker.dirty) > 0 {
		return c.seq + 1
	}
	return c.seq
}

func (c *Core) applied(e Applied) {
	if !c.flying || e.Seq != c.seq {
		panic(fmt.Sprintf("agent: Applied %d while the last Apply was %d", e.Seq, c.seq))
	}
	c.flying, c.done = false, e.Seq
	for _, o := range c.tracker.applied(c.now, e.Err) {
		if o.kind != kindPort {
			continue
		}
		if a := c.ports[o.port]; a != nil {
			if o.fault != "" {
				c.portFailed(a, o.fault)
			} else {
				a.failure = failure{}
			}
			c.touch(a)
		}
	}
}

// inject gives back the packets whose Apply is done.
func (c *Core) inject() {
	n := 0
	for ; n < len(c.ready) && c.ready[n].seq <= c.done; n++ {
		if m := c.ready[n].miss; c.ports[m.Port] != nil {
			c.emit(Inject{m})
		} else {
			c.emit(Discard{m, dataplane.NoPort})
		}
	}
	c.ready = append(c.ready[:0], c.ready[n:]...)
	clear(c.ready[len(c.ready):cap(c.ready)]) // let go of the frames
}

func (c *Core) tick() {
	c.expireHolds()
	c.returnPieces()
	c.expireNegatives()
	c.tracker.retry(c.now)
	c.retryPorts()
	if c.session.open && c.now.Sub(c.session.quiet) >= heartbeatEvery {
		c.send(&control.Heartbeat{})
	}
	c.leaveSilent()
}

// stopping lets go of what is held: discards it or, if it is kept for the next run, has
// it judged and asked about as if it had never missed, in the order in which it came.
func (c *Core) stopping(kept bool) {
	let := func(m dataplane.Miss) {
		if kept {
			m.Want = dataplane.WantTurn
			c.emit(Inject{m})
		} else {
			c.emit(Discard{m, dataplane.HoldLimit})
		}
	}
	for _, r := range c.ready {
		let(r.miss)
	}
	for _, p := range c.holds {
		if !p.gone {
			c.take(p)
			let(p.miss)
		}
	}
	for _, p := range c.pieces {
		p.port.pieces--
		let(p.miss)
	}
	c.ready, c.holds, c.pieces = nil, nil, nil
}
