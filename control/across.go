package control

import "dove.network/dove"

// Across is a message from one DPC member to another: *Greeting, *Present,
// *Progress, *Behind, *Ahead, *PortState, *Handover, *Relay, *Relayed,
// *StatusRequest, *StatusReply or *Heartbeat. Both ends of a stream say the same things.
type Across interface{ across() }

// Greeting is the first message of a stream between two members, from either
// end. Start numbers the run of the sender: another run of it knows nothing of what
// was said before.
type Greeting struct {
	Version     int
	Member      string
	Start       uint64
	Incarnation uint64 // of the store
}

// Present says which hosts have a session with the sender, and what those had not
// acknowledged whose session ended. First begins the list of all of them,
// which replaces what was said before, and More says that the list goes on in the next
// message. Without First it says what changed.
type Present struct {
	First, More bool
	Hosts       []Presence
}

// Presence is a host's session with a member, by the number of its Hello: what
// is said of a later session counts. Of one that Ended, First and Last are the
// revisions of the first and the last frontier that the host did not acknowledge, 0 if it
// acknowledged all. Failed is what it said last that it could not do.
type Presence struct {
	Host        dove.HostName
	Session     uint64
	Phase       Phase
	First, Last dove.Revision
	Failed      []Failure
}

// Phase is how far a session is.
type Phase uint8

// Phases of a session.
const (
	PhaseOpening Phase = 1 // what it must hold is on its way to the host
	PhaseLive    Phase = 2 // the host has acknowledged that
	PhaseEnded   Phase = 3
)

// Progress says that the sender has applied all up to a revision, and that all of
// its sessions have acknowledged what concerned them up to Settled. Stale says that it
// has lost touch with the store and answers nobody.
type Progress struct {
	Applied, Settled dove.Revision
	Stale            bool
}

// Behind names the sessions of the sender that have not acknowledged something
// up to Revision: all of them, unless More says that there are others.
type Behind struct {
	Revision dove.Revision
	Hosts    []Lag
	More     bool
}

// Lag is a host and the first revision that it has not acknowledged.
type Lag struct {
	Host  dove.HostName
	First dove.Revision
}

// Ahead says that a host of the sender has asked a question and is about to send:
// the member that has the session of the peer's host tells that host what to expect.
type Ahead struct {
	Asker    dove.HostName
	Question Question
}

// PortState repeats what a host said of an endpoint that moves, to the member
// that has the session of its other host.
type PortState struct {
	Host    dove.HostName
	Session uint64
	Update  EndpointUpdate
}

// Handover hands on what was carried, to a session of the receiver.
type Handover struct {
	Host    dove.HostName
	Session uint64
	Carry   Carry
}

// Relay has the receiver ask a host of its own, by an ID of the sender. Relayed
// brings each Report to that; without one the host has no session there. ID of
// Inspect and of Report mean nothing here.
type Relay struct {
	ID      uint64
	Host    dove.HostName
	Inspect Inspect
}

// Relayed is what a host says to a Relay.
type Relayed struct {
	ID     uint64
	Host   dove.HostName
	Report *Report
}

// StatusRequest asks for what is known of the sessions of hosts, of all if none is named.
type StatusRequest struct {
	ID    uint64
	Hosts []dove.HostName
}

// StatusReply answers it, in as many messages as needed: More says that another
// follows.
type StatusReply struct {
	ID       uint64
	Sessions []SessionStatus
	More     bool
}

func (*Greeting) across()      {}
func (*Present) across()       {}
func (*Progress) across()      {}
func (*Behind) across()        {}
func (*Ahead) across()         {}
func (*PortState) across()     {}
func (*Handover) across()      {}
func (*Relay) across()         {}
func (*Relayed) across()       {}
func (*StatusRequest) across() {}
func (*StatusReply) across()   {}
func (*Heartbeat) across()     {}
