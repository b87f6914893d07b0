package control

import (
	"time"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// Limits of what is carried of the flows of an endpoint that moves.
const (
	CarryBatch = 1024    // flows in one Carry
	CarryMax   = 1 << 16 // flows of one endpoint; of more, those that sent last
	CarryAgain = 5 * time.Second
)

// CarryRequest asks a host for the flows of an endpoint that is bound to it, at
// the binding's epoch, for the host of the other binding. The host answers
// by Carry, once its port is as the epoch wants it. A request that comes again
// wants all of it again.
type CarryRequest struct {
	Endpoint dove.Endpoint
	Epoch    dove.Epoch
}

// Carry is what a host that an endpoint moves from says of its flows. The
// member hands it on to the other host as it is, and keeps nothing of it. More
// says that another one follows; Lost counts flows that are left out, because
// they are too many.
type Carry struct {
	Endpoint dove.Endpoint
	Epoch    dove.Epoch
	Flows    []FlowState
	Lost     uint64
	More     bool
}

// FlowState is what is carried of a flow: how far its conversation got. What
// policy says of it is asked anew where it goes. The numbers of State are those of
// package dataplane.
type FlowState struct {
	Tuple Tuple // in the direction of its first packet
	State uint8
	Idle  time.Duration // since its last packet
	UIDs  [2]dove.UID   // of who sent the first packet, and of the other
}

func encodeCarryRequest(m *CarryRequest) *controlpb.Envelope {
	return &controlpb.Envelope{Message: &controlpb.Envelope_CarryRequest{CarryRequest: &controlpb.CarryRequest{
		Endpoint: encodeEndpoint(m.Endpoint), Epoch: uint64(m.Epoch),
	}}}
}

func encodeCarry(m *Carry) *controlpb.Envelope {
	return &controlpb.Envelope{Message: &controlpb.Envelope_Carry{Carry: &controlpb.Carry{
		Endpoint: encodeEndpoint(m.Endpoint), Epoch: uint64(m.Epoch), Lost: m.Lost, More: m.More,
		Flows: each(m.Flows, func(f FlowState) *controlpb.FlowState {
			return &controlpb.FlowState{
				Tuple: encodeTuple(f.Tuple), State: uint32(f.State), Initiator: uint64(f.UIDs[0]), Responder: uint64(f.UIDs[1]),
				IdleMs: uint64(min(max(f.Idle/time.Millisecond, 0), IdleMax)),
			}
		}),
	}}}
}

func (d *door) carry(m *controlpb.Carry) *Carry {
	out := &Carry{Endpoint: d.endpoint(m.GetEndpoint()), Epoch: dove.Epoch(m.GetEpoch()), Lost: m.GetLost(), More: m.GetMore()}
	if n := len(m.GetFlows()); n > CarryBatch {
		d.tooLarge("flows", "%d elements, at most %d are allowed", n, CarryBatch)
	}
	out.Flows = list(d, "flows", m.GetFlows(), func(f *controlpb.FlowState) FlowState {
		s := FlowState{
			Tuple: d.tuple("tuple", f.GetTuple()), State: uint8(d.number("state", f.GetState(), 0, 255)),
			UIDs: [2]dove.UID{dove.UID(f.GetInitiator()), dove.UID(f.GetResponder())},
		}
		if f.GetIdleMs() > IdleMax {
			d.fail("idle_ms", "%d is more than %d", f.GetIdleMs(), uint64(IdleMax))
		}
		s.Idle = time.Duration(f.GetIdleMs()) * time.Millisecond
		return s
	})
	return out
}
