package agent

import (
	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// Event is something that happened: Connected, Received, Disconnected,
// DeviceUp, DeviceGone, DevicesListed, Missed, Hinted, Claimed, Applied, Plug, Unplug, FlowsRead,
// CarriedRead, Adopted, Written, Dropped, Noted, Tick or Stopping.
type Event interface{ event() }

type (
	// Connected says that a session is open; Core sends Hello.
	Connected struct{}
	// Received is a message of the session.
	Received struct{ Message control.Down }
	// Disconnected says that the session is over. Nothing held is given up.
	Disconnected struct{}
	// DeviceUp says that a device appeared or changed.
	DeviceUp struct{ Device Device }
	// DeviceGone says that a device disappeared.
	DeviceGone struct{ Name string }
	// DevicesListed says that every device that exists now has been told.
	DevicesListed struct{}
	// Missed is a packet that the switch cannot judge yet.
	Missed struct{ Miss dataplane.Miss }
	// Hinted is a packet that shows that what is held of a peer may be old.
	Hinted struct{ Hint dataplane.Hint }
	// Claimed is an address that a guest announced and is allowed.
	Claimed struct{ Claim dataplane.Claim }
	// Applied answers Apply. Err is the switch's, with an OpError for each op
	// that failed.
	Applied struct {
		Seq uint64
		Err error
	}
	// Written answers Save: it is durable, or cannot be written.
	Written struct{ Seq uint64 }
	// Plug names the device of an endpoint, in place of what the DPC or the
	// default says. An empty Device takes an earlier Plug or Unplug back.
	Plug struct {
		Endpoint dove.Endpoint
		Device   string
	}
	// Unplug closes an endpoint's port until the next Plug.
	Unplug struct{ Endpoint dove.Endpoint }
	// FlowsRead answers ReadFlows.
	FlowsRead struct {
		Flows   []dataplane.Flow
		Shadows []dataplane.Shadow
		Err     error
	}
	// Dropped is a packet that the switch refused. Only Observes wants it.
	Dropped struct{ Drop dataplane.Drop }
	// Noted is what verdicts want told.
	Noted struct{ Note dataplane.Note }
	// Tick says that time passed; a few times a second.
	Tick struct{}
	// Stopping is the last event: nothing is taken down. Held packets are discarded or,
	// if the next run gets what misses from now on, miss once more.
	Stopping struct{ Kept bool }
)

func (Connected) event()     {}
func (Received) event()      {}
func (Disconnected) event()  {}
func (DeviceUp) event()      {}
func (DeviceGone) event()    {}
func (DevicesListed) event() {}
func (Missed) event()        {}
func (Hinted) event()        {}
func (Claimed) event()       {}
func (Applied) event()       {}
func (Written) event()       {}
func (Plug) event()          {}
func (Unplug) event()        {}
func (FlowsRead) event()     {}
func (Dropped) event()       {}
func (Noted) event()         {}
func (Tick) event()          {}
func (Stopping) event()      {}

// Device is a network device that can be a port.
type Device struct {
	Name    string
	Ifindex int
	Kind    dataplane.DeviceKind
}

// Effect is something to do now, in order: Send, Save, Inject, Discard,
// ReadFlows, ReadCarried, Adopt, Apply or Leave.
type Effect interface{ effect() }

type (
	// Send is for the session. Without a session it is dropped.
	Send struct{ Message control.Up }
	// Save is to be written durably. The next one comes only after its Written, and so does
	// what may be said only when it is.
	Save struct {
		Seq   uint64
		Saved Saved
	}
	// Inject gives a missed packet back to the switch.
	Inject struct{ Miss dataplane.Miss }
	// Discard counts a missed packet that is not given back.
	Discard struct {
		Miss   dataplane.Miss
		Reason dataplane.Reason
	}
	// ReadFlows wants the flow table, and the counts of rules in shadow. The next one comes only after FlowsRead.
	ReadFlows struct{}
	// Apply changes the switch. The next Apply comes only after its Applied.
	Apply struct {
		Seq uint64
		Ops []dataplane.Op
	}
	// Leave ends the session, with a member that says nothing; another one is tried.
	Leave struct{}
)

func (Send) effect()      {}
func (Save) effect()      {}
func (Inject) effect()    {}
func (Discard) effect()   {}
func (ReadFlows) effect() {}
func (Apply) effect()     {}
func (Leave) effect()     {}
