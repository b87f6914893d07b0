package agent

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// Status is what the local socket says of a host.
type Status struct {
	Host     dove.HostName `json:"host"`
	VTEP     netip.Addr    `json:"vtep"`
	Software string        `json:"software"`
	// Session is "open", "opening" (no Welcome yet) or "closed".
	Session string `json:"session"`
	Member  string `json:"member,omitempty"`
	// Refusal is why the DPC ended the last session, and Trouble why the last
	// attempt to open one failed.
	Refusal string        `json:"refusal,omitempty"`
	Trouble string        `json:"trouble,omitempty"`
	Seen    dove.Revision `json:"seen"`
	Held    HeldCounts    `json:"held"`
	Waiting Waiting       `json:"waiting"`
	Answers AnswerTimes   `json:"answers"`
	Ports   []PortStatus  `json:"ports"`
	// Faults are what the switch refused and will be tried again. While there
	// are any, no frontier is acknowledged.
	Faults []string `json:"faults,omitempty"`
	// Closed counts, by domain, the pairs of classes whose rules did not fit: all of their packets are denied.
	Closed map[string]int `json:"closed,omitempty"`
}

// HeldCounts says how much is held. Peers are positive rows only.
type HeldCounts struct {
	Peers  int `json:"peers"`
	Pairs  int `json:"pairs"`
	Absent int `json:"absent"`
	Ports  int `json:"ports"`
	VTEPs  int `json:"vteps"`
}

// AnswerTimes says how long the DPC's last answers took, at most 256: from a
// request to its first answer, nanoseconds.
type AnswerTimes struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
}

// Waiting says what waits for answers.
type Waiting struct {
	Questions int `json:"questions"`
	Packets   int `json:"packets"`
}

// PortStatus is an assigned endpoint and its port. State is "waiting",
// "opening", "active" or "failed".
type PortStatus struct {
	Endpoint  string           `json:"endpoint"`
	Epoch     dove.Epoch       `json:"epoch"`
	Network   string           `json:"network"`
	VNI       dove.VNI         `json:"vni"`
	MAC       dove.MAC         `json:"mac"`
	Addresses []AddressStatus  `json:"addresses"`
	State     string           `json:"state"`
	Detail    string           `json:"detail,omitempty"`
	Port      dataplane.PortID `json:"port,omitempty"`
	Device    string           `json:"device,omitempty"`
	VLAN      uint16           `json:"vlan,omitempty"` // a sub-port's, on that device
	MTU       uint16           `json:"mtu"`
	Standby   bool             `json:"standby,omitempty"` // it is active on Other
	Other     dove.HostName    `json:"other,omitempty"`   // the host of its other binding, while it moves
}

// AddressStatus is an address of a port and its class.
type AddressStatus struct {
	Addr  netip.Addr `json:"addr"`
	Class dove.Class `json:"class"`
}

var stateNames = map[control.EndpointState]string{
	control.EndpointWaiting: "waiting",
	control.EndpointActive:  "active",
	control.EndpointFailed:  "failed",
}

// Status reports what Core holds and waits for.
func (c *Core) Status() Status {
	s := Status{
		Host: c.config.Host, VTEP: c.config.VTEP, Software: c.config.Software,
		Session: "closed", Member: c.session.member, Seen: c.seen,
		Waiting: Waiting{Questions: len(c.questions)},
		Ports:   []PortStatus{},
	}
	switch {
	case c.session.member != "":
		s.Session = "open"
	case c.session.open:
		s.Session = "opening"
	}
	if c.session.refusal != nil {
		s.Refusal = c.session.refusal.Message
	}
	for _, p := range c.holds {
		if !p.gone {
			s.Waiting.Packets++
		}
	}
	s.Held = HeldCounts{Absent: len(c.negatives), Ports: len(c.ports), VTEPs: len(c.tunnels)}
	for _, n := range c.networks {
		s.Held.Peers += len(n.peers)
	}
	s.Held.Peers -= s.Held.Absent
	for _, d := range c.domains {
		s.Held.Pairs += len(d.pairs)
	}
	for _, a := range c.sortedAssignments() {
		s.Ports = append(s.Ports, c.portStatus(a))
	}
	for _, key := range slices.SortedFunc(maps.Keys(c.tracker.failed), target.compare) {
		s.Faults = append(s.Faults, c.faultOf(key))
	}
	for key, f := range c.tracker.failed {
		if d := c.byHandle[key.pair.Domain]; d != nil && f.closed {
			if s.Closed == nil {
				s.Closed = map[string]int{}
			}
			s.Closed[d.name.String()]++
		}
	}
	return s
}

func (c *Core) portStatus(a *assignment) PortStatus {
	u, ok := c.state(a)
	p := PortStatus{
		Endpoint: a.Endpoint.String(), Epoch: a.Epoch, Network: a.Network.String(), VNI: a.VNI, MAC: a.MAC,
		State: "opening", Detail: u.Detail, Port: a.id, Device: a.device.Name, VLAN: a.VLAN, MTU: a.MTU, Standby: a.Standby, Other: a.Assign.Other.Host,
		Addresses: []AddressStatus{},
	}
	if ok {
		p.State = stateNames[u.State]
	}
	for _, x := range a.Address {
		p.Addresses = append(p.Addresses, AddressStatus(x))
	}
	if p.Detail == "" {
		p.Detail = c.lacks(a)
	}
	return p
}

// HeldRows are the rows that a host holds, by name.
type HeldRows struct {
	Peers []HeldPeer `json:"peers"`
	Pairs []HeldPair `json:"pairs"`
}

// HeldPeer is a held row. Content is false where a restarted agent knows only
// that the switch holds it.
type HeldPeer struct {
	Network  string        `json:"network"`
	VNI      dove.VNI      `json:"vni"`
	Addr     netip.Addr    `json:"addr"`
	Content  bool          `json:"content"`
	Endpoint string        `json:"endpoint,omitempty"`
	Class    dove.Class    `json:"class,omitempty"`
	Host     dove.HostName `json:"host,omitempty"`
	VTEP     string        `json:"vtep,omitempty"` // "" where withheld
	Ways     []HeldWay     `json:"ways,omitempty"` // further next hops of a static route
	Absent   bool          `json:"absent,omitempty"`
	Expires  *time.Time    `json:"expires,omitempty"` // of a negative answer
}

// HeldWay is a further next hop, as good as the row's own.
type HeldWay struct {
	Endpoint string        `json:"endpoint"`
	Class    dove.Class    `json:"class"`
	Host     dove.HostName `json:"host,omitempty"`
	VTEP     string        `json:"vtep,omitempty"` // "" where withheld
}

// HeldPair is a held table.
type HeldPair struct {
	Domain string     `json:"domain"`
	Src    dove.Class `json:"src"`
	Dst    dove.Class `json:"dst"`
	Digest string     `json:"digest,omitempty"`
	Rules  []string   `json:"rules,omitempty"` // names of the rules that the table can give
}

// Held lists the rows that Core holds, in order.
func (c *Core) Held() HeldRows {
	h := HeldRows{Peers: []HeldPeer{}, Pairs: []HeldPair{}}
	for _, vni := range slices.Sorted(maps.Keys(c.networks)) {
		n := c.networks[vni]
		for _, addr := range slices.SortedFunc(maps.Keys(n.peers), netip.Addr.Compare) {
			p := n.peers[addr]
			row := HeldPeer{Network: n.name.String(), VNI: vni, Addr: addr, Absent: p.row.Absent, Content: p.digest != control.Digest{}}
			switch {
			case p.row.Absent:
				row.Expires = new(c.negatives[control.PeerKey{VNI: vni, Addr: addr}])
			case row.Content:
				row.Endpoint, row.Class, row.Host = p.row.Endpoint.String(), p.row.Class, p.row.Host
				row.VTEP = told(p.row.VTEP)
				for _, w := range p.row.Ways {
					row.Ways = append(row.Ways, HeldWay{w.Endpoint.String(), w.Class, w.Host, told(w.VTEP)})
				}
			}
			h.Peers = append(h.Peers, row)
		}
	}
	for _, d := range c.sortedDomains() {
		for _, k := range slices.SortedFunc(maps.Keys(d.pairs), classes.compare) {
			row := HeldPair{Domain: d.name.String(), Src: k.src, Dst: k.dst}
			if p := d.pairs[k]; p.table != nil {
				row.Digest, row.Rules = p.digest.String(), p.table.Names
			}
			h.Pairs = append(h.Pairs, row)
		}
	}
	return h
}

// told writes an address, "" where it is withheld.
func told(vtep netip.Addr) string {
	if !vtep.IsValid() {
		return ""
	}
	return vtep.String()
}

// Name returns the endpoint that has an address, as far as this host knows:
// its own ports and the rows that it holds; of several next hops, all. "" if it
// knows none.
func (c *Core) Name(vni dove.VNI, addr netip.Addr) string {
	if l, ok := c.locals[control.PeerKey{VNI: vni, Addr: addr}]; ok {
		return l.endpoint.String()
	}
	if n := c.networks[vni]; n != nil {
		if p := n.peers[addr]; p != nil && !p.row.Absent && p.row.Endpoint.ID != "" {
			names := []string{p.row.Endpoint.String()}
			for _, w := range p.row.Ways {
				names = append(names, w.Endpoint.String())
			}
			return strings.Join(names, " or ")
		}
	}
	return ""
}

// NetworkName returns the name of a network that has a port here, or "".
func (c *Core) NetworkName(vni dove.VNI) string {
	if n := c.networks[vni]; n != nil {
		return n.name.String()
	}
	return ""
}

// PortName returns the endpoint of an open port, or "".
func (c *Core) PortName(id dataplane.PortID) string {
	if a := c.ports[id]; a != nil {
		return a.Endpoint.String()
	}
	return ""
}
