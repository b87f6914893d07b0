package agent

import (
	"net/netip"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
)

// RingSize is how many of the last drops are kept.
const RingSize = 4096

// DropRecord is a refused packet with the names that were known when it was
// reported: From and To are the endpoints ("tenant/id") of its source and
// destination address, Port that of the local port. Drops are sampled, at most about one a
// second for one tuple and reason.
type DropRecord struct {
	Seq       uint64     `json:"seq"` // from 1, without a gap
	At        time.Time  `json:"at"`
	Port      string     `json:"port,omitempty"`
	Direction string     `json:"direction"` // from-guest or from-overlay
	Reason    string     `json:"reason"`
	Rule      string     `json:"rule,omitempty"`
	Network   string     `json:"network,omitempty"`
	VNI       dove.VNI   `json:"vni"`
	Protocol  string     `json:"protocol"` // "any" where it is not known
	Src       netip.Addr `json:"src"`
	Dst       netip.Addr `json:"dst"`
	SrcPort   uint16     `json:"srcPort"`
	DstPort   uint16     `json:"dstPort"` // ICMP: type<<8 | code
	From      string     `json:"from,omitempty"`
	To        string     `json:"to,omitempty"`
}

// Drops is a part of the ring. Last is the number of the newest drop so far.
type Drops struct {
	Last  uint64       `json:"last"`
	Drops []DropRecord `json:"drops"`
}

// FlowRecord is a flow with names, in its initiator's direction.
type FlowRecord struct {
	Network  string     `json:"network,omitempty"`
	VNI      dove.VNI   `json:"vni"`
	Protocol string     `json:"protocol"`
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	SrcPort  uint16     `json:"srcPort"`
	DstPort  uint16     `json:"dstPort"`
	From     string     `json:"from,omitempty"`
	To       string     `json:"to,omitempty"`
	Rule     string     `json:"rule,omitempty"`
	IdleMS   int64      `json:"idleMs"`
	Packets  uint64     `json:"packets"`
	Bytes    uint64     `json:"bytes"`
}

// CountRecord is how much a reason, and a rule, has dropped at a port.
type CountRecord struct {
	Port    string `json:"port,omitempty"` // the endpoint; "" where no port is known
	Reason  string `json:"reason"`
	Rule    string `json:"rule,omitempty"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// ring keeps the last drops.
type ring struct {
	records []DropRecord
	last    uint64
	more    chan struct{} // closed when a drop is added
}

func newRing() ring { return ring{more: make(chan struct{})} }

func (r *ring) add(d DropRecord) {
	r.last++
	d.Seq = r.last
	if len(r.records) < RingSize {
		r.records = append(r.records, d)
	} else {
		r.records[(r.last-1)%RingSize] = d
	}
	close(r.more)
	r.more = make(chan struct{})
}

// since returns the kept drops with a number above seq, oldest first. A number
// that was not given yet is from another run: then all are returned.
func (r *ring) since(seq uint64) Drops {
	if seq > r.last {
		seq = 0
	}
	out := Drops{Last: r.last, Drops: []DropRecord{}}
	if kept := uint64(len(r.records)); seq+kept < r.last {
		seq = r.last - kept
	}
	for n := seq + 1; n <= r.last; n++ {
		out.Drops = append(out.Drops, r.records[(n-1)%RingSize])
	}
	return out
}

func (a *Agent) dropRecord(d dataplane.Drop) DropRecord {
	t := d.Tuple
	return DropRecord{
		At: d.At, Port: a.core.PortName(d.Port), Direction: d.Direction.String(), Reason: d.Reason.String(), Rule: d.Rule,
		Network: a.core.NetworkName(t.VNI), VNI: t.VNI, Protocol: t.Protocol.String(),
		Src: t.Src, Dst: t.Dst, SrcPort: t.SrcPort, DstPort: t.DstPort,
		From: a.core.Name(t.VNI, t.Src), To: a.core.Name(t.VNI, t.Dst),
	}
}

func (a *Agent) flowRecords(flows []dataplane.Flow) []FlowRecord {
	out := []FlowRecord{}
	for _, f := range flows {
		t := f.Tuple
		out = append(out, FlowRecord{
			Network: a.core.NetworkName(t.VNI), VNI: t.VNI, Protocol: t.Protocol.String(),
			Src: t.Src, Dst: t.Dst, SrcPort: t.SrcPort, DstPort: t.DstPort,
			From: a.core.Name(t.VNI, t.Src), To: a.core.Name(t.VNI, t.Dst),
			Rule: f.Rule, IdleMS: f.Idle.Milliseconds(), Packets: f.Packets, Bytes: f.Bytes,
		})
	}
	return out
}

func (a *Agent) countRecords(counts []dataplane.Count) []CountRecord {
	out := []CountRecord{}
	for _, c := range counts {
		out = append(out, CountRecord{a.core.PortName(c.Port), c.Reason.String(), c.Rule, c.Packets, c.Bytes})
	}
	return out
}
