package control

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// EncodeAcross turns a message between members into its wire form.
func EncodeAcross(m Across) *controlpb.Across {
	switch m := m.(type) {
	case *Greeting:
		return &controlpb.Across{Message: &controlpb.Across_Greeting{Greeting: &controlpb.Greeting{
			Version: uint32(m.Version), Member: m.Member, Start: m.Start, Incarnation: m.Incarnation,
		}}}
	case *Present:
		return &controlpb.Across{Message: &controlpb.Across_Present{Present: &controlpb.Present{
			First: m.First, More: m.More, Hosts: each(m.Hosts, encodePresence),
		}}}
	case *Progress:
		return &controlpb.Across{Message: &controlpb.Across_Progress{Progress: &controlpb.Progress{
			Applied: int64(m.Applied), Settled: int64(m.Settled), Stale: m.Stale,
		}}}
	case *Behind:
		return &controlpb.Across{Message: &controlpb.Across_Behind{Behind: &controlpb.Behind{
			Revision: int64(m.Revision), More: m.More,
			Hosts: each(m.Hosts, func(l Lag) *controlpb.Lag { return &controlpb.Lag{Host: string(l.Host), First: int64(l.First)} }),
		}}}
	case *Ahead:
		return &controlpb.Across{Message: &controlpb.Across_Ahead{Ahead: &controlpb.Ahead{
			Asker: string(m.Asker), Question: encodeQuestion(m.Question),
		}}}
	case *PortState:
		return &controlpb.Across{Message: &controlpb.Across_PortState{PortState: &controlpb.PortState{
			Host: string(m.Host), Session: m.Session, Update: encodeEndpointUpdate(m.Update),
		}}}
	case *Handover:
		return &controlpb.Across{Message: &controlpb.Across_Handover{Handover: &controlpb.Handover{
			Host: string(m.Host), Session: m.Session, Carry: encodeCarry(&m.Carry).GetCarry(),
		}}}
	case *Relay:
		return &controlpb.Across{Message: &controlpb.Across_Relay{Relay: &controlpb.Relay{
			Id: m.ID, Host: string(m.Host), Inspect: encodeInspect(&m.Inspect),
		}}}
	case *Relayed:
		out := &controlpb.Relayed{Id: m.ID, Host: string(m.Host)}
		if m.Report != nil {
			out.Report = encodeReport(m.Report)
		}
		return &controlpb.Across{Message: &controlpb.Across_Relayed{Relayed: out}}
	case *StatusRequest:
		return &controlpb.Across{Message: &controlpb.Across_StatusRequest{StatusRequest: &controlpb.StatusRequest{
			Id: m.ID, Hosts: each(m.Hosts, func(h dove.HostName) string { return string(h) }),
		}}}
	case *StatusReply:
		return &controlpb.Across{Message: &controlpb.Across_StatusReply{StatusReply: &controlpb.StatusReply{
			Id: m.ID, More: m.More, Sessions: each(m.Sessions, encodeStatus),
		}}}
	case *Heartbeat:
		return &controlpb.Across{Message: &controlpb.Across_Heartbeat{Heartbeat: &controlpb.Heartbeat{}}}
	}
	panic(fmt.Sprintf("control: no wire form for %T", m))
}

func encodePresence(p Presence) *controlpb.Presence {
	return &controlpb.Presence{
		Host: string(p.Host), Session: p.Session, Phase: controlpb.Presence_Phase(p.Phase),
		First: int64(p.First), Last: int64(p.Last), Failed: each(p.Failed, encodeFailure),
	}
}

func encodeStatus(s SessionStatus) *controlpb.Status {
	return &controlpb.Status{
		Session: uint64(s.Session), Member: s.Member, Host: string(s.Host), Vtep: s.VTEP.AsSlice(), Serial: s.Serial,
		Software: printable(s.Software), Opened: s.Opened.UnixNano(), Told: int64(s.Told), Acked: int64(s.Acked),
		Peers: int64(s.Peers), Absent: int64(s.Absent), Pairs: int64(s.Pairs),
		Endpoints: each(s.Endpoints, encodeEndpointUpdate), Late: each(s.Late, encodeEndpoint), Paused: int64(s.Paused),
	}
}

// DecodeAcross checks what came from another member and turns it into plain
// values. Errors are as DecodeUp's.
func DecodeAcross(e *controlpb.Across) (Across, error) {
	d := &door{}
	if n := proto.Size(e); n > MessageMax {
		d.tooLarge("message", "%d bytes, at most %d are allowed", n, MessageMax)
		return nil, d.refusal()
	}
	var out Across
	switch m := e.GetMessage().(type) {
	case *controlpb.Across_Greeting:
		out = &Greeting{
			Version: d.version("greeting.version", m.Greeting.GetVersion()), Member: d.name("greeting.member", m.Greeting.GetMember()),
			Start: m.Greeting.GetStart(), Incarnation: m.Greeting.GetIncarnation(),
		}
	case *controlpb.Across_Present:
		out = &Present{First: m.Present.GetFirst(), More: m.Present.GetMore(), Hosts: list(d, "present.hosts", m.Present.GetHosts(), d.presence)}
	case *controlpb.Across_Progress:
		p := &Progress{
			Applied: d.revision("progress.applied", m.Progress.GetApplied()), Settled: d.revision("progress.settled", m.Progress.GetSettled()),
			Stale: m.Progress.GetStale(),
		}
		if p.Settled > p.Applied {
			d.fail("progress.settled", "%d is after %d, which is applied", p.Settled, p.Applied)
		}
		out = p
	case *controlpb.Across_Behind:
		out = &Behind{
			Revision: d.revision("behind.revision", m.Behind.GetRevision()), More: m.Behind.GetMore(),
			Hosts: list(d, "behind.hosts", m.Behind.GetHosts(), func(l *controlpb.Lag) Lag {
				return Lag{d.host(l.GetHost()), d.revision("first", l.GetFirst())}
			}),
		}
	case *controlpb.Across_Ahead:
		out = &Ahead{Asker: dove.HostName(d.name("ahead.asker", m.Ahead.GetAsker())), Question: d.question(m.Ahead.GetQuestion())}
	case *controlpb.Across_PortState:
		out = &PortState{d.host(m.PortState.GetHost()), m.PortState.GetSession(), d.endpointUpdate(m.PortState.GetUpdate())}
		d.within("port_state")
	case *controlpb.Across_Handover:
		out = &Handover{d.host(m.Handover.GetHost()), m.Handover.GetSession(), *d.carry(m.Handover.GetCarry())}
		d.within("handover")
	case *controlpb.Across_Relay:
		out = &Relay{m.Relay.GetId(), d.host(m.Relay.GetHost()), *d.inspect(m.Relay.GetInspect())}
		d.within("relay")
	case *controlpb.Across_Relayed:
		r := &Relayed{ID: m.Relayed.GetId(), Host: d.host(m.Relayed.GetHost())}
		if m.Relayed.Report != nil {
			r.Report = d.report(m.Relayed.Report)
		}
		d.within("relayed")
		out = r
	case *controlpb.Across_StatusRequest:
		out = &StatusRequest{m.StatusRequest.GetId(), list(d, "status_request.hosts", m.StatusRequest.GetHosts(), d.host)}
	case *controlpb.Across_StatusReply:
		out = &StatusReply{
			ID: m.StatusReply.GetId(), More: m.StatusReply.GetMore(),
			Sessions: list(d, "status_reply.sessions", m.StatusReply.GetSessions(), d.status),
		}
	case *controlpb.Across_Heartbeat:
		out = &Heartbeat{}
	default:
		d.fail("message", "a DPC member does not say %T to another", m)
	}
	if d.err != nil {
		return nil, d.refusal()
	}
	return out, nil
}

func (d *door) host(s string) dove.HostName { return dove.HostName(d.name("host", s)) }

func (d *door) presence(p *controlpb.Presence) Presence {
	out := Presence{
		Host: d.host(p.GetHost()), Session: d.session("session", p.GetSession()),
		Phase: Phase(d.number("phase", uint32(p.GetPhase()), uint32(PhaseOpening), uint32(PhaseEnded))),
		First: d.revision("first", p.GetFirst()), Last: d.revision("last", p.GetLast()),
	}
	if out.First > out.Last {
		d.fail("last", "revision %d is before %d", out.Last, out.First)
	}
	out.Failed = d.failures("failed", p.GetFailed())
	return out
}

func (d *door) status(s *controlpb.Status) SessionStatus {
	return SessionStatus{
		Session: SessionID(s.GetSession()), Member: d.name("member", s.GetMember()), Host: d.host(s.GetHost()),
		VTEP: d.addr("vtep", s.GetVtep()), Serial: d.text("serial", s.GetSerial()), Software: d.text("software", s.GetSoftware()),
		Opened: time.Unix(0, s.GetOpened()), Told: d.revision("told", s.GetTold()), Acked: d.revision("acked", s.GetAcked()),
		Peers: int(s.GetPeers()), Absent: int(s.GetAbsent()), Pairs: int(s.GetPairs()),
		Endpoints: list(d, "endpoints", s.GetEndpoints(), d.endpointUpdate), Late: list(d, "late", s.GetLate(), d.endpoint), Paused: time.Duration(s.GetPaused()),
	}
}
